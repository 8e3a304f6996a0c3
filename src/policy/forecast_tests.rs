//! Tests on whole schedules, printed; and what must hold for every schedule, whatever the rules and the queue.

use super::*;
use crate::domain::account::Daemon;
use crate::domain::calendar::{Calendar, parse_spans};
use crate::domain::caps::parse_caps;
use crate::domain::kind::Kind;
use crate::domain::lane::Lane;
use crate::domain::message::AccountId;
use crate::domain::policy::{Breaks, Caps, Gap, Policy, Rhythm, Shape, WarmUp};
use crate::domain::rule_text::parse_ramp;
use crate::policy::fair_share::FairShare;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ToSpan};
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

const SEED: u64 = 20_261_122;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn office(days: usize) -> Calendar {
    let week = std::array::from_fn(|day| parse_spans(if day < days { "09:00-18:00" } else { "" }).unwrap());
    Calendar { week, ..Calendar::always() }
}

fn caps(texts: &[(Option<Kind>, &str)]) -> Caps {
    let list = texts.iter().flat_map(|(kind, text)| parse_caps(*kind, text).unwrap()).collect();
    Caps { list, profile: Vec::new(), jitter_percent: 0 }
}

/// Returns the policy of the documentation's example: the preset `calm` in Paris.
fn calm() -> Policy {
    Policy {
        gap: Gap { min: seconds(90), max: seconds(900) },
        rhythm: Rhythm {
            shape: Shape::LogNormal,
            spread: true,
            breaks: Some(Breaks { after_min: 15, after_max: 30, min: seconds(300), max: seconds(900) }),
        },
        caps: caps(&[(None, "100/24h, 400/7d"), (Some(Kind::NewChat), "40/24h")]),
        calendar: Some(Calendar { start_late: seconds(35 * 60), end_early: seconds(600), ..office(5) }),
        warm_up: Some(WarmUp {
            ramp: parse_ramp("20% + 6% a day").unwrap().unwrap(),
            start: None,
            after_quiet: None,
        }),
        zone: TimeZone::get("Europe/Paris").unwrap(),
        ..Policy::unlimited()
    }
}

/// An account with a number of messages in each lane, one per second.
struct World {
    account: Account,
    policy: Policy,
    lanes: Vec<Lane>,
    queued: Vec<Queued>,
    started: HashMap<u64, Timestamp>,
    now: Timestamp,
}

impl World {
    fn new(policy: Policy, lanes: &[(Lane, usize)], now: &str) -> Self {
        let now = at(now);
        let mut queued = Vec::new();
        for (lane, (_, count)) in lanes.iter().enumerate() {
            for _ in 0..*count {
                let seq = i64::try_from(queued.len()).unwrap();
                let due_at = now - SignedDuration::from_secs(1_000_000 - seq);
                queued.push(Queued {
                    lane,
                    due_at,
                    ready_at: due_at,
                    later_for: Reason::Scheduled,
                    expires_at: None,
                    seq,
                    thread: seq.unsigned_abs(),
                    step: None,
                    follows: None,
                    waits_for: None,
                    is_named: false,
                });
            }
        }
        let lanes = lanes.iter().map(|(lane, _)| lane.clone()).collect();
        let account = Account::new(AccountId::new("acc_1"));
        Self { account, policy, lanes, queued, started: HashMap::new(), now }
    }

    fn run(&self, seed: u64, days: i32) -> Forecast {
        let until = self.now.to_zoned(self.policy.zone.clone()).checked_add(days.days()).unwrap().timestamp();
        let start = Start {
            now: self.now,
            until,
            daemon: &Daemon::default(),
            account: &self.account,
            policy: &self.policy,
            ledger: &Ledger::default(),
            profile_reads: &Ledger::default(),
            turns: &FairShare::default(),
            lanes: &self.lanes,
            queued: &self.queued,
            started: &self.started,
            call: seconds(1),
        };
        forecast(&start, &mut ChaCha12Rng::seed_from_u64(seed))
    }

