//! The test bench of the engine: the fake clock, the fake provider, and the engine between them on a real queue.
//!
//! SQLite needs real threads, so time cannot simply jump when the runtime is idle (tokio's paused clock breaks its
//! pool). Instead the bench counts the runtime's live tasks: a step of an account is a task that ends with the step,
//! so as long as more tasks live than before the engine began (and more than there are calls held on purpose),
//! something is at work and time does not pass. On a runtime with one thread a few yields then let everything that is
//! awake run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use outboxd::clock::{Clock, SystemClock};
use outboxd::domain::message::{InboxId, MessageId, NewMessage};
use outboxd::domain::policy::{
    Absent, Cooldown, Gap, InMail, Order, Policies, Policy, ReconcilePolicy, Retry, Typing,
};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::engine::{Engine, EngineHandle, EngineParts, RequestRates};
use outboxd::provider::Provider;
use outboxd::store::{Recovered, Store};

use super::carrier::{FakeProvider, Kind, Recorded};
use super::time::{FakeClock, seconds};
use crate::queue::{Queue, account, at};

pub(crate) fn policy() -> Policy {
    Policy {
        gap: Gap { min: seconds(10), max: seconds(20) },
        typing: Typing {
            enabled: false,
            base: Duration::from_millis(1500),
            per_char_min: Duration::from_millis(170),
            per_char_max: Duration::from_millis(290),
            min: seconds(2),
            max: seconds(12),
        },
        reconcile: ReconcilePolicy {
            after: [60, 180, 600, 1800].map(seconds).to_vec(),
            absent: Absent::Review,
        },
        retry: Retry { max_retries: 50, base: seconds(60), factor: 4, max: seconds(3600) },
        cooldown: Cooldown { first: seconds(7200), ..Policy::unlimited().cooldown },
        inbox_id: Some(InboxId::new("CLASSIC_PRIMARY")),
        inmail: InMail { reserve: 5, recheck: seconds(3600) },
        // By age alone: the other rules have tests of their own.
        order: Order { follow_ups_first: false, ..Policy::unlimited().order },
        ..Policy::unlimited()
    }
}

pub(super) struct Bench {
    queue: Option<Queue>,
    pub(super) clock: FakeClock,
    pub(super) provider: Arc<FakeProvider>,
    /// Policy of the next start.
    pub(super) policy: Policy,
    /// Requests per second in total and of one account, for the next start.
    pub(super) rates: (u32, u32),
    /// `stale_after` of the next start.
    pub(super) stale_after: Option<Duration>,
    seed: u64,
    engine: Option<Engine>,
    /// Tasks that are alive while nothing is at work.
    at_rest: usize,
    real: SystemClock,
}

impl Bench {
    pub(super) async fn new(seed: u64) -> Self {
        let clock = FakeClock::new();
        Self {
            queue: Some(Queue::new().await),
            provider: Arc::new(FakeProvider::new(clock.clone())),
            clock,
            policy: policy(),
            rates: (1_000_000, 1_000_000),
            stale_after: None,
            seed,
            engine: None,
            at_rest: 0,
            real: SystemClock::new(),
        }
    }

    pub(super) fn queue(&self) -> &Queue {
        self.queue.as_ref().expect("the queue is open")
    }

    pub(super) fn store(&self) -> &Store {
        &self.queue().store
    }

    pub(super) fn handle(&self) -> EngineHandle {
        self.engine.as_ref().expect("the engine runs").handle()
    }

