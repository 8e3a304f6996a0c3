//! Messages for public names: they wait until a profile shows the user id, and then belong to that person (P2, P5).
//!
//! One transaction replaces the name in all that is queued for it on the account, so that order, stops, answers and
//! repeats hold for the person from then on. Every read of a profile is recorded before it is made: the caps count it,
//! whatever becomes of it.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::{erased, names, people};
use crate::domain::caps::LEDGER_REACH;
use crate::domain::message::{AccountId, UserId};
use crate::domain::person::{CONNECTION_EVERY, Person};
use crate::domain::reason::Reason;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// No cap counts older reads.
const KEPT_FOR: Duration = LEDGER_REACH.saturating_add(Duration::from_secs(24 * 3600));

/// The reads of profiles that an account has made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProfileReads {
    /// When, in order.
    pub at: Vec<Timestamp>,
    /// No profile is read before this time.
    pub next_at: Option<Timestamp>,
}

/// Messages that are deferred in one transaction.
const DEFERRED_AT_ONCE: u32 = 500;

/// Defers the next of them: the first until ?2, each further one ?5 seconds later. Those that wait for longer stay.
pub(in crate::store) const DEFER_NAMES: &str = "UPDATE messages SET revision = messages.revision + 1, retry_at = j.at, reason = 'resolving', error = ?3, updated_at = ?4 \
     FROM (SELECT seq, strftime('%Y-%m-%dT%H:%M:%fZ', ?2, printf('+%.3f seconds', ?5 * (?6 + row_number() OVER (ORDER BY due_at, seq) - 1))) AS at \
       FROM (SELECT m.seq, m.due_at FROM messages AS m INDEXED BY messages_thread WHERE m.account_id = ?1 AND m.state = 'queued' \
           AND m.thread >= 'user:in/' AND m.thread < 'user:in0' AND m.due_at <= ?2 \
           AND (m.retry_at IS NULL OR m.retry_at <= ?4 OR (m.reason = 'resolving' AND m.retry_at < ?2)) ORDER BY m.due_at, m.seq LIMIT ?7 + 0)) AS j \
     WHERE messages.seq = j.seq";

/// The same; the profile of one person is read again after ?8.
pub(in crate::store) const DEFER_NEEDS: &str = "UPDATE messages SET revision = messages.revision + 1, \
       retry_at = max(j.at, coalesce((SELECT strftime('%Y-%m-%dT%H:%M:%fZ', max(r.at), ?8) FROM ( \
         SELECT at FROM profile_reads INDEXED BY profile_reads_person WHERE person = substr(messages.thread, 6) AND account_id = ?1 \
         UNION ALL SELECT read_at FROM people WHERE account_id = ?1 AND user_id = substr(messages.thread, 6)) AS r), '')), \
       reason = 'not_connected', error = ?3, updated_at = ?4 \
     FROM (SELECT seq, strftime('%Y-%m-%dT%H:%M:%fZ', ?2, printf('+%.3f seconds', ?5 * (?6 + row_number() OVER (ORDER BY due_at, seq) - 1))) AS at \
       FROM (SELECT m.seq, m.due_at FROM messages AS m INDEXED BY messages_needs WHERE m.account_id = ?1 AND m.state = 'queued' \
           AND m.needs IS NOT NULL AND m.due_at <= ?2 AND (m.retry_at IS NULL OR m.retry_at <= ?4 OR (m.reason = 'not_connected' AND m.retry_at < ?2)) \
           AND NOT EXISTS (SELECT 1 FROM people p WHERE p.account_id = m.account_id \
             AND p.user_id = substr(m.thread, 6) AND p.distance IN ('FIRST_DEGREE', 'SELF')) ORDER BY m.due_at, m.seq LIMIT ?7 + 0)) AS j \
     WHERE messages.seq = j.seq";

/// What messages wait for that only profiles show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForProfiles {
    /// The user id behind a public name.
    Names,
    /// A connection with the person.
    Connections,
}

/// A deferral of what waits for profiles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Deferral {
    pub which: ForProfiles,
    /// Until when the first of them waits.
    pub until: Timestamp,
    /// How much longer each further one waits.
    pub apart: Duration,
    pub why: String,
}

impl Store {
    /// Returns the reads of profiles that `account` made since `since`.
    pub(crate) async fn profile_reads(&self, account: &AccountId, since: Timestamp) -> Result<ProfileReads> {
        const SQL: &str =
            "SELECT at, next_at FROM profile_reads WHERE account_id = ?1 AND at >= ?2 ORDER BY at";
        let query = sqlx::query(SQL).bind(account.as_str()).bind(time_text(since));
        let mut reads = ProfileReads::default();
        for row in query.fetch_all(&self.inner.readers).await? {
            reads.at.push(rows::required_time(&row, "at")?);
            reads.next_at = reads.next_at.max(rows::time(&row, "next_at")?);
        }
        Ok(reads)
    }

