//! The engine: one loop per account, one supervisor that sleeps for all, one reconciler for uncertain messages.
//!
//! An account runs by repeating `step` (`step.rs`): read what is stored, let `policy/` decide, act once, say when to
//! run again. Only steps send, so an account never has a second call in flight. A wake-up (an enqueue, an INSERT, a
//! resume, a timer) carries only a time: the step reads everything again, so an extra wake-up is harmless, and one
//! that arrives during a step is remembered. Accounts without work cost no task; while nothing is due, the engine is
//! one sleeping future. It knows the store's verbs, the provider's trait and the clock, but no SQL, HTTP or JSON.

mod account_sync;
mod api_guard;
mod attempt;
mod audit;
mod caps;
mod chats;
mod endpoints;
mod explain;
mod forecast;
mod forecast_sums;
mod fresh_read;
mod ledger;
mod live;
mod missing_account;
mod other_chats;
mod pace;
mod poll;
mod preflight;
mod profiles;
mod promises;
mod reconcile;
mod recover;
mod replies;
mod run;
mod selection;
mod starts;
mod step;
mod steps;
mod supervisor;
mod target;
mod timers;
mod wall_clock;
mod work;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::domain::message::AccountId;
use crate::domain::policy::{Policies, Policy};
use crate::policy::settle::after;
use crate::provider::Provider;
use crate::store::{Store, StoreError};
use crate::tasks::{Pulse, Tasks};

pub use crate::policy::decide::{Gate, Until};
pub use crate::policy::hours::Hours;
pub use crate::policy::quota::Budget;
pub use crate::store::Recovered;
pub use api_guard::{ApiHealth, RequestRates};
pub use audit::Audit;
pub use endpoints::{Delivery, Endpoint, EndpointError, Endpoints};
pub use explain::{Explanation, WaitStatus};
pub use forecast_sums::{AccountForecast, ExpectedDay, ExpectedMessage, ForecastRequest, Forecasts, Summary};
pub use live::StorageTrouble;

/// The parts that an engine is built from.
pub struct EngineParts {
    /// The store with the queue.
    pub store: Store,
    /// The provider that carries the messages.
    pub provider: Arc<dyn Provider>,
    /// The source of time.
    pub clock: Arc<dyn Clock>,
    /// The policies of the accounts.
    pub policies: Policies,
    /// How fast requests may go to the API.
    pub rates: RequestRates,
    /// How old an account snapshot may become before it is read again.
    pub snapshot_age: Duration,
    /// How often the chats for which something is queued are read for answers and receipts; `None`: never.
    pub poll: Option<Duration>,
    /// Messages that were due longer ago than this at a start, after as long without a daemon, wait for a person.
    pub stale_after: Option<Duration>,
    /// Seed of the gaps and delays.
    pub seed: u64,
}

/// While another program locks the queue, the writer retries all the time; waiting messages show this as the next
/// try.
const WHILE_LOCKED: Duration = Duration::from_secs(1);

/// The state that all tasks of the engine share.
struct Shared {
    store: Store,
    provider: Arc<dyn Provider>,
    clock: Arc<dyn Clock>,
    snapshot_age: Duration,
    policies: RwLock<Policies>,
    seed: u64,
    wakeups: Arc<Wakeups>,
    live: live::LiveState,
    pace: pace::Pace,
    freed_together: starts::FreedTogether,
    /// Every request takes a permit here.
    api: Arc<api_guard::ApiGuard>,
    /// Tasks of the reconciler and the poller that only wait for their reads.
    joining: AtomicUsize,
    timers: timers::TimerCount,
    work: work::Work,
    /// Notified whenever an outcome becomes unknown.
    unresolved: Notify,
    /// Checks that the supervisor's loop still runs.
    pulse: Pulse,
    /// The wall clock and the monotonic clock when the run began.
    began: (Timestamp, Duration),
    wall_clock: wall_clock::WallClock,
    /// Cancelled when the engine stops: nothing new begins.
    stopping: CancellationToken,
    /// Cancelled when calls in flight are given up.
    giving_up: CancellationToken,
}

impl Shared {
    /// Returns the current policies of all accounts.
    fn policies(&self) -> Policies {
        self.policies.read().expect("nothing panics while holding it").clone()
    }

