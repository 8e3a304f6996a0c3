//! What the sandbox refuses: tables of wrong requests, and the field that each refusal must name.
//!
//! Every table comes with valid requests of the same kind, so that a check which refuses everything fails too.

use outboxd::sandbox::*;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Bench, SEND, START, TYPING, read};

#[tokio::test]
async fn a_chat_must_exist() {
    let lenient = Bench::start().await;
    assert_eq!(lenient.send().await.unwrap().status(), 200);
    let strict = Bench::with(SandboxConfig { any_chat: false, ..SandboxConfig::default() }).await;
    let cases = [
        (&lenient, "/v2/acc_1/chats/missing-1/messages/send"),
        (&strict, SEND),
        (&lenient, "/v2/acc_1/chats/missing-1/composing?action=typing"),
        (&strict, TYPING),
    ];
    for (bench, path) in cases {
        let mut request = bench.request(Method::POST, path);
        if path.ends_with("send") {
            request = request.json(&json!({ "text": "x" }));
        }
        let (status, answer) = read(request.send().await.unwrap()).await;
        assert_eq!(
            (status.as_u16(), &answer["type"]),
            (404, &json!("provider/resource_not_found")),
            "{path}"
        );
    }
    assert_eq!((lenient.delivered(), strict.delivered()), (1, 0));
    strict.sandbox.world().add_chat("acc_2", "chat-1");
    assert_eq!(strict.send().await.unwrap().status(), 404, "a chat of another account");
    strict.sandbox.world().add_chat("acc_1", "chat-1");
    assert_eq!(strict.send().await.unwrap().status(), 200);
}

/// Returns the smallest request that starts a chat, with `change` applied.
fn start_with(change: Value) -> Value {
    merged(json!({ "text": "hi", "users_ids": "ada" }), change)
}

/// Returns `base` with the fields of `change` added or replaced.
fn merged(mut base: Value, change: Value) -> Value {
    if let (Value::Object(base), Value::Object(change)) = (&mut base, change) {
        base.extend(change);
    }
    base
}

fn linkedin(options: Value) -> Value {
    json!({ "specifics": { "linkedin": options } })
}

#[tokio::test]
async fn a_wrong_start_is_refused_and_the_field_named() {
    let bench = Bench::start().await;
    let file = |change: Value| {
        let file = json!({ "content": "Zm9v", "content_type": "image/png", "filename": "a.png" });
        json!({ "attachments": [merged(file, change)] })
    };
    let cases = [
        (json!({ "user_ids": ["ada"] }), "user_ids"),
        (json!({ "text": null }), "text"),
        (json!({ "text": 5 }), "text"),
        (json!({ "users_ids": [] }), "users_ids"),
        (json!({ "users_ids": "" }), "users_ids"),
        (json!({ "users_ids": ["ada", 1] }), "users_ids"),
        (json!({ "users_ids": { "id": "ada" } }), "users_ids"),
        (json!({ "name": true }), "name"),
        (json!({ "attachments": {} }), "attachments"),
        (json!({ "attachments": ["x"] }), "attachments[0]"),
        (json!({ "attachments": [{ "content": "Zm9v", "filename": "a" }] }), "attachments[0].content_type"),
        (file(json!({ "content": "Zm9" })), "attachments[0].content"),
        (file(json!({ "content": "Zm-_" })), "attachments[0].content"),
        (file(json!({ "content_type": "png" })), "attachments[0].content_type"),
        (file(json!({ "content_type": "image/*" })), "attachments[0].content_type"),
        (file(json!({ "filename": "" })), "attachments[0].filename"),
        (file(json!({ "url": "x" })), "attachments[0].url"),
        (file(json!({ "send_mode": "inline" })), "attachments[0].send_mode"),
        (file(json!({ "voice_note": "yes" })), "attachments[0].voice_note"),
        (file(json!({ "metadata": { "duration": "1" } })), "attachments[0].metadata.duration"),
        (json!({ "specifics": {}, "options": {} }), "specifics and options"),
    ];
    for (change, field) in cases {
        assert_refused(&bench, START, start_with(change), field).await;
    }
    assert_refused(&bench, START, json!({ "text": "hi" }), "users_ids").await;
    assert_refused(&bench, START, json!({ "users_ids": "ada" }), "text").await;
    assert_refused(&bench, START, json!([]), "the body").await;
    let good = [json!({}), json!({ "name": "us", "specifics": {} }), file(json!({ "send_mode": "native" }))];
    for change in good {
        assert_eq!(bench.post(START, start_with(change.clone())).await.0, 200, "{change}");
    }
    assert_eq!(bench.delivered(), 3);
}

