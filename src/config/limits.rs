//! The limits of an account: rhythm, caps, hours, warm-up, cooldowns and the order of its messages.
//!
//! `domain/` parses the texts and says what is wrong with one; this module adds the key and its place. It then checks
//! values that are valid alone against each other: the hours against each other and the zone, the caps against the
//! highest number that needs no consent.

use jiff::tz::TimeZone;
use regex::Regex;

use super::layers::Leaf;
use super::presets;
use super::read::Reader;
use crate::domain::calendar::{self, Calendar, WEEKDAYS};
use crate::domain::caps::{self, Cap, Window};
use crate::domain::field_error::nearest;
use crate::domain::kind::Kind;
use crate::domain::message::RepeatScope;
use crate::domain::parse_error::ParseError;
use crate::domain::placeholders::Placeholders;
use crate::domain::policy::{Breaks, Caps, Cooldown, Order, Rhythm, Shape, WarmUp};
use crate::domain::rule_text::{parse_break_after, parse_ramp, parse_regex, parse_weights};

/// Highest numbers of sends a day that need no consent. No limit is published; these follow Unipile's pages and
/// public tools.
const CEILINGS: [(Option<Kind>, u32); 3] = [(None, 150), (Some(Kind::NewChat), 80), (Some(Kind::InMail), 50)];

/// Maximum size of a holidays file, in bytes.
const HOLIDAYS_BYTES: u64 = 1 << 20;

/// Parses a text with a parser of `domain/`. Reports a problem with the leaf's key and place, and then returns
/// `None`.
fn parsed<T>(
    reader: &mut Reader<'_>,
    leaf: &Leaf,
    parse: impl Fn(&str) -> Result<T, ParseError>,
) -> Option<T> {
    let config::ValueKind::String(text) = &leaf.value else { return None };
    parse(text).map_err(|fault| reader.add(leaf, &fault.what, fault.fix)).ok()
}

/// Reads the regular expressions of texts that count, or do not count, as unfilled placeholders.
pub(super) fn placeholders(reader: &mut Reader<'_>) -> Placeholders {
    let [more, meant] = ["limits.placeholders", "limits.placeholders_meant"].map(|key| {
        let leaf = reader.leaf(key);
        regex(reader, leaf, false, r"\[\[.+?\]\]")
    });
    Placeholders::new(more, meant)
}

/// Reads to which messages a text that starts a chat is compared.
pub(super) fn repeats(reader: &mut Reader<'_>) -> RepeatScope {
    let leaf = reader.leaf("limits.repeats");
    let Some(text) = reader.text(leaf) else { return RepeatScope::default() };
    RepeatScope::parse(text).unwrap_or_else(|| {
        reader.add(leaf, &format!("{text:?} is not a scope"), "write \"account\" or \"person\"");
        RepeatScope::default()
    })
}

/// Reads a regular expression; empty text is none. A problem names `example`.
pub(super) fn regex(
    reader: &mut Reader<'_>,
    leaf: &Leaf,
    ignores_case: bool,
    example: &str,
) -> Option<Regex> {
    let read = parse_regex(reader.text(leaf).unwrap_or_default(), ignores_case);
    let told = |problem: String| {
        let fix = format!("write a regular expression, such as '{example}', or \"\" for none");
        reader.add(leaf, &format!("is not usable as a regular expression: {problem}"), &fix);
    };
    read.map_err(told).ok().flatten()
}

pub(super) fn rhythm(reader: &mut Reader<'_>, account: Option<&str>) -> Rhythm {
    let preset = reader.of(account, presets::KEY);
    if let Some(name) = reader.text(preset).filter(|name| !presets::names().contains(name)) {
        let fix = match nearest(name, &presets::names()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("write one of {}", presets::names().join(", ")),
        };
        reader.add(preset, &format!("{name:?} is not a preset"), &fix);
    }
    let leaf = reader.of(account, "gap.shape");
    let shape = match reader.text(leaf) {
        None => Shape::Uniform,
        Some(text) => {
            match [Shape::Uniform, Shape::LogNormal].into_iter().find(|shape| shape.as_str() == text) {
                Some(shape) => shape,
                None => {
                    reader.add(leaf, &format!("{text:?} is not a shape"), "write uniform or log-normal");
                    Shape::Uniform
                }
            }
        }
    };
    let after = reader.of(account, "breaks.after");
    let after = parsed(reader, after, parse_break_after).flatten();
    let [low, high] = ["breaks.min", "breaks.max"].map(|path| reader.of(account, path));
    let (min, max) = (reader.positive_duration(low), reader.positive_duration(high));
    reader.ordered((low, min), (high, max));
    let breaks = after.zip(min.zip(max));
    Rhythm {
        shape,
        spread: reader.flag(reader.of(account, "gap.spread")),
        breaks: breaks.map(|((after_min, after_max), (min, max))| Breaks { after_min, after_max, min, max }),
    }
}

