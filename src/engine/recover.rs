//! Recovery, the first thing that a run does: finds out what the last run was doing when it ended, and logs it.
//!
//! `Engine::start` calls this before anything is sent. Stored times follow a clock that was set while no daemon ran.

use std::time::Duration;

use jiff::Timestamp;

use super::wall_clock;
use crate::clock::Boot;
use crate::domain::policy::Policies;
use crate::policy::settle::after;
use crate::store::{ClockReading, ClockStep, ReconcileAt, Recovered, Store, StoreError};

/// Returns a function that gives the time of an account's first read after something that happened at `now`.
pub(super) fn first_read(policies: &Policies, now: Timestamp) -> ReconcileAt {
    let policies = policies.clone();
    Box::new(move |account| policies.of(account).reconcile.after.first().map(|first| after(now, *first)))
}

pub(super) fn log_step(step: ClockStep) {
    tracing::warn!(
        by_s = step.by().as_secs(),
        from = %step.from,
        to = %step.to,
        "the wall clock was set: rests, retries and what the caps count move with it"
    );
}

/// Recovers the store, has calls that were in flight reconciled, and logs the result.
pub(super) async fn recover(
    store: &Store,
    boot: Option<Boot>,
    (now, monotonic): (Timestamp, Duration),
    policies: &Policies,
    stale_after: Option<Duration>,
) -> Result<Recovered, StoreError> {
    let reading = ClockReading { wall: now, boot: boot.clone().map(|boot| (boot.id, boot.passed)) };
    let step = store.clock_step_since_last_run(&reading).await?;
    match step {
        Some(step) => {
            log_step(step);
            wall_clock::follow(store, step, reading, stale_after).await?;
        }
        None => store.note_clocks(reading).await?,
    }
    if let Some(boot) = boot {
        let began = boot.passed.saturating_sub(monotonic);
        store.keep_pauses(boot.id, began, boot.passed, now).await?;
    }
    let recovered = store.recover(now, first_read(policies, now), stale_after, step).await?;
    tracing::info!(
        uncertain = recovered.uncertain.len(),
        replanned = recovered.queued,
        after = recovered.after.as_str(),
        "recovered: 0 sending, {} uncertain, {} re-planned, 0 flushed",
        recovered.uncertain.len(),
        recovered.queued,
    );
    for attempt in &recovered.uncertain {
        tracing::warn!(
            message_id = %attempt.message_id,
            account_id = %attempt.account_id,
            started_at = %attempt.started_at,
            "was being sent when the last run ended; it may have reached the recipient, so its chat is read back"
        );
    }
    let released = store.release_lifted(now).await?;
    if released > 0 {
        tracing::info!(released, "messages go on whose stop was lifted when the last run ended");
    }
    if recovered.stale > 0 {
        tracing::warn!(
            stale = recovered.stale,
            "messages were due long before this start and wait for a person: outboxd review"
        );
    }
    if let Some(restored) = &recovered.restored {
        tracing::error!(
            why = restored.why,
            "this queue is a copy or was restored from a backup: nothing is sent until `outboxd resume --all --restored`"
        );
    }
    Ok(recovered)
}
