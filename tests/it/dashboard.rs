//! The pages of the dashboard over HTTP, from the real daemon: what they show, what their forms do, and what they refuse;
//! `outboxd ui` in front of it.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use outboxd::sandbox::{Fault, FaultKind};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv};

/// What a page would run if it did not escape it.
const HOSTILE: &str = "\"><script>alert(1)</script>";

/// A browser without script.
pub(crate) struct Browser {
    pub(crate) client: reqwest::Client,
    /// Where it finds the pages, such as `http://localhost`.
    origin: String,
    cookie: String,
}

impl Browser {
    pub(crate) fn of(env: &TestEnv) -> Self {
        Self { client: env.client(), origin: "http://localhost".to_owned(), cookie: String::new() }
    }

    pub(crate) async fn page(&self, path: &str) -> (u16, String) {
        let request = self.client.get(format!("{}{path}", self.origin)).header("cookie", &self.cookie);
        read(request).await
    }

    /// Presses a button: posts its form as a page of `origin` does.
    async fn press(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        self.post(path, FORM.1, form(fields).into_bytes()).await
    }

    /// Posts a form of another kind as a page of `origin` does.
    pub(crate) async fn post(&self, path: &str, kind: &str, body: Vec<u8>) -> (u16, String) {
        let request = self.client.post(format!("{}{path}", self.origin)).header("cookie", &self.cookie);
        read(request.header("origin", &self.origin).header(FORM.0, kind).body(body)).await
    }
}

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

async fn read(request: reqwest::RequestBuilder) -> (u16, String) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn form(fields: &[(&str, &str)]) -> String {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    fields.join("&")
}

/// Queues a message that is not due for a day; returns its id.
pub(crate) async fn queued(daemon: &Daemon, mut message: Value) -> String {
    message["not_before"] = json!("2036-01-01T00:00:00Z");
    if message["account_id"].is_null() {
        message["account_id"] = json!("acc_1");
    }
    daemon.enqueue(&message.to_string()).await
}

/// Returns the paths of every kind of page.
fn pages(id: &str) -> Vec<String> {
    let campaign = format!("/campaigns/{}", encoded(HOSTILE));
    let fixed = [
        "/",
        "/messages",
        "/review",
        "/events",
        "/health",
        "/health?audit=run",
        "/accounts/acc_1",
        "/people/ACoA1",
    ];
    let message = [format!("/messages/{id}"), format!("/messages/{id}?text=show"), campaign];
    fixed.map(str::to_owned).into_iter().chain(message).collect()
}

#[tokio::test]
async fn pages_show_what_the_queue_holds_and_run_nothing_of_it() {
    let env = TestEnv::new().await.set("OUTBOXD_DASHBOARD_BODIES", "true");
    let daemon = env.serve().await;
    let message =
        json!({ "users_ids": "ACoA1", "text": HOSTILE, "campaign": HOSTILE, "dedupe_key": HOSTILE });
    let id = queued(&daemon, message).await;
    daemon.post("/v1/accounts/acc_1/pause", &json!({ "note": HOSTILE }).to_string()).await;
    daemon
        .post("/v1/stops", &json!({ "scope": "person", "key": "ACoA1", "note": HOSTILE }).to_string())
        .await;
    let browser = Browser::of(&env);
    for path in pages(&id) {
        let (status, page) = browser.page(&path).await;
        assert_eq!(status, 200, "{path}: {page}");
        assert!(page.contains("</html>") && !page.contains("<script>alert"), "{path}: {page}");
    }
    for (path, shown) in [
        ("/", "acc_1"),
        ("/", "/campaigns/%22%3E%3Cscript%3Ealert%281%29%3C%2Fscript%3E"),
        ("/messages?state=queued", &id),
        ("/accounts/acc_1", "outboxd resume acc_1"),
        ("/people/ACoA1", "outboxd go --person ACoA1"),
        (&format!("/messages/{id}?text=show"), "&#60;script&#62;alert(1)"),
        (&format!("/messages/{id}"), "outboxd cancel"),
    ] {
        let (_, page) = browser.page(path).await;
        assert!(page.contains(shown), "{path} shows {shown}: {page}");
    }
    let (_, page) = browser.page(&format!("/messages/{id}")).await;
    assert!(!page.contains("blockquote"), "the text is behind a click: {page}");
    let answer = browser.client.get("http://localhost/").send().await.unwrap();
    for (name, value) in
        [("content-security-policy", "frame-ancestors 'none'"), ("cache-control", "no-store")]
    {
        assert!(answer.headers()[name].to_str().unwrap().contains(value), "{name}");
    }
    for (path, kind) in [("/dashboard.css", "text/css"), ("/dashboard.js", "text/javascript")] {
        let answer = browser.client.get(format!("http://localhost{path}")).send().await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(kind), "{path}");
    }
    assert_eq!(browser.page("/accounts/acc_none").await.0, 404);
}

