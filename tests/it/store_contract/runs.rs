//! What a run finds when it begins: calls that were on their way are read back (P2), and the pace continues (P3).

use outboxd::domain::message::NewMessage;
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::store::{Asker, Begun, ClockReading, ClockStep, Recovered, RecoveredAttempt, StartedAfter};

use crate::queue::{Queue, account, at, back_in_place, retry, sent, to_chat, to_the_second};

/// Schedules the read-back for `seconds` after 9:00.
fn verify_after(seconds: i64) -> outboxd::store::ReconcileAt {
    Box::new(move |_| Some(at(seconds)))
}

#[tokio::test]
async fn a_first_run_finds_nothing_and_blames_nobody() {
    let queue = Queue::new().await;
    let recovered = queue.store.recover(at(1), verify_after(60), None, None).await.unwrap();
    assert_eq!(recovered, Recovered { after: StartedAfter::Nothing, ..Recovered::default() });
}

#[tokio::test]
async fn a_run_knows_whether_the_last_one_said_goodbye() {
    let queue = Queue::new().await;
    queue.enqueue(to_chat("c", "x"), at(0)).await;
    let queue = queue.restart(at(10)).await;
    let recovered = queue.store.recover(at(11), verify_after(60), None, None).await.unwrap();
    assert_eq!((recovered.after, recovered.queued), (StartedAfter::CleanStop, 1));
    let queue = queue.crash(at(20)).await;
    let recovered = queue.store.recover(at(21), verify_after(60), None, None).await.unwrap();
    assert_eq!(recovered.after, StartedAfter::Crash);
    let runs = queue.lines("SELECT id, started_at, stopped_at, pid, version FROM runs ORDER BY id");
    let (pid, version) = (std::process::id(), env!("CARGO_PKG_VERSION"));
    assert_eq!(
        runs,
        [
            format!("1|2026-11-22T09:00:00.000Z|2026-11-22T09:00:10.000Z|{pid}|{version}"),
            format!("2|2026-11-22T09:00:10.000Z|-|{pid}|{version}"),
            format!("3|2026-11-22T09:00:20.000Z|-|{pid}|{version}"),
        ]
    );
}

#[tokio::test]
async fn a_call_that_was_on_its_way_is_read_back_and_its_gap_counts_from_now() {
    let queue = Queue::new().await;
    let caught = queue.enqueue(to_chat("a", "caught"), at(0)).await;
    let behind = queue.enqueue(to_chat("a", "behind"), at(1)).await;
    let elsewhere = NewMessage { account_id: account("2"), ..to_chat("a", "elsewhere") };
    let elsewhere = queue.enqueue(elsewhere, at(2)).await;
    queue.attempt(caught, 1, back_in_place()).await;
    assert_eq!(queue.begin(caught, 2, at(200)).await, Begun::Granted);

    let queue = queue.crash(at(300)).await;
    let mut recovered = queue.store.recover(at(300), verify_after(60), None, None).await.unwrap();
    recovered.uncertain[0].started_at = to_the_second(recovered.uncertain[0].started_at);
    let attempt = RecoveredAttempt { message_id: caught, account_id: account("1"), started_at: at(200) };
    let after = StartedAfter::Crash;
    assert_eq!(recovered, Recovered { uncertain: vec![attempt], queued: 2, after, ..Recovered::default() });
    assert_eq!(queue.state(caught).await, (StateName::Uncertain, Reason::Reconciling));
    let error = queue.view(caught).await.error.unwrap();
    assert_eq!(error, "outboxd/stopped_while_sending: the daemon stopped before the answer came");
    let open = "SELECT number, ended_at, outcome, type, detail FROM attempts ORDER BY number";
    assert_eq!(
        queue.lines(open)[1],
        "2|2026-11-22T09:05:00.000Z|uncertain|outboxd/stopped_while_sending|the daemon stopped before the answer came"
    );
    assert_eq!(queue.view(caught).await.reconcile_at, Some(at(60)));
    let next = queue.lines("SELECT id, next_call_at FROM accounts ORDER BY id");
    assert_eq!(next, ["acc_1|2026-11-22T09:05:12.000Z", "acc_2|-"], "now and the gap that was drawn");
    assert_eq!(queue.state(behind).await.0, StateName::Queued);
    assert_eq!(
        queue.store.candidates(Asker::Engine, &account("1"), at(400)).await.unwrap(),
        None,
        "order in the chat is kept"
    );
    assert_eq!(queue.begin(elsewhere, 1, at(400)).await, Begun::Granted);

    let late = queue.settlement(caught, 2, sent()).await;
    assert!(!queue.store.settle(late).await.unwrap(), "the answer comes too late");
    let again = queue.store.recover(at(500), verify_after(60), None, None).await.unwrap();
    assert_eq!(again.uncertain.len(), 1, "only the call that was begun since");
    queue.check();
}

