//! Tests of what follows from a call for its account: rests that grow, half caps, failures in a row.

use super::*;
use crate::domain::outcome::{Phase, ProviderError};
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
    settle_blamed(outcome, Blame::default(), now, history)
}

fn settle_blamed(outcome: Outcome, blame: Blame, now: Timestamp, history: &History) -> Consequence {
    let mut dice = ChaCha12Rng::seed_from_u64(7);
    consequence(Sending { attempt: 1, retries: 0 }, outcome, blame, now, &policy(), history, &mut dice)
}

fn answered(kind: &str, status: u16, detail: &str) -> ProviderError {
    ProviderError {
        status: Some(status),
        kind: kind.into(),
        detail: Some(detail.into()),
        ..ProviderError::default()
    }
}

fn problem() -> ProviderError {
    ProviderError::local("x", "y")
}

#[test]
fn each_throttling_within_a_month_rests_longer_and_a_second_within_a_week_waits_for_a_person() {
    let mut history = History::default();
    // The day of each throttling, the rest in hours, and whether a person must decide.
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
    let server_error = answered("provider/server_error", 500, "");
    let failures = [
        Outcome::Refused(answered("provider/insufficient_permissions", 403, "")),
        Outcome::Uncertain { phase: Phase::Answered, problem: server_error },
        Outcome::NotSent { problem: answered("api/proxy_auth_error", 407, ""), hold: Hold::Message },
    ];
    let mut history = History::default();
    for (index, outcome) in failures.iter().enumerate() {
        let own = Blame { is_own: true, earlier: 0 };
        let consequence = settle_blamed(outcome.clone(), own, at(0), &history);
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

/// A gateway that refuses one message again and again says nothing about the account.
#[test]
fn the_retries_of_one_message_that_a_gateway_refuses_count_once() {
    let mut history = History::default();
    let gateway = answered("outboxd/untyped_answer", 403, "<html>");
    let dice = &mut ChaCha12Rng::seed_from_u64(1);
    for retries in 0..5 {
        let outcome = Outcome::NotSent { problem: gateway.clone(), hold: Hold::Api };
        let (blame, sending) =
            (Blame { is_own: true, earlier: 0 }, Sending { attempt: retries + 1, retries });
        let consequence = consequence(sending, outcome, blame, at(0), &policy(), &history, dice);
        assert_eq!(consequence.hold, None, "after {retries} retries");
        history = consequence.history;
    }
    assert_eq!(history.failures, 1);
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

/// H1: a list of people who cannot be written to is not the account's fault.
#[test]
fn what_concerns_a_recipient_or_the_message_counts_for_nothing() {
    let history = History { failures: 2, ..History::default() };
    let permissions = "provider/insufficient_permissions";
    for problem in [
        answered("provider/unprocessable_entity", 422, "Recipient cannot be reached."),
        answered("provider/unprocessable_entity", 422, ""),
        answered("provider/invalid_parameters", 400, "Invalid User ID."),
        answered("api/invalid_parameters", 400, ""),
        answered("provider/resource_not_found", 404, ""),
        answered("api/resource_not_found", 404, ""),
        answered("provider/something_new", 418, ""),
        answered("provider/invalid_file", 415, ""),
        answered(permissions, 403, "The profile can't be accessed."),
        answered(permissions, 403, "The recipient does not allow incoming InMails."),
        answered("outboxd/too_large", 413, "too large"),
        ProviderError::local("invalid_request", "no header"),
    ] {
        let consequence = settle(Outcome::Refused(problem.clone()), at(0), &history);
        assert_eq!((consequence.history, consequence.hold), (history.clone(), None), "{problem}");
    }
    let conflict = answered("provider/conflict", 409, "");
    let conflict = Outcome::Uncertain { phase: Phase::Answered, problem: conflict };
    assert_eq!(settle(conflict, at(0), &history).history, history);
    let spoken = answered(permissions, 403, "Your account needs verification.");
    assert!(settle(Outcome::Refused(spoken), at(0), &history).hold.is_some(), "that is the account's");
}

#[test]
fn trouble_of_the_api_counts_only_where_the_api_answered_others() {
    let history = History { failures: 2, ..History::default() };
    let own = Blame { is_own: true, earlier: 0 };
    for problem in [
        ProviderError::local("timeout", "no answer in time"),
        ProviderError::local("no_answer", "reset"),
        answered("outboxd/untyped_answer", 502, "<html>"),
        answered("outboxd/untyped_success", 200, "<html>"),
        answered("api/internal_error", 500, ""),
        answered("api/something_new", 503, ""),
        answered("provider/server_error", 502, ""),
        answered("provider/timeout", 504, ""),
        answered("provider/something_new", 503, ""),
    ] {
        let outcome = Outcome::Uncertain { phase: Phase::Written, problem };
        assert_eq!(settle(outcome.clone(), at(0), &history).history, history, "{outcome:?}");
        let blamed = settle_blamed(outcome.clone(), own, at(0), &history);
        assert!(blamed.hold.is_some_and(|hold| hold.reason == Reason::Failures), "{outcome:?}");
        let earlier = Blame { is_own: false, earlier: 1 };
        assert!(settle_blamed(outcome, earlier, at(0), &history).hold.is_some(), "found out later");
    }
}

/// H3: the page of a gateway spends no retry, unless it concerns this message alone.
#[test]
fn a_page_of_a_gateway_leaves_its_message_in_its_place_unless_others_pass() {
    let problem = answered("outboxd/untyped_answer", 403, "<html>");
    let outcome = Outcome::NotSent { problem, hold: Hold::Api };
    let kept = |blame| match settle_blamed(outcome.clone(), blame, at(0), &History::default()).message {
        Settled::Queued { retry_at, spent_retry, .. } => (retry_at.is_some(), spent_retry),
        other => panic!("{other:?}"),
    };
    assert_eq!(kept(Blame::default()), (false, false));
    assert_eq!(kept(Blame { is_own: true, earlier: 0 }), (true, true));
    assert_eq!(kept(Blame { is_own: false, earlier: 2 }), (true, true));
    let problem = ProviderError::local("cannot_connect", "no route");
    let outcome = Outcome::NotSent { problem, hold: Hold::Api };
    let blame = Blame { is_own: true, earlier: 0 };
    let consequence = settle_blamed(outcome, blame, at(0), &History::default());
    assert!(matches!(consequence.message, Settled::Queued { retry_at: None, spent_retry: false, .. }));
}

/// H6: a limited look-up rests the account as a limited send does.
#[test]
fn a_limited_read_rests_the_account() {
    let mut dice = ChaCha12Rng::seed_from_u64(7);
    let mut rest = |kind: &str, hold| {
        let unread = Unread { problem: Box::new(answered(kind, 429, "")), down: None, hold };
        rest_after_read(&unread, at(0), &policy(), &History::default(), &mut dice)
    };
    let limited = rest("api/too_many_requests", Some(Hold::Account(Some(HOUR)))).unwrap();
    assert_eq!(limited.hold.reason, Reason::ApiRateLimited);
    let wait = Duration::try_from(limited.hold.until.duration_since(at(1))).unwrap();
    assert!((5..=20).contains(&wait.as_secs()), "{wait:?}");
    let throttled = rest("provider/too_many_requests", None).unwrap();
    assert_eq!(throttled.hold, AccountHold { reason: Reason::Cooldown, until: at(24) });
    assert_eq!((throttled.history.throttles, throttled.down), (1, None));
    assert_eq!(rest("provider/server_error", None), None);
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

#[test]
fn a_limit_does_not_cut_short_the_rest_after_failures_in_a_row() {
    // Two failures were counted, and another turned out to be the account's own after it was settled.
    let blame = Blame { is_own: false, earlier: 1 };
    let history = History { failures: 2, ..History::default() };
    let limited = |seconds| Outcome::NotSent {
        problem: answered("api/too_many_requests", 429, ""),
        hold: Hold::Account(Some(Duration::from_secs(seconds))),
    };
    let rest = AccountHold { reason: Reason::Failures, until: at(24) };
    assert_eq!(settle_blamed(limited(30), blame, at(0), &history).hold, Some(rest));
    let throttled = settle_blamed(Outcome::Throttled(problem()), blame, at(0), &history);
    assert_eq!(throttled.hold.map(|hold| hold.until), Some(at(24)));
    let hold = settle_blamed(limited(30), Blame::default(), at(0), &history).hold.unwrap();
    assert_eq!((hold.reason, hold.until < at(1)), (Reason::ApiRateLimited, true));
}
