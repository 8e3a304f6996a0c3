//! The API guard: every request takes a permit here, in request order; while the API as a whole fails, none is
//! granted.
//!
//! Steps call [`ApiGuard::ask`] and end if no permit is ready: the guard keeps their account's place and wakes it.
//! Tasks that read (`reconcile.rs`, `account_sync.rs`, `poll.rs`) wait in [`ApiGuard::wait`]. One task, the pump (`pump.rs`),
//! sleeps until the next permit or probe, however many requests wait. The rates are in `rates.rs`, the order in
//! `permits.rs`, and the handling of failed calls in `call.rs` and `breaker.rs`, of typing indicators in `typing.rs`. None of it
//! carries a promise: a restart forgets it.

mod breaker;
mod call;
mod kind;
mod permits;
mod pump;
mod rates;
mod typing;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use self::breaker::Breaker;
use self::call::OpenCall;
use self::kind::{SEND, TYPED, TYPING};
use self::permits::{Asked, Permits};
use self::rates::Rates;
use self::typing::TypingRest;
use super::{EngineHandle, Wakeups};
use crate::clock::{self, Clock, Dice};
use crate::domain::message::AccountId;
use crate::policy::settle::after;
use crate::provider::{Pages, Paging};

pub(super) use self::kind::Kind;
use self::pump::ProbeRead;
pub(super) use self::pump::run;
pub use self::rates::RequestRates;

/// Whether the API can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApiHealth {
    /// Failed calls in a row; 0 while the API can be reached and sends do not fail.
    pub failures: u32,
    /// When the API is tried again; `None` while it can be reached.
    pub unreachable_until: Option<Timestamp>,
    /// Set while sends fail although the API answers reads: when one is tried next.
    pub trial_at: Option<Timestamp>,
}

/// How long an account waits for its permit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Busy {
    /// Set if it waits because sends fail.
    pub(super) trial_until: Option<Timestamp>,
    /// Set if it waits for its turn.
    pub(super) busy_until: Option<Timestamp>,
    /// Set if it waits because no call is answered.
    pub(super) silent_until: Option<Timestamp>,
}

pub(super) struct ApiGuard {
    clock: Arc<dyn Clock>,
    wakeups: Arc<Wakeups>,
    state: Mutex<State>,
    /// Notified when the pump has something to do earlier than planned.
    changed: Notify,
    waiting_tasks: AtomicUsize,
    waiting_reconciles: AtomicUsize,
}

struct State {
    permits: Permits,
    breaker: Breaker,
    typing: TypingRest,
    dice: Dice,
    /// When the pump runs next.
    pump_at: Option<Duration>,
    /// The breaker closed, but the waiting accounts have not been woken yet.
    closed: bool,
    /// Accounts whose steps ended because the API fails. They are woken when it answers, and their reads are the
    /// probes.
    waiting_for_api: BTreeSet<AccountId>,
    /// The account of the last probe; the next probe reads another one.
    probed: Option<AccountId>,
    /// What the next probe reads.
    probe_reads: ProbeRead,
    /// When a step last asked to send.
    asked_to_send: Option<Duration>,
}

/// The right to make one request.
pub(super) struct Permit {
    guard: Arc<ApiGuard>,
    account: AccountId,
    kind: Kind,
    used: bool,
    /// When the typing that it allows ends, on the monotonic clock.
    pub(super) typed_until: Option<Duration>,
}

/// An account that asked to send within this time may only be in its gap.
const ASKED_LATELY: Duration = Duration::from_secs(120);

impl State {
    /// Returns whether anything is tried: a send waits, is in flight, or was asked for lately.
    fn sends_at(&self, now: Duration) -> bool {
        [TYPED, SEND, TYPING].iter().any(|queue| !self.permits.queues[*queue].is_empty())
            || self.breaker.sends()
            || self.asked_to_send.is_some_and(|at| now.saturating_sub(at) < ASKED_LATELY)
    }

    /// Begins a probe and returns the account to read, if one is known. Each probe reads another account, because the
    /// reads of one account may fail alone.
    fn begin_probe(&mut self, now: Duration) -> Option<AccountId> {
        let waiting = &self.waiting_for_api;
        let after = self.probed.as_ref().and_then(|last| waiting.range((Excluded(last), Unbounded)).next());
        let account = after.or_else(|| waiting.first()).cloned();
        let account = account.or_else(|| self.breaker.account().cloned())?;
        self.breaker.probe_begins(now);
        self.probed = Some(account.clone());
        Some(account)
    }
}

