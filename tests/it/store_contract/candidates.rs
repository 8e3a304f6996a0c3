//! The candidates: by due time, then by arrival; inside a thread nothing overtakes.

use outboxd::domain::account::{Account, Daemon};
use outboxd::domain::lane::Precedence;
use outboxd::domain::message::{Inbox, NewMessage, Target};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::{Settled, StateName};
use outboxd::store::{Asker, Begun, Candidate};

use crate::queue::{
    Queue, account, at, back_in_place, cancel, failed, retry, review, sent, to_chat, to_the_second, to_user,
};

/// The candidates of an account at a time.
struct Turn {
    account: Account,
    daemon: Daemon,
    /// Those that may go now, by due time and seq.
    heads: Vec<Candidate>,
    /// When another one may go.
    next_due_at: Option<jiff::Timestamp>,
}

async fn turn_of(queue: &Queue, name: &str, seconds: i64) -> Option<Turn> {
    let candidates =
        queue.store.candidates(Asker::Engine, &account(name), at(seconds)).await.expect("read")?;
    let ready_at = |one: &Candidate| one.retry_at.map_or(one.due_at, |retry_at| retry_at.max(one.due_at));
    let (mut heads, later): (Vec<_>, Vec<_>) =
        candidates.messages.into_iter().partition(|one| ready_at(one) <= at(seconds));
    heads.sort_by_key(|head| (head.due_at, head.seq));
    let next_due_at = later.iter().map(ready_at).min();
    Some(Turn { account: candidates.account, daemon: candidates.daemon, heads, next_due_at })
}

async fn turn(queue: &Queue, seconds: i64) -> Turn {
    turn_of(queue, "1", seconds).await.expect("the account is known")
}

/// Returns the text of the message that goes next.
async fn first_text(queue: &Queue, seconds: i64) -> Option<String> {
    turn(queue, seconds).await.heads.into_iter().next().map(|candidate| candidate.text)
}

fn scheduled(chat: &str, text: &str, seconds: i64) -> NewMessage {
    NewMessage { not_before: Some(at(seconds)), ..to_chat(chat, text) }
}

#[tokio::test]
async fn an_account_that_nobody_knows_has_no_turn() {
    let queue = Queue::new().await;
    assert_eq!(queue.store.candidates(Asker::Engine, &account("1"), at(0)).await.unwrap(), None);
    queue.enqueue(to_chat("c", "x"), at(0)).await;
    assert_eq!(queue.store.candidates(Asker::Engine, &account("2"), at(0)).await.unwrap(), None);
}

#[tokio::test]
async fn an_account_whose_work_is_done_has_no_turn() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
    queue.attempt(id, 1, sent()).await;
    assert_eq!(queue.store.candidates(Asker::Engine, &account("1"), at(200)).await.unwrap(), None);
    queue.check();
}

#[tokio::test]
async fn the_candidate_is_told_as_it_was_queued() {
    let queue = Queue::new().await;
    let message = NewMessage {
        typing: Some(true),
        expires_at: Some(at(600)),
        text: "👋".into(),
        ..to_user("0042", Inbox::Without)
    };
    let id = queue.enqueue(message.clone(), at(3)).await;
    let candidate = turn(&queue, 3).await.heads.into_iter().next().unwrap();
    assert_eq!((candidate.id, candidate.attempts, candidate.retries), (id, 0, 0));
    assert_eq!(candidate.target, message.target);
    assert_eq!((candidate.text.as_str(), candidate.typing), ("👋", Some(true)));
    assert_eq!((candidate.due_at, candidate.retry_at), (at(3), None));
    assert_eq!(candidate.expires_at, Some(at(600)));
}

#[tokio::test]
async fn the_order_is_by_due_time_and_then_by_arrival() {
    let queue = Queue::new().await;
    queue.enqueue(scheduled("a", "at 50", 50), at(0)).await;
    queue.enqueue(scheduled("b", "at 20", 20), at(0)).await;
    queue.enqueue(to_chat("c", "at 10"), at(10)).await;
    queue.enqueue(scheduled("d", "at 20, later seq", 20), at(11)).await;
    assert_eq!(first_text(&queue, 9).await, None);
    assert_eq!(turn(&queue, 9).await.next_due_at, Some(at(10)));
    let mut order = Vec::new();
    while let Some(turn) = turn_of(&queue, "1", 50).await {
        let candidate = turn.heads.into_iter().next().unwrap();
        order.push(candidate.text);
        queue.attempt(candidate.id, 1, sent()).await;
    }
    assert_eq!(order, ["at 10", "at 20", "at 20, later seq", "at 50"]);
    queue.check();
}

