//! The one decision: may this message go now, and if not, why and until when (P4, P5, P6).
//!
//! The engine calls this before every send, `explain` for a support ticket, and the list for its "why" column; all
//! three get their answer from [`gates`]. The gates are in a fixed order, from what concerns everything to what
//! concerns this message alone; the first that is closed is the one reason. `docs/pacing.md` lists them.

use jiff::Timestamp;

use super::hours::{Hours, account_seed, hours_at};
use super::warm_up::{LoweredBy, Lowering};
use super::{before, quota};
use crate::domain::account::{Account, Daemon};
use crate::domain::caps::Ledger;
use crate::domain::outcome::DownCause;
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::step::StepWaiting;
use crate::domain::stop::FOREVER;
use crate::domain::waiting::Waiting;

/// What to do with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send it now.
    Send,
    /// Leave it in the queue.
    Wait {
        /// Why it waits.
        reason: Reason,
        /// What it waits for.
        until: Until,
    },
    /// Never send it.
    Stop {
        /// Why it must not be sent any more.
        reason: Reason,
    },
}

/// What a waiting message waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until this time.
    At(Timestamp),
    /// At least until this time; then whatever is ahead of it is checked again.
    NotBefore(Timestamp),
    /// Until a person acts.
    Person,
}

/// What the daemon knows only while it runs: about the API, and about the call that is being prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Live {
    /// Set while the queue cannot be written or read.
    pub storage_failing_until: Option<Timestamp>,
    /// Set while the API cannot be reached.
    pub api_unreachable_until: Option<Timestamp>,
    /// Set while sends fail at the API although it answers reads, so that one message at a time is tried.
    pub api_trial_until: Option<Timestamp>,
    /// Set while the limit of requests to the API as a whole is used up.
    pub api_busy_until: Option<Timestamp>,
    /// Set while the typing indicator is shown for this message.
    pub typing_until: Option<Timestamp>,
}

impl Live {
    /// Returns before which time no call is made, as far as that is known.
    pub fn may_call_at(&self) -> Option<Timestamp> {
        let Self {
            storage_failing_until,
            api_unreachable_until,
            api_trial_until,
            api_busy_until,
            typing_until: _,
        } = self;
        [storage_failing_until, api_unreachable_until, api_trial_until, api_busy_until]
            .into_iter()
            .copied()
            .max()?
    }
}

/// Everything that a verdict depends on.
#[derive(Debug, Clone)]
pub struct DecisionInput<'a> {
    /// The time of the verdict.
    pub now: Timestamp,
    /// The state of the daemon, which concerns every account.
    pub daemon: &'a Daemon,
    /// The account that sends the message.
    pub account: &'a Account,
    /// The message to decide about.
    pub message: &'a Waiting,
    /// What is known only while running.
    pub live: Live,
    /// The policy of the account.
    pub policy: &'a Policy,
    /// Whether the account's hours are open at `now`: `hours_at` with its calendar.
    pub hours: Hours,
    /// What the account has sent. `None` if it has not been read: the caps then count as used up, so that no send
    /// ignores them.
    pub ledger: Option<&'a Ledger>,
}

impl<'a> DecisionInput<'a> {
    /// Returns the same input at another time, if nothing is sent until then.
    fn at(&self, now: Timestamp) -> Self {
        let (policy, seed) = (self.policy, account_seed(self.account.id.as_str()));
        let hours = hours_at(policy.calendar.as_ref(), &policy.zone, seed, now);
        Self { now, hours, ..self.clone() }
    }

    /// Returns what lowers the account's caps.
    pub fn lowering(&self) -> Lowering<'a> {
        Lowering::of(self.policy, self.account, self.now)
    }
}

/// The answer of one rule about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// The reason that the gate gives when it is closed.
    pub reason: Reason,
    /// `None` if the gate is open, otherwise what the message waits for.
    pub closed: Option<Until>,
    /// The rule that applies, where the reason alone does not identify it: `caps.new_chat 40/24h, 40 of 40 used`.
    pub rule: Option<String>,
}

