//! Pages of a list of messages: the filter, and the statement that finds the rows of a page by the index that suits it.
//!
//! A producer's database has no statistics, so the index is chosen here and not by SQLite. `messages.rs` reads the rows.

use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Row};

use crate::domain::message::{AccountId, MessageId, Seq};
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};
use crate::store::transitions::people;
use crate::store::transitions::rejected::Rejected;

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
    /// Only messages for the person with these keys (`Store::person_keys`).
    pub person: Option<Vec<String>>,
    /// The rejected rows that name this person (`Store::rejected_of`), which no index finds.
    pub rejected: Rejected,
    /// Only messages with this key.
    pub dedupe_key: Option<String>,
    /// Only messages whose id ends like this. No index finds them: the ids of all messages are read.
    pub id_end: Option<String>,
    /// Only messages whose stored reason this is.
    pub reason: Option<Reason>,
    /// Only messages that arrived at this time or later.
    pub since: Option<Timestamp>,
    /// Only messages that arrived before this time.
    pub until: Option<Timestamp>,
    /// Only messages that arrived before this one.
    pub before: Option<Seq>,
    /// Maximum number of messages.
    pub limit: u32,
}

/// Which index finds the rows, where several could.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct PageIndex {
    /// For a filter on both an account and a campaign: the one by account.
    pub(in crate::store) by_account: bool,
    /// The one by the time of arrival.
    pub(in crate::store) by_time: bool,
}

/// Reasons that every message has on its way; `messages_by_reason` is without them.
const PASSING: [&str; 5] = ["admission", "turn", "scheduled", "in_flight", "delivered"];

