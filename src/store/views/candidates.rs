//! The input of a selection: an account's candidates, its state and the daemon's, read in one statement and so from
//! one consistent snapshot.
//!
//! Triggers keep the first ready message of each lane in the table `lanes`, so finding the candidates takes the same
//! time whether ten messages wait or a million; `tests/it/store_plans.rs` checks the query plan.

use std::collections::HashMap;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use crate::domain::account::{Account, Daemon};
use crate::domain::ids;
use crate::domain::lane::Lane;
use crate::domain::message::{AccountId, ChatId, Extras, MessageId, Seq, Target, UserId};
use crate::domain::reason::Reason;
use crate::domain::step::StepWaiting;
use crate::domain::stop::StoppedBy;
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// A message that may be sent next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its sequence number in the queue.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Number of retries spent.
    pub retries: u32,
    /// Its recipient or chat.
    pub target: Target,
    /// Its content besides the text.
    pub extras: Extras,
    /// Its text.
    pub text: String,
    /// Its own setting for the typing indicator.
    pub typing: Option<bool>,
    /// When it becomes due.
    pub due_at: Timestamp,
    /// When it may be retried; in the past if it was retried before.
    pub retry_at: Option<Timestamp>,
    /// Why it was deferred until `retry_at`, if not because an attempt failed.
    pub deferred: Option<Reason>,
    /// What it waits for as a step of a campaign.
    pub step: Option<StepWaiting>,
    /// The stop that holds it, if one does.
    pub stop: Option<StoppedBy>,
    /// Whether it is held until it is released.
    pub held: bool,
    /// Number of edits so far. The intent is withdrawn if the message was edited after it was read here.
    pub edits: u32,
    /// It must not be sent from this time on.
    pub expires_at: Option<Timestamp>,
    /// The lane in which it waits.
    pub lane: Lane,
    /// When this person was last sent a message that started a chat.
    pub started_at: Option<Timestamp>,
    /// The chat to read for an answer before it is sent; `None` if no answer would stop it, or nothing was sent before.
    pub ask: Option<Ask>,
    /// Whether the person may have other chats, whose answers would stop it as well.
    pub has_other_chats: bool,
    /// The one person whom it is for, if the user id is known.
    pub person: Option<UserId>,
    /// The person with whom it needs a connection, if none is known.
    pub unconnected: Option<UserId>,
    /// When the profile of such a person was last asked for.
    pub profile_asked_at: Option<Timestamp>,
    /// Whether other messages of its thread wait for it.
    pub blocks: bool,
    /// Finish of its campaign; 0 if it is not ahead of the virtual time.
    pub finish: u64,
}

impl Candidate {
    /// Returns the public name that the message is for, as long as the person behind it is not known.
    pub(crate) fn public_name(&self) -> Option<&UserId> {
        let Target::User { user_id, .. } = &self.target else { return None };
        Some(user_id).filter(|name| ids::name_of(name.as_str()).is_some())
    }
}

/// The chat in which an answer would stop a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The chat.
    pub chat_id: ChatId,
    /// Answers before this time do not stop it.
    pub since: Timestamp,
}

/// Who reads: a person's long list must not delay the engine, which has a connection of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The engine, in a step of an account.
    Engine,
    /// A person who asks about messages: `explain`, a list.
    People,
    /// A person who asks what an account sends next: `status`, `top`.
    PeopleOfAccount,
}

/// The candidates of an account, from which `policy::select` picks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidates {
    /// State that concerns every account.
    pub daemon: Daemon,
    /// The account.
    pub account: Account,
    /// The ready message that goes first in each class of lanes, due retries, and what next becomes due or is
    /// retried: for people, several of these.
    pub messages: Vec<Candidate>,
    /// Virtual time of the account's campaigns.
    pub virtual_time: u64,
    /// Whether campaigns take turns: at least one of them has been served.
    pub takes_turns: bool,
    /// Whether messages that were deferred until now must return to their lanes first ([`Store::return_retries`]): more
    /// are due than `messages` holds, or one keeps others of its thread waiting, which may go before it.
    pub returns_retries: bool,
    /// Whether the wait of a step has begun and its end is not computed; see [`Store::begun_waits`].
    pub has_begun_waits: bool,
}

