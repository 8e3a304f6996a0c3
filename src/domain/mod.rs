//! The words of the house as types: what a message, an account, a state, a reason and an outcome are.
//!
//! Everybody may name this module and it names nobody: no I/O, no clock, no async, no wire format.
//! The edges (HTTP, SQL, command line, Unipile's JSON) own their wire types and turn them into these once.

pub mod account;
pub mod account_snapshot;
pub mod attachment;
pub mod calendar;
pub mod caps;
pub mod field_error;
pub mod ids;
pub mod json;
pub mod lane;
pub mod message;
pub mod observed;
pub mod outcome;
mod placeholders;
pub mod policy;
pub mod reason;
pub mod rule_text;
pub mod specifics;
pub mod state;
pub mod validate;
pub mod waiting;

/// Writes a time as every table, answer and log shows it: UTC, RFC 3339, whole milliseconds, fixed width.
///
/// Fixed width makes text order the order of time.
pub fn time_text(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

/// `at` without its fraction of a millisecond, towards the past: the precision of every stored time.
pub fn whole_milliseconds(at: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// Reads an RFC 3339 time as a producer writes it. The last two days of the year 9999, which many programs write for
/// "never", lie beyond the last time that can be told in every zone, and are read as that one.
pub fn parse_time(text: &str) -> Option<jiff::Timestamp> {
    use jiff::fmt::temporal::Pieces;
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let pieces = Pieces::parse(text).ok()?;
    let is_whole = pieces.time().is_some() && pieces.to_numeric_offset().is_some();
    let last = whole_milliseconds(jiff::Timestamp::MAX);
    (is_whole && pieces.date() >= jiff::civil::date(9999, 12, 30)).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_last_year_is_a_time() {
        let read = |text: &str| parse_time(text).map(time_text);
        let last = Some("9999-12-30T22:00:00.999Z".to_owned());
        for text in [
            "9999-12-31T23:59:59.999Z",
            "9999-12-31T23:59:59Z",
            "9999-12-31T00:00:00+00:00",
            "9999-12-30T23:00:00-08:00",
        ] {
            assert_eq!(read(text), last, "{text}");
        }
        assert_eq!(read("9999-12-29T00:00:00Z").as_deref(), Some("9999-12-29T00:00:00.000Z"));
        for text in
            ["9999-12-31", "9999-12-31T23:59:59", "9999-12-32T00:00:00Z", "9999-12-31T25:00:00Z", "never"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
