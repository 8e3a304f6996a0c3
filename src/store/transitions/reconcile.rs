//! Messages with an unknown outcome: what to look for in their chats, and how a reconciliation settles them (P2).
//!
//! A reconciliation counts only if the message is still uncertain about the same attempt, so a late one changes
//! nothing. Each one is recorded, whether it found anything or not, and so is each decision of a person.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::domain::message::{AccountId, ChatId, Extras, MessageId, Seq, Target};
use crate::domain::observed::OtherAttempt;
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result, corrupt};

/// A message with an unknown outcome, and everything by which it can be recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnresolvedAttempt {
    /// Its sequence number in the queue.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// Its account.
    pub account_id: AccountId,
    /// Number of the unresolved attempt.
    pub attempt: u32,
    /// When its call began.
    pub started_at: Timestamp,
    /// Earliest time at which the call can have begun by the provider's clock, if that clock was known.
    pub provider_at: Option<Timestamp>,
    /// When the call began, by the monotonic clock of this run; `None` if another run made the call.
    pub monotonic: Option<Duration>,
    /// The boot during which the call was made, and how long after that boot; `None` if the operating system does not
    /// provide it.
    pub boot: Option<(String, Duration)>,
    /// The chat that the call wrote to, if known.
    pub chat_id: Option<ChatId>,
    /// Its recipient or chat.
    pub target: Target,
    /// Its content besides the text.
    pub extras: Extras,
    /// Its text.
    pub text: String,
    /// How often its chat was read to reconcile it.
    pub reads: u32,
    /// How often it was queued again because it was absent.
    pub resends: u32,
}

/// What a read of the chat, or a person, shows about an uncertain message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reconciliation {
    /// The message.
    pub seq: Seq,
    /// Number of the attempt that was reconciled.
    pub attempt: u32,
    /// When the decision was made.
    pub at: Timestamp,
    /// State in which the message is left.
    pub verdict: ReconciledAs,
    /// Finding of the read: `found`, `partly`, `cannot_tell`, `busy`, `absent` or `unread`.
    pub finding: &'static str,
    /// What was seen, without the text of any message.
    pub seen: String,
    /// The message ids that the read showed in each chat.
    pub shown: Vec<(ChatId, Vec<String>)>,
    /// When the read ended, by the monotonic clock of this run.
    pub shown_at: Duration,
}

/// The new state of an uncertain message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReconciledAs {
    /// The message was found.
    Sent {
        /// The chat that contains it.
        chat_id: ChatId,
        /// Its ids there.
        message_ids: Vec<String>,
        /// Its date there, by our clock.
        sent_at: Timestamp,
    },
    /// Reconcile again later.
    Again {
        /// When to reconcile next.
        reconcile_at: Timestamp,
        /// Whether this read counts towards the schedule.
        counts: bool,
    },
    /// The message is certainly absent and is sent again.
    Queued,
    /// A person decides.
    Review(Reason),
}

/// Selects messages that existed before a call, by runs and their monotonic clocks, which cannot be set.
const KNOWN_BEFORE: &str = "SELECT s.chat_id, s.message_id FROM attempts t JOIN observed_messages s ON s.account_id = t.account_id \
     WHERE t.seq = ?1 AND t.number = ?2 AND s.chat_id IN (SELECT value FROM json_each(?3)) \
       AND (s.run, s.monotonic_ms) < (t.run, t.monotonic_ms)";

pub(super) const WAITING: &str = "SELECT seq, account_id, reconcile_at FROM messages INDEXED BY messages_reconcile WHERE state = 'uncertain' ORDER BY reconcile_at";

/// Selects attempts of other messages that reached or may have reached a recipient since a given time.
pub(super) static RIVALS: LazyLock<Arc<str>> = LazyLock::new(|| {
    format!(
        "SELECT m.state, t.started_at, t.provider_at, coalesce(m.chat_id, t.chat_id) AS went_into, \
           m.provider_message_ids, m.text, {} \
         FROM attempts t JOIN messages m ON m.seq = t.seq \
         WHERE t.account_id = ?1 AND t.started_at >= ?2 AND t.seq <> ?3 \
           AND (t.outcome IS NULL OR t.outcome IN ('accepted', 'uncertain', 'throttled'))",
        rows::TARGET_COLUMNS
    )
    .into()
});