impl Store {
    /// Returns a page of the ids of messages, newest first, and where the next one begins.
    pub(crate) async fn message_ids(&self, filter: &MessageFilter) -> Result<(Vec<MessageId>, Option<Seq>)> {
        let (page, values) = page_sql(filter, self.page_index(filter).await?);
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

    /// Chooses the index for a page.
    pub(in crate::store) async fn page_index(&self, filter: &MessageFilter) -> Result<PageIndex> {
        let by_account = match (&filter.account_id, &filter.campaign) {
            (Some(account), Some(_)) => self.is_small(account).await?,
            _ => true,
        };
        let by_time = match (filter.since, filter.until) {
            (None, None) => false,
            (since, until) if self.is_short(since, until).await? => true,
            // The newest messages are among those since a time, but not among those until one that is long ago.
            (_, Some(until)) if filter.is_about_time_alone() => !self.is_short(Some(until), None).await?,
            _ => false,
        };
        Ok(PageIndex { by_account, by_time })
    }

    /// Returns whether `account` has few messages.
    async fn is_small(&self, account: &AccountId) -> Result<bool> {
        const SQL: &str = "SELECT coalesce(sum(n), 0) FROM counts WHERE account_id = ?1";
        let n: i64 = sqlx::query_scalar(SQL).bind(account.as_str()).fetch_one(&self.inner.readers).await?;
        Ok(n <= FEW)
    }

    /// Returns whether few messages arrived in this time.
    async fn is_short(&self, since: Option<Timestamp>, until: Option<Timestamp>) -> Result<bool> {
        const SQL: &str = "SELECT count(*) FROM (SELECT 1 FROM messages INDEXED BY messages_by_time \
             WHERE created_at >= ?1 AND created_at < ?2 LIMIT ?3 + 0)";
        let query = sqlx::query_scalar(SQL).bind(since.map_or_else(String::new, time_text));
        // Sorts after every time.
        let query = query.bind(until.map_or_else(|| "~".to_owned(), time_text)).bind(FEW + 1);
        let n: i64 = query.fetch_one(&self.inner.readers).await?;
        Ok(n <= FEW)
    }
}

impl MessageFilter {
    fn is_about_time_alone(&self) -> bool {
        let Self { account_id, states, campaign, chat_id, person, dedupe_key, id_end, reason, .. } = self;
        let texts = [campaign, chat_id, dedupe_key, id_end].into_iter().all(Option::is_none);
        texts && person.is_none() && account_id.is_none() && states.is_empty() && reason.is_none()
    }
}

/// The index of the ids, which is much smaller than the table.
const IDS: &str = "sqlite_autoindex_messages_1";

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
/// fast as many.
pub(in crate::store) fn page_sql(filter: &MessageFilter, index: PageIndex) -> (String, Vec<String>) {
    let PageIndex { by_account, by_time } = index;
    let (mut values, mut conditions, mut index) = (Vec::new(), String::new(), None);
    for (column, value, of_column) in equalities(filter, by_account) {
        values.push(value);
        conditions.push_str(&format!(" AND q.{column} = ?{}", values.len() + 1));
        index = index.or(Some(of_column));
    }
    index = index.or(filter.id_end.as_ref().map(|_| IDS));
    conditions.push_str(&other_conditions(filter, &mut values));
    let before = filter.before.map(|before| format!(" AND q.seq < {}", before.0));
    conditions.push_str(&before.unwrap_or_default());
    let limit = u64::from(filter.limit) + 1;
    let part = |index: Option<&str>, states: String| {
        // Without an index the rows come in order of arrival; SQLite would rather sort all rows since a time.
        let by = index.map_or_else(|| " NOT INDEXED".to_owned(), |index| format!(" INDEXED BY {index}"));
        format!(
            "SELECT q.seq FROM messages q{by} WHERE true{conditions}{states} ORDER BY q.seq DESC LIMIT {limit}"
        )
    };
    let words: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
    let in_states =
        if words.is_empty() { String::new() } else { format!(" AND q.state IN ('{}')", words.join("', '")) };
    if let Some(keys) = &filter.person {
        values.push(serde_json::json!(keys).to_string());
        let of_person = people::of_person(&format!("?{}", values.len() + 1));
        values.push(serde_json::json!(filter.rejected.0).to_string());
        let of_person = format!("{of_person} UNION SELECT value FROM json_each(?{})", values.len() + 1);
        // Few messages are for one person: no index of another column may come first.
        let conditions = conditions.replace(" q.", " +q.");
        let sql = format!(
            "SELECT q.seq FROM messages q WHERE q.seq IN ({of_person}){conditions}{in_states} ORDER BY q.seq DESC LIMIT {limit}"
        );
        return (sql, values);
    }
    if by_time {
        return (part(Some("messages_by_time"), in_states), values);
    }
    match index {
        // Few messages share a key, a chat or one of these reasons; without any condition, the rows are already in order.
        Some("messages_dedupe") => return (of_key(part, &in_states, limit), values),
        Some("messages_by_chat" | "messages_by_reason" | IDS) => {
            return (part(index, in_states), values);
        }
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

/// Returns the columns that must have a value, each with its index; the first that a filter has is the best.
fn equalities(
    filter: &MessageFilter,
    by_account: bool,
) -> impl Iterator<Item = (&'static str, String, &'static str)> {
    let MessageFilter { account_id, campaign, chat_id, dedupe_key, reason, .. } = filter.clone();
    let reason = reason.map(|reason| reason.as_str().to_owned());
    let account_first = by_account && account_id.is_some();
    let (before, after) = if account_first { (None, campaign) } else { (campaign, None) };
    let all = [
        ("dedupe_key", dedupe_key, "messages_dedupe"),
        ("chat_id", chat_id, "messages_by_chat"),
        ("reason", reason.filter(|reason| !PASSING.contains(&reason.as_str())), "messages_by_reason"),
        ("campaign", before, "messages_by_campaign"),
        ("account_id", account_id.map(|id| id.as_str().to_owned()), "messages_by_account"),
        ("campaign", after, ""),
    ];
    all.into_iter().filter_map(|(column, value, index)| Some((column, value?, index)))
}

fn of_key(part: impl Fn(Option<&str>, String) -> String, states: &str, limit: u64) -> String {
    let of =
        |(index, words)| format!("SELECT * FROM ({})", part(Some(index), format!(" AND {words}{states}")));
    KEYS.map(of).join(" UNION ALL ") + &format!(" ORDER BY seq DESC LIMIT {limit}")
}

/// Builds the conditions on the end of the id, the reason and the time of arrival.
fn other_conditions(filter: &MessageFilter, values: &mut Vec<String>) -> String {
    let mut conditions = String::new();
    if let Some(end) = &filter.id_end {
        values.push(end.clone());
        conditions.push_str(&format!(" AND substr(q.id, -{}) = ?{}", end.len(), values.len() + 1));
    }
    match filter.reason.map(Reason::as_str) {
        None => {}
        Some(reason) if PASSING.contains(&reason) => {
            values.push(reason.to_owned());
            conditions.push_str(&format!(" AND q.reason = ?{}", values.len() + 1));
        }
        // The condition of the index.
        Some(_) => conditions.push_str(&format!(" AND q.reason NOT IN ('{}')", PASSING.join("', '"))),
    }
    for (at, sign) in [(filter.since, ">="), (filter.until, "<")] {
        if let Some(at) = at {
            values.push(time_text(at));
            conditions.push_str(&format!(" AND q.created_at {sign} ?{}", values.len() + 1));
        }
    }
    conditions
}
