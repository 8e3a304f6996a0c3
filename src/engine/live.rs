//! What the engine knows only while it runs: whether the queue can be written, and for which messages the typing
//! indicator is shown. (What it knows of the API is in `api_guard/`.)
//!
//! None of it carries a promise: pace and pauses are in the store.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::message::{AccountId, MessageId};
use crate::domain::outcome::ProviderError;
use crate::policy::settle::after;

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

/// The right to send a message, held while the recipient sees somebody typing. Letting go of it leaves nothing behind.
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

#[derive(Default)]
pub(super) struct LiveState {
    storage: Mutex<Option<StorageTrouble>>,
    claims: Mutex<HashMap<AccountId, Claim>>,
    read_rests: Mutex<HashMap<AccountId, ReadRest>>,
}

/// What is known of an account is not read until then.
struct ReadRest {
    /// By the monotonic clock.
    until: Duration,
    /// Rests in a row; each is twice as long.
    times: u32,
    problem: ProviderError,
}

/// The longest rest of such reads, unless a longer one was asked for.
const LONGEST_READ_REST: Duration = Duration::from_secs(6 * 3600);

impl LiveState {
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

    /// What of an account is not read for now, because the last read was limited or refused: the problem it met.
    pub(super) fn reads_rest(&self, account: &AccountId, monotonic: Duration) -> Option<ProviderError> {
        let rests = self.read_rests.lock().expect("nothing panics while holding it");
        rests.get(account).filter(|rest| monotonic < rest.until).map(|rest| rest.problem.clone())
    }

    /// Rests the reads of an account for `pause`, and for twice as long each time in a row.
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

    /// A read went well.
    pub(super) fn end_read_rest(&self, account: &AccountId) {
        self.read_rests.lock().expect("nothing panics while holding it").remove(account);
    }
}
