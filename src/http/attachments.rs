//! The files of a message, from a path, base64 or an upload.
//!
//! Files are read here, once, so that the producer may delete a file as soon as its message is accepted. They are
//! checked here, because only this layer has the bytes.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::domain::attachment::{Attachment, Blob, Medium, SendMode};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::ids::is_invisible;

/// The fields of an attachment.
const FIELDS: [&str; 7] =
    ["path", "content", "filename", "content_type", "send_mode", "voice_note", "duration"];
/// Maximum number of files per message; LinkedIn publishes none.
const MOST: usize = 50;

/// Limits for attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachmentRules {
    /// Maximum total size of the files of one message, in bytes.
    pub max_bytes: u64,
    /// Folders from which files may be given by path; none: paths are refused.
    pub roots: Vec<PathBuf>,
}

/// Files uploaded with a message, by name; an entry of `attachments` without `path` and `content` refers to one of
/// them.
pub(crate) type Uploads = HashMap<String, Bytes>;

/// The files of one message: their metadata and their bytes.
pub(crate) type Loaded = (Vec<Attachment>, Vec<Blob>);

/// Reads and checks the `attachments` of a message; reports every problem.
pub(crate) fn load(
    value: Value,
    uploads: Uploads,
    rules: &AttachmentRules,
) -> Result<Loaded, Vec<FieldError>> {
    let Value::Array(list) = value else {
        let fix = "give an array of {\"path\" or \"content\", …}, see docs/messages.md";
        return Err(vec![FieldError::new(FieldErrorCode::WrongType, "attachments", "is not an array", fix)]);
    };
    let mut reading = Reading { rules, uploads, faults: Vec::new(), total: 0 };
    if list.len() > MOST {
        let problem = format!("holds {} files, {MOST} are allowed", list.len());
        reading.add(FieldErrorCode::TooLong, "attachments", problem, "send them with several messages");
        return Err(reading.faults);
    }
    let loaded: Vec<(Attachment, Blob)> =
        list.into_iter().enumerate().filter_map(|(index, one)| reading.one(index, one)).collect();
    if reading.faults.is_empty() { Ok(loaded.into_iter().unzip()) } else { Err(reading.faults) }
}

struct Reading<'a> {
    rules: &'a AttachmentRules,
    uploads: Uploads,
    faults: Vec<FieldError>,
    total: u64,
}

