//! Calls with an unknown outcome, through the whole daemon: read back, settled by evidence, or left to review (P2).

use std::time::Duration;

use outboxd::sandbox::{Endpoint, Fault, FaultKind};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, run, texts};

/// Creates an environment whose first call is cut off, after its delivery if `delivered`.
async fn env_with_a_cut(delivered: bool) -> TestEnv {
    let env = TestEnv::new().await.hasty().reconciling("100ms, 300ms");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered }));
    env
}

async fn decide(daemon: &Daemon, id: &str, body: Value) -> (u16, Value) {
    daemon.post(&format!("/v1/messages/{id}/review"), &body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_form_that_was_delivered_without_an_answer_is_found_and_not_sent_again() {
    let file = json!([{"filename": "cv.pdf", "content_type": "application/pdf", "content": "JVBERi0xLjc="}]);
    let several = json!([
        {"filename": "cv.pdf", "content": "JVBERi0xLjc="},
        {"filename": "a.png", "content": "iVBORw0KGgo="},
    ]);
    let forms = [
        ("a message in a chat", json!({"chat_id": "c1", "text": "hello\r\n  there"})),
        ("a reply", json!({"chat_id": "c1", "text": "yes", "quote_id": "q1"})),
        ("files with a text", json!({"chat_id": "c1", "text": "see", "attachments": several})),
        ("a file without a text", json!({"chat_id": "c1", "attachments": file})),
        ("a first message", json!({"users_ids": "U1", "text": "hi"})),
        (
            "an InMail",
            json!({"users_ids": "U2", "text": "hi", "specifics": {"linkedin": {"classic": {"inmail": true}}}}),
        ),
        ("an organization", json!({"users_ids": "12345", "text": "hi"})),
        ("a group", json!({"users_ids": ["U3", "U4"], "name": "G", "text": "all"})),
        (
            "a forward",
            json!({"chat_id": "c2", "text": "look", "forward": {"chat_id": "c1", "message_id": "m1"}}),
        ),
        (
            "a forward without a text",
            json!({"chat_id": "c2", "forward": {"chat_id": "c1", "message_id": "m1"}}),
        ),
    ];
    for (name, mut body) in forms {
        let env = env_with_a_cut(true).await;
        let daemon = env.serve().await;
        body["account_id"] = json!("acc_1");
        let id = daemon.enqueue(&body.to_string()).await;
        let message = daemon.becomes(&id, "sent").await;
        let deliveries = env.sandbox.world().deliveries();
        assert_eq!(deliveries.len(), 1, "{name}");
        assert_eq!(message["settled_by"], "evidence", "{name}: {message}");
        assert_eq!(message["provider_message_ids"], json!([deliveries[0].message_id]), "{name}");
        assert_eq!(message["chat_id"], deliveries[0].chat_id, "{name}");
        assert_eq!(message["evidence"][0]["finding"], "found", "{name}: {message}");
        let reads = env.sandbox.world().calls().into_iter().filter(|call| call.path.contains("?after="));
        let fresh: Vec<_> = reads.map(|call| call.cache_control).collect();
        assert!(
            !fresh.is_empty() && fresh.iter().all(|control| control.as_deref() == Some("no-cache")),
            "{fresh:?}"
        );
        assert!(!env.log().contains("hello"), "P8: {}", env.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_at_the_last_read_waits_for_a_person_who_decides() {
    let env = env_with_a_cut(false).await;
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "first"}"#).await;
    let behind = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "second"}"#).await;
    let message = daemon.becomes(&id, "review").await;
    assert_eq!((&message["reason"], &message["waits_for"]), (&json!("not_in_chat"), &json!("person")));
    let findings: Vec<&Value> =
        message["evidence"].as_array().unwrap().iter().map(|one| &one["finding"]).collect();
    assert_eq!(findings, ["absent", "absent"], "{message}");
    assert_eq!(daemon.get(&format!("/v1/messages/{behind}")).await.1["reason"], "chat_order");
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["next_step"], "1 message waits for a person: outboxd review");

    // The dry run says what it would do, and changes nothing.
    let (code, told) = decide(&daemon, &id, json!({"decision": "resend", "dry_run": true})).await;
    assert_eq!((code, &told["state"]), (200, &json!("review")), "{told}");
    assert!(told["will"].as_str().unwrap().contains("they get it twice"), "{told}");
    assert_eq!(daemon.get(&format!("/v1/messages/{id}")).await.1["state"], "review");

    let (code, done) = decide(&daemon, &id, json!({"decision": "resend", "note": "I looked"})).await;
    assert_eq!((code, &done["state"]), (200, &json!("queued")), "{done}");
    daemon.becomes(&behind, "sent").await;
    let message = daemon.becomes(&id, "sent").await;
    assert_eq!(
        (&message["settled_by"], message["attempts"].as_array().unwrap().len()),
        (&json!("answer"), 2)
    );
    let last = message["evidence"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["source"], &last["finding"], &last["detail"]),
        (&json!("person"), &json!("resend"), &json!("I looked"))
    );
    assert_eq!(
        env.sandbox.world().deliveries().iter().map(|one| one.text.as_str()).collect::<Vec<_>>(),
        ["first", "second"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_say_sent_or_drop_and_later_messages_go_on() {
    for (decision, state, settled_by) in
        [("sent", "sent", json!("person")), ("drop", "cancelled", Value::Null)]
    {
        let env = env_with_a_cut(false).await;
        let daemon = env.serve().await;
        let id = daemon.enqueue(r#"{"account_id": "acc_1", "users_ids": "U1", "text": "first"}"#).await;
        let behind = daemon.enqueue(r#"{"account_id": "acc_1", "users_ids": "U1", "text": "second"}"#).await;
        daemon.becomes(&id, "review").await;
        let (code, told) = decide(&daemon, &id, json!({"decision": decision})).await;
        assert_eq!((code, &told["state"]), (200, &json!(state)), "{told}");
        let message = daemon.becomes(&id, state).await;
        assert_eq!(message["settled_by"], settled_by, "{message}");
        assert_eq!(message["sent_at"].is_string(), decision == "sent");
        daemon.becomes(&behind, "sent").await;
        assert_eq!(texts(&env.sandbox.world().deliveries()), ["second"]);
        // It is already decided.
        let (code, refused) = decide(&daemon, &id, json!({"decision": "resend"})).await;
        assert_eq!((code, &refused["error"]["code"]), (409, &json!("wrong_state")), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_is_none_says_what_would_be() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "x"}"#).await;
    daemon.becomes(&id, "sent").await;
    for (body, code, field) in [
        ("", 422, "decision"),
        (r#"{"decision": "maybe"}"#, 422, "decision"),
        (r#"{"decision": 7}"#, 422, "decision"),
        (r#"{"decision": "sent", "dryrun": true}"#, 422, "dryrun"),
        (r#"{"decision": "sent", "dry_run": "yes"}"#, 422, "dry_run"),
        ("[]", 400, ""),
        (r#"{"decision": "sent"}"#, 409, "id"),
    ] {
        let (status, answer) = daemon.post(&format!("/v1/messages/{id}/review"), body).await;
        assert_eq!((status, &answer["error"]["field"]), (code, &json!(field)), "{body}: {answer}");
        assert!(answer["error"]["fix"].as_str().is_some_and(|fix| !fix.is_empty()), "{answer}");
    }
    let long = json!({"decision": "sent", "note": "n".repeat(501)}).to_string();
    assert_eq!(daemon.post(&format!("/v1/messages/{id}/review"), &long).await.0, 422);
    assert_eq!(daemon.post("/v1/messages/nobody/review", r#"{"decision": "sent"}"#).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_certainly_absent_goes_out_once_more_where_the_policy_says_so() {
    let env = TestEnv::new()
        .await
        .hasty()
        .reconciling("100ms, 300ms")
        .set("OUTBOXD_POLICY_DEFAULT_RECONCILE_ABSENT", "resend");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }).times(2));
    let daemon = env.serve().await;
    let once = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "once"}"#).await;
    let message = daemon.becomes(&once, "review").await;
    assert_eq!(message["attempts"].as_array().unwrap().len(), 2, "sent again once only: {message}");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }));
    let again = daemon.enqueue(r#"{"account_id": "acc_2", "chat_id": "c1", "text": "again"}"#).await;
    let message = daemon.becomes(&again, "sent").await;
    assert_eq!(
        (&message["settled_by"], message["attempts"].as_array().unwrap().len()),
        (&json!("answer"), 2)
    );
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["again"]);
}

/// The same text twice on purpose, the second cut off before its delivery: the first one is not evidence.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_words_sent_before_are_no_evidence() {
    let env = TestEnv::new().await.hasty().reconciling("100ms, 300ms");
    let daemon = env.serve().await;
    let body = r#"{"account_id": "acc_1", "chat_id": "c1", "text": "again"}"#;
    let first = daemon.enqueue(body).await;
    daemon.becomes(&first, "sent").await;
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }));
    let second = daemon.enqueue(body).await;
    assert_eq!(daemon.becomes(&second, "review").await["reason"], "not_in_chat");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    let third = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c9", "text": "again"}"#).await;
    assert_eq!(daemon.becomes(&third, "sent").await["settled_by"], "evidence");
}

/// A read that fails proves nothing, however often it fails.
#[tokio::test(flavor = "multi_thread")]
async fn a_chat_that_cannot_be_read_is_no_proof_of_absence() {
    let env = TestEnv::new()
        .await
        .hasty()
        .reconciling("50ms, 100ms")
        .set("OUTBOXD_POLICY_DEFAULT_RECONCILE_ABSENT", "resend");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    env.sandbox.fault(Fault::internal_error(false).at(Endpoint::ListMessages).always());
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "x"}"#).await;
    let message = daemon.becomes(&id, "review").await;
    assert_eq!((&message["reason"], &message["reads"]), (&json!("chat_unreadable"), &json!(6)), "{message}");
    assert_eq!(env.sandbox.world().delivered_count(), 1);
    let detail = message["evidence"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("api/internal_error"), "{detail}");
}

/// While its account is disconnected nothing can be seen, so the message does not go to review; once the account is
/// back, it is found.
#[tokio::test(flavor = "multi_thread")]
async fn reads_do_not_count_while_the_account_is_down() {
    let env = TestEnv::new().await.hasty().reconciling("50ms, 100ms");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    env.sandbox.fault(Fault::disconnected().at(Endpoint::ListMessages).times(12));
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "x"}"#).await;
    let message = daemon.becomes(&id, "sent").await;
    assert_eq!(message["settled_by"], "evidence", "{message}");
    assert_eq!(message["evidence"].as_array().unwrap().len(), 13, "{message}");
}

/// A stop during a read of a chat loses nothing: the next run reads it.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_while_reading_back_changes_nothing() {
    let env = TestEnv::new().await.hasty().reconciling("100ms, 300ms");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    let slow = FaultKind::Latency { before_delivery: Duration::from_secs(30) };
    env.sandbox.fault(Fault::new(slow).at(Endpoint::ListMessages));
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "x"}"#).await;
    daemon.becomes(&id, "uncertain").await;
    let reading =
        async || env.sandbox.world().calls().iter().any(|call| call.endpoint == Endpoint::ListMessages);
    assert!(eventually(reading).await);
    daemon.kill();
    let daemon = env.serve().await;
    assert_eq!(daemon.becomes(&id, "sent").await["settled_by"], "evidence");
    assert_eq!(env.sandbox.world().delivered_count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn review_on_the_command_line_lists_shows_and_settles() {
    let env = env_with_a_cut(false).await;
    let daemon = env.serve().await;
    let (ok, said) = run(env.outboxd(&["review"]), "");
    assert!(ok && said.contains("nothing waits for a person"), "{said}");
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "the words"}"#).await;
    daemon.becomes(&id, "review").await;
    let (ok, listed) = run(env.outboxd(&["review"]), "");
    assert!(ok && listed.contains(&id) && listed.contains("not_in_chat"), "{listed}");
    let (ok, shown) = run(env.outboxd(&["review", &id]), "");
    for part in [
        "the words",
        "1 chat read back, 0 messages seen",
        &format!("outboxd review {id} resend"),
        "uncertain",
    ] {
        assert!(ok && shown.contains(part), "{part}: {shown}");
    }
    let (ok, refused) = run(env.outboxd(&["review", &id, "sent"]), "");
    assert!(!ok && refused.contains("--yes") && refused.contains("becomes `sent`"), "{refused}");
    let (ok, told) = run(env.outboxd(&["review", &id, "drop", "--dry-run"]), "");
    assert!(ok && told.contains("becomes `cancelled`"), "{told}");
    assert_eq!(daemon.get(&format!("/v1/messages/{id}")).await.1["state"], "review");
    let (ok, done) = run(env.outboxd(&["review", &id, "sent", "--yes", "--note", "seen"]), "");
    assert!(ok && done.contains("It is sent now"), "{done}");
    let (ok, refused) = run(env.outboxd(&["review", &id, "sent", "--yes"]), "");
    assert!(!ok && refused.contains("is sent and not in review"), "{refused}");
}

