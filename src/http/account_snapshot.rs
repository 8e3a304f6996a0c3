//! Unipile's last known view of an account: each part with the time at which it was read.
//!
//! The account endpoints include it as `unipile`.

use super::AppState;
use crate::domain::account_snapshot;
use crate::types::Time;
use crate::types::account::{AccountSnapshot, Inbox};

/// Renders the snapshot of one account.
pub(super) fn account_snapshot(
    state: &AppState,
    snapshot: &account_snapshot::AccountSnapshot,
) -> AccountSnapshot {
    let (account, inboxes, credits) = (&snapshot.account, &snapshot.inboxes, &snapshot.credits);
    let seen = account.as_ref().map(|account| account.value.clone());
    let list = inboxes.iter().flat_map(|inboxes| &inboxes.value);
    let list = list.map(|inbox| Inbox { id: inbox.id.as_str().to_owned(), disabled: inbox.disabled });
    AccountSnapshot {
        name: seen.as_ref().and_then(|seen| seen.name.clone()),
        provider: seen.as_ref().map(|seen| seen.provider.clone()),
        status: seen.as_ref().map(|seen| seen.status.clone()),
        is_locked: seen.as_ref().map(|seen| seen.is_locked),
        products: seen.map(|seen| seen.products),
        read_at: account.as_ref().map(|account| Time(account.at)),
        inboxes: inboxes.is_some().then(|| list.collect()),
        inboxes_read_at: inboxes.as_ref().map(|inboxes| Time(inboxes.at)),
        credits: credits.as_ref().map(|credits| credits.value.clone()),
        credits_read_at: credits.as_ref().map(|credits| Time(credits.at)),
        is_old: account.as_ref().is_none_or(|account| state.engine.is_old(account.at)),
        tried_at: snapshot.tried_at.map(Time),
        problem: snapshot.problem.clone(),
    }
}
