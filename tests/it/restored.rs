//! Queues that were away: a copy that was restored from a backup, and one that no daemon had open for days (P2, P4).

use std::path::Path;

use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, run, texts};

async fn wait_status(daemon: &Daemon, id: &str) -> (Value, Value) {
    let (_, message) = daemon.get(&format!("/v1/messages/{id}")).await;
    (message["reason"].clone(), message["waits_for"].clone())
}

fn body(number: usize) -> String {
    json!({"account_id": "acc_1", "chat_id": format!("c{number}"), "text": format!("message {number}")})
        .to_string()
}

/// Copies the database as a clean stop leaves it: one file.
fn copy(env: &TestEnv, to: &Path) {
    let log = format!("{}-wal", env.database().display());
    assert!(!Path::new(&log).exists(), "a clean stop leaves nothing in the write-ahead log");
    std::fs::copy(env.database(), to).expect("a copy");
}

fn put_back(env: &TestEnv, from: &Path) {
    for side in ["-wal", "-shm"] {
        let _where_there_is_one = std::fs::remove_file(format!("{}{side}", env.database().display()));
    }
    std::fs::copy(from, env.database()).expect("a restored file");
}

/// Yesterday's database next to today's restore guard: whatever was sent since would be sent again.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_snapshot_sends_nothing_until_somebody_lets_it_go() {
    let env = TestEnv::new().await.hasty();
    let mut daemon = env.serve().await;
    let first = daemon.enqueue(&body(1)).await;
    daemon.becomes(&first, "sent").await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let second = daemon.enqueue(&body(2)).await;
    daemon.signal("-TERM");
    daemon.ended().await;
    copy(&env, &env.path("snapshot.db"));

    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    daemon.becomes(&second, "sent").await;
    // Without a clean stop: the restore guard is written at once.
    daemon.kill();
    put_back(&env, &env.path("snapshot.db"));
    let daemon = env.serve().await;
    assert_eq!(wait_status(&daemon, &second).await, (json!("restored"), json!("person")));
    assert!(env.log().contains("was restored from a backup"), "{}", env.log());
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["restored"]["why"], "it does not know the last call that was made from this queue");
    assert_eq!(status["recovered"]["after"], "copy");
    assert!(status["next_step"].as_str().unwrap().contains("outboxd resume --all --restored"), "{status}");
    // Resuming alone does not mean that a person has checked the queue.
    daemon.post("/v1/resume", "").await;
    assert_eq!(wait_status(&daemon, &second).await.0, "restored");
    let third = daemon.enqueue(&body(3)).await;
    assert_eq!(wait_status(&daemon, &third).await.0, "restored");
    // This holds across restarts.
    daemon.kill();
    let daemon = env.serve().await;
    assert_eq!(wait_status(&daemon, &second).await.0, "restored");
    assert_eq!(daemon.get("/v1/status").await.1["recovered"]["after"], "crash");
    assert_eq!(daemon.post(&format!("/v1/messages/{second}/cancel"), "").await.0, 200);
    let (ok, said) = run(env.outboxd(&["resume", "--all", "--restored"]), "");
    assert!(ok && said.contains("everything goes on"), "{said}");
    daemon.becomes(&third, "sent").await;
    daemon.kill();
    // From now on it is the queue.
    let daemon = env.serve().await;
    assert_eq!(daemon.get("/v1/status").await.1["restored"], Value::Null);
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["message 1", "message 2", "message 3"]);
}

/// Returns the commands of docs/operations.md that repair a queue with SQLite's `.dump`.
fn documented_repair() -> String {
    let text = include_str!("../../docs/operations.md");
    let lines = text.lines().skip_while(|line| !line.contains(".dump; }"));
    lines.take_while(|line| line.starts_with("    ")).map(str::trim).collect::<Vec<_>>().join("\n")
}

