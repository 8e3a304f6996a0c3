//! People in the sandbox: they receive, read and answer, and write first. Each test reads the result both ways, in the
//! reads of the API and in the events that a receiver gets.

use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::*;
use reqwest::Method;
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::{Bench, FOREVER, START, until};

const SOON: Duration = Duration::from_millis(20);
const KINDS: [&str; 4] =
    ["message.new", "message.update", "message.receipt.delivery", "message.receipt.read"];

async fn with_receiver() -> (Bench, Receiver) {
    let bench = Bench::start().await;
    let receiver = Receiver::start().await;
    receiver.register(&bench, &KINDS).await;
    (bench, receiver)
}

/// Starts a chat with `user`, and returns the path of its messages.
async fn write_to(bench: &Bench, user: &str) -> String {
    let (status, answer) = bench.post(START, json!({ "text": "Hello!", "users_ids": [user] })).await;
    assert_eq!(status, 200, "{answer}");
    let chat_id = answer["chat_id"].as_str().expect("an id").replace('/', "%2F").replace('=', "%3D");
    format!("/v2/acc_1/chats/{chat_id}/messages")
}

/// Returns the messages of a chat, newest first.
async fn messages(bench: &Bench, path: &str) -> Vec<Value> {
    bench.fresh(path).await["data"].as_array().expect("a list").clone()
}

fn from_others(event: &Value) -> bool {
    event["type"] == "message.new" && event["payload"]["is_sender"] == false
}

#[tokio::test]
async fn a_person_answers_after_the_delay_and_has_read_the_message_by_then() {
    let (bench, receiver) = with_receiver().await;
    bench.sandbox.world().set_person("ada", Behaviour::answers(SOON, "Gladly."));
    let path = write_to(&bench, "ada").await;
    let answer = receiver.wait_for("an answer", from_others).await;
    let found = messages(&bench, &path).await;
    assert_eq!(found.len(), 2);
    assert_eq!(answer["payload"], found[0]);
    assert_eq!((&found[0]["text"], &found[0]["sender_id"]), (&json!("Gladly."), &json!("ada")));
    assert_eq!((&found[1]["is_sender"], &found[1]["is_seen"]), (&json!(true), &json!(true)));
    let time = |message: &Value| message["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let passed = time(&found[0]).duration_since(time(&found[1]));
    assert!(passed.as_millis() >= 19, "{passed:?}");
    let kinds: Vec<_> = receiver.events().iter().map(|event| event["type"].clone()).collect();
    assert_eq!(kinds, ["message.new", "message.receipt.delivery", "message.receipt.read", "message.new"]);
    assert_eq!(bench.delivered(), 1, "an answer is not a delivery");
}

#[tokio::test]
async fn a_silent_person_receives_and_does_nothing() {
    let (bench, receiver) = with_receiver().await;
    let world = bench.sandbox.world();
    world.set_people(Behaviour::answers(SOON, "I answer."));
    world.set_person("eve", Behaviour::silent());
    let silent = write_to(&bench, "eve").await;
    write_to(&bench, "ada").await;
    receiver.wait_for("the answer of the other", from_others).await;
    let found = messages(&bench, &silent).await;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["is_delivered"], &found[0]["is_seen"]), (&json!(true), &json!(false)));
    assert_eq!(receiver.of("message.receipt.delivery").len(), 2);
}

