//! The listener for webhooks, if the configuration has an address for it.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Settings;
use crate::engine::EngineHandle;
use crate::inbound::{Arrived, Listener, ListenerError, WebhookParts, WebhookRules, Webhooks};
use crate::store::Store;
use crate::tasks::Tasks;

/// A bound listener and the receiver behind it.
pub(super) struct WebhookListener {
    listener: Listener,
    webhooks: Arc<Webhooks>,
}

impl WebhookListener {
    /// Binds the configured address; `None` without one. Stored webhooks are reported to `arrived`.
    pub(super) async fn bind(
        settings: &Settings,
        store: &Store,
        clock: &Arc<dyn Clock>,
        arrived: &Arrived,
    ) -> Result<Option<Self>, ListenerError> {
        let Some(address) = settings.webhooks.listen else { return Ok(None) };
        let listener = Listener::bind(address).await?;
        let webhooks = Webhooks::new(WebhookParts {
            store: store.clone(),
            clock: Arc::clone(clock),
            arrived: arrived.clone(),
            rules: rules(settings),
            address: listener.address(),
            body_bytes: settings.webhooks.body_bytes,
            connections: settings.webhooks.connections,
        });
        Ok(Some(Self { listener, webhooks }))
    }

    /// Returns the receiver, for the status and for reloads.
    pub(super) fn webhooks(&self) -> Arc<Webhooks> {
        Arc::clone(&self.webhooks)
    }

    /// Serves webhooks until the engine stops.
    pub(super) fn spawn(self, tasks: &Tasks, engine: EngineHandle) -> JoinHandle<()> {
        let Self { listener, webhooks } = self;
        tracing::info!(address = %listener.address(), "receiving webhooks");
        tasks.spawn("webhook listener", async move { listener.serve(webhooks, engine.stopping()).await })
    }
}

/// Returns how `settings` verify webhooks.
pub(super) fn rules(settings: &Settings) -> WebhookRules {
    WebhookRules { secrets: settings.webhooks.secrets.clone(), tolerance: settings.webhooks.tolerance }
}
