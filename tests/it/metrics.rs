//! Metrics: the table in the code, its document, the board, and what a running daemon prints are the same.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use outboxd::domain::message::Seq;
use outboxd::metrics::table::{Kind, Metric, TABLE};
use outboxd::sandbox::{Fault, FaultKind};
use outboxd::store::{CallBreach, Store, StoreOptions};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually};
use crate::operations::tamper;
use crate::queue::{WAITING_BY_REASON, at};

/// The samples that a daemon prints: by name and labels.
pub(crate) struct Printed {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Printed {
    pub(crate) async fn of(daemon: &Daemon) -> Self {
        let (status, answer) = daemon.get("/metrics").await;
        let Value::String(text) = answer else { panic!("{status}: {answer}") };
        assert_eq!(status, 200, "{text}");
        Self::read(text)
    }

    fn read(text: String) -> Self {
        let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let samples = samples.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self { samples: samples.collect(), text }
    }

    pub(crate) fn get(&self, sample: &str) -> f64 {
        let found = self.samples.get(sample);
        *found.unwrap_or_else(|| panic!("{sample} is missing in\n{}", self.text))
    }

    fn sum(&self, name: &str) -> f64 {
        let of = |sample: &&String| sample.split('{').next() == Some(name);
        self.samples.iter().filter(|(sample, _)| of(sample)).map(|(_, value)| value).sum()
    }
}

/// Returns the metric of the table that a sample belongs to.
fn metric_of(sample: &str) -> Option<&'static Metric> {
    let name = sample.split('{').next().unwrap();
    TABLE.iter().find(|metric| match metric.kind {
        Kind::Histogram(_) => {
            let rest = name.strip_prefix(metric.name);
            rest.is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest))
        }
        Kind::Counter | Kind::Gauge => name == metric.name,
    })
}

fn labels_of(sample: &str) -> Vec<(String, String)> {
    let Some((_, labels)) = sample.split_once('{') else { return Vec::new() };
    let pairs = labels.trim_end_matches('}').split(',');
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap();
        (name.to_owned(), value.trim_matches('"').to_owned())
    };
    pairs.map(pair).filter(|(name, _)| name != "le").collect()
}

/// Returns the row of docs/metrics.md for a metric.
fn row(metric: &Metric) -> String {
    let labels: Vec<String> = metric
        .labels
        .iter()
        .map(|label| match label.values {
            [] => format!("`{}`", label.name),
            values => format!("`{}`: {}", label.name, values.join(", ")),
        })
        .collect();
    let Metric { name, kind, unit, help, .. } = metric;
    format!("| `{name}` | {} | {} | {unit} | {help} |", kind.as_str(), labels.join("; "))
}

