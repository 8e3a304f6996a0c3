//! A wall clock that is set, by seconds and by years, while the engine runs and while it does not: nothing waits for
//! a date that only a wrong clock made, and every pause keeps its length (P1, P3, P4).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use outboxd::clock::{Clock as _, SystemClock};
use outboxd::domain::calendar::{Calendar, parse_spans};
use outboxd::domain::caps::parse_caps;
use outboxd::domain::message::{Inbox, NewMessage};
use outboxd::domain::policy::{Absent, ReconcilePolicy};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::store::{Failpoint, PauseRequest, Scope};

use super::bench::Bench;
use super::carrier::{Answer, Kind};
use super::time::seconds;
use super::{SEED, assert_paced};
use crate::queue::{account, to_chat, to_user};

const HOURS: [i64; 6] = [-1, 1, -26, 26, -24 * 400, 24 * 4000];

/// When the clock is set: while the engine runs, or between two runs without a reboot of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Running,
    Stopped,
}

const WHEN: [When; 2] = [When::Running, When::Stopped];

/// Sets the wall clock by `hours`.
async fn set_clock(bench: &mut Bench, hours: i64, when: When) {
    let by = SignedDuration::from_hours(hours);
    match when {
        When::Running => bench.clock.set_wall_by(by),
        When::Stopped => {
            bench.stop(seconds(0)).await;
            bench.clock.set_wall_by(by);
            bench.reopen().await;
        }
    }
}

async fn bench() -> Bench {
    let bench = Bench::new(SEED).await;
    bench.clock.set_boot_id(Some("this start"));
    bench
}

/// Returns the time between the last two calls, in seconds.
fn last_pause(bench: &Bench) -> u64 {
    let sends = bench.sends();
    (sends[sends.len() - 1].at_ms - sends[sends.len() - 2].at_ms) / 1000
}

/// H16
#[tokio::test]
async fn messages_that_wait_when_the_clock_is_set_go_at_their_pace_and_in_order() {
    for when in WHEN {
        for hours in HOURS {
            let mut bench = bench().await;
            for n in 0..4 {
                bench.enqueue(to_chat("c", &format!("m{n}"))).await;
            }
            bench.start().await;
            bench.until_sent(1).await;
            set_clock(&mut bench, hours, when).await;
            bench.enqueue(to_chat("c", "later")).await;
            let ends_at = bench.clock_monotonic() + seconds(120);
            bench.until(|bench| bench.sends().len() == 5 || bench.clock_monotonic() > ends_at).await;
            let texts: Vec<String> = bench.sends().into_iter().map(|call| call.text).collect();
            assert_eq!(texts, ["m0", "m1", "m2", "m3", "later"], "{hours} h, {when:?}");
            assert_paced(&bench, &format!("clock set by {hours} h, {when:?}"));
            bench.finish().await;
        }
    }
}

/// Without a way to tell one boot of the machine from the next, a clock that shows a time before the newest event is
/// known to be wrong.
#[tokio::test]
async fn a_clock_that_is_set_back_over_a_start_of_the_machine_holds_nothing_up() {
    for hours in [-1, -26, -24 * 4000] {
        let mut bench = Bench::new(SEED).await;
        for n in 0..3 {
            bench.enqueue(to_chat("c", &format!("m{n}"))).await;
        }
        bench.start().await;
        bench.until_sent(1).await;
        set_clock(&mut bench, hours, When::Stopped).await;
        let ends_at = bench.clock_monotonic() + seconds(60);
        bench.until(|bench| bench.sends().len() == 3 || bench.clock_monotonic() > ends_at).await;
        assert_eq!(bench.sends().len(), 3, "{hours} h");
        bench.finish().await;
    }
}

#[tokio::test]
async fn a_date_of_the_producer_stays_where_it_is() {
    for when in WHEN {
        let mut bench = bench().await;
        let not_before = bench.clock_now() + SignedDuration::from_mins(90);
        bench.enqueue(NewMessage { not_before: Some(not_before), ..to_chat("c", "x") }).await;
        bench.start().await;
        bench.advance(seconds(600)).await;
        set_clock(&mut bench, -1, when).await;
        bench.until_sent(1).await;
        assert!(bench.sends()[0].wall >= not_before, "{when:?}");
        assert!(
            bench.sends()[0].at_ms >= 150 * 60 * 1000,
            "{when:?}: an hour later, as the clock was set back"
        );
        bench.finish().await;
    }
}

