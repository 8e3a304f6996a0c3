//! `outboxd doctor`: a good environment, and one bad case after the other, with the real binary.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;

use serde_json::{Value, json};

use crate::cli_fake::Answers;
use crate::daemon::TestEnv;

/// Runs `doctor --json`; returns the exit code and the checks.
fn doctor(env: &TestEnv) -> (i32, Vec<Value>) {
    checks(env.outboxd(&["doctor", "--json"]))
}

fn checks(mut command: std::process::Command) -> (i32, Vec<Value>) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let answer: Value = serde_json::from_str(&said)
        .unwrap_or_else(|error| panic!("{error}: {said} {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code().unwrap(), answer["checks"].as_array().unwrap().clone())
}

/// Returns the results of `check`: the word, what was found, and what to do.
fn of(checks: &[Value], check: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = checks.iter().filter(|one| one["check"] == check);
    found.map(|one| (text(&one["result"]), text(&one["what"]), text(&one["to_do"]))).collect()
}

fn assert_one(env: &TestEnv, check: &str, result: &str, what: &str, to_do: &str) {
    let (code, checks) = doctor(env);
    let found = of(&checks, check);
    let hit = found.iter().any(|(r, w, t)| r == result && w.contains(what) && t.contains(to_do));
    assert!(hit, "{check} {result} {what:?} {to_do:?} is not in {checks:#?}");
    assert_eq!(code, if checks.iter().any(|one| one["result"] == "fail") { 9 } else { 0 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_environment_has_nothing_that_fails_with_and_without_a_daemon() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let (code, checks) = doctor(&env);
    let failed: Vec<_> = checks.iter().filter(|one| one["result"] == "fail").collect();
    // A full disk of the machine that runs the tests is a notice.
    let failed: Vec<_> =
        failed.iter().filter(|one| !one["what"].as_str().unwrap().starts_with("disk_low")).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(code == 0 || code == 9);
    for check in [
        "configuration",
        "proxy",
        "key",
        "clock",
        "database",
        "lock",
        "write-ahead log",
        "permissions",
        "disk",
        "time zones",
        "open files",
        "inotify",
        "versions",
        "socket",
        "daemon",
        "webhooks",
    ] {
        assert!(!of(&checks, check).is_empty(), "{check} is missing in {checks:#?}");
    }
    assert!(of(&checks, "versions")[0].1.contains("SQLite 3."), "{:?}", of(&checks, "versions"));
    for check in ["key", "clock", "database", "permissions", "daemon", "socket"] {
        assert_eq!(of(&checks, check)[0].0, "ok", "{:?}", of(&checks, check));
    }
    assert!(of(&checks, "lock")[0].1.contains(&daemon.pid().to_string()));
    for one in checks.iter().filter(|one| one["result"] != "ok") {
        assert_ne!(one["to_do"], "", "{one}");
    }
    daemon.stop().await;

    let before: Vec<_> =
        std::fs::read_dir(env.path(".")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_one(&env, "lock", "ok", "free", "");
    assert_one(&env, "database", "ok", "quick_check", "");
    assert_one(&env, "daemon", "warn", "", "start it");
    let after: Vec<_> =
        std::fs::read_dir(env.path(".")).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(before, after, "it leaves nothing behind");
    let text = env.outboxd(&["doctor"]).output().unwrap();
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.lines().any(|line| line.starts_with("ok    key")), "{text}");
    assert!(!text.contains("sandbox-key"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bad_case_is_told_with_what_to_do() {
    let env = TestEnv::new().await;
    assert_one(&env, "database", "warn", "there is no queue", "store.path");
    assert_one(
        &env.set("OUTBOXD_UNIPILE_BASE_URL", "http://127.0.0.1:1"),
        "key",
        "fail",
        "cannot be reached",
        "network",
    );
    let env = TestEnv::new().await;
    assert_one(
        &env.set("OUTBOXD_UNIPILE_API_KEY", "wrong"),
        "key",
        "fail",
        "refuses it",
        "outboxd resume --all",
    );
    let env = TestEnv::new().await.set("OUTBOXD_LIMITS_TEXT_CHARS", "many");
    assert_one(&env, "configuration", "fail", "limits.text_chars", "outboxd check");
    let env = TestEnv::new()
        .await
        .set("OUTBOXD_UNIPILE_BASE_URL", "https://api.unipile.com")
        .set("HTTPS_PROXY", "ftp://x");
    assert_one(&env, "proxy", "fail", "HTTPS_PROXY", "variable");

    let env = TestEnv::new().await;
    env.serve().await.stop().await;
    std::fs::set_permissions(env.database(), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_one(&env, "permissions", "warn", "mode 0644", "chmod 0640");
    // A page in the middle of the file is overwritten.
    let mut bytes = std::fs::read(env.database()).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xab);
    std::fs::write(env.database(), bytes).unwrap();
    assert_one(&env, "database", "fail", "", "restore a backup");
    std::fs::write(env.database(), "a shopping list").unwrap();
    assert_one(&env, "database", "fail", "", "store.path");

    let env = TestEnv::new().await;
    let key = env.path("key");
    std::fs::write(&key, "sandbox-key").unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let env =
        env.set("OUTBOXD_UNIPILE_API_KEY", "").set("OUTBOXD_UNIPILE_API_KEY_FILE", key.to_str().unwrap());
    assert_one(&env, "permissions", "warn", "mode 0644", "chmod 0600");

    // A secret in a file that others may read is not called closed below.
    let env = TestEnv::new().await;
    env.serve().await.stop().await;
    std::fs::write(env.path("outboxd.toml"), "webhooks.secret = \"whsec_1\"\n").unwrap();
    std::fs::set_permissions(env.path("outboxd.toml"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let (_, found) = doctor(&env);
    assert!(of(&found, "configuration").iter().any(|one| one.1.contains("others may read")), "{found:#?}");
    let permissions = of(&found, "permissions");
    assert!(permissions.iter().all(|one| !one.1.contains("or a secret")), "{permissions:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_endpoint_has_the_secret_of_the_listener() {
    let env = TestEnv::new().await;
    env.serve().await.stop().await;
    let env = env.set("OUTBOXD_WEBHOOKS_LISTEN", "127.0.0.1:0");
    assert_one(&env, "configuration", "warn", "without a secret", "outboxd webhook register");
    let time = "2026-11-22T09:00:00.000Z";
    env.sql(&format!(
        "INSERT INTO webhook_endpoints (id, url, events, account_ids, secret, registered_at, read_at) \
         VALUES ('we_1', 'http://127.0.0.1:1/x', '[]', '[]', 'whsec_1', '{time}', '{time}') RETURNING id"
    ));
    for is_running in [false, true] {
        let daemon = if is_running { Some(env.serve().await) } else { None };
        let (_, found) = doctor(&env);
        let has = of(&found, "configuration").iter().any(|one| one.1.contains("without a secret"));
        assert!(!has, "running: {is_running}: {found:#?}");
        drop(daemon);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_daemon_says_of_itself_is_shown() {
    let env = TestEnv::new()
        .await
        .set("OUTBOXD_WEBHOOKS_LISTEN", "127.0.0.1:0")
        .set("OUTBOXD_WEBHOOKS_SECRET", "whsec_1");
    let daemon = env.serve().await;
    assert_one(&env, "webhooks", "warn", "none came", "outboxd webhook test");
    assert_one(&env, "webhook address", "ok", "none is registered", "");
    // Something that does not answer, and something else that answers, where the listener should be.
    let nothing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let sandbox = env.sandbox.url();
    for (url, what) in [
        (format!("http://{nothing}/webhooks/unipile"), "does not lead"),
        (format!("{sandbox}/x"), "answered 4"),
    ] {
        let row = "INSERT OR REPLACE INTO webhook_endpoints (id, url, events, account_ids, secret, registered_at, read_at)";
        let time = "2026-11-22T09:00:00.000Z";
        env.sql(&format!(
            "{row} VALUES ('we_1', '{url}', '[]', '[]', 'whsec_1', '{time}', '{time}') RETURNING id"
        ));
        assert_one(&env, "webhook address", "fail", what, "check");
    }
    daemon.post("/v1/pause", &json!({ "note": "lunch" }).to_string()).await;
    assert_one(&env, "notice", "fail", "paused: all sending is paused (lunch)", "outboxd resume --all");
    std::fs::set_permissions(env.socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_one(&env, "socket", "warn", "every user", "api.socket_mode");
}

/// Under systemd only the service has the key and `OUTBOXD_STORE_PATH`; a shell has neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_shell_without_the_key_and_the_path_of_the_daemon_examines_the_queue_of_the_daemon() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let from_a_shell = |path: &str| {
        let mut command = env.outboxd(&["doctor", "--json"]);
        command.env_remove("OUTBOXD_UNIPILE_API_KEY").env("OUTBOXD_STORE_PATH", path);
        checks(command)
    };
    let (_, found) = from_a_shell("outboxd.db");
    let queue = env.database().display().to_string();
    let one = |check: &str| of(&found, check)[0].clone();
    assert!(one("database").1.starts_with(&queue), "{found:#?}");
    assert!(one("lock").1.contains(&daemon.pid().to_string()), "{found:#?}");
    let hit = |(result, what, to_do): &(String, String, String)| {
        result == "warn"
            && what.contains("outboxd.db")
            && what.contains(&queue)
            && to_do.contains("store.path")
    };
    assert!(of(&found, "configuration").iter().any(hit), "{found:#?}");
    let (result, what, to_do) = one("key");
    assert_eq!(result, "warn", "{what}");
    assert!(
        what.contains("the daemon has one") && to_do.contains("CREDENTIALS_DIRECTORY"),
        "{what}; {to_do}"
    );
    let (_, found) = from_a_shell(&queue);
    assert!(!of(&found, "configuration").iter().any(|(_, what, _)| what.contains(&queue)), "{found:#?}");

    daemon.stop().await;
    let (code, found) = from_a_shell("outboxd.db");
    assert_eq!((code, of(&found, "key")[0].0.as_str()), (9, "fail"), "no daemon has one either: {found:#?}");
    assert!(of(&found, "database")[0].1.contains("there is no queue"), "{found:#?}");
}

/// A user outside the group of the socket does not know what the daemon has, so nothing of it fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_this_user_may_not_use_says_so_and_its_queue_is_not_guessed() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    std::fs::set_permissions(env.socket(), std::fs::Permissions::from_mode(0o000)).unwrap();
    std::fs::set_permissions(env.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = env.outboxd(&["doctor", "--json"]);
    command.env_remove("OUTBOXD_UNIPILE_API_KEY").env("OUTBOXD_STORE_PATH", "other.db");
    // Root may use every socket.
    if std::fs::metadata(env.path("")).unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    // Another user may lack permission to run the binary.
    if command.output().is_err() {
        return;
    }
    let (code, found) = checks(command);
    let one = |check: &str| of(&found, check)[0].clone();
    let (result, what, to_do) = one("daemon");
    assert_eq!(result, "warn", "{what}");
    assert!(what.contains("may not use the daemon's socket") && to_do.contains("join the group"), "{what}");
    let (result, what, _) = one("key");
    assert!(result == "warn" && what.contains("the daemon may have one"), "{what}");
    let (result, what, to_do) = one("database");
    assert!(result == "warn" && what.contains("not examined") && to_do.contains("as root"), "{what}");
    assert_eq!((code, of(&found, "disk").len()), (0, 0), "{found:#?}");
    daemon.stop().await;
}

/// The socket of a daemon in a container can be mounted where its queue is not.
#[test]
fn a_queue_that_only_the_daemon_sees_is_not_said_to_be_missing() {
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"), "pid": 7, "started_at": "2026-11-22T09:00:00.000Z",
        "now": "2026-11-22T09:21:00.000Z", "paused": null, "key_refused": null, "restored": null, "ready": null,
        "api": {"reachable": true, "failures": 0, "next_try_at": null}, "accounts": 0, "webhooks": null,
        "queue": {"path": "/in/the/container/outboxd.db", "blocked_since": null, "blocked_by": null, "trouble": null,
                  "counts": {}, "wal_held_by": null},
        "recovered": {"sending": 0, "uncertain": 0, "replanned": 0, "flushed": 0, "stale": 0, "clean_stop": true},
        "warnings": [], "next_step": null,
    });
    let fake = Answers::default()
        .on("GET /v1/status", 200, &status.to_string())
        .on("GET /v1/notices", 200, r#"{"data": []}"#)
        .start();
    let (_, found) = checks(fake.command(&["doctor", "--json"]));
    let (result, what, to_do) = of(&found, "database")[0].clone();
    assert_eq!(result, "warn", "{what}");
    assert!(what.contains("/in/the/container/outboxd.db") && what.contains("not examined"), "{what}");
    assert!(to_do.contains("where the daemon runs"), "{to_do}");
    assert!(of(&found, "lock").is_empty() && of(&found, "disk").is_empty(), "{found:#?}");
}
