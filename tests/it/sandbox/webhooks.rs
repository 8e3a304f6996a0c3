//! Webhook endpoints, and the events that reach a real receiver: signed, retried, filtered, and with every fault.

use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::*;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::receiver::{Hit, Receiver};
use super::{Bench, FOREVER, SEND, START, read, until};

const ENDPOINTS: &str = "/v2/webhooks/endpoints/";

/// Returns a sandbox that retries at once.
async fn quick() -> Bench {
    let pauses = vec![Duration::from_millis(1); 3];
    Bench::with(SandboxConfig { webhook_pauses: pauses, ..SandboxConfig::default() }).await
}

async fn call(bench: &Bench, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let mut request = bench.request(method, path);
    if let Some(body) = body {
        request = request.json(&body);
    }
    read(request.send().await.expect("an answer")).await
}

fn path_of(endpoint: &Value) -> String {
    format!("{ENDPOINTS}{}", endpoint["id"].as_str().expect("an id"))
}

/// Returns the delivery log of `endpoint`, oldest first.
async fn log(bench: &Bench, endpoint: &Value) -> Vec<Value> {
    let path = format!("/v2/webhooks/conversations/?endpoint_id={}", endpoint["id"].as_str().expect("an id"));
    let (status, answer) = bench.get(&path).await;
    assert_eq!((status.as_u16(), &answer["object"]), (200, &json!("WebhookConversations")), "{answer}");
    answer["data"].as_array().expect("a list").iter().rev().cloned().collect()
}

/// Waits until the log of `endpoint` has `count` attempts.
async fn logged(bench: &Bench, endpoint: &Value, count: usize) -> Vec<Value> {
    let clock = SystemClock::new();
    loop {
        let log = log(bench, endpoint).await;
        if log.len() >= count {
            return log;
        }
        assert!(clock.monotonic() < Duration::from_secs(10), "{} of {count} attempts: {log:?}", log.len());
        clock.sleep(Duration::from_millis(2)).await;
    }
}

fn texts(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["payload"]["text"].as_str().unwrap_or_default()).collect()
}

async fn say(bench: &Bench, text: &str) {
    assert_eq!(bench.post(SEND, json!({ "text": text })).await.0, 200);
}

