//! Moves the write-ahead log back into the database in moments in which nobody writes.
//!
//! SQLite does that by itself, in the commit that makes the log longer than so many pages (`sqlite.rs`). It takes that
//! commit several milliseconds, and it may be the very intent that a call waits for. So it is done before it comes to
//! that, on a connection of its own, beside which the writer can go on. Under load there is no such moment, and
//! SQLite's own way remains.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::SqliteConnection;
use tokio::sync::mpsc;

use crate::clock::{Clock, SystemClock};

/// After this many commits the log is worth moving: at about ten pages each, some way before SQLite would.
pub(super) const COMMITS: u32 = 64;

/// Who has written nothing for so long rests.
const REST: Duration = Duration::from_millis(2);

/// How long to wait before looking again whether the writer rests.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// The task that moves the log.
pub(super) struct Checkpointer {
    pub(super) connection: SqliteConnection,
    /// The writer's: see `Writer::activity`.
    pub(super) activity: Arc<AtomicU64>,
    pub(super) clock: SystemClock,
}

impl Checkpointer {
    /// Moves the log each time that `due` says so, until its other end is gone.
    pub(super) async fn serve(mut self, mut due: mpsc::Receiver<()>) {
        while due.recv().await.is_some() {
            while !self.writer_rests().await && !due.is_closed() {
                self.clock.sleep(BETWEEN_LOOKS).await;
            }
            // PASSIVE waits for nobody and keeps nobody waiting; what it cannot move, the next one will.
            let moved = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut self.connection).await;
            if let Err(error) = moved {
                tracing::debug!(%error, "the write-ahead log was not moved; SQLite will do it at a later commit");
            }
        }
        use sqlx::Connection as _;
        let _nothing_left_to_write = self.connection.close().await;
    }

    async fn writer_rests(&self) -> bool {
        let before = self.activity.load(Ordering::Relaxed);
        self.clock.sleep(REST).await;
        before.is_multiple_of(2) && before == self.activity.load(Ordering::Relaxed)
    }
}
