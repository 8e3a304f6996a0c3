//! The one selection: which message of an account goes next, and why each other candidate waits and until when (P6).
//!
//! The engine acts on the result of [`select`], `explain`, lists and `top` show it, and the forecast runs it forward.
//! It needs only the first ready message of each class of lanes (`store/views/candidates.rs` in SQL, `lanes.rs` in memory):
//! whatever holds one of these messages for its kind holds every other of its class.

use jiff::Timestamp;

use super::decide::{DecisionInput, Live, Until, Verdict, concerns_message_only, decide, first_opening};
use super::fair_share::{Share, place};
use super::hours::Hours;
use crate::domain::account::{Account, Daemon};
use crate::domain::caps::Ledger;
use crate::domain::lane::Lane;
use crate::domain::policy::Policy;
use crate::domain::waiting::Waiting;

/// Everything about an account that a selection depends on, except its messages.
#[derive(Debug, Clone, Copy)]
pub struct SelectionInput<'a> {
    /// The time of the selection.
    pub now: Timestamp,
    /// The state of the daemon, which concerns every account.
    pub daemon: &'a Daemon,
    /// The account that sends.
    pub account: &'a Account,
    /// What is known only while running, except the typing indicator.
    pub live: Live,
    /// The policy of the account.
    pub policy: &'a Policy,
    /// Whether the account's hours are open at `now`.
    pub hours: Hours,
    /// What the account has sent; see [`DecisionInput::ledger`].
    pub ledger: Option<&'a Ledger>,
}

impl<'a> SelectionInput<'a> {
    /// Returns everything that a verdict on `message` depends on.
    pub fn for_message<'b>(&self, message: &'b Waiting, typing_until: Option<Timestamp>) -> DecisionInput<'b>
    where
        'a: 'b,
    {
        let Self { now, daemon, account, live, policy, hours, ledger } = *self;
        DecisionInput {
            now,
            daemon,
            account,
            message,
            live: Live { typing_until, ..live },
            policy,
            hours,
            ledger,
        }
    }
}

/// A message that may go next.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// The message; its `queue_position` and `blocked_by` are ignored.
    pub message: &'a Waiting,
    /// The lane that it waits in.
    pub lane: &'a Lane,
    /// The progress of its campaign.
    pub share: Share,
    /// Order of arrival.
    pub seq: i64,
    /// Set while the typing indicator is shown for it.
    pub typing_until: Option<Timestamp>,
}

/// Which message goes next, and the verdict on each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The place of the entry that goes next: nothing holds it, or something that holds all entries.
    pub next: Option<usize>,
    /// The verdict on each entry, in the order of the entries.
    pub verdicts: Vec<Verdict>,
    /// When a gate of an entry opens next, and the selection may change.
    pub wake_at: Option<Timestamp>,
}

impl Selection {
    /// Returns why the account sends nothing now: the verdict on the message that goes next, or else the verdict that
    /// ends first. `None` without an entry.
    pub fn standing(&self) -> Option<(usize, &Verdict)> {
        self.standing_among(|_| true)
    }

    /// Does the same for the entries that `counts`, by their places, accepts.
    pub fn standing_among(&self, counts: impl Fn(usize) -> bool) -> Option<(usize, &Verdict)> {
        let first = self.next.filter(|index| counts(*index)).or_else(|| {
            let end = |verdict: &Verdict| match verdict {
                Verdict::Send | Verdict::Stop { .. } => Timestamp::MIN,
                Verdict::Wait { until: Until::At(at) | Until::NotBefore(at), .. } => *at,
                Verdict::Wait { until: Until::Person, .. } => Timestamp::MAX,
            };
            let counted = (0..self.verdicts.len()).filter(|index| counts(*index));
            counted.min_by_key(|index| end(&self.verdicts[*index]))
        })?;
        Some((first, &self.verdicts[first]))
    }
}

/// Picks the message that goes next. The entries must include the first ready message of each class, and may include
/// others.
pub fn select(input: &SelectionInput<'_>, entries: &[Entry<'_>]) -> Selection {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_cached_key(|index| {
        let Entry { message, lane, share, seq, .. } = &entries[*index];
        let place = place(lane, &input.policy.order, *share, message.due_at, *seq);
        (!message.is_ready(input.now), place)
    });
    let mut selection = Selection { next: None, verdicts: vec![Verdict::Send; entries.len()], wake_at: None };
    for index in order {
        let Entry { message, typing_until, .. } = entries[index];
        let queue_position = u64::from(selection.next.is_some() && message.is_ready(input.now));
        let message = Waiting { queue_position, blocked_by: None, ..message.clone() };
        let input = input.for_message(&message, typing_until);
        let verdict = decide(&input);
        // The verdict shows the time at which all gates are open, but the account runs again when the first of them
        // opens, because other messages of its class may wait for less.
        let opens = match verdict {
            Verdict::Wait { until: Until::At(_) | Until::NotBefore(_), .. } => true,
            // Once it is due, the engine defers it, so that the next one of its class becomes a candidate.
            Verdict::Wait { reason, until: Until::Person } => {
                concerns_message_only(reason) && !message.is_ready(input.now)
            }
            Verdict::Send | Verdict::Stop { .. } => false,
        };
        if opens {
            selection.wake_at = selection.wake_at.into_iter().chain(first_opening(&input)).min();
        }
        let waits_alone = matches!(verdict, Verdict::Wait { reason, .. } if concerns_message_only(reason));
        if selection.next.is_none() && !waits_alone {
            selection.next = Some(index);
        }
        selection.verdicts[index] = verdict;
    }
    selection
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
