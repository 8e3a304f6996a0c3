//! The receivers of events, from the configuration.

use anyhow::Context;
use tokio::task::JoinHandle;

use crate::config::{HookSettings, HookTarget, Settings};
use crate::engine::EngineHandle;
use crate::http::ConfiguredHook;
use crate::outbound::{Command, Outbound, Subscription, Target, Webhook};
use crate::provider::Receiver;
use crate::store::Store;
use crate::tasks::Tasks;

/// Returns the receivers as `hook list` shows them.
pub(super) fn configured(settings: &Settings) -> Vec<ConfiguredHook> {
    let shown = |hook: &HookSettings| {
        let (kind, target) = match &hook.target {
            HookTarget::Webhook { url, .. } => ("webhook", host(url)),
            HookTarget::Command { run, .. } => ("command", run.first().cloned().unwrap_or_default()),
        };
        ConfiguredHook { name: hook.name.clone(), kind, target }
    };
    settings.hooks.iter().map(shown).collect()
}

/// Delivers events until the engine stops; remembers new receivers in the queue.
pub(super) async fn spawn(
    tasks: &Tasks,
    settings: &Settings,
    store: &Store,
    engine: EngineHandle,
) -> anyhow::Result<JoinHandle<()>> {
    let names = settings.hooks.iter().map(|hook| hook.name.clone()).collect();
    store.make_hooks(names, engine.now()).await.context("cannot add the configured receivers of events")?;
    let mut subscriptions = Vec::with_capacity(settings.hooks.len());
    for HookSettings { name, events, with_texts, target } in settings.hooks.clone() {
        let target = match target {
            HookTarget::Webhook { url, secrets } => {
                let receiver =
                    Receiver::new(url).context("cannot make the client of a receiver of events")?;
                Target::Webhook(Webhook::new(receiver, secrets))
            }
            HookTarget::Command { run, timeout } => Target::Command(Command { run, timeout }),
        };
        subscriptions.push(Subscription { name, events, with_texts, target });
    }
    let outbound = Outbound { store: store.clone(), engine, subscriptions };
    Ok(tasks.spawn("events out", outbound.run()))
}

/// Returns the host of an address.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned()
}
