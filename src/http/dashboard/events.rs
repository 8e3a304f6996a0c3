//! `/events`: what happens, newest first. The events of `watch`; with script the page follows their stream.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use std::collections::BTreeMap;

use super::command::{command, query};
use super::error::PageError;
use super::frame::{Frame, When, html};
use crate::domain::event::KINDS;
use crate::http::{App, Parameters, events};
use crate::types::event::Event;

/// The events that are shown.
const SHOWN: usize = 100;
/// The filters, with the option of the command line.
const FILTER: [(&str, &str); 4] =
    [("type", "--type"), ("account_id", "--account"), ("campaign", "--campaign"), ("message_id", "")];

#[derive(Template)]
#[template(path = "events.html")]
struct Page {
    frame: Frame,
    when: When,
    filter: BTreeMap<String, String>,
    events: Vec<Event>,
    /// The number of the newest event.
    newest: String,
}

pub(super) async fn show(
    frame: Frame,
    State(state): App,
    Query(asked): Parameters,
) -> Result<Response, PageError> {
    let asked: Vec<_> = asked.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
    let found = events::latest(&state, asked.clone(), SHOWN).await?;
    Ok(html(&Page {
        frame,
        when: When::new(state.engine.now(), None),
        filter: asked.into_iter().collect(),
        events: found.data,
        newest: found.next_after.to_string(),
    }))
}

/// Returns the types that a person can choose: families, and each alone.
fn kinds() -> Vec<String> {
    let family = |name: &str| name.split_once('.').map(|(family, _)| format!("{family}.*"));
    let mut kinds: Vec<String> = Vec::new();
    for kind in KINDS {
        if let Some(family) = family(kind.name).filter(|family| !kinds.contains(family)) {
            kinds.push(family);
        }
        kinds.push(kind.name.to_owned());
    }
    kinds
}

impl Page {
    fn value(&self, name: &str) -> &str {
        self.filter.get(name).map_or("", String::as_str)
    }

    fn kinds(&self) -> Vec<String> {
        kinds()
    }

    /// Returns the stream of the events after those on the page.
    fn stream(&self) -> String {
        let given = FILTER.iter().map(|(name, _)| (*name, self.value(name)));
        let all: Vec<(&str, &str)> = given.chain([("after", self.newest.as_str())]).collect();
        query("/v1/events", &all)
    }

    fn command(&self) -> String {
        let mut words = vec!["watch"];
        for (name, option) in FILTER {
            if !option.is_empty() && !self.value(name).is_empty() {
                words.extend([option, self.value(name)]);
            }
        }
        command(&words)
    }

    fn what(&self, event: &Event) -> &'static str {
        KINDS.iter().find(|kind| kind.name == event.kind).map_or("", |kind| kind.what)
    }

    /// Returns what else the event says.
    fn detail(&self, event: &Event) -> String {
        let shown = |(name, value): (&String, &serde_json::Value)| match value.as_str() {
            Some(text) => format!("{name}: {text}"),
            None => format!("{name}: {value}"),
        };
        event.detail.iter().flatten().map(shown).collect::<Vec<_>>().join("; ")
    }
}
