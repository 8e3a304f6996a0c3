//! Work that takes the processor for longer than a few milliseconds, on a thread of its own beside the runtime's.
//!
//! One piece runs at a time, in order of asking: two cores also send. A piece is told when nobody waits for it any more or
//! the daemon stops, and is waited for when the engine stops.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::EngineHandle;
use crate::store::StoreError;

impl EngineHandle {
    /// Runs `work` on a thread of its own. It asks what it is given whether it should go on.
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
        // Dropped with this future, when whoever asked has gone.
        let _guard = stop.clone().drop_guard();
        let asked = stop.clone();
        let done = self.shared.work.tasks.spawn_blocking(move || {
            // Taken for as long as it runs, even if nobody waits for it any more.
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

/// The threads beside the runtime's.
pub(super) struct Work {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Work {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(1)), tasks: TaskTracker::new() }
    }

    /// Waits for what runs, which has been told to stop.
    pub(super) async fn finish(&self) {
        self.places.close();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
