//! One webhook: verifies it, stores it, and only then has it answered.
//!
//! The listener calls [`Webhooks::receive`]. Its future is dropped if the client hangs up, so storing and reporting
//! run in a task of their own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use super::signature::Signature;
use super::tally::Tally;
use super::{Arrived, envelope};
use crate::clock::Clock;
use crate::store::{NewWebhook, Store};

/// How long storing may take before Unipile is asked to send again; it waits 5 s for an answer.
const STORED_WITHIN: Duration = Duration::from_secs(4);
/// Bodies longer than this are verified outside the runtime's threads: a megabyte takes several milliseconds.
const LARGE_BODY: usize = 128 << 10;

/// What the verification of a webhook depends on.
#[derive(Debug, Clone)]
pub struct WebhookRules {
    /// Secrets, each of which may sign.
    pub secrets: Vec<SecretString>,
    /// Largest difference between the time of a signature and the clock, in both directions.
    pub tolerance: Duration,
}

/// What [`Webhooks`] is made from.
pub struct WebhookParts {
    /// The queue, which stores the webhooks.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the task that interprets stored webhooks.
    pub arrived: Arrived,
    /// How webhooks are verified.
    pub rules: WebhookRules,
    /// Address of the listener, for the status.
    pub address: SocketAddr,
    /// Maximum size of a webhook, in bytes.
    pub body_bytes: usize,
    /// Maximum number of connections at once; at least 1.
    pub connections: usize,
}

/// Receives webhooks, and counts them.
pub struct Webhooks {
    store: Store,
    pub(super) clock: Arc<dyn Clock>,
    arrived: Arrived,
    rules: RwLock<Arc<WebhookRules>>,
    /// The secrets of endpoints that outboxd registered; each may sign as well.
    registered: RwLock<Arc<[SecretString]>>,
    /// Notified of each wrong signature.
    wrong: Notify,
    tally: Mutex<Tally>,
    address: SocketAddr,
    pub(super) body_bytes: usize,
    pub(super) connections: usize,
    /// Webhooks that may be on their way to the disk at once, whether or not their clients still wait.
    storing: Arc<Semaphore>,
    pub(super) tasks: TaskTracker,
}

/// What a client is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Stored,
    Unsigned,
    Encoded,
    WrongSignature,
    Stale,
    NotAnEvent,
    NotStored,
}

impl Webhooks {
    /// Creates the receiver of a listener.
    pub fn new(parts: WebhookParts) -> Arc<Self> {
        let WebhookParts { store, clock, arrived, rules, address, body_bytes, connections } = parts;
        Arc::new(Self {
            store,
            clock,
            arrived,
            rules: RwLock::new(Arc::new(rules)),
            registered: RwLock::new(Arc::from([])),
            wrong: Notify::new(),
            tally: Mutex::default(),
            address,
            body_bytes,
            connections,
            storing: Arc::new(Semaphore::new(connections)),
            tasks: TaskTracker::new(),
        })
    }

    /// Replaces the secrets and the tolerance after a reload.
    pub fn set_rules(&self, rules: WebhookRules) {
        *self.rules.write().expect("nothing panics while holding it") = Arc::new(rules);
    }

    /// Replaces the secrets of registered endpoints.
    pub fn set_registered(&self, secrets: impl IntoIterator<Item = SecretString>) {
        *self.registered.write().expect("nothing panics while holding it") = secrets.into_iter().collect();
    }

    /// Returns a secret with which a webhook verifies: that of a registered endpoint, or a configured one.
    pub fn secret(&self) -> Option<SecretString> {
        let registered = self.registered.read().expect("nothing panics while holding it").first().cloned();
        registered.or_else(|| self.rules().secrets.first().cloned())
    }

    fn rules(&self) -> Arc<WebhookRules> {
        Arc::clone(&self.rules.read().expect("nothing panics while holding it"))
    }

    /// Completes when a signature was wrong since the last call.
    pub(super) async fn wrong_signature(&self) {
        self.wrong.notified().await;
    }

    /// Returns the address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the counts since the start.
    pub fn tally(&self) -> Tally {
        self.tally_mut().clone()
    }

    pub(super) fn tally_mut(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().expect("nothing panics while holding it")
    }

    /// Verifies a webhook and stores it.
    pub(super) async fn receive(self: &Arc<Self>, signature: Signature, body: Vec<u8>) -> Answer {
        let rules = self.rules();
        let registered = Arc::clone(&self.registered.read().expect("nothing panics while holding it"));
        let (is_right, body) =
            verify(signature.clone(), [&rules.secrets[..], &registered].concat(), body).await;
        let now = self.clock.now();
        if !is_right {
            self.wrong.notify_one();
            if self.tally_mut().wrong_signature(now) {
                tracing::warn!(
                    "a webhook is refused: its signature is wrong; is webhooks.secret the endpoint's?"
                );
            }
            return Answer::WrongSignature;
        }
        if !signature.is_timely(now, rules.tolerance) {
            if self.tally_mut().stale(now) {
                tracing::warn!(
                    "a webhook is refused: its time is outside webhooks.tolerance; is the clock right?"
                );
            }
            return Answer::Stale;
        }
        self.tally_mut().verified();
        let Some(webhook) = envelope::read(body) else {
            self.tally_mut().refused.body += 1;
            return Answer::NotAnEvent;
        };
        self.store_within(webhook).await
    }

    /// Refuses a compressed webhook: whether it was compressed before it was signed or after, is unknown.
    pub(super) fn refuse_encoded(&self) -> Answer {
        if self.tally_mut().encoded(self.clock.now()) {
            tracing::warn!(
                "a webhook is refused: its body is compressed; does the proxy before webhooks.listen compress requests?"
            );
        }
        Answer::Encoded
    }

    /// Stores a webhook, or gives up waiting after [`STORED_WITHIN`].
    async fn store_within(self: &Arc<Self>, webhook: NewWebhook) -> Answer {
        let Ok(place) = Arc::clone(&self.storing).try_acquire_owned() else { return self.not_stored() };
        let webhooks = Arc::clone(self);
        let storing = self.tasks.spawn(async move {
            let _place = place;
            webhooks.keep(webhook).await
        });
        tokio::select! {
            stored = storing => stored.unwrap_or_else(|_a_panic_was_reported| self.not_stored()),
            () = self.clock.sleep(STORED_WITHIN) => self.not_stored(),
        }
    }

    async fn keep(&self, webhook: NewWebhook) -> Answer {
        let now = self.clock.now();
        let (kind, event_id) = (webhook.kind.clone(), webhook.event_id.clone());
        match self.store.keep_webhook(webhook, now).await {
            Ok(is_new) => {
                self.tally_mut().stored(is_new, now);
                tracing::debug!(kind, event_id, is_new, "a webhook was stored");
                if is_new {
                    self.arrived.report();
                }
                Answer::Stored
            }
            Err(error) => {
                tracing::warn!(
                    error = error.chain(),
                    "a webhook could not be stored; Unipile sends it again"
                );
                self.not_stored()
            }
        }
    }

    fn not_stored(&self) -> Answer {
        self.tally_mut().refused.not_stored += 1;
        Answer::NotStored
    }
}

/// Returns whether `signature` is right, and the body again.
async fn verify(signature: Signature, secrets: Vec<SecretString>, body: Vec<u8>) -> (bool, Vec<u8>) {
    if body.len() <= LARGE_BODY {
        return (signature.is_right(&secrets, &body), body);
    }
    let verified = tokio::task::spawn_blocking(move || (signature.is_right(&secrets, &body), body));
    verified.await.unwrap_or_default()
}
