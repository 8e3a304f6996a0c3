//! What the buttons do: each calls the handler of the API that does it, then returns to the page.
//!
//! What cannot be taken back, and what concerns many, asks first.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde_json::{Map, Value};

use super::command::{command, path};
use super::error::PageError;
use super::form::{Fields, body, no_such_verb};
use super::frame::{Action, Frame, html};
use super::message::was;
use crate::http::body::Id;
use crate::http::socket::Actor;
use crate::http::{App, accounts, commands, people, review as decisions, stops};
use crate::types::account::{PauseRequest, ResumeRequest};
use crate::types::command::BulkRequest;
use crate::types::person::EraseRequest;
use crate::types::review::{DecisionForAllRequest, DecisionRequest};
use crate::types::stop::{GoRequest, StopRequest};

/// Asks whether to do it.
#[derive(Template)]
#[template(path = "confirm.html")]
struct Question {
    frame: Frame,
    question: String,
    will: String,
    action: Action,
    back: String,
}

fn ask(frame: Frame, question: String, will: String, action: Action, back: &str) -> Response {
    let action = action.with("confirmed", "yes");
    html(&Question { frame: frame.once(), question, will, action, back: back.to_owned() })
}

fn to(place: &str) -> Response {
    Redirect::to(place).into_response()
}

/// Returns where the button was, which is a path of ours.
fn back(fields: &Fields, usual: &str) -> String {
    let is_ours = |path: &String| path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
    fields.get("back").filter(is_ours).unwrap_or_else(|| usual.to_owned())
}

fn pause_of(fields: &Fields) -> PauseRequest {
    PauseRequest { until: None, length: fields.get("for"), note: fields.get("note") }
}

/// Pauses or resumes all sending.
pub(super) async fn sending(
    State(state): App,
    actor: Actor,
    Path(verb): Path<String>,
    fields: Fields,
) -> Result<Response, PageError> {
    match verb.as_str() {
        "pause" => drop(accounts::pause_everything(State(state), actor, body(&pause_of(&fields))?).await?),
        "resume" => {
            drop(accounts::resume_everything(State(state), body(&ResumeRequest::default())?).await?);
        }
        other => return Err(no_such_verb(other)),
    }
    Ok(to("/"))
}

/// Pauses or resumes an account, or ends its rest.
pub(super) async fn account(
    frame: Frame,
    State(state): App,
    actor: Actor,
    Path((id, verb)): Path<(String, String)>,
    fields: Fields,
) -> Result<Response, PageError> {
    let page = path("/accounts", &[&id]);
    let key = || Id(id.clone());
    match verb.as_str() {
        "pause" => drop(accounts::pause(State(state), actor, key(), body(&pause_of(&fields))?).await?),
        "resume" => {
            drop(accounts::resume(State(state), key(), body(&ResumeRequest::default())?).await?);
        }
        "lift" if fields.is_confirmed() => {
            let lift = ResumeRequest { lift_hold: Some(true), restored: None };
            drop(accounts::resume(State(state), key(), body(&lift)?).await?);
        }
        "lift" => {
            let line = command(&["resume", &id, "--lift-hold"]);
            let action = Action::new(path("/accounts", &[&id, "lift"]), "Yes, end the rest", line);
            let will =
                "The account sends again at once, at the risk of the account: the provider asked it to rest.";
            return Ok(ask(frame, format!("End the rest of {id} early?"), will.to_owned(), action, &page));
        }
        other => return Err(no_such_verb(other)),
    }
    Ok(to(&back(&fields, &page)))
}

/// Cancels, holds, releases, retries or edits a message.
pub(super) async fn message(
    State(state): App,
    Actor(actor): Actor,
    Path((id, verb)): Path<(String, String)>,
    fields: Fields,
) -> Result<Response, PageError> {
    let page = path("/messages", &[&id]);
    match verb.as_str() {
        "edit" => {
            let changed = changed(&fields);
            drop(commands::edit(State(state), Actor(actor), Id(id), body(&changed)?).await?);
        }
        "cancel" | "hold" | "release" | "retry" => {
            let asked = BulkRequest { command: Some(verb), ids: Some(vec![id]), ..BulkRequest::default() };
            let answer = commands::bulk(State(state), Actor(actor), body(&asked)?).await?.0;
            let refused = answer.results.into_iter().find_map(|result| result.errors);
            if let Some(errors) = refused {
                return Err(PageError::refused(errors));
            }
        }
        other => return Err(no_such_verb(other)),
    }
    Ok(to(&page))
}

/// Returns the fields of an edit that a person changed; null removes one.
fn changed(fields: &Fields) -> Map<String, Value> {
    let mut changed = Map::new();
    for name in ["text", "priority", "not_before", "expires_at", "campaign"] {
        let Some(now) = fields.raw(name) else { continue };
        let now = now.replace("\r\n", "\n");
        if fields.raw(was(name)).is_some_and(|was| was.replace("\r\n", "\n") == now) {
            continue;
        }
        let value = match (name, now.trim()) {
            (_, "") => Value::Null,
            ("priority", number) => number.parse::<i64>().map_or_else(|_| now.clone().into(), Value::from),
            ("text", _) => now.into(),
            (_, trimmed) => trimmed.into(),
        };
        changed.insert(name.to_owned(), value);
    }
    if let Some(note) = fields.get("note") {
        changed.insert("note".to_owned(), note.into());
    }
    changed
}

