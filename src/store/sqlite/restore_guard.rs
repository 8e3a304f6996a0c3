//! The restore guard, the file `….mark` next to the database: recognises a database that does not know the latest
//! sends (P2, P4). A restored backup would send last week's queue again, because its messages still wait; a new
//! database would accept them all again. So the guard names the queue, the last call, and the newest event. A
//! database that knows less is held: it accepts messages and sends nothing until a person releases it. The guard is
//! So is one that was written anew from SQL, as SQLite's `.dump` does it: what it lacks may be anything. The guard is
//! written after each commit that begins calls and at intervals, in place and without a flush. After a power cut it
//! may be older than the database, which is not the sign of a restored one. It also records which version of the
//! database file the write-ahead log belongs to: SQLite would apply a log to whatever file it finds next to it, and
//! so damage a restored copy.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard};

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::place::{Content, Version};
use super::rows::Result;
use crate::domain::time_text;
use crate::store::StoreError;
use crate::store::sqlite::{self, MODE};

/// Length of the file. Shorter content is padded with spaces, so that writing it never needs room on the disk.
const BYTES: usize = 512;

/// A log of at most this length contains only its header and no page.
const LOG_HEADER_BYTES: u64 = 32;

/// The content of the guard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Noted {
    /// The queue that it belongs to.
    queue: String,
    /// The last call that began: seq and number of its attempt.
    call: Option<(i64, i64)>,
    /// Sequence number of the newest event.
    seq: i64,
    /// When a daemon last had the queue open.
    alive_at: Option<Timestamp>,
    /// The version of the database file while the log is in use; `None` if unknown.
    version: Option<Version>,
}

impl Noted {
    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let call = value.get("call")?;
        Some(Self {
            queue: value.get("queue")?.as_str()?.to_owned(),
            call: match call.as_array() {
                Some(call) => Some((call.first()?.as_i64()?, call.get(1)?.as_i64()?)),
                None => None,
            },
            seq: value.get("seq")?.as_i64()?,
            alive_at: value.get("alive_at").and_then(Value::as_str).and_then(|text| text.parse().ok()),
            version: value.get("version").and_then(|version| {
                let part = |at: usize| i32::try_from(version.get(at)?.as_i64()?).ok();
                Some(Version { user: part(0)?, schema: part(1)? })
            }),
        })
    }

    /// Returns whether the queue that it names has a history, which a new database would not know.
    fn has_history(&self) -> bool {
        self.call.is_some() || self.seq > 0
    }

    fn line(&self) -> String {
        let call = self.call.map(|(seq, number)| [seq, number]);
        let line = json!({
            "queue": self.queue, "call": call, "seq": self.seq, "alive_at": self.alive_at.map(time_text),
            "version": self.version.map(|version| [version.user, version.schema]),
        });
        format!("{:<width$}\n", line.to_string(), width = BYTES - 1)
    }
}

/// The open guard of a queue.
pub(in crate::store) struct RestoreGuard {
    path: PathBuf,
    file: Mutex<File>,
    /// Its content when it was opened.
    found: Option<Noted>,
    noted: Mutex<Noted>,
    /// The version that this run has given the file; 0 if none yet.
    drawn: AtomicI32,
}

impl RestoreGuard {
    /// Opens the guard of `database`, or creates an empty one.
    ///
    /// # Errors
    /// Returns an error if the file cannot be created or read.
    pub(in crate::store) fn open(database: &Path) -> Result<Self> {
        let path = path(database);
        let failed = |source| StoreError::File { path: path.clone(), source };
        let file = make(&path).map_err(failed)?;
        let found = read(&file).map_err(failed)?;
        let noted = Mutex::new(found.clone().unwrap_or_default());
        Ok(Self { noted, found, path, file: Mutex::new(file), drawn: AtomicI32::new(0) })
    }

    /// Writes the file again if it was removed.
    pub(super) fn renew(&self) {
        if self.path.try_exists().unwrap_or(true) {
            return;
        }
        match make(&self.path) {
            Ok(made) => {
                *self.file() = made;
                self.change(|_| {});
                tracing::warn!(path = %self.path.display(), "the restore guard was removed; it is written again");
            }
            Err(error) => {
                tracing::warn!(%error, "the restore guard was removed and cannot be made again");
            }
        }
    }

