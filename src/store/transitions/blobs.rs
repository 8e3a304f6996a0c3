//! The bytes of attachments: stored once however many messages carry them, in pieces, so that sending one never holds
//! all of it in memory. They are written in the transaction of their message, so a refused message leaves none.

use sqlx::SqliteConnection;

use crate::domain::attachment::Blob;
use crate::store::Store;
use crate::store::sqlite::rows::Result;

/// Bytes per piece: a multiple of 3, so that the base64 of pieces can be concatenated.
const PIECE_BYTES: usize = 192 * 1024;

impl Store {
    /// Returns one piece of a blob; `None` after the last.
    pub(crate) async fn blob_piece(&self, sha256: &str, piece: u32) -> Result<Option<Vec<u8>>> {
        const SQL: &str = "SELECT bytes FROM blob_pieces WHERE sha256 = ?1 AND piece = ?2";
        let query = sqlx::query_scalar(SQL).bind(sha256).bind(piece);
        Ok(query.fetch_optional(&self.inner.readers).await?)
    }
}

/// Stores `blob` unless it exists.
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

/// Takes its files from a message, and removes those that no message carries any more. Returns how many were removed.
pub(in crate::store) async fn drop_files(connection: &mut SqliteConnection, seq: i64) -> Result<u64> {
    const FILES: &str = "DELETE FROM carried_files WHERE seq = ?1 RETURNING sha256";
    const PIECES: &str = "DELETE FROM blob_pieces WHERE sha256 = ?1 \
         AND NOT EXISTS (SELECT 1 FROM carried_files f WHERE f.sha256 = ?1)";
    const BLOB: &str = "DELETE FROM blobs WHERE sha256 = ?1 AND NOT EXISTS (SELECT 1 FROM carried_files f WHERE f.sha256 = ?1)";
    let files: Vec<String> = sqlx::query_scalar(FILES).bind(seq).fetch_all(&mut *connection).await?;
    let mut removed = 0;
    for sha256 in files {
        sqlx::query(PIECES).bind(&sha256).execute(&mut *connection).await?;
        removed += sqlx::query(BLOB).bind(&sha256).execute(&mut *connection).await?.rows_affected();
    }
    Ok(removed)
}
