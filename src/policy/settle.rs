//! What a call leaves behind: the state of its message, and what its account must now do.
//!
//! Pure: the engine hands in the outcome and writes the answer in one transaction (`Store::settle`).

use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;

use super::pace;
use crate::domain::account::{AccountHold, Down, History};
use crate::domain::outcome::{DownCause, Hold, Outcome};
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::state::{Again, Sending, Settled};

/// What an outcome does to the message and to its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consequence {
    /// The message's new state.
    pub message: Settled,
    /// A rest that the account must take.
    pub hold: Option<AccountHold>,
    /// The account is down until a person has mended it.
    pub account_down: Option<Down>,
    /// The key is refused: nothing can be sent.
    pub key_refused: Option<Down>,
    /// The API could not be reached.
    pub api_unreachable: bool,
    /// What the account's limits remember from now on.
    pub history: History,
}

/// Being throttled again within this time makes the rest longer.
const THROTTLED_AGAIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Works out the consequence of `outcome`.
pub fn consequence(
    sending: Sending,
    outcome: Outcome,
    now: Timestamp,
    policy: &Policy,
    history: &History,
    dice: &mut impl Rng,
) -> Consequence {
    let (mut history, mut hold) = failures(&outcome, now, policy, history);
    let mut account_down = None;
    let mut key_refused = None;
    let mut api_unreachable = false;
    let mut again = Again::WithItsAccount;
    match &outcome {
        Outcome::Accepted { .. } | Outcome::Refused(_) | Outcome::Uncertain { .. } => {}
        Outcome::NotSent { hold: Hold::Message, .. } => {
            again = if sending.retries >= policy.retry.max_retries {
                Again::Never
            } else {
                Again::At(after(now, pace::draw_retry(dice, sending.retries + 1, &policy.retry)))
            };
        }
        Outcome::NotSent { hold: Hold::Credits, .. } => {
            again = if sending.retries >= policy.retry.max_retries {
                Again::Never
            } else {
                Again::WithCredits(after(now, policy.inmail.recheck))
            };
        }
        Outcome::NotSent { hold: Hold::Account(said), .. } => {
            let until = after(now, pace::draw_api_hold(dice, *said));
            hold = Some(AccountHold { reason: Reason::ApiRateLimited, until });
        }
        Outcome::NotSent { hold: Hold::Api, .. } => api_unreachable = true,
        Outcome::Throttled(problem) => {
            let again = within(history.throttled_at, now, policy.cooldown.person_within);
            let until = throttled(&mut history, now, policy);
            hold = Some(AccountHold { reason: Reason::Cooldown, until });
            account_down =
                again.then(|| Down { cause: DownCause::Throttled, since: now, problem: problem.to_string() });
        }
        Outcome::AccountDown { cause, problem } => {
            let down = Some(Down { cause: *cause, since: now, problem: problem.to_string() });
            match cause {
                DownCause::Key => key_refused = down,
                DownCause::Disconnected | DownCause::Restricted | DownCause::Throttled => account_down = down,
            }
        }
    }
    let verify_at = policy.read_back.after.first().map(|first| after(now, *first));
    let message = sending.settle(outcome, now, verify_at, || again);
    Consequence { message, hold, account_down, key_refused, api_unreachable, history }
}

/// Counts attempts that failed in a row; enough of them make the account rest, and then the count begins again.
fn failures(
    outcome: &Outcome,
    now: Timestamp,
    policy: &Policy,
    history: &History,
) -> (History, Option<AccountHold>) {
    let failures = match outcome {
        Outcome::Accepted { .. } => 0,
        Outcome::Refused(_) | Outcome::Uncertain { .. } | Outcome::NotSent { hold: Hold::Message, .. } => {
            history.failures.saturating_add(1)
        }
        // The account's or the API's own trouble has rests of its own.
        Outcome::NotSent { hold: Hold::Account(_) | Hold::Credits | Hold::Api, .. }
        | Outcome::Throttled(_)
        | Outcome::AccountDown { .. } => history.failures,
    };
    let cooldown = &policy.cooldown;
    let enough = cooldown.failures > 0 && failures >= cooldown.failures;
    let until = after(now, cooldown.failures_pause);
    let hold = enough.then_some(AccountHold { reason: Reason::Failures, until });
    (History { failures: if enough { 0 } else { failures }, ..history.clone() }, hold)
}

/// Notes that the provider throttled the account; answers the end of its rest, which grows each time.
fn throttled(history: &mut History, now: Timestamp, policy: &Policy) -> Timestamp {
    let cooldown = &policy.cooldown;
    let again = within(history.throttled_at, now, THROTTLED_AGAIN);
    history.throttles = if again { history.throttles.saturating_add(1) } else { 1 };
    history.throttled_at = Some(now);
    let times = cooldown.factor.saturating_pow(history.throttles - 1);
    let until = after(now, cooldown.first.saturating_mul(times).min(cooldown.max));
    history.half_caps_until = (!cooldown.half_caps.is_zero()).then(|| after(until, cooldown.half_caps));
    until
}

/// Whether `then` lies at most so long before `now`.
fn within(then: Option<Timestamp>, now: Timestamp, time: Duration) -> bool {
    then.is_some_and(|then| !time.is_zero() && now < after(then, time))
}

/// `now` plus `delay`, or the end of time.
pub fn after(now: Timestamp, delay: std::time::Duration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
