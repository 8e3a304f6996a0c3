//! What would become of messages if they were enqueued: the same look-ups, and nothing is written.

use std::collections::HashMap;

use jiff::Timestamp;

use super::messages::{self, EnqueueBatch, Enqueued};
use super::rows::Result;
use super::{EnqueueMode, Store};
use crate::domain::message::{MessageId, NewMessage};

/// Rows that are looked up together.
const STEP: usize = 500;

/// What starts a chat: account, recipient, words.
type Opening = (String, String, String);

/// Rows that would have been stored before the others.
#[derive(Default)]
struct Before {
    keys: HashMap<String, (MessageId, NewMessage)>,
    openings: HashMap<Opening, MessageId>,
}

impl Store {
    /// The verdict that [`Store::enqueue`] would give each of `rows` now, in their order, each row alone.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn rehearse(&self, rows: &[NewMessage], now: Timestamp) -> Result<Vec<Enqueued>> {
        let mut before = Before::default();
        let mut verdicts = Vec::with_capacity(rows.len());
        for part in rows.chunks(STEP) {
            let batch = EnqueueBatch::new(part.to_vec(), Vec::new(), EnqueueMode::Each, now);
            let mut connection = self.inner.readers.acquire().await?;
            let stored = messages::rehearse(&mut connection, &batch).await?;
            drop(connection);
            verdicts.extend(
                batch
                    .into_rows()
                    .into_iter()
                    .zip(stored)
                    .map(|((id, message), stored)| before.judge(id, message, stored)),
            );
        }
        Ok(verdicts)
    }
}

impl Before {
    /// What becomes of a row that the queue would treat as `stored`.
    fn judge(&mut self, id: MessageId, message: NewMessage, stored: Enqueued) -> Enqueued {
        let Enqueued::Accepted(_) = stored else { return stored };
        if let Some(key) = &message.dedupe_key {
            match self.keys.get(key) {
                Some((existing, same)) if *same == message => return Enqueued::Duplicate(*existing),
                Some((existing, _)) => return Enqueued::Conflict(*existing),
                None => {}
            }
        }
        if message.lane().kind.starts_chat() && !message.precedence.allow_repeat {
            let opening =
                (message.account_id.to_string(), message.target.thread(), message.text.trim().to_owned());
            if let Some(existing) = self.openings.get(&opening) {
                return Enqueued::Repeat(*existing);
            }
            self.openings.insert(opening, id);
        }
        if let Some(key) = message.dedupe_key.clone() {
            self.keys.insert(key, (id, message));
        }
        Enqueued::Accepted(id)
    }
}
