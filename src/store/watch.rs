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

/// How often it is asked in a row after a write: for two milliseconds or so, in which a disk flushes.
const AT_ONCE: u32 = 40;
/// Then it is asked after this time,
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// after twice as long, and so on to this: a slow disk may take so long to flush.
const LONGEST_PAUSE: Duration = Duration::from_millis(512);

/// Watches one database.
pub struct ForeignCommits {
    store: Store,
    connection: SqliteConnection,
    wal: PathBuf,
    events: Option<EventStream<Vec<u8>>>,
    seen: Option<i64>,
    /// What the writer had done when the log was last written.
    own_activity: u64,
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
        Ok(ForeignCommits { store: self.clone(), connection, wal, events, seen: None, own_activity: 0 })
    }
}

fn watch_file(wal: &PathBuf) -> Option<EventStream<Vec<u8>>> {
    let inotify = Inotify::init().ok()?;
    inotify.watches().add(wal, WatchMask::MODIFY | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF).ok()?;
    inotify.into_event_stream(vec![0; 1024]).ok()
}

/// Why the watcher asks again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Nothing was written for a while: wait for the kernel.
    Quiet,
    /// Somebody else wrote a moment ago: ask at once, so many times more.
    AtOnce(u32),
    /// It was written: ask after this time, then after twice as long.
    After(Duration),
}

impl ForeignCommits {
    /// Returns when something was committed since the last return, by whomever. Cancel-safe.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn changed(&mut self, clock: &Arc<dyn Clock>) -> Result<()> {
        let mut pace = Pace::Quiet;
        loop {
            let version: i64 =
                sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await?;
            if self.seen.replace(version) != Some(version) {
                return Ok(());
            }
            pace = self.stir(pace, clock).await;
        }
    }

    /// Forgets what was seen: the next [`ForeignCommits::changed`] returns at once.
    pub fn look_again(&mut self) {
        self.seen = None;
    }

    /// Waits until there is a reason to ask again; a write while it waits is one.
    async fn stir(&mut self, pace: Pace, clock: &Arc<dyn Clock>) -> Pace {
        let (wait, then) = match pace {
            Pace::AtOnce(0) => (SHORTEST_PAUSE, Pace::After(SHORTEST_PAUSE * 2)),
            Pace::AtOnce(left) => return Pace::AtOnce(left - 1),
            Pace::After(pause) if pause > LONGEST_PAUSE => (SAFETY, Pace::Quiet),
            Pace::After(pause) => (pause, Pace::After(pause * 2)),
            Pace::Quiet => (SAFETY, Pace::Quiet),
        };
        let Some(events) = &mut self.events else {
            clock.sleep(POLL).await;
            return Pace::Quiet;
        };
        let gone = tokio::select! {
            biased;
            event = events.next() => match event {
                Some(Ok(event)) => !event.mask.contains(inotify::EventMask::MODIFY),
                Some(Err(_)) | None => true,
            },
            () = clock.sleep(wait) => return then,
        };
        if gone {
            self.events = watch_file(&self.wal);
        }
        // Our own commits write the log too. They can wait a moment; only another's is worth a tenth of a millisecond.
        let ours = self.store.inner.writer.activity();
        if std::mem::replace(&mut self.own_activity, ours) == ours {
            return Pace::AtOnce(AT_ONCE);
        }
        clock.sleep(SHORTEST_PAUSE).await;
        Pace::After(SHORTEST_PAUSE)
    }
}
