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

pub(in crate::store) const DEFER_NAMES: &str = "UPDATE messages SET revision = messages.revision + 1, retry_at = ?2, reason = 'resolving', error = ?3, updated_at = ?4 \
     WHERE account_id = ?1 AND state = 'queued' AND thread >= 'user:in/' AND thread < 'user:in0' AND due_at <= ?2 \
       AND (retry_at IS NULL OR (reason = 'resolving' AND retry_at < ?2))";

pub(in crate::store) const DEFER_NEEDS: &str = "UPDATE messages SET revision = messages.revision + 1, \
       retry_at = max(?2, coalesce((SELECT strftime('%Y-%m-%dT%H:%M:%fZ', max(r.at), ?5) FROM ( \
         SELECT at FROM profile_reads INDEXED BY profile_reads_person WHERE person = substr(messages.thread, 6) AND account_id = ?1 \
         UNION ALL SELECT read_at FROM people WHERE account_id = ?1 AND user_id = substr(messages.thread, 6)) AS r), '')), \
       reason = 'not_connected', error = ?3, updated_at = ?4 \
     WHERE account_id = ?1 AND state = 'queued' AND needs IS NOT NULL AND due_at <= ?2 \
       AND (retry_at IS NULL OR (reason = 'not_connected' AND retry_at < ?2)) \
       AND NOT EXISTS (SELECT 1 FROM people p WHERE p.account_id = messages.account_id \
         AND p.user_id = substr(messages.thread, 6) AND p.distance IN ('FIRST_DEGREE', 'SELF'))";

/// What messages wait for that only profiles show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ForProfiles {
    /// The user id behind a public name.
    Names,
    /// A connection with the person.
    Connections,
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
        self.inner
            .writer
            .exclusive(now, move |connection| {
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
        self.inner
            .writer
            .exclusive(now, move |connection| {
                Box::pin(async move {
                    sqlx::query(SQL).bind(number).execute(connection).await?;
                    Ok(())
                })
            })
            .await
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
        self.inner
            .writer
            .exclusive(now, move |connection| {
                Box::pin(async move {
                    let read_at = read.map(|_| now);
                    let accounts = people::learn(connection, &account, &person, read_at, now).await?;
                    if let Some(read) = read {
                        end_read(connection, read, "found").await?;
                    }
                    // Nothing is learned of an erased person, whose messages are cancelled.
                    names::replace(connection, &name, &person.user_id, now).await?;
                    erased::cancel_for(connection, person.user_id.as_str(), now).await?;
                    Ok(accounts)
                })
            })
            .await
    }

    /// Fails everything that `account` has queued for a person, or for a public name. `absent` is the number of the read
    /// that showed that the person does not exist.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
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
        self.inner
            .writer
            .exclusive(now, move |connection| {
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

    /// Defers everything of `account` that waits for profiles in this way and is due before `until`.
    pub(crate) async fn defer_for_profiles(
        &self,
        account: AccountId,
        which: ForProfiles,
        until: Timestamp,
        why: String,
        now: Timestamp,
    ) -> Result<()> {
        // The profile of one person is read again after a while of its own.
        let (sql, own) = match which {
            ForProfiles::Names => (DEFER_NAMES, None),
            ForProfiles::Connections => {
                (DEFER_NEEDS, Some(format!("+{} seconds", CONNECTION_EVERY.as_secs())))
            }
        };
        self.inner
            .writer
            .exclusive(now, move |connection| {
                Box::pin(async move {
                    let query = sqlx::query(sql).bind(account.as_str()).bind(time_text(until)).bind(why);
                    let query = query.bind(time_text(now));
                    let query = own.into_iter().fold(query, |query, own| query.bind(own));
                    query.execute(connection).await?;
                    Ok(())
                })
            })
            .await
    }
}

async fn end_read(connection: &mut SqliteConnection, read: i64, result: &str) -> Result<()> {
    const SQL: &str = "UPDATE profile_reads SET result = ?2 WHERE id = ?1";
    sqlx::query(SQL).bind(read).bind(result).execute(connection).await?;
    Ok(())
}
