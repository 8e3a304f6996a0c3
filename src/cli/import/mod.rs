//! `outboxd import`: a table of people and a template per step become the messages of a campaign.
//!
//! The files are read here, `crate::import` turns rows into messages, and the daemon judges each of them as from every
//! other door. A person gets all steps or none. The queue knows one message per campaign, person and step, so the
//! same command can be run again after a crash or with more rows: nothing is queued twice (P2).

mod differing;
mod load;
mod progress;
mod refused;
mod rehearse;
mod steps;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::Json;
use super::client::{Client, parse_id};
use super::exit::{Exit, Failure};
use super::label::parse_label;
use super::render;
use super::times::{self, Typed};
use crate::import::{
    Batch, Columns, Options, PRIORITIES, Plan, Row, Seats, States, Table, Tally, Template, ended,
};
use crate::types::{counted, message};
use differing::{Kept, Outcome};
use progress::Progress;
use steps::Steps;

/// Refused rows that are shown; all of them are in the file.
const SHOWN: usize = 20;
/// The messages of a person are stored together or not at all.
const ROUTE: &str = "/v1/messages?atomic=person";
const KEEPING_ACCOUNTS: &str = "/v1/messages?atomic=person&accounts=keep";

/// `outboxd import`.
#[derive(Debug, Args)]
#[command(override_usage = "outboxd import <FILE> --campaign <LABEL> --account <ID>[,<ID>…]
           --step <FILE> [--step <WAIT> <FILE>]… [OPTIONS]")]
pub(super) struct Import {
    /// Table of people as CSV, whose first line names the columns; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Your label for the campaign; a person gets each step of it once
    #[arg(long, value_name = "LABEL", value_parser = parse_label)]
    campaign: String,
    /// Unipile accounts that send, `acc_…`, separated by commas; each person is always written to from the same one
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = parse_id)]
    account: Vec<String>,
    #[command(flatten)]
    steps: Steps,
    /// Column of a field: user, chat, account or a variable of a template; may be repeated
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = field_and_column)]
    column: Vec<(String, String)>,
    /// Show what would be queued, refused and sent when; queue nothing
    #[arg(long)]
    dry_run: bool,
    /// Give messages of the table that were queued before and still wait the text that they would get now
    #[arg(long)]
    update: bool,
    /// Do not send the first step before: 2026-11-22T09:00:00Z, "2026-11-22 09:00", "tomorrow 09:00"
    #[arg(long, value_name = "TIME", value_parser = times::parse_time)]
    not_before: Option<Typed>,
    /// Expire messages that are not sent by then
    #[arg(long, value_name = "TIME", value_parser = times::parse_time)]
    expires_at: Option<Typed>,
    /// Inbox to start chats in; default: `policy.default.inbox_id`
    #[arg(long, value_name = "ID")]
    inbox: Option<String>,
    /// Priority from -100 to 100; higher goes first
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(PRIORITIES))]
    priority: Option<i64>,
    /// Allow the same text to start a chat with the same person again
    #[arg(long)]
    allow_repeat: bool,
    /// Character between two cells, if it is not noticed: `,`, `;` or `tab`
    #[arg(long, value_name = "CHARACTER", value_parser = Table::delimiter)]
    delimiter: Option<u8>,
    /// Encoding of the table, if it is not noticed, such as windows-1251
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    #[command(flatten)]
    json: Json,
}

/// The result, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Summary {
    rows: usize,
    /// People of whom at least one message is in the queue now.
    people: usize,
    accepted: usize,
    duplicates: usize,
    /// The states of the messages that were queued before.
    before: States,
    /// Those of them with other contents or another wait than the table and the templates give them now.
    differing: Vec<Kept>,
    /// Rows that name a person of an earlier row.
    repeated: Vec<Repeated>,
    refused: Vec<Refused>,
    /// The file with the refused rows.
    refused_file: Option<String>,
}

#[derive(Debug, Serialize)]
struct Repeated {
    line: u64,
    same_as: u64,
}

#[derive(Debug, Serialize)]
struct Refused {
    line: u64,
    reasons: Vec<String>,
}

fn field_and_column(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, column)) if !field.is_empty() && !column.is_empty() => {
            Ok((field.trim().to_owned(), column.trim().to_owned()))
        }
        _ => Err("write FIELD=COLUMN, such as user=linkedin_url".to_owned()),
    }
}

