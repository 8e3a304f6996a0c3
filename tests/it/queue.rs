//! A queue on a real file in a folder of its own, and the invariants that must hold after any operation.
//!
//! Tests drive the `Store` through its verbs and check it through a second connection (`rusqlite`), so that the check
//! shares no code with the store.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outboxd::domain::account::History;
use outboxd::domain::command::{Command, Instruction};
use outboxd::domain::kind::Kind;
use outboxd::domain::message::{AccountId, ChatId, Inbox, MessageId, NewMessage, Seq, Target, UserId};
use outboxd::domain::outcome::{Phase, ProviderError};
use outboxd::domain::placeholders::Placeholders;
use outboxd::domain::reason::Reason;
use outboxd::domain::state::{MOVES, Settled, StateName};
use outboxd::domain::validate::ValidationLimits;
use outboxd::store::{
    Begun, Commanded, EnqueueMode, Enqueued, Intent, IntentLimits, MessageView, Settlement, Store,
    StoreError, StoreOptions,
};
use rusqlite::Connection;
use tempfile::TempDir;

/// Returns the time `seconds` after an arbitrary start.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-22T09:00:00Z".parse().expect("a time");
    start + jiff::SignedDuration::from_secs(seconds)
}

/// Truncates to seconds: an intent is dated when it is written, some milliseconds after it was requested.
pub(crate) fn to_the_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).expect("a time")
}

pub(crate) fn account(id: &str) -> AccountId {
    AccountId::new(format!("acc_{id}"))
}

/// A message of account `acc_1` into `chat`.
pub(crate) fn to_chat(chat: &str, text: &str) -> NewMessage {
    NewMessage {
        extras: outboxd::domain::message::Extras::default(),
        account_id: account("1"),
        target: Target::Chat(ChatId::new(chat)),
        text: text.into(),
        typing: None,
        not_before: None,
        expires_at: None,
        campaign: None,
        precedence: Default::default(),
        stop_on_reply: None,
        step: None,
        meta: None,
        needs: None,
        dedupe_key: None,
    }
}

/// A message of account `acc_1` that starts a chat with `user`.
pub(crate) fn to_user(user: &str, inbox: Inbox) -> NewMessage {
    NewMessage { target: Target::User { user_id: UserId::new(user), inbox }, ..to_chat("", "hello") }
}

pub(crate) fn keyed(key: &str, message: NewMessage) -> NewMessage {
    NewMessage { dedupe_key: Some(key.into()), ..message }
}

pub(crate) fn limits() -> Arc<ValidationLimits> {
    Arc::new(ValidationLimits {
        max_text_chars: 8000,
        known_accounts: None,
        placeholders: Placeholders::default(),
        resolve_people: false,
    })
}

/// Carries out a command about one message.
pub(crate) async fn command(
    store: &Store,
    id: MessageId,
    command: Command,
    now: Timestamp,
) -> Result<Commanded, StoreError> {
    let instruction = Instruction { command, actor: "test".to_owned(), note: None };
    let mut results = store.command(&[id], &instruction, &limits(), false, now).await?;
    Ok(results.remove(0))
}

pub(crate) async fn cancel(store: &Store, id: MessageId, now: Timestamp) -> Result<Commanded, StoreError> {
    command(store, id, Command::Cancel, now).await
}

/// Counts what `waiting_reasons` must hold.
pub(crate) const WAITING_BY_REASON: &str = "SELECT reason, count(*) FROM messages WHERE state IN ('queued', 'uncertain', 'review') \
     AND reason NOT IN ('turn', 'scheduled', 'admission') GROUP BY reason ORDER BY reason";

pub(crate) struct Queue {
    folder: TempDir,
    pub(crate) store: Store,
}

