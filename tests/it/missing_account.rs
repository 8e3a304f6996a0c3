//! An account that Unipile does not have keeps its messages; a recipient, chat or inbox that does not exist fails its
//! own. The real process throughout.

use outboxd::sandbox::{Endpoint, Fault};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually};
use crate::preflight::refusal;

const KIND: &str = "api/resource_not_found";

/// Makes Unipile answer requests for `acc_1` to `endpoint` as if something did not exist.
fn missing(env: &TestEnv, endpoint: Endpoint) {
    env.sandbox.fault(refusal(endpoint, 404, KIND, "Account acc_1 does not exist.").on("acc_1"));
}

async fn chats(daemon: &Daemon, n: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..n {
        let message = json!({"account_id": "acc_1", "chat_id": format!("c{n}"), "text": "hi"});
        ids.push(daemon.enqueue(&message.to_string()).await);
    }
    ids
}

async fn down(daemon: &Daemon) -> Value {
    let mut found = Value::Null;
    let is_down = eventually(async || {
        let (_, answer) = daemon.get("/v1/notices").await;
        let notices = answer["data"].as_array().expect("rows").clone();
        found = notices.into_iter().find(|notice| notice["kind"] == "account_down").unwrap_or_default();
        !found.is_null()
    });
    assert!(is_down.await, "no notice says it");
    found
}

fn calls(env: &TestEnv, endpoint: Endpoint) -> usize {
    let calls = env.sandbox.world().calls();
    calls.iter().filter(|call| call.account_id == "acc_1" && call.endpoint == endpoint).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_finds_out_that_the_account_is_gone_and_the_queue_stays() {
    let env = TestEnv::new().await.hasty();
    missing(&env, Endpoint::SendMessage);
    missing(&env, Endpoint::GetAccount);
    let daemon = env.serve().await;
    let ids = chats(&daemon, 5).await;
    let other = daemon.enqueue(r#"{"account_id":"acc_2","chat_id":"d","text":"hi"}"#).await;
    let notice = down(&daemon).await;
    assert_eq!(notice["account_id"], "acc_1", "{notice}");
    let what = notice["what"].as_str().unwrap();
    assert!(
        what.starts_with("acc_1 cannot send, it is disconnected (api/resource_not_found (404)"),
        "{what}"
    );
    daemon.becomes(&other, "sent").await;
    assert_eq!(calls(&env, Endpoint::SendMessage), 1, "the first refusal stops the account");
    for id in &ids {
        let (_, shown) = daemon.get(&format!("/v1/messages/{id}")).await;
        assert_eq!(&shown["state"], &json!("queued"), "{shown}");
        let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
        assert_eq!(explained["reason"], "account_disconnected", "{explained}");
    }
    // It is still gone.
    daemon.post("/v1/accounts/acc_1/resume", "").await;
    assert!(eventually(async || calls(&env, Endpoint::SendMessage) == 2).await);
    down(&daemon).await;
    env.sandbox.world().clear_faults();
    daemon.post("/v1/accounts/acc_1/resume", "").await;
    for id in &ids {
        daemon.becomes(id, "sent").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_finds_it_out_as_well() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_ROUTE", "existing chat");
    missing(&env, Endpoint::GetUserChat);
    missing(&env, Endpoint::GetAccount);
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id":"acc_1","users_ids":"ACoA1","text":"hi"}"#).await;
    down(&daemon).await;
    let (_, shown) = daemon.get(&format!("/v1/messages/{id}")).await;
    assert_eq!((&shown["state"], &shown["attempts"]), (&json!("queued"), &json!([])), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_whose_chat_does_not_exist_fail_after_one_read_of_the_account() {
    let env = TestEnv::new().await.hasty();
    missing(&env, Endpoint::SendMessage);
    let daemon = env.serve().await;
    for id in chats(&daemon, 6).await {
        let failed = daemon.becomes(&id, "failed").await;
        assert_eq!(failed["reason"], "refused", "{failed}");
    }
    // One more may be that of the account data.
    let reads = calls(&env, Endpoint::GetAccount);
    assert!((1..=2).contains(&reads), "{reads}");
    let (_, answer) = daemon.get("/v1/notices").await;
    assert!(!answer.to_string().contains("account_down"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_not_failed_while_it_is_unknown_whether_the_account_exists() {
    let env = TestEnv::new().await.hasty();
    missing(&env, Endpoint::SendMessage);
    env.sandbox.fault(Fault::internal_error(false).at(Endpoint::GetAccount).always());
    let daemon = env.serve().await;
    let id = chats(&daemon, 1).await.remove(0);
    let waits = eventually(async || {
        let (_, shown) = daemon.get(&format!("/v1/messages/{id}")).await;
        (&shown["state"], &shown["reason"]) == (&json!("queued"), &json!("retry"))
    });
    assert!(waits.await, "{}", daemon.get(&format!("/v1/messages/{id}")).await.1);
    assert_eq!(calls(&env, Endpoint::SendMessage), 1);
}
