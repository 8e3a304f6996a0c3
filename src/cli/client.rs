//! The daemon's API, as a verb asks it: one request over the Unix socket, one answer, or a [`Failure`] that says why not.
//!
//! What can go wrong on the way is told apart here and nowhere else: no daemon (which socket, why, what to do), something
//! that is not outboxd, a daemon that does not answer, a refusal. The forms are those of `docs/http.md`. An answer keeps
//! its text as it came, for `--json`; what a verb needs of it is read leniently, so that a newer daemon may say more.
//! Nothing is repeated on its own: only the person knows whether a request may go twice.

use std::error::Error as StdError;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, StatusCode, header};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::render;

/// How long the daemon may take to answer. A commit takes milliseconds; a full disk or a locked queue takes seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How long a batch may take, its producer behind a pipe included, or what concerns the whole queue.
const BATCH_WITHIN: Duration = Duration::from_secs(600);
/// What stands in a path segment as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A client of one daemon.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

/// What the daemon answered: JSON, whatever its status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// As it came.
    pub(super) body: String,
    socket: PathBuf,
}

/// Whether it matters that a request may have been heard although nobody answered.
#[derive(Debug, Clone, Copy)]
enum Asked {
    ToShow,
    ToAct,
}

/// One thing that the daemon refused.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Refusal {
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    field: String,
    problem: String,
    #[serde(default)]
    fix: String,
}

/// The form of every error.
#[derive(Debug, Deserialize)]
struct ErrorBody {
    error: Refusal,
    #[serde(default)]
    errors: Vec<Refusal>,
    existing_id: Option<String>,
}

impl Refusal {
    /// The line that a person reads.
    pub(super) fn line(&self) -> String {
        let mut line = match self.field.as_str() {
            "" => self.problem.clone(),
            field => format!("`{field}` {}", self.problem),
        };
        if !self.fix.is_empty() {
            line = format!("{line}; {}", self.fix);
        }
        render::line(&line)
    }
}

impl Client {
    /// A client of the daemon on `socket`; connects when it is first asked.
    pub(super) fn new(socket: &Path) -> Result<Self, Failure> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            // No TLS on a socket file: this spares the reading of the machine's certificates, and the need for any.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("outboxd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::unexpected(error.into()))?;
        Ok(Self { http, socket: socket.to_owned() })
    }

    /// Asks for what stands at `path`.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Failure> {
        self.send(self.request(Method::GET, path).query(query), Asked::ToShow).await
    }

    /// Asks for something for which the daemon looks through all of its queue.
    pub(super) async fn get_at_length(&self, path: &str) -> Result<Answer, Failure> {
        self.send(self.request(Method::GET, path).timeout(BATCH_WITHIN), Asked::ToShow).await
    }

    /// Asks for something to be done with all of its queue.
    pub(super) async fn post_at_length(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.send(self.request(Method::POST, path).timeout(BATCH_WITHIN).json(body), Asked::ToAct).await
    }

    /// Asks for something to be done.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.send(self.request(Method::POST, path).json(body), Asked::ToAct).await
    }

    /// Asks for something to be changed.
    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Answer, Failure> {
        self.send(self.request(Method::PATCH, path).json(body), Asked::ToAct).await
    }

    /// Sends rows, one JSON object a line.
    pub(super) async fn post_rows(&self, path: &str, rows: reqwest::Body) -> Result<Answer, Failure> {
        let request = self.request(Method::POST, path).timeout(BATCH_WITHIN).body(rows);
        self.send(request.header(header::CONTENT_TYPE, "application/x-ndjson"), Asked::ToAct).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://outboxd{path}")).timeout(ANSWER_WITHIN)
    }

    async fn send(&self, request: RequestBuilder, asked: Asked) -> Result<Answer, Failure> {
        let response = request.send().await.map_err(|error| self.lost(error, asked))?;
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.lost(error, asked))?;
        let answer =
            Answer { status, body: String::from_utf8_lossy(&body).into_owned(), socket: self.socket.clone() };
        match serde_json::from_str::<IgnoredAny>(&answer.body) {
            Ok(_) => Ok(answer),
            Err(_) => Err(answer.foreign()),
        }
    }

    /// Why there is no answer.
    fn lost(&self, error: reqwest::Error, asked: Asked) -> Failure {
        let socket = render::line(&self.socket.display().to_string());
        if error.is_connect()
            && let Some(cause) = source::<io::Error>(&error)
        {
            return not_running(&socket, &self.socket, cause);
        }
        if error.is_timeout() {
            let text = "took the request and did not answer in time; its log says what keeps it";
            return Failure::told(Exit::Unexpected, format!("the daemon on {socket} {text}"));
        }
        let hyper = source::<hyper::Error>(&error);
        if hyper.is_some_and(hyper::Error::is_parse) {
            let text = "does not speak HTTP, so it is not outboxd; `--socket PATH` names another one";
            return Failure::told(Exit::Unexpected, format!("what listens on {socket} {text}"));
        }
        if hyper.is_some_and(hyper::Error::is_user) {
            let text = "the rows could not be read to their end; those before that may be stored";
            return Failure::unexpected(anyhow::Error::new(error.without_url()).context(text));
        }
        let text = match asked {
            Asked::ToShow => "; its log says why",
            Asked::ToAct => {
                ": it stops, or the request is over its `api.body_bytes`; what was asked may be done all the same, so \
                 look with `outboxd list`, or send it again under the same `dedupe_key`"
            }
        };
        let start = format!("the daemon on {socket} broke the connection before it had answered");
        Failure::told(Exit::Unexpected, format!("{start}{text}"))
    }
}

