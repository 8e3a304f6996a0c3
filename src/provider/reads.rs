//! The reads of the Unipile API: chats, messages, inboxes, credits, accounts.
//!
//! Each says `Cache-Control: no-cache`, because Unipile answers a GET with what was true up to an hour ago otherwise,
//! and an answer that comes from its cache all the same is refused: what is decided on must be fresh. A list is read to
//! its end or not at all.

use jiff::Timestamp;
use reqwest::header::{CACHE_CONTROL, HeaderMap};
use serde_json::Value;

use super::Pages;
use super::retry_after::retry_after;
use super::unipile::{self, Unipile};
use super::wire::{Answer, Expected, classify, segment};
use crate::domain::message::{AccountId, ChatId, InboxId, UserId};
use crate::domain::outcome::{Outcome, Problem, UNTYPED_SUCCESS};
use crate::domain::seen::{Credits, SeenAccount, SeenAttachment, SeenGroup, SeenInbox, SeenMessage, Unread};

type Result<T> = std::result::Result<T, Unread>;

/// Most of a page that is read: a hundred messages of the longest texts.
const MAX_PAGE_BYTES: usize = 16 << 20;
/// Entries asked for at once; a page may be shorter (Unipile's page on pagination).
const PAGE: usize = 100;
/// A list that goes on beyond so many pages is not read to its end, and says so.
const MAX_PAGES: usize = 50;

impl Unipile {
    pub(super) async fn read_messages(
        &self,
        account_id: &AccountId,
        chat_id: &ChatId,
        since: Timestamp,
        pages: &Pages,
    ) -> Result<Vec<SeenMessage>> {
        let path =
            format!("/v2/{}/chats/{}/messages", segment(account_id.as_str()), segment(chat_id.as_str()));
        let query = format!("after={}", segment(&crate::domain::time_text(since)));
        self.list((&path, &query), pages, message, |message| message.at > since).await
    }

    pub(super) async fn read_chats_with(
        &self,
        account_id: &AccountId,
        user_id: &UserId,
    ) -> Result<Vec<ChatId>> {
        let path = format!("/v2/{}/users/{}/chat", segment(account_id.as_str()), segment(user_id.as_str()));
        let body = self.get(&path).await?;
        array(&body, "data")?.iter().map(|chat| Ok(ChatId::new(required(chat, "chat_id")?))).collect()
    }

    pub(super) async fn read_groups(
        &self,
        account_id: &AccountId,
        inbox_id: Option<&InboxId>,
        since: Timestamp,
        pages: &Pages,
    ) -> Result<Vec<SeenGroup>> {
        let account = segment(account_id.as_str());
        let path = match inbox_id {
            Some(inbox_id) => format!("/v2/{account}/inboxes/{}/chats", segment(inbox_id.as_str())),
            None => format!("/v2/{account}/chats"),
        };
        // A chat that does not say when something was written in it is looked into as well.
        let wanted = |group: &SeenGroup| group.last_message_at.is_none_or(|at| at > since);
        self.list((&path, "type=group"), pages, group, wanted).await
    }

    pub(super) async fn read_inboxes(&self, account_id: &AccountId, pages: &Pages) -> Result<Vec<SeenInbox>> {
        let path = format!("/v2/{}/inboxes", segment(account_id.as_str()));
        let inbox = |value: &Value| {
            let disabled = value.get("disabled").and_then(Value::as_bool).unwrap_or(false);
            Ok(SeenInbox { id: InboxId::new(required(value, "id")?), disabled })
        };
        self.list((&path, ""), pages, inbox, |_| true).await
    }

    pub(super) async fn read_credits(&self, account_id: &AccountId) -> Result<Credits> {
        let path = format!("/v2/{}/linkedin/inmail-credits", segment(account_id.as_str()));
        let body = self.get(&path).await?;
        let Some(Value::Object(credits)) = body.get("credits") else { return Err(odd("credits", &body)) };
        let number = |(product, value): (&String, &Value)| Some((product.clone(), value.as_u64()?));
        Ok(credits.iter().filter_map(number).collect())
    }

