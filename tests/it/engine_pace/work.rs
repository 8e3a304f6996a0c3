//! What an account keeps between its steps, and the work that runs outside the runtime's thread.

use std::collections::BTreeSet;
use std::time::Duration;

use outboxd::domain::caps::parse_caps;
use outboxd::domain::message::NewMessage;
use outboxd::domain::policy::Gap;
use outboxd::engine::ForecastRequest;

use super::bench::Bench;
use super::carrier::Answer;
use super::time::seconds;
use crate::queue::{account, at, to_chat};

const SEED: u64 = 20_261_122;

fn everything() -> ForecastRequest {
    ForecastRequest {
        account_id: None,
        campaigns: BTreeSet::new(),
        days: 300,
        runs: 1,
        lists: false,
        soon: None,
        with: Vec::new(),
    }
}

#[tokio::test]
async fn an_account_that_waits_has_one_timer_however_often_it_is_woken() {
    let mut bench = Bench::new(SEED).await;
    for number in 0..3 {
        let later = NewMessage {
            not_before: Some(at(86_400)),
            account_id: account(&number.to_string()),
            ..to_chat("c", "x")
        };
        bench.enqueue(later).await;
    }
    bench.start().await;
    bench.settle().await;
    for _ in 0..50 {
        (0..3).for_each(|number| bench.handle().wake(account(&number.to_string())));
        bench.settle().await;
    }
    assert_eq!(bench.handle().timers(), 3);
    bench.finish().await;
}

/// The same caps hold whether an account remembers its sends or a restart makes it read them again; a message that
/// reached no recipient does not count.
#[tokio::test]
async fn what_an_account_remembers_of_its_sends_is_what_the_queue_holds() {
    let mut times = Vec::new();
    for restarts in [false, true] {
        let mut bench = Bench::new(SEED).await;
        bench.policy.gap = Gap { min: seconds(60), max: seconds(60) };
        bench.policy.caps.list = parse_caps(None, "4/hour, 9/24h").unwrap();
        bench.provider.script(vec![
            Answer::Sent,
            Answer::Refused,
            Answer::Sent,
            Answer::Unknown,
            Answer::Sent,
        ]);
        for number in 0..14 {
            bench.enqueue(to_chat(&format!("c{number}"), "x")).await;
        }
        bench.start().await;
        for sent in 1..=11 {
            bench.until_sent(sent).await;
            bench.settle().await;
            if restarts {
                bench.restart().await;
            }
        }
        let sent: Vec<i64> =
            bench.sends().iter().map(|call| call.wall.duration_since(at(0)).as_secs()).collect();
        assert!(sent[5] >= 3600, "four an hour, without the refused one: {sent:?}");
        assert!(sent[4] < 3600, "the refused one reached nobody: {sent:?}");
        assert!(sent[10] >= 86_400, "nine a day: {sent:?}");
        times.push(sent.iter().map(|second| second / 120).collect::<Vec<_>>());
        bench.finish().await;
    }
    assert_eq!(times[0], times[1], "with and without restarts, to two minutes");
}

/// The runtime has one thread: while a forecast occupies it, nothing else of the daemon runs.
#[tokio::test]
async fn the_runtime_goes_on_while_a_forecast_and_an_audit_run() {
    let mut bench = Bench::new(SEED).await;
    let many = (0..3000)
        .map(|number| NewMessage { not_before: Some(at(3600)), ..to_chat(&format!("c{number}"), "x") });
    bench.store().enqueue(many.collect(), outboxd::store::EnqueueMode::Each, at(0)).await.unwrap();
    bench.start().await;
    bench.settle().await;
    let handle = bench.handle();
    let forecast = handle.forecast(ForecastRequest { runs: 7, ..everything() });
    let mut turns = 0_u64;
    let found = tokio::select! {
        found = forecast => found.unwrap(),
        () = async { loop { turns += 1; tokio::task::yield_now().await; } } => unreachable!(),
    };
    assert_eq!((found.total.messages, found.total.sent), (3000, 3000));
    // If the forecast occupied the runtime, other tasks would run only between two reads of the queue, about ten
    // times.
    assert!(turns > 500, "{turns} turns of the runtime while a forecast of 3,000 messages ran");
    bench.finish().await;
}

