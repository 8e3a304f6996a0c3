//! The sockets and addresses on which the daemon listens.

use super::doors::Doors;
use super::metrics;
use crate::config::Settings;
use crate::http::TcpDoor;
use crate::inbound::Listener;

/// Everything on which the daemon listens.
pub(super) struct Listeners {
    pub(super) webhooks: Option<Listener>,
    pub(super) metrics: Option<TcpDoor>,
    pub(super) doors: Doors,
}

impl Listeners {
    /// Binds what the settings name, or takes it from systemd.
    ///
    /// # Errors
    /// Returns an error if one of them cannot be bound, or if there are no tokens for the address of the API.
    pub(super) async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let webhooks = match settings.webhooks.listen {
            Some(address) => Some(Listener::bind(address).await?),
            None => None,
        };
        let metrics = metrics::bind(settings.metrics_listen).await?;
        Ok(Self { webhooks, metrics, doors: Doors::bind(settings).await? })
    }
}
