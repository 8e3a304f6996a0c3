//! Edits a stored message: its text, its order, its times, its label or its account.
//!
//! The whole message is validated again as it will be, with the validation of new messages, and must neither repeat
//! another one nor be for a suppressed person. A queued message keeps its place, unless the edit concerns its order. A
//! message that has ended only changes its values; `retry` queues it.

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::change::{Changed, Context, Refusal};
use super::enqueue::MAKE_ACCOUNTS;
use super::inserted::read_draft;
use super::repeats::{self, Sought};
use super::sequence;
use super::suppressed::{self, Recipients};
use crate::domain::command::{Change, Edit};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::message::{AccountId, Draft, NewMessage, Seq};
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::store::sqlite::rows::{self, Result};

/// A result that a check of the message may refuse.
pub(super) type Checked<T> = Result<std::result::Result<T, Refusal>>;

/// Edits a message. Returns `None` if it has these values already.
pub(super) async fn edit(
    connection: &mut SqliteConnection,
    context: &Context<'_>,
    row: &SqliteRow,
    state: StateName,
    edit: &Edit,
) -> Checked<Option<Changed>> {
    let seq = Seq(row.try_get("seq")?);
    let was = rows::account_id(row)?;
    let moves = edit.account_id.as_deref().is_some_and(|to| to.trim() != was.as_str());
    if moves && let Some(refusal) = cannot_move(connection, row, &was).await? {
        return Ok(Err((vec![refusal], None)));
    }
    let mut draft = match draft(row)? {
        Ok(draft) => draft,
        Err(refusal) => return Ok(Err((vec![refusal], None))),
    };
    // The placeholders of a text that was accepted are meant.
    if edit.text.is_none() && state != StateName::Rejected {
        draft.allow_placeholders = Some(true);
    }
    let allows = edit.text.is_some() && edit.allow_placeholders;
    edit.apply(&mut draft);
    let message = match draft.validate(context.limits, context.now) {
        Ok(message) => message,
        Err(errors) => return Ok(Err((errors, None))),
    };
    if let Some(refusal) = breaks_sequence(connection, row, &message, seq, moves).await? {
        return Ok(Err((vec![refusal], None)));
    }
    let (old, mut new) = differences(row, &message)?;
    if old.is_empty() {
        return Ok(Ok(None));
    }
    if (moves || edit.text.is_some())
        && let Some(refusal) = may_not_be_sent(connection, context, (&message, seq), moves).await?
    {
        return Ok(Err(refusal));
    }
    if moves {
        make_account(connection, &message.account_id, context.now).await?;
    }
    let thread = rows::shown_text(row, "thread")?;
    if state == StateName::Queued {
        leave(connection, seq).await?;
        write(connection, seq, &message, allows, context.now).await?;
        let place = Place::of(row, edit, &message, moves, context.now)?;
        place.write(connection, seq, &message).await?;
    } else {
        write(connection, seq, &message, allows, context.now).await?;
    }
    // A row that was not admitted is none of the person's steps yet.
    let others = match moves && message.step.is_some() && state != StateName::Rejected {
        true => sequence::move_with(connection, seq, &message.account_id, context.now).await?,
        false => Vec::new(),
    };
    if !others.is_empty() {
        let ids: Vec<String> = others.iter().map(ToString::to_string).collect();
        new.insert("moved_with".to_owned(), json!(ids));
    }
    if let Some(thread) = thread.filter(|_| state == StateName::Queued || !others.is_empty()) {
        for account in std::iter::once(&was).chain(moves.then_some(&message.account_id)) {
            join(connection, account, &thread).await?;
        }
    }
    let moved_to = moves.then(|| message.account_id.clone());
    Ok(Ok(Some(Changed { state, moved_to, others, old: Value::Object(old), new: Value::Object(new) })))
}

/// Reads the message as a draft. A row that was never admitted keeps its files as its producer wrote them, so they
/// were not stored.
pub(super) fn draft(row: &SqliteRow) -> Result<std::result::Result<Draft, FieldError>> {
    let refuse = |problem: String, fix: &str| {
        Ok(Err(FieldError::new(FieldErrorCode::InvalidValue, "id", problem, fix)))
    };
    let files = rows::shown_text(row, "attachments")?;
    if rows::time(row, "due_at")?.is_none() && files.is_some() {
        let problem = "was never accepted, so its files were not stored".to_owned();
        return refuse(problem, "queue a new message with them");
    }
    match read_draft(row) {
        Ok(draft) => {
            let attachments = rows::extras(row)?.attachments;
            // The chat that was started for the users.
            let chat_id = draft.chat_id.filter(|_| draft.users_ids.is_none());
            Ok(Ok(Draft { attachments, chat_id, ..draft }))
        }
        Err(why) => refuse(format!("cannot be read: {why}"), "queue a new message"),
    }
}

