//! Times, as a person types them and as a person reads them.
//!
//! Typed: RFC 3339, or a time of this machine's zone. Read: in this machine's zone, short where a table needs it, with
//! the zone where a ticket quotes it. For a program they stay what the API has: UTC with milliseconds. What is not known
//! is `-`, and a time that may still move is shown as "not before". The parsing is pure; only [`parse_time`] and
//! [`parse_for`], which clap calls, [`now`] and [`Times`] read the clock and the zone.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};

use crate::clock::{Clock, SystemClock};

const FORMS: &str =
    "write 2026-11-22T09:00:00Z, or in this machine's zone \"2026-11-22 09:00\", 09:00 or \"tomorrow 09:00\"";

/// A time on the command line.
pub(super) fn parse_time(text: &str) -> Result<Timestamp, String> {
    time(text, &here()).map(|zoned| zoned.timestamp()).ok_or_else(|| format!("this is no time; {FORMS}"))
}

/// How long from now, on the command line.
pub(super) fn parse_for(text: &str) -> Result<Timestamp, String> {
    let fix = "write 30m, 2h or 1d";
    let span: Span = text.trim().parse().map_err(|_| format!("this is no length of time; {fix}"))?;
    if !span.is_positive() {
        return Err(format!("this is not ahead; {fix}"));
    }
    let then = here().checked_add(span).map_err(|_| format!("this is too long; {fix}"))?;
    Ok(then.timestamp())
}

/// The time.
pub(super) fn now() -> Timestamp {
    SystemClock::new().now()
}

fn here() -> Zoned {
    now().to_zoned(TimeZone::system())
}

/// What `text` means at `now`, in the zone of `now`.
fn time(text: &str, now: &Zoned) -> Option<Zoned> {
    let text = text.trim();
    let zone = now.time_zone();
    if let Ok(at) = text.parse::<Zoned>() {
        return Some(at);
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.to_zoned(zone.clone()));
    }
    let on = |date: Date, text: &str| zone.to_zoned(date.to_datetime(text.trim().parse::<Time>().ok()?)).ok();
    if let Some(rest) = text.strip_prefix("tomorrow ") {
        return on(now.date().tomorrow().ok()?, rest);
    }
    if let Some(rest) = text.strip_prefix("today ") {
        return on(now.date(), rest);
    }
    if let Ok(at) = text.parse::<DateTime>() {
        return zone.to_zoned(at).ok();
    }
    let today = on(now.date(), text)?;
    if today > *now { Some(today) } else { on(now.date().tomorrow().ok()?, text) }
}

