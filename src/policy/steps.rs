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

/// Returns the earliest time at which the last of `between` can be sent, if what they wait for is sent at `first`; `None`
/// if a person must let one of them go.
pub fn earliest(first: Timestamp, between: &[Between], zone: &TimeZone) -> Option<Timestamp> {
    between.iter().try_fold(first, |sent_at, Between { wait, not_before }| {
        let waited = wait.map_or(sent_at, |wait| wait_end(sent_at, wait, zone));
        (*not_before < FOREVER).then(|| waited.max(*not_before))
    })
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
}
