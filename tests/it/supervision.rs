//! The daemon never falls silent (P9): a task that ends takes the process with it, probes and systemd get the truth,
//! and no reader of the daemon's output blocks it. The real process throughout.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::daemon::{TestEnv, eventually, run};

/// The tasks that the daemon cannot do without.
const TASKS: [&str; 17] = [
    "writer",
    "checkpointer",
    "supervisor",
    "reconciler",
    "poller",
    "API guard",
    "intake",
    "HTTP server",
    "read-only HTTP server",
    "TCP HTTP server",
    "webhook listener",
    "webhook secrets",
    "webhook interpreter",
    "housekeeping",
    "metrics upkeep",
    "metrics listener",
    "events out",
];

/// An environment whose daemon has every task.
async fn with_every_task() -> TestEnv {
    let env = TestEnv::new().await;
    let tokens = env.path("tokens");
    std::fs::write(&tokens, format!("board read {}\n", "a7".repeat(32))).unwrap();
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).unwrap();
    let reads = env.path("reads.sock").to_str().unwrap().to_owned();
    env.set("OUTBOXD_WEBHOOKS_LISTEN", "127.0.0.1:0")
        .set("OUTBOXD_WEBHOOKS_SECRET", "whsec_1")
        .set("OUTBOXD_METRICS_LISTEN", "127.0.0.1:0")
        .set("OUTBOXD_API_READ_ONLY_SOCKET", &reads)
        .set("OUTBOXD_API_LISTEN", "127.0.0.1:0")
        .set("OUTBOXD_API_TOKENS_FILE", tokens.to_str().unwrap())
}

fn message(chat: &str, text: &str) -> String {
    json!({ "account_id": "acc_1", "chat_id": chat, "text": text }).to_string()
}

/// A child process, killed at the end of the test.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

/// H12
#[tokio::test]
async fn a_task_that_ends_ends_the_process_and_is_named() {
    let env = with_every_task().await;
    for name in TASKS {
        let mut serve = env.outboxd(&["serve"]);
        serve.env("FAILPOINT_END_TASK", name).stderr(Stdio::piped());
        let child = serve.spawn().unwrap();
        let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: systemd restarts what fails; {log}");
        assert!(log.contains(&format!("error: the {name} ended")), "{name} is named: {log}");
    }
}

/// Checks that [`TASKS`] is complete.
#[tokio::test]
async fn every_task_is_watched() {
    let env = with_every_task().await;
    let settings = env.settings();
    let application = outboxd::app::Application::start(&settings, Vec::new()).await.unwrap();
    let mut names: Vec<&str> = application.all_tasks().iter().flat_map(|tasks| tasks.names()).collect();
    names.sort_unstable();
    let mut expected = TASKS.to_vec();
    expected.sort_unstable();
    assert_eq!(names, expected);
    application.stop().await.unwrap();
}

#[tokio::test]
async fn systemd_hears_that_it_is_ready_alive_reloading_and_stopping() {
    let env = TestEnv::new().await;
    let path = env.path("notify.sock");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_nonblocking(true).unwrap();
    let env = env.set("NOTIFY_SOCKET", path.to_str().unwrap()).set("WATCHDOG_USEC", "300000");
    let mut daemon = env.serve().await;
    let mut heard = Vec::new();
    let mut hear = async |wanted: &str| {
        eventually(async || {
            let mut buffer = [0; 1024];
            while let Ok(length) = systemd.recv(&mut buffer) {
                heard.extend(String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned));
            }
            heard.iter().any(|line| line == wanted)
        })
        .await
    };
    for wanted in
        ["READY=1", "WATCHDOG=1", "STATUS=opening the queue", "STATUS=sending; 0 queued, 0 in review"]
    {
        assert!(hear(wanted).await, "{wanted} is not said");
    }
    daemon.signal("-HUP");
    assert!(hear("RELOADING=1").await, "a reload is not announced");
    daemon.signal("-TERM");
    assert!(hear("STOPPING=1").await, "the stop is not announced");
    assert!(heard.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "the reload has a time: {heard:?}");
    assert_eq!(daemon.ended().await, Some(0));
}

