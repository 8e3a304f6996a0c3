//! The SQL intake: notices rows that other programs INSERT into `messages` within milliseconds, and validates them
//! like all others.
//!
//! The table's CHECKs and trigger refuse what they can see at the INSERT; here a row becomes `queued`, or `rejected`
//! with its `error` filled in, so that its producer finds the reason where it put the message. A single row goes on
//! at once. While a producer inserts without a pause, rows are gathered for a moment and admitted together: each
//! admission takes the lock that the producer needs. Of a backlog, the next batch is read and validated while the
//! previous one is written.

mod commands;
mod ended_stops;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use jiff::Timestamp;

use crate::domain::attachment::Blob;
use crate::domain::field_error::FieldError;
use crate::domain::message::{AccountId, NewMessage};
use crate::http::{AppState, attachments};
use crate::store::{Admission, EndedStops, ExternalCommands, ExternalInserts, Inserted, StoreError};
use crate::tasks::Pulse;
use crate::traces::{Span, made_at};

/// Rows validated in one transaction: about 100 ms of work, in which a producer waits for its next INSERT.
const ROWS: u32 = 2000;
/// The most, for a long backlog: about 0.4 s of work. With fewer rows, those of many accounts write the same pages of their
/// indexes again and again (docs/performance.md).
const MOST_ROWS: u32 = 8000;
/// Up to this many rows are validated on the runtime's thread; more leave it.
const FEW_ROWS: usize = 50;
/// Bytes of files in one transaction: with more, the rest of the rows comes in the next one.
const FILE_BYTES: usize = 16 << 20;
/// The pause after a store error.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Serves the SQL intake until the engine stops: rows of `messages`, commands, and stops that were deleted.
pub async fn run(
    state: Arc<AppState>,
    inserts: ExternalInserts,
    commands: ExternalCommands,
    ended: EndedStops,
) {
    let commands = commands::run(Arc::clone(&state), commands);
    let ended = ended_stops::run(Arc::clone(&state), ended);
    tokio::join!(take_in(state, inserts), commands, ended);
}

async fn take_in(state: Arc<AppState>, inserts: ExternalInserts) {
    let clock = Arc::clone(state.engine.clock());
    let mut intake = Intake { state, inserts, gathering: Gathering::default(), woken: Woken::default() };
    loop {
        let state = Arc::clone(&intake.state);
        tokio::select! {
            () = state.engine.stopping() => return,
            served = intake.serve() => if let Err(error) = served {
                tracing::error!(error = error.chain(), "rows of other programs cannot be taken in; trying again");
                intake.inserts.look_again();
                clock.sleep(AFTER_ERROR).await;
            },
        }
    }
}

struct Intake {
    state: Arc<AppState>,
    inserts: ExternalInserts,
    gathering: Gathering,
    woken: Woken,
}

impl Intake {
    /// Takes in rows until no more are known to wait.
    async fn serve(&mut self) -> Result<(), StoreError> {
        let clock = Arc::clone(self.state.engine.clock());
        let asked_at = clock.monotonic();
        let mut rows = ROWS;
        let mut batch = next(&self.state, &mut self.inserts, rows).await?;
        let waited = clock.monotonic().saturating_sub(asked_at);
        let is_busy = self.gathering.found(waited, batch.admissions.len());
        while batch.is_full {
            rows = (rows * 2).min(MOST_ROWS);
            let Some(following) = self.take_and_read(batch, rows).await? else {
                self.inserts.look_again();
                return Ok(());
            };
            batch = following;
        }
        if !take(&self.state, &mut self.woken, batch, is_busy).await? {
            self.inserts.look_again();
            return Ok(());
        }
        if let Some(pause) = self.gathering.pause() {
            clock.sleep(pause).await;
            self.inserts.look_now();
        }
        Ok(())
    }

    /// Takes in these rows while the next ones are read. Returns the next, which may take long to arrive; `None` if these
    /// must be read again.
    async fn take_and_read(&mut self, batch: Batch, most: u32) -> Result<Option<Batch>, StoreError> {
        let Self { state, inserts, woken, .. } = self;
        let (taken, following) = (pin!(take(state, woken, batch, true)), pin!(next(state, inserts, most)));
        Ok(match select(taken, following).await {
            Either::Left((taken, following)) => match taken? {
                true => Some(following.await?),
                false => None,
            },
            Either::Right((following, taken)) => match taken.await? {
                true => Some(following?),
                false => None,
            },
        })
    }
}