/// Returns why a message cannot go from another account.
async fn cannot_move(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
    was: &AccountId,
) -> Result<Option<FieldError>> {
    let refuse = |problem: String, fix: &str| {
        Ok(Some(FieldError::new(FieldErrorCode::Contradiction, "account_id", problem, fix)))
    };
    if row.try_get_unchecked::<Option<&[u8]>, _>("users_ids")?.is_none() {
        let chat = rows::shown_text(row, "chat_id")?.unwrap_or_default();
        let problem = format!("cannot be changed: the chat {chat} belongs to {was}");
        return refuse(problem, "queue a new message with `users_ids` on the other account");
    }
    if may_have_been_sent(connection, row).await? {
        let problem = format!("cannot be changed: it may have reached the recipient from {was}");
        return refuse(problem, "look into the chat, then cancel it or queue a new message");
    }
    Ok(None)
}

/// Returns why an edit would tear a step from the others of its campaign and person.
async fn breaks_sequence(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
    message: &NewMessage,
    seq: Seq,
    moves: bool,
) -> Result<Option<FieldError>> {
    let Some(sequence) = sequence::of(connection, seq, None).await? else { return Ok(None) };
    let refuse = |field: &str, problem: &str, fix: &str| {
        Ok(Some(FieldError::new(FieldErrorCode::Contradiction, field, problem, fix)))
    };
    if rows::shown_text(row, "campaign")? != message.campaign {
        let fix = "cancel it, and queue a new message with the other label";
        return refuse("campaign", "cannot be changed: the message is a step of it", fix);
    }
    if moves && sequence.has_begun {
        let fix = "leave it there; only a person who was sent no step yet can be moved";
        return refuse("account_id", "cannot be changed: the account has begun to write to this person", fix);
    }
    Ok(None)
}

/// Returns whether a call of the message may have reached the recipient.
pub(super) async fn may_have_been_sent(connection: &mut SqliteConnection, row: &SqliteRow) -> Result<bool> {
    const SQL: &str = "SELECT EXISTS (SELECT 1 FROM attempts t WHERE t.seq = ?1 \
         AND (t.outcome IS NULL OR t.outcome IN ('accepted', 'throttled', 'uncertain')))";
    let query = sqlx::query_scalar(SQL).bind(row.try_get::<i64, _>("seq")?);
    Ok(query.fetch_one(connection).await?)
}

/// Returns why a message, as it will be, must not be sent: its person is suppressed, or another message says the same.
pub(super) async fn may_not_be_sent(
    connection: &mut SqliteConnection,
    context: &Context<'_>,
    (message, seq): (&NewMessage, Seq),
    asks_for_suppression: bool,
) -> Result<Option<Refusal>> {
    if asks_for_suppression {
        let found = suppressed::find(connection, std::iter::once(Recipients::of(message))).await?;
        if !found.is_empty() {
            let problem = "is for a person or a chat on the suppression list";
            let fix = "nothing is sent to them; `outboxd suppress check` shows the entry";
            let refusal = FieldError::new(FieldErrorCode::Suppressed, "id", problem, fix);
            return Ok(Some((vec![refusal], None)));
        }
    }
    let Some(sought) = Sought::of(message, context.repeats) else { return Ok(None) };
    let Some(other) = repeats::other(connection, sought, vec![seq.0]).await? else { return Ok(None) };
    let fix = "write something else; a message that may say the same again has `allow_repeat`";
    let refusal = FieldError::new(FieldErrorCode::RepeatedText, "text", other.to_string(), fix);
    Ok(Some((vec![refusal], Some(other.id))))
}

/// Creates the row of an account that has none.
pub(super) async fn make_account(
    connection: &mut SqliteConnection,
    account: &AccountId,
    now: Timestamp,
) -> Result<()> {
    let query = sqlx::query(MAKE_ACCOUNTS).bind(json!([account.as_str()]).to_string());
    query.bind(time_text(now)).execute(connection).await?;
    Ok(())
}

/// Returns the values that differ, before and after; of a text, its length and its hash (P8).
fn differences(row: &SqliteRow, message: &NewMessage) -> Result<(Map<String, Value>, Map<String, Value>)> {
    let text = rows::shown_text(row, "text")?.unwrap_or_default();
    let priority: Option<i64> = row.try_get("priority")?;
    let time = |at: Option<Timestamp>| json!(at.map(time_text));
    let pairs = [
        ("account_id", json!(rows::shown_text(row, "account_id")?), json!(message.account_id.as_str())),
        ("text", digest(&text), digest(&message.text)),
        ("priority", json!(priority.unwrap_or_default()), json!(message.precedence.priority)),
        ("not_before", time(rows::time(row, "not_before")?), time(message.not_before)),
        ("expires_at", time(rows::time(row, "expires_at")?), time(message.expires_at)),
        ("campaign", json!(rows::shown_text(row, "campaign")?), json!(message.campaign)),
    ];
    let (mut old, mut new) = (Map::new(), Map::new());
    for (name, before, after) in pairs.into_iter().filter(|(_, before, after)| before != after) {
        old.insert(name.to_owned(), before);
        new.insert(name.to_owned(), after);
    }
    Ok((old, new))
}

