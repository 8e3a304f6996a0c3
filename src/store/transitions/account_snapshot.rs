//! The account snapshot: what Unipile reports about each account.
//!
//! Snapshots survive restarts and are written part by part, as each part is read.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::domain::account_snapshot::{AccountSnapshot, ReadAt, Reading};
use crate::domain::message::{AccountId, InboxId};
use crate::domain::observed::{Credits, ObservedAccount, ObservedInbox};
use crate::domain::outcome::DownCause;
use crate::domain::reason::Reason;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result, corrupt};

/// Selects accounts with waiting messages whose snapshot is due: never read, too old, or the last read failed. A last
/// read in the future does not count: the clock was set back. `+ 0`, because SQLite prepares a statement whose limit is
/// a bare parameter again for every run.
const DUE: &str = "SELECT c.account_id FROM counts c LEFT JOIN account_snapshots f ON f.account_id = c.account_id \
       LEFT JOIN accounts a ON a.id = c.account_id \
     WHERE c.state = 'queued' AND c.n > 0 \
       AND (f.tried_at IS NULL OR f.tried_at <= ?1 OR ((f.problem IS NOT NULL OR a.down_cause = 'disconnected') AND f.tried_at <= ?2) OR f.tried_at > ?3) \
     ORDER BY f.tried_at LIMIT ?4 + 0";

const NOTE: &str = "INSERT INTO account_snapshots (account_id, tried_at, problem, name, provider, status, is_locked, products, read_at, \
       inboxes, inboxes_read_at, credits, credits_read_at) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
     ON CONFLICT (account_id) DO UPDATE SET tried_at = coalesce(?2, tried_at), problem = CASE WHEN ?2 IS NULL THEN problem ELSE ?3 END, \
       name = CASE WHEN ?9 IS NULL THEN name ELSE ?4 END, provider = coalesce(?5, provider), status = coalesce(?6, status), \
       is_locked = coalesce(?7, is_locked), products = coalesce(?8, products), read_at = coalesce(?9, read_at), \
       inboxes = coalesce(?10, inboxes), inboxes_read_at = coalesce(?11, inboxes_read_at), \
       credits = coalesce(?12, credits), credits_read_at = coalesce(?13, credits_read_at)";

impl Store {
    /// Returns accounts with waiting messages whose snapshot is older than `age`, or whose last read failed longer
    /// than `again` ago. Returns at most `limit` accounts, oldest snapshot first.
    pub async fn snapshots_due(
        &self,
        now: Timestamp,
        age: std::time::Duration,
        again: std::time::Duration,
        limit: u32,
    ) -> Result<Vec<AccountId>> {
        let before = |span| time_text(now.checked_sub(span).unwrap_or(Timestamp::MIN));
        let query = sqlx::query_scalar(DUE).bind(before(age)).bind(before(again)).bind(time_text(now));
        let ids: Vec<String> = query.bind(limit).fetch_all(&self.inner.readers).await?;
        Ok(ids.into_iter().map(AccountId::new).collect())
    }

    /// Returns the snapshots of these accounts. Accounts that were never read are absent.
    pub async fn snapshots(&self, accounts: &[&AccountId]) -> Result<HashMap<AccountId, AccountSnapshot>> {
        const SQL: &str =
            "SELECT f.* FROM json_each(?1) AS j CROSS JOIN account_snapshots f ON f.account_id = j.value";
        let ids: Vec<&str> = accounts.iter().map(|id| id.as_str()).collect();
        let found = sqlx::query(SQL).bind(json!(ids).to_string()).fetch_all(&self.inner.readers).await?;
        let read = |row: &SqliteRow| Ok((rows::account_id(row)?, read_snapshot(row)?));
        found.iter().map(read).collect()
    }

    /// Stores what was read of `account`; parts that were not read keep their last value. Returns whether the account
    /// may send again: an account that is connected again resumes, a restricted one does not.
    pub async fn sync_account(&self, account: AccountId, reading: Reading) -> Result<bool> {
        let at = reading.at;
        self.exclusive(at, move |connection| Box::pin(note(connection, account, reading))).await
    }
}

async fn note(connection: &mut SqliteConnection, account: AccountId, reading: Reading) -> Result<bool> {
    const WAS: &str = "SELECT status FROM account_snapshots WHERE account_id = ?1";
    const EVENT: &str =
        "INSERT INTO events (at, kind, account_id, detail) VALUES (?1, 'account.status', ?2, ?3)";
    let at = time_text(reading.at);
    let was: Option<Option<String>> =
        sqlx::query_scalar(WAS).bind(account.as_str()).fetch_optional(&mut *connection).await?;
    let seen = reading.account.as_ref();
    let read_at = |read: bool| read.then(|| at.clone());
    sqlx::query(NOTE)
        .bind(account.as_str())
        .bind(read_at(reading.is_whole))
        .bind(reading.problem.as_ref().map(ToString::to_string))
        .bind(seen.and_then(|seen| seen.name.clone()))
        .bind(seen.map(|seen| seen.provider.clone()))
        .bind(seen.map(|seen| seen.status.clone()))
        .bind(seen.map(|seen| seen.is_locked))
        .bind(seen.map(|seen| json!(seen.products).to_string()))
        .bind(read_at(seen.is_some()))
        .bind(reading.inboxes.as_ref().map(|inboxes| inboxes_json(inboxes)))
        .bind(read_at(reading.inboxes.is_some()))
        .bind(reading.credits.as_ref().map(|credits| json!(credits).to_string()))
        .bind(read_at(reading.credits.is_some()))
        .execute(&mut *connection)
        .await?;
    if let (Some(Some(was)), Some(seen)) = (was, seen)
        && was != seen.status
    {
        let change = format!("{was} to {}", seen.status);
        sqlx::query(EVENT).bind(&at).bind(account.as_str()).bind(change).execute(&mut *connection).await?;
    }
    match seen {
        Some(seen) => connected(connection, &account, seen, reading.at).await,
        None => Ok(false),
    }
}