impl Store {
    /// Returns the messages to reconcile and when, the next one first.
    pub(crate) async fn unresolved_attempts(&self) -> Result<Vec<(Seq, AccountId, Timestamp)>> {
        let found = sqlx::query(WAITING).fetch_all(&self.inner.readers).await?;
        let read = |row: &SqliteRow| {
            let account = rows::account_id(row)?;
            Ok((Seq(row.try_get("seq")?), account, rows::required_time(row, "reconcile_at")?))
        };
        found.iter().map(read).collect()
    }

    /// Plans the next read of the chat of an uncertain message for `reconcile_at`, if it is planned for a later time.
    pub(crate) async fn read_back_earlier(
        &self,
        seq: Seq,
        reconcile_at: Timestamp,
        now: Timestamp,
    ) -> Result<()> {
        const SQL: &str = "UPDATE messages SET revision = messages.revision + 1, reconcile_at = ?2, updated_at = ?3 \
             WHERE seq = ?1 AND state = 'uncertain' AND reconcile_at > ?2";
        let query = sqlx::query(SQL).bind(seq.0).bind(time_text(reconcile_at)).bind(time_text(now));
        self.execute(now, query).await?;
        Ok(())
    }

    /// Returns one of them with everything by which it can be recognised; `None` once it is settled.
    pub async fn unresolved_attempt(&self, seq: Seq) -> Result<Option<UnresolvedAttempt>> {
        let sql = format!(
            "SELECT m.seq, m.id, m.account_id, m.attempts, m.reads, m.resends, m.text, {}, t.started_at, \
               t.provider_at, t.monotonic_ms, t.run, t.chat_id AS attempt_chat_id, r.boot_id, r.boot_ms \
             FROM messages m JOIN attempts t ON t.seq = m.seq AND t.number = m.attempts \
             LEFT JOIN runs r ON r.id = t.run \
             WHERE m.seq = ?1 AND m.state = 'uncertain'",
            rows::TARGET_COLUMNS
        );
        // Built from constants; the value is bound.
        let found = sqlx::query(AssertSqlSafe(sql)).bind(seq.0).fetch_optional(&self.inner.readers).await?;
        found.as_ref().map(|row| self.read_unresolved(row)).transpose()
    }

    fn read_unresolved(&self, row: &SqliteRow) -> Result<UnresolvedAttempt> {
        let ours = row.try_get::<i64, _>("run")? == self.inner.run;
        let milliseconds = |number: i64| Duration::from_millis(u64::try_from(number).unwrap_or(0));
        let monotonic = milliseconds(row.try_get("monotonic_ms")?);
        let boot = match (row.try_get("boot_id")?, row.try_get("boot_ms")?) {
            (Some(id), Some(began)) => Some((id, milliseconds(began) + monotonic)),
            _ => None,
        };
        Ok(UnresolvedAttempt {
            seq: Seq(row.try_get("seq")?),
            id: rows::message_id(row, "id")?,
            account_id: rows::account_id(row)?,
            attempt: rows::count(row, "attempts")?,
            started_at: rows::required_time(row, "started_at")?,
            provider_at: rows::time(row, "provider_at")?,
            monotonic: ours.then_some(monotonic),
            boot,
            chat_id: row.try_get::<Option<String>, _>("attempt_chat_id")?.map(ChatId::new),
            target: rows::target(row)?,
            extras: rows::extras(row)?,
            text: row.try_get("text")?,
            reads: rows::count(row, "reads")?,
            resends: rows::count(row, "resends")?,
        })
    }

    /// Returns other messages of the account that reached or may have reached a recipient since `since`.
    pub(crate) async fn other_attempts(
        &self,
        unresolved: &UnresolvedAttempt,
        since: Timestamp,
    ) -> Result<Vec<OtherAttempt>> {
        // Built from constants; values are bound.
        let query = sqlx::query(AssertSqlSafe(Arc::clone(&RIVALS))).bind(unresolved.account_id.as_str());
        let query = query.bind(time_text(since));
        let found = query.bind(unresolved.seq.0).fetch_all(&self.inner.readers).await?;
        found.iter().map(read_other_attempt).collect()
    }

