//! The one writer: a task that owns the only writing connection. Requests that arrive during a commit form the next
//! transaction (group commit): a hundred callers pay for one flush of the disk. Enqueueing, intents, settling, webhooks
//! and admissions of a transaction are one statement each, however many there are, because the cost is the call to
//! SQLite's thread, not the row. A transaction holds about [`ROWS_PER_COMMIT`] rows, and a busy writer yields the
//! lock now and then ([`YIELD_LOCK_FOR`]) for other programs. If a group fails, its members are retried one by one.

mod awake;
pub(super) mod checkpoint;
mod group;
mod ping;
pub(super) mod write_lock;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use self::checkpoint::Checkpointer;
use self::group::{Answers, Group, Ticket, statements};
use self::write_lock::WriteLock;
use super::sqlite::failpoints::{Failpoint, Failpoints};
use super::sqlite::restore_guard::RestoreGuard;
use super::sqlite::rows::Result;
use super::transitions::admission::Admission;
use super::transitions::attempts::{Begun, Intent, Settlement};
use super::transitions::batch::{EnqueueBatch, Enqueued};
use super::transitions::calls;
use super::transitions::enqueue::KnownAccounts;
use super::transitions::webhooks::ReceivedWebhook;
use super::{StoreError, sqlite};
use crate::clock::{Clock, SystemClock};
use crate::metrics::{Metrics, table::COMMIT_DURATION};
use crate::tasks::Tasks;

/// Requests that may wait for the writer; beyond that, callers wait for room.
const QUEUE: usize = 4096;

/// Rows with which a transaction is full: about 50 ms of work. A single request may have more (`intake/`).
const ROWS_PER_COMMIT: usize = 2000;

/// A transaction of more rows writes more pages than SQLite keeps by default, and gets a larger cache.
const FEW_ROWS: usize = 200;

/// Time for which the writer leaves the lock free. SQLite's busy handler tries every 100 ms and would never meet the
/// instant between two commits.
const YIELD_LOCK_FOR: Duration = Duration::from_millis(120);

/// Three times within the 5 s of the usual busy timeout.
const YIELD_LOCK_EVERY: Duration = Duration::from_millis(1500);

/// Yields only if this share of the time was spent writing: below it, others meet a free moment soon enough.
const WRITE_SATURATION: f64 = 0.9;

/// How often an idle writer checks whether a lock reported as blocked is free again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);

/// A request that has a transaction of its own.
pub(super) type Exclusive = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, ()> + Send>;

pub(super) enum Verb {
    Enqueue(Ticket<EnqueueBatch, Vec<Enqueued>>),
    Admit(Ticket<Vec<Admission>, usize>),
    Begin(Ticket<Intent, Begun>),
    Settle(Box<Ticket<Settlement, bool>>),
    Keep(Box<Ticket<ReceivedWebhook, bool>>),
    Exclusive(Exclusive),
}

/// Handle of the writer task.
pub(super) struct Writer {
    verbs: Mutex<Option<mpsc::Sender<Verb>>>,
    handles: Mutex<Vec<JoinHandle<()>>>,
    pub(in crate::store) lock: Arc<WriteLock>,
    activity: Arc<AtomicU64>,
    committed: watch::Sender<()>,
    /// When a message was stored last, by the monotonic clock.
    pub(super) stored_at: Arc<Mutex<Option<Duration>>>,
    pub(super) clock: SystemClock,
    pub(super) failpoints: Failpoints,
}

/// What the writer is built from.
pub(super) struct WriterParts {
    pub(super) connection: SqliteConnection,
    /// The connection of the checkpointer.
    pub(super) beside: SqliteConnection,
    pub(super) run: i64,
    pub(super) mark: Arc<RestoreGuard>,
    pub(super) database: PathBuf,
    pub(super) metrics: Arc<Metrics>,
}

