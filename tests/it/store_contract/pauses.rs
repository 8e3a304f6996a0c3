//! Pausing and resuming: durable, distinct from other holds, and never undoing more than was requested (P5).

use outboxd::domain::account::{AccountHold, Down, History, Pause};
use outboxd::domain::outcome::DownCause;
use outboxd::domain::reason::Reason;
use outboxd::store::{Begun, PauseRequest, Paused, Resumed, Scope, Settlement};

use crate::queue::{Queue, account, at, back_in_place, to_chat};

fn mine() -> Scope {
    Scope::Account(account("1"))
}

fn until(seconds: i64, note: &str) -> PauseRequest {
    PauseRequest { until: Some(at(seconds)), note: Some(note.into()), ..PauseRequest::default() }
}

/// Returns a queue with the account `acc_1`.
async fn with_account() -> Queue {
    let queue = Queue::new().await;
    queue.enqueue(to_chat("c", "x"), at(0)).await;
    queue
}

async fn pause_of(queue: &Queue, scope: &Scope) -> Option<Pause> {
    match scope {
        Scope::Everything => queue.store.totals().await.expect("read").daemon.pause,
        Scope::Account(id) => queue.store.account(id).await.expect("read").expect("there").account.pause,
    }
}

#[tokio::test]
async fn a_pause_holds_after_a_crash_and_is_told_when_it_held_already() {
    for scope in [mine(), Scope::Everything] {
        let queue = with_account().await;
        let store = &queue.store;
        assert_eq!(store.pause(scope.clone(), until(50, "why"), at(1)).await.unwrap(), Paused::Done);
        let queue = queue.crash(at(2)).await;
        let pause = Pause { since: at(1), until: Some(at(50)), note: Some("why".into()) };
        assert_eq!(pause_of(&queue, &scope).await, Some(pause), "{scope:?}");

        let store = &queue.store;
        let again = store.pause(scope.clone(), PauseRequest::default(), at(3)).await.unwrap();
        assert_eq!(again, Paused::Already, "{scope:?}");
        let pause = Pause { since: at(1), until: None, note: Some("why".into()) };
        assert_eq!(pause_of(&queue, &scope).await, Some(pause), "only its end is the new one");
        assert_eq!(store.resume(scope.clone(), false, at(4)).await.unwrap(), Resumed::Done);
        assert_eq!(pause_of(&queue, &scope).await, None, "{scope:?}");
        assert_eq!(store.resume(scope.clone(), false, at(5)).await.unwrap(), Resumed::WasNotPaused);
        assert_eq!(store.resume(scope.clone(), true, at(5)).await.unwrap(), Resumed::WasNotPaused);

        let name = if scope == Scope::Everything { "daemon|-" } else { "account|acc_1" };
        let (kind, id) = name.split_once('|').unwrap();
        let events = queue.lines("SELECT kind, account_id, at, detail FROM events WHERE message_id IS NULL");
        assert_eq!(
            events,
            [
                format!("{kind}.paused|{id}|2026-11-22T09:00:01.000Z|why"),
                format!("{kind}.paused|{id}|2026-11-22T09:00:03.000Z|-"),
                format!("{kind}.resumed|{id}|2026-11-22T09:00:04.000Z|-"),
            ]
        );
        queue.check();
    }
}

#[tokio::test]
async fn a_pause_that_has_ended_by_itself_is_a_new_one() {
    for scope in [mine(), Scope::Everything] {
        let queue = with_account().await;
        queue.store.pause(scope.clone(), until(50, "a"), at(1)).await.unwrap();
        let request = until(90, "b");
        assert_eq!(queue.store.pause(scope.clone(), request.clone(), at(49)).await.unwrap(), Paused::Already);
        assert_eq!(queue.store.pause(scope.clone(), request, at(90)).await.unwrap(), Paused::Done);
    }
}

#[tokio::test]
async fn an_account_that_nobody_knows_cannot_be_paused() {
    let queue = with_account().await;
    let scope = Scope::Account(account("nobody"));
    let request = PauseRequest::default();
    assert_eq!(queue.store.pause(scope.clone(), request, at(1)).await.unwrap(), Paused::Unknown);
    assert_eq!(queue.store.resume(scope, true, at(1)).await.unwrap(), Resumed::Unknown);
    assert_eq!(queue.value("SELECT count(*) FROM events WHERE message_id IS NULL"), "0");
    assert_eq!(queue.value("SELECT count(*) FROM accounts"), "1");
}

#[tokio::test]
async fn pausing_one_account_pauses_no_other_and_everything_is_not_an_account() {
    let queue = with_account().await;
    let other = outboxd::domain::message::NewMessage { account_id: account("2"), ..to_chat("c", "x") };
    let id = queue.enqueue(other, at(0)).await;
    queue.store.pause(mine(), PauseRequest::default(), at(1)).await.unwrap();
    assert_eq!(pause_of(&queue, &Scope::Everything).await, None);
    assert_eq!(pause_of(&queue, &Scope::Account(account("2"))).await, None);
    assert_eq!(queue.begin(id, 1, at(2)).await, Begun::Granted);
    queue.store.pause(Scope::Everything, PauseRequest::default(), at(3)).await.unwrap();
    queue.store.resume(Scope::Everything, true, at(4)).await.unwrap();
    assert!(pause_of(&queue, &mine()).await.is_some(), "resuming everything ends no account's own pause");
}

