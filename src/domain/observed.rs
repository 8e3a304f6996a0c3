//! What a read of the provider shows: the other side's view of accounts, chats and messages.
//!
//! Made by `provider/`, judged by `policy/`; ids are opaque and unique only inside what they belong to. Nothing here
//! is believed beyond what it says: a list that could not be read to its end is an error and not a short list.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::message::{ChatId, Extras, InboxId, Target, UserId};
use super::outcome::{DownCause, Hold, ProviderError};
use super::state::StateName;

/// Another message of the account that may be behind what a chat shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherAttempt {
    /// Its state.
    pub state: StateName,
    /// When its call began, by this machine's clock.
    pub started_at: Timestamp,
    /// When its call began, by the provider's clock, if that was known.
    pub provider_at: Option<Timestamp>,
    /// The chat that it went into, where that is known.
    pub chat_id: Option<ChatId>,
    /// Its ids, where the provider told them.
    pub message_ids: Vec<String>,
    /// Where it goes.
    pub target: Target,
    /// Its text.
    pub text: String,
    /// What it says besides its text.
    pub extras: Extras,
}

/// The provider's time at some moment, as far as its answers tell: not before `earliest`, not after `latest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProviderTime {
    /// Lower bound.
    pub earliest: Timestamp,
    /// Upper bound.
    pub latest: Timestamp,
}

/// A message as a chat shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedMessage {
    /// The provider's id, unique inside its chat.
    pub id: String,
    /// Whether the account wrote it; `None` if the provider does not tell.
    pub is_sender: Option<bool>,
    /// When the provider dates it.
    pub at: Timestamp,
    /// Its text; empty if it has none.
    pub text: String,
    /// Its files.
    pub attachments: Vec<ObservedAttachment>,
    /// The message that it replies to, if it is a reply.
    pub quote: Option<Pointer>,
    /// The message that was forwarded, if it is a forward.
    pub forward: Option<Pointer>,
    /// Its subject; InMails of some products have one.
    pub subject: Option<String>,
    /// Whether somebody deleted it.
    pub is_deleted: bool,
    /// Whether somebody edited it.
    pub is_edited: bool,
}

/// What a message as a chat shows it points to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pointer {
    /// The id of the other message, where the provider tells it.
    pub id: Option<String>,
    /// The text of the other message, where the provider shows it.
    pub text: Option<String>,
}

/// A file of a message as a chat shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObservedAttachment {
    /// Its name, which is told for documents only.
    pub filename: Option<String>,
    /// Its length in bytes, where it is told.
    pub size: Option<u64>,
    /// Its MIME type, where it is told.
    pub content_type: Option<String>,
}

/// A chat of several people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedGroup {
    /// The chat.
    pub chat_id: ChatId,
    /// Its name.
    pub name: Option<String>,
    /// When something was last written in it, where it is told.
    pub last_message_at: Option<Timestamp>,
    /// Everybody in it but the account itself; `None` if not all of them are told.
    pub members: Option<Vec<Member>>,
}

/// Somebody in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The user id.
    pub id: UserId,
    /// The public identifier, where it is told.
    pub public_identifier: Option<String>,
}

/// A place in which chats lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedInbox {
    /// Its id, such as `CLASSIC_PRIMARY`.
    pub id: InboxId,
    /// Whether messaging is disabled in it at present.
    pub disabled: bool,
}

/// InMails that an account may still send, by product; a product that is not subscribed to is absent.
pub type Credits = BTreeMap<String, u64>;

/// What Unipile knows of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedAccount {
    /// Its name.
    pub name: Option<String>,
    /// `linkedin`, `whatsapp`, …
    pub provider: String,
    /// `running`, `disconnected`, `errored`, `degraded`, `partial`, or what is invented next.
    pub status: String,
    /// The status of each product, such as `classic`.
    pub products: BTreeMap<String, String>,
    /// Whether Unipile has locked its access to the API.
    pub is_locked: bool,
}

/// A read that showed nothing, which proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// What went wrong.
    pub problem: Box<ProviderError>,
    /// Set if the account or the key cannot be used at all.
    pub down: Option<DownCause>,
    /// Set if something must wait before the next call.
    pub hold: Option<Hold>,
}
