//! The receivers of events, from the configuration; a reload replaces those that changed.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::watch;
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
        ConfiguredHook { name: hook.name.clone(), kind, target, events: hook.events.clone() }
    };
    settings.hooks.iter().map(shown).collect()
}

/// The receivers of a running daemon, with their settings.
#[derive(Clone, Default)]
pub(super) struct Receivers {
    sender: watch::Sender<Vec<Arc<Subscription>>>,
    in_force: Vec<(HookSettings, Arc<Subscription>)>,
}

/// Delivers events until the engine stops; remembers new receivers in the queue.
pub(super) async fn spawn(
    tasks: &Tasks,
    settings: &Settings,
    store: &Store,
    engine: EngineHandle,
) -> anyhow::Result<(JoinHandle<()>, Receivers)> {
    let mut receivers = Receivers::default();
    receivers.replace(&settings.hooks, store, &engine).await?;
    let outbound = Outbound { store: store.clone(), engine, subscriptions: receivers.sender.subscribe() };
    Ok((tasks.spawn("events out", outbound.run()), receivers))
}

impl Receivers {
    /// Puts `hooks` in force. Receivers that stay the same are left alone. Returns the names of those that changed.
    ///
    /// # Errors
    /// Returns an error if the queue cannot remember a new one, or if a client cannot be made; nothing changes then.
    pub(super) async fn replace(
        &mut self,
        hooks: &[HookSettings],
        store: &Store,
        engine: &EngineHandle,
    ) -> anyhow::Result<Vec<String>> {
        let (mut newer, mut changed) = (Vec::with_capacity(hooks.len()), Vec::new());
        for hook in hooks {
            let same = self.in_force.iter().find(|(old, _)| old.is_same(hook));
            let subscription = match same {
                Some((_, subscription)) => Arc::clone(subscription),
                None => {
                    changed.push(hook.name.clone());
                    Arc::new(subscription(hook)?)
                }
            };
            newer.push((hook.clone(), subscription));
        }
        let is_gone = |(old, _): &&(HookSettings, _)| hooks.iter().all(|hook| hook.name != old.name);
        changed.extend(self.in_force.iter().filter(is_gone).map(|(old, _)| old.name.clone()));
        if !changed.is_empty() {
            let names = hooks.iter().map(|hook| hook.name.clone()).collect();
            let made = store.make_hooks(names, engine.now()).await;
            made.context("cannot add the configured receivers of events")?;
            self.sender
                .send_replace(newer.iter().map(|(_, subscription)| Arc::clone(subscription)).collect());
            self.in_force = newer;
        }
        Ok(changed)
    }
}

fn subscription(hook: &HookSettings) -> anyhow::Result<Subscription> {
    let HookSettings { name, events, with_texts, target } = hook.clone();
    let target = match target {
        HookTarget::Webhook { url, secrets } => {
            let receiver = Receiver::new(url).context("cannot make the client of a receiver of events")?;
            Target::Webhook(Webhook::new(receiver, secrets))
        }
        HookTarget::Command { run, timeout } => Target::Command(Command { run, timeout }),
    };
    Ok(Subscription { name, events, with_texts, target })
}

/// Returns the host of an address.
fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned()
}