#[tokio::test]
async fn wrong_provider_options_are_refused_and_the_field_named() {
    let bench = Bench::start().await;
    let recruiter = |change: Value| {
        linkedin(json!({ "recruiter": merged(json!({ "subject": "s", "signature": "me" }), change) }))
    };
    let later = |when: Value| {
        recruiter(json!({ "follow_up": { "subject": "s", "text": "t", "scheduled_for": when } }))
    };
    let cases = [
        (json!({ "specifics": { "whatsapp": {} } }), "specifics.whatsapp"),
        (json!({ "options": { "linkedin": { "basic": {} } } }), "options.linkedin.basic"),
        (linkedin(json!({ "classic": { "subject": "s" } })), "specifics.linkedin.classic.subject"),
        (linkedin(json!({ "classic": { "inmail": "true" } })), "classic.inmail"),
        (linkedin(json!({ "classic": { "company_topic": "SALES" } })), "classic.company_topic"),
        (linkedin(json!({ "classic": { "relation_request_id": 1 } })), "classic.relation_request_id"),
        (linkedin(json!({ "classic": { "applicant": { "id": "1" } } })), "classic.applicant.messaging_token"),
        (linkedin(json!({ "sales_navigator": {} })), "sales_navigator.subject"),
        (linkedin(json!({ "recruiter": { "subject": "s" } })), "recruiter.signature"),
        (recruiter(json!({ "visibility": "ALL" })), "recruiter.visibility"),
        (recruiter(json!({ "intent": "HIRE" })), "recruiter.intent"),
        (recruiter(json!({ "send_as": "SMS" })), "recruiter.send_as"),
        (recruiter(json!({ "channel_type": "X" })), "recruiter.channel_type"),
        (recruiter(json!({ "follow_up": { "subject": "s" } })), "recruiter.follow_up.text"),
        (later(json!({ "days": 2 })), "scheduled_for.days"),
        (later(json!({ "weeks": 5 })), "scheduled_for.weeks"),
        (later(json!({ "days": 3, "weeks": 1 })), "scheduled_for needs"),
    ];
    for (change, field) in cases {
        assert_refused(&bench, START, start_with(change), field).await;
    }
    let applicant = json!({ "id": "1", "messaging_token": "t" });
    let good = [
        linkedin(
            json!({ "classic": { "inmail": false, "relation_request_id": "r", "applicant": applicant } }),
        ),
        linkedin(json!({ "sales_navigator": { "subject": "s" } })),
        recruiter(json!({ "visibility": "PROJECT", "intent": "HIRE_FOR_OWN_COMPANY" })),
        recruiter(json!({ "send_as": "EMAIL", "channel_type": "REFERRAL" })),
        later(json!({ "days": 28, "timezone": "Europe/Paris" })),
        later(json!({ "weeks": 1 })),
    ];
    for change in good {
        assert_eq!(bench.post(START, start_with(change.clone())).await.0, 200, "{change}");
    }
    assert_eq!(bench.delivered(), 6);
}

async fn assert_refused(bench: &Bench, path: &str, body: Value, field: &str) {
    let (status, answer) = bench.post(path, body.clone()).await;
    assert_eq!((status.as_u16(), &answer["type"]), (400, &json!("api/invalid_parameters")), "{body}");
    assert_eq!((&answer["object"], &answer["status"]), (&json!("Error"), &json!(400)));
    assert!(answer["title"].is_string() && answer["req_id"].is_string());
    let detail = answer["detail"].as_str().expect("a detail");
    assert!(detail.contains(field), "{body} should name {field}: {detail}");
    let call = bench.last_call();
    assert_eq!((call.status, call.body), (Some(400), body), "a refused call is in the ledger");
}