#[tokio::test]
async fn every_stop_signal_stops_in_good_order() {
    let env = TestEnv::new().await.hasty();
    for signal in ["-TERM", "-INT", "-QUIT"] {
        let mut daemon = env.serve().await;
        daemon.signal(signal);
        assert_eq!(daemon.ended().await, Some(0), "{signal}");
    }
    let clean = env.sql("SELECT count(*) || '' FROM runs WHERE stopped_at IS NOT NULL");
    assert_eq!(clean, ["3"], "each run noted its end");
}

/// A log pipe without a reader: messages go, clients are answered, dropped lines are counted, and the daemon stops.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_nothing_up() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_LIMITS_TEXT_CHARS", "30");
    let mut serve = env.outboxd(&["serve"]);
    let mut child = Killed(serve.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let client = env.client();
    let get = async |path: &str| {
        let answer = client.get(format!("http://outboxd{path}")).send().await.ok()?;
        answer.json::<serde_json::Value>().await.ok()
    };
    assert!(eventually(async || get("/healthz").await.is_some()).await, "it answers");
    // Each of these rows is rejected, which logs a line.
    env.sql(
        "INSERT INTO messages (account_id, chat_id, text) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
         WHERE i < 12000) SELECT 'acc_1', 'chat_0', 'longer than thirty characters: ' || i FROM n RETURNING id",
    );
    let dropped = eventually(async || {
        let status = get("/v1/status").await.unwrap();
        status["log_lines_dropped"].as_u64().unwrap() > 0
    });
    assert!(dropped.await, "what found no room is counted");
    let body = message("chat_1", "nobody reads the log");
    let accepted = client.post("http://outboxd/v1/messages").body(body).send().await.unwrap();
    assert_eq!(accepted.status(), 201);
    env.delivered(1).await;
    let shown = run(env.outboxd(&["status"]), "").1;
    assert!(shown.contains("log lines were dropped since the start"), "{shown}");
    let ended = run(
        {
            let mut kill = std::process::Command::new("sh");
            kill.args(["-c", &format!("kill -TERM {}", child.0.id())]);
            kill
        },
        "",
    );
    assert!(ended.0);
    let stopped = eventually(async || child.0.try_wait().unwrap().is_some_and(|status| status.success()));
    assert!(stopped.await, "it stops although its log is full");
}

#[tokio::test]
async fn a_reload_reads_a_file_that_was_made_since_the_start() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    std::fs::write(env.path("outboxd.toml"), "[people]\nresolve = true\n").unwrap();
    daemon.signal("-HUP");
    let is_told = eventually(async || env.log().contains("people.resolve")).await;
    assert!(is_told, "{}", env.log());
    // From now on it is the daemon's file.
    std::fs::remove_file(env.path("outboxd.toml")).unwrap();
    daemon.signal("-HUP");
    let is_refused = eventually(async || env.log().contains("the configuration is not reloaded")).await;
    assert!(is_refused, "{}", env.log());
}

