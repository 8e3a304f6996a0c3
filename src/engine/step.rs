//! One step of one account: selects a message, acts once, and says when to run again.
//!
//! The supervisor calls it, never twice at once for an account. It alone leads to a send, through `attempt.rs`.

use std::time::Duration;

use jiff::Timestamp;

use super::Shared;
use super::api_guard::Kind;
use super::attempt;
use super::fresh_read::{Look, limited};
use super::live::Claim;
use super::preflight;
use super::promises;
use super::run::{AccountRun, Wake};
use super::selection::{Selected, selected};
use super::starts;
use super::steps;
use super::wall_clock::Dating;
use crate::domain::message::{ChatId, Target};
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::waiting::Waiting;
use crate::policy::decide::{Until, Verdict, gates, rests_until};
use crate::policy::fair_share::Share;
use crate::policy::hours::{Hours, account_seed, hours_at};
use crate::policy::pace;
use crate::policy::settle::after;
use crate::provider::Composing;
use crate::store::{Asker, Candidate, StoreError};
use crate::traces::Span;

/// The shortest timeout of the request that shows the indicator.
const SHORTEST_TYPING: Duration = Duration::from_secs(1);
/// How long an account rests that decides the same thing without an end, so that it holds up no other.
const AFTER_LOOP: Duration = Duration::from_secs(60);

/// Runs one step. An error comes from the store; nothing was sent then.
pub(super) async fn step(shared: &Shared, run: &mut AccountRun) -> Result<Wake, StoreError> {
    let (now, dating) = shared.settled_now().await;
    if shared.stopping.is_cancelled() {
        shared.live.release(&run.id);
        return Ok(Wake::Idle);
    }
    if run.lost_call {
        let reconcile_at = super::recover::first_read(&shared.policies(), now);
        shared.store.abandon(run.id.clone(), now, reconcile_at).await?;
        let monotonic = shared.clock.monotonic();
        let pause = shared.policy(&run.id).gap.max + pace::CUT;
        shared.pace.set(&run.id, monotonic + pause, monotonic);
        shared.unresolved.notify_one();
        run.lost_call = false;
    }
    starts::delay_first_call(shared, &run.id);
    let Some(selected) = selected(shared, &run.id, now, Asker::Engine, Some(&mut run.sent)).await? else {
        shared.live.release(&run.id);
        run.note_wait(shared, None, now);
        return Ok(Wake::Idle);
    };
    if selected.candidates.has_begun_waits {
        steps::schedule(shared, &run.id, now).await?;
        shared.api.stays(&run.id);
        return Ok(Wake::Now);
    }
    if selected.candidates.returns_retries {
        shared.store.return_retries(run.id.clone(), now).await?;
        shared.api.stays(&run.id);
        return Ok(Wake::Now);
    }
    if run.looks_up_otherwise(&selected.policy) {
        shared.store.look_again(run.id.clone(), now).await?;
        shared.api.stays(&run.id);
        return Ok(Wake::Now);
    }
    if run.calls.decides_again(&selected.candidates.messages) {
        promises::loops(shared, &run.id);
        shared.live.release(&run.id);
        return Ok(Wake::At(after(now, AFTER_LOOP)));
    }
    if defer(shared, run, &selected).await? {
        shared.api.stays(&run.id);
        return Ok(Wake::Now);
    }
    let wake = match selected.selection.next {
        Some(place) => act(shared, run, &selected, place, dating).await?,
        None => {
            shared.live.release(&run.id);
            run.note_wait(shared, selected.selection.standing().map(|(_, verdict)| verdict), now);
            Wake::Idle
        }
    };
    // Another message that becomes due meanwhile may go first.
    Ok(match (wake, selected.selection.wake_at) {
        (Wake::At(own), Some(other)) => Wake::At(own.min(other)),
        (Wake::Idle, Some(other)) => Wake::At(other),
        (wake, _) => wake,
    })
}

