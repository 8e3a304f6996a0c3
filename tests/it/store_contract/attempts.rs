//! The two durable steps around a call: the intent checks once more, and a late answer changes nothing (P2, P3, P5).

use outboxd::domain::account::{AccountHold, Down};
use outboxd::domain::message::{ChatId, Inbox, NewMessage};
use outboxd::domain::outcome::{DownCause, Phase};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::{Settled, StateName};
use outboxd::store::{Begun, PauseRequest, Scope, Settlement};

use crate::queue::{
    NOWHERE, Queue, account, at, back_in_place, cancel, failed, problem, retry, review, sent, to_chat,
    to_user,
};

#[tokio::test]
async fn a_granted_intent_is_on_disk_with_the_attempt_and_the_pace() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
    assert_eq!(queue.begin(id, 1, at(5)).await, Begun::Granted);
    let queue = queue.crash(at(6)).await;
    assert_eq!(queue.state(id).await, (StateName::Sending, Reason::InFlight));
    let columns = "seq, number, account_id, run, gap_ms, ended_at, phase, outcome, length(fingerprint)";
    let attempts = queue.lines(&format!("SELECT {columns} FROM attempts"));
    assert_eq!(attempts, ["1|1|acc_1|1|12000|-|claimed|-|64"]);
    // It is dated when it is written, which is never before it was requested.
    let started_at = queue.value("SELECT started_at FROM attempts");
    assert!(started_at.as_str() >= "2026-11-22T09:00:05.000Z", "{started_at}");
    let pace = "SELECT last_call_at = ?1 AND last_gap_ms = 12000 AND \
                round((julianday(next_call_at) - julianday(last_call_at)) * 86400) = 12 FROM accounts";
    let paced: bool = queue.sql().query_row(pace, [&started_at], |row| row.get(0)).unwrap();
    assert!(paced, "the account's pace is not that of the attempt");
    queue.check();
}

/// Stops a message between its selection and its intent.
async fn stop(queue: &Queue, id: outboxd::domain::message::MessageId, what: &str) {
    let store = &queue.store;
    let mine = Scope::Account(account("1"));
    let until = |seconds| PauseRequest { until: Some(at(seconds)), ..PauseRequest::default() };
    match what {
        "nothing" => {}
        "cancelled" => drop(cancel(store, id, at(1)).await.expect("cancelled")),
        "account paused" => drop(store.pause(mine, PauseRequest::default(), at(1)).await.expect("paused")),
        "account paused until later" => drop(store.pause(mine, until(51), at(1)).await.expect("paused")),
        "account paused until now" => drop(store.pause(mine, until(50), at(1)).await.expect("paused")),
        "daemon paused" => {
            store.pause(Scope::Everything, PauseRequest::default(), at(1)).await.expect("paused");
        }
        "daemon paused until later" => drop(store.pause(Scope::Everything, until(51), at(1)).await),
        "daemon paused until now" => drop(store.pause(Scope::Everything, until(50), at(1)).await),
        "expired" => {
            set(queue, "UPDATE messages SET revision = revision + 1, expires_at = '2026-11-22T09:00:50.000Z'")
        }
        "expires in a millisecond" => {
            set(
                queue,
                "UPDATE messages SET revision = revision + 1, expires_at = '2026-11-22T09:00:50.001Z'",
            );
        }
        "held" => set(
            queue,
            "UPDATE accounts SET hold_reason = 'cooldown', hold_until = '2026-11-22T09:00:50.001Z'",
        ),
        "held until now" => set(
            queue,
            "UPDATE accounts SET hold_reason = 'cooldown', hold_until = '2026-11-22T09:00:50.000Z'",
        ),
        "down" => set(
            queue,
            "UPDATE accounts SET down_cause = 'disconnected', down_at = '2026-11-22T09:00:00.000Z'",
        ),
        "key refused" => set(queue, "UPDATE daemon SET key_refused_at = '2026-11-22T09:00:01.000Z'"),
        other => panic!("{other}"),
    }
}

