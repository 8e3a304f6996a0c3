//! Backups: rotation, and the restore that docs/operations.md describes.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, run};

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

async fn enqueue(daemon: &Daemon, number: usize) -> String {
    let message =
        json!({"account_id": "acc_1", "chat_id": format!("c{number}"), "text": format!("message {number}")});
    daemon.enqueue(&message.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_keeps_the_newest_and_leaves_other_files_alone() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let folder = env.path("backups");
    std::fs::create_dir(&folder).unwrap();
    let others =
        ["before-upgrade.db", "outboxd-2020.db", "outboxd-2020-01-01T00-00-00.000Z.db.partial", "outboxd.db"];
    for name in others {
        std::fs::write(folder.join(name), "not ours").unwrap();
    }
    let old: Vec<String> = (1..=4).map(|day| format!("outboxd-2020-01-0{day}T00-00-00.000Z.db")).collect();
    for name in &old {
        std::fs::write(folder.join(name), "old").unwrap();
    }
    let (ok, said) = run(env.outboxd(&["backup", "--keep", "3"]), "");
    assert!(ok, "{said}");
    let gone = |name: &String| said.contains(&format!("removed {}", folder.join(name).display()));
    assert_eq!(old.iter().map(gone).collect::<Vec<_>>(), [true, true, false, false], "{said}");
    let (_, made) = daemon.post("/v1/backup", r#"{"keep": 2}"#).await;
    assert_eq!(made["removed"].as_array().unwrap().len(), 2, "{made}");
    let left = names(&folder);
    assert!(others.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
    let automatic = left.iter().filter(|name| name.starts_with("outboxd-2") && name.len() == old[0].len());
    assert_eq!(automatic.count(), 2, "{left:?}");
    // Without `keep` nothing is removed.
    assert_eq!(daemon.post("/v1/backup", "").await.1["removed"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_makes_no_sense_is_refused() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    for body in [r#"{"keep": 0}"#, r#"{"keep": 10001}"#, r#"{"keep": 3, "name": "a.db"}"#] {
        let (status, answer) = daemon.post("/v1/backup", body).await;
        assert_eq!((status, &answer["error"]["field"]), (422, &json!("keep")), "{body}: {answer}");
    }
    assert!(!env.path("backups").exists());
    let code = env.outboxd(&["backup", "a.db", "--keep", "3"]).output().unwrap().status.code();
    assert_eq!(code, Some(2));
}

/// The old backups stay if the new one cannot be made.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_fails_removes_nothing() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    enqueue(&daemon, 1).await;
    assert_eq!(daemon.post("/v1/backup", "").await.0, 200);
    let before = names(&env.path("backups"));
    std::fs::remove_file(env.database()).unwrap();
    assert_ne!(daemon.post("/v1/backup", r#"{"keep": 1}"#).await.0, 200);
    assert_eq!(names(&env.path("backups")), before);
}

/// Returns the commands of the first code block below the heading `Restore` of docs/operations.md.
fn documented() -> Vec<String> {
    let text = include_str!("../../docs/operations.md");
    let restore = text.split("\n## Restore\n").nth(1).unwrap();
    let lines = restore.lines().skip_while(|line| !line.starts_with("    "));
    lines.take_while(|line| line.starts_with("    ")).map(|line| line.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_commands_restore_a_backup() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let kept = enqueue(&daemon, 1).await;
    let (_, made) = daemon.post("/v1/backup", "").await;
    let backup = made["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let later = enqueue(&daemon, 2).await;

    let commands = documented();
    let [stop, put_back, start] = &commands[..] else { panic!("three commands: {commands:?}") };
    assert_eq!(stop, "sudo systemctl stop outboxd.socket outboxd");
    // A kill leaves the write-ahead log, which must not come into the copy.
    daemon.kill();
    assert!(std::fs::metadata(env.path("queue.db-wal")).unwrap().len() > 0);
    let example = put_back.split(['/', ' ', '\'']).find(|word| word.starts_with("outboxd-20")).unwrap();
    let here = put_back
        .replace("sudo ", "")
        .replace(example, &backup)
        .replace("/var/lib/outboxd", &env.path("").display().to_string())
        .replace("outboxd.db", "queue.db");
    let put = Command::new("sh").args(["-c", &here]).output().unwrap();
    assert!(put.status.success(), "{here}: {put:?}");
    assert_eq!(start, "sudo systemctl start outboxd");
    let daemon = env.serve().await;

    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["restored"]["why"], "outboxd backup made it");
    assert_eq!(daemon.get(&format!("/v1/messages/{kept}")).await.1["state"], "queued");
    assert_eq!(daemon.get(&format!("/v1/messages/{later}")).await.0, 404, "it is younger than the backup");
    let (ok, said) = run(env.outboxd(&["resume", "--all", "--restored"]), "");
    assert!(ok, "{said}");
    daemon.becomes(&kept, "sent").await;
    assert_eq!(daemon.get("/v1/status").await.1["restored"], Value::Null);
}

/// An older SQLite takes a time that this one refuses; the row must not look like damage to every backup.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_with_an_impossible_date_is_not_a_damaged_queue() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    enqueue(&daemon, 1).await;
    let stop = r#"{"scope": "campaign", "key": "spring", "reason": "stopped"}"#;
    assert!(daemon.post("/v1/stops", stop).await.0 < 300);
    let older = rusqlite::Connection::open(env.database()).unwrap();
    older.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    // SQLite 3.40 checks a time with its own functions, and accepts this one; so does its run of the triggers.
    let sql = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'stops'";
    let triggers: Vec<(String, String)> = {
        let mut statement = older.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.map(Result::unwrap).collect()
    };
    for (name, _) in &triggers {
        older.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    older.pragma_update(None, "ignore_check_constraints", true).unwrap();
    let impossible = "'2027-02-30T00:00:00.000Z'";
    for sql in [
        format!(
            "UPDATE messages SET revision = revision + 1, not_before = {impossible}, expires_at = {impossible}"
        ),
        format!("UPDATE stops SET until = {impossible} WHERE scope = 'campaign'"),
    ] {
        assert_eq!(older.execute(&sql, []).unwrap(), 1, "{sql}");
    }
    for (_, sql) in &triggers {
        older.execute_batch(sql).unwrap();
    }
    older.pragma_update(None, "ignore_check_constraints", false).unwrap();
    let refused: String = older.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).unwrap();
    assert!(refused.contains("CHECK constraint failed"), "the row is not what the test is about: {refused}");
    let (ok, said) = run(env.outboxd(&["backup"]), "");
    assert!(ok && said.contains("1 message"), "{said}");
    let (_, said) = run(env.outboxd(&["doctor"]), "");
    assert!(said.lines().any(|line| line.starts_with("ok    database")), "{said}");
}
