//! Queues a message again that ended without being sent, under its own id.
//!
//! A message that may have reached its recipient is never retried (P2). The whole message is validated again, and must
//! neither repeat another one nor be for a person who is suppressed or has answered (P5).

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::change::{Changed, Context, Refusal, state_value};
use super::edit::{Checked, draft, make_account, may_have_been_sent, may_not_be_sent};
use super::sequence::{self, Sequence};
use super::steps;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::message::{MessageId, NewMessage, Seq};
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::store::sqlite::rows::{self, Result};

/// Queues a message again.
pub(super) async fn retry(
    connection: &mut SqliteConnection,
    context: &Context<'_>,
    row: &SqliteRow,
    state: StateName,
) -> Checked<Changed> {
    if let Some(refusal) = has_reached(connection, row).await? {
        return Ok(Err((vec![refusal], None)));
    }
    let mut draft = match draft(row)? {
        Ok(draft) => draft,
        Err(refusal) => return Ok(Err((vec![refusal], None))),
    };
    // The placeholders of a text that was accepted are meant.
    if rows::time(row, "due_at")?.is_some() {
        draft.allow_placeholders = Some(true);
    }
    let message = match draft.validate(context.limits, context.now) {
        Ok(message) => message,
        Err(errors) => return Ok(Err((errors, None))),
    };
    let seq = Seq(row.try_get("seq")?);
    if let Some(refusal) = key_is_taken(connection, &message, seq).await? {
        return Ok(Err(refusal));
    }
    if let Some(refusal) = may_not_be_sent(connection, context, (&message, seq), true).await? {
        return Ok(Err(refusal));
    }
    let key = steps::key(connection, &message).await?;
    let sequence = sequence::of(connection, seq, key.as_deref()).await?;
    if let Some((problem, fix)) = sequence.as_ref().and_then(Sequence::not_again) {
        let refusal = FieldError::new(FieldErrorCode::OutOfStep, "step", problem, fix);
        return Ok(Err((vec![refusal], sequence.and_then(|sequence| sequence.other))));
    }
    make_account(connection, &message.account_id, context.now).await?;
    let others = queue(connection, context, &message, (seq, key)).await?;
    let (old, new) = (state_value(state), state_value(StateName::Queued));
    Ok(Ok(Changed { state: StateName::Queued, moved_to: None, others, old, new }))
}

/// Returns why a message is not retried because it may have been sent, or the person answered.
async fn has_reached(connection: &mut SqliteConnection, row: &SqliteRow) -> Result<Option<FieldError>> {
    const ANSWERED: &str = "SELECT EXISTS (SELECT 1 FROM answered r WHERE r.seq = ?1)";
    let refuse =
        |problem: &str, fix: &str| Ok(Some(FieldError::new(FieldErrorCode::WrongState, "id", problem, fix)));
    if may_have_been_sent(connection, row).await? {
        let fix = "look into the chat, and queue a new message if it is not there";
        return refuse("may have reached the recipient, so it is not sent again", fix);
    }
    let query = sqlx::query_scalar(ANSWERED).bind(row.try_get::<i64, _>("seq")?);
    if query.fetch_one(connection).await? {
        let fix = "read the answer, and queue a new message";
        return refuse("was stopped because the person answered", fix);
    }
    Ok(None)
}

/// Returns the message that has taken over the key, if one has.
async fn key_is_taken(
    connection: &mut SqliteConnection,
    message: &NewMessage,
    seq: Seq,
) -> Result<Option<Refusal>> {
    const SQL: &str = "SELECT m.id FROM messages m INDEXED BY messages_dedupe WHERE m.dedupe_key = ?1 AND m.seq <> ?2 \
           AND m.state <> 'failed' AND m.state <> 'cancelled' AND m.state <> 'rejected'";
    let Some(key) = &message.dedupe_key else { return Ok(None) };
    let found = sqlx::query(SQL).bind(key).bind(seq.0).fetch_optional(connection).await?;
    let Some(found) = found else { return Ok(None) };
    let other = rows::message_id(&found, "id")?;
    let problem = format!("belongs to message {other} now");
    let fix = "use that message; this one stays as it is";
    let refusal = FieldError::new(FieldErrorCode::DedupeConflict, "dedupe_key", problem, fix);
    Ok(Some((vec![refusal], Some(other))))
}

/// Queues the message at the end of its lane, with all its retries. Returns the later steps that come back with it.
async fn queue(
    connection: &mut SqliteConnection,
    context: &Context<'_>,
    message: &NewMessage,
    (seq, step_key): (Seq, Option<String>),
) -> Result<Vec<MessageId>> {
    const QUEUE: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'queued', reason = ?2, error = NULL, \
           due_at = ?3, retry_at = NULL, retries = 0, route = NULL, held_at = NULL, run = ?4, step_sent_at = NULL, wait_until = NULL, wait_held_at = NULL, \
           step_key = CASE WHEN step IS NOT NULL THEN coalesce(step_key, ?8) END, updated_at = ?5, lane = ?6, \
           thread = coalesce((SELECT 'user:' || c.user_id FROM conversations c WHERE c.account_id = messages.account_id \
             AND c.chat_id = messages.chat_id), ?7) WHERE seq = ?1";
    let due_at = super::insert::due_at(message, context.now);
    let reason = super::insert::queued_as(message, due_at, context.now);
    let query = sqlx::query(QUEUE).bind(seq.0).bind(reason.as_str()).bind(time_text(due_at));
    let query = query.bind(context.run).bind(time_text(context.now)).bind(message.lane().text());
    let query = query.bind(message.target.thread()).bind(step_key);
    query.execute(&mut *connection).await?;
    match message.step {
        Some(_) => sequence::queue_again(connection, seq, context.run, context.now).await,
        None => Ok(Vec::new()),
    }
}
