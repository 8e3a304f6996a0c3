//! `outboxd import --dry-run`: some messages as they would be sent, every refused row, and the forecast.
//!
//! The daemon judges and simulates the messages as if they were queued (`POST /v1/forecast`); nothing is stored.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::super::client::{Client, segment};
use super::super::exit::{Exit, Failure};
use super::super::{render, times};
use super::differing::{self, Outcome};
use crate::import::{DAYS, Example, Plan, Rehearsal, Table, ended};
use crate::types::counted;
use crate::types::forecast::Forecast;

/// Shows what an import would do.
pub(super) async fn rehearse(
    client: &Client,
    table: &Table,
    mut plan: Plan,
    (updates, as_json): (bool, bool),
) -> Result<Exit, Failure> {
    let rows = &table.sheet.rows;
    let accounts = if plan.keeps_accounts() { "&accounts=keep" } else { "" };
    let path =
        format!("/v1/forecast?days={DAYS}&atomic=person&campaign={}{accounts}", segment(&plan.campaign));
    let (batch, forecast, assumed) = loop {
        let batch = Rehearsal::judge(&mut plan, rows);
        let mut forecast: Option<(Forecast, Value)> = None;
        if batch.messages() > 0 {
            let answer = client.post_rows(&path, batch.body.clone().into()).await?;
            forecast = Some((answer.read()?, serde_json::from_str(&answer.body).unwrap_or_default()));
        }
        let assumed = forecast.as_mut().and_then(|(found, _)| found.with.take()).unwrap_or_default();
        if !Rehearsal::has_second_rows(&mut plan, rows, &batch, &assumed) {
            break (batch, forecast, assumed);
        }
    };
    let found = Rehearsal::new(&plan, rows, batch, &assumed);
    for (row, reasons) in &found.refused {
        render::note(&render::line(&format!("error: line {}: {}", rows[*row].line, reasons.join(" / "))));
    }
    let differing = match updates {
        true => differing::update(client, table, &found.differing, true).await?,
        false => differing::name(table, &found.differing),
    };
    let repeated = super::repeated(table, &found.repeats);
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
            "before": found.before, "differing": differing.kept, "repeated": repeated, "refused": told, "examples": examples, "forecast": forecast });
        render::json(&shown.to_string())?;
    } else {
        let shown: String = found.examples.iter().map(example).collect();
        render::print(&shown)?;
        if let Some((forecast, _)) = &forecast {
            render::print(&summary(&plan.campaign, (&found, &differing), forecast))?;
        }
    }
    if let Some(ended) = ended(&found.before, &plan.campaign) {
        render::note(&render::line(&ended));
    }
    render::note("this was a dry run: nothing is queued");
    Ok(if found.refused.is_empty() && !differing.is_refused { Exit::Done } else { Exit::Refused })
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
    let files = message["attachments"].as_array().into_iter().flatten();
    let files: String = files.map(|file| render::text(&attached(file))).collect();
    let text = Some(example.text("text")).filter(|text| !text.is_empty()).map(render::text);
    format!("{}\n{specifics}{}{files}\n", render::line(&head), text.unwrap_or_default())
}

/// Names a file that is sent with a message, and its size.
fn attached(file: &Value) -> String {
    let text = |field: &str| file[field].as_str();
    let of_path = text("path").and_then(|path| path.rsplit('/').next());
    let name = text("filename").or(of_path).unwrap_or("file");
    let what = if file["voice_note"].as_bool() == Some(true) { "voice note " } else { "" };
    let encoded = text("content").map(|content| content.trim_end_matches('=').len());
    // Four characters of base64 are three bytes.
    let size = encoded.map(|length| format!(", {} bytes", length * 3 / 4)).unwrap_or_default();
    format!("[{what}{name}{size}]")
}

/// Formats what would be queued, and when the campaign would end with it.
fn summary(campaign: &str, (found, differing): (&Rehearsal, &Outcome), forecast: &Forecast) -> String {
    let Rehearsal { people, messages, before, .. } = found;
    let before: usize = before.values().sum();
    if *messages == 0 {
        let changed = differing.text(true);
        return format!(
            "0 people, 0 messages: nothing would be queued, {} queued before{changed}\n",
            counted(before, "was", "were")
        );
    }
    let changed = differing.text(true);
    let changed = if changed.is_empty() {
        changed
    } else {
        format!("{} queued before{changed}\n", counted(before, "was", "were"))
    };
    let system = TimeZone::system();
    let of = forecast.campaigns.iter().find(|of| of.campaign.as_deref() == Some(campaign));
    let (people, all) = (counted(*people, "person", "people"), counted(*messages, "message", "messages"));
    let Some(of) = of else { return format!("{people}, {all}\n{changed}") };
    let begin = match usize::try_from(of.summary.messages) {
        Ok(sends) if sends == *messages => format!("{people}, "),
        _ => format!("{people}, {all}; with them the campaign sends "),
    };
    let first = match (of.last_first_at, of.summary.last_at) {
        (Some(first), Some(last)) if *first < *last => {
            format!("the last first message goes at {}\n", times::full_in(Some(first), &system))
        }
        _ => String::new(),
    };
    format!("{begin}{} if no one replies\n{first}{changed}", of.summary.text(forecast.days, &system))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dry_run_names_the_files_of_a_message() {
        let message = json!({ "account_id": "acc_1", "users_ids": "ACoA1", "step": 1, "text": "See below.", "attachments": [
            { "path": "/srv/files/offer.pdf" }, { "content": "YWJjZA==", "filename": "hello.mp3", "voice_note": true } ] });
        let shown = example(&Example { line: 2, message });
        assert_eq!(
            shown,
            "line 2, step 1: from acc_1 to ACoA1\n  See below.\n  [offer.pdf]\n  [voice note hello.mp3, 4 bytes]\n\n"
        );
    }
}
