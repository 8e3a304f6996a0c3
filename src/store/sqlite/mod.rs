//! How the queue uses SQLite: opens the database file and verifies its settings. The files of this folder lock it,
//! read it, and convert its columns; none of them names another folder of the store.
//!
//! SQLite ignores a pragma that it does not know or cannot grant, so each one is read back, and a mismatch refuses to
//! start. Write-ahead logging lets readers and the INSERTs of other programs run concurrently; `synchronous = FULL`
//! makes an acknowledgement mean "on disk".
//!
//! A bound LIMIT is written `LIMIT ?1 + 0`. SQLite plans with the value of a bare parameter there, and so compiles the
//! whole statement again each time one is bound; a test refuses that.

pub(super) mod error;
pub(super) mod failpoints;
pub(super) mod files;
pub(super) mod filesystem;
pub(super) mod holder;
pub(super) mod lock;
mod permissions;
pub(super) mod place;
pub(super) mod restore_guard;
pub(super) mod rows;

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqlSafeStr, SqliteConnection, SqlitePool};

use crate::store::StoreError;
use place::APPLICATION_ID;

/// Busy timeout of our connections.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Our checkpoint limit in pages: below the 1,000 of a producer's own library, so that a library with the WAL-reset
/// bug (SQLite before 3.51.3) normally never checkpoints.
const CHECKPOINT_PAGES: &str = "900";

/// SQLite truncates the log to this length when it restarts it.
pub(super) const LOG_LIMIT_BYTES: u64 = 64 << 20;

/// The files of `migrations/`; a released one is never edited.
const MIGRATIONS: [(i64, &str, &str); 12] = [
    (1, "queue", include_str!("../../../migrations/0001_queue.sql")),
    (2, "inbound text", include_str!("../../../migrations/0002_inbound_text.sql")),
    (3, "thread indexes", include_str!("../../../migrations/0003_thread_indexes.sql")),
    (4, "refusals", include_str!("../../../migrations/0004_refusals.sql")),
    (5, "stop keys", include_str!("../../../migrations/0005_stop_keys.sql")),
    (6, "person chats", include_str!("../../../migrations/0006_person_chats.sql")),
    (7, "stop writers", include_str!("../../../migrations/0007_stop_writers.sql")),
    (8, "attempts kept", include_str!("../../../migrations/0008_attempts_kept.sql")),
    (9, "cheaper triggers", include_str!("../../../migrations/0009_cheaper_triggers.sql")),
    (10, "stop refusals", include_str!("../../../migrations/0010_stop_refusals.sql")),
    (11, "stop words", include_str!("../../../migrations/0011_stop_words.sql")),
    (12, "accounts kept", include_str!("../../../migrations/0012_accounts_kept.sql")),
];

/// Migrates the schema to this version. sqlx's macro for it would build SQLite and sqlx a second time, for the compiler.
static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let migrations = MIGRATIONS.into_iter().map(|(version, description, sql)| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.collect())
});

/// Returns whether `error` means that another program holds the lock: SQLITE_BUSY or SQLITE_LOCKED.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(5 | 6))
}

/// Returns whether `error` means that the file is damaged: SQLITE_CORRUPT or SQLITE_NOTADB.
pub(super) fn is_damaged(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(11 | 26))
}

/// Returns whether `error` means that a file cannot be opened or written: SQLITE_READONLY or SQLITE_CANTOPEN.
pub(super) fn is_unwritable(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(8 | 14))
}

/// Returns whether `error` means that a change contradicts a constraint or a trigger: SQLITE_CONSTRAINT.
pub(super) fn is_constraint(error: &sqlx::Error) -> bool {
    code(error) == Some(19)
}

/// Returns SQLite's primary result code.
fn code(error: &sqlx::Error) -> Option<u32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY_TIMEOUT)
        .foreign_keys(true)
        // Sorting must not need room in /tmp.
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

/// Mode of the queue's files: owner and group, like the socket. SQLite creates its other files with the same mode.
pub(super) const MODE: u32 = 0o660;

/// Creates an empty database unless it exists: SQLite would create it readable by all users.
pub(super) fn make(path: &Path) -> Result<(), StoreError> {
    let made = std::fs::File::options().append(true).create(true).mode(MODE).open(path);
    made.map(drop).map_err(|source| StoreError::File { path: path.to_owned(), source })
}

/// Marks an empty file as a queue of ours, without a schema yet. Bypasses the log, so that the header of the file
/// itself identifies it from now on. One transaction: a process that is killed here leaves no header without the mark,
/// which would be a file of another program.
pub(super) async fn stamp(path: &Path) -> Result<(), StoreError> {
    let mut connection = options(path).connect().await?;
    // `auto_vacuum` only before the first page is written; `administration/prune.rs` gives free pages back. A pragma takes
    // no bound parameter.
    let sql =
        format!("BEGIN; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA application_id = {APPLICATION_ID}; COMMIT");
    sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// Opens the one writing connection, with the schema of this version.
pub(super) async fn open_writer(path: &Path) -> Result<SqliteConnection, StoreError> {
    let mut connection = options(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES)
        // Deleted content is overwritten with zeros in its page.
        .pragma("secure_delete", "FAST")
        .pragma("journal_size_limit", LOG_LIMIT_BYTES.to_string())
        .connect()
        .await?;
    let limit = LOG_LIMIT_BYTES.to_string();
    for (pragma, wanted) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("foreign_keys", "1"),
        ("busy_timeout", "5000"),
        ("wal_autocheckpoint", CHECKPOINT_PAGES),
        ("journal_size_limit", limit.as_str()),
    ] {
        check_pragma(&mut connection, path, pragma, wanted).await?;
    }
    MIGRATOR.run(&mut connection).await?;
    Ok(connection)
}

