//! The state of `store.path`, in words for an operator.
//!
//! `serve`, `status` and `check` use the same sentences.

use std::path::Path;

use crate::clock::Clock;
use crate::config::{ConfigError, Settings};
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
            // `check` may run as another user than the daemon, and systemd may create the folder at the start.
            None => Ok(Some(error.chain())),
        },
    }
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