fn set(queue: &Queue, sql: &str) {
    assert_eq!(queue.sql().execute(sql, []).expect(sql), 1);
}

#[tokio::test]
async fn the_intent_looks_once_more_at_everything_that_may_stop_it() {
    let cases = [
        ("nothing", Begun::Granted),
        ("cancelled", Begun::Withdrawn),
        ("account paused", Begun::Withdrawn),
        ("account paused until later", Begun::Withdrawn),
        ("account paused until now", Begun::Granted),
        ("daemon paused", Begun::Withdrawn),
        ("daemon paused until later", Begun::Withdrawn),
        ("daemon paused until now", Begun::Granted),
        ("expired", Begun::Withdrawn),
        ("expires in a millisecond", Begun::Granted),
        ("held", Begun::Withdrawn),
        ("held until now", Begun::Granted),
        ("down", Begun::Withdrawn),
        ("key refused", Begun::Withdrawn),
    ];
    for (what, expected) in cases {
        let queue = Queue::new().await;
        let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
        stop(&queue, id, what).await;
        let before = queue.lines("SELECT m.*, a.* FROM messages m JOIN accounts a");
        assert_eq!(queue.begin(id, 1, at(50)).await, expected, "{what}");
        if expected == Begun::Withdrawn {
            let after = queue.lines("SELECT m.*, a.* FROM messages m JOIN accounts a");
            assert_eq!(after, before, "{what}: a withdrawn intent leaves nothing behind");
        }
        queue.check();
    }
}

#[tokio::test]
async fn an_intent_that_is_written_after_the_hours_have_ended_is_withdrawn() {
    for (closes_at, expected) in
        [(at(50), Begun::Withdrawn), (at(49), Begun::Withdrawn), (at(60), Begun::Granted)]
    {
        let queue = Queue::new().await;
        let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
        let mut intent = queue.intent(id, 1, at(50)).await;
        intent.limits.closes_at = Some(closes_at);
        assert_eq!(queue.store.begin_attempt(intent).await.unwrap(), expected, "{closes_at}");
        queue.check();
    }
}

#[tokio::test]
async fn an_intent_with_another_number_is_withdrawn() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
    for number in [0, 2, 3] {
        assert_eq!(queue.begin(id, number, at(1)).await, Begun::Withdrawn, "{number}");
    }
    queue.attempt(id, 1, retry(at(200))).await;
    for number in [1, 3] {
        assert_eq!(queue.begin(id, number, at(300)).await, Begun::Withdrawn, "{number}");
    }
    assert_eq!(queue.begin(id, 2, at(300)).await, Begun::Granted);
    assert_eq!(queue.begin(id, 2, at(301)).await, Begun::Withdrawn, "it is on its way");
    let mut intent = queue.intent(id, 1, at(1)).await;
    intent.seq = NOWHERE;
    assert_eq!(queue.store.begin_attempt(intent).await.unwrap(), Begun::Withdrawn, "no such message");
    queue.check();
}

#[tokio::test]
async fn a_second_call_in_flight_on_an_account_is_never_granted() {
    let queue = Queue::new().await;
    let first = queue.enqueue(to_chat("a", "1"), at(0)).await;
    let second = queue.enqueue(to_chat("b", "2"), at(0)).await;
    let other = queue.enqueue(NewMessage { account_id: account("2"), ..to_chat("a", "3") }, at(0)).await;
    assert_eq!(queue.begin(first, 1, at(1)).await, Begun::Granted);
    let intent = queue.intent(second, 1, at(2)).await;
    let verdict = queue.store.begin_attempt(intent).await;
    assert!(!matches!(verdict, Ok(Begun::Granted)), "{verdict:?}");
    assert_eq!(queue.state(second).await.0, StateName::Queued);
    assert_eq!(queue.begin(other, 1, at(2)).await, Begun::Granted, "another account has its own");
    queue.check();
}

