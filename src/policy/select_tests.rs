//! Tests of what is selected, and of the verdict on every other candidate.

use super::*;
use crate::domain::account::Pause;
use crate::domain::calendar::{Calendar, parse_spans};
use crate::domain::caps::parse_caps;
use crate::domain::kind::Kind;
use crate::domain::message::AccountId;
use crate::domain::reason::Reason;
use crate::domain::step::StepWaiting;
use crate::policy::hours::hours_at;
use jiff::tz::TimeZone;
use std::time::Duration;

/// Returns Monday, 23 November 2026, midnight UTC, plus this many hours.
fn hour(hours: f64) -> Timestamp {
    let midnight: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
    midnight + Duration::from_secs_f64(hours * 3600.0)
}

struct World {
    now: Timestamp,
    daemon: Daemon,
    account: Account,
    policy: Policy,
    ledger: Ledger,
    messages: Vec<(Lane, Waiting, Share)>,
}

impl World {
    fn new(now: Timestamp) -> Self {
        let policy = Policy { zone: TimeZone::UTC, ..Policy::unlimited() };
        let account = Account::new(AccountId::new("acc_1"));
        let (daemon, ledger) = (Daemon::default(), Ledger::default());
        Self { now, daemon, account, policy, ledger, messages: Vec::new() }
    }

    fn add(&mut self, kind: Kind, campaign: Option<&str>, due_at: Timestamp) -> &mut Waiting {
        let lane = Lane { campaign: campaign.map(str::to_owned), ..Lane::of(kind) };
        let message = Waiting {
            kind,
            due_at,
            retry_at: None,
            deferred: None,
            stop: None,
            step: None,
            held: false,
            ignores_hours: false,
            started_at: None,
            expires_at: None,
            blocked_by: None,
            between: Vec::new(),
            queue_position: 0,
        };
        self.messages.push((lane, message, Share::default()));
        &mut self.messages.last_mut().unwrap().1
    }

    fn select(&self) -> Selection {
        let seed = crate::policy::hours::account_seed(self.account.id.as_str());
        let input = SelectionInput {
            now: self.now,
            daemon: &self.daemon,
            account: &self.account,
            live: Live::default(),
            policy: &self.policy,
            hours: hours_at(self.policy.calendar.as_ref(), &self.policy.zone, seed, self.now),
            ledger: Some(&self.ledger),
        };
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for (index, (lane, message, share)) in self.messages.iter().enumerate() {
            let seq = i64::try_from(index).unwrap();
            entries.push(Entry { message, lane, share: *share, seq, typing_until: None });
        }
        select(&input, &entries)
    }
}

fn wait(reason: Reason, until: Until) -> Verdict {
    Verdict::Wait { reason, until }
}

fn open_from_nine_to_six(policy: &mut Policy) {
    let week = std::array::from_fn(|_| parse_spans("09:00-18:00").unwrap());
    policy.calendar = Some(Calendar { week, ..Calendar::always() });
}

#[test]
fn a_due_message_goes_before_any_number_of_later_campaigns() {
    let mut world = World::new(hour(10.0));
    for campaign in 0..1000 {
        world.add(Kind::Message, Some(&format!("{campaign:04}")), hour(1000.0));
    }
    world.add(Kind::Message, Some("z-now"), hour(9.0));
    let selection = world.select();
    assert_eq!(selection.next, Some(1000));
    assert_eq!(selection.verdicts[1000], Verdict::Send);
    assert_eq!(selection.verdicts[0], wait(Reason::Scheduled, Until::At(hour(1000.0))));
}

#[test]
fn a_cap_that_frees_at_night_is_told_with_the_morning() {
    let mut world = World::new(hour(10.15));
    world.policy.caps.list = parse_caps(Some(Kind::NewChat), "2/day").unwrap();
    open_from_nine_to_six(&mut world.policy);
    world.ledger = Ledger::new([(hour(9.5), Kind::NewChat), (hour(10.0), Kind::NewChat)]);
    world.add(Kind::NewChat, None, hour(8.0));
    let selection = world.select();
    assert_eq!(selection.next, None);
    assert_eq!(selection.verdicts[0], wait(Reason::Cap, Until::At(hour(33.0))));
    assert_eq!(selection.wake_at, Some(hour(24.0)), "it is looked at again when the first gate opens");
}

