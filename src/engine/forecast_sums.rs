//! The request and the result of a forecast: sums of accounts and campaigns, and a limited list of messages.
//!
//! Sums are made account by account, so that a forecast of everything needs the memory of its result and of one
//! queue.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::domain::lane::Lane;
use crate::domain::message::{AccountId, MessageId, NewMessage};
use crate::domain::reason::Reason;
use crate::policy::forecast::{Day, Expected, Forecast, Queued, Wait};

/// The most accounts, campaigns and messages that a result lists; sums count all of them.
const LISTED: usize = 1000;

/// What to forecast.
#[derive(Debug, Clone)]
pub struct ForecastRequest {
    /// Limits the forecast to this account.
    pub account_id: Option<AccountId>,
    /// Limits the sums, the days and the list to messages with one of these labels; empty: all. The others are simulated
    /// too, because they use the same limits.
    pub campaigns: BTreeSet<String>,
    /// How many days to look ahead.
    pub days: u32,
    /// How often each account is run, at least once.
    pub runs: u32,
    /// Whether messages are listed.
    pub lists: bool,
    /// The sends of each account up to this time are listed.
    pub soon: Option<Timestamp>,
    /// Messages to add as if they had been queued as well.
    pub with: Vec<NewMessage>,
}

/// An account's messages, prepared for the runs.
#[derive(Default)]
pub(super) struct Prepared {
    pub(super) lanes: Vec<Lane>,
    pub(super) places: HashMap<Lane, usize>,
    pub(super) queued: Vec<Queued>,
    pub(super) ids: Vec<Option<MessageId>>,
    pub(super) started: HashMap<u64, Timestamp>,
}

/// The result of a forecast.
#[derive(Debug, Clone, Default)]
pub struct Forecasts {
    /// The sums of all messages.
    pub total: Summary,
    /// The forecasts of the accounts, the first thousand by their ids.
    pub accounts: Vec<AccountForecast>,
    /// How many accounts have messages.
    pub account_count: u64,
    /// The sums of the campaigns, the first thousand that were found.
    pub campaigns: BTreeMap<Option<String>, Summary>,
    /// Whether there are more campaigns than are listed.
    pub campaigns_are_cut: bool,
    /// The forecasts of messages, at most a thousand; those of an account in the order of their middle times.
    pub messages: Vec<(AccountId, ExpectedMessage)>,
    /// Sums of campaigns for which there was no room.
    spill: Summary,
}

/// How many messages go within the forecast, and when the last one does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many messages there are.
    pub messages: u64,
    /// How many go within the forecast in every run.
    pub sent: u64,
    /// Earliest, middle and latest time of the last message that goes.
    pub last_at: Option<[Timestamp; 3]>,
    /// The same for the last message that is not a follow-up; only of campaigns.
    pub last_first_at: Option<[Timestamp; 3]>,
    /// What the other messages wait for, in the first run, and how many they are.
    pub waiting: BTreeMap<Wait, u64>,
}

/// The forecast of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedMessage {
    /// The message's id; `None` for a hypothetical message.
    pub id: Option<MessageId>,
    /// The message's campaign, if it has one.
    pub campaign: Option<String>,
    /// Earliest, middle and latest time of the runs; `None` if it was not sent in every run.
    pub at: Option<[Timestamp; 3]>,
    /// What it waits for if it does not go, in the first run.
    pub waits_for: Option<Wait>,
}

/// The forecast of one account.
#[derive(Debug, Clone)]
pub struct AccountForecast {
    /// The account's id.
    pub account_id: AccountId,
    /// The sums of its messages.
    pub summary: Summary,
    /// Its days in the account's zone, in the first run.
    pub days: Vec<ExpectedDay>,
    /// The account's time zone.
    pub zone: TimeZone,
    /// When it sends until [`ForecastRequest::soon`], in the first run, in order.
    pub soon: Vec<Timestamp>,
}

/// The forecast of one day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedDay {
    /// The date in the account's zone.
    pub date: Date,
    /// How many messages are sent on that day.
    pub sends: u32,
    /// What limits the sends of that day, if anything.
    pub bound_by: Option<Reason>,
}

impl ForecastRequest {
    /// Returns whether messages with this label are counted.
    fn counts(&self, campaign: Option<&str>) -> bool {
        self.campaigns.is_empty() || campaign.is_some_and(|label| self.campaigns.contains(label))
    }
}