    fn file(&self) -> MutexGuard<'_, File> {
        self.file.lock().expect("nothing panics while holding it")
    }

    /// Refuses a log that does not belong to its database. Call it before SQLite opens the two.
    ///
    /// # Errors
    /// [`StoreError::StaleLog`].
    pub(in crate::store) fn check_log(&self, database: &Path, content: Content) -> Result<()> {
        let log = sqlite::wal_path(database);
        let length = std::fs::metadata(&log).map_or(0, |found| found.len());
        let belongs = match content {
            Content::Empty => false,
            Content::Queue(version) => {
                self.found.as_ref().and_then(|found| found.version).is_none_or(|noted| noted == version)
            }
        };
        if belongs || length <= LOG_HEADER_BYTES {
            // From here on the file's version changes, and is unknown until the change is complete.
            self.note_version(None);
            return Ok(());
        }
        Err(StoreError::StaleLog {
            database: database.to_owned(),
            log,
            shared: sqlite::shm_path(database),
            guard: self.path.clone(),
        })
    }

    /// Compares the database with the guard, and holds the queue if the database knows less. `content` is what the file
    /// held before it was opened. Returns whether it is another file than the one that the last run had here.
    pub(in crate::store) async fn check(
        &self,
        connection: &mut SqliteConnection,
        content: Content,
        now: Timestamp,
    ) -> Result<bool> {
        let queue = queue_id(connection).await?;
        let is_new = content == Content::Empty;
        let is_other_file = self.found.as_ref().is_none_or(|found| match (found.version, content) {
            (Some(noted), Content::Queue(version)) => noted.user != version.user,
            _ => false,
        });
        match why_restored(connection, self.found.as_ref(), &queue, is_new).await? {
            // The guard stays unchanged: it is newer than the database.
            Some(why) => Ok(hold(connection, why, now).await? || is_other_file),
            None => {
                self.change(|noted| noted.queue = queue);
                Ok(is_other_file)
            }
        }
    }

    /// Gives the database file a version of its own, and records it for as long as the log is in use.
    pub(in crate::store) async fn draw_version(&self, connection: &mut SqliteConnection) -> Result<()> {
        let user: i32 =
            sqlx::query_scalar("SELECT 1 + (random() & 1073741823)").fetch_one(&mut *connection).await?;
        // A pragma takes no bound parameter.
        let set = AssertSqlSafe(format!("PRAGMA user_version = {user}"));
        sqlx::query(set).execute(&mut *connection).await?;
        let schema: i32 = sqlx::query_scalar("PRAGMA schema_version").fetch_one(&mut *connection).await?;
        let moved = sqlx::query_as("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(connection).await?;
        let (busy, pages, moved): (i32, i32, i32) = moved;
        self.drawn.store(user, Ordering::Relaxed);
        // While another program reads an older snapshot, the file keeps its old version; `note_file` detects that.
        if busy == 0 && pages == moved {
            self.note_version(Some(Version { user, schema }));
        }
        Ok(())
    }

    /// After a power cut this must not be older than the database.
    fn note_version(&self, version: Option<Version>) {
        self.change(|noted| noted.version = version);
        if let Err(error) = self.file().sync_data() {
            tracing::warn!(%error, path = %self.path.display(), "the restore guard cannot be flushed");
        }
    }

    /// Records the current version of the file. Another program may change the schema, for example by an index of its
    /// own, or as Litestream does.
    pub(super) fn note_file(&self, version: Version) {
        let noted = self.noted.lock().expect("nothing panics while holding it").version;
        if version.user == self.drawn.load(Ordering::Relaxed) && noted != Some(version) {
            self.note_version(Some(version));
        }
    }

    /// Returns when a daemon last had the queue open; `None` if unknown.
    pub(in crate::store) fn last_alive_at(&self) -> Option<Timestamp> {
        self.found.as_ref().and_then(|found| found.alive_at)
    }

    /// Records that a call began.
    pub(in crate::store) fn note_call(&self, seq: i64, number: u32) {
        self.change(|noted| noted.call = Some((seq, i64::from(number))));
    }

    /// Records that the daemon is running, and the newest event.
    pub(in crate::store) fn note_alive(&self, seq: i64, now: Timestamp) {
        self.change(|noted| (noted.seq, noted.alive_at) = (noted.seq.max(seq), Some(now)));
    }

    /// Records that a person released a held queue: from now on the guard belongs to it, under its new name.
    pub(in crate::store) fn accept(&self, queue: String, seq: i64, now: Timestamp) {
        self.change(|noted| {
            (noted.queue, noted.call, noted.seq, noted.alive_at) = (queue, None, seq, Some(now));
        });
    }

    fn change(&self, change: impl FnOnce(&mut Noted)) {
        let mut noted = self.noted.lock().expect("nothing panics while holding it");
        change(&mut noted);
        if let Err(error) = self.file().write_all_at(noted.line().as_bytes(), 0) {
            tracing::warn!(%error, "the restore guard cannot be written; a restored copy may not be recognised");
        }
    }
}