#[tokio::test]
async fn of_intents_that_come_at_once_one_is_granted() {
    let queue = Queue::new().await;
    let first = queue.enqueue(to_chat("a", "1"), at(0)).await;
    let second = queue.enqueue(to_chat("b", "2"), at(0)).await;
    let mut intents = Vec::new();
    for id in [first, first, second] {
        intents.push(queue.intent(id, 1, at(1)).await);
    }
    let begun = intents.into_iter().map(|intent| queue.store.begin_attempt(intent));
    let verdicts = futures_util::future::join_all(begun).await;
    let granted = verdicts.iter().filter(|verdict| matches!(verdict, Ok(Begun::Granted))).count();
    assert_eq!(granted, 1, "{verdicts:?}");
    assert_eq!(queue.value("SELECT count(*) FROM attempts"), "1");
    queue.check();
}

#[tokio::test]
async fn many_accounts_begin_and_settle_in_one_commit() {
    let queue = Queue::new().await;
    let mut ids = Vec::new();
    for n in 0..40 {
        let message = NewMessage { account_id: account(&format!("{n}")), ..to_chat("c", "x") };
        ids.push(queue.enqueue(message, at(0)).await);
    }
    queue.store.pause(Scope::Account(account("7")), PauseRequest::default(), at(0)).await.unwrap();
    let mut intents = Vec::new();
    for id in &ids {
        intents.push(queue.intent(*id, 1, at(1)).await);
    }
    let begun = intents.into_iter().map(|intent| queue.store.begin_attempt(intent));
    let verdicts: Vec<Begun> =
        futures_util::future::join_all(begun).await.into_iter().collect::<Result<_, _>>().unwrap();
    for (n, verdict) in verdicts.iter().enumerate() {
        let expected = if n == 7 { Begun::Withdrawn } else { Begun::Granted };
        assert_eq!(*verdict, expected, "{n}");
    }
    let mut settlements = Vec::new();
    for id in &ids {
        settlements.push(queue.settlement(*id, 1, sent()).await);
    }
    let settled = settlements.into_iter().map(|settlement| queue.store.settle(settlement));
    let verdicts: Vec<bool> =
        futures_util::future::join_all(settled).await.into_iter().collect::<Result<_, _>>().unwrap();
    assert!(verdicts.iter().enumerate().all(|(n, settled)| *settled == (n != 7)), "{verdicts:?}");
    queue.check();
}

#[tokio::test]
async fn each_end_of_an_attempt_leaves_its_state_and_what_was_answered() {
    let text = "api/internal_error (500): Internal error: it broke [req-1]";
    let told = "500|api/internal_error|Internal error|it broke|req-1";
    let cases = [
        (sent(), StateName::Sent, Reason::Delivered, None, "-|-|-|-|-", 0),
        (retry(at(500)), StateName::Queued, Reason::Retry, Some(text), told, 1),
        (back_in_place(), StateName::Queued, Reason::Turn, Some(text), told, 0),
        (failed(), StateName::Failed, Reason::Refused, Some(text), told, 0),
        (review(), StateName::Review, Reason::OutcomeUnknown, Some(text), told, 0),
    ];
    for (end, state, reason, error, answered, retries) in cases {
        let queue = Queue::new().await;
        let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
        queue.attempt(id, 1, end.clone()).await;
        let view = queue.view(id).await;
        assert_eq!((view.state, view.reason, view.attempts), (state, reason, 1));
        assert_eq!(view.error.as_deref(), error, "{end:?}");
        assert_eq!(queue.value("SELECT retries FROM messages"), retries.to_string(), "{end:?}");
        assert_eq!(queue.lines("SELECT status, type, title, detail, req_id FROM attempts"), [answered]);
        let closed = queue.lines("SELECT ended_at, phase, outcome FROM attempts");
        assert_eq!(closed, ["2026-11-22T09:01:40.000Z|answered|accepted"]);
        assert_eq!(queue.value("SELECT next_call_at FROM accounts"), "2026-11-22T09:01:52.000Z");
        let is_sent = state == StateName::Sent;
        assert_eq!(view.sent_at, is_sent.then(|| at(100)));
        assert_eq!(view.provider_message_ids, if is_sent { vec!["m1".to_owned()] } else { vec![] });
        queue.check();
    }
}

