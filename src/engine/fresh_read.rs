//! One read for a message that is about to go: with a permit, and what is left when it fails.
//!
//! Called by `preflight.rs`. A read that is limited rests the account, as a limited send does; one that is refused for good
//! is not made again; anything else is tried again after a pause that grows. Trouble of the API is the guard's affair.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::Shared;
use super::account::{AccountRun, Wake};
use super::api_guard::Kind;
use crate::domain::account::Down;
use crate::domain::observed::Unread;
use crate::domain::outcome::ProviderError;
use crate::domain::reason::Reason;
use crate::policy::settle::{Rest, after, rest_after_read};
use crate::provider::Pages;
use crate::store::{AccountRest, Candidate, StoreError};

/// A look that failed is taken again after this, and after twice as long each time that it fails again.
const AGAIN: Duration = Duration::from_secs(60);
/// The longest of these pauses.
const LONGEST_AGAIN: Duration = Duration::from_secs(3600);

/// Whether a refused look-up says that there is no such user.
pub(super) fn is_about_the_user(problem: &ProviderError) -> bool {
    let words = [&problem.title, &problem.detail].into_iter().flatten();
    problem.kind.ends_with("/invalid_parameters")
        && words.map(|text| text.to_lowercase()).any(|text| text.contains("user"))
}

/// Ends a message for which no call is made.
pub(super) async fn refuse(
    shared: &Shared,
    run: &AccountRun,
    candidate: &Candidate,
    error: String,
    now: Timestamp,
) -> Result<(), StoreError> {
    tracing::warn!(account_id = %run.id, message_id = %candidate.id, error, "failed");
    shared.store.refuse(candidate.seq, Reason::Refused, error, now).await?;
    Ok(())
}

/// Nobody waits for this read any longer; that says nothing of the API.
pub(super) fn gave_up() -> Unread {
    let problem = ProviderError::local("gave_up", "the message did not wait for the answer");
    Unread { problem: Box::new(problem), down: None, hold: None }
}

/// One read with a permit; the error is when to look again.
pub(super) async fn read<'a, T>(
    shared: &'a Shared,
    run: &AccountRun,
    reading: impl FnOnce(Pages) -> BoxFuture<'a, Result<T, Unread>>,
) -> Result<Result<T, Unread>, Wake> {
    // Without one the guard keeps the account's place and wakes it.
    let Some(permit) = shared.api.ask(&run.id, Kind::Look) else { return Err(Wake::Idle) };
    let call = permit.begin();
    tokio::select! {
        read = reading(shared.api.pages(&run.id, Kind::Look)) => {
            call.ended_read(&read);
            Ok(read)
        }
        () = shared.stopping.cancelled() => Err(Wake::Idle),
    }
}

/// What a failed read leaves.
pub(super) enum Failed {
    /// Something else than the message holds the account now; deciding again tells.
    Elsewhere,
    /// The read is tried again then.
    Until { until: Timestamp, problem: ProviderError },
    /// Trying again would give the same answer.
    ForGood(ProviderError),
}

pub(super) async fn failed(
    shared: &Shared,
    run: &mut AccountRun,
    unread: Unread,
    now: Timestamp,
) -> Result<Failed, StoreError> {
    if let Some(cause) = unread.down {
        let down = Down { cause, since: now, problem: unread.problem.to_string() };
        shared.store.note_down(run.id.clone(), down).await?;
        return Ok(Failed::Elsewhere);
    }
    if shared.api.health().unreachable_until.is_some() {
        return Ok(Failed::Elsewhere);
    }
    let account = shared.store.accounts(Some(&run.id)).await?.pop();
    let history = account.map(|view| view.account.history).unwrap_or_default();
    let policy = shared.policy(&run.id);
    if let Some(rest) = rest_after_read(&unread, now, &policy, &history, &mut run.dice) {
        tracing::warn!(account_id = %run.id, until = %rest.hold.until, problem = %unread.problem, "a look-up was limited; the account rests");
        let Rest { hold, account_down: down, history } = rest;
        shared.store.rest(run.id.clone(), AccountRest { hold, history, down }, now).await?;
        return Ok(Failed::Elsewhere);
    }
    if unread.problem.is_final() {
        run.preflight.failed = 0;
        return Ok(Failed::ForGood(*unread.problem));
    }
    let wait = AGAIN.saturating_mul(2_u32.saturating_pow(run.preflight.failed)).min(LONGEST_AGAIN);
    run.preflight.failed = run.preflight.failed.saturating_add(1);
    Ok(Failed::Until { until: after(now, wait), problem: *unread.problem })
}
