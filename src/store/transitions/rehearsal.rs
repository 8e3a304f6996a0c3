//! Dry run of enqueueing: the result that each message would have.
//!
//! It does the same look-ups and writes nothing.

use std::collections::HashMap;

use jiff::Timestamp;

use super::batch::{EnqueueBatch, EnqueueMode, Enqueued};
use super::enqueue;
use super::steps::StepsSoFar;
use crate::domain::message::{MessageId, NewMessage};
use crate::store::Store;
use crate::store::sqlite::rows::Result;

/// Rows looked up at a time.
const STEP: usize = 500;

/// What identifies a message that starts a chat: account, recipient, text.
type Opening = (String, String, String);

/// Earlier rows that would have been stored.
#[derive(Default)]
struct Before {
    keys: HashMap<String, (MessageId, NewMessage)>,
    openings: HashMap<Opening, MessageId>,
}

impl Store {
    /// Returns the result that [`Store::enqueue`] would give each of `rows` now, in their order, each row alone.
    pub(crate) async fn rehearse(&self, rows: &[NewMessage], now: Timestamp) -> Result<Vec<Enqueued>> {
        let (mut before, mut steps) = (Before::default(), StepsSoFar::default());
        let mut verdicts = Vec::with_capacity(rows.len());
        for part in rows.chunks(STEP) {
            let batch = EnqueueBatch::new(part.to_vec(), Vec::new(), EnqueueMode::Each, now);
            let mut connection = self.inner.readers.acquire().await?;
            let stored = enqueue::rehearse(&mut connection, &batch, &mut steps).await?;
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
    /// Returns the result for a row that the queue alone would treat as `stored`.
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
