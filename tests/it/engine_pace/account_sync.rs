//! Account data is read when it is old, while sends go on, and never delays them.

use std::time::Duration;

use super::bench::Bench;
use super::carrier::{Answer, Kind};
use super::time::seconds;
use crate::queue::{account, to_chat};

fn facts(bench: &Bench) -> Vec<String> {
    bench.provider.calls_of(Kind::Fact).into_iter().map(|call| call.chat).collect()
}

const ALL: [&str; 3] = ["account", "inboxes", "credits"];
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_account_with_work_is_read_at_the_start_and_again_when_it_is_old() {
    let mut bench = Bench::new(1).await;
    let tomorrow = bench.clock_now() + seconds(86_400);
    let later = outboxd::domain::message::NewMessage { not_before: Some(tomorrow), ..to_chat("c", "hi") };
    bench.enqueue(later).await;
    bench.start().await;
    bench.settle().await;
    assert_eq!(facts(&bench), [""; 0], "what is to be sent at once goes first");
    bench.advance(seconds(1)).await;
    assert_eq!(facts(&bench), ALL);
    bench.advance(HOUR * 5).await;
    assert_eq!(facts(&bench).len(), 3, "not before it is old");
    bench.advance(HOUR * 2).await;
    assert_eq!(facts(&bench).len(), 6);
    let known = bench.store().snapshots(&[&account("1")]).await.unwrap().remove(&account("1")).unwrap();
    assert_eq!(known.credits.unwrap().value["classic"], 10);
    assert!(!bench.handle().is_old(known.inboxes.unwrap().at));
    bench.advance(HOUR * 24).await;
    let after = facts(&bench).len();
    bench.advance(HOUR * 24).await;
    assert_eq!(facts(&bench).len(), after, "an account without work is left alone");
    let known = bench.store().snapshots(&[&account("1")]).await.unwrap().remove(&account("1")).unwrap();
    assert!(bench.handle().is_old(known.account.unwrap().at), "and what is known of it says that it is old");
    bench.finish().await;
}

#[tokio::test]
async fn a_read_that_fails_keeps_what_was_known_and_is_tried_again_in_five_minutes() {
    let mut bench = Bench::new(2).await;
    let tomorrow = bench.clock_now() + seconds(86_400);
    let later = outboxd::domain::message::NewMessage { not_before: Some(tomorrow), ..to_chat("c", "hi") };
    bench.enqueue(later).await;
    bench.start().await;
    bench.advance(seconds(1)).await;
    bench.provider.set_inboxes(&[("OTHER", true), ("MORE", false)]);
    bench.provider.break_facts(&["inboxes"]);
    bench.provider.set_credits(&[("classic", 3)]);
    bench.advance(HOUR * 6 + seconds(60)).await;
    let known = bench.store().snapshots(&[&account("1")]).await.unwrap().remove(&account("1")).unwrap();
    let (inboxes, credits) = (known.inboxes.unwrap(), known.credits.unwrap());
    assert_eq!((inboxes.value.len(), credits.value["classic"]), (1, 3), "each part for itself");
    assert!(inboxes.at < credits.at);
    assert!(known.problem.unwrap().contains("outboxd/timeout"));
    let before = facts(&bench).len();
    bench.provider.break_facts(&ALL);
    bench.advance(seconds(600)).await;
    assert_eq!(
        facts(&bench)[before..],
        ["account", "account"],
        "nothing else is tried when not even that is told"
    );
    bench.provider.break_facts(&[]);
    bench.advance(seconds(300)).await;
    let known = bench.store().snapshots(&[&account("1")]).await.unwrap().remove(&account("1")).unwrap();
    assert_eq!(known.problem, None);
    bench.finish().await;
}

#[tokio::test]
async fn a_reconnected_account_goes_on_by_itself_and_a_restricted_one_does_not() {
    for (status, cause) in [("disconnected", "disconnected"), ("disconnected", "restricted")] {
        let mut bench = Bench::new(3).await;
        bench.provider.script(vec![Answer::Disconnected]);
        bench.provider.set_status(status);
        for n in 0..30 {
            bench.enqueue(to_chat(&format!("c{n}"), "hi")).await;
        }
        bench.start().await;
        bench.advance(HOUR).await;
        let sql = format!("UPDATE accounts SET down_cause = '{cause}'");
        bench.queue().sql().execute_batch(&sql).unwrap();
        assert_eq!(bench.sends().len(), 1, "the first signal stops it");
        bench.restart().await;
        bench.provider.set_status("running");
        let before = bench.sends().len();
        bench.advance(seconds(360)).await;
        if cause == "restricted" {
            assert_eq!(bench.sends().len(), before, "a person must resume it");
        } else {
            let times: Vec<u64> = bench.sends()[before..].iter().map(|call| call.at_ms).collect();
            assert!(times.len() > 2, "within five minutes: {times:?}");
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 10_000), "at the usual pace: {times:?}");
            let event = "SELECT detail FROM events WHERE kind = 'account.resumed'";
            assert_eq!(bench.queue().lines(event), ["Unipile says that it is running"]);
        }
        bench.finish().await;
    }
}

#[tokio::test]
async fn an_account_that_unipile_calls_disconnected_stops_before_a_call_finds_out() {
    let mut bench = Bench::new(4).await;
    bench.provider.set_status("disconnected");
    for n in 0..200 {
        bench.enqueue(to_chat(&format!("c{n}"), "hi")).await;
    }
    bench.start().await;
    bench.advance(seconds(120)).await;
    let sent = bench.sends().len();
    bench.advance(seconds(120)).await;
    assert_eq!(bench.sends().len(), sent, "it was read at the start");
    assert!(sent < 12, "{sent}");
    bench.finish().await;
}
