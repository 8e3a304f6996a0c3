//! `/review`: messages that a person must decide about, with what is known of each. The answers of `review`.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;

use super::command::{command, path, query};
use super::error::PageError;
use super::form::body;
use super::frame::{Action, Frame, When, html, note};
use super::message::recipient;
use crate::http::body::Id;
use crate::http::{App, AppState, Parameters, messages, review};
use crate::types::message::MessageDetail;
use crate::types::review::DecisionForAllRequest;

/// Cases on a page.
const CASES: &str = "10";

#[derive(Template)]
#[template(path = "review.html")]
struct Page {
    frame: Frame,
    reasons: Vec<Reason>,
    cases: Vec<Case>,
    more: Option<String>,
}

/// A reason, and how many messages are in review for it.
struct Reason {
    code: &'static str,
    why: &'static str,
    messages: u64,
    link: String,
    actions: Vec<Action>,
}

/// A message with its possible decisions, each with what it will do.
struct Case {
    detail: MessageDetail,
    when: When,
    decisions: Vec<(String, Option<Action>)>,
}

pub(super) async fn show(
    frame: Frame,
    State(state): App,
    Query(mut asked): Parameters,
) -> Result<Response, PageError> {
    asked.retain(|(name, _)| name != "text");
    asked.extend([("state".to_owned(), "review".to_owned()), ("limit".to_owned(), CASES.to_owned())]);
    let page = messages::list(State(Arc::clone(&state)), Query(asked)).await?.0;
    let mut cases = Vec::with_capacity(page.data.len());
    for listed in page.data {
        let id = Id(listed.message.id);
        cases.push(case(&state, &frame, review::show(State(Arc::clone(&state)), id).await?.0));
    }
    let reasons = reasons(&state, &frame).await?;
    let more = page.next_cursor.map(|cursor| query("/review", &[("cursor", &cursor)]));
    Ok(html(&Page { frame, reasons, cases, more }))
}

async fn reasons(state: &Arc<AppState>, frame: &Frame) -> Result<Vec<Reason>, PageError> {
    let mut found = Vec::new();
    for reason in review::REASONS {
        let code = reason.as_str();
        let asked = DecisionForAllRequest {
            decision: Some("drop".to_owned()),
            reason: Some(code.to_owned()),
            dry_run: Some(true),
            ..DecisionForAllRequest::default()
        };
        let decided = review::decide_all(State(Arc::clone(state)), body(&asked)?).await?.0;
        let messages = decided.messages.unwrap_or(0);
        let action = |decision: &str| {
            let words = ["review", "--reason", code, decision];
            let label = format!("{decision}: all {messages}");
            Action::new("/review".to_owned(), label, command(&words))
                .with("reason", code)
                .with("decision", decision)
        };
        if messages > 0 {
            found.push(Reason {
                code,
                why: reason.sentence(),
                messages,
                link: query("/messages", &[("state", "review"), ("reason", code)]),
                actions: frame.offers(["sent", "resend", "drop"].map(action).into()),
            });
        }
    }
    Ok(found)
}

fn case(state: &AppState, frame: &Frame, mut detail: MessageDetail) -> Case {
    let id = detail.message.id.clone();
    let decisions = detail.choices.take().unwrap_or_default().into_iter().map(|choice| {
        let decision = choice.decision;
        let line = command(&["review", &id, &decision]);
        let label = match decision.as_str() {
            "sent" => "It arrived: sent",
            "resend" => "Send once more: resend",
            _ => "Leave it: drop",
        };
        let action = Action::new("/review".to_owned(), label, line)
            .with("id", id.clone())
            .with("decision", decision)
            .asks([note()]);
        (choice.will, frame.offers(vec![action]).pop())
    });
    let decisions = decisions.collect();
    Case { when: When::new(state.engine.now(), detail.zone.as_deref()), decisions, detail }
}

impl Case {
    fn to(&self) -> String {
        recipient(&self.detail.message)
    }

    fn link(&self) -> String {
        path("/messages", &[&self.detail.message.id])
    }
}
