//! HTTP/1.1 on TCP: the API for bearers of tokens, and the metrics.
//!
//! It bounds what a client without a token can hold: the number of connections, the time for the head of a request, and the
//! time for which it reads nothing of its answers.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::slow::{Connection, Patience};

/// How long the head of a request may take, also on a connection that is kept open.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// Maximum size of a head, in bytes.
const HEAD_BYTES: usize = 64 << 10;
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
        let places = Arc::new(Semaphore::new(self.connections));
        let (connections, stopping) = (TaskTracker::new(), CancellationToken::new());
        let mut stop = pin!(stop);
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await.expect("it is never closed");
                self.listener.accept().await.map(|(stream, _)| (stream, place))
            };
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = next => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let stream = Connection::new(stream, Arc::clone(&patience));
                    let serving = serve_connection(stream, router.clone(), stopping.clone());
                    connections.spawn(async move {
                        let _place = place;
                        serving.await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, address = %self.address, "a connection cannot be accepted");
                    pause().await;
                }
            }
        }
        drop(self.listener);
        stopping.cancel();
        connections.close();
        connections.wait().await;
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

async fn serve_connection(stream: Connection<TcpStream>, router: Router, stopping: CancellationToken) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(HEAD_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}
