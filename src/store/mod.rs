//! The queue on disk. Each method of [`Store`] that writes is one domain transition and one transaction; the engine
//! and the API call these methods and never see SQL. No transaction is open during a network call. An acknowledged
//! transition is on disk: `synchronous = FULL` (P1).
//!
//! | folder | contents | may name |
//! | --- | --- | --- |
//! | `transitions/` | what changes the queue: enqueue, admit, attempt, settle, reconcile, stop, edit, ... | `sqlite` |
//! | `views/` | what people and the engine read | `transitions`, `sqlite` |
//! | `administration/` | runs, backups, pruning, audit, and what watches for rows of other programs | all but `writer` |
//! | `writer/` | the one task that owns the writing connection and commits transitions in groups | `transitions`, `sqlite` |
//! | `sqlite/` | the file and its locks, the reading connections, columns and errors | none |
//!
//! This file opens and closes the queue, and names what the rest of the crate uses.

mod administration;
mod sqlite;
mod transitions;
mod views;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::query::Query;
use sqlx::sqlite::{Sqlite, SqliteArguments};
use sqlx::{SqliteConnection, SqlitePool};

use crate::metrics::Metrics;
use crate::tasks::Tasks;
use crate::traces::Traces;
use administration::runs;
use sqlite::rows::Result;
use sqlite::{files, filesystem, holder, lock, place, restore_guard};
use transitions::erased;

pub use administration::audit::{Audited, Breach, CallBreach};
pub use administration::backup::{Backup, BackupError};
pub use administration::clock_step::{ClockReading, ClockStep};
pub use administration::inspect::sqlite_version;
pub use administration::prune::PrunedPage;
pub use administration::runs::{ReconcileAt, Recovered, RecoveredAttempt, StartedAfter};
pub use administration::watch::{EndedStops, ExternalCommands, ExternalInserts};
pub use sqlite::error::StoreError;
pub use sqlite::lock::LockHeld;
pub use transitions::account_limits::IntentLimits;
pub use transitions::admission::{Admission, AdmittedMessage};
pub use transitions::attempts::{Begun, Intent, Settlement};
pub use transitions::batch::{Clash, EnqueueMode, Enqueued};
pub use transitions::commands::Commanded;
pub use transitions::heard::{Consequences, ToHear};
pub use transitions::inserted::Inserted;
pub use transitions::pause::{PauseRequest, Paused, Resumed, Scope};
pub use transitions::reconcile::UnresolvedAttempt;
pub use transitions::rejected::Rejected;
pub use transitions::repeats::Repeat;
pub use transitions::review::{AttemptView, Decision, Reviewed};
pub use transitions::steps::BegunWait;
pub use transitions::stop_rows::{ChangedStop, Stop};
pub use transitions::stops::{Lifted, Stopped};
pub use transitions::webhook_endpoints::StoredEndpoint;
pub use transitions::webhooks::{NewWebhook, Webhook};
pub use views::accounts::{
    AccountCursor, AccountFilter, AccountOrder, AccountPage, AccountView, Attention, Counts,
};
pub use views::campaigns::{Campaign, StepCounts};
pub use views::candidates::{Ask, Asker, Candidate, Candidates};
pub use views::message_page::MessageFilter;
pub use views::messages::{MessageView, Page};
pub use views::queue::QueuedMessage;
pub use views::totals::{Producer, Totals};

#[doc(hidden)]
pub use administration::plans;
#[doc(hidden)]
pub use sqlite::failpoints::{AtFailpoint, Failpoint};

