//! Tests of caps at their edges: a window to the millisecond, a cap that is lowered, the moment at which a place is
//! free; and that no window ever holds more than its cap.

use super::*;
use crate::domain::account::History;
use crate::domain::caps::parse_caps;
use crate::domain::policy::{Caps, WarmUp};
use crate::domain::rule_text::parse_ramp;
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use proptest::prelude::*;

const SEED: u64 = 7;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(caps: &[(Option<Kind>, &str)]) -> Policy {
    let list = caps.iter().flat_map(|(kind, text)| parse_caps(*kind, text).unwrap()).collect();
    Policy {
        caps: Caps { list, profile: Vec::new(), jitter_percent: 0 },
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        ..Policy::unlimited()
    }
}

fn used_up_at(
    policy: &Policy,
    history: &History,
    ledger: &Ledger,
    kind: Kind,
    now: Timestamp,
) -> Option<Budget> {
    let last = ledger.sends(None).last().copied();
    used_up(policy, &Lowering::new(policy, history, last, SEED, now), ledger, kind, now)
}

fn binding(policy: &Policy, ledger: &Ledger, kind: Kind, now: Timestamp) -> Option<(String, Timestamp)> {
    used_up_at(policy, &History::default(), ledger, kind, now)
        .map(|budget| (budget.cap.to_string(), budget.frees_at))
}

#[test]
fn a_rolling_window_forgets_a_send_exactly_when_its_length_has_passed() {
    let policy = policy(&[(None, "2/24h")]);
    let ledger = Ledger::new([
        (at("2026-11-24T09:00:00Z"), Kind::Message),
        (at("2026-11-24T10:00:00Z"), Kind::NewChat),
    ]);
    let frees_at = at("2026-11-25T09:00:00Z");
    let cap = Some(("caps.all 2/24h".to_owned(), frees_at));
    assert_eq!(binding(&policy, &ledger, Kind::Forward, at("2026-11-24T10:00:00.001Z")), cap);
    assert_eq!(binding(&policy, &ledger, Kind::Forward, at("2026-11-25T08:59:59.999Z")), cap);
    assert_eq!(binding(&policy, &ledger, Kind::Forward, frees_at), None);
}

#[test]
fn a_calendar_day_begins_at_midnight_of_the_accounts_zone() {
    let policy = policy(&[(None, "1/day")]);
    // 23:30 in Berlin.
    let ledger = Ledger::new([(at("2026-11-24T22:30:00Z"), Kind::Message)]);
    let midnight = at("2026-11-24T23:00:00Z");
    let cap = Some(("caps.all 1/day".to_owned(), midnight));
    assert_eq!(binding(&policy, &ledger, Kind::Message, at("2026-11-24T22:59:59.999Z")), cap);
    assert_eq!(binding(&policy, &ledger, Kind::Message, midnight), None);
    // The day on which the clock goes back has 25 hours.
    let ledger = Ledger::new([(at("2026-10-24T22:00:00Z"), Kind::Message)]);
    let next = at("2026-10-25T23:00:00Z");
    assert_eq!(binding(&policy, &ledger, Kind::Message, at("2026-10-25T22:30:00Z")).unwrap().1, next);
}

#[test]
fn each_kind_has_its_cap_and_all_together_have_theirs() {
    let policy = policy(&[(None, "3/24h"), (Some(Kind::NewChat), "1/24h"), (Some(Kind::InMail), "1/7d")]);
    let now = at("2026-11-25T12:00:00Z");
    let ledger = Ledger::new([
        (at("2026-11-25T09:00:00Z"), Kind::NewChat),
        (at("2026-11-25T10:00:00Z"), Kind::InMail),
    ]);
    let of = |ledger: &Ledger, kind| binding(&policy, ledger, kind, now);
    assert_eq!(of(&ledger, Kind::Message), None, "a kind's cap stops no other kind");
    assert_eq!(
        of(&ledger, Kind::NewChat).unwrap(),
        ("caps.new_chat 1/24h".into(), at("2026-11-26T09:00:00Z"))
    );
    assert_eq!(of(&ledger, Kind::InMail).unwrap(), ("caps.inmail 1/7d".into(), at("2026-12-02T10:00:00Z")));
    let mut full = ledger.clone();
    full.push(at("2026-11-25T11:00:00Z"), Kind::Message);
    assert_eq!(of(&full, Kind::Message).unwrap().0, "caps.all 3/24h");
    assert_eq!(of(&full, Kind::InMail).unwrap().0, "caps.inmail 1/7d", "the cap that holds longest is shown");
}

