//! The other chats of a person, on any account: before a message of a campaign, they are read as its own chat is, because
//! a wish to be left alone holds for every account (P5).
//!
//! `preflight.rs` calls [`look`] after the message's own chat was read. Before a follow-up, the chats of its account with the
//! person are looked up as well, because the person may have answered in a chat into which the account has never sent.
//! Chats of an account that is down, or that cannot be read for good, are passed over: nothing would ever end that wait.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Shared;
use super::fresh_read::{Failed, Look, again_at, early, failed, read, valid};
use super::poll;
use super::replies::{LOOK_BACK, MARGIN, hear, theirs};
use super::run::{AccountRun, Wake};
use crate::domain::message::{AccountId, ChatId, UserId};
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::store::{Candidate, ChatRead, OtherChats, StoreError};

/// A chat that was read within this time is not read again.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// How long a chat that cannot be read is passed over.
const PASSED_OVER_FOR: Duration = Duration::from_secs(3600);

/// Reads one of the person's other chats, if one was not read a moment ago.
pub(super) async fn look(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    policy: &Policy,
    now: Timestamp,
    free_at: Timestamp,
) -> Result<Look, StoreError> {
    let look_at = free_at.checked_sub(early(policy)).unwrap_or(now);
    if !policy.reply.check || look_at > now {
        return Ok(Look::Clear);
    }
    let monotonic = shared.clock.monotonic();
    run.preflight.others.retain(|(_, until)| *until > monotonic);
    if candidate.has_other_chats
        && let Some((account, chat_id)) = written_to(shared, run, candidate, now).await?
    {
        return hear_chat(shared, run, candidate, policy, now, (account, chat_id)).await;
    }
    let (Some(user_id), Some(ask)) = (&candidate.person, &candidate.ask) else { return Ok(Look::Clear) };
    let found = run.preflight.chats.as_ref();
    let found = found.filter(|(id, _, until)| *id == candidate.id && monotonic < *until);
    let Some((_, chats, _)) = found else {
        return look_up(shared, run, candidate, policy, now, user_id.clone()).await;
    };
    let is_read = |chat_id: &ChatId| run.preflight.others.iter().any(|(read, _)| read == chat_id);
    match chats.iter().find(|chat_id| **chat_id != ask.chat_id && !is_read(chat_id)).cloned() {
        Some(chat_id) => {
            let chat = (run.id.clone(), chat_id);
            hear_chat(shared, run, candidate, policy, now, chat).await
        }
        None => Ok(Look::Clear),
    }
}

/// Returns a chat with the person into which something was sent and that was not read a moment ago.
async fn written_to(
    shared: &Shared,
    run: &AccountRun,
    candidate: &Candidate,
    now: Timestamp,
) -> Result<Option<(AccountId, ChatId)>, StoreError> {
    let ago = |length| now.checked_sub(length).unwrap_or(Timestamp::MIN);
    let asked = OtherChats {
        seq: candidate.seq,
        written_since: ago(LOOK_BACK),
        read_before: ago(FRESH),
        except: run.preflight.others.iter().map(|(chat_id, _)| chat_id.clone()).collect(),
    };
    shared.store.other_chat(asked).await
}

/// Looks up the chats of the account with the person, once for each follow-up.
async fn look_up(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    policy: &Policy,
    now: Timestamp,
    user_id: UserId,
) -> Result<Look, StoreError> {
    let account = run.id.clone();
    let chats = match read(shared, run, |_pages| shared.provider.chats_with(account, user_id)).await {
        Err(wake) => return Ok(Look::Wake(wake)),
        Ok(Ok(chats)) => {
            run.preflight.failed = 0;
            chats
        }
        Ok(Err(unread)) => match failed(shared, run, unread, now).await? {
            Failed::Elsewhere => return Ok(Look::Wake(Wake::Now)),
            Failed::Until { until, problem } => {
                let error = format!("the chats with this person could not be looked up: {problem}");
                shared.store.defer(candidate.seq, Reason::ReplyUnknown, until, error, now).await?;
                return Ok(Look::Wake(Wake::Now));
            }
            Failed::ForGood(problem) => {
                tracing::warn!(account_id = %run.id, message_id = %candidate.id, %problem, "the chats with this person cannot be looked up; the message goes on");
                Vec::new()
            }
        },
    };
    run.preflight.chats = Some((candidate.id, chats, shared.clock.monotonic() + valid(policy)));
    Ok(Look::Wake(Wake::Now))
}

/// Reads a chat and applies what it shows.
async fn hear_chat(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    policy: &Policy,
    now: Timestamp,
    (account, chat_id): (AccountId, ChatId),
) -> Result<Look, StoreError> {
    let monotonic = shared.clock.monotonic();
    let ago = now.checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
    let since = theirs(shared, now, ago).checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
    let (reader, chat) = (account.clone(), chat_id.clone());
    let reading = read(shared, run, |pages| shared.provider.messages_since(reader, chat, since, pages)).await;
    let messages = match reading {
        Err(wake) => return Ok(Look::Wake(wake)),
        Ok(Ok(messages)) => messages,
        Ok(Err(unread)) => {
            let (is_final, is_down) = (unread.problem.is_final(), unread.down.is_some());
            let error =
                format!("the chat of {account} with this person could not be read: {}", unread.problem);
            poll::failed(shared, &account, &chat_id, unread).await?;
            if is_final && !is_down {
                tracing::warn!(account_id = %run.id, message_id = %candidate.id, error, "the message goes on");
                run.preflight.others.push((chat_id, monotonic + PASSED_OVER_FOR));
            } else if !is_down && shared.api.health().unreachable_until.is_none() {
                let until = again_at(run, now);
                shared.store.defer(candidate.seq, Reason::ReplyUnknown, until, error, now).await?;
            }
            return Ok(Look::Wake(Wake::Now));
        }
    };
    let concerned = hear(shared, &account, &chat_id, messages, &shared.policy(&account)).await?.accounts;
    shared.wakeups.add(concerned.into_iter().filter(|id| *id != run.id).map(|id| (id, now)));
    shared.store.note_chat_read(account, chat_id.clone(), ChatRead::Read, now).await?;
    run.preflight.others.push((chat_id, shared.clock.monotonic() + valid(policy)));
    run.preflight.failed = 0;
    Ok(Look::Wake(Wake::Now))
}
