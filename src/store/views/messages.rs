//! Read-only views for people: messages with their place in the queue, their accounts and attempts.
//!
//! Lists carry no text.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::message_page::{MessageFilter, page_sql};
use crate::domain::account::{Account, Daemon};
use crate::domain::kind::Kind;
use crate::domain::lane::{Lane, Precedence};
use crate::domain::message::{AccountId, MessageId, Seq};
use crate::domain::need::Need;
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::domain::step::{LAST_STEP, StepWait, StepWaiting};
use crate::domain::waiting::{Between, BlockedBy, Waiting};
use crate::domain::{parse_time, time_text};
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result, corrupt};

/// A stored message, and everything that decides when it is sent.
#[derive(Debug, Clone)]
pub struct MessageView {
    /// Its place in the order of arrival.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// Its account.
    pub account: Account,
    /// State that concerns every account.
    pub daemon: Daemon,
    /// The chat it is sent to, or that was started for it.
    pub chat_id: Option<String>,
    /// The users to start a chat with.
    pub users_ids: Option<Vec<String>>,
    /// The inbox that the chat is started from.
    pub inbox_id: Option<String>,
    /// The name of the group.
    pub name: Option<String>,
    /// Provider-specific fields.
    pub specifics: Option<serde_json::Value>,
    /// The message that it replies to.
    pub quote_id: Option<String>,
    /// The message that it forwards.
    pub forward: Option<serde_json::Value>,
    /// Its attachments, without their bytes.
    pub attachments: Option<serde_json::Value>,
    /// When its text was removed because it was finished for long, or its person was erased.
    pub pruned_at: Option<Timestamp>,
    /// Its text; `None` in lists.
    pub text: Option<String>,
    /// Its own setting for the typing indicator.
    pub typing: Option<bool>,
    /// Not sent before this time.
    pub not_before: Option<Timestamp>,
    /// Not sent after this time.
    pub expires_at: Option<Timestamp>,
    /// The producer's campaign label.
    pub campaign: Option<String>,
    /// What lets it go before others.
    pub precedence: Precedence,
    /// The producer's idempotency key.
    pub dedupe_key: Option<String>,
    /// Its state.
    pub state: StateName,
    /// The stored reason; for a waiting message, `decide` returns a more current one.
    pub reason: Reason,
    /// The error, verbatim.
    pub error: Option<String>,
    /// The chat that a first message goes to, and why, if that was looked up.
    pub route: Option<String>,
    /// Number of attempts so far.
    pub attempts: u32,
    /// When it was sent.
    pub sent_at: Option<Timestamp>,
    /// When it was delivered to the person, if that was heard.
    pub delivered_at: Option<Timestamp>,
    /// When the person read it, if that was heard.
    pub read_at: Option<Timestamp>,
    /// When the person first answered it, if that was heard.
    pub replied_at: Option<Timestamp>,
    /// Whether an answer of the person cancels it; `None`: if it has a campaign.
    pub stop_on_reply: Option<bool>,
    /// Its place in its campaign for its person.
    pub step: Option<i64>,
    /// How long it waits after the step before, as its producer wrote it.
    pub wait: Option<String>,
    /// The producer's own JSON object.
    pub meta: Option<serde_json::Value>,
    /// What it waits for.
    pub needs: Option<Need>,
    /// The provider's ids of it.
    pub provider_message_ids: Vec<String>,
    /// When it arrived.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When its chat is next read to reconcile it, while it is uncertain.
    pub reconcile_at: Option<Timestamp>,
    /// How often its chat was read to reconcile it.
    pub reads: u32,
    /// How it is known to be sent: `answer`, `evidence` or `person`.
    pub settled_by: Option<String>,
    /// Its place in the queue, while it is queued.
    pub waiting: Option<Waiting>,
}

/// A page of messages, newest first.
#[derive(Debug, Clone)]
pub struct Page {
    /// The messages.
    pub messages: Vec<MessageView>,
    /// Position where the next page begins, if there is one.
    pub next: Option<Seq>,
}

