//! Notices: one place says what a person must know or do, and every door shows it.
#![allow(clippy::unwrap_used, reason = "a test may")]

use outboxd::metrics::table::{NOTICES, PROMISES_BROKEN};
use outboxd::sandbox::{Fault, FaultKind};
use outboxd::types::notice::KINDS;
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, run};
use crate::dashboard::Browser;
use crate::outbound::{Answers, Receiver, SECRET};

async fn kinds(daemon: &Daemon) -> Vec<String> {
    let (status, answer) = daemon.get("/v1/notices").await;
    assert_eq!(status, 200, "{answer}");
    let data = answer["data"].as_array().unwrap().iter();
    data.map(|notice| notice["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_document_and_the_metric_have_every_kind() {
    assert_eq!(NOTICES.labels[0].values, KINDS);
    let text = include_str!("../../docs/http.md");
    let section = text.split("## `GET /v1/notices`").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: Vec<&str> = rows.filter(|word| *word != "kind").collect();
    assert_eq!(rows, KINDS);
    assert_eq!(PROMISES_BROKEN.labels[0].name, "promise");
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_the_same_behind_every_door_and_end_when_a_person_acts() {
    let env = TestEnv::new().await.hasty().reconciling("");
    let daemon = env.serve().await;
    // A disk with little room adds a notice of its own.
    let without = |found: Vec<String>| -> Vec<String> {
        found.into_iter().filter(|kind| !["queue_new", "disk_low"].contains(&kind.as_str())).collect()
    };
    assert_eq!(without(kinds(&daemon).await), Vec::<String>::new());
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    let message = json!({ "account_id": "acc_1", "chat_id": "c1", "text": "x" });
    let id = daemon.enqueue(&message.to_string()).await;
    daemon.becomes(&id, "review").await;
    env.sandbox.fault(Fault::restricted());
    let message = json!({ "account_id": "acc_2", "chat_id": "c2", "text": "x" });
    daemon.enqueue(&message.to_string()).await;
    assert!(eventually(async || kinds(&daemon).await.contains(&"account_down".to_owned())).await);
    daemon.post("/v1/pause", r#"{"note": "lunch"}"#).await;
    assert_eq!(without(kinds(&daemon).await), ["account_down", "review", "paused"]);

    let (_, answer) = daemon.get("/v1/notices").await;
    let down = &answer["data"][0];
    assert_eq!((&down["account_id"], &down["needs_person"]), (&json!("acc_2"), &json!(true)), "{down}");
    assert!(down["to_do"].as_str().unwrap().contains("outboxd resume acc_2") && down["since"] != Value::Null);
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["notices"], answer["data"]);
    let (ok, said) = run(env.outboxd(&["notices"]), "");
    assert!(ok && said.starts_with("account_down: acc_2 cannot send, it is restricted ("), "{said}");
    assert!(
        said.contains("paused: all sending is paused (lunch), since ")
            && said.contains("  to do: outboxd review"),
        "{said}"
    );
    let (_, shown) = run(env.outboxd(&["status"]), "");
    assert!(shown.starts_with("notice: account_down: acc_2 cannot send"), "{shown}");
    let (_, metrics) = daemon.get("/metrics").await;
    let metrics = metrics.as_str().unwrap();
    assert!(
        metrics.contains("outboxd_notices{kind=\"review\"} 1")
            && metrics.contains("outboxd_notices{kind=\"storage\"} 0")
    );

    daemon.post("/v1/resume", "").await;
    daemon.post("/v1/accounts/acc_2/resume", "").await;
    daemon.post(&format!("/v1/messages/{id}/review"), r#"{"decision": "drop"}"#).await;
    assert!(
        eventually(async || without(kinds(&daemon).await).is_empty()).await,
        "{:?}",
        kinds(&daemon).await
    );
}

/// Notices name accounts that rest for a day: one for all that failed, and one for those that were throttled.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_rest_with_messages_to_send_are_named() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_COOLDOWN_FAILURES", "1");
    let daemon = env.serve().await;
    let refused = || FaultKind::Error {
        status: 403,
        error_type: "provider/insufficient_permissions".into(),
        title: "No".into(),
        detail: "refused".into(),
        retry_after: None,
        delivered: false,
    };
    let two = async |account: &str, fault: Fault| {
        env.sandbox.fault(fault.on(account));
        for chat in ["c1", "c2"] {
            let message = json!({ "account_id": account, "chat_id": chat, "text": "x" });
            daemon.enqueue(&message.to_string()).await;
        }
    };
    let of = async |kind: &str, part: &str| {
        let mut found = Value::Null;
        let is_there = eventually(async || {
            let (_, answer) = daemon.get("/v1/notices").await;
            let all = answer["data"].as_array().unwrap();
            found = all.iter().find(|notice| notice["kind"] == kind).cloned().unwrap_or_default();
            found["what"].as_str().is_some_and(|what| what.contains(part))
        });
        assert!(is_there.await, "{kind}: {part}: {found}");
        found
    };
    two("acc_2", Fault::new(refused())).await;
    let one = of("account_failures", "acc_2 rests after several failures in a row; it goes on at ").await;
    assert_eq!((&one["account_id"], &one["needs_person"]), (&json!("acc_2"), &json!(true)), "{one}");
    assert!(one["to_do"].as_str().unwrap().ends_with("outboxd resume acc_2 --lift-hold"), "{one}");
    for account in ["acc_3", "acc_4", "acc_5"] {
        two(account, Fault::new(refused())).await;
    }
    let four = of("account_failures", "4 accounts (acc_2, acc_3, acc_4 and 1 more) rest after ").await;
    assert_eq!(four["account_id"], Value::Null, "{four}");
    two("acc_6", Fault::provider_429()).await;
    let throttled = of("account_cooldown", "acc_6 rests because LinkedIn throttled ").await;
    assert_eq!(throttled["needs_person"], json!(false), "{throttled}");
    let (_, status) = daemon.get("/v1/status").await;
    assert!(status["next_step"].as_str().unwrap().starts_with("4 accounts (acc_2"), "{status}");
    let (_, metrics) = daemon.get("/metrics").await;
    let metrics = metrics.as_str().unwrap().to_owned();
    assert!(metrics.contains("outboxd_notices{kind=\"account_failures\"} 1"), "{metrics}");
    for account in ["acc_2", "acc_3", "acc_4", "acc_5"] {
        daemon.post(&format!("/v1/accounts/{account}/resume"), r#"{"lift_hold": true}"#).await;
    }
    let is_over = async || !kinds(&daemon).await.contains(&"account_failures".to_owned());
    assert!(eventually(is_over).await, "{:?}", kinds(&daemon).await);
}

/// The dashboard shows each notice that needs a person, with what to do, once.
#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_shows_what_needs_a_person_once() {
    let gone = Receiver::start(Answers::With(410)).await;
    let env = TestEnv::new().await.hasty();
    let secret = env.path("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let tables = format!(
        "[outbound.webhook.gone]\nurl = {:?}\nsecret_file = {:?}\n",
        gone.url,
        secret.to_str().unwrap()
    );
    std::fs::write(env.path("outboxd.toml"), &tables).unwrap();
    let daemon = env.serve().await;
    let browser = Browser::of(&env);
    daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "x"}"#).await;
    assert!(eventually(async || kinds(&daemon).await.contains(&"receiver_disabled".to_owned())).await);
    std::fs::write(env.path("outboxd.toml"), tables + "[nonsense]\n").unwrap();
    daemon.signal("-HUP");
    assert!(eventually(async || kinds(&daemon).await.contains(&"config_refused".to_owned())).await);
    for path in ["/", "/health"] {
        let (_, page) = browser.page(path).await;
        assert!(!page.contains("Nothing needs you"), "{path}: {page}");
        for shown in [
            "gone receives no more events, it is disabled (answered 410); to do: fix gone, then: outboxd hook enable gone",
            "the configuration could not be reloaded, the old one stays in force: ",
            "outboxd check shows every mistake",
        ] {
            assert_eq!(page.matches(shown).count(), 1, "{path}: {shown}: {page}");
        }
        assert!(!page.contains("<strong>Next:</strong>"), "these keep no message: {page}");
    }

    env.sandbox.fault(Fault::restricted());
    daemon.enqueue(r#"{"account_id": "acc_2", "chat_id": "c2", "text": "x"}"#).await;
    assert!(eventually(async || kinds(&daemon).await.contains(&"account_down".to_owned())).await);
    daemon.post("/v1/pause", r#"{"note": "lunch"}"#).await;
    for path in ["/", "/health"] {
        let (_, page) = browser.page(path).await;
        for shown in ["<strong>Next:</strong> acc_2 cannot send", "all sending is paused (lunch)"] {
            assert_eq!(page.matches(shown).count(), 1, "{path}: {shown}: {page}");
        }
        assert!(!page.contains("nothing is sent: "), "the pause is a notice: {page}");
    }
    daemon.post("/v1/pause", r#"{"for": "1h", "note": "lunch"}"#).await;
    let (_, page) = browser.page("/").await;
    assert_eq!(
        page.matches("nothing is sent: ").count(),
        1,
        "a pause that ends by itself is no notice: {page}"
    );
}
