//! The engine on a clock that a test moves, with a provider that records its calls and their times (P2 to P5).
//!
//! Time does not pass while any task of the engine is at work and moves only from one sleep to the next, so each
//! schedule is exact however slow the machine is. `bench.rs` defines "at work", `time.rs` is the clock, `carrier.rs`
//! the provider.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod account_sync;
pub(crate) mod bench;
mod carrier;
mod fair_share;
mod guard;
mod limits;
mod outcomes;
mod preflight;
mod preflight_outcomes;
mod stops;
pub(crate) mod time;
mod wall_clock;
mod work;

use std::time::Duration;

use jiff::SignedDuration;
use outboxd::domain::message::NewMessage;
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::store::{PauseRequest, Scope};

use crate::queue::{account, at, to_chat};
use bench::Bench;
use carrier::{Answer, Kind};
use time::seconds;

const SEED: u64 = 20_261_122;

/// Returns the pauses between the calls, in milliseconds of the monotonic clock.
fn gaps(bench: &Bench) -> Vec<u64> {
    let times: Vec<u64> = bench.sends().iter().map(|call| call.at_ms).collect();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Asserts that every pause is in the policy's range.
fn assert_paced(bench: &Bench, what: &str) {
    let gaps = gaps(bench);
    assert!(gaps.iter().all(|gap| (10_000..=20_000).contains(gap)), "seed {SEED}, {what}: {gaps:?}");
}

#[tokio::test]
async fn five_messages_go_out_one_gap_apart() {
    for seed in SEED..SEED + 5 {
        let mut bench = Bench::new(seed).await;
        for n in 0..5 {
            bench.enqueue(to_chat(&format!("c{n}"), &format!("m{n}"))).await;
        }
        bench.start().await;
        bench.until_sent(5).await;
        let gaps = gaps(&bench);
        assert!(gaps.iter().all(|gap| (10_000..=20_000).contains(gap)), "seed {seed}: {gaps:?}");
        assert!(gaps.windows(2).any(|pair| pair[0] != pair[1]), "seed {seed}: a rhythm, {gaps:?}");
        let texts: Vec<String> = bench.sends().into_iter().map(|call| call.text).collect();
        assert_eq!(texts, ["m0", "m1", "m2", "m3", "m4"], "seed {seed}");
        assert_eq!(bench.sends()[0].at_ms, 0, "an account that never sent does not wait");
        bench.finish().await;
    }
}

#[tokio::test]
async fn the_gap_counts_from_the_end_of_a_call_that_took_its_time() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script(vec![Answer::SentAfter(seconds(7)); 3]);
    for n in 0..3 {
        bench.enqueue(to_chat(&format!("c{n}"), "x")).await;
    }
    bench.start().await;
    bench.until_sent(3).await;
    let gaps = gaps(&bench);
    assert!(gaps.iter().all(|gap| (17_000..=27_000).contains(gap)), "seed {SEED}: {gaps:?}");
    bench.finish().await;
}

#[tokio::test]
async fn a_wall_clock_that_is_set_changes_no_gap() {
    for typing in [false, true] {
        for hours in [-1, 1, -26, 26] {
            let mut bench = Bench::new(SEED).await;
            bench.policy.typing.enabled = typing;
            for n in 0..6 {
                bench.enqueue_long_ago(to_chat(&format!("c{n}"), "some words to type")).await;
            }
            bench.start().await;
            for sent in 1..=6 {
                bench.until_sent(sent).await;
                // In the middle of the pause, during the sleep that ends it.
                bench.advance(seconds(4)).await;
                bench.clock.set_wall_by(SignedDuration::from_hours(hours));
            }
            assert_paced(&bench, &format!("clock set by {hours} h, typing {typing}"));
            bench.finish().await;
        }
    }
}

#[tokio::test]
async fn a_wall_clock_that_is_set_while_somebody_types_changes_no_gap() {
    for hours in [-1, 1] {
        let mut bench = Bench::new(SEED).await;
        bench.policy.typing.enabled = true;
        for n in 0..4 {
            bench.enqueue_long_ago(to_chat(&format!("c{n}"), "some words to type")).await;
        }
        bench.start().await;
        for n in 1..=4 {
            bench.until(|bench| bench.provider.calls_of(Kind::Composing).len() == n).await;
            bench.clock.set_wall_by(SignedDuration::from_hours(hours));
            bench.until_sent(n).await;
        }
        assert_paced(&bench, &format!("clock set by {hours} h while typing"));
        bench.finish().await;
    }
}

