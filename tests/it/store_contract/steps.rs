//! Steps of campaigns in the store: the wait of a step keeps its length over stops and clocks.

use std::time::Duration;

use jiff::Timestamp;
use outboxd::domain::message::{Inbox, MessageId, NewMessage, UserId};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::domain::step::{Step, StepWait};
use outboxd::domain::stop::{NewStop, StopKey, StopReason, StopScope};
use outboxd::store::{Asker, Begun, ClockReading, ClockStep, EnqueueMode, Enqueued};

use crate::queue::{Queue, account, at, failed, review, sent, to_user};

const HOUR: i64 = 3600;

fn step(number: u8) -> NewMessage {
    NewMessage {
        text: format!("step {number}"),
        campaign: Some("autumn".into()),
        step: Some(Step { number, wait: (number > 1).then_some(StepWait::Seconds(3600)) }),
        ..to_user("U1", Inbox::OfPolicy)
    }
}

/// Sends step 1 at 100 s; the wait of step 2 ends an hour later.
async fn waiting() -> (Queue, MessageId) {
    let queue = Queue::new().await;
    let first = queue.enqueue(step(1), at(0)).await;
    let second = queue.enqueue(step(2), at(0)).await;
    assert_eq!(queue.begin(second, 1, at(80)).await, Begun::Withdrawn, "the step before is not sent");
    queue.attempt(first, 1, sent()).await;
    schedule(&queue, at(100)).await;
    assert_eq!(queue.state(second).await, (StateName::Queued, Reason::StepWait));
    assert_eq!(wait_of(&queue, second), times(100 + HOUR, 100 + HOUR, None));
    queue.check();
    (queue, second)
}

async fn schedule(queue: &Queue, now: Timestamp) {
    let begun = queue.store.begun_waits(&account("1")).await.unwrap();
    let ends = begun.iter().map(|begun| match begun.wait {
        StepWait::Seconds(seconds) => (begun.seq, begun.since + Duration::from_secs(seconds.into())),
        StepWait::Days(_) => panic!("hours only"),
    });
    queue.store.schedule_steps(ends.collect(), now).await.unwrap();
}

fn wait_of(queue: &Queue, id: MessageId) -> String {
    queue.lines(&format!("SELECT wait_until, due_at, retry_at FROM messages WHERE id = '{id}'")).remove(0)
}

fn times(wait_until: i64, due_at: i64, retry_at: Option<i64>) -> String {
    let text = |second: i64| outboxd::domain::time_text(at(second));
    format!("{}|{}|{}", text(wait_until), text(due_at), retry_at.map_or("-".into(), text))
}

fn person() -> StopKey {
    StopKey { scope: StopScope::Person, key: "U1".into(), account_id: None }
}

async fn stop(queue: &Queue, reason: StopReason, until: Option<Timestamp>, now: Timestamp) {
    let stop =
        NewStop { key: person(), reason, until, has_length: true, actor: "operator".into(), note: None };
    queue.store.stop(vec![stop], now).await.unwrap();
}

#[tokio::test]
async fn a_stop_interrupts_the_wait_and_the_rest_comes_after_it() {
    let (queue, second) = waiting().await;
    // After 1,000 s of the wait, for 2,000 s: 2,600 s are left.
    stop(&queue, StopReason::OutOfOffice, Some(at(3100)), at(1100)).await;
    assert_eq!(wait_of(&queue, second), times(1100 + 2600, 100 + HOUR, Some(3100 + 2600)));
    // Another stop, within the first one, that ends later.
    stop(&queue, StopReason::OwnerWrote, Some(at(5100)), at(2100)).await;
    assert_eq!(wait_of(&queue, second), times(2100 + 2600, 100 + HOUR, Some(5100 + 2600)));
    // 600 s after both: 2,000 s are left.
    stop(&queue, StopReason::Stopped, Some(at(9000)), at(5700)).await;
    assert_eq!(wait_of(&queue, second), times(5700 + 2000, 100 + HOUR, Some(9000 + 2000)));
    queue.check();
}

