//! What lies under a running daemon: the files of its queue, its lock and its socket, each under its name (P9).
//!
//! `serve` selects over [`taken_away`] beside the signals. Whatever takes one of them away, the daemon ends with that
//! reason instead of taking in messages that nobody will find, or answering on a socket that nobody can reach.

use std::time::Duration;

use crate::api::SocketName;
use crate::clock::Clock;
use crate::store::Store;

/// How often the names are looked at.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Returns why the daemon must not go on, as soon as something was taken away.
pub(super) async fn taken_away(store: &Store, socket: &SocketName, clock: &dyn Clock) -> String {
    loop {
        clock.sleep(HEARTBEAT).await;
        let (store, socket) = (store.clone(), socket.clone());
        // A file system that hangs must not keep the runtime's thread.
        let looked = tokio::task::spawn_blocking(move || store.taken_away().or_else(|| socket.taken_away()));
        if let Ok(Some(reason)) = looked.await {
            return reason;
        }
    }
}