#[tokio::test]
async fn a_restart_keeps_the_stored_pause() {
    for (pause, say_goodbye) in [(1, true), (1, false), (9, true), (9, false)] {
        let mut bench = Bench::new(SEED).await;
        for n in 0..4 {
            bench.enqueue(to_chat(&format!("c{n}"), "x")).await;
        }
        bench.start().await;
        bench.until_sent(2).await;
        let stored = bench.next_call_at().await;
        bench.advance(seconds(pause)).await;
        if say_goodbye {
            bench.restart().await
        } else {
            bench.crash().await
        }
        assert_eq!(bench.next_call_at().await, stored, "goodbye {say_goodbye}");
        bench.until_sent(3).await;
        assert_eq!(bench.sends()[2].wall, stored, "neither earlier nor drawn anew");
        bench.until_sent(4).await;
        assert_paced(&bench, &format!("a restart after {pause} s"));
        bench.finish().await;
    }
}

#[tokio::test]
async fn a_restart_with_the_clock_set_back_waits_for_one_gap_at_most() {
    let mut bench = Bench::new(SEED).await;
    for n in 0..2 {
        bench.enqueue_long_ago(to_chat(&format!("c{n}"), "x")).await;
    }
    bench.start().await;
    bench.until_sent(1).await;
    bench.clock.set_wall_by(SignedDuration::from_hours(-1));
    bench.crash().await;
    bench.until_sent(2).await;
    assert_paced(&bench, "a restart with the clock set back");
    bench.finish().await;
}

#[tokio::test]
async fn a_clock_that_is_set_forward_right_after_a_start_changes_no_gap() {
    let mut bench = Bench::new(SEED).await;
    for n in 0..2 {
        bench.enqueue(to_chat(&format!("c{n}"), "x")).await;
    }
    bench.start().await;
    bench.until_sent(1).await;
    bench.advance(seconds(1)).await;
    bench.crash().await;
    // The pause is read from the queue, and the account has not looked at it yet.
    bench.clock.set_wall_by(SignedDuration::from_hours(1));
    bench.until_sent(2).await;
    assert_paced(&bench, "the clock set forward right after a start");
    bench.finish().await;
}

#[tokio::test]
async fn typing_is_shown_inside_the_gap_and_not_on_top_of_it() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.typing.enabled = true;
    for n in 0..5 {
        bench.enqueue(to_chat(&format!("c{n}"), "Hello Ada, how are you?")).await;
    }
    bench.start().await;
    bench.until_sent(5).await;
    let (typed, sent) = (bench.provider.calls_of(Kind::Composing), bench.sends());
    assert_eq!((typed.len(), sent.len()), (5, 5));
    for (typed, sent) in typed.iter().zip(&sent) {
        assert_eq!(typed.chat, sent.chat);
        // 1.5 s plus 170 to 290 ms for each of 23 characters, at most 12 s.
        let length = sent.at_ms - typed.at_ms;
        assert!((5_410..=8_170).contains(&length), "seed {SEED}: typed for {length} ms");
    }
    assert_eq!(typed[0].at_ms, 0, "a free account types at once");
    assert_paced(&bench, "typing");
    bench.finish().await;
}

#[tokio::test]
async fn a_long_text_is_typed_no_longer_than_the_policy_says() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.typing.enabled = true;
    bench.enqueue(to_chat("a", &"word ".repeat(300))).await;
    bench.enqueue(to_chat("b", &"word ".repeat(300))).await;
    bench.start().await;
    bench.until_sent(2).await;
    let (typed, sent) = (bench.provider.calls_of(Kind::Composing), bench.sends());
    assert_eq!(sent[0].at_ms - typed[0].at_ms, 12_000);
    assert_paced(&bench, "long texts");
    assert!(sent[1].at_ms - typed[1].at_ms <= 12_000);
    bench.finish().await;
}

