//! A file that goes with a message: what is known of it. Its bytes are a blob of the store, known by their hash.

use serde_json::Number;

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, with an extension.
    pub filename: String,
    /// Its MIME type; decides how the provider treats it.
    pub content_type: String,
    /// How it is shown, where the producer says.
    pub send_mode: Option<SendMode>,
    /// Whether it is a voice note.
    pub voice_note: bool,
    /// How long it plays, in seconds.
    pub duration: Option<Number>,
    /// Its length in bytes, never 0.
    pub size: u64,
    /// The hash of its bytes, in hexadecimal.
    pub sha256: String,
}

/// How a picture, a sound or a film is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendMode {
    /// As the provider would show its own.
    Native,
    /// As a file to download.
    File,
}

impl SendMode {
    /// Unipile's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::File => "file",
        }
    }

    /// The mode of that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Native, Self::File].into_iter().find(|mode| mode.as_str() == word)
    }
}

/// What kind of file Unipile takes it for, by its MIME type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// `image/*`.
    Image,
    /// `audio/*`.
    Audio,
    /// `video/*`.
    Video,
    /// Everything else; a document is always a file to download.
    Document,
}

impl Medium {
    /// The kind of `content_type`.
    pub fn of(content_type: &str) -> Self {
        match content_type.split('/').next() {
            Some("image") => Self::Image,
            Some("audio") => Self::Audio,
            Some("video") => Self::Video,
            _ => Self::Document,
        }
    }
}

/// The bytes of an attachment, stored once however many messages carry them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Their hash, in hexadecimal.
    pub sha256: String,
    /// The bytes.
    pub bytes: std::sync::Arc<Vec<u8>>,
}
