//! Audits the limits. Pure: compares an account's past sends with its rules as they are configured now (P4).
//!
//! `engine/audit.rs` calls this for one account at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::hours::{day_of, hours_at};
use crate::domain::calendar::Calendar;
use crate::domain::caps::Cap;
use crate::domain::kind::Kind;
use crate::domain::policy::Policy;

/// A past send, with what the limits depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// When its call began.
    pub at: Timestamp,
    /// The kind of the message.
    pub kind: Kind,
    /// Whether its producer set it to ignore the hours.
    pub ignores_hours: bool,
}

/// Returns which of `sends` (oldest first) were made while the hours were closed or above a cap: the place of each,
/// and what it broke. `seed` is the account's (`hours::account_seed`). Caps are taken as configured: what warm-up and
/// rests lowered them to at the time is no longer known.
pub fn breaches(policy: &Policy, seed: u64, sends: &[Sent]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let calendar = widest(policy);
    for (place, sent) in sends.iter().enumerate() {
        let open = || hours_at(calendar.as_ref(), &policy.zone, seed, sent.at).are_open();
        if !sent.ignores_hours && !open() {
            found.push((place, OUTSIDE_HOURS.to_owned()));
        }
    }
    for cap in &policy.caps.list {
        let counted = sends.iter().enumerate().filter(|(_, sent)| cap.counts(sent.kind));
        let counted: Vec<(usize, Timestamp)> = counted.map(|(place, sent)| (place, sent.at)).collect();
        found.extend(exceeded(policy, cap, &counted));
    }
    found.sort_by_key(|(place, _)| *place);
    found
}

const OUTSIDE_HOURS: &str = "was sent outside the account's hours";

/// Returns the calendar without its spread: how far accounts were spread depends on the gap at that time.
fn widest(policy: &Policy) -> Option<Calendar> {
    policy.calendar.clone().map(|calendar| Calendar { spread: Duration::ZERO, ..calendar })
}

/// Returns whether a call that began at `at` is outside the hours of `policy`; `seed` is the account's.
pub fn is_outside_hours(policy: &Policy, seed: u64, at: Timestamp) -> bool {
    !hours_at(widest(policy).as_ref(), &policy.zone, seed, at).are_open()
}

/// Returns the time after which a send counts for `cap` at `at`, the end of the window.
pub fn window_begin(policy: &Policy, cap: &Cap, at: Timestamp) -> Timestamp {
    let begin = match cap.window.rolling() {
        Some(length) => at.checked_sub(length),
        // A send at midnight belongs to the day.
        None => {
            let today = policy.zone.to_datetime(at).date();
            day_of(&policy.zone, today).checked_sub(Duration::from_millis(1))
        }
    };
    begin.unwrap_or(Timestamp::MIN)
}

fn exceeded(policy: &Policy, cap: &Cap, sends: &[(usize, Timestamp)]) -> Vec<(usize, String)> {
    let most = cap.most as usize;
    let told = |place: usize, used: usize| (place, format!("was number {used} of a cap of {cap}"));
    let mut found = Vec::new();
    match cap.window.rolling() {
        Some(length) => {
            let mut window: VecDeque<Timestamp> = VecDeque::new();
            for (place, at) in sends {
                let begin = at.checked_sub(length).unwrap_or(Timestamp::MIN);
                while window.front().is_some_and(|first| *first <= begin) {
                    window.pop_front();
                }
                window.push_back(*at);
                if window.len() > most {
                    found.push(told(*place, window.len()));
                }
            }
        }
        None => {
            let mut days = BTreeMap::new();
            for (place, at) in sends {
                let used = days.entry(policy.zone.to_datetime(*at).date()).or_insert(0);
                *used += 1;
                if *used > most {
                    found.push(told(*place, *used));
                }
            }
        }
    }
    found
}
