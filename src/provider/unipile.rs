//! The Unipile API v2 over HTTP.
//!
//! The client repeats nothing: no redirects, no retries. A call without an answer certainly reached no recipient if
//! its body was not handed to the connection completely; after that, it may have. Idle connections are closed after a
//! few seconds, because a server that closes one while we write to it would leave a message's outcome unknown for no
//! good reason: at one call every 10 to 20 seconds, a new connection costs less than a person's review of a chat.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::progress::Handed;
use super::retry_after::retry_after;
use super::their_clock::TheirClock;
use super::wire::{self, Answer, Expected, classify};
use super::{Call, Composing, Dialect, Pages, Provider, Reply, stream, tls};
use crate::clock::Clock;
use crate::domain::endpoint::{EndpointAnswer, EndpointRequest, TestPost};
use crate::domain::message::{AccountId, ChatId, InboxId, UserId};
use crate::domain::observed::{
    Credits, ObservedAccount, ObservedGroup, ObservedInbox, ObservedMessage, ProviderTime, Unread,
};
use crate::domain::outcome::{Heard, Hold, Outcome, Phase, ProviderError};
use crate::domain::person::Person;

/// Maximum size of Unipile's answer to a send; anything longer is not an answer of Unipile's.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A typing indicator that takes longer is too late to be useful.
const COMPOSING_TIMEOUT: Duration = Duration::from_secs(10);

/// Options for reaching Unipile.
#[derive(Clone)]
pub struct UnipileOptions {
    /// `https://api.unipile.com`, without the `/v2`.
    pub base_url: String,
    /// The `X-API-KEY`.
    pub api_key: SecretString,
    /// Certificates to trust in addition to those of the system, as PEM; may be empty.
    pub ca: Vec<u8>,
    /// Which field names to use.
    pub dialect: Dialect,
    /// Timeout of the connection alone, with DNS and TLS.
    pub connect_timeout: Duration,
    /// Timeout of the whole call.
    pub request_timeout: Duration,
    /// Determines how far away a date in an answer is, if the answer does not say when it was written.
    pub clock: Arc<dyn Clock>,
}

/// A client of the Unipile API v2.
pub struct Unipile {
    pub(super) client: reqwest::Client,
    pub(super) base_url: String,
    dialect: Dialect,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) their_clock: TheirClock,
}

impl Unipile {
    /// Creates the client; opens no connection yet.
    ///
    /// # Errors
    /// Returns an error if the key is not a valid header, or certificates cannot be read.
    pub fn new(options: &UnipileOptions) -> Result<Self, reqwest::Error> {
        // One crypto library for the whole program; a second installation fails harmlessly.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        if let Ok(mut key) = HeaderValue::from_str(options.api_key.expose_secret()) {
            key.set_sensitive(true);
            headers.insert("x-api-key", key);
        }
        let base_url = options.base_url.trim_end_matches('/').to_owned();
        let builder = reqwest::Client::builder();
        // http is only for this machine and needs no certificates; otherwise the proxy of the environment is used
        // (`config/proxy.rs`).
        let is_plain = base_url.starts_with("http:");
        let builder = if is_plain { builder.no_proxy().tls_certs_only([]) } else { builder };
        let builder = match options.ca.is_empty() {
            true => builder,
            false => builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(&options.ca)?),
        };
        let client = builder
            .user_agent(concat!("outboxd/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(options.connect_timeout)
            .timeout(options.request_timeout)
            .pool_idle_timeout(Duration::from_secs(3))
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .build()?;
        let their_clock = TheirClock::new(Arc::clone(&options.clock));
        let clock = Arc::clone(&options.clock);
        Ok(Self { client, base_url, dialect: options.dialect, clock, their_clock })
    }

    async fn call(&self, call: Call) -> Reply {
        let (path, body, expected) = wire::request(&call, self.dialect);
        let (length, body) = stream::body(&body, call.attachments);
        let body = call.progress.watch(length, body);
        let request = self.client.post(format!("{}{path}", self.base_url));
        let request = request.header(CONTENT_TYPE, "application/json").header(CONTENT_LENGTH, length);
        let asked = self.clock.elapsed();
        match request.body(reqwest::Body::wrap_stream(body)).send().await {
            Ok(response) => {
                let dated = self.their_clock.heard(asked, response.headers());
                let reply = read(response, (expected, length), self.clock.now()).await;
                if reply.outcome.heard() == Heard::Answer {
                    self.their_clock.learn(dated);
                }
                reply
            }
            Err(error) => unanswered(&error, call.progress.stop()),
        }
    }

    async fn composing(
        &self,
        account_id: &AccountId,
        chat_id: &ChatId,
        composing: Composing,
    ) -> Result<(), Unread> {
        let action = match composing {
            Composing::Typing => "typing",
            Composing::Recording => "recording",
        };
        let account = wire::segment(account_id.as_str());
        let chat = wire::segment(chat_id.as_str());
        let url = format!("{}/v2/{account}/chats/{chat}/composing?action={action}", self.base_url);
        // Nothing depends on what the answer says; only a page is not Unipile's.
        let is_theirs = |answer: &Value| answer.is_object() || answer.is_null();
        self.answer_that(self.client.post(url).timeout(COMPOSING_TIMEOUT), is_theirs).await.map(drop)
    }
}

