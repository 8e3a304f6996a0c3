//! Calls that did not arrive, while a person writes nearly the same by hand: in the whole daemon, none of them is
//! counted as sent (P1, P2). The cases are those of the table "What a read-back claims", and their neighbours.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use jiff::Timestamp;
use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::{Attachment, ByHand, Delivery, Fault, FaultKind, ForwardSource, World};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv};

fn now() -> Timestamp {
    SystemClock::new().now()
}

fn by_hand(text: &str) -> ByHand {
    ByHand { id: "by hand".into(), text: text.into(), is_sender: true, ..ByHand::default() }
}

fn ago(seconds: u64, message: ByHand) -> ByHand {
    ByHand { at: Some(now() - Duration::from_secs(seconds)), ..message }
}

/// Creates an environment in which every call is cut off before its delivery and read back twice.
async fn env() -> TestEnv {
    let env = TestEnv::new().await.hasty().reconciling("1s, 2s");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }));
    env
}

async fn enqueue(daemon: &Daemon, body: &Value) -> String {
    let mut body = body.clone();
    body["account_id"] = json!("acc_1");
    daemon.enqueue(&body.to_string()).await
}

/// Returns how a call ends that was cut off before its delivery, when a person writes before and after it.
async fn undelivered(body: &Value, before: impl Fn(&World), after: impl Fn(&World)) -> Value {
    let env = env().await;
    before(env.sandbox.world());
    let daemon = env.serve().await;
    let id = enqueue(&daemon, body).await;
    daemon.becomes(&id, "uncertain").await;
    after(env.sandbox.world());
    let mut last = Value::Null;
    let settled = crate::daemon::eventually(async || {
        last = daemon.get(&format!("/v1/messages/{id}")).await.1;
        last["state"] != "uncertain"
    });
    assert!(settled.await, "{last}");
    assert_eq!(env.sandbox.world().deliveries(), Vec::<Delivery>::new());
    last
}

/// Asserts that the message is in review, with this reason and these findings.
fn assert_review(name: &str, message: &Value, reason: &str, words: &str) {
    assert_eq!(
        (&message["state"], &message["reason"]),
        (&json!("review"), &json!(reason)),
        "{name}: {message}"
    );
    let detail = message["evidence"].as_array().unwrap().last().unwrap()["detail"].as_str().unwrap();
    assert!(detail.contains(words), "{name}: {detail}");
}

fn nobody(_: &World) {}

#[tokio::test(flavor = "multi_thread")]
async fn e1_of_two_groups_that_are_sent_the_same_words_each_has_its_own() {
    let env = env().await;
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    let daemon = env.serve().await;
    let lost = enqueue(&daemon, &json!({"users_ids": ["U1", "U2"], "name": "A", "text": "all"})).await;
    let arrived = enqueue(&daemon, &json!({"users_ids": ["U3", "U4"], "name": "B", "text": "all"})).await;
    let sent = daemon.becomes(&arrived, "sent").await;
    let delivery = env.sandbox.world().deliveries().remove(0);
    assert_eq!((&sent["settled_by"], &sent["chat_id"]), (&json!("evidence"), &json!(delivery.chat_id)));
    assert_review("E1", &daemon.becomes(&lost, "review").await, "not_in_chat", "it is not among them");
}

