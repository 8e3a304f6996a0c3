//! Reads the secret of the registered endpoint again when signatures are wrong: if the endpoint was made again at
//! Unipile, it has a new secret, and without that every webhook would be refused.
//!
//! Anybody can send a wrong signature, so the read is made at most once in five minutes.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::Webhooks;
use crate::engine::EngineHandle;
use crate::store::Store;

/// The shortest time between two reads.
const AT_MOST_EVERY: Duration = Duration::from_secs(5 * 60);

/// The task that reads the secret again.
pub struct Secrets {
    /// The queue.
    pub store: Store,
    /// The engine, which makes the request.
    pub engine: EngineHandle,
    /// The receiver that verifies with it.
    pub webhooks: Arc<Webhooks>,
}

impl Secrets {
    /// Reads the secret after wrong signatures, until the engine stops.
    pub async fn run(self) {
        let clock = Arc::clone(self.engine.clock());
        loop {
            tokio::select! {
                () = self.engine.stopping() => return,
                () = self.webhooks.wrong_signature() => {}
            }
            tokio::select! {
                () = self.engine.stopping() => return,
                () = self.reread() => {}
            }
            tokio::select! {
                () = self.engine.stopping() => return,
                () = clock.sleep(AT_MOST_EVERY) => {}
            }
        }
    }

    async fn reread(&self) {
        let known = match self.store.webhook_endpoints().await {
            Ok(known) => known,
            Err(error) => return tracing::warn!(error = error.chain(), "the webhook secret cannot be read"),
        };
        match self.engine.reread_endpoint().await {
            Ok(None) => {}
            Ok(Some(read)) => {
                let is_known = |secret: &str| known.iter().any(|one| one.secret.expose_secret() == secret);
                if !is_known(read.secret.expose_secret()) {
                    tracing::info!(
                        endpoint_id = read.id,
                        "the webhook endpoint has a new secret, which is now used"
                    );
                }
                self.webhooks.set_registered([read.secret]);
            }
            Err(error) => {
                tracing::warn!(%error, "signatures of webhooks are wrong, and the secret of the endpoint cannot be read");
            }
        }
    }
}
