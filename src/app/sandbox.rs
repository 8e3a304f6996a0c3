//! `outboxd sandbox`: the stand-in for Unipile on loopback, for trying out a daemon or a program of one's own.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;

use crate::clock::ambient_seed;
use crate::sandbox::{Sandbox, SandboxConfig};

/// Serves the sandbox until it is interrupted. Its ids begin with `seed`, or with one that no other run has.
///
/// # Errors
/// When the address is not a loopback one or cannot be bound.
pub async fn sandbox(listen: SocketAddr, seed: Option<u64>) -> anyhow::Result<ExitCode> {
    // Ids that another run gave already would look like messages that went twice.
    let seed = seed.unwrap_or_else(ambient_seed);
    let config = SandboxConfig { listen, seed, ..SandboxConfig::default() };
    let key = config.api_key.clone();
    let sandbox =
        Sandbox::start(config).await.with_context(|| format!("cannot serve the sandbox on {listen}"))?;
    let url = sandbox.url();
    let told = format!(
        "The sandbox stands in for Unipile at {url}; nothing leaves this machine.\n\n\
         Point a daemon at it:\n  \
           OUTBOXD_UNIPILE_BASE_URL={url} OUTBOXD_UNIPILE_API_KEY={key} outboxd serve\n\n\
         Or call it yourself:\n  \
           curl -s {url}/v2/acc_1/chats/chat_1/messages/send -H 'X-API-KEY: {key}' \\\n    \
             -H 'content-type: application/json' -d '{{\"text\":\"hello\"}}'\n\n\
         What reached whom:  curl -s {url}/sandbox/ledger\n\
         What it can break:  curl -s {url}/\n\n\
         Ctrl-C ends it.\n"
    );
    // Whoever started it may have closed its output; it serves all the same.
    let _unheard = std::io::stdout().write_all(told.as_bytes());
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    sandbox.stop().await;
    Ok(ExitCode::SUCCESS)
}
