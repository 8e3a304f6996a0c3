//! The files of a queue: one daemon for each file, whatever its name; a wrong file is held or refused (P2, P3).

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, texts};

fn body(number: usize) -> String {
    let text = format!("message {number}");
    json!({"account_id": "acc_1", "chat_id": format!("c{number}"), "text": text, "dedupe_key": text})
        .to_string()
}

/// Runs `command` as a daemon that should end without a signal; returns its exit code, if it ended, and its output.
async fn ends(mut command: Command) -> (Option<i32>, String) {
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut code = None;
    let clock = outboxd::clock::SystemClock::new();
    while outboxd::clock::Clock::monotonic(&clock).as_secs() < 10 && code.is_none() {
        code = child.try_wait().expect("a process").and_then(|status| status.code());
        outboxd::clock::Clock::sleep(&clock, std::time::Duration::from_millis(20)).await;
    }
    let _ended_already = child.kill();
    let said = child.wait_with_output().expect("it ended").stderr;
    (code, String::from_utf8_lossy(&said).into_owned())
}

/// Returns a second daemon of the environment, on another socket.
fn second(env: &TestEnv, database: &Path) -> Command {
    let mut command = env.outboxd(&["serve"]);
    command.env("OUTBOXD_STORE_PATH", database).env("OUTBOXD_API_SOCKET", env.path("second.sock"));
    command
}

async fn stop(mut daemon: Daemon) {
    daemon.signal("-TERM");
    daemon.ended().await;
}

async fn sent(daemon: &Daemon, number: usize) -> String {
    let id = daemon.enqueue(&body(number)).await;
    daemon.becomes(&id, "sent").await;
    id
}

fn beside(env: &TestEnv, suffix: &str) -> std::path::PathBuf {
    env.path(&format!("queue.db{suffix}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_is_refused_by_every_name_of_the_file() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    sent(&daemon, 1).await;
    std::os::unix::fs::symlink(env.database(), env.path("link.db")).expect("a link");
    std::fs::hard_link(env.database(), env.path("hard.db")).expect("a hard link");
    std::os::unix::fs::symlink(env.path(""), env.path("folder")).expect("a link to the folder");
    let pid = format!("process {}", daemon.pid());
    for removed in [false, true] {
        if removed {
            std::fs::remove_file(beside(&env, ".lock")).expect("the lock file is there");
        }
        for name in ["queue.db", "link.db", "hard.db", "folder/queue.db", "./hard.db"] {
            let (code, said) = ends(second(&env, &env.path(name))).await;
            assert_eq!(code, Some(1), "{name}, lock file removed: {removed}: {said}");
            assert!(said.contains("another outboxd") && said.contains("store.path"), "{name}: {said}");
            assert!(said.contains(&pid), "{name}: {said}");
        }
    }
    // A bind mount of the file alone, where this user may make one.
    std::fs::write(env.path("mounted.db"), "").expect("a place to mount on");
    let (database, mounted) = (env.database(), env.path("mounted.db"));
    let script = format!("mount --bind {} {} && exec \"$@\"", database.display(), mounted.display());
    let plain = second(&env, &mounted);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"])
        .arg(plain.get_program());
    command.args(plain.get_args()).env_clear().current_dir(env.path(""));
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let may_mount = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if may_mount {
        let (code, said) = ends(command).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("another outboxd"), "{said}");
    }
    // The first daemon keeps running, and the next start warns that the file has several names.
    sent(&daemon, 2).await;
    stop(daemon).await;
    let daemon = env.serve().await;
    let (_, status) = daemon.get("/v1/status").await;
    assert!(status["warnings"].to_string().contains("2 names"), "{}", status["warnings"]);
}

/// Another file under the same name, while the first daemon still runs: the lock is on the name.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_another_file_of_the_same_name_is_refused() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    sent(&daemon, 1).await;
    std::fs::copy(env.database(), env.path("copy.db")).expect("a copy");
    std::fs::rename(env.path("copy.db"), env.database()).expect("replaced");
    let (code, said) = ends(second(&env, &env.database())).await;
    assert!(code == Some(1) && said.contains("another outboxd"), "{code:?} {said}");
    drop(daemon);
}

