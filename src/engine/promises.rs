//! Checks the promises while the daemon runs, apart from the code that keeps them, and measures the pace.
//!
//! What is found broken is counted in `outboxd_promises_broken_total`, which must stay 0, and logged. All times are by
//! the monotonic clock, so that a wall clock that is set does not look like a broken promise.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Shared;
use crate::domain::message::AccountId;
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::metrics::Metrics;
use crate::metrics::table::{ACCOUNTS_WAITING, SEND_DURATION, SEND_GAP, SEND_LAG, SENDS};
use crate::policy::audit::{is_outside_hours, window_begin};
use crate::policy::decide::{DecisionInput, Until, Verdict};
use crate::policy::hours::account_seed;
use crate::store::{CallBreach, Candidate, StoreError};

/// Shows in the metrics what the account waits for.
pub(super) struct ShownWait {
    metrics: Arc<Metrics>,
    reason: Option<Reason>,
}

impl ShownWait {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        Self { metrics: Arc::clone(metrics), reason: None }
    }

    pub(super) fn waits(&mut self, verdict: Option<&Verdict>) {
        let reason = match verdict {
            Some(Verdict::Wait { reason, .. }) => Some(*reason),
            Some(Verdict::Send | Verdict::Stop { .. }) | None => None,
        };
        if reason == self.reason {
            return;
        }
        if let Some(old) = std::mem::replace(&mut self.reason, reason) {
            self.metrics.add(&ACCOUNTS_WAITING, &[old.as_str()], -1.0);
        }
        if let Some(new) = reason {
            self.metrics.add(&ACCOUNTS_WAITING, &[new.as_str()], 1.0);
        }
    }
}

impl Drop for ShownWait {
    fn drop(&mut self) {
        self.waits(None);
    }
}

/// What is remembered of the calls of an account.
#[derive(Debug, Default)]
pub(super) struct CallWatch {
    /// When the last call began, and the gap that must follow it.
    last: Option<(Duration, Duration)>,
    /// When the account was, or will be, free to send; `None` while that is not known.
    free_at: Option<Duration>,
    /// Whether a permit was waited for: that the request rates delay sends is intended.
    waited_for_permit: bool,
    /// Steps since the account last waited or made a call.
    steps_at_once: u32,
    /// What one of many such steps decided on.
    decided_on: Option<Box<[Candidate]>>,
}

/// The pace of a call that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// Time since the call before began.
    pub(super) since_last: Option<Duration>,
    /// Whether that is shorter than the gap of the call before.
    pub(super) is_too_close: bool,
    /// Time since the message was free to go.
    pub(super) lag: Duration,
    /// Whether that is longer than the longest gap.
    pub(super) is_overdue: bool,
}

impl CallWatch {
    /// Remembers what the account waits for; `None`: it has no message that is ready to go.
    pub(super) fn waits(&mut self, verdict: Option<&Verdict>, now: Timestamp, monotonic: Duration) {
        match verdict {
            Some(Verdict::Send) => {
                self.free_at.get_or_insert(monotonic);
            }
            Some(Verdict::Wait { reason: Reason::ApiTrial | Reason::ApiBusy, .. }) => {
                self.waits_for_permit();
            }
            // Its time is that of the next try, which may fail; the guard runs the account once the API can be reached.
            Some(Verdict::Wait { reason: Reason::ApiUnreachable, .. }) => self.free_at = None,
            Some(Verdict::Wait { until: Until::At(at), .. }) => {
                let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
                self.free_at = Some(monotonic + wait);
            }
            Some(Verdict::Wait { .. } | Verdict::Stop { .. }) | None => self.free_at = None,
        }
    }

    /// Records that the account waits for a permit, or for the API.
    pub(super) fn waits_for_permit(&mut self) {
        self.waited_for_permit = true;
    }

    /// Forgets when the account was free: the queue failed, and that is reported elsewhere.
    pub(super) fn storage_failed(&mut self) {
        self.free_at = None;
    }

