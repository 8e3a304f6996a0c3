//! The rates of requests, per account and in total, by `governor` on our own monotonic clock.
//!
//! `permits.rs` takes from both; a permit that was not used is given back to the total.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Clock;
use crate::domain::message::AccountId;

/// Limits on the rate of requests to the API.
#[derive(Debug, Clone, Copy)]
pub struct RequestRates {
    /// Requests per second, all accounts together.
    pub total: NonZeroU32,
    /// How many of them may go at once.
    pub burst: NonZeroU32,
    /// Requests per second of one account.
    pub account: NonZeroU32,
}

/// Requests of one account that may go at once, in seconds of its rate: enough for a message with its preflight
/// reads.
const ACCOUNT_BURST_SECONDS: NonZeroU32 = NonZeroU32::new(3).expect("3 is not zero");
/// Idle accounts are forgotten at most this often.
const FORGETS_EVERY: Duration = Duration::from_secs(60);

struct MonotonicClock(Arc<dyn Clock>);

impl GovernorClock for MonotonicClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.monotonic()
    }
}

pub(super) struct Rates {
    total: RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<Duration>>,
    each: RateLimiter<AccountId, HashMapStateStore<AccountId>, MonotonicClock, NoOpMiddleware<Duration>>,
    pub(super) per_second: f64,
    /// Permits that were given back.
    spare: u32,
    burst: u32,
    /// No permit in total is available before this time.
    free_at: Duration,
    forgot_at: Duration,
}

impl Rates {
    pub(super) fn new(rates: RequestRates, clock: &Arc<dyn Clock>) -> Self {
        let total = Quota::per_second(rates.total).allow_burst(rates.burst);
        let own_burst = rates.account.saturating_mul(ACCOUNT_BURST_SECONDS);
        let each = Quota::per_second(rates.account).allow_burst(own_burst);
        Self {
            total: RateLimiter::direct_with_clock(total, MonotonicClock(Arc::clone(clock))),
            each: RateLimiter::hashmap_with_clock(each, MonotonicClock(Arc::clone(clock))),
            per_second: f64::from(rates.total.get()),
            spare: 0,
            burst: rates.burst.get(),
            free_at: Duration::ZERO,
            forgot_at: clock.monotonic(),
        }
    }

    /// Returns when the next permit in total may be available, at the earliest `now`.
    pub(super) fn free_at(&self, now: Duration) -> Duration {
        if self.spare > 0 { now } else { self.free_at.max(now) }
    }

    /// Takes a permit in total; the error is the time when one is available.
    pub(super) fn take(&mut self) -> Result<(), Duration> {
        if self.spare > 0 {
            self.spare -= 1;
            return Ok(());
        }
        self.total.check().map_err(|not_until| {
            self.free_at = not_until.earliest_possible();
            self.free_at
        })
    }

    /// Takes `count` permits of the account's own rate; the error is the time when as many are available.
    pub(super) fn take_own(&self, account: &AccountId, count: NonZeroU32) -> Result<(), Duration> {
        match self.each.check_key_n(account, count) {
            Ok(Err(not_until)) => Err(not_until.earliest_possible()),
            // No caller requests more than the account's burst.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// Gives back a permit in total that was not used.
    pub(super) fn give_back(&mut self) {
        self.spare = self.spare.saturating_add(1).min(self.burst);
    }

    /// Forgets the accounts that made no request lately.
    pub(super) fn forget_idle(&mut self, now: Duration) {
        if now >= self.forgot_at + FORGETS_EVERY {
            self.forgot_at = now;
            self.each.retain_recent();
            self.each.shrink_to_fit();
        }
    }

    /// Returns how many accounts have state in memory.
    #[cfg(test)]
    pub(super) fn accounts(&self) -> usize {
        self.each.len()
    }
}
