//! Unipile's last known view of an account: identity, status, inboxes and InMail credits.
//!
//! Each part carries the time at which it was read, so that old data is visible as old. No promise depends on a
//! snapshot: whatever decides about a send is read again.

use jiff::Timestamp;

use super::observed::{Credits, ObservedAccount, ObservedInbox};
use super::outcome::ProviderError;

/// A part of the snapshot, and when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAt<T> {
    /// The value as read.
    pub value: T,
    /// When it was read.
    pub at: Timestamp,
}

/// Last known view of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountSnapshot {
    /// Identity and status.
    pub account: Option<ReadAt<ObservedAccount>>,
    /// The account's inboxes.
    pub inboxes: Option<ReadAt<Vec<ObservedInbox>>>,
    /// InMails that the account may still send.
    pub credits: Option<ReadAt<Credits>>,
    /// When a read of the whole snapshot was last tried.
    pub tried_at: Option<Timestamp>,
    /// Why the last try could not read a part.
    pub problem: Option<String>,
}

/// Result of one try at reading a snapshot. A part that could not be read is `None` and leaves the known value
/// unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// When the try was made.
    pub at: Timestamp,
    /// Whether the try covered the whole snapshot, rather than only a part that a caller needed.
    pub is_whole: bool,
    /// Identity and status.
    pub account: Option<ObservedAccount>,
    /// The account's inboxes.
    pub inboxes: Option<Vec<ObservedInbox>>,
    /// InMails that the account may still send.
    pub credits: Option<Credits>,
    /// Why a part could not be read.
    pub problem: Option<ProviderError>,
}

impl Reading {
    /// Returns an empty reading of the whole snapshot at `at`.
    pub fn new(at: Timestamp) -> Self {
        Self { at, is_whole: true, account: None, inboxes: None, credits: None, problem: None }
    }

    /// Returns an empty reading of a part at `at`.
    pub fn part(at: Timestamp) -> Self {
        Self { is_whole: false, ..Self::new(at) }
    }
}
