//! A real browser, controlled by its driver.
//!
//! Needs Debian's packages chromium and chromium-driver, and axe-core from npm for [`Browser::faults`].
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::str::FromStr;

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::daemon::eventually;

/// Runs axe-core; an error of it is a fault as well.
const RUN: &str = "const done = arguments[0]; axe.run(document, { resultTypes: ['violations'] }).then( \
     (found) => done(found.violations.filter((fault) => ['serious', 'critical'].includes(fault.impact)) \
     .map((fault) => fault.id + ': ' + fault.nodes.map((node) => node.html).slice(0, 3).join(' | '))), \
     (error) => done(['axe-core failed: ' + error]));";

/// Where `npm` puts axe-core.
const AXE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/axe/node_modules/axe-core/axe.min.js");

/// Returns whether a browser can be tested here; otherwise names what is left out. `.ci/run` requires it.
pub(crate) fn is_installed() -> bool {
    let required = std::env::var_os("OUTBOXD_TEST_BROWSER").is_some_and(|value| value == "required");
    let driver = Command::new("chromedriver").arg("--version").output();
    let missing = [(driver.is_err(), "chromium-driver"), (!std::path::Path::new(AXE).exists(), "axe-core")];
    let missing: Vec<&str> = missing.iter().filter(|(missing, _)| *missing).map(|(_, name)| *name).collect();
    assert!(missing.is_empty() || !required, "not installed: {missing:?}; see README.md");
    if !missing.is_empty() {
        eprintln!("not installed: {missing:?}; the tests of the browser are left out");
    }
    missing.is_empty()
}

/// Starts the driver at a port that it chooses; `None` if it ends at once.
///
/// It takes a free port of IPv4 and then needs the same one of IPv6, which may belong to another program.
fn start_driver() -> Option<(Child, BufReader<ChildStdout>, u16)> {
    let driver = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).spawn();
    let mut driver = driver.unwrap_or_else(|error| {
        panic!("chromedriver cannot be started ({error}): apt-get install chromium chromium-driver")
    });
    let mut output = BufReader::new(driver.stdout.take().unwrap());
    let port = output.by_ref().lines().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("successfully on port ")?;
        port.trim_end_matches('.').parse::<u16>().ok()
    });
    if port.is_none() {
        driver.wait().unwrap();
    }
    Some((driver, output, port?))
}

/// A browser, and the driver that controls it.
pub(crate) struct Browser {
    driver: Child,
    /// It ends if it cannot write.
    _output: BufReader<ChildStdout>,
    profile: tempfile::TempDir,
    client: Option<Client>,
}

impl Browser {
    pub(crate) async fn start(has_script: bool) -> Self {
        let started = (0..20).find_map(|_| start_driver());
        let (driver, output, port) = started.expect("chromedriver names its port; is chromium-driver whole?");
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

    pub(crate) fn client(&self) -> &Client {
        self.client.as_ref().expect("it is started")
    }

    pub(crate) async fn go(&self, address: &str) {
        self.client().goto(address).await.unwrap();
    }

    pub(crate) async fn click(&self, xpath: &str) {
        let found = self.client().find(Locator::XPath(xpath)).await;
        found.unwrap_or_else(|error| panic!("{xpath}: {error}")).click().await.unwrap();
    }

    /// Returns what a person reads on the page.
    pub(crate) async fn text(&self) -> String {
        let main = self.client().find(Locator::Css("main")).await.unwrap();
        main.text().await.unwrap()
    }

    /// Waits until the page shows `text`, without a reload.
    pub(crate) async fn shows(&self, text: &str) {
        let mut seen = String::new();
        let shown = eventually(async || {
            // The page may change while it is read.
            let Ok(main) = self.client().find(Locator::Css("main")).await else { return false };
            seen = main.text().await.unwrap_or_default();
            seen.contains(text)
        });
        assert!(shown.await, "the page does not show {text:?}: {seen}");
    }

    /// Writes into a field, as a person does; into the field of a file its path.
    pub(crate) async fn fill(&self, css: &str, text: &str) {
        let field = self.client().find(Locator::Css(css)).await;
        field.unwrap_or_else(|error| panic!("{css}: {error}")).send_keys(text).await.unwrap();
    }

    /// Returns what an expression of script is.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        self.client().execute(&format!("return {expression}"), Vec::new()).await.unwrap()
    }

    /// Shows pages as a system with this colour scheme does.
    pub(crate) async fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let command = DevTools("Emulation.setEmulatedMedia", json!({ "features": features }));
        self.client().issue_cmd(command).await.unwrap();
    }

    /// Returns the serious and critical faults that axe-core finds on the page.
    pub(crate) async fn faults(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(AXE).unwrap();
        self.client().execute(&axe, Vec::new()).await.unwrap();
        let found = self.client().execute_async(RUN, Vec::new()).await.unwrap();
        serde_json::from_value(found).expect("a list of faults")
    }

    pub(crate) async fn end(mut self) {
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

pub(crate) fn button(label: &str) -> String {
    format!("//button[normalize-space()='{label}']")
}

pub(crate) fn link(text: &str) -> String {
    format!("//main//a[normalize-space()='{text}']")
}

/// A command of the DevTools protocol, with its parameters.
#[derive(Debug)]
struct DevTools(&'static str, Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, <Url as FromStr>::Err> {
        base.join(&format!("session/{}/goog/cdp/execute", session.unwrap_or_default()))
    }

    fn method_and_body(&self, _address: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(json!({ "cmd": self.0, "params": self.1 }).to_string()))
    }
}