#[tokio::test]
async fn a_message_says_itself_whether_somebody_types_and_a_first_message_never_does() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.typing.enabled = true;
    bench.enqueue(NewMessage { typing: Some(false), ..to_chat("no", "x") }).await;
    bench.enqueue(crate::queue::to_user("ada", outboxd::domain::message::Inbox::OfPolicy)).await;
    bench.enqueue(NewMessage { typing: None, ..to_chat("yes", "x") }).await;
    bench.start().await;
    bench.until_sent(3).await;
    let typed: Vec<String> =
        bench.provider.calls_of(Kind::Composing).into_iter().map(|call| call.chat).collect();
    assert_eq!(typed, ["yes"]);
    let sent: Vec<String> = bench.sends().into_iter().map(|call| call.chat).collect();
    assert_eq!(sent, ["no", "user ada from CLASSIC_PRIMARY", "yes"]);
    bench.finish().await;
}

#[tokio::test]
async fn a_typing_indicator_that_fails_stops_no_message() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.typing.enabled = true;
    bench.provider.break_composing();
    bench.enqueue(to_chat("a", "x")).await;
    bench.start().await;
    bench.until_sent(1).await;
    assert_eq!(bench.provider.calls_of(Kind::Composing).len(), 1, "it is not tried again");
    bench.finish().await;
}

#[tokio::test]
async fn messages_to_one_chat_keep_their_order() {
    use rand::RngExt;
    let mut bench = Bench::new(SEED).await;
    let mut dice = outboxd::clock::dice(SEED);
    // One call in three certainly reaches no recipient, so that messages are retried.
    let script = (0..80).map(|_| if dice.random_range(0..3) == 0 { Answer::NotSent } else { Answer::Sent });
    bench.provider.script(script.collect());
    for n in 0..24 {
        bench.enqueue(to_chat(&format!("c{}", n % 3), &format!("{n:02}"))).await;
    }
    bench.start().await;
    bench.until(|bench| bench.provider.accepted().len() == 24).await;
    for chat in ["c0", "c1", "c2"] {
        let accepted = bench.provider.accepted();
        let texts: Vec<&String> =
            accepted.iter().filter(|call| call.chat == chat).map(|call| &call.text).collect();
        assert!(texts.is_sorted(), "seed {SEED}: {chat} got {texts:?}");
        assert_eq!(texts.len(), 8);
    }
    assert!(gaps(&bench).iter().all(|gap| *gap >= 10_000), "seed {SEED}: {:?}", gaps(&bench));
    bench.finish().await;
}

#[tokio::test]
async fn twenty_accounts_send_beside_each_other_and_never_twice_at_once() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script(vec![Answer::SentAfter(seconds(3)); 100]);
    for n in 0..100 {
        let account_id = account(&format!("{}", n % 20));
        bench.enqueue(NewMessage { account_id, ..to_chat(&format!("c{n}"), "x") }).await;
    }
    bench.start().await;
    bench.until_sent(100).await;
    assert_eq!(bench.provider.most_at_once_on_one_account(), 1);
    assert!(bench.provider.most_at_once() > 1, "accounts do not wait for each other");
    assert!(bench.sends()[19].at_ms <= 20_000, "all begin within a gap");
    let mut schedules = std::collections::BTreeSet::new();
    for n in 0..20 {
        let id = account(&format!("{n}"));
        let sends = bench.sends();
        let times: Vec<u64> =
            sends.iter().filter(|call| call.account == id.as_str()).map(|call| call.at_ms).collect();
        assert_eq!(times.len(), 5);
        for pair in times.windows(2) {
            assert!((13_000..=23_000).contains(&(pair[1] - pair[0])), "seed {SEED}, {id}: {times:?}");
        }
        schedules.insert(times);
    }
    assert_eq!(schedules.len(), 20, "each account draws its own gaps");
    bench.finish().await;
}

#[tokio::test]
async fn the_same_seed_gives_the_same_schedule_and_another_seed_another() {
    let mut schedules = Vec::new();
    for seed in [SEED, SEED, SEED + 1] {
        let mut bench = Bench::new(seed).await;
        bench.policy.typing.enabled = true;
        for n in 0..4 {
            bench.enqueue(to_chat(&format!("c{n}"), "hello")).await;
        }
        bench.start().await;
        bench.until_sent(4).await;
        schedules.push(bench.sends().iter().map(|call| call.at_ms).collect::<Vec<_>>());
        bench.finish().await;
    }
    assert_eq!(schedules[0], schedules[1]);
    assert_ne!(schedules[0], schedules[2]);
}

