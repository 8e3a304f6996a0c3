//! What people read: one message with its place, pages, accounts, totals.

use outboxd::domain::message::{MessageId, NewMessage};
use outboxd::domain::state::StateName;
use outboxd::store::{Begun, MessageFilter, MessageView};

use crate::queue::{Queue, account, at, keyed, retry, review, sent, to_chat, to_the_second};

async fn list(queue: &Queue, filter: MessageFilter) -> Vec<MessageView> {
    let filter = MessageFilter { limit: 50, ..filter };
    queue.store.messages(&filter, at(300)).await.expect("a page").messages
}

/// Returns a queue in which something of every kind has happened.
async fn lively() -> (Queue, [MessageId; 6]) {
    let queue = Queue::new().await;
    let labelled = |message: NewMessage| NewMessage { campaign: Some("spring".into()), ..message };
    let done = queue.enqueue(labelled(to_chat("a", "done")), at(0)).await;
    let retrying = queue.enqueue(to_chat("b", "retrying"), at(1)).await;
    let behind = queue.enqueue(keyed("k", to_chat("b", "behind")), at(2)).await;
    let in_review = queue.enqueue(labelled(to_chat("c", "in review")), at(3)).await;
    let free = queue.enqueue(to_chat("d", "free"), at(4)).await;
    let other = NewMessage { account_id: account("2"), ..to_chat("a", "other account") };
    let other = queue.enqueue(other, at(5)).await;
    queue.attempt(done, 1, sent()).await;
    queue.attempt(retrying, 1, retry(at(500))).await;
    queue.attempt(in_review, 1, review()).await;
    (queue, [done, retrying, behind, in_review, free, other])
}

