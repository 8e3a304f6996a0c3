//! Parses and formats times for people.
//!
//! Both follow one rule: where one account is concerned, a time is in that account's zone, otherwise in this
//! machine's. Output always names its zone. RFC 3339 needs none; programs send and receive it, in UTC with
//! milliseconds. An unknown time is `-`, and a time that may still change is shown as "not before". A local time that
//! a clock change skips or repeats is refused rather than guessed.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, Timestamp, Zoned};

use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::types::WaitStatus;
use crate::types::account::AccountZone;
use crate::types::times::name;
pub(super) use crate::types::times::{Times, distance, full_in, length};

const FORMS: &str =
    "write 2026-11-22T09:00:00Z, or \"2026-11-22 09:00\", 09:00 or \"tomorrow 09:00\" in the account's zone";

const PAST_FORMS: &str = "write 2026-11-22T09:00:00Z, or \"2026-11-22 09:00\", 09:00 or \"yesterday 09:00\" in the account's zone, or a length: 2h";

/// A time on the command line, before its zone is known.
#[derive(Debug, Clone)]
pub(super) enum Typed {
    /// An instant, independent of a zone.
    At(Timestamp),
    /// A local time, as typed.
    Local(String),
    /// A length of time, counted back from now.
    Ago(Span),
}

/// Which occurrence of a time of day is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Next,
    Last,
}

/// Parses a time on the command line as far as possible without a zone.
pub(super) fn parse_time(text: &str) -> Result<Typed, String> {
    let text = text.trim();
    if let Ok(at) = text.parse::<Zoned>() {
        return Ok(Typed::At(at.timestamp()));
    }
    if let Some(at) = app::parse_time(text) {
        return Ok(Typed::At(at));
    }
    // Only checks the form: in UTC no local time is skipped.
    match local(text, &now().to_zoned(TimeZone::UTC)) {
        Some(_) => Ok(Typed::Local(text.to_owned())),
        None => Err(format!("this is not a time; {FORMS}")),
    }
}

/// Parses a time in the past, or a length of time that is counted back from now.
pub(super) fn parse_past(text: &str) -> Result<Typed, String> {
    let ago =
        |_why| parse_length(text).map(Typed::Ago).map_err(|_| format!("this is not a time; {PAST_FORMS}"));
    parse_time(text).or_else(ago)
}

/// Parses the time at which something ends. A length of time has an option of its own, `--for`.
pub(super) fn parse_end(text: &str) -> Result<Typed, String> {
    parse_time(text).map_err(|why| match parse_length(text) {
        Ok(_) => format!("this is a length of time; write --for {}", text.trim()),
        Err(_) => why,
    })
}

/// Parses a length of time on the command line.
pub(super) fn parse_length(text: &str) -> Result<Span, String> {
    let fix = "write 30m, 2h or 1d";
    let span: Span = text.trim().parse().map_err(|_| format!("this is not a length of time; {fix}"))?;
    if !span.is_positive() {
        return Err(format!("this is not ahead; {fix}"));
    }
    Ok(span)
}

impl Typed {
    /// Returns the instant, in the zone of `account` or of this machine; the daemon provides an account's zone. A time of
    /// day is the next one.
    pub(super) async fn resolve(&self, client: &Client, account: Option<&str>) -> Result<Timestamp, Failure> {
        self.resolve_as(Turn::Next, client, account).await
    }

    /// The same for what was: a time of day is the last one.
    pub(super) async fn resolve_past(
        &self,
        client: &Client,
        account: Option<&str>,
    ) -> Result<Timestamp, Failure> {
        self.resolve_as(Turn::Last, client, account).await
    }

    async fn resolve_as(
        &self,
        turn: Turn,
        client: &Client,
        account: Option<&str>,
    ) -> Result<Timestamp, Failure> {
        let zone = match self {
            Self::At(at) => return Ok(*at),
            Self::Local(_) | Self::Ago(_) => zone_of(client, account).await?,
        };
        self.meant(turn, &now().to_zoned(zone)).map_err(Failure::usage)
    }

