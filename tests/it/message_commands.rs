//! The table `message_commands`: how a program that has only SQL changes messages, and that nothing else does (D10).
#![allow(clippy::unwrap_used, reason = "a test may")]

use serde_json::json;

use crate::daemon::{TestEnv, eventually, quiet, texts};
use crate::queue::{Queue, at, to_chat};

/// Inserts a command as another program; returns its number.
fn ask(env: &TestEnv, columns: &str, values: &str) -> String {
    let sql = format!(
        "INSERT INTO message_commands (message_id, {columns}) VALUES ({values}) RETURNING CAST(id AS TEXT)"
    );
    env.sql(&sql).remove(0)
}

/// Waits until the command is done; returns its answer, or its error.
async fn answer(env: &TestEnv, id: &str) -> String {
    let sql = format!(
        "SELECT coalesce(answer, 'error: ' || error) FROM message_commands WHERE id = {id} AND done_at IS NOT NULL"
    );
    let mut answer = None;
    let done = eventually(async || {
        answer = env.sql(&sql).pop();
        answer.is_some()
    });
    assert!(done.await, "command {id} is not carried out: {}", env.log());
    answer.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_only_sql_edits_holds_moves_cancels_and_retries() {
    let (env, daemon) = quiet().await;
    let insert = |user: &str| {
        let sql = format!(
            "INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_1', '{user}', 'old') RETURNING id"
        );
        env.sql(&sql).remove(0)
    };
    let ids: Vec<String> = ["U1", "U2", "U3", "U4"].map(insert).to_vec();
    // At once, before the daemon has admitted the rows.
    let edited = ask(&env, "command, text, priority", &format!("'{}', 'edit', 'new', 5", ids[0]));
    let held = ask(&env, "command, note", &format!("'{}', 'hold', 'legal'", ids[1]));
    let moved = ask(&env, "command, account_id", &format!("'{}', 'move', 'acc_2'", ids[2]));
    let cancelled = ask(&env, "command", &format!("'{}', 'cancel'", ids[3]));
    let wrong = ask(&env, "command, text", &format!("'{}', 'edit', 'Hi {{{{name}}}}'", ids[0]));
    assert_eq!(answer(&env, &edited).await, "edited");
    assert_eq!(answer(&env, &held).await, "held");
    assert_eq!(answer(&env, &moved).await, "moved");
    assert_eq!(answer(&env, &cancelled).await, "cancelled");
    let error = answer(&env, &wrong).await;
    assert!(error.starts_with("error: `text` holds"), "{error}");
    let by = env.sql("SELECT json_extract(detail, '$.by') FROM events WHERE kind = 'command.hold'");
    assert_eq!(by, ["sql"]);
    daemon.post("/v1/resume", "").await;
    assert_eq!(texts(&env.delivered(2).await), ["new", "old"]);
    let retried = ask(&env, "command", &format!("'{}', 'retry'", ids[3]));
    assert_eq!(answer(&env, &retried).await, "queued again");
    daemon.becomes(&ids[3], "sent").await;
    let released = ask(&env, "command", &format!("'{}', 'release'", ids[1]));
    assert_eq!(answer(&env, &released).await, "released");
    daemon.becomes(&ids[1], "sent").await;
    assert_eq!(daemon.becomes(&ids[2], "sent").await["account_id"], "acc_2");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_a_stopped_daemon_left_is_carried_out_once_after_the_start() {
    let (env, daemon) = quiet().await;
    let body = json!({"account_id": "acc_1", "chat_id": "c1", "text": "x"});
    let id = daemon.enqueue(&body.to_string()).await;
    daemon.kill();
    let first = ask(&env, "command, priority", &format!("'{id}', 'priority', 3"));
    let second = ask(&env, "command, priority", &format!("'{id}', 'priority', 4"));
    let daemon = env.serve().await;
    assert_eq!([answer(&env, &first).await, answer(&env, &second).await], ["edited", "edited"]);
    let (_, message) = daemon.get(&format!("/v1/messages/{id}")).await;
    assert_eq!(message["priority"], json!(4), "in the order of their numbers");
    let events = env.sql("SELECT CAST(count(*) AS TEXT) FROM events WHERE kind = 'command.edit'");
    assert_eq!(events, ["2"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_wrong_command_is_refused_in_words_at_the_insert() {
    let queue = Queue::new().await;
    let id = queue.enqueue(to_chat("c", "x"), at(0)).await;
    let id = format!("'{id}'");
    let id = id.as_str();
    for (columns, values, told) in [
        ("command", vec![id, "'send'"], "command is not one of cancel, edit"),
        ("command", vec!["'0'", "'cancel'"], "message_id names no message"),
        ("command", vec![id, "'edit'"], "edit changes nothing"),
        ("command, text", vec![id, "'cancel'", "'x'"], "go with the command edit"),
        ("command, text", vec![id, "'edit'", "' '"], "text is empty"),
        ("command", vec![id, "'priority'"], "priority is missing"),
        ("command, priority", vec![id, "'priority'", "101"], "priority is not a whole number"),
        ("command, priority", vec![id, "'hold'", "1"], "priority goes with"),
        ("command", vec![id, "'move'"], "account_id is missing"),
        ("command, account_id", vec![id, "'move'", "'bob'"], "account_id does not begin with acc_"),
        ("command, account_id", vec![id, "'retry'", "'acc_2'"], "account_id goes with"),
        ("command, campaign", vec![id, "'edit'", "'autumn '"], "campaign has white space around it; remove"),
        ("command, not_before", vec![id, "'edit'", "'tomorrow'"], "not_before is not a time"),
        ("command, expires_at", vec![id, "'edit'", "'2026-11-22 09:00'"], "expires_at is not a time"),
        ("command, done_at", vec![id, "'cancel'", "'2026-11-22T09:00:00.000Z'"], "belong to the daemon"),
    ] {
        let sql =
            format!("INSERT INTO message_commands (message_id, {columns}) VALUES ({})", values.join(", "));
        let error = queue.sql().execute(&sql, []).unwrap_err().to_string();
        assert!(error.starts_with("outboxd: ") && error.contains(told), "{sql}: {error}");
    }
    let good = format!("INSERT INTO message_commands (message_id, command) VALUES ({id}, 'cancel')");
    queue.sql().execute(&good, []).unwrap();
    let change = queue.sql().execute("UPDATE message_commands SET command = 'hold'", []);
    assert!(change.unwrap_err().to_string().contains("a command is not changed"));
    queue.sql().execute("UPDATE message_commands SET done_at = at, answer = 'cancelled'", []).unwrap();
    let change = queue.sql().execute("UPDATE message_commands SET answer = 'held'", []);
    assert!(change.unwrap_err().to_string().contains("a command is not changed"));
    let again = |verb: &str| {
        let sql = format!("{verb} INTO message_commands (id, message_id, command) VALUES (1, {id}, 'hold')");
        queue.sql().execute(&sql, []).map_err(|error| error.to_string())
    };
    assert!(again("REPLACE").unwrap_err().contains("would delete a command"));
    assert!(again("INSERT").unwrap_err().contains("UNIQUE"));
    assert_eq!(again("INSERT OR IGNORE"), Ok(0));
    assert_eq!(queue.lines("SELECT answer FROM message_commands"), ["cancelled"]);
    queue.check();
}

#[tokio::test]
async fn an_update_of_any_column_is_refused_and_names_the_way() {
    let queue = Queue::new().await;
    queue.enqueue(to_chat("c", "x"), at(0)).await;
    let before = queue.lines("SELECT * FROM messages");
    let columns = queue.lines(
        "SELECT '\"' || name || '\"' FROM pragma_table_info('messages') WHERE name NOT IN ('blocked_by', 'revision')",
    );
    assert!(columns.len() > 45, "{columns:?}");
    for column in columns {
        let sql = format!("UPDATE messages SET {column} = {column}");
        let error = queue.sql().execute(&sql, []).unwrap_err().to_string();
        assert!(error.contains("outboxd edit") && error.contains("message_commands"), "{column}: {error}");
    }
    let upsert = "INSERT INTO messages (account_id, chat_id, text, id) SELECT account_id, chat_id, 'y', id FROM messages WHERE true \
         ON CONFLICT (id) DO UPDATE SET text = excluded.text";
    assert!(queue.sql().execute(upsert, []).unwrap_err().to_string().contains("outboxd: "));
    let error = queue.sql().execute("DELETE FROM messages", []).unwrap_err().to_string();
    assert!(error.contains("outboxd cancel") && error.contains("message_commands"), "{error}");
    assert_eq!(queue.lines("SELECT * FROM messages"), before);
}

/// A step whose place another message has taken is not queued again, and holds up no other command.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_in_the_queue_already_is_not_retried_and_the_next_command_is_carried_out() {
    let (env, daemon) = quiet().await;
    let insert = |text: &str| {
        let sql = format!(
            "INSERT INTO messages (account_id, users_ids, text, campaign, step) VALUES ('acc_1', 'ACoARJ1', '{text}', 'c', 1) RETURNING id"
        );
        env.sql(&sql).remove(0)
    };
    let rejected = insert("Hi {{x}}");
    daemon.becomes(&rejected, "rejected").await;
    let taken = insert("real");
    daemon.becomes(&taken, "queued").await;
    let edited = ask(&env, "command, text", &format!("'{rejected}', 'edit', 'mended'"));
    assert_eq!(answer(&env, &edited).await, "edited");
    let retried = ask(&env, "command", &format!("'{rejected}', 'retry'"));
    let cancelled = ask(&env, "command", &format!("'{taken}', 'cancel'"));
    let error = answer(&env, &retried).await;
    assert!(
        error.contains(&format!("is in the queue for this person already, as message {taken}")),
        "{error}"
    );
    assert_eq!(answer(&env, &cancelled).await, "cancelled");
    // What contradicts the schema for another reason is an answer as well.
    env.sql("CREATE TRIGGER odd BEFORE UPDATE OF held_at ON messages BEGIN SELECT RAISE(ABORT, 'odd'); END");
    let other = daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c", "text": "x"}"#).await;
    let held = ask(&env, "command", &format!("'{other}', 'hold'"));
    let cancelled = ask(&env, "command", &format!("'{other}', 'cancel'"));
    let error = answer(&env, &held).await;
    assert!(error.contains("does not fit what the queue holds") && error.contains("odd"), "{error}");
    assert_eq!(answer(&env, &cancelled).await, "cancelled");
    daemon.stop().await;
}