#[tokio::test]
async fn a_text_stays_on_the_socket_unless_the_configuration_allows_it() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let id = queued(&daemon, json!({ "chat_id": "c1", "text": "the secret words" })).await;
    let (_, page) = Browser::of(&env).page(&format!("/messages/{id}?text=show")).await;
    assert!(!page.contains("the secret words") && page.contains("dashboard.bodies"), "{page}");
}

#[tokio::test]
async fn a_change_must_come_from_a_page_and_a_request_from_this_machine() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    queued(&daemon, json!({ "chat_id": "c1", "text": "hi" })).await;
    let client = env.client();
    let post = |path: &str| client.post(format!("http://localhost{path}")).header(FORM.0, FORM.1);
    let page = "/accounts/acc_1/pause";
    let api = "/v1/accounts/acc_1/pause";
    for (request, status) in [
        (post(page), 403),
        (post(page).header("origin", "http://evil.example"), 403),
        (post(page).header("origin", "null"), 403),
        (post(page).header("sec-fetch-site", "cross-site"), 403),
        (post(page).header("origin", "http://localhost").header("outboxd-read-only", "yes"), 403),
        (post(api).header("origin", "http://evil.example"), 403),
        (client.get("http://evil.example/"), 403),
        (client.get("http://evil.example/v1/messages"), 403),
        (client.get("http://192.168.7.7/"), 403),
        (post("/accounts/acc_1/explode").header("origin", "http://localhost"), 404),
        (client.get("http://outboxd/"), 200),
    ] {
        let told = format!("{request:?}");
        assert_eq!(read(request).await.0, status, "{told}");
    }
    assert_eq!(daemon.get("/v1/accounts/acc_1").await.1["paused"], Value::Null, "nothing of it was done");
    assert_eq!(post(api).send().await.unwrap().status(), 200, "a program sends no origin");
}

#[tokio::test]
async fn a_button_does_what_the_command_does() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let id = queued(&daemon, json!({ "users_ids": "ACoA1", "text": "hi", "campaign": "autumn" })).await;
    let browser = Browser::of(&env);
    let state = async |path: &str| daemon.get(path).await.1;
    assert_eq!(browser.press("/accounts/acc_1/pause", &[("note", "lunch"), ("for", "2h")]).await.0, 200);
    let account = state("/v1/accounts/acc_1").await;
    assert_eq!((&account["paused"]["note"], account["paused"]["until"].is_null()), (&json!("lunch"), false));
    browser.press("/accounts/acc_1/resume", &[]).await;
    assert!(state("/v1/accounts/acc_1").await["paused"].is_null());
    browser.press("/sending/pause", &[]).await;
    assert!(state("/v1/status").await["paused"].is_object());
    browser.press("/sending/resume", &[]).await;
    let message = format!("/messages/{id}");
    for (verb, reason) in
        [("hold", "held"), ("release", "scheduled"), ("cancel", "cancelled"), ("retry", "scheduled")]
    {
        assert_eq!(browser.press(&format!("{message}/{verb}"), &[]).await.0, 200, "{verb}");
        assert_eq!(state(&format!("/v1{message}")).await["reason"], reason, "{verb}");
    }
    let edit = [("priority", "7"), ("was_priority", "0"), ("campaign", "autumn"), ("was_campaign", "autumn")];
    assert_eq!(browser.press(&format!("{message}/edit"), &edit).await.0, 200);
    assert_eq!(state(&format!("/v1{message}")).await["priority"], 7);
    browser.press("/campaigns/autumn/pause", &[]).await;
    assert_eq!(state("/v1/campaigns/autumn").await["is_paused"], true);
    browser.press("/campaigns/autumn/resume", &[]).await;
    assert_eq!(state("/v1/campaigns/autumn").await["is_paused"], false);
    let (status, refused) = browser.press("/accounts/acc_1/pause", &[("for", "soon")]).await;
    assert!(status == 422 && refused.contains("write 30m, 2h or 1d"), "{status}: {refused}");
    browser.press(&format!("{message}/cancel"), &[]).await;
    let (status, refused) = browser.press(&format!("{message}/hold"), &[]).await;
    assert!(status == 409 && refused.contains("is cancelled and cannot be held"), "{status}: {refused}");
}

