//! How many sends an account may make: a cap is a number of sends of one kind in one window.
//!
//! Text (`"100/24h, 400/7d"`) is parsed into a type here, once, for the configuration and for the API;
//! `policy/quota.rs` applies the caps at a given time. The [`Ledger`] lists the sends that the caps count.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::kind::Kind;
use super::parse_error::ParseError;

words! {
    /// The period over which a cap counts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum Window {
        /// Any 60 minutes.
        Hour = "hour",
        /// Any 24 hours.
        Hours24 = "24h",
        /// Any 7 times 24 hours.
        Days7 = "7d",
        /// A calendar day in the account's zone.
        Day = "day",
    }
}

impl Window {
    /// Returns the length of the window; `None` for a calendar day, which may have 23 or 25 hours.
    pub fn rolling(self) -> Option<Duration> {
        match self {
            Self::Hour => Some(Duration::from_secs(3600)),
            Self::Hours24 => Some(Duration::from_secs(24 * 3600)),
            Self::Days7 => Some(LEDGER_REACH),
            Self::Day => None,
        }
    }
}

/// The longest window: no cap counts an older send.
pub const LEDGER_REACH: Duration = Duration::from_secs(7 * 24 * 3600);

/// Largest number that a cap may have.
pub const LARGEST_CAP: u32 = 1_000_000;

/// An upper limit on the sends in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// Counts sends of this kind; `None` counts all kinds together.
    pub kind: Option<Kind>,
    /// The period over which it counts.
    pub window: Window,
    /// Maximum number of sends; at least 1.
    pub most: u32,
}

impl Cap {
    /// Returns whether a send of `kind` counts towards this cap.
    pub fn counts(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|own| own == kind)
    }

    /// Returns the configuration's name for the kind that it counts: `all`, `new_chat`, …
    pub fn name(&self) -> &'static str {
        self.kind.map_or("all", Kind::as_str)
    }
}

impl fmt::Display for Cap {
    /// Writes `caps.new_chat 40/24h`, the form in which the configuration has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "caps.{} {}/{}", self.name(), self.most, self.window.as_str())
    }
}

/// Parses `"100/24h, 400/7d"`; empty text means no cap.
pub fn parse_caps(kind: Option<Kind>, text: &str) -> Result<Vec<Cap>, ParseError> {
    let mut caps: Vec<Cap> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
        let fix =
            "write a number, a slash and hour, 24h, 7d or day, as in \"100/24h, 400/7d\"; \"\" means no cap";
        let Some((number, word)) = part.split_once('/') else {
            return Err(ParseError::new(format!("{part:?} is not a cap"), fix));
        };
        let Some(window) = Window::ALL.into_iter().find(|window| window.as_str() == word.trim()) else {
            return Err(ParseError::new(format!("{:?} is not a window", word.trim()), fix));
        };
        let most = match number.trim().parse::<u32>() {
            Ok(0) => {
                let fix = "give at least 1, or pause the account";
                return Err(ParseError::new(format!("{part:?} would let nothing through"), fix));
            }
            Ok(most) if most <= LARGEST_CAP => most,
            _ => {
                return Err(ParseError::new(
                    format!("{:?} is not a number from 1 to {LARGEST_CAP}", number.trim()),
                    fix,
                ));
            }
        };
        if caps.iter().any(|cap| cap.window == window) {
            let fix = "give each window once";
            return Err(ParseError::new(format!("names {} twice", window.as_str()), fix));
        }
        caps.push(Cap { kind, window, most });
    }
    Ok(caps)
}

/// Sends of an account that may have reached a recipient, as far back as a cap can count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    all: Vec<Timestamp>,
    kinds: [Vec<Timestamp>; 4],
}

impl Ledger {
    /// Returns a ledger of these sends, which may be in any order.
    pub fn new(sends: impl IntoIterator<Item = (Timestamp, Kind)>) -> Self {
        let mut sends: Vec<(Timestamp, Kind)> = sends.into_iter().collect();
        sends.sort_by_key(|(at, _)| *at);
        let mut ledger = Self::default();
        for (at, kind) in sends {
            ledger.push(at, kind);
        }
        ledger
    }

    /// Adds one send; a time earlier than the last one counts as the last one.
    pub fn push(&mut self, at: Timestamp, kind: Kind) {
        let at = self.all.last().map_or(at, |last| at.max(*last));
        self.all.push(at);
        self.kinds[kind as usize].push(at);
    }

