//! Notices what other programs INSERT without polling the table.
//!
//! The kernel says when the write-ahead log is written (`inotify`), which costs nothing while nobody writes; then the
//! rows themselves are asked for, on a connection of its own. That there are none is found in one page of a partial
//! index, so no `PRAGMA data_version` needs to be asked before: one question is two hops between threads, and this is
//! the way of every INSERT to its call. The last write of a commit comes before its flush and the commit shows only
//! after it, without another word of the kernel's: so after a write it is asked a few times in a row, then less and
//! less often. Where the kernel cannot watch (some network and container file systems), and once every few seconds in
//! case it missed one, it is asked by the clock.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use inotify::{EventStream, Inotify, WatchMask};
use sqlx::SqliteConnection;

use super::admission::{self, Inserted};
use super::rows::Result;
use super::{Store, sqlite};
use crate::clock::Clock;
use crate::domain::message::Seq;
use crate::tasks::Pulse;

/// How often it is asked beside the kernel's word.
const SAFETY: Duration = Duration::from_secs(5);
/// How often it is asked where the kernel gives none.
const POLL: Duration = Duration::from_millis(250);

/// How often it is asked in a row after a write: for two milliseconds or so, in which a disk flushes.
const AT_ONCE: u32 = 40;
/// Then it is asked after this time,
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// after twice as long, and so on to this: a slow disk may take so long to flush.
const LONGEST_PAUSE: Duration = Duration::from_millis(512);

/// Our own commits write the log too. While one is being written it is asked only this much later,
const WHILE_OWN: Duration = Duration::from_millis(3);
/// and again later while more follow, so many times in all: asking takes time from those who write.
const OWN_IN_A_ROW: u32 = 3;

/// Watches one database.
pub struct ExternalInserts {
    store: Store,
    connection: SqliteConnection,
    wal: PathBuf,
    events: Option<EventStream<Vec<u8>>>,
    /// Whether there may be rows already, without a word of the kernel's.
    look_first: bool,
    /// The last row that was returned: those up to it are being judged.
    after: Seq,
    /// Whether more rows waited when it was.
    more_wait: bool,
    /// The end of what the writer was doing when the log was last looked at.
    seen_activity: u64,
    pulse: Arc<Pulse>,
}

impl Store {
    /// Begins to watch. What was there before counts as new.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn watch(&self) -> Result<ExternalInserts> {
        let connection = sqlite::open_reader(&self.inner.path).await?;
        let wal = sqlite::wal_path(&self.inner.path);
        let events = watch_file(&wal);
        if events.is_none() {
            tracing::warn!(file = %wal.display(), "the kernel cannot watch this file; looking 4 times a second instead");
        }
        let store = self.clone();
        Ok(ExternalInserts {
            store,
            connection,
            wal,
            events,
            look_first: true,
            after: Seq(0),
            more_wait: false,
            seen_activity: 0,
            pulse: Arc::default(),
        })
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

impl ExternalInserts {
    /// Returns rows that nobody has looked at as soon as there are some, oldest first and at most `limit`; each once,
    /// unless it is told to look again. Cancel-safe.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn next(&mut self, limit: u32, clock: &Arc<dyn Clock>) -> Result<Vec<Inserted>> {
        let mut pace = Pace::Quiet;
        loop {
            self.pulse.round();
            if std::mem::replace(&mut self.look_first, true) {
                let rows = admission::inserted(&mut self.connection, self.after, limit).await?;
                if let Some(last) = rows.last() {
                    self.after = last.seq;
                    // When these are judged the log is written, which is reason enough to ask for the rest.
                    self.more_wait = rows.len() == limit as usize;
                    self.look_first = self.more_wait;
                    return Ok(rows);
                }
            }
            pace = self.stir(pace, clock).await;
        }
    }

    /// Asks the task that watches whether it goes round.
    pub fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Whether the rows that were returned last were as many as were asked for.
    pub fn more_wait(&self) -> bool {
        self.more_wait
    }

    /// Returns the rows after `seq` once more: those up to it are being judged.
    pub fn go_on_after(&mut self, seq: Seq) {
        (self.after, self.look_first, self.more_wait) = (seq, true, true);
    }

    /// Looks at once the next time: there has been time for more.
    pub fn look_now(&mut self) {
        self.look_first = true;
    }

    /// Returns all once more, without a word of the kernel's: the rows that were returned could not be judged.
    pub fn look_again(&mut self) {
        (self.look_first, self.after) = (true, Seq(0));
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
            event = events.next() => is_gone(event),
            // Asked whether it goes round: looks, and waits again.
            () = self.pulse.asked() => return pace,
            () = clock.sleep(wait) => {
                if pace == Pace::Quiet {
                    self.after = Seq(0);
                }
                return then;
            }
        };
        if gone {
            self.events = watch_file(&self.wal);
        }
        let activity = self.store.inner.writer.activity();
        if !is_ours(activity, self.seen_activity) {
            return Pace::AtOnce(AT_ONCE);
        }
        if is_at_rest(activity) {
            clock.sleep(SHORTEST_PAUSE).await;
        } else {
            self.let_write(activity, clock).await;
        }
        self.pass_over();
        Pace::After(SHORTEST_PAUSE)
    }

    /// Waits while the writer writes one transaction after the other, but not for long.
    async fn let_write(&self, mut activity: u64, clock: &Arc<dyn Clock>) {
        for _ in 0..OWN_IN_A_ROW {
            clock.sleep(WHILE_OWN).await;
            let before = std::mem::replace(&mut activity, self.store.inner.writer.activity());
            if activity <= end_of(before) {
                return;
            }
        }
    }

    /// Passes over what was written up to now; the caller asks next.
    fn pass_over(&mut self) {
        while let Some(events) = &mut self.events
            && let Some(event) = events.next().now_or_never()
        {
            if is_gone(event) {
                self.events = watch_file(&self.wal);
            }
        }
        self.seen_activity = end_of(self.store.inner.writer.activity());
    }
}

/// Whether no transaction of ours was open when the writer's activity was read.
fn is_at_rest(activity: u64) -> bool {
    activity.is_multiple_of(2)
}

/// What the activity will be when the transaction has ended that is open now. It flushes last, and the kernel has no
/// word for that.
fn end_of(activity: u64) -> u64 {
    activity.next_multiple_of(2)
}

/// Whether the writer may have written what the kernel tells of: it writes now, or has since `seen`.
fn is_ours(activity: u64, seen: u64) -> bool {
    !is_at_rest(activity) || activity != seen
}

/// Whether the file that is watched is not the log any more, or cannot be watched.
fn is_gone(event: Option<std::io::Result<inotify::Event<std::ffi::OsString>>>) -> bool {
    match event {
        Some(Ok(event)) => !event.mask.contains(inotify::EventMask::MODIFY),
        Some(Err(_)) | None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::{end_of, is_ours};

    #[test]
    fn a_write_is_another_programs_once_the_transaction_that_was_seen_has_ended() {
        for seen_while in [7, 8] {
            let seen = end_of(seen_while);
            let told = [7, 8, 9, 10].map(|activity| is_ours(activity, seen));
            assert_eq!(told, [true, false, true, true], "seen at {seen_while}");
        }
    }
}
