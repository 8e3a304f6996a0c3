//! `outboxd import --dry-run`: some messages as they would be sent, every refused row, and the forecast.
//!
//! The daemon judges and simulates the messages as if they were queued (`POST /v1/forecast`); nothing is stored.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::super::client::{Client, segment};
use super::super::exit::{Exit, Failure};
use super::super::{render, times};
use crate::import::{DAYS, Example, Plan, Rehearsal, Table};
use crate::types::forecast::Forecast;

/// Shows what an import would do.
pub(super) async fn rehearse(
    client: &Client,
    table: &Table,
    mut plan: Plan,
    as_json: bool,
) -> Result<Exit, Failure> {
    let rows = &table.sheet.rows;
    let batch = Rehearsal::judge(&mut plan, rows);
    let path = format!("/v1/forecast?days={DAYS}&campaign={}", segment(&plan.campaign));
    let mut forecast: Option<(Forecast, Value)> = None;
    if batch.messages() > 0 {
        let answer = client.post_rows(&path, batch.body.clone().into()).await?;
        forecast = Some((answer.read()?, serde_json::from_str(&answer.body).unwrap_or_default()));
    }
    let verdicts = forecast.as_mut().and_then(|(found, _)| found.with.as_mut());
    let verdicts = verdicts.map(|with| std::mem::take(&mut with.refused)).unwrap_or_default();
    let found = Rehearsal::new(&plan, rows, batch, &verdicts);
    for (row, reasons) in &found.refused {
        render::note(&render::line(&format!("error: line {}: {}", rows[*row].line, reasons.join(" / "))));
    }
    if let Some(line) = found.cut_at {
        render::note(&format!("the table is too long for one forecast: it ends before line {line}"));
    }
    if as_json {
        let told: Vec<Value> = found
            .refused
            .iter()
            .map(|(row, reasons)| json!({ "line": rows[*row].line, "reasons": reasons }))
            .collect();
        let forecast = forecast.map(|(_, answer)| answer);
        let examples: Vec<&Value> = found.examples.iter().map(|example| &example.message).collect();
        let shown = json!({ "rows": rows.len(), "people": found.people, "messages": found.messages,
            "refused": told, "examples": examples, "forecast": forecast });
        render::json(&shown.to_string())?;
    } else {
        let shown: String = found.examples.iter().map(example).collect();
        render::print(&shown)?;
        if let Some((forecast, _)) = &forecast {
            render::print(&summary(found.people, forecast))?;
        }
    }
    render::note("this was a dry run: nothing is queued");
    Ok(if found.refused.is_empty() { Exit::Done } else { Exit::Refused })
}

/// Formats a message as it would be sent.
fn example(example: &Example) -> String {
    let Example { line, message } = example;
    let when = match message["wait"].as_str() {
        Some(wait) => format!(", {wait} after the step before"),
        None => String::new(),
    };
    let (from, to) = (example.text("account_id"), example.recipient());
    let head = format!("line {line}, step {}: from {from} to {to}{when}", message["step"]);
    let specifics = match message.get("specifics") {
        Some(specifics) => render::text(&specifics.to_string()),
        None => String::new(),
    };
    format!("{}\n{specifics}{}\n", render::line(&head), render::text(example.text("text")))
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
