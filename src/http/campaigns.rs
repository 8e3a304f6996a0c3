//! Campaign endpoints: what became of the messages of each campaign, by step.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::error::{ApiError, Missing};
use super::{AppState, query};
use crate::domain::field_error::FieldError;
use crate::domain::stop::FOREVER;
use crate::store::{self, StepCounts};
use crate::types::account::SentOnDay;
use crate::types::campaign::{Campaign, CampaignCounts, CampaignStep};
use crate::types::{Page, Time};

/// Default and maximum number of campaigns per page.
const PAGE: [u32; 2] = [20, 100];

pub(super) async fn list(
    State(state): State<Arc<AppState>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Page<Campaign>>, ApiError> {
    let (mut limit, mut after) = (PAGE[0], String::new());
    for (name, value) in parameters {
        match name.as_str() {
            "limit" => limit = query::limit(&value, PAGE[1])?,
            "cursor" => after = value,
            _unknown => {
                return Err(ApiError::bad_request(FieldError::unknown_field(&name, ["limit", "cursor"])));
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
    Ok(Json(Page { data, next_cursor: names.pop().filter(|_| is_cut) }))
}

pub(super) async fn show(
    State(state): State<Arc<AppState>>,
    Path(name): Path<String>,
) -> Result<Json<Campaign>, ApiError> {
    let found = state.store.campaign(&name, state.engine.now()).await?;
    let found = found.map(campaign).ok_or_else(|| ApiError::not_found(Missing::Campaign, &name))?;
    let sent = state.store.campaign_sent(&name).await?;
    Ok(Json(Campaign { sent_by_day: Some(by_day(sent, &TimeZone::system())), ..found }))
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
