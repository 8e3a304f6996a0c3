//! Keeps what Unipile knows of the accounts fresh enough: who they are, how they stand, inboxes and credits.
//!
//! A task of the supervisor's beside the sending, so that a read that hangs or fails delays nobody; what was known stays
//! then, with its age. Only accounts with messages waiting are read: an account at rest makes no calls. Each read takes
//! its place in the rate of requests to the API.

use std::time::Duration;

use jiff::Timestamp;

use super::Shared;
use crate::domain::facts::Reading;
use crate::domain::message::AccountId;
use crate::domain::seen::Unread;

/// What could not be read is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5 * 60);
/// An account that turns up is read after so long: its first message goes first.
pub(super) const FIRST: Duration = Duration::from_secs(1);
/// No read of a fact in the way of a message takes longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Accounts of one round; with three reads each they take one request a second of the API's rate.
const ROUND: u32 = 10;
/// The provider whose accounts have inboxes and InMail credits.
pub(super) const LINKEDIN: &str = "linkedin";

/// Reads the facts of the accounts that are due.
pub(super) async fn refresh(shared: &Shared) {
    let now = shared.clock.now();
    let due = match shared.store.facts_due(now, shared.facts_age, AGAIN, ROUND).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(error = error.chain(), "cannot tell which accounts to read; trying again soon");
            return;
        }
    };
    for account in due {
        let reading = tokio::select! {
            reading = read(shared, &account) => reading,
            () = shared.stopping.cancelled() => return,
        };
        note(shared, &account, reading).await;
    }
}

/// Keeps a reading; that it cannot be kept stops nobody.
pub(super) async fn note(shared: &Shared, account: &AccountId, reading: Reading) {
    if let Some(problem) = &reading.problem {
        tracing::debug!(account_id = %account, %problem, "not all of the account could be read");
    }
    match shared.store.note_facts(account.clone(), reading).await {
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
    request(shared).await;
    match shared.provider.account(account.clone()).await {
        Ok(seen) => reading.account = Some(seen),
        // Whatever keeps the account itself from being read keeps the rest from being read.
        Err(Unread { problem, .. }) => {
            reading.problem = Some(*problem);
            return reading;
        }
    }
    if reading.account.as_ref().is_some_and(|seen| seen.provider != LINKEDIN) {
        return reading;
    }
    request(shared).await;
    match shared.provider.inboxes(account.clone()).await {
        Ok(inboxes) => reading.inboxes = Some(inboxes),
        Err(Unread { problem, .. }) => reading.problem = Some(*problem),
    }
    request(shared).await;
    match shared.provider.inmail_credits(account.clone()).await {
        Ok(credits) => reading.credits = Some(credits),
        Err(Unread { problem, .. }) => reading.problem = Some(*problem),
    }
    reading
}

/// Waits for a place in the API's rate.
async fn request(shared: &Shared) {
    while let Err(wait) = shared.live.take_request() {
        shared.clock.sleep(wait).await;
    }
}

/// Whether a reading of `at` is old: not read for twice the age at which it should have been.
pub(super) fn is_old(at: Timestamp, now: Timestamp, age: Duration) -> bool {
    Duration::try_from(now.duration_since(at)).is_ok_and(|passed| passed > age.saturating_mul(2))
}
