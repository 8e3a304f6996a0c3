//! The hot statements stay fast however long the queue is: their query plans, and the work that SQLite does for them.
//!
//! The tests do not run ANALYZE, and none is needed: a producer's database has no statistics either. Work is counted
//! in steps of SQLite's virtual machine, which are the same on every machine, not in time.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::HashMap;

use outboxd::store::plans::{flat_statements, hot_statements};
use rusqlite::{Connection, StatementStatus};

use crate::queue::{Queue, at};

/// Inserts `rows` messages of 5 accounts, most of them queued, in several states and with several kinds of waiting.
fn fill(connection: &Connection, rows: u32) {
    let sql = format!(
        "INSERT INTO accounts (id, created_at) SELECT 'acc_' || value, '2026-11-22T09:00:00.000Z' FROM json_each('[0,1,2,3,4]'); \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}), \
         row(i, state, at) AS (SELECT i, \
           CASE i % 50 WHEN 1 THEN 'new' WHEN 2 THEN 'sent' WHEN 3 THEN 'review' WHEN 4 THEN 'failed' \
                WHEN 5 THEN 'cancelled' ELSE 'queued' END, \
           strftime('%Y-%m-%dT%H:%M:%fZ', '2026-11-22T09:00:00.000Z', '+' || (i / 100.0) || ' seconds') FROM n) \
         INSERT INTO messages (account_id, chat_id, text, state, reason, due_at, retry_at, expires_at, thread, lane, sent_at, settled_by, \
           created_at, updated_at, run) \
         SELECT 'acc_' || (i % 5), 'c' || i, 'hello', state, 'turn', at, \
           CASE WHEN state = 'queued' AND i % 1000 = 7 THEN '2026-11-23T09:00:00.000Z' END, \
           CASE WHEN i % 1000 = 8 THEN '2026-11-24T09:00:00.000Z' END, 'chat:c' || i, iif(i % 3 = 0, '1 100 n - spring', '1 100 m -'), at, 'answer', at, at, 1 FROM row"
    );
    connection.execute_batch(&sql).unwrap();
}

/// Returns the plan of `sql`, one line per step, indented by depth.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let mut depth = HashMap::from([(0_i64, 0_usize)]);
    // Unbound parameters are NULL, which no plan depends on.
    let mut rows = statement.raw_query();
    let mut lines = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let (id, parent): (i64, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
        let detail: String = row.get(3).unwrap();
        let indent = depth[&parent];
        depth.insert(id, indent + 1);
        lines.push(format!("{}{detail}", "  ".repeat(indent)));
    }
    lines
}

async fn filled(rows: u32) -> Queue {
    let queue = Queue::new().await;
    fill(&queue.sql(), rows);
    let statistics = queue.value("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'");
    assert_eq!(statistics, "0", "nobody ran ANALYZE");
    queue
}

/// Returns whether a line of a plan reads every row of a table that grows.
fn looks_at_every_row(line: &str) -> bool {
    let line = line.trim_start();
    let grows = ["messages", "m", "u", "r", "f", "attempts", "events"];
    line.strip_prefix("SCAN ").is_some_and(|rest| {
        let table = rest.split(' ').next().unwrap_or_default();
        // A partial index holds only the rows that the statement needs.
        let partial = ["messages_new", "messages_expiring"].iter().any(|index| rest.contains(index));
        grows.contains(&table) && !partial
    })
}