#[tokio::test]
async fn a_retry_keeps_its_length() {
    for when in WHEN {
        for hours in HOURS {
            let mut bench = bench().await;
            bench.provider.script(vec![Answer::NotSent]);
            bench.enqueue(to_chat("c", "x")).await;
            bench.start().await;
            bench.until_sent(1).await;
            bench.advance(seconds(5)).await;
            set_clock(&mut bench, hours, when).await;
            bench.until_sent(2).await;
            let pause = last_pause(&bench);
            assert!(
                (20..=62).contains(&pause),
                "{hours} h, {when:?}: {pause} s for a backoff of at most 60 s"
            );
            bench.finish().await;
        }
    }
}

#[tokio::test]
async fn a_rest_keeps_its_length() {
    for when in WHEN {
        for hours in HOURS {
            let mut bench = bench().await;
            bench.provider.script(vec![Answer::ApiLimited(seconds(7200))]);
            bench.enqueue(to_chat("c", "x")).await;
            bench.start().await;
            bench.until_sent(1).await;
            bench.advance(seconds(60)).await;
            set_clock(&mut bench, hours, when).await;
            bench.until_sent(2).await;
            let pause = last_pause(&bench);
            assert!((7199..=7260).contains(&pause), "{hours} h, {when:?}: {pause} s instead of 7200");
            bench.finish().await;
        }
    }
}

#[tokio::test]
async fn a_cap_keeps_its_length() {
    for when in WHEN {
        for hours in HOURS {
            let mut bench = bench().await;
            bench.policy.caps.list = parse_caps(None, "2/hour").unwrap();
            for n in 0..3 {
                bench.enqueue(to_chat(&format!("c{n}"), "x")).await;
            }
            bench.start().await;
            bench.until_sent(2).await;
            bench.advance(seconds(600)).await;
            set_clock(&mut bench, hours, when).await;
            bench.until_sent(3).await;
            let sends = bench.sends();
            let window = (sends[2].at_ms - sends[0].at_ms) / 1000;
            assert!((3600..3630).contains(&window), "{hours} h, {when:?}: the third went after {window} s");
            bench.finish().await;
        }
    }
}

/// A pause of two hours lasts two hours; a pause until a date lasts until the clock shows that date.
#[tokio::test]
async fn a_pause_of_a_length_keeps_it_and_a_pause_until_a_date_does_not_move() {
    for when in WHEN {
        for (hours, has_length, expected) in [
            (-26, true, 7200..=7260),
            (26, true, 7200..=7260),
            (-1, false, 10_800..=10_860),
            (1, false, 3600..=3660),
        ] {
            let mut bench = bench().await;
            let until = Some(bench.clock_now() + SignedDuration::from_hours(2));
            let pause = PauseRequest { until, has_length, ..PauseRequest::default() };
            bench.store().pause(Scope::Everything, pause, bench.clock_now()).await.unwrap();
            bench.enqueue(to_chat("c", "x")).await;
            bench.start().await;
            bench.advance(seconds(60)).await;
            set_clock(&mut bench, hours, when).await;
            bench.until_sent(1).await;
            let after = bench.sends()[0].at_ms / 1000;
            assert!(
                expected.contains(&after),
                "{hours} h, {when:?}, length {has_length}: sent after {after} s"
            );
            bench.finish().await;
        }
    }
}

#[tokio::test]
async fn a_read_back_keeps_its_length() {
    for when in WHEN {
        for hours in HOURS {
            let mut bench = bench().await;
            bench.provider.script(vec![Answer::Unknown]);
            let id = bench.enqueue(to_chat("c", "x")).await;
            bench.start().await;
            bench.until_sent(1).await;
            bench.advance(seconds(20)).await;
            assert_eq!(bench.state(id).await.0, StateName::Uncertain);
            set_clock(&mut bench, hours, when).await;
            bench.until(|bench| !bench.provider.calls_of(Kind::Read).is_empty()).await;
            let read_ms = bench.provider.calls_of(Kind::Read)[0].at_ms;
            let after = Duration::from_millis(read_ms - bench.sends()[0].at_ms).as_secs();
            assert!((58..=70).contains(&after), "{hours} h, {when:?}: read after {after} s instead of 60");
            bench.finish().await;
        }
    }
}

