//! Webhook endpoints: what an application registers, and which of them receive an event.
//!
//! Kept by `state`; `publish` raises events here, `deliver` takes the deliveries from here. An endpoint belongs to the
//! application, not to an account. A new endpoint always has a new secret, even at the URL of a deleted one.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::SandboxConfig;
use super::account::Account;
use super::event::{self, Event};
use super::posts::{self, Answer, Post, Posts, Signing, Waiting};
use super::reply::{Problem, Reply};
use super::webhook_faults::{self, WebhookFault, WebhookFaultKind};
use super::webhook_requests::{Page, Settings, WebhookRequest};

#[derive(Debug, Default)]
pub(super) struct Webhooks {
    /// Oldest first.
    endpoints: Vec<WebhookEndpoint>,
    pub(super) faults: Vec<WebhookFault>,
    posts: Posts,
    last_endpoint: u64,
    last_event: u64,
}

#[derive(Debug)]
struct WebhookEndpoint {
    id: String,
    secret: String,
    url: String,
    trigger_events: Vec<String>,
    /// Empty means every account.
    account_ids: Vec<String>,
    description: Option<String>,
    enabled: bool,
}

impl Webhooks {
    /// Checks that the endpoint and the accounts that `request` names exist.
    pub(super) fn admit(&self, request: &WebhookRequest, config: &SandboxConfig) -> Result<(), Problem> {
        match request {
            WebhookRequest::List(_) => Ok(()),
            WebhookRequest::Create(settings) => accounts_exist(settings, config),
            WebhookRequest::Update(id, settings) => {
                self.place(id)?;
                accounts_exist(settings, config)
            }
            WebhookRequest::Get(id) | WebhookRequest::Delete(id) => self.place(id).map(|_| ()),
            WebhookRequest::Conversations(query) => self.place(&query.endpoint_id).map(|_| ()),
        }
    }

    /// Executes `request`.
    ///
    /// # Errors
    ///
    /// Fails if the endpoint that it names was deleted since the request was admitted.
    pub(super) fn carry_out(
        &mut self,
        request: &WebhookRequest,
        accounts: &HashMap<String, Account>,
        config: &SandboxConfig,
    ) -> Result<Reply, Problem> {
        let view = match request {
            WebhookRequest::Create(settings) => self.create(settings, config).view(accounts),
            WebhookRequest::List(page) => self.list(*page, accounts),
            WebhookRequest::Get(id) => self.endpoints[self.place(id)?].view(accounts),
            WebhookRequest::Update(id, settings) => {
                let place = self.place(id)?;
                self.endpoints[place].set(settings);
                if !self.endpoints[place].enabled {
                    self.posts.forget(id);
                }
                self.endpoints[place].view(accounts)
            }
            WebhookRequest::Delete(id) => {
                self.endpoints.remove(self.place(id)?);
                self.posts.forget(id);
                json!({ "success": true })
            }
            WebhookRequest::Conversations(query) => self.posts.conversations(query),
        };
        Ok(Reply::json(view.to_string()))
    }

    fn create(&mut self, settings: &Settings, config: &SandboxConfig) -> &WebhookEndpoint {
        self.last_endpoint += 1;
        let secret = format!("secret of endpoint {} with seed {}", self.last_endpoint, config.seed);
        let digest = Sha256::digest(secret);
        let mut endpoint = WebhookEndpoint {
            id: format!("we_{}", config.number(self.last_endpoint)),
            secret: format!("wes_{}", posts::hex(&digest[..16])),
            url: String::new(),
            trigger_events: Vec::new(),
            account_ids: Vec::new(),
            description: None,
            enabled: true,
        };
        endpoint.set(settings);
        self.endpoints.push(endpoint);
        self.endpoints.last().expect("it was just added")
    }

    fn list(&self, page: Page, accounts: &HashMap<String, Account>) -> Value {
        let mut rest = self.endpoints.iter().skip(page.offset);
        let data: Vec<Value> = rest.by_ref().take(page.limit).map(|one| one.view(accounts)).collect();
        json!({ "object": "WebhookEndpoints", "data": data, "has_more": rest.next().is_some() })
    }

    fn place(&self, id: &str) -> Result<usize, Problem> {
        let missing =
            || Problem::resource_not_found("api", &format!("Webhook endpoint {id} does not exist."));
        self.endpoints.iter().position(|one| one.id == id).ok_or_else(missing)
    }

    /// Returns whether an event of this type on `account_id` goes to any endpoint.
    pub(super) fn is_awaited(&self, account_id: &str, kind: &str) -> bool {
        self.endpoints.iter().any(|one| one.wants(account_id, kind))
    }

    /// Queues `event` for every endpoint that asked for it, with the faults that it meets.
    pub(super) fn raise(&mut self, event: &Event, config: &SandboxConfig, now: Duration) {
        if !self.is_awaited(&event.account_id, &event.kind) {
            return;
        }
        let kinds = webhook_faults::take(&mut self.faults, &event.account_id, &event.kind);
        let mut bodies = vec![self.body(event, &kinds, config)];
        for kind in &kinds {
            match kind {
                WebhookFaultKind::Repeat(times) => {
                    let same = bodies[0].clone();
                    bodies.extend((0..*times).map(|_| same.clone()));
                }
                WebhookFaultKind::TwoIds => bodies.push(self.body(event, &kinds, config)),
                _ => {}
            }
        }
        let Self { endpoints, posts, .. } = self;
        for endpoint in endpoints.iter().filter(|one| one.wants(&event.account_id, &event.kind)) {
            for (event_id, body) in &bodies {
                let waiting = Waiting {
                    endpoint_id: endpoint.id.clone(),
                    event_id: event_id.clone(),
                    event_type: event.kind.clone(),
                    body: body.clone(),
                    signing: signing(&kinds),
                    due: now + delay(&kinds),
                    retries: 0,
                };
                match kinds.contains(&WebhookFaultKind::Reorder) {
                    true => posts.hold(waiting),
                    false => posts.add(waiting),
                }
            }
            if !kinds.contains(&WebhookFaultKind::Reorder) {
                posts.release(&endpoint.id);
            }
        }
    }

