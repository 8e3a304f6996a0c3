//! Were the limits kept? Pure: an account's sends of the past held against its rules as they are now (P4).

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::hours::hours_at;
use crate::domain::caps::{Cap, Kind};
use crate::domain::policy::Policy;

/// When the hours were closed or a cap was exceeded, and what of it; `seed` is the account's (`hours::account_seed`).
/// Caps are taken as configured: what warm-up and rests lowered them to at the time is not known any more.
pub fn breaches(policy: &Policy, seed: u64, sends: &[(Timestamp, Kind)]) -> Vec<(Timestamp, String)> {
    let mut found = Vec::new();
    for (at, _) in sends {
        if !hours_at(policy.calendar.as_ref(), &policy.zone, seed, *at).are_open() {
            found.push((*at, "was sent outside the account's hours".to_owned()));
        }
    }
    for cap in &policy.caps.list {
        let counted: Vec<Timestamp> =
            sends.iter().filter(|(_, kind)| cap.counts(*kind)).map(|(at, _)| *at).collect();
        found.extend(exceeded(policy, cap, &counted));
    }
    found.sort_by_key(|(at, _)| *at);
    found
}

fn exceeded(policy: &Policy, cap: &Cap, sends: &[Timestamp]) -> Vec<(Timestamp, String)> {
    let most = cap.most as usize;
    let told = |at: Timestamp, used: usize| (at, format!("was number {used} of a cap of {cap}"));
    let mut found = Vec::new();
    match cap.window.rolling() {
        Some(length) => {
            let mut window: VecDeque<Timestamp> = VecDeque::new();
            for at in sends {
                let begin = at.checked_sub(length).unwrap_or(Timestamp::MIN);
                while window.front().is_some_and(|first| *first <= begin) {
                    window.pop_front();
                }
                window.push_back(*at);
                if window.len() > most {
                    found.push(told(*at, window.len()));
                }
            }
        }
        None => {
            let mut days = BTreeMap::new();
            for at in sends {
                let used = days.entry(policy.zone.to_datetime(*at).date()).or_insert(0);
                *used += 1;
                if *used > most {
                    found.push(told(*at, *used));
                }
            }
        }
    }
    found
}
