//! The audit of what people were sent: after an answer or a suppression, and steps out of their order or twice. Each
//! test first has a queue in which every promise was kept, then breaks the database by hand.

use serde_json::json;

use crate::daemon::{Daemon, TestEnv, eventually, run};
use crate::operations::{breaches, tamper};

/// Starts a daemon that has sent two steps to U1, and then heard an answer. Returns their ids.
async fn answered() -> (TestEnv, Daemon, [String; 2]) {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let step = |number: u8, wait: Option<&str>| {
        let text = format!("step {number}");
        let mut step = json!({"account_id": "acc_1", "users_ids": "U1", "campaign": "autumn", "step": number, "text": text});
        if let Some(wait) = wait {
            step["wait"] = json!(wait);
        }
        step.to_string()
    };
    let first = daemon.enqueue(&step(1, None)).await;
    let second = daemon.enqueue(&step(2, Some("1 second"))).await;
    let sent = daemon.becomes(&second, "sent").await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let third = daemon.enqueue(&step(3, Some("1 second"))).await;
    let chat = sent["chat_id"].as_str().expect("a chat");
    env.sandbox.world().add_message("acc_1", chat, "r1", "Yes, call me tomorrow", false);
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    assert_eq!(daemon.becomes(&third, "cancelled").await["reason"], "replied");
    (env, daemon, [first, second])
}

/// Moves an event of a message behind all others.
fn is_last(env: &TestEnv, id: &str, kind: &str) {
    let behind = "(SELECT max(seq) + 1 FROM events)";
    tamper(env, &format!("UPDATE events SET seq = {behind} WHERE kind = '{kind}' AND message_id = '{id}'"));
}

