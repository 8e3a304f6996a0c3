//! When the queue goes out: `GET /v1/forecast`, and with messages that are only supposed, `POST /v1/forecast`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::error::ApiError;
use super::{Doors, render, wire};
use crate::domain::message::{AccountId, NewMessage};
use crate::domain::refusal::{Refusal, RefusalCode};
use crate::engine::{AccountForecast, ExpectedMessage, ForecastRequest};

/// Looks so far unless it is said.
const DAYS: u32 = 30;
/// Looks no further.
const MOST_DAYS: u32 = 366;
/// Runs of one account, and of all together.
const RUNS: [u32; 2] = [7, 1];
/// Messages that an answer lists.
const LISTED: usize = 1000;

/// What a query asks beside the engine's part.
struct Asked {
    request: ForecastRequest,
    campaign: Option<String>,
}

pub(super) async fn forecast(
    State(doors): State<Arc<Doors>>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ApiError> {
    answer(&doors, asked(parameters)?).await
}

pub(super) async fn forecast_with(
    State(doors): State<Arc<Doors>>,
    Query(parameters): Query<Vec<(String, String)>>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let mut asked = asked(parameters)?;
    asked.request.with = supposed(&doors, &body)?;
    answer(&doors, asked).await
}

fn asked(parameters: Vec<(String, String)>) -> Result<Asked, ApiError> {
    let (mut account_id, mut campaign, mut days) = (None, None, DAYS);
    for (name, value) in parameters {
        match name.as_str() {
            "account_id" => account_id = Some(AccountId::new(value)),
            "campaign" => campaign = Some(value),
            "days" => {
                days = value.parse().ok().filter(|days| (1..=MOST_DAYS).contains(days)).ok_or_else(|| {
                    let problem = format!("is not a number from 1 to {MOST_DAYS}: {value}");
                    let fix = format!("leave it out for {DAYS}");
                    ApiError::bad_request(Refusal::new(RefusalCode::InvalidValue, "days", problem, fix))
                })?;
            }
            _unknown => {
                let known = ["account_id", "campaign", "days"];
                return Err(ApiError::bad_request(Refusal::unknown_field(&name, known)));
            }
        }
    }
    let runs = if account_id.is_some() { RUNS[0] } else { RUNS[1] };
    Ok(Asked { request: ForecastRequest { account_id, days, runs, with: Vec::new() }, campaign })
}

/// One message, an array, or one a line; the first bad one is told with its line.
fn supposed(doors: &Doors, body: &[u8]) -> Result<Vec<NewMessage>, ApiError> {
    let rows: Vec<Value> = match serde_json::from_slice(body) {
        Ok(Value::Array(rows)) => rows,
        Ok(one) => vec![one],
        Err(_) => {
            let lines = body.split(|byte| *byte == b'\n').enumerate();
            let filled = lines.filter(|(_, line)| !line.iter().all(u8::is_ascii_whitespace));
            let parsed = filled.map(|(index, line)| {
                serde_json::from_slice(line)
                    .map_err(|error| ApiError::bad_request(wire::malformed(&error, Some(index + 1))))
            });
            parsed.collect::<Result<_, _>>()?
        }
    };
    let now = doors.engine.now();
    let read = |(row, value): (usize, Value)| {
        let drafted = wire::draft(value, &doors.attachments);
        let message = drafted.and_then(|(draft, _)| draft.validate(&doors.rules, now));
        message.map_err(|refusals| {
            let placed =
                |refusal: Refusal| Refusal { field: format!("[{row}].{}", refusal.field), ..refusal };
            let refusals = refusals.into_iter().map(placed).collect();
            ApiError::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, refusals)
        })
    };
    rows.into_iter().enumerate().map(read).collect()
}

async fn answer(doors: &Doors, asked: Asked) -> Result<Json<Value>, ApiError> {
    let Asked { request, campaign } = asked;
    if let Some(id) = &request.account_id
        && request.with.is_empty()
        && doors.store.accounts(Some(id)).await?.is_empty()
    {
        return Err(ApiError::not_found("account", id.as_str()));
    }
    let forecasts = doors.engine.forecast(&request).await?;
    let wanted = |message: &&ExpectedMessage| campaign.is_none() || message.campaign == campaign;
    let lists = request.account_id.is_some() || campaign.is_some() || !request.with.is_empty();
    let mut messages = Vec::new();
    let mut campaigns: BTreeMap<Option<String>, Vec<&ExpectedMessage>> = BTreeMap::new();
    for forecast in &forecasts {
        for message in forecast.messages.iter().filter(wanted) {
            campaigns.entry(message.campaign.clone()).or_default().push(message);
            if lists && messages.len() < LISTED {
                messages.push(expected(forecast, message));
            }
        }
    }
    let campaigns: Vec<Value> = campaigns
        .iter()
        .map(|(name, messages)| {
            let mut summary = summary(messages);
            summary["campaign"] = json!(name);
            summary
        })
        .collect();
    let accounts: Vec<Value> = forecasts.iter().map(account).collect();
    Ok(Json(json!({
        "now": render::time(Some(doors.engine.now())),
        "days": request.days,
        "runs": request.runs,
        "accounts": accounts,
        "campaigns": campaigns,
        "messages": messages,
    })))
}

/// How many go within the time, and when the last one does.
fn summary(messages: &[&ExpectedMessage]) -> Value {
    let sent: Vec<[Timestamp; 3]> = messages.iter().filter_map(|message| message.at).collect();
    let done = sent.len() == messages.len();
    let last = |place: usize| sent.iter().map(|at| at[place]).max();
    json!({
        "messages": messages.len(),
        "sent": sent.len(),
        "done": done,
        "last_at": render::time(last(1)),
        "last_at_range": [render::time(last(0)), render::time(last(2))],
    })
}

fn account(forecast: &AccountForecast) -> Value {
    let all: Vec<&ExpectedMessage> = forecast.messages.iter().collect();
    let mut row = summary(&all);
    row["account_id"] = json!(forecast.account_id.as_str());
    row["days"] = forecast
        .days
        .iter()
        .map(|day| {
            json!({
                "date": day.date.to_string(),
                "sends": day.sends,
                "bound_by": day.bound_by.map(|reason| reason.as_str()),
            })
        })
        .collect();
    row
}

fn expected(forecast: &AccountForecast, message: &ExpectedMessage) -> Value {
    json!({
        "id": message.id.map(|id| id.to_string()),
        "account_id": forecast.account_id.as_str(),
        "campaign": message.campaign,
        "at": render::time(message.at.map(|[_, middle, _]| middle)),
        "range": message.at.map(|[first, _, last]| [render::time(Some(first)), render::time(Some(last))]),
        "waits_for": message.waits_for.map(|reason| reason.as_str()),
    })
}
