//! Operations on the queue as a whole: audit and backup.
//!
//! Both run on the live queue, without stopping the daemon.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::Options;
use super::error::ApiError;
use super::{AppState, wire};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::time_text;
use crate::store::BackupError;
use crate::types::operations::{Audit, Backup, BackupRequest, Breach};

/// Maximum length of a backup's name, in bytes: the limit of file systems minus the suffix used while it is written.
const NAME_BYTES: usize = 200;

pub(super) async fn audit(State(state): State<Arc<AppState>>) -> Result<Json<Audit>, ApiError> {
    let audit = state.engine.audit().await?;
    let breach = |breach: crate::store::Breach| Breach {
        promise: breach.promise.to_owned(),
        account_id: breach.account_id.as_str().to_owned(),
        message_id: breach.message_id.map(|id| id.to_string()),
        at: breach.at.into(),
        what: breach.what,
    };
    Ok(Json(Audit {
        ok: audit.breaches.is_empty(),
        messages: audit.audited.messages,
        attempts: audit.audited.attempts,
        breaches: audit.breaches.into_iter().map(breach).collect(),
        is_cut: audit.is_cut,
    }))
}

pub(super) async fn backup(
    State(state): State<Arc<AppState>>,
    Options(body): Options,
) -> Result<Json<Backup>, ApiError> {
    let now = state.engine.now();
    let name = match wire::options::<BackupRequest>(&body)?.name {
        Some(name) => checked(name)?,
        // Some file systems do not allow colons.
        None => format!("outboxd-{}.db", time_text(now).replace(':', "-")),
    };
    let folder = state.backup_folder.clone().unwrap_or_else(|| state.store.backup_folder());
    let work = Arc::clone(&state);
    let path = folder.join(&name);
    let made = state.spawn_detached(async move { Ok(work.store.backup(&path, now).await) }).await?;
    let made = made.map_err(|error| refused(&name, &error))?;
    tracing::info!(path = %made.path.display(), bytes = made.bytes, messages = made.messages, "backup made");
    let path = made.path.display().to_string();
    Ok(Json(Backup { path, bytes: made.bytes, messages: made.messages, at: now.into() }))
}

/// Accepts a name but no path: access to the socket must not allow writing wherever the daemon may write.
fn checked(name: String) -> Result<String, ApiError> {
    let is_name = Path::new(&name).file_name().is_some_and(|last| last == name.as_str());
    let odd = name.starts_with('.') || name.ends_with(".partial") || name.chars().any(char::is_control);
    if is_name && !odd && name.len() <= NAME_BYTES {
        return Ok(name);
    }
    let problem = match name.len() {
        NAME_BYTES.. if is_name => format!("holds {} bytes, {NAME_BYTES} are allowed", name.len()),
        _ => "is not a plain file name".to_owned(),
    };
    let fix = "give a name such as before-upgrade.db; the folder is store.backup_folder";
    let refusal = FieldError::new(FieldErrorCode::InvalidValue, "name", problem, fix);
    Err(ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal))
}

fn refused(name: &str, error: &BackupError) -> ApiError {
    let why = chain(error);
    tracing::error!(error = why, "no backup was made");
    let (status, code, fix) = match error {
        BackupError::Exists(_) => {
            (StatusCode::CONFLICT, FieldErrorCode::InvalidValue, "give another name; nothing is replaced")
        }
        BackupError::File { .. } => {
            let fix = "see that the folder exists, has room, and that the daemon's user may write to it";
            (StatusCode::SERVICE_UNAVAILABLE, FieldErrorCode::Unavailable, fix)
        }
        BackupError::Damaged(_) => {
            let fix = "restore the queue from an older backup (docs/operations.md)";
            (StatusCode::SERVICE_UNAVAILABLE, FieldErrorCode::Unavailable, fix)
        }
        BackupError::Store(_) => {
            let fix = "see that the disk has room for another copy of the queue, and try again";
            (StatusCode::SERVICE_UNAVAILABLE, FieldErrorCode::Unavailable, fix)
        }
    };
    ApiError::one(status, FieldError::new(code, "name", format!("{name}: no backup was made: {why}"), fix))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
