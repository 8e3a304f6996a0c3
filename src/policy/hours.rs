//! Whether an account's hours are open, and when they open: the calendar on the real time line (P4).
//!
//! One definition covers both daylight-saving changes: a span is open at exactly those instants at which the local
//! time of the account's zone is inside it. An hour that does not exist is open at no instant; an hour that exists
//! twice is open twice. A day off is closed from midnight to midnight, also for a span that began before midnight.
//! How late a day begins and how early it ends is drawn from the account and the date alone, so that a restart
//! changes nothing.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::domain::calendar::{Calendar, DAY, Span};

/// Whether an account's hours are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hours {
    /// Open at all times.
    Always,
    /// Open now, and closed at some time before.
    Open {
        /// When they close; at most ten days ahead, when they are looked up again.
        until: Timestamp,
    },
    /// Closed now.
    Closed {
        /// When they open next; `None` if not within two years.
        opens_at: Option<Timestamp>,
    },
}

impl Hours {
    /// Returns whether something may be sent.
    pub fn are_open(&self) -> bool {
        match self {
            Self::Always | Self::Open { .. } => true,
            Self::Closed { .. } => false,
        }
    }
}

/// How many days are computed together.
const CHUNK: i32 = 10;
/// How many days ahead an opening is searched for.
const LOOK_AHEAD: i32 = 731;

/// Returns whether `calendar` is open at `now` in `zone`; `seed` is the account's, see [`account_seed`].
pub fn hours_at(calendar: Option<&Calendar>, zone: &TimeZone, seed: u64, now: Timestamp) -> Hours {
    let Some(calendar) = calendar else { return Hours::Always };
    let today = zone.to_datetime(now).date();
    // A span of yesterday may continue over midnight.
    let mut first = today.saturating_sub(1.day());
    for _ in 0..LOOK_AHEAD / CHUNK {
        let after = first.saturating_add(CHUNK.days());
        for (opens_at, until) in openings(calendar, zone, seed, first, after) {
            if until <= now {
                continue;
            }
            return match opens_at <= now {
                true => Hours::Open { until },
                false => Hours::Closed { opens_at: Some(opens_at) },
            };
        }
        first = after;
    }
    Hours::Closed { opens_at: None }
}

/// Returns the open times of the days from `first` to the one before `after`, in order; those that touch are merged.
pub fn openings(
    calendar: &Calendar,
    zone: &TimeZone,
    seed: u64,
    first: Date,
    after: Date,
) -> Vec<(Timestamp, Timestamp)> {
    let mut found = Vec::new();
    let mut date = first;
    while date < after {
        for (from, to) in spans_of(calendar, seed, date) {
            found.extend(instants(zone, from, to));
        }
        match date.tomorrow() {
            Ok(next) => date = next,
            Err(_) => break,
        }
    }
    join(found)
}

/// Returns the spans that begin on `date`, in local time: shortened at both ends of the day, and cut by days off.
fn spans_of(calendar: &Calendar, seed: u64, date: Date) -> Vec<(DateTime, DateTime)> {
    if calendar.is_off(date) {
        return Vec::new();
    }
    let spans = calendar.spans(date.weekday());
    let midnight = date.to_datetime(Time::midnight());
    let at = |minutes: u16| midnight.saturating_add(i64::from(minutes).minutes());
    let last = spans.len().saturating_sub(1);
    let is_off_tomorrow = date.tomorrow().is_ok_and(|tomorrow| calendar.is_off(tomorrow));
    let shortened = spans.iter().enumerate().map(|(index, Span { from, to })| {
        let (mut from, mut to) = (at(*from), at(*to));
        let (late, own) = match index {
            0 => (calendar.start_late.max(calendar.spread), seed),
            later => (calendar.spread, seed ^ later as u64),
        };
        from = from.saturating_add(part_of(late, own, date, Draw::Start));
        if index == last {
            to = to.saturating_sub(part_of(calendar.end_early, seed, date, Draw::End));
        }
        let end_of_day = at(DAY);
        (from, if is_off_tomorrow { to.min(end_of_day) } else { to })
    });
    shortened.filter(|(from, to)| from < to).collect()
}

/// What is drawn for a date; the draws are independent of each other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw {
    /// How late the day begins.
    Start = 1,
    /// How early it ends.
    End = 2,
    /// How much the caps are lowered.
    Caps = 3,
}

