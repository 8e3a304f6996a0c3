//! The suppression list: people (and chats) that must never be written to again, on one account or on all.
//!
//! A suppression cancels what is queued, makes new messages refused, and is checked once more before every call.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::client::{Client, parse_id, problem, segment};
use super::exit::{Exit, Failure};
use super::stop;
use super::{Json, files, render};
use crate::import::{Exported, Listed, listed_in};
use crate::types::Page;
use crate::types::person::Person;
use crate::types::stop::{Lifted, Stop, StopBatch, StopRequest};

/// Rows of a file per request.
const AT_ONCE: usize = 1000;

/// `outboxd suppress`.
#[derive(Debug, Args)]
pub(super) struct Suppress {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add people to the list
    Add(Add),
    /// Remove people from the list; their cancelled messages stay cancelled
    Remove(Remove),
    /// Show the list
    #[command(alias = "export")]
    List(List),
    /// Show whether a person is on the list; exit code 0 if so, 5 if not
    Check(Check),
    /// Add the people in a file, or on standard input (-)
    Import(Import),
}

/// Whom an entry of the list is about.
#[derive(Debug, Args)]
struct Entry {
    /// User ids; with --chat: chat ids
    #[arg(required = true, value_name = "USER")]
    keys: Vec<String>,
    /// The ids are those of chats
    #[arg(long)]
    chat: bool,
    /// On this account only; default: on every account
    #[arg(long, value_name = "ACCOUNT", value_parser = parse_id)]
    account: Option<String>,
}

