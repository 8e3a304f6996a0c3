//! A file that is sent with a message: its metadata.
//!
//! The bytes are a blob in the store, found by their hash.

use serde_json::Number;

/// Metadata of a file that belongs to a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// File name, with an extension.
    pub filename: String,
    /// MIME type; decides how the provider treats the file.
    pub content_type: String,
    /// How the file is displayed, if the producer says.
    pub send_mode: Option<SendMode>,
    /// Whether the file is a voice note.
    pub voice_note: bool,
    /// Playing time, in seconds.
    pub duration: Option<Number>,
    /// Length in bytes, never 0.
    pub size: u64,
    /// SHA-256 hash of the bytes, in hexadecimal.
    pub sha256: String,
}

words! {
    /// How an image, audio or video file is displayed.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum SendMode {
        /// As the provider displays its own media.
        Native = "native",
        /// As a file to download.
        File = "file",
    }
}

/// The kind of file that Unipile infers from the MIME type.
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
    /// Returns the kind of `content_type`.
    pub fn of(content_type: &str) -> Self {
        match content_type.split('/').next() {
            Some("image") => Self::Image,
            Some("audio") => Self::Audio,
            Some("video") => Self::Video,
            _ => Self::Document,
        }
    }
}

/// The bytes of an attachment, stored once no matter how many messages carry them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 hash of the bytes, in hexadecimal.
    pub sha256: String,
    /// The content of the file.
    pub bytes: std::sync::Arc<Vec<u8>>,
}