pub(crate) use administration::audit::PastSend;
pub(crate) use administration::backup::backup_name;
pub(crate) use administration::inspect::Inspection;
pub(crate) use transitions::chat_reads::{ChatRead, ChatToPoll, OtherChats};
pub(crate) use transitions::defer::InmailHold;
pub(crate) use transitions::existing::StepContents;
pub(crate) use transitions::external_insert::{ExternalInsert, insert_from_outside};
pub(crate) use transitions::heard::HEARD_AT_ONCE;
pub(crate) use transitions::hooks::{DeadLetter, Hook};
pub(crate) use transitions::message_commands::InsertedCommand;
pub(crate) use transitions::reconcile::{ReconciledAs, Reconciliation};
pub(crate) use transitions::resolving::{Deferral, ForProfiles};
pub(crate) use transitions::review::{EvidenceView, Which};
pub(crate) use views::events::{EVENT_PAGE, EventRange, EventTail};
pub(crate) use views::gauges::Gauges;
pub(crate) use views::people::{InboundMessage, PersonOnAccount};
pub(crate) use views::stops::StopFilter;
pub(crate) use views::totals::{DownAccount, Resting};

/// A statement with its values.
type Statement = Query<'static, Sqlite, SqliteArguments>;

/// Location of the queue and options for opening it.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The database file; created if it is missing.
    pub path: PathBuf,
    /// Number of reading connections, at least 1.
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
    /// One connection for what the engine reads before each call: a long list must not delay it.
    engine_reader: SqlitePool,
    writer: writer::Writer,
    run: i64,
    mark: Arc<restore_guard::RestoreGuard>,
    tasks: Tasks,
    metrics: Arc<Metrics>,
    traces: Traces,
    files: files::Files,
    is_new: bool,
    /// Whether the file is a copy of the one that the last run had here.
    is_copy: bool,
    /// Whether any person was erased.
    any_erased: AtomicBool,
    /// Whether the messages of other accounts count as repeated.
    repeats_by_person: AtomicBool,
    /// Held until the last clone is dropped: no second daemon on this database. Closed after SQLite's descriptors.
    lock: lock::Lock,
}

impl Store {
    /// Opens the queue, migrates it to this version's schema and begins a run.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another daemon has it open; [`StoreError::NotOurs`] and similar if something else is
    /// at the path; [`StoreError::StaleLog`] if a file was restored next to the log of another one;
    /// [`StoreError::Pragma`] if the file system does not let SQLite keep the settings that the promises need;
    /// otherwise SQLite's error.
    pub async fn open(options: &StoreOptions, now: Timestamp) -> Result<Self> {
        let path = place::resolve(&options.path)?;
        Self::open_at(path.clone(), options, now).await.map_err(|error| error.when_opening(&path))
    }

