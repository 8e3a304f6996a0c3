//! What `systemctl status` shows of the daemon: `STATUS=`, a line that follows what it does.

use std::convert::Infallible;
use std::time::Duration;

use sd_notify::NotifyState;

use super::serve::notify_systemd;
use crate::clock::Clock;
use crate::http::AppState;

/// Interval between two looks.
const EVERY: Duration = Duration::from_secs(5);

/// Sends the line whenever it changes; never completes. Without systemd it does nothing.
pub(super) async fn report(state: &AppState, clock: &dyn Clock) -> Infallible {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return std::future::pending().await;
    }
    let mut shown = String::new();
    loop {
        let line = state.summary().await;
        if line != shown {
            notify_systemd(&[NotifyState::Status(&line)]);
            shown = line;
        }
        clock.sleep(EVERY).await;
    }
}
