//! Restores each account's gap when a run begins, by the machine's boot clock, which cannot be set (P3).
//!
//! Stored times are wall-clock times. If the wall clock was set forward while no daemon ran, a gap that still lasts
//! looks as if it were over. So each run records which boot of the machine it belongs to, and how long after that
//! boot its own monotonic clock began. That gives the age of a call of an earlier run whatever the wall clock says,
//! as long as the machine has not been rebooted. Nothing is ever shortened here.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{Row, SqliteConnection};

use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// This clock does not record the end of a call, so a call is assumed to have lasted at most this long.
const LONGEST_CALL: Duration = Duration::from_secs(300);

/// Times are stored in whole milliseconds.
const COARSE: Duration = Duration::from_millis(1);

impl Store {
    /// Records that this run's monotonic clock began `began` after the boot `boot`, and keeps the gaps that still
    /// last `passed` after that boot.
    pub async fn keep_pauses(
        &self,
        boot: String,
        began: Duration,
        passed: Duration,
        now: Timestamp,
    ) -> Result<()> {
        let run = self.inner.run;
        self.exclusive(now, move |connection| {
            Box::pin(async move {
                const NOTE: &str = "UPDATE runs SET boot_id = ?2, boot_ms = ?3 WHERE id = ?1";
                let query = sqlx::query(NOTE).bind(run).bind(&boot).bind(milliseconds(began));
                query.execute(&mut *connection).await?;
                keep(connection, &boot, passed, now).await
            })
        })
        .await
    }
}

async fn keep(connection: &mut SqliteConnection, boot: &str, passed: Duration, now: Timestamp) -> Result<()> {
    const LAST_CALLS: &str = "SELECT a.id, a.last_call_at, a.next_call_at, t.gap_ms, r.boot_ms + t.monotonic_ms AS began_ms \
         FROM accounts a CROSS JOIN attempts t ON t.account_id = a.id AND t.started_at = a.last_call_at \
         CROSS JOIN runs r ON r.id = t.run WHERE r.boot_id = ?1";
    const LENGTHEN: &str =
        "UPDATE accounts SET next_call_at = max(coalesce(next_call_at, ''), ?2) WHERE id = ?1";
    for row in sqlx::query(LAST_CALLS).bind(boot).fetch_all(&mut *connection).await? {
        let gap = duration(row.try_get("gap_ms")?);
        let (began_at, free_at) = (rows::time(&row, "last_call_at")?, rows::time(&row, "next_call_at")?);
        // The gap counts from the end of the call.
        let whole = began_at
            .zip(free_at)
            .and_then(|(began_at, free_at)| Duration::try_from(free_at.duration_since(began_at)).ok());
        let whole = whole.unwrap_or(gap).clamp(gap, gap + LONGEST_CALL);
        // In a container, the machine may seem to have booted after the call: then the whole gap is left.
        let age = passed.saturating_sub(duration(row.try_get("began_ms")?) + COARSE);
        let left = whole.saturating_sub(age);
        if !left.is_zero() {
            let free_at = time_text(now.checked_add(left).unwrap_or(Timestamp::MAX));
            let account: String = row.try_get("id")?;
            sqlx::query(LENGTHEN).bind(account).bind(free_at).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn duration(milliseconds: i64) -> Duration {
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0))
}