/// A repaired file may lack messages and calls, also some before the last one.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_was_repaired_from_a_dump_is_held() {
    let env = TestEnv::new().await.hasty();
    let mut daemon = env.serve().await;
    let first = daemon.enqueue(&body(1)).await;
    daemon.becomes(&first, "sent").await;
    daemon.post("/v1/pause", "").await;
    let second = daemon.enqueue(&body(2)).await;
    daemon.signal("-TERM");
    daemon.ended().await;
    copy(&env, &env.path("damaged.db"));
    let repair = documented_repair();
    assert!(repair.contains("application_id"), "{repair}");
    match env.run("sqlite3", &["-version"], "") {
        Some(_) => {
            let (ok, said) = env.run("sh", &["-ec", &repair], "").expect("a shell");
            assert!(ok, "{said}");
        }
        // A dump differs from a copy in the header.
        None => {
            std::fs::copy(env.path("damaged.db"), env.path("repaired.db")).expect("a copy");
            let repaired = rusqlite::Connection::open(env.path("repaired.db")).expect("the file");
            repaired.pragma_update(None, "user_version", 0).expect("set");
        }
    }
    let mark = env.path("queue.db.mark");
    let text = std::fs::read_to_string(&mark).expect("the mark");
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    assert!(value["version"].is_array(), "{value}");
    // A daemon that could not open the damaged file leaves no version.
    value["version"] = Value::Null;
    for text in [text, format!("{:<511}\n", value.to_string())] {
        std::fs::write(&mark, text).expect("written");
        put_back(&env, &env.path("repaired.db"));
        let mut daemon = env.serve().await;
        let why = daemon.get("/v1/status").await.1["restored"]["why"].clone();
        assert!(why.as_str().is_some_and(|why| why.contains(".dump")), "{why}");
        daemon.post("/v1/resume", "").await;
        assert_eq!(wait_status(&daemon, &second).await.0, "restored");
        daemon.signal("-TERM");
        daemon.ended().await;
    }
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/resume", r#"{"restored": true}"#).await.0, 200);
    daemon.becomes(&second, "sent").await;
    daemon.kill();
    let daemon = env.serve().await;
    assert_eq!(daemon.get("/v1/status").await.1["restored"], Value::Null);
}

