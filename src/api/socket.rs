//! The Unix socket: bound without ever taking it from a living daemon or deleting what is no socket.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::Router;
use tokio::net::{UnixListener, UnixStream};

/// A bound socket; serving it ends when it is told to.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

/// Why the socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers on it.
    #[error("another daemon answers on {0}; stop it, or give this one another api.socket")]
    Alive(PathBuf),
    /// Something else is there.
    #[error("{0} is there and is no socket; it is left alone: move it, or set another api.socket")]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("cannot bind the socket {path}; does its folder exist, and may this user write to it?")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Socket {
    /// Binds `path` with the permissions `mode`, replacing a socket that nobody listens on.
    ///
    /// # Errors
    /// When somebody answers there, something else is there, or the system refuses.
    pub async fn bind(path: &Path, mode: u32) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).await.is_ok() => {
                return Err(SocketError::Alive(path.to_owned()));
            }
            Ok(_) | Err(_) => {}
        }
        // Bound beside its place and moved there when its permissions are right: nobody meets it earlier.
        let mut beside = path.as_os_str().to_owned();
        beside.push("~");
        let beside = PathBuf::from(beside);
        if std::fs::symlink_metadata(&beside).is_ok_and(|found| found.file_type().is_socket()) {
            std::fs::remove_file(&beside).map_err(failed)?;
        }
        let listener = UnixListener::bind(&beside).map_err(failed)?;
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        std::fs::rename(&beside, path).map_err(failed)?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serves `router` until `stop` completes and every request that was begun is answered; then removes the socket.
    ///
    /// # Errors
    /// When the system stops accepting.
    pub async fn serve(
        self,
        router: Router,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let served = axum::serve(self.listener, router).with_graceful_shutdown(stop).await;
        let _gone_already = std::fs::remove_file(&self.path);
        served
    }
}
