//! When the wait of a step ends.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::domain::step::StepWait;
use crate::domain::stop::FOREVER;
use crate::domain::waiting::Between;
use crate::domain::whole_milliseconds;

/// Returns when a wait that began at `since` ends. Days are civil days in `zone`: the same time of day, also over a
/// change of its clocks.
pub fn wait_end(since: Timestamp, wait: StepWait, zone: &TimeZone) -> Timestamp {
    let end = match wait {
        StepWait::Seconds(seconds) => since.checked_add(SignedDuration::from_secs(seconds.into())),
        StepWait::Days(days) => {
            since.to_zoned(zone.clone()).checked_add(i64::from(days).days()).map(|end| end.timestamp())
        }
    };
    end.map_or(Timestamp::MAX, whole_milliseconds)
}

/// Returns the earliest time at which the last of `between` leaves its thread, if what they wait for is sent at `first`, or
/// expires. `is_step` says whether the message after the last of them is a step, which goes only if that one was sent; any
/// other message goes as well if it expired. `None` if a person must let one of them go.
pub fn earliest(
    first: (Option<Timestamp>, Option<Timestamp>),
    between: &[Between],
    is_step: bool,
    zone: &TimeZone,
) -> Option<Timestamp> {
    let (mut sent_at, mut expires_at) = first;
    for message in between {
        let begins = leaves(sent_at, expires_at, message.wait.is_some());
        let waited = begins.map(|at| message.wait.map_or(at, |wait| wait_end(at, wait, zone)));
        let waited = waited.filter(|_| message.not_before < FOREVER);
        (sent_at, expires_at) = (waited.map(|at| at.max(message.not_before)), message.expires_at);
    }
    leaves(sent_at, expires_at, is_step)
}

/// Returns when a message that is sent at `sent_at` and expires at `expires_at` lets the next one go; `None`: when a person
/// lets it go.
fn leaves(
    sent_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    next_is_step: bool,
) -> Option<Timestamp> {
    match sent_at {
        Some(at) => Some(expires_at.filter(|_| !next_is_step).map_or(at, |expires_at| at.min(expires_at))),
        None => expires_at.filter(|_| !next_is_step),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn days_keep_the_time_of_day_and_hours_do_not() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        // The clocks go back on 25 October 2026.
        let since = at("2026-10-23T09:30:00Z");
        assert_eq!(wait_end(since, StepWait::Days(3), &berlin), at("2026-10-26T10:30:00Z"));
        assert_eq!(wait_end(since, StepWait::Seconds(72 * 3600), &berlin), at("2026-10-26T09:30:00Z"));
        assert_eq!(wait_end(since, StepWait::Days(3), &TimeZone::UTC), at("2026-10-26T09:30:00Z"));
        // Half past two does not exist on 29 March 2026.
        let since = at("2026-03-28T01:30:00Z");
        assert_eq!(wait_end(since, StepWait::Days(1), &berlin), at("2026-03-29T01:30:00Z"));
        assert_eq!(wait_end(Timestamp::MAX, StepWait::Days(3), &TimeZone::UTC), Timestamp::MAX);
    }

    #[test]
    fn what_expires_lets_the_next_message_go_but_not_the_next_step() {
        let (noon, night) = (at("2026-10-23T12:00:00Z"), at("2026-10-23T20:00:00Z"));
        let between = |not_before: Timestamp, expires_at: Option<Timestamp>| Between {
            wait: None,
            not_before,
            expires_at,
        };
        for (first, between, is_step, expected) in [
            ((None, Some(noon)), vec![], false, Some(noon)),
            ((None, Some(noon)), vec![], true, None),
            ((None, None), vec![], false, None),
            ((Some(night), Some(noon)), vec![], false, Some(noon)),
            ((Some(noon), Some(night)), vec![], false, Some(noon)),
            ((Some(noon), None), vec![between(FOREVER, Some(night))], false, Some(night)),
            ((Some(noon), None), vec![between(FOREVER, Some(night))], true, None),
            ((Some(noon), None), vec![between(FOREVER, None)], false, None),
            ((None, Some(noon)), vec![between(noon, None)], true, Some(noon)),
        ] {
            let found = earliest(first, &between, is_step, &TimeZone::UTC);
            assert_eq!(found, expected, "{first:?}, {between:?}, a step follows: {is_step}");
        }
    }
}
