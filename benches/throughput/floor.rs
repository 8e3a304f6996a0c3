//! The floor: what the disk and SQLite can do with nothing around them.

use std::path::Path;
use std::time::Instant;

use rusqlite::{Connection, params};

/// SQLite alone: one connection, the queue's own table, nothing around it.
pub(crate) struct Floor {
    connection: Connection,
    seq: u32,
}

impl Floor {
    /// Creates the table anew, without its triggers.
    pub(crate) fn open(folder: &Path) -> Self {
        for file in ["floor.db", "floor.db-wal", "floor.db-shm"] {
            let _another_scene_made_it = std::fs::remove_file(folder.join(file));
        }
        Self { connection: open(&folder.join("floor.db")), seq: 0 }
    }

    /// Returns rows per second with one row per commit.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    pub(crate) fn single(&mut self, rows: u32) -> f64 {
        let began = Instant::now();
        for _ in 0..rows {
            self.seq += 1;
            insert(&self.connection, self.seq);
        }
        f64::from(rows) / began.elapsed().as_secs_f64()
    }

    /// Returns the milliseconds of each of `rows` single inserts, with a pause of 10 ms between them.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    pub(crate) fn latencies(&mut self, rows: u32) -> Vec<f64> {
        let mut each = Vec::new();
        for _ in 0..rows {
            self.seq += 1;
            let began = Instant::now();
            insert(&self.connection, self.seq);
            each.push(began.elapsed().as_secs_f64() * 1e3);
            super::process::pause(std::time::Duration::from_millis(10));
        }
        each
    }

    /// Returns rows per second with a thousand rows per commit.
    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
    pub(crate) fn batch(&mut self, commits: u32) -> f64 {
        let began = Instant::now();
        for _ in 0..commits {
            let transaction = self.connection.transaction().expect("begin");
            for _ in 0..1000 {
                self.seq += 1;
                insert(&transaction, self.seq);
            }
            transaction.commit().expect("commit");
        }
        f64::from(commits) * 1000.0 / began.elapsed().as_secs_f64()
    }
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).expect("open");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA wal_autocheckpoint = 900;",
        )
        .expect("pragmas");
    let found =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).expect("the migrations");
    let mut migrations: Vec<_> = found.map(|file| file.expect("a file").path()).collect();
    migrations.sort();
    for migration in migrations {
        let statements = std::fs::read_to_string(migration).expect("a migration");
        connection.execute_batch(&statements).expect("the schema");
    }
    let triggers =
        connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger'").and_then(|mut found| {
            found
                .query_map([], |row| row.get::<_, String>(0))
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        });
    for trigger in triggers.expect("their names") {
        connection.execute_batch(&format!("DROP TRIGGER {trigger}")).expect("drop");
    }
    connection
}

fn insert(connection: &Connection, seq: u32) {
    const SQL: &str = "INSERT INTO messages (id, account_id, chat_id, text, not_before, state, reason, due_at, thread, lane, \
         created_at, updated_at, run) VALUES (?1, ?2, ?3, ?4, ?7, 'queued', 'scheduled', ?7, ?6, '1 100 m -', ?5, ?5, 1)";
    let id = format!("01a2033b-0160-7000-8000-{seq:012x}");
    let account = format!("acc_{}", seq % 100);
    let chat = format!("chat_{seq}");
    let thread = format!("chat:{chat}");
    let now = "2026-11-22T09:21:00.000Z";
    let mut statement = connection.prepare_cached(SQL).expect("prepare");
    statement
        .execute(params![id, account, chat, super::scenes::TEXT, now, thread, super::scenes::LATER])
        .expect("insert");
}
