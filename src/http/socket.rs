//! The Unix socket, bound under its final name, or passed by systemd (`activation.rs`).
//!
//! It neither takes the name from a running daemon nor deletes files that are not sockets.

use std::convert::Infallible;
use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::FromRequestParts;
use axum::extract::connect_info::ConnectInfo;
use axum::http::request::Parts;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::access::Bearer;
use super::activation::PassedSockets;
use super::serving::{self, Accepts, Peer, Rules};
use super::slow::{Patience, TIMES};

/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A bound socket; [`Socket::serve`] serves it until its stop future completes.
pub struct Socket {
    listener: UnixListener,
    name: SocketName,
    /// Whether this process bound it, and therefore removes it.
    is_ours: bool,
}

/// The path of a bound socket, and the file that it referred to when it was bound.
#[derive(Debug, Clone)]
pub struct SocketName {
    path: PathBuf,
    id: (u64, u64),
}

/// Why the socket cannot be bound.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers on it.
    #[error("another daemon answers on {0}; stop it, or give this one another api.socket")]
    Alive(PathBuf),
    /// The path exists and is not a socket.
    #[error("{0} is there and is not a socket; it is left alone: move it, or set another api.socket")]
    NotASocket(PathBuf),
    /// The operating system refuses.
    #[error("cannot bind the socket {path}; does its folder exist, and may this user write to it?")]
    Io {
        /// Path of the socket.
        path: PathBuf,
        /// Error of the operating system.
        #[source]
        source: std::io::Error,
    },
}

impl Socket {
    /// Takes the socket at `path` from systemd, or else binds it with the permissions `mode`.
    pub async fn open(path: &Path, mode: u32, passed: &mut PassedSockets) -> Result<Self, SocketError> {
        let Some(listener) = passed.claim(path) else { return Self::bind(path, mode).await };
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        let id = id(&std::fs::symlink_metadata(path).map_err(failed)?);
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        tracing::info!(socket = %path.display(), "systemd passed the socket");
        Ok(Self { listener, name: SocketName { path: path.to_owned(), id }, is_ours: false })
    }

    /// Binds `path` with the permissions `mode`; replaces a socket without a listener.
    ///
    /// # Errors
    /// Returns an error if another process answers on it, the path is not a socket, or the operating system refuses.
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
        // A client cannot connect before it listens, and its permissions are set by then. It is bound under its final
        // name because the kernel lists sockets by the name of their bind, and systemd-tmpfiles removes a socket that
        // is not listed.
        let socket = UnixSocket::new_stream().map_err(failed)?;
        socket.bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        let id = id(&std::fs::symlink_metadata(path).map_err(failed)?);
        let listener = socket.listen(BACKLOG).map_err(failed)?;
        Ok(Self { listener, name: SocketName { path: path.to_owned(), id }, is_ours: true })
    }

    /// Returns the name of the socket, to detect its removal.
    pub fn name(&self) -> &SocketName {
        &self.name
    }

    /// Serves `router`, at most `connections` at once, until `stop` completes and all requests in progress are answered;
    /// then removes the socket, unless systemd owns it. Cuts a client that reads nothing for as long as `patience` takes.
    /// After an error of the operating system it waits for `pause`.
    pub async fn serve<P: Future<Output = ()>>(
        self,
        router: Router,
        connections: usize,
        patience: Patience,
        stop: impl Future<Output = ()>,
        pause: impl Fn() -> P,
    ) {
        let (name, is_ours) = (self.name.clone(), self.is_ours);
        serving::serve(self, Rules { router, connections, patience, times: TIMES }, stop, pause).await;
        // Does not remove the socket of another daemon.
        if is_ours && name.taken_away().is_none() {
            let _gone_already = std::fs::remove_file(&name.path);
        }
    }
}

impl Accepts for Socket {
    type Stream = UnixStream;

    async fn accept(&self) -> std::io::Result<(UnixStream, Option<Peer>)> {
        let (stream, _) = self.listener.accept().await?;
        let user_id = stream.peer_cred().ok().map(|peer| peer.uid());
        Ok((stream, Some(Peer { user_id })))
    }

    fn name(&self) -> String {
        self.name.path.display().to_string()
    }
}

/// Who makes a request, as events record it: `uid 1000` on a socket, `token NAME` on TCP, or `operator` if that is not known.
pub(super) struct Actor(pub(super) String);

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        if let Some(Bearer(name)) = parts.extensions.get() {
            return Ok(Self(format!("token {name}")));
        }
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().and_then(|peer| peer.0.user_id);
        Ok(Self(peer.map_or_else(|| "operator".to_owned(), |id| format!("uid {id}"))))
    }
}

impl SocketName {
    /// Returns why the socket can no longer be reached, if its path was removed or replaced.
    pub fn taken_away(&self) -> Option<String> {
        let what = match std::fs::symlink_metadata(&self.path) {
            Ok(found) if id(&found) == self.id => return None,
            Ok(_) => "was replaced",
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                "was removed or renamed"
            }
            // A failure to read its metadata proves nothing about the socket.
            Err(_) => return None,
        };
        Some(format!("the socket {} {what} while this daemon listened on it", self.path.display()))
    }
}

/// Removes a socket without a listener.
async fn remove_dead(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io { path: path.to_owned(), source };
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        // Its backlog is full, so a process listens.
        Err(error) if error.kind() == ErrorKind::WouldBlock => Err(SocketError::Alive(path.to_owned())),
        Ok(_) => Err(SocketError::Alive(path.to_owned())),
        Err(source) => Err(failed(source)),
    }
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}
