//! A fake of the Unipile API v2 and of the LinkedIn behind it, served over real HTTP on loopback.
//!
//! Tests, the demo and the benchmarks run the real client against it. It is strict about requests, so that a body
//! which the service would refuse or silently cut is noticed here. It keeps its own ledger of what reached whom and
//! when; tests check this ledger, never the daemon's own word. Faults are injected on demand ([`Fault`],
//! [`WebhookFault`]). People answer as their [`Behaviour`] says, and webhooks report what happens.
//!
//! `server` owns sockets and tasks, `http`, `verbs` and `people_verbs` the routes for people, `methods` the path of a
//! request through `/v2`, `requests`, `webhook_requests` and `reads` the checks of their formats, `state` what requests
//! do, `publish` what follows from it, `acts` what people and owners do, `webhooks` and `posts` who hears of it,
//! `deliver` the HTTP of it, `views` the answers to reads, `world` all of it for tests. Of our own code it may name only `crate::clock`: it must not share a type, and with
//! it a mistake, with the client it checks. It never listens on anything but loopback.

mod account;
mod acts;
mod agenda;
mod attachment;
mod cache;
mod chat;
mod deliver;
mod endpoint;
mod event;
mod faults;
mod http;
mod ledger;
mod methods;
mod people;
mod people_verbs;
mod posts;
mod profiles;
mod publish;
mod query;
mod reads;
mod reply;
mod requests;
mod server;
mod service;
mod specifics;
mod state;
mod strict;
mod verbs;
mod views;
mod webhook_faults;
mod webhook_requests;
mod webhooks;
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, SystemClock};

pub use acts::Written;
pub use attachment::{Attachment, SendMode};
pub use chat::ByHand;
pub use endpoint::Endpoint;
pub use faults::{Fault, FaultKind};
pub use ledger::{Call, Delivery, DeliveryKind, ForwardSource};
pub use people::{Answer, Behaviour, Language};
pub use posts::Post;
pub use profiles::Profile;
pub use webhook_faults::{IsSenderForm, WebhookFault, WebhookFaultKind};
pub use world::World;

/// Configuration of a sandbox. The default listens on a free port of 127.0.0.1 and accepts every account and chat.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Address to listen on; only loopback addresses are accepted, port 0 picks a free port.
    pub listen: SocketAddr,
    /// The only `X-API-KEY` that is accepted.
    pub api_key: String,
    /// Accounts that exist; `None` means that each `acc_…` exists from its first use.
    pub accounts: Option<Vec<String>>,
    /// Whether an unknown chat id is created on its first use, and an unknown message can be forwarded. An id that
    /// starts with `missing` never exists.
    pub any_chat: bool,
    /// Whether request bodies, texts and the content of attachments are kept. Without them a load test needs far less
    /// memory, and reads return messages with an empty text.
    pub keep_bodies: bool,
    /// Seed that the ids of chats and messages begin with, so that two runs with different seeds never produce the
    /// same id. With 0 they are plain numbers, for tests that name them.
    pub seed: u64,
    /// Time that the receiver of a webhook has to answer.
    pub webhook_timeout: Duration,
    /// Pauses before the second, third, … attempt to deliver a webhook; then the sandbox gives up.
    pub webhook_pauses: Vec<Duration>,
}

impl SandboxConfig {
    /// Returns the `nth` id of this run.
    fn number(&self, nth: u64) -> String {
        match self.seed {
            0 => format!("{nth:06}"),
            seed => format!("{seed:08x}-{nth:06}"),
        }
    }
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            api_key: "sandbox-key".to_owned(),
            accounts: None,
            any_chat: true,
            keep_bodies: true,
            seed: 0,
            webhook_timeout: Duration::from_secs(5),
            webhook_pauses: [200, 1_000, 5_000].map(Duration::from_millis).into(),
        }
    }
}

/// A running sandbox. Dropping it cancels its tasks; [`Sandbox::stop`] also waits for them.
#[derive(Debug)]
pub struct Sandbox {
    address: SocketAddr,
    world: Arc<World>,
    tasks: TaskTracker,
    stop: DropGuard,
}

impl Sandbox {
    /// Binds `config.listen` and serves from then on.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if the address is not a loopback address, otherwise the error of the bind.
    pub async fn start(config: SandboxConfig) -> std::io::Result<Sandbox> {
        Self::start_on(config, Arc::new(SystemClock::new())).await
    }

    /// Starts a sandbox whose time is that of `clock`, for a simulation.
    ///
    /// # Errors
    ///
    /// See [`Sandbox::start`].
    pub async fn start_on(config: SandboxConfig, clock: Arc<dyn Clock>) -> std::io::Result<Sandbox> {
        if !config.listen.ip().is_loopback() {
            return Err(std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                format!(
                    "the sandbox listens on loopback only, not on {}: use 127.0.0.1 or [::1]",
                    config.listen
                ),
            ));
        }
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let world = Arc::new(World::new(config, clock));
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let service =
            service::Service { world: Arc::clone(&world), tasks: tasks.clone(), stop: stop.clone() };
        tasks.spawn(deliver::run(service.clone()));
        tasks.spawn(server::accept(listener, service));
        Ok(Sandbox { address, world, tasks, stop: stop.drop_guard() })
    }

    /// Returns the base URL, without a trailing slash: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns what exists in the sandbox and what has happened to it.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Adds `fault` for future requests, after the faults that are already there.
    pub fn fault(&self, fault: Fault) {
        self.world.add_fault(fault);
    }

    /// Refuses new connections, cuts the open ones, abandons injected latencies, and waits until everything has
    /// ended.
    pub async fn stop(self) {
        let Sandbox { tasks, stop, .. } = self;
        drop(stop); // cancels the token
        tasks.close();
        tasks.wait().await;
    }
}