    /// Returns when each message was sent, in order, with its lane.
    fn sends(&self, forecast: &Forecast) -> Vec<(Timestamp, usize)> {
        let sent =
            forecast.messages.iter().zip(&self.queued).filter_map(|(expected, message)| match expected {
                Expected::Sent(at) => Some((*at, message.lane)),
                Expected::Expired | Expected::Waiting(_) => None,
            });
        let mut sent: Vec<_> = sent.collect();
        sent.sort_unstable();
        sent
    }
}

fn printed(days: &[Day]) -> String {
    let line = |day: &Day| {
        let bound_by = day.bound_by.map_or("nothing", Reason::as_str);
        format!("{} {:>3} sent, bound by {bound_by}\n", day.date.strftime("%a %Y-%m-%d"), day.sends)
    };
    days.iter().map(line).collect()
}

#[test]
fn two_weeks_of_a_new_account_in_paris() {
    let lanes = [(Lane::of(Kind::NewChat), 400), (Lane::of(Kind::Message), 60)];
    let world = World::new(calm(), &lanes, "2026-11-23T07:00:00Z");
    assert_eq!(
        printed(&world.run(SEED, 14).days),
        "Mon 2026-11-23  20 sent, bound by gap\n\
         Tue 2026-11-24  26 sent, bound by gap\n\
         Wed 2026-11-25  27 sent, bound by gap\n\
         Thu 2026-11-26  16 sent, bound by gap\n\
         Fri 2026-11-27  18 sent, bound by gap\n\
         Sat 2026-11-28   0 sent, bound by outside_hours\n\
         Sun 2026-11-29   0 sent, bound by outside_hours\n\
         Mon 2026-11-30  25 sent, bound by gap\n\
         Tue 2026-12-01  27 sent, bound by gap\n\
         Wed 2026-12-02  30 sent, bound by gap\n\
         Thu 2026-12-03  32 sent, bound by gap\n\
         Fri 2026-12-04  35 sent, bound by gap\n\
         Sat 2026-12-05   0 sent, bound by outside_hours\n\
         Sun 2026-12-06   0 sent, bound by outside_hours\n\
         Mon 2026-12-07   0 sent, bound by outside_hours\n"
    );
}

/// Returns one day of the documentation, line by line.
fn worked_day() -> String {
    let lanes = [(Lane::of(Kind::NewChat), 12), (Lane::of(Kind::Message), 12)];
    let world = World::new(calm(), &lanes, "2026-11-23T07:00:00Z");
    let forecast = world.run(SEED, 1);
    let zone = &world.policy.zone;
    let mut text = String::new();
    let mut before: Option<Timestamp> = None;
    for (sent_at, lane) in world.sends(&forecast) {
        let local = sent_at.to_zoned(zone.clone());
        let pause = before.map_or_else(String::new, |before| {
            let pause = sent_at.duration_since(before).as_secs();
            format!("{:>3} min {:02} s later", pause / 60, pause % 60)
        });
        let kind = world.lanes[lane].kind.as_str();
        text += format!("{}  {kind:<8}  {pause}", local.strftime("%H:%M:%S")).trim_end();
        text.push('\n');
        before = Some(sent_at);
    }
    text + &printed(&forecast.days)
}

#[test]
fn the_worked_day_of_the_documents_is_what_the_code_does() {
    let document = include_str!("../../docs/pacing.md");
    let (_, after) = document.split_once("## A worked day\n").expect("docs/pacing.md has a worked day");
    let (_, block) = after.split_once("```text\n").expect("in a block");
    let (block, _) = block.split_once("```").expect("that ends");
    assert_eq!(block, worked_day(), "write it into docs/pacing.md");
}

