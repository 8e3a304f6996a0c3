//! One read for a message that is about to go: makes it with a permit, and decides what follows if it fails.
//!
//! `preflight.rs` calls this. A read that is limited rests the account, as a limited send does; one that is refused
//! for good is not retried; anything else is retried after a growing pause. The API guard handles trouble of the API.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::Shared;
use super::api_guard::Kind;
use super::missing_account::{self, Known};
use super::run::{AccountRun, Wake};
use crate::domain::account::Down;
use crate::domain::observed::Unread;
use crate::domain::outcome::ProviderError;
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::policy::settle::{after, rest_after_read};
use crate::provider::Pages;
use crate::store::{Candidate, StoreError};

/// The pause before a failed look-up is retried; it doubles with each further failure.
const AGAIN: Duration = Duration::from_secs(60);
/// The longest pause before a retry.
const LONGEST_AGAIN: Duration = Duration::from_secs(3600);

/// How long the result of a look-up is valid.
pub(super) const GOOD_FOR: Duration = Duration::from_secs(10);
/// How long before the typing begins the chat is looked up.
const AHEAD: Duration = Duration::from_secs(5);

/// Whether the step goes on with the message.
pub(super) enum Look {
    /// The step goes on.
    Clear,
    /// The step ends, and says when the account runs again.
    Wake(Wake),
}

/// Returns how long before the account is free a chat is looked up: before its typing begins.
pub(super) fn early(policy: &Policy) -> Duration {
    policy.typing.max + AHEAD
}

/// Returns how long the look-up of a chat is valid: over the typing, and a moment longer.
pub(super) fn valid(policy: &Policy) -> Duration {
    early(policy) + early(policy) + GOOD_FOR
}

/// Returns whether a refused look-up says that there is no such user.
pub(super) fn is_about_the_user(problem: &ProviderError) -> bool {
    let words = [&problem.title, &problem.detail].into_iter().flatten();
    problem.kind.ends_with("/invalid_parameters")
        && words.map(|text| text.to_lowercase()).any(|text| text.contains("user"))
}

/// Fails a message without making a call.
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

/// Returns the error of a read that the message no longer waits for; it says nothing about the API.
pub(super) fn gave_up() -> Unread {
    let problem = ProviderError::local("gave_up", "the message did not wait for the answer");
    Unread { problem: Box::new(problem), down: None, hold: None }
}

/// Makes one read with a permit; the error says when the account runs again. It gives up when the wall clock is set.
pub(super) async fn read<'a, T>(
    shared: &'a Shared,
    run: &mut AccountRun,
    reading: impl FnOnce(Pages) -> BoxFuture<'a, Result<T, Unread>>,
) -> Result<Result<T, Unread>, Wake> {
    let Some(permit) = run.ask(shared, Kind::Look) else { return Err(Wake::Idle) };
    let call = permit.begin();
    tokio::select! {
        read = reading(shared.api.pages(&run.id, Kind::Look)) => {
            call.ended_read(&read);
            Ok(read)
        }
        () = shared.stopping.cancelled() => Err(Wake::Idle),
        // Every account waits for the end of this step.
        () = shared.wall_clock.is_waited_for() => Err(Wake::Now),
    }
}

/// What follows from a failed read.
pub(super) enum Failed {
    /// Something other than the message holds the account now; the next step decides again.
    Elsewhere,
    /// The read is retried at `until`.
    Until { until: Timestamp, problem: ProviderError },
    /// A retry would give the same answer.
    ForGood(ProviderError),
}

/// Returns when a read is retried that did not help.
pub(super) fn again_at(run: &mut AccountRun, now: Timestamp) -> Timestamp {
    let wait = AGAIN.saturating_mul(2_u32.saturating_pow(run.preflight.failed)).min(LONGEST_AGAIN);
    run.preflight.failed = run.preflight.failed.saturating_add(1);
    after(now, wait)
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
    if limited(shared, run, &unread, now).await? {
        return Ok(Failed::Elsewhere);
    }
    if unread.problem.may_mean_the_account() {
        match missing_account::ask(shared, run).await {
            Known::Exists => {}
            Known::Down(cause, problem) => {
                let down = Down { cause, since: now, problem: problem.to_string() };
                shared.store.note_down(run.id.clone(), down).await?;
                return Ok(Failed::Elsewhere);
            }
            Known::Unknown => {
                return Ok(Failed::Until { until: again_at(run, now), problem: *unread.problem });
            }
        }
    }
    if unread.problem.is_final() {
        run.preflight.failed = 0;
        return Ok(Failed::ForGood(*unread.problem));
    }
    Ok(Failed::Until { until: again_at(run, now), problem: *unread.problem })
}

/// Rests the account if a request that reaches no recipient was limited; returns whether it rests.
pub(super) async fn limited(
    shared: &Shared,
    run: &mut AccountRun,
    unread: &Unread,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let account = shared.store.account(&run.id).await?;
    let history = account.map(|view| view.account.history).unwrap_or_default();
    let policy = shared.policy(&run.id);
    let Some(rest) = rest_after_read(unread, now, &policy, &history, &mut run.dice) else { return Ok(false) };
    tracing::warn!(account_id = %run.id, until = %rest.hold.until, problem = %unread.problem, "a look-up or a typing indicator was limited; the account rests");
    shared.store.rest(run.id.clone(), rest, now).await?;
    Ok(true)
}
