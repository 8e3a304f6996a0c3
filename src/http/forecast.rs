//! When the queue will be sent: `GET /v1/forecast`, and with hypothetical messages `POST /v1/forecast`.
//!
//! Hypothetical rows are parsed, refused and counted as in `POST /v1/messages`: invalid rows are listed and the rest
//! is forecast.

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use std::collections::BTreeSet;

use super::atomic::{self, atomic};
use super::error::{ApiError, Missing};
use super::input::{self, Input, InputRow};
use super::verdicts::{
    beside, dedupe_conflict, differing, out_of_step, refused_row, repeated, suppressed, taken,
    told_person_refused,
};
use super::{Answer, App, AppState, Parameters, body, render, wire};
use crate::domain::message::{AccountId, NewMessage};
use crate::domain::reason::Reason;
use crate::engine::{AccountForecast, ExpectedMessage, ForecastRequest, Summary};
use crate::store::{EnqueueMode, Enqueued, StepContents};
use crate::types::forecast::{Assumed, CampaignForecast, Day, Forecast, KeptAccount, Waiting};
use crate::types::message::Verdict;
use crate::types::{self, Time};

/// Default horizon, in days.
const DAYS: u32 = 30;
/// Maximum horizon, in days.
pub(super) const MOST_DAYS: u32 = 366;
/// The parameters of a query.
const KNOWN: [&str; 3] = ["account_id", "campaign", "days"];
/// Number of simulation runs: for one account, and for all accounts together.
const RUNS: [u32; 2] = [7, 1];

pub(super) async fn forecast(State(state): App, Query(parameters): Parameters) -> Answer<Forecast> {
    let request = asked(parameters, &KNOWN)?;
    if let Some(id) = &request.account_id
        && state.store.account(id).await?.is_none()
    {
        return Err(ApiError::not_found(Missing::Account, id.as_str()));
    }
    let label = request.campaigns.first().cloned();
    let found = answer(&state, request).await?;
    if let Some(label) = label.filter(|_| found.campaigns.is_empty())
        && state.store.campaign(&label, state.engine.now()).await?.is_none()
    {
        return Err(ApiError::not_found(Missing::Campaign, &label));
    }
    Ok(Json(found))
}

pub(super) async fn forecast_with(
    State(state): App,
    Query(mut parameters): Parameters,
    headers: HeaderMap,
    body: Body,
) -> Answer<Forecast> {
    let keeps_accounts = input::keeps_accounts(&mut parameters)?;
    let mode = atomic(&mut parameters)?;
    if mode == EnqueueMode::All {
        return Err(ApiError::invalid("atomic", "is \"true\"", "give person, or leave it out"));
    }
    let mut request = asked(parameters, &[&KNOWN[..], &["accounts", "atomic"]].concat())?;
    let body = body::read(body, state.body_bytes).await?;
    let mut rows = match input::read(&state, &headers, body).await? {
        Input::Many(rows, _files) => rows,
        Input::One(value, uploads) => {
            let drafted = wire::draft_with(value, uploads, &state.attachments);
            let message = drafted.and_then(|(draft, _)| draft.validate(&state.limits(), state.engine.now()));
            vec![InputRow { line: None, person: None, message }]
        }
    };
    let kept = if keeps_accounts { input::keep_accounts(&state, &mut rows).await? } else { Vec::new() };
    let kept =
        kept.into_iter().map(|(index, account)| KeptAccount { index, account_id: account.to_string() });
    let Supposed { fresh, existing, refused } = supposed(&state, rows, mode).await?;
    (request.with, request.lists) = (fresh, true);
    let assumed = Assumed {
        messages: request.with.len(),
        duplicates: existing.len(),
        existing,
        kept: kept.collect(),
        refused,
    };
    let answer = answer(&state, request).await?;
    Ok(Json(Forecast { with: Some(assumed), ..answer }))
}

fn asked(parameters: Vec<(String, String)>, known: &[&str]) -> Result<ForecastRequest, ApiError> {
    let (mut account_id, mut campaigns, mut days) = (None, BTreeSet::new(), DAYS);
    for (name, value) in parameters {
        match name.as_str() {
            "account_id" => account_id = Some(AccountId::new(value)),
            "campaign" => campaigns = BTreeSet::from([value.trim().to_owned()]),
            "days" => {
                days = value.parse().ok().filter(|days| (1..=MOST_DAYS).contains(days)).ok_or_else(|| {
                    let problem = format!("is not a number from 1 to {MOST_DAYS}: {value}");
                    let fix = format!("leave it out for {DAYS}");
                    ApiError::invalid("days", problem, fix)
                })?;
            }
            _unknown => {
                return Err(ApiError::unknown_field(&name, known.iter().copied()));
            }
        }
    }
    let runs = if account_id.is_some() { RUNS[0] } else { RUNS[1] };
    let lists = account_id.is_some() || !campaigns.is_empty();
    Ok(ForecastRequest { account_id, campaigns, days, runs, lists, soon: None, with: Vec::new() })
}

/// What enqueueing the rows would do.
struct Supposed {
    fresh: Vec<NewMessage>,
    /// The rows that are already in the queue, or occur twice among the rows.
    existing: Vec<Verdict>,
    /// The problems of each refused row.
    refused: Vec<Verdict>,
}

