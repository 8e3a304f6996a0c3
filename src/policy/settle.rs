//! What follows from a call: the new state of its message, and what its account must do.
//!
//! Pure: the engine passes in the outcome and writes the result in one transaction (`Store::settle`).

use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;

use super::pace;
use crate::domain::account::{AccountHold, AccountRest, Down, History};
use crate::domain::observed::Unread;
use crate::domain::outcome::{DownCause, Heard, Hold, Outcome, ProviderError};
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::state::{Again, Sending, Settled};

/// The consequences of an outcome for the message and its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consequence {
    /// The message's new state.
    pub message: Settled,
    /// A rest that the account must take.
    pub hold: Option<AccountHold>,
    /// Set if the account is down until a person fixes it.
    pub account_down: Option<Down>,
    /// Set if the key is refused: nothing can be sent.
    pub key_refused: Option<Down>,
    /// What the account's limits remember from now on.
    pub history: History,
}

/// Who is to blame for a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Blame {
    /// Whether the API answered others properly since the call began, so that the account or the message is to blame;
    /// for a failure of the provider's, whether only this account's sends fail so.
    pub is_own: bool,
    /// Earlier failures of the account that turned out to be its own fault after they were settled.
    pub earlier: u32,
}

/// Being throttled again within this time makes the rest longer.
const THROTTLED_AGAIN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Returns the consequences of `outcome`.
pub fn consequence(
    sending: Sending,
    outcome: Outcome,
    blame: Blame,
    now: Timestamp,
    policy: &Policy,
    history: &History,
    dice: &mut impl Rng,
) -> Consequence {
    let outcome = blamed(outcome, blame);
    let (mut history, mut hold) = failures(sending.retries, &outcome, blame, now, policy, history);
    let mut account_down = None;
    let mut key_refused = None;
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
            hold = longer(hold, AccountHold { reason: Reason::ApiRateLimited, until });
        }
        Outcome::NotSent { hold: Hold::Api, .. } => {}
        Outcome::Throttled(problem) => {
            let rest = throttled(&history, problem, now, policy);
            (hold, account_down, history) = (longer(hold, rest.hold), rest.down, rest.history);
        }
        Outcome::AccountDown { cause, problem } => {
            let down = Some(Down { cause: *cause, since: now, problem: problem.to_string() });
            match cause {
                DownCause::Key => key_refused = down,
                DownCause::Disconnected | DownCause::Restricted | DownCause::Throttled => account_down = down,
            }
        }
    }
    let reconcile_at = policy.reconcile.after.first().map(|first| after(now, *first));
    let message = sending.settle(outcome, now, reconcile_at, || again);
    Consequence { message, hold, account_down, key_refused, history }
}

/// Returns the rest that ends later: a limit must not cut short the rest after failures in a row.
fn longer(rest: Option<AccountHold>, other: AccountHold) -> Option<AccountHold> {
    rest.into_iter().chain([other]).max_by_key(|hold| hold.until)
}

/// Makes a message that a gateway refuses while others pass wait alone, by its retries.
fn blamed(outcome: Outcome, blame: Blame) -> Outcome {
    match outcome {
        Outcome::NotSent { problem, hold: Hold::Api }
            if problem.status.is_some() && (blame.is_own || blame.earlier > 0) =>
        {
            Outcome::NotSent { problem, hold: Hold::Message }
        }
        other => other,
    }
}

/// Counts attempts that failed in a row through the account's own fault; enough of them make the account rest, and
/// then the count begins again. Failures that concern a recipient, the message or the API do not count.
fn failures(
    retries: u32,
    outcome: &Outcome,
    blame: Blame,
    now: Timestamp,
    policy: &Policy,
    history: &History,
) -> (History, Option<AccountHold>) {
    let failures = match outcome {
        Outcome::Accepted { .. } => 0,
        // A gateway that refuses one message again and again refuses that message.
        Outcome::NotSent { problem, hold: Hold::Message }
            if retries > 0 && problem.heard() == Heard::Trouble =>
        {
            history.failures
        }
        other => {
            let one = u32::from(is_accounts_fault(other, blame));
            history.failures.saturating_add(blame.earlier).saturating_add(one)
        }
    };
    let cooldown = &policy.cooldown;
    let enough = cooldown.failures > 0 && failures >= cooldown.failures;
    let until = after(now, cooldown.failures_pause);
    let hold = enough.then_some(AccountHold { reason: Reason::Failures, until });
    (History { failures: if enough { 0 } else { failures }, ..history.clone() }, hold)
}

