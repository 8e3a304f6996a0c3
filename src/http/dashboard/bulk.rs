//! `POST /bulk`: one command about many messages, first as a dry run that names their number, then for real.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::command::{command, query};
use super::error::PageError;
use super::form::{Fields, body};
use super::frame::{Action, Frame, html, note};
use crate::http::socket::Actor;
use crate::http::{App, commands};
use crate::types::command::{BulkAnswer, BulkRequest};
use crate::types::counted;

/// The fields of a filter, with the option of the command line.
pub(super) const FILTER: [(&str, &str); 6] = [
    ("account_id", "--account"),
    ("state", "--state"),
    ("campaign", "--campaign"),
    ("chat_id", "--chat"),
    ("person", "--person"),
    ("reason", "--reason"),
];

#[derive(Template)]
#[template(path = "bulk.html")]
struct Page {
    frame: Frame,
    answer: BulkAnswer,
    /// The number that the person saw before, if it has changed.
    was: Option<String>,
    action: Option<Action>,
    back: String,
}

impl Page {
    /// Returns how many messages it changed, or would change.
    fn messages(&self) -> String {
        counted(self.answer.changed, "message", "messages")
    }
}

pub(super) async fn bulk(
    frame: Frame,
    State(state): App,
    Actor(actor): Actor,
    fields: Fields,
) -> Result<Response, PageError> {
    let ask = |dry_run: bool| BulkRequest {
        command: fields.get("command"),
        account_id: fields.get("account_id"),
        campaign: fields.get("campaign"),
        chat_id: fields.get("chat_id"),
        person: fields.get("person"),
        state: fields.get("state"),
        reason: fields.get("reason"),
        note: fields.get("note"),
        dry_run: Some(dry_run),
        ..BulkRequest::default()
    };
    let run = async |dry_run: bool| -> Result<BulkAnswer, PageError> {
        let asked = body(&ask(dry_run))?;
        Ok(commands::bulk(State(Arc::clone(&state)), Actor(actor.clone()), asked).await?.0)
    };
    let names = FILTER.map(|(name, _)| name);
    let filter = fields.those(&names);
    let given: Vec<(&str, &str)> = filter.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let back = query("/messages", &given);
    let planned = run(true).await?;
    let expected = fields.get("expected");
    let was = expected.filter(|seen| *seen != planned.changed.to_string());
    if fields.is_confirmed() && was.is_none() {
        let answer = run(false).await?;
        return Ok(html(&Page { frame: frame.once(), answer, was: None, action: None, back }));
    }
    let label = format!("Yes, {} {}", planned.command, counted(planned.changed, "message", "messages"));
    let mut action = Action::new("/bulk".to_owned(), label, command(&words(&planned.command, &given)))
        .with("command", planned.command.clone())
        .with("confirmed", "yes")
        .with("expected", planned.changed.to_string())
        .asks([note()]);
    action.fields.extend(filter.iter().cloned());
    let action = frame.offers(vec![action]).pop().filter(|_| planned.changed > 0);
    Ok(html(&Page { frame: frame.once(), answer: planned, was, action, back }))
}

fn words<'a>(word: &'a str, filter: &[(&str, &'a str)]) -> Vec<&'a str> {
    let options = filter.iter().flat_map(|(name, value)| {
        let option = FILTER.iter().find(|(known, _)| known == name).map(|(_, option)| *option);
        [option.unwrap_or_default(), *value]
    });
    std::iter::once(word).chain(options).collect()
}
