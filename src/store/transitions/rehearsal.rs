//! Dry run of enqueueing: the result that each message would have.
//!
//! It does the same look-ups and writes nothing.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::batch::{EnqueueBatch, EnqueueMode, Enqueued};
use super::enqueue;
use super::repeats::Repeat;
use super::steps::StepsSoFar;
use super::together::Together;
use crate::domain::message::{AccountId, MessageId, NewMessage, RepeatScope};
use crate::store::Store;
use crate::store::sqlite::rows::Result;

/// Rows looked up at a time.
const STEP: usize = 500;

/// What identifies a message that starts a chat: account (empty if that does not count), recipient, text.
type Opening = (String, String, String);

/// Earlier rows that would have been stored.
#[derive(Default)]
struct Before {
    keys: HashMap<String, (MessageId, NewMessage)>,
    openings: HashMap<Opening, (MessageId, AccountId)>,
}

impl Store {
    /// Returns the result that [`Store::enqueue`] would give each of `rows` now, in their order: each row alone, or of
    /// each person all rows or none. A result names no message that does not exist, except a duplicate.
    pub(crate) async fn rehearse(
        &self,
        rows: &mut [NewMessage],
        mode: EnqueueMode,
        now: Timestamp,
    ) -> Result<Vec<Enqueued>> {
        self.address(&mut rows.iter_mut().collect::<Vec<_>>()).await?;
        let rows: Vec<&NewMessage> = rows.iter().collect();
        let mut ids = HashSet::new();
        let verdicts = if mode == EnqueueMode::Person {
            let mut together = Together::of(rows.iter().copied());
            loop {
                let open = together.open();
                let left: Vec<&NewMessage> = open.iter().map(|place| rows[*place]).collect();
                let judged = self.judge_alone(&left, StepsSoFar::together(), now).await?;
                ids.extend(judged.iter().map(|(id, _)| *id));
                if !together.judge(&open, judged) {
                    break together.verdicts();
                }
            }
        } else {
            let judged = self.judge_alone(&rows, StepsSoFar::default(), now).await?;
            ids.extend(judged.iter().map(|(id, _)| *id));
            judged.into_iter().map(|(_, verdict)| verdict).collect()
        };
        let named = |verdict: Enqueued| match verdict.because_of() {
            Some(id) if ids.contains(&id) => verdict.unnamed(),
            _ => verdict,
        };
        Ok(verdicts.into_iter().map(named).collect())
    }

    /// Returns the result of each row alone, with the id that it would have.
    async fn judge_alone(
        &self,
        rows: &[&NewMessage],
        mut steps: StepsSoFar,
        now: Timestamp,
    ) -> Result<Vec<(MessageId, Enqueued)>> {
        let mut before = Before::default();
        let scope = self.repeat_scope();
        let mut verdicts = Vec::with_capacity(rows.len());
        for part in rows.chunks(STEP) {
            let part = part.iter().copied().cloned().collect();
            let batch = EnqueueBatch::new(part, Vec::new(), EnqueueMode::Each, now, scope);
            let mut connection = self.inner.readers.acquire().await?;
            let stored = enqueue::rehearse(&mut connection, &batch, &mut steps).await?;
            drop(connection);
            verdicts.extend(
                batch
                    .into_rows()
                    .into_iter()
                    .zip(stored)
                    .map(|((id, message), stored)| (id, before.judge(id, message, stored, scope))),
            );
        }
        Ok(verdicts)
    }
}

impl Before {
    /// Returns the result for a row that the queue alone would treat as `stored`.
    fn judge(
        &mut self,
        id: MessageId,
        message: NewMessage,
        stored: Enqueued,
        scope: RepeatScope,
    ) -> Enqueued {
        let Enqueued::Accepted(_) = stored else { return stored };
        if let Some(key) = &message.dedupe_key {
            match self.keys.get(key) {
                Some((existing, same)) if *same == message => return Enqueued::Duplicate(*existing),
                Some((existing, _)) => return Enqueued::Conflict(*existing),
                None => {}
            }
        }
        if message.lane().kind.starts_chat() && !message.precedence.allow_repeat {
            let among = match scope {
                RepeatScope::Account => message.account_id.to_string(),
                RepeatScope::Person => String::new(),
            };
            let opening = (among, message.target.thread(), message.text.trim().to_owned());
            if let Some((existing, account)) = self.openings.get(&opening) {
                return Enqueued::Repeat(Repeat::new(*existing, account, &message.account_id));
            }
            self.openings.insert(opening, (id, message.account_id.clone()));
        }
        if let Some(key) = message.dedupe_key.clone() {
            self.keys.insert(key, (id, message));
        }
        Enqueued::Accepted(id)
    }
}