#[tokio::test]
async fn an_endpoint_is_created_read_changed_and_deleted() {
    let bench = Bench::start().await;
    let body = json!({
        "url": "https://hooks.example.com/unipile",
        "trigger_events": ["message.new", "relation.new"],
        "account_ids": ["acc_1"],
        "description": "outbox",
    });
    let (status, created) = bench.post(ENDPOINTS, body.clone()).await;
    assert_eq!(status, 200, "{created}");
    for (field, value) in body.as_object().unwrap() {
        assert_eq!(&created[field], value);
    }
    assert_eq!((&created["object"], &created["enabled"]), (&json!("WebhookEndpoint"), &json!(true)));
    let secret = created["secret"].as_str().unwrap();
    assert!(secret.starts_with("wes_") && secret.len() <= 36, "{secret}");
    assert!(created["id"].as_str().unwrap().starts_with("we_"));
    let target = &created["account_targets"][0];
    assert_eq!((&target["id"], &target["status"]), (&json!("acc_1"), &json!("active")));

    let path = path_of(&created);
    assert_eq!(bench.get(&path).await, (StatusCode::OK, created.clone()));
    let (_, list) = bench.get(ENDPOINTS).await;
    assert_eq!(list, json!({ "object": "WebhookEndpoints", "data": [created], "has_more": false }));

    let change = json!({ "enabled": false, "url": "http://127.0.0.1:1/" });
    let (status, changed) = call(&bench, Method::PATCH, &path, Some(change)).await;
    assert_eq!((status.as_u16(), &changed["enabled"]), (200, &json!(false)));
    assert_eq!((&changed["url"], &changed["description"]), (&json!("http://127.0.0.1:1/"), &json!("outbox")));
    assert_eq!(changed["secret"], created["secret"]);
    assert_eq!(bench.last_call().endpoint, Endpoint::UpdateWebhookEndpoint);

    let (_, second) = bench.post("/v2/webhooks/endpoints", body.clone()).await;
    assert_ne!(second["secret"], created["secret"], "a new endpoint has a new secret");
    let (_, list) = bench.get("/v2/webhooks/endpoints/?limit=1&offset=0").await;
    assert_eq!((list["data"].as_array().unwrap().len(), &list["has_more"]), (1, &json!(true)));

    assert_eq!(call(&bench, Method::DELETE, &path, None).await.1, json!({ "success": true }));
    for method in [Method::GET, Method::DELETE] {
        let (status, answer) = call(&bench, method, &path, None).await;
        assert_eq!((status.as_u16(), &answer["type"]), (404, &json!("api/resource_not_found")));
    }
    let (status, _) = bench.get(&format!("/v2/webhooks/conversations/?endpoint_id={}", "we_1")).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_wrong_endpoint_is_refused_and_the_field_named() {
    let bench = Bench::start().await;
    let url = |length: usize| format!("http://127.0.0.1/{}", "a".repeat(length - 17));
    let right = json!({ "url": url(255), "trigger_events": ["message.new"] });
    let (status, endpoint) = bench.post(ENDPOINTS, right.clone()).await;
    assert_eq!(status, 200, "{endpoint}");
    let wrong = [
        (json!({ "url": url(256) }), "url"),
        (json!({ "url": "ftp://127.0.0.1/" }), "url"),
        (json!({ "url": "hook" }), "url"),
        (json!({ "url": null }), "url"),
        (json!({ "trigger_events": ["message.new", "message.received"] }), "message.received"),
        (json!({ "trigger_events": ["account.status.paused"] }), "account.status.paused"),
        (json!({ "trigger_events": "message.new" }), "trigger_events"),
        (json!({ "trigger_events": [] }), "trigger_events"),
        (json!({ "account_ids": ["1"] }), "account_ids"),
        (json!({ "account_ids": [1] }), "account_ids"),
        (json!({ "description": "d".repeat(256) }), "description"),
        (json!({ "headers": {} }), "headers"),
    ];
    let refused = async |method: Method, path: &str, body: Value, word: &str| {
        let (status, answer) = call(&bench, method, path, Some(body.clone())).await;
        assert_eq!((status.as_u16(), &answer["type"]), (400, &json!("api/invalid_parameters")), "{body}");
        assert!(answer["detail"].as_str().unwrap().contains(word), "{body}: {answer}");
    };
    let path = path_of(&endpoint);
    for (change, word) in wrong {
        let mut body = right.clone();
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        refused(Method::POST, ENDPOINTS, body, word).await;
        refused(Method::PATCH, &path, change, word).await;
    }
    refused(Method::POST, ENDPOINTS, json!({ "url": url(100) }), "trigger_events").await;
    refused(Method::POST, ENDPOINTS, json!({ "trigger_events": ["message.new"] }), "url").await;
    let enabled = json!({ "url": url(100), "trigger_events": ["message.new"], "enabled": true });
    refused(Method::POST, ENDPOINTS, enabled, "enabled").await;
    refused(Method::PATCH, &path, json!({ "enabled": 1 }), "enabled").await;
    assert_eq!(bench.get(&path).await.1, endpoint, "a refusal changes nothing");

    let statuses = [
        (Method::GET, "/v2/webhooks/conversations/".to_owned(), 400),
        (Method::GET, "/v2/webhooks/conversations/?endpoint_id=1".to_owned(), 400),
        (Method::GET, format!("{ENDPOINTS}1"), 400),
        (Method::GET, format!("{ENDPOINTS}?cursor=1"), 400),
        (Method::PUT, path, 405),
        (Method::DELETE, ENDPOINTS.to_owned(), 405),
        (Method::GET, "/v2/webhooks/".to_owned(), 404),
    ];
    for (method, path, expected) in statuses {
        assert_eq!(call(&bench, method, &path, None).await.0.as_u16(), expected, "{path}");
    }
    let unauthorized = bench.http.get(format!("{}{ENDPOINTS}", bench.sandbox.url())).send().await.unwrap();
    assert_eq!(unauthorized.status(), 401);
}

#[tokio::test]
async fn the_accounts_of_an_endpoint_must_exist() {
    let accounts = Some(vec!["acc_1".to_owned()]);
    let bench = Bench::with(SandboxConfig { accounts, ..SandboxConfig::default() }).await;
    let body = |account| json!({ "url": "http://127.0.0.1:9/", "trigger_events": ["message.new"], "account_ids": [account] });
    let (status, endpoint) = bench.post(ENDPOINTS, body("acc_1")).await;
    assert_eq!(status, 200, "{endpoint}");
    let change = json!({ "account_ids": ["acc_1", "acc_2"] });
    let refusals = [
        bench.post(ENDPOINTS, body("acc_2")).await,
        call(&bench, Method::PATCH, &path_of(&endpoint), Some(change)).await,
    ];
    for (status, answer) in refusals {
        assert_eq!((status.as_u16(), &answer["type"]), (404, &json!("api/resource_not_found")));
        assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains("acc_2")), "{answer}");
    }
}