/// `at` as the API takes it.
pub(super) fn wire(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// How times are shown.
#[derive(Debug, Clone)]
pub(super) enum Times {
    /// For a program: as the API has them.
    Exact,
    /// For a person: in this zone, today's without the date.
    Short { now: Zoned },
}

impl Times {
    /// For a person at this machine, now.
    pub(super) fn here() -> Self {
        Self::Short { now: here() }
    }

    /// For a person at this machine, at the daemon's `now`.
    pub(super) fn at(now: Timestamp) -> Self {
        Self::Short { now: now.to_zoned(TimeZone::system()) }
    }

    /// A time, or `-`.
    pub(super) fn show(&self, at: Option<Timestamp>) -> String {
        match (self, at) {
            (_, None) => "-".to_owned(),
            (Self::Exact, Some(at)) => wire(at),
            (Self::Short { now }, Some(at)) => {
                let at = at.to_zoned(now.time_zone().clone());
                let form = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
                at.strftime(form).to_string()
            }
        }
    }

    /// What is waited for, in the words of `waits_for`.
    pub(super) fn wait(&self, until: Option<Timestamp>, waits_for: Option<&str>) -> String {
        match (waits_for, until) {
            (Some("person"), _) => "a person".to_owned(),
            (Some("not_before"), Some(_)) => format!("not before {}", self.show(until)),
            (_, until) => self.show(until),
        }
    }

    /// The zone of what is shown, such as `CET`.
    pub(super) fn zone(&self) -> String {
        match self {
            Self::Exact => "UTC".to_owned(),
            Self::Short { now } => now.strftime("%Z").to_string(),
        }
    }
}

/// A time with its zone, as a ticket quotes it; or `-`.
pub(super) fn full(at: Option<Timestamp>) -> String {
    let shown = |at: Timestamp| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string();
    at.map_or_else(|| "-".to_owned(), shown)
}

/// How long it is from `now` to `at`: `in 12 s`, `3 min ago`, `now`.
pub(super) fn distance(at: Timestamp, now: Timestamp) -> String {
    let away = at.duration_since(now);
    match away.as_secs() {
        0 => "now".to_owned(),
        1.. => format!("in {}", length(away)),
        _ => format!("{} ago", length(away)),
    }
}

/// A length of time in its largest unit and the one below.
pub(super) fn length(away: SignedDuration) -> String {
    let seconds = away.as_secs().unsigned_abs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let parts = match (days, hours, minutes) {
        (0, 0, 0) => [(seconds, "s"), (0, "")],
        (0, 0, _) => [(minutes, "min"), (0, "")],
        (0, _, _) => [(hours, "h"), (minutes, "min")],
        _ => [(days, "d"), (hours, "h")],
    };
    let shown = parts.iter().enumerate().filter(|(index, (number, _))| *index == 0 || *number > 0);
    shown.map(|(_, (number, unit))| format!("{number} {unit}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    fn berlin(at: &str) -> Zoned {
        at.parse::<Timestamp>().unwrap().in_tz("Europe/Berlin").unwrap()
    }

    #[test]
    fn what_a_person_types() {
        let now = berlin("2026-11-22T08:30:00Z"); // 09:30 there
        for (typed, meant) in [
            ("2026-11-22T09:00:00Z", Some("2026-11-22T09:00:00.000Z")),
            ("2026-11-22T09:00:00+02:00", Some("2026-11-22T07:00:00.000Z")),
            ("2026-11-22T09:00:00-05:00[America/New_York]", Some("2026-11-22T14:00:00.000Z")),
            ("2026-11-22 09:00", Some("2026-11-22T08:00:00.000Z")),
            ("2026-07-01T09:00:30", Some("2026-07-01T07:00:30.000Z")),
            ("2026-11-30", Some("2026-11-29T23:00:00.000Z")),
            ("10:00", Some("2026-11-22T09:00:00.000Z")),
            ("09:30", Some("2026-11-23T08:30:00.000Z")),
            ("today 08:00", Some("2026-11-22T07:00:00.000Z")),
            (" tomorrow 09:00 ", Some("2026-11-23T08:00:00.000Z")),
            ("tomorrow", None),
            ("noon", None),
            ("25:00", None),
            ("", None),
        ] {
            let read = time(typed, &now).map(|at| wire(at.timestamp()));
            assert_eq!(read.as_deref(), meant, "{typed:?}");
        }
    }

    #[test]
    fn what_a_person_reads() {
        let now = berlin("2026-11-22T22:30:00Z"); // 23:30 there
        let times = Times::Short { now: now.clone() };
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert_eq!(times.show(at("2026-11-22T22:45:10Z")), "23:45:10");
        assert_eq!(times.show(at("2026-11-22T23:00:00Z")), "2026-11-23 00:00", "tomorrow there");
        assert_eq!(Times::Exact.show(at("2026-11-22T23:00:00Z")), "2026-11-22T23:00:00.000Z");
        assert_eq!(times.show(None), "-");
        assert_eq!(times.wait(at("2026-11-22T22:45:10Z"), Some("time")), "23:45:10");
        assert_eq!(times.wait(at("2026-11-22T22:45:10Z"), Some("not_before")), "not before 23:45:10");
        assert_eq!(times.wait(None, Some("person")), "a person");
        assert_eq!(times.wait(None, None), "-");
        assert_eq!(times.zone(), "CET");
    }

    #[test]
    fn lengths_are_short_and_never_round_up() {
        let now = "2026-11-22T12:00:00Z".parse::<Timestamp>().unwrap();
        for (seconds, shown) in [
            (0, "now"),
            (12, "in 12 s"),
            (-59, "59 s ago"),
            (119, "in 1 min"),
            (-3_600, "1 h ago"),
            (7_380, "in 2 h 3 min"),
            (90_000, "in 1 d 1 h"),
        ] {
            assert_eq!(distance(now + seconds.seconds(), now), shown);
        }
    }
}
