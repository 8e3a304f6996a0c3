//! Commands that stop sending to a person, into a chat or of a campaign, and that lift a stop: `stop` and `go`.
//!
//! With `--account` alone or `--all` they are `pause` and `resume`: one pair of verbs for everything.

use clap::Args;

use super::act::{self, Term};
use super::client::{Client, parse_id};
use super::exit::{Exit, Failure};
use super::label::parse_label;
use super::times::{self, Times};
use super::{Globals, Json, render};
use crate::types::stop::{GoRequest, Lifted, Stop as Row, StopRequest, Stopped};

/// What a stop concerns.
#[derive(Debug, Args)]
struct Concerned {
    /// A person, by user id: also in groups and chats with them
    #[arg(long, value_name = "USER", conflicts_with_all = ["chat", "campaign", "all"])]
    person: Option<String>,
    /// A chat
    #[arg(long, value_name = "CHAT", conflicts_with_all = ["campaign", "all"])]
    chat: Option<String>,
    /// A campaign
    #[arg(long, value_name = "LABEL", value_parser = parse_label, conflicts_with = "all")]
    campaign: Option<String>,
    /// An account; with a person, a chat or a campaign: on this account only
    #[arg(long, value_name = "ACCOUNT", value_parser = parse_id, conflicts_with = "all")]
    account: Option<String>,
    /// All sending of this daemon
    #[arg(long)]
    all: bool,
}

/// `outboxd stop`.
#[derive(Debug, Args)]
pub(super) struct Stop {
    #[command(flatten)]
    concerned: Concerned,
    #[command(flatten)]
    term: Term,
    /// List the stops in force instead
    #[arg(long, conflicts_with_all = ["until", "length", "note"])]
    list: bool,
    #[command(flatten)]
    json: Json,
}

/// `outboxd go`.
#[derive(Debug, Args)]
pub(super) struct Go {
    #[command(flatten)]
    concerned: Concerned,
    #[command(flatten)]
    json: Json,
}

impl Stop {
    /// Returns the stop of a campaign.
    pub(super) fn of_campaign(campaign: String, term: Term, json: Json) -> Self {
        Self { concerned: Concerned::campaign(campaign), term, list: false, json }
    }
}

impl Go {
    /// Returns the end of the stop of a campaign.
    pub(super) fn of_campaign(campaign: String, json: Json) -> Self {
        Self { concerned: Concerned::campaign(campaign), json }
    }
}

impl Concerned {
    fn campaign(campaign: String) -> Self {
        Self { person: None, chat: None, campaign: Some(campaign), account: None, all: false }
    }

    /// Returns the scope and the key; `None` if an account or everything is meant.
    fn key(&self) -> Option<(&'static str, &str)> {
        let scopes = [("person", &self.person), ("chat", &self.chat), ("campaign", &self.campaign)];
        scopes.into_iter().find_map(|(scope, key)| key.as_deref().map(|key| (scope, key)))
    }

    fn name(&self, (scope, key): (&str, &str)) -> String {
        match &self.account {
            Some(account) => format!("{scope} {} on {}", render::line(key), render::line(account)),
            None => format!("{scope} {}", render::line(key)),
        }
    }

    /// Returns the command that lifts the stop.
    fn go(&self, (scope, key): (&str, &str)) -> String {
        let account = self.account.iter().flat_map(|account| [" --account ".to_owned(), word(account)]);
        format!("outboxd go {}{}", option(scope, key), account.collect::<String>())
    }

    fn missing(&self, verb: &str) -> Option<Failure> {
        (self.account.is_none() && !self.all).then(|| {
            Failure::usage(format!(
                "say what to {verb}: --person, --chat or --campaign, --account for one account, or --all"
            ))
        })
    }
}

