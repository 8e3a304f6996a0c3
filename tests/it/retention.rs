//! What is kept how long: texts, files and events of finished messages are removed, what the promises need stays (P2).

use outboxd::clock::{Clock, SystemClock};
use outboxd::domain::attachment::Attachment;
use outboxd::domain::message::{ChatId, Extras, Inbox, NewMessage};
use outboxd::domain::state::Settled;
use outboxd::store::{EnqueueMode, Enqueued};
use serde_json::json;

use crate::daemon::{TestEnv, eventually, run};
use crate::queue::{Queue, at, cancel, to_chat, to_user};

const OLD: &str = "2020-01-01T00:00:00.000Z";

/// Makes every finished message and every event old, as another program could not.
fn age(queue: &Queue) {
    let sql = format!(
        "UPDATE messages SET revision = revision + 1, updated_at = '{OLD}', created_at = '{OLD}' WHERE state = 'cancelled'; \
         UPDATE events SET at = '{OLD}'"
    );
    queue.sql().execute_batch(&sql).expect("aged");
}

async fn cancelled(queue: &Queue, message: NewMessage) -> outboxd::domain::message::MessageId {
    let stored = queue.store.enqueue(vec![message], EnqueueMode::Each, at(1)).await.expect("stored");
    let Enqueued::Accepted(id) = stored[0] else { panic!("{stored:?}") };
    cancel(&queue.store, id, at(2)).await.expect("cancelled");
    id
}

#[tokio::test]
async fn texts_of_finished_messages_are_removed_and_the_rest_stays() {
    let queue = Queue::new().await;
    let message = NewMessage {
        meta: Some(json!({"mail": "a@example.com"})),
        dedupe_key: Some("k1".into()),
        ..to_user("U1", Inbox::OfPolicy)
    };
    let old = cancelled(&queue, message).await;
    age(&queue);
    let young = cancelled(&queue, to_chat("c1", "young")).await;
    let waits = queue.store.enqueue(vec![to_chat("c2", "waits")], EnqueueMode::Each, at(1)).await;
    assert!(waits.is_ok());

    let page = queue.store.prune_bodies(at(0), 0, at(10)).await.expect("pruned");
    assert_eq!((page.removed, page.next), (1, None));
    let kept = queue.lines("SELECT text, coalesce(meta, '-'), coalesce(pruned_at, '-'), coalesce(dedupe_key, '-') FROM messages ORDER BY seq");
    let pruned = "|-|2026-11-22T09:00:10.000Z|k1";
    assert_eq!(kept, [pruned, "young|-|-|-", "waits|-|-|-"]);
    assert_eq!(queue.view(old).await.pruned_at, Some(at(10)));
    assert_eq!(queue.view(young).await.pruned_at, None);
    assert_eq!(queue.store.prune_bodies(at(0), 0, at(11)).await.expect("again").removed, 0);
    let retried = queue.sql().execute(
        "UPDATE messages SET revision = revision + 1, state = 'queued' WHERE pruned_at IS NOT NULL",
        [],
    );
    assert!(retried.is_err_and(|error| error.to_string().contains("text of the message was removed")));
    queue.check();
}

#[tokio::test]
async fn many_texts_are_removed_in_pages() {
    let queue = Queue::new().await;
    let messages = (0..450).map(|n| to_chat(&format!("c{n}"), "hello")).collect();
    for stored in queue.store.enqueue(messages, EnqueueMode::Each, at(1)).await.expect("stored") {
        let Enqueued::Accepted(id) = stored else { panic!("{stored:?}") };
        cancel(&queue.store, id, at(2)).await.expect("cancelled");
    }
    age(&queue);
    let (mut next, mut pages) = (Some(0), Vec::new());
    while let Some(after) = next {
        let page = queue.store.prune_bodies(at(0), after, at(10)).await.expect("pruned");
        pages.push(page.removed);
        next = page.next;
    }
    assert_eq!(pages, [200, 200, 50]);
    assert_eq!(queue.value("SELECT count(*) FROM messages WHERE text <> ''"), "0");
}

