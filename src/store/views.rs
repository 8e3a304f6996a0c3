//! Read-only views for people: messages with their place in the queue, their accounts and attempts.
//!
//! Lists carry no text.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::rows::{self, Result, corrupt};
use super::{Store, people, stops};
use crate::domain::account::{Account, Daemon};
use crate::domain::lane::{Lane, Precedence};
use crate::domain::message::{AccountId, MessageId, Seq};
use crate::domain::need::Need;
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::domain::waiting::{BlockedBy, Waiting};

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

/// Filter for a list of messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Only messages of this account.
    pub account_id: Option<AccountId>,
    /// Only messages in one of these states; empty means all.
    pub states: Vec<StateName>,
    /// Only messages with this campaign label.
    pub campaign: Option<String>,
    /// Only messages to this chat.
    pub chat_id: Option<String>,
    /// Only messages for the person with these keys ([`Store::person_keys`]).
    pub person: Option<Vec<String>>,
    /// Only messages with this key.
    pub dedupe_key: Option<String>,
    /// Only messages that arrived before this one.
    pub before: Option<Seq>,
    /// Maximum number of messages.
    pub limit: u32,
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
    format!(
        "SELECT m.seq, m.id, {target}, {text} AS text, m.typing, m.not_before, m.expires_at, \
           m.campaign, m.priority, m.urgent, m.ignore_hours, m.allow_repeat, m.lane, m.dedupe_key, m.state, m.reason, m.error, m.route, m.attempts, m.sent_at, m.delivered_at, m.read_at, m.replied_at, m.stop_on_reply, m.step, m.wait, m.wait_until, m.meta, m.needs, m.provider_message_ids, \
           m.created_at, m.updated_at, m.due_at, m.retry_at, m.reconcile_at, m.reads, m.settled_by, m.held_at IS NOT NULL AS held, h.id AS holder_id, h.state AS holder_state, \
           coalesce(h.retry_at, h.reconcile_at) AS holder_retry_at, {queue_position} AS queue_position, {STARTED} AS started_at, {stop} AS stop, m.account_id AS message_account_id, {account}, {daemon} \
         FROM messages m JOIN daemon d ON d.id = 1 LEFT JOIN accounts a ON a.id = m.account_id \
         LEFT JOIN messages h ON h.seq = \
         coalesce((SELECT b.blocked_by FROM messages b WHERE b.seq = m.blocked_by), m.blocked_by)",
        stop = stops::of("?1"),
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
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn message(&self, id: MessageId, now: Timestamp) -> Result<Option<MessageView>> {
        // Built from constants; values are bound.
        let sql = AssertSqlSafe(format!("{} WHERE m.id = ?2", select("m.text", &queue_position(MOST_AHEAD))));
        let query = sqlx::query(sql).bind(time_text(now)).bind(id.0.hyphenated().to_string());
        query.fetch_optional(&self.inner.readers).await?.as_ref().map(read_message).transpose()
    }

    /// Returns a page of messages without their texts, newest first.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn messages(&self, filter: &MessageFilter, now: Timestamp) -> Result<Page> {
        let (page, values) = page_sql(filter, self.by_account(filter).await?);
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

    /// Returns a page of the ids of messages, newest first, and where the next one begins.
    ///
    /// # Errors
    /// Returns an error if SQLite fails.
    pub async fn message_ids(&self, filter: &MessageFilter) -> Result<(Vec<MessageId>, Option<Seq>)> {
        let (page, values) = page_sql(filter, self.by_account(filter).await?);
        // Built from constants and numbered parameters, of which the first is not used; every value is bound.
        let sql =
            format!("SELECT m.seq, m.id FROM messages m WHERE ?1 AND m.seq IN ({page}) ORDER BY m.seq DESC");
        let query = values
            .into_iter()
            .fold(sqlx::query(AssertSqlSafe(sql)).bind(true), |query, value| query.bind(value));
        let found = query.fetch_all(&self.inner.readers).await?;
        let page = found.get(..found.len().min(usize::try_from(filter.limit).unwrap_or(usize::MAX)));
        let page = page.unwrap_or_default();
        let ids = page.iter().map(|row| rows::message_id(row, "id")).collect::<Result<Vec<_>>>()?;
        let last = page.last().filter(|_| page.len() < found.len());
        let next = last.map(|row| row.try_get("seq")).transpose()?.map(Seq);
        Ok((ids, next))
    }

    /// Returns whether the index by account suits a filter on both an account and a campaign.
    async fn by_account(&self, filter: &MessageFilter) -> Result<bool> {
        match (&filter.account_id, &filter.campaign) {
            (Some(account), Some(_)) => self.is_small(account).await,
            _ => Ok(true),
        }
    }

    /// Returns whether `account` has few messages.
    async fn is_small(&self, account: &AccountId) -> Result<bool> {
        const SQL: &str = "SELECT coalesce(sum(n), 0) FROM counts WHERE account_id = ?1";
        let n: i64 = sqlx::query_scalar(SQL).bind(account.as_str()).fetch_one(&self.inner.readers).await?;
        Ok(n <= FEW)
    }
}

/// Up to this many rows are scanned rather than using an index that may hold more of them.
const FEW: i64 = 5_000;

/// The indexes of keys: for the message that holds a key, and for those that have released it; each with its
/// condition.
const KEYS: [(&str, &str); 2] = [
    ("messages_dedupe", "q.state <> 'failed' AND q.state <> 'cancelled' AND q.state <> 'rejected'"),
    ("messages_released", "(q.state = 'failed' OR q.state = 'cancelled' OR q.state = 'rejected')"),
];