impl Queue {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Self::open(&folder, at(0)).await.expect("a new queue");
        Self { folder, store }
    }

    pub(crate) async fn open(folder: &TempDir, now: Timestamp) -> Result<Store, StoreError> {
        Store::open(&StoreOptions { path: folder.path().join("queue.db"), readers: 2 }, now).await
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    /// Opens the queue a second time, as a second daemon would.
    pub(crate) async fn open_again(&self) -> Result<Store, StoreError> {
        Self::open(&self.folder, at(0)).await
    }

    /// Drops this store without a clean close, as a crash would, and opens the file again.
    pub(crate) async fn crash(self, now: Timestamp) -> Self {
        let Self { folder, store } = self;
        drop(store);
        Self::reopened(folder, now).await
    }

    /// Closes the store cleanly and opens the file again.
    pub(crate) async fn restart(self, now: Timestamp) -> Self {
        let Self { folder, store } = self;
        store.close(now).await.expect("closed");
        drop(store);
        Self::reopened(folder, now).await
    }

    async fn reopened(folder: TempDir, now: Timestamp) -> Self {
        let store = Self::open(&folder, now).await.expect("the same queue");
        Self { folder, store }
    }

    /// Opens a connection as another program does.
    pub(crate) fn sql(&self) -> Connection {
        let connection = Connection::open(self.path()).expect("the file is there");
        connection.busy_timeout(Duration::from_secs(5)).expect("a busy timeout");
        connection
    }

    /// Returns one value, as text.
    pub(crate) fn value(&self, sql: &str) -> String {
        let value = self.sql().query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0));
        match value.unwrap_or_else(|error| panic!("{sql}: {error}")) {
            rusqlite::types::Value::Null => "NULL".into(),
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => panic!("{sql}: {other:?}"),
        }
    }

    /// Returns every row as one line, columns joined by `|`.
    pub(crate) fn lines(&self, sql: &str) -> Vec<String> {
        let connection = self.sql();
        let mut statement = connection.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let columns = statement.column_count();
        let line = |row: &rusqlite::Row<'_>| {
            let cell = |index| match row.get_ref(index).expect("a column") {
                rusqlite::types::ValueRef::Null => "-".to_owned(),
                rusqlite::types::ValueRef::Integer(number) => number.to_string(),
                rusqlite::types::ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                other => panic!("{other:?}"),
            };
            Ok((0..columns).map(cell).collect::<Vec<_>>().join("|"))
        };
        statement.query_map([], line).expect("rows").collect::<Result<_, _>>().expect("a line each")
    }

    /// Enqueues one message, which must be accepted.
    pub(crate) async fn enqueue(&self, message: NewMessage, now: Timestamp) -> MessageId {
        let verdicts = self.store.enqueue(vec![message], EnqueueMode::Each, now).await.expect("stored");
        match verdicts.as_slice() {
            [Enqueued::Accepted(id)] => *id,
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub(crate) async fn view(&self, id: MessageId) -> MessageView {
        self.store.message(id, at(0)).await.expect("read").expect("the message is there")
    }

    pub(crate) async fn state(&self, id: MessageId) -> (StateName, Reason) {
        let view = self.view(id).await;
        (view.state, view.reason)
    }

    /// Returns the intent to send `id` for the `number`th time.
    pub(crate) async fn intent(&self, id: MessageId, number: u32, now: Timestamp) -> Intent {
        let view = self.view(id).await;
        Intent {
            seq: view.seq,
            account_id: view.account.id,
            number,
            at: now,
            gap: Duration::from_secs(12),
            next_call_at: now + Duration::from_secs(12),
            monotonic: Duration::from_secs(1),
            provider_at: None,
            fingerprint: "f".repeat(64),
            chat_id: None,
            edits: 0,
            limits: IntentLimits::new(Kind::Message),
        }
    }

    pub(crate) async fn begin(&self, id: MessageId, number: u32, now: Timestamp) -> Begun {
        let intent = self.intent(id, number, now).await;
        self.store.begin_attempt(intent).await.expect("an answer")
    }

    /// Returns the settlement of attempt `number` of `id` as `message`.
    pub(crate) async fn settlement(&self, id: MessageId, number: u32, message: Settled) -> Settlement {
        let view = self.view(id).await;
        let problem = match &message {
            Settled::Sent { .. } => None,
            Settled::Queued { problem, .. }
            | Settled::Failed { problem, .. }
            | Settled::Uncertain { problem, .. }
            | Settled::Review { problem, .. } => Some(problem.clone()),
        };
        Settlement {
            seq: view.seq,
            account_id: view.account.id,
            number,
            at: at(100),
            phase: Phase::Answered,
            outcome: "accepted",
            problem,
            message,
            next_call_at: at(112),
            hold: None,
            history: History::default(),
            account_down: None,
            key_refused: None,
        }
    }

    /// Sends `id` for the `number`th time, with this end.
    pub(crate) async fn attempt(&self, id: MessageId, number: u32, message: Settled) {
        assert_eq!(self.begin(id, number, at(90)).await, Begun::Granted);
        let settlement = self.settlement(id, number, message).await;
        assert!(self.store.settle(settlement).await.expect("an answer"), "the attempt was open");
    }

    /// Checks the invariants: the counts are right, every change of state is one event and an allowed move, and every
    /// message has as many attempts as it says.
    pub(crate) fn check(&self) {
        let waiting = self.lines("SELECT reason, n FROM waiting_reasons WHERE n <> 0 ORDER BY 1");
        let counted = self.lines(WAITING_BY_REASON);
        assert_eq!(waiting, counted, "waiting_reasons");
        let counted = self.lines("SELECT account_id, state, n FROM counts WHERE n <> 0 ORDER BY 1, 2");
        let real = self.lines("SELECT account_id, state, count(*) FROM messages GROUP BY 1, 2 ORDER BY 1, 2");
        assert_eq!(counted, real, "the counts are not the rows");

        let connection = self.sql();
        let mut statement = connection
            .prepare(
                "SELECT message_id, substr(kind, 9) FROM events WHERE kind GLOB 'message.*' \
                 AND substr(kind, 9) NOT IN ('deferred', 'moved', 'delivered', 'read', 'replied') ORDER BY seq",
            )
            .expect("a statement");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        let mut lives: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in rows {
            let (id, state): (String, String) = row.expect("a row");
            lives.entry(id).or_default().push(state);
        }
        let states = self.lines("SELECT id, state FROM messages");
        assert_eq!(states.len(), lives.len(), "a message without events, or events without a message");
        for line in states {
            let (id, state) = line.split_once('|').expect("two columns");
            let life = &lives[id];
            assert_eq!(life.last().map(String::as_str), Some(state), "{id}: {life:?}");
            assert!(matches!(life[0].as_str(), "new" | "queued"), "{id}: {life:?}");
            for pair in life.windows(2) {
                let is_move =
                    MOVES.iter().any(|(from, _, to)| from.as_str() == pair[0] && to.as_str() == pair[1]);
                assert!(is_move, "{id}: {} to {} is not a move: {life:?}", pair[0], pair[1]);
            }
        }

        let wrong = self.lines(
            "SELECT m.id, m.state, m.attempts, count(a.number), coalesce(sum(a.number IS NOT NULL AND a.ended_at IS NULL), 0) AS open FROM messages m \
             LEFT JOIN attempts a ON a.seq = m.seq GROUP BY m.seq \
             HAVING count(a.number) <> m.attempts OR open <> (m.state = 'sending')",
        );
        assert_eq!(wrong, [""; 0], "attempts that do not fit their messages");
        self.check_order();
    }

    /// Checks that the order of messages matches the rows.
    pub(crate) fn check_order(&self) {
        for sql in ORDER_IS_WRONG {
            assert_eq!(self.lines(sql), [""; 0], "{sql}");
        }
    }
}

/// The order of messages, which triggers maintain: the first ready message of each lane, how far its campaign is, and
/// what blocks whom in a thread. Each statement finds deviations.
pub(crate) const ORDER_IS_WRONG: [&str; 3] = [
    "SELECT 'lanes', * FROM (SELECT account_id, substr(lane, 11) AS campaign, substr(lane, 1, 9) AS class, \
         min(due_at || printf(' %09d', seq)) AS first FROM messages \
         WHERE state = 'queued' AND retry_at IS NULL AND blocked_by IS NULL GROUP BY 1, 2, 3) AS r \
       FULL JOIN (SELECT account_id AS a, campaign AS c, class AS k, due_at || printf(' %09d', seq) AS f FROM lanes) AS l \
         ON l.a = r.account_id AND l.c = r.campaign AND l.k = r.class WHERE f IS NOT first",
    "SELECT 'finish', l.account_id, l.campaign, l.finish, t.finish FROM lanes l \
       LEFT JOIN fair_shares t ON t.account_id = l.account_id AND t.campaign = l.campaign WHERE l.finish <> coalesce(t.finish, 0)",
    "WITH blockers AS (SELECT account_id, thread, max(state <> 'queued') AS unsettled, \
         min(iif(state = 'queued', due_at || printf(' %09d', seq), NULL)) AS retried FROM messages \
         WHERE state IN ('uncertain', 'review') OR (state = 'queued' AND retry_at IS NOT NULL \
           AND NOT (coalesce(step, 1) > 1 AND wait_until IS NULL)) GROUP BY 1, 2) \
       SELECT 'blocked', m.seq, m.state, m.blocked_by, b.state FROM messages m LEFT JOIN messages b ON b.seq = m.blocked_by \
       LEFT JOIN blockers k ON k.account_id = m.account_id AND k.thread = m.thread \
       WHERE CASE WHEN m.state <> 'queued' THEN m.blocked_by IS NOT NULL \
         WHEN m.step > 1 AND m.wait_until IS NULL THEN m.blocked_by IS NOT (SELECT p.seq FROM messages p \
           WHERE p.campaign = m.campaign AND p.step_key = m.step_key AND p.step = m.step - 1 AND p.state <> 'rejected') \
         WHEN m.blocked_by IS NULL THEN k.unsettled OR k.retried < m.due_at || printf(' %09d', m.seq) \
         ELSE NOT (b.account_id = m.account_id AND b.thread = m.thread \
           AND (b.state IN ('sending', 'uncertain', 'review') OR b.state = 'queued' AND b.retry_at IS NOT NULL)) END",
];

pub(crate) fn problem() -> ProviderError {
    ProviderError {
        status: Some(500),
        kind: "api/internal_error".into(),
        title: Some("Internal error".into()),
        detail: Some("it broke".into()),
        req_id: Some("req-1".into()),
    }
}

pub(crate) fn sent() -> Settled {
    Settled::Sent { at: at(100), chat_id: None, message_ids: vec!["m1".into()] }
}

pub(crate) fn retry(retry_at: Timestamp) -> Settled {
    Settled::Queued { reason: Reason::Retry, retry_at: Some(retry_at), spent_retry: true, problem: problem() }
}

pub(crate) fn back_in_place() -> Settled {
    Settled::Queued { reason: Reason::Turn, retry_at: None, spent_retry: false, problem: problem() }
}

pub(crate) fn failed() -> Settled {
    Settled::Failed { reason: Reason::Refused, problem: problem() }
}

pub(crate) fn review() -> Settled {
    Settled::Review { reason: Reason::OutcomeUnknown, problem: problem() }
}

/// A `seq` that no message of the queue has.
pub(crate) const NOWHERE: Seq = Seq(999_999);
