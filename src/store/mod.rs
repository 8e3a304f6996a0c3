//! The queue on disk: every verb is one domain transition and one transaction.
//!
//! The engine and the API call these verbs and never see SQL. Writes go through one writer task that owns the only
//! writing connection and commits what has gathered in one transaction (`writer.rs`); reads go to a small pool
//! beside it. No transaction is open while anybody waits for the network. An acknowledged verb is on disk:
//! `synchronous = FULL` (P1).
//!
//! The verbs stand in `messages.rs` and `insert.rs` (intake), `admission.rs` (rows of other programs), `attempts.rs`
//! (intent and settling), `evidence.rs` (reading back), `review.rs` (what a person decides), `accounts.rs` (pauses),
//! `rehearsal.rs` (what enqueueing would say), `turn.rs` and `ledger.rs` (what the engine reads before it decides), `views.rs`, `account_views.rs` and `totals.rs`
//! (what people read), `audit.rs` and `backup.rs`. `clock_step.rs` follows a wall clock that was set; `watch.rs` notices what other programs INSERT.

mod account_limits;
mod account_snapshot;
mod account_views;
mod accounts;
mod admission;
mod attempts;
mod audit;
mod awake;
mod backup;
mod blobs;
mod boot;
mod candidates;
mod checkpoint;
mod clock_step;
mod defer;
mod error;
mod external_insert;
mod failpoints;
mod files;
mod filesystem;
mod group;
mod holder;
mod insert;
mod ledger;
mod lock;
mod messages;
mod place;
mod queue_view;
mod reader;
mod reconcile;
mod rehearsal;
mod repeats;
mod restore_guard;
mod rests;
mod review;
mod rows;
mod rules;
mod runs;
mod sqlite;
mod totals;
mod views;
mod watch;
mod withdraw;
mod write_lock;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::SqlitePool;

use crate::tasks::Tasks;

pub use account_limits::IntentLimits;
pub use account_views::{
    AccountCursor, AccountFilter, AccountOrder, AccountPage, AccountView, Attention, Counts,
};
pub use accounts::{PauseRequest, Paused, Resumed, Scope};
pub use admission::{Admission, AdmittedMessage, Inserted};
pub use attempts::{Begun, Intent, Settlement};
pub use audit::{Audited, Breach, PastSend};
pub use backup::{Backup, BackupError};
pub use candidates::{Asker, Candidate, Candidates};
pub use checkpoint::WriteAheadLog;
pub use clock_step::{CLOCK_STEP, ClockReading, ClockStep};
pub use defer::InmailHold;
pub use error::StoreError;
pub use external_insert::{ExternalInsert, insert_from_outside};
#[doc(hidden)]
pub use failpoints::{AtFailpoint, Failpoint};
pub use ledger::SentSince;
pub use lock::LockHeld;
pub use messages::{EnqueueMode, Enqueued};
pub use queue_view::QueuedMessage;
pub use reconcile::{ReconciledAs, Reconciliation, UnresolvedAttempt};
pub use rests::AccountRest;
pub use review::{Decision, EvidenceView, Reviewed, Which};
pub use runs::{ReconcileAt, Recovered, RecoveredAttempt};
pub use totals::{Producer, Totals};
pub use views::{AttemptView, MessageFilter, MessageView, Page};
pub use watch::ExternalInserts;
pub use withdraw::Cancelled;

/// The statements that must stay fast however long the queue is, for the test that holds their query plans.
#[doc(hidden)]
pub mod plans {
    use super::{
        AccountFilter, MessageFilter, account_limits, account_views, admission, attempts, candidates, defer,
        insert, ledger, queue_view, repeats, totals, views, withdraw,
    };

