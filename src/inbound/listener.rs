//! The TCP listener: HTTP/1.1 with one path, `POST /webhooks/unipile`.
//!
//! A connection carries one request, with a deadline for each part of it: `axum::serve` has no such deadlines. So a slow
//! or hanging client keeps its place for a bounded time, and loses it to the next client when places are scarce.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::receive::{Answer, Webhooks};
use super::signature::{HEADER, Signature};
use crate::clock::Clock;
use crate::domain::content_encoding::is_compressed;

const PATH: &str = "/webhooks/unipile";
/// The refusal of a webhook without a signature.
pub const UNSIGNED: &str = "the header unipile-signature is missing or malformed";
/// How long the head of a request may take.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long the body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// How long a connection may take after its head: the body, up to 4 s to store it, and the answer.
const DONE_WITHIN: Duration = Duration::from_secs(20);
/// Maximum size of a head, in bytes.
const HEAD_BYTES: usize = 32 << 10;
/// How much of a refused body is read and discarded, as a multiple of the limit: a client that still writes while the
/// connection closes loses the answer.
const POLITE: usize = 4;
/// How long a connection waits for a place before another one that is still reading loses its own.
const DISPLACED_AFTER: Duration = Duration::from_millis(100);
/// The pause after the operating system refused to accept a connection, usually because files are scarce.
const AFTER_ERROR: Duration = Duration::from_millis(50);

/// A bound address; [`Listener::serve`] serves it.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why the address cannot be bound.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address} for webhooks; stop the program that uses the address, or set another webhooks.listen"
)]
pub struct ListenerError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

impl Listener {
    /// Binds `address`; with port 0 the system chooses a port.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenerError> {
        let failed = |source| ListenerError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Returns the address, with the port that the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves webhooks until `stop` completes and those already read are stored and answered.
    pub async fn serve(self, webhooks: Arc<Webhooks>, stop: impl Future<Output = ()> + Send) {
        let mut places = Places::new(webhooks.connections);
        let stopping = CancellationToken::new();
        let mut stop = pin!(stop);
        loop {
            let next = async {
                let (stream, _) = self.listener.accept().await?;
                Ok::<_, std::io::Error>((stream, places.next(webhooks.clock.as_ref()).await))
            };
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = next => accepted,
            };
            match accepted {
                Ok((stream, place)) => {
                    let give_up = stopping.child_token();
                    places.reading.push_back(give_up.clone());
                    let connection = serve_connection(stream, Arc::clone(&webhooks), give_up.clone());
                    webhooks.tasks.spawn(async move {
                        let _place = place;
                        let _done_reading = give_up.drop_guard();
                        connection.await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection for webhooks cannot be accepted");
                    webhooks.clock.sleep(AFTER_ERROR).await;
                }
            }
        }
        drop(self.listener);
        stopping.cancel();
        webhooks.tasks.close();
        webhooks.tasks.wait().await;
    }
}

/// The places for connections.
struct Places {
    free: Arc<Semaphore>,
    /// The connections whose request is still being read, oldest first. Cancelling one ends it; one that has read its
    /// request is cancelled without effect.
    reading: VecDeque<CancellationToken>,
}

impl Places {
    fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), reading: VecDeque::new() }
    }

    /// Returns a place as soon as one is free. While none is, ends the connection that has been reading the longest,
    /// one each [`DISPLACED_AFTER`]. Further connections wait in the operating system's queue, which is bounded.
    async fn next(&mut self, clock: &dyn Clock) -> OwnedSemaphorePermit {
        self.reading.retain(|connection| !connection.is_cancelled());
        let mut free = pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            tokio::select! {
                biased;
                place = free.as_mut() => return place.expect("it is never closed"),
                () = clock.sleep(DISPLACED_AFTER) => {
                    self.reading.retain(|connection| !connection.is_cancelled());
                    if let Some(oldest) = self.reading.pop_front() {
                        oldest.cancel();
                    }
                }
            }
        }
    }
}

/// Serves the one request of a connection; ends it if `give_up` is cancelled before the request is read.
async fn serve_connection(stream: TcpStream, webhooks: Arc<Webhooks>, give_up: CancellationToken) {
    let clock = Arc::clone(&webhooks.clock);
    let head_read = Arc::new(Notify::new());
    let service = service_fn(|request| {
        head_read.notify_one();
        let (webhooks, give_up) = (Arc::clone(&webhooks), give_up.clone());
        async move { Ok::<_, Infallible>(serve_request(&webhooks, request, &give_up).await) }
    });
    let mut http = http1::Builder::new();
    // A proxy that reuses connections would keep places occupied.
    http.keep_alive(false).max_buf_size(HEAD_BYTES);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        // A request that came in one piece has been read by now, which cancels `give_up`.
        biased;
        served = connection.as_mut() => return log_broken(served),
        () = head_read.notified() => {}
        () = clock.sleep(HEAD_WITHIN) => return,
        () = give_up.cancelled() => return,
    }
    tokio::select! {
        served = connection => log_broken(served),
        () = clock.sleep(DONE_WITHIN) => {}
    }
}