fn make(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)
}

/// Reads the file; `None` if it is new or unreadable.
fn read(file: &File) -> std::io::Result<Option<Noted>> {
    let mut bytes = [0; BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(std::str::from_utf8(&bytes).ok().and_then(Noted::parse)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the queue's name, which its copies share.
async fn queue_id(connection: &mut SqliteConnection) -> Result<String> {
    const NAME: &str =
        "UPDATE daemon SET queue_id = lower(hex(randomblob(16))) WHERE id = 1 AND queue_id IS NULL";
    sqlx::query(NAME).execute(&mut *connection).await?;
    Ok(sqlx::query_scalar("SELECT queue_id FROM daemon WHERE id = 1").fetch_one(connection).await?)
}

/// Returns why the database is held, if it is. A copy that never made a call, without a guard of another queue, can
/// do no harm.
async fn why_restored(
    connection: &mut SqliteConnection,
    found: Option<&Noted>,
    queue: &str,
    is_new: bool,
) -> Result<Option<&'static str>> {
    const CALLED: &str = "SELECT EXISTS (SELECT 1 FROM attempts)";
    const LATEST: &str = "SELECT coalesce(max(seq), 0) FROM events";
    const CALL: &str = "SELECT EXISTS (SELECT 1 FROM attempts WHERE seq = ?1 AND number = ?2)";
    let called: bool = sqlx::query_scalar(CALLED).fetch_one(&mut *connection).await?;
    let Some(found) = found else {
        return Ok(called.then_some("the restore guard next to a queue is missing"));
    };
    if found.queue != queue {
        return Ok(match (found.has_history(), is_new) {
            (true, true) => {
                Some("the database is gone, and the restore guard of the one that was here is not")
            }
            (true, false) => Some("the restore guard next to it belongs to another queue"),
            (false, _) => called.then_some("the restore guard next to it belongs to another queue"),
        });
    }
    if let Some((seq, number)) = found.call {
        let made: bool = sqlx::query_scalar(CALL).bind(seq).bind(number).fetch_one(&mut *connection).await?;
        if !made {
            return Ok(Some("it does not know the last call that was made from this queue"));
        }
    }
    let seq: i64 = sqlx::query_scalar(LATEST).fetch_one(&mut *connection).await?;
    if seq < found.seq {
        return Ok(Some("it does not know the last things that happened to this queue"));
    }
    // Each run gives the file a version, which SQLite's copies keep and a dump lacks.
    let version: i32 = sqlx::query_scalar("PRAGMA user_version").fetch_one(connection).await?;
    Ok((version == 0 && found.has_history())
        .then_some("its file was written anew, as SQLite's .dump does, and may lack what was sent"))
}

/// Holds the queue: nothing is sent until a person releases it. Returns false if it was held before.
pub(in crate::store) async fn hold(
    connection: &mut SqliteConnection,
    why: &str,
    now: Timestamp,
) -> Result<bool> {
    const HOLD: &str =
        "UPDATE daemon SET restored_at = ?1, restored_why = ?2 WHERE id = 1 AND restored_at IS NULL";
    const EVENT: &str = "INSERT INTO events (at, kind, detail) VALUES (?1, 'daemon.restored', ?2)";
    let at = time_text(now);
    let is_first = sqlx::query(HOLD).bind(&at).bind(why).execute(&mut *connection).await?.rows_affected() > 0;
    if is_first {
        sqlx::query(EVENT).bind(&at).bind(why).execute(connection).await?;
    }
    Ok(is_first)
}

fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".mark");
    PathBuf::from(name)
}
