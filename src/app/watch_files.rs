//! Watches the files of a running daemon: those of its queue, its lock and its sockets, each under its own name (P9).
//!
//! `serve` selects over [`taken_away`] in addition to the signals. If one of the files is removed or replaced, the
//! daemon ends with that reason, instead of accepting messages into a file that is no longer there, or listening on a
//! socket that cannot be reached.

use std::time::Duration;

use crate::clock::Clock;
use crate::http::SocketName;
use crate::store::Store;

/// Interval between two checks of the names.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// Waits until a file has been removed or replaced, and returns why the daemon must not continue.
pub(super) async fn taken_away(store: &Store, sockets: &[SocketName], clock: &dyn Clock) -> String {
    loop {
        clock.sleep(HEARTBEAT).await;
        let (store, sockets) = (store.clone(), sockets.to_vec());
        // On a blocking thread, because a hanging file system must not block the runtime.
        let looked = tokio::task::spawn_blocking(move || {
            store.taken_away().or_else(|| sockets.iter().find_map(SocketName::taken_away))
        });
        if let Ok(Some(reason)) = looked.await {
            return reason;
        }
    }
}
