//! Chats and their messages, as reads return them.
//!
//! Kept by `account`. The ledger records what reached whom and can be cleared; this is what LinkedIn shows, and
//! stays. Messages are appended, unless a test writes one in the past, so that the position of a message in its chat
//! is a stable cursor.

use jiff::Timestamp;

use super::attachment::Attachment;
use super::ledger::ForwardSource;
use super::reads::MessagesQuery;

#[derive(Debug)]
pub(super) struct Chat {
    /// Users in the chat besides the account; empty if no request named them.
    pub(super) users: Vec<String>,
    pub(super) is_group: bool,
    pub(super) name: Option<String>,
    pub(super) inbox_id: String,
    pub(super) readonly: bool,
    pub(super) created_at: Timestamp,
    /// Oldest first.
    pub(super) messages: Vec<Message>,
}

#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) id: String,
    /// Empty if bodies are not kept.
    pub(super) text: String,
    /// Whether the account sent it.
    pub(super) is_sender: bool,
    /// Who sent it, if not the account; `None` is the chat's first user.
    pub(super) sender_id: Option<String>,
    /// When the recipient received it.
    pub(super) timestamp: Timestamp,
    pub(super) attachments: Vec<Attachment>,
    pub(super) quote_id: Option<String>,
    pub(super) source: Option<ForwardSource>,
    pub(super) subject: Option<String>,
    pub(super) is_deleted: bool,
    pub(super) is_edited: bool,
    /// Whether it has not reached its recipient's devices yet.
    pub(super) is_pending: bool,
    /// Recipients who have read it.
    pub(super) seen_by: Vec<String>,
}

/// A message that was not sent through the API: a person wrote it in LinkedIn itself.
#[derive(Debug, Clone, Default)]
pub struct ByHand {
    /// Id in its chat; another message with the same id is replaced.
    pub id: String,
    /// Text of the message.
    pub text: String,
    /// Whether the account wrote it; otherwise another user of the chat did.
    pub is_sender: bool,
    /// Who wrote it, if not the account; `None` is the chat's first user.
    pub sender_id: Option<String>,
    /// When it was written; `None` means now.
    pub at: Option<Timestamp>,
    /// Attached files.
    pub attachments: Vec<Attachment>,
    /// Id of the message in the chat that it replies to.
    pub quote_id: Option<String>,
    /// Original of the message, if it is a forward.
    pub source: Option<ForwardSource>,
    /// Subject line.
    pub subject: Option<String>,
    /// Whether it has been deleted since.
    pub is_deleted: bool,
    /// Whether it has been edited since.
    pub is_edited: bool,
}

impl ByHand {
    pub(super) fn message(self, now: Timestamp) -> Message {
        Message {
            id: self.id,
            text: self.text,
            is_sender: self.is_sender,
            sender_id: self.sender_id,
            timestamp: self.at.unwrap_or(now),
            attachments: self.attachments,
            quote_id: self.quote_id,
            source: self.source,
            subject: self.subject,
            is_deleted: self.is_deleted,
            is_edited: self.is_edited,
            ..Message::default()
        }
    }
}

impl Chat {
    pub(super) fn new(users: Vec<String>, inbox_id: String, now: Timestamp) -> Self {
        let messages = Vec::new();
        Self { users, is_group: false, name: None, inbox_id, readonly: false, created_at: now, messages }
    }

    /// Returns the message `id`, to change it.
    pub(super) fn message_mut(&mut self, id: &str) -> Option<&mut Message> {
        self.messages.iter_mut().rev().find(|message| message.id == id)
    }

    /// Returns the message `id`, if it is in this chat.
    pub(super) fn message(&self, id: &str) -> Option<&Message> {
        self.messages.iter().rev().find(|message| message.id == id)
    }

    /// Returns the chat's `type`, as the API names it.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_group { "group" } else { "1to1" }
    }

    /// Returns when the last message was written, or when the chat was created.
    pub(super) fn last_at(&self) -> Timestamp {
        self.messages.last().map_or(self.created_at, |message| message.timestamp)
    }

    /// Returns the number of messages from others since the account last wrote.
    pub(super) fn unread(&self) -> usize {
        self.messages.iter().rev().take_while(|message| !message.is_sender).count()
    }

    /// Inserts `message` at its time, or replaces the message with the same id in place.
    pub(super) fn put(&mut self, message: Message) {
        match self.messages.iter_mut().find(|other| other.id == message.id) {
            Some(other) => *other = message,
            None => {
                let later =
                    self.messages.iter().rev().take_while(|other| other.timestamp > message.timestamp);
                let place = self.messages.len() - later.count();
                self.messages.insert(place, message);
            }
        }
    }

    pub(super) fn is_archived(&self) -> bool {
        self.inbox_id.ends_with("_ARCHIVED")
    }

    /// Returns who sent `message`; `me` is the account's own user id.
    pub(super) fn sender<'a>(&'a self, message: &'a Message, me: &'a str) -> &'a str {
        match &message.sender_id {
            _ if message.is_sender => me,
            Some(user) => user,
            None => self.users.first().map_or("unknown", String::as_str),
        }
    }

    /// Returns the newest messages that match `query`, and the position below which the next page starts, if there is
    /// one.
    pub(super) fn page(&self, query: &MessagesQuery, me: &str) -> (Vec<&Message>, Option<usize>) {
        let wanted = |message: &Message| {
            query.before.is_none_or(|before| message.timestamp < before)
                && query.after.is_none_or(|after| message.timestamp > after)
                && query.user_id.as_deref().is_none_or(|user| user == self.sender(message, me))
        };
        let end = query.below.unwrap_or(usize::MAX).min(self.messages.len());
        let found = self.messages[..end].iter().enumerate().rev().filter(|(_, message)| wanted(message));
        let mut found: Vec<(usize, &Message)> = found.take(query.limit + 1).collect();
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let below = found.last().filter(|_| more).map(|(place, _)| *place);
        (found.into_iter().map(|(_, message)| message).collect(), below)
    }
}