/// Returns a queue whose account was throttled and is disconnected.
async fn held_and_down() -> Queue {
    let queue = with_account().await;
    let id = queue.value("SELECT id FROM messages").parse().expect("an id");
    assert_eq!(queue.begin(id, 1, at(1)).await, Begun::Granted);
    let settlement = Settlement {
        hold: Some(AccountHold { reason: Reason::Cooldown, until: at(900) }),
        account_down: Some(Down { cause: DownCause::Disconnected, since: at(2), problem: "x".into() }),
        ..queue.settlement(id, 1, back_in_place()).await
    };
    assert!(queue.store.settle(settlement).await.expect("settled"));
    queue
}

#[tokio::test]
async fn resuming_mends_what_was_down_and_lifts_a_forced_rest_only_if_asked() {
    let queue = held_and_down().await;
    let account_now = async || queue.store.accounts().await.unwrap().remove(0).account;
    assert_eq!(queue.store.resume(mine(), false, at(10)).await.unwrap(), Resumed::Done);
    let after = account_now().await;
    assert_eq!(after.down, None);
    assert_eq!(after.hold, Some(AccountHold { reason: Reason::Cooldown, until: at(900) }));
    assert_eq!(queue.store.resume(mine(), false, at(11)).await.unwrap(), Resumed::WasNotPaused);
    assert_eq!(queue.store.resume(mine(), true, at(900)).await.unwrap(), Resumed::WasNotPaused, "it is over");
    assert_eq!(queue.store.resume(mine(), true, at(899)).await.unwrap(), Resumed::Done);
    assert_eq!(account_now().await.hold, None);
    queue.check();
}

/// The answer to a call that began before a resume says nothing about what was fixed since.
#[tokio::test]
async fn an_answer_to_a_call_from_before_a_resume_does_not_undo_it() {
    let queue = held_and_down().await;
    let id = queue.value("SELECT id FROM messages").parse().expect("an id");
    assert_eq!(queue.store.resume(mine(), true, at(200)).await.unwrap(), Resumed::Done);
    assert_eq!(queue.begin(id, 2, at(201)).await, Begun::Granted);
    // While that call is on its way, everything and the account are paused and resumed.
    for scope in [mine(), Scope::Everything] {
        queue.store.pause(scope.clone(), PauseRequest::default(), at(210)).await.unwrap();
        assert_eq!(queue.store.resume(scope, false, at(220)).await.unwrap(), Resumed::Done);
    }
    let down = |cause| Some(Down { cause, since: at(230), problem: "old news".into() });
    let settlement = Settlement {
        account_down: down(DownCause::Disconnected),
        key_refused: down(DownCause::Key),
        hold: Some(AccountHold { reason: Reason::Failures, until: at(5000) }),
        history: History { failures: 7, ..History::default() },
        ..queue.settlement(id, 2, back_in_place()).await
    };
    assert!(queue.store.settle(settlement).await.unwrap());
    let account = queue.store.accounts().await.unwrap().remove(0).account;
    assert_eq!((account.down, account.hold, account.history.failures), (None, None, 1));
    assert_eq!(queue.store.totals().await.unwrap().daemon.key_refused, None);
    // A hold that the provider requested applies nevertheless, and a call from after the resume counts in full.
    assert_eq!(queue.begin(id, 3, at(400)).await, Begun::Granted);
    let settlement = Settlement {
        account_down: down(DownCause::Restricted),
        ..queue.settlement(id, 3, back_in_place()).await
    };
    assert!(queue.store.settle(settlement).await.unwrap());
    let account = queue.store.accounts().await.unwrap().remove(0).account;
    assert_eq!(account.down.map(|down| down.cause), Some(DownCause::Restricted));
    let downs =
        queue.value("SELECT count(*) FROM events WHERE kind IN ('account.down', 'daemon.key_refused')");
    assert_eq!(downs, "2", "the first one, and the last one");
    queue.check();
}

#[tokio::test]
async fn resuming_everything_says_that_the_key_is_mended() {
    let queue = with_account().await;
    let id = queue.value("SELECT id FROM messages").parse().unwrap();
    assert_eq!(queue.begin(id, 1, at(1)).await, Begun::Granted);
    let down = Down { cause: DownCause::Key, since: at(2), problem: "expired".into() };
    let settlement = Settlement { key_refused: Some(down), ..queue.settlement(id, 1, back_in_place()).await };
    assert!(queue.store.settle(settlement).await.unwrap());
    assert_eq!(queue.store.resume(mine(), true, at(3)).await.unwrap(), Resumed::WasNotPaused);
    assert_eq!(queue.begin(id, 2, at(200)).await, Begun::Withdrawn);
    assert_eq!(queue.store.resume(Scope::Everything, false, at(201)).await.unwrap(), Resumed::Done);
    assert_eq!(queue.begin(id, 2, at(202)).await, Begun::Granted);
    let events = queue.lines("SELECT kind, reason, detail FROM events WHERE message_id IS NULL ORDER BY seq");
    assert_eq!(events, ["daemon.key_refused|key_refused|expired", "daemon.resumed|-|-"]);
    queue.check();
}
