//! The store's contract, verb by verb, on a real file: a second backend must pass these tests unchanged but for what
//! `queue.rs` reads from SQLite. Here: enqueueing, and that what was acknowledged is on disk (P1, P7).
#![allow(clippy::unwrap_used, reason = "a test may")]

mod attempts;
mod candidates;
mod heard;
mod intake;
mod pauses;
mod runs;
mod steps;
mod views;

use outboxd::domain::attachment::Attachment;
use outboxd::domain::lane::Precedence;
use outboxd::domain::message::{ChatId, Extras, Inbox, InboxId, MessageId, NewMessage, Target, UserId};
use outboxd::domain::need::Need;
use outboxd::domain::reason::Reason;
use outboxd::domain::specifics::Specifics;
use outboxd::domain::state::StateName;
use outboxd::domain::step::{Step, StepWait};
use outboxd::store::{EnqueueMode, Enqueued, StoreError};
use serde_json::json;
use tokio::task::JoinSet;

use crate::queue::{Queue, account, at, keyed, to_chat, to_user};

/// Columns that are NULL in every new message, and `options`, which the socket writes as `specifics`.
const DAEMONS: &[&str] = &[
    // Checked on the way in and not stored.
    "allow_placeholders",
    "revision",
    "options",
    "error",
    "retry_at",
    "reconcile_at",
    "settled_by",
    "route",
    "blocked_by",
    "step_sent_at",
    "wait_until",
    "wait_held_at",
    "held_at",
    "text_hash",
    "pruned_at",
    "sent_at",
    "delivered_at",
    "read_at",
    "replied_at",
    "provider_message_ids",
];

