//! Reads the rows that other programs INSERT, for `admission.rs`. A row that cannot be read is reported as such, and
//! rejected there.

use futures_util::{TryStreamExt, future};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteExecutor};

use crate::domain::json;
use crate::domain::message::{Draft, MessageId, Seq};
use crate::store::sqlite::rows::{self, Result};
use crate::store::{Store, StoreError};

/// A row inserted by another program and not yet admitted.
#[derive(Debug, Clone)]
pub struct Inserted {
    /// Its sequence number in the queue.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// When it was inserted.
    pub created_at: Timestamp,
    /// The message; `Err` names what could not be read.
    pub draft: std::result::Result<Draft, String>,
    /// Its attachments, as the producer wrote them.
    pub attachments: Option<Value>,
}

/// Selects the oldest rows after a given one: limited in number, and to 16 MiB in total (but always at least one
/// row), because a row may carry 20 MB in base64.
pub(in crate::store) const INSERTED: &str = "SELECT m.seq, m.id, m.created_at, m.account_id, m.chat_id, m.users_ids, m.inbox_id, m.\"group\", m.name, \
       m.specifics, m.options, m.quote_id, m.forward, m.attachments, m.text, m.typing, m.not_before, m.expires_at, \
       m.campaign, m.priority, m.urgent, m.ignore_hours, m.allow_repeat, m.allow_placeholders, m.stop_on_reply, m.step, m.wait, m.meta, m.needs, m.dedupe_key \
     FROM (SELECT seq, sum(bytes) OVER (ORDER BY seq) - bytes AS before FROM \
            (SELECT seq, coalesce(octet_length(attachments), 0) + octet_length(text) AS bytes FROM messages \
             WHERE state = 'new' AND seq > ?2 ORDER BY seq LIMIT ?1 + 0)) AS t \
     CROSS JOIN messages AS m ON m.seq = t.seq WHERE t.before < 16777216 ORDER BY t.seq";

impl Store {
    /// Returns rows that other programs inserted and that are not yet admitted, oldest first.
    pub async fn inserted(&self, limit: u32) -> Result<Vec<Inserted>> {
        inserted(&self.inner.readers, Seq(0), limit).await
    }
}

pub(in crate::store) async fn inserted(
    connection: impl SqliteExecutor<'_>,
    after: Seq,
    limit: u32,
) -> Result<Vec<Inserted>> {
    // One at a time: SQLite's copies of many rows take several times their memory.
    let rows = sqlx::query(INSERTED).bind(limit).bind(after.0).fetch(connection);
    rows.map_err(StoreError::from).and_then(|row| future::ready(read_inserted(&row))).try_collect().await
}

/// Reads an inserted row. An unreadable row is reported, never skipped: it must not block the others.
fn read_inserted(row: &SqliteRow) -> Result<Inserted> {
    let seq = Seq(row.try_get("seq")?);
    let (id, created_at) = (rows::message_id(row, "id")?, rows::required_time(row, "created_at")?);
    let attachments = match readable_json(row, "attachments") {
        Ok(attachments) => attachments,
        Err(why) => return Ok(Inserted { seq, id, created_at, draft: Err(why), attachments: None }),
    };
    Ok(Inserted { seq, id, created_at, draft: read_draft(row), attachments })
}

pub(super) fn read_draft(row: &SqliteRow) -> std::result::Result<Draft, String> {
    let users_ids = match readable_text(row, "users_ids")? {
        None => None,
        Some(text) => Some(
            rows::parse_users_ids(&text)
                .ok_or("`users_ids` is not an array of strings; queue one message per person")?,
        ),
    };
    let flag =
        |column| row.try_get::<Option<bool>, _>(column).map_err(|_| format!("`{column}` is neither 0 nor 1"));
    Ok(Draft {
        account_id: readable_text(row, "account_id")?,
        chat_id: readable_text(row, "chat_id")?,
        users_ids,
        inbox_id: readable_text(row, "inbox_id")?,
        group: flag("group")?,
        name: readable_text(row, "name")?,
        specifics: readable_json(row, "specifics")?,
        options: readable_json(row, "options")?,
        quote_id: readable_text(row, "quote_id")?,
        forward: readable_json(row, "forward")?,
        attachments: Vec::new(),
        text: readable_text(row, "text")?,
        typing: flag("typing")?,
        not_before: readable_text(row, "not_before")?,
        expires_at: readable_text(row, "expires_at")?,
        campaign: readable_text(row, "campaign")?,
        priority: row
            .try_get("priority")
            .map_err(|_| "`priority` is not a whole number from -100 to 100".to_owned())?,
        urgent: flag("urgent")?,
        ignore_hours: flag("ignore_hours")?,
        allow_repeat: flag("allow_repeat")?,
        allow_placeholders: flag("allow_placeholders")?,
        stop_on_reply: flag("stop_on_reply")?,
        step: row.try_get("step").map_err(|_| "`step` is not a whole number from 1 to 20".to_owned())?,
        wait: readable_text(row, "wait")?,
        meta: readable_json(row, "meta")?,
        needs: readable_text(row, "needs")?,
        dedupe_key: readable_text(row, "dedupe_key")?,
    })
}

/// SQLite accepts any bytes as text; text that is not UTF-8 cannot be sent.
fn readable_text(row: &SqliteRow, column: &str) -> std::result::Result<Option<String>, String> {
    row.try_get(column).map_err(|_| format!("`{column}` is not UTF-8; encode it so before it is inserted"))
}

/// SQLite accepts JSON that cannot be sent: numbers out of range, unpaired surrogates, nesting without limit.
fn readable_json(row: &SqliteRow, column: &str) -> std::result::Result<Option<Value>, String> {
    let text = readable_text(row, column)?;
    let parsed = text.map(|text| json::parse(text.as_bytes())).transpose();
    parsed.map_err(|error| {
        let what = error.to_string();
        format!("`{column}` is JSON that cannot be read: {what}; write plain JSON")
    })
}
