//! What a call leaves behind: the state of its message, and what its account must now do.
//!
//! Pure: the engine hands in the outcome and writes the answer in one transaction (`Store::settle`).

use jiff::Timestamp;
use rand::Rng;

use super::pace;
use crate::domain::account::{AccountHold, Down};
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
}

/// Works out the consequence of `outcome`.
pub fn consequence(
    sending: Sending,
    outcome: Outcome,
    now: Timestamp,
    policy: &Policy,
    dice: &mut impl Rng,
) -> Consequence {
    let mut hold = None;
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
        Outcome::NotSent { hold: Hold::Account(said), .. } => {
            let until = after(now, pace::draw_api_hold(dice, *said));
            hold = Some(AccountHold { reason: Reason::ApiRateLimited, until });
        }
        Outcome::NotSent { hold: Hold::Api, .. } => api_unreachable = true,
        Outcome::Throttled(_) => {
            hold = Some(AccountHold { reason: Reason::Cooldown, until: after(now, policy.retry.cooldown) });
        }
        Outcome::AccountDown { cause, problem } => {
            let down = Some(Down { cause: *cause, since: now, problem: problem.to_string() });
            match cause {
                DownCause::Key => key_refused = down,
                DownCause::Disconnected | DownCause::Restricted => account_down = down,
            }
        }
    }
    let verify_at = policy.read_back.after.first().map(|first| after(now, *first));
    let message = sending.settle(outcome, now, verify_at, || again);
    Consequence { message, hold, account_down, key_refused, api_unreachable }
}

/// `now` plus `delay`, or the end of time.
pub fn after(now: Timestamp, delay: std::time::Duration) -> Timestamp {
    now.checked_add(delay).unwrap_or(Timestamp::MAX)
}
