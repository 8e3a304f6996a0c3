//! Intents and settlements that arrive together share one transaction; each has its own result, and none sees another's.
#![allow(clippy::unwrap_used, reason = "a test may")]

use futures_util::future::join_all;
use outboxd::domain::account::{AccountHold, Down};
use outboxd::domain::command::Command;
use outboxd::domain::message::{MessageId, NewMessage};
use outboxd::domain::outcome::DownCause;
use outboxd::domain::reason::Reason;
use outboxd::store::{Begun, Intent, Settlement};

use crate::queue::{self, Queue, account, at, retry, sent, to_chat};

/// Enqueues a message of an account of its own.
async fn message(queue: &Queue, name: &str) -> MessageId {
    let message = NewMessage { account_id: account(name), ..to_chat(&format!("chat_{name}"), "hello") };
    queue.enqueue(message, at(0)).await
}

/// A message whose call is open.
async fn open(queue: &Queue, name: &str) -> MessageId {
    let id = message(queue, name).await;
    assert_eq!(queue.begin(id, 1, at(90)).await, Begun::Granted);
    id
}

/// Makes all requests before the writer begins with the first, and returns the results.
async fn together(
    queue: &Queue,
    settlements: Vec<Settlement>,
    intents: Vec<Intent>,
) -> (Vec<bool>, Vec<Begun>) {
    let settling = join_all(settlements.into_iter().map(|one| queue.store.settle(one)));
    let beginning = join_all(intents.into_iter().map(|one| queue.store.begin_attempt(one)));
    let (settled, begun) = tokio::join!(settling, beginning);
    (
        settled.into_iter().collect::<Result<_, _>>().unwrap(),
        begun.into_iter().collect::<Result<_, _>>().unwrap(),
    )
}

const MESSAGES: &str = "SELECT substr(account_id, 5), state, reason, attempts FROM messages ORDER BY seq";
const ATTEMPTS: &str =
    "SELECT substr(account_id, 5), number, phase, outcome, ended_at IS NOT NULL FROM attempts ORDER BY seq";
const NEXT_CALLS: &str = "SELECT substr(id, 5), substr(next_call_at, 12, 8) FROM accounts ORDER BY id";

#[tokio::test]
async fn settlements_and_intents_that_arrive_together_have_their_own_results() {
    let queue = Queue::new().await;
    let (accepted, late, failed) =
        (open(&queue, "accepted").await, open(&queue, "late").await, open(&queue, "failed").await);
    let (begun, held) = (message(&queue, "begun").await, message(&queue, "held").await);
    let settlements = vec![
        queue.settlement(accepted, 1, sent()).await,
        queue.settlement(late, 1, sent()).await,
        Settlement { outcome: "not_sent", ..queue.settlement(failed, 1, retry(at(500))).await },
    ];
    let intents = vec![queue.intent(begun, 1, at(100)).await, queue.intent(held, 1, at(100)).await];
    queue.store.abandon(account("late"), at(95), Box::new(|_account| Some(at(160)))).await.unwrap();
    queue::command(&queue.store, held, Command::Hold, at(95)).await.unwrap();

    let (settled, begun) = together(&queue, settlements, intents).await;
    assert_eq!(settled, [true, false, true]);
    assert_eq!(begun, [Begun::Granted, Begun::Withdrawn]);
    assert_eq!(
        queue.lines(MESSAGES),
        [
            "accepted|sent|delivered|1",
            "late|uncertain|reconciling|1",
            "failed|queued|retry|1",
            "begun|sending|in_flight|1",
            "held|queued|held|0",
        ]
    );
    assert_eq!(
        queue.lines(ATTEMPTS),
        [
            "accepted|1|answered|accepted|1",
            "late|1|claimed|uncertain|1",
            "failed|1|answered|not_sent|1",
            "begun|1|claimed|-|0",
        ]
    );
    assert_eq!(
        queue.lines(NEXT_CALLS),
        ["accepted|09:01:52", "begun|09:01:52", "failed|09:01:52", "held|-", "late|09:01:47"],
        "the late answer moves no account"
    );
    queue.check();
}

#[tokio::test]
async fn a_settlement_that_takes_its_account_down_says_so_among_others() {
    let queue = Queue::new().await;
    let (accepted, refused) = (open(&queue, "accepted").await, open(&queue, "refused").await);
    let next = message(&queue, "next").await;
    let down = Down { cause: DownCause::Disconnected, since: at(100), problem: "disconnected".into() };
    let hold = AccountHold { reason: Reason::Failures, until: at(900) };
    let settlements = vec![
        queue.settlement(accepted, 1, sent()).await,
        Settlement {
            outcome: "account_down",
            account_down: Some(down),
            hold: Some(hold),
            ..queue.settlement(refused, 1, retry(at(500))).await
        },
    ];
    let (settled, begun) = together(&queue, settlements, vec![queue.intent(next, 1, at(100)).await]).await;
    assert_eq!((settled, begun), (vec![true, true], vec![Begun::Granted]));
    assert_eq!(
        queue
            .lines("SELECT kind, substr(account_id, 5) FROM events WHERE kind GLOB 'account.*' ORDER BY seq"),
        ["account.hold|refused", "account.down|refused"]
    );
    queue.check();
}
