//! The interface to the service that delivers messages: Unipile, or a substitute in a test.
//!
//! The engine uses this trait and knows nothing of HTTP. A [`Call`] is one attempt at one endpoint; the [`Reply`]
//! reports how far it got and its outcome, decided by one pure function (`wire.rs`, `classify`). A provider never
//! retries a call: the queue counts every attempt. Reads (`reads.rs`) are always fresh, never from a cache.

mod endpoints;
mod progress;
mod reads;
mod receiver;
mod retry_after;
mod shapes;
mod stream;
mod their_clock;
mod tls;
mod unipile;
mod wire;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;

use crate::domain::attachment::Attachment;
use crate::domain::endpoint::{EndpointAnswer, EndpointRequest, TestPost};
use crate::domain::message::{AccountId, ChatId, InboxId, UserId};
use crate::domain::observed::{
    Credits, ObservedAccount, ObservedGroup, ObservedInbox, ObservedMessage, ProviderTime, Unread,
};
use crate::domain::outcome::{Outcome, Phase, ProviderError};
use crate::domain::person::Person;

pub use progress::{Handed, Progress};
pub use receiver::Receiver;
pub use unipile::{Unipile, UnipileOptions};
pub use wire::{Answer, Expected, classify, request};

/// One attempt at sending one message.
#[derive(Debug, Clone)]
pub struct Call {
    /// The sending account.
    pub account_id: AccountId,
    /// The endpoint and the recipient.
    pub target: CallTarget,
    /// The text.
    pub text: String,
    /// The attachments.
    pub attachments: Vec<CallAttachment>,
    /// How much of the call was handed to the connection.
    pub progress: Progress,
}

/// An attachment of a call: its metadata and the source of its bytes.
#[derive(Clone)]
pub struct CallAttachment {
    /// The metadata.
    pub attachment: Attachment,
    /// The source of its bytes.
    pub content: Arc<dyn Content>,
}

/// The bytes of a file, piece by piece, so that a call never holds all of them in memory.
pub trait Content: Send + Sync {
    /// Returns piece number `piece`, from 0, or `None` after the last. Each piece but the last has a length that is a
    /// multiple of 3.
    fn piece(&self, piece: u32) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>>;
}

impl std::fmt::Debug for CallAttachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.attachment.fmt(f)
    }
}

/// What the recipient sees while a message is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Composing {
    /// The account is typing.
    Typing,
    /// The account is recording a voice note.
    Recording,
}

/// The endpoint of a call and its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallTarget {
    /// Send a Message.
    Chat {
        /// The chat.
        chat_id: ChatId,
        /// The message in this chat that it replies to.
        quote_id: Option<String>,
    },
    /// Start a Chat, or Start a Chat from Inbox if an inbox is given.
    Start {
        /// The recipients.
        recipients: Recipients,
        /// The inbox.
        inbox_id: Option<InboxId>,
        /// Provider-specific fields.
        specifics: Option<Value>,
    },
    /// Forward a Message.
    Forward {
        /// The chat that contains the message.
        source_chat_id: ChatId,
        /// The message.
        source_message_id: String,
        /// The chat that it is forwarded to.
        chat_id: ChatId,
    },
}

