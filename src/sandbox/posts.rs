//! Webhook deliveries: which wait, which are under way, and the log of all attempts.
//!
//! Kept by `webhooks`. Deliveries to one endpoint go one after the other, in the order of their events unless a fault
//! changes it; different endpoints do not wait for each other. Everything is bounded: what does not fit is dropped with
//! a warning, as a service that is overloaded may do.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use super::webhook_requests::ConversationsQuery;

/// Largest number of deliveries that wait, and of attempts in the log.
const MOST: usize = 10_000;
/// Largest number of deliveries that are under way at once.
const MOST_AT_ONCE: usize = 16;
/// Largest part of an answer that the log keeps, in characters.
const LONGEST_ANSWER: usize = 1_000;
/// Age of a stale signature.
const STALE_SECONDS: i64 = 3_600;

/// One delivery of an event to an endpoint, ready to be POSTed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// Id of the endpoint, `we_…`.
    pub endpoint_id: String,
    /// Where it goes.
    pub url: String,
    /// Id of the event, `evt_…`.
    pub event_id: String,
    /// Type of the event.
    pub event_type: String,
    /// The JSON body, exactly as signed.
    pub body: String,
    /// Value of the header `unipile-signature`; `None` if a fault leaves it out.
    pub signature: Option<String>,
    /// Number of attempts before this one.
    pub retries: usize,
}

/// How a delivery is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signing {
    Right,
    Wrong,
    Stale,
    Missing,
}

/// A delivery that waits.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    pub(super) endpoint_id: String,
    pub(super) event_id: String,
    pub(super) event_type: String,
    pub(super) body: String,
    pub(super) signing: Signing,
    /// Earliest moment, on the monotonic clock.
    pub(super) due: Duration,
    pub(super) retries: usize,
}

/// One attempt in the log.
#[derive(Debug)]
struct Conversation {
    number: u64,
    endpoint_id: String,
    event_id: String,
    event_type: String,
    is_first: bool,
    url: String,
    status: Option<u16>,
    answer: Option<String>,
    at: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Posts {
    waiting: VecDeque<Waiting>,
    /// Deliveries that wait for another event of their endpoint.
    held: Vec<Waiting>,
    /// Deliveries under way, one per endpoint.
    under_way: Vec<Waiting>,
    log: VecDeque<Conversation>,
    last_conversation: u64,
}

impl Posts {
    pub(super) fn add(&mut self, waiting: Waiting) {
        if self.waiting.len() >= MOST {
            tracing::warn!(event = waiting.event_id, "the sandbox drops a webhook: too many wait");
            return;
        }
        self.waiting.push_back(waiting);
    }

    /// Holds `waiting` until [`Posts::release`] of its endpoint.
    pub(super) fn hold(&mut self, waiting: Waiting) {
        if self.held.len() < MOST {
            self.held.push(waiting);
        }
    }

    /// Lets what is held for `endpoint_id` go.
    pub(super) fn release(&mut self, endpoint_id: &str) {
        for waiting in self.held.extract_if(.., |held| held.endpoint_id == endpoint_id).collect::<Vec<_>>() {
            self.add(waiting);
        }
    }

    /// Drops what waits for `endpoint_id`.
    pub(super) fn forget(&mut self, endpoint_id: &str) {
        self.waiting.retain(|waiting| waiting.endpoint_id != endpoint_id);
        self.held.retain(|waiting| waiting.endpoint_id != endpoint_id);
    }

    /// Returns the next delivery that may begin at `now`, and counts it as under way.
    pub(super) fn take(&mut self, now: Duration) -> Option<Waiting> {
        if self.under_way.len() >= MOST_AT_ONCE {
            return None;
        }
        let busy: BTreeSet<&str> = self.under_way.iter().map(|other| other.endpoint_id.as_str()).collect();
        let may = |one: &Waiting| one.due <= now && !busy.contains(one.endpoint_id.as_str());
        let place = self.waiting.iter().position(may)?;
        let waiting = self.waiting.remove(place)?;
        self.under_way.push(waiting.clone());
        Some(waiting)
    }

    /// Returns when the next delivery is due, unless it waits for one that is under way.
    pub(super) fn next_due(&self) -> Option<Duration> {
        if self.under_way.len() >= MOST_AT_ONCE {
            return None;
        }
        let is_free =
            |one: &&Waiting| !self.under_way.iter().any(|other| other.endpoint_id == one.endpoint_id);
        self.waiting.iter().filter(is_free).map(|one| one.due).min()
    }

