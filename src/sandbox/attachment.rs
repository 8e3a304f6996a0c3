//! Attachments: how they are read from a request, and what the ledger keeps of each.
//!
//! Read by `requests` and `specifics`, kept in deliveries and chats. The content is decoded once and shared between
//! them; length and hash stay when bodies are not kept, so that a test can always compare what arrived.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::strict::{Fields, Invalid};

/// Total size that LinkedIn Classic accepts in one message, decoded: 20 MB (the vendor's guide, "Send messages").
pub(super) const LARGEST_MESSAGE_BYTES: u64 = 20 << 20;

/// The longest base64 that a ledger entry keeps verbatim.
const LONGEST_QUOTED_BYTES: usize = 64 << 10;

/// An attachment as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// File name, as sent.
    pub filename: String,
    /// MIME type, as sent.
    pub content_type: String,
    /// How the recipient sees it, as sent; `None` means the default, [`SendMode::Native`].
    pub send_mode: Option<SendMode>,
    /// Whether it is a voice note, as sent.
    pub voice_note: Option<bool>,
    /// `metadata.duration`, as sent.
    pub duration: Option<Number>,
    /// Length of the decoded content.
    pub bytes: u64,
    /// 64-bit FNV-1a hash of the decoded content.
    pub fnv1a: u64,
    #[serde(skip)]
    content: Content,
}

/// How an attachment is shown to its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendMode {
    /// As a picture, a voice message or a video.
    Native,
    /// As a file that the recipient opens.
    File,
}

/// Decoded bytes, if they are kept. Any two compare as equal: the hash shows whether contents differ, and an
/// attachment that was read back over HTTP equals the original although it has no content.
#[derive(Clone, Default)]
struct Content(Option<Arc<[u8]>>);

impl PartialEq for Content {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Content {}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "kept" } else { "not kept" })
    }
}

impl Attachment {
    /// Creates an attachment as a person sends it by hand: without the options of the API.
    pub fn new(filename: &str, content_type: &str, content: &[u8]) -> Self {
        Self {
            filename: filename.to_owned(),
            content_type: content_type.to_owned(),
            send_mode: None,
            voice_note: None,
            duration: None,
            bytes: length(content),
            fnv1a: fnv1a(content),
            content: Content(Some(content.into())),
        }
    }

    /// Returns the decoded content; `None` if the sandbox keeps no bodies, or if the attachment was read back over
    /// HTTP.
    pub fn content(&self) -> Option<&[u8]> {
        self.content.0.as_deref()
    }

    /// Returns the content without copying it.
    pub(super) fn shared_content(&self) -> Option<Arc<[u8]>> {
        self.content.0.clone()
    }

    pub(super) fn forget_content(&mut self) {
        self.content = Content::default();
    }
}

/// Reads the `attachments` of `fields`; absent means none.
pub(super) fn read_all(fields: &Fields<'_>) -> Result<Vec<Attachment>, Invalid> {
    let items = fields.optional_array("attachments")?.iter().enumerate();
    items.map(|(index, item)| read(item, &format!("{}[{index}]", fields.name("attachments")))).collect()
}

fn read(item: &Value, path: &str) -> Result<Attachment, Invalid> {
    let known = ["content", "content_type", "filename", "metadata", "send_mode", "voice_note"];
    let fields = Fields::of(item, path, &known)?;
    let base64 = fields.string("content")?;
    let content_type = fields.string("content_type")?;
    if !is_mime(content_type) {
        let name = fields.name("content_type");
        return Err(Invalid(format!("{name} must look like type/subtype, not {content_type:?}")));
    }
    let filename = fields.string("filename")?;
    if filename.is_empty() {
        return Err(Invalid(format!("{} must not be empty", fields.name("filename"))));
    }
    let duration = match fields.optional_object("metadata", &["duration"])? {
        Some(metadata) => match metadata.get("duration") {
            None => None,
            Some(Value::Number(number)) => Some(number.clone()),
            Some(other) => return Err(metadata.wrong("duration", "a number", other)),
        },
        None => None,
    };
    fields.optional_choice("send_mode", &["native", "file"])?;
    let send_mode = fields.optional_string("send_mode")?;
    let voice_note = fields.optional_boolean("voice_note")?;
    let content =
        decode(base64).ok_or_else(|| Invalid(format!("{} is not base64", fields.name("content"))))?;
    Ok(Attachment {
        filename: filename.to_owned(),
        content_type: content_type.to_owned(),
        send_mode: send_mode.map(|mode| if mode == "file" { SendMode::File } else { SendMode::Native }),
        voice_note,
        duration,
        bytes: length(&content),
        fnv1a: fnv1a(&content),
        content: Content(Some(content)),
    })
}

