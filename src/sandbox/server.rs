//! Sockets and tasks: accepts connections, serves each, and can drop one without an answer.
//!
//! Started by `Sandbox::start`. It does not use `axum::serve`, which always answers: here a response that carries the
//! marker [`Cut`] becomes an error of the service, upon which hyper closes the connection. Every task belongs to one
//! tracker and ends when the token is cancelled.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{DATE, HeaderValue};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};

use super::http;
use super::reply::Cut;
use super::service::Service;
use super::world::World;

type Routes = TowerToHyperService<axum::Router>;

/// Serves `listener` until the sandbox stops.
pub(super) async fn accept(listener: TcpListener, service: Service) {
    let routes = TowerToHyperService::new(http::routes(service.clone()));
    while let Some(accepted) = service.stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                let connection = serve(stream, routes.clone(), Arc::clone(&service.world));
                service.tasks.spawn(service.stop.clone().run_until_cancelled_owned(connection));
            }
            Err(error) => {
                // Usually it is out of file descriptors: accepting again at once would only spin.
                tracing::warn!(%error, "the sandbox cannot accept a connection");
                service.world.clock().sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, routes: Routes, world: Arc<World>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::trace!(%error, "TCP_NODELAY could not be set");
    }
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (answer, world) = (routes.call(request), Arc::clone(&world));
        async move {
            match answer.await {
                Ok(response) => uncut(dated(response, world.clock().now())),
                Err(never) => match never {},
            }
        }
    });
    if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        tracing::trace!(%error, "a connection to the sandbox broke");
    }
}

/// Dates an answer by the sandbox's clock; hyper would by that of the machine.
fn dated(mut response: Response, now: Timestamp) -> Response {
    let date = httpdate::fmt_http_date(now.into());
    response.headers_mut().insert(DATE, HeaderValue::from_str(&date).expect("a date is visible ASCII"));
    response
}

fn uncut(response: Response) -> io::Result<Response> {
    if response.extensions().get::<Cut>().is_some() {
        return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "a cut was asked for"));
    }
    Ok(response)
}
