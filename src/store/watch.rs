//! Notices the commits of other programs without polling the table.
//!
//! The kernel says when the write-ahead log was written (`inotify`), which costs nothing while nobody writes;
//! `PRAGMA data_version` on a connection of its own says whether that was a commit. Where the kernel cannot watch
//! (some network and container file systems), and once every few seconds in case it missed one, the pragma is asked
//! by the clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use inotify::{EventStream, Inotify, WatchMask};
use sqlx::SqliteConnection;

use super::rows::Result;
use super::{Store, sqlite};

/// How often the pragma is asked beside the kernel's word.
const SAFETY: Duration = Duration::from_secs(5);
/// How often it is asked where the kernel gives none.
const POLL: Duration = Duration::from_millis(250);

/// Watches one database.
pub struct ForeignCommits {
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
        Ok(ForeignCommits { connection, wal, events, seen: None })
    }
}

fn watch_file(wal: &PathBuf) -> Option<EventStream<Vec<u8>>> {
    let inotify = Inotify::init().ok()?;
    inotify.watches().add(wal, WatchMask::MODIFY | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF).ok()?;
    inotify.into_event_stream(vec![0; 1024]).ok()
}

impl ForeignCommits {
    /// Returns when something was committed since the last return, by whomever. Cancel-safe.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn changed(&mut self, clock: &Arc<dyn crate::clock::Clock>) -> Result<()> {
        loop {
            let version: i64 =
                sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await?;
            if self.seen.replace(version) != Some(version) {
                return Ok(());
            }
            self.stir(clock).await;
        }
    }

    /// Forgets what was seen: the next [`ForeignCommits::changed`] returns at once.
    pub fn look_again(&mut self) {
        self.seen = None;
    }

    /// Waits until there is a reason to ask again.
    async fn stir(&mut self, clock: &Arc<dyn crate::clock::Clock>) {
        let Some(events) = &mut self.events else { return clock.sleep(POLL).await };
        let gone = tokio::select! {
            event = events.next() => match event {
                Some(Ok(event)) => !event.mask.contains(inotify::EventMask::MODIFY),
                Some(Err(_)) | None => true,
            },
            () = clock.sleep(SAFETY) => false,
        };
        if gone {
            self.events = watch_file(&self.wal);
        }
    }
}