/// Returns whether `text` is `type/subtype`, optionally with parameters after a semicolon.
fn is_mime(text: &str) -> bool {
    let token = |part: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte);
        !part.is_empty() && part.bytes().all(letter)
    };
    let (mime, parameters) = match text.split_once(';') {
        Some((mime, parameters)) => (mime.trim_end_matches(' '), Some(parameters)),
        None => (text, None),
    };
    mime.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
        && parameters.is_none_or(|parameters| parameters.contains('='))
}

/// Decodes the standard alphabet, padded, and nothing else: line breaks, missing padding and bits that are set beyond the
/// last byte are refused, so that a client with a sloppy encoder is caught.
fn decode(base64: &str) -> Option<Arc<[u8]>> {
    STANDARD.decode(base64).ok().map(Arc::from)
}

fn length(content: &[u8]) -> u64 {
    u64::try_from(content.len()).expect("an address fits into 64 bits")
}

fn fnv1a(content: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    content.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Replaces each long `content` of a file within `value` by its length: a ledger that kept the base64 as well would
/// hold everything twice.
pub(super) fn shorten(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(shorten),
        Value::Object(map) => {
            let is_file = map.contains_key("filename");
            for (name, value) in map {
                match value {
                    Value::String(text) if is_file && name == "content" => {
                        if text.len() > LONGEST_QUOTED_BYTES {
                            *text = format!("({} characters of base64)", text.len());
                        }
                    }
                    other => shorten(other),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{decode, fnv1a, is_mime, shorten};

    #[test]
    fn the_hash_is_the_published_one() {
        for (text, hash) in [("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_dc4c_8601_ec8c)] {
            assert_eq!(fnv1a(text.as_bytes()), hash, "{text:?}");
        }
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_mime_type_has_two_parts() {
        for good in ["image/png", "application/vnd.ms-excel", "image/svg+xml", "audio/ogg; codecs=opus"] {
            assert!(is_mime(good), "{good}");
        }
        for bad in ["", "png", "image/", "/png", "image/png/x", "image / png", "image/*", "audio/ogg;"] {
            assert!(!is_mime(bad), "{bad}");
        }
    }

    #[test]
    fn only_long_content_is_shortened() {
        let long = "A".repeat(70_000);
        let file = |content: &str| json!({ "filename": "a", "content": content });
        let mut body = json!({ "text": long, "attachments": [file(&long), file("Zm9v")] });
        shorten(&mut body);
        assert_eq!(body["text"], Value::String(long));
        assert_eq!(body["attachments"], json!([file("(70000 characters of base64)"), file("Zm9v")]));
    }

    #[test]
    fn what_is_base64_is_decoded() {
        let cases: [(&str, &[u8]); 9] = [
            ("", b""),
            ("Zg==", b"f"),
            ("Zm8=", b"fo"),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("Zm9vYmE=", b"fooba"),
            ("Zm9vYmFy", b"foobar"),
            ("+/+/AA==", &[0xfb, 0xff, 0xbf, 0]),
            ("////", &[0xff; 3]),
        ];
        for (base64, bytes) in cases {
            assert_eq!(decode(base64).as_deref(), Some(bytes), "{base64:?}");
        }
    }

    #[test]
    fn what_is_not_base64_is_refused() {
        let cases = [
            "Zm9", "Zg=", "Zg", "Z===", "====", "=", "Zg=v", "Zg==Zg==", "Zm-_", "Zm9v\n", "Zm 9", "Zh==",
            "Zm9=", "Zmé",
        ];
        for base64 in cases {
            assert_eq!(decode(base64), None, "{base64:?}");
        }
    }
}
