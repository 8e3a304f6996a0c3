//! Configuration problems: each with its key, the place that set it, and what to do (P7).
//!
//! Loading collects all problems, so that an operator can fix a file in one pass. A problem never quotes the API key,
//! nor a line of the file that might contain it.

use std::fmt;

/// Why the configuration was refused: one or more problems.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// All problems, in the order of the checks; never empty.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// Returns an error found when a value of `key` was used; `message` is complete.
    pub fn at(key: &str, message: &str) -> Self {
        let message = format!("{key}: {message}");
        Self { problems: vec![Problem::new(key, "", &message, "", message.clone())] }
    }
}

/// One problem in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `policy.default.gap`; empty if it concerns a whole file or an unknown variable.
    pub key: String,
    /// The file or the environment variable that set it; empty if it was not set.
    pub place: String,
    /// The problem, as a clause.
    pub what: String,
    /// How to fix it; empty if the problem says so.
    pub fix: String,
    /// The complete sentence for a person: problem, place and fix.
    pub message: String,
}

impl Problem {
    fn new(key: &str, place: &str, what: &str, fix: &str, message: String) -> Self {
        let [key, place, what, fix] = [key, place, what, fix].map(str::to_owned);
        Self { key, place, what, fix, message }
    }

    /// Returns a problem with a value of `key`.
    pub(super) fn value(key: &str, place: &str, what: &str, fix: &str) -> Self {
        let message = match place {
            "" => format!("{key}: {what}; {fix}"),
            _ => format!("{key} in {place}: {what}; {fix}"),
        };
        Self::new(key, place, what, fix, message)
    }

    /// Returns a problem for an unknown key, with a suggestion.
    pub(super) fn unknown_key(key: &str, place: &str, fix: &str) -> Self {
        let message = format!("unknown key `{key}` in {place}; {fix}");
        Self::new(key, place, "is not a known key", fix, message)
    }

    /// Returns a problem for an environment variable that has our prefix and sets no key.
    pub(super) fn unknown_variable(variable: &str, fix: &str) -> Self {
        let message = format!("unknown environment variable {variable}; {fix}");
        Self::new("", variable, "is not known", fix, message)
    }

    /// Returns a problem with a file as a whole.
    pub(super) fn file(place: &str, what: &str) -> Self {
        Self::new("", place, what.trim_start(), "", format!("{place}{what}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (row, problem) in self.problems.iter().enumerate() {
            if row > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}
