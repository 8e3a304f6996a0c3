//! Read-only views of accounts: each account's status and what waits on it, a page at a time. Nothing is counted row
//! by row, and a page takes the same time among 100,000 accounts as among ten.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use crate::domain::account::Account;
use crate::domain::message::AccountId;
use crate::domain::state::StateName;
use crate::domain::words;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result, corrupt};

/// Number of messages in each state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(pub Vec<(StateName, u64)>);

impl Counts {
    /// Returns the number of messages in `state`.
    pub fn of(&self, state: StateName) -> u64 {
        self.0.iter().find(|(name, _)| *name == state).map_or(0, |(_, n)| *n)
    }
}

words! {
    /// What an account needs from an operator.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Attention {
        /// The account is down, or one of its messages is in review.
        Person = "person",
        /// Messages wait or are being sent.
        Waiting = "waiting",
        /// Neither.
        None = "none",
    }
}

impl Attention {
    /// Returns its number in the column `attention`.
    fn rank(self) -> i64 {
        match self {
            Self::Person => 0,
            Self::Waiting => 1,
            Self::None => 2,
        }
    }

    fn of_rank(rank: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|attention| attention.rank() == rank)
    }
}

/// Sort order of an account list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccountOrder {
    /// By [`Attention`], then by id.
    #[default]
    Attention,
    /// By id alone: an account keeps its place when its messages change.
    Id,
}

/// Position where a page of accounts ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountCursor {
    /// Attention of the last account.
    pub attention: Attention,
    /// Id of the last account.
    pub id: String,
}

/// Which accounts to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountFilter {
    /// Only accounts with one of these; empty means all.
    pub attention: Vec<Attention>,
    /// Sort order.
    pub order: AccountOrder,
    /// Only accounts after this position.
    pub after: Option<AccountCursor>,
    /// Maximum number of accounts.
    pub limit: u32,
}

/// A page of accounts.
#[derive(Debug, Clone)]
pub struct AccountPage {
    /// The accounts.
    pub accounts: Vec<AccountView>,
    /// Position where the next page begins, if there is one.
    pub next: Option<AccountCursor>,
}

/// An account and what waits on it.
#[derive(Debug, Clone)]
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// What it needs from an operator.
    pub attention: Attention,
    /// Number of its messages in each state.
    pub counts: Counts,
    /// When the oldest waiting message became due.
    pub oldest_due_at: Option<Timestamp>,
    /// When it last sent a message.
    pub last_sent_at: Option<Timestamp>,
    /// When one of its chats is next read to reconcile a message.
    pub next_read_at: Option<Timestamp>,
    /// Error of the newest message that failed or whose outcome is unknown.
    pub last_error: Option<String>,
}

/// Condition that restricts [`view_sql`] to one account.
pub(in crate::store) const ONE: &str = "WHERE a.id = ?1";

/// Builds the view of the accounts that `which` selects from `accounts a`.
pub(in crate::store) fn view_sql(which: &str) -> String {
    const NEWEST: &str = "SELECT max(w.seq) AS seq FROM messages w INDEXED BY messages_by_account WHERE w.account_id = a.id AND w.state || ''";
    format!(
        "SELECT {account}, a.attention, (SELECT group_concat(c.state || '=' || c.n) FROM counts c WHERE c.account_id = a.id) AS counts, \
           (SELECT min(l.due_at) FROM lanes l WHERE l.account_id = a.id) AS oldest_due_at, \
           (SELECT max(t.started_at) FROM attempts t WHERE t.account_id = a.id AND t.outcome = 'accepted') AS last_sent_at, \
           (SELECT min(u.reconcile_at) FROM messages u INDEXED BY messages_unsettled WHERE u.account_id = a.id \
            AND u.state IN ('sending', 'uncertain', 'review')) AS next_read_at, \
           (SELECT e.error FROM messages e WHERE e.seq = (SELECT max(n.seq) FROM ({NEWEST} = 'failed' \
              UNION ALL {NEWEST} = 'review' UNION ALL {NEWEST} = 'uncertain') AS n)) AS last_error \
         FROM accounts a {which}",
        account = rows::ACCOUNT_COLUMNS,
    )
}

