//! Forecasts when the queue goes out, with the very function that sends: runs each account forward without sending,
//! several times with different dice, so that each time comes with its range.
//!
//! The runs take a thread of their own (`work.rs`), so the runtime keeps sending. An account's queue is read in parts
//! and only sums are kept per account, so that a million messages need the memory of the longest queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::EngineHandle;
use super::forecast_sums::{ForecastRequest, Forecasts, Prepared, times};
use super::run::gap_seed;
use super::selection::live;
use crate::clock;
use crate::domain::account::{Account, Daemon};
use crate::domain::caps::Ledger;
use crate::domain::ids;
use crate::domain::kind::Kind;
use crate::domain::lane::Lane;
use crate::domain::message::{AccountId, NewMessage};
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::domain::step::{StepWait, StepWaiting};
use crate::domain::stop::{StopReason, StoppedBy};
use crate::policy::fair_share::FairShare;
use crate::policy::forecast::{Follows, Forecast, Queued, Start, StepPlace, Wait, forecast_while};
use crate::policy::hours::account_seed;
use crate::policy::settle::after;
use crate::store::{Asker, MessageView, QueuedMessage, StoreError};

/// How long a call is assumed to take if no call was measured.
const CALL: Duration = Duration::from_secs(1);
/// How far back the duration of calls is measured.
const CALLS_SINCE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Messages of a queue that are read at a time; decoding them takes about a millisecond.
const PART: u32 = 500;
/// Accounts that are read at a time.
const ACCOUNTS: u32 = 500;
/// A longer queue is run fewer times, so that the times of all runs fit into memory.
const RUN_MESSAGES: usize = 700_000;

impl EngineHandle {
    /// Runs the requested accounts forward.
    ///
    /// # Errors
    /// When the queue cannot be read, or the daemon stops.
    pub async fn forecast(&self, request: ForecastRequest) -> Result<Forecasts, StoreError> {
        let daemon = Arc::new(self.shared.store.daemon().await?);
        let mut with: BTreeMap<AccountId, Vec<NewMessage>> = BTreeMap::new();
        for message in &request.with {
            with.entry(message.account_id.clone()).or_default().push(message.clone());
        }
        let request = Arc::new(ForecastRequest { with: Vec::new(), ..request });
        let mut forecasts = Forecasts::default();
        if let Some(only) = &request.account_id {
            let with = with.remove(only).unwrap_or_default();
            return self.forecast_one(only.clone(), &daemon, &request, with, forecasts).await;
        }
        let mut after = None;
        loop {
            let ids = self.shared.store.account_ids(after.as_ref(), true, ACCOUNTS).await?;
            for id in &ids {
                let with = with.remove(id).unwrap_or_default();
                forecasts = self.forecast_one(id.clone(), &daemon, &request, with, forecasts).await?;
            }
            let Some(last) = ids.into_iter().next_back() else { break };
            after = Some(last);
        }
        // Accounts without queued messages; the store may not know some of them.
        for (id, with) in with {
            forecasts = self.forecast_one(id, &daemon, &request, with, forecasts).await?;
        }
        Ok(forecasts)
    }

    /// Adds the forecast of one account to `forecasts`.
    async fn forecast_one(
        &self,
        id: AccountId,
        daemon: &Arc<Daemon>,
        request: &Arc<ForecastRequest>,
        with: Vec<NewMessage>,
        mut forecasts: Forecasts,
    ) -> Result<Forecasts, StoreError> {
        let asked = Arc::clone(request);
        let add = move |id: AccountId, zone: TimeZone, prepared: Prepared, runs: Vec<Forecast>| {
            forecasts.add(&asked, id, zone, &prepared, &runs);
            forecasts
        };
        self.run_forward(id, daemon, [request.days, request.runs], with, add).await
    }

