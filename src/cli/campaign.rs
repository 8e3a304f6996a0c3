//! `outboxd campaign`: lists campaigns, shows one by step, and pauses, resumes or cancels it.

use clap::{Args, Subcommand};

use super::act::Term;
use super::change::{self, CancelCampaign};
use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use super::label::parse_label;
use super::stop::{self, Go, Stop};
use super::times::{self, Times};
use super::{Globals, Json, render};
use crate::types::campaign::{Campaign as Row, CampaignCounts};
use crate::types::forecast::Forecast;

/// `outboxd campaign`.
#[derive(Debug, Args)]
pub(super) struct Campaign {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List campaigns with what became of their messages
    List(Json),
    /// Show one campaign by step, and when it will be done
    Show(Show),
    /// Let the messages of a campaign wait; the same as `outboxd stop --campaign`
    Pause(Pause),
    /// Let a campaign go on; the same as `outboxd go --campaign`
    Resume(Resume),
    /// Cancel everything of a campaign that is queued; the same as `outboxd cancel --campaign`
    Cancel(CancelCampaign),
}

#[derive(Debug, Args)]
struct Show {
    /// The campaign
    #[arg(value_name = "CAMPAIGN", value_parser = parse_label)]
    campaign: String,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Pause {
    /// The campaign
    #[arg(value_name = "CAMPAIGN", value_parser = parse_label)]
    campaign: String,
    #[command(flatten)]
    term: Term,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Resume {
    /// The campaign
    #[arg(value_name = "CAMPAIGN", value_parser = parse_label)]
    campaign: String,
    #[command(flatten)]
    json: Json,
}

/// Runs the action.
pub(super) async fn campaign(globals: &Globals, campaign: Campaign) -> Result<Exit, Failure> {
    match campaign.action {
        Action::List(json) => list(&globals.client()?, json).await,
        Action::Show(Show { campaign, json }) => show(&globals.client()?, &campaign, json).await,
        Action::Pause(Pause { campaign, term, json }) => {
            stop::stop(globals, Stop::of_campaign(campaign, term, json)).await
        }
        Action::Cancel(cancel) => change::cancel_campaign(&globals.client()?, cancel).await,
        Action::Resume(Resume { campaign, json }) => stop::go(globals, Go::of_campaign(campaign, json)).await,
    }
}

async fn list(client: &Client, json: Json) -> Result<Exit, Failure> {
    let rows: Vec<Row> =
        client.pages("/v1/campaigns", &[("limit", "100"), ("done_by", "true")], json).await?;
    if json.json {
        return Ok(Exit::Done);
    }
    let name =
        |row: &Row| if row.is_paused { format!("{} (paused)", row.campaign) } else { row.campaign.clone() };
    if !render::is_terminal() {
        let cells = |row: &Row| [vec![name(row)], counts(&row.counts), vec![Times::Exact.show(row.done_by)]];
        let cells: Vec<Vec<String>> = rows.iter().map(|row| cells(row).concat()).collect();
        return render::print(&render::tabbed(&cells)).map(|()| Exit::Done);
    }
    if rows.is_empty() {
        render::print("no message has a campaign\n")?;
        return Ok(Exit::Done);
    }
    // Two counts are one here, so that the table fits 80 columns.
    let times = Times::of(times::zone(None));
    let cells = |row: &Row, times: &Times| {
        let of = &row.counts;
        let to_go = of.queued + of.in_flight + of.review + of.waiting;
        let counts = [of.messages, to_go, of.sent, of.read, of.replied, of.stopped, of.failed];
        let counts = counts.iter().map(u64::to_string);
        [name(row)].into_iter().chain(counts).chain([times.show(row.done_by)]).collect()
    };
    let header = ["campaign", "all", "to go", "sent", "read", "replied", "stopped", "failed", "done by"];
    let rows = |times: &Times| -> Vec<_> { rows.iter().map(|row| cells(row, times)).collect() };
    let table = render::table_or_brief(&header.map(str::to_owned), &rows(&times), &rows(&times.brief()));
    render::print(&table).map(|()| Exit::Done)
}

/// The last days on which something was sent that are shown.
const DAYS: usize = 7;
/// The columns of [`counts`].
const COLUMNS: [&str; 8] = ["messages", "queued", "waiting", "sent", "read", "replied", "stopped", "failed"];

fn counts(of: &CampaignCounts) -> Vec<String> {
    let queued = of.queued + of.in_flight + of.review;
    let all = [of.messages, queued, of.waiting, of.sent, of.read, of.replied, of.stopped, of.failed];
    all.map(|count| count.to_string()).to_vec()
}

fn table(first: &str, rows: &[Vec<String>]) -> Result<Exit, Failure> {
    let header: Vec<String> = [first].into_iter().chain(COLUMNS).map(str::to_owned).collect();
    let text = if render::is_terminal() { render::table(&header, rows) } else { render::tabbed(rows) };
    render::print(&text).map(|()| Exit::Done)
}

/// Shows one campaign.
pub(super) async fn show(client: &Client, campaign: &str, json: Json) -> Result<Exit, Failure> {
    let name = segment(campaign);
    let answer = client.get(&format!("/v1/campaigns/{name}"), &[]).await?;
    if json.json {
        return answer.pass_on();
    }
    let row: Row = answer.read()?;
    let step = |step: Option<i64>| step.map_or_else(|| "none".to_owned(), |step| step.to_string());
    let mut rows: Vec<Vec<String>> =
        row.steps.iter().map(|of| [vec![step(of.step)], counts(&of.counts)].concat()).collect();
    if rows.len() > 1 {
        rows.push([vec!["all".to_owned()], counts(&row.counts)].concat());
    }
    table("step", &rows)?;
    let days = row.sent_by_day.iter().flatten().rev().take(DAYS);
    let days: Vec<String> = days.map(|day| format!("{} {}", day.date, day.sent)).collect();
    if !days.is_empty() {
        render::print(&format!("sent by day, the last first: {}\n", days.join(", ")))?;
    }
    if row.is_paused {
        let until = row.paused_until.map_or_else(
            || format!("`outboxd campaign resume {}`", render::line(&row.campaign)),
            |at| times::full(Some(at)),
        );
        render::print(&format!("paused until {until}\n"))?;
    }
    if let Some(next_at) = row.counts.next_at {
        let times = Times::of(times::zone(None));
        let is_due = if next_at.0 <= times::now() { "due since" } else { "next due" };
        render::print(&format!("{is_due} {} ({})\n", times.show(Some(next_at)), times.zone()))?;
    }
    done_by(client, &row).await.map(|()| Exit::Done)
}

/// Says when the last message goes, from the forecast.
async fn done_by(client: &Client, row: &Row) -> Result<(), Failure> {
    let counts = &row.counts;
    if counts.queued + counts.waiting == 0 {
        return Ok(());
    }
    let path = format!("/v1/forecast?days=366&campaign={}", segment(&row.campaign));
    let forecast: Forecast = client.get_at_length(&path).await?.read()?;
    let found = forecast.campaigns.iter().find(|of| of.campaign.as_deref() == Some(row.campaign.as_str()));
    let Some(summary) = found.map(|of| &of.summary) else { return Ok(()) };
    let times = Times::of(times::zone(None));
    let if_silent = if counts.waiting > 0 { " if no one replies" } else { "" };
    let by = |at| format!("done by {} ({}){if_silent}\n", times.show(Some(at)), times.zone());
    let mut text = match summary.last_at {
        Some(at) if summary.done => by(at),
        Some(at) if summary.goes_alone() => {
            format!("{} of {} messages {}", summary.sent, summary.messages, by(at))
        }
        _ if summary.need_person() + summary.not_sent() == summary.messages => String::new(),
        _ => {
            let left = summary.messages - summary.sent - summary.need_person() - summary.not_sent();
            format!("{left} of {} messages have no time yet: see `outboxd forecast`\n", summary.messages)
        }
    };
    for waiting in summary.waiting.iter().filter(|waiting| waiting.needs_person || waiting.is_the_end()) {
        text += &format!("{}\n", waiting.text().replacen(": ", ":\n  ", 1));
    }
    render::print(&text)
}