/// Stops sending, or lists the stops in force.
pub(super) async fn stop(globals: &Globals, stop: Stop) -> Result<Exit, Failure> {
    if stop.list {
        return list(globals, &stop.concerned, stop.json).await;
    }
    let Some(key) = stop.concerned.key() else {
        if let Some(failure) = stop.concerned.missing("stop") {
            return Err(failure);
        }
        let Stop { concerned, term, json, .. } = stop;
        return act::pause(globals, act::Pause::of(concerned.account, term, json)).await;
    };
    let client = globals.client()?;
    let (until, length) = stop.term.end(&client, stop.concerned.account.as_deref()).await?;
    let body = StopRequest {
        scope: Some(key.0.to_owned()),
        key: Some(key.1.to_owned()),
        account_id: stop.concerned.account.clone(),
        until,
        length,
        note: stop.term.note.clone(),
        reason: None,
    };
    let zone = match body.until.is_some() || body.length.is_some() {
        true => times::zone_of(&client, stop.concerned.account.as_deref()).await.ok(),
        false => None,
    };
    let zone = zone.unwrap_or_else(|| times::zone(None));
    let unknown = unknown_account(&client, stop.concerned.account.as_deref()).await;
    let answer = client.post_at_length("/v1/stops", &body).await?;
    if let Some(unknown) = unknown.filter(|_| answer.status.is_success()) {
        render::note(&unknown);
    }
    let is_new = key.0 == "campaign" && answer.read::<Stopped>().is_ok_and(|stopped| stopped.messages == 0);
    if is_new && client.knows(Some(key.1), None).await.is_err_and(|failure| failure.is_not_found()) {
        render::note(&render::line(&format!(
            "no message has the campaign {} yet: the stop holds those that will have it; check the label",
            key.1
        )));
    }
    answer.show(stop.json, |stopped: Stopped| {
        let already = if stopped.already_stopped { " (it was stopped already)" } else { "" };
        let until = match stopped.until {
            Some(at) => times::full_in(Some(at), &zone),
            None => format!("`{}`", stop.concerned.go(key)),
        };
        let mut text = format!("{} is stopped until {until}{already}\n", stop.concerned.name(key));
        text.push_str(&format!("queued messages that wait for it: {}\n", stopped.messages));
        for id in &stopped.in_flight {
            text.push_str(&format!("too late for {}: its call is in flight\n", render::line(id)));
        }
        text + &stopped.unresolved.as_deref().map(unresolved).unwrap_or_default()
    })
}

/// Returns the warning that a stop by a public name does not yet hold messages to the user id behind it.
pub(super) fn unresolved(name: &str) -> String {
    render::text(&format!(
        "the user id behind {name} is not known yet: a message to that id, ACoA…, is not stopped until it is"
    ))
}

/// Returns what to say of the account of a stop that does not exist; `None` if it exists.
pub(super) async fn unknown_account(client: &Client, account: Option<&str>) -> Option<String> {
    let account = account?;
    let is_unknown = client.knows(None, Some(account)).await.is_err_and(|failure| failure.is_not_found());
    is_unknown.then(|| {
        render::line(&format!(
            "there is no account {account} yet: the stop holds for what it will send; check the id"
        ))
    })
}

/// Lifts a stop.
pub(super) async fn go(globals: &Globals, go: Go) -> Result<Exit, Failure> {
    let Some(key) = go.concerned.key() else {
        if let Some(failure) = go.concerned.missing("let go on") {
            return Err(failure);
        }
        return act::resume(globals, act::Resume::of(go.concerned.account, go.json)).await;
    };
    let (scope, account_id) = (Some(key.0.to_owned()), go.concerned.account.clone());
    let body = GoRequest { scope, key: Some(key.1.to_owned()), account_id, reason: None };
    let answer = globals.client()?.post_at_length("/v1/go", &body).await?;
    answer.show(go.json, |lifted: Lifted| {
        let name = go.concerned.name(key);
        let first = match (lifted.stops, lifted.messages) {
            (0, 0) if lifted.remaining.is_empty() => {
                format!("{name} was not stopped; a suppression is removed with `outboxd suppress remove`\n")
            }
            (_, messages) if lifted.remaining.is_empty() => {
                format!("{name} goes on; queued messages released: {messages}\n")
            }
            (stops, messages) => {
                format!("{name}: stops lifted: {stops}; queued messages released: {messages}\n")
            }
        };
        first + &remaining(&lifted.remaining)
    })
}

