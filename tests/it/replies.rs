//! Before a follow-up the chat is read: a person who answered gets no further message (P5), an automatic answer and
//! the owner's own words hold it, and while the chat cannot be read, it waits.

use std::time::Duration;

use jiff::Timestamp;
use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::{ByHand, Endpoint, Fault, FaultKind, World};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, run, texts};

fn ago(seconds: u64) -> Timestamp {
    SystemClock::new().now() - Duration::from_secs(seconds)
}

fn writes(world: &World, chat_id: &Value, id: &str, text: &str, is_sender: bool, at: Option<Timestamp>) {
    let message = ByHand { id: id.into(), text: text.into(), is_sender, at, ..ByHand::default() };
    world.write_by_hand("acc_1", chat_id.as_str().expect("a chat"), message);
}

async fn enqueue(daemon: &Daemon, message: Value) -> String {
    let mut message = message;
    message["account_id"] = json!("acc_1");
    daemon.enqueue(&message.to_string()).await
}

/// Starts a daemon, sends the first message of the campaign to U1, and pauses. Returns its row.
async fn begun() -> (TestEnv, Daemon, Value) {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let first = enqueue(&daemon, json!({"users_ids": "U1", "text": "first", "campaign": "autumn"})).await;
    let first = daemon.becomes(&first, "sent").await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    (env, daemon, first)
}

