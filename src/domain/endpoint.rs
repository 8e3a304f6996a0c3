//! Endpoints of the provider's webhooks: what outboxd asks for, and what the provider says of them.
//!
//! An endpoint belongs to the application, not to an account. The provider makes its secret, which signs each delivery.

use jiff::Timestamp;
use secrecy::SecretString;

use super::message::AccountId;

/// Longest address of an endpoint, in characters (Unipile's SDKs).
pub const MAX_URL_CHARS: usize = 255;

/// The type of the delivery with which outboxd tests its own endpoint.
pub const TEST_EVENT: &str = "outboxd.test";

/// An endpoint to create, or what an existing one becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedEndpoint {
    /// The public address.
    pub url: String,
    /// Types of the events.
    pub events: Vec<String>,
    /// The accounts whose events it receives; none: every account.
    pub account_ids: Vec<AccountId>,
}

/// An endpoint as the provider shows it. `Debug` does not show the secret.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The provider's id: `we_…`.
    pub id: String,
    /// The public address.
    pub url: String,
    /// Types of the events.
    pub events: Vec<String>,
    /// The accounts whose events it receives; none: every account.
    pub account_ids: Vec<AccountId>,
    /// Whether the provider delivers to it.
    pub enabled: bool,
    /// What signs each delivery; `None` if the answer does not tell it.
    pub secret: Option<SecretString>,
}

/// A delivery in the provider's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// When it was made, by the provider's clock.
    pub at: Option<Timestamp>,
    /// Type of the event.
    pub kind: String,
    /// The provider's id of the event.
    pub event_id: String,
    /// The status that was answered; `None` without an answer.
    pub status: Option<u16>,
    /// Whether it was the first attempt.
    pub is_first: bool,
}

/// A request about endpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointRequest {
    /// Creates one.
    Create(WantedEndpoint),
    /// Changes the one with this id, and enables it.
    Update(String, WantedEndpoint),
    /// Reads the one with this id.
    Get(String),
    /// Reads a page of all, from this offset.
    List(usize),
    /// Deletes the one with this id.
    Delete(String),
    /// Reads the latest deliveries to the one with this id.
    Deliveries(String),
}

/// The answer to a request about endpoints: what the request asks for.
#[derive(Debug, Clone, Default)]
pub struct EndpointAnswer {
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// The deliveries, newest first.
    pub deliveries: Vec<Delivery>,
    /// Whether a list goes on after this page.
    pub has_more: bool,
}

/// A delivery of our own, to test an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPost {
    /// Where it goes.
    pub url: String,
    /// The header `unipile-signature`; `None` to leave it out.
    pub signature: Option<String>,
    /// The body.
    pub body: String,
}