impl Forecasts {
    /// Adds one account.
    pub(super) fn add(
        &mut self,
        request: &ForecastRequest,
        id: AccountId,
        zone: TimeZone,
        prepared: &Prepared,
        runs: &[Forecast],
    ) {
        if prepared.queued.is_empty() {
            return;
        }
        let mut summary = Summary::default();
        let mut listed: Vec<ExpectedMessage> = Vec::new();
        for (place, queued) in prepared.queued.iter().enumerate() {
            let (at, waits_for) = (times(place, runs), waits_for(runs[0].messages[place]));
            let campaign = &prepared.lanes[queued.lane].campaign;
            if !request.counts(campaign.as_deref()) {
                continue;
            }
            summary.add(at, waits_for);
            let sums = self.campaign(campaign);
            sums.add(at, waits_for);
            if queued.step.is_none_or(|(_, step)| step == 1) {
                at.into_iter().for_each(|at| later(&mut sums.last_first_at, at));
            }
            if request.lists {
                listed.push(ExpectedMessage {
                    id: prepared.ids[place],
                    campaign: campaign.clone(),
                    at,
                    waits_for,
                });
            }
        }
        if summary.messages == 0 {
            return;
        }
        listed.sort_by_key(|message| message.at.map_or(Timestamp::MAX, |[_, middle, _]| middle));
        let room = LISTED.saturating_sub(self.messages.len());
        self.messages.extend(listed.into_iter().take(room).map(|message| (id.clone(), message)));
        self.total.join(&summary);
        self.account_count += 1;
        if self.accounts.len() < LISTED {
            // For all accounts, the days would be a large table that the request did not ask for.
            let has_days = request.account_id.is_some() || request.lists;
            let days = if has_days { days(request, prepared, &runs[0], &zone) } else { Vec::new() };
            self.accounts.push(AccountForecast {
                account_id: id,
                summary,
                days,
                zone,
                soon: request.soon.map_or_else(Vec::new, |until| sends_until(until, &runs[0])),
            });
        }
    }

    /// Returns the sums of a campaign; for a campaign that does not fit, sums that are discarded.
    fn campaign(&mut self, campaign: &Option<String>) -> &mut Summary {
        if !self.campaigns.contains_key(campaign) && self.campaigns.len() >= LISTED {
            self.campaigns_are_cut = true;
            return &mut self.spill;
        }
        self.campaigns.entry(campaign.clone()).or_default()
    }
}

impl Summary {
    fn add(&mut self, at: Option<[Timestamp; 3]>, waits_for: Option<Wait>) {
        self.messages += 1;
        match at {
            Some(at) => {
                self.sent += 1;
                later(&mut self.last_at, at);
            }
            // Sent in the first run but not in all of them: the forecast was too short.
            None => *self.waiting.entry(waits_for.unwrap_or(Wait::of(Reason::Turn))).or_default() += 1,
        }
    }

    fn join(&mut self, other: &Self) {
        self.messages += other.messages;
        self.sent += other.sent;
        other.last_at.into_iter().for_each(|at| later(&mut self.last_at, at));
        for (wait, messages) in &other.waiting {
            *self.waiting.entry(*wait).or_default() += messages;
        }
    }

    /// Returns whether all messages go within the forecast.
    pub fn is_done(&self) -> bool {
        self.sent == self.messages
    }
}

/// Returns the days of a run with the sends that the request counts.
fn days(request: &ForecastRequest, prepared: &Prepared, run: &Forecast, zone: &TimeZone) -> Vec<ExpectedDay> {
    let mut counted: HashMap<Date, u32> = HashMap::new();
    for (queued, expected) in prepared.queued.iter().zip(&run.messages) {
        let is_counted = request.counts(prepared.lanes[queued.lane].campaign.as_deref());
        if let Some(at) = sent_at(*expected).filter(|_| is_counted) {
            *counted.entry(zone.to_datetime(at).date()).or_default() += 1;
        }
    }
    let sends = |day: &Day| match request.campaigns.is_empty() {
        true => day.sends,
        false => counted.get(&day.date).copied().unwrap_or(0),
    };
    let day = |day: &Day| ExpectedDay { date: day.date, sends: sends(day), bound_by: day.bound_by };
    run.days.iter().map(day).collect()
}

/// Keeps the later times.
fn later(last: &mut Option<[Timestamp; 3]>, at: [Timestamp; 3]) {
    let last = last.get_or_insert(at);
    for (last, at) in last.iter_mut().zip(at) {
        *last = at.max(*last);
    }
}

/// Returns when a run sends up to `until`, in order.
fn sends_until(until: Timestamp, run: &Forecast) -> Vec<Timestamp> {
    let all = run.messages.iter().filter_map(|message| sent_at(*message));
    let mut sends: Vec<Timestamp> = all.filter(|at| *at <= until).collect();
    sends.sort_unstable();
    sends
}

/// Returns the earliest, middle and latest time of a message, if it goes in every run.
pub(super) fn times(place: usize, runs: &[Forecast]) -> Option<[Timestamp; 3]> {
    let mut times = runs.iter().map(|run| sent_at(run.messages[place])).collect::<Option<Vec<_>>>()?;
    times.sort_unstable();
    Some([times[0], times[times.len() / 2], times[times.len() - 1]])
}

fn sent_at(expected: Expected) -> Option<Timestamp> {
    match expected {
        Expected::Sent(at) => Some(at),
        Expected::Expired | Expected::Waiting(_) => None,
    }
}

fn waits_for(expected: Expected) -> Option<Wait> {
    match expected {
        Expected::Sent(_) => None,
        Expected::Expired => Some(Wait::of(Reason::Expired)),
        Expected::Waiting(wait) => Some(wait),
    }
}