#[tokio::test]
async fn a_person_is_stopped_at_once_and_suppressed_or_erased_after_a_question() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let id = queued(&daemon, json!({ "users_ids": "ACoA1", "text": "hi" })).await;
    let browser = Browser::of(&env);
    browser.press("/people/ACoA1/stop", &[("note", "called")]).await;
    assert_eq!(daemon.get("/v1/people/ACoA1").await.1["stops"][0]["note"], "called");
    browser.press("/people/ACoA1/go", &[]).await;
    assert_eq!(daemon.get("/v1/people/ACoA1").await.1["stops"], json!([]));
    for verb in ["suppress", "erase"] {
        let (_, question) = browser.press(&format!("/people/ACoA1/{verb}"), &[("note", "asked")]).await;
        let asks = ["ACoA1", "name=\"confirmed\"", "value=\"asked\"", "No, go back"];
        assert!(asks.iter().all(|part| question.contains(part)), "{question}");
    }
    assert_eq!(daemon.get("/v1/people/ACoA1").await.1["stops"], json!([]), "a question changes nothing");
    browser.press("/people/ACoA1/suppress", &[("confirmed", "yes")]).await;
    assert_eq!(daemon.get(&format!("/v1/messages/{id}")).await.1["reason"], "suppressed");
    browser.press("/people/ACoA1/erase", &[("confirmed", "yes")]).await;
    let (status, page) = browser.page("/people/ACoA1").await;
    assert!(status == 200 && page.contains("nothing is ever sent to them"), "{page}");
}

#[tokio::test]
async fn a_command_about_many_names_their_number_first() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let mut ids = Vec::new();
    for chat in ["c1", "c2", "c3"] {
        ids.push(queued(&daemon, json!({ "chat_id": chat, "text": "hi", "campaign": "autumn" })).await);
    }
    let browser = Browser::of(&env);
    let (_, page) = browser.page("/messages?campaign=autumn").await;
    assert!(page.contains("outboxd cancel --campaign autumn"), "{page}");
    let cancel = [("command", "cancel"), ("campaign", "autumn")];
    let (_, question) = browser.press("/bulk", &cancel).await;
    assert!(question.contains("Yes, cancel 3 messages"), "{question}");
    daemon.post(&format!("/v1/messages/{}/cancel", ids[0]), "").await;
    let yes = [cancel[0], cancel[1], ("confirmed", "yes"), ("expected", "3")];
    let (_, again) = browser.press("/bulk", &yes).await;
    assert!(
        again.contains("It was 3 when you looked") && again.contains("Yes, cancel 2 messages"),
        "{again}"
    );
    assert_eq!(daemon.get(&format!("/v1/messages/{}", ids[1])).await.1["state"], "queued");
    browser.press("/bulk", &[cancel[0], cancel[1], ("confirmed", "yes"), ("expected", "2")]).await;
    for id in &ids {
        assert_eq!(daemon.get(&format!("/v1/messages/{id}")).await.1["state"], "cancelled");
    }
    let (_, by_reason) = browser.press("/bulk", &[("command", "retry"), ("reason", "cancelled")]).await;
    assert!(by_reason.contains("Yes, retry 3 messages"), "{by_reason}");
}

#[tokio::test]
async fn a_decision_is_made_with_the_evidence_and_a_second_copy_is_asked_about() {
    let env = TestEnv::new().await.hasty().reconciling("100ms");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }));
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "hi"}"#).await;
    daemon.becomes(&id, "review").await;
    let browser = Browser::of(&env);
    let (_, page) = browser.page("/review").await;
    for part in [&id, "1 chat read back, 0 messages seen", "outboxd review", "not_in_chat", "drop: all 1"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let (_, question) = browser.press("/review", &[("id", &id), ("decision", "resend")]).await;
    assert!(
        question.contains("is sent to chat c1 once more") && question.contains("confirmed"),
        "{question}"
    );
    let all = [("reason", "not_in_chat"), ("decision", "drop")];
    let (_, question) = browser.press("/review", &all).await;
    assert!(question.contains("1 message that is in review"), "{question}");
    assert_eq!(daemon.get(&format!("/v1/messages/{id}")).await.1["state"], "review");
    browser.press("/review", &[("id", &id), ("decision", "resend"), ("confirmed", "yes")]).await;
    daemon.becomes(&id, "sent").await;
    let (_, page) = browser.page("/review").await;
    assert!(page.contains("Nothing waits for a decision"), "{page}");
}

