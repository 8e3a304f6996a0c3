//! Events to webhooks and commands, by the real process.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use outboxd::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, run};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// How the receiver answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Answers {
    With(u16),
    /// 200, after this time.
    After(Duration),
    /// Never.
    Hangs,
    /// It answers 200, but not to `message.sent`.
    HangsWhenSent,
}

/// A request to the receiver.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) id: String,
    headers: HeaderMap,
    body: String,
}

impl Received {
    pub(crate) fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn seq(&self) -> i64 {
        self.event()["data"]["seq"].as_i64().unwrap()
    }
}

/// A receiver of webhooks.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    answers: Arc<Mutex<Answers>>,
    received: Arc<Mutex<Vec<Received>>>,
    server: Arc<tokio::task::JoinSet<()>>,
}

impl Receiver {
    pub(crate) async fn start(answers: Answers) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let (answers, received) = (Arc::new(Mutex::new(answers)), Arc::new(Mutex::new(Vec::new())));
        let (said, kept) = (Arc::clone(&answers), Arc::clone(&received));
        let handler = move |headers: HeaderMap, body: Bytes| async move {
            let body = String::from_utf8(body.to_vec()).unwrap();
            let id = headers["webhook-id"].to_str().unwrap().to_owned();
            let is_sent = body.contains("\"type\":\"message.sent\"");
            kept.lock().unwrap().push(Received { id, headers, body });
            let answers = *said.lock().unwrap();
            match answers {
                Answers::Hangs => std::future::pending().await,
                Answers::After(wait) => {
                    SystemClock::new().sleep(wait).await;
                    StatusCode::OK
                }
                Answers::HangsWhenSent if is_sent => std::future::pending().await,
                Answers::HangsWhenSent => StatusCode::OK,
                Answers::With(status) => StatusCode::from_u16(status).unwrap(),
            }
        };
        let router = axum::Router::new().route("/events", axum::routing::post(handler));
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, answers, received, server: Arc::new(server) }
    }

    pub(crate) fn answer(&self, answers: Answers) {
        *self.answers.lock().unwrap() = answers;
    }

    pub(crate) fn all(&self) -> Vec<Received> {
        assert_eq!(self.server.len(), 1, "it runs");
        self.received.lock().unwrap().clone()
    }

    /// Waits until it has received an event of this type, `n` times.
    pub(crate) async fn got(&self, kind: &str, n: usize) -> Vec<Received> {
        let of_kind = || self.all().into_iter().filter(|one| one.event()["type"] == kind).collect::<Vec<_>>();
        let got = eventually(async || of_kind().len() >= n).await;
        assert!(got, "no {kind}: {:?}", self.all().iter().map(Received::event).collect::<Vec<_>>());
        of_kind()
    }
}

/// Adds `[outbound]` tables to the configuration.
fn configured(env: TestEnv, tables: &str) -> TestEnv {
    std::fs::write(env.path("outboxd.toml"), tables).unwrap();
    env
}