/// Imports a table, or shows what an import would do.
pub(super) async fn import(client: &Client, import: Import) -> Result<Exit, Failure> {
    let Import { file, campaign, account, steps, column, dry_run, encoding, delimiter, json, .. } = &import;
    let (file, files) = steps.resolve(file.clone())?;
    let steps = load::steps(files)?;
    let table = load::table(&file, encoding.as_deref(), *delimiter)?;
    let templates: Vec<&Template> = steps.iter().map(|step| &step.template).collect();
    let columns = Columns::map(&table.sheet, column, &templates);
    let columns = columns.map_err(|problems| wrong_columns(&table, &problems))?;
    let seats = Seats::new(account.clone());
    seats.check(columns.account.is_some()).map_err(Failure::usage)?;
    introduce(&table, &columns);
    let mut plan = Plan::new(campaign.clone(), table.sheet.header.clone(), columns, steps, seats);
    let zone_of = if let [one] = &account[..] { Some(one.as_str()) } else { None };
    if let Some(at) = &import.not_before {
        plan.not_before = Some(at.resolve(client, zone_of).await?);
    }
    plan.fields = options(client, &import, zone_of).await?.fields();
    for named in account {
        if let Some(unknown) = unknown_account(client, named).await {
            render::note(&unknown);
        }
    }
    if *dry_run {
        return rehearse::rehearse(client, &table, plan, (import.update, json.json)).await;
    }
    let campaign = plan.campaign.clone();
    let tally = send(client, &table, plan).await?;
    let differing = match import.update {
        true => differing::update(client, &table, &tally.differing, false).await?,
        false => differing::name(&table, &tally.differing),
    };
    if let Some(ended) = ended(&tally.before, &campaign) {
        render::note(&render::line(&ended));
    }
    report(&file, &table, (tally, differing), json.json)
}

/// Returns what to say of an account that may be a typing error; `None` if the daemon knows it.
pub(super) async fn unknown_account(client: &Client, account: &str) -> Option<String> {
    let is_unknown = client.knows(None, Some(account)).await.is_err_and(|failure| failure.is_not_found());
    is_unknown.then(|| {
        render::line(&format!(
            "{account} has sent nothing yet and is not in the configuration: check that Unipile lists this id"
        ))
    })
}

fn wrong_columns(table: &Table, problems: &[String]) -> Failure {
    let told = |problem: &String| format!("{}: {}", table.name, render::line(problem));
    Failure::lines(Exit::Usage, problems.iter().map(told).collect())
}

/// Says what was noticed and guessed.
fn introduce(table: &Table, columns: &Columns) {
    let Table { name, sheet, encoding, .. } = table;
    let (rows, delimiter) = (sheet.rows.len(), sheet.delimiter_name());
    render::note(&format!("{name}: {encoding}, {delimiter} between cells, {}", counted(rows, "row", "rows")));
    for (field, column) in &columns.guesses {
        render::note(&render::line(&format!("  {field} <- {column}")));
    }
}

/// Returns the options of the command line, with times in the zone of `account`.
async fn options(client: &Client, import: &Import, account: Option<&str>) -> Result<Options, Failure> {
    let expires_at = match &import.expires_at {
        Some(at) => Some(at.resolve(client, account).await?),
        None => None,
    };
    // One error, not one for each row.
    if let Some(at) = expires_at.filter(|at| *at <= times::now()) {
        let at = times::wire(at);
        return Err(Failure::usage(format!("--expires-at has passed: {at}; give a time in the future")));
    }
    let Import { inbox, priority, allow_repeat, .. } = import;
    Ok(Options { expires_at, inbox_id: inbox.clone(), priority: *priority, allow_repeat: *allow_repeat })
}

/// Sends the rows, a batch at a time; prepares the next batch while the daemon stores one.
async fn send(client: &Client, table: &Table, mut plan: Plan) -> Result<Tally, Failure> {
    let rows: std::sync::Arc<[Row]> = table.sheet.rows.clone().into();
    let mut tally = Tally::default();
    let progress = Progress::new(rows.len(), "rows");
    let route = if plan.keeps_accounts() { KEEPING_ACCOUNTS } else { ROUTE };
    let mut batch = Batch::fill(&mut plan, &rows, 0);
    loop {
        progress.at(batch.next);
        let is_last = batch.messages() == 0 && batch.next >= rows.len();
        let (ahead, from) = (std::sync::Arc::clone(&rows), batch.next);
        let body = batch.body.clone();
        let next = tokio::task::spawn_blocking(move || {
            let next = Batch::fill(&mut plan, &ahead, from);
            (plan, next)
        });
        let (answered, next) = tokio::join!(post(client, route, body), next);
        let next = next.map_err(|panic| Failure::unexpected(panic.into()))?;
        plan = next.0;
        let verdicts = match answered {
            Ok(verdicts) => verdicts,
            Err(failure) => return Err(interrupted(failure, &rows, &tally)),
        };
        let answered = batch.answered(&plan, &verdicts.results);
        tally.add(batch, answered);
        if is_last {
            break;
        }
        batch = next.1;
    }
    send_second_rows(client, &rows, &mut plan, &mut tally).await?;
    drop(progress);
    let left_out: Vec<&str> = plan.left_out.iter().map(String::as_str).collect();
    if !left_out.is_empty() {
        let columns = left_out.join(", ");
        render::note(&render::line(&format!(
            "`meta` holds 4 KB, so long cells of these columns are not carried along: {columns}"
        )));
    }
    Ok(tally)
}

