//! The reads of profiles in a forecast: before the first message to a person who is known by a public name only, one is
//! read, within `caps.profile`.

use std::collections::HashSet;

use jiff::Timestamp;

use super::forecast_types::Start;
use super::quota::profiles_used_up;
use super::warm_up::Lowering;
use crate::domain::account::Account;
use crate::domain::caps::Ledger;
use crate::domain::kind::Kind;

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
        start: &Start<'_>,
        index: usize,
        account: &Account,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let (message, policy) = (&start.queued[index], start.policy);
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
    use std::collections::HashMap;
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;
    use crate::domain::account::Daemon;
    use crate::domain::caps::parse_caps;
    use crate::domain::message::AccountId;
    use crate::domain::policy::Policy;
    use crate::domain::reason::Reason;
    use crate::policy::fair_share::FairShare;
    use crate::policy::forecast::Queued;

    #[test]
    fn a_profile_is_read_once_and_within_its_cap() {
        let now: Timestamp = "2026-11-23T07:00:00Z".parse().unwrap();
        let mut policy = Policy::unlimited();
        policy.caps.profile = parse_caps(None, "2/24h").unwrap();
        let account = Account::new(AccountId::new("acc_1"));
        let message = |(thread, is_named): (u64, bool)| Queued {
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
        let made = Ledger::new([(hour(-1), Kind::Message)]);
        let start = Start {
            now,
            until: hour(48),
            daemon: &Daemon::default(),
            account: &account,
            policy: &policy,
            ledger: &Ledger::default(),
            profile_reads: &made,
            turns: &FairShare::default(),
            lanes: &[],
            queued: &[(1, true), (2, true), (1, true), (3, false)].map(message),
            started: &HashMap::new(),
            call: Duration::ZERO,
        };
        let mut reads = Reads::new(made.clone());
        let mut read = |index, at| reads.read_for(&start, index, &account, at);
        assert_eq!(read(0, now), None);
        assert_eq!(read(1, now), Some(hour(23)), "it was the second of the day");
        assert_eq!([read(2, now), read(3, now)], [None, None], "one is known, one has an id");
        assert_eq!(read(1, hour(23)), None);
    }
}
