//! The supervisor, the one place that sleeps: keeps a timer for each account and runs its steps, one at a time.
//!
//! Wake-ups and timers make an account ready; at most [`MAX_STEPS`] steps of different accounts run at once. It also
//! sweeps expired messages, syncs account snapshots, and makes stored times follow a wall clock that was set.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::task::JoinSet;

use super::Shared;
use super::account_sync;
use super::run::{AccountRun, Wake};
use super::step::step;
use super::timers::Timers;
use super::wall_clock;
use crate::domain::message::AccountId;
use crate::policy::settle::after;
use crate::store::{ClockReading, StoreError};

/// The most steps that run at once; each may have a call in flight.
const MAX_STEPS: usize = 1024;
/// How often expired messages are swept and accounts are checked for an old snapshot.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// The longest time before a wall clock that was set is noticed: the longest gap of the guide.
const LONGEST_SLEEP: Duration = Duration::from_secs(20);
/// The pause of an account after a store error.
const AFTER_STORE_ERROR: Duration = Duration::from_secs(2);
/// An account that rests for longer than this drops its ledger and reads it again afterwards.
const SOON: Duration = Duration::from_secs(60);
/// The pause of an account after a panic, or after a row that could not be read.
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// The state of one account.
enum Slot {
    /// Waits for its time or a wake-up.
    Resting { run: Box<AccountRun>, wake_at: Option<Timestamp> },
    /// In the ready queue.
    Ready { run: Box<AccountRun> },
    /// A step runs; `again` remembers a wake-up that arrived meanwhile.
    Stepping { again: bool },
}

/// The result of a task of the supervisor.
enum Done {
    Step {
        id: AccountId,
        result: std::thread::Result<(Box<AccountRun>, Result<Wake, StoreError>)>,
    },
    /// When the next message expires.
    Sweep(Option<Timestamp>),
    Synced,
    /// Stored times follow the clock, and these accounts are to be woken; `None` if they could not be written.
    Clock(Option<Vec<AccountId>>),
}

pub(super) struct Supervisor {
    shared: Arc<Shared>,
    slots: HashMap<AccountId, Slot>,
    /// One timer for each account that rests until a time.
    timers: Timers,
    ready: VecDeque<AccountId>,
    tasks: JoinSet<Done>,
    steps: usize,
    swept_at: Timestamp,
    /// When the next message expires, as far as the last sweep knew.
    expires_at: Option<Timestamp>,
    /// When accounts are synced next.
    sync_at: Timestamp,
    /// Whether accounts are being synced.
    is_syncing: bool,
    /// Whether stored times are following a wall clock that was set; nothing begins meanwhile.
    follows_clock: bool,
}