pub(super) fn caps(reader: &mut Reader<'_>, account: Option<&str>, spread: bool) -> Caps {
    let leaf_of = |reader: &Reader<'_>, kind: Option<Kind>| {
        reader.of(account, &format!("caps.{}", kind.map_or("all", Kind::as_str))).clone()
    };
    let mut list = Vec::new();
    let mut all_read = true;
    for kind in std::iter::once(None).chain(Kind::ALL.map(Some)) {
        let leaf = leaf_of(reader, kind);
        match parsed(reader, &leaf, |text| caps::parse_caps(kind, text)) {
            Some(caps) => list.extend(caps),
            None => all_read = false,
        }
    }
    let daily = |kind: Option<Kind>| {
        let of_day = |cap: &&Cap| {
            (cap.kind.is_none() || cap.kind == kind) && matches!(cap.window, Window::Day | Window::Hours24)
        };
        list.iter().filter(of_day).map(|cap| cap.most).min()
    };
    // An unreadable cap has already been reported; it does not count as "no cap" as well.
    let consented = reader.flag(reader.leaf("policy.allow_high_caps")) || !all_read;
    for (kind, most) in CEILINGS {
        let what = match daily(kind) {
            _ if consented => break,
            Some(cap) if cap <= most => continue,
            Some(cap) => format!("{cap} a day is more than {most}, the most that is advised"),
            None => format!("sets no limit a day; {most} is the most that is advised"),
        };
        let fix = "lower it, or set policy.allow_high_caps = true and risk the LinkedIn account";
        let leaf = leaf_of(reader, kind);
        reader.add(&leaf, &what, fix);
    }
    if spread && all_read && daily(None).is_none() {
        let fix = "give caps.all a limit for 24h or day";
        reader.add(reader.of(account, "gap.spread"), "has no day's cap to spread", fix);
    }
    let profile = reader.of(account, "caps.profile").clone();
    let profile = parsed(reader, &profile, |text| caps::parse_caps(None, text)).unwrap_or_default();
    Caps { list, profile, jitter_percent: reader.count(reader.of(account, "caps.jitter_percent"), 0..=90) }
}

/// Returns whether the caps are above the advised numbers, or missing, with consent.
pub(super) fn are_high(caps: &Caps) -> bool {
    CEILINGS.iter().any(|(kind, most)| {
        let counts = |cap: &&Cap| cap.kind.is_none() || cap.kind == *kind;
        let daily = |cap: &&Cap| matches!(cap.window, Window::Day | Window::Hours24);
        !caps.list.iter().filter(counts).filter(daily).any(|cap| cap.most <= *most)
    })
}

/// Reads the calendar, which is `None` if it never closes, and the zone.
pub(super) fn calendar(
    reader: &mut Reader<'_>,
    account: Option<&str>,
    caps: &Caps,
) -> (Option<Calendar>, TimeZone) {
    let days = WEEKDAYS.map(|day| reader.of(account, &format!("hours.{day}")));
    let week = days.map(|leaf| parsed(reader, leaf, calendar::parse_spans));
    let all_read = week.iter().all(Option::is_some);
    let [late, early] =
        ["hours.start_late", "hours.end_early"].map(|path| reader.duration(reader.of(account, path)));
    let named = reader.of(account, "hours.days_off");
    let mut days_off = parsed(reader, named, calendar::parse_days_off).unwrap_or_default();
    days_off.extend(holidays(reader, reader.of(account, "hours.holidays")));
    let calendar = Calendar {
        week: week.map(Option::unwrap_or_default),
        start_late: late.unwrap_or_default(),
        // The caller derives it from the gap.
        spread: std::time::Duration::ZERO,
        end_early: early.unwrap_or_default(),
        days_off: calendar::merged(days_off),
    };
    if let (true, Err((day, fault))) = (all_read, calendar.check()) {
        reader.add(days[day.unwrap_or(0)], &fault.what, fault.fix);
    }
    let zone_leaf = reader.of(account, "zone");
    let unnamed = reader.text(zone_leaf).is_some_and(str::is_empty);
    let zone = if unnamed { None } else { reader.zone(zone_leaf) };
    let hours = !calendar.is_always_open();
    if unnamed {
        let of_hours = ["hours.days_off", "hours.holidays", "hours.start_late", "hours.end_early"];
        let of_hours = of_hours.map(|path| reader.of(account, path));
        let set = days.into_iter().chain(of_hours).find(|leaf| leaf.place.is_some()).filter(|_| hours);
        let by_day = caps.list.iter().find(|cap| cap.window == Window::Day);
        let by_day = by_day.map(|cap| reader.of(account, &format!("caps.{}", cap.name())));
        for leaf in set.into_iter().chain(by_day) {
            let fix = "set zone to the account's IANA zone, such as \"Europe/Paris\" or \"UTC\"";
            reader.add(leaf, "needs a zone, and the account has none", fix);
        }
    }
    (Some(calendar).filter(|_| hours), zone.unwrap_or(TimeZone::UTC))
}

