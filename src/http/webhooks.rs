//! Webhooks in `GET /v1/status`.

use crate::inbound;
use crate::types::Time;
use crate::types::status::{RefusedWebhooks, Webhooks};

/// Returns the listener's address and its counts since the start.
pub(super) fn status(webhooks: &inbound::Webhooks) -> Webhooks {
    let tally = webhooks.tally();
    let refused = tally.refused;
    Webhooks {
        listen: webhooks.address().to_string(),
        received: tally.received,
        duplicates: tally.duplicates,
        last_at: tally.last_at.map(Time),
        refused: RefusedWebhooks {
            signature: refused.signature,
            last_signature_at: refused.last_signature_at.map(Time),
            unsigned: refused.unsigned,
            stale: refused.stale,
            last_stale_at: refused.last_stale_at.map(Time),
            body: refused.body,
            too_large: refused.too_large,
            incomplete: refused.incomplete,
            not_stored: refused.not_stored,
        },
        unreadable: tally.unreadable.map_or(0, |unreadable| unreadable.count),
    }
}