impl Provider for Unipile {
    fn send(&self, call: Call) -> BoxFuture<'_, Reply> {
        Box::pin(self.call(call))
    }

    fn set_composing(
        &self,
        account_id: AccountId,
        chat_id: ChatId,
        composing: Composing,
    ) -> BoxFuture<'_, Result<(), Unread>> {
        Box::pin(async move { self.composing(&account_id, &chat_id, composing).await })
    }

    fn messages_since(
        &self,
        account_id: AccountId,
        chat_id: ChatId,
        since: Timestamp,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedMessage>, Unread>> {
        Box::pin(async move { self.read_messages(&account_id, &chat_id, since, &pages).await })
    }

    fn chats_with(
        &self,
        account_id: AccountId,
        user_id: UserId,
    ) -> BoxFuture<'_, Result<Vec<ChatId>, Unread>> {
        Box::pin(async move { self.read_chats_with(&account_id, &user_id).await })
    }

    fn profile(&self, account_id: AccountId, person: UserId) -> BoxFuture<'_, Result<Person, Unread>> {
        Box::pin(async move { self.read_profile(&account_id, &person).await })
    }

    fn groups_since(
        &self,
        account_id: AccountId,
        inbox_id: Option<InboxId>,
        since: Timestamp,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedGroup>, Unread>> {
        Box::pin(async move { self.read_groups(&account_id, inbox_id.as_ref(), since, &pages).await })
    }

    fn inboxes(
        &self,
        account_id: AccountId,
        pages: Pages,
    ) -> BoxFuture<'_, Result<Vec<ObservedInbox>, Unread>> {
        Box::pin(async move { self.read_inboxes(&account_id, &pages).await })
    }

    fn inmail_credits(&self, account_id: AccountId) -> BoxFuture<'_, Result<Credits, Unread>> {
        Box::pin(async move { self.read_credits(&account_id).await })
    }

    fn account(&self, account_id: AccountId) -> BoxFuture<'_, Result<ObservedAccount, Unread>> {
        Box::pin(async move { self.read_account(&account_id).await })
    }

    fn endpoints(&self, request: EndpointRequest) -> BoxFuture<'_, Result<EndpointAnswer, Unread>> {
        Box::pin(self.endpoint_request(request))
    }

    fn post_test(&self, post: TestPost) -> BoxFuture<'_, Result<(u16, String), String>> {
        Box::pin(Self::deliver_test(post))
    }

    fn time(&self) -> Option<ProviderTime> {
        self.their_clock.now()
    }
}

/// Reads the answer to its end; an incomplete answer is an unknown outcome, whatever its status.
async fn read(mut response: reqwest::Response, (expected, sent): (Expected, u64), now: Timestamp) -> Reply {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), now);
    let body = match whole(&mut response, MAX_ANSWER_BYTES).await {
        Ok(body) => body,
        Err(what) => return broken(status, what),
    };
    let outcome = classify(&Answer { expected, sent, status, retry_after, body: &body });
    Reply { phase: Phase::Answered, outcome }
}

/// Reads the body to its end, if it has at most `most` bytes.
pub(super) async fn whole(response: &mut reqwest::Response, most: usize) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= most => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Ok(Some(_)) => return Err(format!("an answer of more than {most} bytes")),
            Err(error) => return Err(format!("the answer broke off: {}", chain(&error))),
        }
    }
}

fn broken(status: u16, what: String) -> Reply {
    let problem = ProviderError { status: Some(status), ..ProviderError::local("broken_answer", what) };
    Reply { phase: Phase::Written, outcome: Outcome::Uncertain { phase: Phase::Written, problem } }
}

/// Classifies a send without an answer. A request whose body was not sent completely cannot have been acted on.
fn unanswered(error: &reqwest::Error, handed: Handed) -> Reply {
    let (phase, kind, hold) = match handed {
        Handed::Nothing if !error.is_builder() && !error.is_connect() => {
            (Phase::Connecting, "not_written", Hold::Api)
        }
        // The API may have rejected this very message, so only this message waits.
        Handed::Part => (Phase::Written, "cut_off", Hold::Message),
        Handed::Nothing | Handed::All => return not_answered(error),
    };
    Reply { phase, outcome: Outcome::NotSent { problem: ProviderError::local(kind, chain(error)), hold } }
}

/// Classifies a request without an answer: certainly not acted on only if no connection was made.
pub(super) fn not_answered(error: &reqwest::Error) -> Reply {
    if error.is_builder() {
        let problem = ProviderError::local("invalid_request", chain(error));
        return Reply { phase: Phase::Claimed, outcome: Outcome::Refused(problem) };
    }
    if error.is_connect() {
        let problem = ProviderError::local("cannot_connect", chain(error));
        let outcome = Outcome::NotSent { problem, hold: Hold::Api };
        return Reply { phase: Phase::Connecting, outcome };
    }
    let kind = if error.is_timeout() { "timeout" } else { "no_answer" };
    let problem = ProviderError::local(kind, chain(error));
    Reply { phase: Phase::Written, outcome: Outcome::Uncertain { phase: Phase::Written, problem } }
}

/// Returns an error with its causes, without the URL (which contains ids).
pub(super) fn chain(error: &reqwest::Error) -> String {
    use std::error::Error as _;
    let mut text = match (error.is_timeout(), error.is_connect()) {
        (true, true) => "no connection in time".to_owned(),
        (true, false) => "no answer in time".to_owned(),
        (false, true) => "no connection".to_owned(),
        (false, false) => "the call failed".to_owned(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    match tls::advice(error) {
        Some(advice) => format!("{text}; {advice}"),
        None => text,
    }
}
