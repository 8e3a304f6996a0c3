//! The ready messages of one account in memory, as the table `lanes` keeps them on disk: for each class of lanes, the
//! message that goes first.
//!
//! Adding, removing and finding take logarithmic time in the number of waiting messages, however many lanes there
//! are. The forecast runs on this; a test compares it with the store.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use jiff::Timestamp;

use super::fair_share::{FairShare, Share, campaign};
use crate::domain::kind::Kind;
use crate::domain::lane::Lane;
use crate::domain::policy::Order;

/// The sort key of a lane's first message inside its class: the finish of its campaign, due time, seq.
type Rank = (u64, Timestamp, i64);

/// A ready message: due time, order of arrival, and its place in the caller's list.
type Ready = Reverse<(Timestamp, i64, usize)>;

/// What the lanes of one class have in common: everything but the campaign.
type ClassKey = (bool, bool, i8, Kind);

/// The ready messages of an account by lane.
#[derive(Debug)]
pub struct Lanes<'a> {
    lanes: &'a [Lane],
    ready: Vec<BinaryHeap<Ready>>,
    class_of: Vec<usize>,
    by_campaign: HashMap<&'a str, Vec<usize>>,
    /// The lanes with a ready message, by rank, for each class.
    classes: Vec<BTreeSet<(Rank, usize)>>,
    turns: FairShare,
    waiting: usize,
}

impl<'a> Lanes<'a> {
    /// Creates the lanes without any message.
    pub fn new(lanes: &'a [Lane], turns: FairShare) -> Self {
        let mut keys: HashMap<ClassKey, usize> = HashMap::new();
        let mut by_campaign: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut class_of = Vec::with_capacity(lanes.len());
        for (index, lane) in lanes.iter().enumerate() {
            let next = keys.len();
            let key = (lane.urgent, lane.ignore_hours, lane.priority, lane.kind);
            class_of.push(*keys.entry(key).or_insert(next));
            by_campaign.entry(campaign(lane)).or_default().push(index);
        }
        let classes = vec![BTreeSet::new(); keys.len()];
        Self {
            lanes,
            ready: vec![BinaryHeap::new(); lanes.len()],
            class_of,
            by_campaign,
            classes,
            turns,
            waiting: 0,
        }
    }

    /// Returns whether no message is ready.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Returns the progress of a lane's campaign.
    pub fn share(&self, lane: usize) -> Share {
        self.turns.of(campaign(&self.lanes[lane]))
    }

    /// Adds a message to a lane.
    pub fn push(&mut self, lane: usize, due_at: Timestamp, seq: i64, index: usize) {
        let added = Reverse((due_at, seq, index));
        if self.ready[lane].peek().is_none_or(|first| added > *first) {
            self.leave(lane);
            self.ready[lane].push(added);
            self.enter(lane);
        } else {
            self.ready[lane].push(added);
        }
        self.waiting += 1;
    }

    /// Removes the first message of a lane.
    pub fn pop(&mut self, lane: usize) {
        self.leave(lane);
        if self.ready[lane].pop().is_some() {
            self.waiting -= 1;
        }
        self.enter(lane);
    }

    /// Returns, for each class with a ready message, the lane that goes first and the place of its message in the
    /// caller's list.
    pub fn first_of_classes(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.classes.iter().filter_map(|class| {
            let (_, lane) = class.first()?;
            let Reverse((_, _, index)) = self.ready[*lane].peek()?;
            Some((*lane, *index))
        })
    }