/// Decides to send, wait or stop: the first closed gate gives the reason, and the time is when all gates are open.
pub fn decide(input: &DecisionInput<'_>) -> Verdict {
    if input.message.expires_at.is_some_and(|expires_at| expires_at <= input.now) {
        return Verdict::Stop { reason: Reason::Expired };
    }
    let gates = gates(input);
    let Some(first) = gates.iter().find(|gate| gate.closed.is_some()) else { return Verdict::Send };
    Verdict::Wait { reason: first.reason, until: opens_at(input, &gates) }
}

/// Returns when a closed gate opens next: there may be something to do then, although others are still closed.
pub fn first_opening(input: &DecisionInput<'_>) -> Option<Timestamp> {
    let gates = gates(input).into_iter().filter(|gate| !is_opened_by_others(gate.reason));
    let ends = gates.filter_map(|gate| match gate.closed {
        Some(Until::At(at) | Until::NotBefore(at)) => Some(at),
        Some(Until::Person) | None => None,
    });
    ends.filter(|at| *at > input.now).min()
}

/// Returns whether something else wakes a message that waits for this: the send before it, or the API guard.
fn is_opened_by_others(reason: Reason) -> bool {
    matches!(reason, Reason::Turn | Reason::ApiTrial | Reason::ApiBusy | Reason::ApiUnreachable)
}

/// Returns whether a message that waits for this lets other messages of the account go.
pub fn concerns_message_only(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Scheduled
            | Reason::StepBefore
            | Reason::StepWait
            | Reason::Retry
            | Reason::InmailCredits
            | Reason::ChatLookup
            | Reason::Resolving
            | Reason::NotConnected
            | Reason::ReplyUnknown
            | Reason::Stopped
            | Reason::Suppressed
            | Reason::Held
            | Reason::OwnerWrote
            | Reason::OutOfOffice
            | Reason::ChatOrder
            | Reason::RecipientRest
            | Reason::OutsideHours
            | Reason::Cap
            | Reason::WarmUp
            | Reason::HalfCaps
    )
}

/// How often gates may close and open again, one after the other, before the last time that was found is used.
const OPENINGS: usize = 100;

/// Returns when all gates are open: caps against hours, hours against days off, rests against warm-up. `gates` is
/// their current state, at least one of them closed. A message that expires before then waits until it expires.
fn opens_at(input: &DecisionInput<'_>, gates: &[Gate]) -> Until {
    let (mut at, mut is_exact) = (input.now, true);
    let first = gates.iter().find(|gate| gate.closed.is_some()).map(|gate| gate.reason);
    for gate in gates {
        // Which message goes first at a later time is not known now.
        if matches!(gate.reason, Reason::Turn | Reason::InFlight) && first != Some(gate.reason) {
            is_exact &= gate.closed.is_none();
            continue;
        }
        match gate.closed {
            None => {}
            Some(Until::Person) => return Until::Person,
            Some(Until::At(time)) => at = at.max(time),
            Some(Until::NotBefore(time)) => (at, is_exact) = (at.max(time), false),
        }
    }
    for _ in 0..OPENINGS {
        let then = input.at(at);
        let latest =
            timed_gates(&then).into_iter().filter_map(|gate| gate.closed).try_fold(at, |latest, until| {
                match until {
                    Until::Person => None,
                    Until::At(time) | Until::NotBefore(time) => Some(latest.max(time)),
                }
            });
        match latest {
            None => return Until::Person,
            Some(latest) if latest > at => at = latest,
            Some(_) => break,
        }
    }
    match input.message.expires_at {
        Some(expires_at) if expires_at <= at => Until::At(expires_at),
        Some(_) | None if is_exact => Until::At(at),
        Some(_) | None => Until::NotBefore(at),
    }
}

/// Returns the gates that depend only on the time, if nothing else happens.
fn timed_gates(input: &DecisionInput<'_>) -> impl IntoIterator<Item = Gate> {
    let follows_others =
        |reason| matches!(reason, Reason::StepBefore | Reason::ChatOrder | Reason::Turn | Reason::InFlight);
    gates(input).into_iter().filter(move |gate| !follows_others(gate.reason))
}

