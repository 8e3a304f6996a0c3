//! Whether the wall clock was set: compared with the clock that goes on while the machine is suspended and that nobody sets.
//!
//! The supervisor has the stored times follow (`Store::move_times`). Until they have, nothing may be stored by the new
//! time, or it would be moved along: an intent waits for the next step, an outcome for [`Shared::follow_wall_clock`].

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;

use super::Shared;
use crate::clock::Clock;
use crate::policy::settle::after;
use crate::store::ClockStep;

/// The two clocks when the stored times last agreed with them.
pub(super) struct WallClock {
    agreed: Mutex<(Timestamp, Duration)>,
    steps: AtomicU64,
    followed: Notify,
}

impl WallClock {
    pub(super) fn new(clock: &dyn Clock) -> Self {
        let agreed = Mutex::new((clock.now(), clock.elapsed()));
        Self { agreed, steps: AtomicU64::new(0), followed: Notify::new() }
    }

    /// By how much it was set since the stored times agreed with it.
    pub(super) fn step(&self, (now, elapsed): (Timestamp, Duration)) -> Option<ClockStep> {
        let agreed = *self.agreed.lock().expect("nothing panics while holding it");
        ClockStep::between(after(agreed.0, elapsed.saturating_sub(agreed.1)), now)
    }

    /// The stored times have followed.
    pub(super) fn agree(&self, clocks: (Timestamp, Duration)) {
        *self.agreed.lock().expect("nothing panics while holding it") = clocks;
        self.steps.fetch_add(1, Ordering::Relaxed);
        self.followed.notify_waiters();
    }

    /// How often the stored times have followed a clock that was set.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Whether the wall clock was set and the stored times have not followed yet.
    pub(super) fn wall_clock_was_set(&self) -> bool {
        self.wall_clock.step((self.clock.now(), self.clock.elapsed())).is_some()
    }

    /// Waits until the stored times have followed a wall clock that was set, or the daemon stops.
    pub(super) async fn follow_wall_clock(&self) {
        loop {
            let followed = self.wall_clock.followed.notified();
            if !self.wall_clock_was_set() {
                return;
            }
            self.pulse.ask();
            tokio::select! {
                () = followed => {}
                () = self.stopping.cancelled() => return,
            }
        }
    }
}