    /// Sleeps for `wait`, or forever if it is `None`.
    async fn sleep(&self, wait: Option<Duration>) {
        match wait {
            Some(wait) => self.clock.sleep(wait).await,
            None => std::future::pending().await,
        }
    }

    /// Returns why the queue cannot be written or read: the last try failed, or the writer waits for another
    /// program's lock.
    fn storage_trouble(&self) -> Option<StorageTrouble> {
        let failed = self.live.storage_trouble();
        let Some(since) = self.store.blocked_since() else { return failed };
        let next_try_at = after(self.clock.now(), WHILE_LOCKED);
        let locked = StorageTrouble { since, next_try_at, error: StoreError::Busy.to_string() };
        Some(failed.map_or(locked, |failed| StorageTrouble {
            next_try_at: failed.next_try_at.max(next_try_at),
            ..failed
        }))
    }

    /// Returns the policy of `account`, which may change while the account runs.
    fn policy(&self, account: &AccountId) -> Arc<Policy> {
        Arc::clone(self.policies.read().expect("nothing panics while holding it").of(account))
    }
}

/// A running engine.
pub struct Engine {
    handle: EngineHandle,
    tasks: Tasks,
    supervisor: JoinHandle<()>,
    reconciler: JoinHandle<()>,
    pump: JoinHandle<()>,
    poller: Option<JoinHandle<()>>,
}

/// The interface of the engine to the rest of the daemon. Cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    shared: Arc<Shared>,
}

impl Engine {
    /// Recovers what the last run left behind, then begins to send.
    ///
    /// # Errors
    /// When the queue cannot be read or written; nothing was sent then.
    pub async fn start(parts: EngineParts) -> Result<(Self, Recovered), StoreError> {
        let began = (parts.clock.now(), parts.clock.monotonic());
        let wall_clock = wall_clock::WallClock::new(parts.clock.as_ref(), parts.stale_after);
        let recovered =
            recover::recover(&parts.store, parts.clock.boot(), began, &parts.policies, parts.stale_after)
                .await?;
        let wakeups = Arc::new(Wakeups::default());
        let shared = Arc::new(Shared {
            live: live::LiveState::default(),
            api: Arc::new(api_guard::ApiGuard::new(
                parts.rates,
                Arc::clone(&parts.clock),
                Arc::clone(&wakeups),
                parts.seed,
            )),
            pace: pace::Pace::new(began),
            freed_together: starts::FreedTogether::default(),
            joining: AtomicUsize::new(0),
            began,
            wall_clock,
            store: parts.store,
            provider: parts.provider,
            clock: parts.clock,
            snapshot_age: parts.snapshot_age,
            policies: RwLock::new(parts.policies),
            seed: parts.seed,
            wakeups,
            timers: timers::TimerCount::default(),
            work: work::Work::new(),
            unresolved: Notify::new(),
            pulse: Pulse::default(),
            stopping: CancellationToken::new(),
            giving_up: CancellationToken::new(),
        });
        let handle = EngineHandle { shared: Arc::clone(&shared) };
        handle.wake_all().await?;
        let supervisor = supervisor::Supervisor::new(Arc::clone(&shared));
        let tasks = Tasks::default();
        let supervisor = tasks.spawn("supervisor", supervisor.run());
        let reconciler = tasks.spawn("reconciler", reconcile::Reconciler::new(Arc::clone(&shared)).run());
        let poller = parts.poll.map(|every| tasks.spawn("poller", poll::run(Arc::clone(&shared), every)));
        let pump = tasks.spawn("API guard", api_guard::run(Arc::clone(&shared)));
        Ok((Self { handle, tasks, supervisor, reconciler, pump, poller }, recovered))
    }

