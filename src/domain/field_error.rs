//! Why something was refused at a door: which field, what is wrong with it, what to do instead (P7).
//!
//! Every door shows the same three parts; nothing is refused with less.

use std::fmt;

/// One thing that is wrong with what a producer or an operator handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Stable code for programs, such as `missing_field`.
    pub code: FieldErrorCode,
    /// The field, parameter or key it is about; empty when it is about the whole.
    pub field: String,
    /// What is wrong, as a clause: "holds 9,120 characters, 8,000 are allowed".
    pub problem: String,
    /// The way out, as an imperative clause: "split the text".
    pub fix: String,
}

impl FieldError {
    /// Names the field, the problem and the way out.
    pub fn new(
        code: FieldErrorCode,
        field: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { code, field: field.into(), problem: problem.into(), fix: fix.into() }
    }

    /// A field that is not known, with the nearest one that is.
    pub fn unknown_field<'a>(field: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let fix = match nearest(field, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("use one of: {}", known.join(", ")),
        };
        Self::new(FieldErrorCode::UnknownField, field, "is not a known field", fix)
    }
}

/// The known name that `word` most likely meant, if one is close enough to be worth asking.
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

/// The kinds of refusals, stable for programs that read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorCode {
    /// Something required is absent or empty.
    MissingField,
    /// A field nobody knows.
    UnknownField,
    /// A key that an object has twice.
    DuplicateField,
    /// A field of the wrong JSON or SQL type.
    WrongType,
    /// A value outside what is allowed.
    InvalidValue,
    /// Two fields that exclude each other.
    Contradiction,
    /// Longer or larger than the configured limit.
    TooLong,
    /// Not JSON, or not the JSON document that the door takes.
    MalformedJson,
    /// The account is not named in the configuration and `accounts.known_only` is on.
    UnknownAccount,
    /// The `dedupe_key` belongs to a message with another content.
    DedupeConflict,
    /// The same text was queued for the same person before.
    RepeatedText,
    /// The message or account does not exist.
    NotFound,
    /// The state does not allow it.
    WrongState,
    /// The queue could not take it just now.
    Unavailable,
    /// A good row of an atomic batch that another row made fail.
    BatchRefused,
}

impl FieldErrorCode {
    /// The code as JSON and the command line show it.
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
