//! The one writer: a task that owns the only writing connection.
//!
//! What has gathered in its channel while the last transaction was committing goes into the next one (group
//! commit): a hundred callers pay for one flush of the disk. Enqueueing, intents, settling and admissions of one
//! transaction are one statement each, however many there are, because the price is the call to SQLite's thread and
//! not the row. Every caller is answered after the commit. A transaction holds at most [`ROWS_PER_COMMIT`] rows, and
//! a writer that is never idle lets go of the lock for a moment now and then ([`BREATH`]), so that a producer with
//! SQLite's usual 5 s of patience never sees `database is locked`.
//!
//! When a group fails, each of its members is tried alone, so that a bad one cannot take others down.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::StoreError;
use super::admission::{self, Admission};
use super::attempts::{self, Begun, Intent, Settlement};
use super::awake;
use super::checkpoint::{self, Checkpointer};
use super::group::{Answers, Group, Ticket};
use super::mark::Mark;
use super::messages::{self, EnqueueBatch, Enqueued, KnownAccounts};
use super::patience::Patience;
use super::points::{Point, Points};
use super::rows::Result;
use crate::clock::{Clock, SystemClock};

/// Verbs that may wait for the writer; beyond that a caller waits for room.
const QUEUE: usize = 4096;

/// Most rows of one transaction: about 50 ms of work.
const ROWS_PER_COMMIT: usize = 2000;

/// Who waits for SQLite's lock does not queue for it but looks every 100 ms, and would never meet the instant
/// between two commits: so it is left free for longer than that,
const BREATH: Duration = Duration::from_millis(120);

/// three times within the 5 s of the usual busy timeout,
const BREATH_EVERY: Duration = Duration::from_millis(1500);

/// if this share of the time was spent writing: with less, they meet a free moment soon enough.
const SATURATED: f64 = 0.9;

/// A verb that has a transaction of its own.
pub(super) type Solo = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, bool> + Send>;

enum Verb {
    Enqueue(Ticket<EnqueueBatch, Vec<Enqueued>>),
    Admit(Ticket<Vec<Admission>, usize>),
    Begin(Ticket<Intent, Begun>),
    Settle(Box<Ticket<Settlement, bool>>),
    Solo(Timestamp, Solo),
}

/// The handle of the writer task.
pub(super) struct Writer {
    verbs: Mutex<Option<mpsc::Sender<Verb>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    blocked_since: Arc<AtomicI64>,
    activity: Arc<AtomicU64>,
    clock: SystemClock,
    pub(super) points: Points,
}

impl Writer {
    /// Starts the writer on `connection` and what moves its log on `beside`.
    pub(super) async fn start(
        mut connection: SqliteConnection,
        beside: SqliteConnection,
        run: i64,
        mark: Arc<Mark>,
        database: PathBuf,
    ) -> Result<Self> {
        let clock = SystemClock::new();
        let known = KnownAccounts::load(&mut connection).await?;
        let (sender, receiver) = mpsc::channel(QUEUE);
        let blocked_since = Arc::new(AtomicI64::new(0));
        let activity = Arc::new(AtomicU64::new(0));
        let (checkpoint_due, due) = mpsc::channel(1);
        let checkpointer = Checkpointer { connection: beside, activity: Arc::clone(&activity), clock };
        let work = Work {
            connection,
            run,
            mark,
            database,
            known,
            clock,
            blocked_since: Arc::clone(&blocked_since),
            activity: Arc::clone(&activity),
            checkpoint_due,
            may_stay_awake: awake::is_possible(),
        };
        let tracker = TaskTracker::new();
        let tasks = vec![tracker.spawn(work.serve(receiver)), tracker.spawn(checkpointer.serve(due))];
        let points = Points::default();
        Ok(Self {
            verbs: Mutex::new(Some(sender)),
            tasks: Mutex::new(tasks),
            blocked_since,
            activity,
            clock,
            points,
        })
    }

    pub(super) fn blocked_since(&self) -> Option<Timestamp> {
        match self.blocked_since.load(Ordering::Relaxed) {
            0 => None,
            since => Timestamp::from_millisecond(since).ok(),
        }
    }

