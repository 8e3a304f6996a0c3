//! `/messages`: a list with filters, and what can be done with all that it selects. The answer of `list`.

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;

use super::bulk::FILTER;
use super::command::{command, query};
use super::error::PageError;
use super::frame::{Action, Frame, When, html};
use crate::domain::message::AccountId;
use crate::http::{App, AppState, Parameters, messages, render};
use crate::types::message::ListedMessage;
use crate::types::states;

/// Parameters that a list has and a command about many has not.
const ONLY_OF_LISTS: [&str; 3] = ["dedupe_key", "since", "until"];

#[derive(Template)]
#[template(path = "messages.html")]
struct Page {
    frame: Frame,
    when: When,
    filter: BTreeMap<String, String>,
    states: [&'static str; 10],
    rows: Vec<Listed>,
    more: Option<String>,
    actions: Vec<Action>,
}

/// A row of a list of messages.
pub(super) struct Listed {
    pub(super) listed: ListedMessage,
    pub(super) when: When,
}

impl Listed {
    /// Returns rows, each with the times of its account.
    pub(super) fn rows(state: &AppState, messages: Vec<ListedMessage>) -> Vec<Self> {
        let row = |listed: ListedMessage| {
            let account = AccountId::new(listed.message.account_id.as_deref().unwrap_or_default());
            let policy = state.engine.policy(&account);
            Self { when: When::new(state.engine.now(), Some(render::zone(&policy.zone))), listed }
        };
        messages.into_iter().map(row).collect()
    }

    pub(super) fn to(&self) -> String {
        super::message::recipient(&self.listed.message)
    }

    pub(super) fn account(&self) -> &str {
        self.listed.message.account_id.as_deref().unwrap_or_default()
    }

    pub(super) fn reason(&self) -> &str {
        self.listed.message.waits.reason.as_deref().unwrap_or("-")
    }

    pub(super) fn why(&self) -> &str {
        self.listed.message.waits.why.as_deref().unwrap_or_default()
    }
}

pub(super) async fn show(
    frame: Frame,
    State(state): App,
    Query(asked): Parameters,
) -> Result<Response, PageError> {
    let asked: Vec<_> = asked.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect();
    let page = messages::list(State(Arc::clone(&state)), Query(asked.clone())).await?.0;
    let mut filter: BTreeMap<String, String> = asked.into_iter().collect();
    filter.remove("cursor");
    let more = page.next_cursor.map(|cursor| {
        let mut all: Vec<(&str, &str)> =
            filter.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.push(("cursor", &cursor));
        query("/messages", &all)
    });
    Ok(html(&Page {
        when: When::new(state.engine.now(), None),
        states: states(),
        rows: Listed::rows(&state, page.data),
        more,
        actions: frame.offers(actions(&filter)),
        filter,
        frame,
    }))
}

/// Returns the commands about all that the filter selects.
fn actions(filter: &BTreeMap<String, String>) -> Vec<Action> {
    let selects = FILTER.iter().any(|(name, _)| filter.contains_key(*name));
    if !selects || ONLY_OF_LISTS.iter().any(|name| filter.contains_key(*name)) {
        return Vec::new();
    }
    ["cancel", "hold", "release", "retry"]
        .into_iter()
        .map(|word| {
            let mut action =
                Action::new("/bulk".to_owned(), format!("{word} all of these"), bulk_command(word, filter));
            action.fields.push(("command", word.to_owned()));
            action
                .fields
                .extend(FILTER.iter().filter_map(|(name, _)| Some((*name, filter.get(*name)?.clone()))));
            action
        })
        .collect()
}

fn bulk_command(word: &str, filter: &BTreeMap<String, String>) -> String {
    let mut words = vec![word];
    for (name, option) in FILTER {
        if let Some(value) = filter.get(name) {
            words.extend([option, value.as_str()]);
        }
    }
    command(&words)
}

impl Page {
    fn value(&self, name: &str) -> &str {
        self.filter.get(name).map_or("", String::as_str)
    }
}