    /// Returns whether a read since `since`, of any account, showed that the person does not exist.
    pub(crate) async fn is_absent(&self, person: &UserId, since: Timestamp) -> Result<bool> {
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM profile_reads INDEXED BY profile_reads_person \
             WHERE person = ?1 AND at >= ?2 AND result = 'absent')";
        let query = sqlx::query_scalar(SQL).bind(person.as_str()).bind(time_text(since));
        Ok(query.fetch_one(&self.inner.readers).await?)
    }

    /// Records that `account` is about to read a profile; the next one is read at `next_at` at the earliest. Returns the
    /// number of the read.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; no profile may be read then.
    pub(crate) async fn begin_profile_read(
        &self,
        account: AccountId,
        person: UserId,
        next_at: Timestamp,
        now: Timestamp,
    ) -> Result<i64> {
        const FORGET: &str = "DELETE FROM profile_reads WHERE account_id = ?1 AND at < ?2";
        const SQL: &str = "INSERT INTO profile_reads (account_id, person, at, next_at) VALUES (?1, ?2, ?3, ?4) RETURNING id";
        self.exclusive(now, move |connection| {
            Box::pin(async move {
                let oldest = now.checked_sub(KEPT_FOR).unwrap_or(Timestamp::MIN);
                let query = sqlx::query(FORGET).bind(account.as_str()).bind(time_text(oldest));
                query.execute(&mut *connection).await?;
                let query = sqlx::query_scalar(SQL).bind(account.as_str()).bind(person.as_str());
                let query = query.bind(time_text(now)).bind(time_text(next_at));
                Ok(query.fetch_one(connection).await?)
            })
        })
        .await
    }

    /// Forgets the read `number`, of which no request was made.
    pub(crate) async fn forget_profile_read(&self, number: i64, now: Timestamp) -> Result<()> {
        const SQL: &str = "DELETE FROM profile_reads WHERE id = ?1";
        self.execute(now, sqlx::query(SQL).bind(number)).await?;
        Ok(())
    }

    /// Gives the messages for a public name to the person behind it. `read` is the number of the read that showed who
    /// that is; `None` if it was known. Returns the accounts of the messages that this concerns.
    pub(crate) async fn resolve(
        &self,
        account: AccountId,
        name: UserId,
        person: Person,
        read: Option<i64>,
        now: Timestamp,
    ) -> Result<HashSet<AccountId>> {
        let repeats = self.repeat_scope();
        self.exclusive(now, move |connection| {
            Box::pin(async move {
                let read_at = read.map(|_| now);
                let learned = people::learn(connection, &account, &person, read_at, (repeats, now)).await?;
                if let Some(read) = read {
                    end_read(connection, read, "found").await?;
                }
                // Nothing is learned of an erased person, whose messages are cancelled.
                names::replace(connection, &name, &person.user_id, repeats, now).await?;
                erased::cancel_for(connection, person.user_id.as_str(), now).await?;
                Ok(learned)
            })
        })
        .await
    }

    /// Fails everything that `account` has queued for a person, or for a public name. `absent` is the number of the read
    /// that showed that the person does not exist.
    pub async fn fail_person(
        &self,
        account: AccountId,
        person: UserId,
        reason: Reason,
        error: String,
        absent: Option<i64>,
        now: Timestamp,
    ) -> Result<u64> {
        const SQL: &str = "UPDATE messages SET revision = messages.revision + 1, state = 'failed', reason = ?3, error = ?4, updated_at = ?5 \
             WHERE account_id = ?1 AND thread = 'user:' || ?2 AND state = 'queued'";
        self.exclusive(now, move |connection| {
            Box::pin(async move {
                if let Some(read) = absent {
                    end_read(connection, read, "absent").await?;
                }
                let query = sqlx::query(SQL).bind(account.as_str()).bind(person.as_str());
                let query = query.bind(reason.as_str()).bind(error).bind(time_text(now));
                Ok(query.execute(connection).await?.rows_affected())
            })
        })
        .await
    }

    /// Defers everything of `account` that waits for profiles in this way and is due before `deferral.until`, some of it
    /// in one transaction.
    pub(crate) async fn defer_for_profiles(
        &self,
        account: AccountId,
        deferral: Deferral,
        now: Timestamp,
    ) -> Result<()> {
        let mut before = 0;
        loop {
            let (account, deferral) = (account.clone(), deferral.clone());
            let deferred = self.exclusive(now, move |connection| {
                Box::pin(defer_for_profiles(connection, account, deferral, before, now))
            });
            let deferred = deferred.await?;
            before += deferred;
            if deferred < DEFERRED_AT_ONCE {
                return Ok(());
            }
        }
    }
}

/// Defers the next page; `before` messages were deferred already. Returns how many it deferred.
async fn defer_for_profiles(
    connection: &mut SqliteConnection,
    account: AccountId,
    deferral: Deferral,
    before: u32,
    now: Timestamp,
) -> Result<u32> {
    let Deferral { which, until, apart, why } = deferral;
    // The profile of one person is read again after a while of its own.
    let (sql, own) = match which {
        ForProfiles::Names => (DEFER_NAMES, None),
        ForProfiles::Connections => (DEFER_NEEDS, Some(format!("+{} seconds", CONNECTION_EVERY.as_secs()))),
    };
    let query = sqlx::query(sql).bind(account.as_str()).bind(time_text(until)).bind(why).bind(time_text(now));
    let query = query.bind(apart.as_secs_f64()).bind(before).bind(DEFERRED_AT_ONCE);
    let query = own.into_iter().fold(query, |query, own| query.bind(own));
    let deferred = query.execute(connection).await?.rows_affected();
    Ok(u32::try_from(deferred).unwrap_or(u32::MAX))
}

async fn end_read(connection: &mut SqliteConnection, read: i64, result: &str) -> Result<()> {
    const SQL: &str = "UPDATE profile_reads SET result = ?2 WHERE id = ?1";
    sqlx::query(SQL).bind(read).bind(result).execute(connection).await?;
    Ok(())
}
