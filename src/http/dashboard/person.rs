//! `/people/{id}`: everything about one person, over all accounts. The answer of `person`.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::command::{command, path, query};
use super::error::PageError;
use super::frame::{Action, Frame, When, html, line, note};
use super::messages::Listed;
use crate::http::body::Id;
use crate::http::{App, people};
use crate::types::person::{Person, PersonOnAccount};

#[derive(Template)]
#[template(path = "person.html")]
struct Page {
    frame: Frame,
    when: When,
    person: Person,
    rows: Vec<Listed>,
    /// Whether texts may be shown.
    bodies: bool,
    actions: Vec<Action>,
}

pub(super) async fn show(frame: Frame, State(state): App, Id(id): Id) -> Result<Response, PageError> {
    let mut person = people::show(State(Arc::clone(&state)), Id(id)).await?.0;
    let messages = std::mem::take(&mut person.messages);
    Ok(html(&Page {
        when: When::new(state.engine.now(), None),
        rows: Listed::rows(&state, messages),
        bodies: state.dashboard_bodies,
        actions: frame.offers(actions(&person)),
        person,
        frame,
    }))
}

fn actions(person: &Person) -> Vec<Action> {
    let id = person.id.as_str();
    if person.erased_at.is_some() {
        return Vec::new();
    }
    let to = |verb: &str| path("/people", &[id, verb]);
    let is_suppressed = person.stops.iter().any(|stop| stop.reason == "suppressed");
    let is_stopped = person.stops.iter().any(|stop| stop.reason != "suppressed");
    let length = line("for", "For", String::new(), "2h or 1d; empty: until it is lifted");
    let stop = match is_stopped {
        true => Action::new(to("go"), "Let go on", command(&["go", "--person", id])),
        false => Action::new(to("stop"), "Stop on every account", command(&["stop", "--person", id]))
            .asks([length, note()]),
    };
    let suppress = match is_suppressed {
        true => Action::new(
            to("unsuppress"),
            "Remove from the suppression list",
            command(&["suppress", "remove", id]),
        ),
        false => {
            Action::new(to("suppress"), "Never write again", command(&["suppress", "add", id])).asks([note()])
        }
    };
    let erase = Action::new(to("erase"), "Erase", command(&["erase", id])).asks([note()]);
    vec![stop, suppress, erase]
}

impl Page {
    fn all(&self) -> String {
        query("/messages", &[("person", &self.person.id)])
    }

    fn counts(&self, on: &PersonOnAccount) -> String {
        let shown: Vec<String> = on.counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
        shown.join(", ")
    }
}
