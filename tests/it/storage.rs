//! A disk that fails under the running daemon: no call without a durable intent, the reason is shown, and sending
//! resumes without help (P1, P2, P6).

use std::process::Command;

use outboxd::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, texts};

fn body(number: usize) -> String {
    json!({"account_id": "acc_1", "chat_id": format!("c{number}"), "text": format!("message {number}"), "typing": false}).to_string()
}

/// Limits the size of files that the daemon may write, as a full disk would: `prlimit` of a running process.
fn limit_files(daemon: &Daemon, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".to_owned(), |bytes| format!("{bytes}:unlimited"));
    let set = Command::new("prlimit")
        .args(["--pid", &daemon.pid().to_string(), &format!("--fsize={limit}")])
        .status();
    assert!(set.is_ok_and(|status| status.success()), "prlimit of util-linux");
}

async fn trouble(daemon: &Daemon) -> Value {
    daemon.get("/v1/status").await.1["queue"]["trouble"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_sending_before_a_call_and_it_goes_on_by_itself() {
    let env = TestEnv::new().await.hasty().ignoring_file_limits();
    let daemon = env.serve().await;
    let first = daemon.enqueue(&body(1)).await;
    daemon.becomes(&first, "sent").await;
    daemon.post("/v1/pause", "").await;
    let second = daemon.enqueue(&body(2)).await;
    daemon.post("/v1/resume", "").await;
    daemon.becomes(&second, "sent").await;
    let not_before = (Clock::now(&SystemClock::new()) + jiff::SignedDuration::from_secs(6)).to_string();
    let timed = json!({"account_id": "acc_1", "chat_id": "c3", "text": "message 3", "typing": false, "not_before": not_before});
    let third = daemon.enqueue(&timed.to_string()).await;
    limit_files(&daemon, Some(1));
    assert!(eventually(async || trouble(&daemon).await["error"].is_string()).await, "{}", env.log());
    let (_, status) = daemon.get("/v1/status").await;
    let error = status["queue"]["trouble"]["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("full") || error.contains("I/O"), "{error}");
    assert!(status["next_step"].as_str().is_some_and(|step| step.contains("see to its disk")), "{status}");
    let storage =
        eventually(async || daemon.get(&format!("/v1/messages/{third}")).await.1["reason"] == "storage")
            .await;
    assert!(storage, "explain says why: {}", env.log());
    // A message that cannot be stored is not acknowledged.
    let (code, refused) = daemon.post("/v1/messages", &body(4)).await;
    assert_eq!(code, 503, "{refused}");
    assert_eq!(env.sandbox.world().delivered_count(), 2, "no call without a durable intent");
    assert!(env.log().contains("nothing is sent until it works again"), "{}", env.log());

    limit_files(&daemon, None);
    daemon.becomes(&third, "sent").await;
    assert_eq!(trouble(&daemon).await, Value::Null);
    assert!(env.log().contains("the queue can be written again"), "{}", env.log());
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["message 1", "message 2", "message 3"]);
}

/// A producer that keeps the write lock: a due message waits for the storage within a second, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_due_while_another_program_keeps_the_lock_waits_for_the_storage() {
    let clock = SystemClock::new();
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let due = Clock::now(&clock) + jiff::SignedDuration::from_secs(3);
    let timed = json!({"account_id": "acc_1", "chat_id": "c", "text": "x", "typing": false, "not_before": due.to_string()});
    let id = daemon.enqueue(&timed.to_string()).await;
    let other = rusqlite::Connection::open(env.database()).expect("the database");
    other.busy_timeout(std::time::Duration::from_secs(5)).expect("busy timeout");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let reason = async || daemon.get(&format!("/v1/messages/{id}")).await.1["reason"].clone();
    assert!(eventually(async || reason().await == "storage").await, "{}", reason().await);
    let told_after = Clock::now(&clock).duration_since(due);
    assert!(told_after.as_millis() < 3000, "told only {told_after} after it was due");
    // From then on it never shows another reason.
    while Clock::now(&clock).duration_since(due).as_millis() < 7000 {
        let (reason, health) = (reason().await, daemon.get("/healthz"));
        let asked = clock.monotonic();
        let (status, _) = health.await;
        let answered_after = clock.monotonic() - asked;
        assert_eq!((reason, status), (json!("storage"), 503));
        assert!(answered_after.as_millis() < 1000, "/healthz took {answered_after:?}");
        clock.sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(env.sandbox.world().delivered_count(), 0);
    other.execute_batch("COMMIT").expect("let go");
    daemon.becomes(&id, "sent").await;
    assert!(eventually(async || daemon.get("/healthz").await.0 == 200).await);
}

/// The answer arrives when it cannot be recorded: the daemon keeps it until it can.
#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_cannot_be_recorded_is_recorded_when_the_disk_is_back() {
    let env = TestEnv::new().await.hasty().ignoring_file_limits();
    let slow = outboxd::sandbox::FaultKind::LatencyAfterDelivery(std::time::Duration::from_secs(2));
    env.sandbox.fault(outboxd::sandbox::Fault::new(slow));
    let daemon = env.serve().await;
    let first = daemon.enqueue(&body(1)).await;
    env.delivered(1).await;
    limit_files(&daemon, Some(1));
    assert!(
        eventually(async || env.log().contains("the outcome cannot be recorded yet")).await,
        "{}",
        env.log()
    );
    limit_files(&daemon, None);
    let message = daemon.becomes(&first, "sent").await;
    assert_eq!((&message["settled_by"], env.sandbox.world().delivered_count()), (&json!("answer"), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_stops_sending_and_says_so() {
    let env = TestEnv::new().await.hasty();
    let mut daemon = env.serve().await;
    // Due when the daemon runs again.
    let not_before = (Clock::now(&SystemClock::new()) + jiff::SignedDuration::from_secs(4)).to_string();
    let due = |number: u32| {
        let chat = format!("c{number}");
        json!({"account_id": "acc_1", "chat_id": chat, "text": "x", "typing": false, "not_before": not_before})
    };
    let lines: Vec<String> = (0..40).map(|number| due(number).to_string()).collect();
    daemon.post_as("/v1/messages", "application/x-ndjson", lines.join("\n").into_bytes()).await;
    daemon.signal("-TERM");
    daemon.ended().await;
    // Damages the root pages of the tables and indexes that are read first, but not the schema's.
    let path = env.database();
    let mut bytes = std::fs::read(&path).expect("the queue");
    let roots = env.sql("SELECT CAST(rootpage AS TEXT) FROM sqlite_schema WHERE name IN ('messages', 'messages_due', 'attempts') AND rootpage > 0");
    for root in roots {
        let at = (root.parse::<usize>().expect("a page") - 1) * 4096;
        bytes[at..at + 64].fill(0xA5);
    }
    std::fs::write(&path, &bytes).expect("damaged");
    // It may refuse to start, or run and log that it cannot read the queue; it must not send.
    let log = std::fs::File::create(env.path("damaged")).expect("a log file");
    let mut serve = env.outboxd(&["serve"]).stderr(log).spawn().expect("it starts");
    let told = eventually(async || {
        let said = std::fs::read_to_string(env.path("damaged")).unwrap_or_default();
        said.contains("malformed") || said.contains("corrupt")
    });
    let told = told.await;
    let _ended_already = serve.kill();
    let _ended_already = serve.wait();
    assert!(told, "{}", std::fs::read_to_string(env.path("damaged")).unwrap_or_default());
    assert_eq!(env.sandbox.world().delivered_count(), 0);
}

/// A program that keeps a read transaction open keeps SQLite from restarting the log: the status names it, and the
/// log is cut once the transaction has ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_a_reader_keeps_long_is_told_of_and_cut_when_the_reader_has_gone() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let queue = async || daemon.get("/v1/status").await.1["queue"].clone();
    let warned = async || daemon.get("/v1/status").await.1["notices"].to_string();
    let reader = rusqlite::Connection::open(env.database()).expect("the database");
    reader.execute_batch("BEGIN; SELECT count(*) FROM messages").expect("a snapshot");
    let writer = rusqlite::Connection::open(env.database()).expect("the database");
    writer.busy_timeout(std::time::Duration::from_secs(5)).expect("busy timeout");
    let insert =
        "INSERT INTO messages (account_id, chat_id, text) VALUES ('acc_1', 'c', printf('%.9000000c', 'x'))";
    for _ in 0..8 {
        writer.execute(insert, []).expect("inserted");
    }
    assert!(queue().await["wal_bytes"].as_u64().is_some_and(|bytes| bytes > 64 << 20), "{}", queue().await);
    let me = format!("process {}", std::process::id());
    let told = warned().await;
    assert!(
        told.contains("queue.db-wal") && told.contains("read transaction") && told.contains(&me),
        "{told}"
    );
    // While it judges so long rows, it may take longer than a second to write, which `status` reports by its exit code.
    let judged =
        eventually(async || env.sql("SELECT count(*) || '' FROM messages WHERE state = 'new'") == ["0"])
            .await;
    assert!(judged, "{:?}", env.sql("SELECT state FROM messages"));
    let (ok, said) = crate::daemon::run(env.outboxd(&["status"]), "");
    assert!(ok && said.contains("read transaction"), "{said}");
    reader.execute_batch("COMMIT").expect("let go");
    let cut =
        eventually(async || queue().await["wal_bytes"].as_u64().is_some_and(|bytes| bytes <= 64 << 20)).await;
    assert!(cut, "{}", queue().await);
    assert!(!warned().await.contains("read transaction"));
}

/// The daemon cannot see whether a producer checkpoints the log, so no warning says that it might.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_with_an_old_sqlite_is_listed_and_nobody_is_warned_for_ever() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    env.sql("INSERT INTO producers (sqlite_version, first_seen_at) VALUES ('3.40.1', '2026-11-22T09:00:00.000Z') RETURNING sqlite_version");
    let (_, status) = daemon.get("/v1/status").await;
    assert!(!status["warnings"].to_string().contains("SQLite"), "{status}");
    let expected = json!([{"sqlite_version": "3.40.1", "first_seen_at": "2026-11-22T09:00:00.000Z", "wal_reset_bug": true}]);
    assert_eq!(status["queue"]["producers"], expected, "{status}");
}
