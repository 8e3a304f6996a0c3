//! When what goes before a message in its thread lets it go.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::steps;
use crate::domain::state::StateName;
use crate::domain::step::{StepWait, StepWaiting};
use crate::domain::stop::FOREVER;
use crate::domain::waiting::{BlockedBy, Waiting};

/// Returns the earliest time at which the wait of a step can end whose predecessor is not sent; `None` if a person must let
/// that one go. `next_call` is the earliest time at which the account may call again, by its pace.
pub(super) fn step_begins(
    message: &Waiting,
    wait: StepWait,
    (now, next_call): (Timestamp, Timestamp),
    zone: &TimeZone,
) -> Option<Timestamp> {
    let at = leaves(message, (now, next_call), zone)?;
    // A read shows when an uncertain one was sent, and the wait counts from then.
    let is_uncertain = message.blocked_by.is_some_and(|first| first.state == StateName::Uncertain);
    let counts_from_before = is_uncertain && message.between.is_empty();
    Some(if counts_from_before { at } else { steps::wait_end(at, wait, zone) })
}

/// Returns the earliest time at which the message before it in its thread lets it go, because it was sent or, if this is not
/// its next step, because it expired; `None` if a person must let it go, or one that it waits for.
pub(super) fn leaves(
    message: &Waiting,
    (now, next_call): (Timestamp, Timestamp),
    zone: &TimeZone,
) -> Option<Timestamp> {
    let first = message.blocked_by;
    let until = first.and_then(|first| first.retry_at).unwrap_or(now);
    let sent_at = match first {
        Some(first) if waits_for_person(first) => None,
        // Its call has begun, so no pause comes before it.
        Some(first) if matches!(first.state, StateName::Sending | StateName::Uncertain) => {
            Some(until.max(now))
        }
        Some(_) | None => Some(until.max(next_call)),
    };
    let is_step = matches!(message.step, Some(StepWaiting::Before(_)));
    let expires_at = first.and_then(|first| first.expires_at);
    steps::earliest((sent_at, expires_at), &message.between, is_step, zone)
}

/// Returns whether only a person lets the earlier message go on: it is in review, held, or under a stop without an end.
fn waits_for_person(blocked_by: BlockedBy) -> bool {
    blocked_by.state == StateName::Review || blocked_by.retry_at.is_some_and(|at| at >= FOREVER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kind::Kind;
    use crate::domain::message::MessageId;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_000_000 + second).unwrap()
    }

    #[test]
    fn a_step_does_not_wait_for_a_pause_before_a_call_that_has_begun() {
        let wait = StepWait::Seconds(10);
        for (state, retry_at, expected) in [
            (StateName::Queued, None, at(70)),
            (StateName::Sending, None, at(10)),
            // Its chat is read at this time; it was sent before.
            (StateName::Uncertain, Some(at(30)), at(30)),
        ] {
            let blocked_by =
                BlockedBy { id: MessageId(uuid::Uuid::nil()), state, retry_at, expires_at: None };
            let message = Waiting {
                kind: Kind::Message,
                due_at: at(0),
                retry_at: None,
                deferred: None,
                stop: None,
                step: Some(StepWaiting::Before(wait)),
                held: false,
                ignores_hours: false,
                started_at: None,
                expires_at: None,
                blocked_by: Some(blocked_by),
                between: Vec::new(),
                queue_position: 0,
            };
            let begins = step_begins(&message, wait, (at(0), at(60)), &TimeZone::UTC);
            assert_eq!(begins, Some(expected), "{state:?}");
        }
    }
}
