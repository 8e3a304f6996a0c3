//! Polls the chats for which something is queued: finds answers and receipts without webhooks, or in addition to them.
//!
//! One task for all accounts. In each round it reads one chat of each account, the one that was not read for the longest
//! time, so that an account makes at most [`PER_INTERVAL`] such reads within `inbound.poll`, also after a restart. The
//! reads go last at the API guard, and `replies.rs` interprets what they show, as for a read before a follow-up. No
//! promise depends on it: a follow-up reads its chat itself.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::task::JoinSet;

use super::Shared;
use super::account_sync::{AGAIN, asked_rest};
use super::api_guard::Kind;
use super::reconcile::{MAX_READS, join_next};
use super::replies::{MARGIN, hear, theirs};
use crate::domain::account::Down;
use crate::domain::message::{AccountId, ChatId};
use crate::domain::observed::{ObservedMessage, Unread};
use crate::store::{ChatRead, ChatToPoll, StoreError};

/// The most reads of one account within the interval: every 20 s by default, the longest gap of the guide.
const PER_INTERVAL: u32 = 90;
/// Chats that were written to longer ago are not polled.
const RECENT: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Polls until the engine stops; a read in progress is then cancelled.
pub(super) async fn run(shared: Arc<Shared>, every: Duration) {
    // The work runs in a task of its own, so that this one only sleeps or waits for it.
    let mut rounds = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = shared.stopping.cancelled() => break,
            () = shared.clock.sleep(every / PER_INTERVAL) => {}
        }
        rounds.spawn(round(Arc::clone(&shared), every));
        let ended = tokio::select! {
            biased;
            () = shared.stopping.cancelled() => break,
            ended = rounds.join_next() => ended,
        };
        // The end of this task ends the process.
        let Some(Ok(())) = ended else { return };
    }
    rounds.shutdown().await;
}

/// Reads the next chat of each account that has one due.
async fn round(shared: Arc<Shared>, every: Duration) {
    if shared.api.health().unreachable_until.is_some() {
        return;
    }
    let now = shared.clock.now();
    let tried_before = now.checked_sub(every).unwrap_or(Timestamp::MIN);
    let recent = now.checked_sub(RECENT).unwrap_or(Timestamp::MIN);
    let due = match shared.store.chats_to_poll(tried_before, recent).await {
        Ok(due) => due,
        Err(error) => {
            tracing::warn!(error = error.chain(), "cannot tell which chats to read; trying again soon");
            return;
        }
    };
    let (mut due, mut reads) = (due.into_iter(), JoinSet::new());
    loop {
        for chat in due.by_ref().take(MAX_READS - reads.len()) {
            let shared = Arc::clone(&shared);
            reads.spawn(async move {
                if let Err(error) = poll(&shared, &chat).await {
                    let (account, chat) = (&chat.account_id, &chat.chat_id);
                    tracing::warn!(account_id = %account, chat_id = %chat, error = error.chain(), "what a chat shows is not kept; it is read again");
                }
            });
        }
        // A panic was reported already.
        if join_next(&shared, &mut reads).await.is_none() {
            return;
        }
    }
}

async fn poll(shared: &Shared, chat: &ChatToPoll) -> Result<(), StoreError> {
    let ChatToPoll { account_id, chat_id, .. } = chat;
    let recent = shared.clock.now().checked_sub(RECENT).unwrap_or(Timestamp::MIN);
    let note = async |result| {
        let now = shared.unset_now();
        shared.store.note_chat_read(account_id.clone(), chat_id.clone(), result, now).await
    };
    if !chat.is_wanted {
        let _dating = shared.settled_now().await;
        return note(ChatRead::NotWanted(recent)).await;
    }
    if shared.live.reads_rest(account_id, shared.clock.monotonic()).is_some() {
        return Ok(());
    }
    let read = read(shared, chat).await;
    let (now, _dating) = shared.settled_now().await;
    match read {
        Ok(messages) => {
            let policy = shared.policy(account_id);
            let concerned = hear(shared, account_id, chat_id, messages, &policy).await?.accounts;
            shared.wakeups.add(concerned.into_iter().map(|account| (account, now)));
            note(ChatRead::Read).await
        }
        Err(unread) => {
            failed(shared, account_id, chat_id, unread).await?;
            note(ChatRead::Failed).await
        }
    }
}

async fn read(shared: &Shared, chat: &ChatToPoll) -> Result<Vec<ObservedMessage>, Unread> {
    let ChatToPoll { account_id, chat_id, since, .. } = chat;
    let call = shared.api.wait(account_id, Kind::Poll).await.begin();
    let since = theirs(shared, shared.clock.now(), *since);
    let since = since.checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
    let pages = shared.api.pages(account_id, Kind::Poll);
    let read = shared.provider.messages_since(account_id.clone(), chat_id.clone(), since, pages).await;
    call.ended_read(&read);
    read
}

/// Records a failed read: the account is down, or its reads pause. Sends do not wait for a poll. The caller holds a
/// `Dating`.
pub(super) async fn failed(
    shared: &Shared,
    account_id: &AccountId,
    chat_id: &ChatId,
    unread: Unread,
) -> Result<(), StoreError> {
    tracing::debug!(%account_id, %chat_id, problem = %unread.problem, "a chat could not be read for answers");
    if let Some(cause) = unread.down {
        let down = Down { cause, since: shared.unset_now(), problem: unread.problem.to_string() };
        return shared.store.note_down(account_id.clone(), down).await;
    }
    // A chat that cannot be read at all says nothing about the others.
    if let Some(said) = asked_rest(&unread).filter(|_| !unread.problem.is_final()) {
        let monotonic = shared.clock.monotonic();
        shared.live.rest_reads(account_id, *unread.problem, said.max(AGAIN), monotonic);
    }
    Ok(())
}
