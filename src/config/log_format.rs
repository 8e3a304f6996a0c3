//! `[log]`: level and format of the log.

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Filter for `tracing_subscriber::EnvFilter`, such as `info,outboxd::engine=debug`.
    pub level: String,
    /// Format and destination.
    pub format: LogFormat,
}

/// Format and destination of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, journald under systemd, JSON otherwise.
    Auto,
    /// Short lines on standard error.
    Human,
    /// One JSON object per line on standard error.
    Json,
    /// Structured fields in the system's journal.
    Journald,
}

impl LogFormat {
    /// All formats.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Human, Self::Json, Self::Journald];

    /// Returns the word in the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Human => "human",
            Self::Json => "json",
            Self::Journald => "journald",
        }
    }
}
