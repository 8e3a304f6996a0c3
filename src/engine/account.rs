//! One step of one account: read, decide, act once, say when to look again.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Shared;
use super::attempt;
use super::before::{self, Look, Looks};
use super::ledger::KeptLedger;
use super::live::Claim;
use crate::clock::{self, KeptDice};
use crate::domain::account::Account;
use crate::domain::caps::Ledger;
use crate::domain::message::{AccountId, ChatId, MessageId, Target};
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::waiting::Waiting;
use crate::policy::decide::{Facts, Live, Until, Verdict, concerns_its_kind_only, decide};
use crate::policy::hours::{account_seed, hours_at};
use crate::policy::order::{Turns, place};
use crate::policy::pace;
use crate::policy::settle::after;
use crate::provider::Composing;
use crate::store::{Candidate, StoreError, Turn};

/// When an account is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// At once.
    Now,
    /// At this time, or earlier if somebody wakes it.
    At(Timestamp),
    /// When somebody wakes it.
    Idle,
}

/// What is kept of an account between its steps. Losing it loses no promise: pace and pauses are in the store.
pub(super) struct AccountRun {
    pub(super) id: AccountId,
    pub(super) dice: KeptDice,
    /// The dice of the pauses alone, so that a forecast with the same seed draws the same ones.
    pub(super) gap_dice: KeptDice,
    /// No call before this time of the monotonic clock: holds when the wall clock is set (P3).
    pub(super) paced_until: Option<Duration>,
    /// Both clocks when what is stored of its pause was written or looked at; `None` is now.
    stored_at: Option<(Timestamp, Duration)>,
    /// How long to type before this message; drawn once.
    plan: Option<(MessageId, Duration)>,
    /// A step of this account ended in a bug: its call may be open with nobody waiting for its answer.
    pub(super) lost_call: bool,
    /// What was looked up for the next message.
    pub(super) looks: Looks,
    /// What it has sent.
    pub(super) sent: KeptLedger,
}

impl AccountRun {
    /// What is stored of its pause is understood by `stored_at`, both clocks at the start of this run.
    pub(super) fn new(id: AccountId, seed: u64, stored_at: Option<(Timestamp, Duration)>) -> Self {
        let dice = clock::kept_dice(seed ^ account_seed(id.as_str()));
        let gap_dice = clock::kept_dice(gap_seed(seed, &id));
        let (looks, sent) = (Looks::default(), KeptLedger::default());
        Self { id, dice, gap_dice, paced_until: None, stored_at, plan: None, lost_call: false, looks, sent }
    }

    /// The earliest time of the next call. What this process saw with its monotonic clock beats what is stored by
    /// the wall clock; and a stored time can lie at most one gap ahead, unless the clock was set back.
    fn next_call_at(
        &mut self,
        account: &Account,
        policy: &Policy,
        now: Timestamp,
        monotonic: Duration,
    ) -> Option<Timestamp> {
        if self.paced_until.is_none() {
            // The wall clock may have been set since the run began.
            let (wall, began) = self.stored_at.unwrap_or((now, monotonic));
            let stored = account.next_call_at?.duration_since(wall);
            let longest = account.history.last_gap.unwrap_or(policy.gap.max) + pace::CUT;
            let wait = Duration::try_from(stored).unwrap_or_default().min(longest);
            // Measured by the monotonic clock from now on, so that it comes nearer whatever the wall clock says.
            self.paced_until = Some(began + wait);
        }
        self.paced_until.map(|until| after(now, until.saturating_sub(monotonic)))
    }

    fn typing_time(&mut self, candidate: &Candidate, policy: &Policy) -> Duration {
        match self.plan {
            Some((id, duration)) if id == candidate.id => duration,
            _ => {
                let chars = candidate.text.chars().count();
                let duration = pace::draw_typing(&mut self.dice, &policy.typing, chars);
                self.plan = Some((candidate.id, duration));
                duration
            }
        }
    }
}

/// What the pauses of an account are drawn from.
pub(super) fn gap_seed(seed: u64, account: &AccountId) -> u64 {
    (seed ^ account_seed(account.as_str())).rotate_left(32)
}

