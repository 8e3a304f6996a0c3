//! The client of the daemon's API: one request over the Unix socket, one answer, or a [`Failure`] that says why not.
//!
//! Only this module distinguishes what can go wrong on the way: no daemon (which socket, why, what to do), a server
//! that is not outboxd, a daemon that does not answer, a refusal. `docs/http.md` defines the format. An answer keeps
//! its original text, for `--json`; the fields that a command needs are read leniently, so that a newer daemon may
//! send more. Nothing is retried automatically: only the user knows whether a request may be sent twice.

use std::error::Error as StdError;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::{Json, render};
use crate::types::Page;
use crate::types::error::{ErrorBody, FieldError};

/// Timeout of an ordinary request. A commit takes milliseconds; a full disk or a locked queue takes seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Timeout of a batch, including its producer behind a pipe, and of requests about the whole queue.
const BATCH_WITHIN: Duration = Duration::from_secs(600);
/// Characters that are percent-encoded in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A client of one daemon.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

/// An answer of the daemon: JSON, with any status.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The unchanged text of the answer.
    pub(super) body: String,
    socket: PathBuf,
}

/// Whether a request may have had an effect even if no answer arrived.
#[derive(Debug, Clone, Copy)]
enum Asked {
    ToShow,
    ToAct,
}

/// Returns the line about a problem that is shown to a person.
pub(super) fn problem(error: &FieldError) -> String {
    let FieldError { field, problem, fix, .. } = error;
    let told = match (field.as_str(), problem.strip_prefix("names no ")) {
        // The command line has no field of this name.
        ("id", Some(what)) => format!("there is no {what}"),
        ("", _) => problem.clone(),
        _ => format!("`{field}` {problem}"),
    };
    let end = if fix.is_empty() { String::new() } else { format!("; {fix}") };
    render::line(&format!("{told}{end}"))
}

/// Returns a request as JSON, without the fields that are not given.
fn given(body: &impl Serialize) -> Result<Value, Failure> {
    let mut body = serde_json::to_value(body).map_err(|error| Failure::unexpected(error.into()))?;
    leave_out_nulls(&mut body);
    Ok(body)
}

/// Removes the nulls of an object, and of the objects in its arrays.
fn leave_out_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, value| !value.is_null());
            object.values_mut().filter(|value| value.is_array()).for_each(leave_out_nulls);
        }
        Value::Array(rows) => rows.iter_mut().for_each(leave_out_nulls),
        _ => {}
    }
}

