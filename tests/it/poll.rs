//! Without webhooks, the chats for which something is queued are polled: answers cancel what is queued and receipts show,
//! without any send.

use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::{Call, Endpoint, World};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, texts};

/// An environment that polls every second, without a listener for webhooks and without reads before follow-ups.
async fn polling() -> TestEnv {
    let env = TestEnv::new().await.hasty();
    env.set("OUTBOXD_INBOUND_POLL", "1s").set("OUTBOXD_POLICY_DEFAULT_REPLY_CHECK", "false")
}

/// Sends the first step of a campaign to `user`; the second waits for three days. Returns both rows.
async fn begun(daemon: &Daemon, user: &str) -> [Value; 2] {
    let step = |step: u32, wait: Option<&str>| {
        json!({"account_id": "acc_1", "users_ids": user, "text": format!("{user} {step}"),
               "campaign": "autumn", "step": step, "wait": wait})
    };
    let first = daemon.enqueue(&step(1, None).to_string()).await;
    let second = daemon.enqueue(&step(2, Some("3 days")).to_string()).await;
    [daemon.becomes(&first, "sent").await, row(daemon, &second).await]
}

fn answers(world: &World, chat_id: &Value, text: &str) {
    world.add_message("acc_1", chat_id.as_str().expect("a chat"), "their answer", text, false);
}

async fn row(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/v1/messages/{id}")).await.1
}

fn id(message: &Value) -> &str {
    message["id"].as_str().expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_and_a_receipt_are_heard_without_webhooks_and_without_a_send() {
    let env = polling().await;
    let world = env.sandbox.world();
    let daemon = env.serve().await;
    let [first, second] = begun(&daemon, "U1").await;
    let [other, waits] = begun(&daemon, "U2").await;
    let heard = async |message: &Value, what: &str| row(&daemon, id(message)).await[what].is_string();
    assert!(eventually(async || heard(&first, "delivered_at").await).await, "it was delivered");
    assert!(!heard(&first, "read_at").await, "and not read");
    world.person_reads("acc_1", first["chat_id"].as_str().unwrap(), "U1");
    assert!(eventually(async || heard(&first, "read_at").await).await, "it was read");
    answers(world, &first["chat_id"], "Yes, call me tomorrow");
    assert_eq!(daemon.becomes(id(&second), "cancelled").await["reason"], "replied");
    assert!(heard(&first, "replied_at").await);
    assert!(!heard(&other, "read_at").await && !heard(&other, "replied_at").await);
    assert_eq!(row(&daemon, id(&waits)).await["state"], "queued");
    let mut sent: Vec<String> = texts(&world.deliveries()).into_iter().map(str::to_owned).collect();
    sent.sort();
    assert_eq!(sent, ["U1 1", "U2 1"]);
    // Nothing is queued for U1 any more, so that chat is not polled.
    assert!(eventually(async || env.sql("SELECT chat_id FROM chat_reads WHERE waits = 1").len() == 1).await);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_own_words_hold_and_a_chat_that_cannot_be_read_holds_back_no_other() {
    let env = polling().await;
    let world = env.sandbox.world();
    let daemon = env.serve().await;
    let [first, second] = begun(&daemon, "U1").await;
    let later = json!({"account_id": "acc_1", "chat_id": "missing-1", "text": "x", "not_before": "2099-01-01T00:00:00Z"});
    daemon.enqueue(&later.to_string()).await;
    env.sql(
        "INSERT INTO chat_reads (account_id, chat_id, sent_at, read_at, tried_at, waits) \
         SELECT account_id, 'missing-1', sent_at, '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', 1 FROM chat_reads RETURNING chat_id",
    );
    let is_tried = async || {
        env.sql("SELECT tried_at FROM chat_reads WHERE chat_id = 'missing-1' AND tried_at > sent_at").len()
            == 1
    };
    assert!(eventually(is_tried).await, "the chat was not tried");
    assert_eq!(
        env.sql("SELECT read_at FROM chat_reads WHERE chat_id = 'missing-1'"),
        ["2026-01-01T00:00:00.000Z"]
    );
    world.add_message("acc_1", first["chat_id"].as_str().unwrap(), "mine", "Let us talk on Monday", true);
    let holds = async || env.sql("SELECT reason FROM stops WHERE scope = 'person' AND key = 'U1'");
    assert!(eventually(async || holds().await == ["owner_wrote"]).await, "{:?}", holds().await);
    assert_eq!(row(&daemon, id(&second)).await["state"], "queued");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_is_read_shows_what_was_edited() {
    let env = polling().await;
    let world = env.sandbox.world();
    let daemon = env.serve().await;
    let [first, second] = begun(&daemon, "U1").await;
    let chat = first["chat_id"].as_str().unwrap();
    world.add_message("acc_1", chat, "theirs", "I am out of office.", false);
    let reason = async || row(&daemon, id(&second)).await["reason"].clone();
    assert!(eventually(async || reason().await == "out_of_office").await, "{}", reason().await);
    world.add_message("acc_1", chat, "theirs", "Please don't contact me again.", false);
    assert_eq!(daemon.becomes(id(&second), "cancelled").await["reason"], "suppressed");
    daemon.stop().await;
}

/// The chat was not begun by a message of outboxd, so only what is written in it shows who is on the other side.
#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_a_chat_shows_is_that_of_its_writer() {
    let env = polling().await;
    let world = env.sandbox.world();
    world.add_chat_with_user("acc_1", "U7", "an-old-chat");
    let daemon = env.serve().await;
    let to = |account: &str, field: &str, of: &str, text: &str, later: bool| {
        let not_before = later.then_some("2999-01-01T00:00:00Z");
        json!({"account_id": account, field: of, "text": text, "not_before": not_before}).to_string()
    };
    let first = daemon.enqueue(&to("acc_1", "chat_id", "an-old-chat", "first", false)).await;
    daemon.becomes(&first, "sent").await;
    let by_chat = daemon.enqueue(&to("acc_1", "chat_id", "an-old-chat", "second", true)).await;
    let elsewhere = daemon.enqueue(&to("acc_2", "users_ids", "U7", "from another account", true)).await;
    answers(world, &json!("an-old-chat"), "Please don't contact me again.");
    for id in [&by_chat, &elsewhere] {
        assert_eq!(daemon.becomes(id, "cancelled").await["reason"], "suppressed");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn polling_can_be_switched_off_and_a_restart_does_not_read_everything_again() {
    let mut env = polling().await;
    let is_read = |call: &Call| call.endpoint == Endpoint::ListMessages;
    let reads = |env: &TestEnv| env.sandbox.world().calls().iter().filter(|call| is_read(call)).count();
    let daemon = env.serve().await;
    let [_, _] = begun(&daemon, "U1").await;
    assert!(eventually(async || reads(&env) >= 2).await, "it polls");
    daemon.stop().await;
    for poll in ["off", "", "30m"] {
        let before = reads(&env);
        env = env.set("OUTBOXD_INBOUND_POLL", poll);
        let daemon = env.serve().await;
        SystemClock::new().sleep(Duration::from_millis(300)).await;
        daemon.stop().await;
        assert_eq!(reads(&env), before, "{poll:?}");
    }
}
