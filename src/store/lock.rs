//! One daemon per queue: a lock file beside the database, held for as long as the process lives (P3).
//!
//! The kernel lets go of the lock when the process ends, however it ends, so a stale file is no obstacle. The file
//! says who holds it, for the error that the second daemon prints.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::sqlite::MODE;

/// Another daemon has the queue.
#[derive(Debug, thiserror::Error)]
#[error("another outboxd (process {holder}) has the queue {}; stop it, or give this one another store.path", path.display())]
pub struct LockHeld {
    /// The database.
    pub path: PathBuf,
    /// The process that holds it, or "unknown".
    pub holder: String,
}

/// The lock; letting go of it is dropping it.
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        let path = lock_path(database);
        let failed = |source| StoreError::File { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _unreadable_is_unknown = file.read_to_string(&mut holder);
                let holder = holder.trim();
                let holder = if holder.is_empty() { "unknown" } else { holder }.to_owned();
                return Err(LockHeld { path: database.to_owned(), holder }.into());
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}
