//! Commands about stored messages against the store: no change races an intent, and the order of messages stays right.
#![allow(clippy::unwrap_used, reason = "a test may")]

use outboxd::domain::command::{Change, Command, Edit, Instruction};
use outboxd::domain::message::{Inbox, MessageId, NewMessage};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::domain::time_text;
use outboxd::store::{Begun, Commanded, Intent, Settlement};

use crate::queue::{self, Queue, at, failed, keyed, limits, retry, review, sent, to_chat, to_user};

async fn command(queue: &Queue, id: MessageId, command: Command, seconds: i64) -> Commanded {
    queue::command(&queue.store, id, command, at(seconds)).await.unwrap()
}

fn edit(edit: Edit) -> Command {
    Command::Edit(Box::new(edit))
}

fn text(text: &str) -> Command {
    edit(Edit { text: Some(text.to_owned()), ..Edit::default() })
}

fn is_done(result: &Commanded) -> bool {
    matches!(result, Commanded::Done { .. })
}

fn refusal(result: Commanded) -> String {
    let Commanded::Refused { errors, .. } = result else { panic!("not refused: {result:?}") };
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn an_intent_for_the_message_before_an_edit_a_hold_or_a_move_is_withdrawn() {
    let queue = Queue::new().await;
    let edited = queue.enqueue(to_chat("c1", "old"), at(0)).await;
    let intent = queue.intent(edited, 1, at(10)).await;
    assert!(is_done(&command(&queue, edited, text("new"), 5).await));
    assert_eq!(queue.store.begin_attempt(intent.clone()).await.unwrap(), Begun::Withdrawn);
    let of_the_new = Intent { edits: 1, ..intent };
    assert_eq!(queue.store.begin_attempt(of_the_new).await.unwrap(), Begun::Granted);
    let late = refusal(command(&queue, edited, text("later"), 6).await);
    assert!(late.contains("is sending and cannot be edited any more"), "{late}");
    assert_eq!(queue.value("SELECT text FROM messages"), "new");

    let held = queue.enqueue(to_chat("c2", "held"), at(0)).await;
    let intent = queue.intent(held, 1, at(10)).await;
    let settled = queue.settlement(edited, 1, sent()).await;
    queue.store.settle(settled).await.unwrap();
    assert!(is_done(&command(&queue, held, Command::Hold, 5).await));
    assert_eq!(queue.store.begin_attempt(intent).await.unwrap(), Begun::Withdrawn);

    let moved = queue.enqueue(to_user("U1", Inbox::OfPolicy), at(0)).await;
    let intent = queue.intent(moved, 1, at(200)).await;
    let to = edit(Edit { account_id: Some("acc_2".to_owned()), ..Edit::default() });
    assert!(is_done(&command(&queue, moved, to, 5).await));
    assert_eq!(queue.store.begin_attempt(intent).await.unwrap(), Begun::Withdrawn);
    assert_eq!(queue.lines("SELECT count(*) FROM attempts"), ["1"]);
    queue.check();
}

/// A deferred message keeps the end of its rest, whatever its time was in between.
#[tokio::test]
async fn a_time_that_was_mistyped_is_taken_back() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_user("U1", Inbox::OfPolicy), at(0)).await;
    queue
        .store
        .defer(queue.view(id).await.seq, Reason::RecipientRest, at(60), "why".into(), at(1))
        .await
        .unwrap();
    let times = "SELECT substr(due_at, 1, 16) || ' ' || substr(retry_at, 1, 16) FROM messages";
    for (not_before, expected) in [
        (Change::Set("2028-01-01T09:00:00Z".to_owned()), "2028-01-01T09:00 2026-11-22T09:01"),
        (Change::Set("2026-12-05T09:00:00Z".to_owned()), "2026-12-05T09:00 2026-11-22T09:01"),
        (Change::Remove, "2026-11-22T09:00 2026-11-22T09:01"),
    ] {
        let change = edit(Edit { not_before, ..Edit::default() });
        assert!(is_done(&command(&queue, id, change, 5).await));
        assert_eq!(queue.value(times), expected);
    }
    queue.check();
}