#[tokio::test]
async fn a_started_chat_is_filled_in_and_a_given_one_is_kept() {
    let queue = Queue::new().await;
    let end = |chat: &str| Settled::Sent {
        at: at(100),
        chat_id: Some(ChatId::new(chat)),
        message_ids: vec!["m1".into(), "m2".into()],
    };
    let started = queue.enqueue(to_user("u", Inbox::OfPolicy), at(0)).await;
    queue.attempt(started, 1, end("2-new==")).await;
    let view = queue.view(started).await;
    assert_eq!(view.chat_id.as_deref(), Some("2-new=="));
    assert_eq!(view.users_ids.as_deref(), Some(["u".to_owned()].as_slice()));
    assert_eq!(view.provider_message_ids, ["m1", "m2"]);
    let given = queue.enqueue(to_chat("2-old==", "x"), at(0)).await;
    queue.attempt(given, 1, end("2-other==")).await;
    assert_eq!(queue.view(given).await.chat_id.as_deref(), Some("2-old=="));
    queue.check();
}

/// Adds every effect but the pace's, for an attempt that is already over.
fn with_effects(settlement: Settlement) -> Settlement {
    let down = |cause| Some(Down { cause, since: at(100), problem: "late".into() });
    Settlement {
        next_call_at: at(9000),
        hold: Some(AccountHold { reason: Reason::Cooldown, until: at(9000) }),
        account_down: down(DownCause::Restricted),
        key_refused: down(DownCause::Key),
        problem: Some(problem()),
        ..settlement
    }
}

#[tokio::test]
async fn a_late_answer_changes_nothing() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
    queue.attempt(id, 1, retry(at(200))).await;
    let dump = "SELECT m.*, a.*, d.*, t.*, (SELECT max(seq) FROM events) FROM messages m \
                JOIN accounts a JOIN daemon d LEFT JOIN attempts t";
    let settled = queue.lines(dump);
    for number in [0, 1, 2] {
        let late = with_effects(queue.settlement(id, number, sent()).await);
        assert!(!queue.store.settle(late).await.unwrap(), "{number}");
        assert_eq!(queue.lines(dump), settled, "attempt {number} is not open");
    }
    assert_eq!(queue.begin(id, 2, at(300)).await, Begun::Granted);
    let on_its_way = queue.lines(dump);
    let late = with_effects(queue.settlement(id, 1, sent()).await);
    assert!(!queue.store.settle(late).await.unwrap());
    assert_eq!(queue.lines(dump), on_its_way, "the answer to attempt 1 is not one to attempt 2");
    let settlement = queue.settlement(id, 2, sent()).await;
    assert!(queue.store.settle(settlement).await.unwrap());
    queue.check();
}

#[tokio::test]
async fn a_late_answer_beside_a_good_one_is_told_apart() {
    let queue = Queue::new().await;
    let first = queue.enqueue(to_chat("c", "x"), at(0)).await;
    let second = queue.enqueue(NewMessage { account_id: account("2"), ..to_chat("c", "x") }, at(0)).await;
    queue.attempt(first, 1, review()).await;
    assert_eq!(queue.begin(second, 1, at(90)).await, Begun::Granted);
    let late = with_effects(queue.settlement(first, 1, sent()).await);
    let good = queue.settlement(second, 1, sent()).await;
    let (late, good) = tokio::join!(queue.store.settle(late), queue.store.settle(good));
    assert!(!late.unwrap() && good.unwrap());
    assert_eq!(queue.state(first).await.0, StateName::Review);
    assert_eq!(queue.value("SELECT count(*) FROM accounts WHERE hold_until IS NOT NULL"), "0");
    queue.check();
}

