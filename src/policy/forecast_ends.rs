//! What becomes of the messages that a forecast does not send: which of them expire within it, and what the others wait for.

use std::collections::HashMap;

use super::forecast_types::{Expected, Queued, Start, StepPlace, Wait};
use crate::domain::reason::Reason;

/// Settles what was not sent when the forecast ends. `last` is what holds the messages of `ready`, and `follow_ups` are
/// the steps that wait for the step before them, by its place.
pub(super) fn settle(
    start: &Start<'_>,
    messages: &mut [Expected],
    ready: impl Iterator<Item = usize>,
    last: Wait,
    follow_ups: &mut HashMap<StepPlace, usize>,
) {
    for index in ready {
        messages[index] = Expected::Waiting(last);
    }
    for (message, expected) in start.queued.iter().zip(messages.iter_mut()) {
        if stays(message, *expected) && expires(message, start) {
            *expected = Expected::Expired;
        }
    }
    steps_end(start, messages, follow_ups);
}

/// Returns whether it is certain that a message is not sent within the forecast, if no person does anything. What waits
/// for an event, such as the end of a call or a connection, may go.
fn stays(message: &Queued, expected: Expected) -> bool {
    match expected {
        Expected::Waiting(wait) => wait.needs_person || message.waits_for.is_none(),
        Expected::Sent(_) | Expected::Expired => false,
    }
}

/// Returns whether a message that is not sent expires within the forecast.
fn expires(message: &Queued, start: &Start<'_>) -> bool {
    message.expires_at.is_some_and(|expires_at| expires_at <= start.until)
}

/// Says of the steps that still wait for the one before whether that one waits for a person, or expired.
fn steps_end(start: &Start<'_>, messages: &mut [Expected], follow_ups: &mut HashMap<StepPlace, usize>) {
    let steps = start.queued.iter().enumerate();
    let steps = steps.filter_map(|(index, message)| Some((message.step?, index)));
    let steps: HashMap<StepPlace, usize> = steps.collect();
    let mut waiting: Vec<(StepPlace, usize)> = follow_ups.drain().collect();
    waiting.sort_unstable_by_key(|((_, number), _)| *number);
    for (before, index) in waiting {
        if messages[index] != Expected::Waiting(Wait::of(Reason::StepBefore)) {
            continue;
        }
        let Some(before) = steps.get(&before).copied() else { continue };
        let (message, queued, expected) = (&start.queued[index], &start.queued[before], messages[before]);
        let needs_person = matches!(expected, Expected::Waiting(Wait { needs_person: true, .. }));
        if stops_before_expiry(queued, expected, message) {
            messages[index] = Expected::Waiting(Wait::of(Reason::StepStopped));
        } else if expires(message, start) && (expected == Expected::Expired || stays(queued, expected)) {
            messages[index] = Expected::Expired;
        } else if needs_person {
            messages[index] = Expected::Waiting(Wait::for_person(Reason::StepBefore));
        }
    }
}

/// Returns whether the step `before` ends without being sent, before the step that waits for it expires.
fn stops_before_expiry(before: &Queued, expected: Expected, message: &Queued) -> bool {
    match expected {
        Expected::Expired => {
            message.expires_at.is_none_or(|at| before.expires_at.is_some_and(|first| first < at))
        }
        Expected::Waiting(wait) => wait.reason == Reason::StepStopped,
        Expected::Sent(_) => false,
    }
}