#[tokio::test]
async fn a_wrong_message_is_refused_and_the_field_named() {
    let bench = Bench::start().await;
    let cases = [
        (json!({}), "text"),
        (json!({ "text": "" }), "text"),
        (json!({ "text": "", "attachments": [] }), "text"),
        (json!({ "text": "x", "quote_id": 1 }), "quote_id"),
        (json!({ "text": "x", "specifics": {} }), "specifics"),
        (json!({ "text": "x", "users_ids": "ada" }), "users_ids"),
    ];
    for (body, field) in cases {
        assert_refused(&bench, SEND, body, field).await;
    }
    assert_refused(&bench, &format!("{SEND}?dry_run=1"), json!({ "text": "x" }), "dry_run").await;
    let only_file = json!({ "text": "", "attachments":
        [{ "content": "", "content_type": "audio/mpeg", "filename": "a.mp3", "voice_note": true }] });
    assert_eq!(bench.post(SEND, only_file).await.0, 200);
    assert_eq!(bench.delivered(), 1);
}

#[tokio::test]
async fn what_is_not_a_json_request_is_refused() {
    let bench = Bench::start().await;
    let composing = |query: &str| format!("/v2/acc_1/chats/chat-1/composing{query}");
    let json = "application/json";
    let text = r#"{"text":"x"}"#;
    let cases = [
        (SEND.to_owned(), "text/plain", text, "content-type"),
        (SEND.to_owned(), "multipart/form-data; boundary=x", text, "content-type"),
        (SEND.to_owned(), json, "{\"text\":", "not JSON"),
        (SEND.to_owned(), json, "", "empty"),
        (composing(""), json, "", "action"),
        (composing("?action=stop"), json, "", "action"),
        (composing("?action=typing&action=typing"), json, "", "action"),
        (composing("?action=typing&for=5"), json, "", "for"),
        (composing("?action=typing"), json, "{}", "no body"),
        (composing("?action=typing"), json, "nonsense", "no body"),
    ];
    for (path, content_type, body, word) in cases {
        let request = bench.request(Method::POST, &path).header("content-type", content_type);
        let (status, answer) = read(request.body(body).send().await.unwrap()).await;
        assert_eq!(
            (status.as_u16(), &answer["type"]),
            (400, &json!("api/invalid_parameters")),
            "{path} {body}"
        );
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(word), "{path} {body} should say {word}: {detail}");
    }
    let request = bench.request(Method::POST, SEND).header("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(request.body(text).send().await.unwrap().status(), 200);
    assert_eq!(bench.delivered(), 1);
}

#[tokio::test]
async fn what_is_not_there_is_refused() {
    let config = SandboxConfig { accounts: Some(vec!["acc_1".into()]), ..SandboxConfig::default() };
    let bench = Bench::with(config).await;
    let start = |account: &str, inbox: &str| format!("/v2/{account}/inboxes/{inbox}/chats/send");
    bench.sandbox.world().set_inboxes(
        "acc_1",
        [
            ("CLASSIC_PRIMARY", false),
            ("CLASSIC_INMAIL", false),
            ("SALES_NAVIGATOR_PRIMARY", false),
            ("RECRUITER_PRIMARY", false),
            ("OTHER_PRIMARY", true),
        ],
    );
    let cases = [
        (Method::POST, start("acc_1", "CLASSIC_INMAIL"), 400, "provider/invalid_parameters"),
        (Method::POST, start("acc_1", "OTHER_PRIMARY"), 400, "provider/invalid_parameters"),
        (Method::POST, start("acc_1", "CLASSIC_ARCHIVED"), 404, "api/resource_not_found"),
        (Method::POST, start("acc_1", "INBOX"), 404, "api/resource_not_found"),
        (Method::POST, start("acc_2", "CLASSIC_PRIMARY"), 404, "api/resource_not_found"),
        (Method::POST, start("account", "CLASSIC_PRIMARY"), 400, "api/invalid_parameters"),
        (Method::POST, "/v2/acc_1/chats/chat-1/forward".into(), 404, "api/resource_not_found"),
        (Method::GET, "/v2".into(), 404, "api/resource_not_found"),
        (Method::PUT, START.into(), 405, "provider/method_not_allowed"),
        (Method::GET, SEND.into(), 405, "provider/method_not_allowed"),
        (Method::POST, "/v2/acc_1/chats/chat-1/messages".into(), 405, "provider/method_not_allowed"),
        (Method::PATCH, "/v2/acc_1/chats/chat-1".into(), 405, "provider/method_not_allowed"),
        (Method::DELETE, "/v2/accounts/acc_1".into(), 405, "provider/method_not_allowed"),
        (Method::POST, "/v2/accounts/".into(), 405, "provider/method_not_allowed"),
        (Method::GET, "/v1/chats".into(), 404, "api/resource_not_found"),
    ];
    let body = json!({ "text": "x", "users_ids": "ada" });
    for (method, path, status, error_type) in cases {
        let answer = read(bench.request(method, &path).json(&body).send().await.unwrap()).await;
        assert_eq!((answer.0.as_u16(), &answer.1["type"]), (status, &json!(error_type)), "{path}");
        let detail = answer.1["detail"].as_str().unwrap();
        if let Some((_, inbox)) = path.split_once("inboxes/") {
            let inbox = inbox.trim_end_matches("/chats/send");
            assert!(status == 405 || detail.contains(inbox) || detail.contains("acc"), "{path}: {detail}");
        }
    }
    assert_eq!(bench.delivered(), 0);
    for product in ["CLASSIC", "SALES_NAVIGATOR", "RECRUITER"] {
        let path = start("acc_1", &format!("{product}_PRIMARY"));
        assert_eq!(bench.post(&path, body.clone()).await.0, 200, "{product}");
    }
}

