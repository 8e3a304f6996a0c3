//! Notices what other programs INSERT without polling the table. The kernel reports writes to the write-ahead log
//! (`inotify`), which costs nothing while no program writes; then the rows are queried on a dedicated connection. A
//! query without a result reads one page of a partial index, so no `PRAGMA data_version` is needed first: one query
//! is two hops between threads, and every INSERT waits for it before its call. The last write of a commit precedes
//! its flush, and the commit becomes visible only afterwards, without another event: so after a write, the query
//! repeats a few times at once, then backs off. Where the kernel cannot watch (some network and container file
//! systems), and every few seconds in case an event was missed, it falls back to polling.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sqlx::SqliteConnection;

use super::log_watch::LogWatch;
use crate::clock::Clock;
use crate::domain::message::Seq;
use crate::store::sqlite::rows::Result;
use crate::store::transitions::inserted::{self, Inserted};
use crate::store::transitions::message_commands::{self, InsertedCommand};
use crate::store::transitions::stop_rows::{self, ChangedStop};
use crate::store::{Store, sqlite};
use crate::tasks::Pulse;

/// Polling interval in addition to the kernel's events.
const SAFETY: Duration = Duration::from_secs(5);
/// Polling interval where the kernel sends no events.
const POLL: Duration = Duration::from_millis(250);

/// Immediate queries after a write: for about two milliseconds, in which a disk flushes.
const AT_ONCE: u32 = 40;
/// First delay after the immediate queries; each further delay doubles.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// Longest delay after a write: a slow disk may take this long to flush.
const LONGEST_PAUSE: Duration = Duration::from_millis(512);

/// Delay of the query while our own writer commits, which also writes the log.
const WHILE_OWN: Duration = Duration::from_millis(3);
/// Maximum number of such delays in a row: a query takes time from the writers.
const OWN_IN_A_ROW: u32 = 3;

/// Delay between a write and the query for commands, which no program waits for within microseconds: our own commits
/// write the log all the time, and a query takes time from the writers.
const COMMANDS_AFTER: Duration = Duration::from_millis(40);
/// Queries after a write, each after twice the delay of the one before: a slow disk may flush late.
const COMMAND_LOOKS: u32 = 5;

/// When to query for what no program waits for within microseconds: a few times after each write of the log.
struct Looks {
    log: LogWatch,
    /// Queries that are still due after the last write, and the delay before the next one.
    left: u32,
    pause: Duration,
}

impl Looks {
    fn new(database: &Path) -> Self {
        Self { log: LogWatch::new(database), left: 0, pause: COMMANDS_AFTER }
    }

    /// Waits until a query is due. Cancel-safe.
    async fn due(&mut self, clock: &Arc<dyn Clock>) {
        if !self.log.is_possible() {
            return clock.sleep(POLL).await;
        }
        if self.left == 0 {
            tokio::select! {
                () = self.log.written() => {}
                () = clock.sleep(SAFETY) => {}
            }
            (self.left, self.pause) = (COMMAND_LOOKS, COMMANDS_AFTER);
        }
        if self.left == 1 {
            // Until now, no write was of interest. The query after this pause sees what is written before.
            self.log.arm();
        }
        clock.sleep(self.pause).await;
        (self.left, self.pause) = (self.left - 1, self.pause * 2);
    }
}

/// Watches the commands that other programs INSERT.
pub struct ExternalCommands {
    connection: SqliteConnection,
    looks: Looks,
}

impl ExternalCommands {
    /// Waits for commands that are not yet carried out, and returns at most `limit` of them, oldest first: those after
    /// the one with the number `after`, or none if there are no more of these. Cancel-safe.
    pub(crate) async fn next(
        &mut self,
        after: i64,
        limit: u32,
        clock: &Arc<dyn Clock>,
    ) -> Result<Vec<InsertedCommand>> {
        loop {
            let found = message_commands::waiting(&mut self.connection, after, limit).await?;
            if !found.is_empty() || after > 0 {
                return Ok(found);
            }
            self.looks.due(clock).await;
        }
    }
}

/// Watches for pauses and stops that end, also those that other programs DELETE, and for suppressions that they INSERT.
pub struct EndedStops {
    connection: SqliteConnection,
    looks: Looks,
    /// Number of the last event that was looked at.
    seen: i64,
    /// Whether nothing was returned yet.
    is_first: bool,
}

impl EndedStops {
    /// Waits for pauses and stops that end, and for suppressions that other programs set. Cancel-safe.
    pub(crate) async fn next(&mut self, clock: &Arc<dyn Clock>) -> Result<Vec<ChangedStop>> {
        if self.is_first {
            let set = stop_rows::suppress_what_waits(&mut self.connection).await?;
            self.is_first = false;
            if !set.is_empty() {
                return Ok(set.into_iter().map(ChangedStop::Suppresses).collect());
            }
        }
        loop {
            let (ended, seen) = stop_rows::ended_since(&mut self.connection, self.seen).await?;
            let set = match seen > self.seen {
                true => stop_rows::suppressed_since(&mut self.connection, self.seen).await?,
                false => Vec::new(),
            };
            self.seen = seen;
            if !ended.is_empty() || !set.is_empty() {
                let ended = ended.into_iter().map(ChangedStop::Ended);
                return Ok(ended.chain(set.into_iter().map(ChangedStop::Suppresses)).collect());
            }
            self.looks.due(clock).await;
        }
    }
}

/// Watches one database.
pub struct ExternalInserts {
    store: Store,
    connection: SqliteConnection,
    log: LogWatch,
    /// Whether to query without waiting for an event, because there may be rows already.
    look_first: bool,
    /// The last row that was returned: rows up to it are being admitted.
    after: Seq,
    /// Whether more rows waited at that time.
    more_wait: bool,
    /// The writer's activity at the end of the transaction in which the log was last checked.
    seen_activity: u64,
    pulse: Arc<Pulse>,
}