    /// Returns the places of all ready messages.
    pub fn all(&self) -> impl Iterator<Item = usize> + '_ {
        self.ready.iter().flatten().map(|Reverse((_, _, index))| *index)
    }

    /// Records a turn of the campaign of `lane`.
    pub fn take_turn(&mut self, lane: usize, order: &Order) {
        let name = campaign(&self.lanes[lane]);
        let siblings = self.by_campaign.get(name).cloned().unwrap_or_default();
        siblings.iter().for_each(|sibling| self.leave(*sibling));
        self.turns.take(name, order);
        siblings.iter().for_each(|sibling| self.enter(*sibling));
        self.catch_up();
    }

    /// Makes campaigns equal again that the virtual time has caught up with.
    fn catch_up(&mut self) {
        for class in 0..self.classes.len() {
            loop {
                let ahead = ((1, Timestamp::MIN, i64::MIN), 0)..;
                let behind = self.classes[class].range(ahead).next();
                let Some(((finish, _, _), lane)) = behind.copied() else { break };
                if finish > self.turns.virtual_time {
                    break;
                }
                self.leave_as(lane, finish);
                self.enter(lane);
            }
        }
    }

    /// Returns the rank of `lane`; all that are not ahead of the virtual time are equal.
    fn rank(&self, lane: usize) -> Option<Rank> {
        let Reverse((due_at, seq, _)) = self.ready[lane].peek()?;
        let share = self.share(lane);
        let finish = if share.finish > share.virtual_time { share.finish } else { 0 };
        Some((finish, *due_at, *seq))
    }

    fn leave(&mut self, lane: usize) {
        if let Some(rank) = self.rank(lane) {
            self.classes[self.class_of[lane]].remove(&(rank, lane));
        }
    }

    fn leave_as(&mut self, lane: usize, finish: u64) {
        if let Some((_, due_at, seq)) = self.rank(lane) {
            self.classes[self.class_of[lane]].remove(&((finish, due_at, seq), lane));
        }
    }

    fn enter(&mut self, lane: usize) {
        if let Some(rank) = self.rank(lane) {
            self.classes[self.class_of[lane]].insert((rank, lane));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::policy::Policy;
    use crate::policy::fair_share::place;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    proptest! {
        /// The first messages of the classes include the one that goes first of all, whatever was added, sent and
        /// weighted.
        #[test]
        fn the_first_of_the_classes_hold_the_first_of_all(
            steps in proptest::collection::vec((0usize..12, 0i64..20, 0u8..3), 1..120),
            weight in 1u32..4,
        ) {
            let lane = |(index, kind): (usize, Kind)| Lane {
                campaign: (index % 4 > 0).then(|| format!("c{}", index % 4)),
                priority: i8::try_from(index % 2).unwrap(),
                ..Lane::of(kind)
            };
            let kinds = [Kind::Message, Kind::NewChat, Kind::InMail].into_iter();
            let lanes: Vec<Lane> = kinds.flat_map(|kind| (0..4).map(move |index| lane((index, kind)))).collect();
            let mut order = Policy::unlimited().order;
            order.weights = vec![("c1".to_owned(), weight)];
            let mut found = Lanes::new(&lanes, FairShare::default());
            let mut turns = FairShare::default();
            let mut all: BTreeMap<i64, (usize, Timestamp)> = BTreeMap::new();
            for (seq, (lane, due, what)) in (0..).zip(steps) {
                if what > 0 {
                    found.push(lane, at(due), seq, usize::try_from(seq).unwrap());
                    all.insert(seq, (lane, at(due)));
                }
                let rank = |lane: usize, seq: i64, due: Timestamp| {
                    place(&lanes[lane], &order, turns.of(campaign(&lanes[lane])), due, seq)
                };
                let first = all.iter().map(|(seq, (lane, due))| (rank(*lane, *seq, *due), *lane)).min();
                let of_classes = found.first_of_classes().map(|(lane, index)| {
                    let seq = i64::try_from(index).unwrap();
                    (rank(lane, seq, all[&seq].1), lane)
                });
                prop_assert_eq!(of_classes.min(), first);
                if let Some((place, lane)) = first.filter(|_| what < 2) {
                    found.pop(lane);
                    found.take_turn(lane, &order);
                    turns.take(campaign(&lanes[lane]), &order);
                    all.remove(&place.5);
                }
                prop_assert_eq!(found.is_empty(), all.is_empty());
            }
        }
    }
}
