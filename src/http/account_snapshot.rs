//! Unipile's last known view of an account as JSON: each part with the time at which it was read.
//!
//! The account endpoints include it as `unipile`.

use serde_json::{Value, json};

use super::AppState;
use super::render::time;
use crate::domain::account_snapshot::AccountSnapshot;

/// Renders the snapshot of one account; null if no read was ever tried.
pub(super) fn account_snapshot(state: &AppState, snapshot: Option<&AccountSnapshot>) -> Value {
    let Some(snapshot) = snapshot else { return Value::Null };
    let account = snapshot.account.as_ref();
    let seen = account.map(|account| &account.value);
    let inboxes = snapshot.inboxes.as_ref();
    let list = inboxes.map(|inboxes| {
        let inbox = |inbox: &crate::domain::observed::ObservedInbox| {
            json!({ "id": inbox.id.as_str(), "disabled": inbox.disabled })
        };
        inboxes.value.iter().map(inbox).collect::<Vec<_>>()
    });
    json!({
        "name": seen.and_then(|seen| seen.name.as_deref()),
        "provider": seen.map(|seen| &seen.provider),
        "status": seen.map(|seen| &seen.status),
        "is_locked": seen.map(|seen| seen.is_locked),
        "products": seen.map(|seen| &seen.products),
        "read_at": time(account.map(|account| account.at)),
        "inboxes": list,
        "inboxes_read_at": time(inboxes.map(|inboxes| inboxes.at)),
        "credits": snapshot.credits.as_ref().map(|credits| &credits.value),
        "credits_read_at": time(snapshot.credits.as_ref().map(|credits| credits.at)),
        "is_old": account.is_none_or(|account| state.engine.is_old(account.at)),
        "tried_at": time(snapshot.tried_at),
        "problem": snapshot.problem,
    })
}