    /// Returns the instant at `now`, in the zone of `now`.
    fn meant(&self, turn: Turn, now: &Zoned) -> Result<Timestamp, String> {
        match self {
            Self::At(at) => Ok(*at),
            Self::Ago(span) => {
                now.checked_sub(*span).map(|at| at.timestamp()).map_err(|_| "this is too long ago".to_owned())
            }
            Self::Local(text) => match local(text, now) {
                Some(Meant::Day(date)) => {
                    let begins = date.to_zoned(now.time_zone().clone());
                    begins
                        .map(|begins| begins.timestamp())
                        .map_err(|_| format!("{text:?} is not a day that there is"))
                }
                Some(Meant::Time(at)) => once(at, now.time_zone()),
                Some(Meant::OfDay(time)) => {
                    let today = once(now.date().to_datetime(time), now.time_zone())?;
                    let other = match turn {
                        Turn::Next if today <= now.timestamp() => now.date().tomorrow(),
                        Turn::Last if today > now.timestamp() => now.date().yesterday(),
                        Turn::Next | Turn::Last => return Ok(today),
                    };
                    let other = other.map_err(|_| format!("{text:?} is not a day that there is"))?;
                    once(other.to_datetime(time), now.time_zone())
                }
                None => Err(format!("this is not a time; {FORMS}")),
            },
        }
    }
}

/// Returns the instant of the local time `at` in `zone`, if there is exactly one.
fn once(at: DateTime, zone: &TimeZone) -> Result<Timestamp, String> {
    let name = name(zone, at.to_zoned(zone.clone()).ok().as_ref());
    let shown = at.strftime("%Y-%m-%d %H:%M:%S");
    match zone.to_ambiguous_timestamp(at).offset() {
        AmbiguousOffset::Unambiguous { .. } => {
            zone.to_timestamp(at).map_err(|_| format!("{shown} is not a time that there is"))
        }
        AmbiguousOffset::Gap { .. } => Err(format!(
            "{shown} does not exist in {name}: the clocks are set forward over it; write another time"
        )),
        AmbiguousOffset::Fold { before, after } => {
            let form = at.strftime("%Y-%m-%dT%H:%M:%S");
            let [first, second] =
                [before, after].map(|offset| Timestamp::UNIX_EPOCH.to_zoned(offset.to_time_zone()));
            let [first, second] = [first.strftime("%:z"), second.strftime("%:z")];
            Err(format!(
                "{shown} comes twice in {name}: the clocks are set back; write {form}{first} or {form}{second}"
            ))
        }
    }
}

/// A parsed local time.
enum Meant {
    /// The beginning of a day.
    Day(Date),
    /// A time on a certain day.
    Time(DateTime),
    /// The next or last occurrence of a time of day.
    OfDay(Time),
}

/// Returns `text` with an hour of two digits: `tomorrow 9:00` means 09:00.
fn with_whole_hour(text: &str) -> String {
    let (day, time) = text.split_at(text.rfind([' ', 'T']).map_or(0, |at| at + 1));
    let is_short = time.find(':') == Some(1) && time.starts_with(|first: char| first.is_ascii_digit());
    if is_short { format!("{day}0{time}") } else { text.to_owned() }
}

/// Parses `text`, relative to the day of `now`.
fn local(text: &str, now: &Zoned) -> Option<Meant> {
    let text = with_whole_hour(text);
    let text = text.as_str();
    let on = |date: Date, text: &str| Some(Meant::Time(date.to_datetime(text.trim().parse::<Time>().ok()?)));
    if let Some(rest) = text.strip_prefix("tomorrow ") {
        return on(now.date().tomorrow().ok()?, rest);
    }
    if let Some(rest) = text.strip_prefix("yesterday ") {
        return on(now.date().yesterday().ok()?, rest);
    }
    if let Some(rest) = text.strip_prefix("today ") {
        return on(now.date(), rest);
    }
    if text.len() == "2026-11-22".len()
        && let Ok(date) = text.parse::<Date>()
    {
        return Some(Meant::Day(date));
    }
    if let Ok(at) = text.parse::<DateTime>() {
        return Some(Meant::Time(at));
    }
    text.parse::<Time>().ok().map(Meant::OfDay)
}

/// Returns the zone of `account`, as the daemon knows it; without an account, this machine's zone.
pub(super) async fn zone_of(client: &Client, account: Option<&str>) -> Result<TimeZone, Failure> {
    let Some(account) = account else { return Ok(TimeZone::system()) };
    let answer: AccountZone =
        client.get(&format!("/v1/accounts/{}/zone", segment(account)), &[]).await?.read()?;
    TimeZone::get(&answer.zone).map_err(|_| {
        let text = format!(
            "this machine does not know the zone {} of {account}; write the time as RFC 3339",
            answer.zone
        );
        Failure::told(Exit::Unexpected, text)
    })
}

