//! What Unipile says about the accounts, as the daemon stores and shows it: across restarts, and while reads fail.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;
use std::time::Duration;

use outboxd::domain::account_snapshot::Reading;
use outboxd::domain::message::InboxId;
use outboxd::domain::observed::{ObservedAccount, ObservedInbox};
use outboxd::domain::outcome::ProviderError;
use outboxd::sandbox::{Endpoint, Fault, FaultKind};
use serde_json::{Value, json};

use crate::daemon::{TestEnv, eventually};
use crate::queue::{Queue, account, at, to_chat};

const HOUR: Duration = Duration::from_secs(3600);

fn seen(status: &str) -> ObservedAccount {
    ObservedAccount {
        name: Some("Ada".into()),
        provider: "linkedin".into(),
        status: status.into(),
        products: BTreeMap::from([("classic".into(), status.into())]),
        is_locked: false,
    }
}

#[tokio::test]
async fn each_part_is_kept_with_its_time_until_it_is_read_anew() {
    let queue = Queue::new().await;
    queue.enqueue(to_chat("c", "hi"), at(0)).await;
    let inboxes = vec![ObservedInbox { id: InboxId::new("CLASSIC_PRIMARY"), disabled: true }];
    let whole = Reading {
        account: Some(seen("running")),
        inboxes: Some(inboxes.clone()),
        credits: Some([("classic".to_owned(), 7)].into()),
        ..Reading::new(at(10))
    };
    queue.store.sync_account(account("1"), whole).await.unwrap();
    let partly = Reading {
        account: Some(ObservedAccount { name: None, ..seen("disconnected") }),
        problem: Some(ProviderError::local("timeout", "no answer in time")),
        ..Reading::new(at(20))
    };
    queue.store.sync_account(account("1"), partly).await.unwrap();
    queue.store.sync_account(account("1"), Reading::new(at(30))).await.unwrap();

    let queue = queue.crash(at(40)).await;
    let mut facts = queue.store.snapshots(&[&account("1")]).await.unwrap();
    assert!(queue.store.snapshots(&[&account("2")]).await.unwrap().is_empty());
    let facts = facts.remove(&account("1")).unwrap();
    let known = facts.account.unwrap();
    assert_eq!((known.at, &*known.value.status, known.value.name), (at(20), "disconnected", None));
    assert_eq!((facts.inboxes.as_ref().unwrap().at, &facts.inboxes.unwrap().value), (at(10), &inboxes));
    assert_eq!((facts.credits.unwrap().at, facts.tried_at, facts.problem), (at(10), Some(at(30)), None));
    let events = queue.lines("SELECT at, kind, account_id, detail FROM events WHERE kind = 'account.status'");
    assert_eq!(events, ["2026-11-22T09:00:20.000Z|account.status|acc_1|running to disconnected"]);
}

#[tokio::test]
async fn those_with_work_are_due_when_unread_old_or_failed_and_the_oldest_first() {
    let queue = Queue::new().await;
    let due = async |seconds: i64, limit: u32| {
        let due = queue.store.snapshots_due(at(seconds), HOUR, HOUR / 12, limit).await.unwrap();
        due.into_iter().map(|id| id.to_string()).collect::<Vec<_>>()
    };
    for id in ["1", "2", "3"] {
        let message = outboxd::domain::message::NewMessage { account_id: account(id), ..to_chat("c", "hi") };
        queue.enqueue(message, at(0)).await;
    }
    queue.store.sync_account(account("4"), Reading::new(at(0))).await.unwrap();
    assert_eq!(due(1, 10).await, ["acc_1", "acc_2", "acc_3"], "those without work are not");
    assert_eq!(due(1, 2).await.len(), 2);
    queue.store.sync_account(account("2"), Reading::new(at(5))).await.unwrap();
    queue.store.sync_account(account("1"), Reading::new(at(10))).await.unwrap();
    let failed = Reading { problem: Some(ProviderError::local("timeout", "late")), ..Reading::new(at(10)) };
    queue.store.sync_account(account("3"), failed).await.unwrap();
    assert_eq!(due(20, 10).await, [""; 0]);
    assert_eq!(due(10 + 300, 10).await, ["acc_3"], "what failed is tried again sooner");
    assert_eq!(due(5 + 3600, 10).await, ["acc_2", "acc_3"]);
    assert_eq!(due(10 + 3600, 10).await, ["acc_2", "acc_1", "acc_3"]);
    assert_eq!(due(-50, 10).await.len(), 3, "a clock that was set back finds no reading of the future");
}

