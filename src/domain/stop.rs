//! Stops: what must not be sent to a person, into a chat, of a campaign, by an account, or at all (P5).
//!
//! A stop without an end lasts until a person lifts it. A suppression never ends: what is queued for the person or
//! chat is cancelled, and new messages are refused. Under any other stop, messages wait. A stop of an account or of
//! everything is a pause: it has verbs of its own, and changes no message.

use jiff::Timestamp;

use super::field_error::{FieldError, FieldErrorCode};
use super::ids::{self, IdOf};
use super::message::AccountId;
use super::reason::Reason;

/// The `retry_at` of a message that a stop without an end holds: the last time that can be stored.
pub const FOREVER: Timestamp = Timestamp::constant(253_402_207_200, 999_000_000);

words! {
    /// What a stop is about.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum StopScope {
        /// All sending.
        All = "all",
        /// An account.
        Account = "account",
        /// A person, by user id: chats with them and groups that include them.
        Person = "person",
        /// A chat.
        Chat = "chat",
        /// A campaign.
        Campaign = "campaign",
    }
}

impl StopScope {
    /// Returns whether a stop of this scope is a pause.
    pub fn is_pause(self) -> bool {
        matches!(self, Self::All | Self::Account)
    }
}

/// Why a stop was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// All sending is paused.
    DaemonPaused,
    /// The account is paused.
    AccountPaused,
    /// An operator or a program asked for it.
    Stopped,
    /// The person must never be written to again.
    Suppressed,
    /// The owner of the account wrote to the person by hand.
    OwnerWrote,
    /// The person answered automatically that they are away.
    OutOfOffice,
}

impl StopReason {
    /// All reasons.
    pub const ALL: [Self; 6] = [
        Self::DaemonPaused,
        Self::AccountPaused,
        Self::Stopped,
        Self::Suppressed,
        Self::OwnerWrote,
        Self::OutOfOffice,
    ];

    /// Returns why a message waits, or was cancelled, under the stop.
    pub fn reason(self) -> Reason {
        match self {
            Self::DaemonPaused => Reason::DaemonPaused,
            Self::AccountPaused => Reason::AccountPaused,
            Self::Stopped => Reason::Stopped,
            Self::Suppressed => Reason::Suppressed,
            Self::OwnerWrote => Reason::OwnerWrote,
            Self::OutOfOffice => Reason::OutOfOffice,
        }
    }

    /// Returns the word in SQL and JSON.
    pub fn as_str(self) -> &'static str {
        self.reason().as_str()
    }

    /// Returns the reason with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// What a stop concerns: the person, chat or campaign, on one account or on all; the account; or everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StopKey {
    /// What `key` names.
    pub scope: StopScope,
    /// The user id (or the public name, while the id is not known), the chat id, the campaign or the account; empty for
    /// all sending.
    pub key: String,
    /// `None`: on every account.
    pub account_id: Option<AccountId>,
}

impl StopKey {
    /// Validates what a stop is to concern, other than a pause; the fields are those of a message's ids (P7).
    ///
    /// # Errors
    /// Returns every field that is wrong.
    pub fn parse(scope: &str, key: &str, account_id: Option<&str>) -> Result<Self, Vec<FieldError>> {
        let mut wrong = Vec::new();
        let known = StopScope::parse(scope).filter(|scope| !scope.is_pause());
        if known.is_none() {
            let problem = format!("is {scope:?}");
            let fix = "use person, chat or campaign; to stop an account or all sending, pause it";
            wrong.push(FieldError::new(FieldErrorCode::InvalidValue, "scope", problem, fix));
        }
        let key = match known {
            Some(scope) if key.trim().is_empty() => Err(missing_key(scope)),
            Some(StopScope::Person) => ids::person_key("key", key),
            Some(StopScope::Chat) => ids::id("key", key, IdOf::Other),
            Some(StopScope::Campaign | StopScope::All | StopScope::Account) | None => {
                ids::campaign("key", key)
            }
        };
        let account_id = account_id.map(|id| ids::account("account_id", id)).transpose();
        match (known, key, account_id) {
            (Some(scope), Ok(key), Ok(account_id)) if wrong.is_empty() => {
                Ok(Self { scope, key, account_id: account_id.map(AccountId::new) })
            }
            (_, key, account_id) => {
                wrong.extend(key.err());
                wrong.extend(account_id.err());
                Err(wrong)
            }
        }
    }
}

fn missing_key(scope: StopScope) -> FieldError {
    let fix = match scope {
        StopScope::Person => "give the user id, the public name or the address of the profile",
        StopScope::Chat => "give the id of the chat",
        StopScope::Campaign | StopScope::Account | StopScope::All => "give the label of the campaign",
    };
    FieldError::new(FieldErrorCode::MissingField, "key", "is missing or empty", fix)
}

/// A stop to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStop {
    /// What it concerns.
    pub key: StopKey,
    /// Why it is set.
    pub reason: StopReason,
    /// `None`: until a person lifts it.
    pub until: Option<Timestamp>,
    /// Whether `until` was given as a duration and so follows a wall clock that is set.
    pub has_length: bool,
    /// Who set it.
    pub actor: String,
    /// A remark.
    pub note: Option<String>,
}

/// A stop that concerns a queued message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoppedBy {
    /// Number of the stop.
    pub id: i64,
    /// Why it was set.
    pub reason: StopReason,
    /// `None`: until a person lifts it.
    pub until: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_a_key_is_not_part_of_it() {
        for (scope, given, key) in [
            ("campaign", " c d\u{a0}", "c d"),
            ("chat", "c1 ", "c1"),
            ("person", " https://www.linkedin.com/in/Jane/ ", "in/jane"),
        ] {
            assert_eq!(StopKey::parse(scope, given, Some("acc_1 ")).unwrap().key, key, "{given:?}");
        }
    }
}