    /// A number that grows whenever a transaction of ours begins or ends: odd while one is open.
    pub(super) fn activity(&self) -> u64 {
        self.activity.load(Ordering::Relaxed)
    }

    /// Lets the writer finish what it was given, then ends it.
    pub(super) async fn stop(&self) {
        drop(self.verbs.lock().expect("nothing panics while holding it").take());
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("nothing panics while holding it"));
        for task in tasks {
            let _a_panic_was_reported_already = task.await;
        }
    }

    async fn ask<Q, A>(&self, ask: Q, verb: impl FnOnce(Ticket<Q, A>) -> Verb) -> Result<A> {
        let (reply, answer) = oneshot::channel();
        self.send(verb(Ticket { ask, asked_at: self.clock.monotonic(), reply })).await?;
        self.answered(answer).await
    }

    async fn answered<A>(&self, answer: oneshot::Receiver<Result<A>>) -> Result<A> {
        let answer = answer.await.map_err(|_| StoreError::Closed)?;
        self.points.pass(Point::Written).await;
        answer
    }

    async fn send(&self, verb: Verb) -> Result<()> {
        self.points.pass(Point::Asked).await;
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

    /// Runs `verb` in a transaction of its own, which is committed if it answers `Ok`.
    pub(super) async fn solo<A, F>(&self, now: Timestamp, verb: F) -> Result<A>
    where
        A: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<A>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let clock = self.clock;
        let solo: Solo = Box::new(move |connection| {
            Box::pin(async move {
                let result = transaction(connection, clock, verb).await;
                let busy = matches!(result, Err(StoreError::Busy));
                let _the_caller_may_have_left = reply.send(result);
                busy
            })
        });
        self.send(Verb::Solo(now, solo)).await?;
        self.answered(answer).await
    }
}

/// BEGIN IMMEDIATE, `verb`, COMMIT; or ROLLBACK.
async fn transaction<A, F>(connection: &mut SqliteConnection, clock: SystemClock, verb: F) -> Result<A>
where
    F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<A>>,
{
    let mut patience = Patience::new(clock);
    while let Err(error) = sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await {
        let error = StoreError::from(error);
        if !matches!(error, StoreError::Busy) || !patience.is_left().await {
            return Err(error);
        }
    }
    let result = match verb(connection).await {
        Ok(answer) => {
            sqlx::query("COMMIT").execute(&mut *connection).await.map(|_| answer).map_err(Into::into)
        }
        Err(error) => Err(error),
    };
    if result.is_err() {
        // A failed COMMIT may have rolled back already; then this fails, and that is all right.
        let _already_rolled_back = sqlx::query("ROLLBACK").execute(&mut *connection).await;
    }
    result
}

/// The task's own state.
struct Work {
    connection: SqliteConnection,
    run: i64,
    mark: Arc<Mark>,
    database: PathBuf,
    known: KnownAccounts,
    clock: SystemClock,
    blocked_since: Arc<AtomicI64>,
    activity: Arc<AtomicU64>,
    checkpoint_due: mpsc::Sender<()>,
    may_stay_awake: bool,
}