impl Store {
    /// Begins to watch. Existing rows count as new.
    pub async fn watch(&self) -> Result<ExternalInserts> {
        let connection = sqlite::open_reader(&self.inner.path).await?;
        let log = LogWatch::new(&self.inner.path);
        if !log.is_possible() {
            tracing::warn!(file = %log.path().display(), "the kernel cannot watch this file; looking 4 times a second instead");
        }
        let store = self.clone();
        Ok(ExternalInserts {
            store,
            connection,
            log,
            look_first: true,
            after: Seq(0),
            more_wait: false,
            seen_activity: 0,
            pulse: Arc::default(),
        })
    }
}

impl Store {
    /// Begins to watch for commands.
    pub(crate) async fn watch_commands(&self) -> Result<ExternalCommands> {
        let connection = sqlite::open_reader(&self.inner.path).await?;
        Ok(ExternalCommands { connection, looks: Looks::new(&self.inner.path) })
    }

    /// Begins to watch for pauses and stops that end.
    pub(crate) async fn watch_ended_stops(&self) -> Result<EndedStops> {
        let mut connection = sqlite::open_reader(&self.inner.path).await?;
        let (_before, seen) = stop_rows::ended_since(&mut connection, i64::MAX).await?;
        Ok(EndedStops { connection, looks: Looks::new(&self.inner.path), seen, is_first: true })
    }
}

/// Why the watcher queries again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Nothing was written for a while: wait for the kernel.
    Quiet,
    /// Another program wrote a moment ago: query at once, this many times more.
    AtOnce(u32),
    /// The log was written: query after this delay, then after twice the delay.
    After(Duration),
}

impl ExternalInserts {
    /// Waits for rows that are not yet admitted, and returns at most `limit` of them, oldest first. Returns each row
    /// once, unless [`ExternalInserts::look_again`] is called. Cancel-safe.
    pub async fn next(&mut self, limit: u32, clock: &Arc<dyn Clock>) -> Result<Vec<Inserted>> {
        let mut pace = Pace::Quiet;
        loop {
            self.pulse.round();
            if std::mem::replace(&mut self.look_first, true) {
                let rows = inserted::inserted(&mut self.connection, self.after, limit).await?;
                if let Some(last) = rows.last() {
                    self.after = last.seq;
                    // Admitting these rows writes the log, which triggers the query for the rest.
                    self.more_wait = rows.len() == limit as usize;
                    self.look_first = self.more_wait;
                    return Ok(rows);
                }
            }
            pace = self.stir(pace, clock).await;
        }
    }

    /// Returns the pulse that checks that the watching task is still running.
    pub(crate) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Returns whether the last call returned as many rows as its limit.
    pub fn more_wait(&self) -> bool {
        self.more_wait
    }

    /// Continues after `seq`, returning later rows again: rows up to it are being admitted.
    pub(crate) fn go_on_after(&mut self, seq: Seq) {
        (self.after, self.look_first, self.more_wait) = (seq, true, true);
    }

    /// Makes the next call query at once, because enough time has passed for more rows.
    pub fn look_now(&mut self) {
        self.look_first = true;
    }

    /// Makes the next call return all rows again, without waiting for an event, because the last rows could not be
    /// admitted.
    pub fn look_again(&mut self) {
        (self.look_first, self.after) = (true, Seq(0));
    }

    /// Waits until there is a reason to query again, such as a write.
    async fn stir(&mut self, pace: Pace, clock: &Arc<dyn Clock>) -> Pace {
        let (wait, then) = match pace {
            Pace::AtOnce(0) => (SHORTEST_PAUSE, Pace::After(SHORTEST_PAUSE * 2)),
            Pace::AtOnce(left) => return Pace::AtOnce(left - 1),
            Pace::After(pause) if pause > LONGEST_PAUSE => (SAFETY, Pace::Quiet),
            Pace::After(pause) => (pause, Pace::After(pause * 2)),
            Pace::Quiet => (SAFETY, Pace::Quiet),
        };
        if !self.log.is_possible() {
            clock.sleep(POLL).await;
            return Pace::Quiet;
        }
        tokio::select! {
            biased;
            () = self.log.written() => self.log.arm(),
            // A liveness check: query, and wait again.
            () = self.pulse.asked() => return pace,
            () = clock.sleep(wait) => {
                if pace == Pace::Quiet {
                    self.after = Seq(0);
                }
                return then;
            }
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

    /// Waits while the writer commits one transaction after the other, up to a limit.
    async fn let_write(&self, mut activity: u64, clock: &Arc<dyn Clock>) {
        for _ in 0..OWN_IN_A_ROW {
            clock.sleep(WHILE_OWN).await;
            let before = std::mem::replace(&mut activity, self.store.inner.writer.activity());
            if activity <= end_of(before) {
                return;
            }
        }
    }

    /// Skips the write reported up to now; the caller queries next.
    fn pass_over(&mut self) {
        if self.log.written().now_or_never().is_some() {
            self.log.arm();
        }
        self.seen_activity = end_of(self.store.inner.writer.activity());
    }
}

/// Returns whether none of our transactions was open when the writer's activity was read.
fn is_at_rest(activity: u64) -> bool {
    activity.is_multiple_of(2)
}

/// Returns the activity at the end of the transaction that is open now. It flushes last, and the kernel sends no
/// event for that.
fn end_of(activity: u64) -> u64 {
    activity.next_multiple_of(2)
}

/// Returns whether our writer may have made the write that the kernel reports: it writes now, or has since `seen`.
fn is_ours(activity: u64, seen: u64) -> bool {
    !is_at_rest(activity) || activity != seen
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
