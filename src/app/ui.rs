//! `outboxd ui`: opens a port on loopback for a browser and passes its requests on to the daemon's socket.
//!
//! Everyone on the machine can connect to the port, so a browser must bring a cookie. It gets the cookie for a one-time
//! address, which the command prints and opens. The pages of the dashboard are passed on, the API is not: no page needs
//! it. The daemon itself opens no port.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use crate::clock::ambient_secret;
use crate::http::READ_ONLY;

/// The path of the one-time address.
const ENTRY: &str = "/enter";

/// What a browser may see, and where.
#[derive(Debug, Clone)]
pub struct UiOptions {
    /// Socket of the daemon.
    pub socket: PathBuf,
    /// Port on 127.0.0.1; 0: one that is free.
    pub port: u16,
    /// Shows no buttons and passes on no change.
    pub read_only: bool,
    /// Opens the one-time address in the browser of this machine.
    pub open: bool,
}

/// A running port for a browser.
pub struct Ui {
    address: SocketAddr,
    once: String,
    server: AbortHandle,
}

/// What each request needs.
struct Gate {
    socket: PathBuf,
    read_only: bool,
    /// The hosts under which the port is reached.
    hosts: [String; 2],
    once: String,
    is_used: AtomicBool,
    cookie: String,
    connections: TaskTracker,
}

impl Ui {
    /// Opens the port.
    pub async fn start(options: &UiOptions) -> anyhow::Result<Self> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}; stop the program that uses it, or give another --port")
        })?;
        let address = listener.local_addr()?;
        let port = address.port();
        let secret = || URL_SAFE_NO_PAD.encode(ambient_secret());
        let once = secret();
        let gate = Arc::new(Gate {
            socket: options.socket.clone(),
            read_only: options.read_only,
            hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
            once: once.clone(),
            is_used: AtomicBool::new(false),
            // Cookies are not separated by port: two of these commands must not overwrite each other's.
            cookie: format!("outboxd_{port}={}", secret()),
            connections: TaskTracker::new(),
        });
        let tasks = gate.connections.clone();
        let router = Router::new().fallback(pass).with_state(gate);
        let server = tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the port for the browser takes no more requests");
            }
        });
        Ok(Self { address, once, server: server.abort_handle() })
    }

    /// Returns the one-time address.
    pub fn address(&self) -> String {
        format!("http://{}{ENTRY}?key={}", self.address, self.once)
    }

    /// Closes the port.
    pub fn stop(self) {
        self.server.abort();
    }
}

/// Opens the port and the browser, and serves until it is interrupted.
pub async fn ui(options: UiOptions) -> anyhow::Result<ExitCode> {
    let ui = Ui::start(&options).await?;
    let rights = if options.read_only { "It shows everything and changes nothing. " } else { "" };
    let told = format!("{}\nThis address works once. {rights}Ctrl-C ends it.\n", ui.address());
    let mut out = std::io::stdout();
    out.write_all(told.as_bytes()).and_then(|()| out.flush()).context("cannot print the address")?;
    if options.open {
        open(&ui.address());
    }
    tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
    ui.stop();
    Ok(ExitCode::SUCCESS)
}

/// Opens `address` in the browser of this machine; without one, the printed address is enough.
pub(super) fn open(address: &str) {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let silent = Stdio::null;
    let _the_address_is_printed =
        Command::new(opener).arg(address).stdin(silent()).stdout(silent()).stderr(silent()).spawn();
}

/// Passes a request on, if it may go.
async fn pass(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    match gate.refusal(&request) {
        None => gate.forward(request).await.unwrap_or_else(|error| {
            let text = format!("The daemon does not answer on {}: {error}.\n", gate.socket.display());
            (StatusCode::BAD_GATEWAY, text + "Start it with `outboxd serve`; this page works again then.\n")
                .into_response()
        }),
        Some(response) => response,
    }
}

impl Gate {
    /// Returns the answer to a request that is not passed on: the entry, or a refusal.
    fn refusal(&self, request: &Request) -> Option<Response> {
        let refuse = |text: &'static str| Some((StatusCode::FORBIDDEN, text).into_response());
        let (headers, uri) = (request.headers(), request.uri());
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.hosts.iter().any(|ours| ours == host) {
            return refuse("This port answers under 127.0.0.1 and localhost only.\n");
        }
        if uri.path() == ENTRY {
            let is_right = uri.query().and_then(|query| query.strip_prefix("key=")) == Some(&self.once);
            // Exactly one request can use it.
            if !is_right || self.is_used.swap(true, Ordering::SeqCst) {
                return refuse(
                    "This address works once and was used. Run `outboxd ui` again for a new one.\n",
                );
            }
            let cookie = format!("{}; Path=/; SameSite=Strict; HttpOnly", self.cookie);
            let see = (StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie)], [(header::LOCATION, "/")]);
            return Some(see.into_response());
        }
        if !self.has_cookie(headers) {
            return refuse("Open the address that `outboxd ui` printed; it lets this browser in.\n");
        }
        if uri.path().starts_with("/v1/") && uri.path() != "/v1/events" {
            return refuse("The API is on the socket of the daemon; this port shows its pages.\n");
        }
        if self.read_only && ![Method::GET, Method::HEAD].contains(request.method()) {
            return refuse(
                "This view is read-only. Start `outboxd ui` without --read-only to change something.\n",
            );
        }
        None
    }

    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        cookies.flat_map(|line| line.split(';')).any(|cookie| cookie.trim() == self.cookie)
    }

    async fn forward(&self, mut request: Request) -> anyhow::Result<Response> {
        let headers = request.headers_mut();
        for name in [header::COOKIE, header::CONNECTION, header::UPGRADE] {
            headers.remove(name);
        }
        headers.remove(READ_ONLY);
        if self.read_only {
            headers.insert(READ_ONLY, HeaderValue::from_static("yes"));
        }
        let stream = UnixStream::connect(&self.socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        self.connections.spawn(connection);
        let response = sender.send_request(request).await?;
        Ok(response.map(Body::new))
    }
}