/// Builds the statement behind [`Store::account_page`]: one ordered subquery for each attention, merged. `?1` is the
/// id after which the page begins.
pub(in crate::store) fn page_sql(filter: &AccountFilter) -> String {
    let wanted = Attention::ALL.into_iter();
    let wanted = wanted.filter(|one| filter.attention.is_empty() || filter.attention.contains(one));
    let limit = u64::from(filter.limit) + 1;
    let part = |attention: Attention| {
        let rank = attention.rank();
        let behind = match (&filter.after, filter.order) {
            (None, _) => "",
            (Some(after), AccountOrder::Attention) if attention < after.attention => return None,
            (Some(after), AccountOrder::Attention) if attention > after.attention => "",
            (Some(_), _) => " AND p.id > ?1",
        };
        Some(format!(
            "SELECT * FROM (SELECT p.attention, p.id FROM accounts p INDEXED BY accounts_by_attention \
               WHERE p.attention = {rank}{behind} ORDER BY p.id LIMIT {limit})"
        ))
    };
    let parts: Vec<String> = wanted.filter_map(part).collect();
    let parts =
        if parts.is_empty() { "SELECT 0, NULL WHERE false".to_owned() } else { parts.join(" UNION ALL ") };
    let order = match filter.order {
        AccountOrder::Attention => "attention, id",
        AccountOrder::Id => "id",
    };
    view_sql(&format!(
        "WHERE a.id IN (SELECT id FROM ({parts}) ORDER BY {order} LIMIT {limit}) AND ?1 = ?1 ORDER BY {}",
        order.replace("attention", "a.attention").replace("id", "a.id")
    ))
}

impl Store {
    /// Returns one account and what waits on it.
    pub async fn account(&self, id: &AccountId) -> Result<Option<AccountView>> {
        // Built from constants; values are bound.
        let query = sqlx::query(AssertSqlSafe(view_sql(ONE))).bind(id.as_str());
        query.fetch_optional(&self.inner.readers).await?.as_ref().map(read_view).transpose()
    }

    /// Returns a page of accounts and what waits on them.
    pub async fn account_page(&self, filter: &AccountFilter) -> Result<AccountPage> {
        let after = filter.after.as_ref().map_or("", |after| after.id.as_str());
        // Built from constants and numbers; values are bound.
        let found =
            sqlx::query(AssertSqlSafe(page_sql(filter))).bind(after).fetch_all(&self.inner.readers).await?;
        let mut accounts = found.iter().map(read_view).collect::<Result<Vec<_>>>()?;
        let limit = usize::try_from(filter.limit).unwrap_or(usize::MAX);
        let more = accounts.len() > limit;
        accounts.truncate(limit);
        let cursor =
            |last: &AccountView| AccountCursor { attention: last.attention, id: last.account.id.to_string() };
        let next = accounts.last().filter(|_| more).map(cursor);
        Ok(AccountPage { accounts, next })
    }

    /// Returns all accounts at once, ordered by id. A list for people is read in pages instead.
    pub async fn accounts(&self) -> Result<Vec<AccountView>> {
        let filter =
            AccountFilter { attention: Vec::new(), order: AccountOrder::Id, after: None, limit: 1_000_000 };
        Ok(self.account_page(&filter).await?.accounts)
    }

    /// Returns the ids of at most `limit` accounts after `after`, in order; with `queued`, only accounts that have
    /// queued messages.
    pub async fn account_ids(
        &self,
        after: Option<&AccountId>,
        queued: bool,
        limit: u32,
    ) -> Result<Vec<AccountId>> {
        const SQL: [&str; 2] = [
            "SELECT id FROM accounts WHERE id > ?1 ORDER BY id LIMIT ?2 + 0",
            "SELECT a.id FROM accounts a WHERE a.id > ?1 AND EXISTS (SELECT 1 FROM counts c WHERE c.account_id = a.id \
               AND c.state = 'queued' AND c.n > 0) ORDER BY a.id LIMIT ?2 + 0",
        ];
        let query = sqlx::query_scalar(SQL[usize::from(queued)]).bind(after.map_or("", AccountId::as_str));
        let ids: Vec<String> = query.bind(limit).fetch_all(&self.inner.readers).await?;
        Ok(ids.into_iter().map(AccountId::new).collect())
    }
}

fn read_view(row: &SqliteRow) -> Result<AccountView> {
    let counts: Option<&str> = row.try_get("counts")?;
    let rank: i64 = row.try_get("attention")?;
    Ok(AccountView {
        account: rows::account(row)?,
        attention: Attention::of_rank(rank).ok_or_else(|| corrupt("attention", rank.to_string()))?,
        counts: read_counts(counts.unwrap_or_default())?,
        oldest_due_at: rows::time(row, "oldest_due_at")?,
        last_sent_at: rows::time(row, "last_sent_at")?,
        next_read_at: rows::time(row, "next_read_at")?,
        last_error: rows::shown_text(row, "last_error")?,
    })
}

/// Parses `state=n,state=n`, the format in which the counts of a group are stored.
pub(super) fn read_counts(text: &str) -> Result<Counts> {
    let pair = |pair: &str| {
        let (state, n) = pair.split_once('=')?;
        Some((StateName::parse(state)?, n.parse().ok()?))
    };
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    let mut counts =
        pairs.map(|text| pair(text).ok_or_else(|| corrupt("counts", text))).collect::<Result<Vec<_>>>()?;
    counts.retain(|(_, n)| *n > 0);
    counts.sort_unstable();
    Ok(Counts(counts))
}
