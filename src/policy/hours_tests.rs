//! Tests of calendars as text: a week, both daylight-saving changes in three zones, weekends that are not Saturday
//! and Sunday, a leap day; and the one definition of "open", checked instant by instant.

use super::*;
use crate::domain::calendar::{WEEKDAYS, parse_days_off, parse_spans};
use jiff::civil::date;
use proptest::prelude::*;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

/// Returns a calendar with these hours for each weekday, Monday first.
fn week(days: [&str; 7]) -> Calendar {
    Calendar { week: days.map(|text| parse_spans(text).unwrap()), ..Calendar::always() }
}

fn every_day(hours: &str) -> Calendar {
    week([hours; 7])
}

const OFFICE: [&str; 7] = ["09:00-18:00", "09:00-18:00", "09:00-18:00", "09:00-18:00", "09:00-18:00", "", ""];

/// Returns the open times of some days as text: local times with their offsets, and how long each lasts.
fn printed(calendar: &Calendar, zone_name: &str, first: Date, days: i32) -> String {
    let zone = zone(zone_name);
    let shown = |at: Timestamp| {
        let at = at.to_zoned(zone.clone());
        at.strftime("%a %b %d %H:%M %:z").to_string()
    };
    let lines = openings(calendar, &zone, 7, first, first.saturating_add(days.days())).into_iter().map(
        |(from, to)| {
            let minutes = to.duration_since(from).as_mins();
            format!("{} to {} ({} h {:02})\n", shown(from), shown(to), minutes / 60, minutes % 60)
        },
    );
    lines.collect()
}

#[test]
fn a_week_in_paris_with_a_day_off() {
    let mut calendar = week([
        "09:00-12:00, 13:00-18:00",
        "",
        "09:00-18:00",
        "22:00-02:00",
        "",
        "00:00-24:00",
        "00:00-01:00",
    ]);
    calendar.days_off = parse_days_off("2026-11-25").unwrap();
    assert_eq!(
        printed(&calendar, "Europe/Paris", date(2026, 11, 23), 7),
        "Mon Nov 23 09:00 +01:00 to Mon Nov 23 12:00 +01:00 (3 h 00)\n\
         Mon Nov 23 13:00 +01:00 to Mon Nov 23 18:00 +01:00 (5 h 00)\n\
         Thu Nov 26 22:00 +01:00 to Fri Nov 27 02:00 +01:00 (4 h 00)\n\
         Sat Nov 28 00:00 +01:00 to Sun Nov 29 01:00 +01:00 (25 h 00)\n"
    );
}

#[test]
fn a_span_over_midnight_ends_where_a_day_off_begins() {
    let mut calendar = every_day("22:00-02:00");
    calendar.days_off = parse_days_off("2026-12-25").unwrap();
    assert_eq!(
        printed(&calendar, "Europe/Berlin", date(2026, 12, 24), 3),
        "Thu Dec 24 22:00 +01:00 to Fri Dec 25 00:00 +01:00 (2 h 00)\n\
         Sat Dec 26 22:00 +01:00 to Sun Dec 27 02:00 +01:00 (4 h 00)\n"
    );
}

#[test]
fn the_weekend_on_which_berlin_loses_an_hour() {
    let first = date(2026, 3, 28);
    assert_eq!(
        printed(&every_day("01:30-03:30"), "Europe/Berlin", first, 3),
        "Sat Mar 28 01:30 +01:00 to Sat Mar 28 03:30 +01:00 (2 h 00)\n\
         Sun Mar 29 01:30 +01:00 to Sun Mar 29 03:30 +02:00 (1 h 00)\n\
         Mon Mar 30 01:30 +02:00 to Mon Mar 30 03:30 +02:00 (2 h 00)\n"
    );
    // The hour from 2 to 3 does not exist: a span inside it is open at no instant.
    assert_eq!(
        printed(&every_day("02:15-02:45"), "Europe/Berlin", first, 3),
        "Sat Mar 28 02:15 +01:00 to Sat Mar 28 02:45 +01:00 (0 h 30)\n\
         Mon Mar 30 02:15 +02:00 to Mon Mar 30 02:45 +02:00 (0 h 30)\n"
    );
    assert_eq!(
        printed(&every_day("09:00-18:00"), "Europe/Berlin", first, 3),
        "Sat Mar 28 09:00 +01:00 to Sat Mar 28 18:00 +01:00 (9 h 00)\n\
         Sun Mar 29 09:00 +02:00 to Sun Mar 29 18:00 +02:00 (9 h 00)\n\
         Mon Mar 30 09:00 +02:00 to Mon Mar 30 18:00 +02:00 (9 h 00)\n"
    );
}

