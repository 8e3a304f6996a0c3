//! Defers messages without an attempt, so that the account's next message is sent: InMails without credits, and first
//! messages whose chat could not be looked up. Also returns messages whose retry is due, and ends those that cannot be
//! sent as they are.
//!
//! A deferred message has a `retry_at` and spends no retry; later messages of its thread wait behind it, as behind
//! any message that is retried. A deferral is not a promise: the engine checks again before it sends.

use jiff::Timestamp;
use serde_json::json;
use sqlx::{Row, SqliteConnection};

use crate::domain::account::Down;
use crate::domain::message::{AccountId, Seq};
use crate::domain::outcome::DownCause;
use crate::domain::reason::Reason;
use crate::domain::specifics::Credit;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// Why the InMails of a balance wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InmailHold {
    /// When the hold ends.
    pub until: Timestamp,
    /// The reason, as text.
    pub why: String,
}

/// Messages that are deferred or returned in one transaction: other transitions go in between.
const AT_ONCE: u32 = 500;

/// The next InMails of a balance after ?3.
pub(in crate::store) const INMAILS: &str = "SELECT seq FROM messages INDEXED BY messages_inmail WHERE account_id = ?1 AND state = 'queued' \
     AND credit = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4 + 0";

/// Only messages due before the hold ends: a later one would become due too early.
pub(in crate::store) const HOLD: &str = "UPDATE messages SET revision = messages.revision + 1, retry_at = ?2, reason = 'inmail_credits', updated_at = ?3 \
     WHERE seq IN (SELECT value FROM json_each(?1)) AND due_at <= ?2 AND (retry_at IS NULL OR retry_at < ?2) \
       AND held_at IS NULL";

pub(in crate::store) const RELEASE: &str = "UPDATE messages SET revision = messages.revision + 1, retry_at = NULL, reason = 'turn', updated_at = ?2 \
     WHERE seq IN (SELECT value FROM json_each(?1)) AND reason = 'inmail_credits'";

pub(in crate::store) const RETURN_RETRIES: &str = "UPDATE messages SET revision = messages.revision + 1, retry_at = NULL, wait_held_at = NULL, reason = 'turn', updated_at = ?2 \
     WHERE seq IN (SELECT m.seq FROM messages AS m INDEXED BY messages_retry WHERE m.account_id = ?1 AND m.state = 'queued' \
       AND m.retry_at IS NOT NULL AND m.retry_at <= ?2 AND m.attempts = 0 AND m.reason IS NOT 'not_connected' ORDER BY m.retry_at LIMIT ?3 + 0)";

/// Deferrals that follow from a rule on look-ups.
pub(in crate::store) const LOOK_AGAIN: &str = "UPDATE messages SET revision = messages.revision + 1, retry_at = ?2, updated_at = ?2 \
     WHERE seq IN (SELECT m.seq FROM messages AS m INDEXED BY messages_retry WHERE m.account_id = ?1 AND m.state = 'queued' \
       AND m.retry_at IS NOT NULL AND m.retry_at > ?2 AND m.held_at IS NULL AND (m.reason = 'inmail_credits' \
         OR (m.reason IN ('resolving', 'not_connected') AND m.error GLOB 'caps.profile *')) LIMIT ?3 + 0)";

impl Store {
    /// Returns until when the InMails of this balance wait, and why. The time may have passed. `None` if they do not
    /// wait.
    pub(crate) async fn inmail_hold(
        &self,
        account: &AccountId,
        credit: Credit,
    ) -> Result<Option<InmailHold>> {
        const SQL: &str = "SELECT until, why FROM inmail_holds WHERE account_id = ?1 AND credit = ?2";
        let query = sqlx::query(SQL).bind(account.as_str()).bind(credit.as_str());
        let Some(row) = query.fetch_optional(&self.inner.readers).await? else { return Ok(None) };
        Ok(Some(InmailHold { until: rows::required_time(&row, "until")?, why: row.try_get("why")? }))
    }

    /// Defers the InMails of this balance that are due before `hold.until` until that time, some in one transaction.
    pub(crate) async fn hold_inmails(
        &self,
        account: AccountId,
        credit: Credit,
        hold: InmailHold,
        now: Timestamp,
    ) -> Result<()> {
        let mut after = 0;
        loop {
            let (account, hold) = (account.clone(), hold.clone());
            let page = self.exclusive(now, move |connection| {
                Box::pin(hold_inmails(connection, account, credit, hold, after, now))
            });
            let Some(last) = page.await? else { return Ok(()) };
            after = last;
        }
    }