#[tokio::test]
async fn the_search_finds_a_thing_by_its_exact_name() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let message = json!({ "users_ids": "ACoA1", "text": "hi", "campaign": "autumn", "dedupe_key": "key-1" });
    let id = queued(&daemon, message).await;
    let browser = Browser::of(&env);
    for (sought, title) in [
        (id.as_str(), format!("Message {id}")),
        ("acc_1", "<title>acc_1".to_owned()),
        ("key-1", "<title>Messages".to_owned()),
        ("autumn", "<title>Campaign autumn".to_owned()),
        ("ACoA1", "<title>ACoA1".to_owned()),
    ] {
        let (status, page) = browser.page(&format!("/search?q={}", encoded(sought))).await;
        assert!(status == 200 && page.contains(&title), "{sought}: {page}");
    }
    let (code, page) = browser.page("/search?q=nothing-like-it").await;
    assert!(code == 404 && !page.contains("read-only"), "{page}");
}

/// A running `outboxd ui`.
pub(crate) struct Ui {
    child: Child,
    /// The one-time address.
    pub(crate) address: String,
}

impl Ui {
    pub(crate) fn start(env: &TestEnv, more: &[&str]) -> Self {
        let mut command = env.outboxd(&["ui", "--no-open"]);
        let mut child = command.args(more).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned() }
    }

    pub(crate) fn origin(&self) -> String {
        self.address.split("/enter").next().unwrap().to_owned()
    }

    /// Goes in with the one-time address.
    async fn enter(&self) -> Browser {
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let answer = client.get(&self.address).send().await.unwrap();
        assert_eq!(answer.status(), 303);
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
        assert!(cookie.contains("SameSite=Strict") && cookie.contains("HttpOnly"), "{cookie}");
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Browser { client, origin: self.origin(), cookie }
    }
}

impl Drop for Ui {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

#[tokio::test]
async fn the_port_lets_in_one_browser_with_the_one_time_address() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    queued(&daemon, json!({ "chat_id": "c1", "text": "hi" })).await;
    let ui = Ui::start(&env, &[]);
    let stranger = Browser { client: env_less_client(), origin: ui.origin(), cookie: String::new() };
    assert_eq!(stranger.page("/").await.0, 403);
    assert_eq!(stranger.page("/enter?key=guessed").await.0, 403);
    let browser = ui.enter().await;
    let (status, replayed) = read(browser.client.get(&ui.address)).await;
    assert!(status == 403 && replayed.contains("works once"), "{status}: {replayed}");
    let (status, page) = browser.page("/").await;
    assert!(status == 200 && page.contains("acc_1"), "{page}");
    assert_eq!(browser.page("/v1/messages").await.0, 403, "the API stays on the socket");
    let foreign = browser.client.get(format!("{}/", ui.origin())).header("host", "evil.example");
    assert_eq!(read(foreign.header("cookie", &browser.cookie)).await.0, 403);
    let silent = browser.client.post(format!("{}/accounts/acc_1/pause", ui.origin()));
    assert_eq!(read(silent.header("cookie", &browser.cookie).header(FORM.0, FORM.1)).await.0, 403);
    assert_eq!(browser.press("/accounts/acc_1/pause", &[]).await.0, 303);
    assert!(daemon.get("/v1/accounts/acc_1").await.1["paused"].is_object());
}

#[tokio::test]
async fn a_read_only_view_finds_no_way_to_change_anything() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let message = json!({ "users_ids": "ACoA1", "text": "hi", "campaign": HOSTILE });
    let id = queued(&daemon, message).await;
    let browser = Ui::start(&env, &["--read-only"]).enter_and_keep().await;
    for path in pages(&id) {
        let (status, page) = browser.0.page(&path).await;
        assert!(status == 200 && !page.contains("method=\"post\""), "{path}: {page}");
    }
    for path in
        ["/accounts/acc_1/pause", "/bulk", "/sending/pause", "/review", "/people/ACoA1/erase", "/v1/pause"]
    {
        let (status, _) = browser.0.press(path, &[("confirmed", "yes")]).await;
        assert_eq!(status, 403, "{path}");
    }
    assert!(daemon.get("/v1/accounts/acc_1").await.1["paused"].is_null());
}

impl Ui {
    /// Goes in; keeps the command alive.
    pub(crate) async fn enter_and_keep(self) -> (Browser, Self) {
        (self.enter().await, self)
    }
}

fn env_less_client() -> reqwest::Client {
    reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}
