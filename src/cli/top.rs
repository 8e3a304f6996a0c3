//! `outboxd top`: a live view with a row per account; accounts that need a person or have messages waiting come
//! first.
//!
//! Each refresh makes one request for all rows; each row has the cap that binds the account and its last error. The
//! command computes nothing itself. On a terminal it refreshes until it is interrupted; for a program it prints once.

use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Json;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::render;
use super::times::{self, Times};
use crate::clock::{Clock, SystemClock};
use crate::types::Page;
use crate::types::account::{Account, Cap};
use crate::types::status::Status;

/// Maximum length of an error in a row, in characters.
const ERROR_CHARS: usize = 50;

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

/// Draws the view until it is interrupted, or once.
pub(super) async fn top(client: &Client, top: Top) -> Result<Exit, Failure> {
    let clock = SystemClock::new();
    let again = render::is_terminal() && !top.once && !top.json.json;
    loop {
        let status: Status = client.get("/v1/status", &[]).await?.read()?;
        let rows = rows(client, top.limit).await?;
        if top.json.json {
            render::json(&json!({ "now": status.now, "data": as_json(&rows) }).to_string())?;
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
async fn rows(client: &Client, limit: u16) -> Result<Vec<Account>, Failure> {
    let limit = limit.to_string();
    let accounts: Page<Account> = client.get("/v1/accounts", &[("limit", &limit)]).await?.read()?;
    Ok(accounts.data)
}

impl Account {
    fn waiting(&self) -> u64 {
        ["new", "queued", "sending", "uncertain"].iter().filter_map(|state| self.counts.get(*state)).sum()
    }

    /// Formats how much of the binding cap is used.
    fn sent(&self) -> String {
        Cap::text(self.cap.as_ref())
    }

    fn cells(&self, times: &Times, now: Timestamp) -> Vec<String> {
        let Self { id, standing, waits, oldest_due_at, last_sent_at, .. } = self;
        let oldest = match oldest_due_at {
            Some(at) if **at <= now => times::length(now.duration_since(**at)),
            Some(_) | None => "-".to_owned(),
        };
        vec![
            id.clone(),
            standing.clone(),
            waits.reason.clone().unwrap_or_else(|| "-".to_owned()),
            self.sent(),
            times.wait(waits.until, waits.waits_for.as_deref()),
            self.waiting().to_string(),
            oldest,
            times.show(*last_sent_at),
        ]
    }

    fn short_error(&self) -> Option<String> {
        let error = self.last_error.as_deref()?;
        let short: String = error.chars().take(ERROR_CHARS).collect();
        Some(if short.len() < error.len() { format!("{short}…") } else { short })
    }
}

fn draw(status: &Status, rows: &[Account]) -> String {
    let times = Times::at(*status.now);
    let header = ["account", "state", "why", "sent", "next", "waiting", "oldest", "last sent"];
    let formed = |times: &Times| -> Vec<_> { rows.iter().map(|row| row.cells(times, *status.now)).collect() };
    let mut cells = formed(&times);
    if !render::is_terminal() {
        for (cells, row) in cells.iter_mut().zip(rows) {
            cells.push(row.short_error().unwrap_or_else(|| "-".to_owned()));
        }
        return render::tabbed(&cells);
    }
    let mut drawn = match cells.is_empty() {
        true => "no accounts; one appears with its first message\n".to_owned(),
        false => {
            let header = header.map(str::to_owned);
            let table = render::table_or_brief(&header, &cells, &formed(&times.brief()));
            format!("{table}times are in {}\n", times.zone())
        }
    };
    // In a column of their own they would leave no room for the others.
    let errors = rows.iter().filter_map(|row| Some((row.id.as_str(), row.short_error()?)));
    let errors: Vec<(&str, String)> = errors.collect();
    if !errors.is_empty() {
        drawn += &format!("\nlast errors\n{}", render::pairs(&errors));
    }
    if let Some(step) = &status.next_step {
        drawn += &format!("\nnext: {}\n", render::line(step));
    }
    drawn
}

fn as_json(rows: &[Account]) -> Vec<Value> {
    let row = |row: &Account| {
        let mut shown = json!(row);
        shown["sent"] = json!(row.sent());
        shown
    };
    rows.iter().map(row).collect()
}
