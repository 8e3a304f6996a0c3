//! What a read of the provider shows: the other side's view of accounts, chats and messages.
//!
//! Made by `provider/`, judged by `policy/`; ids are opaque and unique only inside what they belong to. Nothing here
//! is believed beyond what it says: a list that could not be read to its end is an error and not a short list.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::message::{ChatId, InboxId};
use super::outcome::{DownCause, Hold, Problem};
use super::state::StateName;

/// Another message of the account that may be behind what a chat shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rival {
    /// Its state.
    pub state: StateName,
    /// When its call began.
    pub started_at: Timestamp,
    /// The chat that it went into, where that is known.
    pub chat_id: Option<ChatId>,
    /// Its ids, where the provider told them.
    pub message_ids: Vec<String>,
    /// The conversation inside which its order is kept.
    pub thread: String,
    /// Its text.
    pub text: String,
}

/// A message as a chat shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenMessage {
    /// The provider's id, unique inside its chat.
    pub id: String,
    /// Whether the account wrote it.
    pub is_sender: bool,
    /// When the provider dates it.
    pub at: Timestamp,
    /// Its text; empty if it has none.
    pub text: String,
    /// Its files.
    pub attachments: Vec<SeenAttachment>,
    /// The message that it replies to.
    pub quoted_id: Option<String>,
    /// Whether it was forwarded from elsewhere.
    pub is_forwarded: bool,
    /// The message that was forwarded, where the provider tells.
    pub forwarded_id: Option<String>,
}

/// A file of a message as a chat shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenAttachment {
    /// Its name, which is told for documents only.
    pub filename: Option<String>,
    /// Its length in bytes, where it is told.
    pub size: Option<u64>,
}

/// A chat of several people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenGroup {
    /// The chat.
    pub chat_id: ChatId,
    /// Its name.
    pub name: Option<String>,
    /// When something was last written in it, where it is told.
    pub last_message_at: Option<Timestamp>,
}

/// A place in which chats lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenInbox {
    /// Its id, such as `CLASSIC_PRIMARY`.
    pub id: InboxId,
    /// Whether messaging is disabled in it at present.
    pub disabled: bool,
}

/// InMails that an account may still send, by product; a product that is not subscribed to is absent.
pub type Credits = BTreeMap<String, u64>;

/// What Unipile knows of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenAccount {
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
    pub problem: Box<Problem>,
    /// Set if the account or the key cannot be used at all.
    pub down: Option<DownCause>,
    /// Set if something must wait before the next call.
    pub hold: Option<Hold>,
}
