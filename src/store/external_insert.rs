//! The SQL door from its other side: a connection that is not the daemon's, as any program's would be.
//!
//! For the demo and for tests in Rust; every other program brings its own SQLite.

use std::path::Path;

use sqlx::{ConnectOptions, Connection};

use super::rows::Result;

/// A message as another program inserts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalInsert {
    /// The account that sends.
    pub account_id: String,
    /// A chat that exists.
    pub chat_id: Option<String>,
    /// Or a user to start one with.
    pub users_ids: Option<String>,
    /// The text.
    pub text: String,
}

/// Inserts `rows` in one transaction of a connection of its own.
///
/// # Errors
/// What SQLite says, such as the words of the insert trigger; then none is inserted.
pub async fn insert_from_outside(database: &Path, rows: &[ExternalInsert]) -> Result<()> {
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
