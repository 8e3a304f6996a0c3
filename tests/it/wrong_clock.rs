//! The real process under a wall clock that is wrong by years, ahead and behind, while it runs and between two runs
//! (H16, H17).
//!
//! libfaketime sits between the process and its wall clock and reads the offset from a file; the monotonic clock is
//! left alone, as it is when a person or NTP sets the time.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::path::PathBuf;
use std::time::Duration;

use jiff::ToSpan;
use jiff::tz::TimeZone;
use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::ByHand;
use serde_json::json;

use crate::daemon::{TestEnv, eventually, gaps};

/// Returns the library, if it is installed (Debian's package `faketime`; .ci/run installs it).
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let found = folders.flatten().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    found.into_iter().find(|library| library.exists())
}

fn set_clock(env: &TestEnv, seconds: i64) {
    // Replaces the whole file: the daemon reads it all the time.
    std::fs::write(env.path("offset.new"), format!("{seconds:+}")).unwrap();
    std::fs::rename(env.path("offset.new"), env.path("offset")).unwrap();
}

/// Runs the daemon under the clock that the file `offset` sets; `None` if the library is not installed.
fn with_wrong_clock(env: TestEnv) -> Option<TestEnv> {
    let Some(library) = library() else {
        eprintln!("libfaketime is not installed; the real process is not run under a wrong clock");
        return None;
    };
    let offset = env.path("offset");
    let env = env
        .set("LD_PRELOAD", library.to_str().unwrap())
        .set("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap())
        .set("FAKETIME_NO_CACHE", "1")
        .set("DONT_FAKE_MONOTONIC", "1");
    Some(env)
}

/// A message that finished a moment ago keeps its text; one that is old by every clock loses it.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_years_ahead_removes_nothing_too_early() {
    let Some(env) = with_wrong_clock(TestEnv::new().await.hasty()) else { return };
    set_clock(&env, 0);
    let daemon = env.serve().await;
    let enqueue = async |user: &str| {
        let message = json!({ "account_id": "acc_1", "users_ids": user, "text": format!("to {user}") });
        daemon.enqueue(&message.to_string()).await
    };
    let old = enqueue("U1").await;
    daemon.becomes(&old, "sent").await;
    daemon.post("/v1/pause", "").await;
    let young = enqueue("U2").await;
    assert_eq!(daemon.post(&format!("/v1/messages/{young}/cancel"), "{}").await.0, 200);
    daemon.stop().await;
    const OLD: &str = "UPDATE messages SET revision = revision + 1, updated_at = '2020-01-01T00:00:00.000Z', \
         created_at = '2020-01-01T00:00:00.000Z' WHERE users_ids LIKE '%U1%' RETURNING id";
    env.sql(OLD);
    set_clock(&env, 400 * 86_400);
    let daemon = env.serve().await;
    assert_eq!(daemon.get("/v1/webhooks").await.0, 200, "its answer has the right date");
    let texts = || env.sql("SELECT text FROM messages ORDER BY seq");
    assert!(eventually(async || texts()[0].is_empty()).await, "{}", env.log());
    assert!(eventually(async || env.log().contains("removed what was kept long enough")).await);
    assert_eq!(texts(), ["", "to U2"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_by_years_holds_nothing_up_and_hurries_nothing() {
    const YEARS: i64 = 400 * 86_400;
    let env = TestEnv::new().await.hasty();
    let env =
        env.set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "300ms").set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "400ms");
    let Some(env) = with_wrong_clock(env) else { return };
    let mut expected = 0;
    // The offset of the clock when a run begins, and the offset that it is set to while it runs.
    for (begins, set_to) in [(0, YEARS), (YEARS, 0), (0, -YEARS), (-YEARS, YEARS), (0, -3600)] {
        set_clock(&env, begins);
        let daemon = env.serve().await;
        for n in 0..4 {
            let text = format!("from {begins} to {set_to}, message {n}");
            let message = json!({ "account_id": "acc_1", "chat_id": "chat_1", "text": text });
            daemon.enqueue(&message.to_string()).await;
        }
        env.delivered(expected + 1).await;
        set_clock(&env, set_to);
        let last = json!({ "account_id": "acc_1", "chat_id": "chat_1", "text": format!("after {set_to}") });
        daemon.enqueue(&last.to_string()).await;
        expected += 5;
        let delivered = env.delivered(expected).await;
        assert_eq!(delivered.last().unwrap().text, format!("after {set_to}"), "in order");
        daemon.stop().await;
    }
    let world = env.sandbox.world();
    let pauses = gaps(&world.deliveries(), "acc_1");
    assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(290)), "{pauses:?}");
    let set = env.sql("SELECT detail FROM events WHERE kind = 'daemon.clock_set' ORDER BY seq");
    assert!(set.len() >= 5, "each time it was set it was noticed: {set:?}");
    let none_waits = eventually(async || env.sql("SELECT id FROM messages WHERE state <> 'sent'").is_empty());
    assert!(none_waits.await);
}

