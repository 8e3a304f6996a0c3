//! One process after the other on one queue: each has a runtime, a store and an engine of its own, which end with it.
//!
//! A death is the end of the runtime: every task is dropped where it waits, the store is not closed, and SQLite rolls
//! back what was not committed. Time does not pass while anything is at work and moves from one sleep to the next, as
//! in `engine_pace/bench.rs`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use futures_util::FutureExt;
use outboxd::clock::{Clock, SystemClock};
use outboxd::domain::message::AccountId;
use outboxd::domain::policy::{Policies, Policy};
use outboxd::engine::{Engine, EngineHandle, EngineParts, RequestRates};
use outboxd::provider::Provider;
use outboxd::store::{Failpoint, Store, StoreError, StoreOptions};
use tokio::sync::Notify;

use super::carrier::{Carrier, FaultPlan};
use super::stop::StopAt;
use super::truth::Truth;
use crate::engine_pace::bench::live_tasks;
use crate::engine_pace::time::{FakeClock, LifeClock, seconds};

/// What outlives every process: the folder, the time, the network and the sandbox.
pub(crate) struct Universe {
    folder: tempfile::TempDir,
    pub(crate) clock: FakeClock,
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) stop: Arc<StopAt>,
    pub(crate) policies: Policies,
    pub(crate) seed: u64,
    /// Differences between what was explained and what was done.
    pub(crate) wrongs: Mutex<Vec<String>>,
    /// Difference between the wall clock and the monotonic one in milliseconds, and when the wall clock was last set.
    clocks: Mutex<(i64, Duration)>,
    pub(crate) rates: RequestRates,
    /// Number of accounts that are checked whenever nothing is at work.
    pub(crate) watched: u64,
    /// The interval of the poller, if it runs.
    pub(crate) poll: Option<Duration>,
}

impl Universe {
    /// Creates a universe; `accounts` are the accounts with a policy of their own.
    pub(crate) fn new(
        seed: u64,
        fault_plan: Arc<dyn FaultPlan>,
        default: Policy,
        accounts: HashMap<outboxd::domain::message::AccountId, Policy>,
    ) -> Self {
        // In memory where the system has such a place: this does not test the disk.
        let memory = std::path::Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let folder = folder.expect("a folder");
        let clock = FakeClock::new();
        let stop = Arc::new(StopAt::default());
        let database = folder.path().join("queue.db");
        let carrier = Arc::new(Carrier::new(clock.clone(), fault_plan, Arc::clone(&stop), database));
        let accounts = accounts.into_iter().map(|(id, policy)| (id, Arc::new(policy))).collect();
        let policies = Policies { default: Arc::new(default), accounts };
        let many = NonZeroU32::new(1_000_000).expect("not zero");
        // One seed in three is short of requests.
        let few = |n| NonZeroU32::new(n).expect("not zero");
        let rates = match seed % 3 {
            0 => RequestRates { total: few(10), burst: few(10), account: few(2) },
            _ => RequestRates { total: many, burst: many, account: many },
        };
        Self {
            folder,
            clock,
            carrier,
            stop,
            policies,
            seed,
            wrongs: Mutex::default(),
            clocks: Mutex::default(),
            rates,
            watched: 3,
            poll: None,
        }
    }

    /// Returns whether the system shows its boot id: not for one seed in four.
    pub(crate) fn tells_boot(&self) -> bool {
        self.seed % 4 != 1
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    /// Opens the queue as a process would, whether it is closed or in use.
    pub(crate) async fn open(&self) -> Result<Store, StoreError> {
        Store::open(&StoreOptions { path: self.database(), readers: 2 }, self.clock.now()).await
    }

    /// Runs one process for as long as `scenario` lasts, then kills it; `None` if it was stopped before.
    pub(crate) fn live<T>(&self, scenario: impl AsyncFnOnce(&mut Life<'_>) -> T) -> Option<T> {
        let rest = Arc::new(Rest::default());
        // `rest` holds the runtime, so the runtime must not hold it.
        let (parked, carrier) = (Arc::downgrade(&rest), Arc::clone(&self.carrier));
        // A thread that parks has nothing to do; if no task but those at rest is alive, the whole runtime is idle.
        let on_park = move || {
            if let Some(rest) = parked.upgrade() {
                rest.look(carrier.held());
            }
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(on_park).build();
        let runtime = runtime.expect("a runtime");
        let _the_first = rest.handle.set(runtime.handle().clone());
        let told = runtime.block_on(async {
            let work = async {
                let mut life = Life::begin(self, Arc::clone(&rest)).await;
                scenario(&mut life).await
            };
            tokio::select! {
                biased;
                () = self.stop.happened() => None,
                told = work => Some(told),
            }
        });
        drop(runtime);
        // It holds the engine, and so the queue, and is itself held by the tasks that it watches.
        rest.engine.lock().expect("nothing panics while holding it").take();
        self.carrier.look_away();
        self.wait_until_dead();
        told
    }

    /// Waits for SQLite's threads, which end a moment after their connections; a killed process has none.
    fn wait_until_dead(&self) {
        let clock = SystemClock::new();
        let ours = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(self.folder.path()))
        };
        while std::fs::read_dir("/proc/self/fd").expect("Linux").flatten().any(ours) {
            assert!(clock.monotonic() < seconds(30), "a dead process keeps the queue open");
            std::thread::yield_now();
        }
    }
}

/// How long before a time that is shown every sleep ends on time again.
const ON_TIME: Duration = seconds(120);

/// A running process.
pub(crate) struct Life<'a> {
    pub(crate) universe: &'a Universe,
    pub(crate) store: Store,
    engine: Option<Engine>,
    rest: Arc<Rest>,
    truth: Arc<Truth>,
    /// Whether time passed without stopping for every timer, so that a send may be late.
    is_slow: AtomicBool,
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        self.truth.forget();
        *self.rest.engine() = None;
    }
}