#[tokio::test]
async fn a_file_stays_while_another_message_carries_it() {
    let queue = Queue::new().await;
    let file = |name: &str| Attachment {
        filename: name.into(),
        content_type: "text/plain".into(),
        send_mode: None,
        voice_note: false,
        duration: None,
        size: 300_000,
        sha256: "ab".repeat(32),
    };
    let with = |chat: &str| NewMessage {
        extras: Extras { attachments: vec![file("a.txt")], ..Extras::default() },
        ..to_chat(chat, "see the file")
    };
    let (sha256, bytes) = ("ab".repeat(32), vec![7_u8; 300_000]);
    let sql = queue.sql();
    sql.execute("INSERT INTO blobs VALUES (?1, ?2)", (&sha256, 300_000)).expect("a blob");
    for (piece, bytes) in bytes.chunks(192 * 1024).enumerate() {
        let piece = i64::try_from(piece).expect("small");
        sql.execute("INSERT INTO blob_pieces VALUES (?1, ?2, ?3)", (&sha256, piece, bytes)).expect("a piece");
    }
    cancelled(&queue, with("c1")).await;
    let second = queue.store.enqueue(vec![with("c2")], EnqueueMode::Each, at(1)).await.expect("stored");
    age(&queue);
    let page = queue.store.prune_files(at(0), 0, at(10)).await.expect("pruned");
    assert_eq!((page.removed, page.next), (0, Some(1)), "the second message carries it");
    assert_eq!(queue.value("SELECT count(*) FROM blob_pieces"), "2");
    let Enqueued::Accepted(second) = second[0] else { panic!() };
    cancel(&queue.store, second, at(3)).await.expect("cancelled");
    age(&queue);
    assert_eq!(queue.store.prune_files(at(0), 0, at(10)).await.expect("pruned").removed, 1);
    let left = queue.value("SELECT (SELECT count(*) FROM blobs) || (SELECT count(*) FROM blob_pieces) || (SELECT count(*) FROM carried_files)");
    assert_eq!(left, "000");
}

#[tokio::test]
async fn old_events_go_and_the_newest_stays() {
    let queue = Queue::new().await;
    for n in 0..3 {
        cancelled(&queue, to_chat(&format!("c{n}"), "x")).await;
    }
    age(&queue);
    let newest = queue.value("SELECT max(seq) FROM events");
    let before: u64 = queue.value("SELECT count(*) FROM events").parse().expect("a number");
    let page = queue.store.prune_events(at(0), at(10)).await.expect("pruned");
    assert_eq!((page.removed, page.next), (before - 1, None));
    assert_eq!(queue.lines("SELECT seq FROM events"), [newest]);
}

#[tokio::test]
async fn the_file_shrinks_in_small_steps() {
    let queue = Queue::new().await;
    assert_eq!(queue.value("PRAGMA auto_vacuum"), "2");
    let text = "x".repeat(7_000);
    let messages = (0..4_000).map(|n| to_chat(&format!("c{n}"), &text)).collect();
    queue.store.enqueue(messages, EnqueueMode::Each, at(1)).await.expect("stored");
    let all = "UPDATE messages SET revision = revision + 1, state = 'cancelled', reason = 'cancelled', updated_at = '2020-01-01T00:00:00.000Z', created_at = '2020-01-01T00:00:00.000Z'";
    queue.sql().execute(all, []).expect("cancelled");
    let pages = || queue.value("PRAGMA page_count").parse::<u64>().expect("a number");
    let full = pages();
    let mut next = Some(0);
    while let Some(after) = next {
        next = queue.store.prune_bodies(at(0), after, at(10)).await.expect("pruned").next;
    }
    let (clock, mut longest) = (SystemClock::new(), std::time::Duration::ZERO);
    loop {
        let began = clock.monotonic();
        let more = queue.store.give_back_pages(at(11)).await.expect("given back");
        longest = longest.max(clock.monotonic() - began);
        if !more {
            break;
        }
    }
    println!("{full} pages before, {} after; longest step {longest:?}", pages());
    // Each text has a page of its own, and 1,000 pages stay free.
    assert!(pages() < full - 2_500, "{full} pages before, {} after", pages());
    assert_eq!(queue.value("PRAGMA integrity_check"), "ok");
}