    /// Runs `account` forward and lets `sum` reduce the runs, on a thread of its own.
    async fn run_forward<T: Send + 'static>(
        &self,
        id: AccountId,
        daemon: &Arc<Daemon>,
        [days, runs]: [u32; 2],
        with: Vec<NewMessage>,
        sum: impl FnOnce(AccountId, TimeZone, Prepared, Vec<Forecast>) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (now, store) = (self.now(), &self.shared.store);
        let account = store.account(&id).await?.map_or_else(|| Account::new(id.clone()), |view| view.account);
        let mut prepared = self.prepared(&id, now).await?;
        if !with.is_empty() {
            prepared.suppose(&with, &store.stops_for(&with, now).await?, now);
        }
        let (virtual_time, finish) = store.fair_shares(&id).await?;
        let since = now.checked_sub(CALLS_SINCE).unwrap_or(now);
        let call = store.call_takes_ms(&id, since).await?;
        let (policy, turns) = (self.policy(&id), FairShare { virtual_time, finish });
        let ledger = self.ledger(&id, &policy).await?;
        let reads = match prepared.queued.iter().any(|message| message.is_named) {
            true => self.read_profiles(&id, now).await?,
            false => Ledger::default(),
        };
        let mut account = self.paced(&account);
        account.next_call_at = account.next_call_at.max(live(&self.shared, &id, Asker::People).may_call_at());
        let (seed, daemon) = (self.shared.seed, Arc::clone(daemon));
        self.work(move |goes_on| {
            let start = Start {
                now,
                until: after(now, Duration::from_secs(u64::from(days) * 24 * 3600)),
                daemon: &daemon,
                account: &account,
                policy: &policy,
                ledger: &ledger,
                profile_reads: &reads,
                turns: &turns,
                lanes: &prepared.lanes,
                queued: &prepared.queued,
                started: &prepared.started,
                call: call.map_or(CALL, |milliseconds| Duration::from_millis(milliseconds.max(0.0) as u64)),
            };
            // The first run draws what a fresh start with the daemon's seed would draw.
            let seed = |run: u32| gap_seed(seed, &id).wrapping_add(u64::from(run));
            let run = |run: u32| forecast_while(&start, &mut clock::dice(seed(run)), goes_on);
            let most = u32::try_from(RUN_MESSAGES / prepared.queued.len().max(1)).unwrap_or(u32::MAX);
            let runs: Vec<Forecast> =
                (0..runs.min(most).max(1)).take_while(|run| *run == 0 || goes_on()).map(run).collect();
            let zone = policy.zone.clone();
            sum(id, zone, prepared, runs)
        })
        .await
    }

    /// Reads the queue of `account` in parts.
    async fn prepared(&self, account: &AccountId, now: Timestamp) -> Result<Prepared, StoreError> {
        let mut prepared = Prepared::default();
        let mut after = 0;
        loop {
            let part = self.shared.store.queued(account, after, PART, now).await?;
            let Some(last) = part.last() else { return Ok(prepared) };
            after = last.seq;
            prepared.add(&part, now);
        }
    }

    /// Returns when a queued message is expected to go: the earliest, middle and latest time of the runs. `None` if
    /// it is not queued, does not go within 60 days, or is in a queue of more than 20,000 messages.
    pub async fn expected(&self, message: &MessageView) -> Result<Option<[Timestamp; 3]>, StoreError> {
        let account_id = message.account.id.clone();
        let view = self.shared.store.account(&account_id).await?;
        let queued = view.map_or(0, |view| view.counts.of(StateName::Queued));
        if message.waiting.is_none() || queued > LONGEST {
            return Ok(None);
        }
        let (daemon, wanted) = (Arc::new(message.daemon.clone()), Some(message.id));
        let find = move |_: AccountId, _: TimeZone, prepared: Prepared, runs: Vec<Forecast>| {
            let place = prepared.ids.iter().position(|id| *id == wanted)?;
            times(place, &runs)
        };
        self.run_forward(account_id, &daemon, [60, 5], Vec::new(), find).await
    }
}

/// A queue longer than this is not run forward for a single message.
const LONGEST: u64 = 20_000;

impl Prepared {
    fn lane(&mut self, lane: &Lane) -> usize {
        if let Some(place) = self.places.get(lane) {
            return *place;
        }
        self.lanes.push(lane.clone());
        self.places.insert(lane.clone(), self.lanes.len() - 1);
        self.lanes.len() - 1
    }

    fn add(&mut self, queued: &[QueuedMessage], now: Timestamp) {
        for message in queued {
            let thread = account_seed(&message.thread);
            if let Some(started_at) = message.started_at {
                self.started.insert(thread, started_at);
            }
            let step = message.step.zip(message.step_key.as_deref());
            let step = step.map(|(step, key)| place(message.lane.campaign.as_deref(), key, step.number));
            let follows = match message.step_waiting {
                Some(StepWaiting::Before(wait)) => step.map(|step| after_step(step, wait)),
                Some(StepWaiting::Until(_)) | None => None,
            };
            let lane = self.lane(&lane_of(&message.lane, follows));
            self.ids.push(Some(message.id));
            self.queued.push(Queued {
                lane,
                due_at: message.due_at,
                ready_at: ready_at(message),
                later_for: later_for(message, now),
                expires_at: message.expires_at,
                seq: message.seq,
                thread,
                step,
                follows,
                waits_for: waits_for(message, follows),
                is_named: is_named(&message.thread),
            });
        }
    }