    /// Releases the InMails of this balance, some in one transaction.
    pub(crate) async fn release_inmails(
        &self,
        account: AccountId,
        credit: Credit,
        now: Timestamp,
    ) -> Result<()> {
        let mut after = 0;
        loop {
            let account = account.clone();
            let page = self.exclusive(now, move |connection| {
                Box::pin(release_inmails(connection, account, credit, after, now))
            });
            let Some(last) = page.await? else { return Ok(()) };
            after = last;
        }
    }

    /// Defers one queued message until `until`.
    pub async fn defer(
        &self,
        seq: Seq,
        reason: Reason,
        until: Timestamp,
        error: String,
        now: Timestamp,
    ) -> Result<()> {
        const SQL: &str = "UPDATE messages SET revision = messages.revision + 1, retry_at = ?2, reason = ?3, error = ?4, updated_at = ?5 \
             WHERE seq = ?1 AND state = 'queued' AND held_at IS NULL";
        let query = sqlx::query(SQL).bind(seq.0).bind(time_text(until)).bind(reason.as_str());
        self.execute(now, query.bind(error).bind(time_text(now))).await?;
        Ok(())
    }

    /// Returns messages that were deferred until now to their lanes, in their original order, some at a time. One whose
    /// attempt failed, or that needs a connection, stays: it holds those that come after it in its chat until it is settled.
    pub async fn return_retries(&self, account: AccountId, now: Timestamp) -> Result<()> {
        let query = sqlx::query(RETURN_RETRIES).bind(account.as_str()).bind(time_text(now));
        self.execute(now, query.bind(AT_ONCE)).await?;
        Ok(())
    }

    /// Makes InMails that wait for credits, and messages that wait for room in a cap on profiles, due now, some in one
    /// transaction: the rules on these changed.
    pub(crate) async fn look_again(&self, account: AccountId, now: Timestamp) -> Result<()> {
        const END: &str = "UPDATE inmail_holds SET until = ?2 WHERE account_id = ?1 AND until > ?2";
        let at = time_text(now);
        self.execute(now, sqlx::query(END).bind(account.as_str().to_owned()).bind(at.clone())).await?;
        loop {
            let query = sqlx::query(LOOK_AGAIN).bind(account.as_str().to_owned()).bind(at.clone());
            if self.execute(now, query.bind(AT_ONCE)).await? < u64::from(AT_ONCE) {
                return Ok(());
            }
        }
    }

    /// Fails a queued message that cannot be sent; no call was made. Returns `false` if it is no longer
    /// queued.
    pub(crate) async fn refuse(
        &self,
        seq: Seq,
        reason: Reason,
        error: String,
        now: Timestamp,
    ) -> Result<bool> {
        const SQL: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'failed', reason = ?2, error = ?3, updated_at = ?4 \
             WHERE seq = ?1 AND state = 'queued'";
        let query = sqlx::query(SQL).bind(seq.0).bind(reason.as_str()).bind(error).bind(time_text(now));
        Ok(self.execute(now, query).await? > 0)
    }

    /// Records which chat a first message goes to, and why.
    pub(crate) async fn note_route(&self, seq: Seq, route: String, now: Timestamp) -> Result<()> {
        self.exclusive(now, move |connection| Box::pin(note_route(connection, seq, route, now))).await
    }

    /// Records that a read showed the account, or the key, to be unusable until a person fixes it.
    pub(crate) async fn note_down(&self, account: AccountId, down: Down) -> Result<()> {
        let at = down.since;
        self.exclusive(at, move |connection| Box::pin(note_down(connection, account, down))).await?;
        Ok(())
    }
}

pub(super) async fn event(
    connection: &mut SqliteConnection,
    at: &str,
    kind: &str,
    account: Option<&str>,
    reason: &str,
    detail: &str,
) -> Result<()> {
    const SQL: &str = "INSERT INTO events (at, kind, account_id, reason, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    let query = sqlx::query(SQL).bind(at).bind(kind).bind(account).bind(reason).bind(detail);
    query.execute(connection).await?;
    Ok(())
}

/// Returns the next InMails of a balance.
async fn inmails_after(
    connection: &mut SqliteConnection,
    account: &str,
    credit: &str,
    after: i64,
) -> Result<Vec<i64>> {
    let query = sqlx::query_scalar(INMAILS).bind(account).bind(credit).bind(after).bind(AT_ONCE);
    Ok(query.fetch_all(connection).await?)
}

