//! Other programs share the file: the store notices their INSERTs, waits for their locks, and checkpoints the
//! write-ahead log that all of them write.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::domain::message::Seq;
use outboxd::store::{Begun, Commanded, EnqueueMode, ExternalInserts, Inserted, StoreError};
use rusqlite::Connection;

use crate::queue::{Queue, at, cancel, to_chat};

fn system_clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

fn insert(connection: &Connection, text: &str) {
    let sql = "INSERT INTO messages (account_id, chat_id, text) VALUES ('acc_1', 'c', ?1)";
    connection.execute(sql, [text]).unwrap();
}

/// Returns what the watcher finds next, within 20 s.
async fn told(watch: &mut ExternalInserts, limit: u32, clock: &Arc<dyn Clock>) -> Vec<i64> {
    tokio::select! {
        rows = watch.next(limit, clock) => arrivals(&rows.unwrap()),
        () = clock.sleep(Duration::from_secs(20)) => panic!("the INSERT was not noticed"),
    }
}

fn arrivals(rows: &[Inserted]) -> Vec<i64> {
    rows.iter().map(|row| row.seq.0).collect()
}

/// Rejects a new row, as the daemon would.
async fn reject(queue: &Queue, seq: i64) {
    let rows = queue.store.inserted(100).await.unwrap();
    let row = rows.iter().find(|row| row.seq == Seq(seq)).unwrap();
    let admission = outboxd::store::Admission::reject(row, "no".into(), at(1));
    assert_eq!(queue.store.admit(vec![admission]).await.unwrap(), 1);
}

#[tokio::test]
async fn an_insert_of_another_program_is_noticed_and_nothing_is_not() {
    let queue = Queue::new().await;
    let clock = system_clock();
    let mut watch = queue.store.watch().await.unwrap();
    let mut next = Box::pin(watch.next(9, &clock));
    for _ in 0..20 {
        assert!(futures_util::poll!(&mut next).is_pending(), "nothing was inserted");
        clock.sleep(Duration::from_millis(1)).await;
    }
    // A message that the daemon itself takes in needs no admission.
    queue.enqueue(to_chat("c", "mine"), at(1)).await;
    for _ in 0..20 {
        assert!(futures_util::poll!(&mut next).is_pending(), "no other program inserted");
        clock.sleep(Duration::from_millis(1)).await;
    }
    insert(&queue.sql(), "theirs");
    tokio::select! {
        rows = &mut next => assert_eq!(arrivals(&rows.unwrap()), [2]),
        () = clock.sleep(Duration::from_secs(20)) => panic!("the INSERT was not noticed"),
    }
}

#[tokio::test]
async fn rows_beyond_the_limit_follow_and_rows_that_could_not_be_judged_come_again() {
    let queue = Queue::new().await;
    let clock = system_clock();
    for text in ["one", "two", "three"] {
        insert(&queue.sql(), text);
    }
    let mut watch = queue.store.watch().await.unwrap();
    assert_eq!(told(&mut watch, 1, &clock).await, [1], "what was there before counts as new");
    assert!(watch.more_wait());
    assert_eq!(told(&mut watch, 1, &clock).await, [2], "the next is read while the first is judged");
    reject(&queue, 1).await;
    watch.look_again();
    assert_eq!(told(&mut watch, 1, &clock).await, [2], "it was not judged");
    reject(&queue, 2).await;
    // Nothing is written from here on.
    let mut watch = queue.store.watch().await.unwrap();
    assert_eq!(told(&mut watch, 9, &clock).await, [3]);
    watch.look_again();
    // At once: polling alone would read it again after 5 s.
    tokio::select! {
        rows = watch.next(9, &clock) => assert_eq!(arrivals(&rows.unwrap()), [3], "it was not judged"),
        () = clock.sleep(Duration::from_secs(3)) => panic!("it did not come again"),
    }
}

/// The kernel's notice that another program wrote may come while the daemon writes; it then means both writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insert_is_noticed_while_the_daemon_writes_without_a_pause() {
    let queue = Queue::new().await;
    let clock = system_clock();
    let store = queue.store.clone();
    let mut busy = tokio::task::JoinSet::<()>::new();
    busy.spawn(async move {
        loop {
            store.enqueue(vec![to_chat("c", "mine")], EnqueueMode::Each, at(1)).await.expect("stored");
        }
    });
    let mut watch = queue.store.watch().await.unwrap();
    let other = queue.sql();
    for row in 0..20 {
        tokio::task::block_in_place(|| insert(&other, &format!("row {row}")));
        let rows = told(&mut watch, 9, &clock).await;
        assert_eq!(rows.len(), 1, "row {row}");
        reject(&queue, rows[0]).await;
    }
    busy.shutdown().await;
}

