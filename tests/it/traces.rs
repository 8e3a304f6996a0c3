//! Traces by OTLP: a collector on loopback receives the spans of two processes under one trace.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use outboxd::sandbox::{Endpoint, Fault, FaultKind};
use serde_json::{Value, json};

use crate::daemon::{TestEnv, eventually};

/// A collector, and the spans that it received.
#[derive(Clone)]
struct Collector {
    url: String,
    spans: Arc<Mutex<Vec<Value>>>,
    _server: Arc<tokio::task::JoinSet<()>>,
}

impl Collector {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        let take = move |body: Bytes| async move {
            let request: Value = serde_json::from_slice(&body).unwrap();
            let resource = &request["resourceSpans"][0];
            assert_eq!(resource["resource"]["attributes"][0]["value"]["stringValue"], "outboxd");
            let found = resource["scopeSpans"][0]["spans"].as_array().unwrap().clone();
            kept.lock().unwrap().extend(found);
            "{}"
        };
        let router = axum::Router::new().route("/v1/traces", axum::routing::post(take));
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, spans, _server: Arc::new(server) }
    }

    /// Waits for a span of this name in the trace of a message; returns all of the trace.
    async fn has(&self, id: &str, name: &str) -> Vec<Value> {
        let trace = id.replace('-', "");
        let of = || {
            let all = self.spans.lock().unwrap();
            all.iter().filter(|span| span["traceId"] == trace.as_str()).cloned().collect::<Vec<_>>()
        };
        let there = eventually(async || of().iter().any(|span| span["name"] == name)).await;
        assert!(there, "no {name} in {:#?}", of());
        of()
    }
}

fn named<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
    spans.iter().filter(|span| span["name"] == name).collect()
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a str {
    let all = span["attributes"].as_array().unwrap().iter();
    let found = all.clone().find(|one| one["key"] == name);
    found.unwrap_or_else(|| panic!("{span}"))["value"]["stringValue"].as_str().unwrap()
}

fn nanoseconds(span: &Value, name: &str) -> u128 {
    span[name].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_holds_the_spans_of_both_processes_from_enqueue_to_sent() {
    let collector = Collector::start().await;
    let env = TestEnv::new()
        .await
        .hasty()
        .reconciling("200ms")
        .set("OUTBOXD_POLICY_DEFAULT_TYPING_ENABLED", "true")
        .set("OUTBOXD_POLICY_DEFAULT_TYPING_MAX", "2s")
        .set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "1500ms")
        .set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "1500ms")
        .set("OUTBOXD_TRACES_ENDPOINT", &collector.url);
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "{}").await;
    let message = json!({ "account_id": "acc_1", "chat_id": "c_private", "text": "a private text" });
    let id = daemon.enqueue(&message.to_string()).await;
    collector.has(&id, "enqueue").await;
    daemon.kill();

    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }).at(Endpoint::SendMessage));
    let daemon = env.serve().await;
    let second = daemon.enqueue(&message.to_string().replace("c_private", "c_second")).await;
    daemon.post("/v1/resume", "{}").await;
    daemon.becomes(&id, "sent").await;
    collector.has(&id, "reconcile").await;
    collector.has(&id, "typing").await;
    let spans = collector.has(&id, "message").await;
    let root = named(&spans, "message")[0];
    assert_eq!((&root["parentSpanId"], attribute(root, "state")), (&json!(""), "sent"));
    for span in spans.iter().filter(|span| span["name"] != "message") {
        assert_eq!(span["parentSpanId"], root["spanId"], "{span}");
        assert!(nanoseconds(span, "startTimeUnixNano") <= nanoseconds(span, "endTimeUnixNano"), "{span}");
        assert_eq!(
            (span["spanId"].as_str().unwrap().len(), span["traceId"].as_str().unwrap().len()),
            (16, 32)
        );
    }
    let attempt = named(&spans, "attempt")[0];
    assert_eq!((attribute(attempt, "outcome"), attribute(attempt, "status")), ("uncertain", "none"));
    assert_eq!((&attempt["status"]["code"], &attempt["kind"]), (&json!(2), &json!(3)));
    assert_eq!(attribute(named(&spans, "reconcile")[0], "finding"), "found");
    let waited = collector.has(&second, "wait").await;
    assert!(named(&waited, "wait").iter().any(|span| attribute(span, "reason") == "gap"), "{waited:#?}");
    let all = Value::Array(spans).to_string();
    assert!(!all.contains("private"), "{all}");

    // A row of another program is admitted.
    let inserted =
        env.sql("INSERT INTO messages (account_id, chat_id, text) VALUES ('acc_2', 'c2', 'x') RETURNING id");
    let spans = collector.has(&inserted[0], "message").await;
    assert_eq!(named(&spans, "admit").len(), 1, "{spans:#?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_slows_nothing_and_what_waits_is_exported_at_the_end() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let env = TestEnv::new().await.hasty().set("OUTBOXD_TRACES_ENDPOINT", &url);
    let daemon = env.serve().await;
    let rows: Vec<String> = (0..100)
        .map(|n| json!({ "account_id": "acc_1", "chat_id": format!("c{n}"), "text": "x" }).to_string())
        .collect();
    daemon.post_as("/v1/messages", "application/x-ndjson", rows.join("\n").into()).await;
    env.delivered(100).await;
    let clock = outboxd::clock::SystemClock::new();
    daemon.stop().await;
    assert!(outboxd::clock::Clock::monotonic(&clock) < Duration::from_secs(20), "it stops in time");
}
