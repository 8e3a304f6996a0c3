//! Serves HTTP/1.1 on the connections of a listener, a Unix socket or TCP, within bounds.
//!
//! What a client can hold is bounded: the number of connections, the time for the head of a request, the time for which a
//! body makes no progress (`drain.rs`), and the time for which it reads nothing of its answers (`slow.rs`). So clients
//! never take the files that the daemon itself needs.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::connect_info::ConnectInfo;
use axum::http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::slow::{Busy, Connection, Patience, Requests, Stage, Times, pass};

/// Maximum size of a head, in bytes.
const HEAD_BYTES: usize = 64 << 10;
/// How long a connection waits for a place before those between two requests are closed.
const CROWDED_AFTER: Duration = Duration::from_millis(100);
/// After how many times of [`CROWDED_AFTER`] a connection that has not sent its first request is closed as well.
const PATIENT: u32 = 10;

/// The process at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    /// Its user id, if the operating system provides it.
    pub(super) user_id: Option<u32>,
}

/// What accepts connections.
pub(super) trait Accepts: Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Returns the next connection, and the process at its other end if that is known.
    fn accept(&self) -> impl Future<Output = std::io::Result<(Self::Stream, Option<Peer>)>> + Send;

    /// Names it in the log.
    fn name(&self) -> String;
}

/// How connections are served.
pub(super) struct Rules {
    pub(super) router: Router,
    /// Maximum number of connections at once; more wait in the operating system's queue, which is bounded.
    pub(super) connections: usize,
    /// Cuts a client that reads nothing for as long as this takes.
    pub(super) patience: Patience,
    pub(super) times: Times,
}

/// Serves `listener` until `stop` completes and all requests in progress are answered. After an error of the operating
/// system it waits for `pause`.
pub(super) async fn serve<L: Accepts, P: Future<Output = ()>>(
    listener: L,
    rules: Rules,
    stop: impl Future<Output = ()>,
    pause: impl Fn() -> P,
) {
    let places = Places { free: Arc::new(Semaphore::new(rules.connections)), crowded: Arc::default() };
    let (connections, stopping) = (TaskTracker::new(), CancellationToken::new());
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let (stream, peer) = listener.accept().await?;
            Ok::<_, std::io::Error>((stream, peer, places.next().await))
        };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => {
                let requests = Requests::default();
                let stream =
                    Connection::new(stream, Arc::clone(&rules.patience), rules.times, requests.clone());
                let service =
                    Serving { router: TowerToHyperService::new(rules.router.clone()), peer, requests };
                let serving =
                    serve_connection(stream, service, stopping.clone(), Arc::clone(&places.crowded));
                connections.spawn(async move {
                    let _place = place;
                    serving.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, listener = listener.name(), "a connection cannot be accepted");
                pause().await;
            }
        }
    }
    drop(listener);
    stopping.cancel();
    connections.close();
    connections.wait().await;
}

/// The places for connections.
struct Places {
    free: Arc<Semaphore>,
    /// Closes the connections without a request.
    crowded: Arc<Notify>,
}

impl Places {
    /// Returns a place as soon as one is free. While none is, connections without a request are closed.
    async fn next(&self) -> OwnedSemaphorePermit {
        let mut free = pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            tokio::select! {
                biased;
                place = free.as_mut() => return place.expect("it is never closed"),
                () = pass(CROWDED_AFTER) => self.crowded.notify_waiters(),
            }
        }
    }
}

