//! The SQL interface, as another program uses it: its own SQLite, its own connection, while the queue is open (P1,
//! P7). Nothing here goes through the store unless the test says so.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod refusals;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::domain::message::{MessageId, NewMessage};
use outboxd::domain::state::StateName;
use outboxd::store::{Begun, EnqueueMode, Enqueued};
use rusqlite::Connection;
use tokio::task::JoinSet;

use crate::queue::{Queue, account, at, keyed, sent, to_chat};

/// Runs `INSERT INTO messages` with these columns and values.
fn insert(connection: &Connection, columns: &str, values: &str) -> rusqlite::Result<usize> {
    connection.execute(&format!("INSERT INTO messages ({columns}) VALUES ({values})"), [])
}

#[tokio::test]
async fn every_good_form_is_taken_and_read_as_it_was_meant() {
    let queue = Queue::new().await;
    let forms = [
        ("chat_id", "'2-a/b:c=='", "chat 2-a/b:c=="),
        ("users_ids", "'ACoAAA'", "user ACoAAA of the policy's inbox"),
        ("users_ids", "'123456'", "user 123456 of the policy's inbox"),
        ("users_ids", "123456", "user 123456 of the policy's inbox"),
        ("users_ids", "'[\"ACoAAA\"]'", "user ACoAAA of the policy's inbox"),
        ("users_ids", "json_array('0042')", "user 0042 of the policy's inbox"),
        ("users_ids, inbox_id", "'u', ''", "user u without an inbox"),
        ("users_ids, inbox_id", "'u', 'X_PRIMARY'", "user u from X_PRIMARY"),
    ];
    let connection = queue.sql();
    for (columns, values, _) in forms {
        let (columns, values) = (format!("account_id, text, {columns}"), format!("'acc_1', 'hi', {values}"));
        insert(&connection, &columns, &values).unwrap_or_else(|error| panic!("{values}: {error}"));
    }
    let read: Vec<String> = queue.store.inserted(99).await.unwrap().into_iter().map(told).collect();
    assert_eq!(read, forms.map(|(_, _, meaning)| meaning));
    queue.check();
}

fn told(row: outboxd::store::Inserted) -> String {
    let draft = row.draft.expect("it can be read");
    match (draft.chat_id, draft.users_ids.as_deref(), draft.inbox_id.as_deref()) {
        (Some(chat), None, None) => format!("chat {chat}"),
        (None, Some([user]), None) => format!("user {user} of the policy's inbox"),
        (None, Some([user]), Some("")) => format!("user {user} without an inbox"),
        (None, Some([user]), Some(inbox)) => format!("user {user} from {inbox}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_option_of_a_producer_reaches_the_daemon() {
    let queue = Queue::new().await;
    let columns = "id, account_id, chat_id, text, typing, not_before, expires_at, campaign, dedupe_key";
    let values = "'0190b2c4-0000-7000-8000-00000000000a', 'acc_1', 'c', 'línea' || char(10) || '🦀', 0, \
                  '2999-01-01T00:00:00.000Z', strftime('%Y-%m-%dT%H:%M:%fZ', '2999-01-02'), 'spring', 'k'";
    insert(&queue.sql(), columns, values).unwrap();
    let draft = queue.store.inserted(1).await.unwrap().remove(0).draft.unwrap();
    assert_eq!((draft.text.as_deref(), draft.typing), (Some("línea\n🦀"), Some(false)));
    assert_eq!(draft.not_before.as_deref(), Some("2999-01-01T00:00:00.000Z"));
    assert_eq!(draft.expires_at.as_deref(), Some("2999-01-02T00:00:00.000Z"));
    assert_eq!((draft.campaign.as_deref(), draft.dedupe_key.as_deref()), (Some("spring"), Some("k")));
    assert_eq!(queue.value("SELECT id FROM messages"), "0190b2c4-0000-7000-8000-00000000000a");
    let columns = "account_id, chat_id, text, created_at, updated_at";
    let now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";
    insert(&queue.sql(), columns, &format!("'acc_1', 'c', 'x', {now}, {now}")).unwrap();
    queue.check();
}

#[tokio::test]
async fn the_defaults_are_an_id_of_version_7_this_moment_and_new() {
    let queue = Queue::new().await;
    let clock = SystemClock::new();
    let connection = queue.sql();
    let before = clock.now();
    for _ in 0..200 {
        insert(&connection, "account_id, chat_id, text", "'acc_1', 'c', 'x'").unwrap();
    }
    let after = clock.now();
    let rows = queue.lines("SELECT id, created_at, updated_at, state, reason FROM messages ORDER BY seq");
    let mut ids = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.split('|').collect();
        let id = uuid::Uuid::parse_str(cells[0]).unwrap();
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122), "{id}");
        assert_eq!(id.hyphenated().to_string(), cells[0], "lower case");
        let (seconds, nanos) = id.get_timestamp().unwrap().to_unix();
        let stamp = jiff::Timestamp::new(seconds.try_into().unwrap(), nanos.try_into().unwrap()).unwrap();
        let created: jiff::Timestamp = cells[1].parse().unwrap();
        assert!(before <= created && created <= after, "{before} {created} {after}");
        assert_eq!((stamp, outboxd::domain::time_text(created)), (created, cells[1].to_owned()));
        assert_eq!(cells[1..], [cells[1], cells[1], "new", "admission"]);
        ids.insert(id);
    }
    assert_eq!(ids.len(), 200, "ids repeat");
    queue.check();
}

