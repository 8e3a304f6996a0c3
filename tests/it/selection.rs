//! Selection by the real process: however many campaigns wait, and through whichever interface they came.

use outboxd::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv};

/// 100 campaigns wait for January, and one message is due now (T1).
#[tokio::test(flavor = "multi_thread")]
async fn a_due_message_goes_although_a_hundred_campaigns_wait_for_a_date() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    env.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) \
         INSERT INTO messages (account_id, chat_id, text, campaign, not_before) \
         SELECT 'acc_1', 'c' || i, 'later', printf('campaign %03d', i), '2099-01-10T09:00:00.000Z' FROM n",
    );
    let waits = env.sql("SELECT id FROM messages ORDER BY seq LIMIT 1").remove(0);
    daemon.becomes(&waits, "queued").await;
    let body =
        json!({"account_id": "acc_1", "chat_id": "now", "text": "now", "campaign": "z-now", "typing": false});
    let due = daemon.enqueue(&body.to_string()).await;
    daemon.becomes(&due, "sent").await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{waits}/explain")).await;
    assert_eq!(
        (&explained["reason"], &explained["until"]),
        (&json!("scheduled"), &json!("2099-01-10T09:00:00.000Z"))
    );
    let (_, account) = daemon.get("/v1/accounts/acc_1").await;
    assert_eq!(account["reason"], "scheduled");
}

/// One INSERT of exactly as many rows as one batch takes in, and nothing after it: every account is woken.
#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_one_large_insert_all_go_on() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    env.sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000) \
         INSERT INTO messages (account_id, chat_id, text, not_before) \
         SELECT 'acc_1', 'c' || i, 'later', '2099-01-10T09:00:00.000Z' FROM n WHERE i < 2000 \
         UNION ALL SELECT 'acc_last', 'c', 'now', NULL",
    );
    let last = env.sql("SELECT id FROM messages WHERE account_id = 'acc_last'").remove(0);
    daemon.becomes(&last, "sent").await;
}

/// The first scheduled message of its kind is for a stopped person; the next one goes at its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_without_an_end_on_a_scheduled_message_hides_no_later_one() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let stop = json!({"scope": "person", "key": "ACoAX"}).to_string();
    let (status, answer) = daemon.post("/v1/stops", &stop).await;
    assert!(status < 300, "{answer}");
    let in_seconds =
        |seconds| (SystemClock::new().now() + std::time::Duration::from_secs(seconds)).to_string();
    let to = |person: &str, at: String| {
        json!({"account_id": "acc_1", "users_ids": person, "text": format!("to {person}"), "not_before": at})
            .to_string()
    };
    let stopped = daemon.enqueue(&to("ACoAX", in_seconds(1))).await;
    let later = daemon.enqueue(&to("ACoAY", in_seconds(2))).await;
    daemon.becomes(&later, "sent").await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{stopped}/explain")).await;
    assert_eq!((&explained["reason"], &explained["waits_for"]), (&json!("stopped"), &json!("person")));
}

/// While the hours of an account are closed and a cap is used up as well, every view shows the time at which both are open.
#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_cap_behind_closed_hours_counts_in_the_time_of_the_account() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_CAPS_NEW_CHAT", "1/24h");
    let daemon = env.serve().await;
    let to = |person: &str| json!({"account_id": "acc_1", "users_ids": person, "text": "hello"}).to_string();
    let first = daemon.enqueue(&to("ACoA1")).await;
    daemon.becomes(&first, "sent").await;
    let waits = daemon.enqueue(&to("ACoA2")).await;
    daemon.kill();
    // An hour that began two hours ago.
    let hour = SystemClock::new().now().to_zoned(jiff::tz::TimeZone::UTC).hour();
    let (from, to) = ((hour + 21) % 23, (hour + 21) % 23 + 1);
    let days = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];
    let mut env = env.set("OUTBOXD_POLICY_DEFAULT_ZONE", "UTC");
    for day in days {
        let key = format!("OUTBOXD_POLICY_DEFAULT_HOURS_{day}");
        env = env.set(&key, &format!("{from:02}:00-{to:02}:00"));
    }
    let daemon = env.serve().await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{waits}/explain")).await;
    assert_eq!(explained["reason"], "outside_hours", "{explained}");
    let (_, account) = daemon.get("/v1/accounts/acc_1").await;
    assert_eq!(
        (&account["until"], &account["waits_for"]),
        (&explained["until"], &explained["waits_for"]),
        "{account}"
    );
    assert_eq!(account["cap"]["cap"], "new_chat", "{account}");
}

async fn waits_of_account(daemon: &Daemon) -> [Value; 3] {
    let (_, account) = daemon.get("/v1/accounts/acc_1").await;
    ["reason", "until", "waits_for"].map(|field| account[field].clone())
}

fn in_hours(hours: u64) -> String {
    let at = SystemClock::new().now() + std::time::Duration::from_secs(3600 * hours);
    at.strftime("%Y-%m-%dT%H:00:00.000Z").to_string()
}

/// The scheduled message that is due first waits for a cap longer than the next one.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_shows_the_scheduled_message_that_goes_first() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_CAPS_NEW_CHAT", "1/24h");
    let daemon = env.serve().await;
    let message = |target: &str, id: &str, at: Option<String>| {
        json!({"account_id": "acc_1", target: id, "text": "hello", "typing": false, "not_before": at})
            .to_string()
    };
    let first = daemon.enqueue(&message("users_ids", "ACoA1", None)).await;
    daemon.becomes(&first, "sent").await;
    daemon.enqueue(&message("users_ids", "ACoA2", Some(in_hours(2)))).await;
    let goes_first = in_hours(5);
    daemon.enqueue(&message("chat_id", "c1", Some(goes_first.clone()))).await;
    assert_eq!(waits_of_account(&daemon).await, [json!("scheduled"), json!(goes_first), json!("time")]);
}

/// What an account waits for is not the time at which a message expires, unless all of its messages expire.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_a_message_that_expires_shows_when_the_others_go() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let message = |chat: &str, expires_at: Option<String>| {
        json!({"account_id": "acc_1", "chat_id": chat, "text": "hello", "not_before": in_hours(9), "expires_at": expires_at})
            .to_string()
    };
    let [expires_at, until] = [12, 30].map(in_hours);
    daemon.enqueue(&message("c1", Some(expires_at.clone()))).await;
    let (status, answer) =
        daemon.post("/v1/accounts/acc_1/pause", &json!({"until": until}).to_string()).await;
    assert!(status < 300, "{answer}");
    let expires = [json!("account_paused"), json!(expires_at), json!("expiry")];
    assert_eq!(waits_of_account(&daemon).await, expires);
    daemon.enqueue(&message("c2", None)).await;
    assert_eq!(waits_of_account(&daemon).await, [json!("account_paused"), json!(until), json!("time")]);
}