/// P5: the writer waits for a lock as SQLite would, and dates what it then writes at the time when it had the lock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_another_program_is_waited_for_and_an_intent_is_dated_after_it() {
    let queue = Queue::new().await;
    let clock = system_clock();
    let sent = queue.enqueue(to_chat("c", "to send"), at(0)).await;
    let cancelled = queue.enqueue(to_chat("d", "to cancel"), at(0)).await;
    for alone in [true, false] {
        let intent = queue.intent(sent, 1, at(5)).await;
        let other = queue.sql();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let held = async {
            clock.sleep(Duration::from_millis(700)).await;
            other.execute_batch("COMMIT").unwrap();
        };
        if alone {
            let (begun, ()) = tokio::join!(queue.store.begin_attempt(intent), held);
            assert_eq!(begun.unwrap(), Begun::Granted);
            let waited_ms = "CAST(round((julianday(started_at) - julianday('2026-11-22T09:00:05Z')) * 86400000) AS INTEGER)";
            let waited_ms: u64 =
                queue.value(&format!("SELECT {waited_ms} FROM attempts")).parse().expect("a number");
            assert!((600..5000).contains(&waited_ms), "dated {waited_ms} ms after it was asked");
        } else {
            let enqueue = queue.store.enqueue(vec![to_chat("e", "x")], EnqueueMode::Each, at(6));
            let cancel = cancel(&queue.store, cancelled, at(6));
            let (stored, cancelled, ()) = tokio::join!(enqueue, cancel, held);
            assert_eq!(stored.unwrap().len(), 1);
            assert!(matches!(cancelled.unwrap(), Commanded::Done { .. }));
        }
    }
    assert_eq!(queue.store.blocked_since(), None);
    queue.check();
}

/// A batch holds a bounded number of bytes, whatever they are.
#[tokio::test]
async fn few_large_rows_are_read_at_once_and_all_of_them_in_the_end() {
    let queue = Queue::new().await;
    let text = "x".repeat(7 << 20);
    for _ in 0..5 {
        insert(&queue.sql(), &text);
    }
    let clock = system_clock();
    let mut watch = queue.store.watch().await.unwrap();
    for expected in [&[1, 2, 3][..], &[4, 5]] {
        assert_eq!(told(&mut watch, 100, &clock).await, expected);
        watch.look_now();
    }
}

/// The producer releases the lock for some microseconds at a time, and the writer must meet one of these moments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_that_commits_without_a_pause_does_not_keep_the_writer_out() {
    let queue = Queue::new().await;
    let clock = SystemClock::new();
    let other = queue.sql();
    let commits = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&commits);
    let producer = std::thread::spawn(move || {
        let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT count(*) FROM n";
        // Half a millisecond or more inside the transaction, nothing outside; until the test is over.
        while Arc::strong_count(&counted) > 1 {
            other.execute_batch(&format!("BEGIN IMMEDIATE; {sql}; COMMIT")).expect("it has its turns");
            counted.fetch_add(1, Ordering::Relaxed);
            // On a machine with more to run than cores, a program is not always stopped inside its transaction.
            std::thread::yield_now();
        }
    });
    let mut before = 0;
    for number in 0..15 {
        while commits.load(Ordering::Relaxed) == before {
            clock.sleep(Duration::from_millis(1)).await;
        }
        before = commits.load(Ordering::Relaxed);
        let message = to_chat("c", &format!("message {number}"));
        let stored = queue.store.enqueue(vec![message], EnqueueMode::Each, at(0)).await;
        assert!(stored.is_ok(), "message {number}: {stored:?}");
    }
    drop(commits);
    tokio::task::spawn_blocking(move || producer.join()).await.unwrap().unwrap();
    queue.check();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_is_held_is_told_within_a_second_and_waited_for_for_five() {
    let queue = Queue::new().await;
    let clock = SystemClock::new();
    let other = queue.sql();
    let kept = queue.enqueue(to_chat("c", "x"), at(0)).await;
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = clock.monotonic();
    let mut stored = Box::pin(queue.store.enqueue(vec![to_chat("d", "y")], EnqueueMode::Each, at(6)));
    tokio::select! {
        stored = &mut stored => panic!("it was told only at the end: {stored:?}"),
        pinged = queue.store.ping(at(6)) => assert!(matches!(pinged, Err(StoreError::Busy)), "{pinged:?}"),
    }
    assert_eq!(
        queue.store.blocked_since(),
        Some(at(6)),
        "told {:?} after the lock",
        clock.monotonic() - began
    );
    let stored = stored.await;
    assert!(matches!(stored, Err(StoreError::Busy)), "{stored:?}");
    assert!(clock.monotonic() - began > Duration::from_secs(4), "it gave up early");
    assert_eq!(queue.store.blocked_since(), Some(at(6)));
    let cancelled = cancel(&queue.store, kept, at(7)).await;
    assert!(matches!(cancelled, Err(StoreError::Busy)), "{cancelled:?}");
    other.execute_batch("COMMIT").unwrap();
    // The store notices although no program writes.
    while queue.store.blocked_since().is_some() {
        assert!(clock.monotonic() - began < Duration::from_secs(60), "the lock is free and said to be held");
        clock.sleep(Duration::from_millis(10)).await;
    }
    queue.enqueue(to_chat("d", "y"), at(8)).await;
    queue.check();
}

/// Checkpoints in an idle moment, before SQLite would do it in the middle of a commit that a caller waits for.
#[tokio::test]
async fn the_log_is_moved_into_the_database_while_nobody_writes() {
    let queue = Queue::new().await;
    let clock = SystemClock::new();
    // Returns the length of the log and how much of it was checkpointed, in pages, without a checkpoint.
    let log = || -> (i64, i64) {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(1)?, row.get(2)?));
        queue.sql().query_row("PRAGMA wal_checkpoint(NOOP)", [], row).unwrap()
    };
    let (before, _) = log();
    for number in 0..64 {
        queue.enqueue(to_chat("c", &format!("message {number}")), at(0)).await;
    }
    let (pages, _) = log();
    assert!(pages > before && pages < 900, "SQLite moved it by itself: {pages} pages");
    let deadline = clock.monotonic() + Duration::from_secs(20);
    while log() != (pages, pages) {
        assert!(clock.monotonic() < deadline, "the log was not moved: {:?}", log());
        clock.sleep(Duration::from_millis(5)).await;
    }
    queue.check();
}
