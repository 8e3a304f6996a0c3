//! Input files of the command line: a text, or rows that are streamed; `-` is standard input.
//!
//! A file that cannot be read is a usage error.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::pin::Pin;
use std::task::{Poll, ready};

use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use reqwest::Body;
use tokio::io::{AsyncRead, ReadBuf};

use super::exit::Failure;
use super::render;

/// Number of bytes read and sent at a time.
const CHUNK: usize = 64 * 1024;

/// Returns the text in `file`. Removes one trailing line end, which editors and `echo` add.
pub(super) fn text_of(file: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = open(file)?.read_to_string(&mut text);
    read.map_err(|error| match error.kind() {
        ErrorKind::InvalidData => {
            Failure::usage(format!("{} is not text in UTF-8; save it as UTF-8", name(file)))
        }
        _ => unreadable(file, &error),
    })?;
    let end = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text).len());
    text.truncate(end.unwrap_or(text.len()));
    // Removes the byte order mark of editors on Windows.
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

/// Opens `file`, or standard input.
pub(super) fn open(file: &Path) -> Result<File, Failure> {
    let opened = match file == Path::new("-") {
        true => std::io::stdin().as_fd().try_clone_to_owned().map(File::from),
        false => File::open(file),
    };
    let opened = opened.map_err(|error| unreadable(file, &error))?;
    match opened.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            Err(unreadable(file, &std::io::Error::from(ErrorKind::IsADirectory)))
        }
        _ => Ok(opened),
    }
}

pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("{} cannot be read: {error}", name(file)))
}

fn name(file: &Path) -> String {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    render::line(&name)
}

/// Returns the rows of `file` as a body that is read while it is sent.
pub(super) fn rows(file: &Path) -> Result<Body, Failure> {
    Ok(Body::wrap(StreamBody::new(chunks(open(file)?))))
}

/// Streams `file` in chunks, as fast as the daemon accepts them.
fn chunks(file: File) -> impl stream::Stream<Item = std::io::Result<Frame<Bytes>>> + Send + Sync {
    let mut file = tokio::fs::File::from_std(file);
    let mut buffer = vec![0; CHUNK];
    stream::poll_fn(move |context| {
        let mut space = ReadBuf::new(&mut buffer);
        let read = ready!(Pin::new(&mut file).poll_read(context, &mut space));
        Poll::Ready(match read {
            Err(error) => Some(Err(error)),
            Ok(()) if space.filled().is_empty() => None,
            Ok(()) => Some(Ok(Frame::data(Bytes::copy_from_slice(space.filled())))),
        })
    })
}
