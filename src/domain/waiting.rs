//! A queued message, reduced to the fields that decide when it is sent.
//!
//! The store reads it; `policy/decide.rs` decides with it.

use jiff::Timestamp;

use super::kind::Kind;
use super::message::MessageId;
use super::reason::Reason;
use super::state::StateName;
use super::step::{StepWait, StepWaiting};
use super::stop::StoppedBy;

/// The fields of a queued message that decide when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Kind of the send, as the caps count it.
    pub kind: Kind,
    /// When the message became due: its arrival, or its `not_before`.
    pub due_at: Timestamp,
    /// Time of the next retry; set while the message waits for it.
    pub retry_at: Option<Timestamp>,
    /// Why it waits until `retry_at`, if no failed attempt is the reason.
    pub deferred: Option<Reason>,
    /// The stop that holds it, if one does.
    pub stop: Option<StoppedBy>,
    /// What it waits for as a step of a campaign; `None` if it is none, or step 1.
    pub step: Option<StepWaiting>,
    /// Whether it is held until it is released.
    pub held: bool,
    /// Whether it is sent outside the account's hours as well.
    pub ignores_hours: bool,
    /// When this person last received a message that started a chat.
    pub started_at: Option<Timestamp>,
    /// Time from which it is no longer sent.
    pub expires_at: Option<Timestamp>,
    /// The earlier, unsettled message of the same thread.
    pub blocked_by: Option<BlockedBy>,
    /// The messages that wait for that one and that this message waits for, the first to be sent first.
    pub between: Vec<Between>,
    /// Number of the account's messages that go before it.
    pub queue_position: u64,
}

impl Waiting {
    /// Returns whether only its account and the messages before it can still hold it back.
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.due_at <= now && self.retry_at.is_none_or(|at| at <= now) && self.blocked_by.is_none()
    }
}

/// An earlier message to the same chat or recipient that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockedBy {
    /// Id of that message.
    pub id: MessageId,
    /// State of that message.
    pub state: StateName,
    /// When that message is retried or its wait ends, if known.
    pub retry_at: Option<Timestamp>,
    /// When that message expires, if it is queued.
    pub expires_at: Option<Timestamp>,
}

/// A message that goes after the one that blocks a thread and before another message of it, such as a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between {
    /// How long it waits after the message before it was sent.
    pub wait: Option<StepWait>,
    /// It is not sent before this time, whatever goes before it.
    pub not_before: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
}