#[tokio::test]
async fn an_arrival_is_counted_and_is_an_event_and_its_library_is_noted() {
    let queue = Queue::new().await;
    let connection = queue.sql();
    insert(&connection, "account_id, chat_id, text", "'acc_1', 'c', 'x'").unwrap();
    insert(&connection, "account_id, chat_id, text", "'acc_1', 'c', 'y'").unwrap();
    let event = queue.lines("SELECT kind, account_id, reason FROM events ORDER BY seq");
    assert_eq!(event, ["message.new|acc_1|admission"; 2]);
    let totals = queue.store.totals().await.unwrap();
    assert_eq!(totals.counts.of(StateName::New), 2);
    assert_eq!(totals.producers.len(), 1);
    assert_eq!(totals.producers[0].sqlite_version, rusqlite::version());
    queue.check();
}

#[tokio::test]
async fn a_key_is_a_producers_idempotency() {
    let queue = Queue::new().await;
    let connection = queue.sql();
    let row = "(account_id, chat_id, text, dedupe_key) VALUES ('acc_1', 'c', 'x', 'k')";
    let ways = [
        (format!("INSERT INTO messages {row} ON CONFLICT DO NOTHING"), 1),
        (format!("INSERT INTO messages {row} ON CONFLICT DO NOTHING"), 0),
        (
            format!(
                "INSERT INTO messages {row} ON CONFLICT (dedupe_key) WHERE dedupe_key IS NOT NULL AND state <> 'failed' \
                 AND state <> 'cancelled' AND state <> 'rejected' DO NOTHING"
            ),
            0,
        ),
        (format!("INSERT OR IGNORE INTO messages {row}"), 0),
    ];
    for (sql, stored) in &ways {
        assert_eq!(connection.execute(sql, []).unwrap_or_else(|error| panic!("{sql}: {error}")), *stored);
        queue.check();
    }
    for verb in ["INSERT", "INSERT OR ABORT", "INSERT OR FAIL", "INSERT OR ROLLBACK"] {
        let error = connection.execute(&format!("{verb} INTO messages {row}"), []).unwrap_err().to_string();
        assert!(error.starts_with("UNIQUE constraint failed: "), "{verb}: {error}");
        assert!(verb != "INSERT" || error.ends_with("messages.dedupe_key"), "{error}");
        queue.check();
    }
    // The socket and SQL share the keys.
    let enqueue = |message| queue.store.enqueue(vec![message], EnqueueMode::Each, at(0));
    let same = enqueue(keyed("k", to_chat("c", "x"))).await.unwrap();
    assert!(matches!(same[..], [Enqueued::Duplicate(_)]), "{same:?}");
    let other = enqueue(keyed("k", to_chat("c", "y"))).await.unwrap();
    assert!(matches!(other[..], [Enqueued::Conflict(_)]), "{other:?}");
    enqueue(keyed("k2", to_chat("c", "y"))).await.unwrap();
    let row = "(account_id, chat_id, text, dedupe_key) VALUES ('acc_1', 'c', 'z', 'k2')";
    let stored = connection.execute(&format!("INSERT INTO messages {row} ON CONFLICT DO NOTHING"), []);
    assert_eq!(stored.unwrap(), 0);
    queue.check();
}

