//! The reading half of the network: reads return the sandbox's world at once, without messages that are not shown
//! yet.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use outboxd::clock::Clock;
use outboxd::domain::message::{AccountId, ChatId, InboxId, UserId};
use outboxd::domain::observed::{
    Credits, Member, ObservedAccount, ObservedAttachment, ObservedGroup, ObservedInbox, ObservedMessage,
    Pointer, ProviderTime, Unread,
};
use outboxd::domain::outcome::ProviderError;
use outboxd::domain::person::Person;
use outboxd::provider::{Call, Composing, Pages, Provider, Reply};
use serde_json::Value;

use super::carrier::{Carrier, count};
use crate::queue::at;

impl Carrier {
    /// Returns every entry of a list, or an error.
    async fn list(
        &self,
        account: &AccountId,
        path: String,
        pages: Option<Pages>,
    ) -> Result<Vec<Value>, Unread> {
        self.stop.point().await;
        let number = count(&mut self.sky().reads, account.as_str());
        if !self.fault_plan().answers_read(account.as_str(), number) {
            return Err(unread());
        }
        self.sky().knows_time = true;
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let (status, body) = self.ask("GET", &format!("{path}{cursor}"), None);
            assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            found.extend(body["data"].as_array().expect("a list").iter().cloned());
            match body["next_cursor"].as_str() {
                Some(next) if !next.is_empty() => {
                    cursor = format!("&cursor={}", segment(next));
                    if let Some(pages) = &pages {
                        pages.next_page().await;
                    }
                }
                _ => return Ok(found),
            }
        }
    }

    async fn messages(
        &self,
        account: AccountId,
        chat: ChatId,
        since: Timestamp,
        pages: Pages,
    ) -> Result<Vec<ObservedMessage>, Unread> {
        let (own, chat) = (segment(account.as_str()), segment(chat.as_str()));
        let after = segment(&outboxd::domain::time_text(since));
        let path = format!("/v2/{own}/chats/{chat}/messages?limit=100&after={after}");
        let found = self.list(&account, path, Some(pages)).await?;
        let now = self.clock.monotonic();
        let sky = self.sky();
        let shown = |message: &&Value| {
            let id = message["id"].as_str().expect("an id");
            sky.shown_at.get(id).is_none_or(|shown_at| *shown_at <= now)
        };
        Ok(found.iter().filter(shown).map(seen).collect())
    }
}

