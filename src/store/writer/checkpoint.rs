//! Checkpoints the write-ahead log while no program writes, and keeps the log short.
//!
//! SQLite checkpoints in the commit that makes the log exceed a page limit (`sqlite/mod.rs`). That takes the commit
//! several milliseconds, and it may be the very intent that a call waits for. So this task checkpoints earlier, on a
//! connection of its own that does not block the writer. Under load it finds no idle moment, and SQLite's own
//! checkpoint remains. While any program keeps a read transaction open, SQLite cannot restart the log, which grows
//! with every commit. The daemon cannot prevent that; `status` reports it, and the log is truncated once the reader
//! is gone.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::SqliteConnection;
use tokio::sync::mpsc;

use crate::clock::{Clock, SystemClock};
use crate::store::sqlite::holder;
use crate::store::{Store, sqlite};

/// Commits after which a checkpoint is worthwhile: at about ten pages each, well before SQLite's own limit.
pub(super) const COMMITS: u32 = 64;

/// A writer that has written nothing for this long is idle.
const REST: Duration = Duration::from_millis(2);

/// Delay before checking again whether the writer is idle.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// How often the length of the log is checked.
const CUT_EVERY: Duration = Duration::from_secs(5);

/// A longer log is reported, and truncated as soon as SQLite allows it. SQLite itself truncates to the same limit
/// when it restarts the log.
const LONG_LOG_BYTES: u64 = sqlite::LOG_LIMIT_BYTES;

/// The write-ahead log of the queue.
#[derive(Debug, Clone)]
pub(crate) struct WriteAheadLog {
    pub path: PathBuf,
    /// Length in bytes.
    pub bytes: u64,
    /// If the log is too long: the program that keeps a read transaction open, such as `process 4242 (python3)`;
    /// `None` if the operating system does not show it.
    pub blocked_by: Option<String>,
}

impl WriteAheadLog {
    /// Returns whether the log is longer than its limit.
    pub(crate) fn is_long(&self) -> bool {
        self.bytes > LONG_LOG_BYTES
    }
}

impl Store {
    /// Returns the path and length of the write-ahead log.
    pub(crate) fn write_ahead_log(&self) -> WriteAheadLog {
        let path = sqlite::wal_path(&self.inner.path);
        let bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
        let blocked_by = if bytes > LONG_LOG_BYTES { holder::reader(&self.inner.path) } else { None };
        WriteAheadLog { path, bytes, blocked_by }
    }
}

/// The task that checkpoints the log.
pub(super) struct Checkpointer {
    pub(super) connection: SqliteConnection,
    pub(super) log: PathBuf,
    /// The writer's activity counter; see `Writer::activity`.
    pub(super) activity: Arc<AtomicU64>,
    pub(super) clock: SystemClock,
}

impl Checkpointer {
    /// Checkpoints on each message from `due`, and truncates the log when it is long, until `due` is closed.
    pub(super) async fn serve(mut self, mut due: mpsc::Receiver<()>) {
        loop {
            tokio::select! {
                word = due.recv() => match word {
                    Some(()) => self.move_log(&due).await,
                    None => break,
                },
                () = self.clock.sleep(CUT_EVERY) => self.cut_log(&due).await,
            }
        }
        use sqlx::Connection as _;
        let _nothing_left_to_write = self.connection.close().await;
    }

    async fn move_log(&mut self, due: &mpsc::Receiver<()>) {
        while !self.writer_rests().await && !due.is_closed() {
            self.clock.sleep(BETWEEN_LOOKS).await;
        }
        self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await;
    }

    /// First copies all pages, which blocks no other program. If nothing is left, truncates the file, which holds the
    /// lock only for a moment.
    async fn cut_log(&mut self, due: &mpsc::Receiver<()>) {
        let length = std::fs::metadata(&self.log).map_or(0, |found| found.len());
        if length > LONG_LOG_BYTES
            && let Some((0, pages, moved)) = self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)").await
            && pages == moved
            && !due.is_closed()
        {
            self.checkpoint("PRAGMA wal_checkpoint(TRUNCATE)").await;
        }
    }

    /// Returns whether the checkpoint was busy, the number of pages in the log, and how many were copied. The next
    /// checkpoint copies what this one could not.
    async fn checkpoint(&mut self, pragma: &'static str) -> Option<(i32, i32, i32)> {
        match sqlx::query_as(pragma).fetch_one(&mut self.connection).await {
            Ok(moved) => Some(moved),
            Err(error) => {
                tracing::debug!(%error, "the write-ahead log was not moved; SQLite will do it at a later commit");
                None
            }
        }
    }

    async fn writer_rests(&self) -> bool {
        let before = self.activity.load(Ordering::Relaxed);
        self.clock.sleep(REST).await;
        before.is_multiple_of(2) && before == self.activity.load(Ordering::Relaxed)
    }
}