impl Supervisor {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let swept_at = shared.clock.now();
        Self {
            shared,
            slots: HashMap::new(),
            timers: Timers::default(),
            ready: VecDeque::new(),
            tasks: JoinSet::new(),
            steps: 0,
            swept_at,
            expires_at: None,
            sync_at: after(swept_at, account_sync::FIRST),
            is_syncing: false,
            follows_clock: false,
        }
    }

    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            shared.pulse.round();
            let wait = match self.follow_clock() {
                true => {
                    self.fire();
                    self.begin_steps();
                    self.until_next()
                }
                false => LONGEST_SLEEP,
            };
            self.timers.count_into(&shared.timers);
            let sleep = shared.clock.sleep(wait);
            tokio::select! {
                biased;
                () = shared.stopping.cancelled() => break,
                Some(done) = self.tasks.join_next() => self.ended(done),
                accounts = shared.wakeups.take() => accounts.into_iter().for_each(|(id, at)| self.wake_at(id, at)),
                () = shared.pulse.asked() => {}
                () = sleep => {}
            }
        }
        // Calls in flight settle themselves, in time or when they are given up.
        while self.tasks.join_next().await.is_some() {}
    }

    /// Makes all stored times follow the wall clock if it was set. Returns whether the stored times can be relied on.
    fn follow_clock(&mut self) -> bool {
        if self.follows_clock {
            return false;
        }
        let (now, elapsed) = (self.shared.clock.now(), self.shared.clock.elapsed());
        let Some(step) = self.shared.wall_clock.step((now, elapsed)) else { return true };
        super::recover::log_step(step);
        self.follows_clock = true;
        let shared = Arc::clone(&self.shared);
        let boot = self.shared.clock.boot().map(|boot| (boot.id, boot.passed));
        let reading = ClockReading { wall: now, boot };
        self.tasks.spawn(async move {
            let may_follow = shared.wall_clock.may_follow().await;
            let stale_after = shared.wall_clock.stale_after();
            let moved = wall_clock::follow(&shared.store, step, reading, stale_after).await;
            if moved.is_ok() {
                shared.wall_clock.agree((now, elapsed));
                shared.pace.follow((shared.clock.now(), shared.clock.monotonic()));
            }
            drop(may_follow);
            if let Err(error) = &moved {
                shared.live.storage_failed(now, AFTER_STORE_ERROR, error.chain());
                shared.clock.sleep(AFTER_STORE_ERROR).await;
            }
            Done::Clock(moved.ok())
        });
        false
    }

    /// Goes on after stored times have followed the wall clock, or could not be written.
    fn followed_clock(&mut self, followed: Option<Vec<AccountId>>) {
        self.follows_clock = false;
        let Some(released) = followed else { return };
        self.shared.unresolved.notify_one();
        let waits = |slot: &Slot| matches!(slot, Slot::Resting { wake_at: Some(_), .. });
        let waiting = self.slots.iter().filter(|(_, slot)| waits(slot)).map(|(id, _)| id.clone());
        let waiting: Vec<AccountId> = waiting.collect();
        waiting.into_iter().chain(released).for_each(|id| self.wake(id));
    }

    fn until_next(&self) -> Duration {
        let timer = self.timers.first();
        let sync = (!self.is_syncing).then_some(self.sync_at);
        let Some(at) = timer.into_iter().chain(sync).chain(self.expires_at).min() else {
            return LONGEST_SLEEP;
        };
        Duration::try_from(at.duration_since(self.shared.clock.now()))
            .unwrap_or(Duration::ZERO)
            .min(LONGEST_SLEEP)
    }

    fn begin_steps(&mut self) {
        while self.steps < MAX_STEPS {
            let Some(id) = self.ready.pop_front() else { return };
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let Slot::Ready { run } = std::mem::replace(slot, Slot::Stepping { again: false }) else {
                unreachable!("only ready accounts are in the ready queue");
            };
            self.steps += 1;
            let shared = Arc::clone(&self.shared);
            self.tasks.spawn(async move {
                let mut run = run;
                let work = async {
                    shared.api.step_begins(&run.id);
                    let wake = step(&shared, &mut run).await;
                    shared.api.step_ended(&run.id);
                    (run, wake)
                };
                Done::Step { id, result: AssertUnwindSafe(work).catch_unwind().await }
            });
        }
    }

    /// Wakes the account at `at` at the latest.
    fn wake_at(&mut self, id: AccountId, at: Timestamp) {
        if at <= self.shared.clock.now() {
            return self.wake(id);
        }
        match self.slots.get_mut(&id) {
            // Its own timer is early enough.
            Some(Slot::Resting { wake_at: Some(own), .. }) if *own <= at => {}
            Some(Slot::Resting { wake_at, .. }) => {
                self.timers.replace(&id, *wake_at, Some(at));
                *wake_at = Some(at);
            }
            Some(Slot::Ready { .. } | Slot::Stepping { .. }) | None => self.wake(id),
        }
    }

    /// Wakes the account now.
    fn wake(&mut self, id: AccountId) {
        let slot = self.slots.entry(id.clone()).or_insert_with(|| {
            self.sync_at = self.sync_at.min(after(self.shared.clock.now(), account_sync::FIRST));
            Slot::Resting { run: Box::new(AccountRun::new(id.clone(), &self.shared)), wake_at: None }
        });
        match slot {
            Slot::Stepping { again } => *again = true,
            Slot::Ready { .. } => {}
            Slot::Resting { .. } => {
                let old = std::mem::replace(slot, Slot::Stepping { again: false });
                if let Slot::Resting { run, wake_at } = old {
                    self.timers.replace(&id, wake_at, None);
                    *slot = Slot::Ready { run };
                    self.ready.push_back(id);
                }
            }
        }
    }

    /// Wakes the accounts whose timers have fired, and begins the sweep and the sync when they are due.
    fn fire(&mut self) {
        let now = self.shared.clock.now();
        while let Some(id) = self.timers.pop(now) {
            if let Some(Slot::Resting { wake_at, .. }) = self.slots.get_mut(&id) {
                *wake_at = None;
            }
            self.wake(id);
        }
        let expires = self.expires_at.is_some_and(|at| at <= now);
        if expires || after(self.swept_at, HEARTBEAT) <= now || self.swept_at > now {
            (self.swept_at, self.expires_at) = (now, None);
            let shared = Arc::clone(&self.shared);
            self.tasks.spawn(async move { Done::Sweep(sweep(&shared, now).await) });
        }
        self.read_snapshot(now);
    }

    /// Syncs the accounts whose snapshot is old, one round at a time.
    fn read_snapshot(&mut self, now: Timestamp) {
        let due = self.sync_at <= now || self.sync_at > after(now, HEARTBEAT);
        if self.is_syncing || !due {
            return;
        }
        (self.sync_at, self.is_syncing) = (after(now, HEARTBEAT), true);
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn(async move {
            // A panic in it must not end it forever.
            let _a_panic_was_reported = AssertUnwindSafe(account_sync::refresh(&shared)).catch_unwind().await;
            Done::Synced
        });
    }

    fn ended(&mut self, done: Result<Done, tokio::task::JoinError>) {
        let (id, result) = match done {
            Ok(Done::Step { id, result }) => (id, result),
            Ok(Done::Synced) => {
                self.is_syncing = false;
                return;
            }
            Ok(Done::Clock(followed)) => return self.followed_clock(followed),
            Ok(Done::Sweep(expires_at)) => {
                self.expires_at = expires_at;
                return;
            }
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.steps -= 1;
        let again = matches!(self.slots.get(&id), Some(Slot::Stepping { again: true }));
        let now = self.shared.clock.now();
        let (run, wake) = match result {
            Ok((mut run, Ok(wake))) => {
                if wake != Wake::Now {
                    run.calls.rests();
                }
                (run, wake)
            }
            Ok((mut run, Err(error))) => {
                run.calls.storage_failed();
                let text = error.chain();
                if matches!(error, StoreError::Corrupt { .. }) {
                    // One row that cannot be read concerns its account only; it does not mean that the disk fails.
                    tracing::error!(account_id = %id, error = text, "a row of the account cannot be read; the account rests for a minute");
                    return self.rest(id, run, Some(after(now, AFTER_PANIC)));
                }
                let is_news = self.shared.live.storage_failed(now, AFTER_STORE_ERROR, text.clone());
                // Log it once: the writer has reported a lock, and every account meets the same error.
                if is_news && !matches!(error, StoreError::Busy) {
                    tracing::error!(account_id = %id, error = text, "the queue failed: nothing is sent until it works again");
                }
                return self.rest(id, run, Some(after(now, AFTER_STORE_ERROR)));
            }
            Err(_panic) => {
                tracing::error!(account_id = %id, "a step panicked; this is a bug, please report it. The account rests for a minute");
                let mut run = Box::new(AccountRun::new(id.clone(), &self.shared));
                run.lost_call = true;
                (run, Wake::At(after(now, AFTER_PANIC)))
            }
        };
        match wake {
            _ if again => self.rest(id, run, Some(now)),
            Wake::Now => self.rest(id, run, Some(now)),
            Wake::At(at) => self.rest(id, run, Some(at)),
            Wake::Idle => self.rest(id, run, None),
        }
    }

    fn rest(&mut self, id: AccountId, mut run: Box<AccountRun>, wake_at: Option<Timestamp>) {
        let now = self.shared.clock.now();
        if wake_at.is_none_or(|at| at > after(now, SOON)) {
            run.sent.forget();
        }
        if wake_at.is_some_and(|at| at <= now) {
            self.slots.insert(id.clone(), Slot::Ready { run });
            self.ready.push_back(id);
            return;
        }
        self.timers.replace(&id, None, wake_at);
        self.slots.insert(id, Slot::Resting { run, wake_at });
    }
}

/// Expires what was not sent in time, and records that the daemon is alive. Returns when the next message expires.
async fn sweep(shared: &Shared, now: Timestamp) -> Option<Timestamp> {
    let swept = async {
        shared.store.note_alive(now).await?;
        // A fault that has passed is reported for one more heartbeat at most, even if nothing is to be sent.
        if shared.live.storage_trouble().is_some() && shared.store.test_write(now).await.is_ok() {
            shared.live.storage_works();
        }
        let next = shared.store.next_expiry().await?;
        if next.is_none_or(|at| at > now) {
            return Ok::<_, StoreError>(next);
        }
        let accounts = shared.store.expire(now).await?;
        shared.wakeups.add(accounts.into_iter().map(|account| (account, now)));
        shared.store.next_expiry().await
    };
    match swept.await {
        Ok(next) => next,
        Err(error) => {
            tracing::warn!(error = error.chain(), "cannot look for expired messages; trying again soon");
            None
        }
    }
}