#[tokio::test]
async fn every_conflict_clause_inserts_a_good_row() {
    let queue = Queue::new().await;
    let connection = queue.sql();
    let verbs = ["", "OR ABORT", "OR FAIL", "OR IGNORE", "OR REPLACE", "OR ROLLBACK"];
    for verb in verbs {
        for account in ["acc_1", "acc_1", "acc_2"] {
            let sql = format!(
                "INSERT {verb} INTO messages (account_id, chat_id, text, dedupe_key) \
                 VALUES ('{account}', 'c', 'x', hex(randomblob(8)))"
            );
            assert_eq!(connection.execute(&sql, []).unwrap_or_else(|error| panic!("{sql}: {error}")), 1);
        }
        queue.check();
    }
    assert_eq!(queue.value("SELECT sum(n) FROM counts"), (3 * verbs.len()).to_string());
    assert_eq!(queue.value("SELECT count(*) FROM events"), (3 * verbs.len()).to_string());
}

/// `REPLACE` deletes the conflicting row, and with it the outcome of that message: it could be lost, or sent a second
/// time (P1, P2).
#[tokio::test]
async fn insert_or_replace_never_removes_a_message() {
    let queue = Queue::new().await;
    let done = queue.enqueue(keyed("done", to_chat("c", "x")), at(0)).await;
    queue.attempt(done, 1, sent()).await;
    let waiting = queue.enqueue(keyed("waiting", to_chat("c", "y")), at(0)).await;
    let connection = queue.sql();
    insert(&connection, "account_id, chat_id, text, dedupe_key", "'acc_1', 'c', 'z', 'new'").unwrap();
    // As in nearly every other program: without foreign keys nothing else protects a message with attempts.
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    let before = queue.lines("SELECT * FROM messages ORDER BY seq");
    let id = |id: MessageId| format!("'{id}'");
    let cases = [
        ("dedupe_key", "'done'".to_owned()),
        ("dedupe_key", "'waiting'".to_owned()),
        ("dedupe_key", "'new'".to_owned()),
        ("id", id(done)),
        ("id", id(waiting)),
        ("seq", "1".to_owned()),
        ("seq", "2".to_owned()),
        ("seq", "3".to_owned()),
    ];
    for (column, value) in cases {
        for verb in ["REPLACE", "INSERT OR REPLACE"] {
            let sql = format!(
                "{verb} INTO messages (account_id, chat_id, text, {column}) VALUES ('acc_1', 'c', 'again', {value})"
            );
            let replaced = connection.execute(&sql, []);
            assert_eq!(queue.lines("SELECT * FROM messages ORDER BY seq"), before, "{sql}: {replaced:?}");
            let error = replaced.unwrap_err().to_string();
            assert!(error.contains("outboxd: ") && error.contains("ON CONFLICT DO NOTHING"), "{error}");
            queue.check();
        }
    }
}

#[tokio::test]
async fn a_message_and_an_account_are_never_deleted() {
    let queue = Queue::new().await;
    queue.enqueue(to_chat("c", "x"), at(0)).await;
    for sql in ["DELETE FROM messages", "DELETE FROM messages WHERE seq = 1"] {
        let error = queue.sql().execute(sql, []).unwrap_err().to_string();
        assert!(
            error.starts_with("outboxd: messages are not deleted; cancel them with: outboxd cancel <id>")
        );
    }
    let error = queue.sql().execute("DELETE FROM accounts", []).unwrap_err().to_string();
    assert!(error.starts_with("outboxd: accounts are not deleted"), "{error}");
    queue.check();
}

#[tokio::test]
async fn a_producer_cannot_move_a_message_where_it_cannot_go() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
    for state in ["new", "sent", "uncertain", "rejected", "nonsense"] {
        let sql =
            format!("UPDATE messages SET revision = revision + 1, state = '{state}', sent_at = created_at");
        let error = queue.sql().execute(&sql, []).unwrap_err().to_string();
        assert!(error.contains("docs/lifecycle.md"), "{state}: {error}");
    }
    assert_eq!(queue.state(id).await.0, StateName::Queued);
    queue.check();
}