/// Stores the verdicts on rows and wakes their accounts. Returns `false`, and does nothing, if the wall clock was set since
/// the rows were read: they carry times that have moved meanwhile.
async fn take(state: &AppState, woken: &mut Woken, batch: Batch, is_busy: bool) -> Result<bool, StoreError> {
    let (_, _dating) = state.engine.settled().await;
    if state.engine.clock_steps() != batch.clock_steps {
        return Ok(false);
    }
    admit(state, batch.admissions).await?;
    wake(state, woken, batch.accounts, is_busy);
    Ok(true)
}

/// Stores the verdicts on rows.
async fn admit(state: &AppState, admissions: Vec<Admission>) -> Result<(), StoreError> {
    let traces = state.store.traces();
    let good = admissions.iter().filter(|one| traces.are_on() && one.verdict.is_ok());
    let good: Vec<_> = good.map(|one| (one.id, one.at)).collect();
    state.store.admit(admissions).await?;
    let now = state.engine.now();
    for (id, at) in good {
        traces.record(|| Span::new(id, "admit", made_at(id, at), now));
    }
    Ok(())
}

/// Wakes accounts for the admitted rows; while a producer is busy, each at most once in `Woken::MOMENT`.
fn wake(state: &AppState, woken: &mut Woken, accounts: HashMap<AccountId, Timestamp>, is_busy: bool) {
    let now = state.engine.now();
    if !is_busy {
        *woken = Woken::default();
        return state.engine.wake_at(accounts);
    }
    let coalesced = accounts.into_iter().map(|(account, due_at)| {
        let at = woken.wake_at(&account, due_at, now);
        (account, at)
    });
    state.engine.wake_at(coalesced);
}

/// Rows that were validated and are admitted together.
#[derive(Default)]
struct Batch {
    admissions: Vec<Admission>,
    /// The accounts that have new messages, and when the first of those is due.
    accounts: HashMap<AccountId, Timestamp>,
    /// Whether more rows wait.
    is_full: bool,
    /// How often stored times had followed a clock that was set, before the rows were read.
    clock_steps: u64,
}

