//! One step of one account: select, act once, say when to look again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Shared;
use super::api_guard::Kind;
use super::attempt;
use super::ledger::KeptLedger;
use super::live::Claim;
use super::preflight::{self, Look, Preflight};
use super::selection::{Selected, selected};
use crate::clock::{self, KeptDice};
use crate::domain::message::{AccountId, ChatId, MessageId, Target};
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::policy::decide::{Until, Verdict, gates};
use crate::policy::fair_share::Share;
use crate::policy::hours::{self, account_seed};
use crate::policy::pace;
use crate::policy::settle::after;
use crate::provider::Composing;
use crate::store::{Candidate, StoreError};

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
    /// How long to type before this message; drawn once.
    plan: Option<(MessageId, Duration)>,
    /// A step of this account ended in a bug: its call may be open with nobody waiting for its answer.
    pub(super) lost_call: bool,
    /// What was looked up for the next message.
    pub(super) preflight: Preflight,
    /// What the account waited for last, if that ends for many accounts at one moment.
    waited_for: Option<Reason>,
    /// What it has sent.
    pub(super) sent: KeptLedger,
}

impl AccountRun {
    pub(super) fn new(id: AccountId, seed: u64) -> Self {
        let dice = clock::kept_dice(seed ^ account_seed(id.as_str()));
        let gap_dice = clock::kept_dice(gap_seed(seed, &id));
        let (preflight, sent) = (Preflight::default(), KeptLedger::default());
        Self { id, dice, gap_dice, plan: None, lost_call: false, preflight, waited_for: None, sent }
    }

    /// Remembers what the account waits for.
    fn note_wait(&mut self, verdict: Option<&Verdict>) {
        let Some(Verdict::Wait { reason, .. }) = verdict else { return };
        self.waited_for = Some(*reason).filter(|reason| is_shared(*reason));
    }

    /// Delays the first send after a moment at which many accounts become free (resume of all, a new day) by a time of the
    /// account's own within its gap, so that they do not all send at once; answers whether it did. Hours spread themselves
    /// (`Calendar::spread`).
    fn starts_late(&mut self, shared: &Shared, selected: &Selected) -> bool {
        let Some(reason) = self.waited_for.take() else { return false };
        let (now, policy) = (selected.now, &selected.policy);
        let by_cap = matches!(reason, Reason::Cap | Reason::WarmUp | Reason::HalfCaps);
        // A rolling window frees one account at a time; midnight frees all of a zone.
        let midnight = hours::day_of(&policy.zone, policy.zone.to_datetime(now).date());
        if by_cap && now.duration_since(midnight) > SAME_MOMENT {
            return false;
        }
        let delay = pace::draw_start(&mut self.dice, policy.gap);
        let monotonic = shared.clock.monotonic();
        shared.pace.delay(&self.id, monotonic + delay, monotonic);
        true
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

/// The request to show a short indicator may take this long.
const SHORTEST_TYPING: Duration = Duration::from_secs(1);
/// Accounts that become free within this time of midnight were held by the day.
const SAME_MOMENT: SignedDuration = SignedDuration::from_secs(2);

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
        let reconcile_at = super::recover::first_read(&shared.policies(), now);
        shared.store.abandon(run.id.clone(), now, reconcile_at).await?;
        let monotonic = shared.clock.monotonic();
        let pause = shared.policy(&run.id).gap.max + pace::CUT;
        shared.pace.set(&run.id, monotonic + pause, monotonic);
        shared.unresolved.notify_one();
        run.lost_call = false;
    }
    let Some(selected) = selected(shared, &run.id, now, Some(&mut run.sent)).await? else {
        shared.live.release(&run.id);
        return Ok(Wake::Idle);
    };
    if selected.candidates.has_more_retries {
        shared.store.return_retries(run.id.clone(), now).await?;
        shared.api.stays(&run.id);
        return Ok(Wake::Now);
    }
    if defer(shared, run, &selected).await? {
        shared.api.stays(&run.id);
        return Ok(Wake::Now);
    }
    let wake = match selected.selection.next {
        Some(place) => act(shared, run, &selected, place).await?,
        None => {
            shared.live.release(&run.id);
            run.note_wait(selected.selection.standing().map(|(_, verdict)| verdict));
            Wake::Idle
        }
    };
    // Something that becomes due meanwhile may go first.
    Ok(match (wake, selected.selection.wake_at) {
        (Wake::At(own), Some(other)) => Wake::At(own.min(other)),
        (Wake::Idle, Some(other)) => Wake::At(other),
        (wake, _) => wake,
    })
}

