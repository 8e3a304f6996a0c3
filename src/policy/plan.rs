//! What a send that begins now leaves for the ones after it: the pause, the next break, the warm-up's beginning.
//!
//! The engine draws it, stores it with the intent and then calls; the forecast draws it the same way and calls nobody.

use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;

use super::decide::Facts;
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

/// Draws what a send at `facts.now` leaves behind.
pub fn plan(facts: &Facts<'_>, dice: &mut impl Rng) -> Plan {
    let history = &facts.account.history;
    // Whoever was quiet for as long as a break has had one.
    let rested = facts.policy.rhythm.breaks.is_some_and(|breaks| quiet(facts) >= breaks.min);
    let break_left = history.break_left.filter(|_| !rested || history.on_break);
    let pause = pace::draw_pause(dice, facts.policy, spread_target(facts), break_left);
    Plan { pause, warms_up_again: facts.lowering().begins_again() }
}

/// How long the account has called nobody.
fn quiet(facts: &Facts<'_>) -> Duration {
    let since = |last: Timestamp| Duration::try_from(facts.now.duration_since(last)).unwrap_or_default();
    facts.account.last_call_at.map_or(Duration::MAX, since)
}

/// The gap with which what is left of the day's caps lasts for what is left of the day's hours.
fn spread_target(facts: &Facts<'_>) -> Option<Duration> {
    let policy = facts.policy;
    if !policy.rhythm.spread {
        return None;
    }
    let none = Ledger::default();
    let ledger = facts.ledger.unwrap_or(&none);
    let left = quota::left_of_day(policy, &facts.lowering(), ledger, facts.message.kind, facts.now)?;
    let seed = account_seed(facts.account.id.as_str());
    let open = hours::open_time_left(policy.calendar.as_ref(), &policy.zone, seed, facts.now);
    Some(open / left.max(1))
}
