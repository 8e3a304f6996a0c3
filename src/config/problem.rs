//! What is wrong with the configuration: each problem with its key, where it was set, and what to do (P7).
//!
//! Loading collects all problems, so that an operator repairs a file in one go. A problem never quotes the API key,
//! nor a line of the file that might hold it.

use std::fmt;

/// Why the configuration was refused: one problem or more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// All that was found, in the order in which it was looked at; never empty.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    /// What was found when a value of `key` was used; `message` says it all.
    pub fn at(key: &str, message: &str) -> Self {
        let message = format!("{key}: {message}");
        Self { problems: vec![Problem::new(key, "", &message, "", message.clone())] }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `policy.default.gap`; empty when it is about a whole file or an unknown variable.
    pub key: String,
    /// The file or the environment variable that set it; empty when nothing did.
    pub place: String,
    /// What is wrong with it, as a clause.
    pub what: String,
    /// The way out; empty when the clause says it.
    pub fix: String,
    /// The whole sentence for a person: what is wrong, where, and the way out.
    pub message: String,
}

impl Problem {
    fn new(key: &str, place: &str, what: &str, fix: &str, message: String) -> Self {
        let [key, place, what, fix] = [key, place, what, fix].map(str::to_owned);
        Self { key, place, what, fix, message }
    }

    /// A value of `key` that cannot be used.
    pub(super) fn value(key: &str, place: &str, what: &str, fix: &str) -> Self {
        let message = match place {
            "" => format!("{key}: {what}; {fix}"),
            _ => format!("{key} in {place}: {what}; {fix}"),
        };
        Self::new(key, place, what, fix, message)
    }

    /// A key that does not exist, with the way out.
    pub(super) fn unknown_key(key: &str, place: &str, fix: &str) -> Self {
        let message = format!("unknown key `{key}` in {place}; {fix}");
        Self::new(key, place, "is not a known key", fix, message)
    }

    /// An environment variable that is ours by its prefix and sets no key.
    pub(super) fn unknown_variable(variable: &str, fix: &str) -> Self {
        let message = format!("unknown environment variable {variable}; {fix}");
        Self::new("", variable, "is not known", fix, message)
    }

    /// A file that cannot be read as a whole.
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
