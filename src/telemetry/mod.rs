//! Logs: short lines for a person at a terminal, fields for the journal, JSON lines for everything else.
//!
//! [`init`] is called once, after the configuration is loaded; [`set_level`] changes the level of a running daemon.
//! Libraries are held at `warn`, unless the level names them. Nothing that reads the log can hold the daemon up: lines go
//! through a bounded buffer to a thread of their own (`sink.rs`), and those that find no room are dropped and counted
//! ([`dropped_lines`]). Message bodies and keys are never logged; whoever logs keeps to it (P8).

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

/// At the end, lines that are still in the buffer get this long to be written.
const FLUSH: Duration = Duration::from_secs(1);

/// What a running log can be asked.
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
        /// The level as it was configured.
        level: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The journal was asked for by name and cannot be reached.
    #[error("log.format is \"journald\", but the journal cannot be reached; set it to \"auto\" or \"json\"")]
    Journal(#[source] io::Error),
    /// Logging was set up before.
    #[error("logging has been set up already")]
    Twice(#[source] TryInitError),
}

/// Starts logging as `log` says.
///
/// # Errors
/// A bad level, a journal that was asked for by name and cannot be reached, or a second call.
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

/// Logs from now on at `level`.
///
/// # Errors
/// A bad level; then nothing changes.
pub fn set_level(level: &str) -> Result<(), TelemetryError> {
    let filter = filter(level)?;
    if let Some(running) = RUNNING.get() {
        // The subscriber lives as long as the process.
        running.level.reload(filter).ok();
    }
    Ok(())
}

/// Lines that were dropped since the start, because what reads the log was too slow or could not be written.
pub fn dropped_lines() -> u64 {
    RUNNING.get().map_or(0, |running| running.buffered.dropped())
}

/// Waits until the lines that were logged are written, for at most a second.
pub fn flush() {
    if let Some(running) = RUNNING.get() {
        running.buffered.flush(FLUSH);
    }
}

/// A panic is logged as everything else is: writing it to standard error could block.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let what = panic.payload_as_str().unwrap_or("a panic without a message");
        tracing::error!(place, what, "a part of the daemon panicked; this is a bug, please report it");
    }));
}

/// The filter of `level`, with the libraries held back where the level would let them through.
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

/// What `auto` stands for here; anything else stands for itself.
fn chosen(format: LogFormat, terminal: bool, journal: bool) -> LogFormat {
    match format {
        LogFormat::Auto if terminal => LogFormat::Human,
        LogFormat::Auto if journal => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Json,
        LogFormat::Human | LogFormat::Json | LogFormat::Journald => format,
    }
}

/// Whether standard error goes to the journal. systemd names the stream by device and inode, and the variable is
/// inherited by children whose standard error goes elsewhere, so the two are compared.
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
