//! Preflight: looks up the inbox that starts a chat, the credits of an InMail, and the chat that may already exist.
//!
//! A step calls this once nothing else holds the message (or only the gap, if the chat is to show the typing
//! indicator). Every look-up is a fresh read from the provider, within the request rate; its result is valid for
//! [`GOOD_FOR`], and the step decides again, because much can happen during a read. A failed read never leads to a
//! guess: the message is deferred and the account goes on, except for inboxes, which Unipile checks as well. A
//! limited read rests the account as a limited send does; one that is refused for good says why on the message.

use std::time::Duration;

use jiff::Timestamp;

use super::Shared;
use super::fresh_read::{
    Failed, GOOD_FOR, Look, early, failed, gave_up, is_about_the_user, read, refuse, valid,
};
use super::run::{AccountRun, Routed, Wake};
use super::{account_sync, other_chats, profiles, replies, target};
use crate::domain::account_snapshot::Reading;
use crate::domain::message::{InboxId, Target, UserId};
use crate::domain::observed::Credits;
use crate::domain::outcome::ProviderError;
use crate::domain::policy::{Policy, Route};
use crate::domain::reason::Reason;
use crate::domain::specifics::{Credit, Specifics};
use crate::policy::decide::Verdict;
use crate::policy::inboxes::objection;
use crate::policy::settle::after;
use crate::store::{Candidate, InmailHold, StoreError};

/// The longest that the first read of an account's inboxes delays its message.
const FIRST_SIGHT: Duration = Duration::from_secs(5);
/// How long an inbox that could not be read is not read again.
const UNREAD_FOR: Duration = Duration::from_secs(60);

/// Defers an InMail while its credits are held, which needs no read; returns whether it did.
pub(super) async fn held(
    shared: &Shared,
    run: &AccountRun,
    candidate: &Candidate,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(credit) = credit_of(candidate) else { return Ok(false) };
    let Some(hold) = shared.store.inmail_hold(&run.id, credit).await? else { return Ok(false) };
    if hold.until <= now {
        return Ok(false);
    }
    aside(shared, run, candidate, credit, hold, now).await?;
    Ok(true)
}

/// Defers all InMails of a balance that are due, and `candidate` even if the store does not count it among them.
async fn aside(
    shared: &Shared,
    run: &AccountRun,
    candidate: &Candidate,
    credit: Credit,
    hold: InmailHold,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (until, why) = (hold.until, hold.why.clone());
    shared.store.hold_inmails(run.id.clone(), credit, hold, now).await?;
    shared.store.defer(candidate.seq, Reason::InmailCredits, until, why, now).await
}

/// Looks up what the next message needs before it is sent, or before its typing is shown.
pub(super) async fn look(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &mut Candidate,
    policy: &Policy,
    verdict: &Verdict,
    now: Timestamp,
    free_at: Timestamp,
) -> Result<Look, StoreError> {
    if let Look::Wake(wake) = profiles::look(shared, run, candidate, policy, now).await? {
        return Ok(Look::Wake(wake));
    }
    if let Look::Wake(wake) = route(shared, run, candidate, policy, now, free_at).await? {
        return Ok(Look::Wake(wake));
    }
    if let Look::Wake(wake) = replies::look(shared, run, candidate, policy, now, free_at).await? {
        return Ok(Look::Wake(wake));
    }
    match other_chats::look(shared, run, candidate, policy, now, free_at).await? {
        Look::Clear if *verdict == Verdict::Send => clear(shared, run, candidate, policy, now).await,
        look => Ok(look),
    }
}