    /// Records that the account decides on `candidates`; returns whether it did so many steps ago, without an end.
    pub(super) fn decides_again(&mut self, candidates: &[Candidate]) -> bool {
        self.steps_at_once = self.steps_at_once.wrapping_add(1);
        if !self.steps_at_once.is_multiple_of(MANY_STEPS) {
            return false;
        }
        let again = self.decided_on.as_deref() == Some(candidates);
        self.decided_on = Some(candidates.into());
        again
    }

    /// Records that the account waits.
    pub(super) fn rests(&mut self) {
        (self.steps_at_once, self.decided_on) = (0, None);
    }

    /// Records that a call begins, with the `gap` that must follow it; `due` is how long its message has been due.
    pub(super) fn begins(
        &mut self,
        monotonic: Duration,
        gap: Duration,
        due: Duration,
        policy: &Policy,
    ) -> Pace {
        let since_last = self.last.map(|(began, _)| monotonic.saturating_sub(began));
        let is_too_close = self.last.zip(since_last).is_some_and(|((_, gap), passed)| passed < gap);
        let free_for = monotonic.saturating_sub(self.free_at.unwrap_or(monotonic));
        let lag = free_for.min(due);
        let longest = policy.gap.max.max(policy.rhythm.breaks.map_or(Duration::ZERO, |breaks| breaks.max));
        let is_overdue = !self.waited_for_permit && lag > longest.max(LEAST_OVERDUE);
        self.last = Some((monotonic, gap));
        (self.free_at, self.waited_for_permit) = (None, false);
        self.rests();
        Pace { since_last, is_too_close, lag, is_overdue }
    }
}

/// A lag up to this is never overdue, however short the gaps are: look-ups before a message take a while.
const LEAST_OVERDUE: Duration = Duration::from_secs(120);

/// More steps at one moment than an account needs to look up all that its next message depends on.
const MANY_STEPS: u32 = 100;

/// Records that an account decides the same thing without an end.
pub(super) fn loops(shared: &Shared, account: &AccountId) {
    broken(shared, account, "loop");
}

/// Records the pace of a call that begins.
pub(super) fn call_begins(shared: &Shared, account: &AccountId, pace: Pace) {
    let metrics = shared.store.metrics();
    if let Some(since_last) = pace.since_last {
        metrics.observe(&SEND_GAP, since_last);
    }
    metrics.observe(&SEND_LAG, pace.lag);
    if pace.is_too_close {
        broken(shared, account, "gap");
    }
    if pace.is_overdue {
        broken(shared, account, "overdue");
    }
}

/// Records how a call ended, and checks that it was allowed.
pub(super) async fn call_ended(
    shared: &Shared,
    account: &AccountId,
    candidate: &Candidate,
    input: &DecisionInput<'_>,
    (outcome, took): (&'static str, Duration),
) {
    let metrics = shared.store.metrics();
    metrics.count(&SENDS, &[metrics.account_label(account.as_str()), outcome]);
    metrics.observe(&SEND_DURATION, took);
    match broken_by(shared, account, candidate, input).await {
        Ok(promises) => promises.into_iter().for_each(|promise| broken(shared, account, promise)),
        Err(error) => tracing::debug!(%error, "a call could not be checked"),
    }
}

/// Returns which promises a call broke, as the database shows it.
async fn broken_by(
    shared: &Shared,
    account: &AccountId,
    candidate: &Candidate,
    input: &DecisionInput<'_>,
) -> Result<Vec<&'static str>, StoreError> {
    let (seq, number) = (candidate.seq, candidate.attempts + 1);
    let CallBreach { began_at, twice, stopped } = shared.store.breach_of_call(seq, number).await?;
    let mut promises = Vec::new();
    if twice {
        promises.push("twice");
    }
    if began_at != input.now {
        // The wall clock was set during the call. Its time moved with the clock; stops, hours and days did not.
        return Ok(promises);
    }
    if stopped {
        promises.push("stop");
    }
    if exceeds_limits(shared, account, candidate, input).await? {
        promises.push("limits");
    }
    Ok(promises)
}

