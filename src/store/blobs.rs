//! The bytes of attachments: stored once however many messages carry them, in pieces, so that sending one never holds
//! it as a whole. They are written in the transaction of the message that brings them: a refused one leaves none.

use serde_json::{Number, Value, json};
use sqlx::SqliteConnection;

use super::Store;
use super::rows::{Result, corrupt};
use crate::domain::attachment::{Attachment, Blob, SendMode};

/// Bytes of a piece: a multiple of 3, so that pieces in base64 can simply follow each other.
const PIECE_BYTES: usize = 192 * 1024;

impl Store {
    /// One piece of a blob; `None` after the last.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn blob_piece(&self, sha256: &str, piece: u32) -> Result<Option<Vec<u8>>> {
        const SQL: &str = "SELECT bytes FROM blob_pieces WHERE sha256 = ?1 AND piece = ?2";
        let query = sqlx::query_scalar(SQL).bind(sha256).bind(piece);
        Ok(query.fetch_optional(&self.inner.readers).await?)
    }
}

/// Stores `blob` unless it is there.
pub(super) async fn put(connection: &mut SqliteConnection, blob: &Blob) -> Result<()> {
    const BLOB: &str = "INSERT INTO blobs (sha256, size) VALUES (?1, ?2) ON CONFLICT (sha256) DO NOTHING";
    const PIECE: &str = "INSERT INTO blob_pieces (sha256, piece, bytes) VALUES (?1, ?2, ?3)";
    let size = i64::try_from(blob.bytes.len()).unwrap_or(i64::MAX);
    let stored = sqlx::query(BLOB).bind(&blob.sha256).bind(size).execute(&mut *connection).await?;
    if stored.rows_affected() == 0 {
        return Ok(());
    }
    for (piece, bytes) in (0_u32..).zip(blob.bytes.chunks(PIECE_BYTES)) {
        sqlx::query(PIECE).bind(&blob.sha256).bind(piece).bind(bytes).execute(&mut *connection).await?;
    }
    Ok(())
}

/// How attachments stand in `messages.attachments` once they are accepted: without their bytes.
pub(super) fn to_json(attachments: &[Attachment]) -> Option<Value> {
    let one = |attachment: &Attachment| {
        let mut row = json!({
            "filename": attachment.filename,
            "content_type": attachment.content_type,
            "size": attachment.size,
            "sha256": attachment.sha256,
        });
        if let Some(mode) = attachment.send_mode {
            row["send_mode"] = json!(mode.as_str());
        }
        if attachment.voice_note {
            row["voice_note"] = json!(true);
        }
        if let Some(duration) = &attachment.duration {
            row["duration"] = json!(duration);
        }
        row
    };
    (!attachments.is_empty()).then(|| attachments.iter().map(one).collect())
}

/// Reads what [`to_json`] wrote.
pub(super) fn from_json(value: &Value) -> Result<Vec<Attachment>> {
    let one = |row: &Value| {
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let duration: Option<Number> = row.get("duration").and_then(|number| number.as_number().cloned());
        Some(Attachment {
            filename: text("filename")?,
            content_type: text("content_type")?,
            send_mode: text("send_mode").as_deref().and_then(SendMode::parse),
            voice_note: row.get("voice_note").is_some_and(|yes| yes == true),
            duration,
            size: row.get("size").and_then(Value::as_u64)?,
            sha256: text("sha256")?,
        })
    };
    let rows = value.as_array().ok_or_else(|| corrupt("attachments", "no array"))?;
    rows.iter()
        .map(|row| one(row).ok_or_else(|| corrupt("attachments", "a file that lacks a field")))
        .collect()
}
