//! When each account may call next, on the monotonic clock, which is never set (P3).
//!
//! The engine's step and `explain` both read it here, so that what is shown is what is done. It holds only what this
//! process did or looked up; the rest is in the store.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::account::Account;
use crate::domain::message::AccountId;
use crate::domain::policy::Policy;
use crate::policy::pace::CUT;
use crate::policy::settle::after;

/// Entries that are kept without pruning those that have passed.
const SMALL: usize = 1024;

pub(super) struct Pace {
    /// Both clocks when the run began, or when stored times last followed a wall clock that was set; stored times are
    /// converted by them.
    anchor: Mutex<(Timestamp, Duration)>,
    /// The end of the pause after the last call of each account.
    paused: Mutex<Ends>,
    /// The end of the delay before the first call of each account.
    delayed: Mutex<Ends>,
}

/// When something began for each account, and until when it makes no call, on the monotonic clock.
#[derive(Default)]
struct Ends {
    by_account: HashMap<AccountId, (Duration, Duration)>,
    /// The number of entries at which those that have passed are pruned.
    prune_at: usize,
}

impl Pace {
    pub(super) fn new(began: (Timestamp, Duration)) -> Self {
        Self { anchor: Mutex::new(began), paused: Mutex::default(), delayed: Mutex::default() }
    }

    /// Adopts new clocks after stored times have followed a wall clock that was set.
    pub(super) fn follow(&self, clocks: (Timestamp, Duration)) {
        *self.anchor.lock().expect("nothing panics while holding it") = clocks;
    }

    /// Returns the earliest time of the account's next call. What this process saw on its monotonic clock takes
    /// precedence over what is stored by the wall clock; and a stored time can lie at most one gap ahead, unless the
    /// clock was set back.
    pub(super) fn next_call_at(
        &self,
        account: &Account,
        policy: &Policy,
        now: Timestamp,
        monotonic: Duration,
    ) -> Option<Timestamp> {
        let delayed =
            self.delayed.lock().expect("nothing panics while holding it").of(&account.id, monotonic);
        let paused = self.pause(account, policy, monotonic).filter(|until| *until > monotonic);
        let until = paused.into_iter().chain(delayed).max()?;
        Some(after(now, until.saturating_sub(monotonic)))
    }

    /// Returns the end of the pause after the last call. A gap that became longer since holds for this pause as well.
    fn pause(&self, account: &Account, policy: &Policy, monotonic: Duration) -> Option<Duration> {
        let mut paused = self.paused.lock().expect("nothing panics while holding it");
        if let Some((since, until)) = paused.by_account.get(&account.id) {
            return Some((*until).max(*since + policy.gap.min));
        }
        let (wall, began) = *self.anchor.lock().expect("nothing panics while holding it");
        let left = |at: Timestamp| Duration::try_from(at.duration_since(wall)).unwrap_or_default();
        let longest = account.history.last_gap.unwrap_or(policy.gap.max) + CUT;
        let drawn = began + left(account.next_call_at?).min(longest);
        let least = account.last_call_at.map(|at| left(after(at, policy.gap.min)).min(policy.gap.min));
        let until = drawn.max(began + least.unwrap_or_default());
        if until <= monotonic {
            return None;
        }
        // The call was before this process began.
        paused.by_account.insert(account.id.clone(), (Duration::ZERO, until));
        Some(until)
    }

    /// Returns whether no pause or delay of the account, as far as this process knows, is left.
    pub(super) fn is_free(&self, account: &AccountId, monotonic: Duration) -> bool {
        let ends = [&self.paused, &self.delayed];
        ends.iter().all(|ends| {
            ends.lock().expect("nothing panics while holding it").of(account, monotonic).is_none()
        })
    }

    /// Records that a call was made, or has ended: the next one is not before `until` on the monotonic clock.
    pub(super) fn set(&self, account: &AccountId, until: Duration, monotonic: Duration) {
        self.paused.lock().expect("nothing panics while holding it").put(account.clone(), until, monotonic);
    }

    /// Delays the account's next call until `until` on the monotonic clock.
    pub(super) fn delay(&self, account: &AccountId, until: Duration, monotonic: Duration) {
        self.delayed.lock().expect("nothing panics while holding it").put(account.clone(), until, monotonic);
    }
}

impl Ends {
    fn of(&self, account: &AccountId, monotonic: Duration) -> Option<Duration> {
        self.by_account.get(account).map(|(_, until)| *until).filter(|until| *until > monotonic)
    }

    fn put(&mut self, account: AccountId, until: Duration, monotonic: Duration) {
        if self.by_account.len() >= self.prune_at.max(SMALL) {
            self.by_account.retain(|_, (_, until)| *until > monotonic);
            self.prune_at = self.by_account.len() * 2;
        }
        self.by_account.insert(account, (monotonic, until));
    }
}
