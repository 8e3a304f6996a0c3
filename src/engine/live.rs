//! What the engine knows only while it runs: whether the queue can be written, for which messages the typing
//! indicator is shown, and which accounts are not read for now. (What it knows about the API is in `api_guard/`.)
//!
//! None of it carries a promise: pace and pauses are in the store.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::message::{AccountId, MessageId};
use crate::domain::outcome::ProviderError;
use crate::policy::settle::after;

/// Trouble with the queue: it cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageTrouble {
    /// When the trouble began.
    pub since: Timestamp,
    /// When the queue is tried again.
    pub next_try_at: Timestamp,
    /// The error of the last try.
    pub error: String,
}

/// The right to send a message, held while the recipient sees the typing indicator. Releasing it leaves nothing
/// behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) message_id: MessageId,
    /// The end of the typing on the monotonic clock, which is never set.
    pub(super) typing_until: Duration,
}

impl Claim {
    /// Returns the end of the typing on the wall clock.
    pub(super) fn typing_until(&self, now: Timestamp, monotonic: Duration) -> Timestamp {
        after(now, self.typing_until.saturating_sub(monotonic))
    }
}

#[derive(Default)]
pub(super) struct LiveState {
    storage: Mutex<Option<StorageTrouble>>,
    claims: Mutex<HashMap<AccountId, Claim>>,
    read_rests: Mutex<HashMap<AccountId, ReadRest>>,
}

/// A pause in the snapshot reads of an account.
struct ReadRest {
    /// The end of the pause on the monotonic clock.
    until: Duration,
    /// Pauses in a row; each is twice as long as the one before.
    times: u32,
    problem: ProviderError,
}

/// The longest pause of such reads, unless the API requested a longer one.
const LONGEST_READ_REST: Duration = Duration::from_secs(6 * 3600);

impl LiveState {
    /// Records that the queue failed and is tried again after `pause`; returns whether the error is new.
    pub(super) fn storage_failed(&self, now: Timestamp, pause: Duration, error: String) -> bool {
        let mut storage = self.storage.lock().expect("nothing panics while holding it");
        let since = storage.as_ref().map(|trouble| trouble.since);
        let is_news = storage.as_ref().is_none_or(|trouble| trouble.error != error);
        *storage =
            Some(StorageTrouble { since: since.unwrap_or(now), next_try_at: after(now, pause), error });
        is_news
    }

    /// Records that the queue could be written.
    pub(super) fn storage_works(&self) {
        if self.storage.lock().expect("nothing panics while holding it").take().is_some() {
            tracing::info!("the queue can be written again");
        }
    }

    /// Returns the last trouble with the queue, if it has not passed.
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

    /// Returns the problem for which an account is not read for now: its last read was limited or refused.
    pub(super) fn reads_rest(&self, account: &AccountId, monotonic: Duration) -> Option<ProviderError> {
        let rests = self.read_rests.lock().expect("nothing panics while holding it");
        rests.get(account).filter(|rest| monotonic < rest.until).map(|rest| rest.problem.clone())
    }

    /// Pauses the reads of an account for `pause`, and for twice as long each time in a row.
    pub(super) fn rest_reads(
        &self,
        account: &AccountId,
        problem: ProviderError,
        pause: Duration,
        monotonic: Duration,
    ) {
        let mut rests = self.read_rests.lock().expect("nothing panics while holding it");
        let times = rests.get(account).map_or(0, |rest| rest.times);
        let grown = pause.saturating_mul(2_u32.saturating_pow(times)).min(LONGEST_READ_REST).max(pause);
        let rest = ReadRest { until: monotonic + grown, times: times.saturating_add(1), problem };
        rests.insert(account.clone(), rest);
    }

    /// Ends the pause of an account's reads after a successful read.
    pub(super) fn end_read_rest(&self, account: &AccountId) {
        self.read_rests.lock().expect("nothing panics while holding it").remove(account);
    }
}
