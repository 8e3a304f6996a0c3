//! The status of the daemon: its health, what waits, and the one next step.
//!
//! `GET /v1/status`, for `outboxd status` and monitoring.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::{SignedDuration, Timestamp};

use super::error::ApiError;
use super::{AppState, health, render, webhooks};
use crate::domain::state::StateName;
use crate::engine::StorageTrouble;
use crate::store::{Totals, WriteAheadLog};
use crate::types::Time;
use crate::types::status::{Api, Producer, Queue, Recovered, Status, Trouble};

/// How long after its first start a new queue is reported as new.
const NEW_FOR: SignedDuration = SignedDuration::from_hours(24);

pub(super) async fn status(State(state): State<Arc<AppState>>) -> Result<Json<Status>, ApiError> {
    let totals = state.store.totals().await?;
    let now = state.engine.now();
    let health = state.engine.api_health();
    let blocked_since = state.store.blocked_since();
    let blocked_by = state.store.blocked_by();
    let blocked = blocked_since.map(|_| blocked_by.clone().unwrap_or_else(|| "another program".to_owned()));
    let down = state.store.accounts_down().await?;
    let trouble = state.engine.storage_trouble();
    let log = state.store.write_ahead_log();
    let ready = health::readiness(&state, &totals.daemon).await;
    let recovered = &state.recovered;
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: state.engine.started_at().into(),
        now: now.into(),
        paused: render::pause(totals.daemon.pause.as_ref(), now),
        key_refused: totals.daemon.key_refused.as_ref().map(Into::into),
        restored: totals.daemon.restored.as_ref().map(Into::into),
        api: Api {
            reachable: health.failures == 0,
            failures: health.failures,
            next_try_at: health.unreachable_until.map(Time),
        },
        warnings: warnings(&state, &log),
        next_step: next_step(&totals, blocked.as_deref(), trouble.as_ref(), health.failures, &down, now),
        queue: Queue {
            path: state.store.path().display().to_string(),
            blocked_since: blocked_since.map(Time),
            blocked_by,
            trouble: trouble.map(|StorageTrouble { since, next_try_at, error }| Trouble {
                since: since.into(),
                next_try_at: next_try_at.into(),
                error,
            }),
            counts: render::counts(&totals.counts),
            wal_bytes: log.bytes,
            wal_held_by: log.blocked_by,
            producers: totals.producers.into_iter().map(producer).collect(),
        },
        accounts: totals.accounts,
        ready: Some(ready),
        log_lines_dropped: (state.dropped_log_lines)(),
        recovered: Recovered {
            sending: 0,
            uncertain: recovered.uncertain.len() as u64,
            replanned: recovered.queued,
            flushed: 0,
            stale: recovered.stale,
            clean_stop: recovered.clean_stop,
        },
        webhooks: state.webhooks.as_deref().map(webhooks::status),
    }))
}

fn producer(producer: crate::store::Producer) -> Producer {
    Producer {
        wal_reset_bug: has_wal_reset_bug(&producer.sqlite_version),
        sqlite_version: producer.sqlite_version,
        first_seen_at: producer.first_seen_at.into(),
    }
}

fn warnings(state: &AppState, log: &WriteAheadLog) -> Vec<String> {
    let mut warnings = state.warnings();
    if state.store.is_new() && state.engine.now().duration_since(state.engine.started_at()) < NEW_FOR {
        let path = state.store.path().display();
        warnings.push(format!(
            "this queue is new: there was none at {path}; if there should be one, stop, correct store.path and start again"
        ));
    }
    if log.is_long() {
        let holder = log.blocked_by.as_deref().unwrap_or("another program");
        warnings.push(format!(
            "{} has grown to {} MB because {holder} keeps a read transaction open: end that transaction or program, and \
             the log shrinks again",
            log.path.display(),
            log.bytes >> 20,
        ));
    }
    warnings.extend(webhooks::warning(state));
    warnings
}

/// Returns whether this SQLite has the WAL-reset bug: 3.7.0 to 3.51.2, except 3.44.6, 3.50.7 and later patches of
/// those. The answer does not say whether it can do harm, because whether a producer checkpoints is not visible from
/// here; the documents explain that.
fn has_wal_reset_bug(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    match (part(), part(), part()) {
        (3, 44, patch) => patch < 6,
        (3, 50, patch) => patch < 7,
        (3, 51, patch) => patch < 3,
        (major, minor, _) => (major, minor) < (3, 51),
    }
}

/// Returns the one thing to do next, the most urgent first.
fn next_step(
    totals: &Totals,
    blocked: Option<&str>,
    trouble: Option<&StorageTrouble>,
    api_failures: u32,
    down: &[String],
    now: Timestamp,
) -> Option<String> {
    let review = totals.counts.of(StateName::Review);
    if let Some(holder) = blocked {
        return Some(format!(
            "end the transaction of {holder}, which keeps the queue locked; nothing can be sent until then"
        ));
    }
    if let Some(trouble) = trouble {
        return Some(format!(
            "the queue cannot be written or read ({}): see to its disk; sending resumes when it works again",
            trouble.error
        ));
    }
    if let Some(restored) = &totals.daemon.restored {
        return Some(format!(
            "the queue is held as a restored copy ({}): cancel what was sent since, then: outboxd resume --all --restored",
            restored.why
        ));
    }
    if let Some(key) = &totals.daemon.key_refused {
        return Some(format!(
            "fix the API key or the subscription ({}), then: outboxd resume --all",
            key.problem
        ));
    }
    if api_failures > 2 {
        return Some("the Unipile API cannot be reached: check the network and unipile.base_url".into());
    }
    if let Some(account) = down.first() {
        let more = if down.len() > 1 { format!(" (and {} more)", down.len() - 1) } else { String::new() };
        return Some(format!("{account}{more} cannot send: outboxd status {account}"));
    }
    if review > 0 {
        let messages = if review == 1 { "message waits" } else { "messages wait" };
        return Some(format!("{review} {messages} for a person: outboxd review"));
    }
    if totals.daemon.pause.as_ref().is_some_and(|pause| pause.holds(now) && pause.until.is_none()) {
        return Some("all sending is paused: outboxd resume --all".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::has_wal_reset_bug;

    #[test]
    fn the_wal_reset_bug_is_told_by_the_version() {
        for version in ["3.40.1", "3.44.5", "3.45.0", "3.50.6", "3.51.2", "3.7.0"] {
            assert!(has_wal_reset_bug(version), "{version}");
        }
        for version in ["3.44.6", "3.50.7", "3.51.3", "3.52.0", "4.0.0"] {
            assert!(!has_wal_reset_bug(version), "{version}");
        }
    }
}