/// Records the hold, and defers the next messages after `after`. Returns the last of them, if there may be more.
async fn hold_inmails(
    connection: &mut SqliteConnection,
    account: AccountId,
    credit: Credit,
    hold: InmailHold,
    after: i64,
    now: Timestamp,
) -> Result<Option<i64>> {
    const NOTE: &str = "INSERT INTO inmail_holds (account_id, credit, until, why) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET until = ?3, why = ?4";
    const WAS: &str = "SELECT why FROM inmail_holds WHERE account_id = ?1 AND credit = ?2";
    let (at, until) = (time_text(now), time_text(hold.until));
    let (account, credit) = (account.as_str(), credit.as_str());
    let was: Option<String> =
        sqlx::query_scalar(WAS).bind(account).bind(credit).fetch_optional(&mut *connection).await?;
    let query = sqlx::query(NOTE).bind(account).bind(credit).bind(&until).bind(&hold.why);
    query.execute(&mut *connection).await?;
    let page = inmails_after(connection, account, credit, after).await?;
    let query = sqlx::query(HOLD).bind(json!(page).to_string()).bind(&until).bind(&at);
    query.execute(&mut *connection).await?;
    // The same reason every hour is not a new event.
    if was.as_ref() != Some(&hold.why) {
        let reason = Reason::InmailCredits.as_str();
        event(connection, &at, "account.inmails_held", Some(account), reason, &hold.why).await?;
    }
    Ok(page.last().copied())
}

/// Ends the hold, and releases the next messages after `after`. Returns the last of them, if there may be more.
async fn release_inmails(
    connection: &mut SqliteConnection,
    account: AccountId,
    credit: Credit,
    after: i64,
    now: Timestamp,
) -> Result<Option<i64>> {
    const FORGET: &str = "DELETE FROM inmail_holds WHERE account_id = ?1 AND credit = ?2";
    let at = time_text(now);
    let (account, credit) = (account.as_str(), credit.as_str());
    let held = sqlx::query(FORGET).bind(account).bind(credit).execute(&mut *connection).await?;
    let page = inmails_after(connection, account, credit, after).await?;
    sqlx::query(RELEASE).bind(json!(page).to_string()).bind(&at).execute(&mut *connection).await?;
    if held.rows_affected() > 0 {
        let reason = Reason::InmailCredits.as_str();
        event(connection, &at, "account.inmails_released", Some(account), reason, credit).await?;
    }
    Ok(page.last().copied())
}

async fn note_route(
    connection: &mut SqliteConnection,
    seq: Seq,
    route: String,
    now: Timestamp,
) -> Result<()> {
    const NOTE: &str = "UPDATE messages SET revision = messages.revision + 1, route = ?2, error = NULL, updated_at = ?3 \
         WHERE seq = ?1 AND state = 'queued' AND route IS NOT ?2 RETURNING account_id, id";
    const EVENT: &str = "INSERT INTO events (at, kind, account_id, message_id, detail) VALUES (?1, 'route.chosen', ?2, ?3, ?4)";
    let at = time_text(now);
    let query = sqlx::query(NOTE).bind(seq.0).bind(&route).bind(&at);
    let Some(row) = query.fetch_optional(&mut *connection).await? else { return Ok(()) };
    let query = sqlx::query(EVENT).bind(&at).bind(row.try_get::<&str, _>("account_id")?);
    query.bind(row.try_get::<&str, _>("id")?).bind(&route).execute(connection).await?;
    Ok(())
}

/// Returns whether that changed something: the account may be down already, or none of the queue's.
pub(super) async fn note_down(
    connection: &mut SqliteConnection,
    account: AccountId,
    down: Down,
) -> Result<bool> {
    const ACCOUNT: &str = "UPDATE accounts SET down_cause = ?2, down_at = ?3, down_problem = ?4 WHERE id = ?1 AND down_cause IS NULL";
    const KEY: &str =
        "UPDATE daemon SET key_refused_at = ?1, key_problem = ?2 WHERE id = 1 AND key_refused_at IS NULL";
    let at = time_text(down.since);
    match down.cause {
        DownCause::Key => {
            let query = sqlx::query(KEY).bind(&at).bind(&down.problem);
            if query.execute(&mut *connection).await?.rows_affected() == 0 {
                return Ok(false);
            }
            let reason = Reason::KeyRefused.as_str();
            event(connection, &at, "daemon.key_refused", None, reason, &down.problem).await?;
        }
        DownCause::Disconnected | DownCause::Restricted | DownCause::Throttled => {
            let query = sqlx::query(ACCOUNT).bind(account.as_str()).bind(down.cause.as_str());
            let query = query.bind(&at).bind(&down.problem);
            if query.execute(&mut *connection).await?.rows_affected() == 0 {
                return Ok(false);
            }
            let reason = Reason::of_down(down.cause).as_str();
            event(connection, &at, "account.down", Some(account.as_str()), reason, &down.problem).await?;
        }
    }
    Ok(true)
}
