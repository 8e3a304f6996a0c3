//! Caps, hours, breaks, cooldowns and the warm-up as the engine applies them, with a restart in the middle of each
//! (P4).

use std::time::Duration;

use outboxd::domain::calendar::{Calendar, parse_spans};
use outboxd::domain::caps::parse_caps;
use outboxd::domain::kind::Kind;
use outboxd::domain::message::{MessageId, NewMessage};
use outboxd::domain::policy::{Breaks, Caps, Cooldown, Policy, WarmUp};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::engine::{Until, WaitStatus};
use outboxd::store::{Resumed, Scope};

use super::SEED;
use super::bench::Bench;
use super::carrier::Answer;
use super::time::seconds;
use crate::queue::{account, at, to_chat};

const HOUR: Duration = seconds(3600);

fn with_caps(policy: &mut Policy, kind: Option<Kind>, text: &str) {
    policy.caps.list.extend(parse_caps(kind, text).unwrap());
}

async fn enqueue(bench: &Bench, count: usize) -> Vec<MessageId> {
    let mut ids = Vec::new();
    for n in 0..count {
        ids.push(bench.enqueue(to_chat(&format!("c{n}"), &format!("m{n}"))).await);
    }
    ids
}

/// Returns why the message waits.
async fn wait_status(bench: &Bench, id: MessageId) -> WaitStatus {
    let view = bench.store().message(id, bench.clock_now()).await.unwrap().unwrap();
    bench.handle().explain(&view).await.unwrap().wait_status
}

fn times(bench: &Bench) -> Vec<u64> {
    bench.sends().iter().map(|call| call.at_ms).collect()
}

#[tokio::test]
async fn a_cap_counts_what_may_have_reached_somebody_and_holds_over_a_restart() {
    let mut bench = Bench::new(SEED).await;
    with_caps(&mut bench.policy, None, "3/24h");
    bench.provider.script(vec![Answer::Sent, Answer::Refused, Answer::Unknown, Answer::Sent]);
    let ids = enqueue(&bench, 7).await;
    bench.start().await;
    bench.advance(HOUR).await;
    // The refused message reached no recipient, the one with the unknown outcome may have.
    assert_eq!(times(&bench).len(), 4);
    let first_at = at(0);
    let waits = wait_status(&bench, ids[4]).await;
    assert_eq!((waits.reason, waits.until), (Reason::Cap, Some(Until::At(first_at + 24 * HOUR))));
    assert_eq!(waits.rule.as_deref(), Some("caps.all 3/24h, 3 of 3 used"));
    bench.restart().await;
    bench.advance(HOUR).await;
    bench.crash().await;
    bench.advance(HOUR).await;
    assert_eq!(times(&bench).len(), 4, "nothing is forgotten");
    assert_eq!(wait_status(&bench, ids[4]).await, waits);
    bench.until_sent(5).await;
    assert_eq!(times(&bench)[4], 24 * 3_600_000, "the moment at which the first send has left the window");
    let sends = bench.sends();
    bench.until_sent(6).await;
    assert_eq!(
        bench.sends()[5].wall,
        sends[2].wall + 24 * HOUR,
        "the third one counted, the second one did not"
    );
    bench.finish().await;
}

#[tokio::test]
async fn outside_its_hours_nothing_goes_and_what_is_overdue_goes_at_the_usual_pace() {
    let mut bench = Bench::new(SEED).await;
    // The clock begins on a Sunday at 09:00: open from 09:30 to 09:35 each day.
    let week = std::array::from_fn(|_| parse_spans("09:30-09:35").unwrap());
    bench.policy.calendar = Some(Calendar { week, ..Calendar::always() });
    let ids = enqueue(&bench, 60).await;
    bench.start().await;
    let waits = wait_status(&bench, ids[0]).await;
    assert_eq!((waits.reason, waits.until), (Reason::OutsideHours, Some(Until::At(at(1800)))));
    bench.advance(seconds(1800) + seconds(100)).await;
    bench.restart().await;
    bench.advance(2 * HOUR).await;
    let first_day = bench.sends();
    assert!((12..=30).contains(&first_day.len()), "five minutes at 10 to 20 s: {}", first_day.len());
    assert_eq!(first_day[0].wall, at(1800), "at the very opening");
    bench.crash().await;
    bench.advance(24 * HOUR).await;
    for call in bench.sends() {
        let second = call.wall.duration_since(at(0)).as_secs() % 86_400;
        assert!((1800..2100).contains(&second), "seed {SEED}: {}", call.wall);
    }
    let gaps: Vec<u64> = times(&bench).windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap >= 10_000), "seed {SEED}: {gaps:?}");
    assert!(bench.sends().len() > first_day.len() + 11, "the next day goes on");
    bench.finish().await;
}