/// Returns the next rows, at most `most`, as soon as there are some.
async fn next(state: &Arc<AppState>, inserts: &mut ExternalInserts, most: u32) -> Result<Batch, StoreError> {
    let clock_steps = state.engine.clock_steps();
    let rows = inserts.next(most, state.engine.clock()).await?;
    let mut is_full = inserts.more_wait();
    let (pulse, last) = (inserts.pulse(), rows.last().map(|row| row.seq));
    let batch = if rows.len() <= FEW_ROWS {
        judge_all(state, &rows, &pulse)
    } else {
        let state = Arc::clone(state);
        match tokio::task::spawn_blocking(move || judge_all(&state, &rows, &pulse)).await {
            Ok(batch) => batch,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    };
    let judged = batch.admissions.last().map(Admission::seq);
    if let Some(judged) = judged.filter(|judged| Some(*judged) != last) {
        inserts.go_on_after(judged);
        is_full = true;
    }
    Ok(Batch { is_full, clock_steps, ..batch })
}

/// Validates rows until their files are too large to hold; at least one row.
fn judge_all(state: &AppState, rows: &[Inserted], pulse: &Pulse) -> Batch {
    let now = state.engine.now();
    let mut batch = Batch { admissions: Vec::with_capacity(rows.len()), ..Batch::default() };
    let mut bytes = 0;
    for row in rows {
        if bytes > FILE_BYTES {
            break;
        }
        pulse.round();
        batch.admissions.push(match judge(state, row) {
            Ok((message, blobs)) => {
                bytes += blobs.iter().map(|blob| blob.bytes.len()).sum::<usize>();
                let due_at = message.not_before.map_or(now, |at| at.max(now));
                let earliest = batch.accounts.entry(message.account_id.clone()).or_insert(due_at);
                *earliest = due_at.min(*earliest);
                Admission::queue(row, message, blobs, now, state.recovered.stale_before)
            }
            Err(why) => {
                tracing::info!(seq = row.seq.0, why, "rejected a row of another program");
                Admission::reject(row, why, now)
            }
        });
    }
    batch
}

/// Validates a row with the one validation; a row that expired before it was read is queued and then expires as
/// usual.
fn judge(state: &AppState, row: &Inserted) -> Result<(NewMessage, Vec<Blob>), String> {
    let mut draft = row.draft.clone()?;
    let told =
        |refusals: Vec<FieldError>| refusals.iter().map(FieldError::to_string).collect::<Vec<_>>().join("; ");
    let mut blobs = Vec::new();
    if let Some(files) = row.attachments.clone() {
        let load = || attachments::load(files, attachments::Uploads::default(), &state.attachments);
        (draft.attachments, blobs) = tokio::task::block_in_place(load).map_err(told)?;
    }
    if let Some(field) = draft.untrimmed() {
        // The row keeps what its producer wrote, so it cannot be trimmed here.
        return Err(format!("`{field}` has white space around an id; remove it"));
    }
    let message = draft.validate(&state.limits(), row.created_at).map_err(told)?;
    Ok((message, blobs))
}

/// How long rows gather before they are admitted: not at all, or longer and longer while a producer inserts without a
/// pause.
#[derive(Default)]
struct Gathering {
    pause: Duration,
}

impl Gathering {
    /// A producer whose next row arrives within this time does not wait for the result of the last one.
    const WITHOUT_A_PAUSE: Duration = Duration::from_millis(6);
    const SHORTEST: Duration = Duration::from_millis(8);
    /// Not noticeable next to a gap of seconds, and it leaves the lock to producers for most of the time.
    const LONGEST: Duration = Duration::from_millis(200);

    /// Records how many rows were found after waiting for them this long; returns whether a producer inserts without
    /// a pause. A producer that inserted only one row meanwhile most likely waits for its result.
    fn found(&mut self, waited: Duration, rows: usize) -> bool {
        let waits_for_us = !self.pause.is_zero() && rows < 2;
        self.pause = if waited >= Self::WITHOUT_A_PAUSE || waits_for_us {
            Duration::ZERO
        } else {
            (self.pause * 2).clamp(Self::SHORTEST, Self::LONGEST)
        };
        self.pause == Self::LONGEST
    }

    fn pause(&self) -> Option<Duration> {
        Some(self.pause).filter(|pause| !pause.is_zero())
    }
}

/// When each account was last woken, or will be: each batch of a busy producer has rows for the same accounts, and
/// running an account costs more than taking in its row. It is kept while a producer inserts without a pause.
#[derive(Default)]
struct Woken {
    accounts: HashMap<AccountId, Timestamp>,
}

impl Woken {
    /// The time in which an account is woken at most once; the pauses between its sends are longer.
    const MOMENT: Duration = Duration::from_secs(1);

    /// Returns when to wake `account` for something that is due at `due_at`.
    fn wake_at(&mut self, account: &AccountId, due_at: Timestamp, now: Timestamp) -> Timestamp {
        if due_at > now {
            return due_at;
        }
        let in_a_moment = |from: Timestamp| from.checked_add(Self::MOMENT).unwrap_or(from);
        // A time recorded before the clock was set back is ignored.
        let last = self.accounts.get(account).copied().filter(|last| *last <= in_a_moment(now));
        let at = last.map_or(now, |last| if last > now { last } else { now.max(in_a_moment(last)) });
        self.accounts.insert(account.clone(), at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn rows_gather_longer_and_longer_while_a_producer_inserts_without_a_pause() {
        let mut gathering = Gathering::default();
        let mut pauses = vec![gathering.pause()];
        let found =
            [(100, 1), (0, 1), (1, 3), (0, 9), (5, 9), (0, 2), (0, 9), (9, 9), (0, 1), (0, 1), (0, 1)];
        for (waited_ms, rows) in found {
            gathering.found(ms(waited_ms), rows);
            pauses.push(gathering.pause());
        }
        // The last three: a producer that inserts a row once it knows the result of the one before.
        let expected = [0, 0, 8, 16, 32, 64, 128, 200, 0, 8, 0, 8];
        let expected: Vec<_> =
            expected.into_iter().map(|pause| Some(ms(pause)).filter(|_| pause > 0)).collect();
        assert_eq!(pauses, expected);
    }

    #[test]
    fn an_account_that_many_batches_are_for_is_woken_once_in_a_moment() {
        let at = |ms: i64| Timestamp::from_millisecond(1_000_000 + ms).expect("a time");
        let (one, other) = (AccountId::new("acc_1"), AccountId::new("acc_2"));
        let mut woken = Woken::default();
        assert_eq!(woken.wake_at(&one, at(0), at(0)), at(0), "at once, the first time");
        assert_eq!(woken.wake_at(&one, at(50), at(50)), at(1000), "for the rest when the moment is over");
        assert_eq!(woken.wake_at(&one, at(900), at(900)), at(1000));
        assert_eq!(woken.wake_at(&other, at(900), at(900)), at(900), "another account");
        assert_eq!(
            woken.wake_at(&one, at(9000), at(910)),
            at(9000),
            "what is due later wakes no account earlier"
        );
        assert_eq!(woken.wake_at(&one, at(1020), at(1020)), at(2000), "it was woken at 1000");
        assert_eq!(woken.wake_at(&one, at(4000), at(4000)), at(4000), "and not since 2000");
        assert_eq!(woken.wake_at(&one, at(-9000), at(-9000)), at(-9000), "a clock that was set back");
    }
}