#[test]
fn the_weekend_on_which_berlin_gains_an_hour() {
    let first = date(2026, 10, 24);
    assert_eq!(
        printed(&every_day("01:30-03:30"), "Europe/Berlin", first, 3),
        "Sat Oct 24 01:30 +02:00 to Sat Oct 24 03:30 +02:00 (2 h 00)\n\
         Sun Oct 25 01:30 +02:00 to Sun Oct 25 03:30 +01:00 (3 h 00)\n\
         Mon Oct 26 01:30 +01:00 to Mon Oct 26 03:30 +01:00 (2 h 00)\n"
    );
    // The hour from 2 to 3 exists twice: the clock shows 02:15 to 02:45 twice, and it is open both times.
    assert_eq!(
        printed(&every_day("02:15-02:45"), "Europe/Berlin", first, 3),
        "Sat Oct 24 02:15 +02:00 to Sat Oct 24 02:45 +02:00 (0 h 30)\n\
         Sun Oct 25 02:15 +02:00 to Sun Oct 25 02:45 +02:00 (0 h 30)\n\
         Sun Oct 25 02:15 +01:00 to Sun Oct 25 02:45 +01:00 (0 h 30)\n\
         Mon Oct 26 02:15 +01:00 to Mon Oct 26 02:45 +01:00 (0 h 30)\n"
    );
}

#[test]
fn both_weekends_in_new_york() {
    assert_eq!(
        printed(&every_day("00:30-02:30"), "America/New_York", date(2026, 3, 7), 3),
        "Sat Mar 07 00:30 -05:00 to Sat Mar 07 02:30 -05:00 (2 h 00)\n\
         Sun Mar 08 00:30 -05:00 to Sun Mar 08 03:00 -04:00 (1 h 30)\n\
         Mon Mar 09 00:30 -04:00 to Mon Mar 09 02:30 -04:00 (2 h 00)\n"
    );
    assert_eq!(
        printed(&every_day("00:30-01:30"), "America/New_York", date(2026, 10, 31), 3),
        "Sat Oct 31 00:30 -04:00 to Sat Oct 31 01:30 -04:00 (1 h 00)\n\
         Sun Nov 01 00:30 -04:00 to Sun Nov 01 01:30 -04:00 (1 h 00)\n\
         Sun Nov 01 01:00 -05:00 to Sun Nov 01 01:30 -05:00 (0 h 30)\n\
         Mon Nov 02 00:30 -05:00 to Mon Nov 02 01:30 -05:00 (1 h 00)\n"
    );
}

#[test]
fn both_weekends_on_lord_howe_where_the_clock_moves_half_an_hour() {
    assert_eq!(
        printed(&every_day("01:00-02:15"), "Australia/Lord_Howe", date(2026, 4, 4), 3),
        "Sat Apr 04 01:00 +11:00 to Sat Apr 04 02:15 +11:00 (1 h 15)\n\
         Sun Apr 05 01:00 +11:00 to Sun Apr 05 02:15 +10:30 (1 h 45)\n\
         Mon Apr 06 01:00 +10:30 to Mon Apr 06 02:15 +10:30 (1 h 15)\n"
    );
    assert_eq!(
        printed(&every_day("01:00-02:15"), "Australia/Lord_Howe", date(2026, 10, 3), 3),
        "Sat Oct 03 01:00 +10:30 to Sat Oct 03 02:15 +10:30 (1 h 15)\n\
         Sun Oct 04 01:00 +10:30 to Sun Oct 04 02:30 +11:00 (1 h 00)\n\
         Mon Oct 05 01:00 +11:00 to Mon Oct 05 02:15 +11:00 (1 h 15)\n"
    );
}

