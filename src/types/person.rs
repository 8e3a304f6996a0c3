//! One person: everything that is known of them, and everything queued or sent for them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use super::message::ListedMessage;
use super::stop::Stop;

/// A person, over all accounts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Person {
    /// The user id; `in/NAME` while only the public name is known.
    pub id: String,
    pub public_identifier: Option<String>,
    pub profile_url: Option<String>,
    pub name: Option<String>,
    /// When the person was erased: only a hash is left, and nothing is ever sent to them.
    pub erased_at: Option<Time>,
    /// What each account has to do with the person.
    pub accounts: Vec<PersonOnAccount>,
    /// The stops of the person.
    pub stops: Vec<Stop>,
    /// What was heard from the person's chats, oldest first.
    pub inbound: Vec<InboundMessage>,
    /// The newest messages for the person; `GET /v1/messages?person=…` has all.
    pub messages: Vec<ListedMessage>,
    /// Null if `messages` has all; otherwise the cursor of the next page of `GET /v1/messages?person=…`.
    pub next_cursor: Option<String>,
}

/// How to erase a person.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseRequest {
    /// Why; the event keeps it, so it should hold no names.
    #[schema(max_length = 500)]
    pub note: Option<String>,
}

/// What an erasure removed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Erased {
    /// Messages whose text, recipient, name, meta and files were removed.
    pub messages: u64,
    /// Those of them that were queued until now.
    pub cancelled: u64,
    /// Files that no other message carries.
    pub files: u64,
    /// Accounts that knew the person.
    pub accounts: u64,
    /// Records of what the person wrote.
    pub inbound: u64,
    /// Stops, which the erasure replaces.
    pub stops: u64,
    /// Messages that are on their way or uncertain: nothing of them was removed. Erase again when they are settled.
    pub unsettled: Vec<String>,
    /// The public name, if the user id behind it is not known: messages to that id go on until it is.
    #[serde(default)]
    #[schema(required)]
    pub unresolved: Option<String>,
}

/// A message of another person, or of the account's owner, in a chat with a person.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct InboundMessage {
    pub account_id: String,
    pub chat_id: String,
    pub message_id: String,
    /// When it was written, by the provider's clock.
    pub at: Time,
    /// `reply`, `out_of_office`, `opt_out`, or `owner` if the account's owner wrote.
    pub kind: String,
    /// Its text; null unless it was heard with `inbound.keep_bodies`.
    #[serde(default)]
    #[schema(required)]
    pub text: Option<String>,
}

/// What one account has to do with a person.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PersonOnAccount {
    pub account_id: String,
    /// `SELF`, `FIRST_DEGREE`, `SECOND_DEGREE`, `THIRD_DEGREE` or `OUT_OF_NETWORK`; null: not known.
    pub distance: Option<String>,
    pub can_send_inmail: Option<bool>,
    pub is_open_profile: Option<bool>,
    /// When the profile was last read.
    pub read_at: Option<Time>,
    /// The chats with the person.
    pub chats: Vec<String>,
    /// Number of messages in each state.
    pub counts: BTreeMap<String, u64>,
    /// When a message was last sent.
    pub sent_at: Option<Time>,
    /// When the person last answered.
    pub replied_at: Option<Time>,
}
