//! Whether an account still exists at Unipile.
//!
//! Unipile answers with one error type if an inbox, a route or the account itself does not exist. Before such an answer
//! fails a message, the account is read: if that is refused in the same way, the account is down, and its messages keep
//! their places. The words of an answer are not relied on.

use std::time::Duration;

use super::Shared;
use super::account_sync::PATIENCE;
use super::api_guard::Kind;
use super::run::AccountRun;
use crate::domain::outcome::{DownCause, Hold, Outcome, ProviderError};
use crate::provider::Reply;

/// How long an account that was read is known to exist: many refusals in a row need one read.
const KNOWN_FOR: Duration = Duration::from_secs(5 * 60);

/// What a read of the account showed.
pub(super) enum Known {
    /// It exists, or Unipile does not say: what does not exist is something else.
    Exists,
    /// It cannot send.
    Down(DownCause, ProviderError),
    /// The read was not answered.
    Unknown,
}

/// Reads whether the account exists, with a permit, unless that is known.
pub(super) async fn ask(shared: &Shared, run: &mut AccountRun) -> Known {
    let is_known = |until: &Duration| shared.clock.monotonic() < *until;
    if run.exists_until.as_ref().is_some_and(is_known) {
        return Known::Exists;
    }
    let reading = async {
        let call = shared.api.wait(&run.id, Kind::Look).await.begin();
        let read = shared.provider.account(run.id.clone()).await;
        call.ended_read(&read);
        read
    };
    let read = tokio::select! {
        read = reading => read,
        () = shared.clock.sleep(PATIENCE) => return Known::Unknown,
        () = shared.stopping.cancelled() => return Known::Unknown,
        () = shared.wall_clock.is_waited_for() => return Known::Unknown,
    };
    match read {
        Err(unread) if unread.down.is_some() || unread.problem.may_mean_the_account() => {
            let problem = *unread.problem;
            tracing::warn!(account_id = %run.id, %problem, "the account does not exist at Unipile, or cannot be used; its messages wait");
            Known::Down(unread.down.unwrap_or(DownCause::Disconnected), problem)
        }
        // A key that may not read accounts gets the same answer each time.
        Err(unread) if !unread.problem.is_final() => Known::Unknown,
        Ok(_) | Err(_) => {
            run.exists_until = Some(shared.clock.monotonic() + KNOWN_FOR);
            Known::Exists
        }
    }
}

/// Returns the reply to a send, or what it means if the account itself may not exist: the call reached no recipient.
pub(super) async fn understood(shared: &Shared, run: &mut AccountRun, reply: Reply) -> Reply {
    let problem = match &reply.outcome {
        Outcome::Refused(problem) if problem.may_mean_the_account() => problem.clone(),
        _ => return reply,
    };
    let outcome = match ask(shared, run).await {
        Known::Exists => return reply,
        Known::Down(cause, problem) => Outcome::AccountDown { cause, problem },
        Known::Unknown => Outcome::NotSent { problem, hold: Hold::Message },
    };
    Reply { outcome, ..reply }
}
