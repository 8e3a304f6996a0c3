//! A backup: a whole, consistent copy of the queue, made while the daemon goes on.
//!
//! SQLite writes it (`VACUUM INTO`) from one snapshot; producers and sending go on beside it. The copy is checked, marked as
//! a copy, so that it starts held wherever it is put back (`mark.rs`), flushed, and only then gets its name.

use std::fs::File;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sqlx::Connection;
use tokio_util::task::TaskTracker;

use super::{Store, StoreError, restore_guard, sqlite};

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Messages in it.
    pub messages: u64,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Nothing is ever replaced.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// The folder cannot be used.
    #[error("cannot write {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The copy that was written is not whole.
    #[error("the copy is damaged: {0}; so may be the queue")]
    Damaged(String),
    /// SQLite refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Writes a copy of the queue to `path`, whose folder is made if it is missing.
    ///
    /// # Errors
    /// See [`BackupError`]; then there is no file of that name, or it is the one that was there.
    pub async fn backup(&self, path: &Path, now: Timestamp) -> Result<Backup, BackupError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let (place, partial) = (path.to_owned(), PathBuf::from(name));
        let files = partial.clone();
        beside(move || prepare(&place, &files)).await?;
        let made = self.copy(&partial, now).await;
        let place = path.to_owned();
        // Flushing a large file takes half a second, in which the runtime's thread goes on.
        beside(move || {
            let finished = made.and_then(|messages| finish(&partial, place, messages));
            let _nothing_half_done_is_left = remove(&partial);
            finished
        })
        .await
    }

    /// The copy itself; answers how many messages it holds.
    async fn copy(&self, to: &Path, now: Timestamp) -> Result<u64, BackupError> {
        let to_text = to.display().to_string();
        let mut source = sqlite::open_copier(&self.inner.path).await?;
        let written = sqlx::query("VACUUM INTO ?1").bind(&to_text).execute(&mut source).await;
        let _nothing_to_write = source.close().await;
        written?;
        let mut copy = sqlite::open_copy(to).await?;
        let sound: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut copy).await?;
        if sound != "ok" {
            return Err(BackupError::Damaged(sound));
        }
        restore_guard::hold(&mut copy, "outboxd backup made it", now).await?;
        // Another version of the file than the one that the log beside the queue belongs to.
        sqlx::query("PRAGMA user_version = 0").execute(&mut copy).await?;
        let messages: i64 = sqlx::query_scalar("SELECT count(*) FROM messages").fetch_one(&mut copy).await?;
        copy.close().await?;
        Ok(u64::try_from(messages).unwrap_or(0))
    }

    /// The folder of backups where none is configured: beside the queue.
    pub fn backup_folder(&self) -> PathBuf {
        self.inner.path.parent().unwrap_or(Path::new(".")).join("backups")
    }
}

/// Does what waits for the disk on a thread of its own, to its end.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = TaskTracker::new().spawn_blocking(work).await;
    done.unwrap_or(Err(BackupError::Store(StoreError::Closed)))
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { path, source }
}

/// Makes the folder and an empty file for the copy.
fn prepare(path: &Path, partial: &Path) -> Result<(), BackupError> {
    if path.exists() {
        return Err(BackupError::Exists(path.to_owned()));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    remove(partial).map_err(failed(partial))?;
    Ok(sqlite::make(partial)?)
}

/// Flushes the copy and gives it its name.
fn finish(partial: &Path, path: PathBuf, messages: u64) -> Result<Backup, BackupError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = File::open(partial).map_err(failed(partial))?;
    file.sync_all().map_err(failed(partial))?;
    let bytes = file.metadata().map_err(failed(partial))?.len();
    // A link fails where a file has come to be meanwhile; a rename would replace it.
    std::fs::hard_link(partial, &path).map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => BackupError::Exists(path.clone()),
        _ => failed(&path)(source),
    })?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder))?;
    Ok(Backup { path, bytes, messages })
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
