//! The state of `store.path`, in words for an operator.
//!
//! `serve`, `status` and `check` use the same sentences.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use crate::clock::Clock;
use crate::config::{ConfigError, Settings};
use crate::http::SocketError;
use crate::store::{Store, StoreError};

/// Checks the configured path; returns a warning if `serve` would create a new queue there.
///
/// # Errors
/// Returns an error if the path contains something that is not a queue.
pub fn check_place(settings: &Settings) -> Result<Option<String>, ConfigError> {
    let path = &settings.store.path;
    match Store::exists(path) {
        Ok(true) => Ok(None),
        Ok(false) => Ok(Some(format!(
            "there is no queue {} yet: `outboxd serve` makes a new, empty one; if there should be one, correct store.path",
            path.display()
        ))),
        Err(error) => match refused(&error) {
            Some(refused) => Err(refused),
            None if matches!(error, StoreError::CutOff { .. }) => {
                Err(ConfigError::at("store.path", &error.to_string()))
            }
            // `check` may run as another user than the daemon, and systemd may create the folder at the start.
            None => Ok(Some(error.chain())),
        },
    }
}

/// Checks the paths of the sockets; returns a warning if a folder is missing.
///
/// # Errors
/// Returns an error if something other than a socket has one of the paths, so that `serve` could not bind it.
pub fn check_sockets(settings: &Settings) -> Result<Option<String>, ConfigError> {
    let api = &settings.api;
    let sockets =
        [("api.socket", Some(&api.socket)), ("api.read_only_socket", api.read_only_socket.as_ref())];
    let mut warning = None;
    for (key, path) in sockets.into_iter().filter_map(|(key, path)| Some((key, path?))) {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ConfigError::at(key, &SocketError::NotASocket(path.clone()).to_string()));
            }
            Err(_) if folder.is_some_and(|folder| !folder.is_dir()) => {
                // systemd may create the folder at the start.
                let folder = folder.unwrap_or(path).display();
                warning = Some(format!(
                    "{key}: there is no folder {folder} for the socket {}; correct the path, or make the folder (mkdir -p {folder})",
                    path.display()
                ));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(warning)
}

/// Checks that a listener could verify webhooks; returns a warning if that depends on what the queue holds.
///
/// # Errors
/// Returns an error if there is neither a secret nor a queue.
pub fn check_webhook_secret(settings: &Settings) -> Result<Option<String>, ConfigError> {
    match (settings.require_webhook_secret(), Store::exists(&settings.store.path)) {
        (Ok(()), _) => Ok(None),
        (Err(_), Ok(true)) => Ok(Some(
            "webhooks.listen is set without a secret: `outboxd serve` starts only if `outboxd webhook register` has \
             kept one in the queue"
                .to_owned(),
        )),
        (Err(error), _) => Err(error),
    }
}

/// Returns the configuration problem that `error` describes, if it is one.
pub(super) fn refused(error: &StoreError) -> Option<ConfigError> {
    match error {
        StoreError::NotOurs { .. } | StoreError::NotADatabase { .. } | StoreError::DanglingLink { .. } => {
            Some(ConfigError::at("store.path", &error.to_string()))
        }
        _ => None,
    }
}

/// Returns the message about a newly created queue.
pub(super) fn new_queue(path: &Path) -> String {
    format!(
        "made a new, empty queue {}: there was none; if there should be one, stop, correct store.path and start again",
        path.display()
    )
}

/// Returns warnings about the machine.
pub(super) fn host_warnings(store: &Store, clock: &dyn Clock) -> Vec<String> {
    let boot = clock.boot().is_none().then(|| {
        "the start of the machine cannot be told (/proc/sys/kernel/random/boot_id is not readable): \
         after a restart, pauses and rests rely on the wall clock alone"
            .to_owned()
    });
    store.place_warnings().into_iter().chain(boot).collect()
}

/// Logs the warnings about the machine, and returns them behind the others.
pub(super) fn with_host_warnings(mut warnings: Vec<String>, store: &Store, clock: &dyn Clock) -> Vec<String> {
    for warning in host_warnings(store, clock) {
        tracing::warn!("{warning}");
        warnings.push(warning);
    }
    warnings
}