fn warming(ramp: &str, start: Option<&str>, quiet_days: u64) -> Policy {
    let quiet = std::time::Duration::from_secs(quiet_days * 24 * 3600);
    let warm_up = WarmUp {
        ramp: parse_ramp(ramp).unwrap().unwrap(),
        start: start.map(|date| date.parse().unwrap()),
        after_quiet: (quiet_days > 0).then_some(quiet),
    };
    Policy { warm_up: Some(warm_up), ..policy(&[(None, "100/24h")]) }
}

fn limits(policy: &Policy, history: &History, last: Option<&str>, days: &[&str]) -> Vec<u32> {
    let limit = |day: &&str| {
        let now = at(day);
        Lowering::new(policy, history, last.map(at), SEED, now).limit(100, now).0
    };
    days.iter().map(limit).collect()
}

#[test]
fn a_warm_up_grows_by_the_day_of_the_accounts_zone() {
    let policy = warming("20% + 6% a day", None, 0);
    let first = History { first_call_at: Some(at("2026-11-01T12:00:00Z")), ..History::default() };
    let days =
        ["2026-11-01T22:59:59Z", "2026-11-01T23:00:00Z", "2026-11-14T12:00:00Z", "2026-11-15T12:00:00Z"];
    assert_eq!(limits(&policy, &first, None, &days), [20, 26, 98, 100]);
    assert_eq!(limits(&policy, &History::default(), None, &days), [20; 4], "its first day is still to come");
    let dated = warming("10, 50", Some("2026-11-14"), 0);
    assert_eq!(
        limits(&dated, &first, None, &days),
        [10, 10, 10, 50],
        "before the start it is as on the first day"
    );
}

#[test]
fn a_warm_up_begins_again_after_a_restriction_and_a_long_quiet_time() {
    let mut history = History { first_call_at: Some(at("2026-01-01T12:00:00Z")), ..History::default() };
    let policy = warming("10, 50", None, 30);
    let days = ["2026-11-20T12:00:00Z", "2026-11-21T12:00:00Z", "2026-11-22T12:00:00Z"];
    assert_eq!(limits(&policy, &history, Some("2026-11-19T12:00:00Z"), &days), [100; 3]);
    assert_eq!(limits(&policy, &history, Some("2026-10-21T12:00:00Z"), &days), [10; 3], "quiet for 30 days");
    let lowering =
        |last| Lowering::new(&policy, &History::default(), Some(at(last)), SEED, at(days[0])).begins_again();
    assert!(lowering("2026-10-21T12:00:00Z") && !lowering("2026-10-21T12:00:01Z"));
    history.warm_up_again_at = Some(at(days[0]));
    assert_eq!(limits(&policy, &history, Some("2026-11-19T12:00:00Z"), &days), [10, 50, 100]);
    let dated = warming("10, 50", Some("2026-01-01"), 0);
    assert_eq!(
        limits(&dated, &history, None, &days),
        [10, 50, 100],
        "also where its first day is configured"
    );
}