    /// Adds hypothetical messages, as if they had arrived after all others.
    fn suppose(&mut self, with: &[NewMessage], stops: &[Option<StoppedBy>], now: Timestamp) {
        let last = self.queued.last().map_or(0, |message| message.seq);
        for ((message, stop), seq) in with.iter().zip(stops).zip(last + 1..) {
            let due_at = message.not_before.map_or(now, |at| at.max(now));
            let step =
                message.step.map(|step| place(message.campaign.as_deref(), &message.step_key(), step.number));
            let follows = step.zip(message.step.and_then(|step| step.wait));
            let follows = follows.map(|(step, wait)| after_step(step, wait));
            let lane = self.lane(&lane_of(&message.lane(), follows));
            self.ids.push(None);
            self.queued.push(Queued {
                lane,
                due_at,
                ready_at: ends_at(*stop).map_or(due_at, |at| at.max(due_at)),
                later_for: stop.map_or(Reason::Scheduled, |stop| stop.reason.reason()),
                expires_at: message.expires_at,
                seq,
                thread: account_seed(&message.target.thread()),
                step,
                follows,
                waits_for: held_by(*stop).or(follows.map(|_| Wait::of(Reason::StepBefore))),
                is_named: is_named(&message.target.thread()),
            });
        }
    }
}

/// Returns whether the person of a thread is known by a public name only.
fn is_named(thread: &str) -> bool {
    thread.strip_prefix("user:").is_some_and(|person| ids::name_of(person).is_some())
}

/// Returns when a queued message may go, as far as that is known.
fn ready_at(message: &QueuedMessage) -> Timestamp {
    let times = [message.retry_at, ends_at(message.stop)];
    times.into_iter().flatten().fold(message.due_at, Timestamp::max)
}

/// Returns why a queued message does not go before [`ready_at`], in the order of the gates.
fn later_for(message: &QueuedMessage, now: Timestamp) -> Reason {
    if let Some(stop) = message.stop {
        return stop.reason.reason();
    }
    match message.step_waiting {
        Some(StepWaiting::Until(at)) if at > now => return Reason::StepWait,
        Some(StepWaiting::Until(_) | StepWaiting::Before(_)) | None => {}
    }
    let retried = message.retry_at.filter(|at| *at > message.due_at);
    retried.map_or(Reason::Scheduled, |_| message.deferred.unwrap_or(Reason::Retry))
}

/// Returns what a queued message waits for, if no time ends that.
fn waits_for(message: &QueuedMessage, follows: Option<Follows>) -> Option<Wait> {
    if let Some(wait) = held_by(message.stop) {
        return Some(wait);
    }
    if message.held {
        return Some(Wait::for_person(Reason::Held));
    }
    if message.is_unconnected {
        return Some(Wait::of(Reason::NotConnected));
    }
    let needs_person = message.blocked_by == Some(StateName::Review);
    let reason = match (follows, message.blocked_by) {
        (Some(_), _) => Reason::StepBefore,
        (None, Some(_)) => Reason::ChatOrder,
        (None, None) => return None,
    };
    Some(Wait { reason, needs_person })
}

/// Returns the wait for a stop that does not end.
fn held_by(stop: Option<StoppedBy>) -> Option<Wait> {
    let endless = stop.filter(|stop| stop.until.is_none() || stop.reason == StopReason::Suppressed)?;
    Some(Wait::for_person(endless.reason.reason()))
}

fn ends_at(stop: Option<StoppedBy>) -> Option<Timestamp> {
    stop.and_then(|stop| stop.until)
}

/// Returns the place of a step in its campaign for its person.
fn place(campaign: Option<&str>, key: &str, number: u8) -> StepPlace {
    (account_seed(&format!("{} {key}", campaign.unwrap_or_default())), number)
}

fn after_step((sequence, number): StepPlace, wait: StepWait) -> Follows {
    Follows { place: (sequence, number.saturating_sub(1)), wait }
}

/// Returns the lane in which a message goes: a step goes into the chat that the step before opened.
fn lane_of(lane: &Lane, follows: Option<Follows>) -> Lane {
    match (follows, lane.kind) {
        (Some(_), Kind::NewChat) => Lane { kind: Kind::Message, ..lane.clone() },
        (Some(_) | None, _) => lane.clone(),
    }
}
