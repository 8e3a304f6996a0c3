//! Messages that wait for a connection (`needs`). The real process throughout.

use outboxd::sandbox::{Endpoint, Fault, Profile};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, run, texts};
use crate::webhooks_heard::hearing;

async fn enqueue(daemon: &Daemon, message: Value) -> String {
    let mut message = message;
    message["account_id"] = json!("acc_1");
    daemon.enqueue(&message.to_string()).await
}

async fn waits(daemon: &Daemon, id: &str) -> Value {
    let mut last = Value::Null;
    let path = format!("/v1/messages/{id}/explain");
    let waits = eventually(async || {
        last = daemon.get(&path).await.1;
        last["reason"] == "not_connected"
    });
    assert!(waits.await, "{last}");
    last
}

fn reads(env: &TestEnv) -> usize {
    env.sandbox.world().calls().iter().filter(|call| call.endpoint == Endpoint::GetUser).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_until_a_webhook_reports_the_connection() {
    let env = hearing().await;
    let world = env.sandbox.world();
    let daemon = env.serve().await;
    let first = json!({"users_ids": "ACoA1", "text": "thanks for connecting", "needs": "connection"});
    let first = enqueue(&daemon, first).await;
    let second = enqueue(&daemon, json!({"users_ids": "ACoA1", "text": "second"})).await;
    let (ok, said) = run(
        env.outboxd(&[
            "enqueue",
            "--account",
            "acc_1",
            "--user",
            "ACoA2",
            "--text",
            "to ACoA2",
            "--needs",
            "connection",
        ]),
        "",
    );
    assert!(ok, "{said}");
    let other = enqueue(&daemon, json!({"users_ids": "ACoA3", "text": "other"})).await;
    let explained = waits(&daemon, &first).await;
    assert!(explained["until"].is_string(), "{explained}");
    daemon.becomes(&other, "sent").await;
    let shown = daemon.get(&format!("/v1/messages/{first}")).await.1;
    assert_eq!(shown["needs"], "connection", "{shown}");
    assert!(
        shown["error"].as_str().is_some_and(|error| error.starts_with("not known to be a connection")),
        "{shown}"
    );
    // A restart does not read again what was read on this day.
    daemon.kill();
    let before = reads(&env);
    let daemon = env.serve().await;
    waits(&daemon, &first).await;
    assert_eq!((reads(&env), before), (2, 2));
    world.connect_with("acc_2", "ACoA1");
    world.connect_with("acc_1", "ACoA1");
    daemon.becomes(&first, "sent").await;
    daemon.becomes(&second, "sent").await;
    let delivered = env.sandbox.world().deliveries();
    let to: Vec<&str> = delivered.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(to, ["other", "thanks for connecting", "second"], "the thread keeps its order");
    assert_eq!(reads(&env), 2);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_webhooks_the_profile_shows_the_connection_once_a_day() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_PEOPLE_RESOLVE", "true");
    let world = env.sandbox.world();
    world.set_profile("ACoA1", Profile::named("jane-doe", "Jane Doe"));
    world.connect_with("acc_1", "ACoA1");
    let daemon = env.serve().await;
    // One read shows both, who it is and that they are connected.
    let known =
        enqueue(&daemon, json!({"users_ids": "jane-doe", "text": "connected", "needs": "connection"})).await;
    daemon.becomes(&known, "sent").await;
    assert_eq!(reads(&env), 1);
    let later = enqueue(&daemon, json!({"users_ids": "ACoA2", "text": "later", "needs": "connection"})).await;
    waits(&daemon, &later).await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{later}/explain")).await;
    let shown = (&explained["reason"], &explained["actor"], &explained["waits_for"]);
    assert_eq!(shown, (&json!("not_connected"), &json!("producer"), &json!("not_before")));
    world.connect_with("acc_1", "ACoA2");
    daemon.kill();
    // As if a day had passed.
    env.sql("UPDATE profile_reads SET at = '2020-01-01T00:00:00.000Z' RETURNING person");
    env.sql("UPDATE people SET read_at = '2020-01-01T00:00:00.000Z' RETURNING user_id");
    env.sql("UPDATE messages SET retry_at = '2020-01-01T00:00:00.000Z', revision = revision + 1 WHERE reason = 'not_connected' RETURNING id");
    let daemon = env.serve().await;
    daemon.becomes(&later, "sent").await;
    assert_eq!(reads(&env), 3);
    daemon.stop().await;
}

/// A read that Unipile's limiter or a gateway refused did not reach LinkedIn: it is made again soon, and counts for no cap.
#[tokio::test(flavor = "multi_thread")]
async fn a_profile_read_that_was_refused_before_linkedin_is_made_again() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_CAPS_PROFILE", "1/24h");
    let world = env.sandbox.world();
    world.connect_with("acc_1", "ACoA1");
    world.add_fault(Fault::api_429(1).at(Endpoint::GetUser).times(1));
    let daemon = env.serve().await;
    let id = enqueue(&daemon, json!({"users_ids": "ACoA1", "text": "hi", "needs": "connection"})).await;
    daemon.becomes(&id, "sent").await;
    assert_eq!(reads(&env), 2);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_for_a_connection_expires() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let soon =
        outboxd::clock::Clock::now(&outboxd::clock::SystemClock::new()) + std::time::Duration::from_secs(3);
    let message =
        json!({"users_ids": "ACoA1", "text": "never", "needs": "connection", "expires_at": soon.to_string()});
    let id = enqueue(&daemon, message).await;
    waits(&daemon, &id).await;
    assert_eq!(daemon.becomes(&id, "expired").await["reason"], "expired");
    assert_eq!(env.sandbox.world().delivered_count(), 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cap_on_profiles_holds_for_connections_and_others_go_on() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_CAPS_PROFILE", "1/24h");
    let daemon = env.serve().await;
    let mut ids = Vec::new();
    for n in 1..=3 {
        let message = json!({"users_ids": format!("ACoA{n}"), "text": "hi", "needs": "connection"});
        ids.push(enqueue(&daemon, message).await);
    }
    let other = enqueue(&daemon, json!({"users_ids": "ACoA9", "text": "other"})).await;
    daemon.becomes(&other, "sent").await;
    for id in &ids {
        waits(&daemon, id).await;
    }
    let errors = env.sql("SELECT error FROM messages WHERE needs IS NOT NULL ORDER BY seq");
    assert!(errors[0].starts_with("not known to be a connection"), "{errors:?}");
    assert_eq!(errors[1..], ["caps.profile 1/24h, 1 of 1 used", "caps.profile 1/24h, 1 of 1 used"]);
    assert_eq!((reads(&env), texts(&env.sandbox.world().deliveries())), (1, vec!["other"]));
    // A higher cap concerns those that wait already.
    let (code, answer) = daemon.patch("/v1/accounts/acc_1/policy", r#"{"caps.profile": "2/24h"}"#).await;
    assert_eq!(code, 200, "{answer}");
    let error = "SELECT error FROM messages WHERE needs IS NOT NULL ORDER BY seq DESC LIMIT 1";
    let used = async || env.sql(error) == ["caps.profile 2/24h, 2 of 2 used"];
    assert!(eventually(used).await, "{:?}", env.sql(error));
    assert_eq!(reads(&env), 2);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn needs_that_make_no_sense_are_refused_by_every_door() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    for message in [
        json!({"account_id": "acc_1", "users_ids": "ACoA1", "text": "x", "needs": "invitation"}),
        json!({"account_id": "acc_1", "chat_id": "c1", "text": "x", "needs": "connection"}),
        json!({"account_id": "acc_1", "users_ids": ["ACoA1", "ACoA2"], "name": "n", "text": "x", "needs": "connection"}),
        json!({"account_id": "acc_1", "users_ids": "ACoA1", "text": "x", "needs": true}),
    ] {
        let (code, refused) = daemon.post("/v1/messages", &message.to_string()).await;
        assert_eq!((code, &refused["error"]["field"]), (422, &json!("needs")), "{message}: {refused}");
    }
    let insert = "INSERT INTO messages (account_id, users_ids, name, text, needs) \
         VALUES ('acc_1', '[\"ACoA1\", \"ACoA2\"]', 'n', 'x', 'connection') RETURNING id";
    let row = daemon.becomes(&env.sql(insert)[0], "rejected").await;
    assert!(row["error"].as_str().is_some_and(|error| error.contains("one person")), "{row}");
    let insert = "INSERT INTO messages (account_id, users_ids, text, needs) VALUES ('acc_1', 'ACoA1', 'x', 'connection') RETURNING id";
    waits(&daemon, &env.sql(insert)[0]).await;
    daemon.stop().await;
}

/// Step 1 goes to a person who is not connected yet; step 2 goes into the same chat and waits, and others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_step_waits_for_the_connection_and_others_go_on() {
    let env = TestEnv::new().await.hasty();
    let world = env.sandbox.world();
    let daemon = env.serve().await;
    let step = |number: u8| json!({"account_id": "acc_1", "users_ids": "ACoA1", "campaign": "c", "step": number, "text": number.to_string()});
    let (first, mut second) = (step(1), step(2));
    second["wait"] = json!("1 second");
    second["needs"] = json!("connection");
    let body = format!("{first}\n{second}\n");
    let (_, answer) = daemon.post_with("/v1/messages", ("content-type", "application/x-ndjson"), &body).await;
    let second = answer["results"][1]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    let explained = waits(&daemon, &second).await;
    assert!(explained.get("expected_at").is_none_or(Value::is_null), "{explained}");
    let other = enqueue(&daemon, json!({"users_ids": "ACoA9", "text": "other"})).await;
    daemon.becomes(&other, "sent").await;
    assert_eq!(texts(&world.deliveries()), ["1", "other"]);
    let typed = world.calls().iter().filter(|call| call.endpoint == Endpoint::SetComposing).count();
    assert_eq!((reads(&env), typed), (1, 0));
    daemon.stop().await;
}

/// Six messages wait for reads of profiles that are 30 s apart; the one that needs none goes at once.
#[tokio::test(flavor = "multi_thread")]
async fn the_pause_between_two_reads_of_profiles_holds_no_other_message() {
    let env = TestEnv::new().await.hasty();
    let env = env.set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "30s").set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "30s");
    let daemon = env.serve().await;
    let to = |n: u8| json!({"account_id": "acc_1", "users_ids": format!("ACoA{n}"), "text": "hi", "needs": "connection", "campaign": "a"});
    let other = json!({"account_id": "acc_1", "users_ids": "ACoA9", "text": "other", "campaign": "b"});
    let rows: String = (1..=6).map(to).chain([other]).map(|row| format!("{row}\n")).collect();
    let (_, answer) = daemon.post_with("/v1/messages", ("content-type", "application/x-ndjson"), &rows).await;
    let id = |row: usize| answer["results"][row]["id"].as_str().unwrap_or_else(|| panic!("{answer}"));
    daemon.becomes(id(6), "sent").await;
    for row in 0..6 {
        waits(&daemon, id(row)).await;
    }
    let times = env.sql("SELECT DISTINCT retry_at FROM messages WHERE needs IS NOT NULL");
    assert_eq!((reads(&env), times.len()), (1, 6), "each waits for a read of its own: {times:?}");
    daemon.stop().await;
}
