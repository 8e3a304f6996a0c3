//! The write lock of the file, which other programs take as well: how the writer waits for it.
//!
//! SQLite's lock has no queue: the first program that tries while it is free gets it. A program that commits row
//! after row leaves it free for hundredths of a millisecond at a time, and the usual busy timeout, which in the end
//! tries every 100 ms, never meets such a moment. So the writer tries many times in a row, then sleeps a little, so
//! that a long wait costs no core. It retries itself instead of using SQLite's busy timeout, so that what it writes
//! carries the time at which it has the lock (P5), and so that it can report within a second that it is blocked.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::clock::{Clock, SystemClock};
use crate::store::StoreError;
use crate::store::sqlite::holder;
use crate::store::sqlite::rows::Result;

/// Retries BEGIN for as long as SQLite's usual busy timeout.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Reports that the writer is blocked after this time.
const TELL_AFTER: Duration = Duration::from_millis(500);

/// Tries in a row; one takes 0.03 to 0.1 ms. While a busy producer runs, one in twenty succeeds.
const IN_A_ROW: u32 = 32;

/// Sleep after a series of tries, at first.
const SHORT_REST: Duration = Duration::from_millis(1);

/// Sleep from [`LONG_WAIT`] on.
const LONG_REST: Duration = Duration::from_millis(10);

/// Sleep once the lock is reported as blocked.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// A wait of this length is most likely for one long transaction.
const LONG_WAIT: Duration = Duration::from_millis(100);

/// The writer's view of the lock.
pub(in crate::store) struct WriteLock {
    database: PathBuf,
    clock: SystemClock,
    /// Wall-clock time in milliseconds; 0 if the writer is not blocked.
    blocked_since: AtomicI64,
    /// Total time spent waiting for the lock, in microseconds.
    waited_us: AtomicU64,
}

impl WriteLock {
    pub(super) fn new(database: PathBuf, clock: SystemClock) -> Self {
        Self { database, clock, blocked_since: AtomicI64::new(0), waited_us: AtomicU64::new(0) }
    }

    /// Returns since when another program has blocked the writer.
    pub(super) fn blocked_since(&self) -> Option<Timestamp> {
        match self.blocked_since.load(Ordering::Relaxed) {
            0 => None,
            since => Timestamp::from_millisecond(since).ok(),
        }
    }

    /// Returns the total time that the writer has waited for the lock.
    pub(super) fn waited(&self) -> Duration {
        Duration::from_micros(self.waited_us.load(Ordering::Relaxed))
    }

    /// Begins a transaction that has the lock, or returns `Busy` after [`BUSY_TIMEOUT`]. `asked_at` is the time of
    /// the first request that needs it.
    pub(super) async fn begin(&self, connection: &mut SqliteConnection, asked_at: Timestamp) -> Result<()> {
        let since = self.clock.monotonic();
        let mut asked = 0_u32;
        let result = loop {
            let answer = sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await;
            let Err(error) = answer.map_err(StoreError::from) else { break Ok(()) };
            let waited = self.clock.monotonic().saturating_sub(since);
            if !matches!(error, StoreError::Busy) {
                break Err(error);
            }
            if waited >= TELL_AFTER {
                self.not_had(asked_at);
            }
            if waited >= BUSY_TIMEOUT {
                break Err(error);
            }
            asked += 1;
            match rest(asked, waited) {
                Some(rest) => self.clock.sleep(rest).await,
                // Lets the runtime's other tasks run.
                None => tokio::task::yield_now().await,
            }
        };
        let waited = self.clock.monotonic().saturating_sub(since);
        self.waited_us.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if result.is_ok() {
            self.had();
        }
        result
    }

    /// Takes the lock, runs the closure, and commits if it returns `Ok`.
    pub(super) async fn transaction<A, F>(
        &self,
        connection: &mut SqliteConnection,
        asked_at: Timestamp,
        verb: F,
    ) -> Result<A>
    where
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<A>>,
    {
        self.begin(connection, asked_at).await?;
        let result = match verb(connection).await {
            Ok(answer) => {
                sqlx::query("COMMIT").execute(&mut *connection).await.map(|_| answer).map_err(Into::into)
            }
            Err(error) => Err(error),
        };
        if result.is_err() {
            // A failed COMMIT may have rolled back already; then this fails harmlessly.
            let _already_rolled_back = sqlx::query("ROLLBACK").execute(&mut *connection).await;
        }
        result
    }

    /// Checks once whether the lock is free, without a request that needs it.
    pub(super) async fn look(&self, connection: &mut SqliteConnection) {
        if sqlx::query("BEGIN IMMEDIATE; COMMIT").execute(&mut *connection).await.is_ok() {
            self.had();
        }
    }

    /// Records that the writer got the lock.
    pub(super) fn had(&self) {
        self.blocked_since.store(0, Ordering::Relaxed);
    }

    fn not_had(&self, asked_at: Timestamp) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(asked_at.as_millisecond(), Ordering::Relaxed);
            let holder = holder::holder(&self.database);
            tracing::warn!(
                holder = holder.as_deref().unwrap_or("unknown"),
                "another program keeps the database locked; nothing can be accepted or sent until it lets go"
            );
        }
    }
}

/// Returns how long to sleep after try number `asked`, if at all.
fn rest(asked: u32, waited: Duration) -> Option<Duration> {
    let rest = match waited {
        waited if waited < LONG_WAIT => SHORT_REST,
        waited if waited < TELL_AFTER => LONG_REST,
        _ => LONGEST_REST,
    };
    asked.is_multiple_of(IN_A_ROW).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of tries, and the time spent trying, while another program keeps the lock for `held`; one
    /// try takes `each`.
    fn asked_while(held: Duration, each: Duration) -> (u32, Duration) {
        let (mut waited, mut asked) = (Duration::ZERO, 0);
        while waited < held {
            waited += each;
            asked += 1;
            waited += rest(asked, waited).unwrap_or_default();
        }
        (asked, each * asked)
    }

    #[test]
    fn it_asks_tightly_at_first_and_a_long_transaction_costs_no_core() {
        let each = Duration::from_micros(60);
        let (asked, _) = asked_while(Duration::from_millis(30), each);
        assert!(asked >= 250, "{asked} questions in the first 30 ms");
        let (asked, asking) = asked_while(BUSY_TIMEOUT, each);
        assert!(asking < BUSY_TIMEOUT / 10, "{asked} questions took {asking:?}");
        let (asked, asking) = asked_while(BUSY_TIMEOUT, each * 4);
        assert!(asking < BUSY_TIMEOUT / 5, "{asked} questions took {asking:?}, on a slow machine");
    }
}