pub(crate) fn secret_file(env: &TestEnv, secrets: &[&str]) -> PathBuf {
    let path = env.path("secret");
    std::fs::write(&path, secrets.join("\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// An environment with one receiver of webhooks.
async fn with_webhook(receiver: &Receiver, more: &str) -> TestEnv {
    let env = TestEnv::new().await.hasty();
    let secret = secret_file(&env, &[SECRET, OLD_SECRET]);
    let (url, secret) = (&receiver.url, secret.display());
    configured(env, &format!("[outbound.webhook.crm]\nurl = \"{url}\"\nsecret_file = \"{secret}\"\n{more}\n"))
}

pub(crate) fn message(chat: &str) -> String {
    json!({ "account_id": "acc_1", "chat_id": chat, "text": "a private text" }).to_string()
}

/// Returns what `GET /v1/hooks` says of the receiver.
async fn hook(daemon: &Daemon) -> Value {
    daemon.get("/v1/hooks").await.1["data"][0].clone()
}

async fn hook_is(daemon: &Daemon, state: &str) -> Value {
    let mut last = Value::Null;
    let is = eventually(async || {
        last = hook(daemon).await;
        last["state"] == state
    });
    assert!(is.await, "it does not become {state}: {last}");
    last
}

/// Lets the receiver be tried again at once.
fn hurry(env: &TestEnv) {
    env.sql("UPDATE hooks SET retry_at = NULL RETURNING name");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_come_in_order_and_the_published_library_verifies_them() {
    let receiver = Receiver::start(Answers::With(204)).await;
    let env = with_webhook(&receiver, "events = \"message.*\"").await;
    let daemon = env.serve().await;
    let id = daemon.enqueue(&message("c1")).await;
    receiver.got("message.sent", 1).await;
    let all = receiver.all();
    let kinds: Vec<Value> = all.iter().map(|one| one.event()["type"].clone()).collect();
    assert_eq!(kinds, ["message.queued", "message.sending", "message.sent"]);
    for one in &all {
        for secret in [SECRET, OLD_SECRET] {
            let library = standardwebhooks::Webhook::new(secret).unwrap();
            library.verify(one.body.as_bytes(), &one.headers).unwrap();
            assert!(library.verify(one.body.replace("message", "massage").as_bytes(), &one.headers).is_err());
        }
        let event = one.event();
        assert_eq!((&event["data"]["message_id"], &event["timestamp"]), (&json!(id), &event["data"]["at"]));
        assert!(!one.body.contains("private"), "{event}");
        assert!(one.id.ends_with(&format!("_{}", one.seq())), "{}", one.id);
    }
    let shown = hook_is(&daemon, "ok").await;
    assert_eq!(shown["target"], receiver.url.trim_start_matches("http://").trim_end_matches("/events"));
    let (ok, said) = run(env.outboxd(&["hook", "list"]), "");
    assert!(ok && said.contains("5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h"), "{said}");
    assert!(!said.contains("/events") && !env.log().contains("whsec"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_daemon_delivers_again_what_it_did_not_note_and_loses_nothing() {
    let receiver = Receiver::start(Answers::HangsWhenSent).await;
    let env = with_webhook(&receiver, "texts = true").await;
    let daemon = env.serve().await;
    daemon.enqueue(&message("c1")).await;
    let delivered = receiver.got("message.sent", 1).await;
    daemon.kill();
    receiver.answer(Answers::With(200));
    let daemon = env.serve().await;
    let again = receiver.got("message.sent", 2).await;
    assert_eq!(again[1].id, delivered[0].id, "the same id, by which the receiver knows it");
    assert_eq!(again[1].event()["data"]["text"], "a private text", "asked for");
    let other = daemon.enqueue(&message("c2")).await;
    daemon.becomes(&other, "sent").await;
    receiver.got("message.sent", 3).await;
    let newest: i64 = env.sql("SELECT CAST(max(seq) AS TEXT) FROM events")[0].parse().unwrap();
    let seqs =
        || receiver.all().iter().map(Received::seq).filter(|seq| *seq <= newest).collect::<BTreeSet<i64>>();
    let came = eventually(async || seqs() == (1..=newest).collect()).await;
    assert!(came, "1 to {newest}: {:?}", seqs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_retried_in_order_and_recovers() {
    let receiver = Receiver::start(Answers::With(500)).await;
    let env = with_webhook(&receiver, "").await;
    let daemon = env.serve().await;
    for chat in ["c1", "c2", "c3"] {
        daemon.enqueue(&message(chat)).await;
    }
    env.delivered(3).await;
    let failing = hook_is(&daemon, "retrying").await;
    assert_eq!((&failing["problem"], &failing["cursor"]), (&json!("answered 500"), &json!(0)));
    hurry(&env);
    assert!(eventually(async || hook(&daemon).await["failures"] == 2).await);
    let first = receiver.all()[0].id.clone();
    assert!(receiver.all().iter().all(|one| one.id == first), "later events wait");
    receiver.answer(Answers::With(200));
    hurry(&env);
    receiver.got("endpoint.recovered", 1).await;
    let page = daemon.get("/v1/events?type=endpoint.*").await.1;
    let kinds: Vec<&Value> = page["data"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["endpoint.failing", "endpoint.recovered"]);
    let accepted: Vec<i64> = receiver.all().iter().skip(2).map(Received::seq).collect();
    assert_eq!(accepted, (1..=i64::try_from(accepted.len()).unwrap()).collect::<Vec<_>>(), "in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_disabled_until_it_is_enabled_and_can_be_replayed() {
    let receiver = Receiver::start(Answers::With(410)).await;
    let env = with_webhook(&receiver, "events = \"message.*, stop.*\"").await;
    let daemon = env.serve().await;
    let id = daemon.enqueue(&message("c1")).await;
    daemon.becomes(&id, "sent").await;
    hook_is(&daemon, "disabled").await;
    assert_eq!(receiver.all().len(), 1, "410 is not retried");
    receiver.answer(Answers::With(200));
    let (ok, said) = run(env.outboxd(&["hook", "list"]), "");
    assert!(ok && said.contains("outboxd hook enable crm"), "{said}");
    let (ok, said) = run(env.outboxd(&["hook", "enable", "crm"]), "");
    assert!(ok && said.contains("crm goes on with event 1"), "{said}");
    receiver.got("message.sent", 1).await;
    let (ok, said) = run(env.outboxd(&["hook", "replay", "crm", "--from", "1"]), "");
    assert!(ok, "{said}");
    let sent = receiver.got("message.sent", 2).await;
    assert_eq!(sent[0].id, sent[1].id);
    for (arguments, says) in [
        (["hook", "replay", "crm", "--from", "999"], "the queue has the events 1 to"),
        (["hook", "replay", "cmr", "--from", "1"], "there is no receiver of events: cmr"),
    ] {
        let (ok, said) = run(env.outboxd(&arguments), "");
        assert!(!ok && said.contains(says), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_never_accepted_becomes_a_dead_letter_and_a_dead_receiver_is_disabled() {
    let receiver = Receiver::start(Answers::With(500)).await;
    let env = with_webhook(&receiver, "events = \"message.*\"").await;
    let daemon = env.serve().await;
    let id = daemon.enqueue(&message("c1")).await;
    daemon.becomes(&id, "sent").await;
    hook_is(&daemon, "retrying").await;
    env.sql("UPDATE hooks SET failures = 9, retry_at = NULL RETURNING name");
    let dead = hook_is(&daemon, "disabled").await;
    assert_eq!((&dead["dead"], &dead["dead_letters"][0]["seq"]), (&json!(1), &json!(1)));
    assert_eq!(dead["dead_letters"][0]["problem"], "answered 500");
    assert_eq!(receiver.all().len(), 3, "one retry, and one try of the next event");
    let page = daemon.get("/v1/events?type=endpoint.*").await.1;
    let kinds: Vec<&Value> = page["data"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(kinds, ["endpoint.dead_letter", "endpoint.disabled"]);
    receiver.answer(Answers::With(200));
    let (ok, said) = run(env.outboxd(&["hook", "replay", "crm", "--from", "1"]), "");
    assert!(ok, "{said}");
    receiver.got("message.sent", 1).await;
    assert_eq!(
        hook_is(&daemon, "ok").await["dead"],
        0,
        "an event that is delivered again is not a dead letter"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_hang_slow_no_send_and_no_stop() {
    let receiver = Receiver::start(Answers::Hangs).await;
    let env =
        with_webhook(&receiver, "\n[outbound.command.slow]\nrun = [\"/bin/sh\", \"-c\", \"exec sleep 60\"]")
            .await;
    let daemon = env.serve().await;
    let rows: Vec<String> = (0..100).map(|n| message(&format!("c{n}"))).collect();
    daemon.post_as("/v1/messages", "application/x-ndjson", rows.join("\n").into()).await;
    env.delivered(100).await;
    let first = receiver.all()[0].id.clone();
    assert!(receiver.all().iter().all(|one| one.id == first), "one request at a time");
    let hooks = daemon.get("/v1/hooks").await.1;
    assert!(hooks["data"].as_array().unwrap().iter().all(|hook| hook["cursor"] == 0), "{hooks}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_gets_the_event_and_is_run_again_if_it_fails() {
    let env = TestEnv::new().await.hasty();
    let script =
        "cat >> events; echo \" $OUTBOXD_EVENT ${OUTBOXD_UNIPILE_API_KEY:-no key}\" >> events; test -e works";
    let folder = env.path("");
    let run_it = format!("cd {} && {script}", folder.display());
    let table = format!(
        "[outbound.command.log]\nrun = [\"/bin/sh\", \"-c\", '{run_it}']\nevents = \"message.sent\"\n"
    );
    let env = configured(env, &table);
    let daemon = env.serve().await;
    let id = daemon.enqueue(&message("c1")).await;
    daemon.becomes(&id, "sent").await;
    let failing = hook_is(&daemon, "retrying").await;
    assert_eq!(failing["problem"], "exit status: 1");
    std::fs::write(env.path("works"), "").unwrap();
    hurry(&env);
    hook_is(&daemon, "ok").await;
    let lines = std::fs::read_to_string(env.path("events")).unwrap();
    let lines: Vec<&str> = lines.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, lines[1]), "the same event twice");
    let (event, rest) = lines[0].rsplit_once("} ").unwrap();
    let event: Value = serde_json::from_str(&format!("{event}}}")).unwrap();
    assert_eq!((&event["type"], &event["message_id"]), (&json!("message.sent"), &json!(id)));
    assert_eq!(rest, "message.sent no key", "the program gets no secret");
}

/// Tables with a mistake each, and what `check` says; SHORT is a file with a secret that is too short.
const MISTAKES: &[(&str, &str)] = &[
    ("[outbound.webhook.crm]\n", "outbound.webhook.crm.url in ./outboxd.toml: is missing; write it as in"),
    ("[outbound.webhook.crm]\nurl = \"hooks\"", "outbound.webhook.crm.url in ./outboxd.toml: is not a URL"),
    ("[outbound.webhook.crm]\nurl = \"https://u:p@h/\"", "holds a user or a password"),
    (
        "[outbound.webhook.crm]\nurl = \"https://h/\"",
        "crm.secret_file in ./outboxd.toml: is missing; name a file",
    ),
    ("[outbound.webhook.crm]\nurl = \"https://h/\"\nsecret_file = \"SHORT\"", "holds what is not a secret"),
    ("[outbound.webhook.crm]\nurl = \"https://h/\"\nsecret_file = \"/no/such\"", "/no/such cannot be read"),
    ("[outbound.webhook.crm]\nuri = \"x\"", "did you mean `outbound.webhook.crm.url`?"),
    (
        "[outbound.webhook.crm]\nevents = \"message.snet\"",
        "crm.events in ./outboxd.toml: is not a type of event",
    ),
    ("[outbound.webhook.crm]\nevents = \"message.snet\"", "did you mean `message.sent`?"),
    ("[outbound.webhook.crm]\ntexts = 1", "expected true or false, got a whole number"),
    (
        "[outbound.webhok.crm]\n",
        "unknown key `outbound.webhok` in ./outboxd.toml; did you mean `outbound.webhook`?",
    ),
    ("[outbound.webhook]\ncrm = 1\n", "expected a table, got a whole number"),
    ("outbound = 1\n", "outbound in ./outboxd.toml: expected a table"),
    (
        "[outbound.command.a]\nrun = \"x\"\n",
        "outbound.command.a.run in ./outboxd.toml: is not a list of texts",
    ),
    ("[outbound.command.a]\nrun = [\"x\"]\n", "\"x\" is not an absolute path"),
    ("[outbound.command.a]\nrun = [\"/no/such\"]\n", "/no/such is not a program"),
    ("[outbound.command.a]\nrun = [\"/bin/sh\"]\ntimeout = \"1d\"\n", "\"1d\" is not a time for one run"),
    ("[outbound.command.\"a b\"]\nrun = [\"/bin/sh\"]\n", "is not a name"),
    ("[outbund.command.a]\n", "did you mean `outbound`?"),
];

#[tokio::test]
async fn mistakes_in_the_configuration_are_named() {
    let env = TestEnv::new().await;
    let short = secret_file(&env, &["whsec_short"]).display().to_string();
    for (tables, says) in MISTAKES {
        std::fs::write(env.path("outboxd.toml"), tables.replace("SHORT", &short)).unwrap();
        let (ok, said) = run(env.outboxd(&["check"]), "");
        assert!(!ok && said.contains(says), "{tables}: {said}");
        assert!(!said.contains("whsec_short"), "{said}");
    }
    let good = secret_file(&env, &[SECRET]);
    std::fs::set_permissions(&good, PermissionsExt::from_mode(0o644)).unwrap();
    let keys = format!("url = \"http://hooks.example.com/x\"\nsecret_file = \"{}\"\n", good.display());
    std::fs::write(env.path("outboxd.toml"), format!("[outbound.webhook.crm]\n{keys}")).unwrap();
    let (ok, said) = run(env.outboxd(&["check"]), "");
    assert!(ok && said.contains("[outbound.webhook.crm]\nsecret_file = "), "{said}");
    for warning in ["sends events unencrypted", "others may read (mode 0644)"] {
        assert!(said.contains(warning), "{said}");
    }
    assert!(!said.contains(SECRET), "{said}");
}
