//! The metrics: drains their histograms, and serves them over TCP if the configuration has an address for it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::http::{AppState, metrics_router};
use crate::metrics::UPKEEP_EVERY;
use crate::tasks::Tasks;

/// A bound address.
pub(super) struct MetricsListener {
    listener: TcpListener,
    address: SocketAddr,
}

impl MetricsListener {
    /// Binds the configured address; `None` without one.
    ///
    /// # Errors
    /// Returns an error if the operating system refuses.
    pub(super) async fn bind(address: Option<SocketAddr>) -> anyhow::Result<Option<Self>> {
        let Some(address) = address else { return Ok(None) };
        let failed = || {
            format!(
                "cannot listen on {address} for metrics; stop the program that uses the address, or set another \
                 metrics.listen"
            )
        };
        let listener = TcpListener::bind(address).await.with_context(failed)?;
        let address = listener.local_addr().with_context(failed)?;
        Ok(Some(Self { listener, address }))
    }
}

/// Spawns the tasks of the metrics, which end with the engine.
pub(super) fn spawn(
    tasks: &Tasks,
    listener: Option<MetricsListener>,
    state: &Arc<AppState>,
    clock: &Arc<dyn Clock>,
) -> [Option<JoinHandle<()>>; 2] {
    let upkeep = tasks.spawn("metrics upkeep", upkeep(Arc::clone(state), Arc::clone(clock)));
    let served = listener.map(|MetricsListener { listener, address }| {
        tracing::info!(%address, "serving metrics");
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "metrics.listen is not a loopback address: anyone who reaches it can read the metrics");
        }
        let (router, engine) = (metrics_router(Arc::clone(state)), state.engine.clone());
        let serving = axum::serve(listener, router)
            .with_graceful_shutdown(async move { engine.stopping().await });
        tasks.spawn("metrics listener", async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "metrics are no longer served");
            }
        })
    });
    [Some(upkeep), served]
}

async fn upkeep(state: Arc<AppState>, clock: Arc<dyn Clock>) {
    loop {
        tokio::select! {
            () = state.engine.stopping() => return,
            () = clock.sleep(UPKEEP_EVERY) => state.store.metrics().run_upkeep(),
        }
    }
}
