//! `outboxd webhook`: registers, lists, tests and removes the endpoint at Unipile that delivers webhooks.

use clap::{Args, Subcommand};

use super::client::{Client, parse_id};
use super::exit::{Exit, Failure};
use super::times::{self, Times};
use super::{Json, render};
use crate::types::webhook::{
    RegisterRequest, Registered, Removed, TestRequest, Tested, WebhookEndpoint, WebhookList,
};

/// `outboxd webhook`.
#[derive(Debug, Args)]
pub(super) struct Webhook {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create the endpoint at Unipile, or change the one that was registered; its secret is kept in the queue
    Register(Register),
    /// Show the endpoints, what came in of each type, and Unipile's log of its deliveries
    List(Json),
    /// Post a signed, harmless delivery to the registered address and say what came back
    Test(Test),
    /// Delete the endpoint at Unipile and forget its secret
    Remove(Json),
}

#[derive(Debug, Args)]
struct Register {
    /// Public address that leads to `webhooks.listen`: https://…/webhooks/unipile
    #[arg(long, value_name = "URL")]
    url: String,
    /// Only events of this account; may be repeated; default: of every account
    #[arg(long = "account", value_name = "ACCOUNT", value_parser = parse_id)]
    accounts: Vec<String>,
    #[command(flatten)]
    json: Json,
}

#[derive(Debug, Args)]
struct Test {
    /// Post to the listener itself, without the reverse proxy
    #[arg(long)]
    local: bool,
    #[command(flatten)]
    json: Json,
}

pub(super) async fn webhook(client: &Client, webhook: Webhook) -> Result<Exit, Failure> {
    match webhook.verb {
        Verb::Register(asked) => register(client, asked).await,
        Verb::List(json) => list(client, json).await,
        Verb::Test(asked) => test(client, asked).await,
        Verb::Remove(json) => remove(client, json).await,
    }
}

async fn register(client: &Client, asked: Register) -> Result<Exit, Failure> {
    let account_ids = (!asked.accounts.is_empty()).then_some(asked.accounts);
    let body = RegisterRequest { url: Some(asked.url), account_ids };
    let answer = client.post_at_length("/v1/webhooks/endpoint", &body).await?;
    answer.show(asked.json, |registered: Registered| {
        let Registered { created, endpoint, listen } = registered;
        let done = if created { "registered" } else { "changed" };
        let mut text = format!("{done} {}\n{}", render::line(&endpoint.id), facts(&endpoint));
        text.push_str(match listen {
            Some(_) => "the listener verifies with its secret; try it with `outboxd webhook test`\n",
            None => "its secret is kept; set webhooks.listen and restart the daemon to receive\n",
        });
        text
    })
}

async fn test(client: &Client, asked: Test) -> Result<Exit, Failure> {
    let answer = client
        .post_at_length("/v1/webhooks/test", &TestRequest { local: asked.local, unsigned: false })
        .await?;
    let json = asked.json;
    let tested: Tested = answer.read()?;
    answer.show(json, |tested: Tested| {
        let status = tested.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        let body = Some(tested.answer).filter(|answer| !answer.trim().is_empty());
        render::pairs(&[
            ("posted to", tested.url),
            ("status", status),
            ("answer", body.unwrap_or_else(|| "empty".to_owned())),
            ("verdict", tested.verdict),
        ])
    })?;
    Ok(if tested.ok { Exit::Done } else { Exit::Unexpected })
}

async fn remove(client: &Client, json: Json) -> Result<Exit, Failure> {
    let answer = client.delete("/v1/webhooks/endpoint").await?;
    answer.show(json, |removed: Removed| {
        let id = render::line(&removed.id);
        let mut said = match removed.was_there {
            true => format!("{id} is deleted at Unipile and forgotten\n"),
            false => format!("{id} is forgotten; Unipile had it no longer\n"),
        };
        if removed.listens_without_secret {
            said += "webhooks.listen has no secret now: take it out of the configuration, or\nregister again; otherwise the daemon does not start again\n";
        }
        said
    })
}

async fn list(client: &Client, json: Json) -> Result<Exit, Failure> {
    client.get_at_length("/v1/webhooks").await?.show(json, |list| shown(&list))
}

fn shown(list: &WebhookList) -> String {
    let times = Times::of(times::zone(None));
    let mut shown = String::new();
    if let Some(problem) = &list.problem {
        shown += &format!("Unipile could not be asked: {}\n\n", render::line(problem));
    }
    for endpoint in &list.endpoints {
        let whose = if endpoint.registered { "" } else { " (not registered by outboxd)" };
        shown += &format!("{}{whose}\n{}\n", render::line(&endpoint.id), facts(endpoint));
    }
    if list.endpoints.is_empty() {
        shown += "endpoints: none; `outboxd webhook register --url URL` makes one\n\n";
    }
    shown += &section(
        "received",
        &["event", "count", "last"],
        list.received
            .iter()
            .map(|one| vec![one.kind.clone(), one.count.to_string(), times.show(Some(one.last_at))]),
    );
    shown += "\n";
    shown += &section(
        "delivered by Unipile, newest first",
        &["event", "status", "attempt", "at"],
        list.deliveries.iter().map(|one| {
            let status = one.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
            let attempt = if one.first_attempt { "first" } else { "again" };
            vec![one.kind.clone(), status, attempt.to_owned(), times.show(one.at)]
        }),
    );
    shown
}

/// Formats a table under its title.
fn section(title: &str, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.collect();
    if rows.is_empty() {
        return format!("{title}: nothing\n");
    }
    let table = match render::is_terminal() {
        true => render::table(&header.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), &rows),
        false => render::tabbed(&rows),
    };
    format!("{title}:\n{table}")
}

/// Describes an endpoint, its events a line each.
fn facts(endpoint: &WebhookEndpoint) -> String {
    let accounts = match endpoint.account_ids.as_slice() {
        [] => "all".to_owned(),
        accounts => accounts.join(", "),
    };
    let enabled = match endpoint.enabled {
        Some(true) => "yes",
        Some(false) => "no: Unipile delivers nothing; register it again",
        None => "not known: Unipile does not show it",
    };
    let mut facts =
        vec![("url", endpoint.url.clone()), ("accounts", accounts), ("enabled", enabled.to_owned())];
    facts.extend(endpoint.registered_at.map(|at| ("since", times::full(Some(at)))));
    let names = ["events"].into_iter().chain(std::iter::repeat(""));
    facts.extend(names.zip(endpoint.events.iter().cloned()));
    render::pairs(&facts)
}
