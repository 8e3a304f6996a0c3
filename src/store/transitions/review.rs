//! Review: a person's decision about a message whose outcome could not be resolved.
//!
//! Also reads the evidence about such messages.

use std::collections::HashSet;
use std::sync::LazyLock;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use super::reconcile::{keep, reason_in_queue};
use crate::domain::message::{AccountId, MessageId, Seq};
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::domain::words;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

words! {
    /// A person's decision about a message in review.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Decision {
        /// It reached the recipient.
        Sent = "sent",
        /// It did not reach the recipient; send it again.
        Resend = "resend",
        /// Do not send it, whether it reached the recipient or not.
        Drop = "drop",
    }
}

impl Decision {
    /// Returns the state that the decision leads to.
    pub(crate) fn becomes(self) -> StateName {
        match self {
            Self::Sent => StateName::Sent,
            Self::Resend => StateName::Queued,
            Self::Drop => StateName::Cancelled,
        }
    }
}

/// Selects messages in review.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Which {
    /// Only messages in review for this reason.
    pub reason: Reason,
    /// Only messages of this account.
    pub account_id: Option<AccountId>,
    /// Only messages with this campaign label.
    pub campaign: Option<String>,
}

/// Repeats the condition of the index of unsettled messages.
const WHICH: &str = "state IN ('sending', 'uncertain', 'review') AND state = 'review' AND reason = ?1 AND (?2 IS NULL OR account_id = ?2) AND (?3 IS NULL OR campaign = ?3)";

/// Result of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reviewed {
    /// The decision is in effect.
    Done {
        /// The account of the message.
        account_id: AccountId,
    },
    /// The message is in another state.
    NotInReview(StateName),
    /// There is no such message.
    Unknown,
}

/// A piece of evidence about an attempt with an unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EvidenceView {
    /// Number of the attempt.
    pub attempt: u32,
    /// When it was recorded.
    pub at: Timestamp,
    /// `reconcile` or `person`.
    pub source: String,
    /// What was found or decided.
    pub finding: String,
    /// Details, as text.
    pub detail: Option<String>,
}

/// One attempt at sending a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptView {
    /// Number of the attempt, from 1.
    pub number: u32,
    /// When the call began.
    pub started_at: Timestamp,
    /// When its outcome was known.
    pub ended_at: Option<Timestamp>,
    /// How far the call got.
    pub phase: String,
    /// Outcome of the call.
    pub outcome: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// Unipile's error type, or ours.
    pub kind: Option<String>,
    /// Unipile's error title.
    pub title: Option<String>,
    /// Unipile's error detail.
    pub detail: Option<String>,
    /// Unipile's request id.
    pub req_id: Option<String>,
    /// The gap drawn for it, in milliseconds.
    pub gap_ms: i64,
    /// Hash of the request.
    pub fingerprint: String,
}

impl Store {
    /// Returns the attempts of a message, in order.
    pub async fn attempts(&self, seq: Seq) -> Result<Vec<AttemptView>> {
        const SQL: &str = "SELECT number, started_at, ended_at, phase, outcome, status, type, title, detail, req_id, gap_ms, fingerprint \
             FROM attempts WHERE seq = ?1 ORDER BY number";
        let found = sqlx::query(SQL).bind(seq.0).fetch_all(&self.inner.readers).await?;
        found.iter().map(read_attempt).collect()
    }

    /// Settles a message in review as a person decided.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing is changed then.
    pub async fn review(
        &self,
        id: MessageId,
        decision: Decision,
        note: Option<String>,
        now: Timestamp,
    ) -> Result<Reviewed> {
        self.exclusive(now, move |connection| Box::pin(review(connection, id, decision, note, now))).await
    }

    /// Settles every message in review for one reason, a few hundred at a time. Returns how many, and their accounts.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; messages settled before the error stay settled.
    pub(crate) async fn review_all(
        &self,
        which: Which,
        decision: Decision,
        note: Option<String>,
        now: Timestamp,
    ) -> Result<(u64, HashSet<AccountId>)> {
        let (mut settled, mut accounts) = (0, HashSet::new());
        loop {
            let (which, note) = (which.clone(), note.clone());
            let exclusive = self.exclusive(now, move |connection| {
                Box::pin(review_some(connection, which, decision, note, now))
            });
            let some = exclusive.await?;
            if some.is_empty() {
                return Ok((settled, accounts));
            }
            settled += some.len() as u64;
            accounts.extend(some);
        }
    }

    /// Returns how many messages [`Store::review_all`] would settle.
    pub(crate) async fn in_review(&self, which: &Which) -> Result<u64> {
        // Built from constants; values are bound.
        let sql = AssertSqlSafe(format!(
            "SELECT count(*) FROM messages INDEXED BY messages_unsettled WHERE {WHICH}"
        ));
        let query = sqlx::query_scalar(sql).bind(which.reason.as_str());
        let query = query.bind(which.account_id.as_ref().map(AccountId::as_str)).bind(&which.campaign);
        let n: i64 = query.fetch_one(&self.inner.readers).await?;
        Ok(u64::try_from(n).unwrap_or(0))
    }