#[tokio::test]
async fn the_key_is_checked_first() {
    let bench = Bench::with(SandboxConfig { api_key: "k1".into(), ..SandboxConfig::default() }).await;
    let url = format!("{}{SEND}", bench.sandbox.url());
    let cases =
        [(None, 401, "api/missing_authorization"), (Some("sandbox-key"), 401, "api/expired_authorization")];
    for (key, status, error_type) in cases {
        let mut request = bench.http.post(&url).json(&json!({ "nonsense": 1 }));
        if let Some(key) = key {
            request = request.header("x-api-key", key);
        }
        let answer = read(request.send().await.unwrap()).await;
        assert_eq!((answer.0.as_u16(), &answer.1["type"]), (status, &json!(error_type)));
    }
    let right = bench.http.post(&url).header("x-api-key", "k1").json(&json!({ "text": "x" }));
    assert_eq!(right.send().await.unwrap().status(), 200);
    let statuses: Vec<_> = bench.sandbox.world().calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(401), Some(401), Some(200)]);
}

#[tokio::test]
async fn a_wrong_fault_is_refused_and_the_field_named() {
    let bench = Bench::start().await;
    let cases = [
        (json!({}), "kind"),
        (json!({ "kind": {} }), "kind"),
        (json!({ "kind": { "cut": { "delivered": true }, "slow_body_ms": 1 } }), "kind"),
        (json!({ "kind": { "explode": {} } }), "kind.explode"),
        (json!({ "kind": { "cut": {} } }), "kind.cut.delivered"),
        (json!({ "kind": { "cut": { "delivered": 1 } } }), "kind.cut.delivered"),
        (json!({ "kind": { "latency": { "before_delivery": 5 } } }), "kind.latency.before_delivery"),
        (json!({ "kind": { "slow_body_ms": "5" } }), "kind.slow_body_ms"),
        (json!({ "kind": { "garbage": { "status": 99, "delivered": true } } }), "kind.garbage.status"),
        (json!({ "kind": { "error": { "status": 500, "delivered": true } } }), "kind.error.type"),
        (json!({ "kind": { "slow_body_ms": 5 }, "acount": "acc_1" }), "acount"),
        (json!({ "kind": { "slow_body_ms": 5 }, "times": 0 }), "times"),
        (json!({ "kind": { "slow_body_ms": 5 }, "endpoint": "send" }), "endpoint"),
    ];
    for (fault, field) in cases {
        let (status, answer) = bench.own(Method::POST, "/sandbox/faults", &fault.to_string()).await;
        assert_eq!(status, 400, "{fault}");
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.contains(field), "{fault} should name {field}: {detail}");
    }
    assert!(bench.sandbox.world().faults().is_empty());
}
