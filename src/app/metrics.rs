//! The metrics: drains their histograms, and serves them over TCP if the configuration has an address for it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinHandle;

use super::doors::{AFTER_ERROR, patience, stopping};
use crate::clock::Clock;
use crate::http::{AppState, TcpDoor, metrics_router};
use crate::metrics::UPKEEP_EVERY;
use crate::tasks::Tasks;

/// Connections at once: Prometheus, one more, and people who look. One reader of the metrics is served at a time.
const CONNECTIONS: usize = 16;

/// Binds the configured address; `None` without one.
pub(super) async fn bind(address: Option<SocketAddr>) -> anyhow::Result<Option<TcpDoor>> {
    let Some(address) = address else { return Ok(None) };
    Ok(Some(TcpDoor::bind(address, "metrics.listen", CONNECTIONS).await?))
}

/// Spawns the tasks of the metrics, which end with the engine.
pub(super) fn spawn(
    tasks: &Tasks,
    door: Option<TcpDoor>,
    state: &Arc<AppState>,
    clock: &Arc<dyn Clock>,
) -> Vec<JoinHandle<()>> {
    let mut spawned = vec![tasks.spawn("metrics upkeep", upkeep(Arc::clone(state), Arc::clone(clock)))];
    if let Some(door) = door {
        let address = door.address();
        tracing::info!(%address, "serving metrics");
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "metrics.listen is not a loopback address: anyone who reaches it can read the metrics");
        }
        let (patience, clock) = (patience(clock), Arc::clone(clock));
        let (router, stop) = (metrics_router(Arc::clone(state)), stopping(&state.engine));
        let serving = door.serve(router, patience, stop, move || clock.sleep(AFTER_ERROR));
        spawned.push(tasks.spawn("metrics listener", serving));
    }
    spawned
}

async fn upkeep(state: Arc<AppState>, clock: Arc<dyn Clock>) {
    loop {
        tokio::select! {
            () = state.engine.stopping() => return,
            () = clock.sleep(UPKEEP_EVERY) => state.store.metrics().run_upkeep(),
        }
    }
}
