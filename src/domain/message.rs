//! A message: what a producer queues, and the identifiers around it.
//!
//! A [`Draft`] is unvalidated input; [`NewMessage`] is the result of its validation in `domain/validate.rs`.
//! Unipile's ids are opaque: they are stored unchanged and never parsed.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::attachment::Attachment;
use super::kind::Kind;
use super::lane::{Lane, Precedence};
use super::need::Need;
use super::specifics::{Product, Specifics};
use super::step::Step;

macro_rules! opaque_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the id unchanged.
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into().into())
            }
            /// Returns the id unchanged.
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

super::words! {
    /// The messages among which the same text to the same person is refused as a repeat.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    pub enum RepeatScope {
        /// Those of the same account.
        #[default]
        Account = "account",
        /// Those of every account.
        Person = "person",
    }
}

opaque_id! {
    /// A Unipile account, `acc_…`.
    AccountId
}
opaque_id! {
    /// A conversation ("chat" is Unipile's word); unique only within its account.
    ChatId
}
opaque_id! {
    /// A recipient: the id of a user or of an organization.
    UserId
}
opaque_id! {
    /// An inbox of an account, such as `CLASSIC_PRIMARY`.
    InboxId
}

/// Our id of a message, a UUID (version 7 if the daemon generates it).
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

/// Unvalidated input. `None` means "not given".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// See [`NewMessage::account_id`].
    pub account_id: Option<String>,
    /// An existing chat; excludes `users_ids`.
    pub chat_id: Option<String>,
    /// The users to start a chat with; excludes `chat_id`.
    pub users_ids: Option<Vec<String>>,
    /// The inbox to start the chat from; `""` starts it without one.
    pub inbox_id: Option<String>,
    /// Confirms that several users are meant as one group.
    pub group: Option<bool>,
    /// Name of the group.
    pub name: Option<String>,
    /// Provider-specific options, in the form of Unipile's SDKs.
    pub specifics: Option<Value>,
    /// The same options in the form of Unipile's guide; excludes `specifics`.
    pub options: Option<Value>,
    /// The message in the chat that this one replies to.
    pub quote_id: Option<String>,
    /// The message to forward into `chat_id`.
    pub forward: Option<Value>,
    /// The files; the input layer has already read and checked them.
    pub attachments: Vec<Attachment>,
    /// Text to send.
    pub text: Option<String>,
    /// Overrides the account's typing policy for this message.
    pub typing: Option<bool>,
    /// Not sent before this RFC 3339 time.
    pub not_before: Option<String>,
    /// Not sent from this RFC 3339 time on.
    pub expires_at: Option<String>,
    /// The producer's label for a group of messages.
    pub campaign: Option<String>,
    /// -100 to 100; higher goes first.
    pub priority: Option<i64>,
    /// Goes before everything that is not urgent.
    pub urgent: Option<bool>,
    /// Is sent outside the account's hours as well.
    pub ignore_hours: Option<bool>,
    /// Allows the same text to start a chat with the same person again.
    pub allow_repeat: Option<bool>,
    /// Allows text that looks like an unfilled template placeholder.
    pub allow_placeholders: Option<bool>,
    /// Whether an answer of the person cancels it.
    pub stop_on_reply: Option<bool>,
    /// Its place in the campaign for its person.
    pub step: Option<i64>,
    /// How long it waits after the step before it was sent.
    pub wait: Option<String>,
    /// The producer's own JSON object.
    pub meta: Option<Value>,
    /// What it waits for: `connection`.
    pub needs: Option<String>,
    /// The producer's idempotency key.
    pub dedupe_key: Option<String>,
}