#[tokio::test]
async fn a_forecast_ends_when_nobody_waits_for_it_and_when_the_daemon_stops() {
    let mut bench = Bench::new(SEED).await;
    let many = (0..3000)
        .map(|number| NewMessage { not_before: Some(at(3600)), ..to_chat(&format!("c{number}"), "x") });
    bench.store().enqueue(many.collect(), outboxd::store::EnqueueMode::Each, at(0)).await.unwrap();
    bench.start().await;
    bench.settle().await;
    let handle = bench.handle();
    let endless =
        || handle.forecast(ForecastRequest { account_id: Some(account("1")), runs: 200, ..everything() });
    tokio::select! {
        _ended = endless() => panic!("200 runs take seconds"),
        () = outboxd::clock::Clock::sleep(&outboxd::clock::SystemClock::new(), Duration::from_millis(300)) => {}
    }
    // The slot of the abandoned forecast is free again.
    let short = ForecastRequest { days: 1, ..everything() };
    assert_eq!(handle.forecast(short).await.unwrap().total.messages, 3000);
    let (ended, ()) = tokio::join!(endless(), bench.stop(seconds(0)));
    assert!(ended.is_err(), "the daemon stops");
    bench.finish().await;
}

/// Caps that are changed to a shorter window and back while the account runs: the long window still counts everything
/// (P4).
#[tokio::test]
async fn caps_that_are_changed_to_a_shorter_window_and_back_forget_nothing() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.gap = Gap { min: seconds(60), max: seconds(60) };
    bench.policy.caps.list = parse_caps(None, "5/24h").unwrap();
    for number in 0..9 {
        bench.enqueue(to_chat(&format!("c{number}"), "x")).await;
    }
    bench.start().await;
    bench.until_sent(3).await;
    let whole = bench.policy.clone();
    let mut short = whole.clone();
    short.caps.list = parse_caps(None, "1/hour").unwrap();
    bench.handle().set_policy(account("1"), short);
    bench.until_sent(4).await;
    bench.handle().set_policy(account("1"), whole);
    bench.until_sent(6).await;
    let sends = bench.sends();
    let window = (sends[5].at_ms - sends[0].at_ms) / 1000;
    assert!(window >= 86_400, "the sixth went {window} s after the first");
    bench.finish().await;
}

/// An operator slows an account down: the longer gap holds for the pause that has begun, also over a restart (P3).
#[tokio::test]
async fn a_longer_gap_holds_for_the_pause_that_has_begun() {
    for restarts in [false, true] {
        let mut bench = Bench::new(SEED).await;
        bench.policy.gap = Gap { min: seconds(10), max: seconds(12) };
        for number in 0..2 {
            bench.enqueue(to_chat(&format!("c{number}"), "x")).await;
        }
        bench.start().await;
        bench.until_sent(1).await;
        bench.advance(seconds(1)).await;
        bench.policy.gap = Gap { min: seconds(300), max: seconds(400) };
        if restarts {
            bench.restart().await;
        } else {
            bench.handle().set_policy(account("1"), bench.policy.clone());
        }
        bench.until_sent(2).await;
        let sends = bench.sends();
        let pause = (sends[1].at_ms - sends[0].at_ms) / 1000;
        assert!(pause >= 300, "{pause} s, a restart: {restarts}");
        bench.finish().await;
    }
}

/// A call that panicked may have reached its recipient: the account pauses as after any call (P3).
#[tokio::test]
async fn the_pause_holds_after_a_panic_in_a_call() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.gap = Gap { min: seconds(300), max: seconds(400) };
    bench.provider.script(vec![Answer::Panic]);
    for number in 0..2 {
        bench.enqueue(to_chat(&format!("c{number}"), "x")).await;
    }
    bench.start().await;
    bench.until_sent(2).await;
    let sends = bench.sends();
    let pause = (sends[1].at_ms - sends[0].at_ms) / 1000;
    assert!(pause >= 300, "only {pause} s after the panic, which itself rests the account for 60 s");
    bench.finish().await;
}
