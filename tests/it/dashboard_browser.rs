//! The dashboard in a real browser, through `outboxd ui`: with script a page follows the queue, without it a reload does.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::browser::{self, Browser, button, link};
use crate::cli_import::{HELLO, LAST, broken_rows, four_hundred};
use crate::daemon::{Daemon, TestEnv};
use crate::dashboard::{Ui, queued};

/// A daemon, and a browser in front of it.
struct Desk {
    env: TestEnv,
    daemon: Daemon,
    ui: Ui,
    browser: Browser,
    has_script: bool,
}

impl Desk {
    /// Starts all of it, with a message whose outcome is not known; returns its id as well.
    async fn start(has_script: bool) -> (Self, String) {
        let env = TestEnv::new().await.hasty().reconciling("100ms");
        env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }));
        let daemon = env.serve().await;
        let doubtful = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c1", "text": "hi"}"#).await;
        daemon.becomes(&doubtful, "review").await;
        let ui = Ui::start(&env, &[]);
        let browser = Browser::start(has_script).await;
        browser.go(&ui.address).await;
        (Self { env, daemon, ui, browser, has_script }, doubtful)
    }

    /// Goes to a page.
    async fn go(&self, path: &str) {
        self.browser.go(&format!("{}{path}", self.ui.origin())).await;
    }

    /// Checks that everyone can read the page; the check itself is a script.
    async fn can_be_read(&self) {
        if self.has_script {
            assert_eq!(self.browser.faults().await, Vec::<String>::new());
        }
    }

    async fn message(&self, id: &str) -> Value {
        self.daemon.get(&format!("/v1/messages/{id}")).await.1
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_runs_the_daemon_from_a_browser() {
    if !browser::is_installed() {
        return;
    }
    let (desk, doubtful) = Desk::start(true).await;
    decide(&desk, &doubtful).await;
    follow_a_reason(&desk).await;
    pause_and_send(&desk).await;
    suppress(&desk).await;
    import(&desk).await;
    let pages = ["/", "/messages", "/review", "/import", "/events", "/health", "/accounts/acc_1"];
    let things = ["/campaigns/autumn", "/people/ACoA9", &format!("/messages/{doubtful}")];
    for path in pages.iter().chain(&things) {
        desk.go(path).await;
        for scheme in ["light", "dark"] {
            desk.browser.prefer(scheme).await;
            let faults = desk.browser.faults().await;
            assert!(faults.is_empty(), "{path} in the {scheme}: {faults:#?}");
        }
    }
    follow_events(&desk).await;
    desk.browser.end().await;
}

/// Decides about a message, with the evidence in view.
async fn decide(desk: &Desk, doubtful: &str) {
    let browser = &desk.browser;
    browser.shows("1 in review").await;
    browser.click(&link("1 in review")).await;
    browser.shows("1 chat read back, 0 messages seen").await;
    desk.can_be_read().await;
    browser.click(&button("Leave it: drop")).await;
    browser.shows("Nothing waits for a decision").await;
    assert_eq!(desk.message(doubtful).await["state"], "cancelled");
}

/// Follows a reason to its messages, and cancels them.
async fn follow_a_reason(desk: &Desk) {
    let waiting = json!({ "account_id": "acc_2", "chat_id": "c2", "text": "hi" });
    let waiting = queued(&desk.daemon, waiting).await;
    desk.go("").await;
    desk.browser.click("//tr[td[1]='scheduled']//a[normalize-space()='acc_2']").await;
    desk.browser.shows(&waiting).await;
    desk.browser.click(&button("cancel all of these")).await;
    desk.browser.click(&button("Yes, cancel 1 message")).await;
    desk.browser.shows("cancel: 1 message changed").await;
    assert_eq!(desk.message(&waiting).await["state"], "cancelled");
}

/// Pauses an account, so that its next message waits; it goes while its page is open, without a reload.
async fn pause_and_send(desk: &Desk) {
    desk.go("/accounts/acc_1").await;
    desk.browser.click(&button("Pause")).await;
    desk.browser.shows("until it is resumed").await;
    let next = desk.daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c3", "text": "hello"}"#).await;
    desk.go(&format!("/messages/{next}")).await;
    desk.browser.shows("queued").await;
    desk.daemon.post("/v1/accounts/acc_1/resume", "").await;
    desk.browser.shows("Sent: It reached the provider.").await;
}

/// Writes to a person never again; what waits for them is cancelled.
async fn suppress(desk: &Desk) {
    let id = queued(&desk.daemon, json!({ "users_ids": "ACoA9", "text": "hi" })).await;
    desk.go("/people/ACoA9").await;
    desk.browser.click(&button("Never write again")).await;
    desk.browser.click(&button("Yes, never write again")).await;
    desk.browser.shows("outboxd suppress remove ACoA9").await;
    assert_eq!(desk.message(&id).await["reason"], "suppressed");
}

/// Imports a table of 400 rows, and sees it queued.
async fn import(desk: &Desk) {
    let Desk { env, daemon, browser, .. } = desk;
    daemon.post("/v1/accounts/acc_2/pause", "").await;
    std::fs::write(env.path("people.csv"), four_hundred()).unwrap();
    desk.go("/import").await;
    browser.fill("input[name=file]", &env.path("people.csv").display().to_string()).await;
    browser.fill("input[name=campaign]", "autumn").await;
    browser.fill("input[name=accounts]", "acc_2").await;
    browser.fill("textarea", HELLO).await;
    browser.click(&button("Add a message")).await;
    browser.fill(".step:nth-of-type(2) textarea", LAST).await;
    browser.click("//main//button[@class='main'][normalize-space()='Check']").await;
    let bad = broken_rows().len();
    let people = 400 - bad;
    browser.shows(&format!("{people} people, {} messages; {bad} rows refused", 2 * people)).await;
    browser.shows("do you hire at Acme, Inc?").await;
    desk.can_be_read().await;
    browser.click(&button(&format!("Queue {} messages to {people} people", 2 * people))).await;
    browser.shows(&format!("{people} people: {} messages queued, 0 queued before", 2 * people)).await;
    let rendered = env.sql(
        "SELECT text FROM messages WHERE campaign = 'autumn' AND users_ids LIKE '%ACoA0399%' AND step = 2",
    );
    assert_eq!(rendered, ["The last one, Acme, Inc."]);
    browser.click(&link("To the campaign")).await;
    browser.shows("outboxd campaign show autumn").await;
}

/// How many requests a page has made.
const REQUESTS: &str = "performance.getEntriesByType('resource').length";

/// Sees what happens without a reload; a page that is not visible asks for nothing.
async fn follow_events(desk: &Desk) {
    let Desk { daemon, browser, .. } = desk;
    desk.go("/events?type=message.sent&account_id=acc_3").await;
    browser.shows("None among the newest events").await;
    let send = async |chat: &str| {
        let message = json!({ "account_id": "acc_3", "chat_id": chat, "text": "hi" });
        let id = daemon.enqueue(&message.to_string()).await;
        daemon.becomes(&id, "sent").await;
        id
    };
    let seen = send("c8").await;
    browser.shows(&seen).await;
    let show = |is_hidden: bool| {
        format!(
            "(Object.defineProperty(document, 'hidden', {{ value: {is_hidden}, configurable: true }}), \
             document.dispatchEvent(new Event('visibilitychange')))"
        )
    };
    let clock = SystemClock::new();
    browser.value(&show(true)).await;
    // What it asked for before is answered.
    clock.sleep(Duration::from_secs(1)).await;
    let before = browser.value(REQUESTS).await;
    let missed = send("c9").await;
    clock.sleep(Duration::from_secs(4)).await;
    assert_eq!(browser.value(REQUESTS).await, before, "a hidden page asks for something");
    browser.value(&show(false)).await;
    browser.shows(&missed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_script_a_reload_shows_the_same() {
    if !browser::is_installed() {
        return;
    }
    let (desk, doubtful) = Desk::start(false).await;
    decide(&desk, &doubtful).await;
    follow_a_reason(&desk).await;
    suppress(&desk).await;
    import(&desk).await;
    let Desk { daemon, ui, browser, .. } = desk;
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
