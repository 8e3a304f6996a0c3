//! What the disk and SQLite can do with nothing around them.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};

/// Rows a second.
pub(crate) struct Floors {
    /// One row a commit.
    pub(crate) single: f64,
    /// A thousand rows a commit.
    pub(crate) batch: f64,
}

const ROWS_SINGLE: u32 = 6_000;
const ROWS_BATCH: u32 = 100_000;

/// Writes the same rows into the queue's own table, without its triggers, as fast as SQLite lets one connection.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn measure(folder: &Path) -> Floors {
    let mut connection = open(&folder.join("floor.db"));
    let mut arrival = 0;
    let began = Instant::now();
    for _ in 0..ROWS_SINGLE {
        arrival += 1;
        insert(&connection, arrival);
    }
    let single = f64::from(ROWS_SINGLE) / began.elapsed().as_secs_f64();
    let began = Instant::now();
    for _ in 0..ROWS_BATCH / 1000 {
        let transaction = connection.transaction().expect("begin");
        for _ in 0..1000 {
            arrival += 1;
            insert(&transaction, arrival);
        }
        transaction.commit().expect("commit");
    }
    Floors { single, batch: f64::from(ROWS_BATCH) / began.elapsed().as_secs_f64() }
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("open");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA wal_autocheckpoint = 900;",
        )
        .expect("pragmas");
    let schema = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/0001_queue.sql"));
    connection.execute_batch(&schema.expect("the migration")).expect("the schema");
    for trigger in [
        "messages_insert",
        "messages_inserted",
        "messages_inserted_elsewhere",
        "messages_move",
        "messages_moved",
        "messages_delete",
    ] {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}")).expect("drop");
    }
    connection
}

fn insert(connection: &Connection, arrival: u32) {
    const SQL: &str = "INSERT INTO messages (id, account_id, chat_id, text, not_before, state, reason, due_at, thread, \
         created_at, updated_at, run) VALUES (?1, ?2, ?3, ?4, ?7, 'queued', 'scheduled', ?7, ?6, ?5, ?5, 1)";
    let id = format!("01a2033b-0160-7000-8000-{arrival:012x}");
    let account = format!("acc_{}", arrival % 100);
    let chat = format!("chat_{arrival}");
    let thread = format!("chat:{chat}");
    let now = "2026-11-22T09:21:00.000Z";
    let mut statement = connection.prepare_cached(SQL).expect("prepare");
    statement
        .execute(params![id, account, chat, super::scenes::TEXT, now, thread, super::scenes::LATER])
        .expect("insert");
}
