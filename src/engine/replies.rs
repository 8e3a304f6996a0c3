//! Before a follow-up, reads its chat: a person who answered gets no further message (P5).
//!
//! `step.rs` calls this for a message that an answer would stop, into a conversation in which the account has sent
//! before. Webhooks may be late, lost or switched off, so they are not relied on. A read that fails defers the
//! message (`reply_unknown`); it is never sent unread.

use jiff::{SignedDuration, Timestamp};

use super::Shared;
use super::fresh_read::{Failed, Look, early, failed, read, refuse, valid};
use super::run::{AccountRun, Wake};
use crate::domain::heard::{Heard, HeardMessage, Meaning, News};
use crate::domain::observed::ObservedMessage;
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::policy::replies::meaning;
use crate::store::{Candidate, StoreError};

/// How much further back the chat is read, for clocks that differ.
const MARGIN: SignedDuration = SignedDuration::from_mins(10);

/// Reads the chat of `candidate`, unless it was read a moment ago or need not be.
pub(super) async fn look(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    policy: &Policy,
    now: Timestamp,
    free_at: Timestamp,
) -> Result<Look, StoreError> {
    let Some(ask) = candidate.ask.clone().filter(|_| policy.reply.check) else { return Ok(Look::Clear) };
    let monotonic = shared.clock.monotonic();
    if run.preflight.unanswered.is_some_and(|(id, until)| id == candidate.id && monotonic < until) {
        return Ok(Look::Clear);
    }
    let look_at = free_at.checked_sub(early(policy)).unwrap_or(now);
    if look_at > now {
        return Ok(Look::Wake(Wake::At(look_at)));
    }
    let since = theirs(shared, now, ask.since).checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
    let (account, chat_id) = (run.id.clone(), ask.chat_id.clone());
    let reading =
        read(shared, run, |pages| shared.provider.messages_since(account, chat_id, since, pages)).await;
    let messages = match reading {
        Err(wake) => return Ok(Look::Wake(wake)),
        Ok(Ok(messages)) => messages,
        Ok(Err(unread)) => {
            match failed(shared, run, unread, now).await? {
                Failed::Elsewhere => {}
                Failed::Until { until, problem } => {
                    let error = problem.to_string();
                    shared.store.defer(candidate.seq, Reason::ReplyUnknown, until, error, now).await?;
                }
                Failed::ForGood(problem) => {
                    let error = format!("the chat cannot be read for an answer: {problem}");
                    refuse(shared, run, candidate, error, now).await?;
                }
            }
            return Ok(Look::Wake(Wake::Now));
        }
    };
    hear(shared, run, &ask.chat_id, messages, policy).await?;
    let until = shared.clock.monotonic() + valid(policy);
    run.preflight.unanswered = Some((candidate.id, until));
    run.preflight.failed = 0;
    Ok(Look::Wake(Wake::Now))
}

/// Applies the messages of a chat that are not known yet, oldest first.
pub(super) async fn hear(
    shared: &Shared,
    run: &AccountRun,
    chat_id: &crate::domain::message::ChatId,
    messages: Vec<ObservedMessage>,
    policy: &Policy,
) -> Result<(), StoreError> {
    let ids: Vec<&str> = messages.iter().map(|message| message.id.as_str()).collect();
    let unknown = shared.store.unheard(&run.id, chat_id, &ids).await?;
    for message in messages.iter().rev().filter(|message| unknown.contains(&message.id)) {
        let now = shared.clock.now();
        let at = ours(shared, now, message.at);
        let meaning = match message.is_deleted {
            true => Meaning::Nothing,
            false => meaning(&message.text, at, &policy.zone),
        };
        let heard = HeardMessage {
            chat_id: chat_id.clone(),
            message_id: message.id.clone(),
            sender_id: None,
            is_sender: message.is_sender,
            at,
            meaning,
        };
        let heard = Heard { account_id: run.id.clone(), news: News::Message(heard), person: None };
        let done = shared.store.hear(heard, None, policy.reply, now).await?;
        if let Some(effect) = done.effect.filter(|effect| effect.is_news()) {
            let (effect, cancelled) = (effect.as_str(), done.cancelled);
            tracing::info!(account_id = %run.id, %chat_id, effect, cancelled, "a message of the chat was heard");
        }
        let others = done.accounts.into_iter().filter(|account| *account != run.id);
        shared.wakeups.add(others.map(|account| (account, now)));
    }
    Ok(())
}

/// Converts a time of ours to the provider's clock: how long ago something was is the same by both.
fn theirs(shared: &Shared, now: Timestamp, at: Timestamp) -> Timestamp {
    let Some(time) = shared.provider.time() else { return at };
    time.earliest.checked_sub(now.duration_since(at)).unwrap_or(at)
}

/// Converts a time of the provider's to our clock, if in doubt to a later one: an answer in the second of our message
/// counts. What the provider dates into the future was now.
fn ours(shared: &Shared, now: Timestamp, at: Timestamp) -> Timestamp {
    let Some(time) = shared.provider.time() else { return at.min(now) };
    let ago = time.earliest.duration_since(at).max(SignedDuration::ZERO);
    crate::domain::whole_milliseconds(now.checked_sub(ago).unwrap_or(now))
}
