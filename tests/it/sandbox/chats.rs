//! Kinds of chats and messages: groups, organizations, InMail, forwards, and read-only chats.

use outboxd::sandbox::*;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Bench, SEND, START, until};

/// Returns the path that forwards message `id` of chat `chat-1`.
fn forward(id: &str) -> String {
    format!("/v2/acc_1/chats/chat-1/messages/{id}/forward")
}

async fn strict() -> Bench {
    Bench::with(SandboxConfig { any_chat: false, ..SandboxConfig::default() }).await
}

fn inmail(to: &str) -> Value {
    let classic = json!({ "inmail": true });
    json!({ "text": "hi", "users_ids": to, "specifics": { "linkedin": { "classic": classic } } })
}

#[tokio::test]
async fn a_forward_reaches_the_other_chat_and_names_its_source() {
    let bench = strict().await;
    let world = bench.sandbox.world();
    world.add_chat("acc_1", "chat-1");
    world.add_chat_with_user("acc_1", "bob", "2-b/c==");
    bench.send().await.unwrap();
    let sent = world.deliveries().pop().unwrap().message_id;
    let path = forward(&sent.replace(':', "%3A").replace('=', "%3D"));
    let (status, answer) = bench.post(&path, json!({ "chat_id": "2-b/c==", "text": "look" })).await;
    assert_eq!(status, 200, "{answer}");
    let expected =
        json!({ "object": "MessageForwarded", "message_id": "2-msg:000002==", "chat_id": "2-b/c==" });
    assert_eq!(answer, expected);

    let delivery = world.deliveries().pop().unwrap();
    assert_eq!((delivery.kind, delivery.text.as_str()), (DeliveryKind::Forward, "look"));
    assert_eq!((delivery.chat_id.as_str(), &delivery.recipients[..]), ("2-b/c==", &["bob".to_owned()][..]));
    let source = ForwardSource { chat_id: "chat-1".into(), message_id: sent.clone() };
    assert_eq!(delivery.source, Some(source));
    let call = bench.last_call();
    assert_eq!((call.endpoint, call.message_id.as_deref()), (Endpoint::ForwardMessage, Some(sent.as_str())));

    let read = bench.fresh("/v2/acc_1/chats/2-b%2Fc%3D%3D/messages/2-msg%3A000002%3D%3D").await;
    assert_eq!((&read["text"], &read["forwarded"]["text"]), (&json!("look"), &json!("hello")));

    world.add_message("acc_1", "chat-1", "theirs", "from them", false);
    assert_eq!(bench.post(&forward("theirs"), json!({ "chat_id": "2-b/c==" })).await.0, 200);
    assert_eq!(world.deliveries().pop().unwrap().text, "");
}

#[tokio::test]
async fn a_forward_needs_its_source_and_its_destination() {
    let bench = strict().await;
    let world = bench.sandbox.world();
    world.add_message("acc_1", "chat-1", "m1", "x", false);
    world.add_chat("acc_1", "chat-2");
    let not_found = (404, "provider/resource_not_found", "");
    let invalid = |field| (400, "api/invalid_parameters", field);
    let cases = [
        ("m2", json!({ "chat_id": "chat-2" }), not_found),
        ("m1", json!({ "chat_id": "chat-3" }), not_found),
        ("m1", json!({}), invalid("chat_id")),
        ("m1", json!({ "chat_id": "" }), invalid("chat_id")),
        ("m1", json!({ "chat_id": ["chat-2"] }), invalid("chat_id")),
        ("m1", json!({ "chat_id": "chat-2", "text": null }), invalid("text")),
        ("m1", json!({ "chat_id": "chat-2", "attachments": [] }), invalid("attachments")),
        ("m1", json!({ "chat_id": "chat-2", "quote_id": "m" }), invalid("quote_id")),
    ];
    for (message, body, (expected, error_type, field)) in cases {
        let (status, answer) = bench.post(&forward(message), body.clone()).await;
        assert_eq!((status.as_u16(), &answer["type"]), (expected, &json!(error_type)), "{body}");
        assert!(answer["detail"].as_str().unwrap().contains(field), "{body}: {answer}");
    }
    assert_eq!(bench.delivered(), 0);

    let lenient = Bench::start().await;
    let status = async |message: &str, to: &str| {
        lenient.post(&forward(message), json!({ "chat_id": to })).await.0.as_u16()
    };
    assert_eq!(status("anything", "anywhere").await, 200);
    assert_eq!(status("missing-1", "anywhere").await, 404);
    assert_eq!(status("anything", "missing-1").await, 404);
    lenient.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }).at(Endpoint::ForwardMessage));
    assert_eq!(lenient.send().await.unwrap().status(), 200);
    assert!(lenient.try_post(&forward("anything"), &json!({ "chat_id": "anywhere" })).await.is_err());
    assert_eq!(lenient.delivered(), 3);
}