impl Reading<'_> {
    fn add(&mut self, code: FieldErrorCode, field: &str, problem: impl Into<String>, fix: &str) {
        self.faults.push(FieldError::new(code, field, problem, fix));
    }

    fn one(&mut self, index: usize, value: Value) -> Option<(Attachment, Blob)> {
        let at = format!("attachments[{index}]");
        let Value::Object(object) = value else {
            self.add(
                FieldErrorCode::WrongType,
                &at,
                "is not a JSON object",
                "give {\"path\" or \"content\", …}",
            );
            return None;
        };
        for name in object.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
            let mut refusal = FieldError::unknown_field(name, FIELDS);
            refusal.field = format!("{at}.{name}");
            self.faults.push(refusal);
        }
        let faults_before = self.faults.len();
        let filename = self.filename(&at, &object);
        // An upload is keyed by the name under which it was uploaded.
        let given = object.get("filename").and_then(Value::as_str).or(filename.as_deref());
        let bytes = self.bytes(&at, &object, given)?;
        let filename = filename?;
        let content_type = self.content_type(&at, &object, &filename, &bytes)?;
        let send_mode = self.send_mode(&at, &object, &content_type);
        let voice_note = self.voice_note(&at, &object, &content_type);
        let duration = match object.get("duration") {
            None => None,
            Some(Value::Number(number)) if number.as_f64().is_some_and(|seconds| seconds >= 0.0) => {
                Some(number.clone())
            }
            Some(_) => {
                let field = format!("{at}.duration");
                self.add(
                    FieldErrorCode::WrongType,
                    &field,
                    "is not a number of seconds",
                    "give a number, not negative",
                );
                None
            }
        };
        if self.faults.len() > faults_before {
            return None;
        }
        let sha256 = hex(&Sha256::digest(&bytes));
        let size = bytes.len() as u64;
        let blob = Blob { sha256: sha256.clone(), bytes: Arc::new(bytes) };
        Some((Attachment { filename, content_type, send_mode, voice_note, duration, size, sha256 }, blob))
    }

    /// Returns the given file name, or the last component of the path.
    fn filename(&mut self, at: &str, object: &Map<String, Value>) -> Option<String> {
        let field = format!("{at}.filename");
        let given = match object.get("filename") {
            Some(Value::String(name)) => Some(name.clone()),
            Some(_) => {
                self.add(FieldErrorCode::WrongType, &field, "is not a string", "give the file's name");
                return None;
            }
            None => object
                .get("path")
                .and_then(Value::as_str)
                .and_then(|path| Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned())),
        };
        let Some(name) = given.filter(|name| !name.trim().is_empty()) else {
            self.add(
                FieldErrorCode::MissingField,
                &field,
                "is missing",
                "give the file's name with its extension",
            );
            return None;
        };
        // Windows programs give the whole path.
        let name = name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
        let is_hidden = |c: char| c.is_control() || is_invisible(c);
        if name.len() > 255 || name.is_empty() || matches!(name, "." | "..") || name.chars().any(is_hidden) {
            let fix = "give a plain name of at most 255 bytes without control or direction characters, such as offer.pdf";
            self.add(FieldErrorCode::InvalidValue, &field, "is not a file name", fix);
            return None;
        }
        Some(name.to_owned())
    }

    fn bytes(&mut self, at: &str, object: &Map<String, Value>, name: Option<&str>) -> Option<Vec<u8>> {
        let bytes = match (object.get("path"), object.get("content")) {
            (Some(Value::String(path)), None) => self.file(&format!("{at}.path"), path)?,
            (None, Some(Value::String(content))) => self.base64(&format!("{at}.content"), content)?,
            (Some(_), Some(_)) => {
                self.add(
                    FieldErrorCode::Contradiction,
                    &format!("{at}.path"),
                    "cannot be combined with `content`",
                    "give one of them",
                );
                return None;
            }
            (None, None) => self.uploaded(at, name)?,
            (Some(_), None) | (None, Some(_)) => {
                self.add(
                    FieldErrorCode::WrongType,
                    at,
                    "has a `path` or `content` that is not a string",
                    "give a string",
                );
                return None;
            }
        };
        if bytes.is_empty() {
            self.add(
                FieldErrorCode::InvalidValue,
                at,
                "is an empty file",
                "leave it out, or give one with content",
            );
            return None;
        }
        self.takes(at, bytes.len() as u64).then_some(bytes)
    }

    /// Takes a file that was uploaded with the message.
    fn uploaded(&mut self, at: &str, name: Option<&str>) -> Option<Vec<u8>> {
        if let Some(bytes) = name.and_then(|name| self.uploads.remove(name)) {
            return Some(bytes.into());
        }
        let fix = "give `path`, or `content` in base64, or upload a file of this name (docs/messages.md)";
        self.add(FieldErrorCode::MissingField, at, "has neither `path` nor `content`", fix);
        None
    }

    /// Adds to the total and checks it; called before the bytes are read if their number is known.
    fn takes(&mut self, at: &str, bytes: u64) -> bool {
        self.total = self.total.saturating_add(bytes);
        let most = self.rules.max_bytes;
        if self.total > most {
            let problem =
                format!("brings the files of this message to {} bytes, {most} are allowed", self.total);
            let fix = "send smaller files, or several messages (LinkedIn takes 20 MB in all)";
            self.add(FieldErrorCode::TooLong, at, problem, fix);
        }
        self.total <= most
    }

    fn base64(&mut self, field: &str, content: &str) -> Option<Vec<u8>> {
        match STANDARD.decode(content) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                let fix = "encode the file with standard base64 and padding, without line ends";
                self.add(FieldErrorCode::InvalidValue, field, format!("is not base64: {error}"), fix);
                None
            }
        }
    }

    fn file(&mut self, field: &str, path: &str) -> Option<Vec<u8>> {
        const READABLE: &str = "give a file that the daemon can read";
        let refused = |reading: &mut Self, problem: String, fix: &str| {
            reading.add(FieldErrorCode::InvalidValue, field, problem, fix);
            None
        };
        if self.rules.roots.is_empty() {
            let fix = "set attachments.roots to the folders that may be read, or send `content`";
            return refused(self, "is a path, and none may be read".to_owned(), fix);
        }
        if !Path::new(path).is_absolute() {
            let fix = "give the whole path, beginning with /";
            return refused(self, format!("is not absolute: {path}"), fix);
        }
        // Symbolic links are resolved first: the real location of the file counts.
        let real = match std::fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => return refused(self, format!("cannot be read: {path}: {error}"), READABLE),
        };
        let inside = |root: &PathBuf| std::fs::canonicalize(root).is_ok_and(|root| real.starts_with(root));
        if !self.rules.roots.iter().any(inside) {
            let fix = "put the file into one of the folders of attachments.roots";
            return refused(self, format!("is outside the allowed folders: {path}"), fix);
        }
        match std::fs::metadata(&real) {
            Ok(found) if found.is_file() => {
                if found.len() > self.rules.max_bytes {
                    self.takes(field, found.len());
                    return None;
                }
            }
            Ok(_) => {
                let fix = "name a file, not a folder or a device";
                return refused(self, format!("is not a file: {path}"), fix);
            }
            Err(error) => return refused(self, format!("cannot be read: {path}: {error}"), READABLE),
        }
        // Bounds the read of a file that is growing.
        let most = self.rules.max_bytes.saturating_add(1);
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&real).and_then(|file| file.take(most).read_to_end(&mut bytes));
        match read {
            Ok(_) => Some(bytes),
            Err(error) => refused(
                self,
                format!("cannot be read: {path}: {error}"),
                "let the daemon's user read the file",
            ),
        }
    }

    /// Returns the given MIME type, or derives it from the name or the first bytes.
    fn content_type(
        &mut self,
        at: &str,
        object: &Map<String, Value>,
        filename: &str,
        bytes: &[u8],
    ) -> Option<String> {
        let field = format!("{at}.content_type");
        match object.get("content_type") {
            Some(Value::String(given)) if is_content_type(given) => Some(given.clone()),
            Some(given) => {
                let problem = format!("is not a MIME type: {given}");
                self.add(
                    FieldErrorCode::InvalidValue,
                    &field,
                    problem,
                    "write type/subtype, such as application/pdf",
                );
                None
            }
            None => {
                let by_name = mime_guess::from_path(filename).first_raw();
                let guessed = by_name.or_else(|| infer::get(bytes).map(|kind| kind.mime_type()));
                Some(guessed.unwrap_or("application/octet-stream").to_owned())
            }
        }
    }

    fn send_mode(&mut self, at: &str, object: &Map<String, Value>, content_type: &str) -> Option<SendMode> {
        let field = format!("{at}.send_mode");
        let value = object.get("send_mode")?;
        let Some(mode) = value.as_str().and_then(SendMode::parse) else {
            self.add(FieldErrorCode::InvalidValue, &field, format!("is {value}"), "use native or file");
            return None;
        };
        if mode == SendMode::Native && Medium::of(content_type) == Medium::Document {
            let problem = format!("is native for {content_type}, and a document is always a file");
            self.add(FieldErrorCode::Contradiction, &field, problem, "leave it out");
        }
        Some(mode)
    }

    fn voice_note(&mut self, at: &str, object: &Map<String, Value>, content_type: &str) -> bool {
        let field = format!("{at}.voice_note");
        match object.get("voice_note") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) if Medium::of(content_type) == Medium::Audio => {
                if object.get("send_mode").is_some_and(|mode| mode == "file") {
                    let fix = "leave send_mode out: a voice note is played, not downloaded";
                    self.add(
                        FieldErrorCode::Contradiction,
                        &field,
                        "cannot be combined with send_mode file",
                        fix,
                    );
                }
                true
            }
            Some(Value::Bool(true)) => {
                let problem = format!("is true for {content_type}");
                self.add(FieldErrorCode::Contradiction, &field, problem, "only audio can be a voice note");
                false
            }
            Some(_) => {
                self.add(FieldErrorCode::WrongType, &field, "is not a boolean", "give true or false");
                false
            }
        }
    }
}

fn is_content_type(text: &str) -> bool {
    let token = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    let essence = text.split(';').next().unwrap_or_default().trim();
    text.len() <= 200
        && essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype))
        && !text.chars().any(char::is_control)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
