//! `outboxd export`: a row for each message, with the columns that the import brought and what became of it.
//!
//! A table has the columns of every `meta` first and those of outboxd after them, oldest message first. With `--json`
//! it prints one message per line, as the API returns it; of one person (`--person`), one document with everything.

use std::collections::HashMap;

use clap::Args;
use csv::Writer;
use serde_json::{Map, Value};

use super::Json;
use super::client::{Client, segment};
use super::exit::{Exit, Failure};
use super::label::parse_label;
use super::render;

/// Messages per page of the API.
const PAGE: &str = "500";
/// The columns of outboxd, named as in docs/http.md; `to` is the person or chat.
const COLUMNS: [&str; 18] = [
    "id",
    "campaign",
    "step",
    "account_id",
    "to",
    "chat_id",
    "state",
    "reason",
    "why",
    "until",
    "created_at",
    "sent_at",
    "delivered_at",
    "read_at",
    "replied_at",
    "updated_at",
    "error",
    "dedupe_key",
];

/// The column of a person's messages that other tables do not have.
const TEXT: &str = "text";

/// `outboxd export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// Only messages with this label
    #[arg(long, value_name = "LABEL", value_parser = parse_label)]
    campaign: Option<String>,
    /// Only messages of this account
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// Only messages in these states, separated by commas
    #[arg(long, value_name = "STATES")]
    state: Option<String>,
    /// Everything about one person, with the texts: user id, public name or address of the profile
    #[arg(long, value_name = "USER", conflicts_with_all = ["campaign", "account", "state"])]
    person: Option<String>,
    /// Print CSV; the default
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    json: Json,
}

/// Exports messages.
pub(super) async fn export(client: &Client, export: Export) -> Result<Exit, Failure> {
    if let Some(user) = &export.person {
        return of_person(client, user, export.json.json).await;
    }
    let parameters = [
        ("campaign", export.campaign.as_deref()),
        ("account_id", export.account.as_deref()),
        ("state", export.state.as_deref()),
    ];
    let messages = read(client, render::known(parameters)).await?;
    if messages.is_empty() {
        client.knows(export.campaign.as_deref(), export.account.as_deref()).await?;
    }
    if export.json.json {
        let lines = messages.into_iter().rev().map(|message| format!("{}\n", Value::Object(message)));
        render::print(&lines.collect::<String>())?;
        return Ok(Exit::Done);
    }
    print(&messages, &COLUMNS)
}

/// Exports everything about one person: as JSON what is known, heard and stopped, and every message with its text and
/// attempts; as CSV a row for each message.
async fn of_person(client: &Client, user: &str, json: bool) -> Result<Exit, Failure> {
    let mut person: Map<String, Value> =
        client.get(&format!("/v1/people/{}", segment(user)), &[]).await?.read()?;
    let mut messages = Vec::new();
    for listed in read(client, vec![("person", user)]).await? {
        let path = format!("/v1/messages/{}", segment(&cell(listed.get("id"))));
        messages.push(client.get(&path, &[]).await?.read::<Map<String, Value>>()?);
    }
    if !json {
        return print(&messages, &[&COLUMNS[..], &[TEXT]].concat());
    }
    person.remove("next_cursor");
    messages.reverse();
    person.insert("messages".to_owned(), messages.into());
    render::json(&Value::Object(person).to_string())?;
    Ok(Exit::Done)
}

/// Prints the messages, newest first, as a table with the oldest first.
fn print(messages: &[Map<String, Value>], columns: &[&str]) -> Result<Exit, Failure> {
    if messages.is_empty() {
        render::note("no messages");
    }
    let table = table(messages, columns).map_err(|error| Failure::unexpected(error.into()))?;
    render::print(&table)?;
    Ok(Exit::Done)
}

/// Reads all messages of a filter, newest first.
async fn read(client: &Client, mut filter: Vec<(&str, &str)>) -> Result<Vec<Map<String, Value>>, Failure> {
    filter.push(("limit", PAGE));
    client.pages("/v1/messages", &filter, Json { json: false }).await
}

