//! One daemon per queue (P3): two locks, held until the process ends. The kernel releases both however it ends, so a
//! stale lock file is not an obstacle. The first is `flock` on the database file itself, so it covers every name of
//! the file: a link, a hard link, a bind mount. It does not interact with SQLite's locks, which are POSIX record
//! locks. But closing any descriptor of a file drops the process's record locks on it, so this descriptor is closed
//! after SQLite's. On network file systems the kernel turns `flock` into record locks, which would lock SQLite out;
//! there the first lock is not taken. The second is `flock` on the file `….lock` next to the database: it refuses a
//! second daemon on another file that was put under the same name while the first one runs.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::holder;
use super::place::FileId;
use crate::store::StoreError;
use crate::store::sqlite::MODE;

/// Another daemon has the queue open.
#[derive(Debug, thiserror::Error)]
#[error(
    "another outboxd (process {holder}) has the queue {}, perhaps under another name of the file; stop it, or give this one \
     another store.path",
    path.display()
)]
pub struct LockHeld {
    /// The database.
    pub path: PathBuf,
    /// The process that holds it, or "unknown".
    pub holder: String,
}

/// The two locks, released on drop.
pub(in crate::store) struct Lock {
    path: PathBuf,
    database: File,
    /// Whether `database` itself is locked.
    on_file: bool,
    name: Mutex<File>,
}

impl Lock {
    /// Takes both locks on `path`, which exists. `on_file` says whether the file system keeps locks on the file apart
    /// from SQLite's.
    pub(in crate::store) fn take(path: &Path, on_file: bool) -> Result<Self, StoreError> {
        let name = lock_name(path)?;
        let failed = |source| StoreError::File { path: path.to_owned(), source };
        let database = File::options().read(true).write(true).open(path).map_err(failed)?;
        if on_file {
            match database.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let id = FileId::of(&database.metadata().map_err(failed)?);
                    let holder = holder::file_holder(id).unwrap_or_else(|| "unknown".to_owned());
                    return Err(LockHeld { path: path.to_owned(), holder }.into());
                }
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        Ok(Self { path: path.to_owned(), database, on_file, name: Mutex::new(name) })
    }

    /// Returns the open database file.
    pub(in crate::store) fn database(&self) -> &File {
        &self.database
    }

    /// Takes the lock file again if it was removed or replaced in the meantime. While the database itself is locked,
    /// another process may hold the new lock file for a moment: it is about to be refused.
    ///
    /// # Errors
    /// Returns an error if another daemon holds the only lock, or if the file cannot be created.
    pub(super) fn renew(&self) -> Result<(), StoreError> {
        let path = lock_path(&self.path);
        let mut name = self.name.lock().expect("nothing panics while holding it");
        let ours = name.metadata().map(|found| FileId::of(&found)).ok();
        let there = std::fs::metadata(&path).map(|found| FileId::of(&found)).ok();
        if ours != there {
            *name = match lock_name(&self.path) {
                Err(StoreError::Locked(_)) if self.on_file => return Ok(()),
                locked => locked?,
            };
            tracing::warn!(path = %path.display(), "the lock file was removed or replaced; it is locked again");
        }
        Ok(())
    }
}

impl Drop for Lock {
    /// A child that another thread forks has copies of the descriptors until it executes its program: with a close alone
    /// it would keep the locks until then.
    fn drop(&mut self) {
        let name = self.name.get_mut().map(|name| name.unlock());
        let file = self.on_file.then(|| self.database.unlock());
        for unlocked in [name.ok(), file].into_iter().flatten() {
            if let Err(error) = unlocked {
                tracing::debug!(%error, "a lock of the queue ends with its descriptor");
            }
        }
    }
}

/// Locks the lock file of the database's name.
fn lock_name(database: &Path) -> Result<File, StoreError> {
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
    // Writes the process number, for the error that a second daemon prints.
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

pub(in crate::store) fn lock_path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_lock_is_free_although_a_forked_child_still_has_the_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("q.db");
        std::fs::write(&path, "").unwrap();
        let lock = Lock::take(&path, true).unwrap();
        let _of_the_child = (lock.database.try_clone(), lock.name.lock().unwrap().try_clone());
        assert!(matches!(Lock::take(&path, true), Err(StoreError::Locked(_))));
        drop(lock);
        assert!(Lock::take(&path, true).is_ok());
    }
}