/// Starts 64 tasks that use the queue as the engine and the API do, until `stop`.
fn daemon_at_work(queue: &Queue, stop: &Arc<AtomicBool>) -> JoinSet<u64> {
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let (store, stop) = (queue.store.clone(), Arc::clone(stop));
        tasks.spawn(async move {
            let mine = account(&format!("worker{task}"));
            let mut sends = 0;
            while !stop.load(Ordering::Relaxed) {
                let message = NewMessage { account_id: mine.clone(), ..to_chat("c", "x") };
                let verdicts = store.enqueue(vec![message], EnqueueMode::Each, at(0)).await.expect("stored");
                let [Enqueued::Accepted(id)] = verdicts[..] else { panic!("{verdicts:?}") };
                let seq = store.message(id, at(0)).await.expect("read").expect("there").seq;
                let intent = outboxd::store::Intent {
                    seq,
                    account_id: mine.clone(),
                    number: 1,
                    at: at(1),
                    gap: Duration::from_secs(10),
                    next_call_at: at(11),
                    monotonic: Duration::ZERO,
                    provider_at: None,
                    fingerprint: String::new(),
                    chat_id: None,
                    edits: 0,
                    limits: outboxd::store::IntentLimits::new(outboxd::domain::kind::Kind::Message),
                };
                assert_eq!(store.begin_attempt(intent).await.expect("an answer"), Begun::Granted);
                let settlement = outboxd::store::Settlement {
                    seq,
                    account_id: mine.clone(),
                    number: 1,
                    at: at(2),
                    phase: outboxd::domain::outcome::Phase::Answered,
                    outcome: "accepted",
                    problem: None,
                    message: sent(),
                    next_call_at: at(12),
                    hold: None,
                    history: outboxd::domain::account::History::default(),
                    account_down: None,
                    key_refused: None,
                };
                assert!(store.settle(settlement).await.expect("settled"));
                sends += 1;
            }
            sends
        });
    }
    tasks
}

