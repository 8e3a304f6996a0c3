//! The ways into the API: the socket, the socket that only reads, and the address for bearers of tokens.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::open_files;
use crate::clock::Clock;
use crate::config::Settings;
use crate::engine::EngineHandle;
use crate::http::{self, ApiTokens, AppState, PassedSockets, Patience, Socket, SocketName, TcpDoor};
use crate::tasks::Tasks;

/// The pause after the operating system refused to accept a connection, usually because files are scarce.
pub(super) const AFTER_ERROR: Duration = Duration::from_millis(50);

/// Connections at once: of the socket, of the one that only reads, and of bearers of tokens.
const SOCKET: usize = 512;
const READ_ONLY: usize = 256;
const TOKENS: usize = 256;

/// A client that reads nothing of its answer for this long is cut off.
const STALLED: Duration = Duration::from_secs(30);

/// Everything that the API listens on.
pub(super) struct Doors {
    socket: Socket,
    read_only: Option<Socket>,
    tcp: Option<TcpDoor>,
    tokens: ApiTokens,
}

impl Doors {
    /// Binds what the settings name, or takes it from systemd.
    ///
    /// # Errors
    /// Returns an error if one of them cannot be bound, or if there are no tokens for the address.
    pub(super) async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let (api, tokens) = (&settings.api, ApiTokens::default());
        tokens.set(settings.require_tokens()?);
        let mut passed = PassedSockets::from_env()?;
        let socket = Socket::open(&api.socket, api.socket_mode, &mut passed).await?;
        let read_only = match &api.read_only_socket {
            Some(path) => Some(Socket::open(path, api.read_only_socket_mode, &mut passed).await?),
            None => None,
        };
        passed.all_claimed()?;
        let tcp = match api.listen {
            Some(address) => Some(TcpDoor::bind(address, "api.listen", open_files::places(TOKENS)).await?),
            None => None,
        };
        if let Some(tcp) = &tcp {
            tracing::info!(address = %tcp.address(), "the API listens on TCP, for bearers of tokens");
        }
        Ok(Self { socket, read_only, tcp, tokens })
    }

    /// Returns the tokens, for reloads.
    pub(super) fn tokens(&self) -> ApiTokens {
        self.tokens.clone()
    }

    /// Returns the names of the sockets, to detect their removal.
    pub(super) fn names(&self) -> Vec<SocketName> {
        std::iter::once(&self.socket).chain(&self.read_only).map(|socket| socket.name().clone()).collect()
    }

    /// Serves the API until the engine stops.
    pub(super) fn spawn(
        self,
        tasks: &Tasks,
        state: &Arc<AppState>,
        engine: &EngineHandle,
    ) -> Vec<JoinHandle<()>> {
        let router = || http::router(Arc::clone(state));
        let patience = patience(engine.clock());
        let pause = || {
            let clock = Arc::clone(engine.clock());
            move || clock.sleep(AFTER_ERROR)
        };
        let places = open_files::places(SOCKET);
        let serving = self.socket.serve(router(), places, Arc::clone(&patience), stopping(engine), pause());
        let mut spawned = vec![tasks.spawn("HTTP server", serving)];
        if let Some(socket) = self.read_only {
            let (router, places) = (http::read_only(router()), open_files::places(READ_ONLY));
            let serving = socket.serve(router, places, Arc::clone(&patience), stopping(engine), pause());
            spawned.push(tasks.spawn("read-only HTTP server", serving));
        }
        if let Some(tcp) = self.tcp {
            let router = http::with_tokens(router(), self.tokens);
            let serving = tcp.serve(router, patience, stopping(engine), pause());
            spawned.push(tasks.spawn("TCP HTTP server", serving));
        }
        spawned
    }
}

/// Returns how long a client may read nothing of its answer.
pub(super) fn patience(clock: &Arc<dyn Clock>) -> Patience {
    let clock = Arc::clone(clock);
    Arc::new(move || clock.sleep(STALLED))
}

pub(super) fn stopping(engine: &EngineHandle) -> impl Future<Output = ()> + Send + 'static {
    let engine = engine.clone();
    async move { engine.stopping().await }
}