fn is_accounts_fault(outcome: &Outcome, blame: Blame) -> bool {
    match outcome {
        Outcome::Accepted { .. } => false,
        Outcome::Refused(problem) => {
            problem.kind == "provider/insufficient_permissions" && !speaks_of_recipient(problem)
        }
        Outcome::Uncertain { problem, .. } | Outcome::NotSent { problem, hold: Hold::Message } => {
            match problem.heard() {
                Heard::Trouble => blame.is_own,
                Heard::Neither => false,
                Heard::Answer if problem.is_provider_trouble() => blame.is_own,
                // Another request conflicts with it, or something does not exist, which concerns the message.
                Heard::Answer => !problem.kind.ends_with("/conflict") && !problem.may_mean_the_account(),
            }
        }
        // These have rests of their own.
        Outcome::NotSent { hold: Hold::Account(_) | Hold::Credits | Hold::Api, .. }
        | Outcome::Throttled(_)
        | Outcome::AccountDown { .. } => false,
    }
}

/// Returns whether the words of a refusal are about the recipient.
fn speaks_of_recipient(problem: &ProviderError) -> bool {
    const WORDS: [&str; 10] = [
        "recipient",
        "user",
        "profile",
        "member",
        "person",
        "connect",
        "relation",
        "inmail",
        "chat",
        "company page",
    ];
    let words = [&problem.title, &problem.detail].into_iter().flatten().map(|text| text.to_lowercase());
    words.into_iter().any(|text| WORDS.iter().any(|word| text.contains(word)))
}

/// Returns the rest after a read that was limited, the same as after a send; `None` if it was not limited.
pub fn rest_after_read(
    unread: &Unread,
    now: Timestamp,
    policy: &Policy,
    history: &History,
    dice: &mut impl Rng,
) -> Option<AccountRest> {
    if unread.problem.is_throttling() {
        return Some(throttled(history, &unread.problem, now, policy));
    }
    let Some(Hold::Account(said)) = unread.hold else { return None };
    let until = after(now, pace::draw_api_hold(dice, said));
    let hold = AccountHold { reason: Reason::ApiRateLimited, until };
    Some(AccountRest { hold, down: None, history: history.clone() })
}

/// Returns the rest of an account that the provider throttled: it grows each time, and a second time within
/// `person_within` needs a person.
fn throttled(history: &History, problem: &ProviderError, now: Timestamp, policy: &Policy) -> AccountRest {
    let cooldown = &policy.cooldown;
    let mut history = history.clone();
    let so_soon = within(history.throttled_at, now, cooldown.person_within);
    let again = within(history.throttled_at, now, THROTTLED_AGAIN);
    history.throttles = if again { history.throttles.saturating_add(1) } else { 1 };
    history.throttled_at = Some(now);
    let times = cooldown.factor.saturating_pow(history.throttles - 1);
    let until = after(now, cooldown.first.saturating_mul(times).min(cooldown.max));
    history.half_caps_until = (!cooldown.half_caps.is_zero()).then(|| after(until, cooldown.half_caps));
    let down = Down { cause: DownCause::Throttled, since: now, problem: problem.to_string() };
    let hold = AccountHold { reason: Reason::Cooldown, until };
    AccountRest { hold, down: so_soon.then_some(down), history }
}

/// Returns whether `then` lies less than `time` before `now`.
fn within(then: Option<Timestamp>, now: Timestamp, time: Duration) -> bool {
    then.is_some_and(|then| !time.is_zero() && now < after(then, time))
}

/// Returns `now` plus `delay`, or the end of time.
pub fn after(now: Timestamp, delay: std::time::Duration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
