//! Commands about stored messages: cancel, hold, release, retry and edit; each is one transition (docs/lifecycle.md).
//!
//! HTTP calls [`Store::command`]; `message_commands.rs` carries out what other programs ask by SQL. Whether a message
//! can still be changed is looked up in the transaction that changes it, and the intent checks `edits` and `held_at`
//! in its own: so a change takes effect before the intent, or is refused (P2, P5). Each change is an event with who
//! asked for it and the old values; of a text, its length and its hash (P8).

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::change::{Changed, Context, LOOK};
use super::{edit, hold, retry, withdraw};
use crate::domain::command::{Command, Instruction};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::message::{AccountId, MessageId};
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::domain::validate::ValidationLimits;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// Messages per transaction: a bulk command lets the sender and other programs write in between.
const PAGE: usize = 100;

/// Result of a command about one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Commanded {
    /// The message was changed.
    Done {
        /// Its state before.
        was: StateName,
        /// Its state now.
        state: StateName,
        /// The accounts that the change concerns; two if it was moved.
        accounts: Vec<AccountId>,
        /// Other steps of the person that changed with it.
        others: Vec<MessageId>,
    },
    /// There was nothing to change.
    Unchanged(StateName),
    /// The message cannot be changed so.
    Refused {
        /// Its state.
        state: StateName,
        /// Every reason.
        errors: Vec<FieldError>,
        /// The message that already says or holds what this one would.
        existing: Option<MessageId>,
    },
    /// No message has this id.
    Unknown,
}

impl Store {
    /// Carries out a command about messages. Returns one result per message, in the order of `ids`. With `dry_run` it
    /// returns the same results and changes nothing. A retry changes the steps of a person in their order, because a step
    /// cannot be queued again before the one that it follows.
    ///
    /// # Errors
    /// Returns an error if SQLite fails. Messages changed until then stay changed.
    pub async fn command(
        &self,
        ids: &[MessageId],
        instruction: &Instruction,
        limits: &Arc<ValidationLimits>,
        dry_run: bool,
        now: Timestamp,
    ) -> Result<Vec<Commanded>> {
        let mut all = Vec::with_capacity(ids.len());
        let (run, repeats) = (self.inner.run, self.repeat_scope());
        let order = match instruction.command {
            Command::Retry => self.places_by_step(ids).await?,
            Command::Cancel | Command::Hold | Command::Release | Command::Edit(_) => (0..ids.len()).collect(),
        };
        for places in order.chunks(PAGE) {
            let page: Vec<MessageId> = places.iter().filter_map(|place| ids.get(*place).copied()).collect();
            let (instruction, limits) = (instruction.clone(), Arc::clone(limits));
            let verb = self.exclusive(now, move |connection| {
                Box::pin(async move {
                    let context = Context { run, now, limits: &limits, repeats };
                    carry_out_all(connection, &context, &page, &instruction, dry_run).await
                })
            });
            all.extend(places.iter().copied().zip(verb.await?));
        }
        all.sort_by_key(|(place, _)| *place);
        Ok(all.into_iter().map(|(_, result)| result).collect())
    }
}

async fn carry_out_all(
    connection: &mut SqliteConnection,
    context: &Context<'_>,
    ids: &[MessageId],
    instruction: &Instruction,
    dry_run: bool,
) -> Result<Vec<Commanded>> {
    if dry_run {
        sqlx::query("SAVEPOINT dry_run").execute(&mut *connection).await?;
    }
    let mut results = Vec::with_capacity(ids.len());
    for id in ids {
        results.push(carry_out(connection, context, *id, instruction).await?);
    }
    if dry_run {
        sqlx::query("ROLLBACK TO dry_run; RELEASE dry_run").execute(connection).await?;
    }
    Ok(results)
}

