//! The SQL interface from the producer's side: a connection of another program.
//!
//! Used by the demo and by tests in Rust; other programs use their own SQLite.

use std::path::Path;

use sqlx::{ConnectOptions, Connection};

use crate::store::sqlite::rows::Result;

/// A message as another program inserts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExternalInsert {
    /// The account that sends.
    pub account_id: String,
    /// An existing chat.
    pub chat_id: Option<String>,
    /// Users to start a chat with, instead of `chat_id`.
    pub users_ids: Option<String>,
    pub text: String,
}

/// Inserts `rows` in one transaction on a connection of its own.
///
/// # Errors
/// Returns an error if SQLite fails, for example with the message of the insert trigger; no row is inserted then.
pub(crate) async fn insert_from_outside(database: &Path, rows: &[ExternalInsert]) -> Result<()> {
    const SQL: &str = "INSERT INTO messages (account_id, chat_id, users_ids, text) VALUES (?1, ?2, ?3, ?4)";
    let options =
        sqlx::sqlite::SqliteConnectOptions::new().filename(database).pragma("wal_autocheckpoint", "0");
    let mut connection = options.disable_statement_logging().connect().await?;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for row in rows {
        let query =
            sqlx::query(SQL).bind(&row.account_id).bind(&row.chat_id).bind(&row.users_ids).bind(&row.text);
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    connection.close().await?;
    Ok(())
}
