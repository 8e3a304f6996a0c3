//! The pump: the one task that sleeps until the next permit or probe, grants permits, and probes with a read.
//!
//! The engine starts it, and its end ends the process. The guard notifies it when something is due earlier than
//! planned.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, TryFutureExt};
use std::panic::AssertUnwindSafe;
use tokio::task::JoinSet;

use super::State;
use super::breaker::PROBE_TIMEOUT;
use crate::domain::message::AccountId;
use crate::domain::outcome::{Heard, ProviderError};
use crate::engine::Shared;
use crate::provider::Paging;

/// What a probe reads. One of these reads may fail while the API works otherwise, so each probe that fails is followed
/// by one of the other kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProbeRead {
    /// The account itself.
    Account,
    /// The list of its group chats.
    Chats,
}

/// A probe takes no permits: none are granted while the breaker is open.
struct NoPermits;

impl Paging for NoPermits {
    fn next_page(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Runs until the engine stops. A probe in progress is then cancelled.
pub(in crate::engine) async fn run(shared: Arc<Shared>) {
    let mut probes = JoinSet::new();
    loop {
        let (account, wait) = look(&shared);
        if let Some(account) = account {
            let shared = Arc::clone(&shared);
            probes.spawn(async move { probe(&shared, account).await });
        }
        go_on(&shared);
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => break,
            Some(_ended) = probes.join_next() => {}
            () = shared.api.changed.notified() => {}
            () = shared.sleep(wait) => {}
        }
    }
    probes.shutdown().await;
}

/// Grants permits; returns the account to read if a probe is due, and how long until there is more to do.
fn look(shared: &Shared) -> (Option<AccountId>, Option<Duration>) {
    let guard = &shared.api;
    let now = guard.clock.monotonic();
    let mut state = guard.state();
    let is_due = state.breaker.probe_at().is_some_and(|at| at <= now);
    let account = if is_due { state.begin_probe(now) } else { None };
    // This pass finds whatever becomes due earlier, so it needs no notification.
    state.pump_at = Some(Duration::ZERO);
    let State { permits, breaker, .. } = &mut *state;
    let (woken, next) = permits.grant(now, breaker);
    if !woken.is_empty() {
        let wall = guard.clock.now();
        guard.wakeups.add(woken.into_iter().map(|account| (account, wall)));
    }
    let next = next.into_iter().chain(state.breaker.probe_at()).min();
    state.pump_at = next;
    (account, next.map(|at| at.saturating_sub(now)))
}

/// Reads an account or its chats from Unipile, which reaches no recipient.
async fn probe(shared: &Shared, account: AccountId) {
    let reads = shared.api.state().probe_reads;
    let read = match reads {
        ProbeRead::Account => shared.provider.account(account).map_ok(drop).boxed(),
        ProbeRead::Chats => {
            let since = shared.clock.now();
            shared.provider.groups_since(account, None, since, Arc::new(NoPermits)).map_ok(drop).boxed()
        }
    };
    let read = AssertUnwindSafe(read).catch_unwind();
    let problem = tokio::select! {
        biased;
        read = read => match read {
            Ok(read) => read.err().map(|unread| *unread.problem),
            Err(_panic) => Some(ProviderError::local("panic", "the read panicked")),
        },
        () = shared.clock.sleep(PROBE_TIMEOUT) => Some(ProviderError::local("timeout", "no answer in time")),
    };
    let heard = problem.as_ref().map_or(Heard::Answer, ProviderError::heard);
    let guard = &shared.api;
    let now = guard.clock.monotonic();
    let mut state = guard.state();
    if heard != Heard::Answer {
        state.probe_reads = match reads {
            ProbeRead::Account => ProbeRead::Chats,
            ProbeRead::Chats => ProbeRead::Account,
        };
    }
    let State { breaker, dice, .. } = &mut *state;
    if breaker.probed(heard, now, dice) {
        state.closed = true;
    }
    drop(state);
    if let Some(problem) = problem.filter(|_| heard != Heard::Answer) {
        tracing::debug!(%problem, "the Unipile API does not answer a probe");
    }
}

/// Wakes the accounts that waited for the API once it can be reached again.
fn go_on(shared: &Shared) {
    let waiting = {
        let mut state = shared.api.state();
        if !std::mem::take(&mut state.closed) {
            return;
        }
        std::mem::take(&mut state.waiting_for_api)
    };
    tracing::info!("the Unipile API can be reached again");
    let now = shared.clock.now();
    shared.wakeups.add(waiting.into_iter().map(|account| (account, now)));
}