/// Carries out a command about one message, within a transaction.
pub(super) async fn carry_out(
    connection: &mut SqliteConnection,
    context: &Context<'_>,
    id: MessageId,
    instruction: &Instruction,
) -> Result<Commanded> {
    let query = sqlx::query(LOOK).bind(id.0.hyphenated().to_string());
    let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(Commanded::Unknown) };
    let (command, state) = (&instruction.command, rows::state(&row)?);
    if command.is_done_in(state) {
        return Ok(Commanded::Unchanged(state));
    }
    if let Some(refusal) = command.refused_in(state) {
        return Ok(Commanded::Refused { state, errors: vec![refusal], existing: None });
    }
    if matches!(command, Command::Retry | Command::Edit(_))
        && let Some(refusal) = is_pruned(connection, &row).await?
    {
        return Ok(Commanded::Refused { state, errors: vec![refusal], existing: None });
    }
    sqlx::query("SAVEPOINT command").execute(&mut *connection).await?;
    let done = change(connection, context, &row, state, instruction).await;
    let done = match done {
        // A command that cannot be carried out must not hold up the others.
        Err(error) if error.is_constraint() => {
            sqlx::query("ROLLBACK TO command").execute(&mut *connection).await?;
            tracing::error!(message_id = %id, error = error.chain(), "a command does not fit the queue");
            let problem = format!("does not fit what the queue holds ({})", error.chain());
            let fix = "look at it with `outboxd show`, and queue a new message";
            let refusal = FieldError::new(FieldErrorCode::WrongState, "id", problem, fix);
            Commanded::Refused { state, errors: vec![refusal], existing: None }
        }
        done => done?,
    };
    sqlx::query("RELEASE command").execute(connection).await?;
    Ok(done)
}

/// Changes the message and writes the event.
async fn change(
    connection: &mut SqliteConnection,
    context: &Context<'_>,
    row: &SqliteRow,
    state: StateName,
    instruction: &Instruction,
) -> Result<Commanded> {
    let changed = match &instruction.command {
        Command::Cancel => Ok(Some(withdraw::cancel_row(connection, row, state, context.now).await?)),
        Command::Hold => Ok(hold::hold(connection, row, context.now).await?),
        Command::Release => Ok(hold::release(connection, row, context.now).await?),
        Command::Retry => retry::retry(connection, context, row, state).await?.map(Some),
        Command::Edit(asked) => edit::edit(connection, context, row, state, asked).await?,
    };
    let changed = match changed {
        Err((errors, existing)) => return Ok(Commanded::Refused { state, errors, existing }),
        Ok(None) => return Ok(Commanded::Unchanged(state)),
        Ok(Some(changed)) => changed,
    };
    note(connection, row, instruction, &changed, context.now).await?;
    let account = rows::account_id(row)?;
    let accounts = std::iter::once(account).chain(changed.moved_to).collect();
    Ok(Commanded::Done { was: state, state: changed.state, accounts, others: changed.others })
}

/// Returns why a message can be neither edited nor retried: its text or its files were removed.
async fn is_pruned(connection: &mut SqliteConnection, row: &SqliteRow) -> Result<Option<FieldError>> {
    const SQL: &str = "SELECT CASE WHEN m.pruned_at IS NOT NULL THEN 'text was removed on ' || substr(m.pruned_at, 1, 10) \
           WHEN m.attachments IS NOT NULL AND m.due_at IS NOT NULL \
             AND NOT EXISTS (SELECT 1 FROM carried_files f WHERE f.seq = m.seq) THEN 'files were removed' END \
         FROM messages m WHERE m.seq = ?1";
    let query = sqlx::query_scalar(SQL).bind(row.try_get::<i64, _>("seq")?);
    let what: Option<String> = query.fetch_one(connection).await?;
    Ok(what.map(|what| {
        let problem = format!("cannot be sent any more: its {what}");
        FieldError::new(FieldErrorCode::WrongState, "id", problem, "queue a new message")
    }))
}

/// Writes the event of a command.
async fn note(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
    instruction: &Instruction,
    changed: &Changed,
    now: Timestamp,
) -> Result<()> {
    const EVENT: &str = "INSERT INTO events (at, kind, account_id, message_id, reason, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let mut detail = json!({ "by": instruction.actor, "old": changed.old, "new": changed.new });
    if let Some(note) = &instruction.note {
        detail["note"] = json!(note);
    }
    let query = sqlx::query(EVENT).bind(time_text(now));
    let query = query.bind(format!("command.{}", instruction.command.as_str()));
    let query = query.bind(row.try_get::<&str, _>("account_id")?).bind(row.try_get::<&str, _>("id")?);
    let query = query.bind(row.try_get::<&str, _>("reason")?).bind(detail.to_string());
    query.execute(connection).await?;
    Ok(())
}