/// One step. An error is the store's; nothing was sent then.
pub(super) async fn step(shared: &Shared, run: &mut AccountRun) -> Result<Wake, StoreError> {
    if shared.stopping.is_cancelled() {
        shared.live.release(&run.id);
        return Ok(Wake::Idle);
    }
    let now = shared.clock.now();
    if run.lost_call {
        let verify_at = super::recover::first_read(&shared.policies(), now);
        shared.store.abandon(run.id.clone(), now, verify_at).await?;
        shared.doubts.notify_one();
        run.lost_call = false;
    }
    let Some(mut turn) = shared.store.turn(&run.id, now).await? else {
        shared.live.release(&run.id);
        return Ok(Wake::Idle);
    };
    let policy = shared.policy(&run.id);
    turn.account.next_call_at = run.next_call_at(&turn.account, &policy, now, shared.clock.monotonic());
    let turns = Turns { floor: turn.floor, reached: std::mem::take(&mut turn.reached) };
    let mut heads = std::mem::take(&mut turn.heads);
    heads.sort_by_cached_key(|head| place(&head.lane, &policy.order, &turns, head.due_at, head.arrival.0));
    choose(shared, run, &turn, heads, &turns, &policy, now).await
}

/// Acts on the first of `heads` that something of the account's holds, or nothing; those that wait for something of
/// their own kind's let the next one go.
async fn choose(
    shared: &Shared,
    run: &mut AccountRun,
    turn: &Turn,
    heads: Vec<Candidate>,
    turns: &Turns,
    policy: &Policy,
    now: Timestamp,
) -> Result<Wake, StoreError> {
    let Turn { daemon, account, .. } = turn;
    let hours = hours_at(policy.calendar.as_ref(), &policy.zone, account_seed(run.id.as_str()), now);
    let (mut wake, mut ledger) = (turn.next_due_at, None);
    for candidate in heads {
        if before::held(shared, run, &candidate, now).await? {
            return Ok(Wake::Now);
        }
        let claim = shared.live.claim_of(&run.id).filter(|claim| claim.message_id == candidate.id);
        let message = waiting(&candidate);
        let live = Live {
            storage_failing_until: shared.live.storage_trouble().map(|trouble| trouble.next_try_at),
            api_unreachable_until: shared.live.api_health(now).unreachable_until,
            api_busy_until: None,
            typing_until: claim.map(|claim| claim.typing_until(now, shared.clock.monotonic())),
        };
        let facts = Facts { now, daemon, account, message: &message, live, policy, hours, ledger: None };
        if ledger.is_none() {
            ledger = counted(shared, &mut run.sent, &facts).await?;
        }
        let facts = Facts { ledger: ledger.as_deref(), ..facts };
        match decide(&facts) {
            Verdict::Wait { reason, until } if concerns_its_kind_only(reason) => {
                if let Until::At(at) | Until::NotBefore(at) = until {
                    wake = Some(wake.map_or(at, |earlier| earlier.min(at)));
                }
            }
            Verdict::Wait { reason: Reason::RecipientRest, until: Until::At(until) } => {
                let why = "this person was sent a message that started a chat a short time ago".to_owned();
                shared.store.set_aside(candidate.arrival, Reason::RecipientRest, until, why, now).await?;
                return Ok(Wake::Now);
            }
            Verdict::Send | Verdict::Stop { .. } | Verdict::Wait { .. } => {
                return act(shared, run, candidate, &facts, turns).await;
            }
        }
    }
    shared.live.release(&run.id);
    Ok(wake.map_or(Wake::Idle, Wake::At))
}

/// The sends of the account, where the verdict depends on them: only when nothing before the caps holds the message.
async fn counted(
    shared: &Shared,
    sent: &mut KeptLedger,
    facts: &Facts<'_>,
) -> Result<Option<Arc<Ledger>>, StoreError> {
    let asked = match decide(facts) {
        Verdict::Wait { reason: Reason::Cap, .. } => true,
        Verdict::Send => facts.policy.rhythm.spread,
        Verdict::Wait { .. } | Verdict::Stop { .. } => false,
    };
    if !asked {
        return Ok(None);
    }
    sent.read(shared, &facts.account.id, facts.policy, facts.now).await.map(Some)
}