async fn resume(daemon: &Daemon) {
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cancels_what_is_queued_for_the_person() {
    let (env, daemon, first) = begun().await;
    let chat = &first["chat_id"];
    let by_chat = enqueue(&daemon, json!({"chat_id": chat, "text": "2", "campaign": "autumn"})).await;
    let by_user = enqueue(&daemon, json!({"users_ids": "U1", "text": "3", "campaign": "autumn"})).await;
    let all_the_same =
        enqueue(&daemon, json!({"chat_id": chat, "text": "4", "campaign": "autumn", "stop_on_reply": false}))
            .await;
    let no_campaign = enqueue(&daemon, json!({"chat_id": chat, "text": "5"})).await;
    let asked = enqueue(&daemon, json!({"chat_id": chat, "text": "6", "stop_on_reply": true})).await;
    let another = enqueue(&daemon, json!({"users_ids": "U2", "text": "to U2", "campaign": "autumn"})).await;
    writes(env.sandbox.world(), chat, "r1", "Yes, call me tomorrow", false, None);
    resume(&daemon).await;
    for id in [&by_chat, &by_user, &asked] {
        assert_eq!(daemon.becomes(id, "cancelled").await["reason"], "replied");
    }
    for id in [&all_the_same, &no_campaign, &another] {
        daemon.becomes(id, "sent").await;
    }
    let mut sent: Vec<String> =
        texts(&env.sandbox.world().deliveries()).into_iter().map(str::to_owned).collect();
    sent.sort();
    assert_eq!(sent, ["4", "5", "first", "to U2"]);
    // By the provider's clock, which is known to a second: one of the messages that were sent just before.
    let answered = env.sql("SELECT id FROM messages WHERE replied_at IS NOT NULL");
    assert_eq!(answered.len(), 1, "{answered:?}");
    let (_, shown) = run(env.outboxd(&["show", &answered[0]]), "");
    assert!(shown.contains("replied"), "{shown}");
    daemon.stop().await;
}

/// A message to the same people as before starts a group again, but the answer in the first one counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_a_group_stops_what_is_queued_for_the_same_group() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let to_group =
        |text: &str| json!({"users_ids": ["U1", "U2"], "group": true, "text": text, "campaign": "autumn"});
    let first = enqueue(&daemon, to_group("first")).await;
    let first = daemon.becomes(&first, "sent").await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let second = enqueue(&daemon, to_group("second")).await;
    let another =
        json!({"users_ids": ["U1", "U3"], "group": true, "text": "to others", "campaign": "autumn"});
    let another = enqueue(&daemon, another).await;
    writes(env.sandbox.world(), &first["chat_id"], "r1", "Yes, gladly", false, None);
    resume(&daemon).await;
    assert_eq!(daemon.becomes(&second, "cancelled").await["reason"], "replied");
    daemon.becomes(&another, "sent").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_before_the_campaign_is_not_an_answer_to_it() {
    let env = TestEnv::new().await.hasty();
    let world = env.sandbox.world();
    world.add_chat_with_user("acc_1", "U1", "c1");
    writes(world, &json!("c1"), "old", "See you next year", false, Some(ago(3600)));
    let daemon = env.serve().await;
    let first = enqueue(&daemon, json!({"chat_id": "c1", "text": "1", "campaign": "autumn"})).await;
    daemon.becomes(&first, "sent").await;
    let second = enqueue(&daemon, json!({"chat_id": "c1", "text": "2", "campaign": "autumn"})).await;
    daemon.becomes(&second, "sent").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_and_an_absence_from_before_the_campaign_count() {
    let env = TestEnv::new().await.hasty();
    let world = env.sandbox.world();
    let day = 86_400;
    let back = (ago(0) + Duration::from_secs(20 * day)).strftime("%-d %B %Y").to_string();
    let away = format!("Automatic reply: I am out of office until {back}.");
    let said =
        [("U1", "c1", "Please stop writing to me."), ("U2", "c2", away.as_str()), ("U3", "c3", "Hello")];
    for (user, chat, text) in said {
        world.add_chat_with_user("acc_1", user, chat);
        writes(world, &json!(chat), &format!("old-{chat}"), text, false, Some(ago(30 * day)));
    }
    let daemon = env.serve().await;
    let mut seconds = Vec::new();
    for (_, chat, _) in said {
        let first = enqueue(&daemon, json!({"chat_id": chat, "text": "1", "campaign": "autumn"})).await;
        daemon.becomes(&first, "sent").await;
        seconds.push(enqueue(&daemon, json!({"chat_id": chat, "text": "2", "campaign": "autumn"})).await);
    }
    assert_eq!(daemon.becomes(&seconds[0], "cancelled").await["reason"], "suppressed");
    daemon.becomes(&seconds[2], "sent").await;
    let explain = format!("/v1/messages/{}/explain", seconds[1]);
    assert!(
        crate::daemon::eventually(async || daemon.get(&explain).await.1["reason"] == "out_of_office").await
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_automatic_answer_holds_the_follow_up_and_does_not_end_the_campaign() {
    let (env, daemon, first) = begun().await;
    let chat = &first["chat_id"];
    let second = enqueue(&daemon, json!({"chat_id": chat, "text": "2", "campaign": "autumn"})).await;
    writes(env.sandbox.world(), chat, "r1", "Automatic reply: I am out of office.", false, None);
    resume(&daemon).await;
    assert!(
        crate::daemon::eventually(async || {
            let (_, explained) = daemon.get(&format!("/v1/messages/{second}/explain")).await;
            explained["reason"] == "out_of_office" && explained["until"].is_string()
        })
        .await
    );
    let (ok, said) = run(env.outboxd(&["go", "--person", "U1", "--account", "acc_1"]), "");
    assert!(ok && said.contains("goes on"), "{said}");
    daemon.becomes(&second, "sent").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owners_own_words_hold_the_follow_up_and_our_echo_does_not() {
    let (env, daemon, first) = begun().await;
    let chat = &first["chat_id"];
    let second = enqueue(&daemon, json!({"chat_id": chat, "text": "2", "campaign": "autumn"})).await;
    resume(&daemon).await;
    // The chat holds our own first message only.
    daemon.becomes(&second, "sent").await;
    daemon.post("/v1/pause", "").await;
    writes(env.sandbox.world(), chat, "mine", "Let us talk on Monday", true, None);
    let third = enqueue(&daemon, json!({"chat_id": chat, "text": "3", "campaign": "autumn"})).await;
    resume(&daemon).await;
    assert!(
        crate::daemon::eventually(async || {
            let (_, explained) = daemon.get(&format!("/v1/messages/{third}/explain")).await;
            explained["reason"] == "owner_wrote"
        })
        .await
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_be_left_alone_suppresses_the_person_on_every_account() {
    let (env, daemon, first) = begun().await;
    let chat = &first["chat_id"];
    let second = enqueue(&daemon, json!({"chat_id": chat, "text": "2", "campaign": "autumn"})).await;
    writes(env.sandbox.world(), chat, "r1", "Please stop writing to me.", false, None);
    resume(&daemon).await;
    assert_eq!(daemon.becomes(&second, "cancelled").await["reason"], "suppressed");
    let hello = json!({"account_id": "acc_2", "users_ids": "U1", "text": "hello"}).to_string();
    assert_eq!(daemon.post("/v1/messages", &hello).await.0, 409);
    let (_, list) = run(env.outboxd(&["suppress", "list"]), "");
    assert!(list.starts_with("person\tU1\tall\tsuppressed"), "{list}");
    daemon.stop().await;
}

/// Sends the first message of a campaign to U1 and U2 from acc_1, with nothing that would read their chats afterwards.
async fn wrote_from_another_account() -> (TestEnv, Daemon, [Value; 2]) {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_INBOUND_POLL", "off");
    let daemon = env.serve().await;
    let mut sent = Vec::new();
    for user in ["U1", "U2"] {
        let message = json!({"users_ids": user, "text": format!("autumn to {user}"), "campaign": "autumn"});
        let id = enqueue(&daemon, message).await;
        sent.push(daemon.becomes(&id, "sent").await["chat_id"].clone());
    }
    (env, daemon, sent.try_into().expect("two"))
}

async fn enqueue_on_another(daemon: &Daemon, user: &str) -> String {
    let text = format!("spring to {user}");
    let message = json!({"account_id": "acc_2", "users_ids": user, "text": text, "campaign": "spring"});
    daemon.enqueue(&message.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_in_a_chat_of_another_account_is_found_before_the_person_is_written_to() {
    let (env, daemon, chats) = wrote_from_another_account().await;
    let world = env.sandbox.world();
    writes(world, &chats[0], "r1", "Please stop writing to me.", false, None);
    writes(world, &chats[1], "r2", "Not now, maybe next year", false, None);
    let (first, second) = (enqueue_on_another(&daemon, "U1").await, enqueue_on_another(&daemon, "U2").await);
    assert_eq!(daemon.becomes(&first, "cancelled").await["reason"], "suppressed");
    // An answer to one account is none to another.
    daemon.becomes(&second, "sent").await;
    let sent = texts(&world.deliveries()).into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(sent, ["autumn to U1", "autumn to U2", "spring to U2"]);
    let answered =
        env.sql("SELECT count(*) || '' FROM messages WHERE replied_at IS NOT NULL AND account_id = 'acc_1'");
    assert_eq!(answered, ["1"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_in_an_older_chat_of_the_account_is_found() {
    let (env, daemon, chats) = wrote_from_another_account().await;
    let world = env.sandbox.world();
    writes(world, &chats[0], "r1", "Please stop writing to me.", false, None);
    world.add_chat_with_user("acc_1", "U1", "newer");
    env.sql(
        "INSERT INTO conversations (account_id, chat_id, user_id, source, at) \
         VALUES ('acc_1', 'newer', 'U1', 'read', '2999-01-01T00:00:00.000Z') RETURNING chat_id",
    );
    let next = enqueue(&daemon, json!({"chat_id": "newer", "text": "next", "campaign": "spring"})).await;
    assert_eq!(daemon.becomes(&next, "cancelled").await["reason"], "suppressed");
    daemon.stop().await;
}

/// Sends the first message of a campaign to U1, who then writes in a chat of their own, which outboxd does not know.
async fn wrote_in_a_chat_of_their_own(text: &str) -> (TestEnv, Daemon, Value) {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_INBOUND_POLL", "off");
    let daemon = env.serve().await;
    let first = enqueue(&daemon, json!({"users_ids": "U1", "text": "first", "campaign": "autumn"})).await;
    let first = daemon.becomes(&first, "sent").await;
    let world = env.sandbox.world();
    world.add_chat_with_user("acc_1", "U1", "their-chat");
    let answer =
        ByHand { id: "r1".into(), text: text.into(), sender_id: Some("U1".into()), ..ByHand::default() };
    world.write_by_hand("acc_1", "their-chat", answer);
    (env, daemon, first)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_a_chat_that_the_person_began_stops_the_follow_up() {
    let cases = [("Yes, call me tomorrow", "replied"), ("Please stop writing to me.", "suppressed")];
    for (text, reason) in cases {
        let (env, daemon, first) = wrote_in_a_chat_of_their_own(text).await;
        let follow_up = json!({"chat_id": first["chat_id"], "text": "2", "campaign": "autumn"});
        let second = enqueue(&daemon, follow_up).await;
        assert_eq!(daemon.becomes(&second, "cancelled").await["reason"], reason, "{text}");
        assert_eq!(texts(&env.sandbox.world().deliveries()), ["first"]);
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_chats_with_a_person_cannot_be_looked_up_the_follow_up_waits() {
    let (env, daemon, first) = wrote_in_a_chat_of_their_own("Yes, call me tomorrow").await;
    env.sandbox.fault(Fault::internal_error(false).at(Endpoint::GetUserChat).always());
    let follow_up = json!({"chat_id": first["chat_id"], "text": "2", "campaign": "autumn"});
    let second = enqueue(&daemon, follow_up).await;
    let explain = format!("/v1/messages/{second}/explain");
    let waits = async || daemon.get(&explain).await.1["reason"] == "reply_unknown";
    assert!(crate::daemon::eventually(waits).await, "{}", daemon.get(&explain).await.1);
    let said = daemon.get(&explain).await.1["sentence"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains("the chats with this person could not be looked up"), "{said}");
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["first"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_chat_of_another_account_cannot_be_read_the_message_waits_unless_it_never_can() {
    let (env, daemon, _) = wrote_from_another_account().await;
    env.sandbox.fault(Fault::internal_error(false).at(Endpoint::ListMessages).on("acc_1").always());
    let first = enqueue_on_another(&daemon, "U1").await;
    let explain = format!("/v1/messages/{first}/explain");
    let waits = async || daemon.get(&explain).await.1["reason"] == "reply_unknown";
    assert!(crate::daemon::eventually(waits).await, "{}", daemon.get(&explain).await.1);
    let said = daemon.get(&explain).await.1["sentence"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains("the chat of acc_1 with this person could not be read"), "{said}");
    // A chat that is gone says nothing, however often it is asked.
    env.sandbox.world().clear_faults();
    let gone = FaultKind::Error {
        status: 404,
        error_type: "provider/not_found".into(),
        title: "Not found".into(),
        detail: "There is no such chat.".into(),
        retry_after: None,
        delivered: false,
    };
    env.sandbox.fault(Fault::new(gone).at(Endpoint::ListMessages).on("acc_1").always());
    let second = enqueue_on_another(&daemon, "U2").await;
    daemon.becomes(&second, "sent").await;
    assert!(!texts(&env.sandbox.world().deliveries()).contains(&"spring to U1"));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_chat_cannot_be_read_the_follow_up_waits_and_the_rest_goes_on() {
    let (env, daemon, first) = begun().await;
    let chat = &first["chat_id"];
    let second = enqueue(&daemon, json!({"chat_id": chat, "text": "2", "campaign": "autumn"})).await;
    let another = enqueue(&daemon, json!({"users_ids": "U2", "text": "to U2"})).await;
    env.sandbox.fault(Fault::internal_error(false).at(Endpoint::ListMessages).always());
    resume(&daemon).await;
    daemon.becomes(&another, "sent").await;
    assert!(
        crate::daemon::eventually(async || {
            let (_, explained) = daemon.get(&format!("/v1/messages/{second}/explain")).await;
            explained["reason"] == "reply_unknown"
        })
        .await
    );
    assert!(!texts(&env.sandbox.world().deliveries()).contains(&"2"));
    daemon.stop().await;
}
