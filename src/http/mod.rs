//! The HTTP API: HTTP/1.1 on Unix sockets, and on TCP for bearers of tokens. `docs/http.md` is the contract.
//!
//! `routes.rs` lists the routes; each is in the file named after its noun. A handler checks what only it can see (JSON,
//! fields, types), passes a draft to the one validation in `domain/validate.rs`, calls one function of the store, wakes
//! the engine, and fills the answer, a type of `types/`. It contains no SQL and nothing specific to Unipile.
//!
//! A handler's future is dropped when its client hangs up, so work that must happen after a commit (waking the
//! engine) runs in a separate task (`AppState::spawn_detached`).

mod access;
mod account_snapshot;
mod accounts;
mod activation;
mod atomic;
pub(crate) mod attachments;
mod body;
mod campaigns;
mod commands;
mod dashboard;
mod drain;
mod endpoints;
mod error;
mod events;
mod forecast;
mod health;
mod hooks;
mod input;
mod messages;
mod messages_in;
mod metrics;
mod multipart;
mod notices;
mod openapi;
mod operations;
mod people;
mod policy;
mod query;
mod render;
mod review;
mod routes;
mod serving;
mod slow;
mod socket;
mod status;
mod stops;
mod tcp;
mod verdicts;
mod webhooks;
mod wire;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, RwLock};

use axum::extract::{Query, State};
use axum::http::header;
use axum::middleware;
use axum::response::IntoResponse;
use axum::{Json, Router};
use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::TaskTracker;

use crate::domain::validate::ValidationLimits;
use crate::engine::{EngineHandle, Recovered};
use crate::inbound::Webhooks;
use crate::store::Store;
use openapi::Route;

pub use access::{ApiTokens, read_only, with_tokens};
pub use activation::{PassedError, PassedSockets};
pub use attachments::AttachmentRules;
pub use dashboard::READ_ONLY;
pub use error::ApiError;
pub use hooks::ConfiguredHook;
pub use metrics::metrics_router;
pub use policy::PolicyResolver;
pub use slow::Patience;
pub use socket::{Socket, SocketError, SocketName};
pub use tcp::{TcpDoor, TcpError};

/// The state of the API, as a handler takes it.
type App = State<Arc<AppState>>;

/// The parameters of a query, in their order.
type Parameters = Query<Vec<(String, String)>>;

/// What a handler returns.
type Answer<T> = Result<Json<T>, ApiError>;

const WITHOUT_SECRET: &str = "webhooks.listen has no secret: every webhook is refused, and the daemon does not start again; \
                              run `outboxd webhook register`, or take webhooks.listen out";

/// What the HTTP API and the intake of SQL rows are built from.
pub struct AppParts {
    /// Handle to the queue.
    pub store: Store,
    /// Handle to the engine.
    pub engine: EngineHandle,
    /// Limits of the validation.
    pub limits: ValidationLimits,
    /// Limits for attachments.
    pub attachments: AttachmentRules,
    /// Maximum size of a request body, in bytes.
    pub body_bytes: usize,
    /// Maximum number of rows in one commit.
    pub batch_rows: usize,
    /// Maximum number of rows in an atomic batch.
    pub atomic_rows: usize,
    /// Folder of the backups; `None`: the default folder next to the queue.
    pub backup_folder: Option<PathBuf>,
    /// What the start recovered from the last run.
    pub recovered: Recovered,
    /// Warnings about the configuration.
    pub warnings: Vec<String>,
    /// Computes a policy from changed rules.
    pub policy_resolver: PolicyResolver,
    /// Returns the number of log lines dropped since the start.
    pub dropped_log_lines: fn() -> u64,
    /// The receiver of webhooks; `None` without a listener.
    pub webhooks: Option<Arc<Webhooks>>,
    /// The receivers of events.
    pub hooks: Vec<ConfiguredHook>,
    /// The events for which an endpoint is registered.
    pub webhook_events: Vec<String>,
    /// Whether the pages of the dashboard may show the texts of messages.
    pub dashboard_bodies: bool,
}

/// A reload of the configuration that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedReload {
    /// When it was tried.
    pub at: Timestamp,
    /// What is wrong with the configuration.
    pub problem: String,
}