    pub(super) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) async fn enqueue(&self, message: NewMessage) -> MessageId {
        let id = message.account_id.clone();
        let message = self.queue().enqueue(message, self.clock.now()).await;
        if let Some(engine) = &self.engine {
            engine.handle().wake(id);
        }
        message
    }

    /// Enqueues a message that arrived before every time that a test sets the clock back to: a message from the
    /// future waits for its arrival.
    pub(super) async fn enqueue_long_ago(&self, message: NewMessage) -> MessageId {
        self.queue().enqueue(message, at(-30 * 86_400)).await
    }

    pub(super) async fn state(&self, id: MessageId) -> (StateName, Reason) {
        self.queue().state(id).await
    }

    pub(super) fn sends(&self) -> Vec<Recorded> {
        self.provider.calls_of(Kind::Send)
    }

    pub(super) async fn next_call_at(&self) -> Timestamp {
        let account = self.store().account(&account("1")).await.expect("read").expect("there").account;
        account.next_call_at.expect("it has called")
    }

    pub(super) async fn start(&mut self) -> Recovered {
        self.store().totals().await.expect("read");
        // Connections of the pool start and end tasks of their own; the minimum counts those that stay.
        let mut at_rest = usize::MAX;
        for _ in 0..20 {
            at_rest = at_rest.min(live_tasks());
            self.real.sleep(Duration::from_millis(1)).await;
        }
        self.at_rest = at_rest + 3; // and the supervisor, the reconciler and the pump
        let rate = |n: u32| std::num::NonZeroU32::new(n).expect("not zero");
        let (total, own) = self.rates;
        let rates = RequestRates { total: rate(total), burst: rate(total), account: rate(own) };
        let parts = EngineParts {
            store: self.store().clone(),
            provider: Arc::clone(&self.provider) as Arc<dyn Provider>,
            clock: Arc::new(self.clock.clone()),
            policies: Policies { default: Arc::new(self.policy.clone()), accounts: HashMap::new() },
            rates,
            stale_after: self.stale_after,
            snapshot_age: seconds(6 * 3600),
            poll: None,
            seed: self.seed,
        };
        let (engine, recovered) = Engine::start(parts).await.expect("started");
        self.engine = Some(engine);
        recovered
    }

    /// Returns when no task of the engine is at work.
    pub(super) async fn settle(&self) {
        let begun = self.real.monotonic();
        loop {
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            let suspended = self.engine.as_ref().map_or(0, |engine| engine.handle().suspended());
            let held = self.provider.held() + suspended;
            if live_tasks() <= self.at_rest + held {
                return;
            }
            assert!(self.real.monotonic() - begun < seconds(60), "the engine is at work without an end");
            // A timer of the runtime takes a millisecond or two; SQLite's threads answer in a tenth of that.
            #[expect(clippy::disallowed_methods, reason = "real time, so short that nothing else misses it")]
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Lets `duration` pass, with all that happens in it.
    pub(super) async fn advance(&self, duration: Duration) {
        let end = self.clock.monotonic() + duration;
        loop {
            self.settle().await;
            if !self.clock.advance_to_next(end) {
                break;
            }
        }
        self.settle().await;
    }

    /// Lets time pass until `condition` holds, for at most a week, which is too long for every test here.
    pub(super) async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let end = self.clock.monotonic() + seconds(7 * 86_400);
        loop {
            self.settle().await;
            if condition(self) {
                return;
            }
            assert!(self.clock.advance_to_next(end), "it did not happen within a week: {:#?}", self.sends());
        }
    }

    /// Lets time pass until `count` sends were called.
    pub(super) async fn until_sent(&self, count: usize) {
        self.until(|bench| bench.sends().len() >= count).await;
    }

    /// Stops the engine; time passes meanwhile as needed.
    pub(super) async fn stop(&mut self, grace: Duration) {
        let engine = self.engine.take().expect("the engine runs");
        // The reconciler and the pump end first.
        self.at_rest -= 2;
        let end = self.clock.monotonic() + seconds(3600);
        let time_passes = async {
            loop {
                self.settle().await;
                assert!(self.clock.monotonic() < end, "stopping has no end");
                self.clock.advance_to_next(self.clock.monotonic() + seconds(1));
            }
        };
        tokio::select! {
            biased;
            () = engine.stop(grace) => {}
            () = time_passes => {}
        }
    }

    pub(super) fn clock_monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Opens the same file and starts again after a stop, without a clean close of the queue.
    pub(super) async fn reopen(&mut self) {
        let queue = self.queue.take().expect("the queue is open");
        self.queue = Some(queue.crash(self.clock.now()).await);
        self.start().await;
    }

    /// Stops, closes the queue cleanly, and starts again on the same file.
    pub(super) async fn restart(&mut self) {
        self.stop(seconds(0)).await;
        let queue = self.queue.take().expect("the queue is open");
        self.queue = Some(queue.restart(self.clock.now()).await);
        self.start().await;
    }

    /// Stops and starts again on the same file, without a clean close of the queue.
    pub(super) async fn crash(&mut self) {
        self.stop(seconds(0)).await;
        self.reopen().await;
    }

    /// Stops and checks the queue.
    pub(super) async fn finish(mut self) {
        if self.engine.is_some() {
            self.stop(seconds(5)).await;
        }
        self.queue().check();
    }
}

pub(crate) fn live_tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}
