//! When the queue goes out, by the very function that sends: each account is run forward without sending, several
//! times with other dice, so that a time is told with how much it may vary.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;

use super::EngineHandle;
use super::account::gap_seed;
use crate::clock;
use crate::domain::lane::Lane;
use crate::domain::message::{AccountId, MessageId, NewMessage};
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::policy::forecast::{Day, Expected, Forecast, Queued, Start, forecast};
use crate::policy::hours::account_seed;
use crate::policy::order::Turns;
use crate::policy::settle::after;
use crate::store::{MessageView, QueuedMessage, StoreError};

/// How long a call takes where nothing is known of it.
const CALL: Duration = Duration::from_secs(1);
/// Calls of the last days tell how long one takes.
const CALLS_SINCE: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is asked.
#[derive(Debug, Clone)]
pub struct ForecastRequest {
    /// Only of this account.
    pub account_id: Option<AccountId>,
    /// Looks so far.
    pub days: u32,
    /// How often each account is run, at least once.
    pub runs: u32,
    /// As if these had been queued as well.
    pub with: Vec<NewMessage>,
}

/// What is expected of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedMessage {
    /// Which; `None` is one that was only supposed.
    pub id: Option<MessageId>,
    /// Its campaign.
    pub campaign: Option<String>,
    /// Earliest, middle and latest time of the runs; `None` if it was not sent in every run.
    pub at: Option<[Timestamp; 3]>,
    /// Why not, in the first run.
    pub waits_for: Option<Reason>,
}

/// What is expected of one account.
#[derive(Debug, Clone)]
pub struct AccountForecast {
    /// Which.
    pub account_id: AccountId,
    /// Of its messages, in the order of their middle times.
    pub messages: Vec<ExpectedMessage>,
    /// Of its days in the account's zone, in the first run.
    pub days: Vec<ExpectedDay>,
}

/// What is expected of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedDay {
    /// In the account's zone.
    pub date: Date,
    /// Messages that are sent.
    pub sends: u32,
    /// What binds them.
    pub bound_by: Option<Reason>,
}

/// What an account's messages are made of for the runs.
struct Prepared {
    lanes: Vec<Lane>,
    queued: Vec<Queued>,
    ids: Vec<Option<MessageId>>,
    started: HashMap<u64, Timestamp>,
}

impl EngineHandle {
    /// Runs the accounts forward.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn forecast(&self, request: &ForecastRequest) -> Result<Vec<AccountForecast>, StoreError> {
        let now = self.now();
        let daemon = self.shared.store.totals().await?.daemon;
        let mut forecasts = Vec::new();
        for view in self.shared.store.accounts(request.account_id.as_ref()).await? {
            let id = view.account.id.clone();
            let with: Vec<&NewMessage> =
                request.with.iter().filter(|message| message.account_id == id).collect();
            if view.counts.of(StateName::Queued) == 0 && with.is_empty() {
                continue;
            }
            let prepared = prepare(&self.shared.store.queued(&id).await?, &with, now);
            let (floor, reached) = self.shared.store.turns(&id).await?;
            let since = now.checked_sub(CALLS_SINCE).unwrap_or(now);
            let call = self.shared.store.call_takes_ms(&id, since).await?;
            let account = self.paced(&view.account);
            let days = Duration::from_secs(u64::from(request.days) * 24 * 3600);
            let start = Start {
                now,
                until: after(now, days),
                daemon: &daemon,
                account: &account,
                policy: &self.policy(&id),
                ledger: &self.shared.store.ledger(&id, now).await?,
                turns: &Turns { floor, reached },
                lanes: &prepared.lanes,
                queued: &prepared.queued,
                started: &prepared.started,
                call: call.map_or(CALL, |milliseconds| Duration::from_millis(milliseconds.max(0.0) as u64)),
            };
            let run = |run: u32| {
                // The first run draws what a fresh start with the daemon's seed would draw.
                let seed = gap_seed(self.shared.seed, &id).wrapping_add(u64::from(run));
                forecast(&start, &mut clock::dice(seed))
            };
            let runs: Vec<Forecast> = (0..request.runs.max(1)).map(run).collect();
            forecasts.push(summed(id, &prepared, &runs));
        }
        Ok(forecasts)
    }
}