#[tokio::test]
async fn a_stop_that_is_lifted_lets_the_wait_go_on() {
    let (queue, second) = waiting().await;
    stop(&queue, StopReason::Stopped, None, at(1100)).await;
    assert_eq!(queue.begin(second, 1, at(9000)).await, Begun::Withdrawn);
    let lifted = queue.store.lift(person(), None, at(9000)).await.unwrap();
    assert_eq!((lifted.stops, lifted.messages), (1, 1));
    assert_eq!(wait_of(&queue, second), times(9000 + 2600, 9000 + 2600, None));
    assert_eq!(queue.state(second).await, (StateName::Queued, Reason::StepWait));
    queue.check();
    // After the wait there is nothing to interrupt.
    stop(&queue, StopReason::Stopped, None, at(20_000)).await;
    queue.store.lift(person(), None, at(20_100)).await.unwrap();
    assert_eq!(wait_of(&queue, second), times(9000 + 2600, 9000 + 2600, None));
    queue.check();
}

#[tokio::test]
async fn a_wait_keeps_its_length_when_the_clock_is_set() {
    for by in [-5 * 365 * 24 * HOUR, -600, 900, 10 * 365 * 24 * HOUR] {
        let (queue, second) = waiting().await;
        let step = ClockStep { from: at(1100), to: at(1100 + by) };
        queue.store.move_times(step, ClockReading { wall: at(1100 + by), boot: None }).await.unwrap();
        let end = 100 + HOUR + by;
        assert_eq!(wait_of(&queue, second), times(end, end, None), "by {by} s");
        queue.check_order();
        let found = queue
            .store
            .candidates(Asker::Engine, &account("1"), at(1100 + by))
            .await
            .unwrap()
            .expect("it waits");
        assert_eq!(found.messages[0].due_at, at(end));
    }
}

#[tokio::test]
async fn a_step_goes_into_the_chat_of_the_step_before() {
    let (queue, second) = waiting().await;
    let view = queue.view(second).await;
    assert_eq!(
        (view.chat_id.as_deref(), view.users_ids),
        (None, Some(vec!["U1".to_owned()])),
        "no chat is known"
    );
    let third = queue.enqueue(step(3), at(200)).await;
    let into = outboxd::domain::state::Settled::Sent {
        at: at(4000),
        chat_id: Some(outboxd::domain::message::ChatId::new("c9")),
        message_ids: vec!["m2".into()],
    };
    assert_eq!(queue.begin(second, 1, at(3990)).await, Begun::Granted);
    assert!(queue.store.settle(queue.settlement(second, 1, into).await).await.unwrap());
    schedule(&queue, at(4000)).await;
    let view = queue.view(third).await;
    assert_eq!((view.chat_id.as_deref(), view.users_ids), (Some("c9"), None));
    assert_eq!(queue.value(&format!("SELECT lane FROM messages WHERE id = '{third}'")), "1 100 m - autumn");
    queue.check();
}

#[tokio::test]
async fn steps_wait_for_a_person_to_review_the_one_before_and_end_with_it() {
    let queue = Queue::new().await;
    let first = queue.enqueue(step(1), at(0)).await;
    let second = queue.enqueue(step(2), at(0)).await;
    queue.attempt(first, 1, review()).await;
    schedule(&queue, at(100)).await;
    assert_eq!(queue.state(second).await, (StateName::Queued, Reason::StepBefore));
    queue.check();

    let queue = Queue::new().await;
    let first = queue.enqueue(step(1), at(0)).await;
    let later = [queue.enqueue(step(2), at(0)).await, queue.enqueue(step(3), at(0)).await];
    queue.attempt(first, 1, failed()).await;
    for id in later {
        assert_eq!(queue.state(id).await, (StateName::Cancelled, Reason::StepStopped));
    }
    queue.check();
}

