//! Why input was refused: which field, what is wrong with it, and how to fix it (P7).
//!
//! HTTP, SQL and the command line all show these three parts; no input is refused with less.

use std::fmt;

/// One problem with the input of a producer or an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Stable code for programs, such as `missing_field`.
    pub code: FieldErrorCode,
    /// The field, parameter or key with the problem; empty if it concerns the input as a whole.
    pub field: String,
    /// The problem, as a clause: "holds 9,120 characters, 8,000 are allowed".
    pub problem: String,
    /// How to fix it, as an imperative clause: "split the text".
    pub fix: String,
}

impl FieldError {
    /// Returns an error that names the field, the problem and the fix.
    pub fn new(
        code: FieldErrorCode,
        field: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { code, field: field.into(), problem: problem.into(), fix: fix.into() }
    }

    /// Returns an error for an unknown field; suggests the nearest known one.
    pub fn unknown_field<'a>(field: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let fix = match nearest(field, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of: {}", known.join(", ")),
        };
        Self::new(FieldErrorCode::UnknownField, field, "is not a known field", fix)
    }
}

/// Returns the known name nearest to `word`, if one is close enough to suggest.
pub fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = word.to_lowercase();
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len().min(word.len()) / 3)
        .min()
        .map(|(_, name)| name)
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{}; {}", self.problem, self.fix)
        } else {
            write!(f, "`{}` {}; {}", self.field, self.problem, self.fix)
        }
    }
}

/// Kinds of field errors, stable for programs that read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorCode {
    /// A required field is missing or empty.
    MissingField,
    /// The field does not exist.
    UnknownField,
    /// An object has the same key twice.
    DuplicateField,
    /// The field has the wrong JSON or SQL type.
    WrongType,
    /// The value is outside the allowed range or set.
    InvalidValue,
    /// Two fields exclude each other.
    Contradiction,
    /// The value is longer or larger than the configured limit.
    TooLong,
    /// The input is not JSON, or not the JSON document that the endpoint accepts.
    MalformedJson,
    /// The configuration does not name the account, and `accounts.known_only` is on.
    UnknownAccount,
    /// The `dedupe_key` belongs to a message with different content.
    DedupeConflict,
    /// The same text was queued for the same person before.
    RepeatedText,
    /// The person or chat is on the suppression list.
    Suppressed,
    /// The step before it in its campaign is missing, has ended, or is on another account.
    OutOfStep,
    /// The message or account does not exist.
    NotFound,
    /// The state of the message or account does not allow the action.
    WrongState,
    /// The queue could not accept the input at the moment.
    Unavailable,
    /// A valid row of an atomic batch that failed because of another row.
    BatchRefused,
}

impl FieldErrorCode {
    /// Returns the code as JSON and the command line show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MissingField => "missing_field",
            Self::UnknownField => "unknown_field",
            Self::DuplicateField => "duplicate_field",
            Self::WrongType => "wrong_type",
            Self::InvalidValue => "invalid_value",
            Self::Contradiction => "contradiction",
            Self::TooLong => "too_long",
            Self::MalformedJson => "malformed_json",
            Self::UnknownAccount => "unknown_account",
            Self::DedupeConflict => "dedupe_conflict",
            Self::RepeatedText => "repeated_text",
            Self::Suppressed => "suppressed",
            Self::OutOfStep => "out_of_step",
            Self::NotFound => "not_found",
            Self::WrongState => "wrong_state",
            Self::Unavailable => "unavailable",
            Self::BatchRefused => "batch_refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_field_names_the_nearest_known_one() {
        let known = ["account_id", "chat_id", "users_ids", "text"];
        for (given, near) in
            [("user_ids", "users_ids"), ("chatId", "chat_id"), ("txt", "text"), ("TEXT", "text")]
        {
            let refusal = FieldError::unknown_field(given, known);
            assert_eq!(refusal.fix, format!("did you mean `{near}`?"), "{given}");
        }
        assert!(FieldError::unknown_field("banana", known).fix.starts_with("use one of: account_id"));
    }
}
