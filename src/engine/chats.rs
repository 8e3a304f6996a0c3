//! The chats that an uncertain message may have gone into: reads them again and compares them with the attempt.
//!
//! `reconcile.rs` calls this. Each request takes a permit of the API guard; the first that fails ends the read,
//! because a chat that was not read may be the one with the message. The provider dates messages, so the time of the
//! call is determined on its clock as well, whatever this machine's clock shows.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::Shared;
use super::api_guard::Kind;
use super::target::inbox_of;
use crate::domain::message::{AccountId, ChatId, Target, UserId};
use crate::domain::observed::{Member, ObservedGroup, Unread};
use crate::domain::outcome::ProviderError;
use crate::domain::policy::Policy;
use crate::domain::time_text;
use crate::policy::evidence::{
    ChatHistory, Finding, Fingerprint, LOOK_BACK, LOOK_BACK_BY_WALL_CLOCK, examine, is_group_of,
};
use crate::policy::likeness::Content;
use crate::policy::settle::Blame;
use crate::provider::Pages;
use crate::store::{StoreError, UnresolvedAttempt};

/// The most groups that are read for one message, otherwise the read fails; a group of its own is among the latest.
const MAX_GROUPS: usize = 20;
/// The resolution of stored times: whole milliseconds.
const COARSE: Duration = Duration::from_millis(1);

/// A read that failed, and who is to blame.
pub(super) type Blind = (Unread, Blame);

/// The result of a read, for the record.
pub(super) struct Seen {
    /// The finding in one word.
    pub(super) finding: &'static str,
    /// The finding in words, without the text of any message (P8).
    pub(super) words: String,
    /// The ids of the account's messages in each chat.
    pub(super) shown: Vec<(ChatId, Vec<String>)>,
    /// When the read ended, on the monotonic clock.
    pub(super) at: Duration,
}

/// Reads every chat that the message may have gone into.
pub(super) async fn read(
    shared: &Shared,
    unresolved: &UnresolvedAttempt,
    policy: &Policy,
) -> Result<Vec<ChatHistory>, Blind> {
    let since = look_from(shared, unresolved);
    let histories = read_since(shared, unresolved, policy, since).await?;
    // The first answer reveals the provider's time; if the read should have begun earlier, it is made again.
    let earlier = look_from(shared, unresolved);
    if earlier < since { read_since(shared, unresolved, policy, earlier).await } else { Ok(histories) }
}

/// Returns the time from which chats are read. If the provider's time of the call is unknown, the wall clock may have
/// been wrong by more than was noticed, so the read goes back much further.
fn look_from(shared: &Shared, unresolved: &UnresolvedAttempt) -> Timestamp {
    let (began, reach) = match began(shared, unresolved) {
        Some(began) => (began, LOOK_BACK),
        None => (estimate(shared, unresolved), LOOK_BACK_BY_WALL_CLOCK),
    };
    began.checked_sub(reach).unwrap_or(Timestamp::MIN)
}

/// Returns when the call began on the provider's clock, or somewhat earlier: as recorded with the intent, or counted
/// back from the provider's current time by a clock that is never set.
fn began(shared: &Shared, unresolved: &UnresolvedAttempt) -> Option<Timestamp> {
    if let Some(at) = unresolved.provider_at {
        return Some(at);
    }
    let time = shared.provider.time()?;
    let passed = match unresolved.monotonic {
        Some(began) => shared.clock.monotonic().checked_sub(began)?,
        None => {
            let ((id, began), boot) = (unresolved.boot.as_ref()?, shared.clock.boot()?);
            (*id == boot.id).then(|| boot.passed.saturating_sub(*began) + COARSE)?
        }
    };
    time.earliest.checked_sub(passed).ok()
}

/// Returns when the call began on this machine's clock. A clock that was set since is corrected by the elapsed time.
fn by_wall_clock(shared: &Shared, unresolved: &UnresolvedAttempt) -> Timestamp {
    let passed = unresolved.monotonic.and_then(|began| shared.clock.monotonic().checked_sub(began));
    let by_monotonic = passed.and_then(|passed| shared.unset_now().checked_sub(passed).ok());
    by_monotonic.map_or(unresolved.started_at, |at| at.min(unresolved.started_at))
}

/// Estimates when the call began on the provider's clock, if that is unknown: as long ago as this machine's clock
/// shows, and never in the future. Good enough to look back from, not to date a message by.
fn estimate(shared: &Shared, unresolved: &UnresolvedAttempt) -> Timestamp {
    let by_ours = by_wall_clock(shared, unresolved).min(shared.unset_now());
    let passed = shared.unset_now().duration_since(by_ours);
    let by_theirs = shared.provider.time().and_then(|time| time.earliest.checked_sub(passed).ok());
    by_theirs.unwrap_or(by_ours)
}

/// Compares what was read with the attempt.
pub(super) async fn find(
    shared: &Shared,
    unresolved: &UnresolvedAttempt,
    histories: &[ChatHistory],
) -> Result<Finding, StoreError> {
    let started_at = by_wall_clock(shared, unresolved);
    let other_attempts = shared
        .store
        .other_attempts(unresolved, started_at.checked_sub(LOOK_BACK).unwrap_or(Timestamp::MIN))
        .await?;
    let chats: Vec<ChatId> = histories.iter().map(|history| history.chat_id.clone()).collect();
    let mut known = shared.store.known_before(unresolved, &chats).await?;
    let histories: Vec<ChatHistory> = histories
        .iter()
        .map(|history| {
            let known_before = known.remove(&history.chat_id).unwrap_or_default();
            ChatHistory { known_before, ..history.clone() }
        })
        .collect();
    let content = Content::of(&unresolved.target, &unresolved.text, &unresolved.extras);
    let fingerprint =
        Fingerprint { began: began(shared, unresolved), started_at, target: &unresolved.target, content };
    Ok(examine(&fingerprint, &other_attempts, &histories))
}