/// Returns a line for each stop that remains after others were lifted, with the command that lifts it.
pub(super) fn remaining(stops: &[Row]) -> String {
    let line = |stop: &Row| {
        let (scope, key, reason) = (&stop.scope, render::line(&stop.key), &stop.reason);
        let on = stop.account_id.as_deref().map_or_else(|| "every account".to_owned(), render::line);
        format!("still stopped: {scope} {key} ({reason}, on {on}); to lift it: {}\n", lift(stop))
    };
    stops.iter().map(line).collect()
}

/// Returns the command that lifts a stop.
fn lift(stop: &Row) -> String {
    let account = stop.account_id.as_deref().map(|account| format!(" --account {}", word(account)));
    let account = account.unwrap_or_default();
    match (stop.reason.as_str(), stop.scope.as_str()) {
        ("suppressed", "chat") => format!("outboxd suppress remove {}{account}", option("chat", &stop.key)),
        ("suppressed", _) => format!("outboxd suppress remove {}{account}", word(&stop.key)),
        (_, scope) => format!("outboxd go {}{account}", option(scope, &stop.key)),
    }
}

/// Returns an option with its value, as a shell takes it: a value that looks like an option is joined to its name.
fn option(name: &str, value: &str) -> String {
    let between = if value.starts_with('-') { '=' } else { ' ' };
    format!("--{name}{between}{}", word(value))
}

async fn list(globals: &Globals, concerned: &Concerned, json: Json) -> Result<Exit, Failure> {
    let mut query: Vec<(&str, &str)> = Vec::new();
    if let Some((scope, key)) = concerned.key() {
        query.extend([("scope", scope), ("key", key)]);
    }
    query.extend(concerned.account.as_deref().map(|account| ("account_id", account)));
    show(&globals.client()?, &query, json).await
}

/// Shows the stops that `query` selects, page by page; with `--json` one page per line.
pub(super) async fn show(client: &Client, query: &[(&str, &str)], json: Json) -> Result<Exit, Failure> {
    let query = [query, &[("limit", "500")]].concat();
    let rows: Vec<Row> = client.pages("/v1/stops", &query, json).await?;
    if json.json { Ok(Exit::Done) } else { table(&rows) }
}

/// Shows stops as a table, or to a program as rows.
fn table(stops: &[Row]) -> Result<Exit, Failure> {
    let is_terminal = render::is_terminal();
    let times = match is_terminal {
        true => Times::of(times::zone(None)),
        false => Times::Exact,
    };
    let cells = |row: &Row, times: &Times| {
        vec![
            row.scope.clone(),
            if row.key.is_empty() { "-".to_owned() } else { row.key.clone() },
            row.account_id.clone().unwrap_or_else(|| "all".to_owned()),
            row.reason.clone(),
            row.until.map_or_else(|| "no end".to_owned(), |at| times.show(Some(at))),
            times.show(Some(row.at)),
            row.note.clone().unwrap_or_default(),
            row.actor.clone(),
        ]
    };
    let cells = |times: &Times| -> Vec<Vec<String>> { stops.iter().map(|row| cells(row, times)).collect() };
    let rows = cells(&times);
    if !is_terminal {
        return render::print(&render::tabbed(&rows)).map(|()| Exit::Done);
    }
    if rows.is_empty() {
        return render::print("nothing is stopped\n").map(|()| Exit::Done);
    }
    let until = format!("until ({})", times.zone());
    let header = ["scope", "key", "account", "reason", &until, "since", "note", "by"].map(str::to_owned);
    render::print(&render::table_or_brief(&header, &rows, &cells(&times.brief()))).map(|()| Exit::Done)
}

/// Returns an argument as a shell takes it.
fn word(text: &str) -> String {
    let text = render::line(text);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_lifts_a_stop_works_as_it_is() {
        let autumn = Concerned::campaign("autumn".to_owned());
        assert_eq!(autumn.go(("campaign", "autumn")), "outboxd go --campaign autumn");
        assert_eq!(autumn.go(("campaign", "-dash")), "outboxd go --campaign=-dash");
        let one = Concerned { account: Some("acc_1".to_owned()), ..autumn };
        assert_eq!(one.go(("campaign", "it's on")), r"outboxd go --campaign 'it'\''s on' --account acc_1");
    }
}
