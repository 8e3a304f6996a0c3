//! What lies at `store.path`, in words for an operator: `serve`, `status` and `check` say the same.

use std::path::Path;

use crate::config::{ConfigError, Settings};
use crate::store::{Store, StoreError};

/// Why the configured place cannot be used, or that `serve` makes a new queue there.
///
/// # Errors
/// Something that is not a queue of ours is there.
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
            // Whoever checks may not be the daemon's user, and a folder may be made by systemd at the start.
            None => Ok(Some(error.chain())),
        },
    }
}

/// The problem of the configuration that `error` tells of, if it is one.
pub(super) fn refused(error: &StoreError) -> Option<ConfigError> {
    match error {
        StoreError::NotOurs { .. } | StoreError::NotADatabase { .. } | StoreError::DanglingLink { .. } => {
            Some(ConfigError::at("store.path", &error.to_string()))
        }
        _ => None,
    }
}

/// What a daemon says that has made a new queue.
pub(super) fn new_queue(path: &Path) -> String {
    format!(
        "made a new, empty queue {}: there was none; if there should be one, stop, correct store.path and start again",
        path.display()
    )
}
