//! `outboxd status`: the state of the daemon and its accounts, in the order in which an operator needs it.
//!
//! First the daemon and everything that affects all accounts (a pause, a refused key, an API that does not answer, a
//! locked queue), then the counts, then each account, and last the one thing to do, if there is one, which the daemon
//! provides (`next_step`). Ages are relative to the daemon's clock, so that two clocks cannot disagree here.

use clap::Args;
use jiff::Timestamp;

use super::Json;
use super::campaign;
use super::client::{Client, parse_id, segment};
use super::exit::{Exit, Failure};
use super::label::parse_label;
use super::overview::counts;
use super::render;
use super::times::{self, Times};
use crate::types::account::{Account, Cap};
use crate::types::{Page, Time, status as types};

/// `outboxd status`.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// Show only this account, with all that is known about it
    #[arg(value_name = "ACCOUNT", value_parser = parse_id)]
    account: Option<String>,
    /// Show only this campaign, by step; the same as `outboxd campaign show`
    #[arg(long, value_name = "LABEL", value_parser = parse_label, conflicts_with_all = ["account", "accounts"])]
    campaign: Option<String>,
    /// Show only the complete table of accounts; piped, its cells are separated by tabs
    #[arg(long, conflicts_with = "account")]
    accounts: bool,
    /// Check only whether the daemon is alive, for a probe that restarts it otherwise
    #[arg(long, conflicts_with_all = ["account", "accounts", "campaign", "json"])]
    alive: bool,
    /// Maximum number of accounts: first those that need a person, then those with messages waiting
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=500))]
    limit: u64,
    #[command(flatten)]
    json: Json,
}

/// Shows the status.
pub(super) async fn status(client: &Client, status: Status) -> Result<Exit, Failure> {
    if status.alive {
        client.get("/healthz", &[]).await?.accepted()?;
        return Ok(Exit::Done);
    }
    if let Some(campaign) = &status.campaign {
        return campaign::show(client, campaign, status.json).await;
    }
    match &status.account {
        Some(account) => one(client, account, status.json).await,
        None if status.accounts => accounts(client, status.json).await,
        None => everything(client, status.limit, status.json).await,
    }
}

async fn everything(client: &Client, limit: u64, json: Json) -> Result<Exit, Failure> {
    let answer = client.get("/v1/status", &[]).await?;
    let daemon: types::Status = answer.read()?;
    let exit = daemon.exit();
    if json.json {
        answer.pass_on()?;
        return Ok(exit);
    }
    let limit = limit.to_string();
    let accounts: Page<Account> = client.get("/v1/accounts", &[("limit", &limit)]).await?.read()?;
    let mut shown = daemon.text();
    if !accounts.data.is_empty() {
        shown += &format!("\n{}", table(&accounts.data, &Times::at(*daemon.now), *daemon.now));
    }
    if accounts.next_cursor.is_some() {
        let (listed, all) = (accounts.data.len(), daemon.accounts);
        shown += &format!("the first {listed} of {all}; `outboxd status --accounts` shows every one\n");
    }
    if let Some(step) = &daemon.next_step {
        shown += &format!("\nnext: {}\n", render::line(step));
    }
    render::print(&shown)?;
    Ok(exit)
}