#[tokio::test]
async fn a_sent_message_is_reported_as_reads_show_it_and_signed() {
    let bench = Bench::start().await;
    let receiver = Receiver::start().await;
    let endpoint = receiver.register(&bench, &["message.new", "message.receipt.delivery"]).await;
    let before = SystemClock::new().now().as_second();
    let (_, sent) = bench.post(START, json!({ "text": "Hi 👋", "users_ids": ["ada"] })).await;
    let events = receiver.first(2).await;
    let [new, delivered] = &events[..] else { panic!("{events:?}") };

    assert_eq!((&new["type"], &new["account_id"]), (&json!("message.new"), &json!("acc_1")));
    assert!(new["id"].as_str().unwrap().starts_with("evt_"));
    assert!(new["created_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    let message = bench.fresh("/v2/acc_1/chats/2-chat%2F000001%3D%3D/messages/2-msg%3A000001%3D%3D").await;
    assert_eq!(new["payload"], message);
    assert_eq!((&message["id"], &message["chat_id"]), (&sent["message_id"], &sent["chat_id"]));
    assert_eq!((&message["is_sender"], &message["text"]), (&json!(true), &json!("Hi 👋")));

    assert_eq!(delivered["type"], "message.receipt.delivery");
    let ids = json!({ "message_id": sent["message_id"], "chat_id": sent["chat_id"] });
    assert_eq!(delivered["payload"], ids);
    assert_ne!(delivered["id"], new["id"]);

    let after = SystemClock::new().now().as_second();
    for hit in receiver.hits() {
        let (t, v0) = hit.signed();
        assert!((before..=after).contains(&t), "{t}");
        assert_eq!(v0, hit.expected(endpoint["secret"].as_str().unwrap()));
        assert_ne!(v0, hit.expected("wes_other"));
        assert_eq!(hit.content_type, "application/json");
    }
    let attempt = logged(&bench, &endpoint, 2).await.swap_remove(0);
    assert!(attempt["id"].as_str().unwrap().starts_with("wc_"));
    assert_eq!((&attempt["event_id"], &attempt["event_type"]), (&new["id"], &new["type"]));
    assert_eq!((&attempt["http_status"], &attempt["first_attempt"]), (&json!(200), &json!(true)));
    assert_eq!(
        (&attempt["endpoint_url"], &attempt["response_body"]),
        (&json!(receiver.url), &json!("thanks"))
    );
    assert_eq!(
        (&attempt["endpoint_id"], &attempt["object"]),
        (&endpoint["id"], &json!("WebhookConversation"))
    );
}

#[tokio::test]
async fn every_kind_of_send_is_reported() {
    let bench = Bench::start().await;
    let receiver = Receiver::start().await;
    receiver.register(&bench, &["message.new"]).await;
    say(&bench, "a message").await;
    let forward = "/v2/acc_1/chats/chat-1/messages/2-msg%3A000001%3D%3D/forward";
    assert_eq!(bench.post(forward, json!({ "chat_id": "chat-2", "text": "a forward" })).await.0, 200);
    bench.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    assert!(bench.send().await.is_err());
    bench.post(START, json!({ "text": "", "users_ids": ["ada"] })).await;
    bench.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }));
    assert!(bench.send().await.is_err());
    say(&bench, "the last").await;
    let events = receiver.first(4).await;
    assert_eq!(texts(&events), ["a message", "a forward", "hello", "the last"], "only what was delivered");
}

