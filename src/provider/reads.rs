//! The reads of the Unipile API: chats, messages, inboxes, credits, accounts.
//!
//! Each request carries `Cache-Control: no-cache`, because Unipile otherwise answers a GET with data up to an hour
//! old. An answer from its cache is refused all the same: decisions need fresh data. A list is read to its end or not
//! at all.

use jiff::Timestamp;
use reqwest::header::{CACHE_CONTROL, HeaderMap};
use serde_json::Value;

use super::Pages;
use super::retry_after::retry_after;
use super::shapes::{array, group, message, odd, person, required, text, unread};
use super::unipile::{self, Unipile};
use super::wire::{Answer, Expected, classify, segment};
use crate::domain::ids;
use crate::domain::message::{AccountId, ChatId, InboxId, UserId};
use crate::domain::observed::{
    Credits, ObservedAccount, ObservedGroup, ObservedInbox, ObservedMessage, Unread,
};
use crate::domain::outcome::{Outcome, ProviderError, UNTYPED_SUCCESS};
use crate::domain::person::Person;

type Result<T> = std::result::Result<T, Unread>;

/// Maximum size of a page: a hundred messages of the longest texts.
const MAX_PAGE_BYTES: usize = 16 << 20;
/// Entries requested at once; a page may be shorter (Unipile's page on pagination).
const PAGE: usize = 100;
/// Maximum number of pages of a list. A longer list is not read to its end and returns an error.
const MAX_PAGES: usize = 50;
/// Maximum number of groups without participants in a list that are looked up one by one.
const MOST_LOOKED_UP: usize = 20;

