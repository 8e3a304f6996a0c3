//! The mark beside the database: how a copy that was restored from a backup is recognised (P2, P4).
//!
//! A backup that is put back would send last week's queue again: in it those messages are still waiting. So what the
//! database says is held against a small file beside it, which a copy of the database does not bring along or which is
//! newer than the copy: it names the queue, the last call that was made, and how far its events had come. It is written
//! after each commit that begins calls and once in a while, in place and without a flush: a mark that lags behind after
//! a power cut is older than the database, and that is no sign of a restored one.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::StoreError;
use super::rows::Result;
use super::sqlite::MODE;
use crate::domain::time_text;

/// The length of the file; what is shorter is filled up with spaces, so that writing it never needs room on the disk.
const BYTES: usize = 512;

/// What a mark says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Noted {
    /// The queue that it belongs to.
    queue: String,
    /// The last call that was begun: arrival and number of its attempt.
    call: Option<(i64, i64)>,
    /// The newest event that was seen.
    seq: i64,
    /// When a daemon last had the queue open.
    alive_at: Option<Timestamp>,
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
        })
    }

    fn line(&self) -> String {
        let call = self.call.map(|(arrival, number)| [arrival, number]);
        let line = json!({
            "queue": self.queue, "call": call, "seq": self.seq, "alive_at": self.alive_at.map(time_text),
        });
        format!("{:<width$}\n", line.to_string(), width = BYTES - 1)
    }
}

/// The open mark of a queue.
pub(super) struct Mark {
    file: File,
    noted: Mutex<Noted>,
    /// When a daemon last had the queue open, as it was found.
    found_alive_at: Option<Timestamp>,
}

impl Mark {
    /// Opens the mark of `database`, makes it if the queue is new, and holds the queue if the two do not fit.
    ///
    /// # Errors
    /// When the file cannot be made or SQLite refuses.
    pub(super) async fn open(
        database: &Path,
        connection: &mut SqliteConnection,
        now: Timestamp,
    ) -> Result<Self> {
        let path = path(database);
        let failed = |source| StoreError::File { path: path.clone(), source };
        let options =
            File::options().read(true).write(true).create(true).truncate(false).mode(MODE).open(&path);
        let file = options.map_err(failed)?;
        let found = read(&file).map_err(failed)?;
        let queue = queue_id(connection).await?;
        let found_alive_at = found.as_ref().and_then(|found| found.alive_at);
        let why = why_restored(connection, found.as_ref(), &queue).await?;
        let mark = Self { file, noted: Mutex::new(found.unwrap_or_default()), found_alive_at };
        match why {
            // The mark stays as it is: it is the newer of the two.
            Some(why) => hold(connection, why, now).await?,
            None => mark.change(|noted| noted.queue = queue),
        }
        Ok(mark)
    }

    /// When a daemon last had the queue open; `None` if nobody knows.
    pub(super) fn last_alive_at(&self) -> Option<Timestamp> {
        self.found_alive_at
    }

    /// A call was begun.
    pub(super) fn note_call(&self, arrival: i64, number: u32) {
        self.change(|noted| noted.call = Some((arrival, i64::from(number))));
    }

    /// The daemon lives, and this is the newest event.
    pub(super) fn note_alive(&self, seq: i64, now: Timestamp) {
        self.change(|noted| (noted.seq, noted.alive_at) = (noted.seq.max(seq), Some(now)));
    }

    /// A person has let a restored queue go: from now on the mark is its own, under its new name.
    pub(super) fn accept(&self, queue: String, now: Timestamp) {
        self.change(|noted| *noted = Noted { queue, call: None, seq: 0, alive_at: Some(now) });
    }

    fn change(&self, change: impl FnOnce(&mut Noted)) {
        let mut noted = self.noted.lock().expect("nothing panics while holding it");
        change(&mut noted);
        if let Err(error) = self.file.write_all_at(noted.line().as_bytes(), 0) {
            tracing::warn!(%error, "the mark beside the database cannot be written; a restored copy may not be recognised");
        }
    }
}

/// What the file says; `None` if it is new or says nothing that can be read.
fn read(file: &File) -> std::io::Result<Option<Noted>> {
    let mut bytes = [0; BYTES];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(std::str::from_utf8(&bytes).ok().and_then(Noted::parse)),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// The queue's own name, which copies of it share.
async fn queue_id(connection: &mut SqliteConnection) -> Result<String> {
    const NAME: &str =
        "UPDATE daemon SET queue_id = lower(hex(randomblob(16))) WHERE id = 1 AND queue_id IS NULL";
    sqlx::query(NAME).execute(&mut *connection).await?;
    Ok(sqlx::query_scalar("SELECT queue_id FROM daemon WHERE id = 1").fetch_one(connection).await?)
}

/// Why the database is taken for a restored copy, if it is. One that never called anybody can do no harm.
async fn why_restored(
    connection: &mut SqliteConnection,
    found: Option<&Noted>,
    queue: &str,
) -> Result<Option<&'static str>> {
    const CALLED: &str = "SELECT EXISTS (SELECT 1 FROM attempts)";
    const LATEST: &str = "SELECT coalesce(max(seq), 0) FROM events";
    const CALL: &str = "SELECT EXISTS (SELECT 1 FROM attempts WHERE arrival = ?1 AND number = ?2)";
    let called: bool = sqlx::query_scalar(CALLED).fetch_one(&mut *connection).await?;
    let Some(found) = found else {
        return Ok(called.then_some("the mark that stands beside a queue is missing"));
    };
    if found.queue != queue {
        return Ok(called.then_some("the mark beside it belongs to another queue"));
    }
    if let Some((arrival, number)) = found.call {
        let made: bool =
            sqlx::query_scalar(CALL).bind(arrival).bind(number).fetch_one(&mut *connection).await?;
        if !made {
            return Ok(Some("it does not know the last call that was made from this queue"));
        }
    }
    let seq: i64 = sqlx::query_scalar(LATEST).fetch_one(connection).await?;
    Ok((seq < found.seq).then_some("it does not know the last things that happened to this queue"))
}

/// Nothing is sent until a person says so.
pub(super) async fn hold(connection: &mut SqliteConnection, why: &str, now: Timestamp) -> Result<()> {
    const HOLD: &str =
        "UPDATE daemon SET restored_at = ?1, restored_why = ?2 WHERE id = 1 AND restored_at IS NULL";
    const EVENT: &str = "INSERT INTO events (at, kind, detail) VALUES (?1, 'daemon.restored', ?2)";
    let at = time_text(now);
    if sqlx::query(HOLD).bind(&at).bind(why).execute(&mut *connection).await?.rows_affected() > 0 {
        sqlx::query(EVENT).bind(&at).bind(why).execute(connection).await?;
    }
    Ok(())
}

fn path(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".mark");
    PathBuf::from(name)
}