/// Sets how many pages a connection keeps: SQLite's default of 2 MB, or the 16 MB that a transaction of many rows writes,
/// which SQLite would otherwise write and read again within it.
pub(super) async fn size_cache(connection: &mut SqliteConnection, is_large: bool) -> Result<(), StoreError> {
    let sql = if is_large { "PRAGMA cache_size = -16384" } else { "PRAGMA cache_size = -2000" };
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

/// Disables the connection's busy timeout: the writer retries on its own (`writer/`).
pub(super) async fn disable_busy_timeout(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StoreError> {
    sqlx::query("PRAGMA busy_timeout = 0").execute(&mut *connection).await?;
    check_pragma(connection, path, "busy_timeout", "0").await
}

/// Opens a connection for checkpoints (`writer/checkpoint.rs`), as durable as the writer. It does not wait for locks.
pub(super) async fn open_checkpointer(path: &Path) -> Result<SqliteConnection, StoreError> {
    let options = options(path).busy_timeout(Duration::ZERO).synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await?;
    check_pragma(&mut connection, path, "synchronous", "2").await?;
    Ok(connection)
}

async fn check_pragma(
    connection: &mut SqliteConnection,
    path: &Path,
    pragma: &'static str,
    wanted: &str,
) -> Result<(), StoreError> {
    // The name comes from the list above; a pragma takes no bound parameter.
    let row = sqlx::query(AssertSqlSafe(format!("PRAGMA {pragma}"))).fetch_one(connection).await?;
    // Some pragmas return text and some a number; as text they compare alike.
    let found: String = row.try_get_unchecked(0)?;
    if found.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(StoreError::Pragma { path: path.to_owned(), pragma, wanted: wanted.to_owned(), found })
}

/// Opens the reading connections, which cannot write.
pub(super) async fn open_readers(path: &Path, readers: u32) -> Result<SqlitePool, StoreError> {
    let pool = SqlitePoolOptions::new()
        .max_connections(readers.max(1))
        .min_connections(1)
        .test_before_acquire(false)
        .connect_with(options(path).read_only(true))
        .await?;
    Ok(pool)
}

/// Opens a dedicated reading connection, for `administration/watch.rs`.
pub(super) async fn open_reader(path: &Path) -> Result<SqliteConnection, StoreError> {
    Ok(options(path).read_only(true).connect().await?)
}

/// Opens a connection that copies the queue; SQLite does not allow that on a read-only connection.
pub(super) async fn open_copier(path: &Path) -> Result<SqliteConnection, StoreError> {
    Ok(options(path).connect().await?)
}

/// Opens a copy that was just made and that no other program has open yet.
pub(super) async fn open_copy(path: &Path) -> Result<SqliteConnection, StoreError> {
    Ok(options(path).synchronous(SqliteSynchronous::Full).connect().await?)
}

/// Examines the structure of a database with SQLite's `quick_check`; returns the first problem that it finds.
///
/// The CHECKs of the schema do not count. SQLite evaluates them with its present functions, and an older one may have let a
/// row in that this one refuses, such as 30 February. The row is not damage: the intake refuses it.
pub(super) async fn quick_check(connection: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query("PRAGMA ignore_check_constraints = ON").execute(&mut *connection).await?;
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(connection).await?;
    Ok((found != "ok").then_some(found))
}

/// Returns the path of a database's write-ahead log.
pub(super) fn wal_path(database: &Path) -> PathBuf {
    sibling(database, "-wal")
}

/// Returns the path of the memory that programs share while they have the database open.
pub(super) fn shm_path(database: &Path) -> PathBuf {
    sibling(database, "-shm")
}

fn sibling(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_change_of_a_file_marks_it_as_a_queue() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("queue.db");
        make(&path).expect("made");
        stamp(&path).await.expect("stamped");
        let header = std::fs::read(&path).expect("a file");
        let field =
            |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("a field has four bytes"));
        // How often it was changed, and the mark.
        assert_eq!((field(24), field(68)), (1, APPLICATION_ID));
    }

    #[test]
    fn every_file_of_migrations_is_applied() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let files =
            std::fs::read_dir(folder).expect("the folder").map(|file| file.expect("a file").file_name());
        let mut files: Vec<_> = files.map(|name| name.into_string().expect("a name")).collect();
        files.sort();
        let listed =
            MIGRATIONS.map(|(version, words, _)| format!("{version:04}_{}.sql", words.replace(' ', "_")));
        assert_eq!(files, listed);
    }
}
