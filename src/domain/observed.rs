//! What a read from the provider returns: its view of accounts, chats and messages.
//!
//! `provider/` creates these values, `policy/` evaluates them. Ids are opaque and unique only within their parent. A
//! value proves no more than it says: a list that could not be read to its end is an error, not a short list.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::message::{ChatId, Extras, InboxId, Target, UserId};
use super::outcome::{DownCause, Hold, ProviderError};
use super::state::StateName;

/// Another message of the account that could account for a message seen in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherAttempt {
    /// State of that message.
    pub state: StateName,
    /// When its call began, by this machine's clock.
    pub started_at: Timestamp,
    /// When its call began, by the provider's clock, if known.
    pub provider_at: Option<Timestamp>,
    /// The chat that it went into, if known.
    pub chat_id: Option<ChatId>,
    /// The provider's ids of it, if known.
    pub message_ids: Vec<String>,
    /// Where it goes.
    pub target: Target,
    /// Text of that message.
    pub text: String,
    /// Its content in addition to the text.
    pub extras: Extras,
}

/// The provider's time at some moment, as far as its answers show: not before `earliest`, not after `latest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderTime {
    /// Lower bound.
    pub earliest: Timestamp,
    /// Upper bound.
    pub latest: Timestamp,
}

impl ProviderTime {
    /// Converts a time of the provider's to our clock, which shows `now`. If the clocks do not differ, it stays the
    /// same; otherwise it is, if in doubt, a later one. What the provider dates into the future was now.
    pub fn by_our_clock(self, at: Timestamp, now: Timestamp) -> Timestamp {
        if self.earliest <= now && now < self.latest {
            return at.min(now);
        }
        let ago = self.earliest.duration_since(at).max(SignedDuration::ZERO);
        super::whole_milliseconds(now.checked_sub(ago).unwrap_or(now))
    }
}

/// A message as shown in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedMessage {
    /// The provider's id, unique inside its chat.
    pub id: String,
    /// Whether the account wrote it; `None` if the provider does not say.
    pub is_sender: Option<bool>,
    /// The user id of its sender, if the provider tells it.
    pub sender_id: Option<String>,
    /// The provider's timestamp.
    pub at: Timestamp,
    /// Text of the message; empty if it has none.
    pub text: String,
    /// Attached files.
    pub attachments: Vec<ObservedAttachment>,
    /// The message that it replies to, if it is a reply.
    pub quote: Option<Pointer>,
    /// The message that was forwarded, if it is a forward.
    pub forward: Option<Pointer>,
    /// Subject; InMails of some products have one.
    pub subject: Option<String>,
    /// Whether the message has been deleted.
    pub is_deleted: bool,
    /// Whether the message has been edited.
    pub is_edited: bool,
    /// Whether it is an event of the chat, or hidden: it says nothing.
    pub is_silent: bool,
    /// Whether another person has read it.
    pub is_seen: bool,
    /// Whether it was delivered.
    pub is_delivered: bool,
}

/// Another message to which a message in a chat refers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointer {
    /// Id of the other message, if the provider shows it.
    pub id: Option<String>,
    /// Text of the other message, if the provider shows it.
    pub text: Option<String>,
}

/// A file of a message in a chat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservedAttachment {
    /// File name; the provider gives it for documents only.
    pub filename: Option<String>,
    /// Length in bytes, if given.
    pub size: Option<u64>,
    /// MIME type, if given.
    pub content_type: Option<String>,
}

/// A chat of several people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedGroup {
    /// Id of the chat.
    pub chat_id: ChatId,
    /// Name of the group.
    pub name: Option<String>,
    /// When the last message was written, if given.
    pub last_message_at: Option<Timestamp>,
    /// All members except the account; `None` if the list is incomplete.
    pub members: Option<Vec<Member>>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user id.
    pub id: UserId,
    /// The public identifier, if given.
    pub public_identifier: Option<String>,
}

/// An inbox of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedInbox {
    /// Inbox id, such as `CLASSIC_PRIMARY`.
    pub id: InboxId,
    /// Whether messaging is currently disabled in it.
    pub disabled: bool,
}

/// InMails that an account may still send, by product; a product without a subscription is absent.
pub type Credits = BTreeMap<String, u64>;

/// Unipile's view of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedAccount {
    /// Display name of the account.
    pub name: Option<String>,
    /// `linkedin`, `whatsapp`, …
    pub provider: String,
    /// `running`, `disconnected`, `errored`, `degraded`, `partial`, or a value that Unipile adds later.
    pub status: String,
    /// Status of each product, such as `classic`.
    pub products: BTreeMap<String, String>,
    /// Whether Unipile has locked the account's access to the API.
    pub is_locked: bool,
}

/// A read that failed, and so proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The error.
    pub problem: Box<ProviderError>,
    /// Set if the account or the key cannot be used at all.
    pub down: Option<DownCause>,
    /// Set if the next call must wait.
    pub hold: Option<Hold>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_provider_is_as_long_ago_by_our_clock() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let theirs =
            ProviderTime { earliest: at("2026-11-30T23:00:00Z"), latest: at("2026-11-30T23:00:01Z") };
        let sent = at("2026-11-30T22:58:29.138Z");
        // The clocks agree, ours is two days ahead, ours is behind.
        assert_eq!(theirs.by_our_clock(sent, at("2026-11-30T23:00:00.600Z")), sent);
        let ahead = theirs.by_our_clock(sent, at("2026-12-02T23:00:00.600Z"));
        assert_eq!(ahead, at("2026-12-02T22:58:29.738Z"));
        assert_eq!(theirs.by_our_clock(sent, at("2026-11-30T22:30:00Z")), at("2026-11-30T22:28:29.138Z"));
        // What is dated into the future was now.
        let now = at("2026-11-30T23:00:00.600Z");
        assert_eq!(theirs.by_our_clock(at("2026-12-24T00:00:00Z"), now), now);
        assert_eq!(
            theirs.by_our_clock(at("2026-12-24T00:00:00Z"), at("2027-01-01T00:00:00Z")),
            at("2027-01-01T00:00:00Z")
        );
    }
}