/// Returns the zone that an answer names; this machine's if it names none.
pub(super) fn zone(name: Option<&str>) -> TimeZone {
    name.and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system)
}

/// Returns the current time of this machine.
pub(super) fn now() -> Timestamp {
    SystemClock::new().now()
}

/// Formats `at` for the API.
pub(super) fn wire(at: Timestamp) -> String {
    format!("{at:.3}")
}

impl Times {
    /// Returns the format for a person, in `zone` and relative to this machine's current time.
    pub(super) fn of(zone: TimeZone) -> Self {
        Self::short(now(), zone)
    }
}

/// Formats a time in this machine's zone, in a form that a ticket can quote; or `-`.
pub(super) fn full(at: Option<impl Into<Timestamp>>) -> String {
    full_in(at, &TimeZone::system())
}

impl WaitStatus {
    /// Formats why something waits, with the code.
    pub(super) fn because(&self) -> Option<String> {
        match (&self.why, &self.reason) {
            (Some(why), Some(reason)) => Some(format!("{why} ({reason})")),
            (why, reason) => why.clone().or_else(|| reason.clone()),
        }
    }

    /// Formats what it waits for, in a form that a ticket can quote.
    pub(super) fn goes_on(&self, zone: &TimeZone) -> Option<String> {
        let until = self.until.map(|at| full_in(Some(at), zone));
        match self.waits_for.as_deref() {
            Some("person") => Some("a person".to_owned()),
            Some("not_before") => until.map(|at| format!("not before {at}")),
            Some("expiry") => until.map(|at| format!("it expires at {at}")),
            _ => until,
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan;

    use super::*;

    fn berlin(at: &str) -> Zoned {
        at.parse::<Timestamp>().unwrap().in_tz("Europe/Berlin").unwrap()
    }

    fn meant(typed: &str, now: &Zoned) -> Result<String, String> {
        parse_time(typed)?.meant(Turn::Next, now).map(wire)
    }

    #[test]
    fn a_time_in_the_past_is_the_last_one() {
        let now = berlin("2026-11-22T08:30:00Z");
        for (typed, at) in [
            ("09:00", "2026-11-22T08:00:00.000Z"),
            ("09:30", "2026-11-22T08:30:00.000Z"),
            ("10:00", "2026-11-21T09:00:00.000Z"),
            ("yesterday 09:00", "2026-11-21T08:00:00.000Z"),
            ("2h", "2026-11-22T06:30:00.000Z"),
            ("2026-11-20", "2026-11-19T23:00:00.000Z"),
        ] {
            let meant = parse_past(typed).and_then(|parsed| parsed.meant(Turn::Last, &now)).map(wire);
            assert_eq!(meant.as_deref(), Ok(at), "{typed:?}");
        }
        assert!(parse_past("noon").is_err_and(|why| why.contains("yesterday 09:00")));
    }

    #[test]
    fn a_length_of_time_in_the_place_of_an_end_names_its_option() {
        assert_eq!(parse_end("2h").err().as_deref(), Some("this is a length of time; write --for 2h"));
        assert!(parse_end("noon").is_err_and(|why| why.contains("this is not a time")));
        assert!(parse_end("10:00").is_ok());
    }

    #[test]
    fn what_a_person_types() {
        let now = berlin("2026-11-22T08:30:00Z"); // 09:30 there
        for (typed, at) in [
            ("2026-11-22T09:00:00Z", Some("2026-11-22T09:00:00.000Z")),
            ("2026-11-22T09:00:00+02:00", Some("2026-11-22T07:00:00.000Z")),
            ("2026-11-22T09:00:00-05:00[America/New_York]", Some("2026-11-22T14:00:00.000Z")),
            ("2026-11-22 09:00", Some("2026-11-22T08:00:00.000Z")),
            ("2026-07-01T09:00:30", Some("2026-07-01T07:00:30.000Z")),
            ("2026-11-30", Some("2026-11-29T23:00:00.000Z")),
            ("10:00", Some("2026-11-22T09:00:00.000Z")),
            ("9:45", Some("2026-11-22T08:45:00.000Z")),
            ("tomorrow 9:00", Some("2026-11-23T08:00:00.000Z")),
            ("2026-11-30 9:00", Some("2026-11-30T08:00:00.000Z")),
            ("09:30", Some("2026-11-23T08:30:00.000Z")),
            ("today 08:00", Some("2026-11-22T07:00:00.000Z")),
            (" tomorrow 09:00 ", Some("2026-11-23T08:00:00.000Z")),
            ("tomorrow", None),
            ("noon", None),
            ("25:00", None),
            ("", None),
        ] {
            assert_eq!(meant(typed, &now).ok().as_deref(), at, "{typed:?}");
        }
        let cairo = "2026-04-23T12:00:00Z".parse::<Timestamp>().unwrap().in_tz("Africa/Cairo").unwrap();
        let day = meant("2026-04-24", &cairo).unwrap();
        assert_eq!(day, "2026-04-23T22:00:00.000Z", "that day begins at 01:00, because midnight is skipped");
    }

    #[test]
    fn a_time_that_is_skipped_or_comes_twice_is_not_guessed() {
        let spring = berlin("2026-03-28T12:00:00Z");
        let skipped = "2026-03-29 02:30:00 does not exist in Europe/Berlin: the clocks are set forward over it; write another time";
        let autumn = berlin("2026-10-24T12:00:00Z");
        let twice = "2026-10-25 02:30:00 comes twice in Europe/Berlin: the clocks are set back; \
                     write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00";
        for (now, told) in [(&spring, skipped), (&autumn, twice)] {
            let date = told.split(' ').next().unwrap();
            for typed in ["02:30", "tomorrow 02:30", &format!("{date} 02:30")] {
                assert_eq!(meant(typed, now), Err(told.to_owned()), "{typed:?}");
            }
        }
        assert_eq!(meant("2026-10-25T02:30:00+01:00", &autumn).as_deref(), Ok("2026-10-25T01:30:00.000Z"));
        let one = |at: &str| full_in(Some(at.parse::<Timestamp>().unwrap()), autumn.time_zone());
        assert_eq!(one("2026-10-25T00:30:00Z"), "2026-10-25 02:30:00+02:00 Europe/Berlin");
        assert_eq!(one("2026-10-25T01:30:00Z"), "2026-10-25 02:30:00+01:00 Europe/Berlin");
        assert_eq!(one("2026-10-25T02:30:00Z"), "2026-10-25 03:30:00 Europe/Berlin");
    }

    #[test]
    fn what_a_person_reads() {
        let now = berlin("2026-11-22T22:30:00Z"); // 23:30 there
        let times = Times::Short { now: now.clone() };
        let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
        assert_eq!(times.show(at("2026-11-22T22:45:10Z")), "23:45:10");
        assert_eq!(times.show(at("2026-11-22T23:00:00Z")), "2026-11-23 00:00", "tomorrow there");
        assert_eq!(Times::Exact.show(at("2026-11-22T23:00:00Z")), "2026-11-22T23:00:00.000Z");
        assert_eq!(times.show(None::<Timestamp>), "-");
        assert_eq!(times.wait(at("2026-11-22T22:45:10Z"), Some("time")), "23:45:10");
        assert_eq!(times.wait(at("2026-11-22T22:45:10Z"), Some("not_before")), "not before 23:45:10");
        assert_eq!(times.wait(at("2026-11-22T22:45:10Z"), Some("expiry")), "expires 23:45:10");
        assert_eq!(times.wait(None::<Timestamp>, Some("person")), "a person");
        assert_eq!(times.wait(None::<Timestamp>, None), "-");
        assert_eq!(times.zone(), "Europe/Berlin");
        let brief = |text: &str| times.brief().show(at(text)).replace('\u{a0}', " ");
        assert_eq!(brief("2026-11-22T22:45:10Z"), "23:45:10");
        assert_eq!(brief("2026-11-22T23:00:00Z"), "Mon 00:00", "tomorrow there");
        assert_eq!(brief("2026-11-16T23:00:00Z"), "Tue 00:00");
        assert_eq!(brief("2026-11-15T22:00:00Z"), "15 Nov");
        assert_eq!(brief("2027-01-05T08:00:00Z"), "5 Jan");
        assert_eq!(brief("2028-01-05T08:00:00Z"), "Jan 2028");
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