#[tokio::test]
async fn no_hot_statement_looks_at_every_row() {
    let queue = filled(5_000).await;
    let connection = queue.sql();
    let plans: HashMap<_, _> =
        hot_statements().into_iter().map(|(name, sql)| (name, plan(&connection, &sql))).collect();
    assert_eq!(plans.len(), 33);
    for (name, lines) in &plans {
        let text = lines.join("\n");
        assert!(!lines.iter().any(|line| looks_at_every_row(line)), "{name}:\n{text}");
        assert!(!text.contains("AUTOMATIC"), "{name} builds an index at each call:\n{text}");
    }
    let has = |name: &str, part: &str| {
        let text = plans[name].join("\n");
        assert!(text.contains(part), "{name} lacks {part:?}:\n{text}");
    };
    has("inserted", "SEARCH messages USING INDEX messages_new (seq>?)");
    has("next_expiry", "SEARCH messages USING COVERING INDEX messages_expiring");
    has("expire", "USING COVERING INDEX messages_expiring (expires_at>? AND expires_at<?)");
    for (name, table) in [
        ("begin_message", "messages"),
        ("settle_message", "messages"),
        ("admit", "messages"),
        ("settle_attempt", "attempts"),
        ("begin_account", "accounts"),
        ("settle_account", "accounts"),
    ] {
        let lines = &plans[name];
        let json = lines.iter().position(|line| line.contains("SCAN jsonb_each"));
        let target = lines.iter().position(|line| line.contains(&format!("SEARCH {table} USING")));
        assert!(json.is_some() && json < target, "{name}: the document is the outer loop:\n{lines:#?}");
    }
    for name in ["hold_inmails", "release_inmails"] {
        has(name, "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)");
    }
    has("inmails", "USING INDEX messages_inmail (account_id=? AND credit=? AND rowid>?)");
    has("return_retries", "INDEX messages_retry (account_id=? AND retry_at>? AND retry_at<?)");
    has("defer_names", "INDEX messages_thread (account_id=? AND thread>? AND thread<?)");
    has("defer_needs", "INDEX messages_needs (account_id=? AND due_at<?)");
    for (name, part) in [
        ("chats_to_poll", "INDEX chat_reads_due (account_id>?)"),
        ("chats_to_poll", "INDEX chat_reads_due (account_id=? AND tried_at<?)"),
        ("chats_to_poll", "SEARCH r USING PRIMARY KEY (account_id=? AND chat_id=?)"),
        ("chats_to_poll", "SEARCH m USING INDEX messages_by_chat (chat_id=?)"),
        ("chats_to_poll", "SEARCH q USING COVERING INDEX messages_thread (account_id=? AND thread=?)"),
        ("other_chat", "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)"),
        ("other_chat", "SEARCH c USING COVERING INDEX conversations_person (user_id=?)"),
        ("other_chat", "SEARCH r USING PRIMARY KEY (account_id=? AND chat_id=?)"),
    ] {
        has(name, part);
    }
    has("repeats", "SEARCH r USING INDEX messages_person (account_id=? AND thread=?)");
    has("repeats_of_person", "SEARCH r USING INDEX messages_by_thread (thread=?)");
    has("waiting_commands", "SEARCH c USING INDEX message_commands_waiting (id>?)");
    has("admit", "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)");
    for name in ["begin_message", "settle_message"] {
        has(name, "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)");
    }
    has("settle_attempt", "SEARCH attempts USING PRIMARY KEY (seq=? AND number=?)");
    has("ledger", "SEARCH attempts USING COVERING INDEX attempts_by_account (account_id=? AND started_at>?)");
    has("settle_account", "SEARCH accounts USING PRIMARY KEY (id=?)");
}

/// SQLite compiles a statement again if a value bound to it may change its plan, as that of a bare `LIMIT ?1` may.
#[tokio::test]
async fn no_statement_is_compiled_again_for_the_values_that_are_bound() {
    let queue = filled(100).await;
    let connection = queue.sql();
    let compiled = |sql: &str| {
        let mut statement = connection.prepare(sql).unwrap();
        for parameter in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(parameter, 1).unwrap();
        }
        // Many of them refuse these values, but only once they are compiled.
        let _ = statement.raw_query().next().map(|_| ());
        statement.get_status(StatementStatus::RePrepare)
    };
    assert_eq!(compiled("SELECT seq FROM messages LIMIT ?1"), 1, "the count works");
    for (name, sql) in hot_statements().into_iter().chain(flat_statements()) {
        assert_eq!(compiled(&sql), 0, "{name}:\n{sql}");
    }
}