#[tokio::test]
async fn failures_in_a_row_make_the_account_rest_and_say_so() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.cooldown = Cooldown { failures: 3, failures_pause: 24 * HOUR, ..bench.policy.cooldown };
    bench.provider.script(vec![Answer::Forbidden, Answer::Sent, Answer::Forbidden, Answer::Forbidden]);
    let ids = enqueue(&bench, 8).await;
    bench.start().await;
    bench.until_sent(4).await;
    bench.settle().await;
    bench.restart().await;
    bench.provider.script(vec![Answer::Forbidden]);
    bench.advance(HOUR).await;
    assert_eq!(times(&bench).len(), 5, "two before the restart and one after it are three in a row");
    let failed_at = bench.sends()[4].wall;
    let waits = wait_status(&bench, ids[5]).await;
    assert_eq!((waits.reason, waits.until), (Reason::Failures, Some(Until::At(failed_at + 24 * HOUR))));
    let event = "SELECT reason FROM events WHERE kind = 'account.hold'";
    assert_eq!(bench.queue().lines(event), ["failures"]);
    bench.until_sent(6).await;
    assert_eq!(bench.sends()[5].wall, failed_at + 24 * HOUR);
    bench.finish().await;
}

#[tokio::test]
async fn a_throttled_account_rests_then_has_half_its_caps_and_a_second_time_waits_for_a_person() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.cooldown = Cooldown {
        first: 24 * HOUR,
        half_caps: 72 * HOUR,
        person_within: 168 * HOUR,
        ..bench.policy.cooldown
    };
    with_caps(&mut bench.policy, None, "6/hour");
    bench.provider.script(vec![Answer::Throttled]);
    let ids = enqueue(&bench, 12).await;
    bench.start().await;
    bench.advance(seconds(60)).await;
    assert_eq!(wait_status(&bench, ids[1]).await.reason, Reason::Cooldown);
    bench.restart().await;
    bench.until_sent(2).await;
    assert_eq!(times(&bench)[1], 24 * 3_600_000);
    bench.advance(seconds(600)).await;
    assert_eq!(times(&bench).len(), 4, "half of six, the throttled one has left the window");
    let waits = wait_status(&bench, ids[4]).await;
    assert_eq!(
        (waits.reason, waits.rule.as_deref()),
        (Reason::HalfCaps, Some("caps.all 6/hour, 3 of 3 used"))
    );

    bench.provider.script(vec![Answer::Throttled]);
    bench.until_sent(5).await;
    bench.settle().await;
    let waits = wait_status(&bench, ids[5]).await;
    assert_eq!((waits.reason, waits.until), (Reason::AccountThrottled, Some(Until::Person)));
    bench.restart().await;
    bench.advance(72 * HOUR).await;
    assert_eq!(times(&bench).len(), 5, "no timer lets it go on");
    let scope = Scope::Account(account("1"));
    assert_eq!(bench.store().resume(scope, true, bench.clock_now()).await.unwrap(), Resumed::Done);
    bench.handle().wake(account("1"));
    bench.until_sent(6).await;
    bench.finish().await;
}

