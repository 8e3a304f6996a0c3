//! How a command ends: the exit codes, and the one type of everything that can go wrong.
//!
//! A script decides by the code, a person by the text. Both stand here and nowhere else: every verb returns an [`Exit`]
//! or a [`Failure`], and `main` reports the failure once. Each line on standard error begins with `error: ` and ends
//! with what to do. The codes are documented in `--help` ([`Exit::HELP`]); a code is never given another meaning.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use crate::config::ConfigError;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Exit {
    /// What was asked is done.
    Done,
    /// Something went wrong that should not.
    Unexpected,
    /// The command line or the configuration is wrong.
    Usage,
    /// No daemon answers on the socket.
    NotRunning,
    /// The daemon refused it: bad input, the wrong state, a conflict.
    Refused,
    /// There is no such message or account.
    NotFound,
    /// The audit found that a promise was broken.
    Broken,
    /// The daemon runs and cannot take in messages.
    CannotTakeIn,
    /// The daemon runs and can send nothing.
    CannotSend,
    /// Somebody else ended it with a code of its own.
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
  5  no such message or account
  6  the audit found a broken promise
  7  status: the daemon cannot take in messages
  8  status: the daemon can send nothing now";

    /// The code that the process ends with.
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
            Self::Other(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.into_code()
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub struct Failure(Kind);

#[derive(Debug)]
enum Kind {
    /// Nobody reads standard output any more, as in `| head`: nothing is wrong.
    ReaderGone,
    Config(ConfigError, Option<&'static str>),
    Told(Exit, Vec<String>),
    Unexpected(anyhow::Error),
}

impl Failure {
    /// Something that should not happen; its chain is shown.
    pub fn unexpected(error: anyhow::Error) -> Self {
        match error.downcast::<ConfigError>() {
            Ok(error) => Self(Kind::Config(error, None)),
            Err(error) => Self(Kind::Unexpected(error)),
        }
    }

    /// A wrong command line that clap could not see.
    pub(super) fn usage(line: impl Into<String>) -> Self {
        Self::told(Exit::Usage, line)
    }

    /// A configuration that cannot be used, and what else the person may do.
    pub(super) fn config(error: ConfigError, hint: Option<&'static str>) -> Self {
        Self(Kind::Config(error, hint))
    }

    /// An expected ending with one line for a person.
    pub(super) fn told(exit: Exit, line: impl Into<String>) -> Self {
        Self(Kind::Told(exit, vec![line.into()]))
    }

    /// An expected ending with a line for each thing that is wrong.
    pub(super) fn lines(exit: Exit, lines: Vec<String>) -> Self {
        Self(Kind::Told(exit, lines))
    }

    /// The same, each line beginning with what it is about.
    pub(super) fn about(self, what: &str) -> Self {
        match self.0 {
            Kind::Told(exit, lines) => {
                Self(Kind::Told(exit, lines.iter().map(|line| format!("{what}: {line}")).collect()))
            }
            other => Self(other),
        }
    }

    /// Standard output was closed.
    pub(super) fn reader_gone() -> Self {
        Self(Kind::ReaderGone)
    }

    /// What the process ends with.
    pub fn exit(&self) -> Exit {
        match &self.0 {
            Kind::ReaderGone => Exit::Done,
            Kind::Config(..) => Exit::Usage,
            Kind::Told(exit, _) => *exit,
            Kind::Unexpected(_) => Exit::Unexpected,
        }
    }

    /// Writes it to standard error. That nobody reads it is no reason to panic.
    pub fn report(&self) {
        std::io::stderr().lock().write_all(self.to_string().as_bytes()).ok();
    }
}

impl fmt::Display for Failure {
    /// Whole lines, each with its `error: `.
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
