//! Why a request was refused.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::field_error;

/// One problem.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FieldError {
    /// Stable code, such as `missing_field`.
    pub code: String,
    /// The field, parameter or key with the problem; empty if it concerns the request as a whole.
    pub field: String,
    pub problem: String,
    pub fix: String,
}

/// A refusal.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// The first problem.
    pub error: FieldError,
    /// Every problem.
    #[serde(default)]
    #[schema(required)]
    pub errors: Vec<FieldError>,
    /// The message that has the `dedupe_key`, or the same text for the same person.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub existing_id: Option<String>,
}

impl From<&field_error::FieldError> for FieldError {
    fn from(error: &field_error::FieldError) -> Self {
        let field_error::FieldError { code, field, problem, fix } = error.clone();
        Self { code: code.as_str().to_owned(), field, problem, fix }
    }
}