#[derive(Debug, Args)]
struct Add {
    #[command(flatten)]
    entry: Entry,
    /// Reason; the list shows it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Remove {
    #[command(flatten)]
    entry: Entry,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Check {
    /// User id
    #[arg(value_name = "USER")]
    user: String,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Import {
    /// File with one user id, URN or profile address per line, or a CSV; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// On this account only; default: on every account
    #[arg(long, value_name = "ACCOUNT", value_parser = parse_id)]
    account: Option<String>,
    /// Reason; the list shows it
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

pub(super) async fn suppress(client: &Client, suppress: Suppress) -> Result<Exit, Failure> {
    match suppress.verb {
        Verb::Add(add) => add_keys(client, add).await,
        Verb::Remove(remove) => remove_keys(client, remove.entry).await,
        Verb::List(list) => stop::show(client, &[("reason", "suppressed")], list.json).await,
        Verb::Check(check) => check_user(client, check).await,
        Verb::Import(import) => import_file(client, import).await,
    }
}

fn row(scope: &str, key: &str, account: Option<&str>, note: Option<&str>) -> StopRequest {
    StopRequest {
        scope: Some(scope.to_owned()),
        key: Some(key.to_owned()),
        account_id: account.map(str::to_owned),
        reason: Some("suppressed".to_owned()),
        note: note.map(str::to_owned),
        ..StopRequest::default()
    }
}

async fn add_keys(client: &Client, add: Add) -> Result<Exit, Failure> {
    let Add { entry, note, json } = add;
    let scope = if entry.chat { "chat" } else { "person" };
    let rows: Vec<StopRequest> =
        entry.keys.iter().map(|key| row(scope, key, entry.account.as_deref(), note.as_deref())).collect();
    let unknown = stop::unknown_account(client, entry.account.as_deref()).await;
    let answer = client.post_at_length("/v1/stops", &rows).await?;
    let is_added = |verdicts: StopBatch| verdicts.accepted > 0;
    if let Some(unknown) = unknown.filter(|_| answer.read().is_ok_and(is_added)) {
        render::note(&unknown);
    }
    if json.json {
        return answer.pass_on();
    }
    let verdicts: StopBatch = answer.read()?;
    let on = entry.account.as_deref().map(|account| format!(" on {}", render::line(account)));
    let on = on.unwrap_or_default();
    for verdict in &verdicts.results {
        let key = entry.keys.get(verdict.index).map(String::as_str).unwrap_or_default();
        match &verdict.error {
            Some(refusal) => render::note(&format!("error: {}: {}", render::line(key), problem(refusal))),
            None => {
                let stopped = verdict.stopped.as_ref();
                let already = if stopped.is_some_and(|stopped| stopped.already_stopped) {
                    " (it was already)"
                } else {
                    ""
                };
                let text = format!(
                    "{scope} {} is suppressed{on}{already}; queued messages cancelled: {}\n",
                    render::line(key),
                    stopped.map_or(0, |stopped| stopped.messages)
                );
                let unresolved = stopped.and_then(|stopped| stopped.unresolved.as_deref());
                render::print(&(text + &unresolved.map(stop::unresolved).unwrap_or_default()))?;
            }
        }
    }
    Ok(if verdicts.refused == 0 { Exit::Done } else { Exit::Refused })
}

async fn remove_keys(client: &Client, entry: Entry) -> Result<Exit, Failure> {
    let scope = if entry.chat { "chat" } else { "person" };
    let mut exit = Exit::Done;
    for key in &entry.keys {
        let body = row(scope, key, entry.account.as_deref(), None);
        let lifted: Lifted = client.post("/v1/go", &body).await?.read()?;
        let name = render::line(key);
        match lifted.stops {
            0 => {
                render::note(&format!("error: {scope} {name} is not on the list of these accounts"));
                exit = Exit::NotFound;
            }
            _ if lifted.remaining.is_empty() => {
                render::print(&format!("{scope} {name} may be written to again\n"))?;
            }
            _ => render::print(&format!("{scope} {name} is no longer on the list\n"))?,
        }
        render::print(&stop::remaining(&lifted.remaining))?;
    }
    Ok(exit)
}

async fn check_user(client: &Client, check: Check) -> Result<Exit, Failure> {
    let query = [("scope", "person"), ("reason", "suppressed"), ("key", check.user.as_str())];
    let answer = client.get("/v1/stops", &query).await?;
    let page: Page<Stop> = answer.read()?;
    // Of an erased person there is only a hash, and no entry.
    let person = client.get(&format!("/v1/people/{}", segment(&check.user)), &[]).await?;
    let is_erased = person.read::<Person>().is_ok_and(|person| person.erased_at.is_some());
    if check.json.json {
        render::json(&answer.body)?;
    } else {
        let name = render::line(&check.user);
        match page.data.first() {
            Some(found) => {
                let on = found.account_id.as_deref().unwrap_or("every account");
                render::print(&format!("{name} is suppressed on {}\n", render::line(on)))?;
            }
            None if is_erased => {
                render::print(&format!("{name} was erased; nothing is ever sent to them\n"))?;
            }
            None => render::print(&format!("{name} is not on the list\n"))?,
        }
    }
    Ok(if page.data.is_empty() && !is_erased { Exit::NotFound } else { Exit::Done })
}

async fn import_file(client: &Client, import: Import) -> Result<Exit, Failure> {
    let mut bytes = Vec::new();
    let read = files::open(&import.file)?.read_to_end(&mut bytes);
    read.map_err(|error| files::unreadable(&import.file, &error))?;
    let listed = listed_in(&bytes).map_err(|problem| {
        Failure::usage(format!("{}: {problem}", render::line(&import.file.display().to_string())))
    })?;
    let mut keys: Vec<(u64, StopRequest)> = Vec::new();
    let (mut accepted, mut refused, mut cancelled, mut unresolved) = (0, 0, 0, 0_usize);
    for Listed { line, person, exported } in listed {
        let Exported { is_chat, account, note } = exported.unwrap_or_default();
        let account = import.account.as_deref().or(account.as_deref());
        let note = import.note.as_deref().or(note.as_deref());
        let scope = if is_chat { "chat" } else { "person" };
        match person {
            Ok(person) => keys.push((line, row(scope, &person, account, note))),
            Err(problem) => {
                render::note(&format!("error: line {line}: {}", render::line(&problem)));
                refused += 1;
            }
        }
    }
    let unknown = stop::unknown_account(client, import.account.as_deref()).await;
    for part in keys.chunks(AT_ONCE) {
        let rows: Vec<&StopRequest> = part.iter().map(|(_, row)| row).collect();
        let answer = client.post_at_length("/v1/stops", &rows).await?;
        let verdicts: StopBatch = answer.read()?;
        (accepted, refused) = (accepted + verdicts.accepted, refused + verdicts.refused);
        for verdict in &verdicts.results {
            cancelled += verdict.stopped.as_ref().map_or(0, |stopped| stopped.messages);
            unresolved +=
                usize::from(verdict.stopped.as_ref().is_some_and(|stopped| stopped.unresolved.is_some()));
            if let (Some(refusal), Some((line, _))) = (&verdict.error, part.get(verdict.index)) {
                render::note(&format!("error: line {line}: {}", problem(refusal)));
            }
        }
    }
    if let Some(unknown) = unknown.filter(|_| accepted > 0) {
        render::note(&unknown);
    }
    render::print(&format!(
        "people suppressed: {accepted}; queued messages cancelled: {cancelled}; rows refused: {refused}\n"
    ))?;
    if unresolved > 0 {
        render::print(&format!(
            "public names whose user id is not known yet: {unresolved}; a message to such an id, ACoA…, is not stopped until it is\n"
        ))?;
    }
    Ok(if refused == 0 { Exit::Done } else { Exit::Refused })
}
