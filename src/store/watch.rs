//! Notices the commits of other programs without polling the table.
//!
//! The kernel says when the write-ahead log is written (`inotify`), which costs nothing while nobody writes;
//! `PRAGMA data_version` on a connection of its own says whether that was a commit. The last write of a commit comes
//! before its flush and the commit shows only after it, without another word of the kernel's: so after a write the
//! pragma is asked a few times in a row, then less and less often. Where the kernel cannot watch (some network and
//! container file systems), and once every few seconds in case it missed one, the pragma is asked by the clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use sqlx::SqliteConnection;

use super::rows::Result;
use super::{Store, sqlite};
use crate::clock::Clock;

/// How often the pragma is asked beside the kernel's word.
const SAFETY: Duration = Duration::from_secs(5);
/// How often it is asked where the kernel gives none.
const POLL: Duration = Duration::from_millis(250);

/// How often it is asked in a row after a write: about half a millisecond.
const AT_ONCE: u32 = 10;
/// Then it is asked after 1 ms, 2 ms, and so on to this: a slow disk may take so long to flush.
const LONGEST_PAUSE: Duration = Duration::from_millis(512);

/// Watches one database.
pub struct ForeignCommits {
    store: Store,
    connection: SqliteConnection,
    wal: PathBuf,
    events: Option<EventStream<Vec<u8>>>,
    seen: Option<i64>,
}

impl Store {
    /// Begins to watch. The first [`ForeignCommits::changed`] returns at once: what was there before counts as new.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn watch(&self) -> Result<ForeignCommits> {
        let connection = sqlite::open_watcher(&self.inner.path).await?;
        let wal = sqlite::wal_path(&self.inner.path);
        let events = watch_file(&wal);
        if events.is_none() {
            tracing::warn!(file = %wal.display(), "the kernel cannot watch this file; looking 4 times a second instead");
        }
        Ok(ForeignCommits { store: self.clone(), connection, wal, events, seen: None })
    }
}

fn watch_file(wal: &PathBuf) -> Option<EventStream<Vec<u8>>> {
    let inotify = Inotify::init().ok()?;
    inotify.watches().add(wal, WatchMask::MODIFY | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF).ok()?;
    inotify.into_event_stream(vec![0; 1024]).ok()
}

/// What made the watcher look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stir {
    /// The log was written.
    Write,
    /// Only time.
    Clock,
}

impl ForeignCommits {
    /// Returns when something was committed since the last return, by whomever. Cancel-safe.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn changed(&mut self, clock: &Arc<dyn Clock>) -> Result<()> {
        loop {
            if self.is_new().await? || (self.stir(clock).await == Stir::Write && self.settles(clock).await?) {
                return Ok(());
            }
        }
    }

    /// Forgets what was seen: the next [`ForeignCommits::changed`] returns at once.
    pub fn look_again(&mut self) {
        self.seen = None;
    }

    async fn is_new(&mut self) -> Result<bool> {
        let version: i64 = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await?;
        Ok(self.seen.replace(version) != Some(version))
    }

    /// After a write: whether a commit comes of it.
    async fn settles(&mut self, clock: &Arc<dyn Clock>) -> Result<bool> {
        // Our own commits are the writer's; only for others is a tenth of a millisecond worth having.
        let mut at_once = if self.store.inner.writer.is_writing() { 0 } else { AT_ONCE };
        let mut pause = Duration::from_millis(1);
        loop {
            if self.is_new().await? {
                return Ok(true);
            }
            if at_once > 0 {
                at_once -= 1;
            } else if pause > LONGEST_PAUSE {
                return Ok(false);
            } else {
                clock.sleep(pause).await;
                pause *= 2;
            }
        }
    }

    /// Waits until there is a reason to ask again.
    async fn stir(&mut self, clock: &Arc<dyn Clock>) -> Stir {
        let Some(events) = &mut self.events else {
            clock.sleep(POLL).await;
            return Stir::Clock;
        };
        let gone = tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => !event.mask.contains(inotify::EventMask::MODIFY),
                Some(Err(_)) | None => true,
            },
            () = clock.sleep(SAFETY) => return Stir::Clock,
        };
        if gone {
            self.events = watch_file(&self.wal);
        }
        Stir::Write
    }
}
