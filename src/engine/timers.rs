//! When accounts run again: one timer per account, however often it was woken.
//!
//! The supervisor sets, replaces and pops the timers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;

use crate::domain::message::AccountId;

/// The timers, earliest first. The caller names the timer that it replaces, so that none is left behind.
#[derive(Debug, Default)]
pub(super) struct Timers(BTreeSet<(Timestamp, AccountId)>);

/// The number of timers, for monitoring.
#[derive(Debug, Default)]
pub(super) struct TimerCount(AtomicUsize);

impl TimerCount {
    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Timers {
    /// Replaces the timer of `id` at `old`, if it has one, with one at `new`.
    pub(super) fn replace(&mut self, id: &AccountId, old: Option<Timestamp>, new: Option<Timestamp>) {
        if old == new {
            return;
        }
        // The set owns its key, so the key of the removed timer is reused for the new one.
        let key = old.and_then(|at| self.0.take(&(at, id.clone())));
        if let Some(at) = new {
            let id = key.map_or_else(|| id.clone(), |(_, id)| id);
            self.0.insert((at, id));
        }
    }

    /// Returns when the first timer fires.
    pub(super) fn first(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Removes the first timer that fires at `now` or earlier; returns its account.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<AccountId> {
        if self.first()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, id)| id)
    }

    /// Stores the number of timers in `count`.
    pub(super) fn count_into(&self, count: &TimerCount) {
        count.0.store(self.0.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_one_timer_however_often_it_is_set() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (one, other) = (AccountId::new("acc_1"), AccountId::new("acc_2"));
        let mut timers = Timers::default();
        let mut old = None;
        for second in (1..1000).rev() {
            timers.replace(&one, old, Some(at(second)));
            old = Some(at(second));
        }
        timers.replace(&other, None, Some(at(1)));
        assert_eq!(timers.0.len(), 2);
        assert_eq!(timers.first(), Some(at(1)));
        assert_eq!(timers.pop(at(0)), None);
        assert_eq!(timers.pop(at(1)), Some(one.clone()));
        assert_eq!(timers.pop(at(1)), Some(other.clone()));
        assert_eq!(timers.pop(at(9999)), None);
        timers.replace(&other, None, Some(at(5)));
        timers.replace(&other, Some(at(5)), None);
        assert_eq!(timers.first(), None);
    }
}
