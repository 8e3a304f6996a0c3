//! From a person's answer in the sandbox to the queue, by signed webhooks alone: receipts, answers, absences, wishes,
//! the owner's own words and the state of accounts. The real process throughout.

use std::net::TcpListener;
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::domain::time_text;
use outboxd::sandbox::{Behaviour, IsSenderForm, Language, SandboxConfig, WebhookFault, WebhookFaultKind};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, run, texts};

const SOON: Duration = Duration::from_millis(30);

/// Registers the daemon's listener with the sandbox. Chats are not read, so that only webhooks tell.
pub(crate) async fn hearing() -> TestEnv {
    let env = TestEnv::new().await.hasty();
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let events = [
        "message.new",
        "message.update",
        "message.receipt.read",
        "message.receipt.delivery",
        "account.status.disconnected",
        "account.status.running",
        "relation.new",
    ];
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = client
        .post(format!("{}/v2/webhooks/endpoints/", env.sandbox.url()))
        .header("x-api-key", SandboxConfig::default().api_key)
        .json(&json!({"url": format!("http://{free}/webhooks/unipile"), "trigger_events": events}));
    let endpoint: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let secret = endpoint["secret"].as_str().unwrap_or_else(|| panic!("{endpoint}")).to_owned();
    env.set("OUTBOXD_WEBHOOKS_LISTEN", &free.to_string())
        .set("OUTBOXD_WEBHOOKS_SECRET", &secret)
        .set("OUTBOXD_POLICY_DEFAULT_REPLY_CHECK", "false")
}

async fn enqueue(daemon: &Daemon, message: Value) -> String {
    let mut message = message;
    message["account_id"] = json!("acc_1");
    daemon.enqueue(&message.to_string()).await
}

/// Sends a first message of a campaign to `user`, and queues a follow-up for 2999.
async fn begun(daemon: &Daemon, user: &str) -> (Value, String) {
    let text = format!("first to {user}");
    let first = enqueue(daemon, json!({"users_ids": user, "text": text, "campaign": "autumn"})).await;
    let first = daemon.becomes(&first, "sent").await;
    let follow_up = json!({"chat_id": first["chat_id"], "text": format!("second to {user}"), "campaign": "autumn",
        "not_before": "2999-01-01T00:00:00Z"});
    (first, enqueue(daemon, follow_up).await)
}

