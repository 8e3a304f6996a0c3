//! Operations on the queue as a whole: audit and backup.
//!
//! Both run on the live queue, without stopping the daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::Options;
use super::error::ApiError;
use super::{Answer, App, wire};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::store::{BackupError, Store, backup_name};
use crate::types::operations::{Audit, Backup, BackupRequest, Breach};

/// Maximum length of a backup's name, in bytes: the limit of file systems minus the suffix used while it is written.
const NAME_BYTES: usize = 200;

pub(super) async fn audit(State(state): App) -> Answer<Audit> {
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

pub(super) async fn backup(State(state): App, Options(body): Options) -> Answer<Backup> {
    let now = state.engine.now();
    let BackupRequest { name, keep } = wire::options(&body)?;
    let keep = keep.map(|keep| checked_keep(keep, name.is_some())).transpose()?;
    let name = name.map_or_else(|| Ok(backup_name(now)), checked)?;
    let folder = state.backup_folder.clone().unwrap_or_else(|| state.store.backup_folder());
    let work = Arc::clone(&state);
    let path = folder.join(&name);
    let made = state.spawn_detached(async move {
        let made = work.store.backup(&path, now).await;
        let removed = match (&made, keep) {
            (Ok(_), Some(keep)) => Store::rotate_backups(folder, keep).await,
            _ => Ok(Vec::new()),
        };
        Ok(made.and_then(|made| Ok((made, removed?))))
    });
    let (made, removed) = made.await?.map_err(|error| refused(&name, &error))?;
    tracing::info!(path = %made.path.display(), bytes = made.bytes, messages = made.messages, "backup made");
    for path in &removed {
        tracing::info!(path = %path.display(), "old backup removed");
    }
    let text = |path: &PathBuf| path.display().to_string();
    Ok(Json(Backup {
        path: text(&made.path),
        bytes: made.bytes,
        messages: made.messages,
        at: now.into(),
        removed: removed.iter().map(text).collect(),
    }))
}

fn checked_keep(keep: u32, is_named: bool) -> Result<usize, ApiError> {
    let (problem, fix) = match keep {
        _ if is_named => ("cannot be combined with `name`".to_owned(), "leave one of the two out"),
        1..=10_000 => return Ok(usize::try_from(keep).unwrap_or(usize::MAX)),
        _ => (format!("{keep} is out of range"), "give a whole number from 1 to 10000"),
    };
    let refusal = FieldError::new(FieldErrorCode::InvalidValue, "keep", problem, fix);
    Err(ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal))
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
