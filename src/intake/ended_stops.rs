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

/// Waits for stops that change, and tells the messages that they concern; `waiting` keeps those that failed.
async fn serve(
    state: &AppState,
    ended: &mut EndedStops,
    waiting: &mut Vec<ChangedStop>,
) -> Result<(), StoreError> {
    if waiting.is_empty() {
        *waiting = ended.next(state.engine.clock()).await?;
    }
    while let Some(changed) = waiting.last() {
        match changed {
            ChangedStop::Ended(key) => goes_on(state, key).await?,
            ChangedStop::Suppresses(id) => {
                let now = state.engine.settled_now().await;
                let (_, accounts) = state.store.apply_stop(*id, now).await?;
                state.engine.wake_at(accounts.into_iter().map(|account| (account, now)));
            }
        }
        waiting.pop();
    }
    Ok(())
}

async fn goes_on(state: &AppState, key: &StopKey) -> Result<(), StoreError> {
    match key.scope {
        StopScope::All => state.engine.wake_everything().await,
        StopScope::Account => {
            state.engine.wake(AccountId::new(key.key.clone()));
            Ok(())
        }
        StopScope::Person | StopScope::Chat | StopScope::Campaign => {
            let now = state.engine.settled_now().await;
            let released = state.store.release_from(key, now).await?;
            released.accounts.into_iter().for_each(|account| state.engine.wake(account));
            Ok(())
        }
    }
}
