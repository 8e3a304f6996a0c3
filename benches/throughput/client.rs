//! A lean HTTP client on a Unix socket, so that the bench measures the daemon and not the load generator.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One connection, kept alive.
pub(crate) struct Client {
    stream: BufReader<UnixStream>,
    /// The number of the last rendering that was answered.
    rendering: Option<String>,
}

impl Client {
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = BufReader::new(UnixStream::connect(socket).expect("the daemon listens"));
        Self { stream, rendering: None }
    }

    /// Posts `body` and returns the status and the answer.
    pub(crate) fn post(&mut self, path: &str, content_type: &str, body: &str) -> (u16, String) {
        self.post_bytes(path, content_type, body.as_bytes())
    }

    /// Requests `path` and returns the status and the answer.
    pub(crate) fn get(&mut self, path: &str) -> (u16, String) {
        self.request("GET", path, "application/json", b"")
    }

    /// Requests a page of the dashboard again, as its script does: `shown` is the rendering that it shows.
    pub(crate) fn repeat(&mut self, path: &str, shown: &mut String) -> u16 {
        let (status, _) = self.request("GET", path, &format!("text/html\r\noutboxd-repeat: {shown}"), b"");
        if let Some(rendering) = self.rendering.take() {
            *shown = rendering;
        }
        status
    }

    /// Posts a binary body.
    pub(crate) fn post_bytes(&mut self, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
        self.request("POST", path, content_type, body)
    }

    fn request(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: o\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request).expect("write");
        let mut status = 0;
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).expect("read");
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest[..3].parse().expect("a status");
            }
            if let Some(rest) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = rest.trim().parse().expect("a length");
            }
            if let Some(rendering) = line.strip_prefix("outboxd-rendering:") {
                self.rendering = Some(rendering.trim().to_owned());
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer).expect("read");
        (status, String::from_utf8(answer).expect("text"))
    }
}