/// Sends the later rows of people whose first row was refused.
async fn send_second_rows(
    client: &Client,
    rows: &[Row],
    plan: &mut Plan,
    tally: &mut Tally,
) -> Result<(), Failure> {
    let route = if plan.keeps_accounts() { KEEPING_ACCOUNTS } else { ROUTE };
    loop {
        let parts = tally.take_second_rows(plan, rows);
        if parts.is_empty() {
            return Ok(());
        }
        for places in parts {
            let batch = Batch::again(plan, rows, &places);
            let verdicts = post(client, route, batch.body.clone()).await;
            let verdicts = verdicts.map_err(|failure| interrupted(failure, rows, tally))?;
            let answered = batch.answered(plan, &verdicts.results);
            tally.add(batch, answered);
        }
    }
}

async fn post(client: &Client, route: &str, body: String) -> Result<message::Batch, Failure> {
    if body.is_empty() {
        return Ok(message::Batch { accepted: 0, duplicates: 0, refused: 0, results: Vec::new() });
    }
    client.post_rows(route, body.into()).await?.read()
}

/// Says how far the import came.
fn interrupted(failure: Failure, rows: &[Row], tally: &Tally) -> Failure {
    let done = tally.accepted + tally.duplicates;
    let last = rows.last().map_or(0, |row| row.line);
    failure.and(format!(
        "{} in the queue, and the table goes on to line {last}; run the same command again: nothing is \
         queued twice",
        counted(done, "message is", "messages are")
    ))
}

/// Shows the rows that repeat a person, and returns all of them.
fn repeated(table: &Table, repeats: &[(usize, u64)]) -> Vec<Repeated> {
    let line = |row: usize| table.sheet.rows[row].line;
    let repeated: Vec<Repeated> =
        repeats.iter().map(|(row, same_as)| Repeated { line: line(*row), same_as: *same_as }).collect();
    for Repeated { line, same_as } in repeated.iter().take(SHOWN) {
        render::note(&format!("line {line}: the same person as in line {same_as}; only that line counts"));
    }
    if repeated.len() > SHOWN {
        let more = counted(repeated.len() - SHOWN, "more row", "more rows");
        render::note(&format!("… and {more} of people named before"));
    }
    repeated
}

/// Writes the refused rows to their file and prints the result.
fn report(
    file: &Path,
    table: &Table,
    (tally, differing): (Tally, Outcome),
    as_json: bool,
) -> Result<Exit, Failure> {
    let line = |row: usize| table.sheet.rows[row].line;
    for (row, reasons) in tally.refused.iter().take(SHOWN) {
        render::note(&render::line(&format!("error: line {}: {}", line(*row), reasons.join(" / "))));
    }
    if tally.refused.len() > SHOWN {
        render::note(&format!("… and {} more", tally.refused.len() - SHOWN));
    }
    let mut refused_file = None;
    if !tally.refused.is_empty() {
        let written = refused::write(file, table, &tally.refused);
        let name = written.map_err(|error| {
            let context = format!("the file of refused rows cannot be written next to {}", table.name);
            Failure::unexpected(anyhow::Error::new(error).context(context))
        })?;
        refused_file = Some(render::line(&name.display().to_string()));
    }
    let Tally { people, accepted, duplicates, before, repeats, refused, .. } = tally;
    let repeated = repeated(table, &repeats);
    let again = if repeated.is_empty() {
        String::new()
    } else {
        format!(", {} of people named before", counted(repeated.len(), "row", "rows"))
    };
    let shown = format!(
        "{}: {} queued, {duplicates} queued before{}{again}; {} refused\n",
        counted(people, "person", "people"),
        counted(accepted, "message", "messages"),
        differing.text(false),
        counted(refused.len(), "row", "rows")
    );
    let rows = table.sheet.rows.len();
    let refused = refused.into_iter().map(|(row, reasons)| Refused { line: line(row), reasons }).collect();
    let Outcome { kept: differing, is_refused, .. } = differing;
    let summary =
        Summary { rows, people, accepted, duplicates, before, differing, repeated, refused, refused_file };
    match as_json {
        true => render::json(&json!(summary).to_string())?,
        false => render::print(&shown)?,
    }
    let exit = if is_refused { Exit::Refused } else { Exit::Done };
    let Some(name) = summary.refused_file else { return Ok(exit) };
    render::note(&format!("the refused rows and why: {name}; mend them and import that file"));
    Ok(Exit::Refused)
}
