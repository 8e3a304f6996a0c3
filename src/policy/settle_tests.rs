//! What a call leaves behind for its account: rests that grow, half caps, failures in a row.

use super::*;
use crate::domain::outcome::{Phase, Problem};
use crate::domain::policy::Cooldown;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

const HOUR: Duration = Duration::from_secs(3600);

fn at(hour: i64) -> Timestamp {
    Timestamp::from_second(1_795_000_000 + hour * 3600).unwrap()
}

fn policy() -> Policy {
    let cooldown = Cooldown {
        first: 24 * HOUR,
        factor: 2,
        max: 168 * HOUR,
        person_within: 168 * HOUR,
        half_caps: 72 * HOUR,
        failures: 3,
        failures_pause: 24 * HOUR,
    };
    Policy { cooldown, ..Policy::unlimited() }
}

fn settle(outcome: Outcome, now: Timestamp, history: &History) -> Consequence {
    let mut dice = ChaCha12Rng::seed_from_u64(7);
    consequence(Sending { attempt: 1, retries: 0 }, outcome, now, &policy(), history, &mut dice)
}

fn problem() -> Problem {
    Problem::local("x", "y")
}

#[test]
fn each_throttling_within_a_month_rests_longer_and_a_second_within_a_week_waits_for_a_person() {
    let mut history = History::default();
    // Days of the throttlings, and the rest in hours; whether a person must decide.
    for (day, rest, person) in
        [(0, 24, false), (3, 48, true), (20, 96, false), (45, 168, false), (90, 24, false)]
    {
        let now = at(day * 24);
        let consequence = settle(Outcome::Throttled(problem()), now, &history);
        let until = at(day * 24 + rest);
        assert_eq!(consequence.hold, Some(AccountHold { reason: Reason::Cooldown, until }), "day {day}");
        let cause = consequence.account_down.map(|down| down.cause);
        assert_eq!(cause, person.then_some(DownCause::Throttled), "day {day}");
        history = consequence.history;
        assert_eq!(history.half_caps_until, Some(at(day * 24 + rest + 72)));
        assert_eq!(history.throttled_at, Some(now));
    }
}

#[test]
fn so_many_failures_in_a_row_make_it_rest_and_a_success_forgets_them() {
    let accepted = || Outcome::Accepted { chat_id: None, message_ids: vec![] };
    let failures = [
        Outcome::Refused(problem()),
        Outcome::Uncertain { phase: Phase::Written, problem: problem() },
        Outcome::NotSent { problem: problem(), hold: Hold::Message },
    ];
    let mut history = History::default();
    for (index, outcome) in failures.iter().enumerate() {
        let consequence = settle(outcome.clone(), at(0), &history);
        let rests = (index == 2).then_some(AccountHold { reason: Reason::Failures, until: at(24) });
        assert_eq!(consequence.hold, rests, "{index}");
        history = consequence.history;
    }
    assert_eq!(history.failures, 0, "after the rest the count begins again");
    for outcome in
        [failures[0].clone(), failures[0].clone(), accepted(), failures[0].clone(), failures[0].clone()]
    {
        let consequence = settle(outcome, at(0), &history);
        assert_eq!(consequence.hold, None);
        history = consequence.history;
    }
}

#[test]
fn what_is_not_the_messages_fault_counts_for_nothing() {
    let history = History { failures: 2, ..History::default() };
    for outcome in [
        Outcome::NotSent { problem: problem(), hold: Hold::Account(None) },
        Outcome::NotSent { problem: problem(), hold: Hold::Api },
        Outcome::AccountDown { cause: DownCause::Disconnected, problem: problem() },
        Outcome::AccountDown { cause: DownCause::Key, problem: problem() },
    ] {
        let consequence = settle(outcome.clone(), at(0), &history);
        assert_eq!(consequence.history, history, "{outcome:?}");
        assert!(consequence.hold.is_none_or(|hold| hold.reason == Reason::ApiRateLimited), "{outcome:?}");
    }
}

#[test]
fn only_what_is_concerned_is_down() {
    let down = |cause| settle(Outcome::AccountDown { cause, problem: problem() }, at(0), &History::default());
    for cause in [DownCause::Disconnected, DownCause::Restricted] {
        let consequence = down(cause);
        assert_eq!(consequence.account_down.map(|down| down.cause), Some(cause));
        assert_eq!(consequence.key_refused, None, "the other accounts go on");
    }
    let consequence = down(DownCause::Key);
    assert!(consequence.account_down.is_none() && consequence.key_refused.is_some());
}