#[tokio::test]
async fn a_message_knows_its_place() {
    let (queue, [done, retrying, behind, in_review, free, other]) = lively().await;
    assert!(queue.view(done).await.waiting.is_none() && queue.view(in_review).await.waiting.is_none());
    let place = async |id| {
        let waiting = queue.store.message(id, at(300)).await.unwrap().unwrap().waiting.unwrap();
        (waiting.queue_position, waiting.blocked_by.map(|blocked_by| blocked_by.id))
    };
    assert_eq!(place(retrying).await, (0, None));
    assert_eq!(place(behind).await, (0, Some(retrying)));
    assert_eq!(place(free).await, (0, None), "those that are held do not count");
    assert_eq!(place(other).await, (0, None));
    let last = queue.enqueue(to_chat("d", "last"), at(6)).await;
    assert_eq!(place(last).await, (1, None), "behind what is free");
    let blocked_by = queue.store.message(behind, at(300)).await.unwrap().unwrap().waiting.unwrap().blocked_by;
    let blocked_by = blocked_by.unwrap();
    assert_eq!((blocked_by.state, blocked_by.retry_at), (StateName::Queued, Some(at(500))));
    let after = queue.enqueue(to_chat("c", "behind review"), at(7)).await;
    let blocked_by = queue.store.message(after, at(300)).await.unwrap().unwrap().waiting.unwrap().blocked_by;
    assert_eq!(
        blocked_by.map(|blocked_by| (blocked_by.id, blocked_by.state)),
        Some((in_review, StateName::Review))
    );
    assert!(queue.store.message(MessageId(uuid::Uuid::nil()), at(0)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_list_is_newest_first_without_texts_and_takes_every_filter() {
    let (queue, [done, _, behind, in_review, _, other]) = lively().await;
    let all = list(&queue, MessageFilter::default()).await;
    let arrivals: Vec<i64> = all.iter().map(|message| message.seq.0).collect();
    assert_eq!(arrivals, [6, 5, 4, 3, 2, 1]);
    assert!(all.iter().all(|message| message.text.is_none()));
    let ids = async |filter| {
        let found = list(&queue, filter).await;
        found.iter().map(|message| message.id).collect::<Vec<_>>()
    };
    let none = MessageFilter::default;
    assert_eq!(ids(MessageFilter { account_id: Some(account("2")), ..none() }).await, [other]);
    let states = vec![StateName::Sent, StateName::Review];
    assert_eq!(ids(MessageFilter { states, ..none() }).await, [in_review, done]);
    let spring = MessageFilter { campaign: Some("spring".into()), ..none() };
    assert_eq!(ids(spring.clone()).await, [in_review, done]);
    assert_eq!(ids(MessageFilter { chat_id: Some("a".into()), ..none() }).await, [other, done]);
    assert_eq!(ids(MessageFilter { dedupe_key: Some("k".into()), ..none() }).await, [behind]);
    let both = MessageFilter { states: vec![StateName::Sent], ..spring };
    assert_eq!(ids(both).await, [done]);
    assert_eq!(ids(MessageFilter { campaign: Some("' OR 1".into()), ..none() }).await, []);
}

#[tokio::test]
async fn pages_follow_each_other_without_a_gap() {
    let (queue, _) = lively().await;
    for limit in [1, 2, 3, 6, 7] {
        let mut seen = Vec::new();
        let mut before = None;
        loop {
            let filter = MessageFilter { limit, before, ..MessageFilter::default() };
            let page = queue.store.messages(&filter, at(300)).await.unwrap();
            assert!(page.messages.len() <= usize::try_from(limit).unwrap());
            seen.extend(page.messages.iter().map(|message| message.seq.0));
            let Some(next) = page.next else { break };
            before = Some(next);
        }
        assert_eq!(seen, [6, 5, 4, 3, 2, 1], "pages of {limit}");
    }
}

#[tokio::test]
async fn the_attempts_of_a_message_are_told_in_order() {
    let (queue, [_, retrying, ..]) = lively().await;
    assert_eq!(queue.begin(retrying, 2, at(600)).await, Begun::Granted);
    let attempts = queue.store.attempts(queue.view(retrying).await.seq).await.unwrap();
    assert_eq!(attempts.len(), 2);
    let first = &attempts[0];
    assert_eq!((first.number, first.ended_at), (1, Some(at(100))));
    assert_eq!(to_the_second(first.started_at), at(90));
    assert_eq!((first.phase.as_str(), first.status, first.gap_ms), ("answered", Some(500), 12_000));
    assert_eq!(first.kind.as_deref(), Some("api/internal_error"));
    assert_eq!((first.title.as_deref(), first.req_id.as_deref()), (Some("Internal error"), Some("req-1")));
    let second = &attempts[1];
    assert_eq!((second.number, second.ended_at, second.outcome.as_deref()), (2, None, None));
    assert_eq!(second.phase, "claimed");
}

#[tokio::test]
async fn accounts_and_totals_count_without_looking_at_rows() {
    let (queue, _) = lively().await;
    let accounts = queue.store.accounts().await.unwrap();
    let ids: Vec<&str> = accounts.iter().map(|view| view.account.id.as_str()).collect();
    assert_eq!(ids, ["acc_1", "acc_2"]);
    let count = |state| accounts[0].counts.of(state);
    assert_eq!((count(StateName::Queued), count(StateName::Sent), count(StateName::Review)), (3, 1, 1));
    assert_eq!((count(StateName::Sending), count(StateName::New)), (0, 0));
    assert_eq!(accounts[0].oldest_due_at, Some(at(4)), "the oldest that is neither retried nor blocked");
    assert_eq!((accounts[0].last_sent_at, accounts[1].last_sent_at), (Some(at(90)), None));
    let one = queue.store.account(&account("2")).await.unwrap().unwrap();
    assert_eq!(one.counts.of(StateName::Queued), 1);
    assert!(queue.store.account(&account("nobody")).await.unwrap().is_none());

    let totals = queue.store.totals().await.unwrap();
    assert_eq!((totals.accounts, totals.counts.of(StateName::Queued)), (2, 4));
    assert_eq!(totals.counts.0.iter().map(|(_, n)| n).sum::<u64>(), 6);
    assert_eq!(totals.producers, [], "nobody else has written");
    queue.check();
}

#[tokio::test]
async fn events_are_numbered_in_order_without_a_hole() {
    let (queue, _) = lively().await;
    let seqs: Vec<i64> =
        queue.lines("SELECT seq FROM events ORDER BY rowid").iter().map(|seq| seq.parse().unwrap()).collect();
    assert_eq!(seqs, (1..=i64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(seqs.len(), 6 + 3 * 2, "six arrivals, three intents, three ends");
    let queue = queue.crash(at(900)).await;
    queue.enqueue(to_chat("z", "x"), at(901)).await;
    assert_eq!(queue.value("SELECT max(seq) FROM events"), "13", "numbering goes on");
    let last = queue.lines("SELECT at, kind, account_id, reason FROM events ORDER BY seq DESC LIMIT 1");
    assert_eq!(last, ["2026-11-22T09:15:01.000Z|message.queued|acc_1|turn"]);
}
