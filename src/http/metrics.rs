//! `GET /metrics`: all metrics of the table, in the text format of Prometheus.
//!
//! What is not counted as it happens is computed here, from views whose time does not depend on what the queue holds.
//! One reader at a time: a second one waits, so that several cannot take all the reading connections.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use jiff::Timestamp;

use super::error::ApiError;
use super::notices::{self, Facts};
use super::{App, AppState};
use crate::domain::state::StateName;
use crate::metrics::Metrics;
use crate::metrics::table as t;
use crate::store::{Gauges, Totals};
use crate::types::notice::KINDS;

/// The type of the text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Returns a router with this route alone, for a TCP address that only reads.
pub fn metrics_router(state: Arc<AppState>) -> Router {
    Router::new().route("/metrics", get(metrics)).fallback(super::error::no_such_path).with_state(state)
}

pub(super) async fn metrics(State(state): App) -> Result<impl IntoResponse, ApiError> {
    let turn = state.metrics_turn.acquire().await.expect("it is never closed");
    let metrics = state.store.metrics();
    whole(&state, metrics);
    let (facts, gauges) = (Facts::read(&state).await?, state.store.gauges(state.engine.now()).await?);
    queue(metrics, &facts.totals, &gauges, state.engine.now());
    let notices = notices::collect(&state, &facts);
    for kind in KINDS {
        let n = notices.iter().filter(|notice| notice.kind == kind).count();
        metrics.set(&t::NOTICES, &[kind], number(n as u64));
    }
    let text = metrics.render();
    drop(turn);
    Ok(([(header::CONTENT_TYPE, TEXT)], text))
}

fn flag(is_set: bool) -> f64 {
    if is_set { 1.0 } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn number(n: u64) -> f64 {
    n as f64
}

fn unix(at: Timestamp) -> f64 {
    at.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}

/// Sets what the parts of the daemon know without the database.
fn whole(state: &AppState, metrics: &Metrics) {
    metrics.set(&t::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
    metrics.set(&t::STARTED, &[], unix(state.engine.started_at()));
    let api = state.engine.api_health();
    metrics.set(&t::API_BREAKER_OPEN, &[], flag(api.unreachable_until.is_some()));
    metrics.set(&t::API_FAILURES, &[], f64::from(api.failures));
    metrics.set(&t::PERMITS_WAITING, &[], number(state.engine.permits_waiting() as u64));
    metrics.set(&t::STORAGE_TROUBLE, &[], flag(state.engine.storage_trouble().is_some()));
    let (bytes, free) = state.store.disk();
    metrics.set(&t::QUEUE_BYTES, &[], number(bytes));
    metrics.set(&t::WAL_BYTES, &[], number(state.store.write_ahead_log().bytes));
    if let Some(free) = free {
        metrics.set(&t::DISK_FREE, &[], number(free));
    }
    metrics.count_is(&t::LOG_LINES_DROPPED, &[], (state.dropped_log_lines)());
    metrics.set(&t::WEBHOOKS_LISTENING, &[], flag(state.webhooks.is_some()));
    let Some(webhooks) = &state.webhooks else { return };
    let tally = webhooks.tally();
    metrics.count_is(&t::WEBHOOKS_RECEIVED, &[], tally.received);
    let refused = &tally.refused;
    for (cause, count) in [
        ("signature", refused.signature),
        ("unsigned", refused.unsigned),
        ("stale", refused.stale),
        ("body", refused.body),
        ("too_large", refused.too_large),
        ("incomplete", refused.incomplete),
        ("not_stored", refused.not_stored),
    ] {
        metrics.count_is(&t::WEBHOOKS_REFUSED, &[cause], count);
    }
}

/// Sets what the database shows.
fn queue(metrics: &Metrics, totals: &Totals, gauges: &Gauges, now: Timestamp) {
    for state in StateName::ALL {
        metrics.set(&t::MESSAGES, &[state.as_str()], number(totals.counts.of(state)));
    }
    metrics.set_only(&t::WAITING, &gauges.reasons);
    let due = gauges.oldest_due.map_or(0.0, |at| now.duration_since(at).as_secs_f64());
    metrics.set(&t::OLDEST_DUE, &[], due.max(0.0));
    let of = |counts: &[(String, u64)], word: &str| {
        counts.iter().find(|(found, _)| found == word).map_or(0, |(_, n)| *n)
    };
    let mut other = totals.accounts;
    for state in ["disconnected", "restricted", "throttled", "paused"] {
        let n = if state == "paused" { gauges.paused } else { of(&gauges.down, state) };
        metrics.set(&t::ACCOUNTS, &[state], number(n));
        other = other.saturating_sub(n);
    }
    metrics.set(&t::ACCOUNTS, &["other"], number(other));
    for (credit, lowest) in ["classic", "recruiter"].into_iter().zip(gauges.lowest_credits) {
        metrics.set(&t::INMAIL_HOLDS, &[credit], number(of(&gauges.inmail_holds, credit)));
        if let Some(lowest) = lowest {
            metrics.set(&t::CREDITS_LOWEST, &[credit], number(lowest));
        }
    }
    metrics.set(&t::WEBHOOK_NEWEST, &[], gauges.newest_webhook.map_or(0.0, unix));
    let daemon = &totals.daemon;
    metrics.set(&t::KEY_REFUSED, &[], flag(daemon.key_refused.is_some()));
    metrics.set(&t::PAUSED, &[], flag(daemon.pause.as_ref().is_some_and(|pause| pause.holds(now))));
    metrics.set(&t::RESTORED, &[], flag(daemon.restored.is_some()));
}
