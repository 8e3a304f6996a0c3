//! One attempt: the durable intent, the call, and its consequences.
//!
//! The order is the promise (P2): no byte leaves before the intent is on disk. If the outcome cannot be recorded,
//! recording is retried until it succeeds or the daemon stops; the next run finds the open attempt and reconciles it
//! by reading its chat back.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tracing::Instrument;

use super::Shared;
use super::api_guard::Kind;
use super::missing_account;
use super::preflight;
use super::promises;
use super::run::{AccountRun, Wake};
use super::target::call_target;
use super::wall_clock::Dating;
use crate::domain::attachment::Attachment;
use crate::domain::message::{AccountId, Target};
use crate::domain::outcome::{Hold, Outcome, Phase, ProviderError};
use crate::domain::policy::Policy;
use crate::domain::state::{Sending, Settled, StateName};
use crate::domain::whole_milliseconds;
use crate::policy::decide::DecisionInput;
use crate::policy::fair_share::{self, Share};
use crate::policy::hours::Hours;
use crate::policy::pace::CUT;
use crate::policy::plan::{Plan, plan};
use crate::policy::settle::{Blame, after, consequence};
use crate::provider::{Call, CallAttachment, Content, Handed, Progress, Reply};
use crate::store::{Begun, Candidate, InmailHold, Intent, IntentLimits, Settlement, Store, StoreError};
use crate::traces::Span;

/// The pause before recording an outcome is retried.
const SETTLE_AGAIN: Duration = Duration::from_millis(500);

/// The pause before another selection after an intent that was withdrawn.
const SELECT_AGAIN: Duration = Duration::from_millis(50);

/// An intent that takes longer waited for another program's lock, which is reported elsewhere and is not the pace's fault.
const QUEUE_LOCKED: Duration = Duration::from_secs(5);

/// Sends `candidate`, unless something changed since it was selected.
pub(super) async fn attempt(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: Candidate,
    input: &DecisionInput<'_>,
    share: Option<Share>,
    dating: Dating<'_>,
) -> Result<Wake, StoreError> {
    let DecisionInput { now, policy, .. } = *input;
    // Without a permit, the guard keeps the account's place and wakes it.
    let Some(permit) = run.ask(shared, Kind::Send) else { return Ok(Wake::Idle) };
    let plan = plan(input, &mut run.gap_dice);
    let (gap, number) = (plan.pause.gap, candidate.attempts + 1);
    let call = prepare(shared, run, &candidate, policy);
    let intent = Intent {
        seq: candidate.seq,
        account_id: run.id.clone(),
        number,
        at: now,
        gap,
        next_call_at: after(now, gap + CUT),
        monotonic: shared.clock.monotonic(),
        provider_at: shared.provider.time().map(|time| whole_milliseconds(time.earliest)),
        fingerprint: call.fingerprint(),
        chat_id: call.target.chat_id().cloned(),
        edits: candidate.edits,
        limits: limits_of(&candidate, input, share, &plan),
    };
    shared.live.release(&run.id);
    run.preflight.forget();
    if shared.wall_clock_was_set() {
        // The decision used the old time, so the next step decides again.
        return Ok(Wake::Now);
    }
    let asked = shared.clock.monotonic();
    let begun = shared.store.begin_attempt(intent).await?;
    shared.live.storage_works();
    if begun == Begun::Withdrawn {
        // Paused, stopped, held, edited, cancelled or expired at this very moment; the next step finds out which.
        let is_cancelled = shared.store.cancel_answered(candidate.seq, now).await?;
        return Ok(if is_cancelled { Wake::Now } else { Wake::At(after(now, SELECT_AGAIN)) });
    }
    // Stored times may follow a clock that is set during the call.
    drop(dating);
    paced(shared, &run.id, gap);
    let began = shared.clock.monotonic();
    if began.saturating_sub(asked) > QUEUE_LOCKED {
        run.calls.storage_failed();
    }
    let pace = run.calls.begins(began, gap, due_for(&candidate, now), policy);
    let span = tracing::info_span!("attempt", account_id = %run.id, message_id = %candidate.id, number);
    async {
        let (reply, blame) = match permit.begin_send() {
            Some(open_call) => {
                promises::call_begins(shared, &run.id, pace);
                let reply = make(shared, call).await;
                let blame = open_call.ended(reply.outcome.problem());
                (missing_account::understood(shared, run, reply).await, blame)
            }
            None => (not_called(), Blame::default()),
        };
        paced(shared, &run.id, gap);
        let (outcome, took) = (reply.outcome.as_str(), shared.clock.monotonic() - began);
        settle(shared, run, &candidate, input, gap, (reply, blame)).await;
        promises::call_ended(shared, &run.id, &candidate, input, (outcome, took)).await;
    }
    .instrument(span)
    .await;
    Ok(Wake::Now)
}

