//! When the queue will be sent.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use super::message::Verdict;
use crate::domain::reason::Reason;

/// A simulation with the rules that send.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    pub now: Time,
    /// The horizon.
    pub days: u32,
    /// How often it was simulated, each time with different random pauses.
    pub runs: u32,
    pub total: Summary,
    /// At most 1,000.
    pub accounts: Vec<AccountForecast>,
    pub account_count: u64,
    /// At most 1,000.
    pub campaigns: Vec<CampaignForecast>,
    pub campaigns_are_cut: bool,
    /// At most 1,000; empty unless the query names an account or a campaign, or messages are assumed.
    pub messages: Vec<ExpectedMessage>,
    /// The messages of the body; absent without a body.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub with: Option<Assumed>,
}

/// How many messages are sent within the horizon, and why the others wait.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    pub messages: u64,
    pub sent: u64,
    /// All of them are sent.
    pub done: bool,
    /// When the last one is sent.
    pub last_at: Option<Time>,
    pub last_at_range: [Option<Time>; 2],
    pub waiting: Vec<Waiting>,
}

/// Messages that are not sent within the horizon.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Waiting {
    pub reason: String,
    pub why: String,
    /// A person must act before they go.
    pub needs_person: bool,
    pub messages: u64,
}

impl Waiting {
    /// Returns whether these messages end without being sent.
    pub(crate) fn is_the_end(&self) -> bool {
        [Reason::Expired, Reason::StepStopped].iter().any(|reason| reason.as_str() == self.reason)
    }
}

impl Summary {
    /// Returns how many messages wait for a person.
    pub(crate) fn need_person(&self) -> u64 {
        self.waiting.iter().filter(|waiting| waiting.needs_person).map(|waiting| waiting.messages).sum()
    }

    /// Returns how many messages end without being sent.
    pub(crate) fn not_sent(&self) -> u64 {
        self.waiting.iter().filter(|waiting| waiting.is_the_end()).map(|waiting| waiting.messages).sum()
    }

    /// Returns whether all messages are sent that wait for no person and do not end before, and there are such.
    pub(crate) fn goes_alone(&self) -> bool {
        self.sent > 0 && self.sent + self.need_person() + self.not_sent() == self.messages
    }
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountForecast {
    #[serde(flatten)]
    pub summary: Summary,
    pub account_id: String,
    /// The account's zone.
    pub zone: String,
    /// Empty unless the query names an account or a campaign, or messages are assumed.
    pub days: Vec<Day>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Day {
    /// In the account's zone.
    #[schema(format = Date)]
    pub date: String,
    pub sends: u32,
    /// The reason that limits the day.
    pub bound_by: Option<String>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct CampaignForecast {
    #[serde(flatten)]
    pub summary: Summary,
    /// Null for the messages without a label.
    pub campaign: Option<String>,
    /// When the last message that is not a follow-up is sent.
    pub last_first_at: Option<Time>,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ExpectedMessage {
    /// Null for an assumed message.
    pub id: Option<String>,
    pub account_id: String,
    pub campaign: Option<String>,
    pub at: Option<Time>,
    pub range: Option<[Time; 2]>,
    /// Why it is not sent within the horizon.
    pub waits_for: Option<String>,
}

/// What queueing the messages of the body would do.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Assumed {
    pub messages: usize,
    /// Already in the queue, or twice in the body.
    pub duplicates: usize,
    /// A verdict for each of these duplicates, with the `state` of the message that is in the queue.
    pub existing: Vec<Verdict>,
    /// With `?accounts=keep`: the rows that go on another account than they name.
    pub kept: Vec<KeptAccount>,
    /// A verdict for each bad row.
    pub refused: Vec<Verdict>,
}

/// The account of a row whose person is in the campaign already.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct KeptAccount {
    /// The place of the row, from 0.
    pub index: usize,
    pub account_id: String,
}
