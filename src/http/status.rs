//! The status of the daemon: its health, what waits, and the one next step.
//!
//! `GET /v1/status`, for `outboxd status` and monitoring.

use axum::Json;
use axum::extract::State;

use super::notices::{self, Facts};
use super::{Answer, App, health, render, webhooks};
use crate::engine::StorageTrouble;
use crate::store::StartedAfter;
use crate::types::Time;
use crate::types::status::{Api, Producer, Queue, Recovered, Status, Trouble};

pub(super) async fn status(State(state): App) -> Answer<Status> {
    let facts = Facts::read_and_try(&state).await?;
    let notices = notices::collect(&state, &facts);
    let totals = facts.totals;
    let now = state.engine.now();
    let health = state.engine.api_health();
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
            reachable: health.unreachable_until.is_none(),
            failures: health.failures,
            next_try_at: health.unreachable_until.or(health.trial_at).map(Time),
        },
        warnings: state.warnings(),
        next_step: notices::next_step(&notices),
        notices,
        queue: Queue {
            path: state.store.path().display().to_string(),
            blocked_since: state.store.blocked_since().map(Time),
            blocked_by: state.store.blocked_by(),
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
            clean_stop: recovered.after != StartedAfter::Crash,
            after: recovered.after.as_str().to_owned(),
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