#[tokio::test]
async fn settling_never_brings_the_next_call_forward() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
    assert_eq!(queue.begin(id, 1, at(95)).await, Begun::Granted);
    let early = Settlement { next_call_at: at(101), ..queue.settlement(id, 1, sent()).await };
    assert!(queue.store.settle(early).await.unwrap());
    assert_eq!(queue.value("SELECT substr(next_call_at, 1, 19) FROM accounts"), "2026-11-22T09:01:47");
}

#[tokio::test]
async fn what_an_answer_does_to_its_account_is_stored_with_it() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
    queue.enqueue(NewMessage { account_id: account("2"), ..to_chat("c", "x") }, at(0)).await;
    assert_eq!(queue.begin(id, 1, at(90)).await, Begun::Granted);
    let hold = AccountHold { reason: Reason::ApiRateLimited, until: at(700) };
    let settlement = Settlement {
        hold: Some(hold),
        phase: Phase::Connecting,
        ..queue.settlement(id, 1, back_in_place()).await
    };
    assert!(queue.store.settle(settlement).await.unwrap());
    let accounts = queue.store.accounts().await.unwrap();
    assert_eq!((accounts[0].account.hold, accounts[1].account.hold), (Some(hold), None));
    assert_eq!(queue.value("SELECT phase FROM attempts"), "connecting");

    let down = Down { cause: DownCause::Disconnected, since: at(800), problem: "sign in".into() };
    assert_eq!(queue.begin(id, 2, at(800)).await, Begun::Granted);
    let settlement =
        Settlement { account_down: Some(down.clone()), ..queue.settlement(id, 2, back_in_place()).await };
    assert!(queue.store.settle(settlement).await.unwrap());
    let account = queue.store.account(&account("1")).await.unwrap().unwrap().account;
    assert_eq!((account.down, account.hold), (Some(down), Some(hold)), "one does not undo the other");
    let events =
        queue.lines("SELECT kind, account_id, reason, detail FROM events WHERE kind LIKE 'account.%'");
    assert_eq!(
        events,
        [
            "account.hold|acc_1|api_rate_limited|2026-11-22T09:11:40.000Z",
            "account.down|acc_1|account_disconnected|sign in"
        ]
    );
    queue.check();
}

#[tokio::test]
async fn a_refused_key_stops_everything_and_keeps_its_first_problem() {
    let queue = Queue::new().await;
    let ids = [queue.enqueue(to_chat("a", "x"), at(0)).await, queue.enqueue(to_chat("b", "x"), at(0)).await];
    for (seconds, problem) in [(100, "first"), (101, "second")] {
        let id = ids[usize::try_from(seconds - 100).unwrap()];
        // The second call was on its way when the first one was refused.
        queue.sql().execute("UPDATE daemon SET key_refused_at = NULL", []).unwrap();
        assert_eq!(queue.begin(id, 1, at(90)).await, Begun::Granted);
        let sql =
            "UPDATE daemon SET key_refused_at = '2026-11-22T09:01:40.000Z' WHERE key_problem IS NOT NULL";
        queue.sql().execute(sql, []).unwrap();
        let down = Down { cause: DownCause::Key, since: at(seconds), problem: problem.into() };
        let settlement = Settlement {
            at: at(seconds),
            key_refused: Some(down),
            ..queue.settlement(id, 1, back_in_place()).await
        };
        assert!(queue.store.settle(settlement).await.unwrap());
    }
    let refused = queue.store.totals().await.unwrap().daemon.key_refused.unwrap();
    assert_eq!((refused.cause, refused.since, refused.problem.as_str()), (DownCause::Key, at(100), "first"));
    assert_eq!(queue.begin(ids[0], 2, at(900)).await, Begun::Withdrawn);
    queue.check();
}
