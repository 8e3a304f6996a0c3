//! Tests of the gates: one row per reason, with a state that makes it the binding one.

use super::*;
use crate::domain::account::{AccountHold, Down, Pause, Restored};
use crate::domain::caps::parse_caps;
use crate::domain::kind::Kind;
use crate::domain::message::{AccountId, MessageId};
use crate::domain::policy::{Caps, Gap, WarmUp};
use crate::domain::state::StateName;
use crate::domain::step::{StepWait, StepWaiting};
use crate::domain::stop::{StopReason, StoppedBy};
use crate::domain::waiting::BlockedBy;
use proptest::prelude::*;
use std::time::Duration;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + second).unwrap()
}

struct World {
    daemon: Daemon,
    account: Account,
    message: Waiting,
    live: Live,
    policy: Policy,
    hours: Hours,
    ledger: Option<Ledger>,
}

impl World {
    /// Returns a world in which everything is open; now is `at(100)`.
    fn open() -> Self {
        let account = Account {
            id: AccountId::new("acc_1"),
            pause: None,
            down: None,
            hold: None,
            last_call_at: None,
            next_call_at: None,
            in_flight: false,
            history: crate::domain::account::History::default(),
        };
        let message = Waiting {
            kind: Kind::NewChat,
            due_at: at(0),
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
        let seconds = Duration::from_secs;
        let gap = Gap { min: seconds(10), max: seconds(20) };
        let list = parse_caps(Some(Kind::NewChat), "4/hour").unwrap();
        let mut policy = Policy {
            gap,
            caps: Caps { list, profile: Vec::new(), jitter_percent: 0 },
            ..Policy::unlimited()
        };
        policy.order.per_recipient = seconds(300);
        let (daemon, live) = (Daemon::default(), Live::default());
        Self { daemon, account, message, live, policy, hours: Hours::Always, ledger: Some(Ledger::default()) }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut world = Self::open();
        change(&mut world);
        world
    }

    fn input(&self, now: Timestamp) -> DecisionInput<'_> {
        let Self { daemon, account, message, live, policy, hours, ledger } = self;
        DecisionInput {
            now,
            daemon,
            account,
            message,
            live: *live,
            policy,
            hours: *hours,
            ledger: ledger.as_ref(),
        }
    }

    fn verdict_at(&self, now: Timestamp) -> Verdict {
        // The hours are those of `now`, as a caller would look them up.
        match self.hours {
            Hours::Closed { opens_at: Some(opens_at) } if opens_at <= now => {
                decide(&DecisionInput { hours: Hours::Open { until: at(100_000) }, ..self.input(now) })
            }
            Hours::Always | Hours::Open { .. } | Hours::Closed { .. } => decide(&self.input(now)),
        }
    }
}

fn pause(until: Option<Timestamp>) -> Option<Pause> {
    Some(Pause { since: at(0), until, note: None })
}

fn down(cause: DownCause) -> Option<Down> {
    Some(Down { cause, since: at(0), problem: "said".into() })
}

fn blocked_by(state: StateName, retry_at: Option<Timestamp>) -> Option<BlockedBy> {
    Some(BlockedBy { id: MessageId(uuid::Uuid::nil()), state, retry_at, expires_at: None })
}

/// Returns a message that a person holds until it expires.
fn expiring(expires_at: Timestamp) -> Option<BlockedBy> {
    let held = blocked_by(StateName::Queued, Some(FOREVER));
    held.map(|held| BlockedBy { expires_at: Some(expires_at), ..held })
}

fn defer(world: &mut World, reason: Reason) {
    (world.message.retry_at, world.message.deferred) = (Some(at(500)), Some(reason));
}

fn hold(reason: Reason) -> Option<AccountHold> {
    Some(AccountHold { reason, until: at(500) })
}

/// Returns a ledger of this many new chats, one per second, the last one at `at(-97)`.
fn sent(chats: i64) -> Ledger {
    Ledger::new((0..chats).map(|n| (at(-97 - n), Kind::NewChat)))
}

