//! Audit and backup, through the whole daemon.

use outboxd::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, run};

fn body(account: &str, number: usize) -> String {
    json!({"account_id": account, "chat_id": format!("c{number}"), "text": format!("message {number}"), "typing": false}).to_string()
}

/// Starts a daemon that has sent three messages, two of them on one account.
async fn used() -> (TestEnv, Daemon, Vec<String>) {
    let env = TestEnv::new()
        .await
        .hasty()
        .set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "20ms")
        .set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "20ms");
    let daemon = env.serve().await;
    let mut ids = Vec::new();
    for (account, number) in [("acc_1", 1), ("acc_1", 2), ("acc_2", 3)] {
        let id = daemon.enqueue(&body(account, number)).await;
        daemon.becomes(&id, "sent").await;
        ids.push(id);
    }
    (env, daemon, ids)
}

pub(crate) async fn breaches(daemon: &Daemon) -> Vec<(String, String)> {
    let (status, audit) = daemon.get("/v1/audit").await;
    assert_eq!(status, 200, "{audit}");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = audit["breaches"].as_array().expect("an array");
    assert_eq!(audit["ok"], all.is_empty(), "{audit}");
    all.iter().map(|one| (text(&one["promise"]), text(&one["what"]))).collect()
}

/// Changes the queue as another program can.
pub(crate) fn tamper(env: &TestEnv, sql: &str) {
    let connection = rusqlite::Connection::open(env.database()).expect("the queue");
    connection.busy_timeout(std::time::Duration::from_secs(5)).expect("busy timeout");
    connection.execute(sql, []).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_of_a_well_kept_queue_finds_nothing_and_each_breach_is_told() {
    let (env, daemon, ids) = used().await;
    assert_eq!(breaches(&daemon).await, []);
    let (ok, said) = run(env.outboxd(&["audit"]), "");
    assert!(ok && said.contains("Every promise was kept: 3 calls of 3 messages"), "{said}");

    // A second call of a message that was accepted.
    tamper(
        &env,
        &format!(
            "INSERT INTO attempts (seq, number, account_id, run, gap_ms, started_at, monotonic_ms, fingerprint, ended_at, phase, outcome, kind) \
         SELECT seq, 2, account_id, run, gap_ms, started_at, monotonic_ms + 60000, fingerprint, ended_at, phase, outcome, kind FROM attempts WHERE seq = (SELECT seq FROM messages WHERE id = '{}')",
            ids[2]
        ),
    );
    let found = breaches(&daemon).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0 == "P2" && found[0].1.contains("accepted by call 1 and called again as number 2"),
        "{found:?}"
    );
    let code = env.outboxd(&["audit"]).output().expect("it runs").status.code();
    assert_eq!(code, Some(6));
    let (_, said) = run(env.outboxd(&["audit"]), "");
    assert!(said.contains("P2") && said.contains("acc_2") && said.contains(&ids[2]), "{said}");
    tamper(&env, "DROP TRIGGER attempts_delete");
    tamper(&env, "DELETE FROM attempts WHERE number = 2");

    // Two messages claim the same id in one chat.
    tamper(
        &env,
        &format!(
            "UPDATE messages SET revision = revision + 1, chat_id = 'c1', provider_message_ids = (SELECT provider_message_ids FROM messages WHERE id = '{}') WHERE id = '{}'",
            ids[0], ids[1]
        ),
    );
    let found = breaches(&daemon).await;
    assert!(found.len() == 1 && found[0].0 == "P2" && found[0].1.contains("claims the id"), "{found:?}");
    tamper(
        &env,
        &format!(
            "UPDATE messages SET revision = revision + 1, provider_message_ids = '[\"other\"]' WHERE id = '{}'",
            ids[1]
        ),
    );

    // A pause that was too short, within a run and between two runs.
    tamper(&env, "DROP TRIGGER attempts_update");
    tamper(&env, "UPDATE attempts SET gap_ms = 3600000 WHERE account_id = 'acc_1'");
    let found = breaches(&daemon).await;
    assert!(
        found.len() == 1 && found[0].0 == "P3" && found[0].1.contains("whose pause was 3600000 ms"),
        "{found:?}"
    );
    tamper(&env, "UPDATE attempts SET run = run + 1, monotonic_ms = 0 WHERE seq = 2");
    assert_eq!(breaches(&daemon).await.len(), 1, "the wall clock tells between two runs");
    tamper(&env, "UPDATE attempts SET gap_ms = 1");
    assert_eq!(breaches(&daemon).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_holds_sends_against_hours_and_caps() {
    let (env, mut daemon, _) = used().await;
    daemon.signal("-TERM");
    daemon.ended().await;
    let file = env.path("outboxd.toml");
    std::fs::write(&file, "[account.\"acc_1\"]\ncaps.message = \"1/24h\"\n").expect("written");
    let daemon = env.serve().await;
    let found = breaches(&daemon).await;
    assert_eq!(found, [("P4".to_owned(), "was number 2 of a cap of caps.message 1/24h".to_owned())]);
}

/// A producer may ignore the hours: that is not a breach.
#[tokio::test(flavor = "multi_thread")]
async fn an_audit_knows_who_may_ignore_the_hours() {
    let env = TestEnv::new().await.hasty();
    let now = Clock::now(&SystemClock::new());
    let days =
        [0, 24].map(|hours| (now + jiff::SignedDuration::from_hours(hours)).to_string()[..10].to_owned());
    let closed = format!("[account.\"acc_1\"]\nzone = \"UTC\"\nhours.days_off = \"{}\"\n", days.join(", "));
    std::fs::write(env.path("outboxd.toml"), closed).expect("written");
    let daemon = env.serve().await;
    let mut urgent: Value = serde_json::from_str(&body("acc_1", 1)).expect("JSON");
    (urgent["urgent"], urgent["ignore_hours"]) = (json!(true), json!(true));
    let id = daemon.enqueue(&urgent.to_string()).await;
    daemon.becomes(&id, "sent").await;
    assert_eq!(breaches(&daemon).await, []);
    tamper(&env, "UPDATE messages SET revision = revision + 1, ignore_hours = NULL");
    assert_eq!(
        breaches(&daemon).await,
        [("P4".to_owned(), "was sent outside the account's hours".to_owned())]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_whole_and_starts_held_wherever_it_is_put_back() {
    let (env, daemon, _) = used().await;
    daemon.post("/v1/pause", "").await;
    let waiting = daemon.enqueue(&body("acc_1", 4)).await;
    let (ok, said) = run(env.outboxd(&["backup", "copy.db"]), "");
    let path = env.path("backups").join("copy.db");
    assert!(ok && said.contains(&path.display().to_string()) && said.contains("4 messages"), "{said}");
    assert!(!env.path("backups").join("copy.db.partial").exists());
    let (status, named) = daemon.post("/v1/backup", "").await;
    assert_eq!(status, 200, "{named}");
    assert!(named["path"].as_str().unwrap().contains("/backups/outboxd-20"), "{named}");
    daemon.kill();

    // Restored on another machine: another folder, without a restore guard.
    let elsewhere = TestEnv::new().await.hasty();
    std::fs::copy(&path, elsewhere.database()).expect("put back");
    let daemon = elsewhere.serve().await;
    daemon.post("/v1/resume", "").await;
    let (_, message) = daemon.get(&format!("/v1/messages/{waiting}")).await;
    assert_eq!((&message["state"], &message["reason"]), (&json!("queued"), &json!("restored")));
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["restored"]["why"], "outboxd backup made it");
    assert_eq!(elsewhere.sandbox.world().delivered_count(), 0);
    daemon.post("/v1/resume", r#"{"restored": true}"#).await;
    daemon.becomes(&waiting, "sent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_made_says_why_and_leaves_nothing() {
    let (env, daemon, _) = used().await;
    for name in ["../evil.db", "/tmp/evil.db", "a/b.db", "", ".hidden", "..", "new\nline", &"n".repeat(201)] {
        let (status, answer) = daemon.post("/v1/backup", &json!({ "name": name }).to_string()).await;
        assert_eq!((status, &answer["error"]["field"]), (422, &json!("name")), "{name:?}: {answer}");
    }
    assert_eq!(daemon.post("/v1/backup", r#"{"name": "a.db"}"#).await.0, 200);
    let (status, answer) = daemon.post("/v1/backup", r#"{"name": "a.db"}"#).await;
    assert_eq!(status, 409, "{answer}");
    assert!(answer["error"]["problem"].as_str().unwrap().contains("is there already"), "{answer}");
    assert_eq!(daemon.post("/v1/backup", r#"{"nam": "a.db"}"#).await.0, 422);
    // A file in place of the folder.
    drop(daemon);
    std::fs::write(env.path("file"), "").expect("written");
    let env = env.set("OUTBOXD_STORE_BACKUP_FOLDER", "file");
    let daemon = env.serve().await;
    let (status, answer) = daemon.post("/v1/backup", "").await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer["error"]["fix"].as_str().unwrap().contains("may write"), "{answer}");
}

/// A full or missing folder for temporary files does no harm: the daemon uses none.
#[tokio::test(flavor = "multi_thread")]
async fn no_temporary_folder_is_needed() {
    let env = TestEnv::new().await.hasty().set("SQLITE_TMPDIR", "/nowhere").set("TMPDIR", "/nowhere");
    let daemon = env.serve().await;
    let id = daemon.enqueue(&body("acc_1", 1)).await;
    daemon.becomes(&id, "sent").await;
    assert_eq!(breaches(&daemon).await, []);
    assert_eq!(daemon.post("/v1/backup", "").await.0, 200);
}

/// A producer that forgets to end its transaction: nothing is sent, the status names the process that must end it,
/// and sending resumes without help.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_keeps_the_queue_locked_is_named() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let first = daemon.enqueue(&body("acc_1", 1)).await;
    daemon.becomes(&first, "sent").await;
    let producer = rusqlite::Connection::open(env.database()).expect("the queue");
    producer.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let (status, refused) = daemon.post("/v1/messages", &body("acc_1", 2)).await;
    assert_eq!(status, 503, "{refused}");
    let (_, status) = daemon.get("/v1/status").await;
    let me = format!("process {}", std::process::id());
    assert!(status["queue"]["blocked_by"].as_str().is_some_and(|by| by.starts_with(&me)), "{status}");
    assert!(status["next_step"].as_str().is_some_and(|step| step.contains(&me)), "{status}");
    assert!(env.log().contains(&me), "{}", env.log());
    let (ok, said) = run(env.outboxd(&["status"]), "");
    assert!(!ok && said.contains(&format!("{me} (")) && said.contains("keeps the queue locked"), "{said}");
    producer.execute_batch("ROLLBACK").expect("let go");
    let second = daemon.enqueue(&body("acc_1", 3)).await;
    daemon.becomes(&second, "sent").await;
    assert_eq!(daemon.get("/v1/status").await.1["queue"]["blocked_by"], Value::Null);
}
