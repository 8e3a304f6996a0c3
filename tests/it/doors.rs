//! Each door leads to the same place: what goes in by socket, by command line, by SQL reaches the sandbox.

use std::time::Duration;

use crate::daemon::{House, gaps, run, texts};

/// P3 at the real pace, through every door, on one account.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_by_each_door_is_sent_at_least_10_s_after_the_one_before() {
    let house = House::new().await.set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "11s");
    let daemon = house.serve().await;
    daemon.enqueue(r#"{"account_id":"acc_1","chat_id":"c1","text":"by socket"}"#).await;
    let flags = ["enqueue", "--account", "acc_1", "--user", "u1", "--text", "by command line"];
    let (ok, said) = run(house.outboxd(&flags), "");
    assert!(ok, "{said}");
    let insert = "INSERT INTO messages(account_id, chat_id, text) VALUES ('acc_1', 'c3', 'by INSERT');";
    let (ok, said) = house.run("sqlite3", &["queue.db"], &format!(".timeout 5000\n{insert}"));
    assert!(ok, "{said}");
    let deliveries = house.delivered(3).await;
    assert_eq!(texts(&deliveries), ["by INSERT", "by command line", "by socket"]);
    for gap in gaps(&deliveries, "acc_1") {
        assert!(gap >= Duration::from_secs(10), "{gap:?}: {}", house.log());
    }
}

/// The insert is noticed without asking: every language's own SQLite will do.
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_the_sqlite3_shell_python_and_node_are_sent() {
    let house = House::new().await.hasty();
    let daemon = house.serve().await;
    let shell = "INSERT INTO messages(account_id, users_ids, text) VALUES ('acc_1', 'u1', 'from the shell') RETURNING id;";
    let (ok, id) = house.run("sqlite3", &["queue.db"], &format!(".timeout 5000\n{shell}"));
    assert!(ok, "{id}");
    let python = "import sqlite3\n\
                  db = sqlite3.connect('queue.db')\n\
                  db.execute(\"INSERT INTO messages(account_id, chat_id, text) VALUES (?, ?, ?)\", ('acc_2', 'c', 'from Python: ä 🙂'))\n\
                  db.commit()\n";
    let (ok, said) = house.run("python3", &["-"], python);
    assert!(ok, "{said}");
    let deliveries = house.delivered(2).await;
    assert_eq!(texts(&deliveries), ["from Python: ä 🙂", "from the shell"]);
    let sent = daemon.becomes(id.trim(), "sent").await;
    assert!(sent["chat_id"].is_string(), "the chat that was started is told: {sent}");
    let (_, told) =
        house.run("sqlite3", &["queue.db", "SELECT state, reason, chat_id IS NOT NULL FROM messages"], "");
    assert_eq!(told, "sent|delivered|1\nsent|delivered|1\n");
}

/// What only the daemon can judge stands in the row itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_only_the_daemon_can_refuse_is_rejected_in_place() {
    let house = House::new().await.hasty().set("OUTBOXD_LIMITS_TEXT_CHARS", "10");
    let daemon = house.serve().await;
    let insert = "INSERT INTO messages(account_id, chat_id, text) VALUES ('acc_1', 'c', 'much too long a text') RETURNING id;";
    let (ok, id) = house.run("sqlite3", &["queue.db"], &format!(".timeout 5000\n{insert}"));
    assert!(ok, "{id}");
    let rejected = daemon.becomes(id.trim(), "rejected").await;
    assert_eq!(rejected["reason"], "invalid");
    let error = rejected["error"].as_str().expect("an error");
    assert!(error.contains("`text`") && error.contains("20 characters, 10 are allowed"), "{error}");
    assert_eq!(house.sandbox.world().call_count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_known_accounts_are_taken_when_so_configured_by_socket_and_by_insert() {
    let house = House::new().await.hasty();
    std::fs::write(
        house.path("outboxd.toml"),
        "[accounts]\nknown_only = true\n\n[account.\"acc_known\"]\nzone = \"Europe/Berlin\"\n",
    )
    .expect("a file");
    let daemon = house.serve().await;
    let (status, refused) =
        daemon.post("/v1/messages", r#"{"account_id":"acc_x","chat_id":"c","text":"t"}"#).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (422, Some("unknown_account")), "{refused}");
    let insert = "INSERT INTO messages(account_id, chat_id, text) VALUES ('acc_x', 'c', 't') RETURNING id;";
    let (_, id) = house.run("sqlite3", &["queue.db"], &format!(".timeout 5000\n{insert}"));
    let rejected = daemon.becomes(id.trim(), "rejected").await;
    assert!(rejected["error"].as_str().is_some_and(|error| error.contains("acc_x")), "{rejected}");
    daemon.enqueue(r#"{"account_id":"acc_known","chat_id":"c","text":"t"}"#).await;
    assert_eq!(house.delivered(1).await[0].account_id, "acc_known");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_inserted_while_no_daemon_ran_is_sent_when_one_starts() {
    let house = House::new().await.hasty();
    house.serve().await.kill();
    let insert = "INSERT INTO messages(account_id, chat_id, text) VALUES ('acc_1', 'c', 'waited');";
    let (ok, said) = house.run("sqlite3", &["queue.db", insert], "");
    assert!(ok, "{said}");
    let _daemon = house.serve().await;
    assert_eq!(texts(&house.delivered(1).await), ["waited"]);
}
