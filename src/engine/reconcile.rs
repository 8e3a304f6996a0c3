//! The reconciler: reads chats back to find out what became of calls with an unknown outcome (P2).
//!
//! One task for all accounts. It sleeps until the next read is due and does nothing while nothing is uncertain. Reads
//! reach no recipient, so they need not keep an account's pace, but each page takes a permit of the API guard.
//! `chats.rs` reads the chats, `policy/evidence.rs` and `policy/reconcile.rs` decide, and this file writes the
//! result. Deadlines use the monotonic clock: setting the wall clock makes no read come early, and the last one
//! proves absence only if real time has passed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Shared;
use super::chats::{self, Seen};
use crate::domain::message::Seq;
use crate::domain::observed::Unread;
use crate::domain::outcome::{Heard, Hold};
use crate::domain::policy::Policy;
use crate::domain::state::StateName;
use crate::metrics::table::RECONCILED;
use crate::policy::reconcile::{NextStep, Tries, next_step, pause_after};
use crate::policy::settle::after;
use crate::store::{ReconciledAs, Reconciliation, StoreError, UnresolvedAttempt};
use crate::traces::Span;

/// The most messages that are reconciled, or chats that are polled, at once.
pub(super) const MAX_READS: usize = 8;
/// The pause after a look at one message that ended in an error or a panic, and the shortest one between two reads
/// that do not count.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);
/// The longest pause that an answer can ask for before the next read.
const LONGEST_ASKED: Duration = Duration::from_secs(24 * 3600);
/// The pause after a store error.
const AFTER_STORE_ERROR: Duration = Duration::from_secs(2);
pub(super) struct Reconciler {
    shared: Arc<Shared>,
    plan: Plan,
}

/// Which messages are reconciled, and when.
#[derive(Default)]
struct Plan {
    /// When each uncertain message is reconciled next, on the monotonic clock.
    due: HashMap<Seq, Duration>,
    /// Messages whose last reads failed through no fault of their own.
    blind: HashMap<Seq, Blindness>,
}

/// Reads in a row that failed through no fault of the message.
#[derive(Debug, Clone, Copy, Default)]
struct Blindness {
    times: u32,
    /// Answers that the API had given by then, to any call.
    answers: u64,
}

/// The result of one look at a message.
enum Looked {
    /// There is nothing to reconcile, or another program holds the message.
    Gone,
    /// The message is settled, or its next read is planned.
    Done,
    /// The chat could not be read, and that counts: the API answered other calls meanwhile.
    Unread,
    /// The chat could not be read, through no fault of the message; it is read again after this pause.
    Blind(Duration),
}

impl Reconciler {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, plan: Plan::default() }
    }

    /// Runs until the engine stops. A read in progress is then cancelled: it proves nothing.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // The work runs in a task of its own, so that this one only sleeps or waits for it.
        let mut tasks = JoinSet::new();
        loop {
            tasks.spawn(round(Arc::clone(&shared), std::mem::take(&mut self.plan)));
            let ended = tokio::select! {
                biased;
                () = shared.stopping.cancelled() => break,
                ended = tasks.join_next() => ended,
            };
            let wait = match ended {
                Some(Ok((plan, wait))) => {
                    self.plan = plan;
                    wait
                }
                // The end of this task ends the process; the store still knows what is uncertain.
                Some(Err(_)) | None => return,
            };
            tokio::select! {
                biased;
                () = shared.stopping.cancelled() => break,
                () = shared.unresolved.notified() => {}
                () = shared.sleep(wait) => {}
            }
        }
        tasks.shutdown().await;
    }
}

/// Reconciles every message that is due; returns the deadlines of the others, and how long until the next one.
async fn round(shared: Arc<Shared>, mut plan: Plan) -> (Plan, Option<Duration>) {
    if let Err(error) = look_at_those_due(&shared, &mut plan).await {
        tracing::warn!(error = error.chain(), "uncertain messages cannot be looked for; trying again soon");
        return (plan, Some(AFTER_STORE_ERROR));
    }
    let now = shared.clock.monotonic();
    let wait = plan.due.values().min().map(|at| at.saturating_sub(now));
    (plan, wait)
}