#[tokio::test]
async fn candidates_are_found_through_indexes_and_nothing_is_sorted() {
    let queue = filled(5_000).await;
    let (name, sql) = hot_statements().remove(0);
    assert_eq!(name, "candidates");
    let lines = plan(&queue.sql(), &sql);
    let text = lines.join("\n");
    for part in [
        "SEARCH l USING COVERING INDEX lanes_first (account_id=?)",
        "SEARCH n USING COVERING INDEX lanes_first (account_id=? AND class>?)",
        "SEARCH f USING COVERING INDEX lanes_first (account_id=? AND class=? AND finish=? AND due_at<?)",
        "SEARCH f USING COVERING INDEX lanes_first (account_id=? AND class=? AND finish>?)",
        "SEARCH f USING COVERING INDEX lanes_due (account_id=? AND due_at>?)",
        "SEARCH r USING INDEX messages_retry (account_id=? AND retry_at>? AND retry_at<?)",
        "SEARCH r USING INDEX messages_retry (account_id=? AND retry_at>?)",
        "SEARCH s USING INDEX messages_person (account_id=? AND thread=?)",
        "SEARCH f USING COVERING INDEX messages_in_flight (account_id=?)",
    ] {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
    assert!(!text.contains("messages_by_account"), "that index holds every message of the account:\n{text}");
    assert!(!text.contains("TEMP B-TREE"), "something is sorted:\n{text}");
}

/// Returns the steps of SQLite's virtual machine for the candidates of `acc_0`.
fn steps_of_candidates(connection: &Connection, now: &str) -> i32 {
    let (_, sql) = hot_statements().remove(0);
    let mut statement = connection.prepare(&sql).unwrap();
    let mut rows = statement.query(("acc_0", now, 1)).unwrap();
    let mut found = 0;
    while rows.next().unwrap().is_some() {
        found += 1;
    }
    drop(rows);
    assert!(found > 0, "nothing was found at {now}");
    statement.get_status(StatementStatus::VmStep)
}

/// Creates a queue of `rows` messages of one account in `campaigns` campaigns, one due per second.
async fn waiting(rows: u32, campaigns: u32) -> Queue {
    let queue = Queue::new().await;
    // Only waiting messages: none is settled, none is retried.
    let sql = format!(
        "INSERT INTO accounts (id, created_at) VALUES ('acc_0', '2026-11-22T09:00:00.000Z'); \
         DROP TRIGGER messages_inserted; DROP TRIGGER messages_stored; \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         INSERT INTO messages (account_id, chat_id, text, state, reason, due_at, thread, lane, run) \
         SELECT 'acc_0', 'c', 'x', 'queued', 'turn', \
           strftime('%Y-%m-%dT%H:%M:%fZ', '2026-11-22T09:00:00.000Z', '+' || i || ' seconds'), 'chat:c' || i, \
           '1 100 m - c' || printf('%05d', i % {campaigns}), 1 FROM n"
    );
    queue.sql().execute_batch(&sql).unwrap();
    queue
}

#[tokio::test]
async fn picking_from_20_000_costs_what_picking_from_1_000_costs() {
    let mut steps = Vec::new();
    for (rows, campaigns) in [(1_000_u32, 1), (20_000, 1), (10_000, 5_000)] {
        let queue = waiting(rows, campaigns).await;
        let connection = queue.sql();
        let all_due = outboxd::domain::time_text(at(10_000_000));
        let half_due = outboxd::domain::time_text(at(i64::from(rows) / 2));
        steps.push((steps_of_candidates(&connection, &all_due), steps_of_candidates(&connection, &half_due)));
    }
    assert_eq!(steps[0], steps[1], "steps with 1,000 and with 20,000 waiting");
    let [(few, _), _, (many, half)] = steps[..] else { panic!("three were measured") };
    assert!(many <= few * 2 && half <= few * 2, "steps with 1 and with 5,000 campaigns: {steps:?}");
}

/// Returns the steps of SQLite's virtual machine for `sql`, with its triggers.
fn steps(connection: &Connection, sql: &str) -> i32 {
    let mut statement = connection.prepare(sql).unwrap();
    assert_eq!(statement.raw_execute().unwrap(), 1, "{sql}");
    statement.get_status(StatementStatus::VmStep)
}

#[tokio::test]
async fn a_send_costs_the_same_however_many_messages_and_campaigns_wait() {
    let mut found = Vec::new();
    for (rows, campaigns) in [(1_000_u32, 10), (20_000, 10), (10_000, 5_000)] {
        let queue = waiting(rows, campaigns).await;
        let connection = queue.sql();
        let first: i64 = connection.query_row("SELECT min(seq) FROM messages", [], |row| row.get(0)).unwrap();
        let id = format!("WHERE seq = {first}");
        found.push([
            steps(&connection, &format!("UPDATE messages SET revision = revision + 1, state = 'sending', attempts = 1 {id}")),
            steps(
                &connection,
                &format!("UPDATE messages SET revision = revision + 1, state = 'queued', retry_at = '2026-12-01T00:00:00.000Z' {id}"),
            ),
            steps(&connection, &format!("UPDATE messages SET revision = revision + 1, retry_at = NULL {id}")),
            steps(&connection, "INSERT INTO fair_shares VALUES ('acc_0', 'c00001', 5)"),
            steps(&connection, "DELETE FROM fair_shares WHERE account_id = 'acc_0' AND finish <= 5"),
        ]);
        queue.check_order();
    }
    assert_eq!(found[0], found[1], "steps with 1,000 and with 20,000 waiting");
    for (few, many) in found[0].iter().zip(found[2]) {
        assert!(many <= few * 2, "steps with 10 and with 5,000 campaigns: {found:?}");
    }
}

#[tokio::test]
async fn a_message_costs_the_same_however_long_its_thread_is() {
    let mut found = Vec::new();
    for rows in [10_u32, 5_000] {
        let queue = Queue::new().await;
        let connection = queue.sql();
        let many = format!(
            "INSERT INTO accounts (id, created_at) VALUES ('acc_0', '2026-11-22T09:00:00.000Z'); \
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             INSERT INTO messages (account_id, chat_id, text, state, reason, due_at, thread, lane, sent_at, settled_by, run) \
             SELECT 'acc_0', 'c', 'x', iif(i % 2 = 0, 'sent', 'queued'), 'turn', '2026-11-22T09:00:00.000Z', 'chat:c', '1 100 m - ', \
               iif(i % 2 = 0, '2026-11-22T09:00:00.000Z', NULL), iif(i % 2 = 0, 'answer', NULL), 1 FROM n; \
             INSERT INTO messages (account_id, chat_id, text) VALUES ('acc_0', 'c', 'by another program')"
        );
        connection.execute_batch(&many).unwrap();
        let admitted = "revision = revision + 1, state = 'queued', reason = 'turn', thread = 'chat:c', lane = '1 100 m - ', \
            due_at = created_at, run = 1";
        let sent = "revision = revision + 1, state = 'sent', sent_at = updated_at, settled_by = 'answer'";
        let first = "WHERE seq = (SELECT min(seq) FROM messages WHERE state <> 'sent')";
        found.push([
            steps(
                &connection,
                "INSERT INTO messages (account_id, chat_id, text, state, reason, due_at, thread, lane, run) VALUES \
                   ('acc_0', 'c', 'x', 'queued', 'turn', '2026-11-22T10:00:00.000Z', 'chat:c', '1 100 m - ', 1)",
            ),
            steps(&connection, &format!("UPDATE messages SET {admitted} WHERE state = 'new'")),
            steps(
                &connection,
                &format!("UPDATE messages SET revision = revision + 1, state = 'sending', attempts = 1 {first}"),
            ),
            steps(&connection, &format!("UPDATE messages SET {sent} WHERE state = 'sending'")),
        ]);
        queue.check_order();
    }
    for (few, many) in found[0].iter().zip(found[1]) {
        assert!(many <= few * 3 / 2, "steps in a thread of 10 and of 5,000 messages: {found:?}");
    }
}