async fn shows(daemon: &Daemon, id: &str, what: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    let path = format!("/v1/messages/{id}");
    let shown = eventually(async || {
        last = daemon.get(&path).await.1;
        what(&last)
    });
    assert!(shown.await, "{last}");
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_arrive_in_the_row() {
    let env = hearing().await;
    let world = env.sandbox.world();
    world.set_person("U1", Behaviour::reads(SOON));
    let daemon = env.serve().await;
    let (first, _) = begun(&daemon, "U1").await;
    let id = first["id"].as_str().expect("an id");
    let read = shows(&daemon, id, |row| row["read_at"].is_string()).await;
    assert!(read["delivered_at"].is_string() && read["replied_at"].is_null(), "{read}");
    // With the id of the chat alone: read up to then.
    world.set_person("U2", Behaviour::reads(SOON));
    world.add_webhook_fault(WebhookFault::new(WebhookFaultKind::Receipt(vec!["chat_id".into()])).always());
    let (second, _) = begun(&daemon, "U2").await;
    shows(&daemon, second["id"].as_str().expect("an id"), |row| row["read_at"].is_string()).await;
    daemon.stop().await;
}

/// The texts of others are stored only if that is configured, and go with the person.
#[tokio::test(flavor = "multi_thread")]
async fn texts_of_others_are_kept_only_on_demand() {
    for (keeps, text) in [("false", Value::Null), ("true", json!("Yes,\u{1b} gladly"))] {
        let env = hearing().await.set("OUTBOXD_INBOUND_KEEP_BODIES", keeps);
        let daemon = env.serve().await;
        let (_, follow_up) = begun(&daemon, "U1").await;
        env.sandbox.world().person_writes("acc_1", "U1", "Yes,\u{1b} gladly");
        daemon.becomes(&follow_up, "cancelled").await;
        let (_, person) = daemon.get("/v1/people/U1").await;
        assert_eq!((&person["inbound"][0]["kind"], &person["inbound"][0]["text"]), (&json!("reply"), &text));
        let (_, shown) = run(env.outboxd(&["person", "U1"]), "");
        let line =
            shown.lines().find(|line| line.contains(" on acc_1: reply")).unwrap_or_else(|| panic!("{shown}"));
        assert_eq!(line.contains("gladly"), keeps == "true", "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        let (_, _erased) = daemon.post("/v1/people/U1/erase", "{}").await;
        assert_eq!(env.sql("SELECT count(*) || '' FROM inbound_messages"), ["0"]);
        daemon.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cancels_the_follow_up_in_whatever_form_it_comes() {
    let env = hearing().await;
    let world = env.sandbox.world();
    let daemon = env.serve().await;
    let forms = [
        Vec::new(),
        vec![WebhookFaultKind::Repeat(2), WebhookFaultKind::TwoIds],
        vec![WebhookFaultKind::IsSender(IsSenderForm::Number)],
        vec![WebhookFaultKind::IsSender(IsSenderForm::Absent), WebhookFaultKind::ExtraFields],
        vec![WebhookFaultKind::Reorder],
    ];
    for (number, form) in forms.into_iter().enumerate() {
        world.clear_webhook_faults();
        for kind in form.clone() {
            // Both the echo and the answer.
            world.add_webhook_fault(WebhookFault::new(kind).at("message.new").times(2));
        }
        let user = format!("U{number}");
        let (first, follow_up) = begun(&daemon, &user).await;
        world.person_writes("acc_1", &user, "Yes, gladly");
        if form == [WebhookFaultKind::Reorder] {
            // What is held back comes after the next event.
            begun(&daemon, "another").await;
        }
        let row = daemon.becomes(&follow_up, "cancelled").await;
        assert_eq!(row["reason"], "replied", "{form:?}: {row}");
        shows(&daemon, first["id"].as_str().expect("an id"), |row| row["replied_at"].is_string()).await;
    }
    assert_eq!(env.sql("SELECT count(*) || '' FROM stops"), ["0"], "our echoes are not the owner");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absence_holds_and_a_wish_suppresses() {
    let env = hearing().await;
    let world = env.sandbox.world();
    let daemon = env.serve().await;
    world.set_person("away", Behaviour::out_of_office(SOON, None));
    let (_, follow_up) = begun(&daemon, "away").await;
    shows(&daemon, &follow_up, |row| row["reason"] == "out_of_office").await;
    for language in Language::ALL {
        let user = format!("No{}", language.code());
        world.set_person(&user, Behaviour::opts_out(Duration::from_secs(1), language));
        let (_, follow_up) = begun(&daemon, &user).await;
        assert_eq!(daemon.becomes(&follow_up, "cancelled").await["reason"], "suppressed", "{user}");
    }
    daemon.stop().await;
}

/// An edit of a person's message counts as far as it says something else; an edit of ours changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_edited_into_a_wish_suppresses() {
    let env = hearing().await;
    let world = env.sandbox.world();
    let daemon = env.serve().await;
    let (first, follow_up) = begun(&daemon, "U1").await;
    let chat = first["chat_id"].as_str().expect("a chat");
    let ours = env.sql("SELECT message_id FROM sent_ids").remove(0);
    world.add_message("acc_1", chat, &ours, "first to U1, corrected. STOP", true);
    let answer = world.person_writes("acc_1", "U1", "Who are you?").message_id;
    assert_eq!(daemon.becomes(&follow_up, "cancelled").await["reason"], "replied");
    let by_hand = json!({"users_ids": "U1", "text": "I am Ann", "not_before": "2999-01-01T00:00:00Z"});
    let by_hand = enqueue(&daemon, by_hand).await;
    world.add_message("acc_1", chat, &answer, "Who are you, please?", false);
    let updates = "SELECT coalesce(result, 'waits') FROM webhooks WHERE kind = 'message.update' ORDER BY seq";
    assert!(eventually(async || env.sql(updates) == ["own", "known"]).await, "{:?}", env.sql(updates));
    assert_eq!(daemon.get(&format!("/v1/messages/{by_hand}")).await.1["state"], "queued");
    for text in ["STOP", "STOP!", "Oh well, go on"] {
        world.add_message("acc_1", chat, &answer, text, false);
        assert_eq!(daemon.becomes(&by_hand, "cancelled").await["reason"], "suppressed");
    }
    let results = ["own", "known", "suppressed", "known", "known"];
    assert!(eventually(async || env.sql(updates) == results).await, "{:?}", env.sql(updates));
    assert_eq!(env.sql("SELECT scope || ' ' || key FROM stops"), ["person U1"]);
    assert_eq!(env.sql("SELECT count(*) || '' FROM events WHERE kind = 'reply'"), ["1"], "one answer");
    assert_eq!(env.sql("SELECT kind FROM inbound_messages"), ["opt_out"]);
    daemon.stop().await;
}

/// The sender's id may come as a URN, or with white space around it.
#[tokio::test(flavor = "multi_thread")]
async fn a_wish_counts_in_whatever_form_the_id_of_its_writer_comes() {
    let env = hearing().await;
    let world = env.sandbox.world();
    let daemon = env.serve().await;
    for (number, sender) in ["urn:li:fsd_profile:ACoA0", " ACoA1 "].into_iter().enumerate() {
        let user = format!("ACoA{number}");
        let (first, follow_up) = begun(&daemon, &user).await;
        let elsewhere = json!({"account_id": "acc_2", "users_ids": user, "text": "from another account",
            "not_before": "2999-01-01T00:00:00Z"});
        let elsewhere = daemon.enqueue(&elsewhere.to_string()).await;
        let wish = json!({"id": format!("stop{number}"), "chat_id": first["chat_id"], "sender_id": sender,
            "is_sender": false, "text": "STOP"});
        world.raise("acc_1", "message.new", wish);
        for id in [&follow_up, &elsewhere] {
            assert_eq!(daemon.becomes(id, "cancelled").await["reason"], "suppressed", "{sender:?}");
        }
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_goes_down_and_up_by_webhook() {
    let env = hearing().await;
    let world = env.sandbox.world();
    let daemon = env.serve().await;
    begun(&daemon, "U1").await;
    world.disconnect("acc_1");
    let down = "SELECT coalesce(down_cause, 'up') FROM accounts";
    assert!(eventually(async || env.sql(down) == ["disconnected"]).await, "{:?}", env.sql(down));
    // Unipile reports the accounts of a whole application; one that the queue does not have changes nothing.
    world.disconnect("acc_other");
    let result = "SELECT result FROM webhooks WHERE account_id = 'acc_other' AND result IS NOT NULL";
    assert!(eventually(async || env.sql(result) == ["nothing"]).await, "{:?}", env.sql(result));
    let waiting = enqueue(&daemon, json!({"users_ids": "U2", "text": "later"})).await;
    world.reconnect("acc_1");
    daemon.becomes(&waiting, "sent").await;
    daemon.stop().await;
}

/// What cannot be interpreted changes nothing, so it is not only in the log. Events that outboxd does not use are passed over.
#[tokio::test(flavor = "multi_thread")]
async fn webhooks_that_cannot_be_interpreted_are_a_notice() {
    let env = hearing().await;
    let daemon = env.serve().await;
    let insert = |id: &str, kind: &str, account: &str| {
        let sql = format!(
            "INSERT INTO webhooks (event_id, kind, account_id, received_at, body) VALUES ('{id}', '{kind}', {account}, \
               strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), '{{\"payload\": {{\"text\": \"secret words\"}}}}') RETURNING event_id"
        );
        env.sql(&sql);
    };
    insert("evt_a", "tracking.opened", "NULL");
    insert("evt_b", "message.new", "NULL");
    insert("evt_c", "message.new", "'acc_1'");
    // The interpreter looks for what waits when a webhook arrives.
    env.sandbox.world().person_writes("acc_1", "U1", "hello");
    let status = async || daemon.get("/v1/status").await.1;
    assert!(eventually(async || status().await["webhooks"]["unreadable"] == 2).await, "{}", status().await);
    let shown = run(env.outboxd(&["status"]), "").1;
    let notice = "notice: webhooks_unreadable: 2 webhooks could not be interpreted since the start and changed nothing";
    assert!(shown.contains(notice), "{shown}");
    assert!(shown.contains("message.new, incomplete") && !shown.contains("secret words"), "{shown}");
    let results = "SELECT result FROM webhooks WHERE event_id LIKE 'evt__' ORDER BY event_id";
    assert_eq!(env.sql(results), ["no_account", "no_account", "incomplete"]);
    daemon.stop().await;
}

/// What Unipile delivers hours late counts from when it was written: it is older than the campaign.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_hours_late_counts_from_when_it_was_written() {
    let env = hearing().await;
    let daemon = env.serve().await;
    let (first, follow_up) = begun(&daemon, "U1").await;
    let now = SystemClock::new().now();
    let written = time_text(now - Duration::from_secs(71 * 3600));
    let event = |kind: &str, mut payload: Value| {
        (payload["chat_id"], payload["timestamp"]) = (first["chat_id"].clone(), json!(written));
        let body = json!({"type": kind, "account_id": "acc_1", "created_at": written, "payload": payload});
        let values = format!("'{kind} {}', '{kind}', 'acc_1', '{}', '{body}'", payload["id"], time_text(now));
        format!(
            "INSERT INTO webhooks (event_id, kind, account_id, received_at, body) VALUES ({values}) RETURNING event_id"
        )
    };
    env.sql(&event(
        "message.new",
        json!({"id": "m1", "sender_id": "U1", "is_sender": false, "text": "Hello"}),
    ));
    env.sql(&event("message.receipt.read", json!({"user_id": "U1"})));
    env.sql(&event("message.new", json!({"id": "m2", "sender_id": "me", "is_sender": true, "text": "Hi"})));
    env.sandbox.world().person_writes("acc_1", "U2", "This event has the others interpreted");
    let heard = async || env.sql("SELECT kind FROM inbound_messages").len() == 3;
    assert!(eventually(heard).await, "{:?}", env.sql("SELECT kind || ' ' || result FROM webhooks"));
    let shown = shows(&daemon, first["id"].as_str().expect("an id"), |_| true).await;
    assert_eq!((&shown["replied_at"], &shown["read_at"]), (&Value::Null, &Value::Null), "{shown}");
    assert_eq!(daemon.get(&format!("/v1/messages/{follow_up}")).await.1["state"], "queued");
    let rest = env
        .sql("SELECT CAST(round((julianday(until) - julianday('now')) * 24) AS INTEGER) || ' h' FROM stops");
    assert_eq!(rest, ["1 h"], "the owner wrote 71 of 72 hours ago");
    daemon.stop().await;
}

/// What was stored before a kill takes effect once after the start.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_a_kill_is_interpreted_after_it() {
    let env = hearing().await;
    let daemon = env.serve().await;
    let (_, follow_up) = begun(&daemon, "U1").await;
    env.sandbox.world().person_writes("acc_1", "U1", "Yes");
    daemon.becomes(&follow_up, "cancelled").await;
    daemon.kill();
    // As if it had been killed between storing and interpreting.
    let body = json!({"type": "message.new", "account_id": "acc_1",
        "payload": {"id": "late", "chat_id": "c9", "sender_id": "U9", "is_sender": false, "text": "hello"}});
    let insert = format!(
        "INSERT INTO webhooks (event_id, kind, account_id, received_at, body) VALUES ('evt_late', 'message.new', 'acc_1', \
           strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), '{body}') RETURNING event_id"
    );
    env.sql(&insert);
    let daemon = env.serve().await;
    let heard = "SELECT kind FROM inbound_messages WHERE message_id = 'late'";
    assert!(eventually(async || env.sql(heard) == ["reply"]).await);
    // The sandbox delivers again what the killed daemon did not answer.
    let left = "SELECT count(*) || '' FROM webhooks WHERE body IS NOT NULL";
    assert!(eventually(async || env.sql(left) == ["0"]).await, "{:?}", env.sql(left));
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["first to U1"]);
    daemon.stop().await;
}
