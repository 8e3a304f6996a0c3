//! Moves the write-ahead log back into the database in moments in which nobody writes, and keeps the log short.
//!
//! SQLite does the first by itself, in the commit that makes the log longer than so many pages (`sqlite.rs`). It takes that
//! commit several milliseconds, and it may be the very intent that a call waits for. So it is done before it comes to
//! that, on a connection of its own, beside which the writer can go on. Under load there is no such moment, and
//! SQLite's own way remains.
//!
//! While any program keeps a read transaction open, SQLite cannot begin the log anew, and it grows with every commit. That
//! cannot be helped from here; it is told in `status`, and when the reader has gone the file is cut short again.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::SqliteConnection;
use tokio::sync::mpsc;

use super::{Store, holder, sqlite};
use crate::clock::{Clock, SystemClock};

/// After this many commits the log is worth moving: at about ten pages each, some way before SQLite would.
pub(super) const COMMITS: u32 = 64;

/// A writer that has written nothing for so long rests.
const REST: Duration = Duration::from_millis(2);

/// How long to wait before looking again whether the writer rests.
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// How often the length of the log is looked at.
const CUT_EVERY: Duration = Duration::from_secs(5);

/// A longer log is told of, and cut as soon as SQLite lets it: the limit that SQLite itself cuts it to when it begins it anew.
const LONG_LOG_BYTES: u64 = sqlite::LOG_LIMIT_BYTES;

/// The write-ahead log of the queue.
#[derive(Debug, Clone)]
pub struct WriteAheadLog {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// If it is too long: the program that has a read transaction open, such as `process 4242 (python3)`; `None` if the
    /// system does not tell.
    pub blocked_by: Option<String>,
}

impl WriteAheadLog {
    /// Whether it is longer than it should be.
    pub fn is_long(&self) -> bool {
        self.bytes > LONG_LOG_BYTES
    }
}

impl Store {
    /// How long the write-ahead log is.
    pub fn write_ahead_log(&self) -> WriteAheadLog {
        let path = sqlite::wal_path(&self.inner.path);
        let bytes = std::fs::metadata(&path).map_or(0, |found| found.len());
        let blocked_by = if bytes > LONG_LOG_BYTES { holder::reader(&self.inner.path) } else { None };
        WriteAheadLog { path, bytes, blocked_by }
    }
}

/// The task that moves the log.
pub(super) struct Checkpointer {
    pub(super) connection: SqliteConnection,
    pub(super) log: PathBuf,
    /// The writer's: see `Writer::activity`.
    pub(super) activity: Arc<AtomicU64>,
    pub(super) clock: SystemClock,
}

impl Checkpointer {
    /// Moves the log each time that `due` says so, and cuts it when it is long, until the other end of `due` is gone.
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

    /// First everything is moved, which keeps nobody waiting; if then nothing is left, the file is cut, which takes the
    /// lock for a moment only.
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

    /// Returns whether it was busy, the pages of the log and how many were moved. What cannot be moved now, the next
    /// checkpoint will.
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
