//! A message: what a producer queues, and the identifiers around it.
//!
//! A [`Draft`] is what came through a door, still in the producer's words; [`NewMessage`] is what
//! `domain/validate.rs` made of it, once. Ids of Unipile's are opaque: kept as they came, never parsed.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::attachment::Attachment;
use super::caps::Kind;
use super::lane::{Lane, Precedence};
use super::specifics::Specifics;

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes the id as it came.
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into().into())
            }
            /// The id as it came.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

opaque_id! {
    /// A Unipile account, `acc_…`.
    AccountId
}
opaque_id! {
    /// A conversation, in Unipile's word; unique only inside its account.
    ChatId
}
opaque_id! {
    /// A recipient: a user id, or an organization's.
    UserId
}
opaque_id! {
    /// An inbox of an account, such as `CLASSIC_PRIMARY`.
    InboxId
}

/// A message's own id, a UUID (version 7 where the daemon makes it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub Uuid);

impl std::fmt::Display for MessageId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for MessageId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self)
    }
}

/// Order of arrival in the queue: the row number of `messages`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub i64);

/// What came through a door, before anybody looked at it. `None` is "not given".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// See [`NewMessage::account_id`].
    pub account_id: Option<String>,
    /// An existing chat; excludes `users_ids`.
    pub chat_id: Option<String>,
    /// Whom to start a chat with; excludes `chat_id`.
    pub users_ids: Option<Vec<String>>,
    /// The inbox to start the chat from; `""` starts it without one.
    pub inbox_id: Option<String>,
    /// Says that several users are meant as one group.
    pub group: Option<bool>,
    /// The group's name.
    pub name: Option<String>,
    /// What is particular to the provider, in the words of Unipile's SDKs.
    pub specifics: Option<Value>,
    /// The same in the words of Unipile's guide; excludes `specifics`.
    pub options: Option<Value>,
    /// The message of the chat that is replied to.
    pub quote_id: Option<String>,
    /// The message that is forwarded into `chat_id`.
    pub forward: Option<Value>,
    /// The files, read and checked by the door.
    pub attachments: Vec<Attachment>,
    /// The text.
    pub text: Option<String>,
    /// Overrides the account's typing policy for this message.
    pub typing: Option<bool>,
    /// RFC 3339 time.
    pub not_before: Option<String>,
    /// RFC 3339 time.
    pub expires_at: Option<String>,
    /// The producer's label.
    pub campaign: Option<String>,
    /// -100 to 100, the higher goes first.
    pub priority: Option<i64>,
    /// Goes before all that is not urgent.
    pub urgent: Option<bool>,
    /// Goes outside the account's hours as well.
    pub ignore_hours: Option<bool>,
    /// The same text may start a chat with the same person again.
    pub allow_repeat: Option<bool>,
    /// The text may hold what looks like a placeholder of a template.
    pub allow_placeholders: Option<bool>,
    /// The producer's idempotency key.
    pub dedupe_key: Option<String>,
}

impl Draft {
    /// The first field with white space around an id.
    pub fn untrimmed(&self) -> Option<&'static str> {
        let has_space = |id: &str| id.trim() != id;
        let ids = [
            ("account_id", &self.account_id),
            ("chat_id", &self.chat_id),
            ("inbox_id", &self.inbox_id),
            ("quote_id", &self.quote_id),
        ];
        let found = ids.into_iter().find(|(_, id)| id.as_deref().is_some_and(has_space));
        let user = self.users_ids.iter().flatten().any(|id| has_space(id));
        found.map(|(field, _)| field).or(user.then_some("users_ids"))
    }
}

/// Where a message goes, and so which endpoint sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Send a Message into a chat that exists.
    Chat(ChatId),
    /// Start a Chat with one user; from an inbox, or from the account's default one.
    User {
        /// The recipient.
        user_id: UserId,
        /// Which inbox.
        inbox: Inbox,
    },
    /// Start a Chat with several users, who become one group.
    Group {
        /// The members, at least two.
        users_ids: Vec<UserId>,
        /// Which inbox.
        inbox: Inbox,
    },
    /// Forward a Message from one chat into another.
    Forward {
        /// The chat that the message is in.
        source_chat_id: ChatId,
        /// The message.
        source_message_id: String,
        /// Where it goes.
        chat_id: ChatId,
    },
}

/// The inbox that a chat is started from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbox {
    /// The one of the account's policy.
    OfPolicy,
    /// This one: Start a Chat from Inbox.
    Named(InboxId),
    /// None, for providers without inboxes: Start a Chat.
    Without,
}

impl Target {
    /// The conversation whose order is kept: messages of one account with the same thread do not overtake.
    pub fn thread(&self) -> String {
        match self {
            Self::Chat(chat_id) | Self::Forward { chat_id, .. } => format!("chat:{chat_id}"),
            Self::User { user_id, .. } => format!("user:{user_id}"),
            Self::Group { users_ids, .. } => {
                let mut ids: Vec<&str> = users_ids.iter().map(UserId::as_str).collect();
                ids.sort_unstable();
                format!("group:{}", ids.join(","))
            }
        }
    }
}

/// What a message says beyond text and target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// The name of a group.
    pub name: Option<String>,
    /// What is particular to the provider, when a chat is started.
    pub specifics: Option<Specifics>,
    /// The message that is replied to, in a chat that exists.
    pub quote_id: Option<String>,
    /// The files that go with it.
    pub attachments: Vec<Attachment>,
}

/// A message that passed every check and may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The account that sends it.
    pub account_id: AccountId,
    /// Where it goes.
    pub target: Target,
    /// What it says besides, which depends on its target.
    pub extras: Extras,
    /// Its text; empty only where something is forwarded or attached.
    pub text: String,
    /// Overrides the account's typing policy.
    pub typing: Option<bool>,
    /// Not to be sent earlier.
    pub not_before: Option<Timestamp>,
    /// Not to be sent from then on.
    pub expires_at: Option<Timestamp>,
    /// The producer's label.
    pub campaign: Option<String>,
    /// What lets it go before others.
    pub precedence: Precedence,
    /// The producer's idempotency key, unique in the queue.
    pub dedupe_key: Option<String>,
}

impl NewMessage {
    /// The lane in which it waits.
    pub fn lane(&self) -> Lane {
        let Precedence { priority, urgent, ignore_hours, .. } = self.precedence;
        let kind = Kind::of(&self.target, &self.extras);
        Lane { urgent, ignore_hours, priority, kind, campaign: self.campaign.clone() }
    }
}
