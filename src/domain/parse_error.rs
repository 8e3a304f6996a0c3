//! Why a value of the configuration or of a policy cannot be parsed (P7).
//!
//! The caller knows the field and turns this into a full error with its name.

/// Why a value cannot be parsed; the caller adds the name of the field (P7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The problem, as a clause.
    pub what: String,
    /// How to fix it, as an imperative clause.
    pub fix: &'static str,
}

impl ParseError {
    /// Returns an error with this problem and this fix.
    pub fn new(what: impl Into<String>, fix: &'static str) -> Self {
        Self { what: what.into(), fix }
    }
}