/// No daemon, and what to do.
fn not_running(shown: &str, socket: &Path, cause: &io::Error) -> Failure {
    let start = "start it with `outboxd serve`, or name another socket with `--socket PATH`";
    let is_socket = std::fs::metadata(socket).is_ok_and(|socket| socket.file_type().is_socket());
    let (why, fix) = match cause.kind() {
        io::ErrorKind::NotFound => ("there is no such file".to_owned(), start),
        io::ErrorKind::ConnectionRefused if !is_socket => {
            ("that is not a socket".to_owned(), "name the daemon's socket with `--socket PATH`")
        }
        io::ErrorKind::ConnectionRefused => ("nobody listens on it".to_owned(), start),
        io::ErrorKind::PermissionDenied => {
            let fix = "join the group that owns the socket (`ls -l` shows it), or name another socket with `--socket PATH`";
            return Failure::told(
                Exit::NotRunning,
                format!("the daemon cannot be reached on {shown}: permission denied; {fix}"),
            );
        }
        _ => (cause.to_string(), start),
    };
    Failure::told(Exit::NotRunning, format!("the daemon is not running on {shown}: {why}; {fix}"))
}

impl Answer {
    /// What a verb needs of it.
    ///
    /// # Errors
    /// The daemon refused, or what answered is no daemon.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.accepted()?;
        serde_json::from_str(&self.body).map_err(|_| self.foreign())
    }

    /// Shows it to a program, refused or not.
    pub(super) fn pass_on(&self) -> Result<Exit, Failure> {
        render::json(&self.body)?;
        self.accepted()?;
        Ok(Exit::Done)
    }

    /// What the daemon refused, as a failure with a line for each problem.
    pub(super) fn accepted(&self) -> Result<(), Failure> {
        if self.status.is_success() {
            return Ok(());
        }
        let Ok(body) = serde_json::from_str::<ErrorBody>(&self.body) else {
            return Err(self.foreign());
        };
        let all = if body.errors.is_empty() { vec![body.error] } else { body.errors };
        let exit = match self.status {
            StatusCode::NOT_FOUND => Exit::NotFound,
            status if status.is_client_error() => Exit::Refused,
            _ => Exit::Unexpected,
        };
        let mut lines: Vec<String> = all.iter().map(Refusal::line).collect();
        if let (Some(id), Some(first)) = (body.existing_id, lines.first_mut()) {
            *first = format!("{first} (that message is {})", render::line(&id));
        }
        Err(Failure::lines(exit, lines))
    }

    /// It has none of the forms of our API.
    pub(super) fn foreign(&self) -> Failure {
        let start: String = self.body.chars().take(80).collect();
        let text = format!(
            "what answers on {} is not outboxd, or one of another version (HTTP {}: {:?}); `--socket PATH` names another one",
            render::line(&self.socket.display().to_string()),
            self.status.as_u16(),
            start,
        );
        Failure::told(Exit::Unexpected, text)
    }
}

/// An id on the command line: any that can be a segment of a path.
pub(super) fn parse_id(text: &str) -> Result<String, String> {
    match text {
        "" => Err("it is empty; give an id".to_owned()),
        "." | ".." => Err("this is no id".to_owned()),
        id => Ok(id.to_owned()),
    }
}

/// `id` as one segment of a path.
pub(super) fn segment(id: &str) -> String {
    utf8_percent_encode(id, SEGMENT).to_string()
}

/// The first error of type `E` below `error`.
fn source<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let below = std::iter::successors(error.source(), |error| (*error).source());
    below.into_iter().find_map(|error| error.downcast_ref::<E>())
}