async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: Connection<S>,
    service: Serving,
    stopping: CancellationToken,
    crowded: Arc<Notify>,
) {
    let requests = service.requests.clone();
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut crowdings = 0;
    let served = loop {
        tokio::select! {
            served = connection.as_mut() => break served,
            () = stopping.cancelled() => {}
            () = crowded.notified() => {
                crowdings += 1;
                match requests.stage() {
                    Stage::Between => {}
                    Stage::First if crowdings > PATIENT => return,
                    Stage::First | Stage::Busy => continue,
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        break connection.await;
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection broke");
    }
}

/// Answers the requests of one connection.
struct Serving {
    router: TowerToHyperService<Router>,
    peer: Option<Peer>,
    requests: Requests,
}

impl Service<Request<Incoming>> for Serving {
    type Response = Response<Answering>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let busy = self.requests.begin();
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let answered = self.router.call(request);
        Box::pin(async move { Ok(answered.await?.map(|body| Answering { body, _busy: busy })) })
    }
}

/// The body of an answer; when it is dropped, the next request may begin.
struct Answering {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(3600);

    impl Accepts for TcpListener {
        type Stream = TcpStream;

        async fn accept(&self) -> std::io::Result<(TcpStream, Option<Peer>)> {
            TcpListener::accept(self).await.map(|(stream, _)| (stream, None))
        }

        fn name(&self) -> String {
            "a test".to_owned()
        }
    }

    /// Connects to a server with these times and places; the server runs as long as the test.
    async fn connected(tasks: &TaskTracker, times: Times, connections: usize) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().route("/", get(async || "answered"));
        let rules = Rules { router, connections, patience: Arc::new(|| pass(LONG)), times };
        tasks.spawn(serve(listener, rules, std::future::pending(), std::future::pending::<()>));
        let connect = async || TcpStream::connect(address).await.expect("a connection");
        (connect().await, connect().await)
    }

    async fn ask(stream: &mut TcpStream) {
        stream.write_all(REQUEST).await.expect("written");
        let mut answer = [0; 1024];
        let length = stream.read(&mut answer).await.expect("an answer");
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{:?}", &answer[..length]);
    }

    /// Waits until the server closes the connection; returns false if it does not.
    async fn closes(stream: &mut TcpStream, within: Duration) -> bool {
        let mut bytes = [0; 64];
        tokio::select! {
            read = stream.read(&mut bytes) => matches!(read, Ok(0) | Err(_)),
            () = pass(within) => false,
        }
    }

    #[tokio::test]
    async fn a_client_that_sends_no_whole_head_loses_its_connection() {
        let tasks = TaskTracker::new();
        let times = Times { head: SHORT, idle: LONG };
        let (mut silent, mut half) = connected(&tasks, times, 9).await;
        assert!(closes(&mut silent, Duration::from_secs(20)).await, "nothing was sent");
        let trickle = async {
            while half.write_all(b"G").await.is_ok() {
                pass(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = trickle => {}
            () = pass(Duration::from_secs(20)) => panic!("a head may not come a byte at a time"),
        }
        let (mut kept, mut later) = connected(&tasks, times, 9).await;
        ask(&mut kept).await;
        ask(&mut later).await;
        assert!(!closes(&mut kept, SHORT * 5).await, "between two requests there is more time");
        ask(&mut kept).await;
        later.write_all(b"GET /").await.expect("written");
        assert!(closes(&mut later, Duration::from_secs(20)).await, "the head of a later request");
    }

    #[tokio::test]
    async fn a_connection_without_further_requests_is_closed() {
        let tasks = TaskTracker::new();
        let (mut kept, mut new) = connected(&tasks, Times { head: LONG, idle: SHORT }, 9).await;
        ask(&mut kept).await;
        assert!(closes(&mut kept, Duration::from_secs(20)).await);
        assert!(!closes(&mut new, SHORT * 5).await, "a new one has the time for a head");
    }

    #[tokio::test]
    async fn connections_without_a_request_make_room() {
        let tasks = TaskTracker::new();
        let long = Times { head: LONG, idle: LONG };
        let (mut kept, mut next) = connected(&tasks, long, 1).await;
        ask(&mut kept).await;
        ask(&mut next).await;
        assert!(closes(&mut kept, Duration::from_secs(20)).await, "it was between two requests");
        let (mut silent, mut next) = connected(&tasks, long, 1).await;
        ask(&mut next).await;
        assert!(closes(&mut silent, Duration::from_secs(20)).await, "it sent no request");
    }
}
