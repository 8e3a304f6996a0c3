//! The kinds of requests, and the order in which they go.
//!
//! Each kind has its own queue (sends have two) and a handicap; `permits.rs` orders the requests by them.

use std::time::Duration;

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Kind {
    /// Sends a message.
    Send,
    /// Looks up what a message needs before it is sent (preflight).
    Look,
    /// Shows the typing indicator for `lasts`, and at least until `free_at` on the monotonic clock.
    Typing { free_at: Duration, lasts: Duration },
    /// Reads a chat back to reconcile a message.
    Reconcile,
    /// Reads an account snapshot.
    Snapshot,
    /// Reads a chat for answers and receipts.
    Poll,
}

/// The queue of sends whose recipient sees the typing indicator.
pub(super) const TYPED: usize = 0;
/// The queue of all other sends.
pub(super) const SEND: usize = 1;
/// The queue of typing indicators.
pub(super) const TYPING: usize = 3;
/// The number of queues.
pub(super) const QUEUES: usize = 7;

impl Kind {
    pub(super) fn queue(self) -> usize {
        match self {
            Self::Send => SEND,
            Self::Look => 2,
            Self::Typing { .. } => TYPING,
            Self::Reconcile => 4,
            Self::Snapshot => 5,
            Self::Poll => 6,
        }
    }

    pub(super) fn handicap(self) -> Duration {
        Duration::from_secs(match self {
            Self::Send | Self::Look => 0,
            Self::Typing { .. } => 1,
            Self::Reconcile => 10,
            Self::Snapshot => 60,
            Self::Poll => 120,
        })
    }
}

/// Returns whether a permit of one kind is valid for the other.
pub(super) fn is_same(ready: Kind, asked: Kind) -> bool {
    match (ready, asked) {
        (Kind::Typing { .. }, Kind::Typing { .. }) => true,
        (ready, asked) => ready == asked,
    }
}