/// Looks up where a first message to one person goes, and redirects `candidate` to the chat that exists.
async fn route(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &mut Candidate,
    policy: &Policy,
    now: Timestamp,
    free_at: Timestamp,
) -> Result<Look, StoreError> {
    let Some(user_id) = may_be_routed(candidate, policy) else { return Ok(Look::Clear) };
    let monotonic = shared.clock.monotonic();
    let known = run.preflight.routed.as_ref();
    if let Some(routed) = known.filter(|known| known.message_id == candidate.id && monotonic < known.until) {
        if let Some(chat_id) = &routed.chat_id {
            candidate.target = Target::Chat(chat_id.clone());
        }
        return Ok(Look::Clear);
    }
    let look_at = free_at.checked_sub(early(policy)).unwrap_or(now);
    if look_at > now {
        return Ok(Look::Wake(Wake::At(look_at)));
    }
    let account = run.id.clone();
    let reading = read(shared, run, |_pages| shared.provider.chats_with(account, user_id)).await;
    let (chat_id, why) = match reading {
        Err(wake) => return Ok(Look::Wake(wake)),
        Ok(Ok(chats)) => match chats.into_iter().next() {
            Some(chat_id) => {
                let why = format!("existing chat {chat_id}: Unipile knows it as the chat with this person");
                (Some(chat_id), why)
            }
            None => (None, "new chat: Unipile knows no chat with this person".to_owned()),
        },
        Ok(Err(unread)) => match failed(shared, run, unread, now).await? {
            Failed::Elsewhere => return Ok(Look::Wake(Wake::Now)),
            Failed::Until { until, problem } => {
                let error = problem.to_string();
                shared.store.defer(candidate.seq, Reason::ChatLookup, until, error, now).await?;
                return Ok(Look::Wake(Wake::Now));
            }
            Failed::ForGood(problem) if is_about_the_user(&problem) => {
                let error = format!("the chat with this person cannot be looked up: {problem}");
                refuse(shared, run, candidate, error, now).await?;
                return Ok(Look::Wake(Wake::Now));
            }
            // Unipile appends to a chat that exists.
            Failed::ForGood(problem) => (None, format!("new chat: the look-up was refused: {problem}")),
        },
    };
    shared.store.note_route(candidate.seq, why, now).await?;
    let until = shared.clock.monotonic() + valid(policy);
    run.preflight.routed = Some(Routed { message_id: candidate.id, chat_id, until });
    Ok(Look::Wake(Wake::Now))
}

/// Looks up whether `candidate`, which nothing holds, can be sent from its inbox and with its credits.
async fn clear(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    policy: &Policy,
    now: Timestamp,
) -> Result<Look, StoreError> {
    let monotonic = shared.clock.monotonic();
    if run.preflight.cleared.is_some_and(|(id, until)| id == candidate.id && monotonic < until) {
        return Ok(Look::Clear);
    }
    let inbox_id = target::inbox_of(&candidate.target, &candidate.extras, policy);
    let unseen = inbox_id.filter(|id| {
        !run.preflight.inbox.as_ref().is_some_and(|(seen, until)| seen == id && monotonic < *until)
    });
    let credit = credit_of(candidate);
    if unseen.is_none() && credit.is_none() {
        return Ok(Look::Clear);
    }
    if let Some(inbox_id) = unseen {
        let good_for = match inbox(shared, run, &inbox_id, now).await? {
            Inbox::Good => shared.snapshot_age,
            Inbox::Unread => UNREAD_FOR,
            Inbox::Wake(wake) => return Ok(Look::Wake(wake)),
            Inbox::Bad(error) => {
                tracing::warn!(account_id = %run.id, message_id = %candidate.id, error, "failed: the inbox cannot start a chat");
                shared.store.refuse(candidate.seq, Reason::InboxUnusable, error, now).await?;
                return Ok(Look::Wake(Wake::Now));
            }
        };
        run.preflight.inbox = Some((inbox_id, shared.clock.monotonic() + good_for));
    }
    if let Some(credit) = credit
        && let Some(wake) = credits(shared, run, candidate, credit, policy, now).await?
    {
        return Ok(Look::Wake(wake));
    }
    run.preflight.cleared = Some((candidate.id, shared.clock.monotonic() + GOOD_FOR));
    Ok(Look::Wake(Wake::Now))
}

/// Whether an inbox can start a chat.
enum Inbox {
    Good,
    Bad(String),
    /// The inboxes cannot be read at present.
    Unread,
    /// The step ends, and says when the account runs again.
    Wake(Wake),
}

/// Checks an inbox against the last snapshot. An objection is confirmed by a fresh read before it counts; if the
/// inboxes cannot be read, Unipile decides.
async fn inbox(
    shared: &Shared,
    run: &mut AccountRun,
    inbox_id: &InboxId,
    now: Timestamp,
) -> Result<Inbox, StoreError> {
    let known = shared.store.snapshots(&[&run.id]).await?.remove(&run.id).unwrap_or_default();
    if known.account.is_some_and(|account| account.value.provider != account_sync::LINKEDIN) {
        return Ok(Inbox::Good);
    }
    let most = match &known.inboxes {
        Some(inboxes) if objection(inbox_id, &inboxes.value).is_none() => return Ok(Inbox::Good),
        Some(_) => account_sync::PATIENCE,
        None => FIRST_SIGHT,
    };
    let account = run.id.clone();
    let reading = read(shared, run, |pages| {
        let reading = shared.provider.inboxes(account, pages);
        Box::pin(async move {
            tokio::select! {
                reading = reading => reading,
                () = shared.clock.sleep(most) => Err(gave_up()),
            }
        })
    });
    let inboxes = match reading.await {
        Err(wake) => return Ok(Inbox::Wake(wake)),
        Ok(Ok(inboxes)) => inboxes,
        Ok(Err(unread)) => {
            return Ok(match failed(shared, run, unread, now).await? {
                Failed::Elsewhere => Inbox::Wake(Wake::Now),
                Failed::Until { .. } | Failed::ForGood(_) => Inbox::Unread,
            });
        }
    };
    let objection = objection(inbox_id, &inboxes);
    let reading = Reading { inboxes: Some(inboxes), ..Reading::part(shared.clock.now()) };
    account_sync::note(shared, &run.id, reading).await;
    Ok(objection.map_or(Inbox::Good, Inbox::Bad))
}

