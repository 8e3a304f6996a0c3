//! What the limits of an account note with an intent and with its outcome, and how campaigns take turns on disk.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::account::History;
use crate::domain::caps::Kind;
use crate::domain::time_text;

/// What the limits of an account note with an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntentLimits {
    /// What it is, as the caps count it.
    pub kind: Kind,
    /// Sends until the next break.
    pub break_left: Option<u32>,
    /// Whether the pause is a break.
    pub on_break: bool,
    /// Whether the warm-up begins again with it.
    pub warms_up_again: bool,
    /// The campaign that takes its turn, the account's new virtual time, and how far the campaign is then.
    pub turn: Option<(String, u64, u64)>,
    /// When the account's hours end: a call that would begin then must not be made (P4).
    pub closes_at: Option<Timestamp>,
}

impl IntentLimits {
    /// Of an account that has neither breaks, nor a warm-up, nor hours.
    pub fn new(kind: Kind) -> Self {
        Self { kind, break_left: None, on_break: false, warms_up_again: false, turn: None, closes_at: None }
    }
}

/// How far the campaigns are whose turns these are.
pub(super) const BEGIN_TURN: &str = "INSERT INTO fair_shares (account_id, campaign, finish) \
     SELECT j.id, j.campaign, j.finish FROM (SELECT value ->> 3 AS id, value -> 9 ->> 'campaign' AS campaign, \
       value -> 9 ->> 'finish' AS finish FROM jsonb_each(?1)) AS j WHERE j.campaign IS NOT NULL \
     ON CONFLICT (account_id, campaign) DO UPDATE SET finish = excluded.finish";

/// Campaigns that are not ahead of the virtual time are where everybody begins.
pub(super) const FORGET_TURNS: &str = "DELETE FROM fair_shares WHERE account_id IN \
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