/// Defers one due candidate that waits for something of its own, so that the next one of its lane becomes a
/// candidate; returns whether there was one.
async fn defer(shared: &Shared, run: &AccountRun, selected: &Selected) -> Result<bool, StoreError> {
    let now = selected.now;
    for (place, verdict) in selected.selection.verdicts.iter().enumerate() {
        let (candidate, message) = selected.candidate(place);
        if let Some(until) = shorter_rest(selected, message) {
            let why = "the rest after a message to this person became shorter".to_owned();
            shared.store.defer(candidate.seq, Reason::RecipientRest, until, why, now).await?;
            return Ok(true);
        }
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
        if let Some(stop) = message.stop
            && matches!(verdict, Verdict::Wait { reason, .. } if *reason == stop.reason.reason())
        {
            shared.store.apply_stop(stop.id, now).await?;
            return Ok(true);
        }
        if matches!(verdict, Verdict::Wait { reason: Reason::Held, .. }) {
            shared.store.keep_held(candidate.seq, now).await?;
            return Ok(true);
        }
        if preflight::held(shared, run, candidate, now).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns until when a message rests that was deferred under a longer `order.per_recipient`.
fn shorter_rest(selected: &Selected, message: &Waiting) -> Option<Timestamp> {
    let deferred =
        message.retry_at.filter(|_| message.deferred == Some(Reason::RecipientRest) && !message.held)?;
    let until = rests_until(&selected.selection_input().for_message(message, None)).unwrap_or(selected.now);
    Some(until.max(selected.now)).filter(|until| *until < deferred)
}

/// Acts on the verdict on the message that goes next.
async fn act(
    shared: &Shared,
    run: &mut AccountRun,
    selected: &Selected,
    place: usize,
    dating: Dating<'_>,
) -> Result<Wake, StoreError> {
    let (now, policy) = (selected.now, &*selected.policy);
    let verdict = &selected.selection.verdicts[place];
    let (candidate, message) = selected.candidate(place);
    let mut candidate = candidate.clone();
    run.note_wait(shared, Some(verdict), now);
    run.trace_wait(shared, candidate.id, verdict, now);
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
        let wants = wants_typing(&candidate, policy) && shared.api.shows_typing();
        if !types && wants && goes_after_typing(run, &candidate, policy, now, free_at) {
            return typing(shared, run, &candidate, policy, now, free_at).await;
        }
    }
    match *verdict {
        Verdict::Send => {
            let input = selected.selection_input().for_message(message, None);
            let share = Share { virtual_time: selected.candidates.virtual_time, finish: candidate.finish };
            let share = selected.takes_turns(&candidate).then_some(share);
            attempt::attempt(shared, run, candidate, &input, share, dating).await
        }
        Verdict::Stop { .. } => {
            let expired = shared.store.expire(now).await?;
            // These include other accounts, whose next messages may have waited for the expired ones.
            shared.wakeups.add(expired.into_iter().map(|account| (account, now)));
            Ok(Wake::Now)
        }
        Verdict::Wait { reason: Reason::Typing | Reason::Gap | Reason::Break, until: Until::At(at) } => {
            Ok(Wake::At(at))
        }
        // The guard wakes the account when its permit is ready.
        Verdict::Wait { reason: Reason::ApiTrial | Reason::ApiBusy, .. } => {
            shared.api.stays(&run.id);
            Ok(Wake::Idle)
        }
        // The guard wakes the account when the API can be reached again.
        Verdict::Wait { reason: Reason::ApiUnreachable, .. } => {
            if shared.api.busy(&run.id).silent_until.is_some() {
                shared.api.stays(&run.id);
                return Ok(Wake::Idle);
            }
            shared.live.release(&run.id);
            Ok(if shared.api.waits_for_api(&run.id) { Wake::Idle } else { Wake::Now })
        }
        // Another run left a call open, or a call is just ending.
        Verdict::Wait { reason: Reason::InFlight, .. } => Ok(Wake::At(after(now, Duration::from_secs(1)))),
        Verdict::Wait { .. } => {
            shared.live.release(&run.id);
            Ok(Wake::Idle)
        }
    }
}

/// Returns whether to show the typing indicator. It needs a chat, and before a first message there is none.
fn wants_typing(candidate: &Candidate, policy: &Policy) -> bool {
    typing_chat(candidate).is_some() && candidate.typing.unwrap_or(policy.typing.enabled)
}

/// Returns whether the message can still go when its indicator ends: hours may end before, and it may expire.
fn goes_after_typing(
    run: &mut AccountRun,
    candidate: &Candidate,
    policy: &Policy,
    now: Timestamp,
    free_at: Timestamp,
) -> bool {
    let goes_at = free_at.max(after(now, run.typing_time(candidate, policy)));
    let ignores_hours = candidate.lane.urgent && candidate.lane.ignore_hours;
    let hours = hours_at(policy.calendar.as_ref(), &policy.zone, account_seed(run.id.as_str()), goes_at);
    (ignores_hours || !matches!(hours, Hours::Closed { .. }))
        && candidate.expires_at.is_none_or(|expires_at| expires_at > goes_at)
}

/// Returns the chat that would show the typing indicator; a forward without a text shows none.
fn typing_chat(candidate: &Candidate) -> Option<&ChatId> {
    match &candidate.target {
        Target::Chat(chat_id) => Some(chat_id),
        Target::Forward { chat_id, .. } => Some(chat_id).filter(|_| !candidate.text.is_empty()),
        Target::User { .. } | Target::Group { .. } => None,
    }
}

/// Shows the typing indicator so that it ends with the gap; on a free account it comes before the send.
async fn typing(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    policy: &Policy,
    now: Timestamp,
    free_at: Timestamp,
) -> Result<Wake, StoreError> {
    let duration = run.typing_time(candidate, policy);
    let begin_at = free_at.checked_sub(duration).unwrap_or(now);
    if begin_at > now {
        return Ok(Wake::At(begin_at));
    }
    let Some(chat_id) = typing_chat(candidate) else { return Ok(Wake::Now) };
    let monotonic = shared.clock.monotonic();
    let gap_left = Duration::try_from(free_at.duration_since(now)).unwrap_or_default();
    // Typing needs the permit of its send as well; the guard wakes the account when both are available.
    let typing = Kind::Typing { free_at: monotonic + gap_left, lasts: duration };
    let Some(permit) = run.ask(shared, typing) else { return Ok(Wake::Idle) };
    let typing_until = permit.typed_until.unwrap_or(monotonic + gap_left.max(duration));
    shared.live.claim(&run.id, Claim { message_id: candidate.id, typing_until });
    let lasts = typing_until.saturating_sub(monotonic);
    shared.store.traces().record(|| Span::new(candidate.id, "typing", now, after(now, lasts)));
    let records = candidate.extras.attachments.iter().any(|file| file.voice_note);
    let composing = if records { Composing::Recording } else { Composing::Typing };
    let call = permit.begin();
    let shown = tokio::select! {
        shown = shared.provider.set_composing(run.id.clone(), chat_id.clone(), composing) => {
            call.ended_read(&shown);
            shown
        }
        // The indicator has missed its moment; the send does not wait for it.
        () = shared.clock.sleep(lasts.max(SHORTEST_TYPING)) => {
            call.typing_missed();
            Ok(())
        }
        () = shared.stopping.cancelled() => Ok(()),
        () = shared.wall_clock.is_waited_for() => Ok(()),
    };
    if let Err(unread) = shown {
        if limited(shared, run, &unread, after(now, shared.clock.monotonic() - monotonic)).await? {
            shared.live.release(&run.id);
            return Ok(Wake::Now);
        }
        // A missing indicator does no harm; if something else is wrong, the send reports it.
        tracing::debug!(account_id = %run.id, message_id = %candidate.id, problem = %unread.problem, "the typing indicator could not be shown");
    }
    Ok(Wake::At(after(now, lasts)))
}