impl Writer {
    /// Starts the writer and the checkpointer.
    pub(super) async fn start(parts: WriterParts, tasks: &Tasks) -> Result<Self> {
        let WriterParts { mut connection, beside, run, mark, database, metrics } = parts;
        let clock = SystemClock::new();
        let known = KnownAccounts::load(&mut connection).await?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (activity, stored_at) = (Arc::new(AtomicU64::new(0)), Arc::default());
        let committed = watch::Sender::new(());
        let (checkpoint_due, due) = mpsc::channel(1);
        let log = sqlite::wal_path(&database);
        let lock = Arc::new(WriteLock::new(database, clock));
        let checkpointer = Checkpointer { connection: beside, log, activity: Arc::clone(&activity), clock };
        let work = Work {
            connection,
            run,
            mark,
            known,
            clock,
            lock: Arc::clone(&lock),
            activity: Arc::clone(&activity),
            committed: committed.clone(),
            stored_at: Arc::clone(&stored_at),
            checkpoint_due,
            metrics,
            may_stay_awake: awake::is_possible(),
            has_large_cache: false,
        };
        let handles = vec![
            tasks.spawn("writer", work.serve(receiver)),
            tasks.spawn("checkpointer", checkpointer.serve(due)),
        ];
        let failpoints = Failpoints::default();
        let verbs = Mutex::new(Some(sender));
        let handles = Mutex::new(handles);
        Ok(Self { verbs, handles, lock, activity, committed, stored_at, clock, failpoints })
    }

    pub(super) fn blocked_since(&self) -> Option<Timestamp> {
        self.lock.blocked_since()
    }

    /// Returns a number that grows whenever one of our transactions begins or ends: odd while one is open.
    pub(super) fn activity(&self) -> u64 {
        self.activity.load(Ordering::Relaxed)
    }

    /// Returns a receiver that is notified after each commit.
    pub(super) fn commits(&self) -> watch::Receiver<()> {
        self.committed.subscribe()
    }

    /// Lets the writer finish its pending requests, then ends it.
    pub(super) async fn stop(&self) {
        drop(self.verbs.lock().expect("nothing panics while holding it").take());
        let handles = std::mem::take(&mut *self.handles.lock().expect("nothing panics while holding it"));
        for handle in handles {
            let _a_panic_was_reported_already = handle.await;
        }
    }

    async fn ask<Q, A>(&self, ask: Q, verb: impl FnOnce(Ticket<Q, A>) -> Verb) -> Result<A> {
        let (reply, answer) = oneshot::channel();
        self.send(verb(Ticket { ask, asked_at: self.clock.monotonic(), reply })).await?;
        self.answered(answer).await
    }

    pub(super) async fn answered<A>(&self, answer: oneshot::Receiver<Result<A>>) -> Result<A> {
        let answer = answer.await.map_err(|_| StoreError::Closed)?;
        self.failpoints.pass(Failpoint::Written).await;
        answer
    }

    pub(super) async fn send(&self, verb: Verb) -> Result<()> {
        self.failpoints.pass(Failpoint::Asked).await;
        let verbs = self.verbs.lock().expect("nothing panics while holding it").clone();
        verbs.ok_or(StoreError::Closed)?.send(verb).await.map_err(|_| StoreError::Closed)
    }

    pub(super) async fn enqueue(&self, batch: EnqueueBatch) -> Result<Vec<Enqueued>> {
        self.ask(batch, Verb::Enqueue).await
    }

    pub(super) async fn admit(&self, admissions: Vec<Admission>) -> Result<usize> {
        self.ask(admissions, Verb::Admit).await
    }

    pub(super) async fn begin(&self, intent: Intent) -> Result<Begun> {
        self.ask(intent, Verb::Begin).await
    }

    pub(super) async fn settle(&self, settlement: Settlement) -> Result<bool> {
        self.ask(settlement, |ticket| Verb::Settle(Box::new(ticket))).await
    }