/// SQLite would write the pages of the log into any file next to it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_beside_the_log_of_a_killed_run_is_refused_until_the_log_is_removed() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    sent(&daemon, 1).await;
    stop(daemon).await;
    std::fs::copy(env.database(), env.path("stopped.db")).expect("a copy");
    let daemon = env.serve().await;
    sent(&daemon, 2).await;
    assert_eq!(daemon.post("/v1/backup", r#"{"name": "made.db"}"#).await.0, 200);
    let vacuumed = env.path("vacuumed.db");
    env.sql(&format!("VACUUM INTO '{}'", vacuumed.display()));
    sent(&daemon, 3).await;
    daemon.kill();
    let log = std::fs::read(beside(&env, "-wal")).expect("a killed run leaves its log");
    assert!(log.len() > 4096, "with pages in it");
    for copy in [env.path("stopped.db"), env.path("backups").join("made.db"), vacuumed] {
        std::fs::copy(&copy, env.database()).expect("put back");
        std::fs::write(beside(&env, "-wal"), &log).expect("the log is left");
        let (code, said) = ends(env.outboxd(&["serve"])).await;
        assert_eq!(code, Some(1), "{}: {said}", copy.display());
        for name in ["queue.db-wal", "queue.db-shm", "remove"] {
            assert!(said.contains(name), "{said}");
        }
        let left = std::fs::read(env.database()).expect("the database");
        assert_eq!(left, std::fs::read(&copy).expect("the copy"), "the copy is as it was put back");
        assert_eq!(std::fs::read(beside(&env, "-wal")).expect("the log"), log);
    }
    // After the fix that the message names, the copy is recognised as a copy.
    for side in ["-wal", "-shm"] {
        let _where_there_is_one = std::fs::remove_file(beside(&env, side));
    }
    let daemon = env.serve().await;
    assert!(daemon.get("/v1/status").await.1["restored"]["why"].is_string());
    daemon.kill();
    // A log whose database is gone is not left alone, either.
    std::fs::remove_file(env.database()).expect("gone");
    std::fs::write(beside(&env, "-wal"), &log).expect("the log is left");
    let (code, said) = ends(env.outboxd(&["serve"])).await;
    assert!(code == Some(1) && said.contains("queue.db-wal"), "{code:?} {said}");
    assert_eq!(std::fs::read(beside(&env, "-wal")).expect("the log"), log);
}

fn tamper(env: &TestEnv, sql: &str) {
    let connection = rusqlite::Connection::open(env.database()).expect("the database");
    connection.busy_timeout(std::time::Duration::from_secs(5)).expect("busy timeout");
    connection.execute_batch(sql).expect("SQL");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_killed_run_belongs_to_its_own_file() {
    let env = TestEnv::new().await.hasty();
    for number in 1..=4 {
        let daemon = env.serve().await;
        assert_eq!(daemon.get("/v1/status").await.1["restored"], Value::Null);
        sent(&daemon, number).await;
        daemon.kill();
        assert!(std::fs::metadata(beside(&env, "-wal")).is_ok_and(|log| log.len() > 4096));
    }
    // Another program adds its own index, which may or may not be in the file when the daemon is killed.
    for (number, is_moved) in [(5, false), (6, true)] {
        let daemon = env.serve().await;
        let noted = || {
            let text = std::fs::read_to_string(beside(&env, ".mark")).expect("the guard");
            serde_json::from_str::<Value>(&text).expect("JSON")["version"].clone()
        };
        let before = noted();
        tamper(&env, &format!("CREATE INDEX mine_{number} ON messages (created_at)"));
        if is_moved {
            tamper(&env, "PRAGMA wal_checkpoint(PASSIVE)");
            assert!(eventually(async || noted() != before).await, "{before}");
        }
        sent(&daemon, number).await;
        daemon.kill();
    }
    // A guard that was removed is written again.
    let daemon = env.serve().await;
    std::fs::remove_file(beside(&env, ".mark")).expect("the guard");
    assert!(eventually(async || beside(&env, ".mark").exists()).await, "{}", env.log());
    daemon.kill();
    // Moved as a whole, with its log and its restore guard.
    let daemon = env.serve().await;
    assert_eq!(daemon.get("/v1/status").await.1["restored"], Value::Null);
    sent(&daemon, 7).await;
    daemon.kill();
    let other = TestEnv::new().await.hasty();
    for suffix in ["", "-wal", "-shm", ".mark"] {
        std::fs::copy(beside(&env, suffix), beside(&other, suffix)).expect("moved");
    }
    let daemon = other.serve().await;
    assert_eq!(daemon.get("/v1/status").await.1["restored"], Value::Null);
    assert_eq!(daemon.get("/v1/status").await.1["queue"]["counts"]["sent"], 7);
}

/// How a database loses the record of what was sent from it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Lost {
    Removed,
    Emptied,
    /// A plain copy of the file of a running daemon, from before anything was queued.
    OlderFile,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_has_lost_what_it_sent_is_held_while_its_guard_is_there() {
    for lost in [Lost::Removed, Lost::Emptied, Lost::OlderFile] {
        let env = TestEnv::new().await.hasty();
        let daemon = env.serve().await;
        std::fs::copy(env.database(), env.path("older.db")).expect("a copy");
        sent(&daemon, 1).await;
        stop(daemon).await;
        match lost {
            Lost::Removed => std::fs::remove_file(env.database()).expect("removed"),
            Lost::Emptied => std::fs::write(env.database(), "").expect("emptied"),
            Lost::OlderFile => {
                std::fs::copy(env.path("older.db"), env.database()).expect("put back");
            }
        }
        let daemon = env.serve().await;
        // The producer's script runs again: the queue does not know its keys any more.
        let (code, again) = daemon.post("/v1/messages", &body(1)).await;
        assert_eq!(code, 201, "{lost:?}: {again}");
        let id = again["id"].as_str().expect("an id");
        let (_, message) = daemon.get(&format!("/v1/messages/{id}")).await;
        assert_eq!(message["reason"], "restored", "{lost:?}: {message}");
        let (_, status) = daemon.get("/v1/status").await;
        assert!(status["restored"]["why"].is_string(), "{lost:?}: {status}");
        let step = status["next_step"].as_str().unwrap_or_default();
        assert!(step.contains("outboxd resume --all --restored"), "{lost:?}: {status}");
        // It stays held across a restart, until a person releases it.
        daemon.kill();
        let daemon = env.serve().await;
        assert!(daemon.get("/v1/status").await.1["restored"]["why"].is_string(), "{lost:?}");
        assert_eq!(texts(&env.sandbox.world().deliveries()), ["message 1"], "{lost:?}");
        daemon.post(&format!("/v1/messages/{id}/cancel"), "").await;
        assert_eq!(daemon.post("/v1/resume", r#"{"restored": true}"#).await.0, 200);
        sent(&daemon, 2).await;
        // The released queue is the queue from now on, even after a kill before its next call.
        daemon.kill();
        let daemon = env.serve().await;
        assert_eq!(daemon.get("/v1/status").await.1["restored"], Value::Null, "{lost:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_queue_that_is_lost_before_its_next_call_is_held_as_well() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    sent(&daemon, 1).await;
    stop(daemon).await;
    std::fs::remove_file(env.path("queue.db.mark")).expect("the guard is there");
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/resume", r#"{"restored": true}"#).await.0, 200);
    daemon.kill();
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(beside(&env, suffix)).expect("removed");
    }
    let daemon = env.serve().await;
    assert!(daemon.get("/v1/status").await.1["restored"]["why"].is_string());
}

#[tokio::test]
async fn a_start_that_fails_at_a_socket_leaves_no_queue() {
    let env = TestEnv::new().await;
    let mut command = env.outboxd(&["serve"]);
    command.env("OUTBOXD_API_SOCKET", env.path("nowhere").join("x.sock"));
    let (code, said) = ends(command).await;
    assert!(code == Some(1) && said.contains("nowhere"), "{code:?} {said}");
    assert!(!env.database().exists(), "{said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let mut command = env.outboxd(&["serve"]);
    command.env("OUTBOXD_WEBHOOKS_LISTEN", &address).env("OUTBOXD_WEBHOOKS_SECRET", "s3cret");
    let (code, said) = ends(command).await;
    assert!(code == Some(1) && said.contains(&address), "{code:?} {said}");
    assert!(!env.database().exists(), "{said}");
}

fn everything(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), std::fs::read(&path).unwrap_or_default()))
        .collect();
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_another_program_is_refused_and_left_as_it_is() {
    let env = TestEnv::new().await;
    let folder = env.path("theirs");
    std::fs::create_dir(&folder).expect("a folder");
    let theirs = |name: &str, sql: &str| {
        let connection = rusqlite::Connection::open(folder.join(name)).expect("a database");
        connection.execute_batch(sql).expect("SQL");
    };
    theirs("plain.db", "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('theirs')");
    theirs("wal.db", "PRAGMA journal_mode = WAL; CREATE TABLE notes (text TEXT)");
    theirs("similar.db", "CREATE TABLE messages (id TEXT, text TEXT); CREATE TABLE runs (id INTEGER)");
    theirs("marked.db", "PRAGMA application_id = 1; CREATE TABLE notes (text TEXT)");
    std::fs::write(folder.join("people.csv"), "name,text\nAnna,Hello\n").expect("written");
    std::fs::write(folder.join("zeros.db"), vec![0; 8192]).expect("written");
    std::fs::write(folder.join("half.db"), b"SQLite format 3\0").expect("written");
    let before = everything(&folder);
    for name in ["plain.db", "wal.db", "similar.db", "marked.db", "people.csv", "zeros.db", "half.db"] {
        let (code, said) = ends(second(&env, &folder.join(name))).await;
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains(name) && said.contains("store.path"), "{name}: {said}");
        let mut check = env.outboxd(&["check"]);
        check.env("OUTBOXD_STORE_PATH", folder.join(name));
        let (checked, told) = ends(check).await;
        assert_eq!(checked, Some(2), "{name}: {told}");
        assert_eq!(everything(&folder), before, "{name}");
    }
    let (code, said) = ends(second(&env, &folder)).await;
    assert!(code == Some(2) && said.contains("is not a SQLite database"), "{code:?} {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_queue_is_refused_with_the_ways_out() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    sent(&daemon, 1).await;
    stop(daemon).await;
    let whole = std::fs::read(env.database()).expect("the database");
    let damaged = [
        ("cut off", whole[..8192].to_vec()),
        ("overwritten", [&whole[..4096], &vec![0xA5; 40_960], &whole[45_056..]].concat()),
        ("with a page size that is none", [&whole[..16], &[0, 3], &whole[18..]].concat()),
    ];
    for (how, bytes) in damaged {
        std::fs::write(env.database(), &bytes).expect("damaged");
        let (code, said) = ends(env.outboxd(&["serve"])).await;
        assert_eq!(code, Some(1), "{how}: {said}");
        for part in ["queue.db is damaged", "backup", ".recover"] {
            assert!(said.contains(part), "{how}: {said}");
        }
    }
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["message 1"]);
}

/// A first start that is killed after its first page is written and before its journal is removed: SQLite rolls that page
/// back at the next start, together with the mark by which the file is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_whose_first_start_was_killed_is_made_at_the_next() {
    let env = TestEnv::new().await.hasty();
    std::fs::write(env.database(), "").expect("an empty file");
    tamper(&env, "BEGIN; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA application_id = 1869968482; COMMIT");
    // SQLite's file format, 3: a journal of no pages, for a database that had none.
    let mut journal = vec![0_u8; 512];
    journal[..8].copy_from_slice(&[0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    journal[20..24].copy_from_slice(&512_u32.to_be_bytes());
    journal[24..28].copy_from_slice(&4096_u32.to_be_bytes());
    std::fs::write(beside(&env, "-journal"), journal).expect("a journal");
    for number in 1..=2 {
        let daemon = env.serve().await;
        sent(&daemon, number).await;
        stop(daemon).await;
    }
    let made = rusqlite::Connection::open(env.database()).expect("the database");
    let pragma = |name| made.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).expect("a number");
    assert_eq!((pragma("application_id"), pragma("auto_vacuum")), (1_869_968_482, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_path_makes_no_folders_and_a_new_queue_is_told_of() {
    let env = TestEnv::new().await;
    let typo = env.path("outbxd").join("state").join("queue.db");
    let (code, said) = ends(second(&env, &typo)).await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("outbxd/state") && said.contains("store.path"), "{said}");
    assert!(!env.path("outbxd").exists(), "no folder is made");
    std::os::unix::fs::symlink(env.path("gone.db"), env.path("link.db")).expect("a link");
    let (code, said) = ends(second(&env, &env.path("link.db"))).await;
    assert!(code == Some(2) && said.contains("gone.db"), "{code:?} {said}");
    let check = |env: &TestEnv| crate::daemon::run(env.outboxd(&["check"]), "");
    let (ok, said) = check(&env);
    assert!(ok && said.contains("warning: there is no queue") && said.contains("queue.db"), "{said}");
    let daemon = env.serve().await;
    // A thread of its own writes the log.
    let told = eventually(async || env.log().contains("made a new, empty queue")).await;
    assert!(told, "{}", env.log());
    let (_, status) = daemon.get("/v1/status").await;
    assert!(status["notices"].to_string().contains("this queue is new"), "{status}");
    daemon.kill();
    let daemon = env.serve().await;
    let (_, status) = daemon.get("/v1/status").await;
    assert!(!status["notices"].to_string().contains("this queue is new"), "{status}");
    assert_eq!(env.log().matches("made a new, empty queue").count(), 1);
    let (ok, said) = check(&env);
    assert!(ok && !said.contains("there is no queue"), "{said}");
}

/// A script that removes a file from a running daemon, and the error that the daemon must log.
const TAKEN: [(&str, &str); 8] = [
    ("rm queue.db", "queue.db was removed"),
    ("mv queue.db other.db", "queue.db was removed"),
    ("cp queue.db new.db && mv new.db queue.db", "queue.db was replaced"),
    ("rm queue.db-wal", "queue.db-wal was removed"),
    ("rm queue.db-shm", "queue.db-shm was removed"),
    ("rm queue.sock", "queue.sock was removed"),
    ("mv queue.sock elsewhere.sock", "queue.sock was removed"),
    ("mv queue.sock x && touch queue.sock", "queue.sock was replaced"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_from_which_something_is_taken_away_ends_and_says_what() {
    for (script, said) in TAKEN {
        let env = TestEnv::new().await.hasty();
        let mut daemon = env.serve().await;
        sent(&daemon, 1).await;
        let done = Command::new("sh").args(["-c", script]).current_dir(env.path("")).status();
        assert!(done.is_ok_and(|status| status.success()), "{script}");
        let clock = outboxd::clock::SystemClock::new();
        assert_eq!(daemon.ended().await, Some(1), "{script}: {}", env.log());
        let took = outboxd::clock::Clock::monotonic(&clock);
        assert!(took.as_secs() < 8, "{script}: ended after {took:?}");
        assert!(env.log().contains(said), "{script}: {}", env.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_file_that_is_removed_is_made_again_and_nothing_ends() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let lock = beside(&env, ".lock");
    std::fs::remove_file(&lock).expect("it is there");
    let again = eventually(async || lock.exists()).await;
    assert!(again, "{}", env.log());
    sent(&daemon, 1).await;
    assert_eq!(daemon.get("/healthz").await.0, 200);
}
