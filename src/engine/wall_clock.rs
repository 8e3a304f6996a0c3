//! Detects that the wall clock was set, by a clock that keeps running while the machine is suspended and is never
//! set.
//!
//! The supervisor makes the stored times follow (`Store::move_times`). Until they have, nothing may be stored with
//! the new time, or it would be moved as well; and nothing that was dated by the old time may be stored afterwards, or
//! it would stay where it is. So who stores a time holds a [`Dating`] from reading the clock until it is stored
//! ([`Shared::settled_now`]): stored times follow while there is none.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, RwLock, RwLockReadGuard, RwLockWriteGuard, watch};

use super::{EngineHandle, Shared};
use crate::clock::Clock;
use crate::domain::message::AccountId;
use crate::policy::settle::after;
use crate::store::{ClockReading, ClockStep, Store, StoreError};

/// The longest that a client is kept waiting.
const AT_MOST: Duration = Duration::from_secs(2);

/// While it is held, stored times do not follow the wall clock. A task that holds one must not ask for another: a move
/// that waits would come between.
pub(super) type Dating<'a> = RwLockReadGuard<'a, ()>;

/// The two clocks when the stored times last agreed with them.
pub(super) struct WallClock {
    agreed: Mutex<(Timestamp, Duration)>,
    steps: AtomicU64,
    followed: Notify,
    dating: RwLock<()>,
    /// Whether stored times wait for every [`Dating`] to be dropped.
    waits: watch::Sender<bool>,
    /// See `EngineParts::stale_after`.
    stale_after: Option<Duration>,
}

impl WallClock {
    pub(super) fn new(clock: &dyn Clock, stale_after: Option<Duration>) -> Self {
        let agreed = Mutex::new((clock.now(), clock.elapsed()));
        let (steps, followed, dating) = (AtomicU64::new(0), Notify::new(), RwLock::new(()));
        Self { agreed, steps, followed, dating, waits: watch::Sender::new(false), stale_after }
    }

    /// Returns by how much the clock was set since the stored times agreed with it, if it was set.
    pub(super) fn step(&self, (now, elapsed): (Timestamp, Duration)) -> Option<ClockStep> {
        let agreed = *self.agreed.lock().expect("nothing panics while holding it");
        ClockStep::between(after(agreed.0, elapsed.saturating_sub(agreed.1)), now)
    }

    /// Waits until no [`Dating`] is held; there is none while the result is.
    pub(super) async fn may_follow(&self) -> RwLockWriteGuard<'_, ()> {
        self.waits.send_replace(true);
        let alone = self.dating.write().await;
        self.waits.send_replace(false);
        alone
    }

    /// Returns when stored times wait for this task, which holds a [`Dating`]: it gives up what may take long.
    pub(super) async fn is_waited_for(&self) {
        let mut waits = self.waits.subscribe();
        let _the_sender_lives_as_long_as_this = waits.wait_for(|waits| *waits).await;
    }

    /// Records that the stored times have followed.
    pub(super) fn agree(&self, clocks: (Timestamp, Duration)) {
        *self.agreed.lock().expect("nothing panics while holding it") = clocks;
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.followed.notify_waiters();
    }

    pub(super) fn stale_after(&self) -> Option<Duration> {
        self.stale_after
    }

    /// Returns how often the stored times have followed a clock that was set.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }
}

/// Makes the stored times follow a clock that was set. Returns the accounts of messages that had waited for a person only
/// because the clock was ahead.
///
/// # Errors
/// When the queue cannot be written; it can then be called again with the same step.
pub(super) async fn follow(
    store: &Store,
    step: ClockStep,
    reading: ClockReading,
    stale_after: Option<Duration>,
) -> Result<Vec<AccountId>, StoreError> {
    store.move_times(step, reading).await?;
    match stale_after.filter(|_| step.by().is_negative()) {
        Some(stale_after) => store.release_stale(step.to, stale_after).await,
        None => Ok(Vec::new()),
    }
}

impl Shared {
    /// Returns whether the wall clock was set and the stored times have not followed yet.
    pub(super) fn wall_clock_was_set(&self) -> bool {
        self.wall_clock.step((self.clock.now(), self.clock.elapsed())).is_some()
    }

    /// Returns the time to store for something that happens while a [`Dating`] is held: the time that the wall clock
    /// would show had it not been set meanwhile. It moves with the others once they follow.
    pub(super) fn unset_now(&self) -> Timestamp {
        let now = self.clock.now();
        self.wall_clock.step((now, self.clock.elapsed())).map_or(now, |step| step.from)
    }

    /// Returns a time that may be stored while the second value is held: waits until the stored times have followed a
    /// wall clock that was set. If the daemon stops first, returns the time that the clock would show had it not been
    /// set; the next start moves it with the others.
    pub(super) async fn settled_now(&self) -> (Timestamp, Dating<'_>) {
        loop {
            let followed = self.wall_clock.followed.notified();
            let dating = self.wall_clock.dating.read().await;
            let now = self.clock.now();
            let Some(step) = self.wall_clock.step((now, self.clock.elapsed())) else { return (now, dating) };
            if self.stopping.is_cancelled() {
                return (step.from, dating);
            }
            drop(dating);
            self.pulse.ask();
            tokio::select! {
                () = followed => {}
                () = self.stopping.cancelled() => {}
            }
        }
    }
}

impl EngineHandle {
    /// Returns the time with which a request of a person or a program is stored while the second value is held; see
    /// `Shared::settled_now`. Waits at most 2 s for stored times to follow a clock that was set, then returns the time
    /// that moves with them.
    pub(crate) async fn settled(&self) -> (Timestamp, Option<Dating<'_>>) {
        tokio::select! {
            biased;
            (now, dating) = self.shared.settled_now() => (now, Some(dating)),
            () = self.shared.clock.sleep(AT_MOST) => (self.shared.unset_now(), None),
        }
    }

    /// Returns the same for what is stored at once.
    pub async fn settled_now(&self) -> Timestamp {
        self.settled().await.0
    }

    /// Returns a time that may be stored while the second value is held, however long the stored times take to follow.
    pub(crate) async fn dating(&self) -> (Timestamp, Dating<'_>) {
        self.shared.settled_now().await
    }

    /// Returns how often the stored times have followed a clock that was set.
    pub(crate) fn clock_steps(&self) -> u64 {
        self.shared.wall_clock.steps()
    }

    /// Returns Unipile's time at the time `at` of the wall clock; `None` until an answer of Unipile has carried a date.
    pub fn provider_time_at(&self, at: Timestamp) -> Option<Timestamp> {
        let theirs = self.shared.provider.time()?;
        theirs.earliest.checked_sub(self.now().duration_since(at)).ok()
    }

    /// Returns the earlier of the wall clock's time and Unipile's: what is old by it is old by both. `None` until an
    /// answer of Unipile has carried a date.
    pub async fn confirmed_now(&self) -> Option<Timestamp> {
        let theirs = self.shared.provider.time()?;
        Some(self.settled_now().await.min(theirs.earliest))
    }
}