fn select(text: &str, queue_position: &str) -> String {
    const STARTED: &str = "CASE WHEN m.state = 'queued' THEN (SELECT max(s.sent_at) FROM messages s INDEXED BY messages_person \
           WHERE s.account_id = m.account_id AND s.thread = m.thread AND s.users_ids IS NOT NULL) END";
    let up = format!(
        "WITH RECURSIVE up(seq, depth) AS (SELECT m.blocked_by, 0 UNION ALL \
            SELECT b.blocked_by, up.depth + 1 FROM up CROSS JOIN messages b ON b.seq = up.seq \
              WHERE b.blocked_by IS NOT NULL AND up.depth < {LAST_STEP})"
    );
    format!(
        "SELECT m.seq, m.id, {target}, {text} AS text, m.pruned_at, m.typing, m.not_before, m.expires_at, \
           m.campaign, m.priority, m.urgent, m.ignore_hours, m.allow_repeat, m.lane, m.dedupe_key, m.state, m.reason, m.error, m.route, m.attempts, m.sent_at, m.delivered_at, m.read_at, m.replied_at, m.stop_on_reply, m.step, m.wait, m.wait_until, m.wait_held_at, m.meta, m.needs, m.provider_message_ids, \
           m.created_at, m.updated_at, m.due_at, m.retry_at, m.reconcile_at, m.reads, m.settled_by, m.held_at IS NOT NULL AS held, h.id AS holder_id, h.state AS holder_state, \
           CASE WHEN h.state = 'queued' THEN max(h.due_at, coalesce(h.retry_at, h.wait_until, h.due_at)) \
             ELSE coalesce(h.retry_at, h.reconcile_at) END AS holder_retry_at, \
           CASE WHEN h.state = 'queued' THEN h.expires_at END AS holder_expires_at, \
           CASE WHEN h.seq <> m.blocked_by THEN ({up} SELECT json_group_array(json_array(up.depth, \
               iif(b.wait_until IS NULL, b.wait, NULL), max(b.due_at, coalesce(b.retry_at, b.due_at)), b.expires_at)) \
             FROM up CROSS JOIN messages b ON b.seq = up.seq WHERE b.seq <> h.seq) END AS between_them, {queue_position} AS queue_position, {STARTED} AS started_at, {stop} AS stop, m.account_id AS message_account_id, {account}, {daemon} \
         FROM messages m JOIN daemon d ON d.id = 1 LEFT JOIN accounts a ON a.id = m.account_id \
         LEFT JOIN messages h ON h.seq = \
         ({up} \
          SELECT seq FROM up ORDER BY depth DESC LIMIT 1)",
        stop = rows::longest_stop("?1"),
        target = rows::TARGET_COLUMNS,
        account = rows::ACCOUNT_COLUMNS,
        daemon = rows::DAEMON_COLUMNS,
    )
}

/// Limit up to which earlier ready messages of the same lane are counted.
const MOST_AHEAD: u32 = 10_000;

/// Builds the count of ready messages that go before a queued message in its lane, up to `most`.
fn queue_position(most: u32) -> String {
    format!(
        "CASE WHEN m.state <> 'queued' THEN 0 ELSE (SELECT count(*) FROM (SELECT 1 FROM messages e INDEXED BY messages_due \
           WHERE e.account_id = m.account_id AND e.state = 'queued' AND e.retry_at IS NULL AND e.blocked_by IS NULL \
             AND e.lane = m.lane AND e.due_at <= m.due_at AND (e.due_at, e.seq) < (m.due_at, m.seq) LIMIT {most})) END"
    )
}

impl Store {
    /// Returns one message with its text and its exact place.
    pub async fn message(&self, id: MessageId, now: Timestamp) -> Result<Option<MessageView>> {
        // Built from constants; values are bound.
        let sql = AssertSqlSafe(format!("{} WHERE m.id = ?2", select("m.text", &queue_position(MOST_AHEAD))));
        let query = sqlx::query(sql).bind(time_text(now)).bind(id.0.hyphenated().to_string());
        query.fetch_optional(&self.inner.readers).await?.as_ref().map(read_message).transpose()
    }

    /// Returns a page of messages without their texts, newest first.
    pub async fn messages(&self, filter: &MessageFilter, now: Timestamp) -> Result<Page> {
        let (page, values) = page_sql(filter, self.page_index(filter).await?);
        let list = select("NULL", &queue_position(1));
        // Built from constants and numbered parameters; every value is bound.
        let sql = AssertSqlSafe(format!("{list} WHERE m.seq IN ({page}) ORDER BY m.seq DESC"));
        let mut query = sqlx::query(sql).bind(time_text(now));
        for value in values {
            query = query.bind(value);
        }
        let found = query.fetch_all(&self.inner.readers).await?;
        let mut messages = found.iter().map(read_message).collect::<Result<Vec<_>>>()?;
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let more = messages.len() > limit;
        messages.truncate(limit);
        let next = messages.last().filter(|_| more).map(|message| message.seq);
        Ok(Page { messages, next })
    }
}

