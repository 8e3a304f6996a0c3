//! `outboxd top`: a live view with a row per account; accounts that need a person or have messages waiting come
//! first.
//!
//! Each refresh makes one request for all rows; each row has the cap that binds the account and its last error. The
//! command computes nothing itself. On a terminal it refreshes until it is interrupted; for a program it prints once.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Json;
use super::cap::Cap;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::render;
use super::times::{self, Times};
use crate::clock::{Clock, SystemClock};

/// Maximum length of an error in a row, in characters.
const ERROR_CHARS: usize = 60;

/// `outboxd top`.
#[derive(Debug, Args)]
pub(super) struct Top {
    /// Seconds between two refreshes
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Maximum number of accounts
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
    /// Print once and exit
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    json: Json,
}

#[derive(Deserialize)]
struct Status {
    now: Timestamp,
    #[serde(default)]
    next_step: Option<String>,
}

#[derive(Deserialize)]
struct Accounts {
    data: Vec<Value>,
}

#[derive(Deserialize)]
struct Account {
    id: String,
    standing: String,
    reason: Option<String>,
    until: Option<Timestamp>,
    waits_for: Option<String>,
    oldest_due_at: Option<Timestamp>,
    last_sent_at: Option<Timestamp>,
    #[serde(default)]
    counts: BTreeMap<String, u64>,
    cap: Option<Cap>,
    last_error: Option<String>,
}

/// One account, parsed and as received.
struct Row {
    shown: Value,
    account: Account,
}

/// Draws the view until it is interrupted, or once.
pub(super) async fn top(client: &Client, top: Top) -> Result<Exit, Failure> {
    let clock = SystemClock::new();
    let again = render::is_terminal() && !top.once && !top.json.json;
    loop {
        let status: Status = client.get("/v1/status", &[]).await?.read()?;
        let rows = rows(client, top.limit).await?;
        if top.json.json {
            render::json(&json!({ "now": status.now.to_string(), "data": as_json(&rows) }).to_string())?;
            return Ok(Exit::Done);
        }
        if !again {
            render::print(&draw(&status, &rows))?;
            return Ok(Exit::Done);
        }
        // Clears the screen and starts in the upper left corner.
        render::print(&format!("\x1b[2J\x1b[H{}", draw(&status, &rows)))?;
        clock.sleep(Duration::from_secs(top.every)).await;
    }
}

/// Fetches the accounts in the daemon's order: those that need a person first, then those with messages waiting.
async fn rows(client: &Client, limit: u16) -> Result<Vec<Row>, Failure> {
    let limit = limit.to_string();
    let accounts: Accounts = client.get("/v1/accounts", &[("limit", &limit)]).await?.read()?;
    let row = |shown: Value| Some(Row { account: Account::deserialize(&shown).ok()?, shown });
    Ok(accounts.data.into_iter().filter_map(row).collect())
}

impl Account {
    fn waiting(&self) -> u64 {
        ["new", "queued", "sending", "uncertain"].iter().filter_map(|state| self.counts.get(*state)).sum()
    }
}

impl Row {
    /// Formats how much of the binding cap is used.
    fn sent(&self) -> String {
        Cap::text(self.account.cap.as_ref())
    }

    fn cells(&self, times: &Times, now: Timestamp) -> Vec<String> {
        let Account { id, standing, reason, until, waits_for, oldest_due_at, last_sent_at, .. } =
            &self.account;
        let oldest = match oldest_due_at {
            Some(at) if *at <= now => times::length(now.duration_since(*at)),
            Some(_) | None => "-".to_owned(),
        };
        let error = self.account.last_error.as_deref().unwrap_or("-");
        let short: String = error.chars().take(ERROR_CHARS).collect();
        vec![
            id.clone(),
            standing.clone(),
            reason.clone().unwrap_or_else(|| "-".to_owned()),
            self.sent(),
            times.wait(*until, waits_for.as_deref()),
            self.account.waiting().to_string(),
            oldest,
            times.show(*last_sent_at),
            if short.len() < error.len() { format!("{short}…") } else { short },
        ]
    }
}

fn draw(status: &Status, rows: &[Row]) -> String {
    let times = Times::at(status.now);
    let header = ["account", "state", "why", "sent", "next", "waiting", "oldest", "last sent", "last error"];
    let cells: Vec<_> = rows.iter().map(|row| row.cells(&times, status.now)).collect();
    if !render::is_terminal() {
        return render::tabbed(&cells);
    }
    let mut drawn = match cells.is_empty() {
        true => "no accounts; one appears with its first message\n".to_owned(),
        false => {
            format!("{}times are in {}\n", render::table(&header.map(str::to_owned), &cells), times.zone())
        }
    };
    if let Some(step) = &status.next_step {
        drawn += &format!("\nnext: {}\n", render::line(step));
    }
    drawn
}

fn as_json(rows: &[Row]) -> Vec<Value> {
    let row = |row: &Row| {
        let mut shown = row.shown.clone();
        shown["sent"] = json!(row.sent());
        shown
    };
    rows.iter().map(row).collect()
}
