//! What Unipile knows of an account, as it was last read: who it is, how it stands, its inboxes and its InMail credits.
//!
//! Each part carries the time at which it was read, so that an old reading is seen to be one. Nothing that a promise
//! needs rests on it: what decides about a send is read anew.

use jiff::Timestamp;

use super::observed::{Credits, ObservedAccount, ObservedInbox};
use super::outcome::ProviderError;

/// A part of the facts, and when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAt<T> {
    /// What was read.
    pub value: T,
    /// When.
    pub at: Timestamp,
}

/// What is known of an account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountSnapshot {
    /// Who it is and how it stands.
    pub account: Option<ReadAt<ObservedAccount>>,
    /// Its inboxes.
    pub inboxes: Option<ReadAt<Vec<ObservedInbox>>>,
    /// The InMails that it may still send.
    pub credits: Option<ReadAt<Credits>>,
    /// When it was last tried to read all of it.
    pub tried_at: Option<Timestamp>,
    /// What kept a part from being read when it was last tried.
    pub problem: Option<String>,
}

/// What one try at reading the facts of an account showed. A part that could not be read is `None` and leaves what is
/// known of it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// When it was read.
    pub at: Timestamp,
    /// Whether it was tried to read all of it, and not only a part that somebody needed.
    pub is_whole: bool,
    /// Who it is and how it stands.
    pub account: Option<ObservedAccount>,
    /// Its inboxes.
    pub inboxes: Option<Vec<ObservedInbox>>,
    /// The InMails that it may still send.
    pub credits: Option<Credits>,
    /// What kept a part from being read.
    pub problem: Option<ProviderError>,
}

impl Reading {
    /// A reading of everything at `at` that has shown nothing yet.
    pub fn new(at: Timestamp) -> Self {
        Self { at, is_whole: true, account: None, inboxes: None, credits: None, problem: None }
    }

    /// A reading of a part.
    pub fn part(at: Timestamp) -> Self {
        Self { is_whole: false, ..Self::new(at) }
    }
}
