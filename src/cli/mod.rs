//! The command line: the commands and their arguments, and the file that runs each.
//!
//! `main` calls [`parse`] and [`run`]. A command that runs something (`serve`, `demo`, `sandbox`) calls `app`; every
//! other command calls the running daemon over its socket, so that the database has one owner. `--help` shows the doc
//! comments of the types below, which are the documentation of the commands. Besides `app`, this module uses only
//! `import`, `config`, `telemetry` and `clock`. Answers of the API are read into separate types, so that a newer daemon may
//! send more fields.

mod account_snapshot;
mod act;
mod audit;
mod backup;
mod campaign;
mod cap;
mod change;
mod check;
mod client;
mod daemon;
mod doctor;
mod enqueue;
mod examples;
mod exit;
mod explain;
mod export;
mod files;
mod forecast;
mod generate;
mod hook;
mod import;
mod label;
mod limits;
mod notices;
mod overview;
mod person;
mod read;
mod refusals;
mod render;
mod review;
mod status;
mod stop;
mod suppress;
mod times;
mod token;
mod top;
mod ui;
mod watch;
mod webhook;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, ConfigError, Loaded, Settings};
use client::Client;
pub use exit::{Exit, Failure};

/// Queues messages and sends them through the Unipile API v2: one at a time, at a human pace, never twice.
#[derive(Debug, Parser)]
#[command(name = "outboxd", version)]
#[command(max_term_width = 80, propagate_version = false, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// The help heading of the global options, which places them last in each help text.
const EVERYWHERE: &str = "Where the daemon is";

/// Options of every command.
#[derive(Debug, Args)]
struct Globals {
    /// Configuration file; default: ./outboxd.toml, else /etc/outboxd/outboxd.toml, else the built-in defaults
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    #[arg(env = "OUTBOXD_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Socket of the daemon; default: `api.socket` of the configuration
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "PATH")]
    #[arg(env = "OUTBOXD_SOCKET", hide_env_values = true)]
    socket: Option<PathBuf>,
}

/// The commands, in the order in which a new user needs them.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Run the daemon: accept messages and send them
    Serve,
    /// Show the daemon at work against the sandbox; needs no API key and leaves nothing behind
    Demo(daemon::Demo),
    /// Run a simulated Unipile API, to test against
    Sandbox(daemon::Sandbox),
    /// Check the configuration, and show each value in effect and its source
    Check(Json),
    /// Check everything around the daemon: configuration, key, clock, disk, queue, limits; a daemon need not run
    Doctor(Json),
    /// Queue one message, or a file of them
    Enqueue(Box<enqueue::Enqueue>),
    /// Queue a campaign from a table of people (CSV) and a template per message
    Import(Box<import::Import>),
    /// List messages, newest first
    List(read::List),
    /// Export messages as CSV, with the columns that the import brought and what became of them
    Export(export::Export),
    /// Show one message with its text and every attempt
    Show(read::One),
    /// Show everything about one person: what is known, queued, sent and stopped, over all accounts
    Person(person::Person),
    /// Remove everything about one person, cancel what is queued, and never write to them again
    Erase(person::Erase),
    /// Show why a message waits or stopped, and until when
    Explain(read::One),
    /// Forecast when the queue will be sent, and what limits each day
    Forecast(forecast::Forecast),
    /// Show what is left of the caps of an account
    Budget(limits::Budget),
    /// Show or change the rules of an account while the daemon runs
    Policy(limits::Policy),
    /// Change the text, the order, the times or the label of messages that wait
    Edit(Box<change::Edit>),
    /// Send messages from another account
    Move(change::Move),
    /// Change the priority of messages
    Priority(change::Priority),
    /// Hold messages until they are released
    Hold(change::Plain),
    /// Release held messages
    Release(change::Plain),
    /// Queue messages again that ended without being sent
    Retry(change::Plain),
    /// Cancel messages that have not been sent
    Cancel(change::Plain),
    /// Decide about messages that may or may not have been sent
    Review(review::Review),
    /// Pause sending, for one account or for all; queued messages stay queued
    Pause(act::Pause),
    /// Resume sending
    Resume(act::Resume),
    /// Stop sending to a person, into a chat or of a campaign; queued messages wait
    Stop(stop::Stop),
    /// Let a person, a chat or a campaign go on
    Go(stop::Go),
    /// List campaigns, show one by step, pause, resume or cancel it
    Campaign(campaign::Campaign),
    /// Keep the list of people who must never be written to
    Suppress(suppress::Suppress),
    /// Register, list, test and remove the webhook endpoint at Unipile
    Webhook(webhook::Webhook),
    /// Check from the queue alone whether every promise was kept
    Audit(audit::Audit),
    /// Write a consistent backup of the queue while the daemon runs
    Backup(backup::Backup),
    /// Show the state of the daemon and of each account, and what to do next
    Status(status::Status),
    /// Show what a person must know or do, the most urgent first
    Notices(notices::Notices),
    /// Show the accounts live: what each sends, waits for, and has left of its caps
    Top(top::Top),
    /// Make a token for the API on TCP
    Token(token::NewToken),
    /// Write man pages or the completions of shells, for packages
    #[command(hide = true)]
    Generate(generate::Generate),
    /// Show the receivers of events, enable one, deliver events again
    Hook(hook::Hook),
    /// Show events as they happen, a line each
    Watch(watch::Watch),
    /// Show the dashboard in a browser
    Ui(ui::Ui),
}

