//! The events of the API: their names, and the JSON object that a webhook receives.
//!
//! `publish` raises them, `webhooks` sends them to the endpoints that asked for their type, and `webhook_requests`
//! checks names against the list here.

use jiff::Timestamp;
use serde_json::{Value, json};

/// Every event name that an endpoint may ask for. The vendor also has families for mail, calendars and tracking, which
/// have nothing to do with LinkedIn; the sandbox refuses them.
pub(super) const NAMES: [&str; 24] = [
    "account.add",
    "account.initial_sync.completed",
    "account.initial_sync.failed",
    "account.initial_sync.running",
    "account.locked",
    "account.reconnect",
    "account.remove",
    "account.status.degraded",
    "account.status.disconnected",
    "account.status.errored",
    "account.status.partial",
    "account.status.running",
    "account.unlocked",
    "chat.delete",
    "chat.update",
    "follower.new",
    "message.delete",
    "message.new",
    "message.reaction.delete",
    "message.reaction.new",
    "message.receipt.delivery",
    "message.receipt.read",
    "message.update",
    "relation.new",
];

/// Something that happened on an account.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) account_id: String,
    /// The `type` field.
    pub(super) kind: String,
    pub(super) payload: Value,
    pub(super) created_at: Timestamp,
}

impl Event {
    /// Returns the event as the body of a webhook.
    pub(super) fn body(&self, id: &str) -> Value {
        json!({
            "id": id,
            "created_at": format!("{:.3}", self.created_at),
            "type": self.kind,
            "account_id": self.account_id,
            "payload": self.payload,
        })
    }
}
