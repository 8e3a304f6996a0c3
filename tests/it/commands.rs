//! The operator's commands by every door: edit, move, hold, release, retry and cancel, of one message and of many.
#![allow(clippy::unwrap_used, reason = "a test may")]

use outboxd::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, enqueue, quiet, run, texts};

async fn bulk(daemon: &Daemon, body: Value) -> Value {
    let (code, answer) = daemon.post("/v1/messages/bulk", &body.to_string()).await;
    assert_eq!(code, 200, "{body}: {answer}");
    answer
}

async fn reason(daemon: &Daemon, id: &str) -> String {
    let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
    format!("{} {}", explained["reason"].as_str().unwrap(), explained["waits_for"].as_str().unwrap_or("-"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_message_goes_with_its_new_text_and_the_event_says_who() {
    let (env, daemon) = quiet().await;
    let id = enqueue(&daemon, json!({"chat_id": "c1", "text": "Helo", "campaign": "autumn"})).await;
    let path = format!("/v1/messages/{id}");
    let change = json!({"text": "Hello", "priority": 5, "campaign": null, "note": "a typo"});
    let (code, answer) = daemon.patch(&path, &change.to_string()).await;
    assert_eq!(
        (code, &answer["answer"], &answer["changed"]),
        (200, &json!("edited"), &json!(true)),
        "{answer}"
    );
    let (_, message) = daemon.get(&path).await;
    assert_eq!(
        (&message["text"], &message["priority"], &message["campaign"]),
        (&json!("Hello"), &json!(5), &Value::Null)
    );
    for (body, code, field) in [
        (json!({"text": "Hi {{name}}"}), 422, "text"),
        (json!({"text": " "}), 422, "text"),
        (json!({"text": null}), 422, "text"),
        (json!({"priority": 101}), 422, "priority"),
        (json!({"priority": "high"}), 422, "priority"),
        (json!({"not_before": "soon"}), 422, "not_before"),
        (json!({"expires_at": "2020-01-01T00:00:00Z"}), 422, "expires_at"),
        (json!({"account_id": "acc_2"}), 422, "account_id"),
        (json!({"texts": "x"}), 422, "texts"),
        (json!({}), 422, ""),
    ] {
        let (got, refused) = daemon.patch(&path, &body.to_string()).await;
        assert_eq!((got, &refused["error"]["field"]), (code, &json!(field)), "{body}: {refused}");
    }
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(env.socket()).unwrap());
    let event = &env.sql("SELECT detail FROM events WHERE kind = 'command.edit'")[0];
    let event: Value = serde_json::from_str(event).unwrap();
    assert_eq!((&event["by"], &event["note"]), (&json!(format!("uid {uid}")), &json!("a typo")), "{event}");
    assert!(!event.to_string().contains("Hello"), "{event}");
    let (code, _) = daemon.patch("/v1/messages/unknown", r#"{"priority": 1}"#).await;
    assert_eq!(code, 404);
    daemon.post("/v1/resume", "").await;
    daemon.becomes(&id, "sent").await;
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["Hello"]);
    let (code, late) = daemon.patch(&path, r#"{"text": "x"}"#).await;
    assert_eq!((code, &late["error"]["code"]), (409, &json!("wrong_state")), "{late}");
    daemon.stop().await;
}

/// What is refused of many messages is a few lines and a count for each reason, not a line for each.
#[tokio::test(flavor = "multi_thread")]
async fn the_refusals_of_many_messages_are_counted_by_reason() {
    let (env, daemon) = quiet().await;
    for n in 0..25 {
        let message = json!({"users_ids": format!("U{n}"), "text": "Hello", "campaign": "autumn"});
        enqueue(&daemon, message).await;
    }
    let mut edit = env.outboxd(&["edit", "--of-campaign", "autumn", "--text", "Hi {{first_name}}", "--yes"]);
    let ran = crate::cli_fake::Ran::of(edit.output().unwrap());
    let errors = ran.err.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!((ran.code, errors), (4, 20), "{ran:?}");
    assert!(ran.err.contains("refused in all: 25\n  25: ") && ran.err.lines().count() == 22, "{ran:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_message_waits_for_its_release_over_a_restart_and_lets_others_go() {
    let (env, daemon) = quiet().await;
    let held = enqueue(&daemon, json!({"users_ids": "U1", "text": "held"})).await;
    let behind = enqueue(&daemon, json!({"users_ids": "U1", "text": "behind it"})).await;
    let other = enqueue(&daemon, json!({"users_ids": "U2", "text": "other"})).await;
    let (ok, said) = run(env.outboxd(&["hold", &held, "--note", "wait for legal"]), "");
    assert!(ok && said == format!("{held}: held\n"), "{said}");
    let (_, again) = run(env.outboxd(&["hold", &held]), "");
    assert!(again.contains("was held already"), "{again}");
    // Whatever else brings it back into its lane, it stays held and blocks nothing there.
    env.sql(&format!(
        "UPDATE messages SET revision = revision + 1, retry_at = NULL WHERE id = '{held}' RETURNING id"
    ));
    daemon.post("/v1/resume", "").await;
    daemon.becomes(&other, "sent").await;
    daemon.kill();
    let daemon = env.serve().await;
    assert_eq!(reason(&daemon, &held).await, "held person");
    assert!(reason(&daemon, &behind).await.starts_with("chat_order"), "order in a chat is kept");
    let (_, forecast) = daemon.get("/v1/forecast?account_id=acc_1").await;
    let waiting = forecast["total"]["waiting"].as_array().unwrap();
    assert!(waiting.iter().any(|one| one["reason"] == "held"), "{forecast}");
    let (ok, said) = run(env.outboxd(&["release", "--person", "U1"]), "");
    assert!(ok && said.contains("released"), "{said}");
    daemon.becomes(&behind, "sent").await;
    let order: Vec<String> = env.sandbox.world().deliveries().iter().map(|one| one.text.clone()).collect();
    assert_eq!(order, ["other", "held", "behind it"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_or_was_rejected_is_mended_and_retried_under_its_own_id() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    env.sandbox.fault(
        Fault::new(FaultKind::Error {
            status: 422,
            error_type: "api/invalid_parameters".into(),
            title: "No".into(),
            detail: "refused".into(),
            retry_after: None,
            delivered: false,
        })
        .times(1),
    );
    let failed = enqueue(&daemon, json!({"chat_id": "c1", "text": "wrong"})).await;
    daemon.becomes(&failed, "failed").await;
    let insert = "INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_1', 'U1', 'Hi {{name}}') RETURNING id";
    let rejected = env.sql(insert).remove(0);
    daemon.becomes(&rejected, "rejected").await;
    let (ok, said) = run(env.outboxd(&["retry", "-"]), &format!("{failed}\n{rejected}\n"));
    assert!(!ok && said.contains(&format!("{failed}: queued again")), "{said}");
    assert!(said.contains(&format!("error: {rejected}: `text` holds")), "{said}");
    daemon.becomes(&failed, "sent").await;
    let (ok, said) = run(env.outboxd(&["edit", &rejected, "--text", "Hi Ada"]), "");
    assert!(ok && said.contains("edited"), "{said}");
    assert_eq!(daemon.becomes(&rejected, "rejected").await["text"], "Hi Ada", "an edit does not queue it");
    let (ok, said) = run(env.outboxd(&["retry", &rejected]), "");
    assert!(ok, "{said}");
    daemon.becomes(&rejected, "sent").await;
    let (ok, said) = run(env.outboxd(&["retry", &failed]), "");
    assert!(!ok && said.contains("is sent and cannot be retried"), "{said}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_message_goes_from_the_other_account() {
    let (env, daemon) = quiet().await;
    let id = enqueue(&daemon, json!({"users_ids": "U1", "text": "hello"})).await;
    let chat = enqueue(&daemon, json!({"chat_id": "c1", "text": "in a chat"})).await;
    let (ok, said) = run(env.outboxd(&["move", &id, &chat, "--to", "acc_2"]), "");
    assert!(!ok && said.contains(&format!("{id}: moved")), "{said}");
    assert!(said.contains("the chat c1 belongs to acc_1"), "{said}");
    daemon.post("/v1/resume", "").await;
    let message = daemon.becomes(&id, "sent").await;
    assert_eq!(message["account_id"], "acc_2");
    daemon.becomes(&chat, "sent").await;
    let sent = env.sandbox.world().deliveries();
    let from = sent.iter().find(|one| one.text == "hello").unwrap();
    assert_eq!(from.account_id, "acc_2");
    let (_, account) = daemon.get("/v1/accounts/acc_1").await;
    assert_eq!(account["counts"], json!({"sent": 1}), "{account}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_about_many_says_what_it_would_do_and_then_does_it() {
    let (env, daemon) = quiet().await;
    for n in 0..25 {
        let campaign = if n % 5 == 0 { "winter" } else { "autumn" };
        enqueue(&daemon, json!({"users_ids": format!("U{n}"), "text": "x", "campaign": campaign})).await;
    }
    enqueue(&daemon, json!({"account_id": "acc_2", "users_ids": "U1", "text": "x", "campaign": "winter"}))
        .await;
    let dry = bulk(
        &daemon,
        json!({"command": "cancel", "campaign": "winter", "account_id": "acc_1", "dry_run": true}),
    )
    .await;
    assert_eq!((&dry["messages"], &dry["changed"]), (&json!(5), &json!(5)), "{dry}");
    assert_eq!(env.sql("SELECT '' || count(*) FROM messages WHERE state = 'cancelled'"), ["0"]);
    let (ok, said) = run(env.outboxd(&["priority", "9", "--state", "queued"]), "");
    assert!(!ok && said.contains("26") && said.contains("--yes"), "{said}");
    assert_eq!(env.sql("SELECT '' || count(*) FROM messages WHERE priority = 9"), ["0"]);
    let (ok, said) = run(env.outboxd(&["priority", "9", "--state", "queued", "--dry-run"]), "");
    assert!(ok && said.contains("26 messages would be edited"), "{said}");
    let (ok, said) = run(env.outboxd(&["priority", "9", "--state", "queued", "--yes"]), "");
    assert!(ok && said.contains("edited: 26"), "{said}");
    assert_eq!(env.sql("SELECT '' || count(*) FROM messages WHERE priority = 9"), ["26"]);
    let (ok, said) = run(env.outboxd(&["cancel", "--campaign", "winter"]), "");
    assert!(ok && said.contains("cancelled: 6"), "{said}");
    let (_, listed) = run(env.outboxd(&["list", "--state", "cancelled", "--json"]), "");
    let page: Value = serde_json::from_str(&listed).unwrap();
    let mut ids: Vec<String> =
        page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    ids.push("not-an-id".to_owned());
    let (ok, said) = run(env.outboxd(&["retry", "-"]), &ids.join("\n"));
    assert!(!ok && said.contains("error: not-an-id: there is no message"), "{said}");
    assert_eq!(env.sql("SELECT '' || count(*) FROM messages WHERE state = 'queued'"), ["26"]);
    for (body, field) in [
        (json!({"command": "cancel"}), "ids"),
        (json!({"command": "cancel", "ids": [], "campaign": "x"}), "ids"),
        (json!({"command": "send", "ids": []}), "command"),
        (json!({"ids": []}), "command"),
        (json!({"command": "edit", "ids": []}), "edit"),
        (json!({"command": "edit", "ids": [], "edit": {"txt": "x"}}), "edit.txt"),
        (json!({"command": "hold", "ids": [], "edit": {"text": "x"}}), "edit"),
        (json!({"command": "hold", "ids": [7]}), "ids"),
        (json!({"command": "hold", "all": true}), "all"),
    ] {
        let (code, refused) = daemon.post("/v1/messages/bulk", &body.to_string()).await;
        assert_eq!((code, &refused["error"]["field"]), (422, &json!(field)), "{body}: {refused}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_finds_messages_by_reason_and_by_the_time_of_their_arrival() {
    let (env, daemon) = quiet().await;
    let held = enqueue(&daemon, json!({"chat_id": "c1", "text": "x"})).await;
    let arrived = env.sql(&format!("SELECT created_at FROM messages WHERE id = '{held}'")).remove(0);
    let later = "SELECT CAST(strftime('%Y-%m-%dT%H:%M:%fZ', 'now') > '{arrived}' AS TEXT)"
        .replace("{arrived}", &arrived);
    assert!(crate::daemon::eventually(async || env.sql(&later) == ["1"]).await);
    let cancelled = enqueue(&daemon, json!({"chat_id": "c2", "text": "x"})).await;
    bulk(&daemon, json!({"command": "hold", "ids": [&held]})).await;
    bulk(&daemon, json!({"command": "cancel", "ids": [&cancelled]})).await;
    let created = env.sql(&format!("SELECT created_at FROM messages WHERE id = '{cancelled}'")).remove(0);
    let ids = async |query: &str| {
        let (code, page) = daemon.get(&format!("/v1/messages?{query}")).await;
        assert_eq!(code, 200, "{query}: {page}");
        let rows = page["data"].as_array().unwrap();
        rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids("reason=held").await, held);
    assert_eq!(ids("reason=cancelled&account_id=acc_1").await, cancelled);
    assert_eq!(ids("reason=refused").await, "");
    assert_eq!(ids(&format!("since={created}")).await, cancelled);
    assert_eq!(ids(&format!("until={created}&state=queued")).await, held);
    assert_eq!(ids(&format!("until={created}&state=cancelled")).await, "");
    for query in ["since=yesterday", "reason=hold", "until="] {
        let (code, refused) = daemon.get(&format!("/v1/messages?{query}")).await;
        let field = query.split('=').next().unwrap();
        assert_eq!((code, &refused["error"]["field"]), (400, &json!(field)), "{refused}");
    }
    let (ok, said) = run(env.outboxd(&["list", "--reason", "held", "--since", "2020-01-01"]), "");
    assert!(ok && said.starts_with(&held) && said.lines().count() == 1, "{said}");
    daemon.stop().await;
}