#[tokio::test]
async fn a_batch_that_is_all_or_none_accepts_its_steps_in_any_order() {
    let queue = Queue::new().await;
    let rows = vec![step(3), step(1), step(2)];
    let verdicts = queue.store.enqueue(rows.clone(), EnqueueMode::All, at(0)).await.unwrap();
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Enqueued::Accepted(_))), "{verdicts:?}");
    queue.check();
    let again = queue.store.enqueue(rows, EnqueueMode::All, at(1)).await.unwrap();
    assert!(again.iter().all(|verdict| matches!(verdict, Enqueued::Duplicate(_))), "{again:?}");
    let orphan =
        NewMessage { target: to_user(UserId::new("U2").as_str(), Inbox::OfPolicy).target, ..step(2) };
    let refused = queue.store.enqueue(vec![step(4), orphan], EnqueueMode::All, at(2)).await.unwrap();
    assert!(matches!(refused.as_slice(), [Enqueued::Refused, Enqueued::OutOfStep(_)]), "{refused:?}");
    assert_eq!(queue.value("SELECT count(*) FROM messages"), "3");
}

#[tokio::test]
async fn a_stop_before_the_wait_interrupts_it_from_its_beginning() {
    let queue = Queue::new().await;
    let first = queue.enqueue(step(1), at(0)).await;
    let second = queue.enqueue(step(2), at(0)).await;
    assert_eq!(queue.begin(first, 1, at(90)).await, Begun::Granted);
    stop(&queue, StopReason::OwnerWrote, Some(at(1100)), at(95)).await;
    assert!(queue.store.settle(queue.settlement(first, 1, sent()).await).await.unwrap());
    schedule(&queue, at(100)).await;
    assert_eq!(wait_of(&queue, second), times(100 + HOUR, 100 + HOUR, Some(1100 + HOUR)));
    assert_eq!(queue.state(second).await, (StateName::Queued, Reason::OwnerWrote));
    queue.store.lift(person(), None, at(600)).await.unwrap();
    assert_eq!(wait_of(&queue, second), times(600 + HOUR, 600 + HOUR, None));
    queue.check();
}

#[tokio::test]
async fn a_stop_whose_end_comes_nearer_holds_no_longer_than_that() {
    let queue = Queue::new().await;
    let only = queue.enqueue(to_user("U1", Inbox::OfPolicy), at(0)).await;
    let retry_at = |queue: &Queue| queue.value(&format!("SELECT retry_at FROM messages WHERE id = '{only}'"));
    stop(&queue, StopReason::Stopped, None, at(10)).await;
    stop(&queue, StopReason::Stopped, Some(at(500)), at(20)).await;
    assert_eq!(retry_at(&queue), outboxd::domain::time_text(at(500)));
    // Another stop in force lasts longer.
    stop(&queue, StopReason::OwnerWrote, Some(at(900)), at(30)).await;
    stop(&queue, StopReason::Stopped, Some(at(100)), at(40)).await;
    assert_eq!(retry_at(&queue), outboxd::domain::time_text(at(900)));
    queue.check();

    let (queue, second) = waiting().await;
    stop(&queue, StopReason::Stopped, None, at(1100)).await;
    stop(&queue, StopReason::Stopped, Some(at(2100)), at(1200)).await;
    assert_eq!(wait_of(&queue, second), times(1200 + 2600, 100 + HOUR, Some(2100 + 2600)));
    queue.check();
}

