//! Limits of an account on disk.
//!
//! What an intent and its outcome record for the account's limits, and how far each campaign is in the fair share.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::account::History;
use crate::domain::kind::Kind;
use crate::domain::time_text;

/// What an intent records for the account's limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentLimits {
    /// Kind of the send, as the caps count it.
    pub kind: Kind,
    /// Sends left until the next break.
    pub break_left: Option<u32>,
    /// Whether the pause is a break.
    pub on_break: bool,
    /// Whether the warm-up starts again with this send.
    pub warms_up_again: bool,
    /// The campaign that is served, the account's new virtual time, and the campaign's new finish.
    pub turn: Option<(String, u64, u64)>,
    /// When the account's hours end. A call that would begin at or after this time must not be made (P4).
    pub closes_at: Option<Timestamp>,
}

impl IntentLimits {
    /// Limits of an account that has no breaks, no warm-up and no hours.
    pub fn new(kind: Kind) -> Self {
        Self { kind, break_left: None, on_break: false, warms_up_again: false, turn: None, closes_at: None }
    }
}

/// Records the finish of the campaigns that are served.
pub(in crate::store) const BEGIN_TURN: &str = "INSERT INTO fair_shares (account_id, campaign, finish) \
     SELECT j.id, j.campaign, j.finish FROM (SELECT value ->> 3 AS id, value -> 9 ->> 'campaign' AS campaign, \
       value -> 9 ->> 'finish' AS finish FROM jsonb_each(?1)) AS j WHERE j.campaign IS NOT NULL \
     ON CONFLICT (account_id, campaign) DO UPDATE SET finish = excluded.finish";

/// Deletes campaigns that are not ahead of the virtual time: every campaign starts there.
pub(in crate::store) const FORGET_TURNS: &str = "DELETE FROM fair_shares WHERE account_id IN \
     (SELECT j.value ->> 3 FROM jsonb_each(?1) AS j WHERE j.value -> 9 ->> 'campaign' IS NOT NULL) \
     AND finish <= (SELECT a.virtual_time FROM accounts a WHERE a.id = fair_shares.account_id)";

pub(super) fn limits_json(limits: &IntentLimits) -> Value {
    json!({
        "kind": limits.kind.as_str(),
        "closes_at": limits.closes_at.map(time_text),
        "break_left": limits.break_left,
        "on_break": u8::from(limits.on_break),
        "warms_up_again": u8::from(limits.warms_up_again),
        "campaign": limits.turn.as_ref().map(|(campaign, _, _)| campaign),
        "virtual_time": limits.turn.as_ref().map(|(_, virtual_time, _)| virtual_time),
        "finish": limits.turn.as_ref().map(|(_, _, finish)| finish),
    })
}

pub(super) fn history_json(history: &History) -> Value {
    json!({
        "failures": history.failures,
        "throttles": history.throttles,
        "throttled_at": history.throttled_at.map(time_text),
        "half_caps_until": history.half_caps_until.map(time_text),
    })
}