#[test]
fn a_weekend_of_friday_and_saturday() {
    let days = ["08:00-16:00", "08:00-16:00", "08:00-16:00", "08:00-16:00", "", "", "08:00-16:00"];
    assert_eq!(
        printed(&week(days), "Asia/Riyadh", date(2026, 11, 26), 4),
        "Thu Nov 26 08:00 +03:00 to Thu Nov 26 16:00 +03:00 (8 h 00)\n\
         Sun Nov 29 08:00 +03:00 to Sun Nov 29 16:00 +03:00 (8 h 00)\n"
    );
}

#[test]
fn a_leap_day_is_a_day_like_others() {
    let mut calendar = week(OFFICE);
    assert_eq!(
        printed(&calendar, "Europe/Paris", date(2028, 2, 28), 3),
        "Mon Feb 28 09:00 +01:00 to Mon Feb 28 18:00 +01:00 (9 h 00)\n\
         Tue Feb 29 09:00 +01:00 to Tue Feb 29 18:00 +01:00 (9 h 00)\n\
         Wed Mar 01 09:00 +01:00 to Wed Mar 01 18:00 +01:00 (9 h 00)\n"
    );
    calendar.days_off = parse_days_off("2028-02-29").unwrap();
    assert!(!printed(&calendar, "Europe/Paris", date(2028, 2, 28), 3).contains("Feb 29"));
}

#[test]
fn days_begin_late_and_end_early_by_what_account_and_date_say() {
    let minute = Duration::from_secs(60);
    let calendar = Calendar { start_late: 35 * minute, end_early: 10 * minute, ..week(OFFICE) };
    let zone = zone("Europe/Paris");
    let days = |seed| openings(&calendar, &zone, seed, date(2026, 1, 5), date(2026, 12, 31));
    assert_eq!(days(account_seed("acc_1")), days(account_seed("acc_1")), "a restart changes nothing");
    assert_ne!(days(account_seed("acc_1")), days(account_seed("acc_2")), "accounts do not begin together");
    let mut late: Vec<i64> = Vec::new();
    for (from, to) in days(account_seed("acc_1")) {
        let (from, to) = (zone.to_datetime(from), zone.to_datetime(to));
        let began = i64::from(from.hour()) * 60 + i64::from(from.minute()) - 9 * 60;
        let ended = 18 * 60 - i64::from(to.hour()) * 60 - i64::from(to.minute());
        assert!((0..35).contains(&began) && (0..=10).contains(&ended), "{from} to {to}");
        late.push(began);
    }
    late.sort_unstable();
    assert!(late.len() > 250 && late[0] <= 2 && late[late.len() - 1] >= 32, "they fill the range: {late:?}");
    let middle = late[late.len() / 2];
    assert!((12..=23).contains(&middle), "evenly: the middle is {middle}");
}

#[test]
fn what_never_opens_again_waits_for_a_person() {
    let mut calendar = week(["09:00-18:00", "", "", "", "", "", ""]);
    calendar.days_off = (2026..=2029).map(|year| (date(year, 1, 1), date(year, 12, 31))).collect();
    let now = date(2026, 11, 25).to_zoned(TimeZone::UTC).unwrap().timestamp();
    assert_eq!(hours_at(Some(&calendar), &TimeZone::UTC, 7, now), Hours::Closed { opens_at: None });
    assert_eq!(hours_at(None, &TimeZone::UTC, 7, now), Hours::Always);
}

#[test]
fn the_open_time_left_ends_at_midnight() {
    let zone = zone("Europe/Berlin");
    let at = |text: &str| {
        text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone.clone()).unwrap().timestamp()
    };
    let left =
        |calendar: Option<&Calendar>, text| open_time_left(calendar, &zone, 7, at(text)).as_secs() / 60;
    let lunch = week(["09:00-12:00, 13:00-18:00", "", "", "", "", "", ""]);
    assert_eq!(left(Some(&lunch), "2026-11-23T11:00:00"), 60 + 5 * 60);
    assert_eq!(left(Some(&lunch), "2026-11-23T19:00:00"), 0);
    let night = every_day("22:00-02:00");
    assert_eq!(left(Some(&night), "2026-11-23T01:00:00"), 60 + 2 * 60);
    assert_eq!(left(None, "2026-03-29T00:00:00"), 23 * 60, "a day that loses an hour");
}

