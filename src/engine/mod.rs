//! The engine: one loop per account, one supervisor that sleeps for all of them, and one reconciler (`verify.rs`) that
//! reads chats back to settle what is uncertain.
//!
//! An account runs by repeating `step` (`account.rs`): read what is stored, let `policy/` decide, act once, say when
//! to look again. Nobody else sends, so there is never a second call in flight on an account. A wake-up (an enqueue,
//! an INSERT, a resume, a timer) carries nothing but a time: the step reads everything again, so a wake-up too many is
//! harmless and one that comes while a step runs is remembered. Accounts without work cost no task, and while nothing is due
//! the whole engine is one sleeping future.
//!
//! The engine knows the store's verbs, the provider's trait and the clock; it never sees SQL, HTTP or JSON.

mod account;
mod account_sync;
mod api_guard;
mod attempt;
mod audit;
mod caps;
mod chats;
mod explain;
mod forecast;
mod forecast_sums;
mod fresh_read;
mod ledger;
mod live;
mod pace;
mod preflight;
mod reconcile;
mod recover;
mod selection;
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

use crate::clock::{self, Clock};
use crate::domain::message::AccountId;
use crate::domain::policy::{Policies, Policy};
use crate::policy::hours::account_seed;
use crate::policy::pace::draw_start;
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
pub use explain::{Explanation, WaitStatus};
pub use forecast::ForecastRequest;
pub use forecast_sums::{AccountForecast, ExpectedDay, ExpectedMessage, Forecasts, Summary};
pub use live::StorageTrouble;

/// What an engine is made of.
pub struct EngineParts {
    /// The queue.
    pub store: Store,
    /// Whoever carries the messages.
    pub provider: Arc<dyn Provider>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The rules of the accounts.
    pub policies: Policies,
    /// How fast requests may go to the API.
    pub rates: RequestRates,
    /// How old what is known of an account may become before it is read again.
    pub snapshot_age: Duration,
    /// What was due longer ago than this when the engine starts waits for a person, if no daemon was there meanwhile;
    /// `None` sends it in its turn.
    pub stale_after: Option<Duration>,
    /// Seed of the gaps and delays.
    pub seed: u64,
}

/// While another program keeps the queue locked, the writer asks for the lock all the time; what waits is told so.
const WHILE_LOCKED: Duration = Duration::from_secs(1);

/// What every task of the engine shares.
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
    /// Every request takes a permit here.
    api: Arc<api_guard::ApiGuard>,
    /// Tasks of the reconciler's that only wait for its reads.
    joining: AtomicUsize,
    timers: timers::TimerCount,
    work: work::Work,
    /// Told whenever an outcome became unknown.
    unresolved: Notify,
    /// Asks the supervisor whether it goes round.
    pulse: Pulse,
    /// The wall clock and the monotonic one when the run began.
    began: (Timestamp, Duration),
    wall_clock: wall_clock::WallClock,
    /// Nothing new begins.
    stopping: CancellationToken,
    /// What is on its way is given up.
    giving_up: CancellationToken,
}

impl Shared {
    /// The rules of all accounts as they are now.
    fn policies(&self) -> Policies {
        self.policies.read().expect("nothing panics while holding it").clone()
    }

    /// Sleeps for `wait`, or without an end.
    async fn sleep(&self, wait: Option<Duration>) {
        match wait {
            Some(wait) => self.clock.sleep(wait).await,
            None => std::future::pending().await,
        }
    }

    /// Why the queue cannot be written or read: the last try failed, or the writer waits for another program's lock.
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

    /// The rules of `account`, which may be changed while it runs.
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
}

/// What the rest of the daemon may ask of the engine. Cheap to clone.
#[derive(Clone)]
pub struct EngineHandle {
    shared: Arc<Shared>,
}

impl Engine {
    /// Takes stock of what the last run left behind, then begins to send.
    ///
    /// # Errors
    /// When the queue cannot be read or written; then nothing was sent.
    pub async fn start(parts: EngineParts) -> Result<(Self, Recovered), StoreError> {
        let began = (parts.clock.now(), parts.clock.monotonic());
        let wall_clock = wall_clock::WallClock::new(parts.clock.as_ref());
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
        handle.wake_all(true).await?;
        let supervisor = supervisor::Supervisor::new(Arc::clone(&shared));
        let tasks = Tasks::default();
        let supervisor = tasks.spawn("supervisor", supervisor.run());
        let reconciler = tasks.spawn("reconciler", reconcile::Reconciler::new(Arc::clone(&shared)).run());
        let pump = tasks.spawn("API guard", api_guard::run(Arc::clone(&shared)));
        Ok((Self { handle, tasks, supervisor, reconciler, pump }, recovered))
    }