/// State shared by all handlers.
pub struct AppState {
    pub(crate) store: Store,
    pub(crate) engine: EngineHandle,
    limits: RwLock<Arc<ValidationLimits>>,
    pub(crate) attachments: AttachmentRules,
    body_bytes: usize,
    batch_rows: usize,
    atomic_rows: usize,
    backup_folder: Option<PathBuf>,
    pub(crate) recovered: Recovered,
    warnings: RwLock<Vec<String>>,
    refused_reload: RwLock<Option<RefusedReload>>,
    policy_resolver: RwLock<PolicyResolver>,
    dropped_log_lines: fn() -> u64,
    pub(crate) webhooks: Option<Arc<Webhooks>>,
    webhook_events: RwLock<Vec<String>>,
    hooks: RwLock<Vec<ConfiguredHook>>,
    dashboard_bodies: bool,
    uploads: dashboard::Uploads,
    renderings: dashboard::Renderings,
    funnels: dashboard::Funnels,
    /// Serializes changes of account rules, from reading the rules to applying them.
    policy_change: Semaphore,
    /// Serializes readers of the metrics.
    metrics_turn: Semaphore,
    /// A permit for each stream of events.
    event_streams: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl AppState {
    /// Creates the state; opens no socket.
    pub fn new(parts: AppParts) -> Arc<Self> {
        let AppParts {
            store,
            engine,
            limits,
            attachments,
            body_bytes,
            batch_rows,
            atomic_rows,
            backup_folder,
            recovered,
            warnings,
            policy_resolver,
            dropped_log_lines,
            webhooks,
            webhook_events,
            hooks,
            dashboard_bodies,
        } = parts;
        let tasks = TaskTracker::new();
        Arc::new(Self {
            store,
            engine,
            limits: RwLock::new(Arc::new(limits)),
            attachments,
            body_bytes,
            batch_rows,
            atomic_rows,
            backup_folder,
            recovered,
            warnings: RwLock::new(warnings),
            refused_reload: RwLock::new(None),
            policy_resolver: RwLock::new(policy_resolver),
            dropped_log_lines,
            webhooks,
            webhook_events: RwLock::new(webhook_events),
            hooks: RwLock::new(hooks),
            dashboard_bodies,
            uploads: dashboard::Uploads::new(),
            renderings: dashboard::Renderings::default(),
            funnels: dashboard::Funnels::default(),
            policy_change: Semaphore::new(1),
            metrics_turn: Semaphore::new(1),
            event_streams: Arc::new(Semaphore::new(events::STREAMS)),
            tasks,
        })
    }

    /// Returns the current limits of the validation.
    pub(crate) fn limits(&self) -> Arc<ValidationLimits> {
        Arc::clone(&self.limits.read().expect("nothing panics while holding it"))
    }

    fn policy_resolver(&self) -> PolicyResolver {
        Arc::clone(&self.policy_resolver.read().expect("nothing panics while holding it"))
    }

    /// Returns the current warnings about the configuration.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.read().expect("nothing panics while holding it").clone();
        if self.listens_without_secret() {
            warnings.push(WITHOUT_SECRET.to_owned());
        }
        warnings
    }

    /// Returns whether the listener for webhooks has lost its only secret with the registered endpoint.
    fn listens_without_secret(&self) -> bool {
        self.webhooks.as_ref().is_some_and(|webhooks| webhooks.secret().is_none())
    }

    /// Replaces the limits and the policy resolver after a reload.
    pub fn set_limits(&self, limits: ValidationLimits, policy_resolver: PolicyResolver) {
        *self.limits.write().expect("nothing panics while holding it") = Arc::new(limits);
        *self.policy_resolver.write().expect("nothing panics while holding it") = policy_resolver;
    }

    /// Returns the events for which an endpoint is registered.
    fn webhook_events(&self) -> Vec<String> {
        self.webhook_events.read().expect("nothing panics while holding it").clone()
    }

    /// Replaces the events for which an endpoint is registered after a reload.
    pub fn set_webhook_events(&self, events: Vec<String>) {
        *self.webhook_events.write().expect("nothing panics while holding it") = events;
    }

    /// Returns the configured receivers of events.
    fn hooks(&self) -> Vec<ConfiguredHook> {
        self.hooks.read().expect("nothing panics while holding it").clone()
    }

    /// Replaces the receivers of events after a reload.
    pub fn set_hooks(&self, hooks: Vec<ConfiguredHook>) {
        *self.hooks.write().expect("nothing panics while holding it") = hooks;
    }

    /// Returns the last reload, if it was refused.
    fn refused_reload(&self) -> Option<RefusedReload> {
        self.refused_reload.read().expect("nothing panics while holding it").clone()
    }

    /// Sets whether the last reload was refused.
    pub fn set_refused_reload(&self, refused: Option<RefusedReload>) {
        *self.refused_reload.write().expect("nothing panics while holding it") = refused;
    }

    /// Replaces the warnings after a reload.
    pub fn set_warnings(&self, warnings: Vec<String>) {
        *self.warnings.write().expect("nothing panics while holding it") = warnings;
    }

    /// Runs `work` to completion even if the client hangs up.
    async fn spawn_detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.tasks.spawn(work).await.unwrap_or_else(|_panic| Err(ApiError::internal()))
    }

    /// Acquires the exclusive right to change account rules; until it is released, the stored rules are those in
    /// force.
    pub async fn policy_turn(&self) -> SemaphorePermit<'_> {
        self.policy_change.acquire().await.expect("it is never closed")
    }

    /// Waits for detached work whose client may have gone.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Returns a router with the routes of `docs/http.md`, and the pages of the dashboard.
pub fn router(state: Arc<AppState>) -> Router {
    let add = |router: Router<_>, route: Route| {
        let (path, handler) = route.into_parts();
        router.route(path, handler)
    };
    routes::all()
        .into_iter()
        .fold(Router::new(), add)
        .route_layer(middleware::from_fn(dashboard::guard::api))
        .merge(dashboard::router(&state))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        // Applied to the whole router, so that it covers the fallbacks as well.
        .layer(middleware::from_fn_with_state(Arc::clone(&state), drain::drain))
        .with_state(state)
}

async fn openapi_document() -> impl IntoResponse {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi::document(routes::all()).to_string());
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}
