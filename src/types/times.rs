//! Times as a person reads them: on the command line and on the pages of the dashboard.
//!
//! An unknown time is `-`, a time that may still change is "not before". What shows a time names its zone.

use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

use crate::domain::time_text;

/// How times are formatted.
#[derive(Debug, Clone)]
pub(crate) enum Times {
    /// For a program: in the form of the API.
    Exact,
    /// For a person: in the zone of `now`; times of today without the date.
    Short { now: Zoned },
    /// The same for a narrow table: `Mon 08:00` of the next or last days, `20 Dec` and `Jan 2028` of others, with spaces
    /// that do not break.
    Brief { now: Zoned },
}

impl Times {
    /// Returns the format for a person, in `zone` and relative to `now`.
    pub(crate) fn short(now: Timestamp, zone: TimeZone) -> Self {
        Self::Short { now: now.to_zoned(zone) }
    }

    /// Returns the format for a person at this machine, relative to the daemon's `now`.
    pub(crate) fn at(now: Timestamp) -> Self {
        Self::Short { now: now.to_zoned(TimeZone::system()) }
    }

    /// Returns the format for a narrow table.
    pub(crate) fn brief(&self) -> Self {
        match self {
            Self::Short { now } | Self::Brief { now } => Self::Brief { now: now.clone() },
            Self::Exact => Self::Exact,
        }
    }

    /// Formats a time, or `-`.
    pub(crate) fn show(&self, at: Option<impl Into<Timestamp>>) -> String {
        match (self, at.map(Into::into)) {
            (_, None) => "-".to_owned(),
            (Self::Exact, Some(at)) => time_text(at),
            (Self::Short { now }, Some(at)) => {
                let at = at.to_zoned(now.time_zone().clone());
                let form = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
                at.strftime(form).to_string()
            }
            (Self::Brief { now }, Some(at)) => {
                let at = at.to_zoned(now.time_zone().clone());
                let days = (at.date() - now.date()).get_days().abs();
                let form = match days {
                    0 => "%H:%M:%S",
                    1..=6 => "%a\u{a0}%H:%M",
                    7..=300 => "%-d\u{a0}%b",
                    _ => "%b\u{a0}%Y",
                };
                at.strftime(form).to_string()
            }
        }
    }

    /// Formats what a message or an account waits for, according to `waits_for`.
    pub(crate) fn wait(&self, until: Option<impl Into<Timestamp>>, waits_for: Option<&str>) -> String {
        match (waits_for, until) {
            (Some("person"), _) => "a person".to_owned(),
            (Some("not_before"), Some(at)) => format!("not before {}", self.show(Some(at))),
            (Some("expiry"), Some(at)) => format!("expires {}", self.show(Some(at))),
            (_, until) => self.show(until),
        }
    }

    /// Returns the name of the zone in use, such as `Europe/Berlin`.
    pub(crate) fn zone(&self) -> String {
        match self {
            Self::Exact => "UTC".to_owned(),
            Self::Short { now } | Self::Brief { now } => name(now.time_zone(), Some(now)),
        }
    }
}

/// Formats a time with its zone, in a form that a ticket can quote; or `-`. A local time that occurs twice has its
/// offset.
pub(crate) fn full_in(at: Option<impl Into<Timestamp>>, zone: &TimeZone) -> String {
    let Some(at) = at.map(Into::into) else { return "-".to_owned() };
    let zoned = at.to_zoned(zone.clone());
    let is_twice =
        matches!(zone.to_ambiguous_timestamp(zoned.datetime()).offset(), AmbiguousOffset::Fold { .. });
    let form = if is_twice { "%Y-%m-%d %H:%M:%S%:z" } else { "%Y-%m-%d %H:%M:%S" };
    format!("{} {}", zoned.strftime(form), name(zone, Some(&zoned)))
}

/// Returns the name of a zone.
pub(crate) fn name(zone: &TimeZone, at: Option<&Zoned>) -> String {
    match zone.iana_name() {
        Some("Etc/Unknown" | "Etc/UTC") => "UTC".to_owned(),
        Some(name) => name.to_owned(),
        None => at.map_or_else(|| "this machine's zone".to_owned(), |at| at.strftime("%Z").to_string()),
    }
}

/// Formats the distance from `now` to `at`: `in 12 s`, `3 min ago`, `now`.
pub(crate) fn distance(at: Timestamp, now: Timestamp) -> String {
    let away = at.duration_since(now);
    match away.as_secs() {
        0 => "now".to_owned(),
        1.. => format!("in {}", length(away)),
        _ => format!("{} ago", length(away)),
    }
}

/// Formats a length of time in its largest unit and the one below.
pub(crate) fn length(away: SignedDuration) -> String {
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