/// Due retries read with the other candidates. If more are due, they return to their lanes first.
const DUE_RETRIES: usize = 32;

/// How many lanes and retries that become due later are read for people: hours or a cap may hold the first of them for
/// longer than the next. The engine needs the first, at whose time it selects again.
const SHOWN_LATER: i64 = 8;

/// Builds the statement behind [`Store::candidates`]. It steps through the classes of an account's lanes and reads
/// one row of each: first campaigns that are not ahead, by due time, then those that are, by finish. So it takes the
/// same time however many messages and campaigns wait.
pub(in crate::store) fn candidates_sql() -> String {
    const MESSAGE: &str = "m.seq, m.id, m.attempts, m.retries, m.chat_id, m.users_ids, m.inbox_id, m.name, \
         m.specifics, m.options, m.quote_id, m.forward, m.attachments, m.text, m.typing, m.lane, m.thread, m.due_at, \
         m.retry_at, m.reason, m.expires_at, m.wait, m.wait_until, m.wait_held_at, m.held_at IS NOT NULL AS held, m.edits";
    // In a thread in which something was sent: the chat of the message, the one with its user, or that of the group.
    const ASK_CHAT: &str = "CASE WHEN coalesce(m.stop_on_reply, m.campaign IS NOT NULL) AND EXISTS ( \
           SELECT 1 FROM messages s INDEXED BY messages_by_thread WHERE s.thread = m.thread AND s.account_id = m.account_id \
             AND s.state = 'sent') \
         THEN coalesce(m.chat_id, (SELECT c.chat_id FROM conversations c INDEXED BY conversations_user \
           WHERE c.account_id = m.account_id AND c.user_id = substr(m.thread, 6) ORDER BY c.at DESC LIMIT 1), \
           (SELECT g.chat_id FROM messages g INDEXED BY messages_by_thread WHERE g.thread = m.thread AND g.account_id = m.account_id \
             AND g.state = 'sent' ORDER BY g.seq DESC LIMIT 1)) END";
    const ASK_SINCE: &str = "min(m.created_at, coalesce((SELECT min(s.sent_at) FROM messages s INDEXED BY messages_by_thread \
           WHERE s.thread = m.thread AND s.account_id = m.account_id AND s.campaign IS m.campaign AND s.state = 'sent'), \
         m.created_at))";
    const BLOCKS: &str = "m.retry_at IS NOT NULL AND EXISTS (SELECT 1 FROM messages b INDEXED BY messages_blocked WHERE b.blocked_by = m.seq)";
    const CHATS: &str = "(SELECT count(*) FROM (SELECT 1 FROM conversations c INDEXED BY conversations_person \
           WHERE c.user_id = substr(m.thread, 6) LIMIT 2))";
    const UNCONNECTED: &str = "CASE WHEN m.needs IS NOT NULL AND NOT EXISTS (SELECT 1 FROM people p WHERE p.account_id = m.account_id \
         AND p.user_id = substr(m.thread, 6) AND p.distance IN ('FIRST_DEGREE', 'SELF')) THEN substr(m.thread, 6) END";
    const ASKED: &str = "CASE WHEN m.needs IS NOT NULL THEN (SELECT max(at) FROM ( \
           SELECT r.at FROM profile_reads r INDEXED BY profile_reads_person WHERE r.person = substr(m.thread, 6) AND r.account_id = m.account_id \
           UNION ALL SELECT p.read_at FROM people p WHERE p.account_id = m.account_id AND p.user_id = substr(m.thread, 6))) END";
    const LANE: &str = "FROM lanes f WHERE f.account_id = ?1 AND f.class = classes.class AND f.due_at <= ?2";
    const RETRY: &str = "FROM messages r INDEXED BY messages_retry WHERE r.account_id = ?1 AND r.state = 'queued' \
         AND r.retry_at IS NOT NULL AND r.blocked_by IS NULL";
    format!(
        "WITH RECURSIVE classes(class) AS (SELECT min(l.class) FROM lanes l WHERE l.account_id = ?1 \
           UNION ALL SELECT (SELECT min(n.class) FROM lanes n WHERE n.account_id = ?1 AND n.class > classes.class) \
             FROM classes WHERE classes.class IS NOT NULL), \
         picked(seq) AS (SELECT coalesce( \
             (SELECT f.seq {LANE} AND f.finish = 0 ORDER BY f.due_at, f.seq LIMIT 1), \
             (SELECT f.seq {LANE} AND f.finish > 0 ORDER BY f.finish, f.due_at, f.seq LIMIT 1)) FROM classes \
           UNION ALL SELECT * FROM (SELECT f.seq FROM lanes f WHERE f.account_id = ?1 AND f.due_at > ?2 \
             ORDER BY f.due_at, f.seq LIMIT ?3 + 0) \
           UNION ALL SELECT * FROM (SELECT r.seq {RETRY} AND r.retry_at <= ?2 ORDER BY r.retry_at LIMIT {DUE_RETRIES}) \
           UNION ALL SELECT * FROM (SELECT r.seq {RETRY} AND r.retry_at > ?2 ORDER BY r.retry_at LIMIT ?3 + 0) \
           UNION ALL SELECT * FROM (SELECT w.seq FROM messages w INDEXED BY messages_to_schedule WHERE w.account_id = ?1 \
             AND w.state = 'queued' AND w.step_sent_at IS NOT NULL AND w.wait_until IS NULL LIMIT 1)) \
         SELECT {MESSAGE}, (SELECT max(s.sent_at) FROM messages s INDEXED BY messages_person WHERE s.account_id = ?1 \
             AND s.thread = m.thread AND s.users_ids IS NOT NULL) AS started_at, {stop} AS stop, {ASK_CHAT} AS ask_chat, {ASK_SINCE} AS ask_since, {CHATS} AS chats, {UNCONNECTED} AS unconnected, {ASKED} AS profile_asked_at, {BLOCKS} AS blocks, \
           coalesce((SELECT t.finish FROM fair_shares t WHERE t.account_id = ?1 AND t.campaign = substr(m.lane, 11)), 0) AS finish, \
           EXISTS (SELECT 1 FROM fair_shares t WHERE t.account_id = ?1) AS takes_turns, a.virtual_time, {account}, {daemon} \
         FROM picked CROSS JOIN messages AS m ON m.seq = picked.seq, accounts AS a, daemon AS d \
         WHERE a.id = ?1 AND d.id = 1",
        stop = rows::longest_stop("?2"),
        account = rows::ACCOUNT_COLUMNS,
        daemon = rows::DAEMON_COLUMNS,
    )
}

