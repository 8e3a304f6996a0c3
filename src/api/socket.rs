//! The Unix socket: bound under its own name. It neither takes the name from a running daemon nor deletes other files.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::Router;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A bound socket; serving it ends when it is told to.
pub struct Socket {
    listener: UnixListener,
    name: SocketName,
}

/// The path of a bound socket, and which file it stood for when it was bound.
#[derive(Debug, Clone)]
pub struct SocketName {
    path: PathBuf,
    id: (u64, u64),
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
            Ok(_) => remove_dead(path).await?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
        }
        // Nobody can connect before it listens, and by then its permissions are right. It is bound under its final name:
        // the kernel lists sockets by the name of their bind, and systemd-tmpfiles removes a socket that is not listed.
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        let id = id(&std::fs::symlink_metadata(path).map_err(failed)?);
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        Ok(Self { listener, name: SocketName { path: path.to_owned(), id } })
    }

    /// Its name, so that its removal can be noticed.
    pub fn name(&self) -> &SocketName {
        &self.name
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
        // Not that of another daemon.
        if self.name.taken_away().is_none() {
            let _gone_already = std::fs::remove_file(&self.name.path);
        }
        served
    }
}

impl SocketName {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why nobody can reach the socket any more, if its path was removed or replaced.
    pub fn taken_away(&self) -> Option<String> {
        let what = match std::fs::symlink_metadata(&self.path) {
            Ok(found) if id(&found) == self.id => return None,
            Ok(_) => "was replaced",
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                "was removed or renamed"
            }
            // That it cannot be looked at says nothing about the socket.
            Err(_) => return None,
        };
        Some(format!("the socket {} {what} while this daemon listened on it", self.path.display()))
    }
}

/// Removes a socket that nobody listens on.
async fn remove_dead(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io { path: path.to_owned(), source };
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Its queue of connections is full: somebody listens.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(SocketError::Alive(path.to_owned())),
        Ok(_) => Err(SocketError::Alive(path.to_owned())),
        Err(source) => Err(failed(source)),
    }
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