/// Builds the selection of a page's rows, newest first, and the values of its numbered parameters, from `?2` on. Each
/// state is a subquery whose index returns rows in order of arrival, so that few matches among many rows are found as
/// fast as many. `by_account` chooses the index for a filter on both an account and a campaign.
pub(super) fn page_sql(filter: &MessageFilter, by_account: bool) -> (String, Vec<String>) {
    let mut values: Vec<String> = Vec::new();
    let equals = [
        ("dedupe_key", filter.dedupe_key.as_deref(), "messages_dedupe"),
        ("chat_id", filter.chat_id.as_deref(), "messages_by_chat"),
        (
            "campaign",
            filter.campaign.as_deref().filter(|_| !by_account || filter.account_id.is_none()),
            "messages_by_campaign",
        ),
        ("account_id", filter.account_id.as_ref().map(AccountId::as_str), "messages_by_account"),
        ("campaign", filter.campaign.as_deref().filter(|_| by_account && filter.account_id.is_some()), ""),
    ];
    let (mut conditions, mut index) = (String::new(), None);
    for (column, value, of_column) in equals {
        if let Some(value) = value {
            values.push(value.to_owned());
            conditions.push_str(&format!(" AND q.{column} = ?{}", values.len() + 1));
            index = index.or(Some(of_column));
        }
    }
    let of_person = filter.person.as_ref().map(|keys| {
        values.push(serde_json::json!(keys).to_string());
        people::of_person(&format!("?{}", values.len() + 1))
    });
    let before = filter.before.map(|before| format!(" AND q.seq < {}", before.0));
    conditions.push_str(&before.unwrap_or_default());
    let limit = u64::from(filter.limit) + 1;
    let part = |index: Option<&str>, states: String| {
        let by = index.map(|index| format!(" INDEXED BY {index}")).unwrap_or_default();
        format!(
            "SELECT q.seq FROM messages q{by} WHERE true{conditions}{states} ORDER BY q.seq DESC LIMIT {limit}"
        )
    };
    let words: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
    let in_states =
        if words.is_empty() { String::new() } else { format!(" AND q.state IN ('{}')", words.join("', '")) };
    if let Some(of_person) = of_person {
        let sql = format!(
            "SELECT q.seq FROM messages q WHERE q.seq IN ({of_person}){conditions}{in_states} ORDER BY q.seq DESC LIMIT {limit}"
        );
        return (sql, values);
    }
    match index {
        // Few messages share a key or a chat; without any condition, the rows are already in order.
        Some("messages_dedupe") => return (of_key(part, &in_states, limit), values),
        Some("messages_by_chat") => return (part(index, in_states), values),
        None if words.is_empty() => return (part(None, in_states), values),
        _ => {}
    }
    let wanted =
        StateName::ALL.into_iter().filter(|state| words.is_empty() || words.contains(&state.as_str()));
    let of_state = |state: StateName| {
        let word = state.as_str();
        let part = match (index, state) {
            (None, StateName::New) => part(Some("messages_new"), " AND q.state = 'new'".to_owned()),
            (Some(_), _) => part(index, format!(" AND q.state || '' = '{word}'")),
            (None, _) => {
                let states = format!(" AND q.state <> 'new' AND q.state || '' = '{word}'");
                part(Some("messages_by_state"), states)
            }
        };
        format!("SELECT * FROM ({part})")
    };
    let parts: Vec<String> = wanted.map(of_state).collect();
    (format!("SELECT seq FROM ({}) ORDER BY seq DESC LIMIT {limit}", parts.join(" UNION ALL ")), values)
}

fn of_key(part: impl Fn(Option<&str>, String) -> String, states: &str, limit: u64) -> String {
    let of =
        |(index, words)| format!("SELECT * FROM ({})", part(Some(index), format!(" AND {words}{states}")));
    KEYS.map(of).join(" UNION ALL ") + &format!(" ORDER BY seq DESC LIMIT {limit}")
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

fn read_waiting(row: &SqliteRow) -> Result<Waiting> {
    let blocked_by = match row.try_get::<Option<&str>, _>("holder_id")? {
        None => None,
        Some(_) => {
            let word: &str = row.try_get("holder_state")?;
            let state = StateName::parse(word).ok_or_else(|| corrupt("state", word))?;
            let retry_at = rows::time(row, "holder_retry_at")?;
            Some(BlockedBy { id: rows::message_id(row, "holder_id")?, state, retry_at })
        }
    };
    let lane: &str = row.try_get("lane")?;
    let lane = Lane::parse(lane).ok_or_else(|| corrupt("lane", lane))?;
    Ok(Waiting {
        kind: lane.kind,
        due_at: rows::required_time(row, "due_at")?,
        retry_at: rows::time(row, "retry_at")?,
        deferred: rows::reason(row, "reason")?.filter(|reason| reason.defers()),
        stop: stops::stopped_by(row)?,
        step: rows::step_waiting(row)?,
        held: row.try_get("held")?,
        ignores_hours: lane.urgent && lane.ignore_hours,
        started_at: rows::time(row, "started_at")?,
        expires_at: rows::time(row, "expires_at")?,
        blocked_by,
        queue_position: u64::try_from(row.try_get::<i64, _>("queue_position")?).unwrap_or(0),
    })
}
