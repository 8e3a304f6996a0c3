//! Sockets on which systemd listens before the daemon runs (`packaging/systemd/outboxd.socket`).
//!
//! Each belongs to the setting that has its path. They stay when the daemon ends, so connections wait for the next one.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;

/// The sockets that systemd passed and that are not yet claimed.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<(PathBuf, UnixListener)>);

/// Why the daemon cannot run with what systemd passed.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// It is not a Unix socket that listens.
    #[error(
        "systemd passed a socket that cannot be used; the socket unit takes only ListenStream= with paths"
    )]
    Unusable(#[source] std::io::Error),
    /// No setting has its path.
    #[error(
        "systemd listens on {0}, which is neither api.socket nor api.read_only_socket; give ListenStream= of the socket unit the path of one of them"
    )]
    Unclaimed(PathBuf),
}

impl PassedSockets {
    /// Takes the sockets that the environment describes; there are none unless systemd passed them to this process.
    ///
    /// # Errors
    /// Returns an error if one is not a Unix stream socket that listens at a path.
    pub fn from_env() -> Result<Self, PassedError> {
        let mut passed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for number in 0..passed.len() {
            let socket = passed.take_unix_listener(number).map_err(PassedError::Unusable)?;
            let Some(socket) = socket else { continue };
            socket.set_nonblocking(true).map_err(PassedError::Unusable)?;
            let address = socket.local_addr().map_err(PassedError::Unusable)?;
            let path = address.as_pathname().map(Path::to_owned).unwrap_or_default();
            sockets.push((path, socket));
        }
        Ok(Self(sockets))
    }

    /// Returns the socket at `path`, if systemd passed it.
    pub(super) fn claim(&mut self, path: &Path) -> Option<UnixListener> {
        let path = std::path::absolute(path).ok()?;
        let index = self.0.iter().position(|(passed, _)| *passed == path)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Refuses sockets that no setting claimed: their clients would wait for ever.
    ///
    /// # Errors
    /// Returns an error that names the first of them.
    pub fn all_claimed(self) -> Result<(), PassedError> {
        match self.0.into_iter().next() {
            None => Ok(()),
            Some((path, _)) => Err(PassedError::Unclaimed(path)),
        }
    }
}