fn part_of(most: Duration, seed: u64, date: Date, draw: Draw) -> SignedDuration {
    let most = i64::try_from(most.as_millis()).unwrap_or(0);
    SignedDuration::from_millis((draw_of(seed, date, draw) * most as f64) as i64)
}

/// Returns a number from 0 up to 1 that depends on this account, date and purpose alone.
pub(super) fn draw_of(seed: u64, date: Date, draw: Draw) -> f64 {
    let day = i64::from(date.year()) * 10_000 + i64::from(date.month()) * 100 + i64::from(date.day());
    let mut word = seed ^ day.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((draw as u64) << 56);
    // The finalizer of SplitMix64: every bit of the input changes every bit of the output.
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (((word ^ (word >> 31)) >> 11) as f64) / (1_u64 << 53) as f64
}

/// Returns a stable number for an account, from which its days are drawn (FNV-1a).
pub fn account_seed(id: &str) -> u64 {
    id.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Returns the instants at which local time is between `from` and `to`.
fn instants(zone: &TimeZone, from: DateTime, to: DateTime) -> Vec<(Timestamp, Timestamp)> {
    let offset = |at: DateTime| match zone.to_ambiguous_timestamp(at).offset() {
        AmbiguousOffset::Unambiguous { offset } => Some(offset),
        AmbiguousOffset::Gap { .. } | AmbiguousOffset::Fold { .. } => None,
    };
    if let (Some(first), Some(last)) = (offset(from), offset(to))
        && first == last
    {
        return pair(first.to_timestamp(from).ok(), last.to_timestamp(to).ok()).into_iter().collect();
    }
    // The offset changes in between, or at an end: examine each stretch of one offset separately.
    let Ok(begin) = jiff::tz::Offset::UTC.to_timestamp(from.saturating_sub(26.hours())) else {
        return Vec::new();
    };
    let Ok(end) = jiff::tz::Offset::UTC.to_timestamp(to.saturating_add(26.hours())) else {
        return Vec::new();
    };
    let changes = zone.following(begin).map(|change| change.timestamp()).take_while(|at| *at < end);
    let edges: Vec<Timestamp> = std::iter::once(begin).chain(changes).chain([end]).collect();
    let mut found = Vec::new();
    for stretch in edges.windows(2) {
        let offset = zone.to_offset(stretch[0]);
        let shown = pair(offset.to_timestamp(from).ok(), offset.to_timestamp(to).ok());
        found.extend(
            shown.and_then(|(first, last)| pair(Some(first.max(stretch[0])), Some(last.min(stretch[1])))),
        );
    }
    found
}

fn pair(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<(Timestamp, Timestamp)> {
    from.zip(to).filter(|(from, to)| from < to)
}

fn join(mut found: Vec<(Timestamp, Timestamp)>) -> Vec<(Timestamp, Timestamp)> {
    found.sort_unstable();
    let mut joined: Vec<(Timestamp, Timestamp)> = Vec::with_capacity(found.len());
    for (from, to) in found {
        match joined.last_mut() {
            Some(before) if before.1 >= from => before.1 = before.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// Returns how much of the account's day is still open from `now` on, until the next midnight of its zone.
pub fn open_time_left(calendar: Option<&Calendar>, zone: &TimeZone, seed: u64, now: Timestamp) -> Duration {
    let today = zone.to_datetime(now).date();
    let midnight = day_after(zone, today);
    let left = |from: Timestamp, to: Timestamp| {
        Duration::try_from(to.min(midnight).duration_since(from.max(now))).unwrap_or_default()
    };
    match calendar {
        None => left(now, midnight),
        Some(calendar) => {
            let (first, after) = (today.saturating_sub(1.day()), today.saturating_add(1.day()));
            openings(calendar, zone, seed, first, after).into_iter().map(|(from, to)| left(from, to)).sum()
        }
    }
}

/// Returns the first instant of `date` in `zone`, or the end of time if there is none.
pub fn day_of(zone: &TimeZone, date: Date) -> Timestamp {
    date.to_zoned(zone.clone()).map_or(Timestamp::MAX, |day| day.timestamp())
}

/// Returns the first instant of the day after `date`.
pub fn day_after(zone: &TimeZone, date: Date) -> Timestamp {
    date.tomorrow().map_or(Timestamp::MAX, |next| day_of(zone, next))
}

#[cfg(test)]
#[path = "hours_tests.rs"]
mod tests;