/// Pauses or resumes a campaign.
pub(super) async fn campaign(
    State(state): App,
    actor: Actor,
    Path((label, verb)): Path<(String, String)>,
    fields: Fields,
) -> Result<Response, PageError> {
    let page = path("/campaigns", &[&label]);
    let (scope, key) = (Some("campaign".to_owned()), Some(label));
    match verb.as_str() {
        "pause" => {
            let (length, note) = (fields.get("for"), fields.get("note"));
            let stop = StopRequest { scope, key, length, note, ..StopRequest::default() };
            stops::stop(State(state), actor, body(&stop)?).await?;
        }
        "resume" => {
            let go = GoRequest { scope, key, ..GoRequest::default() };
            drop(stops::go(State(state), body(&go)?).await?);
        }
        other => return Err(no_such_verb(other)),
    }
    Ok(to(&page))
}

/// Stops, suppresses or erases a person, or lifts that.
pub(super) async fn person(
    frame: Frame,
    State(state): App,
    actor: Actor,
    Path((id, verb)): Path<(String, String)>,
    fields: Fields,
) -> Result<Response, PageError> {
    let page = path("/people", &[&id]);
    let (scope, key, note) = (Some("person".to_owned()), Some(id.clone()), fields.get("note"));
    let suppressed = Some("suppressed".to_owned());
    let again = |label: &str, line: &[&str]| {
        let mut action = Action::new(path("/people", &[&id, &verb]), label, command(line));
        action.fields = fields.those(&["note"]);
        action
    };
    match verb.as_str() {
        "stop" => {
            let stop = StopRequest { scope, key, length: fields.get("for"), note, ..StopRequest::default() };
            stops::stop(State(state), actor, body(&stop)?).await?;
        }
        "go" => {
            drop(stops::go(State(state), body(&GoRequest { scope, key, ..GoRequest::default() })?).await?)
        }
        "unsuppress" => {
            let go = GoRequest { scope, key, reason: suppressed, ..GoRequest::default() };
            drop(stops::go(State(state), body(&go)?).await?);
        }
        "suppress" if fields.is_confirmed() => {
            let stop = StopRequest { scope, key, reason: suppressed, note, ..StopRequest::default() };
            stops::stop(State(state), actor, body(&stop)?).await?;
        }
        "suppress" => {
            let action = again("Yes, never write again", &["suppress", "add", &id]);
            let will = "Every queued message to them is cancelled, and every new one is refused.".to_owned();
            return Ok(ask(frame, format!("Never write to {id} again?"), will, action, &page));
        }
        "erase" if fields.is_confirmed() => {
            drop(people::erase(State(state), Id(id.clone()), body(&EraseRequest { note })?).await?);
        }
        "erase" => {
            let action = again("Yes, erase", &["erase", &id]);
            let will = "What is queued is cancelled; texts, names and files of all messages are removed, and nothing is \
                        ever sent to them again. This cannot be undone.";
            return Ok(ask(frame, format!("Erase {id}?"), will.to_owned(), action, &page));
        }
        other => return Err(no_such_verb(other)),
    }
    Ok(to(&page))
}

/// Decides about one message in review, or about all that are there for one reason.
pub(super) async fn review(frame: Frame, State(state): App, fields: Fields) -> Result<Response, PageError> {
    let (decision, note) = (fields.get("decision"), fields.get("note"));
    let word = decision.clone().unwrap_or_default();
    let is_asked = !fields.is_confirmed();
    let Some(id) = fields.get("id") else {
        let reason = fields.get("reason");
        let dry_run = Some(is_asked);
        let line = command(&["review", "--reason", reason.as_deref().unwrap_or_default(), &word]);
        let asked =
            DecisionForAllRequest { decision, reason, note, dry_run, ..DecisionForAllRequest::default() };
        let decided = decisions::decide_all(State(state), body(&asked)?).await?.0;
        if is_asked {
            let label = format!("Yes, {word} {}", decided.messages.unwrap_or(0));
            let mut action = Action::new("/review".to_owned(), label, line);
            action.fields = fields.those(&["decision", "reason", "note"]);
            return Ok(ask(frame, format!("{word}: all of them?"), decided.will, action, "/review"));
        }
        return Ok(to("/review"));
    };
    // A second copy cannot be taken back.
    let dry_run = Some(is_asked && word == "resend");
    let asked = DecisionRequest { decision, note, dry_run };
    let decided = decisions::decide(State(state), Id(id.clone()), body(&asked)?).await?.0;
    if dry_run == Some(true) {
        let mut action =
            Action::new("/review".to_owned(), "Yes, send it once more", command(&["review", &id, "resend"]));
        action.fields = fields.those(&["id", "decision", "note"]);
        return Ok(ask(frame, "Send it once more?".to_owned(), decided.will, action, "/review"));
    }
    Ok(to("/review"))
}
