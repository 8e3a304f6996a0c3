//! Lets messages and accounts go on whose stop or pause ended, also if another program deleted its row.
//!
//! What ends through the daemon goes on at once; then there is nothing left to do here.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::message::AccountId;
use crate::domain::stop::{StopKey, StopScope};
use crate::http::AppState;
use crate::store::{EndedStops, StoreError};

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
            tracing::error!(error = error.chain(), "messages whose stop ended cannot go on; trying again");
            clock.sleep(AFTER_ERROR).await;
        }
    }
}

/// Waits for the end of stops, and lets go on what they held; `waiting` keeps those that failed.
async fn serve(
    state: &AppState,
    ended: &mut EndedStops,
    waiting: &mut Vec<StopKey>,
) -> Result<(), StoreError> {
    if waiting.is_empty() {
        *waiting = ended.next(state.engine.clock()).await?;
    }
    // Pauses of accounts that end together.
    let (pauses, others) = waiting.drain(..).partition(|key: &StopKey| key.scope == StopScope::Account);
    *waiting = others;
    state.engine.wake_freed(pauses.into_iter().map(|key: StopKey| AccountId::new(key.key)));
    while let Some(key) = waiting.last() {
        goes_on(state, key).await?;
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
            state.engine.wake_freed(released.accounts);
            Ok(())
        }
    }
}
