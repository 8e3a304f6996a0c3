//! `/messages/{id}`: one message and its story. The answers of `show` and `explain`.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::command::{command, path};
use super::error::PageError;
use super::frame::{Action, Frame, When, html, line, note};
use crate::domain::command::Command;
use crate::domain::state::StateName;
use crate::domain::time_text;
use crate::http::body::Id;
use crate::http::{App, messages};
use crate::types::Time;
use crate::types::explanation::Explanation;
use crate::types::message::{Message, MessageDetail, UsersIds};

#[derive(Template)]
#[template(path = "message.html")]
struct Page {
    frame: Frame,
    when: When,
    detail: MessageDetail,
    explanation: Explanation,
    actions: Vec<Action>,
}

pub(super) async fn show(frame: Frame, State(state): App, Id(id): Id) -> Result<Response, PageError> {
    let detail = messages::show(State(Arc::clone(&state)), Id(id.clone())).await?.0;
    let explanation = messages::explain(State(Arc::clone(&state)), Id(id)).await?.0;
    Ok(html(&Page {
        when: When::new(explanation.now.into(), detail.zone.as_deref()),
        actions: frame.offers(actions(&frame, &detail)),
        explanation,
        detail,
        frame,
    }))
}

/// Returns to whom a message goes.
pub(super) fn recipient(message: &Message) -> String {
    match (&message.users_ids, &message.chat_id) {
        (Some(UsersIds::One(id)), _) => id.clone(),
        (Some(UsersIds::Several(ids)), _) => ids.join(", "),
        (None, Some(chat)) => chat.clone(),
        (None, None) => "-".to_owned(),
    }
}

/// Returns the one person that a message is for.
fn person(message: &Message) -> Option<&str> {
    match message.users_ids.as_ref()? {
        UsersIds::One(id) => Some(id),
        UsersIds::Several(ids) if ids.len() == 1 => ids.first().map(String::as_str),
        UsersIds::Several(_) => None,
    }
}

fn actions(frame: &Frame, detail: &MessageDetail) -> Vec<Action> {
    let message = &detail.message;
    let id = message.id.as_str();
    let Some(state) = StateName::parse(&message.state) else { return Vec::new() };
    let is_held = message.waits.reason.as_deref() == Some("held");
    let plain = [
        (Command::Cancel, "Cancel", state != StateName::Review),
        (Command::Hold, "Hold", !is_held),
        (Command::Release, "Release", is_held),
        (Command::Retry, "Queue again", true),
    ];
    let mut actions: Vec<Action> = plain
        .into_iter()
        .filter(|(command, _, fits)| *fits && command.acts_on().contains(&state))
        .map(|(verb, label, _)| {
            let to = path("/messages", &[id, verb.as_str()]);
            Action::new(to, label, command(&[verb.as_str(), id]))
        })
        .collect();
    if state == StateName::Queued {
        actions.push(edit(frame, detail));
    }
    actions
}

/// Returns the edit of a message. Each field comes with what it was, so that only what a person changed is changed.
fn edit(frame: &Frame, detail: &MessageDetail) -> Action {
    let message = &detail.message;
    let id = message.id.as_str();
    let time = |at: Option<Time>| at.map(|at| time_text(at.into())).unwrap_or_default();
    let mut inputs = vec![
        line("priority", "Priority", message.priority.to_string(), "-100 to 100; the higher goes first"),
        line(
            "not_before",
            "Not before",
            time(message.not_before),
            "RFC 3339, such as 2026-11-23T09:00:00+01:00",
        ),
        line("expires_at", "Expires at", time(message.expires_at), "RFC 3339"),
        line("campaign", "Campaign", message.campaign.clone().unwrap_or_default(), "a label"),
    ];
    if let Some(text) = detail.text.as_ref().filter(|_| frame.shows_body) {
        let is_long = true;
        let hint = "";
        inputs.insert(
            0,
            super::frame::Input { name: "text", label: "Text", value: text.clone(), hint, is_long },
        );
    }
    let was = inputs.iter().map(|input| (was(input.name), input.value.clone())).collect();
    let to = path("/messages", &[id, "edit"]);
    let mut action =
        Action::new(to, "Change", command(&["edit", id, "--priority", "5"])).asks(inputs).asks([note()]);
    action.fields = was;
    action
}

/// Returns the name of the field that holds what `field` was.
pub(super) fn was(field: &str) -> &'static str {
    match field {
        "text" => "was_text",
        "priority" => "was_priority",
        "not_before" => "was_not_before",
        "expires_at" => "was_expires_at",
        _ => "was_campaign",
    }
}

impl Page {
    fn to(&self) -> String {
        recipient(&self.detail.message)
    }

    fn person(&self) -> Option<&str> {
        person(&self.detail.message)
    }

    fn account(&self) -> &str {
        self.detail.message.account_id.as_deref().unwrap_or_default()
    }

    fn review(&self) -> String {
        path("/review", &[]) + "#" + &self.detail.message.id
    }

    /// Returns what was heard of it after it was sent.
    fn heard(&self) -> Vec<(&'static str, Time)> {
        let message = &self.detail.message;
        let all = [
            ("Delivered", message.delivered_at),
            ("Read", message.read_at),
            ("Answered", message.replied_at),
        ];
        all.into_iter().filter_map(|(what, at)| Some((what, at?))).collect()
    }
}