/// T13: a message that was settled by evidence says so, and names the evidence.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_settled_by_reading_back_says_so_and_names_the_message() {
    let env = env_with_a_cut(true).await;
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "x"}"#).await;
    let message = daemon.becomes(&id, "sent").await;
    let provider_id = env.sandbox.world().deliveries()[0].message_id.clone();
    let attempt = &message["attempts"][0];
    assert_eq!(
        (&attempt["outcome"], &attempt["evidence"]["finding"]),
        (&json!("uncertain"), &json!("found"))
    );
    assert_eq!(message["settled_at"], attempt["evidence"]["at"], "{message}");
    for words in [&message["why"], &attempt["evidence"]["detail"]] {
        assert!(words.as_str().unwrap().contains(&provider_id), "{words}");
    }
    assert!(message["why"].as_str().unwrap().contains("reading its chat back"), "{message}");
    let (_, listed) = daemon.get("/v1/messages").await;
    assert_eq!(listed["data"][0]["why"], message["why"]);
    let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
    let sentence = explained["sentence"].as_str().unwrap();
    assert!(sentence.contains("Read back at") && sentence.contains("it is there as"), "{sentence}");
    let story = explained["story"].to_string();
    assert!(story.contains("Read back about call 1: found: 1 chat read back"), "{story}");
    let (ok, shown) = run(env.outboxd(&["show", &id]), "");
    for part in
        ["by reading the chat back, at ", "uncertain; ", "; then read back at ", ": found: ", &provider_id]
    {
        assert!(ok && shown.contains(part), "{part}: {shown}");
    }

    // So does a decision of a person.
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }));
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "y"}"#).await;
    daemon.becomes(&id, "review").await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
    let sentence = explained["sentence"].as_str().unwrap();
    assert!(sentence.contains("1 chat read back, 1 message seen: it is not among them"), "{sentence}");
    decide(&daemon, &id, json!({"decision": "sent", "note": "I saw it"})).await;
    let message = daemon.becomes(&id, "sent").await;
    assert!(message["why"].as_str().unwrap().contains("a person"), "{message}");
    let (ok, shown) = run(env.outboxd(&["show", &id]), "");
    assert!(
        ok && shown.contains("; then a person said at ") && shown.contains(": sent: I saw it"),
        "{shown}"
    );
    let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
    assert!(explained["sentence"].as_str().unwrap().contains("A person said at"), "{explained}");
}

