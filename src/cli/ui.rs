//! `outboxd ui`: the dashboard in a browser, through a port of this machine.

use clap::Args;

use super::client::Client;
use super::exit::{Exit, Failure};
use crate::app::{self, UiOptions};
use crate::types::status::Status;

/// `outboxd ui`.
#[derive(Debug, Args)]
pub(super) struct Ui {
    /// Port on 127.0.0.1; default: one that is free
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Show everything and change nothing
    #[arg(long)]
    read_only: bool,
    /// Only print the address
    #[arg(long)]
    no_open: bool,
}

/// Serves the dashboard of the daemon until it is interrupted.
pub(super) async fn ui(client: &Client, ui: Ui) -> Result<Exit, Failure> {
    // A daemon that does not run is reported here, not in the browser.
    let _it_runs: Status = client.get("/v1/status", &[]).await?.read()?;
    let Ui { port, read_only, no_open } = ui;
    let socket = client.socket().to_owned();
    let options = UiOptions { socket, port, read_only, open: !no_open };
    app::ui(options).await.map(Exit::Other).map_err(Failure::unexpected)
}