#[test]
fn a_gap_is_drawn_for_each_send_as_the_engine_draws_it() {
    let policy = Policy { gap: Gap { min: seconds(10), max: seconds(20) }, ..Policy::unlimited() };
    let world = World::new(policy.clone(), &[(Lane::of(Kind::Message), 5)], "2026-11-23T07:00:00Z");
    let mut dice = ChaCha12Rng::seed_from_u64(SEED);
    let mut expected = vec![world.now];
    for _ in 0..4 {
        let gap = super::super::pace::draw_gap(&mut dice, policy.gap);
        expected.push(expected[expected.len() - 1] + seconds(1) + gap + super::super::pace::CUT);
    }
    let forecast = world.run(SEED, 1);
    let sent: Vec<Timestamp> = world.sends(&forecast).into_iter().map(|(at, _)| at).collect();
    assert_eq!(sent, expected, "seed {SEED}");
    assert_eq!(world.run(SEED, 1), forecast, "the same seed, the same forecast");
    assert_ne!(world.run(SEED + 1, 1), forecast);
}

#[test]
fn a_used_up_cap_of_one_kind_lets_the_others_go() {
    let policy = Policy {
        gap: Gap { min: seconds(10), max: seconds(20) },
        caps: caps(&[(Some(Kind::NewChat), "2/24h")]),
        ..Policy::unlimited()
    };
    let mut order = policy.clone();
    order.order.follow_ups_first = false;
    let world = World::new(
        order,
        &[(Lane::of(Kind::NewChat), 4), (Lane::of(Kind::Message), 3)],
        "2026-11-23T07:00:00Z",
    );
    let forecast = world.run(SEED, 3);
    let lanes: Vec<usize> = world.sends(&forecast).into_iter().map(|(_, lane)| lane).collect();
    assert_eq!(lanes, [0, 0, 1, 1, 1, 0, 0]);
}

#[test]
fn what_cannot_go_says_why() {
    let policy = Policy { gap: Gap { min: seconds(10), max: seconds(20) }, ..Policy::unlimited() };
    let mut world = World::new(policy, &[(Lane::of(Kind::NewChat), 6)], "2026-11-23T07:00:00Z");
    world.policy.order.per_recipient = seconds(3600);
    world.queued[0].waits_for = Some(Wait::of(Reason::ChatOrder));
    world.queued[1].expires_at = Some(world.now);
    world.queued[2].ready_at = world.now + SignedDuration::from_hours(48);
    world.queued[3].thread = 77;
    world.queued[4].thread = 77;
    world.started.insert(world.queued[5].thread, world.now - SignedDuration::from_mins(30));
    let messages = world.run(SEED, 1).messages;
    assert_eq!(
        messages[..3],
        [
            Expected::Waiting(Wait::of(Reason::ChatOrder)),
            Expected::Expired,
            Expected::Waiting(Wait::of(Reason::Scheduled))
        ]
    );
    assert_eq!(messages[3], Expected::Sent(world.now));
    assert_eq!(
        messages[4],
        Expected::Sent(world.now + SignedDuration::from_hours(1)),
        "the same person, an hour later"
    );
    assert_eq!(
        messages[5],
        Expected::Sent(world.now + SignedDuration::from_mins(30)),
        "as it was started before"
    );
    world.account.pause = Some(crate::domain::account::Pause { since: world.now, until: None, note: None });
    let messages = world.run(SEED, 1).messages;
    assert_eq!(messages[3], Expected::Waiting(Wait::for_person(Reason::AccountPaused)));
}

