//! The engine: one loop per account, one supervisor that sleeps for all of them, and one verifier (`verify.rs`) that
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
mod attempt;
mod audit;
mod before;
mod explain;
mod facts;
mod forecast;
mod live;
mod recover;
mod supervisor;
mod target;
mod verify;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::domain::message::AccountId;
use crate::domain::policy::{Policies, Policy};
use crate::policy::settle::after;
use crate::provider::Provider;
use crate::store::{Store, StoreError};

pub use crate::policy::decide::{Gate, Until};
pub use crate::policy::hours::Hours;
pub use crate::policy::quota::Budget;
pub use crate::store::Recovered;
pub use audit::Audit;
pub use explain::{Explanation, Ledgers, Standing};
pub use forecast::{AccountForecast, ExpectedDay, ExpectedMessage, ForecastRequest};
pub use live::{ApiHealth, StorageTrouble};

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
    /// Requests a second to the API as a whole, typing included.
    pub requests_per_second: std::num::NonZeroU32,
    /// How many of them may come at once.
    pub burst: std::num::NonZeroU32,
    /// How old what is known of an account may become before it is read again.
    pub facts_age: Duration,
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
    facts_age: Duration,
    policies: RwLock<Policies>,
    seed: u64,
    wakeups: Wakeups,
    live: live::LiveState,
    /// Told whenever an outcome became unknown.
    doubts: Notify,
    /// Both clocks when the run began.
    began: (Timestamp, Duration),
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
    supervisor: JoinHandle<()>,
    verifier: JoinHandle<()>,
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
        let recovered =
            recover::recover(&parts.store, parts.clock.boot(), began, &parts.policies, parts.stale_after)
                .await?;
        let accounts = parts.store.accounts_with_work().await?;
        let shared = Arc::new(Shared {
            live: live::LiveState::new(parts.requests_per_second, parts.burst),
            began,
            store: parts.store,
            provider: parts.provider,
            clock: parts.clock,
            facts_age: parts.facts_age,
            policies: RwLock::new(parts.policies),
            seed: parts.seed,
            wakeups: Wakeups::default(),
            doubts: Notify::new(),
            stopping: CancellationToken::new(),
            giving_up: CancellationToken::new(),
        });
        let now = shared.clock.now();
        shared.wakeups.add(accounts.into_iter().map(|account| (account, now)));
        let supervisor = supervisor::Supervisor::new(Arc::clone(&shared));
        let tasks = TaskTracker::new();
        let supervisor = tasks.spawn(supervisor.run());
        let verifier = tasks.spawn(verify::Verifier::new(Arc::clone(&shared)).run());
        Ok((Self { handle: EngineHandle { shared }, supervisor, verifier }, recovered))
    }

    /// What the rest of the daemon may ask.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Stops: nothing new begins, what is on its way has `grace` to finish, and what has not finished by then is
    /// recorded as an unknown outcome. Returns when every attempt is settled.
    pub async fn stop(self, grace: Duration) {
        let shared = &self.handle.shared;
        shared.stopping.cancel();
        // What it was reading proves nothing yet and is read again.
        let _a_panic_was_reported_already = self.verifier.await;
        let mut supervisor = self.supervisor;
        tokio::select! {
            _ended = &mut supervisor => return,
            () = shared.clock.sleep(grace) => shared.giving_up.cancel(),
        }
        let _a_panic_was_reported_already = supervisor.await;
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
        let now = self.now();
        let accounts = self.shared.store.accounts_with_work().await?;
        self.shared.wakeups.add(accounts.into_iter().map(|account| (account, now)));
        Ok(())
    }

    /// The engine's own time.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The engine's own clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
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
        facts::is_old(at, self.now(), self.shared.facts_age)
    }

    /// Why the queue cannot be written or read, if the last try failed.
    pub fn storage_trouble(&self) -> Option<StorageTrouble> {
        self.shared.storage_trouble()
    }

    /// Whether the API can be reached, as far as the last call knows.
    pub fn api_health(&self) -> ApiHealth {
        self.shared.live.api_health(self.now())
    }
}

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

    /// Returns as soon as there are some; a wake-up before the call counts.
    async fn take(&self) -> HashMap<AccountId, Timestamp> {
        loop {
            let taken = std::mem::take(&mut *self.accounts.lock().expect("nothing panics while holding it"));
            if !taken.is_empty() {
                return taken;
            }
            self.notify.notified().await;
        }
    }
}