#[tokio::test(flavor = "multi_thread")]
async fn e2_the_same_words_by_hand_to_another_group_are_another_message() {
    let body = json!({"users_ids": ["U1", "U2"], "name": "A", "text": "all"});
    for members in [vec!["U1", "U3"], vec!["U1"], vec!["U1", "U2", "U3"], vec!["U3", "U4"]] {
        let message = undelivered(&body, nobody, |world| {
            world.add_group("acc_1", "g", &members, Some("A"));
            world.write_by_hand("acc_1", "g", by_hand("all"));
        });
        let words = "message by hand in chat g, dated";
        assert_review("E2", &message.await, "cannot_tell", words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e4_the_same_words_before_the_call_are_not_it() {
    let body = json!({"chat_id": "c1", "text": "hi"});
    for seconds in [2, 30, 90, 3600] {
        let write = |world: &World| world.write_by_hand("acc_1", "c1", ago(seconds, by_hand("hi")));
        let message = undelivered(&body, write, nobody).await;
        assert_review(&format!("E4, {seconds} s"), &message, "cannot_tell", "is dated before the call");
    }
    // Before the chat is started, too.
    let body = json!({"users_ids": "U1", "text": "hi"});
    let write = |world: &World| {
        world.add_chat_with_user("acc_1", "U1", "c1");
        world.write_by_hand("acc_1", "c1", ago(30, by_hand("hi")));
    };
    let message = undelivered(&body, write, nobody).await;
    assert_review("E4, a first message", &message, "cannot_tell", "is dated before the call");
}

#[tokio::test(flavor = "multi_thread")]
async fn e6_what_was_deleted_or_edited_is_not_it() {
    let body = json!({"chat_id": "c1", "text": "hi"});
    for (message, words) in [
        (ByHand { is_deleted: true, ..by_hand("hi") }, "was deleted"),
        (ByHand { is_deleted: true, ..by_hand("") }, "was deleted"),
        (ByHand { is_edited: true, ..by_hand("hi") }, "was edited"),
        (ByHand { is_edited: true, ..by_hand("hi!") }, "was edited"),
    ] {
        let write = |world: &World| world.write_by_hand("acc_1", "c1", message.clone());
        assert_review("E6", &undelivered(&body, nobody, write).await, "cannot_tell", words);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e12_another_file_by_hand_is_another_message() {
    let pdf = |name: &str| json!([{"filename": name, "content_type": "application/pdf", "content": "JVBERi0xLjc="}]);
    let png = json!([{"filename": "a.png", "content_type": "image/png", "content": "iVBORw0KGgo="}]);
    let (same, other) = (b"%PDF-1.7".as_slice(), b"%PDF-1.7 and more".as_slice());
    for (ours, name, kind, bytes, reason) in [
        (pdf("cv.pdf"), "offer.pdf", "application/pdf", other, "not_in_chat"),
        (pdf("cv.pdf"), "offer.pdf", "application/pdf", same, "cannot_tell"),
        (pdf("cv.pdf"), "cv.pdf", "application/pdf", other, "cannot_tell"),
        (pdf("cv.pdf"), "cv.png", "image/png", same, "not_in_chat"),
        (png.clone(), "b.png", "image/png", other, "cannot_tell"),
        (png.clone(), "b.mp4", "video/mp4", other, "not_in_chat"),
    ] {
        for text in ["", "see"] {
            let body = json!({"chat_id": "c1", "text": text, "attachments": ours});
            let attachments = vec![Attachment::new(name, kind, bytes)];
            let message = ByHand { attachments, ..by_hand(text) };
            let write = |world: &World| world.write_by_hand("acc_1", "c1", message.clone());
            let message = undelivered(&body, nobody, write).await;
            let reason = match (text, reason) {
                // The text is there, without the file.
                ("see", "not_in_chat") => "partly_in_chat",
                _ => reason,
            };
            let words = if reason == "cannot_tell" { "has a file that may be the same" } else { "" };
            assert_review(&format!("E12, {name} {kind} {text}"), &message, reason, words);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e13_another_forward_by_hand_is_another_message() {
    let source = |id: &str| ForwardSource { chat_id: "c1".into(), message_id: id.into() };
    for text in ["", "look"] {
        let body = json!({"chat_id": "c2", "text": text, "forward": {"chat_id": "c1", "message_id": "m1"}});
        let forward = ByHand { source: Some(source("m2")), ..by_hand(text) };
        let write = |world: &World| world.write_by_hand("acc_1", "c2", forward.clone());
        assert_review("E13", &undelivered(&body, nobody, write).await, "not_in_chat", "");
        let write = |world: &World| world.write_by_hand("acc_1", "c2", by_hand(text));
        assert_review("E13, no forward", &undelivered(&body, nobody, write).await, "not_in_chat", "");
    }
    let body = json!({"chat_id": "c2", "text": "look", "forward": {"chat_id": "c1", "message_id": "m1"}});
    let forward = ByHand { source: Some(source("m1")), ..by_hand("something else") };
    let write = |world: &World| world.write_by_hand("acc_1", "c2", forward.clone());
    let message = undelivered(&body, nobody, write).await;
    assert_review("E13, other words", &message, "cannot_tell", "with other words");
}

#[tokio::test(flavor = "multi_thread")]
async fn e19_the_same_words_without_the_quote_are_another_message() {
    let body = json!({"chat_id": "c1", "text": "yes", "quote_id": "q1"});
    for (quote, reason, words) in [
        (None, "cannot_tell", "is not shown as a reply"),
        (Some("q2"), "not_in_chat", "it is not among them"),
    ] {
        let message = ByHand { quote_id: quote.map(str::to_owned), ..by_hand("yes") };
        let write = |world: &World| world.write_by_hand("acc_1", "c1", message.clone());
        assert_review("E19", &undelivered(&body, nobody, write).await, reason, words);
    }
    // A reply by hand is not a message without a quote, either.
    let body = json!({"chat_id": "c1", "text": "yes"});
    let message = ByHand { quote_id: Some("q1".into()), ..by_hand("yes") };
    let write = |world: &World| world.write_by_hand("acc_1", "c1", message.clone());
    assert_review("E19, the other way", &undelivered(&body, nobody, write).await, "not_in_chat", "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_words_in_another_product_or_by_the_other_side_are_another_message() {
    let specifics = json!({"linkedin": {"sales_navigator": {"subject": "An offer"}}});
    let body = json!({"users_ids": "U1", "text": "hi", "specifics": specifics});
    for (subject, reason) in [(None, "cannot_tell"), (Some("Another offer"), "not_in_chat")] {
        let message = ByHand { subject: subject.map(str::to_owned), ..by_hand("hi") };
        let write = |world: &World| {
            world.add_chat_with_user("acc_1", "U1", "c1");
            world.write_by_hand("acc_1", "c1", message.clone());
        };
        assert_review("a subject", &undelivered(&body, nobody, write).await, reason, "");
    }
    let body = json!({"chat_id": "c1", "text": "hi"});
    let theirs = ByHand { is_sender: false, ..by_hand("hi") };
    let write = |world: &World| world.write_by_hand("acc_1", "c1", theirs.clone());
    assert_review("the other side", &undelivered(&body, nobody, write).await, "not_in_chat", "");
}

/// Other messages in the chat do not hide the delivered one.
#[tokio::test(flavor = "multi_thread")]
async fn what_arrived_is_found_among_what_was_written_by_hand() {
    let env = TestEnv::new().await.hasty().reconciling("1s, 2s");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }).times(2));
    let world = env.sandbox.world();
    world.write_by_hand("acc_1", "c1", ago(30, by_hand("yes")));
    let daemon = env.serve().await;
    let reply = enqueue(&daemon, &json!({"chat_id": "c1", "text": "yes", "quote_id": "q1"})).await;
    let group = enqueue(&daemon, &json!({"users_ids": ["U1", "U2"], "name": "A", "text": "all"})).await;
    daemon.becomes(&group, "uncertain").await;
    world.write_by_hand("acc_1", "c1", ByHand { id: "without quote".into(), ..by_hand("yes") });
    world.add_group("acc_1", "g", &["U1", "U3"], Some("A"));
    world.write_by_hand("acc_1", "g", by_hand("all"));
    for (id, delivery) in [&reply, &group].into_iter().zip(env.delivered(2).await) {
        let message = daemon.becomes(id, "sent").await;
        assert_eq!(message["settled_by"], "evidence", "{message}");
        assert_eq!(message["provider_message_ids"], json!([delivery.message_id]));
    }
}

/// A message that an earlier read showed existed before the call, whatever its date is.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_read_showed_is_not_what_a_later_call_sent() {
    let env = TestEnv::new().await.hasty().reconciling("200ms, 400ms");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }).times(2));
    let in_a_minute = ByHand { at: Some(now() + Duration::from_secs(60)), ..by_hand("second") };
    env.sandbox.world().write_by_hand("acc_1", "c1", in_a_minute);
    let daemon = env.serve().await;
    let first = enqueue(&daemon, &json!({"chat_id": "c1", "text": "first"})).await;
    assert_review("the first", &daemon.becomes(&first, "review").await, "not_in_chat", "1 message seen");
    daemon.post(&format!("/v1/messages/{first}/review"), r#"{"decision": "drop"}"#).await;
    let daemon = {
        // This is remembered across restarts.
        daemon.kill();
        env.serve().await
    };
    let second = enqueue(&daemon, &json!({"chat_id": "c1", "text": "second"})).await;
    assert_review("the second", &daemon.becomes(&second, "review").await, "not_in_chat", "1 message seen");
}

/// A daemon that must stop while it still connects leaves nothing to reconcile.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_did_not_leave_before_a_stop_is_queued_again() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    let env = TestEnv::new()
        .await
        .hasty()
        .reconciling("1s, 2s")
        .set("OUTBOXD_UNIPILE_BASE_URL", &url)
        .set("OUTBOXD_ENGINE_SHUTDOWN_GRACE", "300ms");
    let daemon = env.serve().await;
    let id = enqueue(&daemon, &json!({"chat_id": "c1", "text": "hi"})).await;
    daemon.becomes(&id, "sending").await;
    daemon.stop().await;
    let row = env.sql("SELECT m.state || ' ' || m.reason || ' ' || t.outcome FROM messages m JOIN attempts t ON t.seq = m.seq");
    assert_eq!(row, ["queued turn not_sent"]);
}