#[tokio::test]
async fn a_failed_delivery_is_retried_and_the_log_says_so() {
    let bench = quick().await;
    let receiver = Receiver::start().await;
    let endpoint = receiver.register(&bench, &["message.new"]).await;
    receiver.answer_next(&[500, 503]);
    say(&bench, "one").await;
    let events = receiver.first(3).await;
    assert!(events.iter().all(|event| *event == events[0]), "{events:?}");
    let log = logged(&bench, &endpoint, 3).await;
    let attempts: Vec<_> = log.iter().map(|one| (&one["http_status"], &one["first_attempt"])).collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(attempts, [(&json!(500), &yes), (&json!(503), &no), (&json!(200), &no)]);

    receiver.answer_next(&[500; 4]);
    say(&bench, "never received").await;
    until("all attempts", || receiver.hits().len() == 7).await;
    say(&bench, "the next").await;
    let events = receiver.first(8).await;
    assert_eq!(texts(&events[7..]), ["the next"], "after four attempts the sandbox gives up");
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_given_up_after_the_timeout() {
    let config = SandboxConfig {
        webhook_timeout: Duration::from_millis(50),
        webhook_pauses: vec![Duration::from_millis(1)],
        ..SandboxConfig::default()
    };
    let bench = Bench::with(config).await;
    let receiver = Receiver::start().await;
    let endpoint = receiver.register(&bench, &["message.new"]).await;
    receiver.answer_next(&[0]);
    say(&bench, "slow").await;
    let log = logged(&bench, &endpoint, 2).await;
    assert_eq!((&log[0]["http_status"], &log[0]["response_body"]), (&Value::Null, &Value::Null));
    assert_eq!((&log[1]["http_status"], &log[1]["first_attempt"]), (&json!(200), &json!(false)));

    let elsewhere = json!({ "url": "https://hooks.example.com/", "trigger_events": ["message.new"] });
    let (_, elsewhere) = bench.post(ENDPOINTS, elsewhere).await;
    say(&bench, "nothing leaves the machine").await;
    let log = logged(&bench, &elsewhere, 2).await;
    assert!(log.iter().all(|one| one["http_status"].is_null()), "{log:?}");
}

#[tokio::test]
async fn a_slow_receiver_holds_up_no_other() {
    let bench = Bench::start().await;
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    slow.register(&bench, &["message.new"]).await;
    quick.register(&bench, &["message.new"]).await;
    slow.answer_next(&[0]);
    for text in ["one", "two", "three"] {
        say(&bench, text).await;
    }
    assert_eq!(texts(&quick.first(3).await), ["one", "two", "three"], "in order");
    assert_eq!(slow.hits().len(), 1);
    bench.sandbox.stop().await;
}

#[tokio::test]
async fn an_endpoint_receives_only_its_accounts_and_events_and_only_while_enabled() {
    let bench = Bench::start().await;
    let receiver = Receiver::start().await;
    let endpoint = receiver.register_with(&bench, &["message.new"], json!(["acc_1"])).await;
    let other = "/v2/acc_2/chats/chat-1/messages/send";
    assert_eq!(bench.post(other, json!({ "text": "another account" })).await.0, 200);
    bench.sandbox.world().disconnect("acc_1");
    bench.sandbox.world().reconnect("acc_1");
    say(&bench, "one").await;
    let enable = async |enabled: bool| {
        let body = Some(json!({ "enabled": enabled }));
        assert_eq!(call(&bench, Method::PATCH, &path_of(&endpoint), body).await.0, 200);
    };
    receiver.first(1).await;
    enable(false).await;
    say(&bench, "unheard").await;
    enable(true).await;
    say(&bench, "two").await;
    assert_eq!(texts(&receiver.first(2).await), ["one", "two"]);

    call(&bench, Method::DELETE, &path_of(&endpoint), None).await;
    say(&bench, "unheard").await;
    receiver.register(&bench, &["message.new"]).await;
    say(&bench, "three").await;
    assert_eq!(texts(&receiver.first(3).await), ["one", "two", "three"]);
}

#[tokio::test]
async fn disabling_an_endpoint_stops_its_retries() {
    let bench =
        Bench::with(SandboxConfig { webhook_pauses: vec![FOREVER], ..SandboxConfig::default() }).await;
    let receiver = Receiver::start().await;
    let endpoint = receiver.register(&bench, &["message.new"]).await;
    receiver.answer_next(&[500]);
    say(&bench, "one").await;
    logged(&bench, &endpoint, 1).await;
    let world = bench.sandbox.world();
    assert!(world.next_due().is_some_and(|due| due > world.elapsed()), "a retry waits");
    for enabled in [false, true] {
        call(&bench, Method::PATCH, &path_of(&endpoint), Some(json!({ "enabled": enabled }))).await;
    }
    assert_eq!(world.next_due(), None);
    say(&bench, "two").await;
    assert_eq!(texts(&receiver.first(2).await), ["one", "two"]);
}

#[tokio::test]
async fn accounts_report_their_status_and_nothing_else_while_disconnected() {
    let bench = Bench::start().await;
    let receiver = Receiver::start().await;
    let kinds = [
        "account.status.disconnected",
        "account.status.running",
        "account.status.errored",
        "account.locked",
        "account.unlocked",
        "message.new",
        "relation.new",
    ];
    receiver.register(&bench, &kinds).await;
    let world = bench.sandbox.world();
    let path = |verb| format!("/sandbox/accounts/acc_1/{verb}");
    world.disconnect("acc_1");
    world.disconnect("acc_1");
    world.person_writes("acc_1", "ada", "unheard");
    assert_eq!(bench.own(Method::POST, &path("reconnect"), "").await.0, 204);
    assert_eq!(bench.own(Method::POST, &path("lock"), "").await.0, 204);
    let (status, answer) = bench.post(SEND, json!({ "text": "x" })).await;
    assert_eq!((status.as_u16(), &answer["type"]), (403, &json!("api/inactive_subscription")));
    assert_eq!(bench.fresh("/v2/accounts/acc_1").await["is_locked"], true);
    assert_eq!(bench.own(Method::POST, &path("unlock"), "").await.0, 204);
    let products = [("classic", "running"), ("recruiter", "running")];
    world.set_account("acc_1", "Ada", "linkedin", "running", &products);
    let products = r#"{"products": {"classic": "running", "recruiter": "disconnected"}}"#;
    assert_eq!(bench.own(Method::PUT, "/sandbox/accounts/acc_1", products).await.0, 204);
    world.set_account("acc_1", "Ada", "linkedin", "errored", &[]);
    world.connect_with("acc_1", "ada");

    let events = receiver.first(7).await;
    let found: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let expected = [
        "account.status.disconnected",
        "account.status.running",
        "account.locked",
        "account.unlocked",
        "account.status.disconnected",
        "account.status.errored",
        "relation.new",
    ];
    assert_eq!(found, expected);
    assert!(events[..6].iter().all(|event| event["payload"]["timestamp"].is_string()), "{events:?}");
    assert_eq!(
        (&events[0]["payload"]["product"], &events[4]["payload"]["product"]),
        (&Value::Null, &json!("recruiter"))
    );
    assert_eq!(events[5]["payload"]["reason"], "provider");
    let relation = &events[6]["payload"];
    assert_eq!((&relation["object"], &relation["user"]["id"]), (&json!("UserRelation"), &json!("ada")));
}

/// Sends one message with `faults`, and returns the first `count` requests that arrive.
async fn with_faults(faults: Vec<WebhookFault>, count: usize) -> (Vec<Hit>, String) {
    let bench = Bench::start().await;
    let receiver = Receiver::start().await;
    let endpoint = receiver.register(&bench, &["message.new", "message.receipt.delivery"]).await;
    faults.into_iter().for_each(|fault| bench.sandbox.world().add_webhook_fault(fault));
    say(&bench, "hi").await;
    receiver.first(count).await;
    assert!(bench.sandbox.world().webhook_faults().is_empty(), "each fault is used up");
    (receiver.hits(), endpoint["secret"].as_str().expect("a secret").to_owned())
}

fn fault(kind: WebhookFaultKind) -> Vec<WebhookFault> {
    vec![WebhookFault::new(kind).at("message.new")]
}

#[tokio::test]
async fn an_event_can_come_twice_and_a_message_under_two_ids() {
    let (hits, _) = with_faults(fault(WebhookFaultKind::Repeat(2)), 4).await;
    assert!(hits[0].body == hits[1].body && hits[0].body == hits[2].body);
    assert_eq!(hits[3].event()["type"], "message.receipt.delivery");

    let (hits, _) = with_faults(fault(WebhookFaultKind::TwoIds), 3).await;
    let (one, two) = (hits[0].event(), hits[1].event());
    assert_ne!(one["id"], two["id"]);
    assert_eq!((&one["type"], &one["payload"]), (&two["type"], &two["payload"]));
}

#[tokio::test]
async fn events_can_be_reordered_and_delayed() {
    for kind in [WebhookFaultKind::Reorder, WebhookFaultKind::Delay(Duration::from_millis(500))] {
        let (hits, _) = with_faults(fault(kind), 2).await;
        let kinds: Vec<Value> = hits.iter().map(|hit| hit.event()["type"].clone()).collect();
        assert_eq!(kinds, ["message.receipt.delivery", "message.new"]);
    }
}

#[tokio::test]
async fn a_signature_can_be_wrong_stale_or_missing() {
    let (hits, secret) = with_faults(fault(WebhookFaultKind::WrongSignature), 2).await;
    assert_ne!(hits[0].signed().1, hits[0].expected(&secret));
    assert_eq!(hits[1].signed().1, hits[1].expected(&secret), "the next event is signed right");

    let (hits, secret) = with_faults(fault(WebhookFaultKind::StaleSignature), 2).await;
    assert_eq!(hits[0].signed().1, hits[0].expected(&secret), "right, but old");
    assert!((3_600..3_610).contains(&(hits[1].signed().0 - hits[0].signed().0)));

    let (hits, _) = with_faults(fault(WebhookFaultKind::MissingSignature), 2).await;
    assert_eq!(hits[0].signature, None);
}

#[tokio::test]
async fn payloads_come_in_the_forms_that_were_met() {
    let payload = async |kind| with_faults(fault(kind), 1).await.0[0].event()["payload"].clone();
    assert_eq!(payload(WebhookFaultKind::IsSender(IsSenderForm::Number)).await["is_sender"], 1);
    assert_eq!(payload(WebhookFaultKind::IsSender(IsSenderForm::AlwaysFalse)).await["is_sender"], false);
    let absent = payload(WebhookFaultKind::IsSender(IsSenderForm::Absent)).await;
    assert!(absent.get("is_sender").is_none() && absent["text"] == "hi", "{absent}");

    let forms: [&[&str]; 4] = [
        &["chat_id"],
        &["chat_id", "timestamp"],
        &["id", "chat_id"],
        &["message_id", "user_id", "timestamp"],
    ];
    for form in forms {
        let event = with_faults(vec![WebhookFault::receipt(form)], 2).await.0[1].event();
        let mut fields: Vec<&str> =
            event["payload"].as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        let mut expected = form.to_vec();
        expected.sort_unstable();
        assert_eq!(fields, expected);
    }
    let event = with_faults(fault(WebhookFaultKind::ExtraFields), 1).await.0[0].event();
    assert_eq!(event["account_provider"], "LINKEDIN");
    assert!(event["account_name"].is_string() && event["webhook_id"].is_string(), "{event}");
    let event = with_faults(vec![WebhookFault::unknown_type()], 1).await.0[0].event();
    assert_eq!((&event["type"], &event["payload"]["text"]), (&json!("message.invented"), &json!("hi")));
}

#[tokio::test]
async fn webhook_faults_and_events_can_be_set_over_http() {
    let bench = Bench::start().await;
    let receiver = Receiver::start().await;
    receiver.register(&bench, &["message.new"]).await;
    let path = "/sandbox/webhooks/faults";
    let kinds = [
        r#""two_ids""#,
        r#"{"repeat": 1}"#,
        r#"{"delay_ms": 5}"#,
        r#"{"is_sender": "absent"}"#,
        r#"{"receipt": ["chat_id"]}"#,
        r#"{"patch": {"payload": {"text": null, "more": 1}}}"#,
    ];
    for kind in kinds {
        let (status, answer) =
            bench.own(Method::POST, path, &format!(r#"{{"times": 1, "kind": {kind}}}"#)).await;
        assert_eq!(status, 201, "{answer}");
    }
    let (_, list) = bench.own(Method::GET, path, "").await;
    let faults: Vec<WebhookFault> = serde_json::from_value(list).unwrap();
    assert_eq!(faults, bench.sandbox.world().webhook_faults());
    assert_eq!(faults.len(), kinds.len());
    say(&bench, "hi").await;
    let events = receiver.first(3).await;
    assert!(
        events.iter().all(|event| event["payload"]["more"] == 1 && event["payload"].get("text").is_none())
    );
    assert_eq!(bench.sandbox.world().webhook_faults().len(), 1, "the receipt has not come yet");
    assert_eq!(bench.own(Method::DELETE, path, "").await.0, 204);
    assert!(bench.sandbox.world().webhook_faults().is_empty());
    for wrong in ["{}", r#"{"kind": "twice"}"#, r#"{"kind": "two_ids", "often": 1}"#, "nonsense"] {
        let (status, answer) = bench.own(Method::POST, path, wrong).await;
        assert_eq!((status.as_u16(), &answer["type"]), (400, &json!("api/invalid_parameters")), "{wrong}");
    }

    let event = r#"{"type": "follower.older", "payload": {"id": "x"}}"#;
    assert_eq!(bench.own(Method::POST, "/sandbox/accounts/acc_1/events", event).await.0, 204);
    let event =
        receiver.wait_for("an event of an unknown type", |event| event["type"] == "follower.older").await;
    assert_eq!(event["payload"], json!({ "id": "x" }));
}

#[tokio::test]
async fn without_a_socket_a_simulation_takes_the_webhooks_itself() {
    let world = World::new(SandboxConfig::default(), std::sync::Arc::new(SystemClock::new()));
    let request = |path: &str, body: &Value| {
        let request = axum::http::Request::post(path).header("X-API-KEY", "sandbox-key");
        let request = request.header("content-type", "application/json");
        let answer = world.answer(request.body(body.to_string().into_bytes()).unwrap());
        serde_json::from_slice::<Value>(answer.body()).unwrap()
    };
    let body = json!({ "url": "http://127.0.0.1:9/", "trigger_events": ["message.new"] });
    let endpoint = request(ENDPOINTS, &body);
    world.set_people(Behaviour::answers(FOREVER, "too late"));
    assert_eq!((world.next_due(), world.take_post()), (None, None));
    request(SEND, &json!({ "text": "hi" }));
    assert!(world.next_due().is_some_and(|due| due <= world.elapsed()));
    let post = world.take_post().unwrap();
    assert_eq!((Some(&*post.endpoint_id), post.retries), (endpoint["id"].as_str(), 0));
    assert!(post.signature.as_ref().is_some_and(|header| header.starts_with("t=")));
    assert_eq!(world.take_post(), None);
    world.posted(&post, Some(200), None);
    assert!(world.next_due().unwrap() > world.elapsed(), "only the answer, in an hour");
}