/// While a lock holds the first rows up, the next ones are read; then the clock is set back by an hour.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_read_before_the_clock_was_set_are_due_by_the_clock_that_is_right() {
    let Some(env) = with_wrong_clock(TestEnv::new().await.hasty()) else { return };
    set_clock(&env, 0);
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let other = rusqlite::Connection::open(env.database()).unwrap();
    const ROWS: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) \
         INSERT INTO messages (account_id, chat_id, text) SELECT 'acc_1', 'chat_' || i, 'row ' || i FROM n";
    other.execute_batch(&format!("BEGIN IMMEDIATE; {ROWS}; COMMIT; BEGIN IMMEDIATE")).unwrap();
    SystemClock::new().sleep(Duration::from_millis(1500)).await;
    set_clock(&env, -3600);
    SystemClock::new().sleep(Duration::from_millis(1500)).await;
    other.execute_batch("COMMIT").unwrap();
    let none_is_new = eventually(async || env.sql("SELECT id FROM messages WHERE state = 'new'").is_empty());
    assert!(none_is_new.await, "{}", env.log());
    let is_set = "SELECT kind FROM events WHERE kind = 'daemon.clock_set'";
    assert!(eventually(async || env.sql(is_set).len() == 1).await, "{}", env.log());
    let late =
        "SELECT id FROM messages WHERE julianday(due_at) > julianday('now', '-3600 seconds', '+60 seconds')";
    assert_eq!(env.sql(late).len(), 0, "of 6,000 rows");
    daemon.stop().await;
}

/// The owner's own words, an automatic answer and one with a date hold the follow-ups, each for its length, whatever the
/// clock shows when they are heard and afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_follows_from_an_answer_keeps_its_length() {
    const DAYS: i64 = 400 * 86_400;
    let back = SystemClock::new().now().to_zoned(TimeZone::UTC).date().checked_add(3.days()).unwrap();
    let texts = [
        "Let us talk on Monday".to_owned(),
        "Automatic reply: thank you for your message".to_owned(),
        format!("I am out of office until {back}"),
    ];
    for (begins, set_to, over_a_start) in [(DAYS, 0, false), (-DAYS, 0, true), (0, -DAYS, false)] {
        let env = TestEnv::new().await.hasty().set("TZ", "UTC");
        let Some(env) = with_wrong_clock(env) else { return };
        set_clock(&env, begins);
        let mut daemon = env.serve().await;
        let enqueue = async |daemon: &crate::daemon::Daemon, to: &str, id: &str, text: &str| {
            let message = json!({ "account_id": "acc_1", to: id, "text": text, "campaign": "autumn" });
            daemon.enqueue(&message.to_string()).await
        };
        let mut chats = Vec::new();
        for (n, _) in texts.iter().enumerate() {
            let first = enqueue(&daemon, "users_ids", &format!("U{n}"), "first").await;
            chats.push(daemon.becomes(&first, "sent").await["chat_id"].as_str().unwrap().to_owned());
        }
        daemon.post("/v1/pause", "").await;
        for ((n, text), chat) in texts.iter().enumerate().zip(&chats) {
            enqueue(&daemon, "chat_id", chat, "second").await;
            let message =
                ByHand { id: format!("r{n}"), text: text.clone(), is_sender: n == 0, ..ByHand::default() };
            env.sandbox.world().write_by_hand("acc_1", chat, message);
        }
        daemon.post("/v1/resume", "").await;
        // When the stops and the messages under them end, by the true clock, to the minute.
        let ends = |offset: i64| {
            let true_time = format!("'{:+} seconds', '+30 seconds'", -offset);
            env.sql(&format!(
                "SELECT key || iif(key = 'U2', strftime(' %Y-%m-%d %H:%M', until, {true_time}), \
                   ' ' || CAST(round((julianday(until, {true_time}) - julianday('now')) * 24) AS INTEGER) || ' h') FROM stops \
                 UNION ALL SELECT 'messages at another time' FROM messages m WHERE m.state = 'queued' \
                   AND NOT EXISTS (SELECT 1 FROM stops s WHERE s.until = m.retry_at) ORDER BY 1"
            ))
        };
        let day_after = back.tomorrow().unwrap();
        let expected = ["U0 72 h".to_owned(), "U1 168 h".to_owned(), format!("U2 {day_after} 00:00")];
        assert!(eventually(async || ends(begins) == expected).await, "heard at {begins}: {:?}", ends(begins));
        if over_a_start {
            daemon.stop().await;
            set_clock(&env, set_to);
            daemon = env.serve().await;
        } else {
            set_clock(&env, set_to);
        }
        let other = enqueue(&daemon, "users_ids", "U9", "to another").await;
        daemon.becomes(&other, "sent").await;
        assert!(
            eventually(async || ends(set_to) == expected).await,
            "{begins} to {set_to}: {:?}",
            ends(set_to)
        );
        assert_eq!(env.sandbox.world().deliveries().len(), 4, "no follow-up went");
        daemon.stop().await;
    }
}
