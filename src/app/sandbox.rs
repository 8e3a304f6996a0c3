//! `outboxd sandbox`: a simulated Unipile API on loopback, to try out a daemon or test another program.
//!
//! It runs only the sandbox, without a daemon.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::clock::ambient_seed;
use crate::sandbox::{Sandbox, SandboxConfig};

/// Serves the sandbox until Ctrl-C or SIGTERM, with which Docker stops a container. Its ids are derived from `seed`, or from a random seed.
///
/// # Errors
/// Returns an error if the address is not a loopback address or cannot be bound, or if a signal cannot be awaited.
pub async fn sandbox(listen: SocketAddr, seed: Option<u64>) -> anyhow::Result<ExitCode> {
    // Ids that an earlier run has already given would look like messages that were sent twice.
    let seed = seed.unwrap_or_else(ambient_seed);
    let config = SandboxConfig { listen, seed, ..SandboxConfig::default() };
    let key = config.api_key.clone();
    // Before it says that it serves. The first process of a container ends by no signal that it does not handle.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let sandbox =
        Sandbox::start(config).await.with_context(|| format!("cannot serve the sandbox on {listen}"))?;
    let url = sandbox.url();
    let told = format!(
        "The sandbox plays Unipile at {url}; nothing leaves this machine.\n\n\
         Point a daemon at it:\n  \
           OUTBOXD_UNIPILE_BASE_URL={url} OUTBOXD_UNIPILE_API_KEY={key} outboxd serve\n\n\
         Or call it yourself:\n  \
           curl -s {url}/v2/acc_1/chats/chat_1/messages/send -H 'X-API-KEY: {key}' \\\n    \
             -H 'content-type: application/json' -d '{{\"text\":\"hello\"}}'\n\n\
         What reached whom:  curl -s {url}/sandbox/ledger\n\
         What it can break:  curl -s {url}/\n\n\
         Ctrl-C ends it.\n"
    );
    // Ignores an error: the output may be closed, and the sandbox works without it.
    let _unheard = std::io::stdout().write_all(told.as_bytes());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sandbox.stop().await;
    Ok(ExitCode::SUCCESS)
}