/// A copy may have lost something other than a call: a cancellation or a pause counts as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_has_forgotten_a_cancellation_is_recognised() {
    let env = TestEnv::new().await.hasty();
    let mut daemon = env.serve().await;
    let first = daemon.enqueue(&body(1)).await;
    daemon.becomes(&first, "sent").await;
    daemon.post("/v1/pause", "").await;
    let second = daemon.enqueue(&body(2)).await;
    daemon.signal("-TERM");
    daemon.ended().await;
    copy(&env, &env.path("snapshot.db"));
    let mut daemon = env.serve().await;
    daemon.post(&format!("/v1/messages/{second}/cancel"), "").await;
    daemon.signal("-TERM");
    daemon.ended().await;
    put_back(&env, &env.path("snapshot.db"));
    let daemon = env.serve().await;
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["restored"]["why"], "it does not know the last things that happened to this queue");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_without_its_mark_is_held_and_a_queue_that_never_called_is_not() {
    let env = TestEnv::new().await.hasty();
    let mark = env.path("queue.db.mark");
    let mut daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let first = daemon.enqueue(&body(1)).await;
    daemon.signal("-TERM");
    daemon.ended().await;
    std::fs::remove_file(&mark).expect("the mark is there");
    let daemon = env.serve().await;
    assert_eq!(daemon.get("/v1/status").await.1["restored"], Value::Null);
    daemon.post("/v1/resume", "").await;
    daemon.becomes(&first, "sent").await;
    daemon.kill();
    for content in [None, Some(""), Some("no mark"), Some(r#"{"queue":"x","call":null,"seq":0}"#)] {
        match content {
            None => std::fs::remove_file(&mark).expect("the mark is there"),
            Some(content) => std::fs::write(&mark, format!("{content:<600}")).expect("written"),
        }
        let daemon = env.serve().await;
        assert!(daemon.get("/v1/status").await.1["restored"]["why"].is_string(), "{content:?}");
        let (ok, said) = run(env.outboxd(&["resume", "--all", "--restored"]), "");
        assert!(ok, "{said}");
        daemon.kill();
    }
    let daemon = env.serve().await;
    assert_eq!(daemon.get("/v1/status").await.1["restored"], Value::Null, "the mark was written anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn restored_concerns_everything_and_is_refused_for_an_account() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let (code, answer) = daemon.post("/v1/accounts/acc_1/resume", r#"{"restored": true}"#).await;
    assert_eq!((code, &answer["error"]["field"]), (422, &json!("restored")), "{answer}");
    let (ok, said) = run(env.outboxd(&["resume", "acc_1", "--restored"]), "");
    assert!(!ok && said.contains("--all"), "{said}");
}

/// Dates the queue and its restore guard back by `hours`, as if the machine had been off.
fn was_off_for(env: &TestEnv, hours: u32) {
    let earlier =
        |column: &str| format!("{column} = strftime('%Y-%m-%dT%H:%M:%fZ', {column}, '-{hours} hours')");
    for sql in [
        format!(
            "UPDATE messages SET revision = revision + 1, {}, {}",
            earlier("created_at"),
            earlier("due_at")
        ),
        // From another boot of the machine: the time since this boot shows how long no daemon ran.
        format!("UPDATE runs SET boot_id = 'another', {}, {}", earlier("started_at"), earlier("clock_at")),
    ] {
        env.sql(&sql);
    }
    let mark = env.path("queue.db.mark");
    let text = std::fs::read_to_string(&mark).expect("the mark");
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    let at: jiff::Timestamp = value["alive_at"].as_str().expect("a time").parse().expect("a time");
    let before = at - jiff::SignedDuration::from_hours(i64::from(hours));
    value["alive_at"] = json!(format!("{before:.3}"));
    std::fs::write(&mark, format!("{:<511}\n", value.to_string())).expect("written");
}

async fn queue_that_was_off(hours: u32, stale_after: &str) -> (TestEnv, Daemon, [String; 2]) {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_ENGINE_STALE_AFTER", stale_after);
    let mut daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let by_socket = daemon.enqueue(&body(1)).await;
    daemon.signal("-TERM");
    daemon.ended().await;
    // While no daemon ran, another program continued to insert.
    let insert =
        "INSERT INTO messages (account_id, chat_id, text) VALUES ('acc_1', 'c2', 'message 2') RETURNING id";
    let by_sql = env.sql(insert).remove(0);
    was_off_for(&env, hours);
    let daemon = env.serve().await;
    daemon.post("/v1/resume", "").await;
    (env, daemon, [by_socket, by_sql])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_due_long_before_the_start_waits_for_a_person() {
    let (env, daemon, ids) = queue_that_was_off(25, "24h").await;
    for id in &ids {
        let message = daemon.becomes(id, "review").await;
        assert_eq!((&message["reason"], &message["actor"]), (&json!("stale"), &json!("operator")));
    }
    let fresh = daemon.enqueue(&body(3)).await;
    daemon.becomes(&fresh, "sent").await;
    assert_eq!(daemon.get("/v1/status").await.1["recovered"]["stale"], 1, "the other one came by SQL");
    let (ok, told) = run(env.outboxd(&["review", "--reason", "stale", "resend", "--dry-run"]), "");
    assert!(
        ok && told.starts_with("2 messages that are in review as `stale` go back into the queue"),
        "{told}"
    );
    let (ok, said) = run(env.outboxd(&["review", &ids[0], "drop", "--yes"]), "");
    assert!(ok, "{said}");
    let (ok, said) =
        run(env.outboxd(&["review", "--reason", "stale", "resend", "--yes", "--account", "acc_1"]), "");
    assert!(ok && said.starts_with("1 message of the account acc_1 that is in review"), "{said}");
    daemon.becomes(&ids[1], "sent").await;
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["message 2", "message 3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_absence_or_a_switched_off_guard_holds_nothing() {
    for (hours, stale_after) in [(23, "24h"), (25, "0s")] {
        let (_env, daemon, ids) = queue_that_was_off(hours, stale_after).await;
        for id in &ids {
            daemon.becomes(id, "sent").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deciding_about_all_needs_a_reason_and_a_decision() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    for (body, field) in [
        ("", "decision"),
        (r#"{"decision": "resend"}"#, "reason"),
        (r#"{"decision": "resend", "reason": "gap"}"#, "reason"),
        (r#"{"decision": "again", "reason": "stale"}"#, "decision"),
        (r#"{"decision": "resend", "reason": "stale", "acount_id": "acc_1"}"#, "acount_id"),
    ] {
        let (code, answer) = daemon.post("/v1/review", body).await;
        assert_eq!((code, &answer["error"]["field"]), (422, &json!(field)), "{body}: {answer}");
    }
    let (code, answer) = daemon.post("/v1/review", r#"{"decision": "resend", "reason": "stale"}"#).await;
    assert_eq!((code, &answer["messages"]), (200, &json!(0)), "{answer}");
    for arguments in [
        &["review", "--reason", "stale"][..],
        &["review", "--yes"],
        &["review", "x", "--note", "n"],
        &["review", "--account", "acc_1"],
    ] {
        let (ok, said) = run(env.outboxd(arguments), "");
        assert!(!ok && said.contains("error"), "{arguments:?}: {said}");
    }
}

/// A message that was sent after a restore is not in the queue from before it: restoring that one would send it
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn the_queue_from_before_a_restore_is_a_restored_one_as_well() {
    let env = TestEnv::new().await.hasty();
    let mut daemon = env.serve().await;
    let first = daemon.enqueue(&body(1)).await;
    daemon.becomes(&first, "sent").await;
    daemon.signal("-TERM");
    daemon.ended().await;
    copy(&env, &env.path("before.db"));
    let mut daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/backup", r#"{"name": "copy.db"}"#).await.0, 200);
    daemon.signal("-TERM");
    daemon.ended().await;
    put_back(&env, &env.path("backups").join("copy.db"));
    let mut daemon = env.serve().await;
    // Resuming alone releases nothing, and says so.
    let (ok, said) = run(env.outboxd(&["resume", "--all"]), "");
    assert!(ok && said.contains("still held"), "{said}");
    daemon.post("/v1/resume", r#"{"restored": true}"#).await;
    let second = daemon.enqueue(&body(2)).await;
    daemon.becomes(&second, "sent").await;
    daemon.signal("-TERM");
    daemon.ended().await;
    put_back(&env, &env.path("before.db"));
    let daemon = env.serve().await;
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(
        status["restored"]["why"], "the restore guard next to it belongs to another queue",
        "{status}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_meanwhile_expires_and_needs_nobody() {
    let env = TestEnv::new().await.hasty();
    let mut daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let id = daemon.enqueue(&body(1)).await;
    daemon.signal("-TERM");
    daemon.ended().await;
    was_off_for(&env, 25);
    env.sql("UPDATE messages SET revision = revision + 1, expires_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hours')");
    let daemon = env.serve().await;
    daemon.post("/v1/resume", "").await;
    daemon.becomes(&id, "expired").await;
}

/// The error names the file or the folder, whose it is and its mode.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_cannot_be_written_names_what_is_in_the_way() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    daemon.kill();
    let set = |name: &str, mode| {
        std::fs::set_permissions(env.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let is_root = std::fs::metadata(env.path("")).unwrap().uid() == 0;
    let queue = ["queue.db", "queue.db-wal", "queue.db-shm", "queue.db.lock", "queue.db.mark"];
    for name in queue.into_iter().chain([""]) {
        if is_root {
            std::os::unix::fs::chown(env.path(name), Some(65534), Some(65534)).unwrap();
        }
    }
    for (closed, mode) in queue.map(|name| (name, 0o440)).into_iter().chain([("", 0o500)]) {
        for name in queue {
            set(name, 0o660);
        }
        set("", 0o700);
        if closed.is_empty() {
            let _may_be_gone = std::fs::remove_file(env.path("queue.db-wal"));
            let _may_be_gone = std::fs::remove_file(env.path("queue.db-shm"));
        }
        set(closed, mode);
        let mut command = env.outboxd(&["serve"]);
        if is_root {
            command.uid(65534).gid(65534);
        }
        // Another user may lack permission to run the binary.
        let Ok(output) = command.output() else { return };
        let text = String::from_utf8_lossy(&output.stderr);
        let place = env.path(closed).display().to_string();
        let named = text.contains(&format!("cannot use {}; it belongs to user", place.trim_end_matches('/')));
        assert!(named && text.contains(&format!("(mode {mode:04o})")), "{closed}: {text}");
    }
    set("", 0o700);
}

/// A user who may not use the socket may not read the queue either.
#[tokio::test(flavor = "multi_thread")]
async fn files_of_the_queue_are_not_for_everybody() {
    use std::os::unix::fs::PermissionsExt;
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let id = daemon.enqueue(&body(1)).await;
    daemon.becomes(&id, "sent").await;
    assert_eq!(daemon.post("/v1/backup", r#"{"name": "copy.db"}"#).await.0, 200);
    for name in
        ["queue.db", "queue.db-wal", "queue.db-shm", "queue.db.lock", "queue.db.mark", "backups/copy.db"]
    {
        let mode = std::fs::metadata(env.path(name))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .permissions()
            .mode();
        assert_eq!(mode & 0o007, 0, "{name} has {mode:o}");
    }
}
