//! The sandbox itself, over real HTTP: what it answers, and what its ledger records.
//!
//! All other tests check this ledger, so these tests compare it with what was sent, byte for byte. Attachments, kinds
//! of chats, reads with their cache, refusals, faults, webhooks and people have files of their own.

mod attachments;
mod cache;
mod chats;
mod faults;
mod listed;
mod people;
mod profiles;
mod reads;
mod receiver;
mod refusals;
mod webhooks;

use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::*;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

const START: &str = "/v2/acc_1/inboxes/CLASSIC_PRIMARY/chats/send";
const SEND: &str = "/v2/acc_1/chats/chat-1/messages/send";
const TYPING: &str = "/v2/acc_1/chats/chat-1/composing?action=typing";
/// A time that no test waits for: such a test continues by a condition.
const FOREVER: Duration = Duration::from_secs(3600);

struct Bench {
    sandbox: Sandbox,
    http: reqwest::Client,
}

impl Bench {
    async fn start() -> Self {
        Self::with(SandboxConfig::default()).await
    }

    async fn with(config: SandboxConfig) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        Self { sandbox: Sandbox::start(config).await.expect("a free port"), http: reqwest::Client::new() }
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.sandbox.url());
        self.http.request(method, url).header("X-API-KEY", "sandbox-key")
    }

    async fn try_post(&self, path: &str, body: &Value) -> reqwest::Result<Response> {
        self.request(Method::POST, path).json(body).send().await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        read(self.try_post(path, &body).await.expect("an answer")).await
    }

    async fn send(&self) -> reqwest::Result<Response> {
        self.try_post(SEND, &json!({ "text": "hello" })).await
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.request(Method::GET, path).send().await.expect("an answer")).await
    }

    /// Returns the answer to a read that bypasses the cache.
    async fn fresh(&self, path: &str) -> Value {
        let request = self.request(Method::GET, path).header("cache-control", "no-cache");
        let (status, answer) = read(request.send().await.expect("an answer")).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    fn delivered(&self) -> usize {
        self.sandbox.world().delivered_count()
    }

    fn last_call(&self) -> Call {
        self.sandbox.world().calls().pop().expect("a call")
    }

    async fn own(&self, method: Method, path: &str, body: &str) -> (StatusCode, Value) {
        let url = format!("{}{path}", self.sandbox.url());
        read(self.http.request(method, url).body(body.to_owned()).send().await.expect("an answer")).await
    }
}

