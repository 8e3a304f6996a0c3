//! `outboxd import --dry-run`: some messages as they would be sent, every refused row, and the forecast.
//!
//! The daemon judges and simulates the messages as if they were queued (`POST /v1/forecast`); nothing is stored.

use std::collections::HashSet;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::super::client::{Client, segment};
use super::super::exit::{Exit, Failure};
use super::super::{render, times};
use super::batch::Batch;
use super::load::Table;
use crate::import::{Plan, Row};
use crate::types::forecast::Forecast;

/// Messages that are shown, or one of each step if there are more steps.
const SHOWN: usize = 3;
/// The horizon of the forecast, in days: enough for 20 steps of 14 days.
const DAYS: u32 = 366;
/// Size of the request, in bytes, below the default of `api.body_bytes`.
const BYTES: usize = 24 << 20;

/// Shows what an import would do.
pub(super) async fn rehearse(
    client: &Client,
    table: &Table,
    mut plan: Plan,
    as_json: bool,
) -> Result<Exit, Failure> {
    let rows = &table.sheet.rows;
    let batch = Batch::up_to(&mut plan, rows, 0, (usize::MAX, BYTES));
    let path = format!("/v1/forecast?days={DAYS}&campaign={}", segment(&plan.campaign));
    let mut refused = batch.refused.clone();
    let mut forecast: Option<(Forecast, Value)> = None;
    if batch.messages() > 0 {
        let answer = client.post_rows(&path, batch.body.clone().into()).await?;
        let found: Forecast = answer.read()?;
        let verdicts = found.with.as_ref().map_or(&[][..], |with| &with.refused);
        refused.extend(batch.answered(&plan, verdicts).refused);
        forecast = Some((found, serde_json::from_str(&answer.body).unwrap_or_default()));
    }
    refused.sort_by_key(|(row, _)| *row);
    let examples = examples(&batch, rows, &refused);
    for (row, reasons) in &refused {
        render::note(&render::line(&format!("error: line {}: {}", rows[*row].line, reasons.join(" / "))));
    }
    if batch.next < rows.len() {
        let line = rows[batch.next].line;
        render::note(&format!("the table is too long for one forecast: it ends before line {line}"));
    }
    let people = batch.people - (refused.len() - batch.refused.len());
    if as_json {
        let told: Vec<Value> = refused
            .iter()
            .map(|(row, reasons)| json!({ "line": rows[*row].line, "reasons": reasons }))
            .collect();
        let forecast = forecast.map(|(_, answer)| answer);
        let examples: Vec<&Value> = examples.iter().map(|(_, message)| message).collect();
        let shown = json!({ "rows": rows.len(), "people": people, "messages": batch.messages(), "refused": told,
            "examples": examples, "forecast": forecast });
        render::json(&shown.to_string())?;
    } else {
        let shown: String = examples.iter().map(|(line, message)| example(*line, message)).collect();
        render::print(&shown)?;
        if let Some((forecast, _)) = &forecast {
            render::print(&summary(people, forecast))?;
        }
    }
    render::note("this was a dry run: nothing is queued");
    Ok(if refused.is_empty() { Exit::Done } else { Exit::Refused })
}

/// Returns the messages to show, each with its line: every step of the first person, then the first of others.
fn examples(batch: &Batch, rows: &[Row], refused: &[(usize, Vec<String>)]) -> Vec<(u64, Value)> {
    let refused: HashSet<usize> = refused.iter().map(|(row, _)| *row).collect();
    let mut found: Vec<(u64, Value)> = Vec::new();
    for (row, step, line) in batch.lines().filter(|(row, ..)| !refused.contains(row)) {
        let is_first_person = found.first().is_none_or(|(first, _)| *first == rows[row].line);
        if is_first_person || (step == 0 && found.len() < SHOWN) {
            found.extend(serde_json::from_str(line).map(|message| (rows[row].line, message)));
        } else if found.len() >= SHOWN {
            break;
        }
    }
    found
}

/// Formats a message as it would be sent.
fn example(line: u64, message: &Value) -> String {
    let text = |name: &str| message[name].as_str().unwrap_or_default();
    let to = if message["users_ids"].is_string() { text("users_ids") } else { text("chat_id") };
    let when = match message["wait"].as_str() {
        Some(wait) => format!(", {wait} after the step before"),
        None => String::new(),
    };
    let head = format!("line {line}, step {}: from {} to {to}{when}", message["step"], text("account_id"));
    let specifics = match message.get("specifics") {
        Some(specifics) => render::text(&specifics.to_string()),
        None => String::new(),
    };
    format!("{}\n{specifics}{}\n", render::line(&head), render::text(text("text")))
}

/// Formats the forecast of the campaign.
fn summary(people: usize, forecast: &Forecast) -> String {
    let system = TimeZone::system();
    let Some(found) = forecast.campaigns.iter().find(|of| of.campaign.is_some()) else {
        return format!("{people} people, {}\n", forecast.total.text(forecast.days, &system));
    };
    let first = match (found.last_first_at, found.summary.last_at) {
        (Some(first), Some(last)) if *first < *last => {
            format!("the last first message goes at {}\n", times::full_in(Some(first), &system))
        }
        _ => String::new(),
    };
    format!("{people} people, {} if no one replies\n{first}", found.summary.text(forecast.days, &system))
}