#[tokio::test]
async fn a_message_is_due_at_the_very_millisecond() {
    let queue = Queue::new().await;
    queue.enqueue(scheduled("c", "x", 20), at(0)).await;
    let just_before = at(20) - std::time::Duration::from_millis(1);
    let early = queue.store.candidates(Asker::Engine, &account("1"), just_before).await.unwrap().unwrap();
    let due: Vec<_> = early.messages.iter().map(|one| one.due_at).collect();
    assert_eq!(due, [at(20)], "it is told as what is next");
    assert!(due[0] > just_before);
    assert_eq!(first_text(&queue, 20).await.as_deref(), Some("x"));
}

#[tokio::test]
async fn a_retry_in_the_future_holds_its_own_thread_and_no_other() {
    let queue = Queue::new().await;
    let retrying = queue.enqueue(to_chat("a", "retrying"), at(0)).await;
    queue.enqueue(to_chat("a", "same chat"), at(1)).await;
    queue.enqueue(to_chat("b", "other chat"), at(2)).await;
    queue.attempt(retrying, 1, retry(at(500))).await;

    let now = turn(&queue, 200).await;
    assert_eq!(now.heads.into_iter().next().map(|candidate| candidate.text).as_deref(), Some("other chat"));
    assert_eq!(now.next_due_at, Some(at(500)));
    let due = turn(&queue, 500).await.heads.into_iter().next().unwrap();
    assert_eq!((due.text.as_str(), due.attempts, due.retries), ("retrying", 1, 1), "it kept its place");
    assert_eq!(due.retry_at, Some(at(500)));
    queue.attempt(retrying, 2, sent()).await;
    assert_eq!(first_text(&queue, 500).await.as_deref(), Some("same chat"));
    queue.check();
}

#[tokio::test]
async fn an_open_outcome_holds_its_own_thread_and_no_other() {
    let queue = Queue::new().await;
    let sending = queue.enqueue(to_chat("a", "sending"), at(0)).await;
    queue.enqueue(to_chat("a", "same chat"), at(1)).await;
    queue.enqueue(to_chat("b", "other chat"), at(2)).await;
    assert_eq!(queue.begin(sending, 1, at(5)).await, Begun::Granted);
    assert!(turn(&queue, 10).await.account.in_flight, "nothing else is sent meanwhile");
    let settlement = queue.settlement(sending, 1, review()).await;
    assert!(queue.store.settle(settlement).await.unwrap());
    let now = turn(&queue, 10).await;
    assert!(!now.account.in_flight);
    assert_eq!(now.heads.into_iter().next().map(|candidate| candidate.text).as_deref(), Some("other chat"));
    cancel(&queue.store, sending, at(11)).await.unwrap();
    assert_eq!(first_text(&queue, 12).await.as_deref(), Some("same chat"), "a person has decided");
    queue.check();
}

#[tokio::test]
async fn only_a_held_thread_left_means_nothing_to_do() {
    let queue = Queue::new().await;
    let held = queue.enqueue(to_chat("a", "in review"), at(0)).await;
    queue.enqueue(to_chat("a", "waits for a person"), at(1)).await;
    queue.attempt(held, 1, review()).await;
    assert_eq!(queue.store.candidates(Asker::Engine, &account("1"), at(500)).await.unwrap(), None);
}

#[tokio::test]
async fn a_chat_and_a_user_of_the_same_name_are_two_threads_and_so_are_two_accounts() {
    let queue = Queue::new().await;
    let held = queue.enqueue(to_chat("same", "chat"), at(0)).await;
    queue.enqueue(to_user("same", Inbox::OfPolicy), at(1)).await;
    queue.enqueue(NewMessage { account_id: account("2"), ..to_chat("same", "other account") }, at(2)).await;
    queue.attempt(held, 1, retry(at(900))).await;
    assert!(matches!(turn(&queue, 200).await.heads.into_iter().next().unwrap().target, Target::User { .. }));
    let other = turn_of(&queue, "2", 200).await.unwrap();
    assert_eq!(other.heads.into_iter().next().unwrap().text, "other account");
}