async fn supposed(
    state: &AppState,
    mut rows: Vec<InputRow>,
    mode: EnqueueMode,
) -> Result<Supposed, ApiError> {
    let spoiled = atomic::spoiled(state, &mut rows, mode).await?;
    let (mut good, mut places, mut bad) = (Vec::new(), Vec::new(), Vec::new());
    for (index, row) in rows.into_iter().enumerate() {
        match row.message {
            Ok(_) if spoiled.contains(&index) => {
                bad.push((index, refused_row(index, row.line, &[told_person_refused()], None)));
            }
            Ok(message) => {
                good.push(message);
                places.push((index, row.line));
            }
            Err(refusals) => bad.push((index, refused_row(index, row.line, &refusals, None))),
        }
    }
    let verdicts = state.store.rehearse(&mut good, mode, state.engine.now()).await?;
    let stored = state.store.existing(&taken(&verdicts)).await?;
    let (mut fresh, mut existing) = (Vec::new(), Vec::new());
    for ((message, (index, line)), verdict) in good.into_iter().zip(places).zip(verdicts) {
        let (refusal, id) = match verdict {
            Enqueued::Accepted(_) => {
                fresh.push(message);
                continue;
            }
            Enqueued::Duplicate(id) => {
                let found = stored.get(&id);
                let differs = found.map(|found| found.differs(StepContents::of(&message).as_ref()));
                let differs = differing(&differs.unwrap_or_default());
                let state = found.map(|found| found.state.as_str().to_owned());
                // A row of the body has no message yet.
                let (id, duplicate) = (found.map(|_| id.to_string()), Some(true));
                existing.push(Verdict { index, id, duplicate, state, differs, line, ..Verdict::default() });
                continue;
            }
            Enqueued::Conflict(id) => {
                (dedupe_conflict(id, stored.get(&id).map(|found| found.state)), Some(id))
            }
            Enqueued::Repeat(repeat) => (repeated(&repeat), Some(repeat.id)),
            Enqueued::Suppressed => (suppressed(), None),
            Enqueued::OutOfStep(why) => (out_of_step(&why), None),
            Enqueued::Beside(clash) => (beside(clash), None),
            Enqueued::Refused => (told_person_refused(), None),
        };
        bad.push((index, refused_row(index, line, &[refusal], id)));
    }
    bad.sort_by_key(|(index, _)| *index);
    Ok(Supposed { fresh, existing, refused: bad.into_iter().map(|(_, row)| row).collect() })
}

async fn answer(state: &AppState, request: ForecastRequest) -> Result<Forecast, ApiError> {
    let (days, runs, lists) = (request.days, request.runs, request.lists);
    let found = state.engine.forecast(request).await?;
    let campaign = |(name, of): (Option<String>, Summary)| CampaignForecast {
        summary: summary(&of),
        campaign: name,
        last_first_at: of.last_first_at.map(|[_, middle, _]| Time(middle)),
    };
    Ok(Forecast {
        now: state.engine.now().into(),
        days,
        runs,
        total: summary(&found.total),
        accounts: found.accounts.iter().map(account).collect(),
        account_count: found.account_count,
        campaigns: found.campaigns.into_iter().map(campaign).collect(),
        campaigns_are_cut: found.campaigns_are_cut,
        messages: if lists { found.messages.into_iter().map(expected).collect() } else { Vec::new() },
        with: None,
    })
}

pub(super) fn summary(of: &Summary) -> types::forecast::Summary {
    let last = |place: usize| of.last_at.map(|at| Time(at[place]));
    let waiting = of.waiting.iter().map(|(wait, messages)| Waiting {
        reason: wait.reason.as_str().to_owned(),
        why: sentence(wait.reason).to_owned(),
        needs_person: wait.needs_person,
        messages: *messages,
    });
    types::forecast::Summary {
        messages: of.messages,
        sent: of.sent,
        done: of.is_done(),
        last_at: last(1),
        last_at_range: [last(0), last(2)],
        waiting: waiting.collect(),
    }
}

/// Returns the sentence of a reason, for messages whose end is still to come.
fn sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::Expired => "It expires before its turn.",
        Reason::StepStopped => "A step before it is not sent, so it is cancelled.",
        _ => reason.sentence(),
    }
}

fn account(forecast: &AccountForecast) -> types::forecast::AccountForecast {
    let day = |day: &crate::engine::ExpectedDay| Day {
        date: day.date.to_string(),
        sends: day.sends,
        bound_by: day.bound_by.map(|reason| reason.as_str().to_owned()),
    };
    types::forecast::AccountForecast {
        summary: summary(&forecast.summary),
        account_id: forecast.account_id.as_str().to_owned(),
        zone: render::zone(&forecast.zone).to_owned(),
        days: forecast.days.iter().map(day).collect(),
    }
}

fn expected((account_id, message): (AccountId, ExpectedMessage)) -> types::forecast::ExpectedMessage {
    types::forecast::ExpectedMessage {
        id: message.id.map(|id| id.to_string()),
        account_id: account_id.as_str().to_owned(),
        campaign: message.campaign,
        at: message.at.map(|[_, middle, _]| Time(middle)),
        range: message.at.map(|[first, _, last]| [Time(first), Time(last)]),
        waits_for: message.waits_for.map(|wait| wait.reason.as_str().to_owned()),
    }
}