#[tokio::test]
async fn receiving_and_reading_take_their_time() {
    let (bench, receiver) = with_receiver().await;
    let world = bench.sandbox.world();
    let slow = Behaviour { delivered_after: Some(SOON), ..Behaviour::reads(2 * SOON) };
    world.set_person("ada", slow);
    world.set_person("eve", Behaviour::unreachable());
    let never = write_to(&bench, "eve").await;
    let path = write_to(&bench, "ada").await;
    receiver.wait_for("a receipt", |event| event["type"] == "message.receipt.read").await;
    let found = messages(&bench, &path).await;
    assert_eq!((&found[0]["is_delivered"], &found[0]["is_seen"]), (&json!(true), &json!(true)));
    let delivered = receiver.of("message.receipt.delivery");
    assert_eq!(delivered.len(), 1, "{delivered:?}");
    assert_eq!(delivered[0]["payload"]["message_id"], found[0]["id"]);
    let found = messages(&bench, &never).await;
    assert_eq!((&found[0]["is_delivered"], &found[0]["is_seen"]), (&json!(false), &json!(false)));

    world.set_person("joe", Behaviour { delivered_after: Some(FOREVER), ..Behaviour::default() });
    let pending = write_to(&bench, "joe").await;
    assert_eq!(messages(&bench, &pending).await[0]["is_delivered"], false);
    let chat_id = world.deliveries().pop().unwrap().chat_id;
    world.person_reads("acc_1", &chat_id, "joe");
    let found = &messages(&bench, &pending).await[0];
    assert_eq!((&found["is_delivered"], &found["is_seen"]), (&json!(true), &json!(true)));
}

#[tokio::test]
async fn an_automatic_answer_leaves_the_message_unread() {
    let (bench, receiver) = with_receiver().await;
    let until = "2026-12-24".parse().unwrap();
    for (user, until, part) in
        [("ada", Some(until), "until 24 December 2026"), ("eve", None, "out of the office")]
    {
        bench.sandbox.world().set_person(user, Behaviour::out_of_office(SOON, until));
        let path = write_to(&bench, user).await;
        let is_from = |event: &Value| from_others(event) && event["payload"]["sender_id"] == user;
        let answer = receiver.wait_for("an automatic answer", is_from).await;
        assert!(answer["payload"]["text"].as_str().unwrap().contains(part), "{answer}");
        assert_eq!(messages(&bench, &path).await[1]["is_seen"], false);
    }
    assert!(receiver.of("message.receipt.read").is_empty());
}

#[tokio::test]
async fn people_opt_out_in_their_language() {
    let (bench, receiver) = with_receiver().await;
    for language in Language::ALL {
        let user = language.code();
        bench.sandbox.world().set_person(user, Behaviour::opts_out(Duration::ZERO, language));
        write_to(&bench, user).await;
        let is_from = |event: &Value| from_others(event) && event["payload"]["sender_id"] == user;
        let answer = receiver.wait_for(user, is_from).await;
        assert_eq!(answer["payload"]["text"], language.opt_out());
    }
}

#[tokio::test]
async fn people_write_first_and_into_the_chat_that_exists() {
    let (bench, receiver) = with_receiver().await;
    let world = bench.sandbox.world();
    let first = world.person_writes("acc_1", "ada", "Hello?");
    let second = world.person_writes("acc_1", "ada", "Are you there?");
    assert_eq!(first.chat_id, second.chat_id);
    assert_ne!(first.message_id, second.message_id);
    assert_ne!(world.person_writes("acc_1", "eve", "x").chat_id, first.chat_id);
    let path = write_to(&bench, "ada").await;
    let found = messages(&bench, &path).await;
    let texts: Vec<_> = found.iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["Hello!", "Are you there?", "Hello?"]);
    let lookup = bench.fresh("/v2/acc_1/users/ada/chat").await;
    assert_eq!(lookup["data"][0]["chat_id"], json!(first.chat_id));
    let events = receiver.first(4).await;
    assert_eq!(events.iter().filter(|event| from_others(event)).count(), 3);
}

