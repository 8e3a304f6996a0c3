//! Campaigns: what became of their messages, by step.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use super::account::SentOnDay;

/// What became of messages.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct CampaignCounts {
    pub messages: u64,
    /// Queued, and not waiting for a step before.
    pub queued: u64,
    /// Waiting for the step before, or for its own wait after it.
    pub waiting: u64,
    /// A call is in progress, or its outcome is not known yet.
    pub in_flight: u64,
    pub review: u64,
    pub sent: u64,
    /// This and the next two: as far as it was heard.
    pub delivered: u64,
    pub read: u64,
    pub replied: u64,
    /// Cancelled or expired.
    pub stopped: u64,
    /// Failed or rejected.
    pub failed: u64,
    /// When the next message is due.
    pub next_at: Option<Time>,
}

/// A campaign.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Campaign {
    pub campaign: String,
    /// Whether a stop of the campaign holds it.
    pub is_paused: bool,
    /// When that stop ends; null if it lasts until it is lifted.
    pub paused_until: Option<Time>,
    #[serde(flatten)]
    pub counts: CampaignCounts,
    /// When the last of its messages that wait for no person is sent, if no one replies. Null if that was not asked for,
    /// nothing waits, or something waits for longer than a year.
    pub done_by: Option<Time>,
    /// The counts of each step, in order.
    pub steps: Vec<CampaignStep>,
    /// The days on which any of it was sent; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub sent_by_day: Option<Vec<SentOnDay>>,
}

/// A step of a campaign.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CampaignStep {
    /// Null for messages without a step.
    pub step: Option<i64>,
    #[serde(flatten)]
    pub counts: CampaignCounts,
}
