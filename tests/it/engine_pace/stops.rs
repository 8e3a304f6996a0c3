//! After a stop nothing goes out (P5): pauses and cancellations at the worst moment, and the end of a run.

use outboxd::clock::Clock;
use outboxd::domain::calendar::{Calendar, parse_spans};
use outboxd::domain::message::NewMessage;
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::store::{PauseRequest, Scope};

use super::SEED;
use super::bench::Bench;
use super::carrier::{Answer, Kind};
use super::time::seconds;
use crate::queue::{account, cancel, to_chat};

/// Returns a bench whose only account types its first message.
async fn typing() -> (Bench, outboxd::domain::message::MessageId) {
    let mut bench = Bench::new(SEED).await;
    bench.policy.typing.enabled = true;
    let id = bench.enqueue(to_chat("a", "some words to type")).await;
    bench.start().await;
    bench.until(|bench| bench.provider.calls_of(Kind::Composing).len() == 1).await;
    bench.advance(seconds(1)).await;
    assert!(bench.sends().is_empty(), "it still types");
    (bench, id)
}

#[tokio::test]
async fn a_pause_while_somebody_types_stops_the_send() {
    for scope in [Scope::Account(account("1")), Scope::Everything] {
        for woken in [true, false] {
            let (bench, id) = typing().await;
            bench.store().pause(scope.clone(), PauseRequest::default(), bench.clock_now()).await.unwrap();
            if woken {
                bench.handle().wake(account("1"));
            }
            bench.advance(seconds(600)).await;
            assert_eq!(bench.sends().len(), 0, "{scope:?}, woken {woken}");
            assert_eq!(bench.state(id).await.0, StateName::Queued);
            assert_eq!(bench.queue().value("SELECT count(*) FROM attempts"), "0", "it left nothing behind");
            bench.store().resume(scope.clone(), false, bench.clock_now()).await.unwrap();
            bench.handle().wake(account("1"));
            bench.until_sent(1).await;
            let typed = bench.provider.calls_of(Kind::Composing);
            assert_eq!(typed.len(), 2, "it types anew");
            bench.finish().await;
        }
    }
}

#[tokio::test]
async fn a_pause_with_an_end_ends_by_itself() {
    let mut bench = Bench::new(SEED).await;
    for n in 0..2 {
        bench.enqueue(to_chat(&format!("c{n}"), "x")).await;
    }
    bench.start().await;
    bench.until_sent(1).await;
    let until = bench.clock_now() + seconds(300);
    let request = PauseRequest { until: Some(until), ..PauseRequest::default() };
    bench.store().pause(Scope::Account(account("1")), request, bench.clock_now()).await.unwrap();
    bench.until_sent(2).await;
    assert_eq!(bench.sends()[1].wall, until);
    bench.finish().await;
}

#[tokio::test]
async fn a_message_that_is_cancelled_while_somebody_types_is_not_sent() {
    for woken in [true, false] {
        let (bench, id) = typing().await;
        cancel(bench.store(), id, bench.clock_now()).await.unwrap();
        if woken {
            bench.handle().wake(account("1"));
        }
        bench.enqueue(to_chat("b", "next")).await;
        bench.until_sent(1).await;
        bench.advance(seconds(600)).await;
        let texts: Vec<String> = bench.sends().into_iter().map(|call| call.text).collect();
        assert_eq!(texts, ["next"], "woken {woken}");
        assert_eq!(bench.state(id).await.0, StateName::Cancelled);
        bench.finish().await;
    }
}

#[tokio::test]
async fn a_message_that_would_expire_while_somebody_types_goes_without_the_indicator() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.typing.enabled = true;
    let expires_at = Some(crate::queue::at(3));
    let id = bench.enqueue(NewMessage { expires_at, ..to_chat("a", "some words to type") }).await;
    bench.start().await;
    bench.advance(seconds(600)).await;
    assert_eq!(bench.provider.calls_of(Kind::Composing).len(), 0);
    assert_eq!(bench.sends().len(), 1);
    assert_eq!(bench.state(id).await, (StateName::Sent, Reason::Delivered));
    bench.finish().await;
}

