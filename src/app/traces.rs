//! Exports spans as OTLP in JSON over HTTP (feature `otlp`, `traces.endpoint`): a batch at a time, in the background.
//!
//! An export that fails is tried again a few times and then dropped: traces explain, they prove nothing. See
//! docs/decisions/0011 for why no library does this.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::Settings;
use crate::engine::EngineHandle;
use crate::provider::Receiver;
use crate::store::Store;
use crate::tasks::Tasks;
use crate::traces::{MESSAGE, Span};

/// Spans of one request.
const AT_ONCE: usize = 512;
/// How long spans wait for others.
const GATHER: Duration = Duration::from_secs(1);
/// Pauses before a request is repeated.
const AGAIN: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];
/// How long the last request may take when the daemon stops.
const LAST: Duration = Duration::from_secs(2);

/// Exports spans until the engine stops, if the configuration has an endpoint.
pub(super) fn spawn(
    tasks: &Tasks,
    settings: &Settings,
    store: &Store,
    engine: EngineHandle,
) -> anyhow::Result<Option<JoinHandle<()>>> {
    let Some(endpoint) = &settings.traces_endpoint else { return Ok(None) };
    let Some(spans) = store.traces().open() else { return Ok(None) };
    let receiver = Receiver::new(format!("{endpoint}/v1/traces"));
    let receiver = receiver.context("cannot make the client for traces.endpoint")?;
    tracing::info!(endpoint, "exporting traces");
    let exporter = Exporter { receiver, store: store.clone(), clock: Arc::clone(engine.clock()) };
    Ok(Some(tasks.spawn("traces", exporter.run(spans, engine))))
}

struct Exporter {
    receiver: Receiver,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Exporter {
    async fn run(self, mut spans: mpsc::Receiver<Span>, engine: EngineHandle) {
        let mut batch = Vec::new();
        let mut dropped = 0;
        loop {
            tokio::select! {
                () = engine.stopping() => break,
                count = spans.recv_many(&mut batch, AT_ONCE) => if count == 0 { break },
            }
            tokio::select! {
                () = engine.stopping() => break,
                () = self.clock.sleep(GATHER) => {}
            }
            while batch.len() < AT_ONCE
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
            let lost = tokio::select! {
                () = engine.stopping() => break,
                lost = self.export(&batch) => lost,
            };
            batch.clear();
            let more = self.store.traces().dropped() - dropped;
            if lost + more > 0 {
                tracing::warn!(
                    spans = lost + more,
                    "spans were dropped: traces.endpoint does not take them in time"
                );
                dropped += more;
            }
        }
        // Calls in progress record their end.
        self.clock.sleep(GATHER).await;
        while let Ok(span) = spans.try_recv() {
            batch.push(span);
        }
        if !batch.is_empty() {
            tokio::select! {
                _taken = self.post(&batch) => {}
                () = self.clock.sleep(LAST) => {}
            }
        }
    }

    /// Posts a batch; returns how many spans were given up.
    async fn export(&self, batch: &[Span]) -> u64 {
        for pause in AGAIN {
            if self.post(batch).await {
                return 0;
            }
            self.clock.sleep(pause).await;
        }
        if self.post(batch).await { 0 } else { batch.len() as u64 }
    }

    async fn post(&self, batch: &[Span]) -> bool {
        let posted = self.receiver.post([], request(batch).to_string(), self.clock.now()).await;
        posted
            .inspect_err(|failed| tracing::debug!(problem = failed.problem, "spans were not exported"))
            .is_ok()
    }
}

/// Returns the request `ExportTraceServiceRequest`, in the JSON encoding of OTLP.
fn request(batch: &[Span]) -> Value {
    let resource = [("service.name", "outboxd"), ("service.version", env!("CARGO_PKG_VERSION"))];
    let spans: Vec<Value> = batch.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": resource.map(|(name, value)| attribute(name, value)) },
        "scopeSpans": [{ "scope": { "name": "outboxd" }, "spans": spans }],
    }] })
}

fn span(span: &Span) -> Value {
    /// Of the specification: internal work, and a request to another service.
    const KINDS: [u8; 2] = [1, 3];
    let root = root_id(span);
    let (id, parent) = if span.name == MESSAGE { (root, String::new()) } else { (span_id(span), root) };
    let attributes: Vec<Value> = span.attributes.iter().map(|(name, value)| attribute(name, value)).collect();
    json!({
        "traceId": span.message.0.simple().to_string(),
        "spanId": id,
        "parentSpanId": parent,
        "name": span.name,
        "kind": KINDS[usize::from(span.name == "attempt")],
        "startTimeUnixNano": span.from.as_nanosecond().to_string(),
        "endTimeUnixNano": span.until.as_nanosecond().to_string(),
        "attributes": attributes,
        "status": if span.is_error { json!({ "code": 2 }) } else { json!({}) },
    })
}

fn attribute(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

/// Returns the id of the first span of a trace, which every process computes from the message alone.
fn root_id(span: &Span) -> String {
    hash([MESSAGE.as_bytes(), span.message.0.as_bytes()])
}

/// Returns the id of another span.
fn span_id(span: &Span) -> String {
    let time = format!("{} {}", span.from.as_nanosecond(), span.until.as_nanosecond());
    let attributes = format!("{:?}", span.attributes);
    hash([span.name.as_bytes(), span.message.0.as_bytes(), time.as_bytes(), attributes.as_bytes()])
}

fn hash<const N: usize>(parts: [&[u8]; N]) -> String {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
