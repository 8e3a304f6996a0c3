//! The other chats of a person, on any account: before a message of a campaign, they are read as its own chat is, because
//! a wish to be left alone holds for every account (P5).
//!
//! `preflight.rs` calls [`look`] after the message's own chat was read. Chats of an account that is down, or that cannot be
//! read for good, are passed over: nothing would ever end that wait.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Shared;
use super::fresh_read::{Look, again_at, early, read, valid};
use super::poll;
use super::replies::{LOOK_BACK, MARGIN, hear, theirs};
use super::run::{AccountRun, Wake};
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
    if !policy.reply.check || !candidate.has_other_chats || look_at > now {
        return Ok(Look::Clear);
    }
    let monotonic = shared.clock.monotonic();
    run.preflight.others.retain(|(_, until)| *until > monotonic);
    let ago = |length| now.checked_sub(length).unwrap_or(Timestamp::MIN);
    let asked = OtherChats {
        seq: candidate.seq,
        written_since: ago(LOOK_BACK),
        read_before: ago(FRESH),
        except: run.preflight.others.iter().map(|(chat_id, _)| chat_id.clone()).collect(),
    };
    let Some((account, chat_id)) = shared.store.other_chat(asked).await? else { return Ok(Look::Clear) };
    let since = theirs(shared, now, ago(LOOK_BACK)).checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
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