    /// Records the end of `post`. If it failed, it is due again after the pause of its attempt, if there is one.
    pub(super) fn ended(
        &mut self,
        post: &Post,
        answer: Answer<'_>,
        pauses: &[Duration],
        now: (Timestamp, Duration),
    ) {
        let place = self.under_way.iter().position(|other| other.endpoint_id == post.endpoint_id);
        let waiting = place.map(|place| self.under_way.swap_remove(place));
        self.last_conversation += 1;
        self.log.push_back(Conversation {
            number: self.last_conversation,
            endpoint_id: post.endpoint_id.clone(),
            event_id: post.event_id.clone(),
            event_type: post.event_type.clone(),
            is_first: post.retries == 0,
            url: post.url.clone(),
            status: answer.status,
            answer: answer.body.map(|body| body.chars().take(LONGEST_ANSWER).collect()),
            at: now.0,
        });
        if self.log.len() > MOST {
            self.log.pop_front();
        }
        let is_received = answer.status.is_some_and(|status| (200..300).contains(&status));
        if let Some(pause) = pauses.get(post.retries).filter(|_| !is_received)
            && let Some(waiting) = waiting
        {
            self.add(Waiting { due: now.1 + *pause, retries: post.retries + 1, ..waiting });
        }
    }

    /// Returns a page of the log of one endpoint, newest first.
    pub(super) fn conversations(&self, query: &ConversationsQuery) -> Value {
        let wanted = |one: &&Conversation| {
            one.endpoint_id == query.endpoint_id
                && query.event_id.as_ref().is_none_or(|event| *event == one.event_id)
        };
        let page = query.page;
        let mut found = self.log.iter().rev().filter(wanted).skip(page.offset);
        let data: Vec<Value> = found.by_ref().take(page.limit).map(Conversation::view).collect();
        json!({ "object": "WebhookConversations", "data": data, "has_more": found.next().is_some() })
    }
}

/// What an endpoint answered to a delivery; without a status it did not answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'a> {
    pub(super) status: Option<u16>,
    pub(super) body: Option<&'a str>,
}

impl Conversation {
    fn view(&self) -> Value {
        json!({
            "object": "WebhookConversation",
            "id": format!("wc_{:06}", self.number),
            "endpoint_id": self.endpoint_id,
            "event_id": self.event_id,
            "event_type": self.event_type,
            "first_attempt": self.is_first,
            "http_status": self.status,
            "endpoint_url": self.url,
            "response_body": self.answer,
            "created_at": format!("{:.3}", self.at),
        })
    }
}

/// Returns the value of `unipile-signature`, if it has one.
pub(super) fn signature(signing: Signing, secret: &str, now: Timestamp, body: &str) -> Option<String> {
    let at = now.as_second();
    match signing {
        Signing::Right => Some(signed(secret, at, body)),
        Signing::Wrong => Some(signed("wes_of_another_endpoint", at, body)),
        Signing::Stale => Some(signed(secret, at - STALE_SECONDS, body)),
        Signing::Missing => None,
    }
}

fn signed(secret: &str, at: i64, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(at.to_string().as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    format!("t={at},v0={}", hex(&mac.finalize().into_bytes()))
}

/// Returns `bytes` in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(endpoint: &str, event: usize) -> Waiting {
        Waiting {
            endpoint_id: endpoint.to_owned(),
            event_id: event.to_string(),
            event_type: "message.new".to_owned(),
            body: String::new(),
            signing: Signing::Right,
            due: Duration::ZERO,
            retries: 0,
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped() {
        let mut posts = Posts::default();
        (0..=MOST).for_each(|event| posts.add(waiting("we_1", event)));
        assert_eq!(posts.waiting.len(), MOST);
        assert_eq!(posts.take(Duration::ZERO).unwrap().event_id, "0");
    }

    #[test]
    fn one_delivery_of_an_endpoint_and_sixteen_of_all_are_under_way() {
        let mut posts = Posts::default();
        for event in 0..2 {
            (0..20).for_each(|endpoint| posts.add(waiting(&format!("we_{endpoint}"), event)));
        }
        let mut taken = Vec::new();
        while let Some(waiting) = posts.take(Duration::ZERO) {
            taken.push((waiting.endpoint_id, waiting.event_id));
        }
        assert_eq!(taken.len(), MOST_AT_ONCE);
        assert!(taken.iter().all(|(_, event)| event == "0"), "{taken:?}");
        assert_eq!(posts.next_due(), None, "the end of one of them comes first");
    }

    /// Computed with `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac wes_secret`.
    #[test]
    fn a_signature_is_what_openssl_computes() {
        let v0 = "e2943b8a8be4c6e266eea0d404bec2815d9124bc6e8688f91fdd9fe2c234d8b3";
        assert_eq!(signed("wes_secret", 1_700_000_000, r#"{"a":1}"#), format!("t=1700000000,v0={v0}"));
    }
}
