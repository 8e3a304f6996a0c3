//! What follows from a read of a chat: the message is settled, read again, or left to a person. Pure.
//!
//! The reads of a message follow the schedule of its policy. An absent message proves something only at the last
//! read, and only if that one worked. `evidence.rs` decides what was found.

use std::time::Duration;

use jiff::Timestamp;

use super::evidence::Finding;
use super::settle::after;
use crate::domain::message::ChatId;
use crate::domain::policy::{Absent, ReconcilePolicy};
use crate::domain::reason::Reason;

/// Reads beyond the schedule while reads fail.
const MORE_READS: usize = 4;
/// The pause before the next read while another message with the same words is being sent.
const WHILE_SENDING: Duration = Duration::from_secs(60);

/// What was tried for a message with an unknown outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Reads so far, whether they showed something or not.
    pub reads: u32,
    /// How often the message was queued again because it was absent.
    pub resends: u32,
}

/// What follows from a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NextStep {
    /// The message was sent, by evidence.
    Sent {
        /// The chat that contains it.
        chat_id: ChatId,
        /// Its ids in the chat.
        message_ids: Vec<String>,
        /// Its date, set by the provider.
        at: Timestamp,
    },
    /// The chat is read again.
    Again {
        /// When it is read again.
        reconcile_at: Timestamp,
        /// Whether this read counts.
        counts: bool,
    },
    /// The message is certainly absent, and is sent once more.
    Queue,
    /// A person decides.
    Review(Reason),
}

/// Returns what to do after a read of the schedule; `None` is a read that failed, which proves nothing.
pub fn next_step(
    tries: Tries,
    finding: Option<Finding>,
    reconcile: &ReconcilePolicy,
    now: Timestamp,
) -> NextStep {
    let reads = usize::try_from(tries.reads).unwrap_or(usize::MAX).saturating_add(1);
    let is_last = reads >= reconcile.after.len();
    let again = NextStep::Again { reconcile_at: after(now, pause_after(reads, reconcile)), counts: true };
    let unless_last = |step: NextStep| if is_last { step } else { again.clone() };
    match finding {
        Some(Finding::Found { chat_id, message_ids, at }) => NextStep::Sent { chat_id, message_ids, at },
        Some(Finding::Busy) => NextStep::Again { reconcile_at: after(now, WHILE_SENDING), counts: false },
        Some(Finding::Partly) => unless_last(NextStep::Review(Reason::PartlyInChat)),
        Some(Finding::CannotTell(_)) => unless_last(NextStep::Review(Reason::CannotTell)),
        Some(Finding::Absent) => unless_last(match reconcile.absent {
            Absent::Resend if tries.resends == 0 => NextStep::Queue,
            Absent::Resend | Absent::Review => NextStep::Review(Reason::NotInChat),
        }),
        None if reads >= reconcile.after.len().saturating_add(MORE_READS) => {
            NextStep::Review(Reason::ChatUnreadable)
        }
        None => again,
    }
}

/// Returns the pause after read number `reads`; beyond the schedule it is the last pause.
pub fn pause_after(reads: usize, reconcile: &ReconcilePolicy) -> Duration {
    let at = |index: usize| reconcile.after.get(index).copied().unwrap_or_default();
    let last = reconcile.after.len().saturating_sub(1);
    let index = reads.min(last);
    at(index).saturating_sub(if index == 0 { Duration::ZERO } else { at(index - 1) })
}

#[cfg(test)]
#[path = "reconcile_tests.rs"]
mod tests;
