//! The stored messages that keep new ones out: their states, and in which fields a step differs from what was queued before.

use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::repeats;
use crate::domain::message::{MessageId, NewMessage};
use crate::domain::state::StateName;
use crate::domain::step::StepWait;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// What the recipient of a step sees, and after which wait: the text as its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepContents {
    text_hash: String,
    wait: Option<String>,
    specifics: Option<Value>,
    attachments: Option<Value>,
}

impl StepContents {
    /// Returns the contents of a new message, if it is a step: another message with its `dedupe_key` is a conflict.
    pub(crate) fn of(message: &NewMessage) -> Option<Self> {
        let step = message.step?;
        Some(Self {
            text_hash: repeats::text_hash(&message.text),
            wait: step.wait.map(StepWait::text),
            specifics: message.extras.specifics.as_ref().map(|specifics| specifics.tree().clone()),
            attachments: rows::attachments_to_json(&message.extras.attachments),
        })
    }
}

/// A stored message that keeps a new one out.
#[derive(Debug)]
pub(crate) struct Existing {
    pub(crate) state: StateName,
    contents: StepContents,
    is_pruned: bool,
}

impl Existing {
    fn read(row: &SqliteRow) -> Result<Self> {
        let stored_hash: Option<String> = row.try_get("text_hash")?;
        let is_pruned = stored_hash.is_some();
        let text_hash = match stored_hash {
            Some(hash) => hash,
            None => repeats::text_hash(row.try_get("text")?),
        };
        let contents = StepContents {
            text_hash,
            wait: row.try_get("wait")?,
            specifics: rows::json(row, "specifics")?,
            attachments: rows::json(row, "attachments")?,
        };
        Ok(Self { state: rows::state(row)?, contents, is_pruned })
    }

    /// Returns the fields in which a step with these contents differs. Of a message whose text was removed, its specifics
    /// are gone as well and are not compared.
    pub(crate) fn differs(&self, new: Option<&StepContents>) -> Vec<&'static str> {
        let (Some(new), stored) = (new, &self.contents) else { return Vec::new() };
        let fields = [
            ("text", stored.text_hash != new.text_hash),
            ("specifics", !self.is_pruned && stored.specifics != new.specifics),
            ("attachments", stored.attachments != new.attachments),
            ("wait", stored.wait != new.wait),
        ];
        fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
    }
}

impl Store {
    /// Returns messages by id; ids that do not exist are absent.
    pub(crate) async fn existing(&self, ids: &[MessageId]) -> Result<HashMap<MessageId, Existing>> {
        const SQL: &str = "SELECT id, state, text, text_hash, wait, coalesce(specifics, options) AS specifics, attachments \
             FROM messages WHERE id IN (SELECT value FROM json_each(?1))";
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<String> = ids.iter().map(|id| id.0.hyphenated().to_string()).collect();
        let found = sqlx::query(SQL).bind(json!(ids).to_string()).fetch_all(&self.inner.readers).await?;
        found.iter().map(|row| Ok((rows::message_id(row, "id")?, Existing::read(row)?))).collect()
    }
}