/// H11
#[tokio::test]
async fn sighup_reloads_the_configuration_and_keeps_the_old_one_if_the_new_one_is_wrong() {
    let env = TestEnv::new().await;
    let file = env.path("outboxd.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("[policy.default]\ngap.min = \"30s\"\ngap.max = \"40s\"\n");
    let daemon = env.serve().await;
    let warnings = async || daemon.get("/v1/status").await.1["warnings"].to_string();
    let log_has = async |what: &str| eventually(async || env.log().contains(what)).await;

    write(
        "[policy.default]\ngap.min = \"50s\"\ngap.max = \"60s\"\n[limits]\ntext_chars = 20\n[api]\nbatch_rows = 7\n",
    );
    daemon.signal("-HUP");
    assert!(
        log_has("\"key\":\"policy.default.gap.min\",\"from\":\"30s\",\"to\":\"50s\"").await,
        "{}",
        env.log()
    );
    assert!(log_has("this needs a restart").await && env.log().contains("api.batch_rows"), "{}", env.log());
    assert!(eventually(async || warnings().await.contains("in force after a restart: api.batch_rows")).await);
    let (status, refused) =
        daemon.post("/v1/messages", &message("chat_1", "more than twenty characters")).await;
    assert_eq!(status, 422, "the new limit is in force: {refused}");
    daemon.enqueue(&message("chat_1", "short")).await;
    env.delivered(1).await;
    daemon.enqueue(&message("chat_2", "second")).await;
    let shown = daemon.get("/v1/accounts/acc_1").await.1;
    let until: jiff::Timestamp = shown["next_call_at"].as_str().unwrap().parse().unwrap();
    let last: jiff::Timestamp = shown["last_call_at"].as_str().unwrap().parse().unwrap();
    assert!(
        until.duration_since(last) >= jiff::SignedDuration::from_secs(50),
        "the new gap is in force: {shown}"
    );

    write("[policy.default]\ngap.min = \"5 parsecs\"\n[nonsense]\n");
    daemon.signal("-HUP");
    let notices = async || daemon.get("/v1/notices").await.1["data"].to_string();
    let is_told = async || notices().await.contains("\"config_refused\"");
    assert!(eventually(is_told).await, "{}", notices().await);
    let told = notices().await;
    assert!(told.contains("the old one stays in force: ") && told.contains("nonsense"), "{told}");
    let metrics = daemon.get("/metrics").await.1;
    assert!(metrics.to_string().contains("outboxd_notices{kind=\\\"config_refused\\\"} 1"), "{metrics}");
    let logged = log_has("5 parsecs").await && log_has("nonsense").await;
    assert!(logged, "every mistake is logged: {}", env.log());
    assert_eq!(daemon.post("/v1/messages", &message("chat_1", "still more than twenty")).await.0, 422);
    write("[policy.default]\ngap.min = \"30s\"\ngap.max = \"40s\"\n");
    daemon.signal("-HUP");
    assert!(eventually(async || !is_told().await).await, "a reload that works ends the notice");
    daemon.stop().await;
}