/// The daemon prunes at its start, repeats are still found, and commands say what is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_removes_texts_and_still_finds_the_repeat() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let message = json!({"account_id": "acc_1", "users_ids": "U1", "text": "hello once"}).to_string();
    let keyed = message.replace("\"text\"", "\"dedupe_key\":\"k1\",\"meta\":{\"row\":1},\"text\"");
    let sent = daemon.enqueue(&keyed).await;
    daemon.becomes(&sent, "sent").await;
    daemon.post("/v1/pause", "").await;
    let other = json!({"account_id": "acc_1", "users_ids": "U2", "text": "hello U2"}).to_string();
    let dropped = daemon.enqueue(&other).await;
    daemon.post(&format!("/v1/messages/{dropped}/cancel"), "{}").await;
    daemon.stop().await;
    env.sql(&format!(
        "UPDATE messages SET revision = revision + 1, updated_at = '{OLD}', created_at = '{OLD}' RETURNING id"
    ));

    let daemon = env.serve().await;
    // An answer of Unipile confirms the date.
    assert_eq!(daemon.get("/v1/webhooks").await.0, 200);
    let gone =
        async || env.sql("SELECT id FROM messages WHERE text = '' AND pruned_at IS NOT NULL").len() == 2;
    assert!(eventually(gone).await, "{}", env.log());
    assert!(!env.log().contains("hello once"));
    let (_, shown) = daemon.get(&format!("/v1/messages/{sent}")).await;
    assert!(shown["text"].is_null() && shown["pruned_at"].is_string(), "{shown}");
    assert_eq!(shown["state"], "sent");
    let (ok, said) = run(env.outboxd(&["show", &sent]), "");
    assert!(ok && said.contains("text:\nremoved at "), "{said}");

    let (code, repeat) = daemon.post("/v1/messages", &message).await;
    assert_eq!((code, &repeat["error"]["code"]), (409, &json!("repeated_text")), "{repeat}");
    let (code, duplicate) = daemon.post("/v1/messages", &keyed).await;
    assert_eq!((code, &duplicate["id"]), (200, &json!(sent)), "{duplicate}");
    let (code, conflict) = daemon.post("/v1/messages", &keyed.replace("hello once", "hello thrice")).await;
    assert_eq!((code, &conflict["error"]["code"]), (409, &json!("dedupe_conflict")), "{conflict}");
    let another = message.replace("hello once", "hello twice");
    assert_eq!(daemon.post("/v1/messages", &another).await.0, 201);
    let (ok, said) = run(env.outboxd(&["retry", &dropped]), "");
    assert!(!ok && said.contains("text was removed on"), "{said}");
    daemon.stop().await;
}

/// A reload changes what is kept how long, and removes at once what is older.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_what_is_kept_how_long() {
    let env = TestEnv::new().await.hasty();
    let write = |bodies: &str| {
        std::fs::write(env.path("outboxd.toml"), format!("[retention]\nbodies = \"{bodies}\"\n"))
            .expect("a file");
    };
    write("");
    let daemon = env.serve().await;
    let message = json!({"account_id": "acc_1", "users_ids": "U1", "text": "hello once"}).to_string();
    let sent = daemon.enqueue(&message).await;
    daemon.becomes(&sent, "sent").await;
    daemon.stop().await;
    env.sql(&format!(
        "UPDATE messages SET revision = revision + 1, updated_at = '{OLD}', created_at = '{OLD}' RETURNING id"
    ));
    let daemon = env.serve().await;
    assert_eq!(daemon.get("/v1/webhooks").await.0, 200);
    let text = async || env.sql("SELECT text FROM messages")[0].clone();
    assert_eq!(text().await, "hello once", "it is kept for ever");
    write("30d");
    daemon.signal("-HUP");
    assert!(eventually(async || text().await.is_empty()).await, "{}", env.log());
    let (_, status) = daemon.get("/v1/status").await;
    assert!(!status["warnings"].to_string().contains("restart"), "{status}");
    daemon.stop().await;
}

