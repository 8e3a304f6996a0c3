//! Reading and acting over HTTP: list, show, explain, cancel, pause, resume, status.

use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};
use std::time::Duration;

use crate::daemon::{TestEnv, eventually};

fn body(account: &str, chat: &str, text: &str) -> String {
    json!({"account_id": account, "chat_id": chat, "text": text, "campaign": "spring"}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_filter_and_page_without_texts() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let mut ids = Vec::new();
    for number in 0..7 {
        let account = if number % 2 == 0 { "acc_even" } else { "acc_odd" };
        ids.push(daemon.enqueue(&body(account, &format!("c{number}"), "secret text")).await);
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = daemon.get(&format!("/v1/messages?limit=3{cursor}")).await;
        assert_eq!(status, 200, "{page}");
        assert!(!page.to_string().contains("secret text"));
        seen.extend(
            page["data"]
                .as_array()
                .expect("data")
                .iter()
                .map(|row| row["id"].as_str().unwrap_or("").to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    ids.reverse();
    assert_eq!(seen, ids, "newest first, each once");
    for (query, n) in [
        ("account_id=acc_even", 4),
        ("state=queued&account_id=acc_odd", 3),
        ("state=sent,failed", 0),
        ("campaign=spring&chat_id=c3", 1),
        ("dedupe_key=none", 0),
    ] {
        let (_, page) = daemon.get(&format!("/v1/messages?{query}")).await;
        assert_eq!(page["data"].as_array().map(Vec::len), Some(n), "{query}: {page}");
    }
    for (query, field) in
        [("stat=sent", "stat"), ("state=sendt", "state"), ("limit=0", "limit"), ("cursor=x", "cursor")]
    {
        let (status, answer) = daemon.get(&format!("/v1/messages?{query}")).await;
        assert_eq!((status, answer["error"]["field"].as_str()), (400, Some(field)), "{answer}");
    }
    for (path, usual, next) in [
        ("messages", 50, "next_cursor"),
        ("accounts", 50, "next_cursor"),
        ("stops", 50, "next_cursor"),
        ("campaigns", 20, "next_cursor"),
        ("events", 100, "next_after"),
    ] {
        let (status, answer) = daemon.get(&format!("/v1/{path}?limit=501")).await;
        let fix = format!("leave it out for {usual}, and follow {next} for more");
        assert_eq!((status, answer["error"]["fix"].as_str()), (400, Some(fix.as_str())), "{path}: {answer}");
        let (_, page) = daemon.get(&format!("/v1/{path}?limit=1")).await;
        assert!(page.get(next).is_some(), "{path}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_names_one_reason_and_every_gate() {
    let env = TestEnv::new().await.set("OUTBOXD_POLICY_DEFAULT_ZONE", "Europe/Berlin");
    let daemon = env.serve().await;
    let first = daemon.enqueue(&body("acc_1", "c1", "first")).await;
    let second = daemon.enqueue(&body("acc_1", "c2", "second")).await;
    // The first message shows its typing indicator before it goes, then the second waits for the gap.
    let reason = async |id: &str| daemon.get(&format!("/v1/messages/{id}/explain")).await.1;
    assert!(
        eventually(async || reason(&first).await["reason"] == "typing").await,
        "{}",
        reason(&first).await
    );
    assert_eq!(reason(&second).await["reason"], "turn");
    assert_eq!(reason(&second).await["queue_position"], 1);
    daemon.becomes(&first, "sent").await;
    let explained = reason(&second).await;
    assert_eq!(
        (&explained["reason"], &explained["waits_for"]),
        (&json!("gap"), &json!("time")),
        "{explained}"
    );
    assert!(explained["until_local"].as_str().is_some_and(|at| at.ends_with("Europe/Berlin")), "{explained}");
    let closed: Vec<&Value> =
        explained["gates"].as_array().expect("gates").iter().filter(|gate| gate["open"] == false).collect();
    assert_eq!(closed.len(), 1, "{closed:?}");
    assert_eq!(closed[0]["until"], explained["until"]);
    let sent = reason(&first).await;
    assert_eq!(
        (&sent["state"], &sent["reason"], &sent["until"]),
        (&json!("sent"), &json!("delivered"), &Value::Null)
    );
    let (_, listed) = daemon.get("/v1/messages?state=queued").await;
    assert_eq!(listed["data"][0]["reason"], "gap", "the list says what explain says");
    daemon.post("/v1/accounts/acc_1/pause", "").await;
    assert_eq!(reason(&second).await["reason"], "account_paused");
    assert_eq!(reason(&second).await["waits_for"], "person");
    // The account opens only after the message has expired.
    let [first, last] = [3600, 7200].map(|seconds| SystemClock::new().now() + Duration::from_secs(seconds));
    daemon.post("/v1/accounts/acc_1/pause", &json!({"until": last.to_string()}).to_string()).await;
    let mut expires: Value = serde_json::from_str(&body("acc_1", "c3", "third")).expect("a message");
    expires["expires_at"] = json!(first.to_string());
    let explained = reason(&daemon.enqueue(&expires.to_string()).await).await;
    assert_eq!((&explained["reason"], &explained["waits_for"]), (&json!("account_paused"), &json!("expiry")));
    let sentence = explained["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains("It expires at ") && !sentence.contains("goes on"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_stops_at_once_and_resume_goes_on() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(
        daemon.post("/v1/accounts/acc_1/pause", "").await.0,
        404,
        "an account exists from its first message on"
    );
    daemon.post("/v1/pause", r#"{"note": "lunch"}"#).await;
    let id = daemon.enqueue(&body("acc_1", "c1", "hello")).await;
    let (_, paused) = daemon.post("/v1/accounts/acc_1/pause", "{}").await;
    assert_eq!(
        paused,
        json!({"account_id": "acc_1", "paused": true, "already_paused": false, "zone": "UTC", "until": null})
    );
    let (_, again) =
        daemon.post("/v1/accounts/acc_1/pause", r#"{"until": "2099-01-01T10:00:00+01:00"}"#).await;
    assert_eq!(
        (&again["already_paused"], &again["until"]),
        (&json!(true), &json!("2099-01-01T09:00:00.000Z"))
    );
    assert_eq!(daemon.get("/v1/status").await.1["paused"]["note"], "lunch");
    assert_eq!(daemon.get("/v1/accounts/acc_1").await.1["standing"], "paused");
    daemon.post("/v1/resume", "").await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
    assert_eq!(
        (&explained["reason"], &explained["until"]),
        (&json!("account_paused"), &json!("2099-01-01T09:00:00.000Z"))
    );
    assert_eq!(env.writes().len(), 0);
    let (_, resumed) = daemon.post("/v1/accounts/acc_1/resume", "").await;
    assert_eq!(resumed, json!({"account_id": "acc_1", "resumed": true, "was_paused": true}));
    daemon.becomes(&id, "sent").await;
    let (_, resumed) = daemon.post("/v1/accounts/acc_1/resume", "").await;
    assert_eq!(resumed["was_paused"], false);
    for (path, body, field) in [
        ("/v1/pause", r#"{"until": "tomorrow"}"#, "until"),
        ("/v1/pause", r#"{"until": "2020-01-01T00:00:00Z"}"#, "until"),
        ("/v1/pause", r#"{"untl": "x"}"#, "untl"),
        ("/v1/resume", r#"{"lift_hold": 1}"#, "lift_hold"),
    ] {
        let (status, answer) = daemon.post(path, body).await;
        assert_eq!((status, answer["error"]["field"].as_str()), (422, Some(field)), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_takes_back_what_waits_and_refuses_what_is_too_late() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let waiting = daemon.enqueue(&body("acc_1", "c1", "never")).await;
    let (status, answer) = daemon.post(&format!("/v1/messages/{waiting}/cancel"), "").await;
    let expected = json!({"id": waiting, "state": "cancelled", "was": "queued", "already_cancelled": false});
    assert_eq!((status, &answer), (200, &expected));
    assert_eq!(daemon.post(&format!("/v1/messages/{waiting}/cancel"), "").await.1["already_cancelled"], true);
    let sent = daemon.enqueue(&body("acc_1", "c2", "goes")).await;
    daemon.post("/v1/resume", "").await;
    daemon.becomes(&sent, "sent").await;
    let (status, answer) = daemon.post(&format!("/v1/messages/{sent}/cancel"), "").await;
    assert_eq!((status, &answer["error"]["code"]), (409, &json!("wrong_state")), "{answer}");
    env.sandbox.fault(Fault::new(FaultKind::LatencyAfterDelivery(Duration::from_secs(2))));
    let sending = daemon.enqueue(&body("acc_1", "c3", "on its way")).await;
    daemon.becomes(&sending, "sending").await;
    assert_eq!(daemon.post(&format!("/v1/messages/{sending}/cancel"), "").await.0, 409);
    for id in ["01a2033b-0160-74f2-902c-2d39e83d48d7", "nonsense"] {
        assert_eq!(daemon.post(&format!("/v1/messages/{id}/cancel"), "").await.0, 404);
        assert_eq!(daemon.get(&format!("/v1/messages/{id}")).await.0, 404);
        assert_eq!(daemon.get(&format!("/v1/messages/{id}/explain")).await.0, 404);
    }
    let texts: Vec<String> = env.delivered(2).await.into_iter().map(|one| one.text).collect();
    assert!(!texts.contains(&"never".to_owned()), "{texts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_tells_its_story_with_what_was_answered() {
    let env = TestEnv::new().await.hasty();
    env.sandbox.world().disconnect("acc_gone");
    let refused = FaultKind::Error {
        status: 422,
        error_type: "provider/unprocessable_entity".into(),
        title: "Unprocessable entity".into(),
        detail: "recipient cannot be reached".into(),
        retry_after: None,
        delivered: false,
    };
    env.sandbox.fault(Fault::new(refused).on("acc_1"));
    let daemon = env.serve().await;
    let failed = daemon.enqueue(&body("acc_1", "c1", "hello")).await;
    let failed = daemon.becomes(&failed, "failed").await;
    assert_eq!(
        (&failed["reason"], &failed["actor"], &failed["text"]),
        (&json!("refused"), &json!("producer"), &json!("hello"))
    );
    let attempt = &failed["attempts"][0];
    assert_eq!(
        (&attempt["type"], &attempt["status"]),
        (&json!("provider/unprocessable_entity"), &json!(422))
    );
    assert_eq!(attempt["detail"], "recipient cannot be reached");
    assert!(
        failed["error"].as_str().is_some_and(|error| error.contains("recipient cannot be reached")),
        "{failed}"
    );

    let kept = daemon.enqueue(&body("acc_gone", "c1", "hello")).await;
    let down = eventually(async || daemon.get("/v1/accounts/acc_gone").await.1["standing"] == "down").await;
    assert!(down, "{}", env.log());
    let (_, explained) = daemon.get(&format!("/v1/messages/{kept}/explain")).await;
    assert_eq!(
        (&explained["reason"], &explained["state"]),
        (&json!("account_disconnected"), &json!("queued"))
    );
    assert_eq!(explained["actor"], "operator");
    let (_, status) = daemon.get("/v1/status").await;
    assert!(status["next_step"].as_str().is_some_and(|step| step.contains("acc_gone")), "{status}");
    env.sandbox.world().reconnect("acc_gone");
    daemon.post("/v1/accounts/acc_gone/resume", "").await;
    daemon.becomes(&kept, "sent").await;
    // P8: the log does not contain what was written.
    assert!(!env.log().contains("hello"), "{}", env.log());
    assert!(!env.log().contains("sandbox-key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_and_methods_that_are_none_are_told() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    assert_eq!(daemon.get("/healthz").await, (200, json!({"ok": true})));
    let (status, answer) = daemon.get("/v1/mesages").await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("no_such_path")));
    let (status, answer) = daemon.get("/v1/pause").await;
    assert_eq!((status, &answer["error"]["code"]), (405, &json!("method_not_allowed")));
    let (status, answer) = daemon.post("/v1/pause?account_id=acc_1", "").await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("unknown_field")), "{answer}");
    assert_eq!(answer["error"]["field"], "account_id");
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["paused"], Value::Null, "it would have paused every account");
    assert_eq!((&status["api"]["reachable"], &status["next_step"]), (&json!(true), &Value::Null), "{status}");
}

/// P6: at the time shown, only the chat is read; a message whose outcome is unknown does not go then.
#[tokio::test(flavor = "multi_thread")]
async fn an_uncertain_message_says_when_its_chat_is_read() {
    let env = TestEnv::new().await.hasty().reconciling("1h");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    let daemon = env.serve().await;
    let id = daemon.enqueue(&body("acc_1", "c1", "first")).await;
    daemon.becomes(&id, "uncertain").await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
    assert_eq!(
        (&explained["reason"], &explained["waits_for"]),
        (&json!("reconciling"), &json!("not_before")),
        "{explained}"
    );
    let sentence = explained["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains(" Its chat is read at ") && !sentence.contains("goes on"), "{sentence}");
    daemon.stop().await;
}

/// P6: a message that is found to wait when its turn comes delays no other, so "not before" does not count it.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_not_said_to_be_later_than_it_is_expected() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_ORDER_PER_RECIPIENT", "24h");
    let env = env.set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "10m").set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "10m1s");
    let daemon = env.serve().await;
    let first =
        |user: &str, text: &str| json!({"account_id": "acc_1", "users_ids": user, "text": text}).to_string();
    let sent = daemon.enqueue(&first("U1", "sent")).await;
    daemon.becomes(&sent, "sent").await;
    daemon.enqueue(&first("U2", "next")).await;
    for text in ["rests", "rests too"] {
        daemon.enqueue(&first("U1", text)).await;
    }
    let last = daemon.enqueue(&first("U3", "last")).await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{last}/explain")).await;
    assert_eq!((&explained["reason"], &explained["waits_for"]), (&json!("turn"), &json!("not_before")));
    let at = |time: &Value| time.as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time");
    assert!(at(&explained["until"]) <= at(&explained["expected_range"][0]), "{explained}");
    let gates = explained["gates"].as_array().expect("gates");
    let turn = gates.iter().find(|gate| gate["gate"] == "turn").expect("the gate");
    assert_eq!(turn["until"], explained["until"]);
    daemon.stop().await;
}

/// P6: an account on which only a person can release something does not say "now".
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_waits_for_a_person_says_so() {
    let env = TestEnv::new().await.hasty().reconciling("");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    let daemon = env.serve().await;
    let first = daemon.enqueue(&body("acc_1", "c1", "first")).await;
    daemon.becomes(&first, "review").await;
    let second = daemon.enqueue(&body("acc_1", "c1", "second")).await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{second}/explain")).await;
    assert_eq!((&explained["reason"], &explained["blocked_by"]), (&json!("chat_order"), &json!(first)));
    let (_, account) = daemon.get("/v1/accounts/acc_1").await;
    assert_eq!(
        (&account["reason"], &account["waits_for"]),
        (&json!("chat_order"), &json!("person")),
        "{account}"
    );
    // Another chat continues, and dropping the first message releases the second.
    let third = daemon.enqueue(&body("acc_1", "c2", "third")).await;
    daemon.becomes(&third, "sent").await;
    daemon.post(&format!("/v1/messages/{first}/cancel"), "").await;
    daemon.becomes(&second, "sent").await;
}

/// P6: the account's pause ends without help, but nothing can go after it.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_says_that_it_waits_for_a_person_while_it_pauses_too() {
    let pause = "10m";
    let env = TestEnv::new().await.hasty().reconciling("");
    let env = env.set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", pause).set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", pause);
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    let daemon = env.serve().await;
    let first = daemon.enqueue(&body("acc_1", "c1", "first")).await;
    daemon.becomes(&first, "review").await;
    daemon.enqueue(&body("acc_1", "c1", "second")).await;
    let wait_status = async || {
        let (_, account) = daemon.get("/v1/accounts/acc_1").await;
        (account["reason"].clone(), account["waits_for"].clone())
    };
    assert_eq!(wait_status().await, (json!("chat_order"), json!("person")));
    daemon.enqueue(&body("acc_1", "c2", "third")).await;
    assert_eq!(wait_status().await, (json!("gap"), json!("time")), "this one goes after the pause");
    daemon.post("/v1/accounts/acc_1/pause", "").await;
    assert_eq!(wait_status().await.0, json!("account_paused"));
}
