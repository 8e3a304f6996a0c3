//! What was heard from outside, by a webhook or by reading a chat: messages, receipts, and the state of accounts.
//!
//! What matters of the texts of others is decided before (`policy/replies.rs`).

use std::time::Duration;

use jiff::Timestamp;

use super::message::{AccountId, ChatId};
use super::outcome::DownCause;
use super::person::Person;
use super::stop::StopReason;

/// Something that was heard about an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The account.
    pub account_id: AccountId,
    /// What was heard.
    pub news: News,
    /// The other person that it names.
    pub person: Option<Person>,
}

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// A message in one of the account's chats.
    Message(HeardMessage),
    /// Messages of the account were delivered or read.
    Receipt(Receipt),
    /// The account cannot send.
    Down {
        /// Why.
        cause: DownCause,
        /// Unipile's words.
        problem: String,
    },
    /// The account runs again.
    Up,
    /// The person became a connection of the account.
    Connected,
    /// Nothing that outboxd acts on.
    Other,
}

/// A message in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardMessage {
    /// The chat.
    pub chat_id: ChatId,
    /// The provider's id of the message.
    pub message_id: String,
    /// The user id of its sender, if it is known.
    pub sender_id: Option<String>,
    /// Whether the account itself sent it; `None` if the webhook does not say so.
    pub is_sender: Option<bool>,
    /// When it was written, by our clock.
    pub at: Timestamp,
    /// What it means if another person wrote it.
    pub meaning: Meaning,
    /// Whether it may have been edited since it was written. Its meaning is then compared with what was heard before.
    pub is_edited: bool,
    /// Its text; stored only if [`ReplyPolicy::keep_bodies`](super::policy::ReplyPolicy::keep_bodies) is set.
    pub text: String,
}

/// What a message of another person means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// An answer.
    Reply,
    /// An automatic answer: the person is away, for this long from then on if it names a date.
    OutOfOffice(Option<Duration>),
    /// The person asks not to be written to again.
    OptOut,
    /// An event of the chat, a hidden or a deleted message.
    Nothing,
}

impl Meaning {
    /// Returns the word in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reply | Self::Nothing => "reply",
            Self::OutOfOffice(_) => "out_of_office",
            Self::OptOut => "opt_out",
        }
    }
}

/// A receipt of one message, or of all messages of a chat up to a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The provider's id of the message; `None`: all messages of the chat that were sent before `at`.
    pub message_id: Option<String>,
    /// The chat, if it is known.
    pub chat_id: Option<ChatId>,
    /// The user id of the person who received or read it, if it is known.
    pub user_id: Option<String>,
    /// When it was delivered or read, by our clock.
    pub at: Timestamp,
    /// Read, not only delivered.
    pub is_read: bool,
}

/// What was heard, as far as it concerns the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It changed nothing.
    Nothing,
    /// It is a message that outboxd sent.
    Own,
    /// It was heard before.
    Known,
    /// Sent messages were delivered.
    Delivered,
    /// Sent messages were read.
    Read,
    /// A person answered.
    Replied,
    /// It set a stop.
    Stopped(StopReason),
    /// A person became a connection.
    Connected,
    /// The account cannot send.
    AccountDown,
    /// The account can send again.
    AccountUp,
}

impl Effect {
    /// Returns the word in SQL and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Own => "own",
            Self::Known => "known",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::Replied => "replied",
            Self::Stopped(reason) => reason.as_str(),
            Self::Connected => "connected",
            Self::AccountDown => "account_down",
            Self::AccountUp => "account_up",
        }
    }

    /// Returns whether it is worth a line in the log.
    pub fn is_news(self) -> bool {
        !matches!(self, Self::Nothing | Self::Own | Self::Known)
    }
}