    pub(super) async fn keep(&self, webhook: ReceivedWebhook) -> Result<bool> {
        self.ask(webhook, |ticket| Verb::Keep(Box::new(ticket))).await
    }

    /// Runs the closure in a transaction of its own, which is committed if it returns `Ok`.
    pub(super) async fn exclusive<A, F>(&self, now: Timestamp, verb: F) -> Result<A>
    where
        A: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<A>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let lock = Arc::clone(&self.lock);
        let exclusive: Exclusive = Box::new(move |connection| {
            Box::pin(async move {
                let _the_caller_may_have_left = reply.send(lock.transaction(connection, now, verb).await);
            })
        });
        self.send(Verb::Exclusive(exclusive)).await?;
        self.answered(answer).await
    }
}

/// The task's own state.
struct Work {
    connection: SqliteConnection,
    run: i64,
    mark: Arc<RestoreGuard>,
    known: KnownAccounts,
    clock: SystemClock,
    lock: Arc<WriteLock>,
    activity: Arc<AtomicU64>,
    committed: watch::Sender<()>,
    stored_at: Arc<Mutex<Option<Duration>>>,
    checkpoint_due: mpsc::Sender<()>,
    metrics: Arc<Metrics>,
    may_stay_awake: bool,
    has_large_cache: bool,
}

impl Work {
    async fn serve(mut self, mut receiver: mpsc::Receiver<Verb>) {
        let clock = self.clock;
        let (mut window, mut written) = (clock.monotonic(), Duration::ZERO);
        let mut waiting = Vec::with_capacity(512);
        let mut unmoved = 0_u32;
        while self.next(&mut receiver, &mut waiting).await > 0 {
            let began = clock.monotonic();
            if began - window >= YIELD_LOCK_EVERY {
                if written >= (began - window).mul_f64(WRITE_SATURATION) {
                    clock.sleep(YIELD_LOCK_FOR).await;
                }
                (window, written) = (clock.monotonic(), Duration::ZERO);
            }
            let (began, waited) = (clock.monotonic(), self.lock.waited());
            self.activity.fetch_add(1, Ordering::Relaxed);
            let mut group = Group::default();
            for verb in waiting.drain(..) {
                match verb {
                    Verb::Enqueue(ticket) if ticket.ask.is_alone() => {
                        self.commit(std::mem::take(&mut group)).await;
                        self.commit(Group { enqueues: vec![ticket], ..Group::default() }).await;
                    }
                    Verb::Enqueue(ticket) => group.enqueues.push(ticket),
                    Verb::Admit(ticket) => group.admissions.push(ticket),
                    Verb::Begin(ticket) => group.begins.push(ticket),
                    Verb::Settle(ticket) => group.settlements.push(*ticket),
                    Verb::Keep(ticket) => group.webhooks.push(*ticket),
                    Verb::Exclusive(exclusive) => {
                        self.commit(std::mem::take(&mut group)).await;
                        exclusive(&mut self.connection).await;
                    }
                }
                if group.rows() >= ROWS_PER_COMMIT {
                    self.commit(std::mem::take(&mut group)).await;
                }
            }
            self.commit(group).await;
            // Time spent waiting for the lock does not count: it blocks no other program.
            written += (clock.monotonic() - began).saturating_sub(self.lock.waited() - waited);
            self.activity.fetch_add(1, Ordering::Relaxed);
            self.committed.send_replace(());
            unmoved = unmoved.saturating_add(1);
            if unmoved >= checkpoint::COMMITS && self.checkpoint_due.try_send(()).is_ok() {
                unmoved = 0;
            }
        }
        use sqlx::Connection as _;
        let _nothing_left_to_write = self.connection.close().await;
    }

    /// Returns the number of requests received, once there are any. While idle, checks whether a lock reported as
    /// blocked is free again.
    async fn next(&mut self, receiver: &mut mpsc::Receiver<Verb>, waiting: &mut Vec<Verb>) -> usize {
        while self.lock.blocked_since().is_some() {
            tokio::select! {
                biased;
                count = receiver.recv_many(waiting, 512) => return count,
                () = self.clock.sleep(BETWEEN_LOOKS) => self.lock.look(&mut self.connection).await,
            }
        }
        receiver.recv_many(waiting, 512).await
    }