impl Work {
    async fn serve(mut self, mut receiver: mpsc::Receiver<Verb>) {
        let clock = self.clock;
        let (mut window, mut written) = (clock.monotonic(), Duration::ZERO);
        let mut waiting = Vec::with_capacity(512);
        let mut unmoved = 0_u32;
        while receiver.recv_many(&mut waiting, 512).await > 0 {
            let began = clock.monotonic();
            if began - window >= BREATH_EVERY {
                if written >= (began - window).mul_f64(SATURATED) {
                    clock.sleep(BREATH).await;
                }
                (window, written) = (clock.monotonic(), Duration::ZERO);
            }
            let began = clock.monotonic();
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
                    Verb::Solo(now, solo) => {
                        self.commit(std::mem::take(&mut group)).await;
                        let busy = solo(&mut self.connection).await;
                        self.note_busy(busy, now);
                    }
                }
                if group.rows() >= ROWS_PER_COMMIT {
                    self.commit(std::mem::take(&mut group)).await;
                }
            }
            self.commit(group).await;
            written += clock.monotonic() - began;
            self.activity.fetch_add(1, Ordering::Relaxed);
            unmoved = unmoved.saturating_add(1);
            if unmoved >= checkpoint::COMMITS && self.checkpoint_due.try_send(()).is_ok() {
                unmoved = 0;
            }
        }
        use sqlx::Connection as _;
        let _nothing_left_to_write = self.connection.close().await;
    }

    async fn commit(&mut self, group: Group) {
        if group.len() == 0 {
            return;
        }
        let clock = self.clock;
        let awake_for =
            if self.may_stay_awake && group.is_one_message() { awake::AWAKE } else { Duration::ZERO };
        let until = clock.monotonic() + awake_for;
        match awake::awake(self.write_patiently(&group), || clock.monotonic() < until).await {
            Ok(answers) => {
                self.note_busy(false, Timestamp::UNIX_EPOCH);
                self.note_calls(&group, &answers);
                group.answer(answers);
            }
            // Waiting longer is the caller's choice; nobody's verb is lost by asking again.
            Err(StoreError::Busy) => {
                self.note_busy(true, group.asked_at());
                for one in group.alone() {
                    one.refuse(StoreError::Busy);
                }
            }
            Err(error) if group.len() == 1 => group.refuse(error),
            Err(error) => {
                tracing::debug!(%error, members = group.len(), "a group commit failed; trying each member alone");
                for one in group.alone() {
                    match self.write_patiently(&one).await {
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

    async fn write_patiently(&mut self, group: &Group) -> Result<Answers> {
        let mut patience = Patience::new(self.clock);
        loop {
            match self.write(group).await {
                Err(StoreError::Busy) if patience.is_left().await => {}
                result => return result,
            }
        }
    }

    /// Takes the lock at once or not at all.
    async fn write(&mut self, group: &Group) -> Result<Answers> {
        let Self { connection, run, known, clock, .. } = self;
        let (run, clock) = (*run, *clock);
        if group.is_one_statement(known) {
            return statements(connection, run, known, clock, group).await;
        }
        if group.only_begins() {
            let begun = attempts::begin_alone(connection, run, &group.dated_begins(clock.monotonic())).await;
            if begun.is_err() {
                let _already_rolled_back = sqlx::query("ROLLBACK").execute(&mut *connection).await;
            }
            return begun.map(Answers::of_begins);
        }
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
        let result = match statements(connection, run, known, clock, group).await {
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

    /// Before the caller hears of it: a call must not be made that the mark does not know of.
    fn note_calls(&self, group: &Group, answers: &Answers) {
        let mut begun = group.begins.iter().zip(&answers.begins);
        if let Some((ticket, _)) = begun.rfind(|(_, begun)| **begun == Begun::Granted) {
            self.mark.note_call(ticket.ask.arrival.0, ticket.ask.number);
        }
    }

    fn note_busy(&self, busy: bool, asked_at: Timestamp) {
        if !busy {
            self.blocked_since.store(0, Ordering::Relaxed);
        } else if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(asked_at.as_millisecond(), Ordering::Relaxed);
            let holder = super::holder::holder(&self.database);
            tracing::warn!(
                holder = holder.as_deref().unwrap_or("unknown"),
                "another program keeps the database locked; nothing can be accepted or sent until it lets go"
            );
        }
    }
}

/// The statements of a group: what frees an account first, what takes it last.
async fn statements(
    connection: &mut SqliteConnection,
    run: i64,
    known: &mut KnownAccounts,
    clock: SystemClock,
    group: &Group,
) -> Result<Answers> {
    let settlements: Vec<&Settlement> = group.settlements.iter().map(|ticket| &ticket.ask).collect();
    let settlements = attempts::settle(connection, &settlements).await?;
    let enqueues: Vec<&EnqueueBatch> = group.enqueues.iter().map(|ticket| &ticket.ask).collect();
    let enqueues = messages::enqueue(connection, run, known, &enqueues).await?;
    let admissions: Vec<&Vec<Admission>> = group.admissions.iter().map(|ticket| &ticket.ask).collect();
    let admissions = admission::admit(connection, run, known, &admissions).await?;
    let begins = group.dated_begins(clock.monotonic());
    let begins = attempts::begin(connection, run, &begins).await?;
    Ok(Answers { enqueues, admissions, begins, settlements })
}