/// H18: what stops an account is the one reason of its message, everywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_its_account_keeps_back_has_one_reason_everywhere() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let limited = FaultKind::Error {
        status: 429,
        error_type: "api/too_many_requests".into(),
        title: "t".into(),
        detail: "d".into(),
        retry_after: Some(3600),
        delivered: false,
    };
    for (account, fault, reason, kind) in [
        ("acc_1", Fault::disconnected(), "account_disconnected", "account.down"),
        ("acc_2", Fault::restricted(), "account_restricted", "account.down"),
        ("acc_3", Fault::new(limited), "api_rate_limited", "account.hold"),
    ] {
        env.sandbox.fault(fault.on(account));
        let id =
            daemon.enqueue(&json!({"account_id": account, "chat_id": "c", "text": "x"}).to_string()).await;
        let called =
            async || daemon.get(&format!("/v1/messages/{id}")).await.1["attempts"][0]["ended_at"].is_string();
        assert!(eventually(called).await);
        let row = env.sql(&format!("SELECT reason FROM messages WHERE id = '{id}'"));
        let events = env.sql(&format!(
            "SELECT reason FROM events WHERE message_id = '{id}' AND kind = 'message.queued' ORDER BY seq DESC LIMIT 1"
        ));
        let of_account =
            env.sql(&format!("SELECT reason FROM events WHERE account_id = '{account}' AND kind = '{kind}'"));
        let explained = daemon.get(&format!("/v1/messages/{id}/explain")).await.1["reason"].clone();
        assert_eq!(
            (row, events, of_account, explained),
            (vec![reason.to_owned()], vec![reason.to_owned()], vec![reason.to_owned()], json!(reason))
        );
    }
}

/// The same holds for a message that returns to the queue while its account rests.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_sent_again_during_a_rest_says_what_it_waits_for() {
    let env = TestEnv::new()
        .await
        .hasty()
        .reconciling("100ms, 300ms")
        .set("OUTBOXD_POLICY_DEFAULT_RECONCILE_ABSENT", "resend");
    env.sandbox.fault(Fault::provider_429());
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "x"}"#).await;
    let message = daemon.becomes(&id, "queued").await;
    let again = async || daemon.get(&format!("/v1/messages/{id}")).await.1["reads"] == 2;
    assert!(eventually(again).await, "{message}");
    assert_eq!(env.sql(&format!("SELECT reason FROM messages WHERE id = '{id}'")), ["cooldown"]);
    assert_eq!(daemon.get(&format!("/v1/messages/{id}/explain")).await.1["reason"], "cooldown");
}