#[tokio::test]
async fn a_group_is_new_each_time_and_has_a_name() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    for name in [Some("Project"), None] {
        let mut body = json!({ "text": "hi", "users_ids": ["ada", "bob", "eve"] });
        if let Some(name) = name {
            body["name"] = json!(name);
        }
        assert_eq!(bench.post(START, body.clone()).await.0, 200);
        assert_eq!(bench.last_call().body, body, "the form of users_ids is in the call");
    }
    bench.post(START, json!({ "text": "hi", "users_ids": "ada" })).await;
    let deliveries = world.deliveries();
    let names: Vec<_> = deliveries.iter().map(|delivery| delivery.name.as_deref()).collect();
    assert_eq!(names, [Some("Project"), Some("ada, bob, eve"), None]);
    assert_eq!(deliveries[0].recipients, ["ada", "bob", "eve"]);
    let mut chats: Vec<&str> = deliveries.iter().map(|delivery| delivery.chat_id.as_str()).collect();
    chats.dedup();
    assert_eq!(chats.len(), 3);

    let view = bench.fresh("/v2/acc_1/chats/2-chat%2F000001%3D%3D").await;
    assert_eq!(
        (&view["type"], &view["is_group"], &view["is_1to1"]),
        (&json!("group"), &json!(true), &json!(false))
    );
    assert_eq!((&view["name"], view.get("user_id")), (&json!("Project"), None));
    let lookup = bench.fresh("/v2/acc_1/users/bob/chat").await;
    assert_eq!(lookup["data"], json!([]), "a group is not a chat with bob");
}

#[tokio::test]
async fn an_organization_sees_a_topic() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    let topic = async |to: &str, classic: Value| {
        let specifics = json!({ "linkedin": { "classic": classic } });
        let body = json!({ "text": "hi", "users_ids": [to], "specifics": specifics });
        assert_eq!(bench.post(START, body).await.0, 200);
        let delivery = world.deliveries().pop().unwrap();
        assert_eq!((&delivery.recipients[..], delivery.specifics), (&[to.to_owned()][..], Some(specifics)));
        delivery.company_topic
    };
    assert_eq!(topic("2414183", json!({ "company_topic": "CAREERS" })).await.as_deref(), Some("CAREERS"));
    assert_eq!(topic("2414183", json!({})).await.as_deref(), Some("SERVICE_REQUEST"));
    assert_eq!(topic("ACoA1", json!({})).await, None);
}

#[tokio::test]
async fn an_inmail_takes_a_credit_and_fails_without_one() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    world.set_credits("acc_1", Some(2), None, Some(0));
    let left = async || bench.fresh("/v2/acc_1/linkedin/inmail-credits").await["credits"]["classic"].clone();
    let mut by_guide = inmail("bob");
    let specifics = by_guide.as_object_mut().unwrap().remove("specifics").unwrap();
    by_guide["options"] = specifics;
    assert_eq!(bench.post(START, inmail("ada")).await.0, 200);
    assert_eq!(left().await, 1);

    bench.sandbox.fault(Fault::internal_error(false));
    assert_eq!(bench.post(START, by_guide.clone()).await.0, 500);
    assert_eq!(left().await, 1, "what was not delivered cost nothing");
    bench.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    assert!(bench.try_post(START, &by_guide).await.is_err());
    assert_eq!(left().await, 0);

    bench.sandbox.fault(Fault::provider_429());
    let (status, answer) = bench.post(START, inmail("eve")).await;
    assert_eq!((status.as_u16(), &answer["type"]), (422, &json!("provider/unprocessable_entity")));
    assert_eq!(answer["detail"], "no InMail credits left");
    assert_eq!(world.faults().len(), 1, "a refusal uses no fault up");
    world.clear_faults();

    let mut applicant = inmail("eve");
    applicant["specifics"]["linkedin"]["classic"]["applicant"] = json!({ "id": "1", "messaging_token": "t" });
    assert_eq!(bench.post(START, applicant).await.0, 200, "an applicant costs nothing");
    world.set_credits("acc_1", None, None, None);
    let (status, answer) = bench.post(START, inmail("eve")).await;
    assert_eq!((status.as_u16(), &answer["type"]), (403, &json!("provider/insufficient_permissions")));
    assert_eq!(bench.delivered(), 3);
}