impl Unipile {
    pub(super) async fn read_messages(
        &self,
        account_id: &AccountId,
        chat_id: &ChatId,
        since: Timestamp,
        pages: &Pages,
    ) -> Result<Vec<ObservedMessage>> {
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

    pub(super) async fn read_profile(&self, account_id: &AccountId, user_id: &UserId) -> Result<Person> {
        let id = ids::name_of(user_id.as_str()).unwrap_or(user_id.as_str());
        let path = format!("/v2/{}/users/{}", segment(account_id.as_str()), segment(id));
        person(&self.get(&path).await?)
    }

    pub(super) async fn read_groups(
        &self,
        account_id: &AccountId,
        inbox_id: Option<&InboxId>,
        since: Timestamp,
        pages: &Pages,
    ) -> Result<Vec<ObservedGroup>> {
        let account = segment(account_id.as_str());
        let path = match inbox_id {
            Some(inbox_id) => format!("/v2/{account}/inboxes/{}/chats", segment(inbox_id.as_str())),
            None => format!("/v2/{account}/chats"),
        };
        // A chat that does not state its last activity is read as well.
        let wanted = |group: &ObservedGroup| group.last_message_at.is_none_or(|at| at > since);
        let mut groups = self.list((&path, "type=group"), pages, group, wanted).await?;
        // A list may omit the participants; the chat itself has them.
        for found in groups.iter_mut().filter(|found| found.members.is_none()).take(MOST_LOOKED_UP) {
            pages.next_page().await;
            let body = self.get(&format!("/v2/{account}/chats/{}", segment(found.chat_id.as_str()))).await?;
            found.members = group(&body)?.members;
        }
        Ok(groups)
    }

    pub(super) async fn read_inboxes(
        &self,
        account_id: &AccountId,
        pages: &Pages,
    ) -> Result<Vec<ObservedInbox>> {
        let path = format!("/v2/{}/inboxes", segment(account_id.as_str()));
        let inbox = |value: &Value| {
            let disabled = value.get("disabled").and_then(Value::as_bool).unwrap_or(false);
            Ok(ObservedInbox { id: InboxId::new(required(value, "id")?), disabled })
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

    pub(super) async fn read_account(&self, account_id: &AccountId) -> Result<ObservedAccount> {
        let body = self.get(&format!("/v2/accounts/{}", segment(account_id.as_str()))).await?;
        let products = body.pointer("/metadata/products_connection_status").and_then(Value::as_object);
        let product = |(name, status): (&String, &Value)| Some((name.clone(), status.as_str()?.to_owned()));
        Ok(ObservedAccount {
            name: text(&body, "name"),
            provider: text(&body, "provider").unwrap_or_default(),
            status: required(&body, "status")?,
            products: products.into_iter().flatten().filter_map(product).collect(),
            is_locked: body.get("is_locked").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// Reads a list, sorted newest first, page by page until an entry is not `wanted`.
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
        Err(unread(ProviderError::local(
            "too_many_pages",
            format!("the list goes on beyond {MAX_PAGES} pages"),
        )))
    }

    pub(super) async fn get(&self, path_and_query: &str) -> Result<Value> {
        let request = self.client.get(format!("{}{path_and_query}", self.base_url));
        self.answer_to(request.header(CACHE_CONTROL, "no-cache")).await
    }

    /// Sends a request that no message depends on; returns the object that Unipile answers.
    pub(super) async fn answer_to(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        self.answer_that(request, is_unipiles).await
    }

    /// Sends a request and returns its answer, `null` for an empty one, if `is_theirs` takes it for Unipile's.
    pub(super) async fn answer_that(
        &self,
        request: reqwest::RequestBuilder,
        is_theirs: fn(&Value) -> bool,
    ) -> Result<Value> {
        let asked = self.clock.elapsed();
        let response = request.send().await;
        let mut response = response.map_err(|error| of_outcome(unipile::not_answered(&error).outcome))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers(), self.clock.now());
        let cached = is_cached(response.headers());
        let dated = self.their_clock.heard(asked, response.headers());
        let body = unipile::whole(&mut response, MAX_PAGE_BYTES).await;
        let body = body.map_err(|what| {
            unread(ProviderError { status: Some(status), ..ProviderError::local("broken_answer", what) })
        })?;
        if !(200..300).contains(&status) {
            let expected = Expected::MessageSent;
            let answer = Answer { expected, sent: 0, status, retry_after, body: &body };
            return Err(of_outcome(classify(&answer)));
        }
        if cached {
            let what = "the answer came from a cache although a fresh one was asked for";
            return Err(unread(ProviderError {
                status: Some(status),
                ..ProviderError::local("stale_answer", what)
            }));
        }
        let status = Some(status);
        let value = if body.is_empty() { Some(Value::Null) } else { serde_json::from_slice(&body).ok() };
        let Some(value) = value.filter(is_theirs) else {
            let local = ProviderError::local("", "the answer is not Unipile's");
            return Err(unread(ProviderError { status, kind: UNTYPED_SUCCESS.to_owned(), ..local }));
        };
        if value.get("object").and_then(Value::as_str) == Some("Error") {
            let local = ProviderError::local("unexpected_success", "the answer to a read is an error");
            return Err(unread(ProviderError { status, ..local }));
        }
        self.their_clock.learn(dated);
        Ok(value)
    }
}

/// Returns whether a body may be Unipile's: an object has `object` or `id`, a list `data`, the answer to a DELETE
/// `success`, and a balance `credits`. Portals and proxies answer with pages, or with JSON of their own, such as `{"status": "ok"}`.
fn is_unipiles(body: &Value) -> bool {
    ["object", "data", "id", "success", "credits"].iter().any(|field| body.get(field).is_some())
}

/// Returns whether an answer comes from Unipile's cache.
fn is_cached(headers: &HeaderMap) -> bool {
    let hit = headers.get("x-cache").and_then(|value| value.to_str().ok());
    hit.is_some_and(|value| value.to_ascii_uppercase().contains("HIT"))
}

/// Converts the outcome that a call would have: what stops a call stops a read as well. The one exception is a right
/// that the key lacks for this read: sends may be allowed all the same.
fn of_outcome(outcome: Outcome) -> Unread {
    match outcome {
        Outcome::Accepted { .. } => unread(ProviderError::default()),
        Outcome::Refused(problem) | Outcome::Throttled(problem) | Outcome::Uncertain { problem, .. } => {
            unread(problem)
        }
        Outcome::NotSent { problem, hold } => {
            Unread { problem: Box::new(problem), down: None, hold: Some(hold) }
        }
        Outcome::AccountDown { problem, .. }
            if problem.kind == "api/insufficient_permissions" && problem.status == Some(403) =>
        {
            unread(problem)
        }
        Outcome::AccountDown { cause, problem } => {
            Unread { problem: Box::new(problem), down: Some(cause), hold: None }
        }
    }
}
