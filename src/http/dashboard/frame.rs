//! What every page has: the frame around it, its times, and its actions with the command that does the same.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use askama::Template;
use askama::filters::HtmlSafe;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::READ_ONLY;
use crate::domain::time_text;
use crate::http::AppState;
use crate::types::times::{Times, distance, full_in};
use crate::types::{Time, WaitStatus};

/// Who looks, and at what.
pub(super) struct Frame {
    /// No page has a button.
    pub(super) read_only: bool,
    /// The page is an error, which has no button in any view.
    pub(super) is_error: bool,
    /// Texts of messages may be shown.
    pub(super) bodies: bool,
    /// The text was asked for.
    pub(super) shows_body: bool,
    /// The page repeats itself while it is visible.
    pub(super) live: bool,
}

impl Frame {
    pub(super) fn of_an_error() -> Self {
        Self { read_only: true, is_error: true, bodies: false, shows_body: false, live: false }
    }

    /// Returns the actions that this view offers.
    pub(super) fn offers(&self, actions: Vec<Action>) -> Vec<Action> {
        if self.read_only { Vec::new() } else { actions }
    }

    /// Returns the frame of a page that shows what a POST did or asks about; it does not repeat itself.
    pub(super) fn once(self) -> Self {
        Self { live: false, ..self }
    }
}

impl FromRequestParts<Arc<AppState>> for Frame {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<AppState>) -> Result<Self, Infallible> {
        let bodies = state.dashboard_bodies;
        let query = parts.uri.query().unwrap_or_default();
        let shows_body = bodies && query.split('&').any(|parameter| parameter == "text=show");
        let read_only = parts.headers.contains_key(READ_ONLY);
        Ok(Self { read_only, is_error: false, bodies, shows_body, live: true })
    }
}

/// Renders a page.
pub(super) fn html(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Markup that is safe in a page: made of our own text, or escaped.
pub(super) struct Markup(pub(super) String);

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Markup {}

/// The times of a page, or of one account on it: in one zone, which each full time names.
pub(super) struct When {
    now: Timestamp,
    zone: TimeZone,
    times: Times,
}

impl When {
    /// Returns the times in the zone with this name; in this machine's zone without one.
    pub(super) fn new(now: Timestamp, zone: Option<&str>) -> Self {
        let zone = zone.and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system);
        Self { now, times: Times::short(now, zone.clone()), zone }
    }

    /// Returns the name of the zone.
    pub(super) fn zone(&self) -> String {
        self.times.zone()
    }

    /// Formats a time; the full one with its zone is its title.
    pub(super) fn at<T: Copy + Into<Option<Time>>>(&self, at: &T) -> Markup {
        let at = (*at).into();
        self.element(at, self.times.show(at))
    }

    /// Formats a time as the distance from now.
    pub(super) fn away<T: Copy + Into<Option<Time>>>(&self, at: &T) -> Markup {
        let at: Option<Time> = (*at).into();
        self.element(at, at.map_or_else(|| "-".to_owned(), |at| distance(at.into(), self.now)))
    }

    /// Formats what something waits for: a person, a time and how far away it is.
    pub(super) fn wait(&self, waits: &WaitStatus) -> Markup {
        match (waits.waits_for.as_deref(), waits.until) {
            (Some("person"), _) => Markup("a person".to_owned()),
            (Some("not_before"), Some(at)) => Markup(format!("not before {}", self.at(&Some(at)))),
            (Some("expiry"), Some(at)) => Markup(format!("expires {}", self.at(&Some(at)))),
            (_, until) => self.away(&until),
        }
    }

    fn element(&self, at: Option<Time>, shown: String) -> Markup {
        Markup(match at {
            None => shown,
            Some(at) => {
                let (exact, full) = (time_text(at.into()), full_in(Some(at), &self.zone));
                format!("<time datetime=\"{exact}\" title=\"{full}\">{shown}</time>")
            }
        })
    }
}

/// A button, and the command that does the same.
pub(super) struct Action {
    pub(super) path: String,
    pub(super) label: String,
    pub(super) command: String,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) inputs: Vec<Input>,
}

/// A field that a person may fill in.
pub(super) struct Input {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) hint: &'static str,
    /// A text of several lines.
    pub(super) is_long: bool,
}

/// A note, which is recorded with the change.
pub(super) fn note() -> Input {
    line("note", "Note", String::new(), "recorded with the change")
}

/// A field of one line.
pub(super) fn line(name: &'static str, label: &'static str, value: String, hint: &'static str) -> Input {
    Input { name, label, value, hint, is_long: false }
}

impl Action {
    pub(super) fn new(path: String, label: impl Into<String>, command: String) -> Self {
        Self { path, label: label.into(), command, fields: Vec::new(), inputs: Vec::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    pub(super) fn asks(mut self, inputs: impl IntoIterator<Item = Input>) -> Self {
        self.inputs.extend(inputs);
        self
    }
}
