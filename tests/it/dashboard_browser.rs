//! The dashboard in a real browser, through `outboxd ui`: with script a page follows the queue, without it a reload does.
//!
//! Needs Debian's packages chromium and chromium-driver.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use outboxd::sandbox::{Fault, FaultKind};
use serde_json::json;

use crate::daemon::{TestEnv, eventually};
use crate::dashboard::{Ui, queued};

/// A browser, and the driver that controls it.
struct Browser {
    driver: Child,
    /// It ends if it cannot write.
    _output: BufReader<ChildStdout>,
    profile: tempfile::TempDir,
    client: Option<Client>,
}

impl Browser {
    async fn start(has_script: bool) -> Self {
        let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn();
        let mut driver = driver.unwrap_or_else(|error| {
            panic!("chromedriver cannot be started ({error}): apt-get install chromium chromium-driver")
        });
        let mut output = BufReader::new(driver.stdout.take().unwrap());
        let port = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        let port = port.expect("chromedriver names its port; is chromium-driver whole?");
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, _output: output, profile, client: None };
        let mut wanted = serde_json::Map::new();
        wanted.insert("goog:chromeOptions".to_owned(), browser.options(has_script));
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder.capabilities(wanted).connect(&format!("http://127.0.0.1:{port}")).await;
        browser.client = Some(client.unwrap_or_else(|error| {
            panic!("chromium cannot be started ({error}): apt-get install chromium chromium-driver")
        }));
        browser
    }

    fn options(&self, has_script: bool) -> serde_json::Value {
        let mut arguments = vec![format!("--user-data-dir={}", self.profile.path().display())];
        arguments.extend(
            [
                "headless=new",
                "no-sandbox",
                "disable-gpu",
                "disable-quic",
                "no-first-run",
                "disable-dev-shm-usage",
                "disable-background-networking",
                "disable-component-update",
                "disable-sync",
            ]
            .map(|word| format!("--{word}")),
        );
        let script = if has_script { 1 } else { 2 };
        json!({ "args": arguments, "prefs": { "profile.managed_default_content_settings.javascript": script } })
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is started")
    }

    async fn go(&self, address: &str) {
        self.client().goto(address).await.unwrap();
    }

    async fn click(&self, xpath: &str) {
        let found = self.client().find(Locator::XPath(xpath)).await;
        found.unwrap_or_else(|error| panic!("{xpath}: {error}")).click().await.unwrap();
    }

    /// Returns what a person reads on the page.
    async fn text(&self) -> String {
        let main = self.client().find(Locator::Css("main")).await.unwrap();
        main.text().await.unwrap()
    }

    /// Waits until the page shows `text`, without a reload.
    async fn shows(&self, text: &str) {
        let mut seen = String::new();
        let shown = eventually(async || {
            // The page may change while it is read.
            let Ok(main) = self.client().find(Locator::Css("main")).await else { return false };
            seen = main.text().await.unwrap_or_default();
            seen.contains(text)
        });
        assert!(shown.await, "the page does not show {text:?}: {seen}");
    }

    async fn end(mut self) {
        if let Some(client) = self.client.take() {
            client.close().await.unwrap();
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ended_already = self.driver.kill();
        let _ended_already = self.driver.wait();
    }
}

fn button(label: &str) -> String {
    format!("//button[normalize-space()='{label}']")
}

fn link(text: &str) -> String {
    format!("//main//a[normalize-space()='{text}']")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_runs_the_daemon_from_a_browser() {
    let env = TestEnv::new().await.hasty().reconciling("100ms");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }));
    let daemon = env.serve().await;
    let doubtful = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "hi"}"#).await;
    daemon.becomes(&doubtful, "review").await;
    let waiting = queued(&daemon, json!({ "account_id": "acc_2", "chat_id": "c2", "text": "hi" })).await;
    let ui = Ui::start(&env, &[]);
    let browser = Browser::start(true).await;
    browser.go(&ui.address).await;
    browser.shows("1 in review").await;

    // Decide, with the evidence in view.
    browser.click(&link("1 in review")).await;
    browser.shows("1 chat read back, 0 messages seen").await;
    browser.click(&button("Leave it: drop")).await;
    browser.shows("Nothing waits for a decision").await;
    assert_eq!(daemon.get(&format!("/v1/messages/{doubtful}")).await.1["state"], "cancelled");

    // Follow a reason to its messages, and cancel them.
    browser.go(&ui.origin()).await;
    browser.click("//tr[td[1]='scheduled']//a[normalize-space()='acc_2']").await;
    browser.shows(&waiting).await;
    browser.click(&button("cancel all of these")).await;
    browser.click(&button("Yes, cancel 1 messages")).await;
    browser.shows("cancel: 1 messages changed").await;
    assert_eq!(daemon.get(&format!("/v1/messages/{waiting}")).await.1["state"], "cancelled");

    // Pause an account; its next message waits for it.
    browser.go(&format!("{}/accounts/acc_1", ui.origin())).await;
    browser.click(&button("Pause")).await;
    browser.shows("until it is resumed").await;
    let next = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c3", "text": "hello"}"#).await;
    browser.go(&format!("{}/messages/{next}", ui.origin())).await;
    browser.shows("queued").await;

    // It goes while the page is open, without a reload.
    daemon.post("/v1/accounts/acc_1/resume", "").await;
    browser.shows("Sent: It reached the provider.").await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_script_a_reload_shows_the_same() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "first"}"#).await;
    let ui = Ui::start(&env, &[]);
    let browser = Browser::start(false).await;
    browser.go(&ui.address).await;
    browser.go(&format!("{}/accounts/acc_1", ui.origin())).await;
    browser.click(&button("Pause")).await;
    browser.shows("until it is resumed").await;
    let id = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c2", "text": "second"}"#).await;
    browser.go(&format!("{}/messages/{id}", ui.origin())).await;
    assert!(browser.text().await.contains("queued"));
    daemon.post("/v1/accounts/acc_1/resume", "").await;
    daemon.becomes(&id, "sent").await;
    assert!(browser.text().await.contains("queued"), "no script repeats the page");
    browser.client().refresh().await.unwrap();
    browser.shows("Sent: It reached the provider.").await;
    browser.end().await;
}
