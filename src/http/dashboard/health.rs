//! `/health`: the daemon itself, and whether a promise was broken. The answers of `status` and `audit`.

use std::sync::Arc;

use askama::Template;
use axum::extract::{RawQuery, State};
use axum::response::Response;

use super::error::PageError;
use super::frame::{Frame, When, html};
use super::needed::{self, Needed};
use crate::http::{App, operations, status};
use crate::types::counted;
use crate::types::notice::Notice;
use crate::types::operations::Audit;
use crate::types::status::{Ability, Status};

#[derive(Template)]
#[template(path = "health.html")]
struct Page {
    frame: Frame,
    when: When,
    /// What needs a person.
    needed: Vec<Needed>,
    /// The notices that need none.
    others: Vec<Notice>,
    status: Status,
    /// Only if it was asked for: it reads the whole queue.
    audit: Option<Audit>,
}

pub(super) async fn show(
    mut frame: Frame,
    State(state): App,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let status = status::status(State(Arc::clone(&state))).await?.0;
    let audit = match query.as_deref() {
        Some("audit=run") => Some(operations::audit(State(state)).await?.0),
        _ => None,
    };
    frame.live = audit.is_none();
    let needed = needed::needed(&status);
    let others = status.notices.iter().filter(|notice| !notice.needs_person).cloned().collect();
    Ok(html(&Page { frame, when: When::new(status.now.into(), None), needed, others, status, audit }))
}

impl Page {
    fn counted(&self, n: u64, one: &str, many: &str) -> String {
        counted(n, one, many)
    }

    /// Returns what it can do, in words.
    fn abilities(&self) -> Vec<(&'static str, &Ability)> {
        let ready = self.status.ready.as_ref();
        ready
            .into_iter()
            .flat_map(|ready| [("Accepts messages", &ready.take_in), ("Can send", &ready.send)])
            .collect()
    }
}