impl Provider for Carrier {
    fn send(&self, call: Call) -> BoxFuture<'_, Reply> {
        Box::pin(self.carry(call))
    }

    fn set_composing(&self, _: AccountId, _: ChatId, _: Composing) -> BoxFuture<'_, Result<(), Unread>> {
        Box::pin(async {
            self.stop.point().await;
            match self.fault_plan().answers_account() {
                true => Ok(()),
                false => {
                    let problem = Box::new(ProviderError::local("timeout", "as decided"));
                    Err(Unread { problem, down: None, hold: None })
                }
            }
        })
    }

    fn messages_since(
        &self,
        account_id: AccountId,
        chat_id: ChatId,
        since: Timestamp,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedMessage>, Unread>> {
        Box::pin(self.messages(account_id, chat_id, since, pages))
    }

    fn chats_with(&self, account: AccountId, user: UserId) -> BoxFuture<'_, Result<Vec<ChatId>, Unread>> {
        Box::pin(async move {
            let path = format!("/v2/{}/users/{}/chat", segment(account.as_str()), segment(user.as_str()));
            let found = self.list(&account, path, None).await?;
            Ok(found.iter().map(|chat| ChatId::new(chat["chat_id"].as_str().expect("an id"))).collect())
        })
    }

    fn profile(&self, account: AccountId, person: UserId) -> BoxFuture<'_, Result<Person, Unread>> {
        Box::pin(self.read_profile(account, person))
    }

    fn groups_since(
        &self,
        account: AccountId,
        _inbox_id: Option<InboxId>,
        since: Timestamp,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedGroup>, Unread>> {
        Box::pin(async move {
            let path = format!("/v2/{}/chats?type=group&limit=100", segment(account.as_str()));
            let found = self.list(&account, path, Some(pages)).await?;
            let group = |chat: &Value| ObservedGroup {
                chat_id: ChatId::new(chat["id"].as_str().expect("an id")),
                name: chat["name"].as_str().map(str::to_owned),
                last_message_at: chat["last_message_timestamp"]
                    .as_str()
                    .map(|at| at.parse().expect("a time")),
                members: Some(members(chat)),
            };
            let groups = found.iter().map(group);
            Ok(groups.filter(|group| group.last_message_at.is_none_or(|at| at > since)).collect())
        })
    }

    fn inboxes(&self, _: AccountId, _: Pages) -> BoxFuture<'_, Result<Vec<ObservedInbox>, Unread>> {
        Box::pin(async {
            match self.fault_plan().answers_account() {
                true => Ok(vec![ObservedInbox { id: InboxId::new("CLASSIC_PRIMARY"), disabled: false }]),
                false => Err(unread()),
            }
        })
    }

    fn inmail_credits(&self, _: AccountId) -> BoxFuture<'_, Result<Credits, Unread>> {
        Box::pin(async {
            match self.fault_plan().answers_account() {
                true => Ok(Credits::from([("classic".to_owned(), 10)])),
                false => Err(unread()),
            }
        })
    }

    fn account(&self, _: AccountId) -> BoxFuture<'_, Result<ObservedAccount, Unread>> {
        Box::pin(async {
            if !self.fault_plan().answers_account() {
                return Err(unread());
            }
            let (provider, status) = ("linkedin".into(), "running".into());
            Ok(ObservedAccount { name: None, provider, status, products: BTreeMap::new(), is_locked: false })
        })
    }

    /// Truncated to seconds, as in a `Date` header.
    fn time(&self) -> Option<ProviderTime> {
        let second = self.clock.monotonic().as_secs();
        let earliest = at(0) + Duration::from_secs(second);
        let time = ProviderTime { earliest, latest: earliest + Duration::from_secs(1) };
        self.sky().knows_time.then_some(time)
    }
}

fn seen(message: &Value) -> ObservedMessage {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let pointer = |value: &Value| {
        value.is_object().then(|| Pointer { id: text(&value["id"]), text: text(&value["text"]) })
    };
    ObservedMessage {
        id: text(&message["id"]).expect("an id"),
        is_sender: message["is_sender"].as_bool(),
        sender_id: None,
        at: message["timestamp"].as_str().expect("a time").parse().expect("a time"),
        text: text(&message["text"]).unwrap_or_default(),
        attachments: message["attachments"].as_array().into_iter().flatten().map(file).collect(),
        quote: pointer(&message["quoted"]),
        forward: pointer(&message["forwarded"]),
        subject: text(&message["specifics"]["subject"]),
        is_deleted: message["is_deleted"] == true,
        is_edited: message["is_edited"] == true,
        is_silent: message["is_event"] == true,
        is_seen: message["is_seen"] == true,
        is_delivered: message["is_delivered"] == true,
    }
}

fn file(file: &Value) -> ObservedAttachment {
    ObservedAttachment {
        filename: file["filename"].as_str().map(str::to_owned),
        size: file["file_size"].as_u64(),
        content_type: file["mimetype"].as_str().map(str::to_owned),
    }
}

/// Returns the members of a group without the account itself.
fn members(chat: &Value) -> Vec<Member> {
    let participants = chat["participants"].as_array().expect("a group lists its people").iter();
    let others = participants.filter(|one| one["is_self"] == false);
    let member = |one: &Value| Member {
        id: UserId::new(one["user"]["id"].as_str().expect("an id")),
        public_identifier: None,
    };
    others.map(member).collect()
}

fn segment(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn unread() -> Unread {
    Unread { problem: Box::new(ProviderError::local("timeout", "as decided")), down: None, hold: None }
}