impl Draft {
    /// Returns the first field whose id has surrounding white space.
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

/// Where a message goes; decides which endpoint sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Send a Message into an existing chat.
    Chat(ChatId),
    /// Start a Chat with one user, from the given inbox or the account's default one.
    User {
        /// The recipient.
        user_id: UserId,
        /// The inbox to start from.
        inbox: Inbox,
    },
    /// Start a Chat with several users, as one group.
    Group {
        /// The members, at least two.
        users_ids: Vec<UserId>,
        /// The inbox to start from.
        inbox: Inbox,
    },
    /// Forward a Message from one chat into another.
    Forward {
        /// The chat that contains the message.
        source_chat_id: ChatId,
        /// Id of the message to forward.
        source_message_id: String,
        /// The chat to forward it into.
        chat_id: ChatId,
    },
}

/// The inbox from which a chat is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inbox {
    /// The inbox that the account's policy names.
    OfPolicy,
    /// This inbox: Start a Chat from Inbox.
    Named(InboxId),
    /// No inbox, for providers without inboxes: Start a Chat.
    Without,
}

impl Target {
    /// Returns the key of the conversation: messages of one account with the same key are sent in order.
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

    /// Returns the person or the chat that it is for, as its thread; `None` for a group.
    pub(crate) fn one_person(&self) -> Option<String> {
        match self {
            Self::Chat(_) | Self::Forward { .. } | Self::User { .. } => Some(self.thread()),
            Self::Group { .. } => None,
        }
    }
}

/// Content of a message in addition to text and target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// Name of the group.
    pub name: Option<String>,
    /// Provider-specific options for starting a chat.
    pub specifics: Option<Specifics>,
    /// The message that this one replies to, in an existing chat.
    pub quote_id: Option<String>,
    /// Attached files.
    pub attachments: Vec<Attachment>,
}

/// A message that passed every check and may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMessage {
    /// The account that sends it.
    pub account_id: AccountId,
    /// Where it goes.
    pub target: Target,
    /// Additional content; which fields are allowed depends on the target.
    pub extras: Extras,
    /// Text to send; empty only for a forward or a message with attachments.
    pub text: String,
    /// Overrides the account's typing policy.
    pub typing: Option<bool>,
    /// Earliest time at which it may be sent.
    pub not_before: Option<Timestamp>,
    /// Time from which it is no longer sent.
    pub expires_at: Option<Timestamp>,
    /// The producer's label for a group of messages.
    pub campaign: Option<String>,
    /// Priority and the other flags that affect the order of sending.
    pub precedence: Precedence,
    /// Whether an answer of the person cancels it; `None`: if it has a campaign.
    pub stop_on_reply: Option<bool>,
    /// Its place in the campaign for its person.
    pub step: Option<Step>,
    /// The producer's own JSON object, carried along and never sent.
    pub meta: Option<Value>,
    /// What it waits for.
    pub needs: Option<Need>,
    /// The producer's idempotency key, unique in the queue.
    pub dedupe_key: Option<String>,
}

/// Returns the kind of a message with this target and content.
fn kind_of(target: &Target, extras: &Extras) -> Kind {
    match target {
        Target::Chat(_) => Kind::Message,
        Target::Forward { .. } => Kind::Forward,
        Target::User { .. } | Target::Group { .. } => match extras.specifics.as_ref().map(Specifics::product)
        {
            None | Some(Product::Classic { inmail: false }) => Kind::NewChat,
            Some(Product::Classic { inmail: true } | Product::SalesNavigator | Product::Recruiter) => {
                Kind::InMail
            }
        },
    }
}

impl NewMessage {
    /// Returns whom its step is for, as far as the message says: a chat belongs to its account.
    pub fn step_key(&self) -> String {
        match &self.target {
            Target::Chat(chat_id) | Target::Forward { chat_id, .. } => {
                format!("{} chat:{chat_id}", self.account_id)
            }
            Target::User { .. } | Target::Group { .. } => self.target.thread(),
        }
    }

    /// Returns the lane in which the message waits.
    pub fn lane(&self) -> Lane {
        let Precedence { priority, urgent, ignore_hours, .. } = self.precedence;
        let kind = kind_of(&self.target, &self.extras);
        Lane { urgent, ignore_hours, priority, kind, campaign: self.campaign.clone() }
    }
}
