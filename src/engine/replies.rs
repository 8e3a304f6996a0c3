//! What a chat shows: answers, messages of the owner, receipts. Before a follow-up, its chat is read, so that a person
//! who answered gets no further message (P5); `poll.rs` reads chats at other times.
//!
//! `step.rs` calls [`look`] for a message that an answer would stop, into a conversation in which the account has sent
//! before. Webhooks may be late, lost or switched off, so they are not relied on. A read that fails defers the
//! message (`reply_unknown`); it is never sent unread.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};

use super::Shared;
use super::fresh_read::{Failed, Look, again_at, early, failed, read, refuse, valid};
use super::run::{AccountRun, Wake};
use crate::domain::heard::{Heard, HeardMessage, Meaning, News, Receipt};
use crate::domain::message::{AccountId, ChatId};
use crate::domain::observed::ObservedMessage;
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::policy::evidence::LOOK_BACK_BY_WALL_CLOCK;
use crate::policy::replies::meaning;
use crate::store::{Candidate, ChatRead, HEARD_AT_ONCE, StoreError, ToHear};

/// How much further back the chat is read, for clocks that differ.
pub(super) const MARGIN: SignedDuration = SignedDuration::from_mins(10);

/// A chat is read back at least as far: a wish to be left alone, and an absence until a date, hold a campaign that
/// began after them as well.
pub(super) const LOOK_BACK: SignedDuration = SignedDuration::from_hours(60 * 24);

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
    let since = ask.since.min(now.checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN));
    let since = theirs(shared, now, since).checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
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
    let Consequence { accounts: others, is_known } =
        hear(shared, &run.id, &ask.chat_id, messages, policy).await?;
    shared.wakeups.add(others.into_iter().filter(|id| *id != run.id).map(|id| (id, now)));
    if !is_known {
        let error = "the chat shows a message that the owner wrote by hand, or that is a call's whose outcome is not known";
        let until = again_at(run, now);
        shared.store.defer(candidate.seq, Reason::ReplyUnknown, until, error.to_owned(), now).await?;
        return Ok(Look::Wake(Wake::Now));
    }
    shared.store.note_chat_read(run.id.clone(), ask.chat_id.clone(), ChatRead::Read, now).await?;
    let until = shared.clock.monotonic() + valid(policy);
    run.preflight.unanswered = Some((candidate.id, until));
    run.preflight.failed = 0;
    Ok(Look::Wake(Wake::Now))
}

/// What follows from a chat that was read.
pub(super) struct Consequence {
    /// The accounts that it concerns.
    pub(super) accounts: HashSet<AccountId>,
    /// Whether it is known of each message who wrote it.
    pub(super) is_known: bool,
}

/// Applies what a chat shows and is not known yet, oldest message first. The caller holds a `Dating`.
pub(super) async fn hear(
    shared: &Shared,
    account: &AccountId,
    chat_id: &ChatId,
    messages: Vec<ObservedMessage>,
    policy: &Policy,
) -> Result<Consequence, StoreError> {
    let shown: Vec<(&str, bool)> =
        messages.iter().map(|message| (message.id.as_str(), message.is_edited)).collect();
    let unknown = shared.store.unheard(account, chat_id, &shown).await?;
    let mut news = receipts(shared, account, chat_id, &messages).await?;
    for message in messages.iter().rev().filter(|message| unknown.contains(&message.id)) {
        let now = shared.unset_now();
        let at = ours(shared, now, message.at);
        let meaning = match message.is_deleted || message.is_silent {
            true => Meaning::Nothing,
            false => meaning(&message.text, message.at, policy),
        };
        let heard = HeardMessage {
            chat_id: chat_id.clone(),
            message_id: message.id.clone(),
            sender_id: message.sender_id.clone(),
            is_sender: message.is_sender,
            at,
            meaning,
            is_edited: message.is_edited,
            text: message.text.clone(),
        };
        news.push(News::Message(heard));
    }
    let to_hear = |news| {
        let heard = Heard { account_id: account.clone(), news, person: None };
        ToHear { says: Ok((heard, policy.reply)), webhook: None }
    };
    let all: Vec<ToHear> = news.into_iter().map(to_hear).collect();
    let mut done = Vec::with_capacity(all.len());
    for some in all.chunks(HEARD_AT_ONCE) {
        done.extend(shared.store.hear(some.to_vec(), shared.unset_now()).await?);
    }
    let is_known = done.iter().all(|done| done.effect.is_some());
    let mut accounts = HashSet::new();
    for done in done {
        if let Some(effect) = done.effect.filter(|effect| effect.is_news()) {
            let (effect, cancelled) = (effect.as_str(), done.cancelled);
            tracing::info!(account_id = %account, %chat_id, effect, cancelled, "heard by reading the chat");
        }
        accounts.extend(done.accounts);
    }
    Ok(Consequence { accounts, is_known })
}

/// Returns the receipts that the chat shows and that are not known. It does not show when a message was read: now, at
/// the latest.
async fn receipts(
    shared: &Shared,
    account: &AccountId,
    chat_id: &ChatId,
    messages: &[ObservedMessage],
) -> Result<Vec<News>, StoreError> {
    let shown = || messages.iter().filter(|message| message.is_seen || message.is_delivered);
    let unread = shared.store.without_receipts(account, shown().map(|message| message.id.as_str())).await?;
    let at = shared.unset_now();
    let is_news = |message: &&ObservedMessage| {
        unread.get(&message.id).is_some_and(|is_delivered| message.is_seen || !is_delivered)
    };
    let receipt = |message: &ObservedMessage| {
        let (message_id, chat_id) = (Some(message.id.clone()), Some(chat_id.clone()));
        News::Receipt(Receipt { message_id, chat_id, user_id: None, at, is_read: message.is_seen })
    };
    Ok(shown().filter(is_news).map(receipt).collect())
}

/// Converts a time of ours to the provider's clock: how long ago something was is the same by both. Before the first
/// answer of a process shows that clock, ours may be days ahead of it, so the result is earlier.
pub(super) fn theirs(shared: &Shared, now: Timestamp, at: Timestamp) -> Timestamp {
    match shared.provider.time() {
        Some(time) => time.earliest.checked_sub(now.duration_since(at)).unwrap_or(at),
        None => at.checked_sub(LOOK_BACK_BY_WALL_CLOCK).unwrap_or(Timestamp::MIN),
    }
}

/// Converts a time of the provider's to our clock, if in doubt to a later one: an answer in the second of our message
/// counts. What the provider dates into the future was now.
fn ours(shared: &Shared, now: Timestamp, at: Timestamp) -> Timestamp {
    let Some(time) = shared.provider.time() else { return at.min(now) };
    let ago = time.earliest.duration_since(at).max(SignedDuration::ZERO);
    crate::domain::whole_milliseconds(now.checked_sub(ago).unwrap_or(now))
}