async fn look_at_those_due(shared: &Arc<Shared>, plan: &mut Plan) -> Result<(), StoreError> {
    loop {
        bring_in_line(shared, plan).await?;
        let now = shared.clock.monotonic();
        let ready = plan.due.iter().filter(|(_, at)| **at <= now).map(|(seq, _)| *seq);
        let ready: Vec<Seq> = ready.take(MAX_READS).collect();
        if ready.is_empty() {
            return Ok(());
        }
        let mut reads = JoinSet::new();
        for seq in ready {
            // Whatever this look results in, the next one is not at once; after a look that succeeds, the time that
            // it stored applies.
            plan.due.insert(seq, now + AFTER_TROUBLE);
            let shared = Arc::clone(shared);
            let blind = plan.blind.get(&seq).copied().unwrap_or_default();
            reads.spawn(async move { (seq, look(&shared, seq, blind).await) });
        }
        while let Some(read) = join_next(shared, &mut reads).await {
            // A panic was reported already.
            let Ok((seq, result)) = read else { continue };
            match result {
                Ok(Looked::Gone) => {}
                Ok(Looked::Done) => {
                    plan.due.remove(&seq);
                    plan.blind.remove(&seq);
                }
                // The count of blind reads stays: a chat that cannot be read has no excuse the next time either.
                Ok(Looked::Unread) => _ = plan.due.remove(&seq),
                Ok(Looked::Blind(pause)) => {
                    plan.due.insert(seq, shared.clock.monotonic() + pause);
                    let blind = plan.blind.entry(seq).or_default();
                    *blind = Blindness { times: blind.times + 1, answers: shared.api.answers() };
                }
                // A message that cannot be reconciled must not block the others.
                Err(error) => tracing::warn!(
                    seq = seq.0,
                    error = error.chain(),
                    "an uncertain message cannot be looked for; trying again in a minute"
                ),
            }
        }
    }
}

/// Waits for the next look that ends, and counts this task as waiting.
pub(super) async fn join_next<T: 'static>(
    shared: &Shared,
    reads: &mut JoinSet<T>,
) -> Option<Result<T, tokio::task::JoinError>> {
    shared.joining.fetch_add(1, Ordering::Relaxed);
    let joined = reads.join_next().await;
    shared.joining.fetch_sub(1, Ordering::Relaxed);
    joined
}

/// Brings the deadlines in line with what is uncertain now. A stored time that lies further ahead than the longest pause may
/// come from a wrong clock: it is replaced, so that the time that is shown is the time of the read.
async fn bring_in_line(shared: &Shared, plan: &mut Plan) -> Result<(), StoreError> {
    let unresolved = shared.store.unresolved_attempts().await?;
    let (now, monotonic) = (shared.clock.now(), shared.clock.monotonic());
    let mut planned = HashMap::with_capacity(unresolved.len());
    for (seq, account, reconcile_at) in unresolved {
        if let Some(at) = plan.due.get(&seq) {
            planned.insert(seq, *at);
            continue;
        }
        let reconcile = &shared.policy(&account).reconcile;
        let longest = (0..=reconcile.after.len()).map(|reads| pause_after(reads, reconcile)).max();
        let longest = longest.unwrap_or_default().max(Duration::from_secs(60));
        let stored = Duration::try_from(reconcile_at.duration_since(now)).unwrap_or_default();
        if stored > longest {
            shared.store.read_back_earlier(seq, after(now, longest), now).await?;
        }
        planned.insert(seq, monotonic + stored.min(longest));
    }
    plan.blind.retain(|seq, _| planned.contains_key(seq));
    plan.due = planned;
    Ok(())
}

/// Looks at one message once, after `blind` reads that failed through no fault of its own.
async fn look(shared: &Shared, seq: Seq, blind: Blindness) -> Result<Looked, StoreError> {
    let Some(unresolved) = shared.store.unresolved_attempt(seq).await? else { return Ok(Looked::Gone) };
    let policy = &*shared.policy(&unresolved.account_id);
    let began = shared.clock.now();
    let read = chats::read(shared, &unresolved, policy).await;
    let (now, _dating) = shared.settled_now().await;
    // Its times may have moved during the read.
    let again = shared.store.unresolved_attempt(seq).await?;
    let Some(unresolved) = again.filter(|again| again.attempt == unresolved.attempt) else {
        return Ok(Looked::Gone);
    };
    let is_read = read.is_ok();
    let (finding, seen, blind_for) = match read {
        Ok(histories) => {
            let finding = chats::find(shared, &unresolved, &histories).await?;
            let seen = Seen::of(shared, &finding, &histories);
            (Some(finding), seen, None)
        }
        Err((unread, blame)) => {
            let answered = blind.times > 0 && shared.api.answers() > blind.answers;
            let is_own = blame.is_own || answered;
            let blind_for = blind_for(&unread, is_own, blind.times, policy);
            (None, Seen::nothing(shared, &unread), blind_for)
        }
    };
    let tries = Tries { reads: unresolved.reads, resends: unresolved.resends };
    let step = match (next_step(tries, finding, &policy.reconcile, now), blind_for) {
        // The failure does not justify involving a person, and the read does not count.
        (NextStep::Again { .. } | NextStep::Review(_), Some(pause)) => {
            NextStep::Again { reconcile_at: after(now, pause), counts: false }
        }
        (step, _) => step,
    };
    let finding = seen.finding;
    judge(shared, &unresolved, step, seen, now).await?;
    let read_back = || Span::new(unresolved.id, "reconcile", began, now).with("finding", finding);
    shared.store.traces().record(read_back);
    Ok(match (is_read, blind_for) {
        (true, _) => Looked::Done,
        (false, Some(pause)) => Looked::Blind(pause),
        (false, None) => Looked::Unread,
    })
}

