//! `outboxd serve`: the daemon, until a signal stops it.

use std::process::ExitCode;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Application;
use crate::config::Loaded;

/// Runs the daemon until SIGTERM or SIGINT. A second signal ends it at once; what was on its way is found and told at
/// the next start.
///
/// # Errors
/// Whatever keeps it from starting, in words.
pub async fn serve(loaded: Loaded) -> anyhow::Result<ExitCode> {
    for warning in loaded.warnings() {
        tracing::warn!("{warning}");
    }
    let mut signals = Signals::new()?;
    let warnings = loaded.warnings().to_vec();
    let application = Application::start(&loaded.settings, warnings).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        queue = %loaded.settings.store.path.display(),
        socket = %application.socket.display(),
        "running"
    );
    tell_systemd(&[NotifyState::Ready]);
    let signal = signals.next().await;
    tracing::info!(signal, "stopping; a second signal stops at once");
    tell_systemd(&[NotifyState::Stopping]);
    tokio::select! {
        stopped = application.stop() => stopped?,
        signal = signals.next() => {
            tracing::warn!(signal, "stopped at once; calls that were on their way are told at the next start");
            return Ok(ExitCode::FAILURE);
        }
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Without systemd there is nobody to tell, and that is no error.
fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
