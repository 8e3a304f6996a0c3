//! Interprets stored webhooks in the order of their arrival: reads them, lets the store apply them, several in a
//! transaction, and wakes the accounts that they concern. A webhook that was stored before a crash is interpreted after it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Arrived, Webhooks, event};
use crate::domain::endpoint::TEST_EVENT;
use crate::domain::message::AccountId;
use crate::engine::EngineHandle;
use crate::store::{HEARD_AT_ONCE, NewWebhook, Store, StoreError, ToHear, Webhook};

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
    /// The receiver, which counts what cannot be read; `None` without a listener.
    pub webhooks: Option<Arc<Webhooks>>,
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
            let (now, _dating) = self.engine.dating().await;
            let (webhooks, next) = self.store.waiting_webhooks(HEARD_AT_ONCE, now).await?;
            if webhooks.is_empty() {
                return Ok(next);
            }
            let all: Vec<ToHear> = webhooks.iter().map(|webhook| self.read(webhook)).collect();
            let accounts: Vec<Option<AccountId>> = all.iter().map(account_of).collect();
            let done = self.store.hear(all, now).await?;
            for ((webhook, account_id), done) in webhooks.iter().zip(accounts).zip(done) {
                if let Some(effect) = done.effect.filter(|effect| effect.is_news()) {
                    let (kind, effect, cancelled) = (&webhook.webhook.kind, effect.as_str(), done.cancelled);
                    let account_id = account_id.as_ref().map(AccountId::as_str);
                    tracing::info!(kind, account_id, effect, cancelled, "a webhook was interpreted");
                }
                self.engine.wake_at(done.accounts.into_iter().map(|account| (account, now)));
            }
        }
    }

    /// Reads a webhook, with the rules of its account.
    fn read(&self, webhook: &Webhook) -> ToHear {
        let to_hear = |says| ToHear { says, webhook: Some(webhook.seq) };
        let NewWebhook { kind, event_id, .. } = &webhook.webhook;
        if kind == TEST_EVENT {
            return to_hear(Err("test"));
        }
        let policy = |account: &AccountId| self.engine.policy(account);
        let theirs = self.engine.provider_time_at(webhook.received_at);
        // A panic would end the process, and the next start would meet the same webhook again.
        let read = std::panic::catch_unwind(AssertUnwindSafe(|| event::read(webhook, theirs, policy)));
        let why = match read {
            Ok(Ok(heard)) => {
                let reply = self.engine.policy(&heard.account_id).reply;
                return to_hear(Ok((heard, reply)));
            }
            // Events of no account, such as those of a whole workspace, are none that outboxd uses.
            Ok(Err(unread)) if !event::concerns_accounts(kind) => return to_hear(Err(unread.as_str())),
            Ok(Err(unread)) => unread.as_str(),
            Err(_a_panic_was_reported) => "panicked",
        };
        if let Some(webhooks) = &self.webhooks {
            webhooks.tally_mut().unreadable(kind, why, self.engine.now());
        }
        tracing::warn!(kind, event_id, why, "a webhook cannot be read and changes nothing");
        to_hear(Err(why))
    }
}

fn account_of(to_hear: &ToHear) -> Option<AccountId> {
    to_hear.says.as_ref().ok().map(|(heard, _)| heard.account_id.clone())
}
