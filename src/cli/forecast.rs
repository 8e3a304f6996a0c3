//! `outboxd forecast`: shows when the queue will be sent, and what limits each day.
//!
//! The daemon simulates the queue; this command only shows the result.

use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;

use super::Json;
use super::client::Client;
use super::enqueue;
use super::exit::{Exit, Failure};
use super::files::rows;
use super::label::parse_label;
use super::{render, times};
use crate::types::Time;
use crate::types::counted;
use crate::types::forecast::{self as types, Assumed, CampaignForecast, Day, Summary, Waiting};

/// `outboxd forecast`.
#[derive(Debug, Args)]
pub(super) struct Forecast {
    /// Only this account; its times are ranges from several simulation runs
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Only messages with this label
    #[arg(long, value_name = "LABEL", value_parser = parse_label)]
    campaign: Option<String>,
    /// Number of days to look ahead
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    days: u32,
    /// Include the messages of this file, one per line, as if they were queued; queues nothing
    #[arg(long, value_name = "FILE")]
    with: Option<PathBuf>,
    #[command(flatten)]
    json: Json,
}

/// Requests a forecast from the daemon and shows it.
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
        Some(file) => client.post_rows(&path, rows(file)?).await?,
    };
    if forecast.json.json {
        let passed = answer.pass_on()?;
        let bad = answer.read::<types::Forecast>()?.with.is_some_and(|with| !with.refused.is_empty());
        return Ok(if bad { Exit::Refused } else { passed });
    }
    let found: types::Forecast = answer.read()?;
    let bad = found.with.as_ref().map_or(0, Assumed::told);
    if found.accounts.is_empty() {
        render::note(&match &forecast.campaign {
            Some(name) => format!("nothing waits with the label {}", render::line(name)),
            None => "nothing waits".to_owned(),
        });
    }
    render::print(&found.text(&forecast))?;
    if bad == 0 {
        return Ok(Exit::Done);
    }
    render::note("the rows above are not in the forecast; `outboxd enqueue` would refuse them too");
    Ok(Exit::Refused)
}

impl Assumed {
    /// Prints the problems of rows, and how many rows are included; returns how many have problems.
    fn told(&self) -> usize {
        self.refused.iter().for_each(enqueue::refused);
        let Self { messages, duplicates, refused, existing: _, kept: _ } = self;
        render::note(&format!(
            "supposed: {}; {} counted once; {} refused",
            counted(*messages, "message", "messages"),
            counted(*duplicates, "duplicate is", "duplicates are"),
            refused.len()
        ));
        refused.len()
    }
}

impl types::Forecast {
    /// Returns a line for each account and campaign, and the days of the requested account.
    fn text(&self, forecast: &Forecast) -> String {
        let mut shown = String::new();
        for account in &self.accounts {
            let zone = match &forecast.account {
                Some(_) => times::zone(Some(&account.zone)),
                None => TimeZone::system(),
            };
            let said = account.summary.text(forecast.days, &zone);
            shown += &format!("{}: {said}\n", render::line(&account.account_id));
            for Day { date, sends, bound_by } in account.days.iter().filter(|_| forecast.account.is_some()) {
                let bound_by = bound_by.as_deref().map(|reason| format!(", bound by {reason}"));
                shown += &format!("  {date}  {sends:>4} sent{}\n", bound_by.unwrap_or_default());
            }
        }
        let (all, listed) = (self.account_count, self.accounts.len());
        let system = TimeZone::system();
        if all > listed as u64 {
            let total = self.total.text(forecast.days, &system);
            shown += &format!("these are {listed} of {all} accounts; all of them: {total}\n");
        }
        for CampaignForecast { campaign, summary, .. } in &self.campaigns {
            let Some(name) = campaign else { continue };
            shown += &format!("campaign {}: {}\n", render::line(name), summary.text(forecast.days, &system));
        }
        shown
    }
}

impl Summary {
    /// Formats `118 messages, the last one goes at …`, and why the others are not sent.
    pub(super) fn text(&self, days: u32, zone: &TimeZone) -> String {
        let messages = if self.messages == 1 { "message" } else { "messages" };
        let begin = format!("{} {messages}", self.messages);
        let why: String = self.waiting.iter().map(|waiting| format!("; {}", waiting.text())).collect();
        if !self.goes_alone() {
            return format!("{begin}, {} of them within {days} days{why}", self.sent);
        }
        let full = |at: Time| times::full_in(Some(at), zone);
        let range = match self.last_at_range[..] {
            [Some(first), Some(last)] if first != last => {
                format!(" (between {} and {})", full(first), full(last))
            }
            _ => String::new(),
        };
        let begin = if self.done { begin } else { format!("{} of {begin}", self.sent) };
        format!("{begin}, the last one goes at {}{range}{why}", times::full_in(self.last_at, zone))
    }
}

impl Waiting {
    /// Formats `3 wait for a person: It is held until it is released (held)`.
    pub(super) fn text(&self) -> String {
        let Self { reason, why, needs_person, messages } = self;
        let wait = match (messages, needs_person) {
            (1, _) if self.is_the_end() => "is not sent",
            (_, _) if self.is_the_end() => "are not sent",
            (1, true) => "waits for a person",
            (1, false) => "waits",
            (_, true) => "wait for a person",
            (_, false) => "wait",
        };
        render::line(&format!("{messages} {wait}: {} ({reason})", why.trim_end_matches('.')))
    }
}
