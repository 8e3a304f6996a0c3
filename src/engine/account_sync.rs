//! Keeps the account snapshots fresh: identity, connection status, inboxes and InMail credits.
//!
//! The supervisor runs this in a task of its own, so that a read that hangs or fails delays no send; the previous
//! snapshot then stays, with its age. Only accounts with waiting messages are read: an idle account makes no calls.
//! Each page takes a permit of the API guard. Reads that are limited, or refused for good, are retried after a
//! growing pause.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::Shared;
use super::api_guard::Kind;
use crate::domain::account_snapshot::Reading;
use crate::domain::message::AccountId;
use crate::domain::observed::Unread;
use crate::domain::outcome::{Hold, ProviderError};
use crate::provider::Pages;

/// How long to wait before a failed read is retried.
pub(super) const AGAIN: Duration = Duration::from_secs(5 * 60);
/// Delay before a new account is read for the first time: its first message goes first.
pub(super) const FIRST: Duration = Duration::from_secs(1);
/// Timeout of a snapshot read that a message waits for.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Accounts per round; with three reads each they take one request per second of the API's rate.
const ROUND: u32 = 10;
/// The provider whose accounts have inboxes and InMail credits.
pub(super) const LINKEDIN: &str = "linkedin";

/// Syncs the accounts that are due.
pub(super) async fn refresh(shared: &Shared) {
    let now = shared.clock.now();
    let due = match shared.store.snapshots_due(now, shared.snapshot_age, AGAIN, ROUND).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(error = error.chain(), "cannot tell which accounts to read; trying again soon");
            return;
        }
    };
    for account in due {
        if let Some(problem) = shared.live.reads_rest(&account, shared.clock.monotonic()) {
            // Count it as a read, because other accounts are due as well.
            let reading = Reading { problem: Some(problem), ..Reading::new(shared.clock.now()) };
            note(shared, &account, reading).await;
            continue;
        }
        let reading = tokio::select! {
            reading = read(shared, &account) => reading,
            () = shared.stopping.cancelled() => return,
        };
        note(shared, &account, reading).await;
    }
}

/// Stores a reading. A failure here is logged and ignored.
pub(super) async fn note(shared: &Shared, account: &AccountId, reading: Reading) {
    if let Some(problem) = &reading.problem {
        tracing::debug!(account_id = %account, %problem, "not all of the account could be read");
    }
    match shared.store.sync_account(account.clone(), reading).await {
        Ok(true) => {
            tracing::info!(account_id = %account, "the account is connected again and goes on at its pace");
            shared.wakeups.add([(account.clone(), shared.clock.now())]);
        }
        Ok(false) => {}
        Err(error) => {
            tracing::debug!(account_id = %account, error = error.chain(), "what was read of the account is not kept");
        }
    }
}

async fn read(shared: &Shared, account: &AccountId) -> Reading {
    let mut reading = Reading::new(shared.clock.now());
    let provider = &shared.provider;
    let mut rest = None;
    match call(shared, account, |_pages| provider.account(account.clone()), &mut rest).await {
        Ok(seen) => reading.account = Some(seen),
        // Whatever prevents the read of the account prevents the other reads as well.
        Err(problem) => reading.problem = Some(problem),
    }
    let is_linkedin = reading.account.as_ref().is_some_and(|seen| seen.provider == LINKEDIN);
    if is_linkedin {
        match call(shared, account, |pages| provider.inboxes(account.clone(), pages), &mut rest).await {
            Ok(inboxes) => reading.inboxes = Some(inboxes),
            Err(problem) => reading.problem = Some(problem),
        }
        match call(shared, account, |_pages| provider.inmail_credits(account.clone()), &mut rest).await {
            Ok(credits) => reading.credits = Some(credits),
            Err(problem) => reading.problem = Some(problem),
        }
    }
    match (rest, &reading.problem) {
        (Some(said), Some(problem)) => {
            shared.live.rest_reads(account, problem.clone(), said.max(AGAIN), shared.clock.monotonic());
        }
        _ => shared.live.end_read_rest(account),
    }
    reading
}

/// Makes one read with a permit. If the read was limited or refused for good, raises `rest` to the requested pause.
async fn call<'a, T>(
    shared: &'a Shared,
    account: &AccountId,
    read: impl FnOnce(Pages) -> BoxFuture<'a, Result<T, Unread>>,
    rest: &mut Option<Duration>,
) -> Result<T, ProviderError> {
    let call = shared.api.wait(account, Kind::Snapshot).await.begin();
    let read = read(shared.api.pages(account, Kind::Snapshot)).await;
    call.ended_read(&read);
    read.map_err(|unread| {
        *rest = (*rest).max(asked_rest(&unread));
        *unread.problem
    })
}

/// Returns for how long the reads of an account must pause, if the read was limited or refused for good.
pub(super) fn asked_rest(unread: &Unread) -> Option<Duration> {
    let Unread { problem, hold, .. } = unread;
    match hold {
        Some(Hold::Account(said)) => Some(said.unwrap_or_default()),
        _ => (problem.is_throttling() || problem.is_final()).then_some(Duration::ZERO),
    }
}

/// Returns whether a reading of `at` is stale: older than twice the age at which it should have been read again.
pub(super) fn is_old(at: Timestamp, now: Timestamp, age: Duration) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|passed| passed > age.saturating_mul(2))
}