    /// Returns ids of messages in these chats that a read showed before the call of `unresolved` began.
    pub(crate) async fn known_before(
        &self,
        unresolved: &UnresolvedAttempt,
        chats: &[ChatId],
    ) -> Result<HashMap<ChatId, BTreeSet<String>>> {
        let chats: Vec<&str> = chats.iter().map(ChatId::as_str).collect();
        let query = sqlx::query(KNOWN_BEFORE).bind(unresolved.seq.0).bind(unresolved.attempt);
        let found = query.bind(json!(chats).to_string()).fetch_all(&self.inner.readers).await?;
        let mut known: HashMap<ChatId, BTreeSet<String>> = HashMap::new();
        for row in &found {
            let chat_id = ChatId::new(row.try_get::<String, _>("chat_id")?);
            known.entry(chat_id).or_default().insert(row.try_get("message_id")?);
        }
        Ok(known)
    }

    /// Records a reconciliation. Returns `false` if the message is no longer uncertain about that attempt.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; the message stays uncertain and is reconciled again.
    pub(crate) async fn reconcile(&self, reconciliation: Reconciliation) -> Result<bool> {
        let (at, run) = (reconciliation.at, self.inner.run);
        self.exclusive(at, move |connection| Box::pin(reconcile(connection, run, reconciliation))).await
    }
}

fn read_other_attempt(row: &SqliteRow) -> Result<OtherAttempt> {
    let ids: Option<&str> = row.try_get("provider_message_ids")?;
    let message_ids =
        ids.map(|ids| serde_json::from_str(ids).map_err(|_| corrupt("provider_message_ids", ids)));
    Ok(OtherAttempt {
        state: rows::state(row)?,
        started_at: rows::required_time(row, "started_at")?,
        provider_at: rows::time(row, "provider_at")?,
        chat_id: row.try_get::<Option<String>, _>("went_into")?.map(ChatId::new),
        message_ids: message_ids.transpose()?.unwrap_or_default(),
        target: rows::target(row)?,
        text: row.try_get("text")?,
        extras: rows::extras(row)?,
    })
}

/// Builds the reason of a message that returns to the queue at `?1`: what blocks its account, or `turn`.
pub(in crate::store) fn reason_in_queue(at: &str) -> String {
    format!(
        "(SELECT CASE WHEN d.key_refused_at IS NOT NULL THEN 'key_refused' WHEN a.down_cause IS NOT NULL THEN 'account_' || a.down_cause \
           WHEN a.hold_until > {at} THEN a.hold_reason ELSE 'turn' END FROM accounts a, daemon d WHERE a.id = messages.account_id AND d.id = 1)"
    )
}