fn digest(text: &str) -> Value {
    let hash: String = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "chars": text.chars().count(), "sha256": hash })
}

/// Takes a message out of its lane, so that a new lane or due time cannot leave a wrong entry there.
async fn leave(connection: &mut SqliteConnection, seq: Seq) -> Result<()> {
    sqlx::query("UPDATE messages SET blocked_by = seq WHERE seq = ?1")
        .bind(seq.0)
        .execute(connection)
        .await?;
    Ok(())
}

/// Writes the values of the message.
async fn write(
    connection: &mut SqliteConnection,
    seq: Seq,
    message: &NewMessage,
    allows_placeholders: bool,
    now: Timestamp,
) -> Result<()> {
    const WRITE: &str = "UPDATE messages SET revision = messages.revision + 1, edits = messages.edits + 1, account_id = ?2, text = ?3, \
           priority = ?4, not_before = ?5, expires_at = ?6, campaign = ?7, \
           allow_placeholders = iif(?8, 1, allow_placeholders), updated_at = ?9 WHERE seq = ?1";
    let priority = message.precedence.priority;
    let query = sqlx::query(WRITE).bind(seq.0).bind(message.account_id.as_str()).bind(&message.text);
    let query = query.bind((priority != 0).then_some(priority)).bind(message.not_before.map(time_text));
    let query = query.bind(message.expires_at.map(time_text)).bind(&message.campaign);
    query.bind(allows_placeholders).bind(time_text(now)).execute(connection).await?;
    Ok(())
}

/// Where an edited message waits.
struct Place {
    due_at: Timestamp,
    retry_at: Option<Timestamp>,
    reason: Option<Reason>,
    /// What was looked up for its account no longer matters.
    moves: bool,
}

impl Place {
    fn of(row: &SqliteRow, edit: &Edit, message: &NewMessage, moves: bool, now: Timestamp) -> Result<Self> {
        let waits_until = rows::time(row, "wait_until")?;
        let is_before = message.step.is_some_and(|step| step.number > 1) && waits_until.is_none();
        let due_at = match edit.not_before {
            Change::Keep => rows::required_time(row, "due_at")?,
            // Without a time it has the place of its arrival.
            Change::Remove | Change::Set(_) => {
                let from = rows::required_time(row, "created_at")?.min(now);
                super::insert::due_at(message, from).max(waits_until.unwrap_or(Timestamp::MIN))
            }
        };
        let is_held = rows::time(row, "held_at")?.is_some();
        let retry_at = rows::time(row, "retry_at")?.filter(|_| is_held || !moves);
        let reason = match retry_at {
            Some(_) => None,
            None if is_before => Some(Reason::StepBefore),
            None if waits_until.is_some_and(|until| until > now) => Some(Reason::StepWait),
            None if due_at > now => Some(Reason::Scheduled),
            None => Some(Reason::Turn),
        };
        Ok(Self { due_at, retry_at, reason, moves })
    }

    async fn write(&self, connection: &mut SqliteConnection, seq: Seq, message: &NewMessage) -> Result<()> {
        const WRITE: &str = "UPDATE messages SET revision = messages.revision + 1, lane = ?2, due_at = ?3, retry_at = ?4, \
               reason = coalesce(?5, reason), route = iif(?6, NULL, route), error = iif(?6, NULL, error) WHERE seq = ?1";
        let query = sqlx::query(WRITE).bind(seq.0).bind(message.lane().text()).bind(time_text(self.due_at));
        let query = query.bind(self.retry_at.map(time_text)).bind(self.reason.map(Reason::as_str));
        query.bind(self.moves).execute(connection).await?;
        Ok(())
    }
}

/// Recomputes what blocks each queued message of a thread; a message that nothing blocks joins its lane.
async fn join(connection: &mut SqliteConnection, account: &AccountId, thread: &str) -> Result<()> {
    const JOIN: &str = "UPDATE messages SET blocked_by = (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq) \
         WHERE account_id = ?1 AND thread = ?2 AND state = 'queued' \
           AND blocked_by IS NOT (SELECT b.blocked_by FROM blockers b WHERE b.seq = messages.seq)";
    sqlx::query(JOIN).bind(account.as_str()).bind(thread).execute(connection).await?;
    Ok(())
}
