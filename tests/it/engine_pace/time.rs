//! A clock that a test moves: time passes only when the test goes to the end of the next sleep.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use outboxd::clock::{Boot, Clock, Sleep};

use crate::queue::at;

pub(crate) const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Time that moves only when the test moves it. Clones share it.
#[derive(Clone)]
pub(crate) struct FakeClock(Arc<Mutex<Time>>);

struct Time {
    wall: Timestamp,
    monotonic: Duration,
    boot_id: Option<String>,
    sleepers: BTreeMap<(Duration, u64), Option<Waker>>,
    slept: u64,
}

impl FakeClock {
    pub(crate) fn new() -> Self {
        let time = Time {
            wall: at(0),
            monotonic: Duration::ZERO,
            boot_id: None,
            sleepers: BTreeMap::new(),
            slept: 0,
        };
        Self(Arc::new(Mutex::new(time)))
    }

    fn time(&self) -> MutexGuard<'_, Time> {
        self.0.lock().expect("nothing panics while holding it")
    }

    /// Sets the wall clock, as a person or NTP would.
    pub(crate) fn set_wall_by(&self, by: SignedDuration) {
        let mut time = self.time();
        time.wall += by;
    }

    /// Sets the boot id of the machine; `None` if the system does not show it.
    pub(crate) fn set_boot_id(&self, id: Option<&str>) {
        self.time().boot_id = id.map(str::to_owned);
    }

    /// Returns when the next sleep ends.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.time().sleepers.keys().next().map(|(deadline, _)| *deadline)
    }

    /// Moves to `target`, and ends each sleep until then.
    pub(crate) fn advance_to(&self, target: Duration) {
        while self.advance_to_next(target) {}
    }

    /// Moves to the end of the next sleep if that is not after `limit`; otherwise moves to `limit` and returns
    /// `false`.
    pub(crate) fn advance_to_next(&self, limit: Duration) -> bool {
        self.advance_past(Duration::ZERO, limit)
    }

    /// Does the same, and moves to `quiet_until` at least: sleeps that end before it end late.
    pub(crate) fn advance_past(&self, quiet_until: Duration, limit: Duration) -> bool {
        let mut time = self.time();
        let next = time.sleepers.keys().next().map(|(deadline, _)| (*deadline).max(quiet_until));
        let found = next.filter(|next| *next <= limit);
        let passed = found.unwrap_or(limit).saturating_sub(time.monotonic);
        time.monotonic += passed;
        time.wall += passed;
        let now = time.monotonic;
        let later = time.sleepers.split_off(&(now, u64::MAX));
        let over = std::mem::replace(&mut time.sleepers, later);
        drop(time);
        over.into_values().flatten().for_each(Waker::wake);
        found.is_some()
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        self.time().wall
    }

    fn monotonic(&self) -> Duration {
        self.time().monotonic
    }

    fn boot(&self) -> Option<Boot> {
        let time = self.time();
        Some(Boot { id: time.boot_id.clone()?, passed: time.monotonic })
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        let mut time = self.time();
        time.slept += 1;
        let key = (time.monotonic + duration, time.slept);
        time.sleepers.insert(key, None);
        Box::pin(Sleeper { clock: self.clone(), key })
    }
}

struct Sleeper {
    clock: FakeClock,
    key: (Duration, u64),
}

impl Future for Sleeper {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut time = self.clock.time();
        if time.monotonic >= self.key.0 {
            return Poll::Ready(());
        }
        time.sleepers.insert(self.key, Some(context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.clock.time().sleepers.remove(&self.key);
    }
}

/// The clocks of one process: its monotonic clock begins with it.
pub(crate) struct LifeClock {
    pub(crate) clock: FakeClock,
    pub(crate) born: Duration,
    /// Whether the system shows its boot id; not every system does.
    pub(crate) tells_boot: bool,
}

impl Clock for LifeClock {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn monotonic(&self) -> Duration {
        self.clock.monotonic() - self.born
    }
    fn sleep(&self, duration: Duration) -> Sleep {
        self.clock.sleep(duration)
    }
    fn boot(&self) -> Option<Boot> {
        let boot = Boot { id: "the only one".to_owned(), passed: self.clock.monotonic() };
        self.tells_boot.then_some(boot)
    }
}