#[tokio::test]
async fn a_scheduled_message_goes_at_its_time_and_an_expired_one_never() {
    let mut bench = Bench::new(SEED).await;
    bench.enqueue(NewMessage { not_before: Some(at(3600)), ..to_chat("a", "later") }).await;
    let late = NewMessage { not_before: Some(at(7200)), expires_at: Some(at(7260)), ..to_chat("b", "never") };
    let late = bench.enqueue(late).await;
    bench.start().await;
    bench.until_sent(1).await;
    assert_eq!(bench.sends()[0].wall, at(3600));
    bench.store().pause(outboxd::store::Scope::Everything, Default::default(), at(3601)).await.unwrap();
    bench.advance(seconds(4000)).await;
    assert_eq!(bench.state(late).await, (StateName::Expired, Reason::Expired));
    assert_eq!(bench.sends().len(), 1);
    bench.finish().await;
}

#[tokio::test]
async fn overdue_work_is_not_flushed() {
    let mut bench = Bench::new(SEED).await;
    for n in 0..5 {
        bench.enqueue(to_chat(&format!("c{n}"), "x")).await;
    }
    // The daemon was off for a day.
    bench.clock.set_wall_by(SignedDuration::from_hours(24));
    bench.start().await;
    bench.until_sent(5).await;
    assert_paced(&bench, "a day late");
    bench.finish().await;
}

/// The basis of every schedule above: time passes only when nothing is at work.
#[tokio::test]
async fn the_bench_itself_moves_time_only_from_one_sleep_to_the_next() {
    use outboxd::clock::Clock;
    let bench = Bench::new(SEED).await;
    let clock = bench.clock.clone();
    let short = clock.sleep(Duration::from_secs(5));
    let long = clock.sleep(Duration::from_secs(9));
    assert_eq!(clock.next(), Some(seconds(5)));
    assert!(clock.advance_to_next(seconds(60)));
    short.await;
    assert_eq!((clock.monotonic(), clock.now()), (seconds(5), at(5)));
    clock.set_wall_by(SignedDuration::from_hours(1));
    assert_eq!((clock.monotonic(), clock.now()), (seconds(5), at(3605)));
    assert!(!clock.advance_to_next(seconds(8)), "not before the limit");
    assert_eq!(clock.monotonic(), seconds(8));
    assert!(clock.advance_to_next(seconds(60)));
    long.await;
    assert_eq!(clock.next(), None);
}

/// When all accounts become free at the same moment, each begins at a time of its own within its gap (H14).
#[tokio::test]
async fn accounts_that_are_all_resumed_begin_at_times_of_their_own() {
    let mut bench = Bench::new(SEED).await;
    let pause = PauseRequest::default();
    bench.store().pause(Scope::Everything, pause, bench.clock_now()).await.unwrap();
    for n in 0..30 {
        bench.enqueue(NewMessage { account_id: account(&format!("{n}")), ..to_chat("c", "x") }).await;
    }
    bench.start().await;
    bench.advance(seconds(600)).await;
    assert_eq!(bench.sends().len(), 0);
    let resumed_at = bench.clock_now();
    bench.store().resume(Scope::Everything, false, resumed_at).await.unwrap();
    bench.handle().wake_everything().await.unwrap();
    bench.until_sent(30).await;
    let late = |wall: jiff::Timestamp| wall.duration_since(resumed_at).as_millis();
    let begun: std::collections::BTreeSet<i128> = bench.sends().iter().map(|call| late(call.wall)).collect();
    assert!(begun.len() > 25, "seed {SEED}: {begun:?}");
    assert!(begun.iter().all(|ms| (0..=20_001).contains(ms)), "seed {SEED}: {begun:?}");
    bench.finish().await;
}

/// A single free account sends at once, also right after a start.
#[tokio::test]
async fn a_single_account_begins_at_once() {
    let mut bench = Bench::new(SEED).await;
    bench.enqueue(to_chat("c", "x")).await;
    bench.start().await;
    bench.until_sent(1).await;
    assert_eq!(bench.sends()[0].at_ms, 0);
    bench.finish().await;
}