impl ApiGuard {
    pub(super) fn new(rates: RequestRates, clock: Arc<dyn Clock>, wakeups: Arc<Wakeups>, seed: u64) -> Self {
        let state = State {
            permits: Permits::new(Rates::new(rates, &clock)),
            breaker: Breaker::default(),
            typing: TypingRest::default(),
            dice: clock::dice(seed.rotate_left(16)),
            pump_at: None,
            closed: false,
            waiting_for_api: BTreeSet::new(),
            probed: None,
            probe_reads: ProbeRead::Account,
            asked_to_send: None,
        };
        Self {
            clock,
            wakeups,
            state: Mutex::new(state),
            changed: Notify::new(),
            waiting_tasks: AtomicUsize::new(0),
            waiting_reconciles: AtomicUsize::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while holding it")
    }

    /// Requests a permit for the running step of `account`. Returns `None` if none is ready; the account is woken
    /// when it is.
    pub(super) fn ask(self: &Arc<Self>, account: &AccountId, kind: Kind) -> Option<Permit> {
        let now = self.clock.monotonic();
        let mut state = self.state();
        if matches!(kind, Kind::Send | Kind::Typing { .. }) {
            state.asked_to_send = Some(now);
        }
        let State { permits, breaker, .. } = &mut *state;
        breaker.works(account);
        if breaker.is_open() {
            state.waiting_for_api.insert(account.clone());
            return None;
        }
        permits.enter(account, kind, now, breaker);
        self.grant(&mut state, now, Some(account));
        let Asked::Ready(kind) = state.permits.take(account) else { return None };
        let typed_until = state.permits.typed_until(account);
        Some(Permit { guard: Arc::clone(self), account: account.clone(), kind, used: false, typed_until })
    }

    /// Waits for a permit for a task.
    pub(super) async fn wait(self: &Arc<Self>, account: &AccountId, kind: Kind) -> Permit {
        let now = self.clock.monotonic();
        let (sender, receiver) = oneshot::channel();
        let place = {
            let mut state = self.state();
            state.breaker.works(account);
            let (queue, key) = state.permits.enter_task(account, kind, now, sender);
            self.grant(&mut state, now, None);
            TaskPlace { guard: self, queue, key }
        };
        let _counted = Counted::new(self, kind);
        // The sender is dropped only together with the guard.
        let _granted = receiver.await;
        drop(place);
        Permit { guard: Arc::clone(self), account: account.clone(), kind, used: false, typed_until: None }
    }

    /// Returns the source of permits for the pages of a read of `account` after the first.
    pub(super) fn pages(self: &Arc<Self>, account: &AccountId, kind: Kind) -> Pages {
        Arc::new(PagePermits { guard: Arc::clone(self), account: account.clone(), kind })
    }

    /// Marks the beginning of a step. With `step_ended`, an account that requests nothing any more gives its place
    /// back.
    pub(super) fn step_begins(&self, account: &AccountId) {
        self.state().permits.step_begins(account);
    }

    pub(super) fn step_ended(&self, account: &AccountId) {
        let mut state = self.state();
        let State { permits, breaker, .. } = &mut *state;
        if permits.step_ended(account, breaker) {
            self.grant(&mut state, self.clock.monotonic(), None);
        }
    }

    /// Records that the step of `account` ends because the API fails; the account is woken when the API answers.
    /// Returns `false` if the API no longer fails.
    pub(super) fn waits_for_api(&self, account: &AccountId) -> bool {
        let mut state = self.state();
        let fails = state.breaker.is_open();
        if fails {
            state.waiting_for_api.insert(account.clone());
        }
        fails
    }

    /// Returns whether the typing indicator is asked for. While sends are on trial, a recipient could see it again and
    /// again before a message goes.
    pub(super) fn shows_typing(&self) -> bool {
        let state = self.state();
        state.typing.is_over(self.clock.monotonic()) && !state.breaker.is_on_trial()
    }

    /// Keeps the place of `account`: its running step still waits for what it requested before.
    pub(super) fn stays(&self, account: &AccountId) {
        self.state().permits.stays(account);
    }

    /// Grants the permits that are available. `asking` checks its own permit and is not woken.
    fn grant(&self, state: &mut State, now: Duration, asking: Option<&AccountId>) {
        let State { permits, breaker, .. } = state;
        let (woken, next) = permits.grant(now, breaker);
        let next = next.into_iter().chain(breaker.probe_at()).min();
        let wall = self.clock.now();
        let woken: Vec<_> = woken.into_iter().filter(|account| Some(account) != asking).collect();
        if !woken.is_empty() {
            self.wakeups.add(woken.into_iter().map(|account| (account, wall)));
        }
        if next.is_some_and(|next| state.pump_at.is_none_or(|at| next < at)) {
            state.pump_at = next;
            self.changed.notify_one();
        }
    }

    /// Returns when `account` is likely to get the permit that it waits for.
    pub(super) fn busy(&self, account: &AccountId) -> Busy {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let state = self.state();
        let Some(at) = state.permits.busy_until(account, now, &state.breaker) else { return Busy::default() };
        let until = Some(after(wall, at.saturating_sub(now)));
        let none = Busy::default();
        match state.permits.waits_to_send(account) {
            true if state.breaker.is_on_trial() => Busy { trial_until: until, ..none },
            true if state.breaker.is_silent() => Busy { silent_until: until, ..none },
            true | false => Busy { busy_until: until, ..none },
        }
    }

    /// Returns whether the API can be reached, as of the last call.
    pub(super) fn health(&self) -> ApiHealth {
        let (now, wall) = (self.clock.monotonic(), self.clock.now());
        let state = self.state();
        let until = state.breaker.opens_until().map(|at| at.max(now + Duration::from_millis(1)));
        let unreachable_until = until.map(|at| after(wall, at.saturating_sub(now)));
        let tries = state.breaker.is_on_trial() && state.sends_at(now);
        let trial_at = tries.then(|| state.breaker.next_trial(now).unwrap_or(now));
        let trial_at = trial_at.map(|at| after(wall, at.saturating_sub(now)));
        let fails = tries || state.breaker.is_open();
        ApiHealth { failures: if fails { state.breaker.failures() } else { 0 }, unreachable_until, trial_at }
    }

    /// Returns how many calls the API has answered.
    pub(super) fn answers(&self) -> u64 {
        self.state().breaker.tally().answers
    }

    /// Returns how many tasks only wait for a permit: all others, and reconciles. For tests that advance time when
    /// nothing is working.
    pub(super) fn waiting_tasks(&self) -> (usize, usize) {
        (self.waiting_tasks.load(Ordering::Relaxed), self.waiting_reconciles.load(Ordering::Relaxed))
    }
}

impl EngineHandle {
    /// Returns how many requests wait for a permit.
    pub fn permits_waiting(&self) -> usize {
        let state = self.shared.api.state();
        state.permits.queues.iter().map(BTreeMap::len).sum::<usize>() + state.permits.resting.len()
    }
}

impl Permit {
    /// Begins to send the message. Returns `None` if the API has failed since the permit was granted; no call may be
    /// made then.
    pub(super) fn begin_send(self) -> Option<OpenCall> {
        let is_open = self.guard.state().breaker.is_open();
        (!is_open).then(|| self.begin())
    }