#[test]
fn the_document_has_the_table() {
    let text = include_str!("../../docs/metrics.md");
    let found: Vec<&str> = text.lines().filter(|line| line.starts_with("| `outboxd_")).collect();
    let expected: Vec<String> = TABLE.iter().map(row).collect();
    assert_eq!(found, expected, "docs/metrics.md must have these rows:\n{}\n", expected.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_daemon_prints_the_table_and_nothing_else() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_METRICS_LISTEN", "127.0.0.1:0");
    let daemon = env.serve().await;
    let sent = json!({ "account_id": "acc_1", "users_ids": ["ACoAAAsecretPerson"], "text": "a secret text" });
    let id = daemon.enqueue(&sent.to_string()).await;
    daemon.becomes(&id, "sent").await;
    let later =
        json!({ "account_id": "acc_1", "chat_id": "c2", "text": "x", "not_before": "2030-01-01T00:00:00Z" });
    let later = daemon.enqueue(&later.to_string()).await;
    daemon.post("/v1/messages/bulk", &json!({ "command": "hold", "ids": [later] }).to_string()).await;
    let printed = Printed::of(&daemon).await;
    for sample in printed.samples.keys() {
        let Some(metric) = metric_of(sample) else { panic!("{sample} is not in the table") };
        let labels = labels_of(sample);
        let names: BTreeSet<&str> = labels.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, metric.labels.iter().map(|label| label.name).collect(), "{sample}");
        for label in metric.labels.iter().filter(|label| !label.values.is_empty()) {
            let value = &labels.iter().find(|(name, _)| name == label.name).unwrap().1;
            assert!(label.values.contains(&value.as_str()), "{sample}");
        }
    }
    // These appear only once there is something to show.
    let occasional =
        ["outboxd_messages_waiting", "outboxd_accounts_waiting", "outboxd_inmail_credits_lowest"];
    for metric in TABLE.iter().filter(|metric| !occasional.contains(&metric.name)) {
        let line = format!("# TYPE {} {}", metric.name, metric.kind.as_str());
        assert!(printed.text.lines().any(|found| found == line), "`{line}` is missing in\n{}", printed.text);
        let help = format!("# HELP {} {}", metric.name, metric.help);
        assert!(printed.text.lines().any(|found| found == help), "`{help}` is missing");
    }
    for secret in ["ACoAAAsecretPerson", "a secret text", "sandbox-key"] {
        assert!(!printed.text.contains(secret), "{secret} is in\n{}", printed.text);
    }
    assert_eq!(printed.get("outboxd_sends_total{account=\"acc_1\",outcome=\"accepted\"}"), 1.0);
    assert_eq!(printed.get("outboxd_messages{state=\"sent\"}"), 1.0);
    assert_eq!(printed.get("outboxd_send_duration_seconds_count"), 1.0);
    assert!(printed.get("outboxd_commit_duration_seconds_count") >= 3.0);
    assert!(printed.get("outboxd_disk_free_bytes") > 0.0 && printed.get("outboxd_wal_bytes") > 0.0);
    assert_eq!(printed.sum("outboxd_promises_broken_total"), 0.0);

    // A thread of its own writes the log.
    assert!(eventually(async || env.log().contains("serving metrics")).await, "{}", env.log());
    let log = env.log();
    let line = log.lines().find(|line| line.contains("serving metrics")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let address = line["address"].as_str().unwrap();
    let over_tcp = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    assert_eq!(over_tcp.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(over_tcp.text().await.unwrap().contains("outboxd_messages{state=\"sent\"} 1"));
    for path in ["v1/status", "healthz", "openapi.json"] {
        let answer = reqwest::get(format!("http://{address}/{path}")).await.unwrap();
        assert_eq!(answer.status().as_u16(), 404, "{path} must not be on TCP");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let env = TestEnv::new().await.hasty().reconciling("");
    let daemon = env.serve().await;
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    let message = |chat: &str| json!({ "account_id": "acc_1", "chat_id": chat, "text": chat }).to_string();
    let id = daemon.enqueue(&message("c1")).await;
    daemon.becomes(&id, "review").await;
    daemon.post("/v1/accounts/acc_1/pause", "{}").await;
    daemon.enqueue(&message("c2")).await;
    let mut printed = Printed::of(&daemon).await;
    let paused = eventually(async || {
        printed = Printed::of(&daemon).await;
        printed.samples.get("outboxd_accounts_waiting{reason=\"account_paused\"}") == Some(&1.0)
    });
    assert!(paused.await, "{}", printed.text);
    for (sample, value) in [
        ("outboxd_sends_total{account=\"acc_1\",outcome=\"uncertain\"}", 1.0),
        ("outboxd_messages{state=\"review\"}", 1.0),
        ("outboxd_messages{state=\"queued\"}", 1.0),
        ("outboxd_messages_waiting{reason=\"outcome_unknown\"}", 1.0),
        ("outboxd_accounts{state=\"paused\"}", 1.0),
        ("outboxd_accounts{state=\"other\"}", 0.0),
        ("outboxd_paused", 0.0),
        ("outboxd_api_breaker_open", 0.0),
    ] {
        assert_eq!(printed.get(sample), value, "{sample}");
    }
    assert!(printed.get("outboxd_oldest_due_seconds") > 0.0);
    daemon.post("/v1/accounts/acc_1/resume", "{}").await;
    daemon.post(&format!("/v1/messages/{id}/review"), r#"{"decision": "drop"}"#).await;
    assert!(env.delivered(2).await.len() >= 2);
    let printed = Printed::of(&daemon).await;
    assert_eq!(printed.get("outboxd_messages_waiting{reason=\"outcome_unknown\"}"), 0.0);
    assert_eq!(printed.sum("outboxd_promises_broken_total"), 0.0);
    let reasons = env.sql("SELECT reason || n FROM waiting_reasons WHERE n <> 0");
    let counted = env.sql(&format!("SELECT reason || \"count(*)\" FROM ({WAITING_BY_REASON})"));
    assert_eq!(reasons, counted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_broke_a_promise_is_found() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let message = json!({ "account_id": "acc_1", "users_ids": ["u1"], "text": "x", "campaign": "spring" });
    let id = daemon.enqueue(&message.to_string()).await;
    daemon.becomes(&id, "sent").await;
    daemon.stop().await;
    let options = StoreOptions { path: env.database(), readers: 1 };
    let store = Store::open(&options, at(0)).await.unwrap();
    let breach = async || store.breach_of_call(Seq(1), 1).await.unwrap();
    let none = breach().await;
    assert!(!none.twice && !none.stopped, "{none:?}");
    let stopped = CallBreach { stopped: true, ..none };
    let early = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hours')";
    for (sql, undo) in [
        (
            "INSERT INTO stops (scope, key, reason, at) VALUES ('account', 'acc_1', 'account_paused', EARLY)",
            "DELETE FROM stops",
        ),
        (
            "INSERT INTO stops (scope, key, reason, at) VALUES ('all', '', 'daemon_paused', EARLY)",
            "DELETE FROM stops",
        ),
        (
            "INSERT INTO stops (scope, key, reason, at) VALUES ('person', 'u1', 'stopped', EARLY)",
            "DELETE FROM stops",
        ),
        (
            "INSERT INTO stops (scope, key, reason, at) VALUES ('campaign', 'spring', 'stopped', EARLY)",
            "DELETE FROM stops",
        ),
    ] {
        tamper(&env, &sql.replace("EARLY", early));
        assert_eq!(breach().await, stopped, "{sql}");
        tamper(&env, undo);
        // A stop that came with the call or after it, one that had ended, and one of another person are none.
        tamper(&env, &sql.replace("EARLY", "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '+1 seconds')"));
        assert_eq!(breach().await, none, "{sql}");
        tamper(&env, undo);
    }
    tamper(
        &env,
        &format!("INSERT INTO stops (scope, key, reason, at) VALUES ('person', 'u2', 'stopped', {early})"),
    );
    assert_eq!(breach().await, none);
    tamper(
        &env,
        "INSERT INTO attempts (seq, number, account_id, run, gap_ms, started_at, monotonic_ms, fingerprint, kind) \
         SELECT seq, 2, account_id, run, gap_ms, started_at, monotonic_ms, fingerprint, kind FROM attempts",
    );
    let second = store.breach_of_call(Seq(1), 2).await.unwrap();
    assert_eq!(second, CallBreach { twice: true, ..none });
    store.close(at(1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_above_a_cap_is_found_and_counted() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_CAPS_ALL", "2/24h");
    let daemon = env.serve().await;
    let message = |chat: &str| json!({ "account_id": "acc_1", "chat_id": chat, "text": chat }).to_string();
    let limits = async || Printed::of(&daemon).await.get("outboxd_promises_broken_total{promise=\"limits\"}");
    let first = daemon.enqueue(&message("c1")).await;
    daemon.becomes(&first, "sent").await;
    assert_eq!(limits().await, 0.0);
    // Two more sends appear in the database while a call is under way, which the decision to send did not see.
    env.sandbox.fault(Fault::new(FaultKind::LatencyAfterDelivery(Duration::from_secs(2))));
    let second = daemon.enqueue(&message("c2")).await;
    env.delivered(2).await;
    tamper(
        &env,
        "INSERT INTO attempts (seq, number, account_id, run, gap_ms, started_at, monotonic_ms, fingerprint, kind, outcome, ended_at, phase) \
         SELECT seq, number + n.value, account_id, run, gap_ms, started_at, monotonic_ms, fingerprint, kind, outcome, ended_at, phase \
         FROM attempts, json_each('[1, 2]') n WHERE outcome = 'accepted'",
    );
    daemon.becomes(&second, "sent").await;
    assert!(eventually(async || limits().await == 1.0).await, "{}", env.log());
    assert!(env.log().contains("a promise was broken"));
    assert!(daemon.get("/v1/notices").await.1.to_string().contains("promise_broken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_the_metrics_are_bounded_and_a_head_that_does_not_come_ends_one() {
    let env = TestEnv::new().await.set("OUTBOXD_METRICS_LISTEN", "127.0.0.1:0");
    let daemon = env.serve().await;
    assert!(eventually(async || env.log().contains("serving metrics")).await, "{}", env.log());
    let log = env.log();
    let line = log.lines().find(|line| line.contains("serving metrics")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let address = line["address"].as_str().unwrap();
    let silent: Vec<std::net::TcpStream> =
        (0..16).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let client = reqwest::Client::builder().timeout(Duration::from_millis(300)).build().unwrap();
    let asked = async || client.get(format!("http://{address}/metrics")).send().await.is_ok();
    assert!(!asked().await, "all places are taken");
    drop(silent);
    assert!(eventually(async || asked().await).await, "places are free again");
    daemon.stop().await;
}

/// Returns the names of metrics in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !word(c)).filter(|name| name.starts_with("outboxd_")).collect()
}

#[test]
fn the_board_and_the_alerts_name_metrics_of_the_table_only() {
    let board = include_str!("../../packaging/grafana/outboxd.json");
    let alerts = include_str!("../../packaging/prometheus/alerts.yaml");
    let tests = include_str!("../../packaging/prometheus/alerts_test.yaml");
    let _is_json: Value = serde_json::from_str(board).unwrap();
    for text in [board, alerts, tests] {
        let unknown: Vec<&str> = names(text).into_iter().filter(|name| metric_of(name).is_none()).collect();
        let unknown: Vec<&&str> =
            unknown.iter().filter(|name| !TABLE.iter().any(|one| one.name == **name)).collect();
        assert!(unknown.is_empty(), "{unknown:?} are not in the table");
    }
    let shown = names(board);
    let of_board = |metric: &&Metric| shown.iter().any(|name| metric_of(name) == Some(*metric));
    let missing: Vec<&str> =
        TABLE.iter().filter(|metric| !of_board(metric)).map(|metric| metric.name).collect();
    assert_eq!(missing, ["outboxd_start_timestamp_seconds", "outboxd_webhooks_listening", "outboxd_notices"]);
}

#[test]
fn every_alert_has_a_test_and_a_place_in_the_runbook() {
    let alerts = include_str!("../../packaging/prometheus/alerts.yaml");
    let tests = include_str!("../../packaging/prometheus/alerts_test.yaml");
    let operations = include_str!("../../docs/operations.md");
    let anchors: BTreeSet<String> = operations
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with("##")))
        .map(|title| title.to_lowercase().replace(' ', "-").replace(['?', ',', '`'], ""))
        .collect();
    for line in alerts.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            assert!(tests.contains(&format!("- name: {name}\n")), "{name} has no unit test");
        }
        if let Some(anchor) = line.strip_prefix("runbook: docs/operations.md#") {
            assert!(anchors.contains(anchor), "docs/operations.md has no heading for {anchor}: {anchors:?}");
        }
    }
}