/// Returns every gate in its order, open or closed.
pub fn gates(input: &DecisionInput<'_>) -> [Gate; 32] {
    let DecisionInput { now, daemon, account, message, live, .. } = input;
    let now = *now;
    let later = |at: Option<Timestamp>| at.filter(|at| *at > now).map(Until::At);
    let paused = |pause: &Option<crate::domain::account::Pause>| {
        let pause = pause.as_ref().filter(|pause| pause.holds(now))?;
        Some(pause.until.map_or(Until::Person, Until::At))
    };
    let down =
        |cause: DownCause| account.down.as_ref().filter(|down| down.cause == cause).map(|_| Until::Person);
    let held = |reason: Reason| {
        account.hold.filter(|hold| hold.reason == reason).and_then(|hold| later(Some(hold.until)))
    };
    let deferred = |reason: Reason| later(message.retry_at).filter(|_| message.deferred == Some(reason));
    // Something is read or tried then, and only its answer tells whether the message goes.
    let tried_at = |at: Option<Timestamp>| at.filter(|at| *at > now).map(Until::NotBefore);
    let read_again = |reason: Reason| tried_at(message.retry_at).filter(|_| message.deferred == Some(reason));
    let gap = later(account.next_call_at);
    let gate = |reason: Reason, closed: Option<Until>| Gate { reason, closed, rule: None };
    [
        gate(Reason::KeyRefused, daemon.key_refused.as_ref().map(|_| Until::Person)),
        gate(Reason::Restored, daemon.restored.as_ref().map(|_| Until::Person)),
        gate(Reason::DaemonPaused, paused(&daemon.pause)),
        gate(Reason::Storage, tried_at(live.storage_failing_until)),
        gate(Reason::ApiUnreachable, tried_at(live.api_unreachable_until)),
        gate(Reason::AccountDisconnected, down(DownCause::Disconnected)),
        gate(Reason::AccountRestricted, down(DownCause::Restricted)),
        gate(Reason::AccountThrottled, down(DownCause::Throttled)),
        gate(Reason::AccountPaused, paused(&account.pause)),
        gate(Reason::Cooldown, held(Reason::Cooldown)),
        gate(Reason::Failures, held(Reason::Failures)),
        gate(Reason::ApiRateLimited, held(Reason::ApiRateLimited)),
        stopped(input),
        gate(Reason::Held, message.held.then_some(Until::Person)),
        gate(Reason::StepBefore, step_before(input)),
        gate(Reason::StepWait, step_wait(input)),
        // The end of a step's wait, which says more, is when it is due.
        gate(
            Reason::Scheduled,
            later(Some(message.due_at)).filter(|_| !waits_until(message, message.due_at)),
        ),
        gate(Reason::Retry, later(message.retry_at).filter(|_| message.deferred.is_none())),
        gate(Reason::Resolving, read_again(Reason::Resolving)),
        gate(Reason::NotConnected, read_again(Reason::NotConnected)),
        gate(Reason::InmailCredits, read_again(Reason::InmailCredits)),
        gate(Reason::ChatLookup, read_again(Reason::ChatLookup)),
        gate(Reason::ReplyUnknown, read_again(Reason::ReplyUnknown)),
        gate(Reason::ChatOrder, message.blocked_by.and_then(|_| chat_order(input))),
        gate(Reason::RecipientRest, deferred(Reason::RecipientRest).or_else(|| later(rests_until(input)))),
        gate(Reason::OutsideHours, outside_hours(input)),
        cap(input),
        gate(Reason::Turn, (message.queue_position > 0).then(|| Until::NotBefore(turn(input)))),
        gate(Reason::InFlight, account.in_flight.then(|| Until::NotBefore(next_call(input)))),
        // While the indicator is shown, its end and that of the gap are the same; "typing" says more.
        if let Some(typing) = later(live.typing_until) {
            gate(Reason::Typing, Some(typing))
        } else if account.history.on_break {
            gate(Reason::Break, gap)
        } else {
            gate(Reason::Gap, gap)
        },
        gate(Reason::ApiTrial, tried_at(live.api_trial_until)),
        gate(Reason::ApiBusy, tried_at(live.api_busy_until)),
    ]
}

/// Returns whether a step waits as long as this or longer.
fn waits_until(message: &Waiting, at: Timestamp) -> bool {
    matches!(message.step, Some(StepWaiting::Until(until)) if until >= at)
}