/// Reads the credits and holds all InMails of the balance if none may be spent; then returns when the account runs
/// again.
async fn credits(
    shared: &Shared,
    run: &mut AccountRun,
    candidate: &Candidate,
    credit: Credit,
    policy: &Policy,
    now: Timestamp,
) -> Result<Option<Wake>, StoreError> {
    let account = run.id.clone();
    let reading = read(shared, run, |_pages| shared.provider.inmail_credits(account)).await;
    let (until, why) = match reading {
        Err(wake) => return Ok(Some(wake)),
        Ok(Ok(credits)) => {
            let spent = spent(&credits, credit, policy);
            let reading = Reading { credits: Some(credits), ..Reading::part(shared.clock.now()) };
            account_sync::note(shared, &run.id, reading).await;
            match spent {
                None => {
                    if shared.store.inmail_hold(&run.id, credit).await?.is_some() {
                        shared.store.release_inmails(run.id.clone(), credit, now).await?;
                    }
                    return Ok(None);
                }
                Some(why) => (after(now, policy.inmail.recheck), why),
            }
        }
        Ok(Err(unread)) => match failed(shared, run, unread, now).await? {
            Failed::Elsewhere => return Ok(Some(Wake::Now)),
            Failed::Until { until, problem } => (until, format!("the credits could not be read: {problem}")),
            Failed::ForGood(problem) => {
                let error = format!("the InMail credits of the account cannot be read: {problem}");
                refuse(shared, run, candidate, error, now).await?;
                return Ok(Some(Wake::Now));
            }
        },
    };
    tracing::warn!(account_id = %run.id, credit = credit.as_str(), %until, why, "InMails wait; the rest goes on");
    aside(shared, run, candidate, credit, InmailHold { until, why }, now).await?;
    Ok(Some(Wake::Now))
}

/// Returns why no credit of this balance may be spent, if none may.
fn spent(credits: &Credits, credit: Credit, policy: &Policy) -> Option<String> {
    let name = credit.as_str();
    match (credits.get(name), credit) {
        (Some(left), _) if *left > u64::from(policy.inmail.reserve) => None,
        (Some(left), _) => {
            Some(format!("{left} {name} credits are left and {} are kept back", policy.inmail.reserve))
        }
        (None, Credit::Classic) => Some("the account has no subscription with InMail".to_owned()),
        // Recruiter seats that share a pool report no balance, so the provider decides.
        (None, Credit::Recruiter) => None,
    }
}

/// Returns whether a refusal hints at spent credits: Unipile has no error type for them.
pub(super) fn hints_at_credits(problem: &ProviderError) -> bool {
    let words = [&problem.title, &problem.detail].into_iter().flatten();
    words.map(|text| text.to_lowercase()).any(|text| text.contains("credit"))
}

/// Returns the balance that `candidate` is paid from.
pub(super) fn credit_of(candidate: &Candidate) -> Option<Credit> {
    match &candidate.target {
        Target::User { .. } | Target::Group { .. } => {
            candidate.extras.specifics.as_ref().and_then(Specifics::credit)
        }
        Target::Chat(_) | Target::Forward { .. } => None,
    }
}

/// Returns the user whom `candidate` is for, if it may go into an existing chat as well: provider-specific options
/// can only be set when a chat is started.
fn may_be_routed(candidate: &Candidate, policy: &Policy) -> Option<UserId> {
    match (&candidate.target, policy.route) {
        (Target::User { user_id, .. }, Route::ExistingChat) if candidate.extras.specifics.is_none() => {
            Some(user_id.clone())
        }
        (Target::User { .. } | Target::Group { .. } | Target::Chat(_) | Target::Forward { .. }, _) => None,
    }
}
