//! What a send that begins now determines for the ones after it: the pause, the next break, the start of the warm-up.
//!
//! The engine draws it, stores it with the intent and then calls; the forecast draws it the same way and makes no
//! call.

use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;

use super::decide::DecisionInput;
use super::hours::{self, account_seed};
use super::pace::{self, Pause};
use super::quota;
use crate::domain::caps::Ledger;

/// What a send determines for the ones after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The pause after the send.
    pub pause: Pause,
    /// Whether the warm-up begins again with this send.
    pub warms_up_again: bool,
}

/// Draws the plan of a send at `input.now`.
pub fn plan(input: &DecisionInput<'_>, dice: &mut impl Rng) -> Plan {
    let history = &input.account.history;
    // An idle period as long as a break counts as one.
    let rested = input.policy.rhythm.breaks.is_some_and(|breaks| quiet(input) >= breaks.min);
    let break_left = history.break_left.filter(|_| !rested || history.on_break);
    let pause = pace::draw_pause(dice, input.policy, spread_target(input), break_left);
    Plan { pause, warms_up_again: input.lowering().begins_again() }
}

/// Returns the time since the account's last call.
fn quiet(input: &DecisionInput<'_>) -> Duration {
    let since = |last: Timestamp| Duration::try_from(input.now.duration_since(last)).unwrap_or_default();
    input.account.last_call_at.map_or(Duration::MAX, since)
}

/// Returns the gap at which the rest of the day's caps lasts for the rest of the day's hours.
fn spread_target(input: &DecisionInput<'_>) -> Option<Duration> {
    let policy = input.policy;
    if !policy.rhythm.spread {
        return None;
    }
    let none = Ledger::default();
    let ledger = input.ledger.unwrap_or(&none);
    let left = quota::left_of_day(policy, &input.lowering(), ledger, input.message.kind, input.now)?;
    let seed = account_seed(input.account.id.as_str());
    let open = hours::open_time_left(policy.calendar.as_ref(), &policy.zone, seed, input.now);
    Some(open / left.max(1))
}