    /// Name and text of each.
    pub fn hot_statements() -> Vec<(&'static str, String)> {
        let fixed = [
            ("begin_message", attempts::BEGIN_MESSAGE),
            ("begin_attempt", attempts::BEGIN_ATTEMPT),
            ("begin_account", attempts::BEGIN_ACCOUNT),
            ("return_retries", candidates::RETURN_RETRIES),
            ("repeats", repeats::REPEATS),
            ("begin_turn", account_limits::BEGIN_TURN),
            ("forget_turns", account_limits::FORGET_TURNS),
            ("settle_message", attempts::SETTLE_MESSAGE),
            ("settle_attempt", attempts::SETTLE_ATTEMPT),
            ("settle_account", attempts::SETTLE_ACCOUNT),
            ("insert_one", insert::INSERT_ONE),
            ("insert_many", insert::INSERT_MANY),
            ("inserted", admission::INSERTED),
            ("admit", admission::ADMIT),
            ("hold_inmails", defer::HOLD),
            ("release_inmails", defer::RELEASE),
            ("next_expiry", withdraw::NEXT_EXPIRY),
            ("expire", withdraw::EXPIRE),
            ("ledger", ledger::LEDGER),
        ];
        let fixed = fixed.into_iter().map(|(name, sql)| (name, sql.to_owned()));
        std::iter::once(("candidates", candidates::candidates_sql())).chain(fixed).collect()
    }

    /// The statement that finds the places of a page of messages, and the values that it is given from `?2` on.
    pub fn message_page(filter: &MessageFilter) -> (String, Vec<String>) {
        views::page_sql(filter, true)
    }

    /// The statement behind a page of accounts.
    pub fn account_page(filter: &AccountFilter) -> String {
        account_views::page_sql(filter)
    }

    /// What people ask of one account or of all, which must take the same time whatever else the queue holds.
    pub fn flat_statements() -> Vec<(&'static str, String)> {
        vec![
            ("account", account_views::view_sql(account_views::ONE)),
            ("totals", totals::totals_sql()),
            ("accounts_down", totals::DOWN.to_owned()),
            ("queued", queue_view::QUEUED.to_owned()),
        ]
    }
}

/// Where the queue lives and how it is opened.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The database file; made if it is missing.
    pub path: PathBuf,
    /// Connections that read, at least 1.
    pub readers: u32,
}

/// The queue. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    readers: SqlitePool,
    reader: reader::Reader,
    writer: writer::Writer,
    run: i64,
    mark: Arc<restore_guard::RestoreGuard>,
    tasks: Tasks,
    files: files::Files,
    is_new: bool,
    /// Held until the last clone is gone: no second daemon on this database. Closed after SQLite's descriptors.
    lock: lock::Lock,
}

impl Store {
    /// Opens the queue, brings it to this version's schema and begins a run.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another daemon has it, [`StoreError::NotOurs`] and its like when something else lies
    /// there, [`StoreError::StaleLog`] when a file was put back beside the log of another one, [`StoreError::Pragma`] when
    /// the file system does not let SQLite keep the settings that the promises rest on, and what SQLite says otherwise.
    pub async fn open(options: &StoreOptions, now: Timestamp) -> Result<Self, StoreError> {
        let path = place::resolve(&options.path)?;
        Self::open_at(path.clone(), options, now).await.map_err(|error| error.when_opening(&path))
    }

