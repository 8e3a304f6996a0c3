//! How a command ends: the exit codes, and the one type for everything that can go wrong.
//!
//! Scripts use the code, people the text. Both are defined only here: every command returns an [`Exit`] or a
//! [`Failure`], and `main` reports the failure once. Each line on standard error begins with `error: ` and ends with
//! what to do. `--help` documents the codes ([`Exit::HELP`]); the meaning of a code never changes.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use crate::config::ConfigError;

/// The result of a command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Exit {
    /// The command succeeded.
    Done,
    /// An unexpected failure.
    Unexpected,
    /// The command line or the configuration is wrong.
    Usage,
    /// No daemon answers on the socket.
    NotRunning,
    /// The daemon refused the request: bad input, the wrong state, a conflict.
    Refused,
    /// There is no such message, account, campaign or person.
    NotFound,
    /// The audit found a broken promise.
    Broken,
    /// The daemon runs, but cannot accept messages.
    CannotTakeIn,
    /// The daemon runs, but can send nothing.
    CannotSend,
    /// A check of `doctor` failed.
    Unwell,
    /// `app` chose the exit code.
    Other(ExitCode),
}

impl Exit {
    /// The codes, as `--help` shows them.
    pub(super) const HELP: &str = "\
Exit codes:
  0  done
  1  failed unexpectedly
  2  the command line or the configuration is wrong
  3  the daemon is not running
  4  refused: bad input, the wrong state, a conflict
  5  no such message, account, campaign or person
  6  the audit found a broken promise
  7  status: the daemon cannot take in messages
  8  status: the daemon can send nothing now
  9  doctor: a check failed";

    /// Returns the exit code of the process.
    pub fn into_code(self) -> ExitCode {
        match self {
            Self::Done => ExitCode::SUCCESS,
            Self::Unexpected => ExitCode::from(1),
            Self::Usage => ExitCode::from(2),
            Self::NotRunning => ExitCode::from(3),
            Self::Refused => ExitCode::from(4),
            Self::NotFound => ExitCode::from(5),
            Self::Broken => ExitCode::from(6),
            Self::CannotTakeIn => ExitCode::from(7),
            Self::CannotSend => ExitCode::from(8),
            Self::Unwell => ExitCode::from(9),
            Self::Other(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.into_code()
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct Failure(Kind);

#[derive(Debug)]
enum Kind {
    /// Standard output was closed, as by `| head`; not an error.
    ReaderGone,
    Config(ConfigError, Option<&'static str>),
    Told(Exit, Vec<String>),
    Unexpected(anyhow::Error),
}

impl Failure {
    /// Returns an unexpected failure; its chain is shown.
    pub fn unexpected(error: anyhow::Error) -> Self {
        match error.downcast::<ConfigError>() {
            Ok(error) => Self(Kind::Config(error, None)),
            Err(error) => Self(Kind::Unexpected(error)),
        }
    }

    /// Returns a usage error that clap cannot detect.
    pub(super) fn usage(line: impl Into<String>) -> Self {
        Self::told(Exit::Usage, line)
    }

    /// Returns a configuration error, with an optional hint about what else to do.
    pub(super) fn config(error: ConfigError, hint: Option<&'static str>) -> Self {
        Self(Kind::Config(error, hint))
    }

    /// Returns an expected failure with one line for a person.
    pub(super) fn told(exit: Exit, line: impl Into<String>) -> Self {
        Self(Kind::Told(exit, vec![line.into()]))
    }

    /// Returns whether the daemon knows no such message, account or campaign.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self.0, Kind::Told(Exit::NotFound, _))
    }

    /// Returns an expected failure with a line for each problem.
    pub(super) fn lines(exit: Exit, lines: Vec<String>) -> Self {
        Self(Kind::Told(exit, lines))
    }

    /// Prefixes each line with its subject.
    pub(super) fn about(self, what: &str) -> Self {
        match self.0 {
            Kind::Told(exit, lines) => {
                Self(Kind::Told(exit, lines.iter().map(|line| format!("{what}: {line}")).collect()))
            }
            other => Self(other),
        }
    }

    /// Adds a line about what the failure means for the whole command.
    pub(super) fn and(self, line: String) -> Self {
        match self.0 {
            Kind::Told(exit, mut lines) => {
                lines.push(line);
                Self(Kind::Told(exit, lines))
            }
            Kind::Unexpected(error) => Self(Kind::Unexpected(error.context(line))),
            other => Self(other),
        }
    }

    /// Returns the result for a closed standard output.
    pub(super) fn reader_gone() -> Self {
        Self(Kind::ReaderGone)
    }

    /// Returns the exit code of this failure.
    pub fn exit(&self) -> Exit {
        match &self.0 {
            Kind::ReaderGone => Exit::Done,
            Kind::Config(..) => Exit::Usage,
            Kind::Told(exit, _) => *exit,
            Kind::Unexpected(_) => Exit::Unexpected,
        }
    }

    /// Writes the failure to standard error. A write error is ignored.
    pub fn report(&self) {
        std::io::stderr().lock().write_all(self.to_string().as_bytes()).ok();
    }
}

impl fmt::Display for Failure {
    /// Writes complete lines, each with `error: `.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::ReaderGone => Ok(()),
            Kind::Config(error, hint) => {
                error.problems.iter().try_for_each(|problem| writeln!(f, "error: {problem}"))?;
                hint.map_or(Ok(()), |hint| writeln!(f, "{hint}"))
            }
            Kind::Told(_, lines) => lines.iter().try_for_each(|line| writeln!(f, "error: {line}")),
            Kind::Unexpected(error) => writeln!(f, "error: {error:#}"),
        }
    }
}