/// Returns worlds that are each closed at exactly one gate.
fn closed_worlds() -> Vec<(Reason, Until, World)> {
    let till = Until::At(at(500));
    let tried = Until::NotBefore(at(500));
    let mut worlds = vec![
        (Reason::KeyRefused, Until::Person, World::with(|w| w.daemon.key_refused = down(DownCause::Key))),
        (
            Reason::Restored,
            Until::Person,
            World::with(|w| w.daemon.restored = Some(Restored { since: at(0), why: "a copy".into() })),
        ),
        (Reason::Storage, tried, World::with(|w| w.live.storage_failing_until = Some(at(500)))),
        (Reason::DaemonPaused, Until::Person, World::with(|w| w.daemon.pause = pause(None))),
        (Reason::DaemonPaused, till, World::with(|w| w.daemon.pause = pause(Some(at(500))))),
        (
            Reason::AccountDisconnected,
            Until::Person,
            World::with(|w| w.account.down = down(DownCause::Disconnected)),
        ),
        (
            Reason::AccountRestricted,
            Until::Person,
            World::with(|w| w.account.down = down(DownCause::Restricted)),
        ),
        (Reason::AccountPaused, Until::Person, World::with(|w| w.account.pause = pause(None))),
        (Reason::AccountPaused, till, World::with(|w| w.account.pause = pause(Some(at(500))))),
        (Reason::Cooldown, till, World::with(|w| w.account.hold = hold(Reason::Cooldown))),
        (Reason::ApiRateLimited, till, World::with(|w| w.account.hold = hold(Reason::ApiRateLimited))),
        (Reason::Scheduled, till, World::with(|w| w.message.due_at = at(500))),
        (Reason::Retry, till, World::with(|w| w.message.retry_at = Some(at(500)))),
        (Reason::InmailCredits, tried, World::with(|w| defer(w, Reason::InmailCredits))),
        (Reason::ChatLookup, tried, World::with(|w| defer(w, Reason::ChatLookup))),
        (
            Reason::ChatOrder,
            Until::NotBefore(at(500)),
            World::with(|w| w.message.blocked_by = blocked_by(StateName::Queued, Some(at(500)))),
        ),
        (
            Reason::ChatOrder,
            Until::Person,
            World::with(|w| w.message.blocked_by = blocked_by(StateName::Review, None)),
        ),
        (Reason::Turn, Until::NotBefore(at(130)), World::with(|w| w.message.queue_position = 3)),
        (Reason::InFlight, Until::NotBefore(at(100)), World::with(|w| w.account.in_flight = true)),
        (Reason::Typing, till, World::with(|w| w.live.typing_until = Some(at(500)))),
        (Reason::Gap, till, World::with(|w| w.account.next_call_at = Some(at(500)))),
        (Reason::ApiUnreachable, tried, World::with(|w| w.live.api_unreachable_until = Some(at(500)))),
        (
            Reason::ApiTrial,
            Until::NotBefore(at(500)),
            World::with(|w| w.live.api_trial_until = Some(at(500))),
        ),
        (Reason::ApiBusy, tried, World::with(|w| w.live.api_busy_until = Some(at(500)))),
    ];
    worlds.extend(worlds_of_limits());
    worlds.extend(worlds_of_stops());
    worlds
}