    /// Returns the tasks without which the engine cannot run.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Returns the interface for the rest of the daemon.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Stops: nothing new begins, calls in flight have `grace` to finish, and those that have not finished by then
    /// are recorded as unknown outcomes. Returns when every attempt is settled.
    pub async fn stop(self, grace: Duration) {
        let shared = &self.handle.shared;
        self.tasks.may_end();
        shared.stopping.cancel();
        shared.work.finish().await;
        // A read in progress proves nothing yet and is made again by the next run.
        let _a_panic_was_reported_already = self.reconciler.await;
        let _a_panic_was_reported_already = futures_util::future::OptionFuture::from(self.poller).await;
        // No task requests a permit any more.
        let _a_panic_was_reported_already = self.pump.await;
        let mut supervisor = self.supervisor;
        tokio::select! {
            _ended = &mut supervisor => return,
            () = shared.clock.sleep(grace) => shared.giving_up.cancel(),
        }
        let _a_panic_was_reported_already = supervisor.await;
    }
}

impl EngineHandle {
    /// Wakes the account because something about it changed.
    pub fn wake(&self, account: AccountId) {
        self.shared.wakeups.add([(account, self.now())]);
    }

    /// Wakes accounts when something of theirs becomes due; before that there is nothing new for them.
    pub fn wake_at(&self, accounts: impl IntoIterator<Item = (AccountId, Timestamp)>) {
        self.shared.wakeups.add(accounts);
    }

    /// Returns the time of the engine's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// Returns the engine's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Completes when the supervisor's loop has run once.
    pub async fn beat(&self) {
        self.shared.pulse.beat().await;
    }

    /// Returns when the engine started.
    pub fn started_at(&self) -> Timestamp {
        self.shared.began.0
    }

    /// Returns whether the engine is stopping.
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.is_cancelled()
    }

    /// Completes when the engine begins to stop.
    pub async fn stopping(&self) {
        self.shared.stopping.cancelled().await;
    }

    /// Returns whether what was read of an account at `at` should have been read again since.
    pub fn is_old(&self, at: Timestamp) -> bool {
        account_sync::is_old(at, self.now(), self.shared.snapshot_age)
    }

    /// Returns why the queue cannot be written or read, if it cannot.
    pub fn storage_trouble(&self) -> Option<StorageTrouble> {
        self.shared.storage_trouble()
    }

    /// Returns how many accounts rest until a time, as the supervisor last counted: one timer each.
    #[doc(hidden)]
    pub fn timers(&self) -> usize {
        self.shared.timers.get()
    }

    /// Returns whether the API can be reached, as of the last call.
    pub fn api_health(&self) -> ApiHealth {
        self.shared.api.health()
    }

    /// Returns how many tasks only wait for a permit, or for tasks that do. For tests that advance time.
    #[doc(hidden)]
    pub fn suspended(&self) -> usize {
        let (tasks, reconciles) = self.shared.api.waiting_tasks();
        tasks + reconciles + self.shared.joining.load(Ordering::Relaxed)
    }
}

/// The most accounts that are woken at once.
const AT_ONCE: u32 = 1000;

/// Accounts to run, and when at the latest; bounded by their number, never lost.
#[derive(Default)]
struct Wakeups {
    accounts: Mutex<HashMap<AccountId, Timestamp>>,
    notify: Notify,
}

impl Wakeups {
    fn add(&self, accounts: impl IntoIterator<Item = (AccountId, Timestamp)>) {
        let mut waiting = self.accounts.lock().expect("nothing panics while holding it");
        for (account, at) in accounts {
            waiting.entry(account).and_modify(|earliest| *earliest = at.min(*earliest)).or_insert(at);
        }
        drop(waiting);
        self.notify.notify_one();
    }

    /// Returns some accounts as soon as there are any; wake-ups before the call count.
    async fn take(&self) -> HashMap<AccountId, Timestamp> {
        loop {
            let taken = self.some();
            if !taken.is_empty() {
                return taken;
            }
            self.notify.notified().await;
        }
    }

    /// Takes at most [`AT_ONCE`]: taking all accounts at once would block the runtime's thread for too long.
    fn some(&self) -> HashMap<AccountId, Timestamp> {
        let mut waiting = self.accounts.lock().expect("nothing panics while holding it");
        if waiting.len() <= AT_ONCE as usize {
            return std::mem::take(&mut *waiting);
        }
        let ids: Vec<AccountId> = waiting.keys().take(AT_ONCE as usize).cloned().collect();
        ids.into_iter().filter_map(|id| waiting.remove_entry(&id)).collect()
    }
}