#[test]
fn a_time_shorter_than_a_window_is_refused() {
    let load = |name: &str, value: &str| {
        let variables = [(name.to_owned(), value.to_owned())];
        outboxd::config::Settings::load(None, variables.into_iter())
    };
    let refused = load("OUTBOXD_RETENTION_BODIES", "2d").expect_err("the caps look back 7 days").to_string();
    assert!(
        refused.contains("retention.bodies") && refused.contains("the longest window of the caps"),
        "{refused}"
    );
    let refused = load("OUTBOXD_RETENTION_FILES", "soon").expect_err("no time").to_string();
    assert!(refused.contains("retention.files"), "{refused}");
    let kept = load("OUTBOXD_RETENTION_EVENTS", "").expect("never").settings.retention;
    let ninety = std::time::Duration::from_secs(90 * 24 * 3600);
    assert_eq!((kept.bodies, kept.files, kept.events), (Some(ninety), Some(ninety), None));
}

/// Prints the size of a sent message before and after its text and events are removed, for docs/operations.md:
/// `cargo test --test it the_size_of_a_sent_message -- --nocapture`.
#[tokio::test]
async fn the_size_of_a_sent_message_is_smaller_without_its_text_and_events() {
    const MESSAGES: u64 = 500;
    let queue = Queue::new().await;
    let bytes = |file: &std::path::Path| std::fs::metadata(file).expect("a file").len();
    let in_use = || {
        let pages = "SELECT page_size * (page_count - freelist_count) FROM pragma_page_size, pragma_page_count, pragma_freelist_count";
        queue.value(pages).parse::<u64>().expect("a number")
    };
    let empty = in_use();
    for n in 0..MESSAGES {
        let text = format!("{n}: {}", "a text of the usual length ".repeat(11));
        let message = NewMessage {
            meta: Some(json!({"row": n})),
            ..to_user(&format!("ACoAAB{n:06}"), Inbox::OfPolicy)
        };
        let id = queue.enqueue(NewMessage { text, ..message }, at(1)).await;
        let sent = Settled::Sent {
            chat_id: Some(ChatId::new(format!("chat-{n:06}"))),
            message_ids: vec![format!("provider-id-{n:06}")],
            at: at(100),
        };
        queue.attempt(id, 1, sent).await;
    }
    let compact = async |name: &str| {
        let path = queue.path().with_file_name(name);
        queue.store.backup(&path, at(5)).await.expect("a backup");
        bytes(&path) - empty
    };
    let before = [in_use() - empty, compact("before.db").await];
    let old = format!(
        "UPDATE messages SET revision = revision + 1, updated_at = '{OLD}', created_at = '{OLD}'; UPDATE events SET at = '{OLD}'"
    );
    queue.sql().execute_batch(&old).expect("aged");
    let mut next = Some(0);
    while let Some(after) = next {
        next = queue.store.prune_bodies(at(0), after, at(10)).await.expect("pruned").next;
    }
    while queue.store.prune_events(at(0), at(10)).await.expect("pruned").next.is_some() {}
    let after = [in_use() - empty, compact("after.db").await];
    println!(
        "bytes of a sent message in the queue and in a backup: {:?} before, {:?} after",
        before.map(|all| all / MESSAGES),
        after.map(|all| all / MESSAGES)
    );
    assert!(after[0] < before[0] && after[1] < before[1] * 3 / 4, "{before:?} {after:?}");
}
