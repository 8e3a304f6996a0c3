//! When an account works: hours for each weekday, days off, and how late a day may begin and how early it may end.
//!
//! A span is wall-clock time in the account's zone; `policy/hours.rs` computes the instants, across daylight-saving
//! changes. Text is parsed into these types here, once, for the configuration and for the API.

use std::time::Duration;

use jiff::ToSpan;
use jiff::civil::{Date, Weekday};

use super::parse_error::ParseError;

/// Minutes of a whole day.
pub const DAY: u16 = 24 * 60;

/// The weekdays in the order of [`Calendar::week`].
pub const WEEKDAYS: [&str; 7] =
    ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Longest range of days off, in days: a longer one is a mistyped year.
const LONGEST_RANGE: i32 = 366;

/// From one wall-clock time to another, in minutes after the midnight at which its day begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Start, inclusive; below 1440.
    pub from: u16,
    /// End, exclusive; above 1440 the span crosses midnight. It never exceeds 24 hours.
    pub to: u16,
}

/// The working hours of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// Spans that begin on each weekday, Monday first, in order; an empty list is a day off.
    pub week: [Vec<Span>; 7],
    /// The first span of a day begins up to this late; drawn for each day.
    pub start_late: Duration,
    /// Every span begins up to this late, so that accounts with the same hours do not all send at the same moment.
    pub spread: Duration,
    /// The last span of a day ends up to this early; drawn for each day.
    pub end_early: Duration,
    /// First and last day of each time off, in order.
    pub days_off: Vec<(Date, Date)>,
}

impl Calendar {
    /// Returns a calendar that is always open.
    pub fn always() -> Self {
        let whole = vec![Span { from: 0, to: DAY }];
        let (start_late, spread, end_early) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let week = std::array::from_fn(|_| whole.clone());
        Self { week, start_late, spread, end_early, days_off: Vec::new() }
    }

    /// Returns whether the calendar never closes.
    pub fn is_always_open(&self) -> bool {
        *self == Self::always()
    }

    /// Returns the spans that begin on this weekday.
    pub fn spans(&self, weekday: Weekday) -> &[Span] {
        &self.week[usize::from(weekday.to_monday_zero_offset().unsigned_abs())]
    }

    /// Returns whether `date` is a day off.
    pub fn is_off(&self, date: Date) -> bool {
        let after = self.days_off.partition_point(|(first, _)| *first <= date);
        // Ranges are merged, so only the last one that has begun can include the day.
        after > 0 && self.days_off[after - 1].1 >= date
    }

    /// Checks the calendar as a whole: each part may be valid and the combination not.
    ///
    /// # Errors
    /// Returns the conflict, with the index of its weekday if it concerns one.
    pub fn check(&self) -> Result<(), (Option<usize>, ParseError)> {
        if self.week.iter().all(Vec::is_empty) {
            let fix = "open one day at least, or pause the account";
            return Err((None, ParseError::new("no day of the week is open", fix)));
        }
        for (day, spans) in self.week.iter().enumerate() {
            let next = self.week[(day + 1) % 7].first();
            let over = spans.last().zip(next).filter(|(last, next)| last.to > next.from + DAY);
            if over.is_some() {
                let what = format!("goes over midnight into the hours of {}", WEEKDAYS[(day + 1) % 7]);
                return Err((
                    Some(day),
                    ParseError::new(what, "end it earlier, or begin the next day later"),
                ));
            }
            let minutes = |time: Duration| u128::from(time.as_secs()) / 60;
            let shortest = match (spans.first(), spans.last()) {
                (Some(first), Some(last)) if first == last => {
                    (first.to - first.from, minutes(self.start_late + self.end_early))
                }
                (Some(first), Some(last)) => {
                    let longer = minutes(self.start_late.max(self.end_early));
                    ((first.to - first.from).min(last.to - last.from), longer)
                }
                _ => continue,
            };
            if shortest.1 >= u128::from(shortest.0) {
                let what = "is shorter than what start_late and end_early may take from it";
                return Err((Some(day), ParseError::new(what, "lower hours.start_late and hours.end_early")));
            }
        }
        Ok(())
    }
}

/// Parses `"09:00-12:00, 13:00-18:00"`; empty text is a day off.
pub fn parse_spans(text: &str) -> Result<Vec<Span>, ParseError> {
    let mut spans = Vec::new();
    for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
        let fix = "write \"09:00-18:00\", several with a comma, \"00:00-24:00\" for the whole day, \"\" for a day off";
        let ends = part.split_once('-').and_then(|(from, to)| Some((minutes(from)?, minutes(to)?)));
        let Some((from, to)) = ends else {
            return Err(ParseError::new(format!("{part:?} is not a span of hours"), fix));
        };
        if from == to || from == DAY {
            return Err(ParseError::new(format!("{part:?} is empty"), fix));
        }
        spans.push(Span { from, to: if to < from { to + DAY } else { to } });
    }
    spans.sort_unstable();
    let overlap = spans.windows(2).any(|pair| pair[0].to > pair[1].from);
    // A span that crosses midnight must not reach the beginning of its own day again.
    let round = spans.first().zip(spans.last()).is_some_and(|(first, last)| last.to > first.from + DAY);
    if overlap || round {
        return Err(ParseError::new("has spans that overlap", "make one span of them"));
    }
    Ok(spans)
}

/// Parses `09:30` as minutes; `24:00` is the end of the day.
fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |part: &str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_digit());
    if !digits(hour) || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= DAY).then_some(total)
}

