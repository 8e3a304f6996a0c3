//! One account: its status, what it may use, and its chats.
//!
//! Changed by `state` on behalf of requests and by `world` on behalf of tests. A new account is an ordinary one:
//! LinkedIn, running, with all inboxes and ten InMail credits.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde::Serialize;

use super::cache::Cache;
use super::chat::Chat;
use super::reads::{self, ChatsQuery};
use super::reply::Problem;

/// Inbox of a chat that was started without one.
const FIRST_INBOX: &str = "CLASSIC_PRIMARY";

#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) provider: String,
    pub(super) status: String,
    /// Status of each product, by name.
    pub(super) products: BTreeMap<String, String>,
    /// Whether the service answers 403; a disconnected account answers 401 all the same.
    restricted: bool,
    /// Whether the service answers 403 because the subscription is not active.
    pub(super) is_locked: bool,
    pub(super) inboxes: Vec<Inbox>,
    pub(super) credits: Credits,
    pub(super) created_at: Timestamp,
    /// Id of the LinkedIn user that this account is.
    pub(super) user_id: String,
    pub(super) chats: HashMap<String, Chat>,
    /// Chats with each user, oldest first; without groups.
    direct: HashMap<String, Vec<String>>,
    pub(super) cache: Cache,
}

#[derive(Debug)]
pub(super) struct Inbox {
    pub(super) id: String,
    pub(super) disabled: bool,
}

/// InMail credits by product; `None` is a product without a subscription.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Credits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) classic: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sales_navigator: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) recruiter: Option<u32>,
}

impl Account {
    /// Returns a new account `id` with the defaults.
    pub(super) fn new(id: &str, now: Timestamp) -> Self {
        let inboxes = [
            FIRST_INBOX,
            "CLASSIC_INMAIL",
            "CLASSIC_ARCHIVED",
            "SALES_NAVIGATOR_PRIMARY",
            "RECRUITER_PRIMARY",
        ];
        Self {
            name: id.strip_prefix("acc_").filter(|name| !name.is_empty()).unwrap_or(id).to_owned(),
            provider: "linkedin".to_owned(),
            status: "running".to_owned(),
            products: BTreeMap::from([("classic".to_owned(), "running".to_owned())]),
            restricted: false,
            is_locked: false,
            inboxes: inboxes.map(|id| Inbox { id: id.to_owned(), disabled: false }).into(),
            credits: Credits { classic: Some(10), ..Credits::default() },
            created_at: now,
            user_id: format!("user-of-{id}"),
            chats: HashMap::new(),
            direct: HashMap::new(),
            cache: Cache::default(),
        }
    }

    pub(super) fn disconnect(&mut self) {
        self.stand("disconnected", false);
    }

    pub(super) fn restrict(&mut self) {
        self.stand("running", true);
    }

    pub(super) fn reconnect(&mut self) {
        self.stand("running", false);
    }

    fn stand(&mut self, status: &str, restricted: bool) {
        status.clone_into(&mut self.status);
        self.products.values_mut().for_each(|product| status.clone_into(product));
        self.restricted = restricted;
    }

    /// Checks that the account may be used: 401 if it is disconnected, 403 if it is locked or restricted.
    pub(super) fn check_standing(&self) -> Result<(), Problem> {
        if self.is_locked {
            return Err(Problem::inactive_subscription());
        }
        match (self.status.as_str(), self.restricted) {
            ("disconnected", _) => Err(Problem::disconnected()),
            (_, true) => Err(Problem::restricted()),
            (_, false) => Ok(()),
        }
    }

    /// Returns whether the service reports nothing but the status of the account.
    pub(super) fn is_silent(&self) -> bool {
        self.is_locked || self.status == "disconnected"
    }

    /// Checks that `inbox_id` may start chats: only an enabled primary inbox does; the others are views.
    pub(super) fn may_start_chats(&self, inbox_id: &str) -> Result<(), Problem> {
        let refused = |why: &str| Err(Problem::invalid_parameters("provider", why));
        match self.inbox(inbox_id)? {
            inbox if inbox.disabled => refused(&format!("Inbox {inbox_id} is disabled.")),
            _ if !inbox_id.ends_with("_PRIMARY") => {
                refused(&format!("Chats cannot be started from inbox {inbox_id}, only from a primary one."))
            }
            _ => Ok(()),
        }
    }