    async fn open_at(path: PathBuf, options: &StoreOptions, now: Timestamp) -> Result<Self> {
        // Checked before any file is created next to it: a file of another program stays unchanged.
        place::look(&path)?;
        sqlite::make(&path)?;
        let is_local = filesystem::keeps_locks_apart(&path);
        let lock = lock::Lock::take(&path, is_local)?;
        let content = place::content(lock.database(), &path)?;
        let is_new = content == place::Content::Empty;
        let mark = Arc::new(restore_guard::RestoreGuard::open(&path)?);
        mark.check_log(&path, content)?;
        if content.is_bare() {
            sqlite::stamp(&path).await?;
        }
        let mut connection = sqlite::open_writer(&path).await?;
        let is_copy = mark.check(&mut connection, content, now).await?;
        mark.draw_version(&mut connection).await?;
        let run = runs::begin(&mut connection, now).await?;
        sqlite::disable_busy_timeout(&mut connection, &path).await?;
        let opened = lock.database().metadata();
        let opened = opened.map_err(|source| StoreError::File { path: path.clone(), source })?;
        let files = files::Files::new(&options.path, &path, &opened, is_local);
        let readers = sqlite::open_readers(&path, options.readers).await?;
        let any_erased = AtomicBool::new(erased::Salt::of(&readers).await?.is_some());
        let (tasks, metrics) = (Tasks::default(), Arc::<Metrics>::default());
        let engine_reader = sqlite::open_readers(&path, 1).await?;
        let beside = sqlite::open_checkpointer(&path).await?;
        let database = path.clone();
        let parts = writer::WriterParts {
            connection,
            beside,
            run,
            mark: Arc::clone(&mark),
            database,
            metrics: Arc::clone(&metrics),
        };
        let writer = writer::Writer::start(parts, &tasks).await?;
        let inner = Inner {
            path,
            readers,
            engine_reader,
            writer,
            run,
            mark,
            tasks,
            metrics,
            traces: Traces::default(),
            files,
            is_new,
            is_copy,
            any_erased,
            repeats_by_person: AtomicBool::new(false),
            lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the tasks that the queue needs to run.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    /// Returns the metrics of this daemon.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Returns what records the traces of messages.
    pub(crate) fn traces(&self) -> &Traces {
        &self.inner.traces
    }

    /// Returns the path of the database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Returns warnings for the operator about the queue's place.
    pub(crate) fn place_warnings(&self) -> Vec<String> {
        filesystem::warnings(&self.inner.path)
    }

    /// Returns whether a queue exists at `path`.
    ///
    /// # Errors
    /// Returns the error that [`Store::open`] would return for what is there.
    pub(crate) fn exists(path: &Path) -> Result<bool> {
        let content = place::look(&place::resolve(path)?)?;
        Ok(content.is_some_and(|content| content != place::Content::Empty))
    }

    /// Returns whether this call of `open` created the queue.
    pub(crate) fn is_new(&self) -> bool {
        self.inner.is_new
    }

    /// Returns since when another program's transaction has blocked the writer, if one does.
    pub fn blocked_since(&self) -> Option<Timestamp> {
        self.inner.writer.blocked_since()
    }

    /// Returns the program that blocks the writer, such as `process 4242 (python3)`; `None` if there is none or it is
    /// unknown.
    pub(crate) fn blocked_by(&self) -> Option<String> {
        self.blocked_since().and_then(|_| holder::holder(&self.inner.path))
    }

    /// Installs failpoints: `at_point` is called before and after each write, so that a test can stop a run there.
    #[doc(hidden)]
    pub fn set_points(&self, at_point: AtFailpoint) {
        self.inner.writer.failpoints.set(at_point);
    }

    /// Runs the closure in a transaction of its own, which is committed if it returns `Ok`.
    async fn exclusive<A, F>(&self, now: Timestamp, verb: F) -> Result<A>
    where
        A: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<A>> + Send + 'static,
    {
        self.inner.writer.exclusive(now, verb).await
    }

    /// Runs one statement in a transaction of its own. Returns how many rows it changed.
    async fn execute(&self, now: Timestamp, statement: Statement) -> Result<u64> {
        self.exclusive(now, move |connection| {
            Box::pin(async move { Ok(statement.execute(connection).await?.rows_affected()) })
        })
        .await
    }

    /// Makes a round trip through the writer: a healthy queue answers within milliseconds, and a locked one is
    /// reported within a second.
    pub async fn ping(&self, now: Timestamp) -> Result<()> {
        self.inner.writer.ping(now, false).await
    }

    /// Like [`Store::ping`], but writes a row, so that it fails on a full disk.
    pub(crate) async fn test_write(&self, now: Timestamp) -> Result<()> {
        self.inner.writer.ping(now, true).await
    }

    /// Records in the restore guard that the daemon is running, and the newest event. Call it at least every few
    /// minutes.
    pub async fn note_alive(&self, now: Timestamp) -> Result<()> {
        const SQL: &str = "SELECT (SELECT coalesce(max(seq), 0) FROM events), restored_at IS NOT NULL FROM daemon WHERE id = 1";
        let (seq, restored): (i64, bool) = sqlx::query_as(SQL).fetch_one(&self.inner.readers).await?;
        if !restored {
            self.inner.mark.note_alive(seq, now);
        }
        Ok(())
    }

    /// Ends the run: nothing is written afterwards. What was acknowledged is already on disk.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; the queue is intact all the same.
    pub async fn close(&self, now: Timestamp) -> Result<()> {
        self.end_run(now).await?;
        self.note_alive(now).await?;
        self.inner.tasks.may_end();
        // The writer stops last: it checkpoints the write-ahead log, so that a clean stop leaves one complete file.
        self.inner.engine_reader.close().await;
        self.inner.readers.close().await;
        self.inner.writer.stop().await;
        Ok(())
    }
}
