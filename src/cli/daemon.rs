//! The verbs that run something until it is stopped: `serve`, `demo`, `sandbox`.
//!
//! They set up logging, as no other verb does, and hand over to `app`. How they end is `app`'s to say; an error of
//! theirs is reported by `main` with its chain. Nothing of the daemon's work is done here.

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
    /// Repeat the demo that had this seed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Print what happened as JSON
    #[arg(long)]
    json: bool,
}

/// `outboxd sandbox`.
#[derive(Debug, Args)]
pub(super) struct Sandbox {
    /// Where to listen; loopback addresses only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8750")]
    listen: SocketAddr,
    /// Give the ids that the run with this seed gave; without it, ids that no other run gives
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seed: Option<u64>,
}

/// Runs the daemon. A socket named on the command line is where it listens, as it is where the other verbs look.
pub(super) async fn serve(mut loaded: Loaded, socket: Option<PathBuf>) -> Result<Exit, Failure> {
    log(&loaded.settings.log)?;
    if let Some(socket) = socket {
        loaded.settings.api.socket = socket;
    }
    ended(Box::pin(app::serve(loaded)).await)
}

/// Runs the demo; its story goes to standard output, so only warnings are logged beside it.
pub(super) async fn demo(demo: Demo) -> Result<Exit, Failure> {
    log(&LogSettings { level: "warn".to_owned(), format: LogFormat::Auto })?;
    ended(Box::pin(app::demo(app::DemoOptions { seed: demo.seed, json: demo.json })).await)
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