impl Store {
    /// Returns the candidates of `account`, read for `asker`; `None` if it has no message that can become due without a
    /// further change.
    pub async fn candidates(
        &self,
        asker: Asker,
        account: &AccountId,
        now: Timestamp,
    ) -> Result<Option<Candidates>> {
        static SQL: std::sync::LazyLock<std::sync::Arc<str>> =
            std::sync::LazyLock::new(|| candidates_sql().into());
        // Built from the constants above; it contains nothing from a producer.
        let query = sqlx::query(AssertSqlSafe(std::sync::Arc::clone(&SQL)));
        let (readers, later) = match asker {
            Asker::Engine => (&self.inner.engine_reader, 1),
            Asker::People => (&self.inner.readers, 1),
            Asker::PeopleOfAccount => (&self.inner.readers, SHOWN_LATER),
        };
        let query = query.bind(account.as_str()).bind(time_text(now)).bind(later);
        let found = query.fetch_all(readers).await?;
        let Some(row) = found.first() else { return Ok(None) };
        let mut messages = found.iter().map(read_candidate).collect::<Result<Vec<_>>>()?;
        let read = messages.len();
        messages.retain(|message| !matches!(message.step, Some(StepWaiting::Before(_))));
        let is_due = |message: &&Candidate| message.retry_at.is_some_and(|at| at <= now);
        let returns =
            |message: &&Candidate| message.attempts == 0 && message.deferred != Some(Reason::NotConnected);
        let due = messages.iter().filter(is_due).filter(returns);
        Ok(Some(Candidates {
            daemon: rows::daemon(row)?,
            account: rows::account(row)?,
            virtual_time: row.try_get::<i64, _>("virtual_time")?.unsigned_abs(),
            takes_turns: row.try_get("takes_turns")?,
            returns_retries: due.clone().count() >= DUE_RETRIES
                || due.into_iter().any(|message| message.blocks),
            has_begun_waits: messages.len() < read,
            messages,
        }))
    }

