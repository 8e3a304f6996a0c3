//! The dashboard: pages for a browser, served by the router of the API. `docs/dashboard.md` is for its users.
//!
//! A page calls the handlers of the API and shows their answers with a template of `templates/`; a button posts a form,
//! which calls the handler of the API that does it (`actions.rs`). So a page shows and does what the command line shows
//! and does. Pages work without the script, which only repeats a page while it is visible.

mod account;
mod actions;
mod bulk;
mod campaign;
mod charts;
mod command;
mod error;
mod events;
mod form;
mod frame;
mod funnels;
pub(super) mod guard;
mod health;
mod import;
mod message;
mod messages;
mod needed;
mod overview;
mod person;
mod repeat;
mod review;
mod search;

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{get, post};

use super::AppState;

pub(super) use funnels::Funnels;
pub(super) use import::Uploads;
pub(super) use repeat::Renderings;

/// Header with which `outboxd ui --read-only` asks for pages without buttons.
pub const READ_ONLY: &str = "outboxd-read-only";

/// Returns the routes of the pages.
pub(super) fn router(state: &Arc<AppState>) -> Router<Arc<AppState>> {
    Router::new()
        .route("/", get(overview::show))
        .route("/accounts/{id}", get(account::show))
        .route("/messages", get(messages::show))
        .route("/messages/{id}", get(message::show))
        .route("/campaigns/{id}", get(campaign::show))
        .route("/people/{id}", get(person::show))
        .route("/review", get(review::show).post(actions::review))
        .route("/import", get(import::show).post(import::post))
        .route("/events", get(events::show))
        .route("/health", get(health::show))
        .route("/search", get(search::search))
        .route("/bulk", post(bulk::bulk))
        .route("/sending/{verb}", post(actions::sending))
        .route("/accounts/{id}/{verb}", post(actions::account))
        .route("/messages/{id}/{verb}", post(actions::message))
        .route("/campaigns/{id}/{verb}", post(actions::campaign))
        .route("/people/{id}/{verb}", post(actions::person))
        .route("/dashboard.svg", get(icon))
        .route("/dashboard.css", get(style))
        .route("/dashboard.js", get(script))
        .route_layer(middleware::from_fn_with_state(Arc::clone(state), repeat::shared))
        .route_layer(middleware::from_fn(guard::pages))
}

async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("../../../templates/dashboard.css"))
}

async fn icon() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "image/svg+xml")], include_str!("../../../templates/dashboard.svg"))
}

async fn script() -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/javascript; charset=utf-8")];
    (kind, include_str!("../../../templates/dashboard.js"))
}
