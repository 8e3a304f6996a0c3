//! Commands that run until they are stopped: `serve`, `demo`, `sandbox`.
//!
//! They set up logging, as no other command does, and call `app`, which decides how they end; `main` reports an error
//! with its chain. This module contains none of the daemon's work.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::exit::{Exit, Failure};
use crate::app;
use crate::config::{Loaded, LogFormat, LogSettings};
use crate::telemetry;

/// `outboxd demo`.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Repeat the demo with this seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Show a campaign to people who receive, read and answer instead
    #[arg(long)]
    replies: bool,
    /// Show it in the browser as well, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    ui: bool,
}

/// `outboxd sandbox`.
#[derive(Debug, Args)]
pub(super) struct Sandbox {
    /// Address to listen on; loopback addresses only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8750")]
    listen: SocketAddr,
    /// Give the same ids as the run with this seed; default: ids that differ in every run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seed: Option<u64>,
}

/// Runs the daemon. A socket given on the command line overrides the configured one, as for the other commands.
pub(super) async fn serve(mut loaded: Loaded, socket: Option<PathBuf>) -> Result<Exit, Failure> {
    log(&loaded.settings.log)?;
    if let Some(socket) = socket {
        loaded.settings.api.socket = socket;
    }
    ended(Box::pin(app::serve(loaded)).await)
}

/// Runs the demo; its narration goes to standard output, so only warnings are logged.
pub(super) async fn demo(demo: Demo) -> Result<Exit, Failure> {
    log(&LogSettings { level: "warn".to_owned(), format: LogFormat::Auto })?;
    let options = app::DemoOptions { seed: demo.seed, json: demo.json, ui: demo.ui };
    ended(match demo.replies {
        false => Box::pin(app::demo(options)).await,
        true => Box::pin(app::demo_replies(options)).await,
    })
}

/// Runs the sandbox.
pub(super) async fn sandbox(sandbox: Sandbox) -> Result<Exit, Failure> {
    log(&LogSettings { level: "info".to_owned(), format: LogFormat::Auto })?;
    ended(Box::pin(app::sandbox(sandbox.listen, sandbox.seed)).await)
}

fn log(settings: &LogSettings) -> Result<(), Failure> {
    telemetry::init(settings).map_err(|error| Failure::unexpected(error.into()))
}

fn ended(result: anyhow::Result<ExitCode>) -> Result<Exit, Failure> {
    telemetry::flush();
    result.map(Exit::Other).map_err(Failure::unexpected)
}