fn log_broken(served: hyper::Result<()>) {
    if let Err(error) = served {
        tracing::debug!(%error, "a connection for webhooks broke");
    }
}

async fn serve_request(
    webhooks: &Arc<Webhooks>,
    request: Request<Incoming>,
    give_up: &CancellationToken,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let is_known = head.uri.path() == PATH;
    let signature = signature(&head.headers).filter(|_| is_known && head.method == Method::POST);
    let limit = webhooks.body_bytes;
    let body = tokio::select! {
        body = read(body, limit, signature.is_some()) => body,
        () = webhooks.clock.sleep(BODY_WITHIN) => Err(StatusCode::REQUEST_TIMEOUT),
        () = give_up.cancelled() => Err(StatusCode::SERVICE_UNAVAILABLE),
    };
    // From here on it keeps its place.
    give_up.cancel();
    if !is_known {
        return refuse(StatusCode::NOT_FOUND, "unknown path; send webhooks to POST /webhooks/unipile");
    }
    if head.method != Method::POST {
        let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, "use POST");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let Some(signature) = signature else {
        webhooks.tally_mut().refused.unsigned += 1;
        return respond(Answer::Unsigned);
    };
    match body {
        Ok(_) if comes_compressed(&head.headers) => respond(webhooks.refuse_encoded()),
        Ok(body) => respond(webhooks.receive(signature, body).await),
        Err(status) => {
            let refused = &mut webhooks.tally_mut().refused;
            match status {
                StatusCode::PAYLOAD_TOO_LARGE => refused.too_large += 1,
                _ => refused.incomplete += 1,
            }
            refuse(status, body_problem(status))
        }
    }
}

/// Returns the signature, if there is exactly one and it is well-formed.
fn signature(headers: &HeaderMap) -> Option<Signature> {
    let mut values = headers.get_all(HEADER).iter();
    let value = values.next()?;
    values.next().is_none().then(|| Signature::parse(value.as_bytes())).flatten()
}

fn comes_compressed(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|value| is_compressed(value.as_bytes()))
}

/// Reads `body`, up to `limit` bytes. Without `is_kept` discards it.
async fn read(mut body: Incoming, limit: usize, is_kept: bool) -> Result<Vec<u8>, StatusCode> {
    let mut whole = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_broken_off| StatusCode::BAD_REQUEST)?;
        let Some(data) = frame.data_ref() else { continue };
        length = length.saturating_add(data.len());
        if length > limit.saturating_mul(POLITE) {
            break;
        }
        if length > limit {
            whole = Vec::new();
        } else if is_kept {
            whole.extend_from_slice(data);
        }
    }
    if length <= limit { Ok(whole) } else { Err(StatusCode::PAYLOAD_TOO_LARGE) }
}

fn body_problem(status: StatusCode) -> &'static str {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the body is longer than webhooks.body_bytes",
        StatusCode::REQUEST_TIMEOUT => "the body did not come in time",
        StatusCode::SERVICE_UNAVAILABLE => {
            "the body did not come before the daemon needed the connection or stopped; send it again"
        }
        _ => "the body broke off",
    }
}

fn respond(answer: Answer) -> Response<Full<Bytes>> {
    match answer {
        Answer::Stored => response(StatusCode::OK, Bytes::from_static(b"{}")),
        Answer::Unsigned => refuse(StatusCode::UNAUTHORIZED, UNSIGNED),
        Answer::Encoded => {
            refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body is compressed; send it uncompressed")
        }
        Answer::WrongSignature => refuse(StatusCode::UNAUTHORIZED, "the signature is wrong"),
        Answer::Stale => {
            refuse(StatusCode::UNAUTHORIZED, "the signature is stale: its time is too far from now")
        }
        Answer::NotAnEvent => refuse(StatusCode::BAD_REQUEST, "the body is not a JSON object with a type"),
        Answer::NotStored => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, "the webhook could not be stored; send it again")
        }
    }
}

fn refuse(status: StatusCode, problem: &'static str) -> Response<Full<Bytes>> {
    response(status, format!("{{\"error\":\"{problem}\"}}").into())
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