/// Returns what the limits remember of the call.
fn limits_of(
    candidate: &Candidate,
    input: &DecisionInput<'_>,
    share: Option<Share>,
    plan: &Plan,
) -> IntentLimits {
    IntentLimits {
        kind: input.message.kind,
        break_left: plan.pause.break_left,
        on_break: plan.pause.on_break,
        warms_up_again: plan.warms_up_again,
        turn: share.map(|share| turn_of(candidate, share, input.policy)),
        closes_at: closes_at(input.hours),
    }
}

/// Returns how long `candidate` has been due.
fn due_for(candidate: &Candidate, now: jiff::Timestamp) -> Duration {
    let due_at = candidate.retry_at.map_or(candidate.due_at, |at| at.max(candidate.due_at));
    Duration::try_from(now.duration_since(due_at)).unwrap_or_default()
}

/// Returns when the account's hours close, if they are open and do.
fn closes_at(hours: Hours) -> Option<jiff::Timestamp> {
    match hours {
        Hours::Open { until } => Some(until),
        Hours::Always | Hours::Closed { .. } => None,
    }
}

/// Returns the reply if the API failed while the intent was written: no call was made.
fn not_called() -> Reply {
    let problem =
        ProviderError::local("api_failing", "the API failed before the call began, so none was made");
    Reply { phase: Phase::Claimed, outcome: Outcome::NotSent { problem, hold: Hold::Api } }
}

/// Pauses the account for `gap` from now on.
fn paced(shared: &Shared, account: &AccountId, gap: Duration) {
    let now = shared.clock.monotonic();
    shared.pace.set(account, now + gap + CUT, now);
}

/// Returns the message's campaign, with the virtual time and the finish after its turn.
fn turn_of(candidate: &Candidate, share: Share, policy: &Policy) -> (String, u64, u64) {
    let campaign = fair_share::campaign(&candidate.lane);
    let (virtual_time, finish) = share.after(campaign, &policy.order);
    (campaign.to_owned(), virtual_time, finish)
}

/// Builds the call that sends `candidate`.
fn prepare(shared: &Shared, run: &AccountRun, candidate: &Candidate, policy: &Policy) -> Call {
    Call {
        account_id: run.id.clone(),
        target: call_target(candidate, policy),
        text: candidate.text.clone(),
        attachments: files(shared, candidate),
        progress: Progress::default(),
    }
}

/// Makes the call. If the daemon cannot wait any longer, the outcome is unknown, unless the request was not written
/// as a whole.
async fn make(shared: &Shared, call: Call) -> Reply {
    let progress = call.progress.clone();
    tokio::select! {
        reply = shared.provider.send(call) => reply,
        () = shared.giving_up.cancelled() => given_up(progress.stop()),
    }
}

fn given_up(handed: Handed) -> Reply {
    let (phase, what) = match handed {
        Handed::Nothing => (Phase::Connecting, "the daemon had to stop before the request was written"),
        Handed::Part => (Phase::Written, "the daemon had to stop before the request was written as a whole"),
        Handed::All => (Phase::Written, "the daemon had to stop before the answer came"),
    };
    let problem = ProviderError::local("stopped", what);
    let outcome = match handed {
        Handed::Nothing | Handed::Part => Outcome::NotSent { problem, hold: Hold::Api },
        Handed::All => Outcome::Uncertain { phase, problem },
    };
    Reply { phase, outcome }
}

/// Returns the files of a message; their bytes stay in the store until they are sent.
fn files(shared: &Shared, candidate: &Candidate) -> Vec<CallAttachment> {
    let file = |attachment: &Attachment| CallAttachment {
        attachment: attachment.clone(),
        content: Arc::new(StoredContent { store: shared.store.clone(), sha256: attachment.sha256.clone() }),
    };
    candidate.extras.attachments.iter().map(file).collect()
}

/// The bytes of a file in the store.
struct StoredContent {
    store: Store,
    sha256: String,
}

impl Content for StoredContent {
    fn piece(&self, piece: u32) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        Box::pin(
            async move { self.store.blob_piece(&self.sha256, piece).await.map_err(|error| error.chain()) },
        )
    }
}

