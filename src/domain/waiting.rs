//! A queued message as far as its turn depends on it: what the store reads and `policy/decide.rs` judges.

use jiff::Timestamp;

use super::caps::Kind;
use super::message::MessageId;
use super::reason::Reason;
use super::state::StateName;

/// A queued message, as far as its turn depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// What it is, as far as caps tell.
    pub kind: Kind,
    /// When it became due: its arrival, or its `not_before`.
    pub due_at: Timestamp,
    /// Set while it waits to be tried again.
    pub retry_at: Option<Timestamp>,
    /// Why it waits until `retry_at`, if not because an attempt failed.
    pub deferred: Option<Reason>,
    /// Whether it goes outside the account's hours as well.
    pub ignores_hours: bool,
    /// When this person was last sent a message that started a chat.
    pub started_at: Option<Timestamp>,
    /// Not to be sent from then on.
    pub expires_at: Option<Timestamp>,
    /// The earlier message of its thread that is not settled.
    pub blocked_by: Option<BlockedBy>,
    /// How many messages of its account go first.
    pub queue_position: u64,
}

impl Waiting {
    /// Whether it could go now but for its account and the messages before it.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.due_at <= now && self.retry_at.is_none_or(|at| at <= now) && self.blocked_by.is_none()
    }
}

/// An earlier message to the same chat or recipient that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockedBy {
    /// Which.
    pub id: MessageId,
    /// In which state.
    pub state: StateName,
    /// When it is tried again, if that is known.
    pub retry_at: Option<Timestamp>,
}