/// T11: `/readyz`, `status` and its exit code say that nothing can be sent, and `/healthz` stays true.
#[tokio::test]
async fn a_daemon_that_can_send_nothing_says_so() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let code = |arguments: &[&str]| {
        let output = env.outboxd(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(
        daemon.get("/readyz").await,
        (200, json!({ "ready": true, "take_in": { "ok": true }, "send": { "ok": true } }))
    );
    assert_eq!(code(&["status"]).0, Some(0));

    assert_eq!(code(&["pause", "--all"]).0, Some(0));
    let (status, ready) = daemon.get("/readyz").await;
    assert_eq!((status, &ready["send"]["reason"]), (503, &json!("paused")), "{ready}");
    assert_eq!(daemon.get("/readyz/take-in").await.0, 200);
    assert_eq!(daemon.get("/readyz/send").await.0, 503);
    assert_eq!(daemon.get("/healthz").await.0, 200, "a restart would not help");
    assert_eq!(code(&["status"]).0, Some(8));
    assert_eq!(code(&["status", "--json"]).0, Some(8));
    assert_eq!(code(&["resume", "--all"]).0, Some(0));
    assert_eq!(code(&["status"]).0, Some(0));

    daemon.stop().await;
    let env = env.set("OUTBOXD_UNIPILE_API_KEY", "another-key");
    let daemon = env.serve().await;
    daemon.enqueue(&message("chat_1", "x")).await;
    assert!(eventually(async || daemon.get("/readyz").await.0 == 503).await);
    let ready = daemon.get("/readyz").await.1;
    assert_eq!(ready["send"]["reason"], "key_refused", "{ready}");
    assert_eq!(env.outboxd(&["status"]).output().unwrap().status.code(), Some(8));
    daemon.stop().await;
}

/// The daemon reads the key at its start only, so the advice must be what works.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_key_says_that_a_new_one_needs_a_restart_and_a_restart_sends() {
    let env = TestEnv::new().await.hasty();
    let key = env.path("key");
    std::fs::write(&key, "wrong-key").unwrap();
    let env =
        env.set("OUTBOXD_UNIPILE_API_KEY", "").set("OUTBOXD_UNIPILE_API_KEY_FILE", key.to_str().unwrap());
    let daemon = env.serve().await;
    let id = daemon.enqueue(&message("chat_1", "x")).await;
    let refused = async || daemon.get("/v1/status").await.1["key_refused"].is_object();
    assert!(eventually(refused).await);
    std::fs::write(&key, "sandbox-key").unwrap();
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    assert!(eventually(refused).await, "the daemon has the key of its start");
    for arguments in [&["notices"][..], &["status"], &["doctor"]] {
        let output = env.outboxd(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = "for a new key restart the daemon; for the subscription: outboxd resume --all";
        assert!(said.contains(line), "{arguments:?}: {said}");
    }
    assert!(eventually(async || env.log().contains("for a new key restart the daemon")).await);
    daemon.stop().await;
    let daemon = env.serve().await;
    daemon.becomes(&id, "sent").await;
    daemon.stop().await;
}

/// While another program keeps the queue locked, probes say so within a second, and no message can be taken in.
#[tokio::test]
async fn a_locked_queue_is_not_ready_to_take_in() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let locker = rusqlite::Connection::open(env.database()).unwrap();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let asked = std::time::Duration::from_secs(1);
    let answer = tokio::time::timeout(asked + Duration::from_millis(500), daemon.get("/readyz")).await;
    let (status, ready) = answer.expect("within a second or so");
    assert_eq!((status, &ready["take_in"]["reason"]), (503, &json!("storage")), "{ready}");
    assert_eq!(env.outboxd(&["status"]).output().unwrap().status.code(), Some(7));
    locker.execute_batch("COMMIT").unwrap();
    assert!(eventually(async || daemon.get("/readyz").await.0 == 200).await, "and it comes back");
    daemon.stop().await;
}

/// H7: systemd's `ProcSubset=pid` hides /proc/sys. The daemon works, and says what it cannot know.
#[tokio::test]
async fn a_system_that_hides_the_start_of_the_machine_is_told_of_and_sends() {
    let env = TestEnv::new().await.hasty();
    let serve = env.outboxd(&["serve"]);
    let hidden = "mount -t proc -o subset=pid proc /proc && exec \"$0\" serve";
    let mut command = std::process::Command::new("unshare");
    command.args(["--mount", "sh", "-c", hidden]).arg(serve.get_program());
    command.env_clear().current_dir(env.path(".")).stderr(Stdio::piped());
    command.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = Killed(command.spawn().unwrap());
    let client = env.client();
    let up = eventually(async || {
        let ended = child.0.try_wait().unwrap();
        ended.is_some() || client.get("http://outboxd/healthz").send().await.is_ok()
    });
    assert!(up.await);
    if let Some(status) = child.0.try_wait().unwrap() {
        eprintln!("this machine does not let a test mount /proc ({status}); ProcSubset=pid is not tried");
        return;
    }
    let accepted =
        client.post("http://outboxd/v1/messages").body(message("chat_1", "x")).send().await.unwrap();
    assert_eq!(accepted.status(), 201);
    env.delivered(1).await;
    let shown = run(env.outboxd(&["status"]), "").1;
    assert!(shown.contains("the start of the machine cannot be told"), "{shown}");
}