/// H17
#[tokio::test]
async fn a_clock_that_is_set_just_before_or_during_a_restart_makes_nothing_stale() {
    for when in WHEN {
        for hours in HOURS {
            let mut bench = bench().await;
            bench.stale_after = Some(seconds(3600));
            for n in 0..3 {
                bench.enqueue(to_chat("c", &format!("m{n}"))).await;
            }
            bench.start().await;
            bench.until_sent(1).await;
            set_clock(&mut bench, hours, when).await;
            bench.advance(seconds(1)).await;
            bench.crash().await;
            let ends_at = bench.clock_monotonic() + seconds(60);
            bench.until(|bench| bench.sends().len() == 3 || bench.clock_monotonic() > ends_at).await;
            assert_eq!(bench.sends().len(), 3, "{hours} h, {when:?}");
            assert_paced(&bench, &format!("the clock set by {hours} h, {when:?}, and a restart"));
            bench.finish().await;
        }
    }
}

/// A machine starts with a clock that is ahead, so that what waits looks old; it goes on when the clock is right again.
#[tokio::test]
async fn what_only_a_clock_that_is_ahead_makes_stale_goes_on_when_the_clock_is_right() {
    for when in WHEN {
        let mut bench = bench().await;
        bench.stale_after = Some(seconds(3600));
        let mut last = None;
        for n in 0..20 {
            last = Some(bench.enqueue(to_chat("c", &format!("m{n}"))).await);
        }
        bench.start().await;
        // Long enough for the daemon to note that it is alive.
        bench.advance(seconds(120)).await;
        bench.stop(seconds(0)).await;
        bench.clock.set_boot_id(Some("another start"));
        bench.clock.set_wall_by(SignedDuration::from_hours(48));
        bench.reopen().await;
        bench.advance(seconds(60)).await;
        let state = bench.state(last.unwrap()).await;
        assert_eq!(state, (StateName::Review, Reason::Stale), "{when:?}: it seems to be two days late");
        set_clock(&mut bench, -48, when).await;
        bench.until_sent(20).await;
        let gaps = bench.sends().windows(2).map(|pair| pair[1].at_ms - pair[0].at_ms).collect::<Vec<_>>();
        assert!(gaps.iter().all(|gap| *gap >= 10_000), "{when:?}: {gaps:?}");
        bench.finish().await;
    }
}

/// The hours are those of the time at which the call began, and a pause that began after it stays so, whatever the
/// clock shows when it ends.
#[tokio::test]
async fn a_clock_that_is_set_during_a_call_breaks_no_promise() {
    for hours in [-3, 3, -26, 26] {
        let mut bench = bench().await;
        // The clock begins on a Sunday at 09:00.
        let week = std::array::from_fn(|_| parse_spans("08:30-10:00").unwrap());
        bench.policy.calendar = Some(Calendar { week, ..Calendar::always() });
        bench.provider.script(vec![Answer::SentAfter(seconds(90))]);
        let id = bench.enqueue(to_chat("c", "x")).await;
        bench.start().await;
        bench.until_sent(1).await;
        bench.advance(seconds(10)).await;
        bench.store().pause(Scope::Everything, PauseRequest::default(), bench.clock_now()).await.unwrap();
        set_clock(&mut bench, hours, When::Running).await;
        bench.advance(seconds(120)).await;
        assert_eq!(bench.state(id).await.0, StateName::Sent);
        assert_eq!(bench.store().metrics().promises_broken(), 0, "set by {hours} h");
        bench.finish().await;
    }
}

/// An attempt that was stored after the clock was set and before the engine noticed waits no longer than it should,
/// either.
#[tokio::test]
async fn a_clock_that_is_set_twice_in_a_row_moves_nothing_twice() {
    let mut bench = bench().await;
    bench.provider.script(vec![Answer::ApiLimited(seconds(7200))]);
    bench.enqueue(to_chat("c", "x")).await;
    bench.start().await;
    bench.until_sent(1).await;
    for hours in [24, -24, 1, -1] {
        bench.advance(seconds(60)).await;
        set_clock(&mut bench, hours, When::Running).await;
        bench.advance(seconds(60)).await;
        set_clock(&mut bench, 0, When::Stopped).await;
    }
    bench.until_sent(2).await;
    let pause = last_pause(&bench);
    assert!((7199..=7260).contains(&pause), "{pause} s instead of 7200");
    bench.finish().await;
}