#[tokio::test]
async fn each_message_is_stored_as_it_was_given() {
    let queue = Queue::new().await;
    let full = NewMessage {
        typing: Some(false),
        not_before: Some(at(60)),
        expires_at: Some(at(600)),
        campaign: Some("spring 'é\"".into()),
        stop_on_reply: Some(true),
        step: None,
        meta: None,
        needs: Some(Need::Connection),
        dedupe_key: Some("k1".into()),
        ..to_user("ACoA/1", Inbox::Named(InboxId::new("X_PRIMARY")))
    };
    let batch = vec![to_chat("2-a/b==", "línea 1\n\"2\" 🦀"), full, to_user("0123", Inbox::Without)];
    let verdicts = queue.store.enqueue(batch, EnqueueMode::Each, at(1)).await.unwrap();
    let ids: Vec<MessageId> = verdicts
        .iter()
        .map(|verdict| match verdict {
            Enqueued::Accepted(id) => *id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(ids.iter().all(|id| id.0.get_version_num() == 7));

    let chat = queue.view(ids[0]).await;
    assert_eq!((chat.state, chat.reason), (StateName::Queued, Reason::Turn));
    assert_eq!(chat.chat_id.as_deref(), Some("2-a/b=="));
    assert_eq!(chat.text.as_deref(), Some("línea 1\n\"2\" 🦀"));
    assert_eq!((chat.users_ids, chat.typing, chat.campaign, chat.expires_at), (None, None, None, None));
    assert_eq!((chat.created_at, chat.waiting.unwrap().due_at), (at(1), at(1)));

    let start = queue.view(ids[1]).await;
    assert_eq!((start.state, start.reason), (StateName::Queued, Reason::Scheduled));
    assert_eq!(start.users_ids.as_deref(), Some(["ACoA/1".to_owned()].as_slice()));
    assert_eq!((start.inbox_id.as_deref(), start.typing), (Some("X_PRIMARY"), Some(false)));
    assert_eq!((start.stop_on_reply, start.needs), (Some(true), Some(Need::Connection)));
    assert_eq!((start.not_before, start.expires_at), (Some(at(60)), Some(at(600))));
    assert_eq!((start.campaign.as_deref(), start.dedupe_key.as_deref()), (Some("spring 'é\""), Some("k1")));
    assert_eq!(start.waiting.unwrap().due_at, at(60));

    let without = queue.view(ids[2]).await;
    assert_eq!(without.users_ids.as_deref(), Some(["0123".to_owned()].as_slice()), "not taken for a number");
    assert_eq!(without.inbox_id.as_deref(), Some(""));
    queue.check();
}

fn picture() -> Attachment {
    Attachment {
        filename: "a.png".into(),
        content_type: "image/png".into(),
        send_mode: None,
        voice_note: false,
        duration: None,
        size: 3,
        sha256: "00".repeat(32),
    }
}

/// Two statements write a single row and the rows of a batch. No two columns of a producer hold the same values in
/// all messages.
/// Returns a step of a campaign into a chat.
fn step(number: u8, wait: Option<StepWait>) -> NewMessage {
    NewMessage {
        campaign: Some("autumn".into()),
        step: Some(Step { number, wait }),
        meta: Some(json!({"company": "Acme"})),
        ..to_chat("c3", "a step")
    }
}

#[tokio::test]
async fn a_message_alone_is_stored_as_it_is_in_a_batch() {
    let specifics = serde_json::json!({ "linkedin": { "classic": { "inmail": true } } });
    let messages = [
        keyed("k1", to_chat("2-a/b==", "línea 1\n\"2\" \u{1F980}")),
        NewMessage {
            extras: Extras { quote_id: Some("m1".into()), attachments: vec![picture()], ..Extras::default() },
            typing: Some(true),
            not_before: Some(at(60)),
            expires_at: Some(at(600)),
            campaign: Some("spring".into()),
            needs: Some(Need::Connection),
            precedence: Precedence { allow_repeat: true, ..Precedence::default() },
            ..to_chat("c1", "a reply")
        },
        NewMessage {
            extras: Extras {
                specifics: Some(Specifics::parse("specifics", specifics).unwrap()),
                ..Extras::default()
            },
            precedence: Precedence { priority: -7, urgent: true, ignore_hours: true, allow_repeat: false },
            ..to_user("0123", Inbox::Named(InboxId::new("X_PRIMARY")))
        },
        NewMessage {
            target: Target::Group {
                users_ids: vec![UserId::new("u1"), UserId::new("u2")],
                inbox: Inbox::Without,
            },
            extras: Extras { name: Some("three of us".into()), ..Extras::default() },
            ..to_chat("", "to both")
        },
        NewMessage {
            target: Target::Forward {
                source_chat_id: ChatId::new("c1"),
                source_message_id: "m1".into(),
                chat_id: ChatId::new("c2"),
            },
            precedence: Precedence { urgent: true, ..Precedence::default() },
            stop_on_reply: Some(false),
            ..to_chat("", "")
        },
        step(1, None),
        step(2, Some(StepWait::Days(3))),
    ];
    let (alone, together) = (Queue::new().await, Queue::new().await);
    for message in messages.clone() {
        alone.enqueue(message, at(1)).await;
    }
    together.store.enqueue(messages.to_vec(), EnqueueMode::Each, at(1)).await.unwrap();
    let columns =
        alone.lines("SELECT '\"' || name || '\"' FROM pragma_table_info('messages') WHERE name <> 'id'");
    let sql = format!("SELECT json_array({}) FROM messages ORDER BY seq", columns.join(", "));
    let rows = alone.lines(&sql);
    assert_eq!((rows.len(), &rows), (messages.len(), &together.lines(&sql)));
    for column in columns.iter().filter(|column| !DAEMONS.contains(&column.trim_matches('"'))) {
        let set = alone.value(&format!("SELECT count({column}) FROM messages"));
        assert_ne!(set, "0", "no message sets {column}");
    }
}

#[tokio::test]
async fn an_empty_batch_is_no_error() {
    let queue = Queue::new().await;
    for mode in [EnqueueMode::Each, EnqueueMode::All] {
        assert_eq!(queue.store.enqueue(vec![], mode, at(0)).await.unwrap(), []);
    }
    assert_eq!(queue.store.admit(vec![]).await.unwrap(), 0);
    queue.check();
}

#[tokio::test]
async fn the_same_key_with_the_same_content_is_a_duplicate_and_with_another_a_conflict() {
    let queue = Queue::new().await;
    let first = NewMessage { not_before: Some(at(60)), ..keyed("k", to_chat("c", "hello")) };
    let id = queue.enqueue(first.clone(), at(0)).await;
    let others = [
        ("text", NewMessage { text: "hello!".into(), ..first.clone() }),
        ("account", NewMessage { account_id: account("2"), ..first.clone() }),
        ("chat", NewMessage { target: to_chat("d", "").target, ..first.clone() }),
        ("target", NewMessage { target: to_user("c", Inbox::OfPolicy).target, ..first.clone() }),
        ("typing", NewMessage { typing: Some(true), ..first.clone() }),
        ("not_before", NewMessage { not_before: Some(at(61)), ..first.clone() }),
        ("expires_at", NewMessage { expires_at: Some(at(600)), ..first.clone() }),
        ("campaign", NewMessage { campaign: Some("x".into()), ..first.clone() }),
    ];
    for mode in [EnqueueMode::Each, EnqueueMode::All] {
        let again = queue.store.enqueue(vec![first.clone()], mode, at(5)).await.unwrap();
        assert_eq!(again, [Enqueued::Duplicate(id)], "{mode:?}");
        for (what, other) in &others {
            let verdicts = queue.store.enqueue(vec![other.clone()], mode, at(5)).await.unwrap();
            assert_eq!(verdicts, [Enqueued::Conflict(id)], "another {what}, {mode:?}");
        }
    }
    assert_eq!(queue.value("SELECT count(*) FROM messages"), "1");
    assert_eq!(queue.value("SELECT count(*) FROM events"), "1", "a duplicate is not an event");
    queue.check();
}

#[tokio::test]
async fn a_message_that_was_sent_is_still_a_duplicate() {
    let queue = Queue::new().await;
    let started = keyed("k", to_user("u", Inbox::OfPolicy));
    let id = queue.enqueue(started.clone(), at(0)).await;
    let answer = outboxd::domain::state::Settled::Sent {
        at: at(100),
        chat_id: Some(outboxd::domain::message::ChatId::new("new-chat")),
        message_ids: vec![],
    };
    queue.attempt(id, 1, answer).await;
    let again = queue.store.enqueue(vec![started], EnqueueMode::Each, at(200)).await.unwrap();
    assert_eq!(again, [Enqueued::Duplicate(id)], "the chat that was filled in is not the producer's word");
    queue.check();
}

#[tokio::test]
async fn a_mixed_batch_is_judged_row_by_row() {
    let queue = Queue::new().await;
    let old = queue.enqueue(keyed("old", to_chat("c", "old")), at(0)).await;
    let batch = vec![
        to_chat("c", "no key"),
        keyed("old", to_chat("c", "old")),
        keyed("old", to_chat("c", "else")),
        keyed("new", to_chat("c", "new")),
        keyed("new", to_chat("c", "new")),
        keyed("new", to_chat("c", "newer")),
        to_chat("c", "no key"),
    ];
    let verdicts = queue.store.enqueue(batch, EnqueueMode::Each, at(1)).await.unwrap();
    let Enqueued::Accepted(new) = verdicts[3] else { panic!("{:?}", verdicts[3]) };
    assert!(matches!(verdicts[0], Enqueued::Accepted(_)), "{verdicts:?}");
    assert_eq!(verdicts[1], Enqueued::Duplicate(old));
    assert_eq!(verdicts[2], Enqueued::Conflict(old));
    assert_eq!(verdicts[4], Enqueued::Duplicate(new));
    assert_eq!(verdicts[5], Enqueued::Conflict(new));
    assert!(matches!(verdicts[6], Enqueued::Accepted(_)), "two messages without a key are two messages");
    let texts = queue.lines("SELECT text FROM messages ORDER BY seq");
    assert_eq!(texts, ["old", "no key", "new", "no key"]);
    assert_eq!(queue.view(new).await.text.as_deref(), Some("new"));
    queue.check();
}

#[tokio::test]
async fn an_all_or_none_batch_with_a_conflict_leaves_nothing() {
    let queue = Queue::new().await;
    let old = queue.enqueue(keyed("old", to_chat("c", "old")), at(0)).await;
    let stranger = NewMessage { account_id: account("stranger"), ..to_chat("c", "good") };
    let batch = vec![stranger.clone(), keyed("old", to_chat("c", "else")), keyed("old", to_chat("c", "old"))];
    let verdicts = queue.store.enqueue(batch, EnqueueMode::All, at(1)).await.unwrap();
    assert_eq!(verdicts, [Enqueued::Refused, Enqueued::Conflict(old), Enqueued::Duplicate(old)]);
    let in_batch = vec![keyed("x", to_chat("c", "1")), keyed("x", to_chat("c", "2"))];
    let verdicts = queue.store.enqueue(in_batch, EnqueueMode::All, at(1)).await.unwrap();
    assert!(matches!(verdicts[..], [Enqueued::Refused, Enqueued::Conflict(_)]), "{verdicts:?}");
    assert_eq!(queue.value("SELECT count(*) FROM messages"), "1");
    assert_eq!(queue.value("SELECT group_concat(id) FROM accounts"), "acc_1", "no account was made either");
    queue.check();

    let good = vec![stranger, keyed("old", to_chat("c", "old")), keyed("x", to_chat("c", "1"))];
    let verdicts = queue.store.enqueue(good, EnqueueMode::All, at(2)).await.unwrap();
    assert!(
        matches!(verdicts[..], [Enqueued::Accepted(_), Enqueued::Duplicate(_), Enqueued::Accepted(_)]),
        "a duplicate is not a conflict: {verdicts:?}"
    );
    queue.check();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_callers_at_once_are_all_acknowledged_and_all_on_disk() {
    let queue = Queue::new().await;
    let mut callers = JoinSet::new();
    for caller in 0..64_usize {
        let store = queue.store.clone();
        callers.spawn(async move {
            let mut acknowledged = Vec::new();
            for round in 0..4 {
                // Every caller also tries a key that all of them share: exactly one wins.
                let shared = keyed(&format!("shared {round}"), to_chat("c", "shared"));
                let account_id = account(&format!("{}", caller % 7));
                let own = NewMessage { account_id, ..to_chat("c", &format!("{caller}/{round}")) };
                let mode = if caller % 8 == 0 { EnqueueMode::All } else { EnqueueMode::Each };
                let verdicts = store.enqueue(vec![own, shared], mode, at(1)).await.expect("stored");
                acknowledged.extend(verdicts);
            }
            acknowledged
        });
    }
    let verdicts: Vec<Enqueued> = callers.join_all().await.into_iter().flatten().collect();
    let mut accepted: Vec<String> = verdicts
        .iter()
        .filter_map(|verdict| match verdict {
            Enqueued::Accepted(id) => Some(id.to_string()),
            Enqueued::Duplicate(_) => None,
            other => panic!("{other:?}"),
        })
        .collect();
    accepted.sort_unstable();
    assert_eq!((verdicts.len(), accepted.len()), (64 * 4 * 2, 64 * 4 + 4));
    let queue = queue.crash(at(10)).await;
    assert_eq!(queue.lines("SELECT id FROM messages ORDER BY id"), accepted);
    queue.check();
}

#[tokio::test]
async fn one_bad_member_of_a_group_commit_takes_no_other_down() {
    let queue = Queue::new().await;
    // The CHECK on account_id refuses this one, whatever validation let through.
    let bad =
        NewMessage { account_id: outboxd::domain::message::AccountId::new("bob"), ..to_chat("c", "bad") };
    let enqueue = |message| queue.store.enqueue(vec![message], EnqueueMode::Each, at(0));
    let (first, refused, second) =
        tokio::join!(enqueue(to_chat("c", "1")), enqueue(bad.clone()), enqueue(to_chat("c", "2")));
    assert!(matches!(first.unwrap()[..], [Enqueued::Accepted(_)]));
    assert!(matches!(refused, Err(StoreError::Sqlite(_))), "{refused:?}");
    assert!(matches!(second.unwrap()[..], [Enqueued::Accepted(_)]));
    let all = queue.store.enqueue(vec![to_chat("c", "3"), bad], EnqueueMode::Each, at(0)).await;
    assert!(all.is_err(), "{all:?}");
    assert_eq!(queue.lines("SELECT text FROM messages ORDER BY seq"), ["1", "2"]);
    queue.check();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash() {
    let queue = Queue::new().await;
    let id = queue.enqueue(keyed("k", to_chat("c", "hello")), at(0)).await;
    let queue = queue.crash(at(60)).await;
    assert_eq!(queue.view(id).await.text.as_deref(), Some("hello"));
    let again = vec![keyed("k", to_chat("c", "hello"))];
    let verdicts = queue.store.enqueue(again, EnqueueMode::Each, at(61)).await.unwrap();
    assert_eq!(verdicts, [Enqueued::Duplicate(id)]);
    queue.check();
}

#[tokio::test]
async fn a_closed_queue_takes_nothing() {
    let queue = Queue::new().await;
    queue.store.close(at(1)).await.unwrap();
    let verdict = queue.store.enqueue(vec![to_chat("c", "x")], EnqueueMode::Each, at(2)).await;
    assert!(matches!(verdict, Err(StoreError::Closed)), "{verdict:?}");
    queue.check();
}

#[tokio::test]
async fn a_second_daemon_on_the_same_queue_is_refused_and_told_which_process_has_it() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
    let Err(error) = queue.open_again().await else { panic!("two daemons on one queue") };
    assert!(matches!(error, StoreError::Locked(_)), "{error:?}");
    let text = error.to_string();
    let process = format!("(process {})", std::process::id());
    assert!(text.contains(&process) && text.contains("queue.db") && text.contains("store.path"), "{text}");
    let queue = queue.crash(at(1)).await;
    assert_eq!(queue.state(id).await.0, StateName::Queued, "the lock ends with its holder");
}

#[tokio::test]
async fn the_file_is_kept_as_the_promises_need_it() {
    let queue = Queue::new().await;
    assert_eq!(queue.value("PRAGMA journal_mode"), "wal");
    assert_eq!(queue.value("PRAGMA integrity_check"), "ok");
    let strict = queue.lines(
        "SELECT name FROM pragma_table_list WHERE type = 'table' AND strict = 0 \
                              AND name NOT LIKE 'sqlite%' AND name NOT LIKE '_sqlx%'",
    );
    assert_eq!(strict, [""; 0], "every table is STRICT");
    // A file that cannot be created: the store must not open.
    let options = outboxd::store::StoreOptions { path: "/proc/queue.db".into(), readers: 1 };
    let Err(error) = outboxd::store::Store::open(&options, at(0)).await else { panic!("opened") };
    assert!(matches!(error, StoreError::File { .. }), "{error:?}");
}