/// Reads the dates of a holidays file.
fn holidays(reader: &mut Reader<'_>, leaf: &Leaf) -> Vec<(jiff::civil::Date, jiff::civil::Date)> {
    let Some(path) = reader.text(leaf).filter(|path| !path.is_empty()).map(str::to_owned) else {
        return Vec::new();
    };
    let read = || {
        let size = std::fs::metadata(&path)?.len();
        if size > HOLIDAYS_BYTES {
            return Err(std::io::Error::other(format!("it has {size} bytes")));
        }
        std::fs::read_to_string(&path)
    };
    match read() {
        Err(error) => {
            let fix = "name a text file with a date a line";
            reader.add(leaf, &format!("{path} cannot be read: {error}"), fix);
            Vec::new()
        }
        Ok(text) => calendar::parse_days_off(&text).unwrap_or_else(|fault| {
            reader.add(leaf, &format!("{path}: {}", fault.what), fault.fix);
            Vec::new()
        }),
    }
}

pub(super) fn warm_up(reader: &mut Reader<'_>, account: Option<&str>) -> Option<WarmUp> {
    let leaf = reader.of(account, "warm_up.ramp");
    let ramp = parsed(reader, leaf, parse_ramp).flatten();
    let leaf = reader.of(account, "warm_up.start");
    let start = reader.text(leaf).filter(|text| !text.is_empty()).and_then(|text| {
        let date = calendar::date(text);
        if date.is_none() {
            let fix = "write a date, such as \"2026-12-01\"; \"\" is the day of the first send";
            reader.add(leaf, &format!("{text:?} is not a date"), fix);
        }
        date
    });
    let quiet = reader.duration(reader.of(account, "warm_up.after_quiet"));
    let after_quiet = quiet.filter(|quiet| !quiet.is_zero());
    ramp.map(|ramp| WarmUp { ramp, start, after_quiet })
}

pub(super) fn cooldown(reader: &mut Reader<'_>, account: Option<&str>) -> Cooldown {
    let [low, high] = ["cooldown.first", "cooldown.max"].map(|path| reader.of(account, path));
    let (first, max) = (reader.positive_duration(low), reader.positive_duration(high));
    reader.ordered((low, first), (high, max));
    let [within, half, pause] = ["cooldown.person_within", "cooldown.half_caps", "cooldown.failures_pause"]
        .map(|path| reader.duration(reader.of(account, path)).unwrap_or_default());
    Cooldown {
        first: first.unwrap_or_default(),
        factor: reader.count(reader.of(account, "cooldown.factor"), 1..=100),
        max: max.unwrap_or_default(),
        person_within: within,
        half_caps: half,
        failures: reader.count(reader.of(account, "cooldown.failures"), 0..=1000),
        failures_pause: pause,
    }
}

pub(super) fn order(reader: &mut Reader<'_>, account: Option<&str>) -> Order {
    let weights = reader.of(account, "order.weights");
    Order {
        follow_ups_first: reader.flag(reader.of(account, "order.follow_ups_first")),
        weights: parsed(reader, weights, parse_weights).unwrap_or_default(),
        per_recipient: reader.duration(reader.of(account, "order.per_recipient")).unwrap_or_default(),
    }
}