/// Returns the same for stops, and for a conversation that could not be read.
fn worlds_of_stops() -> Vec<(Reason, Until, World)> {
    let till = Until::At(at(500));
    let tried = Until::NotBefore(at(500));
    let stopped = |reason: StopReason, until: Option<Timestamp>| {
        World::with(|w| w.message.stop = Some(StoppedBy { id: 1, reason, until }))
    };
    vec![
        (Reason::Stopped, till, stopped(StopReason::Stopped, Some(at(500)))),
        (Reason::Stopped, Until::Person, stopped(StopReason::Stopped, None)),
        (Reason::Suppressed, Until::Person, stopped(StopReason::Suppressed, None)),
        (Reason::OwnerWrote, till, stopped(StopReason::OwnerWrote, Some(at(500)))),
        (Reason::OutOfOffice, till, stopped(StopReason::OutOfOffice, Some(at(500)))),
        // A stop that was lifted before its message was released.
        (Reason::OutOfOffice, till, World::with(|w| defer(w, Reason::OutOfOffice))),
        (
            Reason::Stopped,
            Until::Person,
            World::with(|w| {
                (w.message.retry_at, w.message.deferred) = (Some(FOREVER), Some(Reason::Stopped));
            }),
        ),
        (
            Reason::ChatOrder,
            Until::Person,
            World::with(|w| w.message.blocked_by = blocked_by(StateName::Queued, Some(FOREVER))),
        ),
        (
            Reason::ChatOrder,
            Until::NotBefore(at(700)),
            World::with(|w| w.message.blocked_by = expiring(at(700))),
        ),
        (
            Reason::StepBefore,
            Until::Person,
            World::with(|w| {
                w.message.step = Some(StepWaiting::Before(StepWait::Seconds(60)));
                w.message.blocked_by = expiring(at(700));
            }),
        ),
        (Reason::Held, Until::Person, World::with(|w| w.message.held = true)),
        (Reason::Resolving, tried, World::with(|w| defer(w, Reason::Resolving))),
        (Reason::NotConnected, tried, World::with(|w| defer(w, Reason::NotConnected))),
        (Reason::ReplyUnknown, tried, World::with(|w| defer(w, Reason::ReplyUnknown))),
    ]
}

/// Returns the same for the gates of the account's limits.
fn worlds_of_limits() -> Vec<(Reason, Until, World)> {
    let till = Until::At(at(500));
    vec![
        (
            Reason::AccountThrottled,
            Until::Person,
            World::with(|w| w.account.down = down(DownCause::Throttled)),
        ),
        (Reason::StepWait, till, World::with(|w| w.message.step = Some(StepWaiting::Until(at(500))))),
        (
            Reason::StepBefore,
            Until::NotBefore(at(160)),
            World::with(|w| w.message.step = Some(StepWaiting::Before(StepWait::Seconds(60)))),
        ),
        (Reason::Failures, till, World::with(|w| w.account.hold = hold(Reason::Failures))),
        (Reason::RecipientRest, till, World::with(|w| w.message.started_at = Some(at(200)))),
        (Reason::OutsideHours, till, World::with(|w| w.hours = Hours::Closed { opens_at: Some(at(500)) })),
        (Reason::OutsideHours, Until::Person, World::with(|w| w.hours = Hours::Closed { opens_at: None })),
        (Reason::Cap, Until::At(at(-100 + 3600)), World::with(|w| w.ledger = Some(sent(4)))),
        (Reason::Cap, Until::NotBefore(at(100)), World::with(|w| w.ledger = None)),
        (
            Reason::WarmUp,
            Until::At(at(-97 + 3600)),
            World::with(|w| {
                w.ledger = Some(sent(1));
                w.policy.warm_up = Some(WarmUp { ramp: vec![20], start: None, after_quiet: None });
            }),
        ),
        (
            Reason::HalfCaps,
            Until::At(at(500)),
            World::with(|w| {
                w.ledger = Some(sent(2));
                w.account.history.half_caps_until = Some(at(500));
            }),
        ),
        (
            Reason::Break,
            till,
            World::with(|w| {
                w.account.next_call_at = Some(at(500));
                w.account.history.on_break = true;
            }),
        ),
    ]
}

#[test]
fn each_closed_gate_is_the_reason_and_says_until_when() {
    assert_eq!(World::open().verdict_at(at(100)), Verdict::Send);
    for (reason, until, world) in closed_worlds() {
        assert_eq!(world.verdict_at(at(100)), Verdict::Wait { reason, until }, "{reason:?}");
    }
}

#[test]
fn a_gate_that_waits_for_a_time_is_open_at_that_time_and_not_a_millisecond_before() {
    let tick = std::time::Duration::from_millis(1);
    for (reason, until, world) in closed_worlds() {
        if let Until::At(end) = until {
            assert_eq!(world.verdict_at(end), Verdict::Send, "{reason:?}");
            let just_before = world.verdict_at(end.checked_sub(tick).unwrap());
            assert_eq!(just_before, Verdict::Wait { reason, until }, "{reason:?}");
        }
    }
}

