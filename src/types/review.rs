//! A person's decision about messages in review.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// A possible decision and what it does.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    pub decision: String,
    pub will: String,
}

#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// `sent` (it arrived), `resend` or `drop`.
    #[schema(required, schema_with = decisions)]
    pub decision: Option<String>,
    #[schema(max_length = 500)]
    pub note: Option<String>,
    /// Only say what the decision would do.
    pub dry_run: Option<bool>,
}

fn decisions() -> Schema {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["sent", "resend", "drop"])).into()
}

/// A decision about every message that is in review for one reason.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionForAllRequest {
    /// `sent` (they arrived), `resend` or `drop`.
    #[schema(required, schema_with = decisions)]
    pub decision: Option<String>,
    #[schema(required, nullable = false)]
    pub reason: Option<String>,
    /// Only messages of this account.
    pub account_id: Option<String>,
    /// Only messages with this label.
    pub campaign: Option<String>,
    #[schema(max_length = 500)]
    pub note: Option<String>,
    /// Only say what the decision would do.
    pub dry_run: Option<bool>,
}

/// The answer to a decision.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Decided {
    /// Absent for all of a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub id: Option<String>,
    pub decision: String,
    /// Its state now; absent for all of a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub state: Option<String>,
    /// How many messages were decided about; absent for one message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub messages: Option<u64>,
    pub dry_run: bool,
    /// What the decision does, or would do.
    pub will: String,
}
