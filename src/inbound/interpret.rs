//! Interprets stored webhooks, one after the other: reads each, lets the store apply it, and wakes the accounts that
//! it concerns. A webhook that was stored before a crash is interpreted after it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Arrived, event};
use crate::domain::endpoint::TEST_EVENT;
use crate::domain::heard::Heard;
use crate::domain::message::AccountId;
use crate::engine::EngineHandle;
use crate::store::{NewWebhook, Store, StoreError, Webhook};

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
        if webhook.webhook.kind == TEST_EVENT {
            return self.store.give_up_webhook(webhook.seq, "test", now).await;
        }
        let policy = |account: &AccountId| self.engine.policy(account);
        // A panic would end the process, and the next start would meet the same webhook again.
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| event::read(&webhook, policy)));
        let why = match read {
            Ok(Ok(heard)) => return self.apply(&webhook, heard).await,
            Ok(Err(unread)) => unread.as_str(),
            Err(_a_panic_was_reported) => "panicked",
        };
        let NewWebhook { kind, event_id, .. } = &webhook.webhook;
        tracing::warn!(kind, event_id, why, "a webhook cannot be read and changes nothing");
        self.store.give_up_webhook(webhook.seq, why, now).await
    }

    async fn apply(&self, webhook: &Webhook, heard: Heard) -> Result<(), StoreError> {
        let now = self.engine.now();
        let account_id = heard.account_id.clone();
        let reply = self.engine.policy(&account_id).reply;
        let done = self.store.hear(heard, Some(webhook.seq), reply, now).await?;
        if let Some(effect) = done.effect.filter(|effect| effect.is_news()) {
            let (kind, effect, cancelled) = (&webhook.webhook.kind, effect.as_str(), done.cancelled);
            tracing::info!(kind, %account_id, effect, cancelled, "a webhook was interpreted");
        }
        self.engine.wake_at(done.accounts.into_iter().map(|account| (account, now)));
        Ok(())
    }
}
