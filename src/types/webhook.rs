//! The endpoint of webhooks at Unipile: registration, list, test. No type holds a secret.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// What to register.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// The public address, `https://…/webhooks/unipile`; at most 255 characters.
    #[schema(required, nullable = false)]
    pub url: Option<String>,
    /// The accounts whose events it receives; every account if left out.
    pub account_ids: Option<Vec<String>>,
}

/// An endpoint at Unipile.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WebhookEndpoint {
    pub id: String,
    pub url: String,
    pub events: Vec<String>,
    /// Empty: every account.
    pub account_ids: Vec<String>,
    /// Null: not known, because Unipile could not be asked or no longer has it.
    pub enabled: Option<bool>,
    /// outboxd registered it, and verifies with its secret.
    pub registered: bool,
    pub registered_at: Option<Time>,
}

/// The answer to a registration.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Registered {
    /// False: an endpoint that was there before was changed.
    pub created: bool,
    pub endpoint: WebhookEndpoint,
    /// The address on which the daemon receives webhooks; null without a listener.
    pub listen: Option<String>,
}

/// The endpoints, and what came in.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WebhookList {
    /// All of the application at Unipile.
    pub endpoints: Vec<WebhookEndpoint>,
    /// What was received of each type, as far as the queue remembers it.
    pub received: Vec<ReceivedKind>,
    /// Unipile's log of the deliveries to the registered endpoint, newest first.
    pub deliveries: Vec<WebhookDelivery>,
    /// Why Unipile could not be asked; the list is incomplete then.
    pub problem: Option<String>,
}

/// What was received of one type of event.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ReceivedKind {
    #[serde(rename = "type")]
    pub kind: String,
    pub count: u64,
    pub last_at: Time,
}

/// A delivery in Unipile's log.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WebhookDelivery {
    /// By Unipile's clock.
    pub at: Option<Time>,
    #[serde(rename = "type")]
    pub kind: String,
    pub event_id: String,
    /// The status that Unipile was answered; null without an answer.
    pub status: Option<u16>,
    /// False: Unipile sent it again.
    pub first_attempt: bool,
}

/// Which address to test.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestRequest {
    /// The listener itself, without the reverse proxy.
    #[serde(default)]
    pub local: bool,
    /// Without a signature: the listener must refuse it, and stores nothing.
    #[serde(default)]
    pub unsigned: bool,
}

/// What came back from a test delivery.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Tested {
    pub url: String,
    /// The delivery arrived and was stored or, without a signature, was refused by the listener.
    pub ok: bool,
    /// Null without an answer.
    pub status: Option<u16>,
    /// The beginning of the answer, or why there is none.
    pub answer: String,
    /// What that means, and what to check.
    pub verdict: String,
}

/// The answer to a removal.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    pub id: String,
    /// False: Unipile had it no longer.
    pub was_there: bool,
    /// The listener is left without a secret: it refuses every webhook, and the daemon does not start again with it.
    #[serde(default)]
    #[schema(required)]
    pub listens_without_secret: bool,
}
