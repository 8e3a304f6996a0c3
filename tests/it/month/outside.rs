//! What is around the daemon: the sandbox behind a network that can be cut, and receivers of webhooks.

use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use outboxd::clock::Clock;
use outboxd::sandbox::{Behaviour, Language, Sandbox, SandboxConfig, World};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::engine_pace::time::FakeClock;

/// A receiver of webhooks, and what it got.
#[derive(Default)]
pub(super) struct Receiver {
    /// The status of its answers.
    pub(super) status: AtomicU16,
    /// How long an answer takes, in seconds.
    pub(super) slow_s: AtomicU64,
    /// The newest event that it accepted.
    pub(super) newest: AtomicI64,
    pub(super) accepted: AtomicU64,
    /// Events that came too early: one before them was not accepted.
    pub(super) missed: AtomicU64,
}

impl Receiver {
    async fn answer(&self, body: &[u8], clock: &FakeClock) -> StatusCode {
        let slow = self.slow_s.load(Ordering::SeqCst);
        if slow > 0 {
            clock.sleep(Duration::from_secs(slow)).await;
        }
        let status = self.status.load(Ordering::SeqCst);
        if status == 200 {
            let event: Value = serde_json::from_slice(body).expect("JSON");
            let seq = event["data"]["seq"].as_i64().expect("a number");
            let newest = self.newest.fetch_max(seq, Ordering::SeqCst);
            self.accepted.fetch_add(1, Ordering::SeqCst);
            if newest > 0 && seq > newest + 1 {
                self.missed.fetch_add(1, Ordering::SeqCst);
            }
        }
        StatusCode::from_u16(status).expect("a status")
    }
}

/// Everything around the daemon, on a thread of its own.
pub(super) struct Outside {
    pub(super) world: Arc<World>,
    /// Address of the API: the network in front of the sandbox.
    pub(super) api: String,
    network: watch::Sender<bool>,
    pub(super) receivers: [Arc<Receiver>; 3],
    /// Addresses of the receivers.
    pub(super) urls: Vec<String>,
}

impl Outside {
    pub(super) fn start(clock: &FakeClock) -> Self {
        let (network, is_up) = watch::channel(true);
        let receivers: [Arc<Receiver>; 3] = Default::default();
        let (built, building) = mpsc::channel();
        let (time, all) = (clock.clone(), receivers.clone());
        std::thread::spawn(move || {
            let work = async move {
                let config = SandboxConfig {
                    // Virtual time, which passes in steps of minutes.
                    webhook_timeout: Duration::from_secs(86_400),
                    webhook_pauses: [60, 300, 1800, 7200].map(Duration::from_secs).to_vec(),
                    ..SandboxConfig::default()
                };
                let sandbox = Sandbox::start_on(config, Arc::new(time.clone())).await.expect("a sandbox");
                let mut servers = JoinSet::new();
                let urls = serve(&all, &time, &mut servers).await;
                let front = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let api = front.local_addr().expect("an address");
                let behind = sandbox.url().trim_start_matches("http://").to_owned();
                let world = Arc::clone(sandbox.world());
                built.send((world, format!("http://{api}"), urls)).expect("the scene waits");
                carry(front, behind, is_up).await;
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(work);
        });
        let (world, api, urls) = building.recv().expect("it is built");
        for receiver in &receivers {
            receiver.status.store(200, Ordering::SeqCst);
        }
        let hour = Duration::from_secs(3600);
        world.set_people(Behaviour::reads(hour));
        for person in 0..2000 {
            let behaviour = match person % 10 {
                3 => Behaviour::answers(hour * 3, "Call me on Tuesday."),
                5 => Behaviour::out_of_office(hour, None),
                7 if person % 20 == 7 => Behaviour::opts_out(hour * 2, Language::English),
                _ => continue,
            };
            world.set_person(&format!("ACoAA{person}"), behaviour);
        }
        Self { world, api, network, receivers, urls }
    }

    /// Cuts the network, or restores it.
    pub(super) fn set_network(&self, is_up: bool) {
        self.network.send_replace(is_up);
    }

    /// Creates an endpoint for webhooks to `url` at the sandbox; returns its secret.
    pub(super) fn endpoint(&self, url: &str) -> String {
        let events = [
            "message.new",
            "message.receipt.read",
            "message.receipt.delivery",
            "account.status.disconnected",
            "account.status.running",
        ];
        let body = json!({ "url": url, "trigger_events": events }).to_string();
        let request = axum::http::Request::builder()
            .method("POST")
            .uri("/v2/webhooks/endpoints/")
            .header("x-api-key", SandboxConfig::default().api_key)
            .header("content-type", "application/json")
            .body(body.into_bytes());
        let answer = self.world.answer(request.expect("a request")).into_body();
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        answer["secret"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }
}

/// Serves each receiver on an address of its own.
async fn serve(receivers: &[Arc<Receiver>], clock: &FakeClock, servers: &mut JoinSet<()>) -> Vec<String> {
    let mut urls = Vec::new();
    for receiver in receivers {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        urls.push(format!("http://{}/events", listener.local_addr().expect("an address")));
        let (receiver, clock) = (Arc::clone(receiver), clock.clone());
        let handler = move |body: Bytes| async move { receiver.answer(&body, &clock).await };
        let router = axum::Router::new().route("/events", axum::routing::post(handler));
        servers.spawn(async move { axum::serve(listener, router).await.expect("it serves") });
    }
    urls
}

/// Carries connections from `front` to `behind` while the network is up; refuses and cuts them otherwise.
async fn carry(front: TcpListener, behind: String, mut is_up: watch::Receiver<bool>) {
    let address = front.local_addr().expect("an address");
    let (mut front, mut open) = (Some(front), JoinSet::new());
    loop {
        let accept = async {
            match &front {
                Some(front) => front.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accept => {
                let Ok((mut client, _)) = accepted else { continue };
                let behind = behind.clone();
                open.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(&behind).await else { return };
                    let _cut_by_either = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
            Some(_ended) = open.join_next() => {}
            changed = is_up.changed() => {
                if changed.is_err() {
                    // The scene is over.
                    return;
                }
                let up = *is_up.borrow_and_update();
                front = None;
                if up {
                    front = Some(TcpListener::bind(address).await.expect("the same port"));
                } else {
                    open.abort_all();
                }
            }
        }
    }
}