/// Does what the verdict on `candidate` says.
async fn act(
    shared: &Shared,
    run: &mut AccountRun,
    mut candidate: Candidate,
    facts: &Facts<'_>,
    turns: &Turns,
) -> Result<Wake, StoreError> {
    let Facts { now, policy, account, .. } = *facts;
    let verdict = decide(facts);
    let free_at = account.next_call_at.map_or(now, |at| at.max(now));
    let may_type =
        matches!(verdict, Verdict::Send | Verdict::Wait { reason: Reason::Gap | Reason::Break, .. });
    if may_type {
        let looks = before::look(shared, run, &mut candidate, policy, &verdict, now, free_at).await?;
        if let Look::Wake(wake) = looks {
            return Ok(wake);
        }
        if facts.live.typing_until.is_none() && wants_typing(&candidate, policy) {
            return Ok(typing(shared, run, &candidate, policy, now, free_at).await);
        }
    }
    match verdict {
        Verdict::Send => attempt::attempt(shared, run, candidate, facts, turns).await,
        Verdict::Stop { .. } => {
            let expired = shared.store.expire(now).await?;
            // Those of other accounts as well, whose next messages may have waited for them.
            shared.wakeups.add(expired.into_iter().map(|account| (account, now)));
            Ok(Wake::Now)
        }
        Verdict::Wait { reason: Reason::Typing | Reason::Gap | Reason::Break, until: Until::At(at) } => {
            Ok(Wake::At(at))
        }
        Verdict::Wait { until, .. } => {
            shared.live.release(&run.id);
            Ok(match until {
                Until::At(at) => Wake::At(at),
                Until::NotBefore(at) => Wake::At(at.max(after(now, Duration::from_secs(1)))),
                Until::Person => Wake::Idle,
            })
        }
    }
}

/// Whose turn it is has nobody before it.
fn waiting(candidate: &Candidate) -> Waiting {
    let lane = &candidate.lane;
    Waiting {
        kind: lane.kind,
        due_at: candidate.due_at,
        retry_at: candidate.retry_at,
        set_aside: candidate.set_aside,
        ignores_hours: lane.urgent && lane.ignore_hours,
        started_at: candidate.started_at,
        expires_at: candidate.expires_at,
        held_by: None,
        ahead: 0,
    }
}

/// A typing indicator needs a chat: before a first message there is none.
fn wants_typing(candidate: &Candidate, policy: &Policy) -> bool {
    typing_chat(candidate).is_some() && candidate.typing.unwrap_or(policy.typing.enabled)
}

/// Where somebody would be seen typing: a forward without a text is not typed.
fn typing_chat(candidate: &Candidate) -> Option<&ChatId> {
    match &candidate.target {
        Target::Chat(chat_id) => Some(chat_id),
        Target::Forward { chat_id, .. } => Some(chat_id).filter(|_| !candidate.text.is_empty()),
        Target::User { .. } | Target::Group { .. } => None,
    }
}

/// Shows the typing indicator so that its end is the end of the gap; on a free account it comes before the send.
async fn typing(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    policy: &Policy,
    now: Timestamp,
    free_at: Timestamp,
) -> Wake {
    let duration = run.typing_time(candidate, policy);
    let begin_at = free_at.checked_sub(duration).unwrap_or(now);
    if begin_at > now {
        return Wake::At(begin_at);
    }
    if let Err(wait) = shared.live.take_request() {
        return Wake::At(after(now, wait));
    }
    let Some(chat_id) = typing_chat(candidate) else { return Wake::Now };
    let lasts = Duration::try_from(free_at.duration_since(now)).unwrap_or_default().max(duration);
    let claim = Claim { message_id: candidate.id, typing_until: shared.clock.monotonic() + lasts };
    shared.live.claim(&run.id, claim);
    let records = candidate.extras.attachments.iter().any(|file| file.voice_note);
    let composing = if records { Composing::Recording } else { Composing::Typing };
    let shown = tokio::select! {
        shown = shared.provider.set_composing(run.id.clone(), chat_id.clone(), composing) => shown,
        () = shared.stopping.cancelled() => Ok(()),
    };
    if let Err(problem) = shown {
        // Nobody is hurt by a missing indicator; whatever is wrong will be told by the send itself.
        tracing::debug!(account_id = %run.id, message_id = %candidate.id, %problem, "the typing indicator could not be shown");
    }
    Wake::At(after(now, lasts))
}
