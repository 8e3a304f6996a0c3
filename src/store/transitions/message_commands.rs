//! Commands that other programs INSERT into `message_commands`: reads those that wait, and carries out each once.
//!
//! A command and its answer are written in one transaction, so a crash neither repeats nor loses it. A command about a
//! message that is not yet admitted waits for that.

use std::sync::Arc;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection, SqliteExecutor};

use super::change::Context;
use super::commands::{Commanded, carry_out};
use crate::domain::command::{Change, Command, Edit, Instruction};
use crate::domain::message::MessageId;
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::domain::validate::ValidationLimits;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// A command that waits to be carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InsertedCommand {
    /// Its number.
    pub id: i64,
    /// The message; `None` if the id is not one.
    pub message_id: Option<MessageId>,
    /// What is asked; `Err` says what could not be read.
    pub instruction: std::result::Result<Instruction, String>,
}

pub(in crate::store) const WAITING: &str = "SELECT c.id, c.message_id, c.command, c.text, c.allow_placeholders, c.priority, c.not_before, \
       c.expires_at, c.campaign, c.account_id, c.note \
     FROM message_commands c INDEXED BY message_commands_waiting WHERE c.done_at IS NULL AND c.id > ?1 ORDER BY c.id LIMIT ?2 + 0";

impl Store {
    /// Carries out a command and writes its answer. Returns `None` if it has to wait until its message is admitted, or
    /// was taken back.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; the command still waits then.
    pub(crate) async fn carry_out(
        &self,
        asked: InsertedCommand,
        limits: Arc<ValidationLimits>,
        now: Timestamp,
    ) -> Result<Option<Commanded>> {
        let (run, repeats) = (self.inner.run, self.repeat_scope());
        let verb = self.exclusive(now, move |connection| {
            Box::pin(async move {
                let context = Context { run, now, limits: &limits, repeats };
                answer(connection, &context, asked).await
            })
        });
        verb.await
    }
}

/// Returns commands that wait, after the one with the number `after`.
pub(in crate::store) async fn waiting(
    connection: impl SqliteExecutor<'_>,
    after: i64,
    limit: u32,
) -> Result<Vec<InsertedCommand>> {
    let found = sqlx::query(WAITING).bind(after).bind(limit).fetch_all(connection).await?;
    found.iter().map(read).collect()
}

fn read(row: &SqliteRow) -> Result<InsertedCommand> {
    let message_id = rows::shown_text(row, "message_id")?.and_then(|id| id.parse().ok());
    Ok(InsertedCommand { id: row.try_get("id")?, message_id, instruction: read_instruction(row) })
}

fn read_instruction(row: &SqliteRow) -> std::result::Result<Instruction, String> {
    let text = |column: &'static str| {
        row.try_get::<Option<String>, _>(column).map_err(|_| format!("`{column}` is not UTF-8; encode it so"))
    };
    let number = |column: &'static str| {
        row.try_get::<Option<i64>, _>(column).map_err(|_| format!("`{column}` is not a whole number"))
    };
    let change = |column: &'static str| {
        Ok::<_, String>(match text(column)? {
            None => Change::Keep,
            Some(value) if value.is_empty() => Change::Remove,
            Some(value) => Change::Set(value),
        })
    };
    let command = match text("command")?.unwrap_or_default().as_str() {
        "cancel" => Command::Cancel,
        "hold" => Command::Hold,
        "release" => Command::Release,
        "retry" => Command::Retry,
        "edit" | "move" | "priority" => Command::Edit(Box::new(Edit {
            account_id: text("account_id")?,
            text: text("text")?,
            priority: number("priority")?,
            not_before: change("not_before")?,
            expires_at: change("expires_at")?,
            campaign: change("campaign")?,
            allow_placeholders: number("allow_placeholders")? == Some(1),
        })),
        other => return Err(format!("`command` is {other:?}; see docs/sql.md")),
    };
    Ok(Instruction { command, actor: "sql".to_owned(), note: text("note")? })
}

async fn answer(
    connection: &mut SqliteConnection,
    context: &Context<'_>,
    asked: InsertedCommand,
) -> Result<Option<Commanded>> {
    const IS_WAITING: &str =
        "SELECT EXISTS (SELECT 1 FROM message_commands WHERE id = ?1 AND done_at IS NULL)";
    let InsertedCommand { id, message_id, instruction } = asked;
    let is_waiting: bool = sqlx::query_scalar(IS_WAITING).bind(id).fetch_one(&mut *connection).await?;
    if !is_waiting {
        return Ok(None);
    }
    let instruction = match instruction {
        Ok(instruction) => instruction,
        Err(why) => {
            write(connection, id, Err(why), context.now).await?;
            return Ok(Some(Commanded::Unknown));
        }
    };
    let result = match message_id {
        Some(message_id) => carry_out(connection, context, message_id, &instruction).await?,
        None => Commanded::Unknown,
    };
    let command = &instruction.command;
    let words = match &result {
        Commanded::Refused { state: StateName::New, .. } => return Ok(None),
        Commanded::Done { .. } => Ok(command.answer(true)),
        Commanded::Unchanged(_) => Ok(command.answer(false)),
        Commanded::Refused { errors, .. } => {
            Err(errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        }
        Commanded::Unknown => {
            Err("`message_id` names no message; give the id of a row of messages".to_owned())
        }
    };
    write(connection, id, words, context.now).await?;
    Ok(Some(result))
}

async fn write(
    connection: &mut SqliteConnection,
    id: i64,
    words: std::result::Result<&str, String>,
    now: Timestamp,
) -> Result<()> {
    const WRITE: &str = "UPDATE message_commands SET done_at = ?2, answer = ?3, error = ?4 WHERE id = ?1";
    let query = sqlx::query(WRITE).bind(id).bind(time_text(now)).bind(words.as_ref().ok().copied());
    query.bind(words.as_ref().err()).execute(connection).await?;
    Ok(())
}