/// A queue longer than this is not run forward for the sake of one message.
const LONGEST: u64 = 20_000;

impl EngineHandle {
    /// When a queued message is expected to go: earliest, middle and latest of some runs. `None` for one that is not
    /// queued, does not go within 60 days, or stands in a very long queue.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn expected(&self, message: &MessageView) -> Result<Option<[Timestamp; 3]>, StoreError> {
        let account_id = message.account.id.clone();
        let views = self.shared.store.accounts(Some(&account_id)).await?;
        let queued = views.first().map_or(0, |view| view.counts.of(StateName::Queued));
        if message.waiting.is_none() || queued > LONGEST {
            return Ok(None);
        }
        let request = ForecastRequest { account_id: Some(account_id), days: 60, runs: 5, with: Vec::new() };
        let forecasts = self.forecast(&request).await?;
        let mut messages = forecasts.into_iter().flat_map(|forecast| forecast.messages);
        Ok(messages.find(|other| other.id == Some(message.id)).and_then(|expected| expected.at))
    }
}

fn prepare(queued: &[QueuedMessage], with: &[&NewMessage], now: Timestamp) -> Prepared {
    let mut prepared =
        Prepared { lanes: Vec::new(), queued: Vec::new(), ids: Vec::new(), started: HashMap::new() };
    let mut places: HashMap<Lane, usize> = HashMap::new();
    let mut lane_of = |lane: &Lane, lanes: &mut Vec<Lane>| {
        *places.entry(lane.clone()).or_insert_with(|| {
            lanes.push(lane.clone());
            lanes.len() - 1
        })
    };
    for message in queued {
        let thread = account_seed(&message.thread);
        if let Some(started_at) = message.started_at {
            prepared.started.insert(thread, started_at);
        }
        prepared.ids.push(Some(message.id));
        prepared.queued.push(Queued {
            lane: lane_of(&message.lane, &mut prepared.lanes),
            due_at: message.due_at,
            ready_at: message.retry_at.map_or(message.due_at, |at| at.max(message.due_at)),
            expires_at: message.expires_at,
            arrival: message.arrival,
            thread,
            waits_for: message.is_held.then_some(Reason::ChatOrder),
        });
    }
    let last = queued.iter().map(|message| message.arrival).max().unwrap_or_default();
    for (message, arrival) in with.iter().zip(last + 1..) {
        let due_at = message.not_before.map_or(now, |at| at.max(now));
        prepared.ids.push(None);
        prepared.queued.push(Queued {
            lane: lane_of(&message.lane(), &mut prepared.lanes),
            due_at,
            ready_at: due_at,
            expires_at: message.expires_at,
            arrival,
            thread: account_seed(&message.target.thread()),
            waits_for: None,
        });
    }
    prepared
}

fn summed(account_id: AccountId, prepared: &Prepared, runs: &[Forecast]) -> AccountForecast {
    let mut messages: Vec<ExpectedMessage> = prepared
        .queued
        .iter()
        .enumerate()
        .map(|(index, queued)| {
            let mut times: Vec<Timestamp> =
                runs.iter().filter_map(|run| sent_at(run.messages[index])).collect();
            times.sort_unstable();
            let whole = times.len() == runs.len();
            let waits_for = match runs[0].messages[index] {
                Expected::Sent(_) => None,
                Expected::Expired => Some(Reason::Expired),
                Expected::Waiting(reason) => Some(reason),
            };
            ExpectedMessage {
                id: prepared.ids[index],
                campaign: prepared.lanes[queued.lane].campaign.clone(),
                at: whole.then(|| [times[0], times[times.len() / 2], times[times.len() - 1]]),
                waits_for,
            }
        })
        .collect();
    messages.sort_by_key(|message| message.at.map_or(Timestamp::MAX, |[_, middle, _]| middle));
    let day = |day: &Day| ExpectedDay { date: day.date, sends: day.sends, bound_by: day.bound_by };
    AccountForecast { account_id, messages, days: runs[0].days.iter().map(day).collect() }
}

fn sent_at(expected: Expected) -> Option<Timestamp> {
    match expected {
        Expected::Sent(at) => Some(at),
        Expected::Expired | Expected::Waiting(_) => None,
    }
}
