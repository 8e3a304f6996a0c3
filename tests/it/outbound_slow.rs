//! Receivers of events that change, fail and hang, by the real process: a reload replaces them, a person sees them, and
//! sends keep their pace.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, gaps, run};
use crate::outbound::{Answers, Receiver, SECRET, message, secret_file};

/// Returns the table of a receiver of webhooks.
fn webhook(env: &TestEnv, name: &str, receiver: &Receiver) -> String {
    let (url, secret) = (&receiver.url, secret_file(env, &[SECRET]).display().to_string());
    format!("[outbound.webhook.{name}]\nurl = \"{url}\"\nsecret_file = \"{secret}\"\n")
}

fn configure(env: &TestEnv, tables: &str) {
    std::fs::write(env.path("outboxd.toml"), tables).unwrap();
}

async fn hook(daemon: &Daemon, name: &str) -> Value {
    let (_, list) = daemon.get("/v1/hooks").await;
    let hooks = list["data"].as_array().unwrap();
    hooks.iter().find(|hook| hook["name"] == name).cloned().unwrap_or(Value::Null)
}

/// Reloads the configuration, and waits until the daemon has done it.
async fn reload(env: &TestEnv, daemon: &Daemon) {
    const DONE: &str = "receivers of events changed";
    let before = env.log().matches(DONE).count();
    daemon.signal("-HUP");
    assert!(eventually(async || env.log().matches(DONE).count() > before).await, "{}", env.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_changes_and_removes_receivers_and_leaves_the_others_alone() {
    let [stays, first, second] = [200; 3].map(|status| Receiver::start(Answers::With(status)));
    let (stays, first, second) = (stays.await, first.await, second.await);
    stays.answer(Answers::Hangs);
    let env = TestEnv::new().await.hasty();
    let fixed = webhook(&env, "stays", &stays);
    configure(&env, &fixed);
    let daemon = env.serve().await;
    let id = daemon.enqueue(&message("c1")).await;
    daemon.becomes(&id, "sent").await;
    assert!(eventually(async || stays.all().len() == 1).await);

    configure(&env, &format!("{fixed}{}", webhook(&env, "crm", &first)));
    reload(&env, &daemon).await;
    assert_eq!(hook(&daemon, "crm").await["state"], "ok");
    let id = daemon.enqueue(&message("c2")).await;
    let sent = first.got("message.sent", 1).await;
    assert_eq!(
        sent[0].event()["data"]["message_id"],
        json!(id),
        "a new receiver gets the events from now on"
    );

    configure(&env, &format!("{fixed}{}", webhook(&env, "crm", &second)));
    reload(&env, &daemon).await;
    let id = daemon.enqueue(&message("c3")).await;
    let sent = second.got("message.sent", 1).await;
    assert_eq!(sent[0].event()["data"]["message_id"], json!(id), "the new address goes on after the old one");
    let all =
        [&first, &second].map(|receiver| receiver.all().iter().map(|one| one.id.clone()).collect::<Vec<_>>());
    assert!(all[1].iter().all(|id| !all[0].contains(id)), "nothing is delivered again: {all:?}");

    // The same name and address, with another secret.
    let table = webhook(&env, "crm", &second).replace("/secret\"", "/other\"");
    std::fs::write(env.path("other"), "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
    configure(&env, &format!("{fixed}{table}"));
    reload(&env, &daemon).await;
    std::fs::write(env.path("other"), SECRET).unwrap();
    reload(&env, &daemon).await;

    configure(&env, &fixed);
    reload(&env, &daemon).await;
    assert_eq!(hook(&daemon, "crm").await, Value::Null);
    let id = daemon.enqueue(&message("c4")).await;
    daemon.becomes(&id, "sent").await;
    assert_eq!(second.got("message.sent", 1).await.len(), 1, "it gets no more");
    assert_eq!(stays.all().len(), 1, "a delivery to a receiver that stays is not cut off");
    let (_, status) = daemon.get("/v1/status").await;
    assert!(!status["warnings"].to_string().contains("after a restart"), "{status}");

    configure(&env, "[outbound.webhook.crm]\n");
    daemon.signal("-HUP");
    assert!(eventually(async || env.log().contains("is not reloaded")).await, "{}", env.log());
    assert_eq!(hook(&daemon, "stays").await["state"], "ok", "a mistake changes nothing");
    daemon.stop().await;
}

/// The time of a retry can be a day away; a receiver with another address or secret does not wait for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_a_reload_changed_is_tried_at_once() {
    let (wrong, right) =
        (Receiver::start(Answers::With(301)).await, Receiver::start(Answers::With(200)).await);
    let env = TestEnv::new().await.hasty();
    configure(&env, &webhook(&env, "crm", &wrong));
    let daemon = env.serve().await;
    daemon.enqueue(&message("c1")).await;
    assert!(eventually(async || hook(&daemon, "crm").await["failures"] == 1).await);
    let said =
        "answered 301, a redirect, which outboxd does not follow: configure the address to which it leads";
    assert_eq!(hook(&daemon, "crm").await["problem"], said);
    let (_, listed) = run(env.outboxd(&["hook", "list"]), "");
    assert!(listed.contains(&format!("failed once ({said}); again at ")), "{listed}");
    env.sql("UPDATE hooks SET failures = 3, retry_at = '2090-01-01T00:00:00.000Z' WHERE name = 'crm' RETURNING name");
    configure(&env, &webhook(&env, "crm", &right));
    reload(&env, &daemon).await;
    right.got("message.sent", 1).await;
    assert!(eventually(async || hook(&daemon, "crm").await["state"] == "ok").await);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_and_one_that_is_disabled_are_notices() {
    let gone = Receiver::start(Answers::With(410)).await;
    let fails = Receiver::start(Answers::With(500)).await;
    let env = TestEnv::new().await.hasty();
    let tables = format!("{}{}", webhook(&env, "gone", &gone), webhook(&env, "fails", &fails));
    configure(&env, &tables);
    let daemon = env.serve().await;
    daemon.enqueue(&message("c1")).await;
    env.delivered(1).await;
    assert!(eventually(async || hook(&daemon, "fails").await["failures"] == 1).await);
    let of = |kind: &'static str| {
        let daemon = &daemon;
        async move {
            let (_, answer) = daemon.get("/v1/notices").await;
            answer["data"].as_array().unwrap().iter().find(|one| one["kind"] == kind).cloned()
        }
    };
    assert_eq!(of("receiver_failing").await, None, "one failure alone is none");
    env.sql("UPDATE hooks SET retry_at = NULL WHERE name = 'fails' RETURNING name");
    assert!(eventually(async || of("receiver_failing").await.is_some()).await);
    let failing = of("receiver_failing").await.unwrap();
    assert!(
        failing["what"]
            .as_str()
            .unwrap()
            .starts_with("fails does not accept events (answered 500, 2 in a row; the next try is at "),
        "{failing}"
    );
    assert_eq!(failing["needs_person"], false);
    let disabled = of("receiver_disabled").await.unwrap();
    assert_eq!(disabled["what"], "gone receives no more events, it is disabled (answered 410)");
    assert_eq!(
        (&disabled["needs_person"], &disabled["to_do"]),
        (&json!(true), &json!("fix gone, then: outboxd hook enable gone"))
    );
    let (_, shown) = run(env.outboxd(&["status"]), "");
    assert!(shown.contains("notice: receiver_disabled: gone receives no more events"), "{shown}");
    let (_, metrics) = daemon.get("/metrics").await;
    assert!(metrics.as_str().unwrap().contains("outboxd_notices{kind=\"receiver_disabled\"} 1"));

    gone.answer(Answers::With(200));
    let (ok, said) = run(env.outboxd(&["hook", "enable", "gone"]), "");
    assert!(ok, "{said}");
    assert_eq!(of("receiver_disabled").await, None);
    daemon.stop().await;
}

/// Messages whose pace is measured.
const MESSAGES: usize = 12;
const GAP: Duration = Duration::from_millis(250);
/// Two cores that other tests use as well.
const LATE: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread")]
async fn sends_keep_their_pace_while_every_consumer_is_slow() {
    let slow = Receiver::start(Answers::After(Duration::from_secs(30))).await;
    let fails = Receiver::start(Answers::With(500)).await;
    let env = TestEnv::new().await.hasty();
    let hangs = "[outbound.command.hangs]\nrun = [\"/bin/sh\", \"-c\", \"exec sleep 60\"]\n";
    configure(&env, &format!("{}{}{hangs}", webhook(&env, "slow", &slow), webhook(&env, "fails", &fails)));
    let env =
        env.set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "250ms").set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "250ms");
    let daemon = env.serve().await;
    // It asks for all events and reads none of them.
    let mut stalled = UnixStream::connect(env.socket()).unwrap();
    stalled
        .write_all(b"GET /v1/events?after=0 HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n")
        .unwrap();
    let rows: Vec<String> = (0..MESSAGES).map(|n| message(&format!("c{n}"))).collect();
    daemon.post_as("/v1/messages", "application/x-ndjson", rows.join("\n").into()).await;
    let pauses = gaps(&env.delivered(MESSAGES).await, "acc_1");
    assert!(pauses.iter().all(|pause| (GAP..GAP + LATE).contains(pause)), "{pauses:?}");
    let (_, metrics) = daemon.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    for (sample, value) in
        [("send_lag_seconds_bucket{le=\"5\"}", MESSAGES), ("promises_broken_total{promise=\"overdue\"}", 0)]
    {
        assert!(metrics.contains(&format!("outboxd_{sample} {value}\n")), "{sample} {value}: {metrics}");
    }
    assert_eq!((slow.all().len(), hook(&daemon, "hangs").await["cursor"].clone()), (1, json!(0)));
    assert!(hook(&daemon, "fails").await["failures"].as_i64() > Some(0));
    drop(stalled);
    daemon.stop().await;
}
