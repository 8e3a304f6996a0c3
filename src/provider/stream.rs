//! The body of a send as a stream: files are encoded in base64 piece by piece while they are sent, so that sending 20
//! MB needs a few hundred kilobytes of memory.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};

use super::CallAttachment;

/// A part of the body.
enum Part {
    Text(String),
    /// The file's bytes, from this piece on.
    File(CallAttachment, u32),
}

/// Returns the body `base` with `attachments` in it, and its exact length in bytes.
pub(super) fn body(
    base: &Value,
    attachments: Vec<CallAttachment>,
) -> (u64, impl Stream<Item = io::Result<Vec<u8>>> + Send + use<>) {
    let mut parts = Vec::new();
    // The object stays open for one more field.
    let mut text = base.to_string();
    if attachments.is_empty() {
        let length = text.len() as u64;
        return (length, stream::try_unfold(vec![Part::Text(text)], next));
    }
    text.pop();
    text.push_str(",\"attachments\":[");
    let mut length = 0;
    for (index, file) in attachments.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        let mut head = head(&file).to_string();
        head.pop();
        text.push_str(&head);
        text.push_str(",\"content\":\"");
        length += text.len() as u64 + file.attachment.size.div_ceil(3) * 4;
        parts.push(Part::Text(std::mem::take(&mut text)));
        parts.push(Part::File(file, 0));
        text.push_str("\"}");
    }
    text.push_str("]}");
    length += text.len() as u64;
    parts.push(Part::Text(text));
    parts.reverse();
    (length, stream::try_unfold(parts, next))
}

/// Returns the fields before the content: Unipile's, and `voice_note` from its guide.
fn head(file: &CallAttachment) -> Value {
    let attachment = &file.attachment;
    let mut head = json!({ "filename": attachment.filename, "content_type": attachment.content_type });
    if let Some(mode) = attachment.send_mode {
        head["send_mode"] = json!(mode.as_str());
    }
    if attachment.voice_note {
        head["voice_note"] = json!(true);
        head["send_mode"] = json!("native");
    }
    if let Some(duration) = &attachment.duration {
        head["metadata"] = json!({ "duration": duration });
    }
    head
}

/// Returns the next bytes; the remaining parts are in reverse order.
async fn next(mut parts: Vec<Part>) -> io::Result<Option<(Vec<u8>, Vec<Part>)>> {
    loop {
        match parts.pop() {
            None => return Ok(None),
            Some(Part::Text(text)) => return Ok(Some((text.into_bytes(), parts))),
            Some(Part::File(file, piece)) => {
                let bytes = file.content.piece(piece).await.map_err(io::Error::other)?;
                if let Some(bytes) = bytes {
                    parts.push(Part::File(file, piece + 1));
                    return Ok(Some((STANDARD.encode(bytes).into_bytes(), parts)));
                }
            }
        }
    }
}