#[tokio::test]
async fn a_message_back_in_its_place_goes_before_those_that_came_later() {
    let queue = Queue::new().await;
    let early = queue.enqueue(to_chat("a", "early"), at(0)).await;
    queue.enqueue(to_chat("b", "late"), at(1)).await;
    queue.attempt(early, 1, back_in_place()).await;
    let candidate = turn(&queue, 200).await.heads.into_iter().next().unwrap();
    assert_eq!((candidate.text.as_str(), candidate.attempts, candidate.retries), ("early", 1, 0));
    queue.attempt(early, 2, failed()).await;
    assert_eq!(first_text(&queue, 200).await.as_deref(), Some("late"), "a final state holds nobody");
    queue.check();
}

#[tokio::test]
async fn the_account_and_the_daemon_come_with_the_turn() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("a", "x"), at(0)).await;
    let fresh = turn(&queue, 0).await;
    assert_eq!(fresh.account, outboxd::domain::account::Account::new(account("1")));
    assert_eq!(fresh.daemon, outboxd::domain::account::Daemon::default());
    queue.attempt(id, 1, back_in_place()).await;
    let account = turn(&queue, 200).await.account;
    assert_eq!(account.last_call_at.map(to_the_second), Some(at(90)));
    assert_eq!(account.next_call_at, Some(at(112)));
}

/// A random walk: whatever is done, no message overtakes an earlier one of its thread.
#[tokio::test]
async fn nothing_overtakes_inside_a_thread_in_a_random_life() {
    use rand::RngExt;
    const SEED: u64 = 20_261_122;
    let queue = Queue::new().await;
    let mut dice = outboxd::clock::dice(SEED);
    let mut now = 0;
    for step in 0..150 {
        now += dice.random_range(0..30_i64);
        if dice.random_range(0..3) > 0 {
            let chat = format!("c{}", dice.random_range(0..4));
            queue.enqueue(to_chat(&chat, &format!("{step:03}")), at(now)).await;
        }
        let Some(turn) = turn_of(&queue, "1", now).await else { continue };
        let Some(candidate) = turn.heads.into_iter().next() else { continue };
        let Target::Chat(chat) = &candidate.target else { panic!("only chats") };
        let overtaken = queue.lines(&format!(
            "SELECT text, state FROM messages WHERE chat_id = '{chat}' AND text < '{}' \
             AND state IN ('queued', 'sending', 'uncertain', 'review')",
            candidate.text
        ));
        assert_eq!(overtaken, [""; 0], "seed {SEED}, step {step}: {} overtook", candidate.text);
        let number = candidate.attempts + 1;
        assert_eq!(queue.begin(candidate.id, number, at(now)).await, Begun::Granted, "seed {SEED}");
        let end = match dice.random_range(0..6) {
            0 => retry(at(now + dice.random_range(1..200_i64))),
            1 => back_in_place(),
            2 => review(),
            3 => failed(),
            _ => Settled::Sent { at: at(now), chat_id: None, message_ids: vec![] },
        };
        let settlement = queue.settlement(candidate.id, number, end).await;
        assert!(queue.store.settle(settlement).await.unwrap(), "seed {SEED}, step {step}");
    }
    queue.check();
}

/// A blocked message is never begun, and shows what blocks it.
#[tokio::test]
async fn a_blocked_message_knows_which_one_it_waits_for() {
    let queue = Queue::new().await;
    let first = queue.enqueue(to_chat("a", "first"), at(0)).await;
    let second = queue.enqueue(to_chat("a", "second"), at(1)).await;
    queue.attempt(first, 1, retry(at(500))).await;
    let third = queue.enqueue(to_chat("a", "third"), at(2)).await;
    for blocked in [second, third] {
        let blocked_by = queue.view(blocked).await.waiting.unwrap().blocked_by.unwrap();
        assert_eq!((blocked_by.id, blocked_by.retry_at), (first, Some(at(500))));
        assert_eq!(queue.begin(blocked, 1, at(200)).await, Begun::Withdrawn);
    }
    queue.attempt(first, 2, review()).await;
    assert_eq!(queue.view(third).await.waiting.unwrap().blocked_by.unwrap().state, StateName::Review);
    cancel(&queue.store, first, at(600)).await.unwrap();
    assert_eq!(queue.view(third).await.waiting.unwrap().blocked_by, None);
    assert_eq!(first_text(&queue, 600).await.as_deref(), Some("second"));
    queue.check();
}