#[tokio::test]
async fn one_statement_that_ends_several_steps_ends_each_once() {
    let queue = Queue::new().await;
    let expiring = |number| NewMessage { expires_at: Some(at(50)), ..step(number) };
    let rows = vec![expiring(1), expiring(2), expiring(3)];
    queue.store.enqueue(rows, EnqueueMode::All, at(0)).await.unwrap();
    queue.store.expire(at(60)).await.unwrap();
    let states = "SELECT state, reason FROM messages ORDER BY step";
    assert_eq!(queue.lines(states), ["expired|expired", "cancelled|step_stopped", "cancelled|step_stopped"]);
    queue.check();

    let queue = Queue::new().await;
    queue.store.enqueue(vec![step(1), step(2), step(3)], EnqueueMode::All, at(0)).await.unwrap();
    let (reason, why) = (Reason::NoSuchPerson, "there is no such person".to_owned());
    queue.store.fail_person(account("1"), UserId::new("U1"), reason, why, None, at(1)).await.unwrap();
    assert_eq!(
        queue.lines(states),
        ["failed|no_such_person", "cancelled|step_stopped", "cancelled|step_stopped"]
    );
    queue.check();
}

#[tokio::test]
async fn steps_that_wait_are_not_stale_after_the_daemon_was_off() {
    const DAY: i64 = 24 * HOUR;
    let (queue, second) = waiting().await;
    let third = queue.enqueue(step(3), at(200)).await;
    queue.store.note_alive(at(300)).await.unwrap();
    let queue = queue.crash(at(3 * DAY)).await;
    let reconcile_at: outboxd::store::ReconcileAt = Box::new(|_| None);
    let day = Some(Duration::from_secs(24 * 3600));
    let recovered = queue.store.recover(at(3 * DAY), reconcile_at, day, None).await.unwrap();
    // The second step was due while the daemon was off; the third waits for it, whatever that one waits for.
    assert_eq!(recovered.stale, 1);
    assert_eq!(queue.state(second).await, (StateName::Review, Reason::Stale));
    assert_eq!(queue.state(third).await, (StateName::Queued, Reason::StepBefore));
    queue.check();
}

#[tokio::test]
async fn what_a_person_holds_stays_held_after_the_daemon_was_off() {
    const DAY: i64 = 24 * HOUR;
    let (queue, second) = waiting().await;
    queue.sql().execute("UPDATE messages SET revision = revision + 1, held_at = '2026-11-22T09:01:00.000Z' WHERE step = 2", []).unwrap();
    queue.store.note_alive(at(300)).await.unwrap();
    let queue = queue.crash(at(3 * DAY)).await;
    let day = Some(Duration::from_secs(24 * 3600));
    let recovered = queue.store.recover(at(3 * DAY), Box::new(|_| None), day, None).await.unwrap();
    assert_eq!(recovered.stale, 0);
    assert_eq!(queue.state(second).await.0, StateName::Queued);
}

#[tokio::test]
async fn a_lift_for_every_account_lifts_what_was_set_for_one() {
    let queue = Queue::new().await;
    let only = queue.enqueue(to_user("U1", Inbox::OfPolicy), at(0)).await;
    let mine = StopKey { account_id: Some(account("1")), ..person() };
    let owner = |reason| NewStop {
        key: mine.clone(),
        reason,
        until: None,
        has_length: false,
        actor: "outboxd".into(),
        note: None,
    };
    let never = NewStop {
        reason: StopReason::Suppressed,
        key: StopKey { key: "U2".into(), ..mine.clone() },
        ..owner(StopReason::Suppressed)
    };
    queue.store.stop(vec![owner(StopReason::OwnerWrote), never], at(10)).await.unwrap();
    let lifted = queue.store.lift(person(), None, at(20)).await.unwrap();
    assert_eq!((lifted.stops, lifted.messages), (1, 1));
    assert_eq!(queue.state(only).await, (StateName::Queued, Reason::Turn));
    // A suppression of one account goes only by name of that account.
    let other = StopKey { key: "U2".into(), ..person() };
    assert_eq!(queue.store.lift(other.clone(), Some(StopReason::Suppressed), at(30)).await.unwrap().stops, 0);
    let named = StopKey { account_id: Some(account("1")), ..other };
    assert_eq!(queue.store.lift(named, Some(StopReason::Suppressed), at(30)).await.unwrap().stops, 1);
}
