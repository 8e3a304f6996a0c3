//! The background of a sandbox with a socket: people do what is due, and webhooks go out over HTTP.
//!
//! Started by `Sandbox::start`. `posts` decides what may go; this file only makes the calls. Nothing leaves the
//! machine: it POSTs to loopback addresses over plain HTTP, and records a failure for any other URL.

use std::io;
use std::net::IpAddr;

use axum::body::Bytes;
use axum::http::{Request, Uri, header};
use futures_util::future::{self, Either};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::posts::Post;
use super::service::Service;
use super::world::World;

/// Largest answer of a receiver that is read.
const LARGEST_ANSWER_BYTES: usize = 64 << 10;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Works until the sandbox stops.
pub(super) async fn run(service: Service) {
    let work = async {
        loop {
            service.world.run_due();
            while let Some(post) = service.world.take_post() {
                let world = service.world.clone();
                let delivery = async move { deliver(&world, &post).await };
                service.tasks.spawn(service.stop.clone().run_until_cancelled_owned(delivery));
            }
            pause(&service.world).await;
        }
    };
    let _stopped: Option<()> = service.stop.run_until_cancelled(work).await;
}

/// Waits until something is due or has changed.
async fn pause(world: &World) {
    let Some(due) = world.next_due() else { return world.changed().await };
    let wait = due.saturating_sub(world.elapsed());
    let changed = std::pin::pin!(world.changed());
    future::select(changed, world.clock().sleep(wait)).await;
}

async fn deliver(world: &World, post: &Post) {
    let timeout = world.clock().sleep(world.config().webhook_timeout);
    let sending = std::pin::pin!(send(post));
    match future::select(sending, timeout).await {
        Either::Left((Ok((status, body)), _)) => world.posted(post, Some(status), Some(&body)),
        Either::Left((Err(error), _)) => {
            tracing::debug!(url = post.url, %error, "a webhook of the sandbox was not delivered");
            world.posted(post, None, None);
        }
        Either::Right(_) => world.posted(post, None, None),
    }
}

/// Returns the status and the body of the answer.
async fn send(post: &Post) -> Result<(u16, String), AnyError> {
    let uri: Uri = post.url.parse()?;
    let stream = connect(&uri).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let mut request = Request::post(path)
        .header(header::HOST, host)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, "Unipile-Sandbox");
    if let Some(signature) = &post.signature {
        request = request.header("unipile-signature", signature);
    }
    let request = request.body(Full::new(Bytes::from(post.body.clone())))?;
    let exchange = std::pin::pin!(async move {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LARGEST_ANSWER_BYTES).collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    });
    match future::select(exchange, std::pin::pin!(connection)).await {
        Either::Left((answer, _)) => answer,
        // The connection has ended; what it received is still there to read.
        Either::Right((_, exchange)) => exchange.await,
    }
}

async fn connect(uri: &Uri) -> io::Result<TcpStream> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if uri.scheme_str() != Some("http") || !is_loopback {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the sandbox delivers only to http:// on this machine",
        ));
    }
    TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await
}