#[test]
fn hours_and_days_off_and_rests_are_all_waited_for() {
    let mut world = World::new(hour(19.0));
    open_from_nine_to_six(&mut world.policy);
    let tuesday = hour(30.0).to_zoned(TimeZone::UTC).date();
    world.policy.calendar.as_mut().unwrap().days_off.push((tuesday, tuesday));
    // The rest ends while Wednesday is closed again.
    world.account.hold =
        Some(crate::domain::account::AccountHold { reason: Reason::Cooldown, until: hour(70.0) });
    world.add(Kind::Message, None, hour(8.0));
    assert_eq!(world.select().verdicts[0], wait(Reason::Cooldown, Until::At(hour(81.0))));
}

#[test]
fn a_message_that_expires_before_all_gates_open_waits_until_then() {
    let mut world = World::new(hour(19.0));
    open_from_nine_to_six(&mut world.policy);
    world.add(Kind::Message, None, hour(8.0)).expires_at = Some(hour(24.0));
    assert_eq!(world.select().verdicts[0], wait(Reason::OutsideHours, Until::At(hour(24.0))));
}

#[test]
fn a_step_whose_stop_has_ended_waits_for_its_own_wait() {
    let mut world = World::new(hour(10.0));
    let step = world.add(Kind::Message, None, hour(1.0));
    (step.retry_at, step.deferred) = (Some(hour(20.0)), Some(Reason::Stopped));
    assert_eq!(world.select().verdicts[0], wait(Reason::Stopped, Until::At(hour(20.0))));
    world.messages[0].1.step = Some(StepWaiting::Until(hour(20.0)));
    assert_eq!(world.select().verdicts[0], wait(Reason::StepWait, Until::At(hour(20.0))));
}

#[test]
fn what_one_kind_waits_for_lets_another_go_and_what_all_wait_for_does_not() {
    let mut world = World::new(hour(10.0));
    world.policy.caps.list = parse_caps(Some(Kind::NewChat), "1/24h").unwrap();
    world.ledger = Ledger::new([(hour(9.0), Kind::NewChat)]);
    world.add(Kind::NewChat, None, hour(1.0));
    world.add(Kind::Message, None, hour(2.0));
    world.add(Kind::Message, Some("later"), hour(3.0));
    let selection = world.select();
    assert_eq!((selection.next, selection.verdicts[1].clone()), (Some(1), Verdict::Send));
    // The other one may have to wait until then as well, and go first.
    assert_eq!(selection.verdicts[0], wait(Reason::Cap, Until::NotBefore(hour(33.0))));
    assert!(matches!(selection.verdicts[2], Verdict::Wait { reason: Reason::Turn, .. }));

    world.account.pause = Some(Pause { since: hour(9.0), until: None, note: None });
    let paused = world.select();
    assert!(paused.verdicts.iter().all(|verdict| *verdict == wait(Reason::AccountPaused, Until::Person)));
    assert_eq!(paused.wake_at, None);
}

#[test]
fn a_message_that_becomes_due_in_the_pause_waits_for_its_end() {
    let mut world = World::new(hour(10.0));
    world.account.next_call_at = Some(hour(10.5));
    world.add(Kind::Message, None, hour(9.0));
    world.add(Kind::Message, Some("soon"), hour(10.2));
    let selection = world.select();
    assert_eq!(selection.verdicts[0], wait(Reason::Gap, Until::At(hour(10.5))));
    assert_eq!(selection.verdicts[1], wait(Reason::Scheduled, Until::At(hour(10.5))));
    assert_eq!(selection.wake_at, Some(hour(10.2)));
}

#[test]
fn a_scheduled_message_that_a_person_stopped_wakes_the_account_when_it_is_due() {
    let mut world = World::new(hour(9.0));
    let stop = crate::domain::stop::StoppedBy {
        id: 1,
        reason: crate::domain::stop::StopReason::Stopped,
        until: None,
    };
    world.add(Kind::NewChat, None, hour(10.0)).stop = Some(stop);
    assert_eq!(world.select().wake_at, Some(hour(10.0)));
    world.now = hour(10.0);
    assert_eq!(world.select().wake_at, None, "the engine defers it");
}