impl Client {
    /// Creates a client of the daemon on `socket`; it connects with the first request.
    pub(super) fn new(socket: &Path) -> Result<Self, Failure> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder()
            .unix_socket(socket)
            .no_proxy()
            // A Unix socket needs no TLS. This saves reading the machine's certificates, and works without any.
            .tls_certs_only([])
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .user_agent(concat!("outboxd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::unexpected(error.into()))?;
        Ok(Self { http, socket: socket.to_owned() })
    }

    /// Returns the path of the daemon's socket.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends a GET request.
    pub(super) async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, Failure> {
        self.send(self.request(Method::GET, path).query(query), Asked::ToShow).await
    }

    /// Returns the whole id of the message that `id` names: itself, or the one that ends like it.
    ///
    /// # Errors
    /// Returns a failure if no message or more than one ends like it.
    pub(super) async fn whole_id(&self, id: &str) -> Result<String, Failure> {
        if !is_end_of_id(id) {
            return Ok(id.to_owned());
        }
        let found: Page<Named> = self.get("/v1/messages", &[("id_end", id), ("limit", "3")]).await?.read()?;
        match found.data.as_slice() {
            [one] => Ok(one.id.clone()),
            [] => Err(Failure::told(Exit::NotFound, format!("no message has an id that ends in {id}"))),
            several => {
                let ids: Vec<&str> = several.iter().map(|one| one.id.as_str()).collect();
                let told = format!(
                    "more than one message has an id that ends in {id}: {}; give the whole id",
                    ids.join(", ")
                );
                Err(Failure::told(Exit::Refused, told))
            }
        }
    }

    /// Returns the whole id of each message.
    pub(super) async fn whole_ids(&self, ids: &[String]) -> Result<Vec<String>, Failure> {
        let mut whole = Vec::with_capacity(ids.len());
        for id in ids {
            whole.push(self.whole_id(id).await?);
        }
        Ok(whole)
    }

    /// Sends GET requests, with a long timeout, until the last page; returns the rows of all pages. With `json` it prints each
    /// page on a line.
    pub(super) async fn pages<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        json: Json,
    ) -> Result<Vec<T>, Failure> {
        let (mut rows, mut cursor): (Vec<T>, Option<String>) = (Vec::new(), None);
        loop {
            let more = cursor.as_deref().map(|cursor| ("cursor", cursor));
            let query: Vec<_> = query.iter().copied().chain(more).collect();
            let request = self.request(Method::GET, path).query(&query).timeout(BATCH_WITHIN);
            let answer = self.send(request, Asked::ToShow).await?;
            if json.json {
                render::json(&answer.body)?;
            }
            let page: Page<T> = answer.read()?;
            rows.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(rows);
            }
        }
    }

    /// Sends a GET request for which the daemon reads its whole queue; long timeout.
    pub(super) async fn get_at_length(&self, path: &str) -> Result<Answer, Failure> {
        self.send(self.request(Method::GET, path).timeout(BATCH_WITHIN), Asked::ToShow).await
    }

    /// Checks that a campaign and an account exist: what names none may be a typing error.
    ///
    /// # Errors
    /// Returns the daemon's error if there is no such campaign or account.
    pub(super) async fn knows(&self, campaign: Option<&str>, account: Option<&str>) -> Result<(), Failure> {
        for (path, id) in [("/v1/campaigns", campaign), ("/v1/accounts", account)] {
            if let Some(id) = id {
                self.get_at_length(&format!("{path}/{}", segment(id.trim()))).await?.accepted()?;
            }
        }
        Ok(())
    }

    /// Sends a POST request that acts on the whole queue; long timeout.
    pub(super) async fn post_at_length(&self, path: &str, body: &impl Serialize) -> Result<Answer, Failure> {
        let request = self.request(Method::POST, path).timeout(BATCH_WITHIN);
        self.send(request.json(&given(body)?), Asked::ToAct).await
    }

    /// Sends a POST request.
    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Answer, Failure> {
        self.send(self.request(Method::POST, path).json(&given(body)?), Asked::ToAct).await
    }

    /// Sends a PATCH request, in which null has a meaning.
    pub(super) async fn patch(&self, path: &str, body: &impl Serialize) -> Result<Answer, Failure> {
        self.send(self.request(Method::PATCH, path).json(body), Asked::ToAct).await
    }

    /// Sends a DELETE request; long timeout, because the daemon asks Unipile.
    pub(super) async fn delete(&self, path: &str) -> Result<Answer, Failure> {
        self.send(self.request(Method::DELETE, path).timeout(BATCH_WITHIN), Asked::ToAct).await
    }

    /// Sends rows, one JSON object per line.
    pub(super) async fn post_rows(&self, path: &str, rows: reqwest::Body) -> Result<Answer, Failure> {
        let request = self.request(Method::POST, path).timeout(BATCH_WITHIN).body(rows);
        self.send(request.header(header::CONTENT_TYPE, "application/x-ndjson"), Asked::ToAct).await
    }

    /// Opens a stream of server-sent events.
    pub(super) async fn stream(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, Failure> {
        let request = self.http.get(format!("http://outboxd{path}")).query(query);
        let request = request.header(header::ACCEPT, "text/event-stream");
        let response = request.send().await.map_err(|error| self.lost(error, Asked::ToShow))?;
        if response.status().is_success() {
            return Ok(response);
        }
        self.answer(response, Asked::ToShow).await?.accepted()?;
        Err(Failure::told(Exit::Unexpected, "the daemon opened no stream; its log says why"))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://outboxd{path}")).timeout(ANSWER_WITHIN)
    }

    async fn send(&self, request: RequestBuilder, asked: Asked) -> Result<Answer, Failure> {
        let response = request.send().await.map_err(|error| self.lost(error, asked))?;
        self.answer(response, asked).await
    }

    async fn answer(&self, response: Response, asked: Asked) -> Result<Answer, Failure> {
        let status = response.status();
        let body = response.bytes().await.map_err(|error| self.lost(error, asked))?;
        let answer =
            Answer { status, body: String::from_utf8_lossy(&body).into_owned(), socket: self.socket.clone() };
        match serde_json::from_str::<IgnoredAny>(&answer.body) {
            Ok(_) => Ok(answer),
            Err(_) => Err(answer.foreign()),
        }
    }

    /// Returns why there is no answer.
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

/// Returns the failure for a daemon that is not running, with what to do.
fn not_running(shown: &str, socket: &Path, cause: &io::Error) -> Failure {
    let start = "start it with `outboxd serve`, or name another socket with `--socket PATH`";
    let is_socket = std::fs::metadata(socket).is_ok_and(|socket| socket.file_type().is_socket());
    let (why, fix) = match cause.kind() {
        io::ErrorKind::NotFound => ("there is no such file".to_owned(), start),
        io::ErrorKind::ConnectionRefused if !is_socket => {
            ("that is not a socket".to_owned(), "name the daemon's socket with `--socket PATH`")
        }
        io::ErrorKind::ConnectionRefused => ("no daemon listens on it".to_owned(), start),
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
    /// Reads the fields that a command needs.
    ///
    /// # Errors
    /// Returns a failure if the daemon refused, or if the server is not outboxd.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.accepted()?;
        serde_json::from_str(&self.body).map_err(|_| self.foreign())
    }

    /// Shows the answer: to a program as JSON, to a person as `text`.
    pub(super) fn show<T: DeserializeOwned>(
        &self,
        json: Json,
        text: impl FnOnce(T) -> String,
    ) -> Result<Exit, Failure> {
        if json.json {
            return self.pass_on();
        }
        render::print(&text(self.read()?)).map(|()| Exit::Done)
    }

    /// Prints the answer as JSON, whether accepted or refused.
    pub(super) fn pass_on(&self) -> Result<Exit, Failure> {
        render::json(&self.body)?;
        self.accepted()?;
        Ok(Exit::Done)
    }

    /// Returns the daemon's refusal as a failure with a line for each problem.
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
            StatusCode::BAD_REQUEST => Exit::Usage,
            status if status.is_client_error() => Exit::Refused,
            _ => Exit::Unexpected,
        };
        let mut lines: Vec<String> = all.iter().map(problem).collect();
        if let (Some(id), Some(first)) = (body.existing_id, lines.first_mut()) {
            *first = format!("{first} (that message is {})", render::line(&id));
        }
        Err(Failure::lines(exit, lines))
    }

    /// Returns the failure for an answer that does not have the format of the API.
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

/// Parses an id on the command line; accepts everything that can be a path segment.
pub(super) fn parse_id(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("it is empty; give an id".to_owned()),
        "." | ".." => Err("this is not an id".to_owned()),
        id => Ok(id.to_owned()),
    }
}

/// A message, as far as its id matters.
#[derive(Debug, Deserialize)]
struct Named {
    id: String,
}

/// Returns whether this is the end of the id of a message, as tables show it.
fn is_end_of_id(text: &str) -> bool {
    (render::SHORT_ID..render::WHOLE_ID).contains(&text.len())
        && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// Encodes `id` as one path segment.
pub(super) fn segment(id: &str) -> String {
    utf8_percent_encode(id, SEGMENT).to_string()
}

/// Returns the first error of type `E` in the chain below `error`.
fn source<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let below = std::iter::successors(error.source(), |error| (*error).source());
    below.into_iter().find_map(|error| error.downcast_ref::<E>())
}
