//! Looks at a queue from outside, for `outboxd doctor`: it only reads, while a daemon runs or without one.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::store::sqlite::place::{self, Content};
use crate::store::sqlite::{filesystem, lock};
use crate::store::{StoreError, sqlite};

/// What is at `store.path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inspection {
    /// The real path of the file.
    pub path: PathBuf,
    /// Whether a queue is there.
    pub exists: bool,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Size of the write-ahead log in bytes.
    pub wal_bytes: u64,
    /// Free bytes on its disk.
    pub free_bytes: Option<u64>,
    /// The process id of the daemon that holds the lock; "unknown" if the lock file does not say.
    pub held_by: Option<String>,
    /// Warnings about the place.
    pub warnings: Vec<String>,
}

impl Inspection {
    /// Looks at `path` without opening the database.
    ///
    /// # Errors
    /// Returns an error if something that is not a queue is there, or if it cannot be read.
    pub(crate) fn of(path: &Path) -> Result<Self, StoreError> {
        let path = place::resolve(path)?;
        let exists = matches!(place::look(&path)?, Some(Content::Queue(_)));
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        let folder = path.parent().unwrap_or(Path::new("."));
        Ok(Self {
            exists,
            bytes: length(&path),
            wal_bytes: length(&sqlite::wal_path(&path)),
            free_bytes: filesystem::free_bytes(folder),
            held_by: held_by(&path),
            warnings: if exists { filesystem::warnings(&path) } else { Vec::new() },
            path,
        })
    }

    /// Runs `quick_check`, which reads the whole file; returns the first problem that it finds.
    pub(crate) async fn quick_check(&self) -> Result<Option<String>, StoreError> {
        let mut connection = self.connect().await?;
        let found = sqlite::quick_check(&mut connection).await?;
        connection.close().await?;
        Ok(found)
    }

    /// Returns whether an endpoint with its secret is registered.
    pub(crate) async fn has_webhook_secret(&self) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT EXISTS (SELECT 1 FROM webhook_endpoints)";
        let mut connection = self.connect().await?;
        let found = sqlx::query_scalar(SQL).fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(found)
    }

    async fn connect(&self) -> Result<SqliteConnection, StoreError> {
        // Without a log nothing writes, and SQLite would leave an empty log behind.
        let is_at_rest = self.held_by.is_none() && self.wal_bytes == 0;
        let options = SqliteConnectOptions::new().filename(&self.path).read_only(true).immutable(is_at_rest);
        Ok(options.disable_statement_logging().connect().await?)
    }
}

/// Returns the version of the SQLite library that this program holds.
pub async fn sqlite_version() -> Result<String, StoreError> {
    let mut connection = SqliteConnectOptions::new().in_memory(true).connect().await?;
    let version = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(version)
}

/// Returns the process that holds the lock file of the queue.
fn held_by(path: &Path) -> Option<String> {
    let lock = File::open(lock::lock_path(path)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(lock::lock_path(path)).unwrap_or_default();
            Some(pid.split_whitespace().next().unwrap_or("unknown").to_owned())
        }
        Ok(()) | Err(TryLockError::Error(_)) => None,
    }
}
