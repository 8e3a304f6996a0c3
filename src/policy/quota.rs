//! The caps of an account: how much of each is used, and when the next send has room (P4).
//!
//! A rolling window of length W holds the sends later than now minus W: a send made exactly W ago has left it. A send
//! counts from the moment that its intent is written, whatever its outcome, unless it certainly reached no recipient.
//! The ledger is recounted from the database; this module remembers nothing.

use jiff::Timestamp;

use super::hours;
use super::warm_up::{LoweredBy, Lowering};
use crate::domain::caps::{Cap, Ledger, Window};
use crate::domain::kind::Kind;
use crate::domain::policy::Policy;

/// The current state of one cap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The cap as configured.
    pub cap: Cap,
    /// The current limit; never more than configured.
    pub limit: u32,
    /// Why the limit is lower than configured, if it is.
    pub lowered_by: Option<LoweredBy>,
    /// Sends in the window of the cap.
    pub used: u32,
    /// When the next send has room; now if there is room.
    pub frees_at: Timestamp,
}

impl Budget {
    /// Returns how many sends still have room.
    pub fn left(&self) -> u32 {
        self.limit.saturating_sub(self.used)
    }
}

/// The longest search, in steps: there are never more changes than these between now and a free place.
const STEPS: usize = 200;

/// Returns the state of every cap of the policy at `now`.
pub fn budgets(policy: &Policy, lowering: &Lowering<'_>, ledger: &Ledger, now: Timestamp) -> Vec<Budget> {
    policy.caps.list.iter().map(|cap| budget(policy, lowering, ledger, *cap, now)).collect()
}

/// Returns the state of every cap on reads of profiles. `reads` has the reads, whatever their kind.
pub fn profile_budgets(
    policy: &Policy,
    lowering: &Lowering<'_>,
    reads: &Ledger,
    now: Timestamp,
) -> Vec<Budget> {
    policy.caps.profile.iter().map(|cap| budget(policy, lowering, reads, *cap, now)).collect()
}

/// Returns the cap that a send of `kind` waits for longest, if one is used up.
pub fn used_up(
    policy: &Policy,
    lowering: &Lowering<'_>,
    ledger: &Ledger,
    kind: Kind,
    now: Timestamp,
) -> Option<Budget> {
    let caps = policy.caps.list.iter().filter(|cap| cap.counts(kind));
    binding(policy, lowering, ledger, caps, now)
}

/// Returns the cap on reads of profiles that the next one waits for longest, if one is used up. `reads` has the reads,
/// whatever their kind.
pub fn profiles_used_up(
    policy: &Policy,
    lowering: &Lowering<'_>,
    reads: &Ledger,
    now: Timestamp,
) -> Option<Budget> {
    binding(policy, lowering, reads, policy.caps.profile.iter(), now)
}

fn binding<'a>(
    policy: &Policy,
    lowering: &Lowering<'_>,
    ledger: &Ledger,
    caps: impl Iterator<Item = &'a Cap>,
    now: Timestamp,
) -> Option<Budget> {
    let mut binding: Option<Budget> = None;
    for cap in caps {
        let (limit, _) = lowering.limit(cap.most, now);
        if used(policy, ledger, cap, now) < limit {
            continue;
        }
        let budget = budget(policy, lowering, ledger, *cap, now);
        if binding.is_none_or(|other| budget.frees_at > other.frees_at) {
            binding = Some(budget);
        }
    }
    binding
}

fn budget(policy: &Policy, lowering: &Lowering<'_>, ledger: &Ledger, cap: Cap, now: Timestamp) -> Budget {
    let (limit, lowered_by) = lowering.limit(cap.most, now);
    let used = used(policy, ledger, &cap, now);
    Budget { cap, limit, lowered_by, used, frees_at: frees_at(policy, lowering, ledger, &cap, now) }
}

/// Returns the number of sends in the window that ends at `at`.
fn used(policy: &Policy, ledger: &Ledger, cap: &Cap, at: Timestamp) -> u32 {
    let count = match cap.window.rolling() {
        Some(length) => {
            let sends = ledger.sends(cap.kind);
            let begin = at.checked_sub(length).unwrap_or(Timestamp::MIN);
            sends.len() - sends.partition_point(|sent| *sent <= begin)
        }
        None => ledger.since(cap.kind, hours::day_of(&policy.zone, policy.zone.to_datetime(at).date())),
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Returns the first instant from `now` on at which less than the limit is used, if nothing more is sent.
fn frees_at(
    policy: &Policy,
    lowering: &Lowering<'_>,
    ledger: &Ledger,
    cap: &Cap,
    now: Timestamp,
) -> Timestamp {
    let mut at = now;
    for _ in 0..STEPS {
        let (limit, _) = lowering.limit(cap.most, at);
        let used = used(policy, ledger, cap, at);
        if used < limit {
            return at;
        }
        let frees = match cap.window.rolling() {
            Some(length) => {
                let sends = ledger.sends(cap.kind);
                // This many of the newest sends fill the limit; the oldest of them must leave the window.
                let oldest = sends[sends.len() - limit as usize];
                oldest.checked_add(length).unwrap_or(Timestamp::MAX)
            }
            None => hours::day_after(&policy.zone, policy.zone.to_datetime(at).date()),
        };
        // At a change the limit may be higher, which frees a place earlier, or lower.
        at = lowering.next_change(at).map_or(frees, |change| change.min(frees));
    }
    at
}

/// Returns what the caps on a calendar day or 24 hours leave for `kind`, counted from the beginning of the day;
/// `None` without such a cap.
pub fn left_of_day(
    policy: &Policy,
    lowering: &Lowering<'_>,
    ledger: &Ledger,
    kind: Kind,
    now: Timestamp,
) -> Option<u32> {
    let begin = hours::day_of(&policy.zone, policy.zone.to_datetime(now).date());
    let daily = |cap: &&Cap| cap.counts(kind) && matches!(cap.window, Window::Day | Window::Hours24);
    let left = policy.caps.list.iter().filter(daily).map(|cap| {
        let used = u32::try_from(ledger.since(cap.kind, begin)).unwrap_or(u32::MAX);
        lowering.limit(cap.most, now).0.saturating_sub(used)
    });
    left.min()
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
