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
use crate::domain::message::{AccountId, MessageId, NewMessage, RepeatScope};
use crate::store::sqlite::rows::Result;

/// How to treat the valid rows of a batch that has invalid ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnqueueMode {
    /// Each row is accepted or refused independently.
    Each,
    /// The rows of a person or chat are stored together or not at all (`together.rs`).
    Person,
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
    /// Not stored: it clashes with a row of the same request that has no message either.
    Beside(Clash),
    /// Not stored, because a row that it is stored with or not at all is refused.
    Refused,
}

/// In what a row clashes with another row of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clash {
    /// The same text for the same person, on this other account.
    Text(Option<AccountId>),
    /// The same `dedupe_key` and different content.
    Key,
}

impl Enqueued {
    /// Returns whether the row is neither stored nor in the queue already.
    pub(super) fn is_refused(&self) -> bool {
        !matches!(self, Self::Accepted(_) | Self::Duplicate(_))
    }

    /// Returns the message that keeps the row out.
    pub(super) fn because_of(&self) -> Option<MessageId> {
        match self {
            Self::Duplicate(id) | Self::Conflict(id) => Some(*id),
            Self::Repeat(repeat) => Some(repeat.id),
            Self::Accepted(_) | Self::Suppressed | Self::OutOfStep(_) | Self::Beside(_) | Self::Refused => {
                None
            }
        }
    }

    /// Returns the same verdict without the id of the message that keeps the row out, because that has none.
    pub(super) fn unnamed(self) -> Self {
        match self {
            Self::Repeat(repeat) => Self::Beside(Clash::Text(repeat.of)),
            Self::Conflict(_) => Self::Beside(Clash::Key),
            other => other,
        }
    }
}

/// A message with its id.
pub(super) type BatchRow = (MessageId, NewMessage);

/// Messages that are stored together, with their ids.
pub(in crate::store) struct EnqueueBatch {
    pub(super) rows: Vec<BatchRow>,
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

    pub(super) fn into_rows(self) -> Vec<BatchRow> {
        self.rows
    }

    pub(super) fn all_rows(&self) -> Vec<&BatchRow> {
        self.rows.iter().collect()
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

    /// Returns whether the rows of a person are stored together or not at all.
    pub(super) fn is_by_person(&self) -> bool {
        self.mode == EnqueueMode::Person
    }

    /// Returns whether the batch needs a transaction of its own: what it does not store must not affect other batches,
    /// and many files at once would make a long transaction.
    pub(in crate::store) fn is_alone(&self) -> bool {
        self.mode != EnqueueMode::Each || !self.blobs.is_empty()
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
