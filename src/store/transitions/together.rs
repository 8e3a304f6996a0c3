//! The rows of a person or chat that are stored together or not at all: if one is refused, so are the others.
//!
//! A row that is not stored keeps no other one out, so the rows that are left are judged again until none of their people
//! has a refused row. `enqueue.rs` and `rehearsal.rs` use it.

use std::collections::{HashMap, HashSet};

use super::batch::Enqueued;
use crate::domain::message::{MessageId, NewMessage};

/// How often rows are judged at most; after that everyone with a refused row is left out.
const MOST_ROUNDS: usize = 8;

/// The verdicts so far.
pub(super) struct Together {
    /// Whom each row is for. A row to a group stands alone.
    people: Vec<String>,
    verdicts: Vec<Option<Enqueued>>,
    rounds: usize,
}

impl Together {
    pub(super) fn of<'a>(messages: impl Iterator<Item = &'a NewMessage>) -> Self {
        let people: Vec<String> = messages
            .enumerate()
            .map(|(place, message)| message.target.one_person().unwrap_or_else(|| format!("row:{place}")))
            .collect();
        Self { verdicts: vec![None; people.len()], people, rounds: 0 }
    }

    /// Returns the places of the rows that have no verdict.
    pub(super) fn open(&self) -> Vec<usize> {
        (0..self.people.len()).filter(|place| self.verdicts[*place].is_none()).collect()
    }

    /// Takes in what the rows at the places `open` would get, each alone, with their ids. Returns whether the rows that
    /// are left must be judged again.
    pub(super) fn judge(&mut self, open: &[usize], judged: Vec<(MessageId, Enqueued)>) -> bool {
        self.rounds += 1;
        let places: HashMap<MessageId, usize> =
            judged.iter().zip(open).map(|((id, _), place)| (*id, *place)).collect();
        let rows: Vec<(usize, Enqueued)> =
            open.iter().copied().zip(judged.into_iter().map(|(_, verdict)| verdict)).collect();
        let refused: HashSet<&str> = rows
            .iter()
            .filter(|(_, verdict)| verdict.is_refused())
            .map(|(at, _)| self.of_place(*at))
            .collect();
        // Whether the row that keeps this one out may not be stored.
        let is_unsure = |verdict: &Enqueued| {
            let other = verdict.because_of().and_then(|id| places.get(&id));
            other.is_some_and(|other| refused.contains(self.of_place(*other)))
        };
        let by_other = |place: usize, verdict: &Enqueued| {
            let other = verdict.because_of().and_then(|id| places.get(&id));
            other.is_some_and(|other| self.people[*other] != self.people[place])
        };
        let mut out: HashSet<String> = rows
            .iter()
            .filter(|(_, verdict)| verdict.is_refused())
            .filter(|(at, verdict)| {
                self.rounds >= MOST_ROUNDS || !(by_other(*at, verdict) && is_unsure(verdict))
            })
            .map(|(at, _)| self.people[*at].clone())
            .collect();
        if out.is_empty() {
            out.extend(
                rows.iter().find(|(_, verdict)| verdict.is_refused()).map(|(at, _)| self.people[*at].clone()),
            );
        }
        let is_over = out.is_empty();
        let decided: Vec<(usize, Enqueued)> = rows
            .iter()
            .filter(|(at, _)| is_over || out.contains(&self.people[*at]))
            .map(|(at, verdict)| match verdict {
                _ if is_over => (*at, verdict.clone()),
                Enqueued::Accepted(_) => (*at, Enqueued::Refused),
                Enqueued::Duplicate(_) if is_unsure(verdict) => (*at, Enqueued::Refused),
                _ if is_unsure(verdict) => (*at, verdict.clone().unnamed()),
                _ => (*at, verdict.clone()),
            })
            .collect();
        let are_left = decided.len() < rows.len();
        for (at, verdict) in decided {
            self.verdicts[at] = Some(verdict);
        }
        are_left
    }

    fn of_place(&self, place: usize) -> &str {
        &self.people[place]
    }

    /// Returns the verdicts, in the order of the rows.
    pub(super) fn verdicts(self) -> Vec<Enqueued> {
        self.verdicts.into_iter().map(|verdict| verdict.unwrap_or(Enqueued::Refused)).collect()
    }
}
