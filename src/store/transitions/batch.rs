//! Messages that are stored together, and the result for each.
//!
//! `enqueue.rs` stores them.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::SqliteConnection;
use uuid::Uuid;

use super::blobs;
use super::repeats::Repeat;
use crate::domain::attachment::Blob;
use crate::domain::message::{MessageId, NewMessage, RepeatScope};
use crate::store::sqlite::rows::Result;

/// How to treat the valid rows of a batch that has invalid ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueMode {
    /// Each row is accepted or refused independently.
    Each,
    /// All rows or none.
    All,
}

/// Result of enqueueing one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    /// Stored under this id.
    Accepted(MessageId),
    /// The same message is already stored: same `dedupe_key` and same content. A failed, cancelled or rejected
    /// message does not count: its key may be used again. Or its step of the campaign exists for this person.
    Duplicate(MessageId),
    /// A stored message has the same `dedupe_key` and different content.
    Conflict(MessageId),
    /// Not stored: this message says the same to the same person.
    Repeat(Repeat),
    /// Not stored: the person or chat is suppressed.
    Suppressed,
    /// Not stored, because the step before it is missing, has ended, or is on another account: says which.
    OutOfStep(String),
    /// Not stored, because another row of an all-or-none batch conflicts.
    Refused,
}

/// Messages that are stored together, with their ids.
pub(in crate::store) struct EnqueueBatch {
    pub(super) rows: Vec<(MessageId, NewMessage)>,
    blobs: Vec<Blob>,
    mode: EnqueueMode,
    now: Timestamp,
    repeats: RepeatScope,
}

impl EnqueueBatch {
    pub(super) fn new(
        messages: Vec<NewMessage>,
        blobs: Vec<Blob>,
        mode: EnqueueMode,
        now: Timestamp,
        repeats: RepeatScope,
    ) -> Self {
        let seconds = u64::try_from(now.as_second()).unwrap_or(0);
        let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
        let id = || MessageId(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)));
        let rows = messages.into_iter().map(|message| (id(), message)).collect();
        Self { rows, blobs, mode, now, repeats }
    }

    pub(in crate::store) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn into_rows(self) -> Vec<(MessageId, NewMessage)> {
        self.rows
    }

    pub(in crate::store) fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns to which messages the rows are compared.
    pub(super) fn repeats(&self) -> RepeatScope {
        self.repeats
    }

    pub(super) fn is_atomic(&self) -> bool {
        self.mode == EnqueueMode::All
    }

    /// Returns whether the batch needs a transaction of its own: rolling it back must not affect other batches, and
    /// many files at once would make a long transaction.
    pub(in crate::store) fn is_alone(&self) -> bool {
        self.is_atomic() || !self.blobs.is_empty()
    }

    /// Stores the attachment bytes of accepted messages.
    pub(super) async fn store_blobs(
        &self,
        connection: &mut SqliteConnection,
        verdicts: &[Enqueued],
    ) -> Result<()> {
        let accepted = |verdict: &Enqueued| matches!(verdict, Enqueued::Accepted(_));
        let rows = self.rows.iter().zip(verdicts).filter(|(_, verdict)| accepted(verdict));
        let files = rows.flat_map(|((_, message), _)| &message.extras.attachments);
        let carried: HashSet<&str> = files.map(|file| file.sha256.as_str()).collect();
        for blob in self.blobs.iter().filter(|blob| carried.contains(blob.sha256.as_str())) {
            blobs::put(connection, blob).await?;
        }
        Ok(())
    }
}