    /// Returns the inbox `id`, even a disabled one, which can still be read.
    pub(super) fn inbox(&self, id: &str) -> Result<&Inbox, Problem> {
        let missing = || Problem::resource_not_found("api", &format!("Inbox {id} does not exist."));
        self.inboxes.iter().find(|inbox| inbox.id == id).ok_or_else(missing)
    }

    /// Returns the chats that match `query`, of one inbox if `inbox_id` names it, newest message first; and the
    /// cursor of the next page, if there is one.
    pub(super) fn page_of_chats(
        &self,
        inbox_id: Option<&str>,
        query: &ChatsQuery,
    ) -> (Vec<(&String, &Chat)>, Option<String>) {
        let wanted = |(id, chat): &(&String, &Chat)| {
            let at = chat.last_at();
            inbox_id.is_none_or(|inbox| inbox == chat.inbox_id)
                && query.kind.as_deref().is_none_or(|kind| kind == chat.kind())
                && query.before.is_none_or(|before| at < before)
                && query.after.is_none_or(|after| at > after)
                && query.is_archived.is_none_or(|archived| archived == chat.is_archived())
                && query.is_unread.is_none_or(|unread| unread == (chat.unread() > 0))
                && query.below.as_ref().is_none_or(|(below, last)| (at, *id) < (*below, last))
        };
        let mut found: Vec<(&String, &Chat)> = self.chats.iter().filter(wanted).collect();
        found.sort_by_key(|(id, chat)| std::cmp::Reverse((chat.last_at(), *id)));
        let more = found.len() > query.limit;
        found.truncate(query.limit);
        let last = found.last().filter(|_| more);
        let cursor = last.map(|(id, chat)| reads::chats_cursor(chat.last_at(), id));
        (found, cursor)
    }

    /// Checks that `chat_id` accepts messages; a chat that does not exist yet does.
    pub(super) fn may_write(&self, chat_id: &str) -> Result<(), Problem> {
        if self.chats.get(chat_id).is_some_and(|chat| chat.readonly) {
            return Err(Problem::insufficient_permissions(&format!("Chat {chat_id} is read-only.")));
        }
        Ok(())
    }

    /// Checks that an InMail may be sent.
    pub(super) fn has_credit(&self) -> Result<(), Problem> {
        match self.credits.classic {
            None => Err(Problem::insufficient_permissions("The account has no subscription with InMail.")),
            Some(0) => Err(Problem::unprocessable_entity("no InMail credits left")),
            Some(_) => Ok(()),
        }
    }

    /// Takes one credit for an InMail.
    pub(super) fn take_credit(&mut self) -> Result<(), Problem> {
        self.has_credit()?;
        self.credits.classic = self.credits.classic.map(|left| left - 1);
        Ok(())
    }

    /// Returns the chats with `user`, oldest first.
    pub(super) fn chats_with(&self, user: &str) -> &[String] {
        self.direct.get(user).map_or(&[], Vec::as_slice)
    }

    /// Returns the chat that a new message to `user` goes into, if there is one.
    pub(super) fn chat_with(&self, user: &str) -> Option<&String> {
        self.chats_with(user).last()
    }

    /// Returns the chat `chat_id`, creating it if necessary.
    pub(super) fn use_chat(&mut self, chat_id: &str, now: Timestamp) -> &mut Chat {
        let first = || Chat::new(Vec::new(), FIRST_INBOX.to_owned(), now);
        self.chats.entry(chat_id.to_owned()).or_insert_with(first)
    }

    /// Makes `chat_id` the latest chat with `user`, creating it if necessary.
    pub(super) fn add_direct_chat(&mut self, user: &str, chat_id: &str, now: Timestamp) {
        self.use_chat(chat_id, now).users = vec![user.to_owned()];
        let chats = self.direct.entry(user.to_owned()).or_default();
        chats.retain(|other| other != chat_id);
        chats.push(chat_id.to_owned());
    }
}

impl Chat {
    /// Returns a new chat of `users` in `inbox_id`, or in the default inbox.
    pub(super) fn started(users: Vec<String>, inbox_id: Option<&String>, now: Timestamp) -> Self {
        Self::new(users, inbox_id.map_or(FIRST_INBOX, String::as_str).to_owned(), now)
    }
}