#[tokio::test]
async fn a_stop_that_would_stop_nothing_is_refused_with_the_way_out() {
    let queue = Queue::new().await;
    for (values, says) in [
        ("'people', 'U1', 'stopped', NULL", "write all, account, campaign, person or chat"),
        ("'all', '', 'stopped', NULL", "write daemon_paused"),
        ("'all', 'acc_1', 'daemon_paused', NULL", "leave it empty"),
        ("'account', 'acc_1', 'stopped', NULL", "write account_paused"),
        ("'person', 'U1', 'account_paused', NULL", "write stopped, or suppressed"),
        ("'person', 'U1', 'because', NULL", "write stopped, or suppressed"),
        ("'campaign', '', 'stopped', NULL", "key is empty"),
        ("'chat', 'https://www.linkedin.com/messaging/thread/2-abc/', 'stopped', NULL", "key is an address"),
        ("'person', 'jane@example.com', 'stopped', NULL", "an e-mail address"),
        ("'person', '+491701234567', 'stopped', NULL", "a phone number"),
        ("'person', '@jane', 'stopped', NULL", "a handle"),
        ("'person', '[\"ACoAV1\"]', 'suppressed', NULL", "users_ids ->> 0"),
        ("'person', 'ACoAV2,ACoAV3', 'suppressed', NULL", "one row for each"),
        ("'person', 'ACoA1;ACoA2', 'suppressed', NULL", "one row for each"),
        ("'person', char(39) || 'ACoA1' || char(39), 'suppressed', NULL", "write the id alone"),
        ("'person', 'ACoA1' || char(0), 'suppressed', NULL", "write the id alone"),
        ("'person', '=A1', 'suppressed', NULL", "a formula"),
        ("'person', '1.23E+11', 'suppressed', NULL", "a number in the form of a table"),
        ("'person', '123456.0', 'suppressed', NULL", "a number in the form of a table"),
        ("'person', 'user_id', 'suppressed', NULL", "the name of a column"),
        ("'chat', '[\"2-x\"]', 'stopped', NULL", "write the id alone"),
        ("'account', 'acc_1,acc_2', 'account_paused', NULL", "one row for each"),
        ("'person', 'TBD', 'stopped', NULL", "a missing value"),
        ("'person', 'U1', 'stopped', '2020-01-01T00:00:00.000Z'", "until has passed"),
        ("'person', 'U1', 'suppressed', '2999-01-01T00:00:00.000Z'", "a suppression has no end"),
    ] {
        let sql = format!("INSERT INTO stops (scope, key, reason, until) VALUES ({values})");
        let refused = queue.sql().execute(&sql, []).unwrap_err().to_string();
        assert!(refused.contains("outboxd: ") && refused.contains(says), "{values}: {refused}");
    }
    // A word that may be a public name is stopped as both.
    let sql = "INSERT INTO stops (scope, key, reason) VALUES ('person', 'Kim-7c2', 'suppressed'), ('person', 'U1', 'stopped'), \
         ('person', '33612345678@s.whatsapp.net', 'stopped')";
    queue.sql().execute(sql, []).unwrap();
    let stored = queue.lines("SELECT key || ' ' || reason FROM stops ORDER BY key");
    let whatsapp = "33612345678@s.whatsapp.net stopped";
    assert_eq!(stored, [whatsapp, "Kim-7c2 suppressed", "U1 stopped", "in/kim-7c2 suppressed"]);
    // A DELETE of the word ends both.
    queue.sql().execute("DELETE FROM stops WHERE key = 'Kim-7c2'", []).unwrap();
    assert_eq!(queue.lines("SELECT key || ' ' || reason FROM stops ORDER BY key"), [whatsapp, "U1 stopped"]);
    let lifted = queue
        .lines("SELECT detail ->> 'key' FROM events WHERE kind = 'stop.lifted' ORDER BY detail ->> 'key'");
    assert_eq!(lifted, ["Kim-7c2", "in/kim-7c2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_with_a_busy_timeout_of_5_s_never_meets_a_lock() {
    const ROWS: usize = 250;
    let queue = Queue::new().await;
    let stop = Arc::new(AtomicBool::new(false));
    let tasks = daemon_at_work(&queue, &stop);
    let connection = queue.sql();
    let producer = tokio::task::spawn_blocking(move || {
        for row in 0..ROWS {
            let values = format!("'acc_producer', 'c', 'row {row}'");
            insert(&connection, "account_id, chat_id, text", &values)
                .unwrap_or_else(|error| panic!("row {row}: {error}"));
        }
    });
    let produced = producer.await;
    stop.store(true, Ordering::Relaxed);
    let sends: u64 = tasks.join_all().await.into_iter().sum();
    produced.unwrap();
    assert!(sends >= 64, "the daemon starved: {sends}");
    assert_eq!(queue.value("SELECT n FROM counts WHERE account_id = 'acc_producer'"), ROWS.to_string());
    let total = queue.store.totals().await.unwrap().counts.of(StateName::Sent);
    assert_eq!(total, sends);
    queue.check();
}

/// P3, P4: the caps and the audit count the calls on disk, so no other program changes them, also while one is under way.
#[tokio::test]
async fn the_record_of_calls_is_neither_changed_nor_deleted() {
    let queue = Queue::new().await;
    let done = queue.enqueue(to_chat("c1", "x"), at(0)).await;
    queue.attempt(done, 1, sent()).await;
    let open = queue.enqueue(to_chat("c2", "x"), at(0)).await;
    assert_eq!(queue.begin(open, 1, at(60)).await, Begun::Granted);
    let before = queue.lines("SELECT * FROM attempts ORDER BY seq");
    let connection = queue.sql();
    for (sql, problem) in [
        ("DELETE FROM attempts WHERE seq = 1", "not deleted"),
        ("DELETE FROM attempts", "not deleted"),
        ("UPDATE attempts SET started_at = '2020-01-01T00:00:00.000Z'", "the daemon alone writes"),
        ("UPDATE attempts SET kind = 'inmail' WHERE seq = 1", "the daemon alone writes"),
        ("UPDATE attempts SET fingerprint = 'x' WHERE seq = 1", "the daemon alone writes"),
        ("UPDATE attempts SET outcome = 'not_sent' WHERE seq = 1", "the daemon alone writes"),
        ("UPDATE attempts SET detail = 'x' WHERE seq = 1", "the daemon alone writes"),
        (
            "UPDATE attempts SET outcome = 'refused', ended_at = started_at WHERE seq = 2",
            "the daemon alone writes",
        ),
        ("INSERT OR REPLACE INTO attempts SELECT * FROM attempts", "this one exists"),
    ] {
        let refused = connection.execute(sql, []).expect_err(sql).to_string();
        assert!(refused.starts_with("outboxd: ") && refused.contains(problem), "{sql}: {refused}");
    }
    assert_eq!(queue.lines("SELECT * FROM attempts ORDER BY seq"), before);
    let settlement = queue.settlement(open, 1, sent()).await;
    assert!(queue.store.settle(settlement).await.unwrap(), "the daemon closes its call");
    queue.check();
}