impl Call {
    /// Returns a hash of the request, in hexadecimal: the same for the same endpoint, recipients, text and files.
    pub fn fingerprint(&self) -> String {
        use sha2::{Digest, Sha256};
        let (path, body, _) = wire::request(self, Dialect::Specifics);
        let mut hash = Sha256::new();
        for part in [path.as_str(), &body.to_string()] {
            hash.update(part);
            hash.update([0]);
        }
        for file in &self.attachments {
            let Attachment { filename, content_type, sha256, .. } = &file.attachment;
            for part in [filename, content_type, sha256] {
                hash.update(part);
                hash.update([0]);
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl CallTarget {
    /// Returns the chat that the call writes to, if it is known before the call.
    pub fn chat_id(&self) -> Option<&ChatId> {
        match self {
            Self::Chat { chat_id, .. } | Self::Forward { chat_id, .. } => Some(chat_id),
            Self::Start { .. } => None,
        }
    }
}

/// The recipients of a new chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// One person or organization.
    One(UserId),
    /// Several people, who become one group.
    Group {
        /// The members.
        users_ids: Vec<UserId>,
        /// The group's name.
        name: Option<String>,
    },
}

/// Which of Unipile's two descriptions of one API determines the field names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// The SDKs: `specifics`, and one recipient as a string.
    #[default]
    Specifics,
    /// The guide: `options`, and recipients always as an array.
    Guide,
}

/// How far a call got, and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How far the call got.
    pub phase: Phase,
    /// The outcome of the call.
    pub outcome: Outcome,
}

/// Called before each further page of a list: a page is a request, and the reader may have few requests left.
pub trait Paging: Send + Sync {
    /// Completes when the next page may be requested.
    fn next_page(&self) -> BoxFuture<'_, ()>;
}

/// The paging that all pages of one read share.
pub type Pages = Arc<dyn Paging>;

/// The service that delivers messages.
pub trait Provider: Send + Sync + 'static {
    /// Makes one call and returns its outcome. The provider's own timeouts bound its duration.
    fn send(&self, call: Call) -> BoxFuture<'_, Reply>;

    /// Shows the recipient that the account is typing or recording.
    ///
    /// # Errors
    /// Returns an error if the indicator was not shown, which keeps no message; one that was limited rests the account.
    fn set_composing(
        &self,
        account_id: AccountId,
        chat_id: ChatId,
        composing: Composing,
    ) -> BoxFuture<'_, Result<(), Unread>>;

    /// Returns the messages of a chat dated after `since`, newest first, freshly read.
    ///
    /// # Errors
    /// Returns an error if they could not all be read; nothing is known of the chat then.
    fn messages_since(
        &self,
        account_id: AccountId,
        chat_id: ChatId,
        since: Timestamp,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedMessage>, Unread>>;

    /// Returns the chats with one user, latest first, freshly read.
    fn chats_with(
        &self,
        account_id: AccountId,
        user_id: UserId,
    ) -> BoxFuture<'_, Result<Vec<ChatId>, Unread>>;

    /// Returns what the provider shows of one person, freshly read. `person` may be a public name
    /// (`domain::ids::named`). It counts as a visit to the profile.
    fn profile(&self, account_id: AccountId, person: UserId) -> BoxFuture<'_, Result<Person, Unread>>;

    /// Returns the group chats with activity after `since`, newest first, freshly read; of one inbox, if given.
    fn groups_since(
        &self,
        account_id: AccountId,
        inbox_id: Option<InboxId>,
        since: Timestamp,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedGroup>, Unread>>;

    /// Returns the inboxes of an account, freshly read.
    fn inboxes(
        &self,
        account_id: AccountId,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedInbox>, Unread>>;

    /// Returns the InMails that an account may still send, freshly read.
    fn inmail_credits(&self, account_id: AccountId) -> BoxFuture<'_, Result<Credits, Unread>>;

    /// Returns what Unipile reports about an account, freshly read.
    fn account(&self, account_id: AccountId) -> BoxFuture<'_, Result<ObservedAccount, Unread>>;

    /// Makes a request about the endpoints of webhooks. A provider without webhooks refuses it.
    ///
    /// # Errors
    /// Returns an error if the provider refused, or if its answer is not known.
    fn endpoints(&self, _request: EndpointRequest) -> BoxFuture<'_, Result<EndpointAnswer, Unread>> {
        let problem = Box::new(ProviderError::local("unsupported", "this provider has no webhooks"));
        Box::pin(std::future::ready(Err(Unread { problem, down: None, hold: None })))
    }

    /// Posts a delivery of our own, without the key; returns the status and the beginning of the answer.
    fn post_test(&self, _post: TestPost) -> BoxFuture<'_, Result<(u16, String), String>> {
        Box::pin(std::future::ready(Err("this provider has no webhooks".to_owned())))
    }

    /// Returns the time by the clock that dates messages; `None` until an answer has carried a date.
    fn time(&self) -> Option<ProviderTime>;
}
