//! The seam to whoever carries the messages: Unipile, or a stand-in in a test.
//!
//! The engine knows this trait and nothing of HTTP. A [`Call`] is one attempt at one endpoint; the [`Reply`] says how
//! far it got and what became of it, decided by one pure function (`wire.rs`, `classify`). A provider never repeats a
//! call by itself: every attempt is counted by the queue.

mod unipile;
mod wire;

use futures_util::future::BoxFuture;
use serde_json::Value;

use crate::domain::message::{AccountId, ChatId, InboxId, UserId};
use crate::domain::outcome::{Outcome, Phase, Problem};

pub use unipile::{Unipile, UnipileOptions};
pub use wire::{Answer, Expected, classify};

/// One attempt at sending one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The account that sends.
    pub account_id: AccountId,
    /// Which endpoint, to whom.
    pub target: CallTarget,
    /// What it says.
    pub text: String,
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

/// Whoever carries the messages.
pub trait Provider: Send + Sync + 'static {
    /// Makes one call and says what became of it; bounded in time by the provider's own timeouts.
    fn send(&self, call: Call) -> BoxFuture<'_, Reply>;

    /// Shows the recipient that somebody types.
    ///
    /// The error is what went wrong; nothing depends on it.
    fn set_composing(&self, account_id: AccountId, chat_id: ChatId) -> BoxFuture<'_, Result<(), Problem>>;
}