/// Returns whether the hours are open by the definition alone: local time is in a span of today, or of yesterday over
/// midnight.
fn shows_open(calendar: &Calendar, zone: &TimeZone, at: Timestamp) -> bool {
    let wall = zone.to_datetime(at);
    let minute = u16::try_from(wall.hour()).unwrap() * 60 + u16::try_from(wall.minute()).unwrap();
    let (today, yesterday) = (wall.date(), wall.date().yesterday().unwrap());
    let inside = |date: Date, minute: u16| {
        !calendar.is_off(date)
            && calendar.spans(date.weekday()).iter().any(|span| (span.from..span.to).contains(&minute))
    };
    !calendar.is_off(today) && (inside(today, minute) || inside(yesterday, minute + DAY))
}

fn some_hours() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just(""),
        Just("00:00-24:00"),
        Just("09:00-12:00, 13:30-18:00"),
        Just("22:00-02:30"),
        Just("01:15-02:45"),
        Just("00:00-03:00, 21:00-24:00"),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// P4: the hours are open exactly when local time says so, in every zone, also when the clock changes; and the
    /// named ends are the real ones, to the millisecond.
    #[test]
    fn open_is_what_the_clock_on_the_wall_shows(
        days in proptest::array::uniform7(some_hours()),
        zone_name in prop_oneof![
            Just("Europe/Berlin"), Just("America/New_York"), Just("Australia/Lord_Howe"), Just("Asia/Kathmandu"),
            Just("America/Santiago"), Just("Africa/Cairo"), Just("Pacific/Apia"), Just("UTC"),
        ],
        off in proptest::collection::vec(0i64..800, 0..40),
        // Two years, with a chance for each of the 2026 changes.
        second in prop_oneof![
            1_767_000_000i64..1_830_000_000,
            1_774_650_000i64..1_774_800_000, 1_792_800_000i64..1_793_000_000,
            1_772_850_000i64..1_773_000_000, 1_793_480_000i64..1_793_600_000,
        ],
    ) {
        let mut calendar = Calendar { week: days.map(|text| parse_spans(text).unwrap()), ..Calendar::always() };
        prop_assume!(calendar.check().is_ok());
        calendar.days_off = crate::domain::calendar::merged(
            off.into_iter().map(|day| date(2026, 1, 1).saturating_add(day.days())).map(|day| (day, day)).collect(),
        );
        let zone = zone(zone_name);
        let at = |millisecond| Timestamp::from_millisecond(millisecond).unwrap();
        let now = at(second * 1000);
        let hours = hours_at(Some(&calendar), &zone, 7, now);
        prop_assert_eq!(hours.are_open(), shows_open(&calendar, &zone, now), "{} in {}", now, zone_name);
        let (edge, open_until_then) = match hours {
            Hours::Always => unreachable!("there is a calendar"),
            Hours::Open { until } => (until, true),
            Hours::Closed { opens_at } => (opens_at.unwrap(), false),
        };
        prop_assert!(edge > now);
        let before = at(edge.as_millisecond() - 1);
        prop_assert_eq!(shows_open(&calendar, &zone, before), open_until_then);
        // Hours that are computed in parts may name an end that is none; then they are open beyond it.
        let long = edge.duration_since(now) > SignedDuration::from_hours(24 * 8);
        prop_assert!(long || shows_open(&calendar, &zone, edge) != open_until_then, "{edge}");
        // Nothing changes in between (checked every quarter of an hour: no span has a finer end).
        let mut between = now;
        while between < edge && !long {
            prop_assert_eq!(shows_open(&calendar, &zone, between), open_until_then, "{}", between);
            between += SignedDuration::from_mins(15);
        }
    }
}

#[test]
fn weekdays_stand_in_their_order() {
    let monday = date(2026, 11, 23);
    for (index, name) in WEEKDAYS.iter().enumerate() {
        let day = monday.saturating_add(i64::try_from(index).unwrap().days());
        assert_eq!(day.strftime("%A").to_string().to_lowercase(), *name);
        let mut calendar = week([""; 7]);
        calendar.week[index] = parse_spans("09:00-18:00").unwrap();
        assert_eq!(calendar.spans(day.weekday()).len(), 1, "{name}");
    }
}