/// Takes an account down as soon as Unipile reports it as disconnected, and resumes it when Unipile reports it as
/// running. A read in the first moments after a refused call may be older than the refusal and does not count.
async fn connected(
    connection: &mut SqliteConnection,
    account: &AccountId,
    seen: &ObservedAccount,
    now: Timestamp,
) -> Result<bool> {
    const DOWN: &str = "UPDATE accounts SET down_cause = 'disconnected', down_at = ?2, down_problem = ?3 \
         WHERE id = ?1 AND down_cause IS NULL";
    const UP: &str = "UPDATE accounts SET down_cause = NULL, down_at = NULL, down_problem = NULL, failures = 0 \
         WHERE id = ?1 AND down_cause = 'disconnected' AND down_at < ?2";
    const EVENT: &str =
        "INSERT INTO events (at, kind, account_id, reason, detail) VALUES (?1, ?2, ?3, ?4, ?5)";
    let (at, id) = (time_text(now), account.as_str());
    let said = format!("Unipile says that it is {}", seen.status);
    let disconnected = Reason::of_down(DownCause::Disconnected).as_str();
    let (query, kind, reason) = match seen.status.as_str() {
        "disconnected" => {
            (sqlx::query(DOWN).bind(id).bind(&at).bind(&said), "account.down", Some(disconnected))
        }
        "running" if !seen.is_locked => {
            let settled = time_text(now.checked_sub(SETTLED).unwrap_or(Timestamp::MIN));
            (sqlx::query(UP).bind(id).bind(settled), "account.resumed", None)
        }
        _ => return Ok(false),
    };
    if query.execute(&mut *connection).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let event = sqlx::query(EVENT).bind(&at).bind(kind).bind(id).bind(reason).bind(&said);
    event.execute(connection).await?;
    Ok(kind == "account.resumed")
}

/// A status read this soon after a refused call may be older than the refusal.
const SETTLED: std::time::Duration = std::time::Duration::from_secs(120);

fn inboxes_json(inboxes: &[ObservedInbox]) -> String {
    let inbox = |inbox: &ObservedInbox| json!({ "id": inbox.id.as_str(), "disabled": inbox.disabled });
    Value::Array(inboxes.iter().map(inbox).collect()).to_string()
}

fn read_snapshot(row: &SqliteRow) -> Result<AccountSnapshot> {
    let account = match rows::time(row, "read_at")? {
        None => None,
        Some(at) => Some(ReadAt { at, value: read_account(row)? }),
    };
    let inboxes = match (rows::time(row, "inboxes_read_at")?, rows::json(row, "inboxes")?) {
        (Some(at), Some(inboxes)) => Some(ReadAt { at, value: read_inboxes(&inboxes)? }),
        _ => None,
    };
    let credits = match (rows::time(row, "credits_read_at")?, rows::json(row, "credits")?) {
        (Some(at), Some(credits)) => {
            let value: Credits =
                serde_json::from_value(credits).map_err(|error| corrupt("credits", error.to_string()))?;
            Some(ReadAt { at, value })
        }
        _ => None,
    };
    let problem = row.try_get("problem")?;
    Ok(AccountSnapshot { account, inboxes, credits, tried_at: rows::time(row, "tried_at")?, problem })
}

fn read_account(row: &SqliteRow) -> Result<ObservedAccount> {
    let products = rows::json(row, "products")?.unwrap_or_else(|| json!({}));
    Ok(ObservedAccount {
        name: row.try_get("name")?,
        provider: row.try_get::<Option<String>, _>("provider")?.unwrap_or_default(),
        status: row.try_get::<Option<String>, _>("status")?.unwrap_or_default(),
        products: serde_json::from_value(products).map_err(|error| corrupt("products", error.to_string()))?,
        is_locked: row.try_get::<Option<bool>, _>("is_locked")?.unwrap_or(false),
    })
}

fn read_inboxes(inboxes: &Value) -> Result<Vec<ObservedInbox>> {
    let inbox = |inbox: &Value| {
        let id = inbox.get("id").and_then(Value::as_str).ok_or_else(|| corrupt("inboxes", "no id"))?;
        let disabled = inbox.get("disabled").and_then(Value::as_bool).unwrap_or(false);
        Ok(ObservedInbox { id: InboxId::new(id), disabled })
    };
    inboxes.as_array().into_iter().flatten().map(inbox).collect()
}
