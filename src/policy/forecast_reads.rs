//! The reads of profiles in a forecast: before the first message to a person who is known by a public name only, one is
//! read, within `caps.profile`.

use std::collections::HashSet;

use jiff::Timestamp;

use super::forecast_types::Queued;
use super::quota::profiles_used_up;
use super::warm_up::Lowering;
use crate::domain::account::Account;
use crate::domain::caps::Ledger;
use crate::domain::kind::Kind;
use crate::domain::policy::Policy;

pub(super) struct Reads {
    made: Ledger,
    /// The threads of the persons whose profiles are read.
    known: HashSet<u64>,
}

impl Reads {
    /// `made` are the reads that count for the caps.
    pub(super) fn new(made: Ledger) -> Self {
        Self { made, known: HashSet::new() }
    }

    /// Reads the profile that the message needs. Returns when that is possible, if it is not now.
    pub(super) fn read_for(
        &mut self,
        message: &Queued,
        (policy, account): (&Policy, &Account),
        now: Timestamp,
    ) -> Option<Timestamp> {
        if !message.is_named || self.known.contains(&message.thread) {
            return None;
        }
        let used_up = profiles_used_up(policy, &Lowering::of(policy, account, now), &self.made, now);
        if used_up.is_none() {
            self.made.push(now, Kind::Message);
            self.known.insert(message.thread);
        }
        used_up.map(|budget| budget.frees_at)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::domain::caps::parse_caps;
    use crate::domain::message::AccountId;
    use crate::domain::reason::Reason;

    #[test]
    fn a_profile_is_read_once_and_within_its_cap() {
        let now: Timestamp = "2026-11-23T07:00:00Z".parse().unwrap();
        let mut policy = Policy::unlimited();
        policy.caps.profile = parse_caps(None, "2/24h").unwrap();
        let account = Account::new(AccountId::new("acc_1"));
        let message = |thread: u64, is_named: bool| Queued {
            lane: 0,
            due_at: now,
            ready_at: now,
            later_for: Reason::Scheduled,
            expires_at: None,
            seq: 1,
            thread,
            step: None,
            follows: None,
            waits_for: None,
            is_named,
        };
        let hour = |hours: i64| now + SignedDuration::from_hours(hours);
        let mut reads = Reads::new(Ledger::new([(hour(-1), Kind::Message)]));
        let mut read =
            |thread, is_named, at| reads.read_for(&message(thread, is_named), (&policy, &account), at);
        assert_eq!(read(1, true, now), None);
        assert_eq!(read(2, true, now), Some(hour(23)), "the second of the day was the last");
        assert_eq!([read(1, true, now), read(3, false, now)], [None, None], "one is known, one has an id");
        assert_eq!(read(2, true, hour(23)), None);
    }
}