/// Formats the messages, newest first, as a table with the oldest first: the columns of every `meta`, then `columns`.
fn table(messages: &[Map<String, Value>], columns: &[&str]) -> Result<String, csv::Error> {
    let mut carried: Vec<&str> = Vec::new();
    for name in messages.iter().rev().filter_map(meta).flat_map(Map::keys) {
        if !carried.contains(&name.as_str()) {
            carried.push(name);
        }
    }
    // A follow-up names only the chat that the first step opened with the person.
    let place =
        |message: &Map<String, Value>| (cell(message.get("account_id")), cell(message.get("chat_id")));
    let opened =
        messages.iter().filter(|message| message.get("users_ids").is_some_and(|users| !users.is_null()));
    let people: HashMap<(String, String), String> = opened
        .map(|message| (place(message), to(message)))
        .filter(|((_, chat), _)| !chat.is_empty())
        .collect();
    let mut writer = Writer::from_writer(Vec::new());
    let names = carried.iter().map(|name| column(name, &carried, columns));
    writer.write_record(names.chain(columns.iter().map(|&name| name.to_owned())))?;
    for message in messages.iter().rev() {
        let meta = meta(message);
        let own = carried.iter().map(|name| cell(meta.and_then(|meta| meta.get(*name))));
        let ours = columns.iter().map(|name| match *name {
            "to" => people.get(&place(message)).cloned().unwrap_or_else(|| to(message)),
            name => cell(message.get(name)),
        });
        writer.write_record(own.chain(ours))?;
    }
    let table = writer.into_inner().map_err(|error| csv::Error::from(error.into_error()))?;
    Ok(String::from_utf8_lossy(&table).into_owned())
}

/// Returns the name of the column of a cell that was carried along: one that is named like one of ours, or like a prefixed one,
/// gets the prefix as often as it takes.
fn column(name: &str, carried: &[&str], columns: &[&str]) -> String {
    if !columns.contains(&name) {
        return name.to_owned();
    }
    let mut prefixed = format!("meta.{name}");
    while carried.contains(&&*prefixed) {
        prefixed.insert_str(0, "meta.");
    }
    prefixed
}

fn meta(message: &Map<String, Value>) -> Option<&Map<String, Value>> {
    message.get("meta")?.as_object()
}

/// Returns whom the message is for: the person, the people of a group, or the chat.
fn to(message: &Map<String, Value>) -> String {
    match message.get("users_ids") {
        Some(Value::Array(users)) => users.iter().map(|user| cell(Some(user))).collect::<Vec<_>>().join(" "),
        None | Some(Value::Null) => cell(message.get("chat_id")),
        user => cell(user),
    }
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_the_columns_that_came_in_and_what_became_of_them() {
        let messages = [
            json!({"id": "3", "state": "queued", "account_id": "x", "users_ids": null, "chat_id": "1", "meta": {}}),
            json!({"id": "2", "state": "queued", "users_ids": ["b"], "meta": {"state": "NRW", "name": "B, b"}, "step": 2}),
            json!({"id": "1", "state": "sent", "account_id": "x", "users_ids": "a", "chat_id": "1", "meta": {"name": "A", "id": "7", "meta.id": "8"}, "replied_at": "t"}),
            json!({"id": "0", "state": "sent", "users_ids": null, "chat_id": "c", "meta": null}),
        ];
        let messages: Vec<_> = messages.iter().map(|message| message.as_object().unwrap().clone()).collect();
        let table = table(&messages, &COLUMNS).unwrap();
        let mut reader = csv::Reader::from_reader(table.as_bytes());
        let header = reader.headers().unwrap().clone();
        let rows: Vec<_> = reader.records().map(|row| row.unwrap()).collect();
        let column = |name: &str| {
            let place = header.iter().position(|other| other == name).unwrap();
            rows.iter().map(|row| row[place].to_owned()).collect::<Vec<_>>()
        };
        let carried: Vec<_> = header.iter().take_while(|name| *name != "id").collect();
        assert_eq!(carried, ["meta.meta.id", "meta.id", "name", "meta.state"]);
        assert_eq!(
            (column("meta.meta.id"), column("meta.id")),
            (
                vec!["", "7", "", ""].into_iter().map(str::to_owned).collect(),
                vec!["", "8", "", ""].into_iter().map(str::to_owned).collect()
            )
        );
        assert_eq!(column("id"), ["0", "1", "2", "3"]);
        assert_eq!(column("name"), ["", "A", "B, b", ""]);
        assert_eq!(column("meta.state"), ["", "", "NRW", ""]);
        assert_eq!(column("state"), ["sent", "sent", "queued", "queued"]);
        assert_eq!(column("to"), ["c", "a", "b", "a"]);
        assert_eq!(column("replied_at"), ["", "t", "", ""]);
    }
}
