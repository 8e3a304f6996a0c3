//! How long the writer waits for another program's transaction, and how it asks meanwhile.

use std::time::Duration;

use crate::clock::{Clock, SystemClock};

/// The writer asks for a lock of another program's for as long as SQLite usually would,
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// and at least this often.
const LONGEST_BUSY_PAUSE: Duration = Duration::from_millis(64);

/// How long the writer asks for a lock that another program holds. It asks itself instead of letting SQLite wait, so
/// that what it writes is dated when it has the lock, also where taking it is one call with what is written (P5).
pub(super) struct Patience {
    clock: SystemClock,
    since: Duration,
    pause: Duration,
}

impl Patience {
    pub(super) fn new(clock: SystemClock) -> Self {
        Self { clock, since: clock.monotonic(), pause: Duration::from_millis(1) }
    }

    /// Whether to ask again, after a pause: twice as long each time, and not longer than SQLite's own.
    pub(super) async fn is_left(&mut self) -> bool {
        if self.clock.monotonic().saturating_sub(self.since) >= BUSY_PATIENCE {
            return false;
        }
        self.clock.sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_BUSY_PAUSE);
        true
    }
}