/// The clock is set after an intent was decided and before it is written: its start moves with the clock, or it is decided
/// again, but it never stays where the old clock put it.
#[tokio::test]
async fn an_intent_that_is_on_its_way_when_the_clock_is_set_is_dated_by_the_new_clock() {
    for hours in HOURS {
        let mut bench = bench().await;
        bench.start().await;
        let (clock, engine) = (bench.clock.clone(), bench.handle());
        let is_set = Arc::new(AtomicBool::new(false));
        bench.store().set_points(Arc::new(move |point| {
            let (clock, engine, is_set) = (clock.clone(), engine.clone(), Arc::clone(&is_set));
            Box::pin(async move {
                if matches!(point, Failpoint::Begins(..)) && !is_set.swap(true, Ordering::Relaxed) {
                    clock.set_wall_by(SignedDuration::from_hours(hours));
                    // The supervisor notices, and has time to move what is stored, if it may.
                    engine.wake(account("2"));
                    SystemClock::new().sleep(Duration::from_millis(100)).await;
                }
            })
        }));
        let id = bench.enqueue(to_chat("c", "x")).await;
        bench.until_sent(1).await;
        bench.settle().await;
        assert_eq!(bench.state(id).await.0, StateName::Sent);
        let sql = "SELECT (julianday(ended_at) - julianday(started_at)) * 86400 FROM attempts";
        let lasted = bench.queue().sql().query_row(sql, [], |row| row.get::<_, f64>(0)).unwrap();
        assert!((0.0..60.0).contains(&lasted), "{hours} h: the call lasted {lasted} s");
        bench.finish().await;
    }
}

/// The other messages of the queue are those of the time at which the chat was read: a message that one of them sent is
/// not taken for the one that is looked for, although all stored times moved meanwhile.
#[tokio::test]
async fn a_clock_that_is_set_while_a_chat_is_read_back_hides_no_other_message() {
    for hours in HOURS {
        let mut bench = bench().await;
        bench.policy.reconcile = ReconcilePolicy { after: vec![seconds(60)], absent: Absent::Review };
        bench.provider.script(vec![Answer::Sent, Answer::Unknown]);
        bench.enqueue(to_chat("c", "same")).await;
        let unknown = bench.enqueue(to_chat("c", "same")).await;
        bench.start().await;
        bench.until_sent(2).await;
        bench.provider.show("c", "same", bench.sends()[0].wall);
        // Another run reads it back, which knows when the call began by the wall clock alone.
        bench.clock.set_boot_id(None);
        set_clock(&mut bench, 0, When::Stopped).await;
        bench.provider.set_clock_at_next_read(SignedDuration::from_hours(hours));
        bench.advance(seconds(120)).await;
        let state = bench.state(unknown).await;
        assert_eq!(state, (StateName::Review, Reason::NotInChat), "{hours} h");
        bench.finish().await;
    }
}

/// The answer is dated by the clock that the stored times still follow, and moves with them.
#[tokio::test]
async fn an_answer_that_is_read_while_the_clock_is_set_stops_what_waits_for_it() {
    for hours in HOURS {
        let mut bench = bench().await;
        bench.policy.reply.check = true;
        bench.enqueue(to_chat("c", "first")).await;
        bench.start().await;
        bench.until_sent(1).await;
        bench.advance(seconds(600)).await;
        bench.provider.show("c", "first", bench.sends()[0].wall);
        bench.provider.show_answer("c", bench.clock_now());
        bench.provider.set_clock_at_next_read(SignedDuration::from_hours(hours));
        let follow_up = NewMessage { stop_on_reply: Some(true), ..to_chat("c", "second") };
        let follow_up = bench.enqueue(follow_up).await;
        bench.advance(seconds(120)).await;
        assert_eq!(bench.state(follow_up).await, (StateName::Cancelled, Reason::Replied), "{hours} h");
        assert_eq!(bench.sends().len(), 1, "{hours} h");
        bench.finish().await;
    }
}

/// Stored times follow at once although an account waits for a look-up, which is made again.
#[tokio::test]
async fn a_look_up_that_hangs_when_the_clock_is_set_holds_no_other_account_up() {
    let mut bench = bench().await;
    bench.provider.hang_facts(&["inboxes"]);
    bench.start().await;
    bench.enqueue(to_user("u", Inbox::OfPolicy)).await;
    bench.settle().await;
    set_clock(&mut bench, -1, When::Running).await;
    bench.enqueue(NewMessage { account_id: account("2"), ..to_chat("c", "x") }).await;
    bench.settle().await;
    assert_eq!(bench.sends().len(), 1, "without a moment's delay");
    // The inboxes are not waited for any longer than before.
    bench.until_sent(2).await;
    assert_eq!(bench.sends()[1].at_ms, 5000);
    bench.finish().await;
}