#[test]
fn an_expired_message_is_stopped_whatever_else_holds() {
    for (_, _, mut world) in closed_worlds() {
        world.message.expires_at = Some(at(100));
        assert_eq!(world.verdict_at(at(100)), Verdict::Stop { reason: Reason::Expired });
    }
}

#[test]
fn every_gate_has_a_test_of_its_own_and_stands_in_the_documents_at_its_place() {
    let world = World::open();
    let tested: Vec<Reason> = closed_worlds().into_iter().map(|(reason, _, _)| reason).collect();
    let document = include_str!("../../docs/pacing.md");
    for (index, gate) in gates(&world.input(at(100))).iter().enumerate() {
        assert!(tested.contains(&gate.reason), "{:?}", gate.reason);
        let row = format!("| {} | `{}`", index + 1, gate.reason.as_str());
        assert!(document.contains(&row), "docs/pacing.md has no row that begins {row:?}");
    }
}

#[test]
fn the_first_closed_gate_is_the_reason_whatever_else_is_closed() {
    let (mut order, mut world) = (Vec::new(), World::open());
    world.ledger = Some(sent(4));
    world.hours = Hours::Closed { opens_at: Some(at(500)) };
    world.message.queue_position = 1;
    world.account.next_call_at = Some(at(500));
    world.daemon.pause = pause(None);
    // Each gate that is opened uncovers the next one.
    let openers: [fn(&mut World); 5] = [
        |w| w.daemon.pause = None,
        |w| w.hours = Hours::Always,
        |w| w.ledger = Some(Ledger::default()),
        |w| w.message.queue_position = 0,
        |w| w.account.next_call_at = None,
    ];
    for open in openers {
        if let Verdict::Wait { reason, .. } = world.verdict_at(at(100)) {
            order.push(reason);
        }
        open(&mut world);
    }
    let expected = [Reason::DaemonPaused, Reason::OutsideHours, Reason::Cap, Reason::Turn, Reason::Gap];
    assert_eq!(order, expected);
    assert_eq!(world.verdict_at(at(100)), Verdict::Send);
}

#[test]
fn a_used_up_cap_names_itself() {
    let world = World::with(|w| w.ledger = Some(sent(4)));
    let gate = gates(&world.input(at(100))).into_iter().find(|gate| gate.reason == Reason::Cap).unwrap();
    assert_eq!(gate.rule.as_deref(), Some("caps.new_chat 4/hour, 4 of 4 used"));
    let message = World::with(|w| {
        w.ledger = Some(sent(4));
        w.message.kind = Kind::Message;
    });
    assert_eq!(message.verdict_at(at(100)), Verdict::Send, "the cap of new chats stops no other kind");
}

proptest! {
    /// P6: there is never more than one reason, and waiting until the named time leads somewhere: no verdict names a
    /// time that is not in the future.
    #[test]
    fn a_named_time_lies_in_the_future(
        next_call in proptest::option::of(0i64..1000),
        due in 0i64..1000,
        retry in proptest::option::of(0i64..1000),
        paused_until in proptest::option::of(proptest::option::of(0i64..1000)),
        hold_until in proptest::option::of(0i64..1000),
        now in 0i64..1000,
    ) {
        let world = World::with(|w| {
            w.account.next_call_at = next_call.map(at);
            w.message.due_at = at(due);
            w.message.retry_at = retry.map(at);
            w.account.pause = paused_until.and_then(|until| pause(until.map(at)));
            w.account.hold = hold_until.map(|until| AccountHold { reason: Reason::Cooldown, until: at(until) });
        });
        match world.verdict_at(at(now)) {
            Verdict::Wait { until: Until::At(until), .. } => prop_assert!(until > at(now)),
            Verdict::Wait { .. } => {}
            Verdict::Send => {
                // P3 and P5: nothing is sent inside a gap, a pause or a cooldown.
                prop_assert!(next_call.is_none_or(|n| n <= now) && due <= now);
                prop_assert!(hold_until.is_none_or(|n| n <= now) && retry.is_none_or(|n| n <= now));
                prop_assert!(!matches!(paused_until, Some(None)));
            }
            Verdict::Stop { .. } => prop_assert!(false, "nothing expires here"),
        }
    }
}
