//! SIGHUP: reads the configuration again, applies what can change at run time, and logs the changes.
//!
//! An invalid configuration changes nothing: the last valid one stays in force, and a notice says so.

use std::sync::Arc;

use tokio::sync::watch;

use super::outbound::{self, Receivers};
use super::{Application, limits, webhooks};
use crate::config::{Change, Loaded, RetentionSettings, Settings, environment, find_file};
use crate::engine::EngineHandle;
use crate::http::{ApiTokens, AppState, RefusedReload};
use crate::store::Store;
use crate::telemetry;

/// Reloads the configuration of a running daemon.
pub struct Reloader {
    store: Store,
    engine: EngineHandle,
    state: Arc<AppState>,
    retention: watch::Sender<RetentionSettings>,
    tokens: ApiTokens,
    receivers: Receivers,
    /// The configuration in force.
    loaded: Loaded,
}

impl Reloader {
    /// Creates the reloader of a daemon that runs with `loaded`.
    pub fn new(application: &Application, loaded: Loaded) -> Self {
        Self {
            store: application.store.clone(),
            engine: application.engine(),
            state: Arc::clone(&application.state),
            retention: application.retention.clone(),
            tokens: application.tokens.clone(),
            receivers: application.receivers.clone(),
            loaded,
        }
    }

    /// Reads the same file and the environment again; without a file until now, one that stands at a default place.
    pub async fn reload(&mut self) {
        let file = self.loaded.sources.file.clone().or_else(find_file);
        let read = Settings::load(file.as_deref(), environment());
        let newer = match read {
            Ok(newer) => newer,
            Err(error) => {
                for problem in &error.problems {
                    tracing::error!(%problem, "the configuration is not reloaded");
                }
                let problem = error.problems.first().map(ToString::to_string).unwrap_or_default();
                return self.refuse(problem);
            }
        };
        let changes = self.loaded.changes(&newer);
        if let Err(error) = self.put_in_force(&newer).await {
            tracing::error!(error = format!("{error:#}"), "the configuration is not reloaded");
            return self.refuse(format!("{error:#}"));
        }
        self.state.set_refused_reload(None);
        log(&changes);
        let mut warnings = newer.warnings().to_vec();
        let waiting: Vec<&str> =
            changes.iter().filter(|change| !change.is_live).map(|change| change.key.as_str()).collect();
        if !waiting.is_empty() {
            warnings.push(format!(
                "changed in the configuration, in force after a restart: {}",
                waiting.join(", ")
            ));
        }
        self.warn(warnings);
        // Keys that need a restart keep the values with which the daemon was started, for the next comparison.
        self.loaded.adopt_live(&newer);
    }

    async fn put_in_force(&mut self, newer: &Loaded) -> anyhow::Result<()> {
        let settings = &newer.settings;
        if webhooks::registered(&self.store).await?.is_empty() {
            settings.require_webhook_secret()?;
        }
        let tokens = newer.settings.require_tokens()?;
        let _turn = self.state.policy_turn().await;
        let named = settings.policies.accounts.keys().cloned().collect();
        self.store.make_accounts(named, self.engine.now()).await?;
        let policies = limits::in_force(&self.store, settings, self.engine.now()).await?;
        let receivers = self.receivers.replace(&settings.hooks, &self.store, &self.engine).await?;
        if !receivers.is_empty() {
            tracing::info!(receivers = receivers.join(", "), "receivers of events changed");
        }
        self.state.set_hooks(outbound::configured(settings));
        telemetry::set_level(&settings.log.level)?;
        // A daemon whose listener was switched off in the file keeps its secrets until the restart.
        if let Some(webhooks) = self.state.webhooks.as_ref().filter(|_| settings.webhooks.listen.is_some()) {
            webhooks.set_rules(webhooks::rules(settings));
        }
        // A daemon that listens keeps listening until the restart, and its tokens with it.
        if settings.api.listen.is_some() {
            let changed = self.tokens.set(tokens);
            if !changed.is_empty() {
                tracing::info!(tokens = changed.join(" "), "tokens of the API changed");
            }
        }
        self.store.set_repeat_scope(settings.limits.repeats);
        self.engine.set_policies(policies);
        self.state.set_webhook_events(settings.webhooks.events.clone());
        self.retention
            .send_if_modified(|kept| std::mem::replace(kept, settings.retention) != settings.retention);
        self.state.set_limits(settings.rules(), limits::policy_resolver(&settings.policy_book));
        self.engine.wake_everything().await?;
        Ok(())
    }

    fn refuse(&self, problem: String) {
        self.state.set_refused_reload(Some(RefusedReload { at: self.engine.now(), problem }));
        self.warn(self.loaded.warnings().to_vec());
    }

    fn warn(&self, mut warnings: Vec<String>) {
        warnings.extend(super::place::host_warnings(&self.store, self.engine.clock().as_ref()));
        self.state.set_warnings(warnings);
    }
}

fn log(changes: &[Change]) {
    if changes.is_empty() {
        tracing::info!("the configuration was read again, with the files that it names; no key changed");
    }
    for Change { key, from, to, is_live } in changes {
        match is_live {
            true => tracing::info!(key, from, to, "the configuration changed"),
            false => tracing::warn!(key, from, to, "the configuration changed; this needs a restart"),
        }
    }
}
