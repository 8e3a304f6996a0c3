//! What requests are for, and the order in which kinds go.

use std::time::Duration;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Kind {
    /// A message.
    Send,
    /// What a message needs to know first.
    Look,
    /// The typing indicator, shown for `lasts` and at least until `free_at` of the monotonic clock.
    Typing { free_at: Duration, lasts: Duration },
    /// A chat that is read back.
    Reconcile,
    /// What is known of an account.
    Snapshot,
}

/// The queue of a kind; `TYPED` is of sends whose recipient sees somebody typing.
pub(super) const TYPED: usize = 0;
pub(super) const SEND: usize = 1;
pub(super) const TYPING: usize = 3;
pub(super) const QUEUES: usize = 6;

impl Kind {
    pub(super) fn queue(self) -> usize {
        match self {
            Self::Send => SEND,
            Self::Look => 2,
            Self::Typing { .. } => TYPING,
            Self::Reconcile => 4,
            Self::Snapshot => 5,
        }
    }

    pub(super) fn handicap(self) -> Duration {
        Duration::from_secs(match self {
            Self::Send | Self::Look => 0,
            Self::Typing { .. } => 1,
            Self::Reconcile => 10,
            Self::Snapshot => 60,
        })
    }
}

/// Whether a permit for the one is a permit for the other.
pub(super) fn is_same(ready: Kind, asked: Kind) -> bool {
    match (ready, asked) {
        (Kind::Typing { .. }, Kind::Typing { .. }) => true,
        (ready, asked) => ready == asked,
    }
}