    /// Returns `event` under a new id, and that id.
    fn body(
        &mut self,
        event: &Event,
        kinds: &[WebhookFaultKind],
        config: &SandboxConfig,
    ) -> (String, String) {
        self.last_event += 1;
        let id = format!("evt_{}", config.number(self.last_event));
        let mut body = event.body(&id);
        webhook_faults::reshape(&mut body, kinds);
        (id, body.to_string())
    }

    /// Returns the next delivery, signed at `now`.
    pub(super) fn take_post(&mut self, now: Timestamp, monotonic: Duration) -> Option<Post> {
        let waiting = self.posts.take(monotonic)?;
        let endpoint = self.endpoints.iter().find(|one| one.id == waiting.endpoint_id)?;
        Some(Post {
            signature: posts::signature(waiting.signing, &endpoint.secret, now, &waiting.body),
            endpoint_id: waiting.endpoint_id,
            url: endpoint.url.clone(),
            event_id: waiting.event_id,
            event_type: waiting.event_type,
            body: waiting.body,
            retries: waiting.retries,
        })
    }

    /// Records what the endpoint answered to `post`.
    pub(super) fn posted(
        &mut self,
        post: &Post,
        answer: Answer<'_>,
        pauses: &[Duration],
        now: (Timestamp, Duration),
    ) {
        let goes_on = self.endpoints.iter().any(|one| one.id == post.endpoint_id && one.enabled);
        self.posts.ended(post, answer, if goes_on { pauses } else { &[] }, now);
    }

    /// Returns when the next delivery is due.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.posts.next_due()
    }
}

impl WebhookEndpoint {
    fn set(&mut self, settings: &Settings) {
        let Settings { url, trigger_events, account_ids, description, enabled } = settings.clone();
        self.url = url.unwrap_or_else(|| std::mem::take(&mut self.url));
        self.trigger_events = trigger_events.unwrap_or_else(|| std::mem::take(&mut self.trigger_events));
        self.account_ids = account_ids.unwrap_or_else(|| std::mem::take(&mut self.account_ids));
        self.description = description.or_else(|| self.description.take());
        self.enabled = enabled.unwrap_or(self.enabled);
    }

    /// Returns whether it receives such an event. No endpoint can ask for an unknown type, so every one receives it.
    fn wants(&self, account_id: &str, kind: &str) -> bool {
        let is_asked_for = self.trigger_events.iter().any(|one| one == kind) || !event::NAMES.contains(&kind);
        let is_account = self.account_ids.is_empty() || self.account_ids.iter().any(|id| id == account_id);
        self.enabled && is_asked_for && is_account
    }

    fn view(&self, accounts: &HashMap<String, Account>) -> Value {
        let target = |id: &String| {
            let known = accounts.get(id);
            json!({
                "object": "WebhookEndpointAccountTarget",
                "id": id,
                "account_name": known.map_or_else(|| id.trim_start_matches("acc_"), |one| one.name.as_str()),
                "account_provider": known.map_or("linkedin", |one| one.provider.as_str()),
                "status": "active",
            })
        };
        json!({
            "object": "WebhookEndpoint",
            "id": self.id,
            "application_id": "app_sandbox",
            "enabled": self.enabled,
            "description": self.description,
            "url": self.url,
            "trigger_events": self.trigger_events,
            "secret": self.secret,
            "account_ids": self.account_ids,
            "account_targets": self.account_ids.iter().map(target).collect::<Vec<_>>(),
        })
    }
}

/// Checks that the accounts of an endpoint are among the configured ones, if any are configured.
fn accounts_exist(settings: &Settings, config: &SandboxConfig) -> Result<(), Problem> {
    let Some(known) = &config.accounts else { return Ok(()) };
    match settings.account_ids.iter().flatten().find(|id| !known.contains(id)) {
        Some(id) => Err(Problem::resource_not_found("api", &format!("Account {id} does not exist."))),
        None => Ok(()),
    }
}

fn signing(kinds: &[WebhookFaultKind]) -> Signing {
    let signing = |kind: &WebhookFaultKind| match kind {
        WebhookFaultKind::WrongSignature => Some(Signing::Wrong),
        WebhookFaultKind::StaleSignature => Some(Signing::Stale),
        WebhookFaultKind::MissingSignature => Some(Signing::Missing),
        _ => None,
    };
    kinds.iter().find_map(signing).unwrap_or(Signing::Right)
}

fn delay(kinds: &[WebhookFaultKind]) -> Duration {
    let delays = kinds.iter().map(|kind| match kind {
        WebhookFaultKind::Delay(delay) => *delay,
        _ => Duration::ZERO,
    });
    delays.sum()
}