async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.expect("a whole body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Polls until `condition` holds, and fails the test if it does not within ten seconds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !condition() {
        assert!(clock.monotonic() < Duration::from_secs(10), "never happened: {what}");
        clock.sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn starting_a_chat_delivers_and_names_the_chat() {
    let bench = Bench::start().await;
    let body = json!({
        "text": "Hello Ada, 👋",
        "users_ids": ["ada"],
        "attachments": [{
            "content": "Zm9vYg==", "content_type": "application/pdf", "filename": "cv.pdf",
            "send_mode": "file", "metadata": { "duration": 1.5 }, "voice_note": false,
        }],
        "options": { "linkedin": { "classic": { "inmail": true, "company_topic": "CAREERS" } } },
    });
    let response = bench.try_post(START, &body).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-ratelimit-limit"], "1000000");
    assert_eq!(response.headers()["x-ratelimit-remaining"], "999999");
    assert_eq!(response.headers()["x-ratelimit-reset"], "60");
    assert!(response.headers().get("retry-after").is_none());
    let text = response.text().await.unwrap();
    assert_eq!(text, r#"{"object":"ChatStarted","chat_id":"2-chat/000001==","message_id":"2-msg:000001=="}"#);

    let delivery = bench.sandbox.world().deliveries().pop().unwrap();
    assert_eq!((delivery.account_id.as_str(), delivery.chat_id.as_str()), ("acc_1", "2-chat/000001=="));
    assert_eq!(delivery.recipients, ["ada"]);
    assert_eq!(delivery.text, "Hello Ada, 👋");
    assert_eq!(delivery.message_id, "2-msg:000001==");
    assert_eq!(delivery.kind, DeliveryKind::StartChat);
    assert_eq!(delivery.inbox_id.as_deref(), Some("CLASSIC_PRIMARY"));
    assert_eq!((&delivery.specifics, delivery.options.as_ref()), (&None, Some(&body["options"])));
    let [attachment] = &delivery.attachments[..] else { panic!("one attachment: {delivery:?}") };
    assert_eq!(attachment.content(), Some(b"foob".as_slice()));

    let call = bench.last_call();
    assert_eq!((call.seq, call.endpoint, call.status), (1, Endpoint::StartChatFromInbox, Some(200)));
    assert_eq!(call.inbox_id.as_deref(), Some("CLASSIC_PRIMARY"));
    assert_eq!(call.path, START);
    assert_eq!(call.body, body);
    assert_eq!((call.at, call.at_monotonic), (delivery.at, delivery.at_monotonic));
}

#[tokio::test]
async fn a_second_start_appends_to_the_chat_with_that_user() {
    let bench = Bench::start().await;
    let chat_of = async |path: &str, users: Value| {
        let (status, answer) = bench.post(path, json!({ "text": "hi", "users_ids": users })).await;
        assert_eq!(status, 200, "{answer}");
        answer["chat_id"].as_str().unwrap().to_owned()
    };
    let first = chat_of(START, json!(["ada"])).await;
    assert_eq!(chat_of("/v2/acc_1/chats/send", json!("ada")).await, first);
    assert_ne!(chat_of(START, json!("bob")).await, first);
    assert_ne!(chat_of("/v2/acc_2/chats/send", json!("ada")).await, first, "another account");
    let group = chat_of(START, json!(["ada", "bob"])).await;
    assert_ne!(chat_of(START, json!(["ada", "bob"])).await, group, "groups are always new");

    let deliveries = bench.sandbox.world().deliveries();
    let chats: Vec<&str> = deliveries.iter().map(|delivery| delivery.chat_id.as_str()).collect();
    assert_eq!(chats.iter().filter(|chat| **chat == first).count(), 2);
    assert_eq!(deliveries[4].recipients, ["ada", "bob"]);
}

#[tokio::test]
async fn a_start_without_anything_to_say_delivers_nothing() {
    let bench = Bench::start().await;
    let (status, answer) = bench.post(START, json!({ "text": "", "users_ids": "ada" })).await;
    assert_eq!((status.as_u16(), &answer["object"]), (200, &json!("ChatStarted")));
    assert_eq!(answer["message_id"], Value::Null);
    assert_eq!(bench.delivered(), 0);
}

#[tokio::test]
async fn a_message_into_a_started_chat_reaches_its_users() {
    let bench = Bench::with(SandboxConfig { any_chat: false, ..SandboxConfig::default() }).await;
    bench.post(START, json!({ "text": "hi", "users_ids": ["ada", "bob"] })).await;
    let path = "/v2/acc_1/chats/2-chat%2F000001%3D%3D/messages/send";
    let response =
        bench.try_post(path, &json!({ "text": "again", "quote_id": "2-msg:000001==" })).await.unwrap();
    assert_eq!(response.text().await.unwrap(), r#"{"object":"MessageSent","message_id":"2-msg:000002=="}"#);

    let delivery = bench.sandbox.world().deliveries_after(1).pop().unwrap();
    assert_eq!((delivery.seq, delivery.kind), (2, DeliveryKind::Message));
    assert_eq!(delivery.recipients, ["ada", "bob"]);
    assert_eq!(delivery.text, "again");
}

#[tokio::test]
async fn an_encoded_chat_id_is_one_segment() {
    let bench = Bench::with(SandboxConfig { any_chat: false, ..SandboxConfig::default() }).await;
    bench.sandbox.world().add_chat("acc_1", "2-a/b:c==%+ é");
    let id = "2-a%2Fb%3Ac%3D%3D%25%2B%20%C3%A9";
    let (status, _) =
        bench.post(&format!("/v2/acc_1/chats/{id}/messages/send"), json!({ "text": "x" })).await;
    assert_eq!(status, 200);
    assert_eq!(bench.sandbox.world().deliveries()[0].chat_id, "2-a/b:c==%+ é");
    assert_eq!(bench.last_call().chat_id.as_deref(), Some("2-a/b:c==%+ é"));

    let (status, answer) =
        bench.post("/v2/acc_1/chats/2-a/b:c==/messages/send", json!({ "text": "x" })).await;
    assert_eq!((status.as_u16(), &answer["type"]), (404, &json!("api/resource_not_found")));
}

#[tokio::test]
async fn composing_has_no_body_and_delivers_nothing() {
    let bench = Bench::start().await;
    for action in ["typing", "recording"] {
        let path = format!("/v2/acc_1/chats/chat-1/composing?action={action}");
        let response = bench.request(Method::POST, &path).send().await.unwrap();
        assert_eq!(response.text().await.unwrap(), r#"{"object":"ComposingSet"}"#);
        let call = bench.last_call();
        assert_eq!((call.endpoint, call.path, call.body), (Endpoint::SetComposing, path, Value::Null));
    }
    assert_eq!(bench.delivered(), 0);
}

#[tokio::test]
async fn the_ledger_can_be_read_and_cleared_over_http() {
    let bench = Bench::start().await;
    for _ in 0..3 {
        bench.send().await.unwrap();
    }
    let (status, answer) = bench.own(Method::GET, "/sandbox/ledger", "").await;
    assert_eq!((status.as_u16(), answer.as_array().unwrap().len()), (200, 3));
    assert!(answer[0]["at_monotonic_ms"].is_u64());
    let (_, answer) = bench.own(Method::GET, "/sandbox/ledger?after_seq=1", "").await;
    let reconcile: Vec<Delivery> = serde_json::from_value(answer).unwrap();
    assert_eq!(reconcile.iter().map(|delivery| delivery.seq).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(reconcile[0].message_id, bench.sandbox.world().deliveries()[1].message_id);
    let (_, answer) = bench.own(Method::GET, "/sandbox/calls?after_seq=2", "").await;
    let reconcile: Vec<Call> = serde_json::from_value(answer).unwrap();
    assert_eq!((reconcile.len(), &reconcile[0].body), (1, &json!({ "text": "hello" })));
    assert_eq!(bench.own(Method::GET, "/sandbox/calls?since=2", "").await.0, 400);
    let (_, answer) = bench.own(Method::GET, "/sandbox/count", "").await;
    assert_eq!(answer, json!({ "deliveries": 3, "calls": 3 }));

    assert_eq!(bench.own(Method::DELETE, "/sandbox/ledger", "").await.0, 204);
    let (_, answer) = bench.own(Method::GET, "/sandbox/count", "").await;
    assert_eq!(answer, json!({ "deliveries": 0, "calls": 0 }));
    bench.send().await.unwrap();
    let call = bench.last_call();
    assert_eq!((call.seq, call.status), (4, Some(200)), "numbering goes on, and answers find their call");
    let (status, guide) = bench.own(Method::GET, "/", "").await;
    let guide = guide.as_str().unwrap();
    for word in ["/sandbox/ledger", "/forward", "inmail-credits", "get_message", "X-Cache"] {
        assert!(status == 200 && guide.contains(word), "{word}");
    }
}

#[tokio::test]
async fn bodies_need_not_be_kept() {
    let bench = Bench::with(SandboxConfig { keep_bodies: false, ..SandboxConfig::default() }).await;
    bench.send().await.unwrap();
    assert_eq!(bench.last_call().body, Value::Null);
    let delivery = bench.sandbox.world().deliveries().pop().unwrap();
    assert_eq!((delivery.text.as_str(), delivery.chat_id.as_str()), ("", "chat-1"));
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let config = SandboxConfig { listen: "0.0.0.0:0".parse().unwrap(), ..SandboxConfig::default() };
    let error = Sandbox::start(config).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().contains("0.0.0.0:0"), "{error}");
}

#[tokio::test]
async fn stopping_cuts_what_is_open_and_refuses_what_is_new() {
    let bench = Bench::start().await;
    bench.sandbox.fault(Fault::new(FaultKind::Latency { before_delivery: FOREVER }));
    let (url, http) = (format!("{}{SEND}", bench.sandbox.url()), bench.http.clone());
    let world = bench.sandbox.world().clone();
    let request = || http.post(&url).header("X-API-KEY", "sandbox-key").json(&json!({ "text": "x" })).send();
    let stop = async {
        until("the call arrives", || world.call_count() == 1).await;
        bench.sandbox.stop().await;
    };
    let (open, ()) = tokio::join!(request(), stop);
    assert!(!open.unwrap_err().is_connect());
    assert!(request().await.unwrap_err().is_connect());
    assert_eq!(world.delivered_count(), 0);
}

/// Ids that repeat those of an earlier run would look to `outboxd audit` like messages that were sent twice.
#[tokio::test(flavor = "multi_thread")]
async fn another_run_of_the_sandbox_gives_other_ids_unless_its_seed_is_the_same() {
    async fn ids(arguments: &[&str]) -> (Value, Value) {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outboxd"));
        command.args(["sandbox", "--listen", "127.0.0.1:0"]).args(arguments);
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        let request = reqwest::Client::new().post(format!("{}{START}", url.trim_end_matches(';')));
        let request =
            request.header("X-API-KEY", "sandbox-key").json(&json!({"users_ids": ["ada"], "text": "hello"}));
        let (status, answer) = read(request.send().await.unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        child.kill().unwrap();
        child.wait().unwrap();
        (answer["chat_id"].clone(), answer["message_id"].clone())
    }
    rustls::crypto::ring::default_provider().install_default().ok();
    let (one, other) = (ids(&[]).await, ids(&[]).await);
    assert!(one.0 != other.0 && one.1 != other.1, "{one:?} {other:?}");
    assert_eq!(ids(&["--seed", "7"]).await, ids(&["--seed", "7"]).await);
}

/// Docker stops a container with SIGTERM, which the first process of a container has to handle to end.
#[test]
fn the_sandbox_ends_in_good_order_on_sigterm_as_on_ctrl_c() {
    for signal in ["-TERM", "-INT"] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outboxd"));
        command.args(["sandbox", "--listen", "127.0.0.1:0"]).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        // The last line of what it prints once it serves.
        let mut lines = std::io::BufRead::lines(&mut out).map(Result::unwrap);
        assert!(lines.any(|line| line.contains("Ctrl-C ends it")));
        let kill = format!("kill {signal} {}", child.id());
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_page_says_which_address_its_calls_of_the_sandbox_mean() {
    let address = format!("SANDBOX=http://{}", listen_of_the_command());
    for (page, text) in [
        ("cli.md", include_str!("../../docs/cli.md")),
        ("campaigns.md", include_str!("../../docs/campaigns.md")),
    ] {
        let first = text.find("$SANDBOX").unwrap();
        assert!(text[..first].contains(&address), "{page} does not say {address:?} before it is used");
    }
}

/// Returns the default of `outboxd sandbox --listen`, as its help shows it.
fn listen_of_the_command() -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_outboxd"));
    let help = command.args(["sandbox", "--help"]).output().expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let default = help.split("[default: ").nth(1).expect("the help shows the default");
    default.split(']').next().expect("it ends").to_owned()
}