#[test]
fn what_comes_after_a_message_that_waits_for_a_person_waits_for_one_as_well() {
    let policy = Policy { gap: Gap { min: seconds(10), max: seconds(20) }, ..Policy::unlimited() };
    let mut world = World::new(policy, &[(Lane::of(Kind::Message), 8)], "2026-11-23T07:00:00Z");
    let wait = crate::domain::step::StepWait::Seconds(3600);
    // The second of three messages in a chat is stopped.
    for index in [0, 1, 2] {
        world.queued[index].thread = 77;
    }
    world.queued[1].waits_for = Some(Wait::for_person(Reason::Stopped));
    // Three steps, of which the first is held; and two, of which the first expires.
    for (index, place) in [(3, (1, 1)), (4, (1, 2)), (5, (1, 3)), (6, (2, 1)), (7, (2, 2))] {
        let (sequence, number) = place;
        world.queued[index].step = Some(place);
        if number > 1 {
            world.queued[index].follows = Some(Follows { place: (sequence, number - 1), wait });
            world.queued[index].waits_for = Some(Wait::of(Reason::StepBefore));
        }
    }
    world.queued[3].waits_for = Some(Wait::for_person(Reason::Held));
    world.queued[6].expires_at = Some(world.now);
    let messages = world.run(SEED, 30).messages;
    assert!(matches!(messages[0], Expected::Sent(_)), "it comes before the stopped one");
    let reasons = [Reason::Stopped, Reason::ChatOrder, Reason::Held, Reason::StepBefore, Reason::StepBefore];
    assert_eq!(messages[1..6], reasons.map(|reason| Expected::Waiting(Wait::for_person(reason))));
    assert_eq!(messages[6..], [Expected::Expired, Expected::Waiting(Wait::of(Reason::StepStopped))]);
}

#[test]
fn what_a_person_would_have_to_let_go_expires_first() {
    let policy = Policy { gap: Gap { min: seconds(10), max: seconds(20) }, ..Policy::unlimited() };
    let mut world = World::new(policy, &[(Lane::of(Kind::Message), 9)], "2026-11-23T07:00:00Z");
    let wait = crate::domain::step::StepWait::Seconds(3600);
    let after = |hours| world.now + SignedDuration::from_hours(hours);
    let [soon, later, beyond] = [after(2), after(5), after(48)];
    // Held, without a connection, and behind a held message in the same chat.
    world.queued[0].waits_for = Some(Wait::for_person(Reason::Held));
    world.queued[1].waits_for = Some(Wait::of(Reason::NotConnected));
    world.queued[2].thread = world.queued[0].thread;
    // Three steps, of which the first is held.
    for (index, number) in [(3, 1), (4, 2), (5, 3)] {
        world.queued[index].step = Some((1, number));
        world.queued[index].follows = (number > 1).then_some(Follows { place: (1, number - 1), wait });
        world.queued[index].waits_for = Some(Wait::of(Reason::StepBefore));
    }
    world.queued[3].waits_for = Some(Wait::for_person(Reason::Held));
    let expiries =
        [Some(soon), Some(soon), None, Some(later), Some(soon), None, Some(soon), Some(beyond), None];
    for (message, expires_at) in world.queued.iter_mut().zip(expiries) {
        message.expires_at = expires_at;
    }
    let step_stopped = Expected::Waiting(Wait::of(Reason::StepStopped));
    let not_connected = Expected::Waiting(Wait::of(Reason::NotConnected));
    let messages = world.run(SEED, 1).messages;
    assert_eq!(messages[..2], [Expected::Expired, not_connected]);
    assert_eq!(messages[2], Expected::Sent(soon), "the held one is out of its way");
    assert_eq!(messages[3..6], [Expected::Expired, Expected::Expired, step_stopped]);
    world.account.pause = Some(crate::domain::account::Pause { since: world.now, until: None, note: None });
    let paused = Expected::Waiting(Wait::for_person(Reason::AccountPaused));
    let messages = world.run(SEED, 1).messages;
    assert_eq!(messages[..3], [Expected::Expired, not_connected, paused]);
    assert_eq!(messages[6..], [Expected::Expired, paused, paused]);
}

