//! `outboxd audit`: checks whether every promise was kept.
//!
//! The exit code is for scripts, the printed lines are for people.

use clap::Args;
use jiff::Timestamp;
use serde::Deserialize;

use super::Json;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::{render, times};

/// `outboxd audit`.
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    json: Json,
}

#[derive(Deserialize)]
struct Found {
    ok: bool,
    #[serde(default)]
    messages: u64,
    #[serde(default)]
    attempts: u64,
    #[serde(default)]
    breaches: Vec<Breach>,
    #[serde(default)]
    is_cut: bool,
}

#[derive(Deserialize)]
struct Breach {
    promise: String,
    account_id: String,
    message_id: Option<String>,
    at: Option<Timestamp>,
    what: String,
}

/// Requests an audit from the daemon and shows its findings.
pub(super) async fn audit(client: &Client, audit: Audit) -> Result<Exit, Failure> {
    let answer = client.get_at_length("/v1/audit").await?;
    let found: Found = answer.read()?;
    let exit = if found.ok { Exit::Done } else { Exit::Broken };
    if audit.json.json {
        answer.pass_on()?;
        return Ok(exit);
    }
    let mut shown = String::new();
    for Breach { promise, account_id, message_id, at, what } in &found.breaches {
        let message = message_id.as_ref().map(|id| format!(" message {id}")).unwrap_or_default();
        let line = format!("{promise}  {}  {account_id}{message} {what}", times::full(*at));
        shown += &format!("{}\n", render::line(&line));
    }
    let more = if found.is_cut { " and more" } else { "" };
    let (attempts, messages) = (found.attempts, found.messages);
    shown += &match found.breaches.len() {
        0 => format!("Every promise was kept: {attempts} calls of {messages} messages looked at.\n"),
        n => format!("{n}{more} broken in {attempts} calls of {messages} messages.\n"),
    };
    render::print(&shown)?;
    Ok(exit)
}