/// Detects when nothing is at work.
#[derive(Default)]
struct Rest {
    /// Handle of the life's runtime.
    handle: OnceLock<tokio::runtime::Handle>,
    /// Tasks that are alive while nothing is at work.
    tasks: AtomicUsize,
    /// Knows how many tasks wait for a permit.
    engine: Mutex<Option<EngineHandle>>,
    idle: Notify,
}

impl Rest {
    fn engine(&self) -> MutexGuard<'_, Option<EngineHandle>> {
        self.engine.lock().expect("nothing panics while holding it")
    }

    /// Called when the thread has nothing to do, with the number of tasks that wait on purpose.
    fn look(&self, held: usize) {
        let alive = self.handle.get().map(|handle| handle.metrics().num_alive_tasks());
        let held = held + self.engine().as_ref().map_or(0, EngineHandle::suspended);
        if alive.is_some_and(|alive| alive <= self.tasks.load(Ordering::Relaxed) + held) {
            self.idle.notify_one();
        }
    }
}

impl<'a> Life<'a> {
    async fn begin(universe: &'a Universe, rest: Arc<Rest>) -> Self {
        let waited = SystemClock::new();
        let store = loop {
            match universe.open().await {
                // A child that another test of this process starts holds every lock until it runs its program.
                Err(StoreError::Locked(_)) if waited.monotonic() < seconds(30) => {
                    waited.sleep(Duration::from_millis(1)).await;
                }
                opened => break opened.expect("the queue opens"),
            }
        };
        // And the supervisor, the reconciler, the pump and the poller.
        let poller = usize::from(universe.poll.is_some());
        rest.tasks.store(tasks_at_rest(&store).await + 3 + poller, Ordering::Relaxed);
        let stop = Arc::clone(&universe.stop);
        let truth = Arc::new(Truth::new());
        let checks = Arc::clone(&truth);
        store.set_points(Arc::new(move |point| {
            let (stop, checks) = (Arc::clone(&stop), Arc::clone(&checks));
            Box::pin(async move {
                match point {
                    Failpoint::Asked | Failpoint::Written => stop.point().await,
                    Failpoint::Begins(account, seq) => checks.begins(&account, seq).await,
                }
            })
        }));
        let clock = universe.clock.clone();
        let born = clock.monotonic();
        let parts = EngineParts {
            store: store.clone(),
            provider: Arc::clone(&universe.carrier) as Arc<dyn Provider>,
            clock: Arc::new(LifeClock { clock, born, tells_boot: universe.tells_boot() }),
            policies: universe.policies.clone(),
            rates: universe.rates,
            snapshot_age: seconds(6 * 3600),
            poll: universe.poll,
            stale_after: Some(seconds(86_400)),
            seed: universe.seed,
        };
        let (engine, _recovered) = Engine::start(parts).await.expect("the engine starts");
        truth.watch(store.clone(), engine.handle());
        *rest.engine() = Some(engine.handle());
        Self { universe, store, engine: Some(engine), rest, truth, is_slow: AtomicBool::default() }
    }

    pub(crate) fn handle(&self) -> EngineHandle {
        self.engine.as_ref().expect("it runs").handle()
    }

