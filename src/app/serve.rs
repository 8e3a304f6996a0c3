//! `outboxd serve`: runs the daemon until a signal stops it or a part of it fails.
//!
//! Handles signals, reloads and systemd notifications; `app/mod.rs` starts and stops the parts.

use std::process::ExitCode;

use futures_util::Stream;
use futures_util::stream;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::Reloader;
use super::{Application, open_files, place};
use crate::config::Loaded;

/// Runs the daemon until SIGTERM, SIGINT or SIGQUIT. A second signal ends it at once, and the next start recovers
/// calls that were in flight. SIGHUP reloads the configuration.
///
/// # Errors
/// Returns why the daemon could not start, or why it ended.
pub async fn serve(loaded: Loaded) -> anyhow::Result<ExitCode> {
    for warning in loaded.warnings() {
        tracing::warn!("{warning}");
    }
    open_files::raise();
    let stop = Box::pin(stop_signals()?);
    let hang_up = signal(SignalKind::hangup())?;
    let warnings = loaded.warnings().to_vec();
    notify_systemd(&[NotifyState::Status("opening the queue")]);
    let application = Application::start(&loaded.settings, warnings).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        queue = %loaded.settings.store.path.display(),
        socket = %application.socket.display(),
        "running"
    );
    if application.store().is_new() {
        tracing::warn!("{}", place::new_queue(&loaded.settings.store.path));
    }
    notify_systemd(&[NotifyState::Ready]);
    #[cfg(for_tests)]
    failpoint(&application);
    let reloads = reload_on(hang_up, Reloader::new(&application, loaded));
    let ended = tokio::select! {
        ended = application.run_until_stopped(stop, sd_notify::watchdog_enabled()) => ended?,
        () = reloads => unreachable!("it waits for the next signal for ever"),
    };
    Ok(ended)
}

/// Reloads the configuration on every SIGHUP.
async fn reload_on(mut hang_up: Signal, mut reloader: Reloader) {
    loop {
        hang_up.recv().await;
        announce_reload();
        reloader.reload().await;
        notify_systemd(&[NotifyState::Ready]);
    }
}

/// Tells systemd that a reload begins. From version 253 on, with `Type=notify-reload`, systemd waits for the end of the
/// reload and needs the time of its begin.
fn announce_reload() {
    match NotifyState::monotonic_usec_now() {
        Ok(time) => notify_systemd(&[NotifyState::Reloading, time]),
        Err(_) => notify_systemd(&[NotifyState::Reloading]),
    }
}

/// Notifies systemd. Without systemd there is no listener, which is not an error.
pub(super) fn notify_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

/// Returns a stream with the names of the stop signals received.
fn stop_signals() -> std::io::Result<impl Stream<Item = &'static str>> {
    let signals = [
        (signal(SignalKind::terminate())?, "SIGTERM"),
        (signal(SignalKind::interrupt())?, "SIGINT"),
        (signal(SignalKind::quit())?, "SIGQUIT"),
    ];
    let streams = signals.map(|(signal, name)| {
        Box::pin(stream::unfold(signal, move |mut signal| async move {
            signal.recv().await;
            Some((name, signal))
        }))
    });
    Ok(stream::select_all(streams))
}

/// Ends the task that the variable `FAILPOINT_END_TASK` names, like a bug in it; only in builds for tests.
#[cfg(for_tests)]
fn failpoint(application: &Application) {
    let Ok(name) = std::env::var("FAILPOINT_END_TASK") else { return };
    let ended = application.all_tasks().iter().any(|tasks| tasks.end(&name));
    tracing::warn!(name, ended, "a failpoint ends a task");
}
