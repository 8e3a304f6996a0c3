//! Campaign endpoints: what became of the messages of each campaign, by step.

use axum::Json;
use axum::extract::{Query, State};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet};

use super::body::Id;
use super::error::{ApiError, Missing};
use super::{Answer, App, AppState, Parameters, forecast, query};
use crate::domain::stop::FOREVER;
use crate::engine::{ForecastRequest, Forecasts};
use crate::store::{self, StepCounts};
use crate::types::account::SentOnDay;
use crate::types::campaign::{Campaign, CampaignCounts, CampaignStep};
use crate::types::{Page, Time};

/// Default and maximum number of campaigns per page.
const PAGE: [u32; 2] = [20, 100];

pub(super) async fn list(State(state): App, Query(parameters): Parameters) -> Answer<Page<Campaign>> {
    let (mut limit, mut after, mut is_forecast) = (PAGE[0], String::new(), false);
    for (name, value) in parameters {
        match name.as_str() {
            "limit" => limit = query::limit(&value, PAGE, query::NEXT)?,
            "cursor" => after = value,
            "done_by" => is_forecast = flag(&name, &value)?,
            _unknown => {
                let known = ["limit", "cursor", "done_by"];
                return Err(ApiError::unknown_field(&name, known));
            }
        }
    }
    let mut names = state.store.campaign_names(&after, limit + 1).await?;
    let is_cut = names.len() > usize::try_from(limit).unwrap_or(usize::MAX);
    if is_cut {
        names.pop();
    }
    let now = state.engine.now();
    let mut data = Vec::with_capacity(names.len());
    for name in &names {
        data.extend(state.store.campaign(name, now).await?.map(campaign));
    }
    if is_forecast {
        add_ends(&state, &mut data).await?;
    }
    Ok(Json(Page { data, next_cursor: names.pop().filter(|_| is_cut) }))
}

pub(super) async fn show(State(state): App, Id(name): Id, Query(parameters): Parameters) -> Answer<Campaign> {
    let mut is_forecast = false;
    for (parameter, value) in parameters {
        match parameter.as_str() {
            "done_by" => is_forecast = flag(&parameter, &value)?,
            _unknown => {
                return Err(ApiError::unknown_field(&parameter, ["done_by"]));
            }
        }
    }
    let mut found = named(&state, &name).await?;
    if is_forecast {
        add_ends(&state, std::slice::from_mut(&mut found)).await?;
    }
    Ok(Json(found))
}

/// Returns a campaign with what was sent on each day.
pub(super) async fn named(state: &AppState, name: &str) -> Result<Campaign, ApiError> {
    let name = name.trim();
    let found = state.store.campaign(name, state.engine.now()).await?;
    let found = found.map(campaign).ok_or_else(|| ApiError::not_found(Missing::Campaign, name))?;
    let sent = state.store.campaign_sent(name).await?;
    Ok(Campaign { sent_by_day: Some(by_day(sent, &TimeZone::system())), ..found })
}

/// Adds when each of these campaigns is done.
async fn add_ends(state: &AppState, campaigns: &mut [Campaign]) -> Result<(), ApiError> {
    let waits = |of: &&Campaign| of.counts.queued + of.counts.waiting > 0;
    let waiting: BTreeSet<String> = campaigns.iter().filter(waits).map(|of| of.campaign.clone()).collect();
    if !waiting.is_empty() {
        let mut ends = done_by(state, waiting).await?;
        campaigns.iter_mut().for_each(|of| of.done_by = ends.remove(&of.campaign));
    }
    Ok(())
}

/// Parses a parameter that is on or off.
fn flag(name: &str, value: &str) -> Result<bool, ApiError> {
    value.parse().map_err(|_| {
        let problem = format!("is neither true nor false: {value}");
        ApiError::invalid(name, problem, "leave it out")
    })
}

/// Forecasts when the last message of each of these campaigns is sent, of all if there are none, leaving out messages that
/// wait for a person. Campaigns that are not done within a year are absent.
async fn done_by(state: &AppState, campaigns: BTreeSet<String>) -> Result<BTreeMap<String, Time>, ApiError> {
    Ok(ends(state.engine.forecast(to_the_end(campaigns)).await?))
}

/// Returns the request to forecast these campaigns until they are done.
pub(super) fn to_the_end(campaigns: BTreeSet<String>) -> ForecastRequest {
    let (account_id, with) = (None, Vec::new());
    ForecastRequest {
        account_id,
        campaigns,
        days: forecast::MOST_DAYS,
        runs: 1,
        lists: false,
        soon: None,
        with,
    }
}

/// Returns when the campaigns of a forecast are done, as far as no message of them waits for a person.
pub(super) fn ends(found: Forecasts) -> BTreeMap<String, Time> {
    let end = |(name, sums): (Option<String>, _)| {
        let sums = forecast::summary(&sums);
        Some((name?, sums.last_at.filter(|_| sums.goes_alone())?))
    };
    found.campaigns.into_iter().filter_map(end).collect()
}

/// Adds up what was sent on each day of a zone.
fn by_day(sent: Vec<(Timestamp, u32)>, zone: &TimeZone) -> Vec<SentOnDay> {
    let mut days: BTreeMap<Date, u32> = BTreeMap::new();
    for (at, n) in sent {
        *days.entry(zone.to_datetime(at).date()).or_default() += n;
    }
    days.into_iter().map(|(date, sent)| SentOnDay::new(date, sent)).collect()
}

fn campaign(found: store::Campaign) -> Campaign {
    let store::Campaign { name, steps, is_stopped, stopped_until } = found;
    let steps: Vec<CampaignStep> =
        steps.into_iter().map(|of| CampaignStep { step: of.step, counts: counts(of) }).collect();
    let mut sums = CampaignCounts::default();
    for CampaignStep { counts, .. } in &steps {
        sums.messages += counts.messages;
        sums.queued += counts.queued;
        sums.waiting += counts.waiting;
        sums.in_flight += counts.in_flight;
        sums.review += counts.review;
        sums.sent += counts.sent;
        sums.delivered += counts.delivered;
        sums.read += counts.read;
        sums.replied += counts.replied;
        sums.stopped += counts.stopped;
        sums.failed += counts.failed;
        sums.next_at = sums.next_at.into_iter().chain(counts.next_at).min_by_key(|at| at.0);
    }
    Campaign {
        campaign: name,
        is_paused: is_stopped,
        paused_until: stopped_until.map(Time),
        counts: sums,
        done_by: None,
        steps,
        sent_by_day: None,
    }
}

fn counts(of: StepCounts) -> CampaignCounts {
    CampaignCounts {
        messages: of.messages,
        queued: of.queued,
        waiting: of.waiting,
        in_flight: of.in_flight,
        review: of.review,
        sent: of.sent,
        delivered: of.delivered,
        read: of.read,
        replied: of.replied,
        stopped: of.stopped,
        failed: of.failed,
        next_at: of.next_at.filter(|at| *at < FOREVER).map(Time),
    }
}