#[tokio::test]
async fn messages_by_hand_are_reported_and_those_of_the_owner_are_answered() {
    let (bench, receiver) = with_receiver().await;
    let world = bench.sandbox.world();
    world.set_person("ada", Behaviour::answers(SOON, "Yes."));
    world.set_person("eve", Behaviour::reads(SOON));
    world.add_group("acc_1", "team", &["ada", "eve"], None);
    world.add_message("acc_1", "team", "m1", "by the owner", true);
    receiver.wait_for("the answer", |event| event["payload"]["text"] == "Yes.").await;
    let eve =
        ByHand { id: "m2".into(), text: "by eve".into(), sender_id: Some("eve".into()), ..ByHand::default() };
    world.write_by_hand("acc_1", "team", eve.clone());
    let event = receiver.wait_for("the message", |event| event["payload"]["id"] == "m2").await;
    assert_eq!((&event["type"], &event["payload"]["sender_id"]), (&json!("message.new"), &json!("eve")));
    world.write_by_hand("acc_1", "team", ByHand { text: "by Eve".into(), is_edited: true, ..eve });
    let event = receiver.wait_for("the change", |event| event["type"] == "message.update").await;
    assert_eq!(event["payload"]["text"], "by Eve");
    let found = messages(&bench, "/v2/acc_1/chats/team/messages").await;
    let senders: Vec<_> = found.iter().map(|message| message["sender_id"].as_str().unwrap()).collect();
    assert_eq!(senders, ["eve", "ada", "user-of-acc_1"]);
    let of_eve = messages(&bench, "/v2/acc_1/chats/team/messages?user_id=eve").await;
    assert_eq!(of_eve.len(), 1);
}

#[tokio::test]
async fn people_answer_while_the_account_is_disconnected_and_no_event_says_so() {
    let (bench, receiver) = with_receiver().await;
    let world = bench.sandbox.world();
    world.set_person("ada", Behaviour::answers(SOON, "Missed."));
    world.add_chat_with_user("acc_1", "ada", "chat-1");
    world.disconnect("acc_1");
    world.add_message("acc_1", "chat-1", "m1", "by the owner, on a phone", true);
    until("the answer", || world.next_due().is_none()).await;
    world.reconnect("acc_1");
    world.person_writes("acc_1", "ada", "Heard.");
    let event = receiver.wait_for("a message", from_others).await;
    assert_eq!(event["payload"]["text"], "Heard.");
    assert_eq!(messages(&bench, "/v2/acc_1/chats/chat-1/messages").await.len(), 3);
}

/// As a black-box test of another program would: the real binary, and nothing but its routes.
#[tokio::test(flavor = "multi_thread")]
async fn behaviours_are_set_over_http_at_the_real_binary() {
    let bench = Bench::start().await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outboxd"));
    command.args(["sandbox", "--listen", "127.0.0.1:0"]).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let url = url.trim_end_matches(';').to_owned();
    let call = async |method: Method, path: &str, body: Value| {
        let request = bench.http.request(method, format!("{url}{path}")).header("X-API-KEY", "sandbox-key");
        super::read(request.json(&body).send().await.unwrap()).await
    };
    let receiver = Receiver::start().await;
    let endpoint = json!({ "url": receiver.url, "trigger_events": KINDS });
    assert_eq!(call(Method::POST, "/v2/webhooks/endpoints/", endpoint).await.0, 200);
    let behaviours = [
        ("ada", json!({ "reads_after_ms": 5, "answer": { "after_ms": 20, "text": "Gladly." } }), "Gladly."),
        ("bob", json!({ "out_of_office": { "after_ms": 5, "until": "2026-12-24" } }), "24 December"),
        ("eve", json!({ "opts_out": { "after_ms": 5, "language": "de" } }), "nicht mehr"),
    ];
    for (user, behaviour, part) in behaviours {
        let (status, answer) = call(Method::PUT, &format!("/sandbox/people/{user}"), behaviour).await;
        assert_eq!(status, 204, "{answer}");
        let body = json!({ "text": "Hello!", "users_ids": [user] });
        assert_eq!(call(Method::POST, START, body).await.0, 200);
        let is_answer =
            |event: &Value| from_others(event) && event["payload"]["text"].as_str().unwrap().contains(part);
        receiver.wait_for(part, is_answer).await;
    }
    let path = "/sandbox/accounts/acc_1/people/joe/write";
    let (status, written) = call(Method::POST, path, json!({ "text": "Hi, it's Joe." })).await;
    assert_eq!(status, 201, "{written}");
    let event = receiver.wait_for("Joe", |event| event["payload"]["sender_id"] == "joe").await;
    assert_eq!(
        (&event["payload"]["chat_id"], &event["payload"]["id"]),
        (&written["chat_id"], &written["message_id"])
    );
    let path = "/sandbox/accounts/acc_1/people/bob/read";
    let chat_id =
        receiver.wait_for("Bob", |event| event["payload"]["sender_id"] == "bob").await["payload"]["chat_id"]
            .clone();
    assert_eq!(call(Method::POST, path, json!({ "chat_id": chat_id })).await.0, 204);
    let is_read =
        |event: &Value| event["type"] == "message.receipt.read" && event["payload"]["chat_id"] == chat_id;
    receiver.wait_for("Bob reads", is_read).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test]
