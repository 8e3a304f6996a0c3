//! Fair share: orders the first messages of an account's lanes, and counts the turns of its campaigns.
//!
//! Urgent messages go before the rest, then the higher priority, then (if the policy says so) messages in chats
//! before those that start one, then campaigns by turns, then the older message. Campaigns take turns by virtual
//! time: each turn advances a campaign by the less the more weight it has, and the one that is furthest behind goes
//! first. One that was away begins where the others are, so that it neither has to catch up nor may.

use std::cmp::Reverse;
use std::collections::HashMap;

use jiff::Timestamp;

use crate::domain::lane::Lane;
use crate::domain::policy::Order;

/// How far one turn advances a campaign of weight 1.
const TURN: u64 = 1_000_000;

/// The progress of an account's campaigns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FairShare {
    /// The virtual time at which the last turn began.
    pub virtual_time: u64,
    /// The finish of each campaign that had a turn; messages without a campaign use the empty name.
    pub finish: HashMap<String, u64>,
}

impl FairShare {
    /// Returns the progress of `campaign`.
    pub fn of(&self, campaign: &str) -> Share {
        Share {
            virtual_time: self.virtual_time,
            finish: self.finish.get(campaign).copied().unwrap_or_default(),
        }
    }

    /// Records a turn of `campaign`.
    pub fn take(&mut self, campaign: &str, order: &Order) {
        let (virtual_time, finish) = self.of(campaign).after(campaign, order);
        self.virtual_time = virtual_time;
        self.finish.insert(campaign.to_owned(), finish);
    }
}

/// The progress of one campaign of an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// The virtual time at which the account's last turn began.
    pub virtual_time: u64,
    /// The finish of this campaign; 0 if it is not ahead of the virtual time.
    pub finish: u64,
}

impl Share {
    /// Returns where the campaign's next turn begins.
    pub fn begin(self) -> u64 {
        self.finish.max(self.virtual_time)
    }

    /// Returns the virtual time of the account and the finish of the campaign after a turn of `campaign`.
    pub fn after(self, campaign: &str, order: &Order) -> (u64, u64) {
        let begin = self.begin();
        (begin, begin + TURN / u64::from(order.weight(campaign).max(1)))
    }
}

/// Returns the campaign of a lane, by the name under which it takes turns.
pub fn campaign(lane: &Lane) -> &str {
    lane.campaign.as_deref().unwrap_or_default()
}

/// The sort key of a lane's first message: the smaller goes first.
pub type Place = (bool, Reverse<i8>, bool, u64, Timestamp, i64);

/// Returns the sort key of a lane's first message, which became due at `due_at` and arrived as `seq`.
pub fn place(lane: &Lane, order: &Order, share: Share, due_at: Timestamp, seq: i64) -> Place {
    let starts = order.follow_ups_first && lane.kind.starts_chat();
    (!lane.urgent, Reverse(lane.priority), starts, share.begin(), due_at, seq)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kind::Kind;
    use crate::domain::policy::Policy;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn order(weights: &[(&str, u32)]) -> Order {
        let weights = weights.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect();
        Order { weights, ..Policy::unlimited().order }
    }

    fn lane(campaign: &str) -> Lane {
        Lane { campaign: Some(campaign.to_owned()), ..Lane::of(Kind::Message) }
    }

    /// Returns the campaigns of the next `count` turns, if each of these always has messages, all of the same age.
    fn turns_of(campaigns: &[&str], order: &Order, turns: &mut FairShare, count: usize) -> String {
        let mut taken = String::new();
        for _ in 0..count {
            let first = campaigns.iter().enumerate().min_by_key(|(index, name)| {
                place(&lane(name), order, turns.of(name), at(0), i64::try_from(*index).unwrap())
            });
            let (_, name) = first.unwrap();
            turns.take(name, order);
            taken.push_str(name);
        }
        taken
    }

    #[test]
    fn campaigns_take_turns_by_their_weights() {
        let mut turns = FairShare::default();
        assert_eq!(turns_of(&["a", "b", "c"], &order(&[]), &mut turns, 9), "abcabcabc");
        let taken = turns_of(&["a", "b"], &order(&[("a", 3)]), &mut FairShare::default(), 16);
        assert_eq!(taken.matches('a').count(), 12, "{taken}");
        assert!(!taken.contains("aaaaa") && !taken.contains("bb"), "spread, not in blocks: {taken}");
    }

    #[test]
    fn a_campaign_that_was_away_neither_catches_up_nor_waits() {
        let (order, mut turns) = (order(&[]), FairShare::default());
        turns_of(&["a"], &order, &mut turns, 1000);
        let taken = turns_of(&["a", "b"], &order, &mut turns, 10);
        assert!(taken.matches('b').count() <= 6, "{taken}");
        assert!(taken[..2].contains('b'), "{taken}");
    }

    #[test]
    fn urgent_then_priority_then_chats_then_age() {
        let order = order(&[]);
        let share = Share::default();
        let normal = Lane::of(Kind::NewChat);
        let place = |lane: &Lane, second| place(lane, &order, share, at(second), second);
        let urgent = Lane { urgent: true, priority: -100, ..normal.clone() };
        let high = Lane { priority: 1, ..normal.clone() };
        let chat = Lane::of(Kind::Message);
        let mut found =
            [place(&normal, 1), place(&chat, 2), place(&high, 3), place(&urgent, 4), place(&normal, 0)];
        found.sort();
        let seconds: Vec<i64> = found.iter().map(|place| place.4.as_second()).collect();
        assert_eq!(seconds, [4, 3, 2, 0, 1]);
        let alike = Order { follow_ups_first: false, ..order.clone() };
        assert!(
            super::place(&chat, &alike, share, at(2), 2) > super::place(&normal, &alike, share, at(1), 1)
        );
    }

    proptest! {
        /// No campaign starves: whatever the weights and the messages of others, a campaign that has messages gets
        /// its share.
        #[test]
        fn no_campaign_starves(weights in proptest::collection::vec(1u32..20, 2..6), before in 0usize..50) {
            let names = ["a", "b", "c", "d", "e", "f"];
            let names = &names[..weights.len()];
            let pairs: Vec<(&str, u32)> = names.iter().copied().zip(weights.iter().copied()).collect();
            let order = order(&pairs);
            let mut turns = FairShare::default();
            turns_of(&names[..1], &order, &mut turns, before);
            let sum: u32 = weights.iter().sum();
            let taken = turns_of(names, &order, &mut turns, sum as usize * 4);
            for (name, weight) in pairs {
                let got = taken.matches(name).count();
                let fair = weight as usize * 4;
                prop_assert!(got + 2 >= fair && got <= fair + 2, "{name}: {got} of {fair} in {taken}");
            }
        }
    }
}
