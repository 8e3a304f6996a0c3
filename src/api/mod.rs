//! The ways in: HTTP on a Unix socket, and rows that other programs INSERT (`sql_intake.rs`).
//!
//! `docs/http.md` is the contract; each route stands in the file of its noun. A door checks what only it can see
//! (JSON, fields, types), hands a draft to the one validation in `domain/validate.rs`, calls one verb of the store,
//! wakes the engine, and renders. It knows no SQL and nothing of Unipile.
//!
//! A handler's future is dropped when its client hangs up, so whatever must happen after a commit (waking the engine)
//! runs in a task of its own (`AppState::spawn_detached`).

mod account_snapshot;
mod accounts;
mod attachments;
mod body;
mod drain;
mod error;
mod forecast;
mod health;
mod messages;
mod messages_in;
mod multipart;
mod operations;
mod policy;
mod render;
mod review;
mod socket;
mod sql_intake;
mod status;
mod verdicts;
mod wire;

use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::task::TaskTracker;

use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::validate::ValidationLimits;
use crate::engine::{EngineHandle, Recovered};
use crate::store::Store;

pub use attachments::AttachmentRules;
pub use error::ApiError;
pub use policy::PolicyResolver;
pub use socket::{Socket, SocketError, SocketName};
pub use sql_intake::run as run_sql_intake;

/// What the socket and the intake need.
pub struct AppParts {
    /// The queue.
    pub store: Store,
    /// The engine.
    pub engine: EngineHandle,
    /// What a message must keep to.
    pub rules: ValidationLimits,
    /// What attachments must keep to.
    pub attachments: AttachmentRules,
    /// Longest request body, in bytes.
    pub body_bytes: usize,
    /// Rows committed together.
    pub batch_rows: usize,
    /// Most rows of an all-or-none batch.
    pub atomic_rows: usize,
    /// Where backups lie; `None`: beside the queue.
    pub backup_folder: Option<PathBuf>,
    /// What the last run left behind.
    pub recovered: Recovered,
    /// Warnings about the configuration.
    pub warnings: Vec<String>,
    /// Works out changed rules.
    pub policy_resolver: PolicyResolver,
    /// How many log lines were dropped since the start.
    pub dropped_log_lines: fn() -> u64,
}

/// What all handlers share.
pub struct AppState {
    store: Store,
    engine: EngineHandle,
    rules: RwLock<Arc<ValidationLimits>>,
    attachments: AttachmentRules,
    body_bytes: usize,
    batch_rows: usize,
    atomic_rows: usize,
    backup_folder: Option<PathBuf>,
    recovered: Recovered,
    warnings: RwLock<Vec<String>>,
    policy_resolver: RwLock<PolicyResolver>,
    dropped_log_lines: fn() -> u64,
    /// Serializes changes of account rules, from reading them to putting them in force.
    policy_change: Semaphore,
    tasks: TaskTracker,
}

impl AppState {
    /// Creates the state; opens no socket.
    pub fn new(parts: AppParts) -> Arc<Self> {
        let AppParts {
            store,
            engine,
            rules,
            attachments,
            body_bytes,
            batch_rows,
            atomic_rows,
            backup_folder,
            recovered,
            warnings,
            policy_resolver,
            dropped_log_lines,
        } = parts;
        let tasks = TaskTracker::new();
        Arc::new(Self {
            store,
            engine,
            rules: RwLock::new(Arc::new(rules)),
            attachments,
            body_bytes,
            batch_rows,
            atomic_rows,
            backup_folder,
            recovered,
            warnings: RwLock::new(warnings),
            policy_resolver: RwLock::new(policy_resolver),
            dropped_log_lines,
            policy_change: Semaphore::new(1),
            tasks,
        })
    }

    /// What a message must keep to.
    fn rules(&self) -> Arc<ValidationLimits> {
        Arc::clone(&self.rules.read().expect("nothing panics while holding it"))
    }

    fn policy_resolver(&self) -> PolicyResolver {
        Arc::clone(&self.policy_resolver.read().expect("nothing panics while holding it"))
    }

    /// Warnings about the configuration.
    fn warnings(&self) -> Vec<String> {
        self.warnings.read().expect("nothing panics while holding it").clone()
    }

    /// Checks messages and changed rules by another configuration from now on.
    pub fn set_limits(&self, rules: ValidationLimits, policy_resolver: PolicyResolver) {
        *self.rules.write().expect("nothing panics while holding it") = Arc::new(rules);
        *self.policy_resolver.write().expect("nothing panics while holding it") = policy_resolver;
    }

    /// Shows other warnings about the configuration from now on.
    pub fn set_warnings(&self, warnings: Vec<String>) {
        *self.warnings.write().expect("nothing panics while holding it") = warnings;
    }

    /// Runs `work` to its end even if whoever asked for it hangs up.
    async fn spawn_detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.tasks.spawn(work).await.unwrap_or_else(|_panic| Err(ApiError::internal()))
    }

    /// The turn to change the rules of accounts: what is read of them meanwhile is what is in force.
    pub async fn policy_turn(&self) -> SemaphorePermit<'_> {
        self.policy_change.acquire().await.expect("it is never closed")
    }

    /// Waits for work that was begun and whose client has gone.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The routes of `docs/http.md`.
pub fn router(state: Arc<AppState>) -> Router {
    let without_parameters = Router::new()
        .route("/v1/messages/{id}", get(messages::show))
        .route("/v1/messages/{id}/explain", get(messages::explain))
        .route("/v1/messages/{id}/cancel", post(messages::cancel))
        .route("/v1/messages/{id}/review", get(review::show).post(review::decide))
        .route("/v1/review", post(review::decide_all))
        .route("/v1/accounts/{id}", get(accounts::show))
        .route("/v1/accounts/{id}/zone", get(accounts::zone))
        .route("/v1/accounts/{id}/pause", post(accounts::pause))
        .route("/v1/accounts/{id}/resume", post(accounts::resume))
        .route("/v1/accounts/{id}/budget", get(policy::budget))
        .route("/v1/accounts/{id}/policy", get(policy::show).patch(policy::change))
        .route("/v1/pause", post(accounts::pause_everything))
        .route("/v1/resume", post(accounts::resume_everything))
        .route("/v1/audit", get(operations::audit))
        .route("/v1/backup", post(operations::backup))
        .route("/v1/status", get(status::status))
        .layer(middleware::from_fn(refuse_parameters));
    Router::new()
        .route("/v1/messages", get(messages::list).post(messages_in::enqueue))
        .route("/v1/accounts", get(accounts::list))
        .route("/v1/forecast", get(forecast::forecast).post(forecast::forecast_with))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/readyz/take-in", get(health::can_take_in))
        .route("/readyz/send", get(health::can_send))
        .merge(without_parameters)
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        // Not a layer of the routes: it must meet the fallbacks as well.
        .layer(middleware::from_fn_with_state(Arc::clone(&state), drain::drain))
        .with_state(state)
}

/// A parameter that would be ignored is refused: `POST /v1/pause?account_id=acc_1` would pause every account.
async fn refuse_parameters(request: Request, next: Next) -> Result<Response, ApiError> {
    let query = request.uri().query().unwrap_or_default();
    match query.split('&').find(|parameter| !parameter.is_empty()) {
        None => Ok(next.run(request).await),
        Some(parameter) => {
            let name = parameter.split('=').next().unwrap_or_default();
            let problem = format!("is a query parameter, and {} takes none", request.uri().path());
            let fix = "leave it out; docs/http.md has what the path takes";
            Err(ApiError::bad_request(FieldError::new(FieldErrorCode::UnknownField, name, problem, fix)))
        }
    }
}
