//! `outboxd audit`: checks whether every promise was kept.
//!
//! The exit code is for scripts, the printed lines are for people.

use clap::Args;

use super::Json;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::{render, times};
use crate::types::counted;
use crate::types::operations::{self as types, Breach};

/// `outboxd audit`.
#[derive(Debug, Args)]
pub(super) struct Audit {
    #[command(flatten)]
    json: Json,
}

/// Requests an audit from the daemon and shows its findings.
pub(super) async fn audit(client: &Client, audit: Audit) -> Result<Exit, Failure> {
    let answer = client.get_at_length("/v1/audit").await?;
    let found: types::Audit = answer.read()?;
    let exit = if found.ok { Exit::Done } else { Exit::Broken };
    if audit.json.json {
        answer.pass_on()?;
        return Ok(exit);
    }
    let mut shown = String::new();
    for Breach { promise, account_id, message_id, at, what } in &found.breaches {
        let message = message_id.as_ref().map(|id| format!(" message {id}")).unwrap_or_default();
        let line = format!("{promise}  {}  {account_id}{message} {what}", times::full(Some(*at)));
        shown += &format!("{}\n", render::line(&line));
    }
    let more = if found.is_cut { " and more" } else { "" };
    let (attempts, messages) =
        (counted(found.attempts, "call", "calls"), counted(found.messages, "message", "messages"));
    shown += &match found.breaches.len() {
        0 => format!("Every promise was kept: {attempts} of {messages} looked at.\n"),
        n => format!("{n}{more} broken in {attempts} of {messages}.\n"),
    };
    render::print(&shown)?;
    Ok(exit)
}
