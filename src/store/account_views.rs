//! What people read of accounts: how each stands and what waits on it, a page at a time. Only reads; nothing is counted row
//! by row, and a page takes the same time among 100,000 accounts as among ten.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use super::Store;
use super::rows::{self, Result, corrupt};
use crate::domain::account::Account;
use crate::domain::message::AccountId;
use crate::domain::state::StateName;

/// How many messages are in each state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(pub Vec<(StateName, u64)>);

impl Counts {
    /// How many are in `state`.
    pub fn of(&self, state: StateName) -> u64 {
        self.0.iter().find(|(name, _)| *name == state).map_or(0, |(_, n)| *n)
    }
}

/// What an account asks of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attention {
    /// It is down, or a message of it is in review.
    Person,
    /// Messages wait or are on their way.
    Waiting,
    /// Neither.
    None,
}

impl Attention {
    /// All of them, in the order of lists.
    pub const ALL: [Self; 3] = [Self::Person, Self::Waiting, Self::None];

    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Waiting => "waiting",
            Self::None => "none",
        }
    }

    /// The attention of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attention| attention.as_str() == word)
    }

    /// Its number in the column `attention`.
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

/// In which order accounts are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccountOrder {
    /// By [`Attention`], then by id.
    #[default]
    Attention,
    /// By id alone: an account keeps its place while its messages change.
    Id,
}

/// Where a page of accounts ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountCursor {
    /// The attention of its last account.
    pub attention: Attention,
    /// The id of that account.
    pub id: String,
}

/// Which accounts to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountFilter {
    /// Only these; empty means all.
    pub attention: Vec<Attention>,
    /// In which order.
    pub order: AccountOrder,
    /// Only those behind this one.
    pub after: Option<AccountCursor>,
    /// At most so many.
    pub limit: u32,
}

/// A page of accounts.
#[derive(Debug, Clone)]
pub struct AccountPage {
    /// The accounts.
    pub accounts: Vec<AccountView>,
    /// Where the next page begins, if there is one.
    pub next: Option<AccountCursor>,
}

/// An account with what waits on it.
#[derive(Debug, Clone)]
pub struct AccountView {
    /// The account.
    pub account: Account,
    /// What it asks of an operator.
    pub attention: Attention,
    /// Its messages by state.
    pub counts: Counts,
    /// When the oldest waiting message became due.
    pub oldest_due_at: Option<Timestamp>,
    /// When it last sent one.
    pub last_sent_at: Option<Timestamp>,
    /// When the next chat of its is read back.
    pub next_read_at: Option<Timestamp>,
    /// What went wrong with the newest message that failed or has no known outcome.
    pub last_error: Option<String>,
}

/// Which account a statement of [`view_sql`] is about.
pub(super) const ONE: &str = "WHERE a.id = ?1";

/// The view of the accounts that `which` selects from `accounts a`.
pub(super) fn view_sql(which: &str) -> String {
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

/// The statement behind [`Store::account_page`]: one ordered subquery for each attention, merged. `?1` is the id that the
/// page begins behind.
pub(super) fn page_sql(filter: &AccountFilter) -> String {
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
    /// One account with what waits on it.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn account(&self, id: &AccountId) -> Result<Option<AccountView>> {
        // Made of constants; values are bound.
        let query = sqlx::query(AssertSqlSafe(view_sql(ONE))).bind(id.as_str());
        query.fetch_optional(&self.inner.readers).await?.as_ref().map(read_view).transpose()
    }

    /// A page of accounts with what waits on them.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn account_page(&self, filter: &AccountFilter) -> Result<AccountPage> {
        let after = filter.after.as_ref().map_or("", |after| after.id.as_str());
        // Made of constants and numbers; values are bound.
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

    /// The accounts, or only one, in the order of their ids: all at once, so not for a list of everything.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn accounts(&self, only: Option<&AccountId>) -> Result<Vec<AccountView>> {
        let filter =
            AccountFilter { attention: Vec::new(), order: AccountOrder::Id, after: None, limit: 1_000_000 };
        match only {
            Some(id) => Ok(self.account(id).await?.into_iter().collect()),
            None => Ok(self.account_page(&filter).await?.accounts),
        }
    }

    /// The ids of at most `limit` accounts behind `after`, in their order; with `queued`, only of those that have queued
    /// messages.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn account_ids(
        &self,
        after: Option<&AccountId>,
        queued: bool,
        limit: u32,
    ) -> Result<Vec<AccountId>> {
        const SQL: [&str; 2] = [
            "SELECT id FROM accounts WHERE id > ?1 ORDER BY id LIMIT ?2",
            "SELECT a.id FROM accounts a WHERE a.id > ?1 AND EXISTS (SELECT 1 FROM counts c WHERE c.account_id = a.id \
               AND c.state = 'queued' AND c.n > 0) ORDER BY a.id LIMIT ?2",
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

/// Reads `state=n,state=n`, as the counts of a group are written.
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
