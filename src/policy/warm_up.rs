//! How much of its caps an account may use on a day: the warm-up, the half caps after a cooldown, and the daily
//! jitter.
//!
//! All three only lower a cap, and none lowers it to nothing: a cap of 1 stays 1. They change at midnights of the
//! account's zone and at the end of the half caps, and at no other time.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::hours::{self, Draw};
use crate::domain::account::{Account, History};
use crate::domain::policy::{Policy, WarmUp};
use crate::domain::words;

/// What lowers the caps of one account.
#[derive(Debug, Clone, Copy)]
pub struct Lowering<'a> {
    policy: &'a Policy,
    history: &'a History,
    last_call_at: Option<Timestamp>,
    seed: u64,
    now: Timestamp,
}

words! {
    /// The strongest reason why a cap is lower than configured.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum LoweredBy {
        /// The warm-up.
        WarmUp = "warm_up",
        /// The half caps after a cooldown.
        HalfCaps = "half_caps",
        /// The daily jitter.
        Jitter = "jitter",
    }
}

impl<'a> Lowering<'a> {
    /// Creates the lowering of the caps of `account` at `now`.
    pub fn of(policy: &'a Policy, account: &'a Account, now: Timestamp) -> Self {
        let seed = hours::account_seed(account.id.as_str());
        Self::new(policy, &account.history, account.last_call_at, seed, now)
    }

    /// Creates the lowering of the caps at `now`; `seed` is the account's.
    pub fn new(
        policy: &'a Policy,
        history: &'a History,
        last_call_at: Option<Timestamp>,
        seed: u64,
        now: Timestamp,
    ) -> Self {
        Self { policy, history, last_call_at, seed, now }
    }

    /// Returns whether a send at `now` follows so long a quiet time that the warm-up begins again; the intent records
    /// it.
    pub fn begins_again(&self) -> bool {
        let quiet = self.policy.warm_up.as_ref().and_then(|warm_up| warm_up.after_quiet);
        let since = self.last_call_at.and_then(|last| Duration::try_from(self.now.duration_since(last)).ok());
        quiet.zip(since).is_some_and(|(quiet, since)| since >= quiet)
    }

    /// Returns the percentage of the caps that the warm-up allows on the day of `at`.
    pub fn warm_up_percent(&self, at: Timestamp) -> u32 {
        let Some(warm_up) = &self.policy.warm_up else { return 100 };
        warm_up.ramp.get(self.warm_up_day(warm_up, at)).copied().unwrap_or(100)
    }

    /// Returns the number of the day of `at` in the warm-up, from 0.
    pub fn warm_up_day(&self, warm_up: &WarmUp, at: Timestamp) -> usize {
        let date = |at: Timestamp| self.zone().to_datetime(at).date();
        let begun = match (self.history.warm_up_again_at.map(date), warm_up.start) {
            (Some(again), start) => Some(start.map_or(again, |start| start.max(again))),
            (None, Some(start)) => Some(start),
            (None, None) => self.history.first_call_at.map(date),
        };
        // Until something is sent, the first day is still to come.
        let first = if self.begins_again() { date(self.now) } else { begun.unwrap_or_else(|| date(at)) };
        usize::try_from((date(at) - first).get_days()).unwrap_or(0)
    }

    fn zone(&self) -> &TimeZone {
        &self.policy.zone
    }

    /// Returns what a cap of `most` is at `at`, and what lowers it.
    pub fn limit(&self, most: u32, at: Timestamp) -> (u32, Option<LoweredBy>) {
        let percent = self.warm_up_percent(at);
        let halved = self.history.half_caps_until.is_some_and(|until| at < until);
        let jitter = self.policy.caps.jitter_percent;
        if percent >= 100 && !halved && jitter == 0 {
            return (most, None);
        }
        let drawn = match jitter {
            0 => 0.0,
            _ => {
                let date = self.zone().to_datetime(at).date();
                hours::draw_of(self.seed, date, Draw::Caps) * f64::from(jitter) / 100.0
            }
        };
        let half = if halved { 0.5 } else { 1.0 };
        let limit =
            (f64::from(most) * f64::from(percent.min(100)) / 100.0 * half * (1.0 - drawn)).ceil() as u32;
        let by = if percent < 100 {
            LoweredBy::WarmUp
        } else if halved {
            LoweredBy::HalfCaps
        } else {
            LoweredBy::Jitter
        };
        let limit = limit.clamp(1, most);
        (limit, (limit < most).then_some(by))
    }

    /// Returns when a limit may next differ from that at `at`; `None` if it never changes.
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        let half_ends = self.history.half_caps_until.filter(|until| at < *until);
        let by_day = self.policy.caps.jitter_percent > 0 || self.policy.warm_up.is_some();
        let midnight = by_day.then(|| hours::day_after(self.zone(), self.zone().to_datetime(at).date()));
        half_ends.into_iter().chain(midnight).min()
    }
}