    /// Drops the sends at `at` and later.
    pub fn forget_from(&mut self, at: Timestamp) {
        for sends in std::iter::once(&mut self.all).chain(&mut self.kinds) {
            sends.truncate(sends.partition_point(|sent| *sent < at));
        }
    }

    /// Drops sends earlier than `at`, once they are more than half of all: no window counts them, so they only cost
    /// memory.
    pub fn forget_before(&mut self, at: Timestamp) {
        let old = self.all.partition_point(|sent| *sent < at);
        if old * 2 > self.all.len() {
            for sends in std::iter::once(&mut self.all).chain(&mut self.kinds) {
                sends.drain(..sends.partition_point(|sent| *sent < at));
            }
        }
    }

    /// Returns the times of the sends of `kind`, or of all kinds, in order.
    pub fn sends(&self, kind: Option<Kind>) -> &[Timestamp] {
        kind.map_or(&self.all, |kind| &self.kinds[kind as usize])
    }

    /// Returns the number of sends at `since` or later.
    pub fn since(&self, kind: Option<Kind>, since: Timestamp) -> usize {
        let sends = self.sends(kind);
        sends.len() - sends.partition_point(|at| *at < since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_are_read_as_they_are_written() {
        let caps = parse_caps(None, " 100/24h,400/7d , 10/hour, 90/day").unwrap();
        let shown: Vec<String> = caps.iter().map(Cap::to_string).collect();
        assert_eq!(shown, ["caps.all 100/24h", "caps.all 400/7d", "caps.all 10/hour", "caps.all 90/day"]);
        assert_eq!(parse_caps(Some(Kind::InMail), "").unwrap(), []);
        let inmail = parse_caps(Some(Kind::InMail), "25/24h").unwrap();
        assert!(inmail[0].counts(Kind::InMail) && !inmail[0].counts(Kind::NewChat));
    }

    #[test]
    fn every_mistake_says_what_to_write() {
        for (text, what) in [
            ("0/day", "\"0/day\" would let nothing through"),
            ("100", "\"100\" is not a cap"),
            ("100/week", "\"week\" is not a window"),
            ("-3/day", "\"-3\" is not a number from 1 to 1000000"),
            ("1.5/day", "\"1.5\" is not a number from 1 to 1000000"),
            ("9999999/day", "\"9999999\" is not a number from 1 to 1000000"),
            ("5/day, 6/day", "names day twice"),
            ("5/day,", "\"\" is not a cap"),
        ] {
            let fault = parse_caps(None, text).unwrap_err();
            assert_eq!(fault.what, what);
            assert!(!fault.fix.is_empty());
        }
    }

    #[test]
    fn a_ledger_counts_by_kind_from_a_time_on() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let ledger = Ledger::new([(at(30), Kind::Message), (at(10), Kind::NewChat), (at(20), Kind::Message)]);
        assert_eq!((ledger.since(None, at(10)), ledger.since(None, at(11))), (3, 2));
        assert_eq!(
            (ledger.since(Some(Kind::Message), at(0)), ledger.since(Some(Kind::InMail), at(0))),
            (2, 0)
        );
    }

    #[test]
    fn a_ledger_forgets_its_end_and_its_beginning() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let sends = [(10, Kind::NewChat), (20, Kind::Message), (20, Kind::InMail), (30, Kind::Message)];
        let mut ledger = Ledger::new(sends.map(|(second, kind)| (at(second), kind)));
        ledger.forget_from(at(30));
        assert_eq!(ledger.sends(None), [at(10), at(20), at(20)]);
        assert_eq!(ledger.sends(Some(Kind::Message)), [at(20)]);
        ledger.forget_before(at(20));
        assert_eq!(ledger.sends(None).len(), 3, "a third is not worth the copying");
        ledger.forget_from(at(20));
        ledger.push(at(40), Kind::Forward);
        ledger.push(at(50), Kind::Forward);
        ledger.forget_before(at(50));
        assert_eq!(ledger.sends(None), [at(50)]);
        assert_eq!(
            (ledger.sends(Some(Kind::NewChat)).len(), ledger.sends(Some(Kind::Forward)).len()),
            (0, 1)
        );
    }
}