/// Records the consequences of the call in one transaction.
async fn settle(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    input: &DecisionInput<'_>,
    gap: Duration,
    (reply, blame): (Reply, Blame),
) {
    let (now, dating) = shared.settled_now().await;
    let (reply, credits_spent) = understood(candidate, reply);
    let outcome = reply.outcome.as_str();
    let problem = reply.outcome.problem().cloned();
    let sending = Sending { attempt: candidate.attempts + 1, retries: candidate.retries };
    let history = &input.account.history;
    let consequence = consequence(sending, reply.outcome, blame, now, input.policy, history, &mut run.dice);
    log_outcome(outcome, problem.as_ref(), &consequence.message);
    let (status, state) = (problem.as_ref().and_then(|problem| problem.status), consequence.message.name());
    let is_answered = reply.phase == Phase::Answered;
    let key_refused = consequence.key_refused.is_some();
    let settlement = Settlement {
        seq: candidate.seq,
        account_id: run.id.clone(),
        number: candidate.attempts + 1,
        at: now,
        phase: reply.phase,
        outcome,
        problem,
        message: consequence.message,
        next_call_at: after(now, gap + CUT),
        hold: consequence.hold,
        history: consequence.history,
        account_down: consequence.account_down,
        key_refused: consequence.key_refused,
    };
    let is_doubt = settlement.message.name() == StateName::Uncertain;
    record(shared, settlement, dating).await;
    let is_accepted = state == StateName::Sent;
    let status = status
        .map_or_else(|| if is_answered { "2xx" } else { "none" }.to_owned(), |status| status.to_string());
    let traces = shared.store.traces();
    traces.record(|| Span {
        is_error: !is_accepted,
        ..Span::new(candidate.id, "attempt", input.now, now)
            .with("account", run.id.as_str())
            .with("number", (candidate.attempts + 1).to_string())
            .with("outcome", outcome)
            .with("status", status)
    });
    traces.ended(candidate.id, state, now);
    if is_doubt {
        shared.unresolved.notify_one();
    }
    if let Some(why) = credits_spent {
        inmails_wait(shared, run, candidate, input.policy, why).await;
    }
    if key_refused {
        tracing::error!(
            "Unipile refuses the API key or the subscription: nothing is sent; for a new key restart the daemon, for the \
             subscription run `outboxd resume --all`"
        );
    }
}

/// Completes the reply with what only the message determines: the chat that it went into, and whether a refusal means
/// spent credits; the second value is then the reason.
fn understood(candidate: &Candidate, reply: Reply) -> (Reply, Option<String>) {
    let outcome = match reply.outcome {
        Outcome::Accepted { chat_id: None, message_ids } => {
            let chat_id = match &candidate.target {
                Target::Chat(chat_id) => Some(chat_id.clone()),
                Target::User { .. } | Target::Group { .. } | Target::Forward { .. } => None,
            };
            Outcome::Accepted { chat_id, message_ids }
        }
        Outcome::Refused(problem)
            if preflight::credit_of(candidate).is_some() && preflight::hints_at_credits(&problem) =>
        {
            let why = format!("the provider refused an InMail: {problem}");
            let outcome = Outcome::NotSent { problem, hold: Hold::Credits };
            return (Reply { outcome, ..reply }, Some(why));
        }
        other => other,
    };
    (Reply { outcome, ..reply }, None)
}

/// Holds the account's other InMails as well; if that cannot be written, each of them is refused in its turn.
async fn inmails_wait(
    shared: &Shared,
    run: &AccountRun,
    candidate: &Candidate,
    policy: &Policy,
    why: String,
) {
    let Some(credit) = preflight::credit_of(candidate) else { return };
    let (now, _dating) = shared.settled_now().await;
    let hold = InmailHold { until: after(now, policy.inmail.recheck), why };
    tracing::warn!(account_id = %run.id, credit = credit.as_str(), "the provider refused an InMail as if its credits were spent; InMails wait, the rest goes on");
    if let Err(error) = shared.store.hold_inmails(run.id.clone(), credit, hold, now).await {
        tracing::warn!(error = error.chain(), "the other InMails of the account were not told to wait");
    }
}

/// Records an outcome. This must not fail: it is retried until it succeeds or the daemon must stop.
async fn record(shared: &Shared, settlement: Settlement, dating: Dating<'_>) {
    let mut dating = Some(dating);
    loop {
        match shared.store.settle(settlement.clone()).await {
            Ok(true) => return,
            Ok(false) => {
                tracing::error!("this attempt was settled already; its outcome is in this line only");
                return;
            }
            Err(error) if shared.giving_up.is_cancelled() => {
                tracing::error!(
                    error = error.chain(),
                    "the outcome could not be recorded; the next start has the chat read back"
                );
                return;
            }
            Err(error) => {
                tracing::error!(error = error.chain(), "the outcome cannot be recorded yet; trying again");
                // A row that cannot be written must not hold every account up when the clock is set.
                drop(dating.take());
                shared.clock.sleep(SETTLE_AGAIN).await;
            }
        }
    }
}

fn log_outcome(outcome: &str, problem: Option<&ProviderError>, message: &Settled) {
    let kind = problem.map(|problem| problem.kind.as_str());
    let status = problem.and_then(|problem| problem.status);
    let req_id = problem.and_then(|problem| problem.req_id.as_deref());
    match message {
        Settled::Sent { .. } => tracing::info!(outcome, "sent"),
        Settled::Queued { .. } => {
            tracing::warn!(outcome, kind, status, req_id, "not sent; it stays in the queue");
        }
        Settled::Failed { .. } => tracing::warn!(outcome, kind, status, req_id, "failed"),
        Settled::Uncertain { .. } => {
            tracing::warn!(
                outcome,
                kind,
                status,
                req_id,
                "may or may not have been sent; its chat is read back"
            );
        }
        Settled::Review { .. } => {
            tracing::error!(
                outcome,
                kind,
                status,
                req_id,
                "may or may not have been sent; it waits for a person"
            );
        }
    }
}