/// A retried message blocks those that come after it in its chat, and none before (T2).
#[tokio::test]
async fn a_retried_urgent_message_does_not_block_an_earlier_one_of_its_chat() {
    let queue = Queue::new().await;
    let urgent = Precedence { urgent: true, ..Precedence::default() };
    let retried = scheduled("c", "urgent", 100);
    let retried = queue.enqueue(NewMessage { precedence: urgent, ..retried }, at(0)).await;
    queue.attempt(retried, 1, retry(at(3600))).await;
    let normal = queue.enqueue(to_chat("c", "normal"), at(50)).await;
    let later = queue.enqueue(to_chat("c", "later"), at(101)).await;
    assert_eq!(queue.view(normal).await.waiting.unwrap().blocked_by, None);
    assert_eq!(queue.view(later).await.waiting.unwrap().blocked_by.map(|by| by.id), Some(retried));
    assert_eq!(first_text(&queue, 200).await.as_deref(), Some("normal"));
    queue.check();
}

/// Many due retries at once return to their lanes, at the places that they had.
#[tokio::test]
async fn due_retries_return_to_their_places() {
    let queue = Queue::new().await;
    let mut ids = Vec::new();
    for n in 0..50 {
        ids.push(queue.enqueue(to_chat(&format!("c{n}"), &format!("{n:02}")), at(n)).await);
    }
    for id in ids.iter().rev() {
        let seq = queue.view(*id).await.seq;
        queue.store.defer(seq, Reason::ChatLookup, at(500), String::new(), at(100)).await.unwrap();
    }
    queue.enqueue(to_chat("new", "new"), at(400)).await;
    queue.check_order();
    let candidates = queue.store.candidates(Asker::Engine, &account("1"), at(600)).await.unwrap().unwrap();
    assert!(candidates.returns_retries);
    queue.store.return_retries(account("1"), at(600)).await.unwrap();
    assert_eq!(first_text(&queue, 600).await.as_deref(), Some("00"));
    queue.check_order();
}

/// A message whose rest is over holds no other of its thread: what is more urgent goes first.
#[tokio::test]
async fn what_was_deferred_returns_to_its_place_when_others_wait_for_it() {
    let queue = Queue::new().await;
    let deferred = queue.enqueue(to_chat("c", "normal"), at(0)).await;
    let seq = queue.view(deferred).await.seq;
    queue.store.defer(seq, Reason::RecipientRest, at(60), String::new(), at(1)).await.unwrap();
    let alone = queue.store.candidates(Asker::Engine, &account("1"), at(61)).await.unwrap().unwrap();
    assert!(!alone.returns_retries, "it keeps no other waiting");
    let urgent = Precedence { urgent: true, ..Precedence::default() };
    queue.enqueue(NewMessage { precedence: urgent, ..to_chat("c", "urgent") }, at(2)).await;
    let early = queue.store.candidates(Asker::Engine, &account("1"), at(59)).await.unwrap().unwrap();
    assert!(!early.returns_retries, "its rest is not over");
    let due = queue.store.candidates(Asker::Engine, &account("1"), at(61)).await.unwrap().unwrap();
    assert!(due.returns_retries);
    let texts = async || turn(&queue, 61).await.heads.into_iter().map(|head| head.text).collect::<Vec<_>>();
    assert_eq!(texts().await, ["normal"]);
    queue.store.return_retries(account("1"), at(61)).await.unwrap();
    assert_eq!(texts().await, ["normal", "urgent"], "the policy picks one of them");
    queue.check();
}

/// A failed attempt keeps the order of its chat until it is settled, whatever is more urgent.
#[tokio::test]
async fn what_was_tried_stays_before_the_others_of_its_chat_when_its_retry_is_due() {
    let queue = Queue::new().await;
    let first = queue.enqueue(to_chat("c", "first"), at(0)).await;
    queue.attempt(first, 1, retry(at(60))).await;
    let urgent = Precedence { urgent: true, ..Precedence::default() };
    queue.enqueue(NewMessage { precedence: urgent, ..to_chat("c", "urgent") }, at(2)).await;
    let due = queue.store.candidates(Asker::Engine, &account("1"), at(61)).await.unwrap().unwrap();
    assert!(!due.returns_retries);
    queue.store.return_retries(account("1"), at(61)).await.unwrap();
    let heads = turn(&queue, 61).await.heads;
    assert_eq!(heads.into_iter().map(|head| head.text).collect::<Vec<_>>(), ["first"]);
    queue.check();
}
