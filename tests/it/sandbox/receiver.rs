//! A receiver of webhooks: a real HTTP server on loopback that keeps what arrives and answers as told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use outboxd::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::{Bench, FOREVER, until};

/// A request that arrived.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    pub(super) signature: Option<String>,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

impl Hit {
    pub(super) fn event(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Returns `t` and `v0` of the signature.
    pub(super) fn signed(&self) -> (i64, String) {
        let header = self.signature.as_deref().expect("a signature");
        let (t, v0) = header.split_once(',').expect("two parts");
        let t = t.strip_prefix("t=").and_then(|t| t.parse().ok()).expect("seconds");
        (t, v0.strip_prefix("v0=").expect("a scheme").to_owned())
    }

    /// Returns what `v0` must be for `secret`, computed from the definition of HMAC (RFC 2104).
    pub(super) fn expected(&self, secret: &str) -> String {
        let mut key = secret.as_bytes().to_vec();
        assert!(key.len() <= 64, "a longer key would be hashed first");
        key.resize(64, 0);
        let padded = |pad: u8| key.iter().map(|byte| byte ^ pad).collect::<Vec<u8>>();
        let message = [self.signed().0.to_string().as_bytes(), b".", &self.body].concat();
        let inner = Sha256::digest([padded(0x36), message].concat());
        let outer = Sha256::digest([padded(0x5c).as_slice(), &inner].concat());
        outer.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[derive(Default)]
struct Kept {
    hits: Vec<Hit>,
    /// Statuses of the next answers; then 200. 0 means that the answer never comes.
    answers: VecDeque<u16>,
}

pub(super) struct Receiver {
    pub(super) url: String,
    kept: Arc<Mutex<Kept>>,
    _server: JoinSet<()>,
}

async fn receive(
    State(kept): State<Arc<Mutex<Kept>>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (signature, content_type) = (text("unipile-signature"), text("content-type").unwrap_or_default());
    let status = {
        let mut kept = kept.lock().expect("no panic");
        kept.hits.push(Hit { signature, content_type, body });
        kept.answers.pop_front().unwrap_or(200)
    };
    if status == 0 {
        SystemClock::new().sleep(FOREVER).await;
    }
    (StatusCode::from_u16(status).expect("a status"), "thanks")
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let kept = Arc::<Mutex<Kept>>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook?from=unipile", listener.local_addr().expect("an address"));
        let routes = axum::Router::new().route("/hook", post(receive)).with_state(kept.clone());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, routes).await.expect("it serves") });
        Self { url, kept, _server: server }
    }

    /// Lets the next requests be answered with these statuses.
    pub(super) fn answer_next(&self, statuses: &[u16]) {
        self.kept.lock().expect("no panic").answers.extend(statuses);
    }

    pub(super) fn hits(&self) -> Vec<Hit> {
        self.kept.lock().expect("no panic").hits.clone()
    }

    /// Returns the events that have arrived, oldest first.
    pub(super) fn events(&self) -> Vec<Value> {
        self.hits().iter().map(Hit::event).collect()
    }

    /// Returns the events of this type.
    pub(super) fn of(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["type"] == kind).collect()
    }

    /// Waits for the first `count` events.
    pub(super) async fn first(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} events"), || self.hits().len() >= count).await;
        let mut events = self.events();
        events.truncate(count);
        events
    }

    /// Waits for an event that `wanted` accepts.
    pub(super) async fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        until(what, || self.events().iter().any(&wanted)).await;
        self.events().into_iter().find(wanted).expect("it was there")
    }

    /// Registers itself for `events`, and returns the endpoint.
    pub(super) async fn register(&self, bench: &Bench, events: &[&str]) -> Value {
        self.register_with(bench, events, json!([])).await
    }

    pub(super) async fn register_with(&self, bench: &Bench, events: &[&str], accounts: Value) -> Value {
        let body = json!({ "url": self.url, "trigger_events": events, "account_ids": accounts });
        let (status, endpoint) = bench.post("/v2/webhooks/endpoints/", body).await;
        assert_eq!(status, 200, "{endpoint}");
        endpoint
    }
}