fn read_message(row: &SqliteRow) -> Result<MessageView> {
    let state = rows::state(row)?;
    let users_ids = rows::shown_text(row, "users_ids")?;
    let ids: Option<&str> = row.try_get("provider_message_ids")?;
    // An account's row is created when its first message is queued, so a rejected message may have none.
    let account = match row.try_get::<Option<&str>, _>("account_id")? {
        Some(_) => rows::account(row)?,
        None => Account::new(AccountId::new(row.try_get::<String, _>("message_account_id")?)),
    };
    Ok(MessageView {
        seq: Seq(row.try_get("seq")?),
        id: rows::message_id(row, "id")?,
        account,
        daemon: rows::daemon(row)?,
        chat_id: rows::shown_text(row, "chat_id")?,
        users_ids: users_ids.as_deref().and_then(rows::parse_users_ids),
        inbox_id: rows::shown_text(row, "inbox_id")?,
        name: rows::shown_text(row, "name")?,
        specifics: match rows::shown_json(row, "specifics")? {
            Some(tree) => Some(tree),
            None => rows::shown_json(row, "options")?,
        },
        quote_id: rows::shown_text(row, "quote_id")?,
        forward: rows::shown_json(row, "forward")?,
        // Before admission, and after a rejection, attachments may contain their bytes: too large for a list.
        attachments: match state {
            StateName::New | StateName::Rejected => None,
            _ => rows::shown_json(row, "attachments")?,
        },
        pruned_at: rows::time(row, "pruned_at")?,
        text: rows::shown_text(row, "text")?,
        typing: row.try_get("typing")?,
        not_before: rows::time(row, "not_before")?,
        expires_at: rows::time(row, "expires_at")?,
        campaign: rows::shown_text(row, "campaign")?,
        precedence: rows::precedence(row)?,
        dedupe_key: rows::shown_text(row, "dedupe_key")?,
        state,
        reason: rows::reason(row, "reason")?.unwrap_or(Reason::Admission),
        error: row.try_get("error")?,
        route: row.try_get("route")?,
        attempts: rows::count(row, "attempts")?,
        sent_at: rows::time(row, "sent_at")?,
        delivered_at: rows::time(row, "delivered_at")?,
        read_at: rows::time(row, "read_at")?,
        replied_at: rows::time(row, "replied_at")?,
        stop_on_reply: row.try_get("stop_on_reply")?,
        step: row.try_get("step")?,
        wait: rows::shown_text(row, "wait")?,
        meta: rows::shown_json(row, "meta")?,
        needs: rows::needs(row)?,
        provider_message_ids: ids.and_then(|ids| serde_json::from_str(ids).ok()).unwrap_or_default(),
        created_at: rows::required_time(row, "created_at")?,
        updated_at: rows::required_time(row, "updated_at")?,
        reconcile_at: rows::time(row, "reconcile_at")?,
        reads: rows::count(row, "reads")?,
        settled_by: row.try_get("settled_by")?,
        waiting: (state == StateName::Queued).then(|| read_waiting(row)).transpose()?,
    })
}

/// Reads the messages between this one and the one that blocks it, the first to be sent first.
fn between(row: &SqliteRow) -> Result<Vec<Between>> {
    let Some(text) = row.try_get::<Option<&str>, _>("between_them")? else { return Ok(Vec::new()) };
    let wrong = || corrupt("blocked_by", text);
    let mut all: Vec<(u32, Option<String>, String, Option<String>)> =
        serde_json::from_str(text).map_err(|_| wrong())?;
    all.sort_unstable_by_key(|(depth, ..)| std::cmp::Reverse(*depth));
    let read = |(_, wait, not_before, expires_at): (u32, Option<String>, String, Option<String>)| {
        let wait = wait.map(|wait| StepWait::parse(&wait)).transpose().map_err(|_| wrong())?;
        let time = |text: String| parse_time(&text).ok_or_else(wrong);
        Ok(Between { wait, not_before: time(not_before)?, expires_at: expires_at.map(time).transpose()? })
    };
    all.into_iter().map(read).collect()
}

fn read_waiting(row: &SqliteRow) -> Result<Waiting> {
    let blocked_by = match row.try_get::<Option<&str>, _>("holder_id")? {
        None => None,
        Some(_) => {
            let word: &str = row.try_get("holder_state")?;
            let state = StateName::parse(word).ok_or_else(|| corrupt("state", word))?;
            let retry_at = rows::time(row, "holder_retry_at")?;
            let expires_at = rows::time(row, "holder_expires_at")?;
            Some(BlockedBy { id: rows::message_id(row, "holder_id")?, state, retry_at, expires_at })
        }
    };
    let lane: &str = row.try_get("lane")?;
    let lane = Lane::parse(lane).ok_or_else(|| corrupt("lane", lane))?;
    let step = rows::step_waiting(row)?;
    // It goes into the chat that the step before opens.
    let is_next = matches!(step, Some(StepWaiting::Before(_))) && lane.kind.starts_chat();
    Ok(Waiting {
        kind: if is_next { Kind::Message } else { lane.kind },
        due_at: rows::required_time(row, "due_at")?,
        retry_at: rows::time(row, "retry_at")?,
        deferred: rows::reason(row, "reason")?.filter(|reason| reason.defers()),
        stop: rows::stopped_by(row)?,
        step,
        held: row.try_get("held")?,
        ignores_hours: lane.urgent && lane.ignore_hours,
        started_at: rows::time(row, "started_at")?.filter(|_| !is_next),
        expires_at: rows::time(row, "expires_at")?,
        blocked_by,
        between: between(row)?,
        queue_position: u64::try_from(row.try_get::<i64, _>("queue_position")?).unwrap_or(0),
    })
}
