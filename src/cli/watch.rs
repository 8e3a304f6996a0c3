//! `outboxd watch`: shows events as they happen, a line each, and connects again when the daemon restarts.
//!
//! It remembers the number of the last event, so that it shows each event once, however often it connects.

use std::time::Duration;

use clap::Args;

use super::client::Client;
use super::exit::{Exit, Failure};
use super::label::parse_label;
use super::times::{self, Times};
use super::{Json, render};
use crate::clock::{Clock, SystemClock};
use crate::types::event::{Event, EventPage};

/// Width of a line on a terminal.
const COLUMNS: usize = 80;

/// Pause before it connects again.
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// Three heartbeats of the daemon: after that the connection counts as dead.
const SILENCE: Duration = Duration::from_secs(45);

/// `outboxd watch`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outboxd watch --type message.sent,message.failed\n  outboxd watch --after 0 --json"
)]
pub(super) struct Watch {
    /// Begin after the event with this number, 0: with the oldest; default: with the next event
    #[arg(long, value_name = "SEQ")]
    after: Option<i64>,
    /// Only of this account
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// Only of this campaign
    #[arg(long, value_name = "CAMPAIGN", value_parser = parse_label)]
    campaign: Option<String>,
    /// Only of these types, separated by commas; `message.*` means all that begin so
    #[arg(long = "type", value_name = "TYPES")]
    types: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// Shows events until it is interrupted.
pub(super) async fn watch(client: &Client, watch: Watch) -> Result<Exit, Failure> {
    let clock = SystemClock::new();
    let mut after = match watch.after {
        Some(after) => after,
        None => {
            let page: EventPage = client.get("/v1/events", &[("limit", "1")]).await?.read()?;
            page.newest.unwrap_or(0)
        }
    };
    say_what_is_unknown(client, &watch).await;
    let mut is_first = true;
    loop {
        match follow(client, &watch, &mut after, &clock).await {
            Err(failure) if is_first || !may_pass(&failure) => return Err(failure),
            Ok(()) if is_first => render::note("the daemon closed the stream; connecting again\n"),
            Ok(()) | Err(_) => {}
        }
        is_first = false;
        clock.sleep(BETWEEN_TRIES).await;
    }
}

/// Says on standard error that there is no such account or campaign yet: it may be a typing error.
async fn say_what_is_unknown(client: &Client, watch: &Watch) {
    let (account, campaign) = (watch.account.as_deref(), watch.campaign.as_deref());
    for (what, account, campaign) in [("account", account, None), ("campaign", None, campaign)] {
        if client.knows(campaign, account).await.is_err_and(|failure| failure.is_not_found()) {
            let name = account.or(campaign).unwrap_or_default();
            render::note(&render::line(&format!("there is no {what} {name} yet; check it")));
        }
    }
}

/// Returns whether the next try may succeed.
fn may_pass(failure: &Failure) -> bool {
    matches!(failure.exit(), Exit::NotRunning | Exit::Unexpected)
}

/// Shows the events of one connection until it ends.
async fn follow(client: &Client, watch: &Watch, after: &mut i64, clock: &SystemClock) -> Result<(), Failure> {
    let start = after.to_string();
    let filters = [("account_id", &watch.account), ("campaign", &watch.campaign), ("type", &watch.types)];
    let filters = filters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    let query: Vec<(&str, &str)> = std::iter::once(("after", start.as_str())).chain(filters).collect();
    let mut response = client.stream("/v1/events", &query).await?;
    let times = Times::of(times::zone(None));
    let mut bytes = Vec::new();
    loop {
        let chunk = tokio::select! {
            chunk = response.chunk() => chunk.ok().flatten(),
            () = clock.sleep(SILENCE) => None,
        };
        let Some(chunk) = chunk else { return Ok(()) };
        bytes.extend_from_slice(&chunk);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let rest = bytes.split_off(end + 1);
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes = rest;
            if let Some(data) = line.strip_prefix("data: ") {
                show(data, watch.json, &times)?;
            } else if let Some(Ok(seq)) = line.strip_prefix("id: ").map(str::parse) {
                *after = seq;
            }
        }
    }
}

fn show(data: &str, json: Json, times: &Times) -> Result<(), Failure> {
    if json.json {
        return render::print(&format!("{data}\n"));
    }
    let Ok(event) = serde_json::from_str::<Event>(data) else {
        render::note("older events were removed (retention.events); what follows is complete\n");
        return Ok(());
    };
    let mut line = render::line(&event.line(times));
    if render::is_terminal() && line.chars().count() > COLUMNS {
        line = line.chars().take(COLUMNS - 1).chain(['…']).collect();
    }
    render::print(&format!("{line}\n"))
}

impl Event {
    /// Formats the event as one line, what identifies it first.
    fn line(&self, times: &Times) -> String {
        let subject = self.message_id.clone().or_else(|| {
            let detail = self.detail.as_ref()?;
            let text = |name: &str| detail.get(name).and_then(|value| value.as_str());
            Some(["scope", "key", "endpoint"].into_iter().filter_map(text).collect::<Vec<_>>().join(" "))
        });
        let step = self.step.map(|step| format!(" step {step}")).unwrap_or_default();
        let campaign = self.campaign.as_ref().map(|campaign| format!("{campaign}{step}"));
        let rest = [self.account_id.clone(), subject, self.reason.clone(), campaign];
        let rest: Vec<String> = rest.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        format!("{} {:<17} {}", times.show(Some(self.at)), self.kind, rest.join(" "))
    }
}
