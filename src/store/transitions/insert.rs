//! Writes messages from the socket into their rows.
//!
//! Many rows are one statement that reads one JSON document: the cost is the call to SQLite's thread, not the row. A
//! single row is bound value by value, because for one row, writing and reading the document costs more.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};

use super::clear::{self, Check, StatementsByScope};
use crate::domain::message::{Inbox, MessageId, NewMessage, Target, UserId};
use crate::domain::need::Need;
use crate::domain::reason::Reason;
use crate::domain::step::StepWait;
use crate::domain::time_text;
use crate::store::sqlite::rows::{self, Result};

/// The columns in the order of [`InsertedRow`], then those derived from them.
macro_rules! insert_into {
    ($($values:literal),+) => {
        concat!(
            "INSERT INTO messages (id, account_id, chat_id, users_ids, inbox_id, text, typing, not_before, expires_at, \
               campaign, dedupe_key, reason, due_at, thread, created_at, \"group\", name, specifics, quote_id, forward, \
               attachments, lane, priority, urgent, ignore_hours, allow_repeat, stop_on_reply, step, wait, meta, step_key, needs, updated_at, state, run) ",
            $($values,)+
            // Must match the words of the index `messages_dedupe`.
            " ON CONFLICT (dedupe_key) WHERE dedupe_key IS NOT NULL AND state <> 'failed' AND state <> 'cancelled' \
               AND state <> 'rejected' DO NOTHING"
        )
    };
}

pub(in crate::store) const INSERT_MANY: &str = insert_into!(
    "SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
       value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, coalesce((SELECT 'user:' || c.user_id FROM conversations c WHERE c.account_id = value ->> 1 \
         AND c.chat_id = value ->> 2), value ->> 13), value ->> 14, value ->> 15, \
       value ->> 16, value ->> 17, value ->> 18, value ->> 19, value ->> 20, value ->> 21, value ->> 22, value ->> 23, \
       value ->> 24, value ->> 25, value ->> 26, value ->> 27, value ->> 28, value ->> 29, value ->> 30, value ->> 31, value ->> 14, \
       'queued', ?2 \
     FROM jsonb_each(?1) WHERE true"
);

pub(in crate::store) const INSERT_ONE: &str = insert_into!(
    "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
       coalesce((SELECT 'user:' || c.user_id FROM conversations c WHERE c.account_id = ?2 AND c.chat_id = ?3), ?14), ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, \
       ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?15, 'queued', ?33)"
);

/// Writes one message, unless something keeps it out.
pub(in crate::store) static INSERT_CLEAR: StatementsByScope = LazyLock::new(|| {
    clear::by_scope("?34", "?35", |clear| {
        let sql = INSERT_ONE.replace("VALUES (", "SELECT ");
        sql.replace("?33) ON CONFLICT", &format!("?33 WHERE {clear} ON CONFLICT"))
    })
});

/// A message as its row: texts, numbers and nulls, by column.
pub(super) struct InsertedRow([Value; 32]);

