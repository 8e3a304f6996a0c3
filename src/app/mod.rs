//! The composition root: assembles the parts for `serve`, `demo` and the tests, and shuts them down.
//!
//! The order matters. Start: lock and open the queue, recover what the last run left, start the engine, open the
//! socket. Stop: close the socket and start nothing new, give calls in flight their grace period, close the queue.

mod demo;
mod demo_replies;
pub mod doctor;
mod doors;
mod housekeeping;
mod limits;
mod listeners;
mod metrics;
mod open_files;
mod outbound;
mod place;
mod reload;
mod sandbox;
mod serve;
mod status_line;
#[cfg(feature = "otlp")]
mod traces;
mod ui;
mod watch_files;
mod watchdog;
mod webhooks;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::{Clock, SystemClock, ambient_seed};
use crate::config::{RetentionSettings, Settings};
use crate::engine::{Engine, EngineHandle, EngineParts, Recovered, RequestRates};
use crate::http::{ApiTokens, AppParts, AppState, AttachmentRules, SocketName};
use crate::inbound::{Arrived, Interpreter};
use crate::intake;
use crate::provider::{Dialect, Provider, Unipile, UnipileOptions};
use crate::store::{Store, StoreOptions};
use crate::tasks::{Pulse, Tasks};
use crate::telemetry;
use housekeeping::Housekeeping;
use listeners::Listeners;
use outbound::Receivers;
use webhooks::WebhookListener;

pub use crate::domain::parse_time;
pub use crate::domain::token::{Role, Token};
pub use demo::{DemoOptions, demo};
pub use demo_replies::demo_replies;
pub use place::{check_place, check_sockets, check_webhook_secret};
pub use reload::Reloader;
pub use sandbox::sandbox;
pub use serve::serve;
pub use ui::{Ui, UiOptions, ui};

/// How long client requests in progress may take to finish when the daemon stops.
const CLOSING_REQUESTS: Duration = Duration::from_secs(5);

/// After a task has failed, how long the others may take to store the outcomes of their calls.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// A running daemon.
pub struct Application {
    engine: Engine,
    store: Store,
    state: Arc<AppState>,
    tasks: Tasks,
    http: Vec<JoinHandle<()>>,
    intake: JoinHandle<()>,
    webhook_listener: Option<JoinHandle<()>>,
    interpreter: JoinHandle<()>,
    housekeeping: JoinHandle<()>,
    outbound: JoinHandle<()>,
    receivers: Receivers,
    intake_pulse: Arc<Pulse>,
    clock: Arc<dyn Clock>,
    retention: watch::Sender<RetentionSettings>,
    /// Path of the socket.
    pub socket: PathBuf,
    socket_names: Vec<SocketName>,
    tokens: ApiTokens,
    grace: Duration,
}

/// Returns how to reach the Unipile API.
fn unipile_options(settings: &Settings, clock: &Arc<dyn Clock>) -> anyhow::Result<UnipileOptions> {
    let unipile = &settings.unipile;
    Ok(UnipileOptions {
        base_url: unipile.base_url.clone(),
        api_key: settings.require_api_key()?,
        ca: settings.require_ca()?,
        dialect: if unipile.guide_dialect { Dialect::Guide } else { Dialect::Specifics },
        connect_timeout: unipile.connect_timeout,
        request_timeout: unipile.request_timeout,
        clock: Arc::clone(clock),
    })
}

fn rates(settings: &Settings) -> RequestRates {
    let unipile = &settings.unipile;
    RequestRates {
        total: unipile.requests_per_second,
        burst: unipile.burst,
        account: unipile.account_requests_per_second,
    }
}

fn door_parts(
    settings: &Settings,
    store: Store,
    engine: EngineHandle,
    recovered: Recovered,
    warnings: Vec<String>,
    listener: Option<&WebhookListener>,
) -> AppParts {
    AppParts {
        store,
        engine,
        limits: settings.rules(),
        attachments: AttachmentRules {
            max_bytes: settings.limits.attachment_bytes as u64,
            roots: settings.attachments.roots.clone(),
        },
        body_bytes: settings.api.body_bytes,
        batch_rows: settings.api.batch_rows,
        atomic_rows: settings.api.atomic_rows,
        backup_folder: settings.store.backup_folder.clone(),
        recovered,
        warnings,
        policy_resolver: limits::policy_resolver(&settings.policy_book),
        dropped_log_lines: telemetry::dropped_lines,
        webhooks: listener.map(WebhookListener::webhooks),
        webhook_events: settings.webhooks.events.clone(),
        hooks: outbound::configured(settings),
        dashboard_bodies: settings.dashboard_bodies,
    }
}