#[test]
fn caps_are_halved_after_a_cooldown_and_never_to_nothing() {
    let policy = policy(&[(None, "3/24h"), (Some(Kind::NewChat), "1/24h")]);
    let until = at("2026-11-28T12:00:00Z");
    let history = History { half_caps_until: Some(until), ..History::default() };
    let limit = |most, now| Lowering::new(&policy, &history, None, SEED, now).limit(most, now);
    assert_eq!(limit(3, at("2026-11-28T11:59:59Z")), (2, Some(LoweredBy::HalfCaps)));
    assert_eq!(limit(1, at("2026-11-28T11:59:59Z")), (1, None));
    assert_eq!(limit(3, until), (3, None));
    // Two were sent: the end of the half caps frees a place before the window does.
    let ledger = Ledger::new([
        (at("2026-11-28T09:00:00Z"), Kind::Message),
        (at("2026-11-28T10:00:00Z"), Kind::Message),
    ]);
    let budget = used_up_at(&policy, &history, &ledger, Kind::Message, at("2026-11-28T11:00:00Z")).unwrap();
    assert_eq!((budget.limit, budget.used, budget.left(), budget.frees_at), (2, 2, 0, until));
}

#[test]
fn a_lower_cap_of_tomorrow_is_taken_into_account_today() {
    // Jitter lowers each day's cap by its own amount, so a place that a rolling window frees tomorrow must fit
    // tomorrow's cap.
    let mut policy = policy(&[(None, "10/24h")]);
    policy.caps.jitter_percent = 90;
    let history = History::default();
    let mut seen = std::collections::BTreeSet::new();
    for hour in 0..24 * 40 {
        let now = at("2026-11-01T00:30:00Z") + SignedDuration::from_hours(hour);
        let lowering = Lowering::new(&policy, &history, None, SEED, now);
        let (limit, _) = lowering.limit(10, now);
        assert!((1..=10).contains(&limit), "never raised: {limit}");
        seen.insert(limit);
        let sends = (0..10).map(|n| (now - SignedDuration::from_hours(n * 2), Kind::Message));
        let ledger = Ledger::new(sends);
        if let Some(budget) = used_up(&policy, &lowering, &ledger, Kind::Message, now) {
            let after = |at| used_up(&policy, &lowering, &ledger, Kind::Message, at);
            assert_eq!(after(budget.frees_at), None, "{budget:?}");
            assert!(after(budget.frees_at - SignedDuration::from_millis(1)).is_some(), "{budget:?}");
        }
    }
    assert!(seen.len() > 5, "the days differ: {seen:?}");
}

proptest! {
    /// P4: an account that sends only when no cap is used up never has more than the cap in any window, whatever the
    /// pauses; and the moment that is named is the first at which there is room.
    #[test]
    fn no_window_ever_holds_more_than_its_cap(
        hourly in 1u32..4, daily in 1u32..8, weekly in 1u32..30, by_day in 1u32..8,
        pauses in proptest::collection::vec(1i64..20_000, 1..150),
    ) {
        let policy = policy(&[(None, &format!("{hourly}/hour, {daily}/24h, {weekly}/7d, {by_day}/day"))]);
        let mut ledger = Ledger::default();
        let mut now = at("2026-03-20T09:00:00Z");
        for pause in pauses {
            now += SignedDuration::from_secs(pause);
            while let Some(budget) = used_up_at(&policy, &History::default(), &ledger, Kind::Message, now) {
                prop_assert!(budget.frees_at > now);
                let just_before = budget.frees_at - SignedDuration::from_millis(1);
                prop_assert!(used_up_at(&policy, &History::default(), &ledger, Kind::Message, just_before).is_some());
                now = budget.frees_at;
            }
            ledger.push(now, Kind::Message);
        }
        let sends = ledger.sends(None);
        for (index, first) in sends.iter().enumerate() {
            for (cap, hours) in [(hourly, 1), (daily, 24), (weekly, 7 * 24)] {
                let end = *first + SignedDuration::from_hours(hours);
                let inside = sends[index..].iter().filter(|sent| **sent < end).count();
                prop_assert!(inside <= cap as usize, "{inside} in {hours} h from {first}");
            }
            let day = policy.zone.to_datetime(*first).date();
            let same = sends.iter().filter(|sent| policy.zone.to_datetime(**sent).date() == day).count();
            prop_assert!(same <= by_day as usize, "{same} on {day}");
        }
    }
}
