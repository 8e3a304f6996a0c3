//! The three ways in, socket, command line and SQL: what goes in by each of them reaches the sandbox.

use std::time::Duration;

use crate::daemon::{TestEnv, gaps, run, texts};

/// P3 at the real pace, through every interface, on one account.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_by_each_door_is_sent_at_least_10_s_after_the_one_before() {
    let env = TestEnv::new().await.set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "11s");
    let daemon = env.serve().await;
    daemon.enqueue(r#"{"account_id":"acc_1","chat_id":"c1","text":"by socket"}"#).await;
    let flags = ["enqueue", "--account", "acc_1", "--user", "u1", "--text", "by command line"];
    let (ok, said) = run(env.outboxd(&flags), "");
    assert!(ok, "{said}");
    env.sql(
        "INSERT INTO messages(account_id, chat_id, text) VALUES ('acc_1', 'c3', 'by INSERT') RETURNING id",
    );
    let deliveries = env.delivered(3).await;
    assert_eq!(texts(&deliveries), ["by INSERT", "by command line", "by socket"]);
    for gap in gaps(&deliveries, "acc_1") {
        assert!(gap >= Duration::from_secs(10), "{gap:?}: {}", env.log());
    }
}

/// The daemon notices the INSERT whichever SQLite made it: the one linked here, and those of the `sqlite3` shell,
/// Python and Node where they are installed (`.ci/run` installs them).
#[tokio::test(flavor = "multi_thread")]
async fn rows_of_every_program_are_sent() {
    const SHELL: &str = ".timeout 5000\nINSERT INTO messages(account_id, chat_id, text) VALUES ('acc_2', 'c', 'from the shell');";
    const PYTHON: &str = "import sqlite3\n\
        db = sqlite3.connect('queue.db')\n\
        db.execute('INSERT INTO messages(account_id, chat_id, text) VALUES (?, ?, ?)', ('acc_3', 'c', 'from Python: ä 🙂'))\n\
        db.commit()\n";
    const NODE: &str = "const { DatabaseSync } = require('node:sqlite');\n\
        const db = new DatabaseSync('queue.db');\n\
        db.exec('PRAGMA busy_timeout = 5000');\n\
        db.prepare('INSERT INTO messages(account_id, chat_id, text) VALUES (?, ?, ?)').run('acc_4', 'c', 'from Node');\n";
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let insert =
        "INSERT INTO messages(account_id, users_ids, text) VALUES ('acc_1', 'u1', 'from here') RETURNING id";
    let id = env.sql(insert).remove(0);
    let mut expected = vec!["from here"];
    let has_sqlite = env.run("node", &["-e", "require('node:sqlite')"], "").is_some_and(|(ok, _)| ok);
    let node = if has_sqlite { "node" } else { "no node with node:sqlite" };
    for (program, arguments, input, text) in [
        ("sqlite3", vec!["queue.db"], SHELL, "from the shell"),
        ("python3", vec!["-"], PYTHON, "from Python: ä 🙂"),
        (node, vec!["-"], NODE, "from Node"),
    ] {
        match env.run(program, &arguments, input) {
            Some((ok, said)) => {
                assert!(ok, "{program}: {said}");
                expected.push(text);
            }
            None => println!("not installed here: {program}"),
        }
    }
    expected.sort_unstable();
    let deliveries = env.delivered(expected.len()).await;
    assert_eq!(texts(&deliveries), expected);
    let sent = daemon.becomes(&id, "sent").await;
    assert!(sent["chat_id"].is_string(), "the chat that was started is told: {sent}");
    let told = env.sql(
        "SELECT state || ' ' || reason || ' ' || (chat_id IS NOT NULL) FROM messages WHERE users_ids = 'u1'",
    );
    assert_eq!(told, ["sent delivered 1"]);
}