    /// Returns the evidence about the attempts of a message whose outcome was unknown, in order.
    pub(crate) async fn evidence(&self, seq: Seq) -> Result<Vec<EvidenceView>> {
        const SQL: &str =
            "SELECT number, at, source, finding, detail FROM evidence WHERE seq = ?1 ORDER BY at, rowid";
        let found = sqlx::query(SQL).bind(seq.0).fetch_all(&self.inner.readers).await?;
        let read = |row: &SqliteRow| {
            Ok(EvidenceView {
                attempt: rows::count(row, "number")?,
                at: rows::required_time(row, "at")?,
                source: row.try_get("source")?,
                finding: row.try_get("finding")?,
                detail: row.try_get("detail")?,
            })
        };
        found.iter().map(read).collect()
    }
}

/// What a decision changes. The time of the last call is the best known time of the send.
static SETTLED: LazyLock<String> = LazyLock::new(|| {
    format!(
        "retry_at = NULL, settled_by = iif(?5 = 'sent', 'person', NULL), \
           sent_at = iif(?5 = 'sent', coalesce((SELECT t.started_at FROM attempts t WHERE t.seq = messages.seq \
             AND t.number = messages.attempts), ?4), NULL), updated_at = ?4, state = ?5, reason = iif(?5 = 'queued', {}, ?6)",
        reason_in_queue("?4")
    )
});

fn reason(decision: Decision) -> Reason {
    match decision {
        Decision::Sent => Reason::Delivered,
        Decision::Resend => Reason::Turn,
        Decision::Drop => Reason::Cancelled,
    }
}

async fn review_some(
    connection: &mut SqliteConnection,
    which: Which,
    decision: Decision,
    note: Option<String>,
    now: Timestamp,
) -> Result<Vec<AccountId>> {
    let sql = format!(
        "UPDATE messages SET revision = messages.revision + 1, {} WHERE seq IN (SELECT seq FROM messages INDEXED BY messages_unsettled WHERE {WHICH} LIMIT 500) \
         RETURNING seq, attempts, account_id",
        *SETTLED
    );
    let at = time_text(now);
    // Built from constants; values are bound.
    let query = sqlx::query(AssertSqlSafe(sql)).bind(which.reason.as_str());
    let query = query.bind(which.account_id.as_ref().map(AccountId::as_str)).bind(&which.campaign).bind(&at);
    let query = query.bind(decision.becomes().as_str()).bind(reason(decision).as_str());
    let mut accounts = Vec::new();
    for row in query.fetch_all(&mut *connection).await? {
        let attempt = rows::count(&row, "attempts")?;
        let seq: i64 = row.try_get("seq")?;
        keep(connection, seq, attempt, &at, ("person", decision.as_str()), note.as_deref()).await?;
        accounts.push(rows::account_id(&row)?);
    }
    Ok(accounts)
}

async fn review(
    connection: &mut SqliteConnection,
    id: MessageId,
    decision: Decision,
    note: Option<String>,
    now: Timestamp,
) -> Result<Reviewed> {
    const LOOK: &str = "SELECT seq, account_id, state, attempts FROM messages WHERE id = ?1";
    let id = id.0.hyphenated().to_string();
    let Some(row) = sqlx::query(LOOK).bind(&id).fetch_optional(&mut *connection).await? else {
        return Ok(Reviewed::Unknown);
    };
    let state = rows::state(&row)?;
    if state != StateName::Review {
        return Ok(Reviewed::NotInReview(state));
    }
    let (seq, at): (i64, String) = (row.try_get("seq")?, time_text(now));
    // Built from constants; values are bound.
    let query = sqlx::query(AssertSqlSafe(format!(
        "UPDATE messages SET revision = messages.revision + 1, {} WHERE seq = ?1",
        *SETTLED
    )));
    let query = query.bind(seq).bind(None::<&str>).bind(None::<&str>).bind(&at);
    query.bind(decision.becomes().as_str()).bind(reason(decision).as_str()).execute(&mut *connection).await?;
    let attempt = rows::count(&row, "attempts")?;
    keep(connection, seq, attempt, &at, ("person", decision.as_str()), note.as_deref()).await?;
    Ok(Reviewed::Done { account_id: rows::account_id(&row)? })
}

fn read_attempt(row: &SqliteRow) -> Result<AttemptView> {
    Ok(AttemptView {
        number: rows::count(row, "number")?,
        started_at: rows::required_time(row, "started_at")?,
        ended_at: rows::time(row, "ended_at")?,
        phase: row.try_get("phase")?,
        outcome: row.try_get("outcome")?,
        status: row.try_get::<Option<u16>, _>("status")?,
        kind: row.try_get("type")?,
        title: row.try_get("title")?,
        detail: row.try_get("detail")?,
        req_id: row.try_get("req_id")?,
        gap_ms: row.try_get("gap_ms")?,
        fingerprint: row.try_get("fingerprint")?,
    })
}
