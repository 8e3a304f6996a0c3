//! Webhooks from Unipile: receives them over HTTP, verifies their signatures, stores and interprets them.
//!
//! A webhook is answered after it is on disk, and interpreted afterwards: Unipile waits a few seconds for an answer
//! and then sends it again. `app` starts the [`Listener`] and the [`Interpreter`], which each stored webhook wakes.

mod envelope;
mod event;
mod interpret;
mod listener;
mod receive;
mod secrets;
mod signature;
mod tally;

use std::sync::Arc;

use tokio::sync::Notify;

pub use interpret::Interpreter;
pub use listener::{Listener, ListenerError, UNSIGNED};
pub use receive::{WebhookParts, WebhookRules, Webhooks};
pub use secrets::Secrets;
pub use signature::sign;
pub use tally::{Refused, Tally};

/// Reports that webhooks were stored, to the one task that interprets them. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Arrived(Arc<Notify>);

impl Arrived {
    /// Completes when a webhook was stored since the last call; one that arrives between two calls is not missed.
    pub async fn wait(&self) {
        self.0.notified().await;
    }

    /// Reports a stored webhook.
    pub fn report(&self) {
        self.0.notify_one();
    }
}