impl InsertedRow {
    /// Builds the row of a message that arrived at `now`; `step_key` is whom its step is for.
    pub(super) fn of(id: MessageId, message: &NewMessage, step_key: Option<&str>, now: Timestamp) -> Self {
        let (chat_id, users_ids, inbox, forward) = match &message.target {
            Target::Chat(chat_id) => (Some(chat_id.as_str()), None, None, None),
            Target::User { user_id, inbox } => (None, Some(json!([user_id.as_str()])), Some(inbox), None),
            Target::Group { users_ids, inbox } => {
                let ids: Vec<&str> = users_ids.iter().map(UserId::as_str).collect();
                (None, Some(json!(ids)), Some(inbox), None)
            }
            Target::Forward { source_chat_id, source_message_id, chat_id } => {
                let source = json!({ "chat_id": source_chat_id.as_str(), "message_id": source_message_id });
                (Some(chat_id.as_str()), None, None, Some(source))
            }
        };
        let inbox_id = match inbox {
            None | Some(Inbox::OfPolicy) => None,
            Some(Inbox::Without) => Some(""),
            Some(Inbox::Named(id)) => Some(id.as_str()),
        };
        let due_at = due_at(message, now);
        let reason = queued_as(message, due_at, now);
        Self([
            id.0.hyphenated().to_string().into(),
            message.account_id.as_str().into(),
            chat_id.into(),
            users_ids.map(|ids| ids.to_string()).into(),
            inbox_id.into(),
            message.text.as_str().into(),
            message.typing.map(i32::from).into(),
            message.not_before.map(time_text).into(),
            message.expires_at.map(time_text).into(),
            message.campaign.as_deref().into(),
            message.dedupe_key.as_deref().into(),
            reason.as_str().into(),
            time_text(due_at).into(),
            message.target.thread().into(),
            time_text(now).into(),
            matches!(message.target, Target::Group { .. }).then_some(1).into(),
            message.extras.name.as_deref().into(),
            message.extras.specifics.as_ref().map(|specifics| specifics.tree().to_string()).into(),
            message.extras.quote_id.as_deref().into(),
            forward.map(|source| source.to_string()).into(),
            rows::attachments_to_json(&message.extras.attachments).map(|files| files.to_string()).into(),
            message.lane().text().into(),
            (message.precedence.priority != 0).then_some(message.precedence.priority).into(),
            message.precedence.urgent.then_some(1).into(),
            message.precedence.ignore_hours.then_some(1).into(),
            message.precedence.allow_repeat.then_some(1).into(),
            message.stop_on_reply.map(i32::from).into(),
            message.step.map(|step| step.number).into(),
            message.step.and_then(|step| step.wait).map(StepWait::text).into(),
            message.meta.as_ref().map(Value::to_string).into(),
            step_key.into(),
            message.needs.map(Need::as_str).into(),
        ])
    }
}

type Insert<'q> = Query<'q, Sqlite, SqliteArguments>;

impl InsertedRow {
    /// Binds the values of the row from `?1` on.
    fn bind(self, query: Insert<'_>) -> Insert<'_> {
        self.0.into_iter().fold(query, |query, value| match value {
            Value::String(text) => query.bind(text),
            number_or_null => query.bind(number_or_null.as_i64()),
        })
    }
}

/// Writes one message unless something keeps it out; returns whether it did.
pub(super) async fn insert_clear(
    connection: &mut SqliteConnection,
    run: i64,
    row: InsertedRow,
    check: Check,
) -> Result<bool> {
    let query = row.bind(sqlx::query(check.of_scope(&INSERT_CLEAR))).bind(run);
    let query = query.bind(check.recipients).bind(check.sought);
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

/// Writes `rows`, except those whose `dedupe_key` is taken. Returns how many were written.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    run: i64,
    rows: Vec<InsertedRow>,
) -> Result<u64> {
    let query = match <[InsertedRow; 1]>::try_from(rows) {
        Ok([only]) => only.bind(sqlx::query(INSERT_ONE)),
        Err(none) if none.is_empty() => return Ok(0),
        Err(many) => {
            let document: Value = many.into_iter().map(|row| Value::Array(row.0.into())).collect();
            sqlx::query(INSERT_MANY).bind(document.to_string())
        }
    };
    Ok(query.bind(run).execute(connection).await?.rows_affected())
}

/// Returns the reason with which a message enters the queue.
pub(super) fn queued_as(message: &NewMessage, due_at: Timestamp, now: Timestamp) -> Reason {
    match message.step {
        Some(step) if step.number > 1 => Reason::StepBefore,
        Some(_) | None if due_at > now => Reason::Scheduled,
        Some(_) | None => Reason::Turn,
    }
}

pub(super) fn due_at(message: &NewMessage, arrived_at: Timestamp) -> Timestamp {
    message.not_before.map_or(arrived_at, |not_before| not_before.max(arrived_at))
}