    /// Returns when nothing is at work.
    pub(crate) async fn settle(&self) {
        // A notification from before says nothing about now.
        let _stale = self.rest.idle.notified().now_or_never();
        tokio::select! {
            biased;
            () = self.rest.idle.notified() => {}
            () = SystemClock::new().sleep(seconds(120)) => panic!("the engine is at work without an end"),
        }
    }

    /// Moves to the next event after `quiet_until`, at most to `limit`; returns whether there was one.
    fn step(&self, quiet_until: Duration, limit: Duration) -> bool {
        let Universe { clock, carrier, .. } = self.universe;
        let delivery = carrier.next_delivery().filter(|due| *due <= limit);
        let found = clock.advance_past(quiet_until, delivery.unwrap_or(limit));
        carrier.deliver();
        found || delivery.is_some()
    }

    /// Lets `duration` pass, with all that happens in it.
    pub(crate) async fn pass(&self, duration: Duration) {
        self.pass_by(duration, || Duration::ZERO).await;
    }

    /// Lets `duration` pass. While every account waits for a time that is far away, heartbeats and reads come late, as
    /// on a machine that is slow: a wait of days would otherwise consist of thousands of heartbeats.
    pub(crate) async fn pass_quickly(&self, duration: Duration) {
        self.is_slow.store(true, Ordering::Relaxed);
        self.pass_by(duration, || {
            let clock = &self.universe.clock;
            let quiet = self.truth.quiet_for(clock.now()).saturating_sub(ON_TIME);
            clock.monotonic() + quiet
        })
        .await;
    }

    async fn pass_by(&self, duration: Duration, quiet_until: impl Fn() -> Duration) {
        let end = self.universe.clock.monotonic() + duration;
        loop {
            self.settle().await;
            self.check().await;
            if !self.step(quiet_until().min(end), end) {
                break;
            }
        }
        self.settle().await;
        self.check().await;
    }

    /// Compares what is explained with what is done, now that nothing is at work.
    async fn check(&self) {
        let Universe { clock, carrier, policies, .. } = self.universe;
        let events = carrier.count("SELECT coalesce(max(seq), 0) FROM events", &[]);
        let monotonic = clock.monotonic();
        let wall =
            clock.now().as_millisecond() - i64::try_from(monotonic.as_millis()).expect("not that long");
        let set = {
            let mut clocks = self.universe.clocks.lock().expect("nothing panics while holding it");
            if clocks.0 != wall {
                *clocks = (wall, monotonic);
            }
            clocks.1
        };
        // A read that fails, or does not help, is retried later without an event.
        let calls = i64::try_from(carrier.left().len()).expect("not so many") + carrier.reads().cast_signed();
        let failures = i64::from(self.handle().api_health().failures);
        let happened = (events + (calls << 24) + (failures << 36) + (wall << 42)).cast_unsigned();
        let longest = |account: &AccountId| {
            let policy = policies.of(account);
            policy.rhythm.breaks.map_or(policy.gap.max, |breaks| breaks.max)
        };
        self.truth.at_rest(happened, self.universe.watched, (monotonic, set), longest).await;
        let mut wrongs = self.truth.take();
        if self.store.metrics().promises_broken() > 0 && !self.is_slow.load(Ordering::Relaxed) {
            wrongs.push("the daemon itself counts a broken promise".to_owned());
        }
        self.universe.wrongs.lock().expect("nothing panics while holding it").extend(wrongs);
        self.settle().await;
    }

    /// Stops cleanly and closes the queue.
    pub(crate) async fn stop(&mut self, grace: Duration) {
        let engine = self.engine.take().expect("it runs");
        // The reconciler, the pump and the poller end first.
        self.rest.tasks.fetch_sub(2 + usize::from(self.universe.poll.is_some()), Ordering::Relaxed);
        let time_passes = async {
            loop {
                self.settle().await;
                self.step(Duration::ZERO, self.universe.clock.monotonic() + seconds(1));
            }
        };
        tokio::select! {
            biased;
            () = engine.stop(grace) => {}
            () = time_passes => {}
        }
        self.store.close(self.universe.clock.now()).await.expect("it says goodbye");
    }
}

/// Returns the tasks of an open store, which live as long as it does; the same for every store, so that they are
/// counted once.
async fn tasks_at_rest(store: &Store) -> usize {
    static COUNTED: OnceLock<usize> = OnceLock::new();
    if let Some(counted) = COUNTED.get() {
        return *counted;
    }
    store.totals().await.expect("read");
    let real = SystemClock::new();
    let mut fewest = usize::MAX;
    for _ in 0..50 {
        fewest = fewest.min(live_tasks());
        real.sleep(Duration::from_millis(1)).await;
    }
    *COUNTED.get_or_init(|| fewest)
}
