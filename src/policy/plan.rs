//! What a send that begins now leaves for the ones after it: the pause, the next break, the warm-up's beginning.
//!
//! The engine draws it, stores it with the intent and then calls; the forecast draws it the same way and calls nobody.

use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;

use super::decide::DecisionInput;
use super::hours::{self, account_seed};
use super::pace::{self, Pause};
use super::quota;
use crate::domain::caps::Ledger;

/// What a send leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The pause after it.
    pub pause: Pause,
    /// Whether the warm-up begins again with it.
    pub warms_up_again: bool,
}

/// Draws what a send at `input.now` leaves behind.
pub fn plan(input: &DecisionInput<'_>, dice: &mut impl Rng) -> Plan {
    let history = &input.account.history;
    // Whoever was quiet for as long as a break has had one.
    let rested = input.policy.rhythm.breaks.is_some_and(|breaks| quiet(input) >= breaks.min);
    let break_left = history.break_left.filter(|_| !rested || history.on_break);
    let pause = pace::draw_pause(dice, input.policy, spread_target(input), break_left);
    Plan { pause, warms_up_again: input.lowering().begins_again() }
}

/// How long the account has called nobody.
fn quiet(input: &DecisionInput<'_>) -> Duration {
    let since = |last: Timestamp| Duration::try_from(input.now.duration_since(last)).unwrap_or_default();
    input.account.last_call_at.map_or(Duration::MAX, since)
}

/// The gap with which what is left of the day's caps lasts for what is left of the day's hours.
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