/// Opens the queue and binds the sockets. A daemon that cannot be reached must not start: it would send, or leave a new queue.
async fn open(settings: &Settings, now: Timestamp) -> anyhow::Result<(Store, Listeners)> {
    if let Ok(false) = Store::exists(&settings.store.path) {
        let listeners = Listeners::bind(settings).await?;
        return Ok((open_store(settings, now).await?, listeners));
    }
    Ok((open_store(settings, now).await?, Listeners::bind(settings).await?))
}

/// Opens the queue, and adds a row for each account that the configuration names.
async fn open_store(settings: &Settings, now: Timestamp) -> anyhow::Result<Store> {
    let options = StoreOptions { path: settings.store.path.clone(), readers: settings.store.readers };
    let store = Store::open(&options, now).await.map_err(|error| match place::refused(&error) {
        Some(refused) => refused.into(),
        None => {
            let what = format!("cannot open the queue {}", options.path.display());
            anyhow::Error::new(error).context(what)
        }
    })?;
    let configured = settings.policies.accounts.keys().cloned().collect();
    store.make_accounts(configured, now).await.context("cannot add the configured accounts")?;
    store.set_repeat_scope(settings.limits.repeats);
    let hashed = store.hash_suppressions(settings.hashed_suppressions, now).await;
    let hashed = hashed.context("cannot hash the suppression list")?;
    if hashed > 0 {
        tracing::info!(hashed, "entries of the suppression list are kept as hashes from now on");
    }
    Ok(store)
}

/// Returns the seed of the gaps and delays, and logs it.
fn seed(settings: &Settings) -> u64 {
    let seed = settings.engine.seed.unwrap_or_else(ambient_seed);
    tracing::info!(seed, "gaps and delays are drawn from this seed");
    seed
}