/// Shows every account, page by page, in an order that does not change while messages are sent.
async fn accounts(client: &Client, json: Json) -> Result<Exit, Failure> {
    let terminal = render::is_terminal();
    let (mut cursor, mut shown, mut any) = (None::<String>, Vec::new(), false);
    loop {
        let query = [("sort", "id"), ("limit", "500")];
        let more = cursor.as_deref().map(|cursor| ("cursor", cursor));
        let query: Vec<_> = query.into_iter().chain(more).collect();
        let answer = client.get("/v1/accounts", &query).await?;
        if json.json {
            answer.pass_on()?;
        }
        let page: Page<Account> = answer.read()?;
        if !terminal && !json.json {
            let rows: Vec<_> =
                page.data.iter().map(|account| account.row(&Times::Exact, account.oldest_exact())).collect();
            render::print(&render::tabbed(&rows))?;
        }
        any |= !page.data.is_empty();
        shown.extend(page.data.into_iter().filter(|_| terminal));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    if !any && !json.json {
        render::note("no accounts; one appears with its first message");
    } else if terminal && !json.json {
        let now = times::now();
        render::print(&table(&shown, &Times::at(now), now))?;
    }
    Ok(Exit::Done)
}

fn table(accounts: &[Account], times: &Times, now: Timestamp) -> String {
    let header =
        ["account", "state", "why", "next", "queued", "oldest", "last sent", "sent"].map(str::to_owned);
    let rows = |times: &Times| -> Vec<_> {
        accounts.iter().map(|account| account.row(times, account.oldest(now))).collect()
    };
    let table = render::table_or_brief(&header, &rows(times), &rows(&times.brief()));
    format!("{table}times are in {}\n", times.zone())
}

impl Account {
    fn row(&self, times: &Times, oldest: String) -> Vec<String> {
        let queued = self.counts.get("queued").copied().unwrap_or(0);
        vec![
            self.id.clone(),
            self.standing.clone(),
            self.waits.reason.clone().unwrap_or_else(|| "-".to_owned()),
            times.wait(self.waits.until, self.waits.waits_for.as_deref()),
            queued.to_string(),
            oldest,
            times.show(self.last_sent_at),
            Cap::text(self.cap.as_ref()),
        ]
    }

    /// Formats how long the oldest message has been due, or when it will be.
    fn oldest(&self, now: Timestamp) -> String {
        match self.oldest_due_at {
            None => "-".to_owned(),
            Some(at) if *at > now => format!("due {}", times::distance(*at, now)),
            Some(at) => times::length(now.duration_since(*at)),
        }
    }

    fn oldest_exact(&self) -> String {
        Times::Exact.show(self.oldest_due_at)
    }

    /// Formats everything known about the account.
    fn text(&self) -> String {
        let zone = times::zone(self.zone.as_deref());
        let time = |at: Option<Time>| at.map(|at| times::full_in(Some(at), &zone));
        let down = self.down.as_ref().map(|down| {
            let since = time(down.since).map(|at| format!(" since {at}"));
            format!("{}{}: {}", down.cause, since.unwrap_or_default(), down.problem)
        });
        let hold = self.hold.as_ref().map(|hold| {
            let until = time(hold.until).map(|at| format!(" until {at}"));
            format!("{}{}", hold.reason, until.unwrap_or_default())
        });
        let facts = [
            ("account", Some(self.id.clone())),
            ("state", Some(self.standing.clone())),
            ("why", self.waits.because()),
            ("who acts", self.waits.actor.clone().filter(|actor| actor != "none")),
            ("next", self.waits.goes_on(&zone)),
            ("paused", self.paused.as_ref().map(|paused| paused.text(&zone).trim_start().to_owned())),
            ("down", down),
            ("rests", hold),
            ("messages", Some(counts(&self.counts))),
            ("sent", self.cap.as_ref().map(|cap| cap.full(&zone))),
            ("by day", self.by_day()),
            ("oldest due", time(self.oldest_due_at)),
            ("last sent", time(self.last_sent_at)),
            ("last error", self.last_error.clone()),
            ("last call", time(self.last_call_at)),
            ("next call", time(self.next_call_at).map(|at| format!("not before {at}"))),
        ];
        let mut known = render::known(facts);
        known.extend(self.unipile.iter().flat_map(|facts| facts.rows(&zone)));
        let step = self.step().map(|step| format!("\nnext: {}\n", render::line(&step)));
        render::pairs(&known) + &step.unwrap_or_default()
    }

    /// Formats what it sent on each of the last days.
    fn by_day(&self) -> Option<String> {
        let sent: Vec<String> = self.sent_by_day.iter().map(|day| day.sent.to_string()).collect();
        (!sent.is_empty()).then(|| format!("{} sent, today last", sent.join(" ")))
    }

    /// Returns what a person can do about the account.
    fn step(&self) -> Option<String> {
        let id = &self.id;
        if self.down.is_some() {
            return Some(format!("fix the account at Unipile, then run `outboxd resume {id}`"));
        }
        if self.paused.is_some() {
            return Some(format!("`outboxd resume {id}` goes on"));
        }
        let hold = self.hold.as_ref()?;
        let early = format!("`outboxd resume {id} --lift-hold` ends the rest early");
        Some(format!("wait ({}); {early}, at the risk of the account", hold.reason))
    }
}

async fn one(client: &Client, account: &str, json: Json) -> Result<Exit, Failure> {
    let answer = client.get(&format!("/v1/accounts/{}", segment(account)), &[]).await?;
    answer.show(json, |account: Account| account.text())
}
