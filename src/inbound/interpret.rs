//! Interprets stored webhooks, one after the other: reads each, lets the store apply it, and wakes the accounts that
//! it concerns. A webhook that was stored before a crash is interpreted after it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Arrived, event};
use crate::domain::message::AccountId;
use crate::engine::EngineHandle;
use crate::policy::settle::after;
use crate::store::{HoldFor, Store, StoreError, Webhook};

/// Webhooks read at a time.
const AT_ONCE: u32 = 100;
/// How often waiting webhooks are looked for, if none arrives.
const POLL: Duration = Duration::from_secs(60);
/// The pause after a store error.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// The interpreter of webhooks.
pub struct Interpreter {
    /// The queue.
    pub store: Store,
    /// The engine, to wake accounts.
    pub engine: EngineHandle,
    /// Notified when a webhook was stored.
    pub arrived: Arrived,
}

impl Interpreter {
    /// Interprets webhooks until the engine stops.
    pub async fn run(self) {
        let clock = Arc::clone(self.engine.clock());
        loop {
            let pause = match self.interpret().await {
                Ok(Some(at)) => Duration::try_from(at.duration_since(self.engine.now())).unwrap_or_default(),
                Ok(None) => POLL,
                Err(error) => {
                    tracing::error!(error = error.chain(), "webhooks cannot be interpreted; trying again");
                    AFTER_ERROR
                }
            };
            tokio::select! {
                () = self.engine.stopping() => return,
                () = self.arrived.wait() => {}
                () = clock.sleep(pause.min(POLL)) => {}
            }
        }
    }

    /// Interprets what waits. Returns when the next webhook can be interpreted, if one waits for something.
    async fn interpret(&self) -> Result<Option<Timestamp>, StoreError> {
        loop {
            let (webhooks, next) = self.store.waiting_webhooks(AT_ONCE, self.engine.now()).await?;
            if webhooks.is_empty() {
                return Ok(next);
            }
            for webhook in webhooks {
                self.interpret_one(webhook).await?;
            }
        }
    }

    async fn interpret_one(&self, webhook: Webhook) -> Result<(), StoreError> {
        let now = self.engine.now();
        let Webhook { seq, received_at, webhook } = webhook;
        let zone = |account: &AccountId| self.engine.policy(account).zone.clone();
        let heard = match event::read(&webhook.body, received_at, zone) {
            Ok(heard) => heard,
            Err(unread) => {
                tracing::warn!(
                    kind = webhook.kind,
                    event_id = webhook.event_id,
                    why = unread.as_str(),
                    "a webhook cannot be read"
                );
                return self.store.set_aside_webhook(seq, unread.as_str(), now).await;
            }
        };
        let policy = self.engine.policy(&heard.account_id);
        let hold_for = HoldFor::of(&policy);
        let account_id = heard.account_id.clone();
        let done = self.store.hear(heard, Some(seq), hold_for, now).await?;
        if let Some(result) = done.result.filter(|result| *result != "nothing") {
            let cancelled = done.cancelled;
            tracing::info!(kind = webhook.kind, %account_id, result, cancelled, "a webhook was interpreted");
        }
        self.engine.wake_at(done.accounts.into_iter().map(|account| (account, after(now, Duration::ZERO))));
        Ok(())
    }
}
