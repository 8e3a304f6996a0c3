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

words! {
    /// Kinds of field errors, stable for programs that read them.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum FieldErrorCode {
        /// A required field is missing or empty.
        MissingField = "missing_field",
        /// The field does not exist.
        UnknownField = "unknown_field",
        /// An object has the same key twice.
        DuplicateField = "duplicate_field",
        /// The field has the wrong JSON or SQL type.
        WrongType = "wrong_type",
        /// The value is outside the allowed range or set.
        InvalidValue = "invalid_value",
        /// Two fields exclude each other.
        Contradiction = "contradiction",
        /// The value is longer or larger than the configured limit.
        TooLong = "too_long",
        /// The input is not JSON, or not the JSON document that the endpoint accepts.
        MalformedJson = "malformed_json",
        /// The configuration does not name the account, and `accounts.known_only` is on.
        UnknownAccount = "unknown_account",
        /// The `dedupe_key` belongs to a message with different content.
        DedupeConflict = "dedupe_conflict",
        /// The same text was queued for the same person before.
        RepeatedText = "repeated_text",
        /// The person or chat is on the suppression list.
        Suppressed = "suppressed",
        /// The step before it in its campaign is missing, has ended, or is on another account.
        OutOfStep = "out_of_step",
        /// The message or account does not exist.
        NotFound = "not_found",
        /// The state of the message or account does not allow the action.
        WrongState = "wrong_state",
        /// The queue could not accept the input at the moment.
        Unavailable = "unavailable",
        /// A valid row of an atomic batch that failed because of another row.
        BatchRefused = "batch_refused",
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
