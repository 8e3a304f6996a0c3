//! Lets messages and accounts go on whose stop or pause ended, also if another program deleted its row, and cancels what
//! waits for a person whom another program suppressed.
//!
//! What the daemon itself ends or sets takes effect at once; then there is nothing left to do here.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::message::AccountId;
use crate::domain::stop::{StopKey, StopScope};
use crate::http::AppState;
use crate::store::{ChangedStop, EndedStops, StoreError};

/// The pause after a store error.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Watches until the engine stops.
pub(super) async fn run(state: Arc<AppState>, mut ended: EndedStops) {
    let clock = Arc::clone(state.engine.clock());
    let mut waiting = Vec::new();
    loop {
        let served = tokio::select! {
            () = state.engine.stopping() => return,
            served = serve(&state, &mut ended, &mut waiting) => served,
        };
        if let Err(error) = served {
            tracing::error!(
                error = error.chain(),
                "the messages of stops that changed cannot be changed; trying again"
            );
            clock.sleep(AFTER_ERROR).await;
        }
    }
}

/// Waits for stops that change, and applies them to the messages that they concern; `waiting` keeps those that failed.
async fn serve(
    state: &AppState,
    ended: &mut EndedStops,
    waiting: &mut Vec<ChangedStop>,
) -> Result<(), StoreError> {
    if waiting.is_empty() {
        *waiting = ended.next(state.engine.clock()).await?;
    }
    let mut freed = Vec::new();
    let served = apply(state, waiting, &mut freed).await;
    state.engine.wake_freed(freed);
    served
}

/// Applies the changes from the last to the first; `freed` gets the accounts that nothing of these holds any more.
async fn apply(
    state: &AppState,
    waiting: &mut Vec<ChangedStop>,
    freed: &mut Vec<AccountId>,
) -> Result<(), StoreError> {
    while let Some(changed) = waiting.last() {
        match changed {
            ChangedStop::Ended(StopKey { scope: StopScope::All, .. }) => {
                state.engine.wake_everything().await?
            }
            ChangedStop::Ended(StopKey { scope: StopScope::Account, key, .. }) => {
                freed.push(AccountId::new(key.clone()));
            }
            ChangedStop::Ended(key) => {
                let (now, _dating) = state.engine.settled().await;
                freed.extend(state.store.release_from(key, now).await?.accounts);
            }
            ChangedStop::Suppresses(id) => {
                let (now, _dating) = state.engine.settled().await;
                let (_, accounts) = state.store.apply_stop(*id, now).await?;
                state.engine.wake_at(accounts.into_iter().map(|account| (account, now)));
            }
        }
        waiting.pop();
    }
    Ok(())
}
