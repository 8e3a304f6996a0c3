//! `[log]`: level and format of the log.

use crate::domain::words;

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Filter for `tracing_subscriber::EnvFilter`, such as `info,outboxd::engine=debug`.
    pub level: String,
    /// Format and destination.
    pub format: LogFormat,
}

words! {
    /// Format and destination of the log.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum LogFormat {
        /// Human on a terminal, journald under systemd, JSON otherwise.
        Auto = "auto",
        /// Short lines on standard error.
        Human = "human",
        /// One JSON object per line on standard error.
        Json = "json",
        /// Structured fields in the system's journal.
        Journald = "journald",
    }
}
