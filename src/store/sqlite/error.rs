//! Errors of the queue itself.
//!
//! Each message says what happened and what to do.

use std::path::{Path, PathBuf};

use super::permissions;
use crate::store::{LockHeld, sqlite};

/// An error of the queue itself.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another daemon has this database open.
    #[error(transparent)]
    Locked(#[from] LockHeld),
    /// The folder of a new database does not exist.
    #[error(
        "there is no queue {path}, and no folder {folder} to make one in; correct store.path, or make the folder \
         (mkdir -p {folder})"
    )]
    NoFolder {
        /// The database.
        path: PathBuf,
        /// Its folder.
        folder: PathBuf,
    },
    /// The database's path is a link to a file that does not exist.
    #[error(
        "{path} is a link to {target}, which does not exist; correct the link, or remove it to begin a new queue"
    )]
    DanglingLink {
        /// The link.
        path: PathBuf,
        /// The target of the link.
        target: PathBuf,
    },
    /// The file is not a SQLite database.
    #[error(
        "{path} is not a SQLite database and is left as it is; correct store.path, or, if this was the queue, put a backup \
         in its place (docs/operations.md)"
    )]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The database is shorter than its header says, so a part of it is lost.
    #[error(
        "the queue {path} is damaged: it is cut off and has {bytes} of {expected} bytes; put a backup in its place \
         (docs/operations.md), or save what can be saved with `sqlite3 {path} .recover`"
    )]
    CutOff {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The length that its header gives.
        expected: u64,
    },
    /// The database belongs to another program.
    #[error(
        "{path} is a SQLite database of another program and is left as it is; give store.path a file of its own (a queue \
         that was made anew with .dump: docs/operations.md)"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The database is damaged.
    #[error(
        "the queue {path} is damaged; put a backup in its place (docs/operations.md), or save what can be saved with \
         `sqlite3 {path} .recover`"
    )]
    Damaged {
        /// The database.
        path: PathBuf,
        /// SQLite's error.
        #[source]
        source: sqlx::Error,
    },
    /// The write-ahead log was written for another version of the database file.
    #[error(
        "{log} does not belong to {database}: it was written for another version of that file, and SQLite would damage the \
         queue with it. If {database} was put back from a copy, remove {log} and {shared} and start again. If all of them \
         were put here together, remove {guard} instead; the queue then starts held (docs/operations.md)"
    )]
    StaleLog {
        /// The database.
        database: PathBuf,
        /// Its write-ahead log.
        log: PathBuf,
        /// Its shared memory.
        shared: PathBuf,
        /// The restore guard.
        guard: PathBuf,
    },
    /// The database or a file next to it cannot be used.
    #[error("cannot use {path}{}", permissions::denial(path, source))]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// A setting did not take effect.
    #[error("SQLite keeps {pragma} = {found} where {wanted} is needed; is {path} on a local file system?")]
    Pragma {
        /// The database.
        path: PathBuf,
        /// The setting.
        pragma: &'static str,
        /// The value that was requested.
        wanted: String,
        /// The value in effect.
        found: String,
    },
    /// The database's schema is older or newer than this program supports.
    #[error("the database cannot be brought to this version; if a newer outboxd wrote it, run that one")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Another program held the write lock for longer than the writer waits.
    #[error("another program keeps the database locked; end its transaction")]
    Busy,
    /// A stored value is not one that this program writes.
    #[error("the database holds {value:?} as {what}, which no version writes")]
    Corrupt {
        /// What the value should be.
        what: &'static str,
        /// The stored value.
        value: String,
    },
    /// SQLite returned an error.
    #[error("the database refused")]
    Sqlite(#[source] sqlx::Error),
    /// The writer has stopped.
    #[error("the queue is closed")]
    Closed,
}

impl StoreError {
    /// Converts an error that SQLite returned when it opened `path`: a damaged file has a remedy of its own.
    pub(in crate::store) fn when_opening(self, path: &Path) -> Self {
        use sqlx::migrate::MigrateError;
        match self {
            Self::Sqlite(source)
            | Self::Migrate(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _))
                if sqlite::is_damaged(&source) =>
            {
                Self::Damaged { path: path.to_owned(), source }
            }
            Self::Sqlite(source)
            | Self::Migrate(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _))
                if sqlite::is_unwritable(&source) =>
            {
                match permissions::unwritable(path) {
                    Some((path, source)) => Self::File { path, source },
                    None => Self::Sqlite(source),
                }
            }
            other => other,
        }
    }

    /// Returns whether a change contradicts a constraint or a trigger of the schema; trying again does not help then.
    pub(crate) fn is_constraint(&self) -> bool {
        matches!(self, Self::Sqlite(error) if sqlite::is_constraint(error))
    }

    /// Returns the error with its causes, for a log line.
    pub(crate) fn chain(&self) -> String {
        use std::error::Error as _;
        let mut text = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            let what = cause.to_string();
            // Some messages repeat their cause.
            if !text.contains(&what) {
                text.push_str(": ");
                text.push_str(&what);
            }
            source = cause.source();
        }
        text
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if sqlite::is_busy(&error) { Self::Busy } else { Self::Sqlite(error) }
    }
}
