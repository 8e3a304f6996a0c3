//! Logs: short lines on a terminal, structured fields for the journal, JSON lines otherwise.
//!
//! [`init`] is called once, after the configuration is loaded; [`set_level`] changes the level at run time. Libraries
//! log at `warn`, unless the level names them. A slow reader of the log cannot block the daemon: lines go through a
//! bounded buffer to a separate thread (`sink.rs`), and lines that do not fit are dropped and counted
//! ([`dropped_lines`]). Message bodies and keys are never logged; every caller must observe this (P8).

mod sink;

use std::io::{self, IsTerminal};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogFormat, LogSettings};
use sink::{Buffered, Journal, Target};

/// Libraries that log too much at `info` and below.
const QUIET: &str = "sqlx=warn,hyper=warn,hyper_util=warn,h2=warn,reqwest=warn,rustls=warn";

/// How long buffered lines may take to be written at the end.
const FLUSH: Duration = Duration::from_secs(1);

/// Handles to the running log.
struct Running {
    buffered: Buffered,
    level: reload::Handle<EnvFilter, Registry>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The level cannot be parsed.
    #[error("log.level {level:?} is not a log filter; write it as in \"info,outboxd::engine=debug\"")]
    Level {
        /// The configured level.
        level: String,
        /// The parser's error.
        source: ParseError,
    },
    /// The configuration requires the journal, and it cannot be reached.
    #[error("log.format is \"journald\", but the journal cannot be reached; set it to \"auto\" or \"json\"")]
    Journal(#[source] io::Error),
    /// Logging has already been set up.
    #[error("logging has been set up already")]
    Twice(#[source] TryInitError),
}

/// Starts logging with the settings in `log`.
///
/// # Errors
/// Returns an error for an invalid level, a required journal that cannot be reached, or a second call.
pub fn init(log: &LogSettings) -> Result<(), TelemetryError> {
    let filter = filter(&log.level)?;
    let format = chosen(log.format, io::stderr().is_terminal(), stderr_is_journal());
    let (target, format) = match format {
        LogFormat::Journald => match Journal::connect() {
            Ok(journal) => (Target::Journal(journal), format),
            Err(error) if log.format == LogFormat::Journald => return Err(TelemetryError::Journal(error)),
            Err(_) => (Target::Stderr, LogFormat::Json),
        },
        LogFormat::Human | LogFormat::Json | LogFormat::Auto => (Target::Stderr, format),
    };
    let buffered = Buffered::start(target);
    let layer = match format {
        LogFormat::Human => human(buffered.clone()),
        LogFormat::Json | LogFormat::Journald | LogFormat::Auto => json(buffered.clone()),
    };
    let (filter, level) = reload::Layer::new(filter);
    let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter));
    subscriber.try_init().map_err(TelemetryError::Twice)?;
    RUNNING.get_or_init(|| Running { buffered, level });
    log_panics();
    Ok(())
}

/// Changes the level of the running log.
///
/// # Errors
/// Returns an error for an invalid level, and changes nothing.
pub fn set_level(level: &str) -> Result<(), TelemetryError> {
    let filter = filter(level)?;
    if let Some(running) = RUNNING.get() {
        // The subscriber lives as long as the process, so this does not fail.
        running.level.reload(filter).ok();
    }
    Ok(())
}

/// Returns the number of lines dropped since the start, because the log's reader was too slow or a write failed.
pub fn dropped_lines() -> u64 {
    RUNNING.get().map_or(0, |running| running.buffered.dropped())
}

/// Waits until buffered lines are written, for at most a second.
pub fn flush() {
    if let Some(running) = RUNNING.get() {
        running.buffered.flush(FLUSH);
    }
}

/// Logs panics like everything else: writing them to standard error could block.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str().unwrap_or("a panic without a message");
        tracing::error!(place, what, "a part of the daemon panicked; this is a bug, please report it");
    }));
}

/// Returns the filter for `level`; limits libraries to `warn` unless the level is stricter or names them.
fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let parse = |directives: &str| {
        let parsed = EnvFilter::builder().parse(directives);
        parsed.map_err(|source| TelemetryError::Level { level: level.to_owned(), source })
    };
    let given = parse(level)?;
    match given.max_level_hint() {
        Some(LevelFilter::OFF | LevelFilter::ERROR) => Ok(given),
        _ => parse(&format!("{QUIET},{level}")),
    }
}

/// Resolves `auto`; returns other formats unchanged.
fn chosen(format: LogFormat, terminal: bool, journal: bool) -> LogFormat {
    match format {
        LogFormat::Auto if terminal => LogFormat::Human,
        LogFormat::Auto if journal => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Json,
        LogFormat::Human | LogFormat::Json | LogFormat::Journald => format,
    }
}

/// Returns whether standard error goes to the journal. systemd identifies the stream by device and inode. Children
/// inherit the variable even if their standard error goes elsewhere, so the two are compared.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let stderr = std::fs::metadata("/proc/self/fd/2");
    stderr.is_ok_and(|stderr| stream == format!("{}:{}", stderr.dev(), stderr.ino()))
}

fn human(buffered: Buffered) -> Box<dyn Layer<Registry> + Send + Sync> {
    let colour =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    fmt::layer().compact().with_ansi(colour).with_writer(buffered).boxed()
}

fn json(buffered: Buffered) -> Box<dyn Layer<Registry> + Send + Sync> {
    fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(buffered).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_for_whoever_reads() {
        let auto = |terminal, journal| chosen(LogFormat::Auto, terminal, journal);
        assert_eq!(auto(true, false), LogFormat::Human);
        assert_eq!(auto(true, true), LogFormat::Human);
        assert_eq!(auto(false, true), LogFormat::Journald);
        assert_eq!(auto(false, false), LogFormat::Json);
        assert_eq!(chosen(LogFormat::Json, true, true), LogFormat::Json);
    }

    #[test]
    fn libraries_are_quiet_unless_the_level_names_them() {
        let written = |level: &str| filter(level).unwrap().to_string();
        assert!(written("debug").contains("sqlx=warn") && written("debug").contains("debug"));
        assert!(written("info,sqlx=trace").contains("sqlx=trace"));
        assert!(!written("info,sqlx=trace").contains("sqlx=warn"));
        assert!(!written("error").contains("warn"), "a library is never louder than the level");
    }

    #[test]
    fn a_bad_level_is_an_error_that_names_the_key() {
        let error = filter("outboxd=loud").unwrap_err();
        assert!(error.to_string().starts_with("log.level \"outboxd=loud\""), "{error}");
    }
}