#[test]
fn what_comes_after_a_message_without_a_connection_has_no_time() {
    let policy = Policy { gap: Gap { min: seconds(10), max: seconds(20) }, ..Policy::unlimited() };
    let mut world = World::new(policy, &[(Lane::of(Kind::Message), 4)], "2026-11-23T07:00:00Z");
    let after = |hours| world.now + SignedDuration::from_hours(hours);
    let [read_again, expires] = [after(24), after(48)];
    for index in [0, 2] {
        world.queued[index].waits_for = Some(Wait::of(Reason::NotConnected));
        world.queued[index].ready_at = read_again;
        world.queued[index + 1].thread = world.queued[index].thread;
    }
    world.queued[2].expires_at = Some(expires);
    let waits = |reason| Expected::Waiting(Wait::of(reason));
    let messages = world.run(SEED, 5).messages;
    assert_eq!(messages[..3], [Reason::NotConnected, Reason::ChatOrder, Reason::NotConnected].map(waits));
    assert_eq!(messages[3], Expected::Sent(expires));
}

#[test]
fn an_urgent_message_jumps_the_queue_and_with_a_flag_the_hours_but_no_cap() {
    let urgent = Lane { urgent: true, ignore_hours: true, ..Lane::of(Kind::Message) };
    let policy = Policy {
        gap: Gap { min: seconds(10), max: seconds(20) },
        caps: caps(&[(None, "3/24h")]),
        calendar: Some(office(5)),
        ..Policy::unlimited()
    };
    let world = World::new(policy, &[(Lane::of(Kind::Message), 3), (urgent, 2)], "2026-11-23T02:00:00Z");
    let sends = world.sends(&world.run(SEED, 2));
    let lanes: Vec<usize> = sends.iter().map(|(_, lane)| *lane).collect();
    assert_eq!(lanes, [1, 1, 0, 0, 0]);
    assert_eq!(sends[0].0, world.now, "at night");
    assert_eq!(sends[2].0, at("2026-11-23T09:00:00Z"), "the others when the hours open");
    assert_eq!(sends[3].0, at("2026-11-24T09:00:00Z"), "three in 24 hours, urgent or not");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    /// P3 and P4: no schedule has a send outside the hours, above a cap in any window, or sooner than the gap.
    #[test]
    fn every_schedule_keeps_every_rule(
        seed in 0u64..1000, hourly in 3u32..15, daily in 5u32..40, chats in 2u32..20, spread: bool, shape: bool,
        begin in 1_774_600_000i64..1_775_000_000,
    ) {
        let mut policy = calm();
        policy.gap = Gap { min: seconds(60), max: seconds(600) };
        policy.rhythm.spread = spread;
        policy.rhythm.shape = if shape { Shape::Uniform } else { Shape::LogNormal };
        policy.caps = caps(&[(None, &format!("{hourly}/hour, {daily}/24h, 90/7d")), (Some(Kind::NewChat), &format!("{chats}/day"))]);
        let now = Timestamp::from_second(begin).unwrap().to_string();
        let campaign = |name: &str| Lane { campaign: Some(name.into()), ..Lane::of(Kind::NewChat) };
        let lanes = [(campaign("a"), 60), (campaign("b"), 60), (Lane::of(Kind::Message), 30)];
        let world = World::new(policy.clone(), &lanes, &now);
        let sends = world.sends(&world.run(seed, 9));
        prop_assert!(!sends.is_empty());
        let account = account_seed("acc_1");
        for (index, (sent_at, lane)) in sends.iter().enumerate() {
            prop_assert!(hours_at(policy.calendar.as_ref(), &policy.zone, account, *sent_at).are_open(), "{sent_at}");
            if index > 0 {
                prop_assert!(sent_at.duration_since(sends[index - 1].0) >= SignedDuration::from_secs(60));
            }
            for (most, hours) in [(hourly, 1), (daily, 24), (90, 168)] {
                let end = *sent_at + SignedDuration::from_hours(hours);
                let inside = sends[index..].iter().filter(|(at, _)| *at < end).count();
                prop_assert!(inside <= most as usize, "{inside} in {hours} h");
            }
            let day = |at: &Timestamp| policy.zone.to_datetime(*at).date();
            let same = sends.iter().filter(|(at, other)| *other < 2 && *lane < 2 && day(at) == day(sent_at)).count();
            prop_assert!(same <= chats as usize, "{same} chats on {}", day(sent_at));
        }
    }
}