impl Seen {
    /// Describes what was found in chats that were read.
    pub(super) fn of(shared: &Shared, finding: &Finding, histories: &[ChatHistory]) -> Self {
        let messages: usize = histories.iter().map(|history| history.messages.len()).sum();
        let (word, what) = match finding {
            Finding::Found { chat_id, message_ids, at } => {
                let (ids, at) = (message_ids.join(", "), time_text(*at));
                ("found", format!("it is there as {ids} in chat {chat_id}, dated {at}"))
            }
            Finding::Partly => ("partly", "a part of it is among them".to_owned()),
            Finding::CannotTell(unsure) => {
                let (id, chat_id, at) = (&unsure.message_id, &unsure.chat_id, time_text(unsure.at));
                ("cannot_tell", format!("message {id} in chat {chat_id}, dated {at}, {}", unsure.why.words()))
            }
            Finding::Busy => ("busy", "another message with the same words is on its way".to_owned()),
            Finding::Absent => ("absent", "it is not among them".to_owned()),
        };
        let plural = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
        let (chats, messages) = (plural(histories.len(), "chat"), plural(messages, "message"));
        let own = |history: &ChatHistory| {
            let own = history.messages.iter().filter(|message| message.is_sender != Some(false));
            (history.chat_id.clone(), own.map(|message| message.id.clone()).collect())
        };
        Self {
            finding: word,
            words: format!("{chats} read back, {messages} seen: {what}"),
            shown: histories.iter().map(own).collect(),
            at: shared.clock.monotonic(),
        }
    }

    /// Describes a read that failed.
    pub(super) fn nothing(shared: &Shared, unread: &Unread) -> Self {
        let words = format!("could not be read: {}", unread.problem);
        Self { finding: "unread", words, shown: Vec::new(), at: shared.clock.monotonic() }
    }
}

async fn read_since(
    shared: &Shared,
    unresolved: &UnresolvedAttempt,
    policy: &Policy,
    since: Timestamp,
) -> Result<Vec<ChatHistory>, Blind> {
    let account = &unresolved.account_id;
    let provider = &shared.provider;
    let mut chats: Vec<(ChatId, Option<Vec<Member>>)> = Vec::new();
    chats.extend(unresolved.chat_id.clone().map(|chat_id| (chat_id, None)));
    match &unresolved.target {
        Target::Chat(chat_id) | Target::Forward { chat_id, .. } => chats.push((chat_id.clone(), None)),
        Target::User { user_id, .. } => {
            let read = |_pages| provider.chats_with(account.clone(), user_id.clone());
            chats.extend(call(shared, account, read).await?.into_iter().map(|chat_id| (chat_id, None)));
        }
        Target::Group { users_ids, .. } => {
            let inbox_id = inbox_of(&unresolved.target, &unresolved.extras, policy);
            // A group that this call started is not older than the call, but clocks may be wrong.
            let read = |pages| provider.groups_since(account.clone(), inbox_id, since, pages);
            let groups = chosen(users_ids, call(shared, account, read).await?)?;
            chats.extend(groups.into_iter().map(|group| (group.chat_id, group.members)));
        }
    }
    let mut known = HashSet::new();
    chats.retain(|(chat_id, _)| known.insert(chat_id.clone()));
    let mut histories = Vec::with_capacity(chats.len());
    for (chat_id, members) in chats {
        let read = |pages| provider.messages_since(account.clone(), chat_id.clone(), since, pages);
        let messages = call(shared, account, read).await?;
        histories.push(ChatHistory { chat_id, members, messages, known_before: BTreeSet::new() });
    }
    Ok(histories)
}

/// Returns the groups to read, those with the same members first.
fn chosen(users_ids: &[UserId], groups: Vec<ObservedGroup>) -> Result<Vec<ObservedGroup>, Blind> {
    if groups.len() > MAX_GROUPS {
        let what =
            format!("{} group chats were written in since; that is too many to look into", groups.len());
        let problem = Box::new(ProviderError::local("too_many_chats", what));
        return Err((Unread { problem, down: None, hold: None }, Blame::default()));
    }
    let is_same =
        |group: &ObservedGroup| group.members.as_ref().is_some_and(|members| is_group_of(users_ids, members));
    let (same, others): (Vec<_>, Vec<_>) = groups.into_iter().partition(is_same);
    Ok(same.into_iter().chain(others).collect())
}

/// Makes one read with a permit.
async fn call<'a, T>(
    shared: &'a Shared,
    account: &AccountId,
    read: impl FnOnce(Pages) -> BoxFuture<'a, Result<T, Unread>>,
) -> Result<T, Blind> {
    let call = shared.api.wait(account, Kind::Reconcile).await.begin();
    let read = read(shared.api.pages(account, Kind::Reconcile)).await;
    let blame = call.ended_read(&read);
    read.map_err(|unread| (unread, blame))
}
