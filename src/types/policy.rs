//! The rules of an account: what is left of its caps, and the rules that were changed at run time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Time;
use super::account::Cap;

/// What is left of the caps of an account.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Budget {
    pub account_id: String,
    pub now: Time,
    /// The account's zone.
    pub zone: String,
    pub caps: Vec<Cap>,
    pub hours: Hours,
    /// Null without a warm-up, and after it.
    pub warm_up: Option<WarmUp>,
}

/// How the caps of an account grow from day to day.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WarmUp {
    /// The number of today, from 1.
    pub day: usize,
    /// The percentage of the caps on the first, second, … day.
    pub percent: Vec<u32>,
}

/// The hours in which an account sends.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Hours {
    pub open: bool,
    /// When they end; null while closed, or if they never do.
    pub until: Option<Time>,
    /// When they begin; null while open, or if they never do.
    pub opens_at: Option<Time>,
}

/// The rules that were changed for an account while a daemon ran.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountPolicy {
    pub account_id: String,
    /// Values by their keys below `policy.default`.
    pub policy: BTreeMap<String, Value>,
}

/// New values by their keys, such as `{"gap.min": "30s"}`; null reverts a change.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PolicyChange(pub BTreeMap<String, Value>);