#[tokio::test]
async fn an_edit_keeps_the_text_out_of_the_events_and_says_what_was_before() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("c1", "a secret"), at(0)).await;
    let change = Edit {
        text: Some("another secret".to_owned()),
        priority: Some(7),
        campaign: Change::Set("autumn".to_owned()),
        ..Edit::default()
    };
    let instruction =
        Instruction { command: edit(change), actor: "uid 7".to_owned(), note: Some("why".to_owned()) };
    let dry = queue.store.command(&[id], &instruction, &limits(), true, at(1)).await.unwrap();
    assert!(is_done(&dry[0]), "{dry:?}");
    assert_eq!(queue.value("SELECT text || edits FROM messages"), "a secret0", "a dry run changes nothing");
    let done = queue.store.command(&[id], &instruction, &limits(), false, at(1)).await.unwrap();
    assert!(is_done(&done[0]), "{done:?}");
    let again = queue.store.command(&[id], &instruction, &limits(), false, at(2)).await.unwrap();
    assert_eq!(again[0], Commanded::Unchanged(StateName::Queued));
    let events = queue.lines("SELECT detail FROM events WHERE kind = 'command.edit'");
    assert_eq!(events.len(), 1);
    let event: serde_json::Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!((&event["by"], &event["note"]), (&"uid 7".into(), &"why".into()), "{event}");
    assert_eq!((&event["old"]["priority"], &event["new"]["priority"]), (&0.into(), &7.into()), "{event}");
    assert_eq!(event["old"]["text"]["chars"], 8, "{event}");
    assert!(!queue.lines("SELECT coalesce(detail, '') FROM events").join("").contains("secret"));
    queue.check();
}

#[tokio::test]
async fn what_may_have_been_sent_is_never_retried_nor_moved() {
    let queue = Queue::new().await;
    for (chat, end) in [("c1", sent()), ("c2", review())] {
        let id = queue.enqueue(to_chat(chat, "x"), at(0)).await;
        queue.attempt(id, 1, end).await;
        let refused = refusal(command(&queue, id, Command::Retry, 200).await);
        assert!(refused.contains("cannot be retried"), "{refused}");
        if chat == "c2" {
            assert!(is_done(&command(&queue, id, Command::Cancel, 200).await));
            let refused = refusal(command(&queue, id, Command::Retry, 200).await);
            assert!(refused.contains("may have reached the recipient"), "{refused}");
        }
    }
    let refused = queue.enqueue(to_chat("c3", "x"), at(0)).await;
    queue.attempt(refused, 1, failed()).await;
    let refuse = "DROP TRIGGER attempts_update; UPDATE attempts SET outcome = 'refused' WHERE seq = 3";
    queue.sql().execute_batch(refuse).unwrap();
    assert!(is_done(&command(&queue, refused, Command::Retry, 200).await));
    assert_eq!(queue.state(refused).await.0, StateName::Queued);
    queue.attempt(refused, 2, sent()).await;
    queue.check();
}

#[tokio::test]
async fn a_retry_asks_what_a_new_message_is_asked() {
    let queue = Queue::new().await;
    let expired = to_chat("c1", "x");
    let id = queue.enqueue(NewMessage { expires_at: Some(at(10)), ..expired }, at(0)).await;
    queue.store.expire(at(20)).await.unwrap();
    let refused = refusal(command(&queue, id, Command::Retry, 30).await);
    assert!(refused.contains("`expires_at` has passed"), "{refused}");
    let later = edit(Edit { expires_at: Change::Set(time_text(at(900))), ..Edit::default() });
    assert!(is_done(&command(&queue, id, later, 30).await));
    assert!(is_done(&command(&queue, id, Command::Retry, 30).await));

    let first = queue.enqueue(keyed("k", to_chat("c2", "x")), at(0)).await;
    assert!(is_done(&command(&queue, first, Command::Cancel, 30).await));
    let second = queue.enqueue(keyed("k", to_chat("c2", "y")), at(0)).await;
    let refused = refusal(command(&queue, first, Command::Retry, 30).await);
    assert!(refused.contains(&format!("`dedupe_key` belongs to message {second} now")), "{refused}");

    let hello = queue.enqueue(to_user("U1", Inbox::OfPolicy), at(0)).await;
    assert!(is_done(&command(&queue, hello, Command::Cancel, 30).await));
    let again = queue.enqueue(to_user("U1", Inbox::OfPolicy), at(0)).await;
    let refused = refusal(command(&queue, hello, Command::Retry, 30).await);
    assert!(refused.contains(&format!("as message {again}")), "{refused}");
    let other =
        queue.enqueue(NewMessage { text: "other".to_owned(), ..to_user("U1", Inbox::OfPolicy) }, at(0));
    let refused = refusal(command(&queue, other.await, text("hello"), 30).await);
    assert!(refused.contains(&format!("as message {again}")), "an edit: {refused}");
    queue.check();
}

