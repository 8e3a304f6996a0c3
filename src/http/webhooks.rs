//! Webhooks in `GET /v1/status`.

use serde_json::{Value, json};

use super::{AppState, render};
use crate::inbound::{Refused, Tally};

/// Returns the listener's address and its counts since the start; null without a listener.
pub(super) fn status(state: &AppState) -> Value {
    let Some(webhooks) = &state.webhooks else { return Value::Null };
    let Tally { received, duplicates, last_at, refused, .. } = webhooks.tally();
    let Refused {
        unsigned,
        signature,
        last_signature_at,
        stale,
        last_stale_at,
        body,
        too_large,
        incomplete,
        not_stored,
    } = refused;
    json!({
        "listen": webhooks.address().to_string(),
        "received": received,
        "duplicates": duplicates,
        "last_at": render::time(last_at),
        "refused": {
            "signature": signature,
            "last_signature_at": render::time(last_signature_at),
            "unsigned": unsigned,
            "stale": stale,
            "last_stale_at": render::time(last_stale_at),
            "body": body,
            "too_large": too_large,
            "incomplete": incomplete,
            "not_stored": not_stored,
        },
    })
}

/// Returns what an operator must do about refused webhooks.
pub(super) fn warning(state: &AppState) -> Option<String> {
    state.webhooks.as_ref()?.tally().warning(state.engine.now())
}
