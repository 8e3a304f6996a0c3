//! The command line: what may be typed, and which file does it.
//!
//! `main` calls [`parse`] and [`run`]. A verb that runs something (`serve`, `demo`, `sandbox`) calls `app`; every other
//! verb asks the running daemon over its socket, so that the database has one owner. The text that a person sees in
//! `--help` is the documentation of the verbs: it stands on the types below. Beside `app`, this module names only
//! `config`, `telemetry` and `clock`; what the API answers is read into types of its own, so that a newer daemon may
//! say more than this command line knows.

mod account_snapshot;
mod act;
mod audit;
mod backup;
mod cap;
mod check;
mod client;
mod daemon;
mod enqueue;
mod exit;
mod explain;
mod files;
mod forecast;
mod limits;
mod overview;
mod read;
mod render;
mod review;
mod status;
mod times;
mod top;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Loaded, Settings};
use client::Client;
pub use exit::{Exit, Failure};

/// Queues messages and sends them through the Unipile API v2: one at a time, at a human pace, never twice.
#[derive(Debug, Parser)]
#[command(name = "outboxd", version, after_help = Exit::HELP)]
#[command(max_term_width = 100, propagate_version = false, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// The heading of what every verb understands, so that it stands last in each help.
const EVERYWHERE: &str = "Where the daemon is";

/// What every verb understands.
#[derive(Debug, Args)]
struct Globals {
    /// The configuration; default: ./outboxd.toml, else /etc/outboxd/outboxd.toml, else the built-in one
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    #[arg(env = "OUTBOXD_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// The daemon's socket; default: `api.socket` of the configuration
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "PATH")]
    #[arg(env = "OUTBOXD_SOCKET", hide_env_values = true)]
    socket: Option<PathBuf>,
}

/// The verbs, in the order in which a person meets them.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon: take messages in and send them
    Serve,
    /// Watch the whole thing work against the sandbox; needs no key and keeps nothing
    Demo(daemon::Demo),
    /// Stand in for Unipile, to test against
    Sandbox(daemon::Sandbox),
    /// Check the configuration and show what is in force, and why
    Check(Json),
    /// Put one message, or a file of them, into the queue
    Enqueue(Box<enqueue::Enqueue>),
    /// List messages, the newest first
    List(read::List),
    /// Show one message with its text and every attempt
    Show(read::One),
    /// Say why a message waits or stopped, and until when
    Explain(read::One),
    /// Say when the queue goes out, and what binds each day
    Forecast(forecast::Forecast),
    /// Show what the caps of an account leave
    Budget(limits::Budget),
    /// Show or change the rules of an account while the daemon runs
    Policy(limits::Policy),
    /// Withdraw messages that are not sent yet
    Cancel(act::Cancel),
    /// Decide about messages that may or may not have been sent
    Review(review::Review),
    /// Stop sending, for one account or for all; what is queued stays
    Pause(act::Pause),
    /// Go on sending
    Resume(act::Resume),
    /// Look whether the promises were kept, from the queue alone
    Audit(audit::Audit),
    /// Write a consistent copy of the queue, while the daemon goes on
    Backup(backup::Backup),
    /// Say how it goes, account by account, and what to do next
    Status(status::Status),
    /// Watch the accounts: what each sends, waits for, and has left of its day
    Top(top::Top),
}

/// For programs.
#[derive(Debug, Clone, Copy, Args)]
struct Json {
    /// Print JSON, exactly as the daemon answers it (indented only on a terminal)
    #[arg(long)]
    json: bool,
}

/// Reads the command line. What is an error or a request for help has been shown already.
///
/// # Errors
/// How to end, if there is nothing to run.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    Cli::try_parse_from(arguments).map_err(|shown| {
        shown.print().ok();
        if shown.use_stderr() { Exit::Usage } else { Exit::Done }
    })
}

/// Does what was asked.
///
/// # Errors
/// Whatever kept it from being done, ready to be reported.
pub async fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { globals, verb } = cli;
    match verb {
        Verb::Serve => Box::pin(daemon::serve(globals.load()?, globals.socket)).await,
        Verb::Demo(demo) => Box::pin(daemon::demo(demo)).await,
        Verb::Sandbox(sandbox) => Box::pin(daemon::sandbox(sandbox)).await,
        Verb::Check(json) => check::check(&globals.load()?, json.json),
        Verb::Enqueue(enqueue) => enqueue::enqueue(&globals.client()?, *enqueue).await,
        Verb::List(list) => read::list(&globals.client()?, list).await,
        Verb::Show(one) => read::show(&globals.client()?, one).await,
        Verb::Explain(one) => explain::explain(&globals.client()?, one).await,
        Verb::Forecast(forecast) => forecast::forecast(&globals.client()?, forecast).await,
        Verb::Budget(budget) => limits::budget(&globals.client()?, budget).await,
        Verb::Policy(policy) => limits::policy(&globals.client()?, policy).await,
        Verb::Cancel(cancel) => act::cancel(&globals.client()?, cancel).await,
        Verb::Review(review) => review::review(&globals.client()?, review).await,
        Verb::Pause(pause) => act::pause(&globals, pause).await,
        Verb::Resume(resume) => act::resume(&globals, resume).await,
        Verb::Audit(audit) => audit::audit(&globals.client()?, audit).await,
        Verb::Backup(backup) => backup::backup(&globals.client()?, backup).await,
        Verb::Top(top) => top::top(&globals.client()?, top).await,
        Verb::Status(status) => status::status(&globals.client()?, status).await,
    }
}

impl Cli {
    /// Whether it runs until it is stopped, and so deserves more than one thread.
    pub fn is_daemon(&self) -> bool {
        matches!(self.verb, Verb::Serve | Verb::Demo(_) | Verb::Sandbox(_))
    }
}

impl Globals {
    /// The configuration, for the verbs that need all of it.
    fn load(&self) -> Result<Loaded, Failure> {
        self.load_or(None)
    }

    /// A client of the daemon. With a socket named, the configuration is not even read: whoever may use the socket
    /// need not be allowed to read a file that may hold the API key.
    fn client(&self) -> Result<Client, Failure> {
        const HINT: &str =
            "The configuration was read to find the daemon's socket; `--socket PATH` does without it.";
        match &self.socket {
            Some(socket) => Client::new(socket),
            None => Client::new(&self.load_or(Some(HINT))?.settings.api.socket),
        }
    }

    fn load_or(&self, hint: Option<&'static str>) -> Result<Loaded, Failure> {
        let file = self.config.clone().or_else(config::find_file);
        Settings::load(file.as_deref(), config::environment()).map_err(|error| Failure::config(error, hint))
    }
}