    async fn open_at(path: PathBuf, options: &StoreOptions, now: Timestamp) -> Result<Self, StoreError> {
        // Before anything is made beside it: what is not ours is left alone.
        place::look(&path)?;
        sqlite::make(&path)?;
        let is_local = filesystem::keeps_locks_apart(&path);
        let lock = lock::Lock::take(&path, is_local)?;
        let content = place::content(lock.database(), &path)?;
        let is_new = content == place::Content::Empty;
        let mark = Arc::new(restore_guard::RestoreGuard::open(&path)?);
        mark.check_log(&path, content)?;
        if is_new {
            sqlite::stamp(&path).await?;
        }
        let mut connection = sqlite::open_writer(&path).await?;
        mark.check(&mut connection, is_new, now).await?;
        mark.draw_version(&mut connection).await?;
        let run = runs::begin(&mut connection, now).await?;
        sqlite::disable_busy_timeout(&mut connection, &path).await?;
        let opened = lock.database().metadata();
        let opened = opened.map_err(|source| StoreError::File { path: path.clone(), source })?;
        let files = files::Files::new(&options.path, &path, &opened, is_local);
        let readers = sqlite::open_readers(&path, options.readers).await?;
        let tasks = Tasks::default();
        let reader = reader::Reader::start(sqlite::open_reader(&path).await?, &tasks);
        let beside = sqlite::open_checkpointer(&path).await?;
        let database = path.clone();
        let writer =
            writer::Writer::start(connection, beside, run, Arc::clone(&mark), database, &tasks).await?;
        let inner = Inner { path, readers, reader, writer, run, mark, tasks, files, is_new, lock };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The tasks that the queue cannot do without.
    pub fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What about the queue's place an operator should know.
    pub fn place_warnings(&self) -> Vec<String> {
        filesystem::warnings(&self.inner.path)
    }

    /// Whether there is a queue at `path` already.
    ///
    /// # Errors
    /// What keeps [`Store::open`] from using what is there.
    pub fn exists(path: &Path) -> Result<bool, StoreError> {
        let content = place::look(&place::resolve(path)?)?;
        Ok(content.is_some_and(|content| content != place::Content::Empty))
    }

    /// Whether there was no queue at this path before.
    pub fn is_new(&self) -> bool {
        self.inner.is_new
    }

    /// Since when another program's transaction keeps the writer from committing, if it does.
    pub fn blocked_since(&self) -> Option<Timestamp> {
        self.inner.writer.blocked_since()
    }

    /// Who keeps the writer from committing, such as `process 4242 (python3)`; `None` if nobody does or nobody knows.
    pub fn blocked_by(&self) -> Option<String> {
        self.blocked_since().and_then(|_| holder::holder(&self.inner.path))
    }

    /// From now on `at_point` is called before and after each verb that writes, so that a test can stop a run there.
    #[doc(hidden)]
    pub fn set_points(&self, at_point: AtFailpoint) {
        self.inner.writer.failpoints.set(at_point);
    }

    /// A round trip through the writer: a healthy queue answers within milliseconds, and one that is locked is told of
    /// within a second.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn ping(&self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.writer.ping(now, false).await
    }

    /// Writes a row: a queue on a full disk refuses. A round trip otherwise as [`Store::ping`].
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn test_write(&self, now: Timestamp) -> Result<(), StoreError> {
        self.inner.writer.ping(now, true).await
    }

    /// Notes beside the database that somebody has it open, and how far it has come: at least every few minutes.
    ///
    /// # Errors
    /// What SQLite says.
    pub async fn note_alive(&self, now: Timestamp) -> Result<(), StoreError> {
        const SQL: &str = "SELECT (SELECT coalesce(max(seq), 0) FROM events), restored_at IS NOT NULL FROM daemon WHERE id = 1";
        let (seq, restored): (i64, bool) = sqlx::query_as(SQL).fetch_one(&self.inner.readers).await?;
        if !restored {
            self.inner.mark.note_alive(seq, now);
        }
        Ok(())
    }

    /// Ends the run: nothing is written afterwards. What was acknowledged is on disk already.
    ///
    /// # Errors
    /// What SQLite says; the queue is whole all the same.
    pub async fn close(&self, now: Timestamp) -> Result<(), StoreError> {
        self.end_run(now).await?;
        self.note_alive(now).await?;
        self.inner.tasks.may_end();
        // The writer is the last to go: it moves the write-ahead log back, so that a clean stop leaves one whole file.
        self.inner.reader.stop().await;
        self.inner.readers.close().await;
        self.inner.writer.stop().await;
        Ok(())
    }
}
