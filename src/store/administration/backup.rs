//! Backup: a complete, consistent copy of the queue, made while the daemon runs.
//!
//! SQLite writes the copy (`VACUUM INTO`) from one snapshot; producers and sending continue meanwhile. The copy is
//! checked, marked as a copy so that it starts held wherever it is restored (`sqlite/restore_guard.rs`), flushed,
//! renamed to its final name, and opened once more. Only then may rotation remove older copies.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::Connection;
use tokio_util::task::TaskTracker;

use crate::domain::time_text;
use crate::store::sqlite::restore_guard;
use crate::store::{Store, StoreError, sqlite};

/// How often what is written of a copy is flushed. A large copy that is flushed only at its end keeps the disk busy for a
/// second or more, and commits of the queue wait behind it.
const FLUSH_EVERY: Duration = Duration::from_millis(50);

const PREFIX: &str = "outboxd-";
const SUFFIX: &str = ".db";
/// The form of the time in the name of a backup, a zero for each digit.
const FORM: &str = "0000-00-00T00-00-00.000Z";

/// A completed backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Where it is.
    pub path: PathBuf,
    /// Size in bytes.
    pub bytes: u64,
    /// Number of messages in it.
    pub messages: u64,
}

/// Why a backup failed.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file exists; a backup never replaces a file.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// The folder cannot be used.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// The copy is incomplete or damaged.
    #[error("the copy is damaged: {0}; so may be the queue")]
    Damaged(String),
    /// SQLite returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for BackupError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Writes a copy of the queue to `path`, creating its folder if it is missing.
    ///
    /// # Errors
    /// See [`BackupError`]; then no file of that name exists, or the existing one is unchanged.
    pub async fn backup(&self, path: &Path, now: Timestamp) -> Result<Backup, BackupError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".partial");
        let (place, partial) = (path.to_owned(), PathBuf::from(name));
        let files = partial.clone();
        beside(move || prepare(&place, &files)).await?;
        let made = self.copy(&partial, now).await;
        let place = path.to_owned();
        // Flushing a large file takes half a second; the runtime's thread continues meanwhile.
        let made = beside(move || {
            let finished = made.and_then(|messages| finish(&partial, place, messages));
            let _nothing_half_done_is_left = remove(&partial);
            finished
        })
        .await?;
        verify(&made).await?;
        Ok(made)
    }

    /// Removes backups in `folder` that are named after their time, except the newest `keep`. Returns what it removed.
    ///
    /// # Errors
    /// Returns an error if the folder cannot be read or a file cannot be removed.
    pub(crate) async fn rotate_backups(folder: PathBuf, keep: usize) -> Result<Vec<PathBuf>, BackupError> {
        beside(move || {
            let mut named = Vec::new();
            for entry in std::fs::read_dir(&folder).map_err(failed(&folder))? {
                let entry = entry.map_err(failed(&folder))?;
                let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
                named.extend(
                    entry
                        .file_name()
                        .to_str()
                        .filter(|name| is_file && is_automatic(name))
                        .map(str::to_owned),
                );
            }
            // The text of a time sorts as the time does.
            named.sort_unstable();
            let old = named.iter().take(named.len().saturating_sub(keep)).map(|name| folder.join(name));
            old.map(|path| remove(&path).map_err(failed(&path)).map(|()| path)).collect()
        })
        .await
    }

    /// Makes the copy. Returns the number of messages in it.
    async fn copy(&self, to: &Path, now: Timestamp) -> Result<u64, BackupError> {
        let to_text = to.display().to_string();
        let mut source = sqlite::open_copier(&self.inner.path).await?;
        let (written, is_written) = mpsc::channel::<()>();
        let write = async {
            let result = sqlx::query("VACUUM INTO ?1").bind(&to_text).execute(&mut source).await;
            drop(written);
            result
        };
        let partial = to.to_owned();
        let flush = beside(move || {
            flush_while_written(&partial, &is_written);
            Ok(())
        });
        let (result, flushed) = tokio::join!(write, flush);
        let _nothing_to_write = source.close().await;
        result?;
        flushed?;
        let mut copy = sqlite::open_copy(to).await?;
        if let Some(damage) = sqlite::quick_check(&mut copy).await? {
            return Err(BackupError::Damaged(damage));
        }
        restore_guard::hold(&mut copy, "outboxd backup made it", now).await?;
        // A different version of the file than the one that the queue's write-ahead log belongs to.
        sqlx::query("PRAGMA user_version = 0").execute(&mut copy).await?;
        let messages: i64 = sqlx::query_scalar("SELECT count(*) FROM messages").fetch_one(&mut copy).await?;
        copy.close().await?;
        Ok(u64::try_from(messages).unwrap_or(0))
    }

    /// Returns the default folder for backups, next to the queue.
    pub(crate) fn backup_folder(&self) -> PathBuf {
        self.inner.path.parent().unwrap_or(Path::new(".")).join("backups")
    }
}

/// Returns the name of a backup that was asked for without one.
pub(crate) fn backup_name(now: Timestamp) -> String {
    // Some file systems do not allow colons.
    format!("{PREFIX}{}{SUFFIX}", time_text(now).replace(':', "-"))
}

/// Returns whether [`backup_name`] could have given this name.
fn is_automatic(name: &str) -> bool {
    let time = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
    let pattern = |(digit, form): (u8, u8)| if form == b'0' { digit.is_ascii_digit() } else { digit == form };
    time.is_some_and(|time| time.len() == FORM.len() && time.bytes().zip(FORM.bytes()).all(pattern))
}

/// Opens a finished backup as a restore would, and counts what is in it.
async fn verify(made: &Backup) -> Result<(), BackupError> {
    let mut copy = sqlite::open_reader(&made.path).await?;
    let counted: i64 = sqlx::query_scalar("SELECT count(*) FROM messages").fetch_one(&mut copy).await?;
    copy.close().await?;
    match u64::try_from(counted) == Ok(made.messages) {
        true => Ok(()),
        false => Err(BackupError::Damaged(format!("it holds {counted} messages, not {}", made.messages))),
    }
}

/// Runs blocking disk work to its end on a thread of its own.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    let done = TaskTracker::new().spawn_blocking(work).await;
    done.unwrap_or(Err(BackupError::Store(StoreError::Closed)))
}

/// Flushes the file at `path` again and again, until the sender of `is_written` is dropped.
fn flush_while_written(path: &Path, is_written: &Receiver<()>) {
    // `finish` flushes it once more, and reports errors.
    let Ok(file) = File::open(path) else { return };
    while is_written.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
        let _reported_at_the_end = file.sync_data();
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { path, source }
}

/// Creates the folder and an empty file for the copy.
fn prepare(path: &Path, partial: &Path) -> Result<(), BackupError> {
    if path.exists() {
        return Err(BackupError::Exists(path.to_owned()));
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    remove(partial).map_err(failed(partial))?;
    Ok(sqlite::make(partial)?)
}

/// Flushes the copy and renames it to its final name.
fn finish(partial: &Path, path: PathBuf, messages: u64) -> Result<Backup, BackupError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = File::open(partial).map_err(failed(partial))?;
    file.sync_all().map_err(failed(partial))?;
    let bytes = file.metadata().map_err(failed(partial))?.len();
    // A link fails if the file exists by now; a rename would replace it.
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