#[tokio::test]
async fn what_the_person_answered_is_not_retried() {
    let queue = Queue::new().await;
    let follow_up = NewMessage { campaign: Some("autumn".to_owned()), ..to_user("U1", Inbox::OfPolicy) };
    let id = queue.enqueue(follow_up, at(0)).await;
    let answered = "INSERT INTO replies (account_id, thread, at) VALUES ('acc_1', 'user:U1', '2026-11-22T09:00:10.000Z')";
    queue.sql().execute(answered, []).unwrap();
    assert!(is_done(&command(&queue, id, Command::Cancel, 20).await));
    let refused = refusal(command(&queue, id, Command::Retry, 30).await);
    assert!(refused.contains("the person answered"), "{refused}");
    let suppressed = queue.enqueue(to_user("U2", Inbox::OfPolicy), at(0)).await;
    assert!(is_done(&command(&queue, suppressed, Command::Cancel, 20).await));
    let stop = "INSERT INTO stops (scope, key, reason) VALUES ('person', 'U2', 'suppressed')";
    queue.sql().execute(stop, []).unwrap();
    let refused = refusal(command(&queue, suppressed, Command::Retry, 30).await);
    assert!(refused.contains("suppression list"), "{refused}");
    queue.check();
}

/// A sequence of numbers that is the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn command(&mut self, seconds: i64) -> Command {
        let small = i64::try_from(self.roll(100)).unwrap();
        match self.roll(9) {
            0 => Command::Hold,
            1 => Command::Release,
            2 => edit(Edit { priority: Some(small % 5), ..Edit::default() }),
            3 => {
                let soon = Change::Set(time_text(at(seconds - 50 + small)));
                edit(Edit { not_before: soon, ..Edit::default() })
            }
            4 => edit(Edit { not_before: Change::Remove, ..Edit::default() }),
            5 => {
                let label = Change::Set(format!("campaign{}", small % 2));
                edit(Edit { campaign: label, ..Edit::default() })
            }
            6 => edit(Edit { account_id: Some(format!("acc_{}", 1 + small % 3)), ..Edit::default() }),
            7 => Command::Cancel,
            _ => Command::Retry,
        }
    }
}

/// Sends `id` if the queue lets it: it is accepted, or certainly not sent.
async fn send(queue: &Queue, id: MessageId, is_sent: bool, seconds: i64) {
    let number = queue.view(id).await.attempts + 1;
    let mut intent = queue.intent(id, number, at(seconds)).await;
    intent.edits = queue.value(&format!("SELECT edits FROM messages WHERE id = '{id}'")).parse().unwrap();
    if queue.store.begin_attempt(intent).await.unwrap() == Begun::Withdrawn {
        return;
    }
    let end = if is_sent { sent() } else { retry(at(seconds + 500)) };
    let settlement = queue.settlement(id, number, end).await;
    let outcome = if is_sent { "accepted" } else { "not_sent" };
    assert!(queue.store.settle(Settlement { outcome, ..settlement }).await.unwrap());
}

#[tokio::test]
async fn lanes_blocks_and_counts_stay_right_under_random_commands() {
    let queue = Queue::new().await;
    let mut ids = Vec::new();
    for n in 0..24 {
        let text = format!("text {n}");
        let message = match n % 3 {
            0 => to_chat(&format!("c{}", n % 6), &text),
            _ => NewMessage { text, ..to_user(&format!("U{}", n % 4), Inbox::OfPolicy) },
        };
        ids.push(queue.enqueue(message, at(n)).await);
    }
    let (mut dice, mut done) = (Dice(20_261_127), 0);
    for round in 0..400 {
        let id = ids[usize::try_from(dice.roll(24)).unwrap()];
        let asked = dice.command(100 + round);
        done += usize::from(is_done(&command(&queue, id, asked, 100 + round).await));
        if dice.roll(6) == 0 {
            send(&queue, id, dice.roll(2) == 0, 100 + round).await;
        }
        if round % 10 == 0 {
            queue.check();
        }
    }
    queue.check();
    assert!(done > 150, "{done} commands changed something");
}