    /// The tasks that the engine cannot do without.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// What the rest of the daemon may ask.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Stops: nothing new begins, what is on its way has `grace` to finish, and what has not finished by then is
    /// recorded as an unknown outcome. Returns when every attempt is settled.
    pub async fn stop(self, grace: Duration) {
        let shared = &self.handle.shared;
        self.tasks.may_end();
        shared.stopping.cancel();
        shared.work.finish().await;
        // What it was reading proves nothing yet and is read again.
        let _a_panic_was_reported_already = self.reconciler.await;
        // Nothing asks for a permit any more.
        let _a_panic_was_reported_already = self.pump.await;
        let mut supervisor = self.supervisor;
        tokio::select! {
            _ended = &mut supervisor => return,
            () = shared.clock.sleep(grace) => shared.giving_up.cancel(),
        }
        let _a_panic_was_reported_already = supervisor.await;
    }
}

/// Accounts that are free when the daemon starts do not all send at once: each waits for a time of its own within its gap.
fn spread_starts(shared: &Shared, accounts: &[AccountId]) {
    let now = shared.clock.monotonic();
    for account in accounts {
        let mut dice = clock::dice(shared.seed ^ account_seed(account.as_str()).rotate_left(16));
        let delay = draw_start(&mut dice, shared.policy(account).gap);
        shared.pace.delay(account, now + delay, now);
    }
}

impl EngineHandle {
    /// Has the account looked at: something about it changed.
    pub fn wake(&self, account: AccountId) {
        self.shared.wakeups.add([(account, self.now())]);
    }

    /// Has accounts looked at when something of theirs becomes due; before, there is nothing new to see.
    pub fn wake_at(&self, accounts: impl IntoIterator<Item = (AccountId, Timestamp)>) {
        self.shared.wakeups.add(accounts);
    }

    /// Has every account with messages waiting looked at.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn wake_everything(&self) -> Result<(), StoreError> {
        self.wake_all(false).await
    }

    /// Wakes every account with queued messages, a page at a time. `spreads` delays each by a time of its own, unless there
    /// is only one.
    async fn wake_all(&self, spreads: bool) -> Result<(), StoreError> {
        let (now, mut after) = (self.now(), None);
        loop {
            let accounts = self.shared.store.account_ids(after.as_ref(), true, AT_ONCE).await?;
            if spreads && (accounts.len() > 1 || after.is_some()) {
                spread_starts(&self.shared, &accounts);
            }
            let Some(last) = accounts.last().cloned() else { return Ok(()) };
            after = Some(last);
            self.shared.wakeups.add(accounts.into_iter().map(|account| (account, now)));
        }
    }

    /// The engine's own time.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The engine's own clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// Completes when the supervisor has gone round.
    pub async fn beat(&self) {
        self.shared.pulse.beat().await;
    }

    /// Since when it runs.
    pub fn started_at(&self) -> Timestamp {
        self.shared.began.0
    }

    /// Whether it has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.is_cancelled()
    }

    /// Completes when it has been told to stop.
    pub async fn stopping(&self) {
        self.shared.stopping.cancelled().await;
    }

    /// Whether what was read of an account at `at` should have been read anew since.
    pub fn is_old(&self, at: Timestamp) -> bool {
        account_sync::is_old(at, self.now(), self.shared.snapshot_age)
    }

    /// Why the queue cannot be written or read, if the last try failed.
    pub fn storage_trouble(&self) -> Option<StorageTrouble> {
        self.shared.storage_trouble()
    }

    /// How many accounts rest until a time, as the supervisor last counted: one timer each.
    #[doc(hidden)]
    pub fn timers(&self) -> usize {
        self.shared.timers.get()
    }

    /// Whether the API can be reached, as far as the last call knows.
    pub fn api_health(&self) -> ApiHealth {
        self.shared.api.health()
    }

    /// Tasks of the engine that only wait for a permit, or for tasks that do. For a test that moves time when nothing is
    /// at work.
    #[doc(hidden)]
    pub fn suspended(&self) -> usize {
        let (tasks, reconciles) = self.shared.api.waiting_tasks();
        tasks + reconciles + self.shared.joining.load(Ordering::Relaxed)
    }
}

/// Accounts that are woken at once.
const AT_ONCE: u32 = 1000;

/// Accounts that somebody wants looked at, and when at the latest; bounded by their number, never lost.
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

    /// Returns some as soon as there are any; a wake-up before the call counts.
    async fn take(&self) -> HashMap<AccountId, Timestamp> {
        loop {
            let taken = self.some();
            if !taken.is_empty() {
                return taken;
            }
            self.notify.notified().await;
        }
    }

    /// Takes at most [`AT_ONCE`]: all accounts at once would keep the runtime's thread for too long.
    fn some(&self) -> HashMap<AccountId, Timestamp> {
        let mut waiting = self.accounts.lock().expect("nothing panics while holding it");
        if waiting.len() <= AT_ONCE as usize {
            return std::mem::take(&mut *waiting);
        }
        let ids: Vec<AccountId> = waiting.keys().take(AT_ONCE as usize).cloned().collect();
        ids.into_iter().filter_map(|id| waiting.remove_entry(&id)).collect()
    }
}