async fn reconcile(
    connection: &mut SqliteConnection,
    run: i64,
    reconciliation: Reconciliation,
) -> Result<bool> {
    // Scheduling another read does not change the state.
    const AGAIN: &str = "UPDATE messages SET revision = messages.revision + 1, reconcile_at = ?3, reads = reads + ?4, updated_at = ?5 \
         WHERE seq = ?1 AND attempts = ?2 AND state = 'uncertain' RETURNING seq";
    static RECONCILE: LazyLock<Arc<str>> =
        LazyLock::new(|| RECONCILED.replace("{in_queue}", &reason_in_queue("?5")).into());
    const RECONCILED: &str = "UPDATE messages SET revision = messages.revision + 1, state = ?3, reason = iif(?3 = 'queued', {in_queue}, ?4), reconcile_at = NULL, reads = reads + 1, \
           chat_id = coalesce(?6, chat_id), provider_message_ids = coalesce(?7, provider_message_ids), \
           sent_at = coalesce(?8, sent_at), settled_by = ?9, resends = resends + ?10, \
           error = iif(?3 = 'sent', NULL, error), retry_at = NULL, updated_at = ?5 \
         WHERE seq = ?1 AND attempts = ?2 AND state = 'uncertain' RETURNING seq";
    let Reconciliation { seq, attempt, at, verdict, finding, seen, shown, shown_at } = reconciliation;
    let at = time_text(at);
    let (state, reason) = match &verdict {
        ReconciledAs::Sent { .. } => (StateName::Sent, Reason::Delivered),
        ReconciledAs::Queued => (StateName::Queued, Reason::Turn),
        ReconciledAs::Review(reason) => (StateName::Review, *reason),
        ReconciledAs::Again { .. } => (StateName::Uncertain, Reason::Reconciling),
    };
    let written = match &verdict {
        ReconciledAs::Again { reconcile_at, counts } => {
            let query = sqlx::query(AGAIN).bind(seq.0).bind(attempt).bind(time_text(*reconcile_at));
            query.bind(i32::from(*counts)).bind(&at).fetch_optional(&mut *connection).await?
        }
        ReconciledAs::Sent { .. } | ReconciledAs::Queued | ReconciledAs::Review(_) => {
            let (chat_id, ids, sent_at) = match &verdict {
                ReconciledAs::Sent { chat_id, message_ids, sent_at } => {
                    (Some(chat_id.as_str()), Some(json!(message_ids).to_string()), Some(time_text(*sent_at)))
                }
                ReconciledAs::Queued | ReconciledAs::Review(_) | ReconciledAs::Again { .. } => {
                    (None, None, None)
                }
            };
            // Built from constants; values are bound.
            let query = sqlx::query(AssertSqlSafe(Arc::clone(&RECONCILE)))
                .bind(seq.0)
                .bind(attempt)
                .bind(state.as_str());
            let query = query.bind(reason.as_str()).bind(&at).bind(chat_id).bind(ids).bind(&sent_at);
            let query = query.bind(sent_at.as_ref().map(|_| "evidence"));
            query.bind(i32::from(verdict == ReconciledAs::Queued)).fetch_optional(&mut *connection).await?
        }
    };
    if written.is_none() {
        return Ok(false);
    }
    keep(connection, seq.0, attempt, &at, ("reconcile", finding), Some(&seen)).await?;
    for (chat_id, ids) in shown {
        remember(connection, (seq, &chat_id), &ids, (run, shown_at)).await?;
    }
    Ok(true)
}

/// Records the messages that a chat shows, each with the first read that showed it.
async fn remember(
    connection: &mut SqliteConnection,
    (seq, chat_id): (Seq, &ChatId),
    ids: &[String],
    (run, at): (i64, Duration),
) -> Result<()> {
    const FORGET: &str = "DELETE FROM observed_messages WHERE account_id = (SELECT account_id FROM messages WHERE seq = ?1) \
         AND chat_id = ?2 AND message_id NOT IN (SELECT value FROM json_each(?3))";
    const REMEMBER: &str = "INSERT INTO observed_messages (account_id, chat_id, message_id, run, monotonic_ms) \
         SELECT m.account_id, ?2, j.value, ?4, ?5 FROM json_each(?3) j JOIN messages m ON m.seq = ?1 WHERE true \
         ON CONFLICT DO NOTHING";
    let ids = json!(ids).to_string();
    let query = sqlx::query(FORGET).bind(seq.0).bind(chat_id.as_str()).bind(&ids);
    query.execute(&mut *connection).await?;
    let at = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    let query = sqlx::query(REMEMBER).bind(seq.0).bind(chat_id.as_str()).bind(&ids);
    query.bind(run).bind(at).execute(connection).await?;
    Ok(())
}

pub(super) async fn keep(
    connection: &mut SqliteConnection,
    seq: i64,
    attempt: u32,
    at: &str,
    (source, finding): (&str, &str),
    detail: Option<&str>,
) -> Result<()> {
    const SQL: &str =
        "INSERT INTO evidence (seq, number, at, source, finding, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let query = sqlx::query(SQL).bind(seq).bind(attempt).bind(at).bind(source).bind(finding);
    query.bind(detail).execute(connection).await?;
    Ok(())
}
