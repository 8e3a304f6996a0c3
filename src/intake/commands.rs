//! Carries out the commands that other programs INSERT into `message_commands`, in the order of their numbers.
//!
//! A command about a message that is not yet admitted waits for that without holding up the commands behind it.

use std::sync::Arc;
use std::time::Duration;

use crate::http::AppState;
use crate::store::{Commanded, ExternalCommands, InsertedCommand, StoreError};

/// Commands that are read at a time.
const PAGE: u32 = 100;
/// The pause after a store error.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// The pause before a command is tried again whose message is not yet admitted.
const UNTIL_ADMITTED: Duration = Duration::from_millis(50);

/// Carries out commands until the engine stops.
pub(super) async fn run(state: Arc<AppState>, mut commands: ExternalCommands) {
    let clock = Arc::clone(state.engine.clock());
    let mut after = 0;
    loop {
        let served = tokio::select! {
            () = state.engine.stopping() => return,
            served = serve(&state, &mut commands, after) => served,
        };
        match served {
            Ok(Served { last: Some(last), .. }) => after = last,
            Ok(Served { all, .. }) => {
                after = 0;
                if !all {
                    clock.sleep(UNTIL_ADMITTED).await;
                }
            }
            Err(error) => {
                tracing::error!(
                    error = error.chain(),
                    "commands of other programs cannot be carried out; trying again"
                );
                clock.sleep(AFTER_ERROR).await;
            }
        }
    }
}

/// What became of a page of commands.
struct Served {
    /// Whether each was carried out; otherwise those that were not are tried again.
    all: bool,
    /// The number of the last one, if more may follow.
    last: Option<i64>,
}

/// Waits for commands after the one with the number `after`, and carries out a page of them.
async fn serve(state: &AppState, commands: &mut ExternalCommands, after: i64) -> Result<Served, StoreError> {
    let page = commands.next(after, PAGE, state.engine.clock()).await?;
    let is_full = page.len() == PAGE as usize;
    let last = page.last().map(|asked| asked.id).filter(|_| is_full);
    let mut all = true;
    for asked in page {
        all &= carry_out(state, asked).await?;
    }
    Ok(Served { all, last })
}

/// Carries out one command; returns `false` if it waits for the admission of its message.
async fn carry_out(state: &AppState, asked: InsertedCommand) -> Result<bool, StoreError> {
    let (now, _dating) = state.engine.settled().await;
    let id = asked.id;
    let result = state.store.carry_out(asked, state.limits(), now).await?;
    match result {
        None => return Ok(false),
        Some(Commanded::Done { accounts, .. }) => {
            state.engine.wake_at(accounts.into_iter().map(|account| (account, now)));
        }
        Some(Commanded::Unchanged(_)) => {}
        Some(Commanded::Refused { .. } | Commanded::Unknown) => {
            tracing::info!(command = id, "refused a command of another program");
        }
    }
    Ok(true)
}
