//! `outboxd forecast`: when the queue goes out, and what binds each day.

use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;

use super::Json;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::{render, times};

/// `outboxd forecast`.
#[derive(Debug, Args)]
pub(super) struct Forecast {
    /// Only this account; its times come as ranges of several runs
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Only messages with this label
    #[arg(long, value_name = "LABEL")]
    campaign: Option<String>,
    /// How many days ahead to look
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    days: u32,
    /// As if the messages of this file had been queued as well, one a line; nothing is queued
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    accounts: Vec<Account>,
    #[serde(default)]
    campaigns: Vec<Summary>,
}

#[derive(Deserialize)]
struct Account {
    account_id: String,
    #[serde(flatten)]
    summary: Summary,
    #[serde(default)]
    days: Vec<Day>,
}

#[derive(Deserialize)]
struct Summary {
    campaign: Option<String>,
    messages: u64,
    sent: u64,
    done: bool,
    last_at: Option<Timestamp>,
    #[serde(default)]
    last_at_range: Vec<Option<Timestamp>>,
}

#[derive(Deserialize)]
struct Day {
    date: String,
    sends: u64,
    bound_by: Option<String>,
}

/// Asks the daemon and shows what it expects.
pub(super) async fn forecast(client: &Client, forecast: Forecast) -> Result<Exit, Failure> {
    let days = forecast.days.to_string();
    let mut query = vec![("days", days.as_str())];
    query.extend(forecast.account.as_deref().map(|account| ("account_id", account)));
    query.extend(forecast.campaign.as_deref().map(|campaign| ("campaign", campaign)));
    let query: Vec<String> =
        query.iter().map(|(name, value)| format!("{name}={}", super::client::segment(value))).collect();
    let path = format!("/v1/forecast?{}", query.join("&"));
    let answer = match &forecast.with {
        None => client.get_at_length(&path).await?,
        Some(file) => {
            let rows = std::fs::read(file)
                .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
            client.post_rows(&path, rows.into()).await?
        }
    };
    if forecast.json.json {
        return answer.pass_on();
    }
    let found: Answered = answer.read()?;
    if found.accounts.is_empty() {
        render::note("nothing waits");
        return Ok(Exit::Done);
    }
    let mut shown = String::new();
    for account in &found.accounts {
        let said = account.summary.text(forecast.days);
        shown += &format!("{}: {said}\n", render::line(&account.account_id));
        if forecast.account.is_some() {
            for Day { date, sends, bound_by } in &account.days {
                let bound_by = bound_by.as_deref().map(|reason| format!(", bound by {reason}"));
                shown += &format!("  {date}  {sends:>4} sent{}\n", bound_by.unwrap_or_default());
            }
        }
    }
    for campaign in found.campaigns.iter().filter(|summary| summary.campaign.is_some()) {
        let name = campaign.campaign.as_deref().unwrap_or_default();
        shown += &format!("campaign {}: {}\n", render::line(name), campaign.text(forecast.days));
    }
    render::print(&shown)?;
    Ok(Exit::Done)
}

impl Summary {
    /// `118 messages, the last one goes Thu …`.
    fn text(&self, days: u32) -> String {
        let messages = if self.messages == 1 { "message" } else { "messages" };
        let begin = format!("{} {messages}", self.messages);
        if !self.done {
            return format!("{begin}, {} of them within {days} days", self.sent);
        }
        let range = match self.last_at_range[..] {
            [Some(first), Some(last)] if first != last => {
                format!(" (between {} and {})", times::full(Some(first)), times::full(Some(last)))
            }
            _ => String::new(),
        };
        format!("{begin}, the last one goes at {}{range}", times::full(self.last_at))
    }
}