/// The account is free again only after its hours: the indicator does not announce a message that goes the next day.
#[tokio::test]
async fn nothing_types_when_the_hours_end_before_the_send() {
    let mut bench = Bench::new(SEED).await;
    bench.policy.typing.enabled = true;
    // The bench begins at nine.
    let week = std::array::from_fn(|_| parse_spans("09:00-09:01").unwrap());
    bench.policy.calendar = Some(Calendar { week, ..Calendar::always() });
    for n in 0..12 {
        bench.enqueue(to_chat(&format!("c{n}"), "some words to type")).await;
    }
    bench.start().await;
    bench.advance(seconds(3600)).await;
    let (sends, typing) = (bench.sends().len(), bench.provider.calls_of(Kind::Composing).len());
    assert!(sends > 1, "{sends}");
    assert_eq!(typing, sends, "each indicator is followed by its send");
    bench.finish().await;
}

#[tokio::test]
async fn stopping_with_a_call_that_hangs_settles_it_at_the_end_of_the_grace() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script(vec![Answer::Hang]);
    let id = bench.enqueue(to_chat("a", "hangs")).await;
    let next = bench.enqueue(to_chat("b", "next")).await;
    bench.start().await;
    bench.until_sent(1).await;
    assert_eq!(bench.state(id).await.0, StateName::Sending);
    let begun = bench.clock.monotonic();
    bench.stop(seconds(25)).await;
    assert_eq!(bench.clock.monotonic() - begun, seconds(25));
    assert_eq!(bench.state(id).await, (StateName::Uncertain, Reason::Reconciling));
    assert_eq!(bench.queue().lines("SELECT outcome, type FROM attempts"), ["uncertain|outboxd/stopped"]);
    assert_eq!(bench.state(next).await.0, StateName::Queued);
    assert_eq!(bench.sends().len(), 1);
    bench.finish().await;
}

#[tokio::test]
async fn stopping_waits_for_a_call_that_ends_within_the_grace() {
    let mut bench = Bench::new(SEED).await;
    bench.provider.script(vec![Answer::SentAfter(seconds(8))]);
    let id = bench.enqueue(to_chat("a", "slow")).await;
    bench.start().await;
    bench.until_sent(1).await;
    bench.stop(seconds(25)).await;
    assert_eq!(bench.state(id).await, (StateName::Sent, Reason::Delivered));
    assert!(bench.clock.monotonic() < seconds(20), "it does not sit out the grace");
    bench.finish().await;
}

#[tokio::test]
async fn stopping_while_somebody_types_lets_go_without_a_trace() {
    let (mut bench, id) = typing().await;
    bench.stop(seconds(25)).await;
    bench.advance(seconds(600)).await;
    assert_eq!(bench.sends().len(), 0);
    assert_eq!(bench.state(id).await.0, StateName::Queued);
    assert_eq!(bench.queue().value("SELECT count(*) FROM attempts"), "0");
    bench.start().await;
    bench.until_sent(1).await;
    bench.finish().await;
}

#[tokio::test]
async fn a_crash_in_the_middle_of_a_call_is_found_by_the_next_run() {
    let mut bench = Bench::new(SEED).await;
    let id = bench.enqueue(to_chat("a", "caught")).await;
    bench.enqueue(to_chat("b", "next")).await;
    // What a killed process leaves: the intent, and no answer.
    bench.queue().begin(id, 1, bench.clock_now()).await;
    let recovered = bench.start().await;
    assert_eq!(recovered.uncertain.len(), 1);
    assert_eq!((recovered.uncertain[0].message_id, recovered.queued), (id, 1));
    bench.until_sent(1).await;
    let send = bench.sends().remove(0);
    assert_eq!(
        (send.text.as_str(), send.at_ms),
        ("next", 12_000),
        "the gap of the lost call counts from now"
    );
    assert_eq!(bench.state(id).await, (StateName::Uncertain, Reason::Reconciling));
    bench.finish().await;
}
