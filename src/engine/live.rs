//! What the engine knows only while it runs: whether the API answers and the queue can be written, how much of the API's
//! rate is left, and for which messages the typing indicator is shown.
//!
//! None of it carries a promise: after a restart the API is simply tried again, and pace and pauses are in the store.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Mutex;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use rand::Rng;

use crate::domain::message::{AccountId, MessageId};
use crate::policy::pace;
use crate::policy::settle::after;

/// While one call finds out whether the API is back, the others wait this long for its answer.
const PROBE: Duration = Duration::from_secs(5);

/// Whether the API can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ApiHealth {
    /// Calls in a row that found no connection.
    pub failures: u32,
    /// When it is tried again.
    pub unreachable_until: Option<Timestamp>,
}

/// The queue cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageTrouble {
    /// Since when.
    pub since: Timestamp,
    /// When it is tried again.
    pub next_try_at: Timestamp,
    /// What the last try said.
    pub error: String,
}

/// The right to send a message, held while the recipient sees somebody typing. Letting go of it leaves no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) message_id: MessageId,
    /// By the monotonic clock, which nobody sets.
    pub(super) typing_until: Duration,
}

impl Claim {
    /// The end of the typing as the wall clock would tell it now.
    pub(super) fn typing_until(&self, now: Timestamp, monotonic: Duration) -> Timestamp {
        after(now, self.typing_until.saturating_sub(monotonic))
    }
}

pub(super) struct LiveState {
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
    api: Mutex<ApiHealth>,
    storage: Mutex<Option<StorageTrouble>>,
    claims: Mutex<HashMap<AccountId, Claim>>,
}

impl LiveState {
    pub(super) fn new(requests_per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let quota = Quota::per_second(requests_per_second).allow_burst(burst);
        Self {
            limiter: RateLimiter::direct(quota),
            clock: DefaultClock::default(),
            api: Mutex::default(),
            storage: Mutex::default(),
            claims: Mutex::default(),
        }
    }

    /// Takes one request out of the API's rate, or says how long until there is one.
    pub(super) fn take_request(&self) -> Result<(), Duration> {
        self.limiter
            .check()
            .map_err(|not_until| not_until.wait_time_from(self.clock.now()).max(Duration::from_millis(1)))
    }

    /// A clock that was set back since cannot make the next try later than the longest pause.
    pub(super) fn api_health(&self, now: Timestamp) -> ApiHealth {
        let health = *self.api.lock().expect("nothing panics while holding it");
        let latest = after(now, pace::LONGEST_API_PAUSE);
        ApiHealth { unreachable_until: health.unreachable_until.map(|until| until.min(latest)), ..health }
    }

    /// The right to call: while the API is in doubt, only one call has it for a moment, and the error is when to
    /// ask again. Accounts that woke at the same instant have all been told by `decide` that they may.
    pub(super) fn take_call(&self, now: Timestamp) -> Result<(), Timestamp> {
        let mut api = self.api.lock().expect("nothing panics while holding it");
        if api.failures > 0 {
            let latest = after(now, pace::LONGEST_API_PAUSE);
            if let Some(until) = api.unreachable_until.filter(|until| *until > now) {
                return Err(until.min(latest));
            }
            api.unreachable_until = Some(after(now, PROBE));
        }
        Ok(())
    }

    /// A call found no connection; answers when the API is tried again.
    pub(super) fn api_failed(&self, now: Timestamp, dice: &mut impl Rng) {
        let mut api = self.api.lock().expect("nothing panics while holding it");
        api.failures = api.failures.saturating_add(1);
        let next = after(now, pace::draw_api_pause(dice, api.failures));
        // Never earlier than what the waiting accounts were told: nobody would try then.
        api.unreachable_until = Some(api.unreachable_until.map_or(next, |told| told.max(next)));
    }

    /// A call found a connection; answers whether that is news.
    pub(super) fn api_answered(&self) -> bool {
        let mut api = self.api.lock().expect("nothing panics while holding it");
        std::mem::take(&mut *api).failures > 0
    }

    /// The queue failed and is tried again after `pause`; answers whether that is news.
    pub(super) fn storage_failed(&self, now: Timestamp, pause: Duration, error: String) -> bool {
        let mut storage = self.storage.lock().expect("nothing panics while holding it");
        let since = storage.as_ref().map(|trouble| trouble.since);
        let is_news = storage.as_ref().is_none_or(|trouble| trouble.error != error);
        *storage =
            Some(StorageTrouble { since: since.unwrap_or(now), next_try_at: after(now, pause), error });
        is_news
    }

    /// An intent could be written; answers whether that is news.
    pub(super) fn storage_works(&self) -> bool {
        self.storage.lock().expect("nothing panics while holding it").take().is_some()
    }

    /// Why nothing can be written, if so.
    pub(super) fn storage_trouble(&self) -> Option<StorageTrouble> {
        self.storage.lock().expect("nothing panics while holding it").clone()
    }

    pub(super) fn claim(&self, account: &AccountId, claim: Claim) {
        self.claims.lock().expect("nothing panics while holding it").insert(account.clone(), claim);
    }

    pub(super) fn release(&self, account: &AccountId) {
        self.claims.lock().expect("nothing panics while holding it").remove(account);
    }

    pub(super) fn claim_of(&self, account: &AccountId) -> Option<Claim> {
        self.claims.lock().expect("nothing panics while holding it").get(account).copied()
    }
}
