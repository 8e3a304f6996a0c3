//! Selection by the real process: however many campaigns wait, and through whichever interface they came.

use serde_json::json;

use crate::daemon::TestEnv;

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
