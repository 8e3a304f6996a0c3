//! The listener for webhooks, if the configuration has an address for it.

use std::sync::Arc;

use anyhow::Context;
use secrecy::SecretString;
use tokio::task::JoinHandle;

use super::open_files;
use crate::clock::Clock;
use crate::config::Settings;
use crate::engine::EngineHandle;
use crate::inbound::{Arrived, Listener, Secrets, WebhookParts, WebhookRules, Webhooks};
use crate::store::{Store, StoreError};
use crate::tasks::Tasks;

/// The most connections that `webhooks.connections` allows.
const WEBHOOKS: usize = 1024;

/// A bound listener and the receiver behind it.
pub(super) struct WebhookListener {
    listener: Listener,
    webhooks: Arc<Webhooks>,
}

impl WebhookListener {
    /// Creates the receiver behind a listener. Stored webhooks are reported to `arrived`.
    ///
    /// # Errors
    /// Returns an error if there is neither a configured secret nor a registered endpoint.
    pub(super) async fn new(
        settings: &Settings,
        listener: Option<Listener>,
        store: &Store,
        clock: &Arc<dyn Clock>,
        arrived: &Arrived,
    ) -> anyhow::Result<Option<Self>> {
        let Some(listener) = listener else { return Ok(None) };
        let registered = registered(store).await.context("cannot read the registered webhook endpoint")?;
        if registered.is_empty() {
            settings.require_webhook_secret()?;
        }
        let webhooks = Webhooks::new(WebhookParts {
            store: store.clone(),
            clock: Arc::clone(clock),
            arrived: arrived.clone(),
            rules: rules(settings),
            address: listener.address(),
            body_bytes: settings.webhooks.body_bytes,
            connections: settings.webhooks.connections.min(open_files::places(WEBHOOKS)),
        });
        webhooks.set_registered(registered);
        Ok(Some(Self { listener, webhooks }))
    }

    /// Returns the receiver, for the status and for reloads.
    pub(super) fn webhooks(&self) -> Arc<Webhooks> {
        Arc::clone(&self.webhooks)
    }

    /// Serves webhooks, and reads the secret again when it was changed, until the engine stops.
    pub(super) fn spawn(self, tasks: &Tasks, store: Store, engine: EngineHandle) -> JoinHandle<()> {
        let Self { listener, webhooks } = self;
        let secrets = Secrets { store, engine: engine.clone(), webhooks: Arc::clone(&webhooks) };
        tasks.spawn("webhook secrets", secrets.run());
        tracing::info!(address = %listener.address(), "receiving webhooks");
        tasks.spawn("webhook listener", async move { listener.serve(webhooks, engine.stopping()).await })
    }
}

/// Returns the secrets of registered endpoints.
pub(super) async fn registered(store: &Store) -> Result<Vec<SecretString>, StoreError> {
    Ok(store.webhook_endpoints().await?.into_iter().map(|one| one.secret).collect())
}

/// Returns how `settings` verify webhooks.
pub(super) fn rules(settings: &Settings) -> WebhookRules {
    WebhookRules { secrets: settings.webhooks.secrets.clone(), tolerance: settings.webhooks.tolerance }
}