/// Returns the pause before the next look, if this one failed through no fault of the message: the account is down or
/// limited, or the API fails. (If the API answered other calls since the last such look, it is this chat that cannot
/// be read.) The pause grows from a minute to the longest pause between two reads.
fn blind_for(unread: &Unread, is_own: bool, times: u32, policy: &Policy) -> Option<Duration> {
    let limit = match unread.hold {
        Some(Hold::Account(said)) => Some(said.unwrap_or_default().min(LONGEST_ASKED)),
        _ if unread.problem.is_throttling() => Some(Duration::ZERO),
        _ => None,
    };
    let api_fails = unread.problem.heard() == Heard::Trouble && !is_own;
    if unread.down.is_none() && limit.is_none() && !api_fails {
        return None;
    }
    let longest = pause_after(policy.reconcile.after.len(), &policy.reconcile);
    let longest = if longest.is_zero() { AFTER_TROUBLE } else { longest };
    let grown = AFTER_TROUBLE.saturating_mul(2_u32.saturating_pow(times)).min(longest);
    // An account that is down stays down for longer than a minute.
    let pause = if unread.down.is_some() { longest } else { grown };
    Some(pause.max(limit.unwrap_or_default()))
}

async fn judge(
    shared: &Shared,
    unresolved: &UnresolvedAttempt,
    step: NextStep,
    seen: Seen,
    now: jiff::Timestamp,
) -> Result<(), StoreError> {
    let finding = seen.finding;
    let (id, account) = (unresolved.id, unresolved.account_id.clone());
    match &step {
        NextStep::Sent { .. } => {
            tracing::info!(message_id = %id, account_id = %account, "found in the chat: it was sent")
        }
        NextStep::Again { reconcile_at, .. } => {
            tracing::info!(message_id = %id, account_id = %account, %reconcile_at, finding, "not settled yet; its chat is read again");
        }
        NextStep::Queue => {
            tracing::warn!(message_id = %id, account_id = %account, "not in the chat at the last read; it is sent once more")
        }
        NextStep::Review(reason) => {
            tracing::error!(message_id = %id, account_id = %account, reason = reason.as_str(), finding, "it waits for a person: outboxd review");
        }
    }
    let verdict = match step {
        NextStep::Sent { chat_id, message_ids, at } => {
            let here = shared.unset_now();
            let sent_at = shared.provider.time().map_or(at.min(here), |time| time.by_our_clock(at, here));
            ReconciledAs::Sent { chat_id, message_ids, sent_at }
        }
        NextStep::Again { reconcile_at, counts } => ReconciledAs::Again { reconcile_at, counts },
        NextStep::Queue => ReconciledAs::Queued,
        NextStep::Review(reason) => ReconciledAs::Review(reason),
    };
    let result = match &verdict {
        ReconciledAs::Sent { .. } => Some("sent"),
        ReconciledAs::Queued => Some("queued"),
        ReconciledAs::Review(_) => Some("review"),
        ReconciledAs::Again { .. } => None,
    };
    let reconciliation = Reconciliation {
        seq: unresolved.seq,
        attempt: unresolved.attempt,
        at: now,
        verdict,
        finding,
        seen: seen.words,
        shown: seen.shown,
        shown_at: seen.at,
    };
    if shared.store.reconcile(reconciliation).await?
        && let Some(result) = result
    {
        if result == "sent" {
            shared.store.traces().ended(id, StateName::Sent, now);
        }
        shared.store.metrics().count(&RECONCILED, &[result]);
        // Later messages to the same chat may go now.
        shared.wakeups.add([(account, now)]);
    }
    Ok(())
}