#[tokio::test]
async fn a_stored_pace_that_lies_later_is_kept() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("a", "x"), at(0)).await;
    assert_eq!(queue.begin(id, 1, at(10)).await, Begun::Granted);
    let queue = queue.crash(at(5)).await;
    // The wall clock was set back meanwhile.
    queue.store.recover(at(5), verify_after(60), None, None).await.unwrap();
    assert_eq!(queue.value("SELECT next_call_at FROM accounts"), "2026-11-22T09:00:22.000Z");
}

#[tokio::test]
async fn a_start_forgets_a_refused_key_and_nothing_else() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("a", "x"), at(0)).await;
    queue.attempt(id, 1, retry(at(400))).await;
    let pause = outboxd::store::PauseRequest::default();
    queue.store.pause(outboxd::store::Scope::Everything, pause, at(1)).await.unwrap();
    let sql = "UPDATE daemon SET key_refused_at = '2026-11-22T09:00:01.000Z', key_problem = 'x'";
    queue.sql().execute(sql, []).unwrap();
    let queue = queue.restart(at(2)).await;
    queue.store.recover(at(3), verify_after(60), None, None).await.unwrap();
    let daemon = queue.store.totals().await.unwrap().daemon;
    assert!(daemon.key_refused.is_none() && daemon.pause.is_some(), "{daemon:?}");
    let kept = queue.lines("SELECT state, retry_at, attempts, retries FROM messages");
    assert_eq!(kept, ["queued|2026-11-22T09:06:40.000Z|1|1"]);
    queue.check();
}

#[tokio::test]
async fn abandoning_a_call_concerns_its_account_only() {
    let queue = Queue::new().await;
    let first = queue.enqueue(to_chat("a", "x"), at(0)).await;
    let other = queue.enqueue(NewMessage { account_id: account("2"), ..to_chat("a", "x") }, at(0)).await;
    for id in [first, other] {
        assert_eq!(queue.begin(id, 1, at(10)).await, Begun::Granted);
    }
    queue.store.abandon(account("1"), at(20), verify_after(60)).await.unwrap();
    assert_eq!(queue.state(first).await, (StateName::Uncertain, Reason::Reconciling));
    assert_eq!(queue.state(other).await.0, StateName::Sending);
    queue.store.abandon(account("1"), at(21), verify_after(60)).await.unwrap();
    queue.check();
}

#[tokio::test]
async fn without_reading_back_a_call_that_was_on_its_way_waits_for_a_person() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("a", "x"), at(0)).await;
    assert_eq!(queue.begin(id, 1, at(10)).await, Begun::Granted);
    let queue = queue.crash(at(20)).await;
    queue.store.recover(at(20), Box::new(|_| None), None, None).await.unwrap();
    assert_eq!(queue.state(id).await, (StateName::Review, Reason::OutcomeUnknown));
    queue.check();
}

/// P3: the machine's monotonic clock tells what is left of a pause, even if the wall clock was set while no daemon
/// ran.
#[tokio::test]
async fn a_pause_lasts_although_the_clock_was_set_forward_while_no_daemon_ran() {
    use std::time::Duration;
    let seconds = Duration::from_secs;
    // The run began 1000 s after the boot, and the call 1 s later; its pause is 12 s.
    for (boot, passed, free_at) in [
        ("this", seconds(1004), at(3600 + 9) + Duration::from_millis(1)),
        ("this", seconds(1200), at(112)),
        ("another", seconds(1004), at(112)),
    ] {
        let queue = Queue::new().await;
        queue.store.keep_pauses("this".into(), seconds(1000), seconds(1000), at(0)).await.unwrap();
        let id = queue.enqueue(to_chat("a", "x"), at(0)).await;
        queue.begin(id, 1, at(100)).await;
        queue.store.settle(queue.settlement(id, 1, sent()).await).await.unwrap();
        let queue = queue.crash(at(3600)).await;
        queue.store.keep_pauses(boot.into(), passed - seconds(1), passed, at(3600)).await.unwrap();
        let next_call_at = queue.value("SELECT next_call_at FROM accounts");
        assert_eq!(next_call_at, outboxd::domain::time_text(free_at), "{boot} {passed:?}");
    }
}

/// Its chat is read back from the time at which the call began.
#[tokio::test]
async fn an_unresolved_attempt_follows_the_wall_clock_however_old_it_is() {
    const DAY: i64 = 86_400;
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("a", "x"), at(0)).await;
    assert_eq!(queue.begin(id, 1, at(10)).await, Begun::Granted);
    let queue = queue.crash(at(300)).await;
    queue.store.recover(at(300), verify_after(60), None, None).await.unwrap();

    let step = ClockStep { from: at(40 * DAY), to: at(38 * DAY) };
    let reading = ClockReading { wall: step.to, boot: None };
    queue.store.move_times(step, reading).await.unwrap();
    let seq = queue.view(id).await.seq;
    let attempt = queue.store.unresolved_attempt(seq).await.unwrap().unwrap();
    assert_eq!(attempt.started_at, at(10 - 2 * DAY));
}
