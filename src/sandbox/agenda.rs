//! What people will do, and when: receive, read and answer.
//!
//! Filled and carried out by `publish`; `world` says when the next action is due. Times are on the monotonic clock.

use std::collections::BTreeMap;
use std::time::Duration;

/// A message, by the ids of where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MessageRef {
    pub(super) account_id: String,
    pub(super) chat_id: String,
    pub(super) message_id: String,
}

/// Something that a user will do.
#[derive(Debug, Clone)]
pub(super) struct Action {
    pub(super) user_id: String,
    /// Message that it is about.
    pub(super) about: MessageRef,
    pub(super) deed: Deed,
}

/// What a user does about a message.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    /// Their device receives it.
    Receive,
    /// They read it, and everything before it.
    Read,
    /// They answer; a person has read the message by then, an automatic answer comes without.
    Answer { text: String, is_automatic: bool },
}

/// The actions to come; those of the same moment in the order in which they were added.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    actions: BTreeMap<(Duration, u64), Action>,
    last: u64,
}

impl Agenda {
    pub(super) fn add(&mut self, due: Duration, action: Action) {
        self.last += 1;
        self.actions.insert((due, self.last), action);
    }

    /// Returns when the next action is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.actions.keys().next().map(|(due, _)| *due)
    }

    /// Takes the next action that is due at `now`.
    pub(super) fn take(&mut self, now: Duration) -> Option<Action> {
        if self.next_due()? > now {
            return None;
        }
        self.actions.pop_first().map(|(_, action)| action)
    }
}