    async fn commit(&mut self, group: Group) {
        if group.len() == 0 {
            return;
        }
        let clock = self.clock;
        let awake_for =
            if self.may_stay_awake && group.is_one_message() { awake::AWAKE } else { Duration::ZERO };
        let began = clock.monotonic();
        let until = began + awake_for;
        let written = awake::awake(self.write(&group), || clock.monotonic() < until).await;
        self.metrics.observe(&COMMIT_DURATION, clock.monotonic() - began);
        match written {
            Ok(answers) => {
                if answers.have_stored() {
                    *self.stored_at.lock().expect("nothing panics while holding it") =
                        Some(clock.monotonic());
                }
                self.note_calls(&group, &answers);
                group.answer(answers);
            }
            // Callers may retry and wait longer; a refused request loses nothing.
            Err(StoreError::Busy) => {
                for one in group.alone() {
                    one.refuse(StoreError::Busy);
                }
            }
            Err(error) if group.len() == 1 => group.refuse(error),
            Err(error) => {
                tracing::debug!(%error, members = group.len(), "a group commit failed; trying each member alone");
                for one in group.alone() {
                    match self.write(&one).await {
                        Ok(answers) => {
                            self.note_calls(&one, &answers);
                            one.answer(answers);
                        }
                        Err(error) => one.refuse(error),
                    }
                }
            }
        }
    }

    /// Writes at once if the lock is free, otherwise once the writer has it.
    async fn write(&mut self, group: &Group) -> Result<Answers> {
        let is_large = group.rows() > FEW_ROWS;
        if is_large != self.has_large_cache {
            sqlite::size_cache(&mut self.connection, is_large).await?;
            self.has_large_cache = is_large;
        }
        match self.write_in_one_call(group).await {
            Some(Err(StoreError::Busy)) | None => {}
            Some(result) => {
                self.lock.had();
                return result;
            }
        }
        self.lock.begin(&mut self.connection, group.asked_at()).await?;
        let Self { connection, run, known, clock, .. } = self;
        let result = match statements(connection, *run, known, *clock, group).await {
            Ok(answers) => {
                sqlx::query("COMMIT").execute(&mut *connection).await.map(|_| answers).map_err(Into::into)
            }
            Err(error) => Err(error),
        };
        if result.is_err() {
            known.forget_new();
            let _already_rolled_back = sqlx::query("ROLLBACK").execute(&mut *connection).await;
        } else {
            known.keep_new();
        }
        result
    }

    /// If one call to SQLite's thread suffices, it takes the lock as well, or fails at once.
    async fn write_in_one_call(&mut self, group: &Group) -> Option<Result<Answers>> {
        let Self { connection, run, known, clock, .. } = self;
        let (run, clock) = (*run, *clock);
        if group.is_one_statement(known) {
            return Some(statements(connection, run, known, clock, group).await);
        }
        if !group.is_one_call() {
            return None;
        }
        let begins = group.dated_begins(clock.monotonic());
        let written = calls::write(connection, run, &group.settlements(), &begins).await;
        if written.is_err() {
            let _already_rolled_back = sqlx::query("ROLLBACK").execute(&mut *connection).await;
        }
        Some(written.map(Answers::of_calls))
    }

    /// Records calls in the restore guard before the callers are answered: no call may be made that the guard does
    /// not know.
    fn note_calls(&self, group: &Group, answers: &Answers) {
        let mut begun = group.begins.iter().zip(&answers.begins);
        if let Some((ticket, _)) = begun.rfind(|(_, begun)| **begun == Begun::Granted) {
            self.mark.note_call(ticket.ask.seq.0, ticket.ask.number);
        }
    }
}