/// Returns whether a call was outside the hours of the policy or above one of its caps, counted by the database.
async fn exceeds_limits(
    shared: &Shared,
    account: &AccountId,
    candidate: &Candidate,
    input: &DecisionInput<'_>,
) -> Result<bool, StoreError> {
    let DecisionInput { policy, now: at, .. } = *input;
    let lane = &candidate.lane;
    let ignores_hours = lane.urgent && lane.ignore_hours;
    if !ignores_hours && is_outside_hours(policy, account_seed(account.as_str()), at) {
        return Ok(true);
    }
    for cap in policy.caps.list.iter().filter(|cap| cap.counts(lane.kind)) {
        let begin = window_begin(policy, cap, at);
        if shared.store.sends_between(account, cap.kind, begin, at).await? > u64::from(cap.most) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn broken(shared: &Shared, account: &AccountId, promise: &'static str) {
    shared.store.metrics().break_promise(promise);
    tracing::error!(account_id = %account, promise, "a promise was broken; this is a bug, please report it");
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(30);

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn wait(reason: Reason, until: Until) -> Verdict {
        Verdict::Wait { reason, until }
    }

    fn begins(watch: &mut CallWatch, at: u64, due: u64) -> Pace {
        let mut policy = Policy::unlimited();
        policy.gap.max = second(100);
        policy.rhythm.breaks = None;
        watch.begins(second(at), GAP, second(due), &policy)
    }

    #[test]
    fn a_call_closer_than_the_gap_of_the_one_before_is_found() {
        let mut watch = CallWatch::default();
        assert_eq!(begins(&mut watch, 100, 0).since_last, None);
        let close = begins(&mut watch, 129, 0);
        assert_eq!((close.since_last, close.is_too_close), (Some(second(29)), true));
        assert!(!begins(&mut watch, 159, 0).is_too_close);
    }

    #[test]
    fn lag_counts_from_the_end_of_the_wait_and_a_long_one_is_overdue() {
        let mut watch = CallWatch::default();
        let now = Timestamp::UNIX_EPOCH;
        let gap = wait(Reason::Gap, Until::At(now + second(20)));
        watch.waits(Some(&gap), now, second(1000));
        watch.waits(Some(&Verdict::Send), now + second(21), second(1021));
        let pace = begins(&mut watch, 1021, 500);
        assert_eq!((pace.lag, pace.is_overdue), (second(1), false));

        watch.waits(Some(&gap), now, second(2000));
        let pace = begins(&mut watch, 2020 + 121, 500);
        assert_eq!((pace.lag, pace.is_overdue), (second(121), true));
        // It became due only a moment ago.
        watch.waits(Some(&gap), now, second(3000));
        assert_eq!(begins(&mut watch, 3500, 2).lag, second(2));
    }

    #[test]
    fn a_wait_without_an_end_and_a_wait_for_a_permit_are_no_fault() {
        let mut watch = CallWatch::default();
        let now = Timestamp::UNIX_EPOCH;
        watch.waits(Some(&wait(Reason::Gap, Until::At(now))), now, second(10));
        watch.waits(Some(&wait(Reason::AccountPaused, Until::Person)), now, second(20));
        watch.waits(Some(&Verdict::Send), now, second(5000));
        assert_eq!(begins(&mut watch, 5001, 9999).lag, second(1));
        watch.waits(Some(&wait(Reason::Gap, Until::At(now))), now, second(6000));
        watch.waits(Some(&wait(Reason::ApiBusy, Until::NotBefore(now))), now, second(6000));
        let pace = begins(&mut watch, 9000, 9999);
        assert_eq!((pace.lag, pace.is_overdue), (second(3000), false));
        watch.waits(Some(&wait(Reason::ApiUnreachable, Until::At(now))), now, second(9500));
        watch.waits(Some(&Verdict::Send), now, second(9900));
        assert_eq!(begins(&mut watch, 9903, 9999).lag, second(3));
        watch.waits(Some(&wait(Reason::Gap, Until::At(now))), now, second(10_000));
        watch.waits(None, now, second(10_001));
        assert_eq!(begins(&mut watch, 20_000, 9999).lag, second(0));
    }
}