#[tokio::test]
async fn the_warm_up_begins_again_when_a_restriction_was_mended() {
    let mut bench = Bench::new(SEED).await;
    with_caps(&mut bench.policy, None, "10/24h");
    bench.policy.warm_up = Some(WarmUp { ramp: vec![20, 50], start: None, after_quiet: None });
    let ids = enqueue(&bench, 30).await;
    bench.start().await;
    bench.advance(HOUR).await;
    assert_eq!(times(&bench).len(), 2);
    let waits = wait_status(&bench, ids[2]).await;
    assert_eq!((waits.reason, waits.rule.as_deref()), (Reason::WarmUp, Some("caps.all 10/24h, 2 of 2 used")));
    let midnight = at(15 * 3600);
    assert_eq!(waits.until, Some(Until::At(midnight)), "the limit rises before the window has room");
    bench.restart().await;
    bench.until_sent(3).await;
    let late = bench.sends()[2].wall.duration_since(midnight).as_millis();
    assert!((0..=20_000).contains(&late), "a time of its own after midnight: {late} ms");
    bench
        .queue()
        .sql()
        .execute_batch("UPDATE accounts SET down_cause = 'restricted', down_at = '2026-11-23T00:00:30.000Z'")
        .unwrap();
    bench.advance(30 * HOUR).await;
    let before = times(&bench).len();
    bench.store().resume(Scope::Account(account("1")), false, bench.clock_now()).await.unwrap();
    bench.handle().wake(account("1"));
    bench.advance(HOUR).await;
    assert_eq!(times(&bench).len() - before, 2, "as on the first day");
    bench.finish().await;
}

#[tokio::test]
async fn a_break_holds_over_a_restart() {
    let mut bench = Bench::new(SEED).await;
    let breaks = Breaks { after_min: 3, after_max: 3, min: seconds(600), max: seconds(900) };
    bench.policy.rhythm.breaks = Some(breaks);
    let ids = enqueue(&bench, 8).await;
    bench.start().await;
    bench.until_sent(2).await;
    bench.settle().await;
    bench.restart().await;
    bench.until_sent(3).await;
    bench.settle().await;
    bench.crash().await;
    assert_eq!(wait_status(&bench, ids[3]).await.reason, Reason::Break);
    bench.until_sent(7).await;
    let gaps: Vec<u64> = times(&bench).windows(2).map(|pair| pair[1] - pair[0]).collect();
    let long: Vec<bool> = gaps.iter().map(|gap| *gap >= 600_000).collect();
    assert_eq!(long, [false, false, true, false, false, true], "seed {SEED}: {gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= 900_000), "seed {SEED}: {gaps:?}");
    bench.finish().await;
}

#[tokio::test]
async fn after_six_hours_without_the_api_no_hour_is_busier_than_any_other() {
    let mut bench = Bench::new(SEED).await;
    with_caps(&mut bench.policy, None, "20/hour");
    bench.provider.script(vec![Answer::NoConnection]);
    bench.provider.break_facts(&["account", "groups"]);
    enqueue(&bench, 100).await;
    bench.start().await;
    bench.advance(6 * HOUR).await;
    bench.provider.break_facts(&[]);
    bench.advance(6 * HOUR).await;
    let sent: Vec<u64> = bench.provider.accepted().iter().map(|call| call.at_ms).collect();
    assert!(sent[0] > 3_600_000, "the API was away: {}", sent[0]);
    for (index, first) in sent.iter().enumerate() {
        let hour = sent[index..].iter().filter(|at| **at < first + 3_600_000).count();
        assert!(hour <= 20, "seed {SEED}: {hour} in the hour from {first}");
    }
    assert!(sent.len() > 60, "and it goes on: {}", sent.len());
    bench.finish().await;
}

#[tokio::test]
async fn calls_that_certainly_reached_nobody_do_not_fill_a_cap() {
    let mut bench = Bench::new(SEED).await;
    with_caps(&mut bench.policy, None, "2/24h");
    bench.policy.caps = Caps { jitter_percent: 0, ..bench.policy.caps.clone() };
    bench.provider.script(vec![Answer::NoConnection, Answer::ApiLimited(seconds(60)), Answer::NotSent]);
    let message: NewMessage = to_chat("a", "x");
    let id = bench.enqueue(message).await;
    bench.start().await;
    bench.advance(3 * HOUR).await;
    assert_eq!(bench.state(id).await.0, StateName::Sent);
    let second = bench.enqueue(to_chat("b", "y")).await;
    bench.advance(HOUR).await;
    assert_eq!(bench.state(second).await.0, StateName::Sent, "one of two was used");
    bench.finish().await;
}
