//! The first thing a run does: find out what the last one was doing when it ended, and say so.

use crate::clock::Clock;
use crate::store::{Recovered, Store, StoreError};

/// Takes stock, leaves calls that were on their way to a person, and logs it.
pub(super) async fn recover(store: &Store, clock: &dyn Clock) -> Result<Recovered, StoreError> {
    let recovered = store.recover(clock.now()).await?;
    tracing::info!(
        in_doubt = recovered.in_doubt.len(),
        queued = recovered.queued,
        clean_stop = recovered.clean_stop,
        "recovered: {} in doubt, {} queued go on at their pace, 0 flushed",
        recovered.in_doubt.len(),
        recovered.queued,
    );
    for attempt in &recovered.in_doubt {
        tracing::warn!(
            message_id = %attempt.message_id,
            account_id = %attempt.account_id,
            started_at = %attempt.started_at,
            "was being sent when the last run ended; it may have reached the recipient and waits in review"
        );
    }
    Ok(recovered)
}