/// Returns what the engine is built from, with the policies in force.
async fn engine_parts(
    settings: &Settings,
    store: Store,
    provider: Arc<dyn Provider>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<EngineParts> {
    let policies = limits::in_force(&store, settings, clock.now()).await?;
    Ok(EngineParts {
        store,
        provider,
        clock,
        policies,
        rates: rates(settings),
        snapshot_age: settings.accounts.refresh,
        poll: settings.poll,
        stale_after: settings.engine.stale_after,
        seed: seed(settings),
    })
}

/// Removes what was kept long enough, until the engine stops. What is sent to the channel changes how long that is.
fn spawn_housekeeping(
    tasks: &Tasks,
    store: &Store,
    engine: EngineHandle,
    clock: &Arc<dyn Clock>,
    settings: &Settings,
) -> (JoinHandle<()>, watch::Sender<RetentionSettings>) {
    let (store, clock) = (store.clone(), Arc::clone(clock));
    let hashes_suppressions = settings.hashed_suppressions;
    let (changes, retention) = watch::channel(settings.retention);
    let housekeeping = Housekeeping { store, engine, clock, retention, hashes_suppressions };
    (tasks.spawn("housekeeping", housekeeping.run()), changes)
}

impl Application {
    /// Starts the daemon as `settings` describe, with the Unipile API that they name.
    ///
    /// # Errors
    /// Returns why the daemon cannot run; in that case nothing was sent and nothing runs.
    pub async fn start(settings: &Settings, warnings: Vec<String>) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let options = unipile_options(settings, &clock)?;
        place::check_webhook_secret(settings)?;
        place::check_sockets(settings)?;
        settings.require_usable_proxy()?;
        if let Some(sentence) = settings.unipile.proxy.sentence() {
            tracing::info!("{sentence}");
        }
        let provider = Unipile::new(&options).context("cannot make the client of the Unipile API")?;
        Self::start_with(settings, warnings, Arc::new(provider), clock).await
    }

    /// Starts the daemon with the given provider and clock.
    /// # Errors
    /// See [`Application::start`].
    pub async fn start_with(
        settings: &Settings,
        warnings: Vec<String>,
        provider: Arc<dyn Provider>,
        clock: Arc<dyn Clock>,
    ) -> anyhow::Result<Self> {
        let (store, Listeners { webhooks, metrics: metrics_door, doors }) =
            open(settings, clock.now()).await?;
        let arrived = Arrived::default();
        let listener = WebhookListener::new(settings, webhooks, &store, &clock, &arrived).await?;
        let parts = engine_parts(settings, store.clone(), provider, Arc::clone(&clock)).await?;
        let commits = store.watch().await.context("cannot watch the queue")?;
        let commands = store.watch_commands().await.context("cannot watch the queue")?;
        let ended = store.watch_ended_stops().await.context("cannot watch the queue")?;
        let (engine, recovered) = Engine::start(parts).await.context("cannot take stock of the queue")?;
        let parts = door_parts(
            settings,
            store.clone(),
            engine.handle(),
            recovered,
            place::with_host_warnings(warnings, &store, clock.as_ref()),
            listener.as_ref(),
        );
        let state = AppState::new(parts);
        let tasks = Tasks::default();
        let intake_pulse = commits.pulse();
        let intake = tasks.spawn("intake", intake::run(Arc::clone(&state), commits, commands, ended));
        let webhooks = state.webhooks.clone();
        let interpreter = Interpreter { store: store.clone(), engine: engine.handle(), arrived, webhooks };
        let interpreter = tasks.spawn("webhook interpreter", interpreter.run());
        let (housekeeping, retention) = spawn_housekeeping(&tasks, &store, engine.handle(), &clock, settings);
        let (outbound, receivers) = outbound::spawn(&tasks, settings, &store, engine.handle()).await?;
        let webhook_listener =
            listener.map(|listener| listener.spawn(&tasks, store.clone(), engine.handle()));
        let (socket_names, tokens) = (doors.names(), doors.tokens());
        let mut http = doors.spawn(&tasks, &state, &engine.handle());
        http.extend(metrics::spawn(&tasks, metrics_door, &state, &clock));
        #[cfg(feature = "otlp")]
        http.extend(traces::spawn(&tasks, settings, &store, engine.handle())?);
        Ok(Self {
            engine,
            store,
            state,
            tasks,
            http,
            intake,
            webhook_listener,
            interpreter,
            housekeeping,
            outbound,
            receivers,
            intake_pulse,
            clock,
            retention,
            socket: settings.api.socket.clone(),
            socket_names,
            tokens,
            grace: settings.engine.shutdown_grace,
        })
    }

    /// Returns a handle to the engine.
    pub fn engine(&self) -> EngineHandle {
        self.engine.handle()
    }

    /// Returns the queue.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Runs until the first signal from `stop`, then stops gracefully; a second signal stops at once.
    ///
    /// # Errors
    /// An essential task ended or hangs (P9), or the end of the run could not be stored; the next start recovers.
    pub async fn run_until_stopped(
        self,
        mut stop: impl Stream<Item = &'static str> + Unpin,
        watchdog: Option<Duration>,
    ) -> anyhow::Result<ExitCode> {
        let parts = watchdog::parts(&self.store, &self.engine(), Arc::clone(&self.intake_pulse));
        let failed: anyhow::Error = tokio::select! {
            biased;
            Some(signal) = stop.next() => return self.stop_on(signal, stop).await,
            ended = self.store.tasks().ended() => ended.into(),
            ended = self.engine.tasks().ended() => ended.into(),
            ended = self.tasks.ended() => ended.into(),
            reason = watch_files::taken_away(&self.store, &self.socket_names, self.clock.as_ref()) => {
                anyhow::anyhow!(reason)
            }
            Err(stalled) = watchdog::watch(parts, Arc::clone(&self.clock), watchdog) => stalled.into(),
            never = status_line::report(&self.state, self.clock.as_ref()) => match never {},
        };
        tracing::error!(error = %failed, "the daemon cannot go on and ends; what is on its way is settled by the next start");
        let clock = Arc::clone(&self.clock);
        tokio::select! {
            _what_can_still_be_stored = self.stop() => {}
            () = clock.sleep(AFTER_FAILURE) => {}
        }
        Err(failed)
    }

    async fn stop_on(
        self,
        signal: &'static str,
        mut stop: impl Stream<Item = &'static str> + Unpin,
    ) -> anyhow::Result<ExitCode> {
        tracing::info!(signal, "stopping; a second signal stops at once");
        let status = NotifyState::Status("stopping: calls in progress may finish");
        serve::notify_systemd(&[NotifyState::Stopping, status]);
        tokio::select! {
            stopped = self.stop() => stopped?,
            Some(signal) = stop.next() => {
                tracing::warn!(signal, "stopped at once; calls that were on their way are looked at by the next start");
                return Ok(ExitCode::FAILURE);
            }
        }
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }

    /// Returns the essential tasks, with a way to end each, for tests.
    #[doc(hidden)]
    pub fn all_tasks(&self) -> [Tasks; 3] {
        [self.store.tasks().clone(), self.engine.tasks().clone(), self.tasks.clone()]
    }

    /// Stops: closes the socket, lets calls in flight finish within their grace period, and closes the queue.
    ///
    /// # Errors
    /// Returns an error if the queue cannot record the end of the run; the queue is intact nevertheless.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.tasks.may_end();
        self.engine.stop(self.grace).await;
        let closing = async {
            for door in self.http {
                let _served_until_the_end = door.await;
            }
            if let Some(listener) = self.webhook_listener {
                let _served_until_the_end = listener.await;
            }
            self.state.finish().await;
        };
        tokio::select! {
            () = closing => {}
            () = self.clock.sleep(CLOSING_REQUESTS) => tracing::warn!("requests that did not end were cut off"),
        }
        let ended = (self.intake.await, self.interpreter.await, self.housekeeping.await, self.outbound.await);
        let _ended_with_the_engine = ended;
        self.store.close(self.clock.now()).await.context("the queue could not note the end of this run")
    }
}