async fn a_wrong_behaviour_is_refused_and_the_field_named() {
    let bench = Bench::start().await;
    let put = async |path: &str, body: &str| bench.own(Method::PUT, path, body).await;
    assert_eq!(put("/sandbox/people", r#"{"delivered_after_ms": null}"#).await.0, 204);
    assert_eq!(put("/sandbox/people/ada", r#"{"reads_after_ms": 5}"#).await.0, 204);
    let (_, found) = bench.own(Method::GET, "/sandbox/people", "").await;
    assert_eq!(
        found["others"],
        json!({ "delivered_after_ms": null, "reads_after_ms": null, "answer": null })
    );
    assert_eq!(
        found["people"],
        json!({ "ada": { "delivered_after_ms": 0, "reads_after_ms": 5, "answer": null } })
    );
    let same = found["people"]["ada"].to_string();
    assert_eq!(put("/sandbox/people/ada", &same).await.0, 204, "what is shown can be set");
    let wrong = [
        (r#"{"answers": {}}"#, "answers"),
        (r#"{"answer": {"text": "x"}}"#, "answer.after_ms"),
        (r#"{"answer": {"after_ms": 1}}"#, "answer.text"),
        (r#"{"reads_after_ms": -1}"#, "reads_after_ms"),
        (r#"{"opts_out": {"after_ms": 1, "language": "xx"}}"#, "opts_out.language"),
        (r#"{"out_of_office": {"after_ms": 1, "until": "soon"}}"#, "out_of_office.until"),
        (r#"{"answer": {"after_ms": 1, "text": "x"}, "opts_out": {"after_ms": 1}}"#, "exclude"),
        ("nonsense", "not JSON"),
    ];
    for (body, word) in wrong {
        let (status, answer) = put("/sandbox/people/ada", body).await;
        let detail = answer["detail"].as_str().unwrap();
        assert!(status == 400 && detail.contains(word), "{body} should say {word}: {detail}");
    }
    assert_eq!(bench.sandbox.world().people().0["ada"], Behaviour::reads(Duration::from_millis(5)));
}

#[tokio::test]
async fn people_act_on_the_clock_of_the_world() {
    let world = World::new(SandboxConfig::default(), std::sync::Arc::new(SystemClock::new()));
    world.set_person("ada", Behaviour::answers(FOREVER, "too late").and_answers(SOON, "in time"));
    world.add_chat_with_user("acc_1", "ada", "chat-1");
    world.add_message("acc_1", "chat-1", "m1", "hi", true);
    let due = world.next_due().expect("an answer is planned");
    assert!(due > Duration::ZERO && due < world.elapsed() + 2 * SOON, "{due:?}");
    SystemClock::new().sleep(due.saturating_sub(world.elapsed())).await;
    world.run_due();
    assert_eq!(world.next_due(), None);
}