/// Parses days off: dates and ranges, separated by commas or line ends; `#` begins a comment.
///
/// # Errors
/// Returns a [`ParseError`] with the problem, its line number if there are several lines, and the fix.
pub fn parse_days_off(text: &str) -> Result<Vec<(Date, Date)>, ParseError> {
    let fix = "write dates as in \"2026-12-24..2027-01-02, 2027-04-05\", or one a line";
    let several = text.trim().lines().count() > 1;
    let mut days = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for part in line.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let place = if several { format!("line {}: ", index + 1) } else { String::new() };
            let (first, last) = part.split_once("..").unwrap_or((part, part));
            let (Some(first), Some(last)) = (date(first), date(last)) else {
                return Err(ParseError::new(format!("{place}{part:?} is not a date"), fix));
            };
            if last < first {
                return Err(ParseError::new(format!("{place}{part:?} ends before it begins"), fix));
            }
            if (last - first).get_days() > LONGEST_RANGE {
                let fix = "give at most a year; pause the account to stop it for longer";
                return Err(ParseError::new(format!("{place}{part:?} is longer than a year"), fix));
            }
            days.push((first, last));
        }
    }
    Ok(merged(days))
}

/// Parses `2026-12-24` and no other form: jiff accepts more.
pub fn date(text: &str) -> Option<Date> {
    let text = text.trim();
    let form = text.len() == 10 && text.bytes().all(|c| c.is_ascii_digit() || c == b'-');
    text.parse().ok().filter(|_| form)
}

/// Sorts ranges and merges those that touch or overlap.
pub fn merged(mut days: Vec<(Date, Date)>) -> Vec<(Date, Date)> {
    days.sort_unstable();
    let mut merged: Vec<(Date, Date)> = Vec::with_capacity(days.len());
    for (first, last) in days {
        match merged.last_mut() {
            Some(before) if before.1.saturating_add(1.day()) >= first => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn spans_are_read_as_they_are_written() {
        let span = |from, to| Span { from, to };
        assert_eq!(parse_spans("13:00-18:30, 09:00-12:00").unwrap(), [span(540, 720), span(780, 1110)]);
        assert_eq!(parse_spans("22:00-02:00").unwrap(), [span(1320, 1560)]);
        assert_eq!(parse_spans("00:00-24:00").unwrap(), [span(0, 1440)]);
        assert_eq!(parse_spans(" ").unwrap(), []);
        assert_eq!(parse_spans("09:00-12:00,12:00-18:00").unwrap().len(), 2, "they touch and do not overlap");
    }

    #[test]
    fn every_mistake_in_spans_says_what_to_write() {
        for (text, what) in [
            ("9-18", "\"9-18\" is not a span of hours"),
            ("9:00-18:00", "\"9:00-18:00\" is not a span of hours"),
            ("09:00-18:60", "\"09:00-18:60\" is not a span of hours"),
            ("09:00-24:01", "\"09:00-24:01\" is not a span of hours"),
            ("09:00-09:00", "\"09:00-09:00\" is empty"),
            ("24:00-08:00", "\"24:00-08:00\" is empty"),
            ("09:00-13:00, 12:00-18:00", "has spans that overlap"),
            ("01:00-03:00, 22:00-02:00", "has spans that overlap"),
            ("09:00-18:00,", "\"\" is not a span of hours"),
        ] {
            assert_eq!(parse_spans(text).unwrap_err().what, what);
        }
    }

    #[test]
    fn days_off_are_dates_and_ranges_with_comments() {
        let text = "# Germany\n2026-12-25\n2026-12-26, 2027-01-01 # New Year\n2027-04-02..2027-04-05\n";
        let days = parse_days_off(text).unwrap();
        assert_eq!(days.len(), 3, "days that touch are one range: {days:?}");
        let calendar = Calendar { days_off: days, ..Calendar::always() };
        for (day, off) in [
            (date(2026, 12, 24), false),
            (date(2026, 12, 26), true),
            (date(2026, 12, 27), false),
            (date(2027, 4, 4), true),
            (date(2027, 4, 6), false),
        ] {
            assert_eq!(calendar.is_off(day), off, "{day}");
        }
        for (text, what) in [
            ("2026-02-30", "\"2026-02-30\" is not a date"),
            ("24.12.2026", "\"24.12.2026\" is not a date"),
            ("2026-12-25\nsoon", "line 2: \"soon\" is not a date"),
            ("2026-12-25..2026-12-24", "\"2026-12-25..2026-12-24\" ends before it begins"),
            ("2026-12-25..2062-12-24", "\"2026-12-25..2062-12-24\" is longer than a year"),
        ] {
            assert_eq!(parse_days_off(text).unwrap_err().what, what);
        }
    }

    #[test]
    fn a_calendar_is_looked_at_as_a_whole() {
        let week = |days: [&str; 7]| days.map(|text| parse_spans(text).unwrap());
        let with = |days| Calendar { week: week(days), ..Calendar::always() };
        let what = |calendar: &Calendar| calendar.check().unwrap_err().1.what;
        assert_eq!(what(&with([""; 7])), "no day of the week is open");
        let night = "22:00-06:00";
        let overlap = with([night, "05:00-08:00", "", "", "", "", ""]);
        assert_eq!(what(&overlap), "goes over midnight into the hours of tuesday");
        let sunday = with(["05:00-08:00", "", "", "", "", "", night]);
        assert_eq!(what(&sunday), "goes over midnight into the hours of monday");
        assert_eq!(with([night; 7]).check(), Ok(()));
        let mut short = with(["09:00-09:30", "", "", "", "", "", ""]);
        short.start_late = Duration::from_secs(20 * 60);
        assert_eq!(short.check(), Ok(()));
        short.end_early = Duration::from_secs(10 * 60);
        assert_eq!(what(&short), "is shorter than what start_late and end_early may take from it");
    }
}
