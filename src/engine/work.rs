//! Work that takes the processor for longer than a few milliseconds, on a thread of its own outside the runtime.
//!
//! One piece runs at a time, in request order, because the same two cores also send. A piece can check whether its
//! caller has gone or the daemon stops; the engine waits for it when it stops.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::EngineHandle;
use crate::store::StoreError;

impl EngineHandle {
    /// Runs `work` on a thread of its own. `work` calls its argument to find out whether it should go on.
    ///
    /// # Errors
    /// [`StoreError::Closed`] if the daemon stops meanwhile, or the work panicked.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let places = Arc::clone(&self.shared.work.places);
        let place = places.acquire_owned().await.map_err(|_closed| StoreError::Closed)?;
        let stop = self.shared.stopping.child_token();
        if stop.is_cancelled() {
            return Err(StoreError::Closed);
        }
        // Dropped with this future, when the caller has gone.
        let _guard = stop.clone().drop_guard();
        let asked = stop.clone();
        let done = self.shared.work.tasks.spawn_blocking(move || {
            // Held while the work runs, even if the caller has gone.
            let _place = place;
            work(&|| !asked.is_cancelled())
        });
        let done = done.await;
        if stop.is_cancelled() {
            return Err(StoreError::Closed);
        }
        done.map_err(|_a_panic_was_reported| StoreError::Closed)
    }
}

/// The threads for such work.
pub(super) struct Work {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Work {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(1)), tasks: TaskTracker::new() }
    }

    /// Waits for the work that still runs; its token is cancelled already.
    pub(super) async fn finish(&self) {
        self.places.close();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
