//! Computes when the waits of steps end, in the zone of their account.

use jiff::Timestamp;

use super::Shared;
use crate::domain::message::AccountId;
use crate::policy::steps::wait_end;
use crate::store::StoreError;

/// Stores the ends of the waits that have begun, as many as go into one transaction.
pub(super) async fn schedule(shared: &Shared, account: &AccountId, now: Timestamp) -> Result<(), StoreError> {
    let zone = &shared.policy(account).zone;
    let begun = shared.store.begun_waits(account).await?;
    let ends = begun.into_iter().map(|begun| (begun.seq, wait_end(begun.since, begun.wait, zone)));
    shared.store.schedule_steps(ends.collect(), now).await
}
