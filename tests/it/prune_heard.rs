//! What was heard long ago is removed, in parts, and what a rule still needs stays.

use jiff::Timestamp;
use outboxd::store::{Store, StoreOptions};
use serde_json::json;

use crate::daemon::TestEnv;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_heard_long_ago_is_removed_unless_a_rule_needs_it() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let first = json!({"users_ids": "U1", "text": "hello", "account_id": "acc_1"});
    let id = daemon.enqueue(&first.to_string()).await;
    let chat = daemon.becomes(&id, "sent").await["chat_id"].as_str().expect("a chat").to_owned();
    daemon.stop().await;
    let (old, new) = ("2026-01-01T00:00:00.000Z", "2026-06-01T00:00:00.000Z");
    let webhooks = format!(
        "INSERT INTO webhooks (event_id, kind, received_at, result) VALUES ('a', 'k', '{old}', 'nothing'), \
           ('b', 'k', '{old}', 'nothing'), ('c', 'k', '{old}', 'nothing'), ('waits', 'k', '{old}', NULL), \
           ('new', 'k', '{new}', 'nothing') RETURNING event_id"
    );
    env.sql(&webhooks);
    let messages = format!(
        "INSERT INTO inbound_messages (account_id, chat_id, message_id, at, heard_at, source, kind, text) VALUES \
           ('acc_1', 'gone', 'm1', '{old}', '{old}', 'read', 'reply', 'gone'), ('acc_1', '{chat}', 'm2', '{old}', '{old}', 'read', 'opt_out', 'an answer'), \
           ('acc_1', 'gone', 'm3', '{new}', '{new}', 'read', 'reply', NULL) RETURNING message_id"
    );
    env.sql(&messages);
    let stops = format!(
        "INSERT INTO stops (scope, key, reason, actor, until) VALUES ('person', 'U7', 'out_of_office', 'reply', '{old}'), \
           ('person', 'U8', 'out_of_office', 'reply', '{new}'), ('person', 'U9', 'stopped', 'sql', NULL) RETURNING key"
    );
    env.sql(&stops);

    let now: Timestamp = "2026-06-02T00:00:00Z".parse().expect("a time");
    let before: Timestamp = "2026-03-01T00:00:00Z".parse().expect("a time");
    let store = Store::open(&StoreOptions { path: env.database(), readers: 1 }, now).await.expect("a queue");
    let mut removed = Vec::new();
    loop {
        let some = store.prune_heard(before, 2, now).await.expect("a healthy queue");
        removed.push(some);
        if some == 0 {
            break;
        }
    }
    assert_eq!(
        env.sql("SELECT message_id || coalesce(text, '') FROM inbound_messages ORDER BY 1"),
        ["m2an answer", "m3"]
    );
    assert_eq!(store.prune_heard_texts(before, 2, now).await.expect("a healthy queue"), 1);
    assert_eq!(store.prune_heard_texts(before, 2, now).await.expect("a healthy queue"), 0);
    assert_eq!(env.sql("SELECT count(text) || '' FROM inbound_messages"), ["0"]);
    store.close(now).await.expect("a healthy queue");
    assert_eq!(removed, [4, 1, 0]);
    assert_eq!(env.sql("SELECT event_id FROM webhooks ORDER BY seq"), ["waits", "new"]);
    assert_eq!(env.sql("SELECT message_id FROM inbound_messages ORDER BY message_id"), ["m2", "m3"]);
    assert_eq!(env.sql("SELECT key FROM stops ORDER BY id"), ["U8", "U9"]);
    assert_eq!(env.sql("SELECT kind FROM events WHERE kind = 'stop.lifted'"), [""; 0]);
}