/// Output for programs.
#[derive(Debug, Clone, Copy, Args)]
struct Json {
    /// Print JSON, exactly as the daemon returns it (indented only on a terminal)
    #[arg(long)]
    json: bool,
}

/// Parses the command line. Prints usage errors and requested help.
///
/// # Errors
/// Returns how to exit, if there is no command to run.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, Exit> {
    let command = examples::with_examples(Cli::command());
    let parsed = command.try_get_matches_from(arguments).and_then(|found| Cli::from_arg_matches(&found));
    parsed.map_err(|shown| {
        shown.print().ok();
        if shown.use_stderr() { Exit::Usage } else { Exit::Done }
    })
}

/// Runs the command.
pub async fn run(cli: Cli) -> Result<Exit, Failure> {
    let Cli { globals, verb } = cli;
    match verb {
        Verb::Serve => Box::pin(daemon::serve(globals.load()?, globals.socket)).await,
        Verb::Demo(demo) => Box::pin(daemon::demo(demo)).await,
        Verb::Sandbox(sandbox) => Box::pin(daemon::sandbox(sandbox)).await,
        Verb::Check(json) => check::check(&globals.load()?, json.json),
        Verb::Doctor(json) => Box::pin(doctor::doctor(&globals, json)).await,
        Verb::Generate(asked) => generate::generate(&asked),
        Verb::Token(asked) => token::token(asked),
        Verb::Enqueue(enqueue) => enqueue::enqueue(&globals.client()?, *enqueue).await,
        Verb::Import(import) => import::import(&globals.client()?, *import).await,
        Verb::List(list) => read::list(&globals.client()?, list).await,
        Verb::Export(export) => export::export(&globals.client()?, export).await,
        Verb::Show(one) => read::show(&globals.client()?, one).await,
        Verb::Erase(erase) => person::erase(&globals.client()?, erase).await,
        Verb::Person(person) => person::person(&globals.client()?, person).await,
        Verb::Explain(one) => explain::explain(&globals.client()?, one).await,
        Verb::Forecast(forecast) => forecast::forecast(&globals.client()?, forecast).await,
        Verb::Budget(budget) => limits::budget(&globals.client()?, budget).await,
        Verb::Policy(policy) => limits::policy(&globals.client()?, policy).await,
        Verb::Edit(edit) => change::edit(&globals.client()?, *edit).await,
        Verb::Move(asked) => change::move_to(&globals.client()?, asked).await,
        Verb::Priority(asked) => change::priority(&globals.client()?, asked).await,
        Verb::Hold(asked) => change::plain(&globals.client()?, "hold", asked).await,
        Verb::Release(asked) => change::plain(&globals.client()?, "release", asked).await,
        Verb::Retry(asked) => change::plain(&globals.client()?, "retry", asked).await,
        Verb::Cancel(asked) => change::plain(&globals.client()?, "cancel", asked).await,
        Verb::Review(review) => review::review(&globals.client()?, review).await,
        Verb::Pause(pause) => act::pause(&globals, pause).await,
        Verb::Resume(resume) => act::resume(&globals, resume).await,
        Verb::Stop(stop) => stop::stop(&globals, stop).await,
        Verb::Go(go) => stop::go(&globals, go).await,
        Verb::Campaign(campaign) => campaign::campaign(&globals, campaign).await,
        Verb::Suppress(suppress) => suppress::suppress(&globals.client()?, suppress).await,
        Verb::Webhook(asked) => webhook::webhook(&globals.client()?, asked).await,
        Verb::Audit(audit) => audit::audit(&globals.client()?, audit).await,
        Verb::Backup(backup) => backup::backup(&globals.client()?, backup).await,
        Verb::Top(top) => top::top(&globals.client()?, top).await,
        Verb::Notices(asked) => notices::notices(&globals.client()?, asked).await,
        Verb::Hook(asked) => hook::hook(&globals.client()?, asked).await,
        Verb::Watch(asked) => watch::watch(&globals.client()?, asked).await,
        Verb::Ui(ui) => ui::ui(&globals.client()?, ui).await,
        Verb::Status(status) => status::status(&globals.client()?, status).await,
    }
}

impl Cli {
    /// Returns whether the command runs until it is stopped, and therefore gets more than one thread.
    pub fn is_daemon(&self) -> bool {
        matches!(self.verb, Verb::Serve | Verb::Demo(_) | Verb::Sandbox(_))
    }
}

impl Globals {
    /// Loads the configuration, for commands that need all of it.
    fn load(&self) -> Result<Loaded, Failure> {
        let loaded = Settings::load(self.file().as_deref(), config::environment());
        loaded.map_err(|error| Failure::config(error, None))
    }

    /// Creates a client of the daemon. With `--socket` it does not read the configuration: a user of the socket may
    /// lack permission to read a file that may contain the API key.
    fn client(&self) -> Result<Client, Failure> {
        const HINT: &str =
            "The configuration was read to find the daemon's socket; `--socket PATH` does without it.";
        match &self.socket {
            Some(socket) => Client::new(socket),
            None => {
                Client::new(&self.configured_socket().map_err(|error| Failure::config(error, Some(HINT)))?)
            }
        }
    }

    /// Returns `api.socket` of the configuration.
    fn configured_socket(&self) -> Result<PathBuf, ConfigError> {
        config::find_socket(self.file().as_deref(), config::environment())
    }

    fn file(&self) -> Option<PathBuf> {
        self.config.clone().or_else(config::find_file)
    }
}