#[tokio::test]
async fn the_last_credit_is_taken_once() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    world.set_credits("acc_1", Some(1), None, None);
    let latency = FaultKind::Latency { before_delivery: std::time::Duration::from_millis(50) };
    bench.sandbox.fault(Fault::new(latency).times(2));
    let (ada, bob) = (inmail("ada"), inmail("bob"));
    let (ada, bob) = tokio::join!(bench.post(START, ada), bench.post(START, bob));
    let mut statuses = [ada.0.as_u16(), bob.0.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 422]);
    until("one of them is delivered", || bench.delivered() == 1).await;
}

#[tokio::test]
async fn a_read_only_chat_takes_no_message() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    world.add_chat_with_user("acc_1", "ada", "chat-1");
    world.set_readonly("acc_1", "chat-1");
    let view = bench.fresh("/v2/acc_1/chats/chat-1").await;
    assert_eq!((&view["is_readonly"], &view["restrictions"]), (&json!(true), &json!(["send_message"])));
    let into_it = [
        (SEND.to_owned(), json!({ "text": "x" })),
        (START.to_owned(), json!({ "text": "x", "users_ids": "ada" })),
        ("/v2/acc_1/chats/other/messages/m/forward".to_owned(), json!({ "chat_id": "chat-1" })),
    ];
    for (path, body) in into_it {
        let (status, answer) = bench.post(&path, body).await;
        assert_eq!((status.as_u16(), &answer["type"]), (403, &json!("provider/insufficient_permissions")));
        assert!(answer["detail"].as_str().unwrap().contains("chat-1"), "{path}: {answer}");
    }
    assert_eq!(bench.post(&forward("m"), json!({ "chat_id": "other" })).await.0, 200, "it can be read");
    world.set_writable("acc_1", "chat-1");
    assert_eq!(bench.post(START, json!({ "text": "x", "users_ids": "ada" })).await.0, 200);
    assert_eq!(world.deliveries().pop().unwrap().chat_id, "chat-1", "a start appends");
}

#[tokio::test]
async fn accounts_and_chats_can_be_set_over_http() {
    let bench = strict().await;
    let put = async |what: &str, body: &str| {
        bench.own(Method::PUT, &format!("/sandbox/accounts/acc_1{what}"), body).await
    };
    assert_eq!(put("/credits", r#"{"classic": 3, "recruiter": null}"#).await.0, 204);
    assert_eq!(bench.fresh("/v2/acc_1/linkedin/inmail-credits").await["credits"], json!({ "classic": 3 }));
    assert_eq!(put("/inboxes", r#"[{"id": "CLASSIC_PRIMARY", "disabled": true}]"#).await.0, 204);
    let (status, answer) = bench.post(START, json!({ "text": "x", "users_ids": "ada" })).await;
    assert_eq!((status.as_u16(), &answer["type"]), (400, &json!("provider/invalid_parameters")));
    assert!(answer["detail"].as_str().unwrap().contains("CLASSIC_PRIMARY"), "{answer}");
    assert_eq!(put("/chats", r#"{"chat_id": "chat-1", "user_id": "ada"}"#).await.0, 204);
    let message = r#"{"chat_id": "chat-1", "id": "m1", "text": "hi"}"#;
    assert_eq!(bench.own(Method::POST, "/sandbox/accounts/acc_1/messages", message).await.0, 204);
    let read = bench.fresh("/v2/acc_1/chats/chat-1/messages/m1").await;
    assert_eq!(
        (&read["text"], &read["is_sender"], &read["sender_id"]),
        (&json!("hi"), &json!(false), &json!("ada"))
    );
    for (readonly, status) in [(true, 403), (false, 200)] {
        put("/chats", &format!(r#"{{"chat_id": "chat-1", "readonly": {readonly}}}"#)).await;
        assert_eq!(bench.send().await.unwrap().status(), status);
    }
    assert_eq!(put("", r#"{"name": "Ada", "products": {"classic": "errored"}}"#).await.0, 204);
    let account = bench.fresh("/v2/accounts/acc_1").await;
    assert_eq!((&account["name"], &account["status"]), (&json!("Ada"), &json!("running")));
    assert_eq!(account["metadata"]["products_connection_status"], json!({ "classic": "errored" }));

    let wrong = [
        ("", r#"{"state": "running"}"#, "state"),
        ("", r#"{"products": ["classic"]}"#, "products"),
        ("/credits", r#"{"classic": -1}"#, "classic"),
        ("/inboxes", r#"[{"disabled": true}]"#, "[0].id"),
        ("/inboxes", "{}", "array"),
        ("/chats", r#"{"user_id": "ada"}"#, "chat_id"),
        ("/chats", "nonsense", "not JSON"),
    ];
    for (what, body, word) in wrong {
        let (status, answer) = put(what, body).await;
        let detail = answer["detail"].as_str().unwrap();
        assert!(status == 400 && detail.contains(word), "{body} should say {word}: {detail}");
    }
}