    pub(super) async fn read_account(&self, account_id: &AccountId) -> Result<SeenAccount> {
        let body = self.get(&format!("/v2/accounts/{}", segment(account_id.as_str()))).await?;
        let products = body.pointer("/metadata/products_connection_status").and_then(Value::as_object);
        let product = |(name, status): (&String, &Value)| Some((name.clone(), status.as_str()?.to_owned()));
        Ok(SeenAccount {
            name: text(&body, "name"),
            provider: text(&body, "provider").unwrap_or_default(),
            status: required(&body, "status")?,
            products: products.into_iter().flatten().filter_map(product).collect(),
            is_locked: body.get("is_locked").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// Reads a list page by page until one of its entries is not `wanted` any more: it is sorted newest first.
    async fn list<T>(
        &self,
        (path, query): (&str, &str),
        pages: &Pages,
        parse: impl Fn(&Value) -> Result<T>,
        wanted: impl Fn(&T) -> bool,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        let mut cursor: Option<String> = None;
        for page in 0..MAX_PAGES {
            if page > 0 {
                pages.next_page().await;
            }
            let mut url = format!("{path}?{query}");
            if !query.is_empty() {
                url.push_str(&format!("&limit={PAGE}"));
            }
            if let Some(cursor) = &cursor {
                url.push_str(&format!("&cursor={}", segment(cursor)));
            }
            let body = self.get(url.trim_end_matches('?')).await?;
            let mut ended = false;
            for value in array(&body, "data")? {
                let entry = parse(value)?;
                if wanted(&entry) {
                    found.push(entry);
                } else {
                    ended = true;
                }
            }
            cursor = text(&body, "next_cursor").filter(|cursor| !cursor.is_empty());
            if ended || cursor.is_none() {
                return Ok(found);
            }
        }
        Err(unread(Problem::local("too_many_pages", format!("the list goes on beyond {MAX_PAGES} pages"))))
    }

    async fn get(&self, path_and_query: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path_and_query}", self.base_url));
        let response = request.header(CACHE_CONTROL, "no-cache").send().await;
        let mut response = response.map_err(|error| of_outcome(unipile::not_answered(&error).outcome))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers(), self.clock.now());
        let cached = is_cached(response.headers());
        let body = unipile::whole(&mut response, MAX_PAGE_BYTES).await;
        let body = body.map_err(|what| {
            unread(Problem { status: Some(status), ..Problem::local("broken_answer", what) })
        })?;
        if !(200..300).contains(&status) {
            let answer = Answer { expected: Expected::MessageSent, status, retry_after, body: &body };
            return Err(of_outcome(classify(&answer)));
        }
        if cached {
            let what = "the answer came from a cache although a fresh one was asked for";
            return Err(unread(Problem { status: Some(status), ..Problem::local("stale_answer", what) }));
        }
        let status = Some(status);
        let value: Option<Value> = serde_json::from_slice(&body).ok();
        let Some(value) = value.filter(Value::is_object) else {
            let local = Problem::local("", "the answer to a read is not Unipile's");
            return Err(unread(Problem { status, kind: UNTYPED_SUCCESS.to_owned(), ..local }));
        };
        if value.get("object").and_then(Value::as_str) == Some("Error") {
            let local = Problem::local("unexpected_success", "the answer to a read is an error");
            return Err(unread(Problem { status, ..local }));
        }
        Ok(value)
    }
}

/// Whether an answer comes from Unipile's cache.
fn is_cached(headers: &HeaderMap) -> bool {
    let hit = headers.get("x-cache").and_then(|value| value.to_str().ok());
    hit.is_some_and(|value| value.to_ascii_uppercase().contains("HIT"))
}

fn unread(problem: Problem) -> Unread {
    Unread { problem: Box::new(problem), down: None, hold: None }
}

/// What the outcome of a call would be says what stops reads as well.
fn of_outcome(outcome: Outcome) -> Unread {
    match outcome {
        Outcome::Accepted { .. } => unread(Problem::default()),
        Outcome::Refused(problem) | Outcome::Throttled(problem) | Outcome::Uncertain { problem, .. } => {
            unread(problem)
        }
        Outcome::NotSent { problem, hold } => {
            Unread { problem: Box::new(problem), down: None, hold: Some(hold) }
        }
        Outcome::AccountDown { cause, problem } => {
            Unread { problem: Box::new(problem), down: Some(cause), hold: None }
        }
    }
}

fn message(value: &Value) -> Result<SeenMessage> {
    let attachments = value.get("attachments").and_then(Value::as_array).into_iter().flatten();
    let attachment = |file: &Value| SeenAttachment {
        filename: text(file, "filename"),
        size: file.get("file_size").and_then(Value::as_u64),
    };
    let forwarded = value.get("forwarded").filter(|forwarded| forwarded.is_object());
    let flag = |name: &str| value.get(name).and_then(Value::as_bool).unwrap_or(false);
    Ok(SeenMessage {
        id: required(value, "id")?,
        // A message that does not say who wrote it is not taken for ours.
        is_sender: flag("is_sender") && !flag("is_event"),
        at: time(value, "timestamp")?.ok_or_else(|| odd("timestamp", value))?,
        text: text(value, "text").unwrap_or_default(),
        attachments: attachments.map(attachment).collect(),
        quoted_id: value.get("quoted").and_then(|quoted| text(quoted, "id")),
        is_forwarded: forwarded.is_some(),
        forwarded_id: forwarded.and_then(|forwarded| text(forwarded, "id")),
    })
}

fn group(value: &Value) -> Result<SeenGroup> {
    let last_message_at = match time(value, "last_message_timestamp")? {
        Some(at) => Some(at),
        None => time(value, "updated_at")?,
    };
    Ok(SeenGroup { chat_id: ChatId::new(required(value, "id")?), name: text(value, "name"), last_message_at })
}

fn text(value: &Value, field: &str) -> Option<String> {
    value.get(field).and_then(Value::as_str).map(str::to_owned)
}

fn required(value: &Value, field: &str) -> Result<String> {
    text(value, field).ok_or_else(|| odd(field, value))
}

fn time(value: &Value, field: &str) -> Result<Option<Timestamp>> {
    let Some(text) = text(value, field) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| odd(field, value))
}

fn array<'a>(value: &'a Value, field: &str) -> Result<&'a Vec<Value>> {
    value.get(field).and_then(Value::as_array).ok_or_else(|| odd(field, value))
}

/// An answer without a field that the description promises; its content may be a person's words and is not repeated.
fn odd(field: &str, value: &Value) -> Unread {
    let fields: Vec<&str> = value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let what =
        format!("`{field}` is missing or is not what the description says, beside: {}", fields.join(", "));
    unread(Problem::local("unexpected_success", what))
}
