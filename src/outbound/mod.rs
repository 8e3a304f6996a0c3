//! What leaves besides messages: each event to each receiver that wants it, as a signed webhook or on the standard input
//! of a program (docs/events.md).
//!
//! `app` runs one [`Outbound`], and changes its receivers after a reload. Each receiver has a loop of its own that reads
//! events from the store by its cursor, one delivery at a time and in order; a failure delays only that receiver. A delivery happens before its cursor moves:
//! at least once. Nothing here can hold up sending: the store is read a page at a time, and a cursor is written at most
//! ten times a second.

mod command;
mod webhook;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::event::{self, EventFilter};
use crate::domain::hook::{Undelivered, after};
use crate::engine::EngineHandle;
use crate::store::{EventTail, Hook, Store, StoreError};
use crate::types::event::Event;
pub use command::Command;
pub use webhook::Webhook;

/// Programs that run at once, of all receivers.
const COMMANDS: usize = 4;

/// Rest between two writes of a cursor while events are delivered without a pause.
const BETWEEN_SAVES: Duration = Duration::from_millis(100);

/// Events that do not concern a receiver and are read again after a crash.
const UNSAVED: i64 = 1000;

/// How often a receiver that waits checks whether it was replayed or enabled.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A receiver and what it wants.
pub struct Subscription {
    /// Its name.
    pub name: String,
    /// Which events.
    pub events: EventFilter,
    /// Whether with texts.
    pub with_texts: bool,
    /// How they reach it.
    pub target: Target,
}

/// How events reach a receiver.
pub enum Target {
    /// As signed webhooks.
    Webhook(Webhook),
    /// On the standard input of a program.
    Command(Command),
}

/// Delivers events.
pub struct Outbound {
    /// The queue.
    pub store: Store,
    /// Says when to stop.
    pub engine: EngineHandle,
    /// The receivers. The loop of one that stays the same goes on; a delivery to one that is replaced is cut off, and
    /// repeated to the new one of that name.
    pub subscriptions: watch::Receiver<Vec<Arc<Subscription>>>,
}

impl Outbound {
    /// Delivers until the engine stops.
    pub async fn run(self) {
        let Self { store, engine, mut subscriptions } = self;
        let (places, mut loops) = (Semaphore::new(COMMANDS), FuturesUnordered::new());
        let mut running: Vec<(Arc<Subscription>, CancellationToken)> = Vec::new();
        let mut is_reload = false;
        loop {
            let wanted = subscriptions.borrow_and_update().clone();
            let is_gone = |(one, _): &mut (Arc<_>, _)| !wanted.iter().any(|new| Arc::ptr_eq(one, new));
            running.extract_if(.., is_gone).for_each(|(_, replaced)| replaced.cancel());
            for subscription in wanted {
                if running.iter().any(|(one, _)| Arc::ptr_eq(one, &subscription)) {
                    continue;
                }
                let replaced = CancellationToken::new();
                running.push((Arc::clone(&subscription), replaced.clone()));
                let delivery = Delivery {
                    store: &store,
                    clock: engine.clock(),
                    subscription,
                    places: &places,
                    tries_at_once: AtomicBool::new(is_reload),
                };
                loops.push(replaced.run_until_cancelled_owned(delivery.run()));
            }
            is_reload = true;
            let changed = async {
                loop {
                    tokio::select! {
                        changed = subscriptions.changed() => return changed,
                        Some(_replaced) = loops.next() => {}
                    }
                }
            };
            tokio::select! {
                () = engine.stopping() => return,
                Ok(()) = changed => {}
            }
        }
    }
}

/// The loop of one receiver.
struct Delivery<'a> {
    store: &'a Store,
    clock: &'a Arc<dyn Clock>,
    subscription: Arc<Subscription>,
    places: &'a Semaphore,
    /// Whether its first try does not wait for the time of a retry: a receiver that a reload changed may be fixed.
    tries_at_once: AtomicBool,
}

impl Delivery<'_> {
    async fn run(self) {
        loop {
            if let Err(error) = self.round().await {
                let (endpoint, error) = (&self.subscription.name, error.chain());
                tracing::warn!(endpoint, error, "events cannot be delivered, because the queue fails");
                self.clock.sleep(LOOK_AGAIN).await;
            }
        }
    }

    /// Delivers from the stored cursor on until a delivery fails or the receiver is replayed.
    async fn round(&self) -> Result<(), StoreError> {
        let hook = self.store.hook(&self.subscription.name).await?;
        let now = self.clock.now();
        let tries_at_once = self.tries_at_once.swap(false, Ordering::Relaxed);
        let is_due = |hook: &Hook| tries_at_once || hook.retry_at.is_none_or(|at| at <= now);
        let Some(hook) = hook.filter(|hook| hook.disabled_at.is_none() && is_due(hook)) else {
            self.clock.sleep(LOOK_AGAIN).await;
            return Ok(());
        };
        let mut tail = self.store.event_tail(hook.cursor, self.subscription.with_texts);
        let mut saved = hook.cursor;
        while self.page(&hook, &mut tail, &mut saved).await? {}
        Ok(())
    }

    /// Delivers one page. Returns whether to go on with the next one.
    async fn page(&self, hook: &Hook, tail: &mut EventTail, saved: &mut i64) -> Result<bool, StoreError> {
        let page = tail.next(self.clock).await?;
        let (mut passed, mut delivered) = (*saved, false);
        let mut saved_at = self.clock.monotonic();
        for event in page {
            let seq = event.seq;
            if self.subscription.events.wants(&event) {
                if let Err(failed) = self.deliver(hook, event).await {
                    if delivered && !self.store.hook_passed(hook, passed, true, self.clock.now()).await? {
                        return Ok(false);
                    }
                    self.failed(hook, seq, failed).await?;
                    return Ok(false);
                }
                delivered = true;
            }
            passed = seq;
            if delivered && self.clock.monotonic() - saved_at >= BETWEEN_SAVES {
                if !self.store.hook_passed(hook, passed, true, self.clock.now()).await? {
                    return Ok(false);
                }
                (*saved, delivered, saved_at) = (passed, false, self.clock.monotonic());
            }
        }
        if delivered || passed - *saved >= UNSAVED {
            *saved = passed;
            return self.store.hook_passed(hook, passed, delivered, self.clock.now()).await;
        }
        // An event about this receiver may mean that it was replayed.
        Ok(self.store.hook(&hook.name).await?.is_some_and(|now| now.generation == hook.generation))
    }

    async fn failed(&self, hook: &Hook, seq: i64, failed: Undelivered) -> Result<(), StoreError> {
        // A delivery since `hook` was read ended its failures.
        let Some(now) = self.store.hook(&hook.name).await? else { return Ok(()) };
        let then = after(&failed, now.failures, now.is_probe);
        tracing::warn!(
            endpoint = hook.name,
            event = seq,
            problem = failed.problem,
            %then,
            "an event was not delivered"
        );
        self.store.hook_failed(hook, seq, failed.problem, then, self.clock.now()).await?;
        Ok(())
    }

    async fn deliver(&self, hook: &Hook, event: event::Event) -> Result<(), Undelivered> {
        let event = Event::from(event);
        match &self.subscription.target {
            Target::Webhook(webhook) => webhook.deliver(&hook.queue, &event, self.clock.now()).await,
            Target::Command(command) => {
                let _place = self.places.acquire().await;
                command.deliver(&event, self.clock).await
            }
        }
    }
}
