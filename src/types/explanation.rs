//! Why a message waits or stopped: the sender's own verdict.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Time, WaitStatus};

/// The verdict on a message, with each rule in its order.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    pub id: String,
    pub account_id: String,
    #[schema(schema_with = super::state)]
    pub state: String,
    /// The provider's answer, verbatim.
    pub error: Option<String>,
    #[serde(flatten)]
    pub waits: WaitStatus,
    /// `until` in the account's zone.
    pub until_local: Option<String>,
    /// The account's zone.
    #[schema(required, nullable = false)]
    pub zone: Option<String>,
    /// How many messages of its lane go first; at least 1 if another message of the account does.
    #[serde(default)]
    #[schema(required)]
    pub queue_position: u64,
    /// The message whose outcome it waits for.
    pub blocked_by: Option<String>,
    /// When it is sent according to the forecast; null in queues of more than 20,000 messages.
    pub expected_at: Option<Time>,
    pub expected_range: Option<[Time; 2]>,
    pub now: Time,
    /// One paragraph that a support ticket can quote.
    pub sentence: String,
    /// What happened to it so far.
    #[serde(default)]
    #[schema(required)]
    pub story: Vec<StoryLine>,
    /// Each rule in its order, while the message is queued.
    pub gates: Vec<Gate>,
}

/// One thing that happened to a message.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StoryLine {
    pub at: Time,
    pub what: String,
}

/// A rule. A closed one also says why and until when.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Gate {
    pub gate: String,
    pub open: bool,
    #[serde(flatten)]
    pub closed: Option<Closed>,
}

/// Why a rule is closed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Closed {
    pub until: Option<Time>,
    pub waits_for: Option<String>,
    pub why: String,
    pub rule: Option<String>,
}