async fn found(daemon: &Daemon, what: &str) {
    let found = breaches(daemon).await;
    assert!(found.len() == 1, "{what}: {found:?}");
    let all = format!("{} {}", found[0].0, found[0].1);
    assert!(all.contains(what), "{what}: {all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_after_an_answer_is_found() {
    let (env, daemon, [first, second]) = answered().await;
    assert_eq!(breaches(&daemon).await, []);
    is_last(&env, &second, "message.sending");
    found(&daemon, "P5 was sent after the answer of ").await;
    let (_, said) = run(env.outboxd(&["audit"]), "");
    assert!(said.contains("P5") && said.contains(&second), "{said}");
    assert_eq!(env.outboxd(&["audit"]).output().expect("it runs").status.code(), Some(6));
    // One that no answer stops, and an answer from before the campaign.
    tamper(&env, "UPDATE messages SET revision = revision + 1, stop_on_reply = 0 WHERE step = 2");
    assert_eq!(breaches(&daemon).await, []);
    tamper(&env, "UPDATE messages SET revision = revision + 1, stop_on_reply = NULL WHERE step = 2");
    tamper(&env, "UPDATE inbound_messages SET at = '2020-01-01T00:00:00.000Z'");
    assert_eq!(breaches(&daemon).await, []);
    // What the first one would have been sent after concerns another account.
    tamper(&env, "UPDATE inbound_messages SET at = '2999-01-01T00:00:00.000Z', account_id = 'acc_2'");
    is_last(&env, &first, "message.sending");
    is_last(&env, &first, "message.sent");
    is_last(&env, &second, "message.sending");
    assert_eq!(breaches(&daemon).await, []);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_sent_before_the_one_before_or_twice_is_found() {
    let (env, daemon, [first, _]) = answered().await;
    is_last(&env, &first, "message.sent");
    found(&daemon, "P5 is step 2 of autumn, and was called before step 1 was sent").await;
    let undone = format!("UPDATE events SET seq = -1 WHERE kind = 'message.sent' AND message_id = '{first}'");
    tamper(&env, &undone);
    assert_eq!(breaches(&daemon).await, []);
    tamper(&env, "UPDATE messages SET revision = revision + 1, step = 4 WHERE step = 3");
    tamper(&env, "UPDATE messages SET revision = revision + 1, step = 3 WHERE step = 2");
    tamper(&env, "UPDATE messages SET revision = revision + 1, step = 2 WHERE step = 4");
    found(&daemon, "P5 is step 3 of autumn, and was called before step 2 was sent").await;
    // Nothing but the index forbids a second one.
    tamper(&env, "DROP INDEX messages_steps");
    tamper(
        &env,
        "CREATE INDEX messages_steps ON messages (campaign, step_key, step) WHERE step_key IS NOT NULL AND state <> 'rejected'",
    );
    tamper(&env, "UPDATE messages SET revision = revision + 1, step = 1 WHERE state = 'sent'");
    found(&daemon, "P2 is one of 2 messages sent as step 1 of autumn for user:U1").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_to_a_suppressed_person_is_found() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let mut ids = Vec::new();
    for to in [
        json!({"users_ids": "U1"}),
        json!({"users_ids": ["U1", "U2"], "name": "us"}),
        json!({"chat_id": "c1"}),
    ] {
        let mut message = to;
        (message["account_id"], message["text"]) = (json!("acc_1"), json!("hello"));
        let id = daemon.enqueue(&message.to_string()).await;
        daemon.becomes(&id, "sent").await;
        ids.push(id);
    }
    let (ok, said) = run(env.outboxd(&["suppress", "add", "U1", "--note", "asked us: politely"]), "");
    assert!(ok, "{said}");
    let is_there = eventually(async || daemon.get("/v1/audit").await.1["messages"] == 3);
    assert!(is_there.await);
    assert_eq!(breaches(&daemon).await, []);
    for id in &ids[..2] {
        is_last(&env, id, "message.sending");
    }
    let found_both = breaches(&daemon).await;
    assert_eq!(found_both.len(), 2, "{found_both:?}");
    for (promise, what) in found_both {
        assert!(promise == "P5" && what.contains("was sent after person U1 was suppressed"), "{what}");
    }
    // On another account only; and one that a program inserted, by its time.
    tamper(&env, "DROP TRIGGER stops_same");
    tamper(&env, "UPDATE stops SET account_id = 'acc_2'");
    assert_eq!(breaches(&daemon).await, []);
    tamper(&env, "INSERT INTO stops (scope, key, reason) VALUES ('chat', 'c1', 'suppressed')");
    assert_eq!(breaches(&daemon).await, []);
    tamper(&env, "UPDATE stops SET at = '2020-01-01T00:00:00.000Z' WHERE scope = 'chat'");
    found(&daemon, "P5 was sent after chat c1 was suppressed").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_to_a_person_of_whom_only_a_hash_is_kept_is_found() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_SUPPRESSION_HASHED", "true");
    let daemon = env.serve().await;
    let mut ids = Vec::new();
    for to in [
        json!({"users_ids": "U1"}),
        json!({"users_ids": ["U1", "U2"], "name": "us"}),
        json!({"chat_id": "c1"}),
        json!({"users_ids": "U3"}),
    ] {
        let mut message = to;
        (message["account_id"], message["text"]) = (json!("acc_1"), json!("hello"));
        let id = daemon.enqueue(&message.to_string()).await;
        daemon.becomes(&id, "sent").await;
        ids.push(id);
    }
    for arguments in [&["suppress", "add", "U1"][..], &["suppress", "add", "c1", "--chat"]] {
        let (ok, said) = run(env.outboxd(arguments), "");
        assert!(ok, "{said}");
    }
    assert_eq!(daemon.post("/v1/people/U3/erase", "{}").await.0, 200);
    assert_eq!(env.sql("SELECT key FROM stops WHERE key NOT GLOB 'sha256:*'"), [""; 0]);
    assert_eq!(breaches(&daemon).await, []);
    for id in &ids {
        is_last(&env, id, "message.sending");
    }
    // As if the erasure had left it.
    let back =
        format!("UPDATE messages SET revision = revision + 1, thread = 'user:U3' WHERE id = '{}'", ids[3]);
    tamper(&env, &back);
    let mut found: Vec<String> = breaches(&daemon).await.into_iter().map(|(_, what)| what).collect();
    found.sort();
    assert_eq!(found.len(), 4, "{found:?}");
    for (what, expected) in found.iter().zip([
        "was sent after chat c1 was suppressed",
        "was sent after its person was erased",
        "was sent after person U1 was suppressed",
        "was sent after person U1 was suppressed",
    ]) {
        assert!(what.contains(expected), "{what}");
    }
    tamper(&env, "DROP TRIGGER stops_same");
    tamper(&env, "UPDATE stops SET account_id = 'acc_2'");
    assert_eq!(breaches(&daemon).await.len(), 1, "the other account is not theirs");
    daemon.stop().await;
}
