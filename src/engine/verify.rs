//! The verifier: reads chats back to find out what became of calls with an unknown outcome (P2).
//!
//! One task for all accounts. It sleeps until the next read is due and does nothing while nothing is uncertain. Reads
//! reach nobody, so they keep no pace of an account, but they count in the rate of requests to the API as a whole.
//! What a read says is decided in `policy/evidence.rs`; this finds the chats, reads them and writes the judgement down.
//! Deadlines are kept by the monotonic clock: setting the wall clock makes no read come early, and the last one proves
//! absence only if real time has passed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Shared;
use super::target::inbox_of;
use crate::domain::message::{AccountId, Arrival, ChatId, Target};
use crate::domain::outcome::{Hold, Problem};
use crate::domain::policy::Policy;
use crate::domain::seen::{Rival, Unread};
use crate::policy::evidence::{
    Doubt, Finding, LOOK_BACK, NextStep, Sight, Trace, examine, next_step, pause_after,
};
use crate::policy::settle::after;
use crate::store::{JudgedAs, Judgement, OpenDoubt, StoreError};

/// Chats that are read at once.
const MAX_READS: usize = 8;
/// The pause after a look at one message that ended in an error or a bug, and the shortest one between two reads that do
/// not count.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);
/// The pause after the queue failed.
const AFTER_STORE_ERROR: Duration = Duration::from_secs(2);
/// Groups that are looked into for one message; in a group chat of its own it is among the latest.
const MAX_GROUPS: usize = 20;

pub(super) struct Verifier {
    shared: Arc<Shared>,
    /// When each uncertain message is looked for, by the monotonic clock.
    due: HashMap<Arrival, Duration>,
}

impl Verifier {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, due: HashMap::new() }
    }

    /// Runs until the engine stops. A read that is under way then is given up: it proves nothing.
    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        // A task of its own for whatever is at work, so that this one is only ever asleep or waiting for it.
        let mut tasks = JoinSet::new();
        loop {
            tasks.spawn(round(Arc::clone(&shared), std::mem::take(&mut self.due)));
            let ended = tokio::select! {
                biased;
                () = shared.stopping.cancelled() => break,
                ended = tasks.join_next() => ended,
            };
            let wait = match ended {
                Some(Ok((due, wait))) => {
                    self.due = due;
                    wait
                }
                // A bug in a round must not end all of them; the queue still knows what is uncertain.
                Some(Err(_)) | None => Some(AFTER_STORE_ERROR),
            };
            tokio::select! {
                biased;
                () = shared.stopping.cancelled() => break,
                () = shared.doubts.notified() => {}
                () = sleep(&shared, wait) => {}
            }
        }
        tasks.shutdown().await;
    }
}