/// A problem that only the daemon can find is recorded in the row itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_only_the_daemon_can_refuse_is_rejected_in_place() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_LIMITS_TEXT_CHARS", "10");
    let daemon = env.serve().await;
    let insert = "INSERT INTO messages(account_id, chat_id, text) VALUES ('acc_1', 'c', 'much too long a text') RETURNING id";
    let id = env.sql(insert).remove(0);
    let rejected = daemon.becomes(&id, "rejected").await;
    assert_eq!(rejected["reason"], "invalid");
    let error = rejected["error"].as_str().expect("an error");
    assert!(error.contains("`text`") && error.contains("20 characters, 10 are allowed"), "{error}");
    assert_eq!(env.writes().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_known_accounts_are_taken_when_so_configured_by_socket_and_by_insert() {
    let env = TestEnv::new().await.hasty();
    std::fs::write(
        env.path("outboxd.toml"),
        "[accounts]\nknown_only = true\n\n[account.\"acc_known\"]\nzone = \"Europe/Berlin\"\n",
    )
    .expect("a file");
    let daemon = env.serve().await;
    let (status, refused) =
        daemon.post("/v1/messages", r#"{"account_id":"acc_x","chat_id":"c","text":"t"}"#).await;
    assert_eq!((status, refused["error"]["code"].as_str()), (422, Some("unknown_account")), "{refused}");
    let insert = "INSERT INTO messages(account_id, chat_id, text) VALUES ('acc_x', 'c', 't') RETURNING id";
    let id = env.sql(insert).remove(0);
    let rejected = daemon.becomes(&id, "rejected").await;
    assert!(rejected["error"].as_str().is_some_and(|error| error.contains("acc_x")), "{rejected}");
    daemon.enqueue(r#"{"account_id":"acc_known","chat_id":"c","text":"t"}"#).await;
    assert_eq!(env.delivered(1).await[0].account_id, "acc_known");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_inserted_while_no_daemon_ran_is_sent_when_one_starts() {
    let env = TestEnv::new().await.hasty();
    env.serve().await.kill();
    env.sql("INSERT INTO messages(account_id, chat_id, text) VALUES ('acc_1', 'c', 'waited') RETURNING id");
    let _daemon = env.serve().await;
    assert_eq!(texts(&env.delivered(1).await), ["waited"]);
}

/// SQLite accepts bytes as text and more JSON than can be sent: such a row is rejected with its reason, and no other
/// row waits behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_cannot_be_read_is_rejected_and_keeps_nobody_waiting() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let nested = format!("{{\"linkedin\": {}1{}}}", "[".repeat(200), "]".repeat(200));
    let bad = [
        ("chat_id, text", "'c', CAST(x'41fffe42' AS TEXT)".to_owned(), "`text` is not UTF-8"),
        ("chat_id, text, campaign", "'c', 't', CAST(x'ff' AS TEXT)".to_owned(), "`campaign` is not UTF-8"),
        (
            "users_ids, text, specifics",
            "'u', 't', '{\"a\": 1e999}'".to_owned(),
            "`specifics` is JSON that cannot be read",
        ),
        (
            "users_ids, text, options",
            format!("'u', 't', '{nested}'"),
            "`options` is JSON that cannot be read",
        ),
    ];
    for (columns, values, part) in &bad {
        let insert =
            format!("INSERT INTO messages (account_id, {columns}) VALUES ('acc_1', {values}) RETURNING id");
        let id = env.sql(&insert).remove(0);
        let rejected = daemon.becomes(&id, "rejected").await;
        assert!(rejected["error"].as_str().is_some_and(|error| error.contains(part)), "{rejected}");
    }
    env.sql("INSERT INTO messages (account_id, chat_id, text) VALUES ('acc_1', 'c', 'good') RETURNING id");
    assert_eq!(texts(&env.delivered(1).await), ["good"]);
    let (status, listed) = daemon.get("/v1/messages").await;
    assert_eq!((status, listed["data"].as_array().map(Vec::len)), (200, Some(bad.len() + 1)));
}