    /// Returns the fair share of `account`: the virtual time, and the finish of each campaign ahead of it.
    pub(crate) async fn fair_shares(&self, account: &AccountId) -> Result<(u64, HashMap<String, u64>)> {
        const SQL: &str = "SELECT a.virtual_time, (SELECT json_group_object(t.campaign, t.finish) FROM fair_shares t \
             WHERE t.account_id = a.id) AS turns FROM accounts a WHERE a.id = ?1";
        let row = sqlx::query(SQL).bind(account.as_str()).fetch_optional(&self.inner.readers).await?;
        row.as_ref().map_or_else(|| Ok((0, HashMap::new())), read_fair_shares)
    }
}

fn read_fair_shares(row: &SqliteRow) -> Result<(u64, HashMap<String, u64>)> {
    let finish = serde_json::from_str(row.try_get("turns")?);
    let finish = finish.map_err(|error| rows::corrupt("turns", error.to_string()))?;
    Ok((row.try_get::<i64, _>("virtual_time")?.unsigned_abs(), finish))
}

fn read_ask(row: &SqliteRow) -> Result<Option<Ask>> {
    let Some(chat_id) = row.try_get::<Option<String>, _>("ask_chat")? else { return Ok(None) };
    Ok(Some(Ask { chat_id: ChatId::new(chat_id), since: rows::required_time(row, "ask_since")? }))
}

fn read_person(row: &SqliteRow) -> Result<Option<UserId>> {
    let thread: &str = row.try_get("thread")?;
    let person = thread.strip_prefix("user:").filter(|person| ids::name_of(person).is_none());
    Ok(person.map(UserId::new))
}

fn read_candidate(row: &SqliteRow) -> Result<Candidate> {
    let ask = read_ask(row)?;
    Ok(Candidate {
        seq: Seq(row.try_get("seq")?),
        id: rows::message_id(row, "id")?,
        attempts: rows::count(row, "attempts")?,
        retries: rows::count(row, "retries")?,
        target: rows::target(row)?,
        extras: rows::extras(row)?,
        text: row.try_get("text")?,
        typing: row.try_get("typing")?,
        due_at: rows::required_time(row, "due_at")?,
        retry_at: rows::time(row, "retry_at")?,
        blocks: row.try_get("blocks")?,
        deferred: rows::reason(row, "reason")?.filter(|reason| reason.defers()),
        step: rows::step_waiting(row)?,
        stop: rows::stopped_by(row)?,
        held: row.try_get("held")?,
        edits: rows::count(row, "edits")?,
        expires_at: rows::time(row, "expires_at")?,
        lane: Lane::parse(row.try_get("lane")?)
            .ok_or_else(|| rows::corrupt("lane", row.try_get::<&str, _>("lane").unwrap_or_default()))?,
        started_at: rows::time(row, "started_at")?,
        has_other_chats: row.try_get::<i64, _>("chats")? > i64::from(ask.is_some()),
        ask,
        person: read_person(row)?,
        unconnected: row.try_get::<Option<String>, _>("unconnected")?.map(UserId::new),
        profile_asked_at: rows::time(row, "profile_asked_at")?,
        finish: row.try_get::<i64, _>("finish")?.unsigned_abs(),
    })
}