/// Defers one due candidate that waits for something of its own, so that the next one of its lane is looked at; answers
/// whether there was one.
async fn defer(shared: &Shared, run: &AccountRun, selected: &Selected) -> Result<bool, StoreError> {
    let now = selected.now;
    for (place, verdict) in selected.selection.verdicts.iter().enumerate() {
        let (candidate, message) = selected.candidate(place);
        if candidate.due_at > now || candidate.retry_at.is_some_and(|at| at > now) {
            continue;
        }
        if matches!(verdict, Verdict::Wait { reason: Reason::RecipientRest, .. }) {
            let gates = gates(&selected.selection_input().for_message(message, None));
            let rest = gates.into_iter().find(|gate| gate.reason == Reason::RecipientRest);
            if let Some(Until::At(until)) = rest.and_then(|gate| gate.closed) {
                let why = "this person was sent a message that started a chat a short time ago".to_owned();
                shared.store.defer(candidate.seq, Reason::RecipientRest, until, why, now).await?;
                return Ok(true);
            }
        }
        if preflight::held(shared, run, candidate, now).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Does what the verdict on the message that goes next says.
async fn act(
    shared: &Shared,
    run: &mut AccountRun,
    selected: &Selected,
    place: usize,
) -> Result<Wake, StoreError> {
    let (now, policy) = (selected.now, &*selected.policy);
    let verdict = &selected.selection.verdicts[place];
    let (candidate, message) = selected.candidate(place);
    let mut candidate = candidate.clone();
    run.note_wait(Some(verdict));
    if *verdict == Verdict::Send && run.starts_late(shared, selected) {
        return Ok(Wake::Now);
    }
    let free_at = selected.candidates.account.next_call_at.map_or(now, |at| at.max(now));
    let may_type =
        matches!(verdict, Verdict::Send | Verdict::Wait { reason: Reason::Gap | Reason::Break, .. });
    if may_type {
        let looks = preflight::look(shared, run, &mut candidate, policy, verdict, now, free_at).await?;
        if let Look::Wake(wake) = looks {
            return Ok(wake);
        }
        let types = shared.live.claim_of(&run.id).is_some_and(|claim| claim.message_id == candidate.id);
        if !types && wants_typing(&candidate, policy) {
            return Ok(typing(shared, run, &candidate, policy, now, free_at).await);
        }
    }
    match *verdict {
        Verdict::Send => {
            let input = selected.selection_input().for_message(message, None);
            let share = Share { virtual_time: selected.candidates.virtual_time, finish: candidate.finish };
            let share = selected.takes_turns(&candidate).then_some(share);
            attempt::attempt(shared, run, candidate, &input, share).await
        }
        Verdict::Stop { .. } => {
            let expired = shared.store.expire(now).await?;
            // Those of other accounts as well, whose next messages may have waited for them.
            shared.wakeups.add(expired.into_iter().map(|account| (account, now)));
            Ok(Wake::Now)
        }
        Verdict::Wait { reason: Reason::Typing | Reason::Gap | Reason::Break, until: Until::At(at) } => {
            Ok(Wake::At(at))
        }
        // The guard wakes the account when its permit is ready.
        Verdict::Wait { reason: Reason::ApiBusy, .. } => {
            shared.api.stays(&run.id);
            Ok(Wake::Idle)
        }
        // The guard wakes the account when the API can be reached again.
        Verdict::Wait { reason: Reason::ApiUnreachable, .. } => {
            shared.live.release(&run.id);
            Ok(if shared.api.waits_for_api(&run.id) { Wake::Idle } else { Wake::Now })
        }
        // A call that another run left open, or that is just ending.
        Verdict::Wait { reason: Reason::InFlight, .. } => Ok(Wake::At(after(now, Duration::from_secs(1)))),
        Verdict::Wait { .. } => {
            shared.live.release(&run.id);
            Ok(Wake::Idle)
        }
    }
}

/// Whether `reason` ends for many accounts at one moment.
fn is_shared(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::DaemonPaused
            | Reason::KeyRefused
            | Reason::Restored
            | Reason::Cap
            | Reason::WarmUp
            | Reason::HalfCaps
    )
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
    let Some(chat_id) = typing_chat(candidate) else { return Wake::Now };
    let monotonic = shared.clock.monotonic();
    let gap_left = Duration::try_from(free_at.duration_since(now)).unwrap_or_default();
    // Only with the permit of its send behind it; the guard wakes the account when there are both.
    let typing = Kind::Typing { free_at: monotonic + gap_left, lasts: duration };
    let Some(permit) = shared.api.ask(&run.id, typing) else { return Wake::Idle };
    let typing_until = permit.typed_until.unwrap_or(monotonic + gap_left.max(duration));
    shared.live.claim(&run.id, Claim { message_id: candidate.id, typing_until });
    let lasts = typing_until.saturating_sub(monotonic);
    let records = candidate.extras.attachments.iter().any(|file| file.voice_note);
    let composing = if records { Composing::Recording } else { Composing::Typing };
    let call = permit.begin();
    let shown = tokio::select! {
        shown = shared.provider.set_composing(run.id.clone(), chat_id.clone(), composing) => {
            call.ended(shown.as_ref().err());
            shown
        }
        // It has missed its moment; the send does not wait for it.
        () = shared.clock.sleep(lasts.max(SHORTEST_TYPING)) => Ok(()),
        () = shared.stopping.cancelled() => Ok(()),
    };
    if let Err(problem) = shown {
        // Nobody is hurt by a missing indicator; whatever is wrong will be told by the send itself.
        tracing::debug!(account_id = %run.id, message_id = %candidate.id, %problem, "the typing indicator could not be shown");
    }
    Wake::At(after(now, lasts))
}
