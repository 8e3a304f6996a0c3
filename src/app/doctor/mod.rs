//! `outboxd doctor`: checks everything around a daemon that can be wrong, with or without a running one.
//!
//! Every check reads only, except that one small file is written and removed to measure the disk. The checks of the
//! running daemon (`cli/doctor.rs`) come after these.

mod api;
mod host;
mod queue;

use std::path::Path;

use crate::config::{Loaded, OTHERS_MAY_READ};
use crate::domain::words;

words! {
    /// How a check ended.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Health {
        /// Nothing to do.
        Ok = "ok",
        /// It works, and a person should look.
        Warn = "warn",
        /// It does not work.
        Fail = "fail",
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// How it ended.
    pub health: Health,
    /// What was found.
    pub what: String,
    /// What to do; empty if nothing.
    pub to_do: String,
}

impl Finding {
    /// Returns a finding without anything to do.
    pub fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, health: Health::Ok, what: what.into(), to_do: String::new() }
    }

    /// Returns a finding that a person should look at.
    pub fn warn(check: &'static str, what: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { check, health: Health::Warn, what: what.into(), to_do: to_do.into() }
    }

    /// Returns a finding of something that does not work.
    pub fn fail(check: &'static str, what: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { check, health: Health::Fail, what: what.into(), to_do: to_do.into() }
    }
}

/// What is known of a daemon on the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running<'a> {
    /// None answers.
    No,
    /// One has the queue at this path.
    With(&'a Path),
    /// This user may not use the socket, so it is not known what the daemon has.
    Unknown,
}

impl<'a> Running<'a> {
    /// Returns the queue of the daemon, if it is known.
    fn queue(self) -> Option<&'a Path> {
        match self {
            Self::With(queue) => Some(queue),
            Self::No | Self::Unknown => None,
        }
    }
}

/// Checks what the configuration describes. A daemon need not run.
///
/// The daemon may have other settings than this process: under systemd, only the service has the key, and the unit sets
/// the path of the queue in its environment.
pub async fn examine(loaded: &Loaded, running: Running<'_>) -> Vec<Finding> {
    let settings = &loaded.settings;
    let mut found = configuration(loaded, running).await;
    found.extend(
        running.queue().and_then(|running| queue::other_than_configured(&settings.store.path, running)),
    );
    found.extend(api::examine(settings, running).await);
    match running {
        Running::Unknown => found.push(Finding::warn(
            "database",
            "the daemon's socket does not say which queue it has: not examined",
            "run doctor as the user of the daemon or as root",
        )),
        Running::No | Running::With(_) => {
            let secrets = loaded.secret_files();
            // A warning above names the secret; it must not be called closed here.
            let is_exposed = loaded.warnings().iter().any(|warning| warning.contains(OTHERS_MAY_READ));
            found.extend(queue::examine(&settings.store.path, running.queue(), (&secrets, is_exposed)).await);
        }
    }
    found.extend(host::examine().await);
    found
}

async fn configuration(loaded: &Loaded, running: Running<'_>) -> Vec<Finding> {
    let file = loaded.sources.file.as_ref();
    let file = file.map_or("the built-in defaults".to_owned(), |file| file.display().to_string());
    let mut found = vec![Finding::ok("configuration", format!("read from {file}"))];
    let warning = |warning: &String| Finding::warn("configuration", warning, "change it, or accept it");
    found.extend(loaded.warnings().iter().map(warning));
    match super::check_webhook_secret(&loaded.settings) {
        Ok(None) => {}
        // The service may have a secret that this user does not see.
        Ok(Some(_)) | Err(_) if running == Running::Unknown => {}
        Ok(Some(_)) | Err(_) if running.queue().is_some_and(|queue| !queue.exists()) => {}
        Ok(Some(_)) if queue::has_webhook_secret(&loaded.settings.store.path, running.queue()).await => {}
        Ok(Some(why)) => found.push(Finding::warn("configuration", why, "outboxd webhook register")),
        Err(error) => found.push(Finding::fail("configuration", error.to_string(), "")),
    }
    found
}