async fn unipile(daemon: &crate::daemon::Daemon) -> Value {
    let (status, answer) = daemon.get("/v1/accounts/acc_1").await;
    assert_eq!(status, 200, "{answer}");
    answer["unipile"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_tells_what_unipile_knows_and_when_it_was_read() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_ACCOUNTS_REFRESH", "1ms");
    let world = env.sandbox.world().clone();
    world.set_account("acc_1", "Ada", "linkedin", "running", &[("classic", "running")]);
    world.set_inboxes("acc_1", [("CLASSIC_PRIMARY", false), ("RECRUITER_PRIMARY", true)]);
    let daemon = env.serve().await;
    let later = r#"{"account_id":"acc_1","chat_id":"c","text":"hi","not_before":"2099-01-01T00:00:00Z"}"#;
    daemon.enqueue(later).await;
    assert!(eventually(async || !unipile(&daemon).await.is_null()).await, "{}", env.log());
    let known = unipile(&daemon).await;
    assert_eq!(daemon.get("/v1/accounts").await.1["data"][0]["unipile"], known);
    assert_eq!(
        (&known["name"], &known["provider"], &known["status"]),
        (&json!("Ada"), &json!("linkedin"), &json!("running"))
    );
    assert_eq!((&known["products"], &known["is_locked"]), (&json!({ "classic": "running" }), &json!(false)));
    let inboxes = json!([{ "id": "CLASSIC_PRIMARY", "disabled": false }, { "id": "RECRUITER_PRIMARY", "disabled": true }]);
    assert_eq!((&known["inboxes"], &known["credits"]), (&inboxes, &json!({ "classic": 10 })));
    assert_eq!((&known["problem"], &known["read_at"]), (&Value::Null, &known["tried_at"]));
    let shown = env.outboxd(&["status", "acc_1"]);
    let (_, shown) = crate::daemon::run(shown, "");
    for line in [
        "unipile     Ada, linkedin, running; classic running (read ",
        "CLASSIC_PRIMARY, RECRUITER_PRIMARY (disabled)",
        "classic 10 (read ",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    daemon.stop().await;

    env.sandbox.fault(Fault::gateway(502, false).at(Endpoint::GetAccount).always());
    let daemon = env.serve().await;
    assert!(eventually(async || unipile(&daemon).await["problem"].is_string()).await, "{}", env.log());
    let old = unipile(&daemon).await;
    assert_eq!(
        (&old["name"], &old["read_at"], &old["inboxes"]),
        (&known["name"], &known["read_at"], &inboxes)
    );
    assert!(old["problem"].as_str().unwrap().contains("502"), "{old}");
    assert_eq!(old["is_old"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_hangs_delays_neither_a_send_nor_the_end() {
    let env = TestEnv::new().await.hasty();
    let latency = FaultKind::Latency { before_delivery: HOUR };
    env.sandbox.fault(Fault::new(latency).at(Endpoint::GetAccount).always());
    let daemon = env.serve().await;
    daemon.enqueue(r#"{"account_id":"acc_1","chat_id":"c","text":"one"}"#).await;
    env.delivered(1).await;
    let later = r#"{"account_id":"acc_1","chat_id":"c","text":"hi","not_before":"2099-01-01T00:00:00Z"}"#;
    daemon.enqueue(later).await;
    daemon.stop().await;
    let daemon = env.serve().await;
    let world = env.sandbox.world();
    let hangs = || world.calls().iter().any(|call| call.endpoint == Endpoint::GetAccount);
    assert!(eventually(async || hangs()).await, "{}", env.log());
    daemon.enqueue(r#"{"account_id":"acc_1","chat_id":"c","text":"two"}"#).await;
    env.delivered(2).await;
    daemon.stop().await;
}