    /// Begins the request.
    pub(super) fn begin(mut self) -> OpenCall {
        self.used = true;
        let mut state = self.guard.state();
        if self.kind == Kind::Send {
            state.breaker.send_begins();
        }
        let began = state.breaker.tally();
        drop(state);
        OpenCall::new(Arc::clone(&self.guard), self.account.clone(), self.kind, began)
    }
}

impl Drop for Permit {
    /// Returns the permit if no request was made with it.
    fn drop(&mut self) {
        if self.used {
            return;
        }
        let mut state = self.guard.state();
        let State { permits, breaker, .. } = &mut *state;
        permits.rates.give_back();
        if self.kind == Kind::Send {
            breaker.send_returned();
        }
        self.guard.grant(&mut state, self.guard.clock.monotonic(), None);
    }
}

/// Removes a task's place from the queue when the task stops waiting.
struct TaskPlace<'a> {
    guard: &'a ApiGuard,
    queue: usize,
    key: (Duration, u64),
}

impl Drop for TaskPlace<'_> {
    fn drop(&mut self) {
        self.guard.state().permits.remove(self.queue, self.key);
    }
}

/// Counts a task while it waits.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn new(guard: &'a ApiGuard, kind: Kind) -> Self {
        let count = if kind == Kind::Reconcile { &guard.waiting_reconciles } else { &guard.waiting_tasks };
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct PagePermits {
    guard: Arc<ApiGuard>,
    account: AccountId,
    kind: Kind,
}

impl Paging for PagePermits {
    fn next_page(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let permit = self.guard.wait(&self.account, self.kind).await;
            // The result of the whole read is recorded when it ends.
            let _page = permit.begin();
        })
    }
}
