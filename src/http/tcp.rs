//! HTTP/1.1 on TCP: the API for bearers of tokens, and the metrics. `serving.rs` bounds what a client without a token can
//! hold.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::serving::{self, Accepts, Peer, Rules};
use super::slow::{Patience, TIMES};

/// Maximum number of connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A bound address; [`TcpDoor::serve`] serves it.
pub struct TcpDoor {
    listener: TcpListener,
    address: SocketAddr,
    connections: usize,
}

/// Why the address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}; stop the program that uses the address, or set another {key}")]
pub struct TcpError {
    address: SocketAddr,
    key: &'static str,
    #[source]
    source: std::io::Error,
}

impl TcpDoor {
    /// Binds `address`, which the configuration has under `key`; with port 0 the system chooses a port. Serves at most
    /// `connections` at once; more wait in the operating system's queue.
    pub async fn bind(address: SocketAddr, key: &'static str, connections: usize) -> Result<Self, TcpError> {
        let failed = |source| TcpError { address, key, source };
        let listener = listen(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, connections })
    }

    /// Returns the address, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `stop` completes and all requests in progress are answered. Cuts a client that reads nothing
    /// for as long as `patience` takes. After an error of the operating system it waits for `pause`.
    pub async fn serve<P: Future<Output = ()>>(
        self,
        router: Router,
        patience: Patience,
        stop: impl Future<Output = ()>,
        pause: impl Fn() -> P,
    ) {
        let rules = Rules { router, connections: self.connections, patience, times: TIMES };
        serving::serve(self, rules, stop, pause).await;
    }
}

impl Accepts for TcpDoor {
    type Stream = TcpStream;

    async fn accept(&self) -> std::io::Result<(TcpStream, Option<Peer>)> {
        self.listener.accept().await.map(|(stream, _)| (stream, None))
    }

    fn name(&self) -> String {
        self.address.to_string()
    }
}

/// Listens, with keep-alive probes on each connection: a client whose machine vanished in the middle of a body would hold
/// its connection for ever.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