/// Returns what a step waits for whose predecessor is not sent: the earliest time at which its own wait can end.
fn step_before(input: &DecisionInput<'_>) -> Option<Until> {
    let DecisionInput { now, message, policy, .. } = input;
    let Some(StepWaiting::Before(wait)) = message.step else { return None };
    let at = before::step_begins(message, wait, (*now, next_call(input)), &policy.zone);
    Some(at.map_or(Until::Person, Until::NotBefore))
}

/// Returns when what blocks the message in its thread lets it go.
fn chat_order(input: &DecisionInput<'_>) -> Option<Until> {
    let at = before::leaves(input.message, (input.now, next_call(input)), &input.policy.zone);
    Some(at.map_or(Until::Person, Until::NotBefore))
}

fn step_wait(input: &DecisionInput<'_>) -> Option<Until> {
    match input.message.step {
        Some(StepWaiting::Until(at)) if at > input.now => Some(Until::At(at)),
        Some(StepWaiting::Until(_) | StepWaiting::Before(_)) | None => None,
    }
}

/// Returns the earliest time at which the account may call again, by its pace alone.
fn next_call(input: &DecisionInput<'_>) -> Timestamp {
    input.account.next_call_at.map_or(input.now, |at| at.max(input.now))
}

/// Returns the gate of the stops. A message deferred by a stop that was lifted a moment ago is still shown as stopped.
fn stopped(input: &DecisionInput<'_>) -> Gate {
    let DecisionInput { now, message, .. } = input;
    let stop = message.stop.filter(|stop| stop.until.is_none_or(|until| until > *now));
    // A step that a stop held keeps the reason until its own wait is over.
    let held = message.retry_at.is_some_and(|at| at > *now && !waits_until(message, at));
    let lifted = message.deferred.filter(|reason| held && reason.is_stop());
    let reason = stop.map(|stop| stop.reason.reason()).or(lifted);
    let retry_at = message.retry_at.filter(|at| stop.is_none() && *at < FOREVER);
    let until = stop.and_then(|stop| stop.until).or(retry_at);
    let closed = reason.map(|_| until.map_or(Until::Person, Until::At));
    Gate { reason: reason.unwrap_or(Reason::Stopped), closed, rule: None }
}

/// Returns until when no message that starts a chat goes to this person.
pub fn rests_until(input: &DecisionInput<'_>) -> Option<Timestamp> {
    let started_at = input.message.started_at.filter(|_| input.message.kind.starts_chat())?;
    Some(started_at.checked_add(input.policy.order.per_recipient).unwrap_or(Timestamp::MAX))
}

fn outside_hours(input: &DecisionInput<'_>) -> Option<Until> {
    match input.hours {
        Hours::Closed { .. } if input.message.ignores_hours => None,
        Hours::Always | Hours::Open { .. } => None,
        Hours::Closed { opens_at } => Some(opens_at.map_or(Until::Person, Until::At)),
    }
}

/// Returns the gate of the caps; its reason is what lowers the cap that is used up.
fn cap(input: &DecisionInput<'_>) -> Gate {
    let open = Gate { reason: Reason::Cap, closed: None, rule: None };
    if input.policy.caps.list.is_empty() {
        return open;
    }
    let Some(ledger) = input.ledger else {
        return Gate { closed: Some(Until::NotBefore(input.now)), ..open };
    };
    let kind = input.message.kind;
    let Some(budget) = quota::used_up(input.policy, &input.lowering(), ledger, kind, input.now) else {
        return open;
    };
    let reason = match budget.lowered_by.filter(|_| budget.used < budget.cap.most) {
        Some(LoweredBy::WarmUp) => Reason::WarmUp,
        Some(LoweredBy::HalfCaps) => Reason::HalfCaps,
        Some(LoweredBy::Jitter) | None => Reason::Cap,
    };
    let rule = Some(format!("{}, {} of {} used", budget.cap, budget.used, budget.limit));
    Gate { reason, closed: Some(Until::At(budget.frees_at)), rule }
}

/// Returns the earliest time of a turn: each message ahead takes at least one pause.
fn turn(input: &DecisionInput<'_>) -> Timestamp {
    let queue_position = u32::try_from(input.message.queue_position).unwrap_or(u32::MAX);
    let pauses = input.policy.gap.min.saturating_mul(queue_position);
    next_call(input).checked_add(pauses).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
