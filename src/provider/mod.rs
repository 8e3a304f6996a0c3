//! The seam to whoever carries the messages: Unipile, or a stand-in in a test.
//!
//! The engine knows this trait and nothing of HTTP. A [`Call`] is one attempt at one endpoint; the [`Reply`] says how
//! far it got and what became of it, decided by one pure function (`wire.rs`, `classify`). A provider never repeats a
//! call by itself: every attempt is counted by the queue. What is read (`reads.rs`) is read anew, never from a cache.

mod progress;
mod reads;
mod retry_after;
mod shapes;
mod stream;
mod their_clock;
mod unipile;
mod wire;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;

use crate::domain::attachment::Attachment;
use crate::domain::message::{AccountId, ChatId, InboxId, UserId};
use crate::domain::observed::{
    Credits, ObservedAccount, ObservedGroup, ObservedInbox, ObservedMessage, ProviderTime, Unread,
};
use crate::domain::outcome::{Outcome, Phase, ProviderError};

pub use progress::{Handed, Progress};
pub use unipile::{Unipile, UnipileOptions};
pub use wire::{Answer, Expected, classify, request};

/// One attempt at sending one message.
#[derive(Debug, Clone)]
pub struct Call {
    /// The account that sends.
    pub account_id: AccountId,
    /// Which endpoint, to whom.
    pub target: CallTarget,
    /// What it says.
    pub text: String,
    /// The files that go with it.
    pub attachments: Vec<CallAttachment>,
    /// How much of it was handed to the connection.
    pub progress: Progress,
}

/// A file of a call: what is known of it, and where its bytes come from.
#[derive(Clone)]
pub struct CallAttachment {
    /// What is known of it.
    pub attachment: Attachment,
    /// Where its bytes come from.
    pub content: Arc<dyn Content>,
}

/// The bytes of a file, piece by piece, so that a call never holds them as a whole.
pub trait Content: Send + Sync {
    /// Piece number `piece`, from 0; each but the last has a length that is a multiple of 3; `None` after the last.
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
    /// Somebody types.
    Typing,
    /// Somebody records a voice note.
    Recording,
}

/// The endpoint and its recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallTarget {
    /// Send a Message.
    Chat {
        /// The chat.
        chat_id: ChatId,
        /// The message of it that is replied to.
        quote_id: Option<String>,
    },
    /// Start a Chat, or Start a Chat from Inbox where one is given.
    Start {
        /// With whom.
        recipients: Recipients,
        /// The inbox.
        inbox_id: Option<InboxId>,
        /// What is particular to the provider.
        specifics: Option<Value>,
    },
    /// Forward a Message.
    Forward {
        /// The chat that the message is in.
        source_chat_id: ChatId,
        /// The message.
        source_message_id: String,
        /// Where it goes.
        chat_id: ChatId,
    },
}

impl Call {
    /// A hash of what is asked for, in hexadecimal: the same for the same endpoint, recipients, text and files.
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
    /// The chat that the call goes into, where it is known before.
    pub fn chat_id(&self) -> Option<&ChatId> {
        match self {
            Self::Chat { chat_id, .. } | Self::Forward { chat_id, .. } => Some(chat_id),
            Self::Start { .. } => None,
        }
    }
}

/// With whom a chat is started.
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

/// How Unipile's two descriptions of one API name things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// As its SDKs: `specifics`, and one recipient as a string.
    #[default]
    Specifics,
    /// As its guide: `options`, and recipients always as an array.
    Guide,
}

/// How far a call got, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How far.
    pub phase: Phase,
    /// What became of it.
    pub outcome: Outcome,
}

/// Asked before each further page of a list: a page is a request, and whoever reads may be short of requests.
pub trait Paging: Send + Sync {
    /// Completes when the next page may be asked for.
    fn next_page(&self) -> BoxFuture<'_, ()>;
}

/// Shared by the pages of one read.
pub type Pages = Arc<dyn Paging>;

/// Pages as fast as they come.
#[derive(Debug, Clone, Copy)]
pub struct Unlimited;

impl Paging for Unlimited {
    fn next_page(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Whoever carries the messages.
pub trait Provider: Send + Sync + 'static {
    /// Makes one call and says what became of it; bounded in time by the provider's own timeouts.
    fn send(&self, call: Call) -> BoxFuture<'_, Reply>;

    /// Shows the recipient that somebody types or records.
    ///
    /// The error is what went wrong; nothing depends on it.
    fn set_composing(
        &self,
        account_id: AccountId,
        chat_id: ChatId,
        composing: Composing,
    ) -> BoxFuture<'_, Result<(), ProviderError>>;

    /// The messages of a chat that are dated after `since`, newest first, read anew.
    ///
    /// # Errors
    /// When they could not all be read; then nothing is known of the chat.
    fn messages_since(
        &self,
        account_id: AccountId,
        chat_id: ChatId,
        since: Timestamp,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedMessage>, Unread>>;

    /// The chats that exist with one user, the latest first, read anew.
    ///
    /// # Errors
    /// When they could not be read.
    fn chats_with(
        &self,
        account_id: AccountId,
        user_id: UserId,
    ) -> BoxFuture<'_, Result<Vec<ChatId>, Unread>>;

    /// The group chats in which something was written after `since`, newest first, read anew; of one inbox, if given.
    ///
    /// # Errors
    /// When they could not all be read.
    fn groups_since(
        &self,
        account_id: AccountId,
        inbox_id: Option<InboxId>,
        since: Timestamp,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedGroup>, Unread>>;

    /// The inboxes of an account, read anew.
    ///
    /// # Errors
    /// When they could not be read.
    fn inboxes(
        &self,
        account_id: AccountId,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedInbox>, Unread>>;

    /// The InMails that an account may still send, read anew.
    ///
    /// # Errors
    /// When they could not be read.
    fn inmail_credits(&self, account_id: AccountId) -> BoxFuture<'_, Result<Credits, Unread>>;

    /// What Unipile knows of an account, read anew.
    ///
    /// # Errors
    /// When it could not be read.
    fn account(&self, account_id: AccountId) -> BoxFuture<'_, Result<ObservedAccount, Unread>>;

    /// What time it is by the clock that dates messages; `None` while no answer has told.
    fn time(&self) -> Option<ProviderTime>;
}