/// Sleeps for `wait`, or without an end.
async fn sleep(shared: &Shared, wait: Option<Duration>) {
    match wait {
        Some(wait) => shared.clock.sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Looks for every message that is due; answers when the others are, and how long until the next one.
async fn round(
    shared: Arc<Shared>,
    mut due: HashMap<Arrival, Duration>,
) -> (HashMap<Arrival, Duration>, Option<Duration>) {
    if let Err(error) = look_at_those_due(&shared, &mut due).await {
        tracing::warn!(error = error.chain(), "uncertain messages cannot be looked for; trying again soon");
        return (due, Some(AFTER_STORE_ERROR));
    }
    let now = shared.clock.monotonic();
    let wait = due.values().min().map(|at| at.saturating_sub(now));
    (due, wait)
}

async fn look_at_those_due(
    shared: &Arc<Shared>,
    due: &mut HashMap<Arrival, Duration>,
) -> Result<(), StoreError> {
    loop {
        plan(shared, due).await?;
        let now = shared.clock.monotonic();
        let ready: Vec<Arrival> =
            due.iter().filter(|(_, at)| **at <= now).map(|(arrival, _)| *arrival).take(MAX_READS).collect();
        if ready.is_empty() {
            return Ok(());
        }
        let mut reads = JoinSet::new();
        for arrival in ready {
            // Whatever becomes of this look, the next one is not at once; a look that ends well plans the next by what it
            // wrote.
            due.insert(arrival, now + AFTER_TROUBLE);
            let shared = Arc::clone(shared);
            reads.spawn(async move { (arrival, look(&shared, arrival).await) });
        }
        while let Some(read) = reads.join_next().await {
            // A panic was reported already.
            let Ok((arrival, result)) = read else { continue };
            match result {
                Ok(true) => {
                    due.remove(&arrival);
                }
                Ok(false) => {}
                // One message that cannot be looked for must not keep the others from it.
                Err(error) => tracing::warn!(
                    arrival = arrival.0,
                    error = error.chain(),
                    "an uncertain message cannot be looked for; trying again in a minute"
                ),
            }
        }
    }
}

/// Brings the deadlines in line with what is uncertain now.
async fn plan(shared: &Shared, due: &mut HashMap<Arrival, Duration>) -> Result<(), StoreError> {
    let doubts = shared.store.doubts().await?;
    let (now, monotonic) = (shared.clock.now(), shared.clock.monotonic());
    let mut planned = HashMap::with_capacity(doubts.len());
    for (arrival, account, verify_at) in doubts {
        let at = due.get(&arrival).copied().unwrap_or_else(|| {
            // A stored time cannot lie further ahead than the longest pause, unless the wall clock was set back.
            let read_back = &shared.policy(&account).read_back;
            let longest = (0..=read_back.after.len()).map(|reads| pause_after(reads, read_back)).max();
            let longest = longest.unwrap_or_default().max(Duration::from_secs(60));
            monotonic + Duration::try_from(verify_at.duration_since(now)).unwrap_or_default().min(longest)
        });
        planned.insert(arrival, at);
    }
    *due = planned;
    Ok(())
}

/// One look for one message; answers whether there was one to look for.
async fn look(shared: &Shared, arrival: Arrival) -> Result<bool, StoreError> {
    let Some(doubt) = shared.store.doubt(arrival).await? else { return Ok(false) };
    let policy = &*shared.policy(&doubt.account_id);
    // A wall clock that was set since the call is set right by the time that has passed.
    let began = doubt.monotonic.and_then(|began| shared.clock.monotonic().checked_sub(began));
    let by_monotonic = began.and_then(|passed| shared.clock.now().checked_sub(passed).ok());
    let started_at = by_monotonic.map_or(doubt.started_at, |at| at.min(doubt.started_at));
    let since = started_at.checked_sub(LOOK_BACK).unwrap_or(doubt.started_at);
    let read = read(shared, &doubt, policy, since).await;
    let now = shared.clock.now();
    let (finding, seen, is_blind) = match read {
        Ok(sights) => {
            let rivals = shared.store.rivals(&doubt, since).await?;
            let finding = find(&doubt, policy, started_at, &rivals, &sights);
            let seen = told(&finding, &sights);
            (Some(finding), seen, false)
        }
        Err(unread) => {
            let is_blind = unread.down.is_some() || matches!(unread.hold, Some(Hold::Api | Hold::Account(_)));
            (None, ("unread", format!("could not be read: {}", unread.problem)), is_blind)
        }
    };
    let doubt_now = Doubt { reads: doubt.reads, resends: doubt.resends };
    let step = match next_step(doubt_now, finding, &policy.read_back, now) {
        // While the account is down or the API cannot be reached, no read can show anything: that is no reason to bother a
        // person about the message.
        NextStep::Again { .. } | NextStep::Review(_) if is_blind => {
            let pause = pause_after(policy.read_back.after.len(), &policy.read_back);
            let pause = if pause.is_zero() { AFTER_TROUBLE } else { pause };
            NextStep::Again { verify_at: after(now, pause), counts: false }
        }
        step => step,
    };
    judge(shared, &doubt, step, seen, now).await?;
    Ok(true)
}

async fn judge(
    shared: &Shared,
    doubt: &OpenDoubt,
    step: NextStep,
    (finding, seen): (&'static str, String),
    now: jiff::Timestamp,
) -> Result<(), StoreError> {
    let (id, account) = (doubt.id, doubt.account_id.clone());
    match &step {
        NextStep::Sent { .. } => {
            tracing::info!(message_id = %id, account_id = %account, "found in the chat: it was sent")
        }
        NextStep::Again { verify_at, .. } => {
            tracing::info!(message_id = %id, account_id = %account, %verify_at, finding, "not settled yet; its chat is read again");
        }
        NextStep::Queue => {
            tracing::warn!(message_id = %id, account_id = %account, "not in the chat at the last read; it is sent once more")
        }
        NextStep::Review(reason) => {
            tracing::error!(message_id = %id, account_id = %account, reason = reason.as_str(), finding, "it waits for a person: outboxd review");
        }
    }
    let verdict = match step {
        NextStep::Sent { chat_id, message_ids, at } => JudgedAs::Sent { chat_id, message_ids, sent_at: at },
        NextStep::Again { verify_at, counts } => JudgedAs::Again { verify_at, counts },
        NextStep::Queue => JudgedAs::Queued,
        NextStep::Review(reason) => JudgedAs::Review(reason),
    };
    let settles = !matches!(verdict, JudgedAs::Again { .. });
    let judgement =
        Judgement { arrival: doubt.arrival, attempt: doubt.attempt, at: now, verdict, finding, seen };
    if shared.store.judge(judgement).await? && settles {
        // Later messages to the same chat may go now.
        shared.wakeups.add([(account, now)]);
    }
    Ok(())
}

fn find(
    doubt: &OpenDoubt,
    policy: &Policy,
    started_at: jiff::Timestamp,
    rivals: &[Rival],
    sights: &[Sight],
) -> Finding {
    let forwarded_id = match &doubt.target {
        Target::Forward { source_message_id, .. } => Some(source_message_id.as_str()),
        Target::Chat(_) | Target::User { .. } | Target::Group { .. } => None,
    };
    let trace = Trace {
        started_at,
        thread: &doubt.target.thread(),
        text: &doubt.text,
        attachments: &doubt.extras.attachments,
        quote_id: doubt.extras.quote_id.as_deref(),
        forwarded_id,
    };
    examine(&trace, policy.read_back.skew, rivals, sights)
}

/// What was seen, without anybody's words (P8).
fn told(finding: &Finding, sights: &[Sight]) -> (&'static str, String) {
    let messages: usize = sights.iter().map(|sight| sight.messages.len()).sum();
    let (word, what) = match finding {
        Finding::Found { .. } => ("found", "it is among them"),
        Finding::Partly => ("partly", "a part of it is among them"),
        Finding::CannotTell => ("cannot_tell", "some of them may be it"),
        Finding::Busy => ("busy", "another message with the same words is on its way"),
        Finding::Absent => ("absent", "it is not among them"),
    };
    let plural = |n: usize, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let (chats, messages) = (plural(sights.len(), "chat"), plural(messages, "message"));
    (word, format!("{chats} read back, {messages} seen: {what}"))
}

/// Reads every chat that the message can have gone into.
async fn read(
    shared: &Shared,
    doubt: &OpenDoubt,
    policy: &Policy,
    since: jiff::Timestamp,
) -> Result<Vec<Sight>, Unread> {
    let account = &doubt.account_id;
    let mut chats: Vec<ChatId> = doubt.chat_id.iter().cloned().collect();
    match &doubt.target {
        Target::Chat(chat_id) | Target::Forward { chat_id, .. } => add(&mut chats, [chat_id.clone()]),
        Target::User { user_id, .. } => {
            take_request(shared).await;
            add(&mut chats, shared.provider.chats_with(account.clone(), user_id.clone()).await?);
        }
        Target::Group { .. } => {
            take_request(shared).await;
            let inbox_id = inbox_of(&doubt.target, &doubt.extras, policy);
            // A group that we made is no older than the call, but clocks may be wrong.
            let groups = shared.provider.groups_since(account.clone(), inbox_id, since).await?;
            if groups.len() > MAX_GROUPS {
                let what = format!(
                    "{} group chats were written in since; that is too many to look into",
                    groups.len()
                );
                let problem = Box::new(Problem::local("too_many_chats", what));
                return Err(Unread { problem, down: None, hold: None });
            }
            add(&mut chats, groups.into_iter().map(|group| group.chat_id));
        }
    }
    let mut sights = Vec::with_capacity(chats.len());
    for chat_id in chats {
        sights.push(read_chat(shared, account, chat_id, since).await?);
    }
    Ok(sights)
}

async fn read_chat(
    shared: &Shared,
    account: &AccountId,
    chat_id: ChatId,
    since: jiff::Timestamp,
) -> Result<Sight, Unread> {
    take_request(shared).await;
    let messages = shared.provider.messages_since(account.clone(), chat_id.clone(), since).await?;
    Ok(Sight { chat_id, messages })
}

fn add(chats: &mut Vec<ChatId>, more: impl IntoIterator<Item = ChatId>) {
    for chat_id in more {
        if !chats.contains(&chat_id) {
            chats.push(chat_id);
        }
    }
}

/// Waits for room in the rate of requests to the API as a whole.
async fn take_request(shared: &Shared) {
    while let Err(wait) = shared.live.take_request() {
        shared.clock.sleep(wait).await;
    }
}
