//! A fake daemon: the API of docs/http.md on a Unix socket in a folder of its own, with canned answers and a record
//! of the requests. The command line runs as users run it, as a process.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, header};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// One request, as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Method, path and query, such as `GET /v1/status`.
    pub(crate) what: String,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

/// The canned answer of a route.
#[derive(Debug, Clone)]
struct Canned {
    route: String,
    status: u16,
    content_type: &'static str,
    body: String,
}

type Shared = Arc<(Vec<Canned>, Mutex<Vec<Asked>>)>;

/// The answers of a fake daemon.
#[derive(Default)]
pub(crate) struct Answers(Vec<Canned>);

/// A fake daemon. Dropping it ends it.
pub(crate) struct Fake {
    folder: TempDir,
    shared: Shared,
    _tasks: JoinSet<()>,
    _runtime: Runtime,
}

#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the command against a fake daemon with one canned answer; returns the requests, and how the command ended.
pub(crate) fn one(route: &str, status: u16, body: &str, arguments: &[&str]) -> (Vec<Asked>, Ran) {
    let fake = Answers::default().on(route, status, body).start();
    let ran = fake.run(arguments);
    (fake.asked(), ran)
}

impl Answers {
    /// Answers `route`, such as `GET /v1/status` without the query, with this JSON.
    pub(crate) fn on(self, route: &str, status: u16, body: &str) -> Self {
        self.with(route, status, "application/json", body)
    }

    /// Answers `route` with a body of any type.
    pub(crate) fn with(mut self, route: &str, status: u16, content_type: &'static str, body: &str) -> Self {
        let (route, body) = (route.to_owned(), body.to_owned());
        self.0.push(Canned { route, status, content_type, body });
        self
    }

    pub(crate) fn start(self) -> Fake {
        let folder = tempfile::tempdir().unwrap();
        let shared: Shared = Arc::new((self.0, Mutex::default()));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _entered = runtime.enter();
            UnixListener::bind(folder.path().join("outboxd.sock")).unwrap()
        };
        let router = Router::new().fallback(answer).with_state(shared.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn_on(async move { axum::serve(listener, router).await.unwrap() }, runtime.handle());
        Fake { folder, shared, _tasks: tasks, _runtime: runtime }
    }
}

/// Returns the answer of the route; the n-th request gets the n-th answer of its route, or the last one.
async fn answer(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let route = format!("{} {}", request.method(), request.uri().path());
    let what = format!("{} {}", request.method(), request.uri());
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default();
    let canned: Vec<Canned> = shared.0.iter().filter(|canned| canned.route == route).cloned().collect();
    let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let before = {
        let mut asked = shared.1.lock().unwrap();
        asked.push(Asked { what, content_type, body });
        asked.iter().filter(|asked| asked.what.split('?').next() == Some(route.as_str())).count() - 1
    };
    let (status, content_type, body) = match canned.get(before).or(canned.last()) {
        Some(canned) => (canned.status, canned.content_type, canned.body.clone()),
        None => (500, "text/plain", format!("the test has no answer for {route}")),
    };
    Response::builder().status(status).header(header::CONTENT_TYPE, content_type).body(body.into()).unwrap()
}

impl Fake {
    /// Runs the command line against this daemon.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// Runs the command line with `input` on standard input.
    pub(crate) fn run_with(&self, input: &str, arguments: &[&str]) -> Ran {
        let mut child: Child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ran::of(child.wait_with_output().unwrap())
    }

    /// Returns the command, in the folder of this daemon, where the default socket is its own.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = outboxd(arguments);
        command.current_dir(self.folder.path());
        command
    }

    /// Writes a file into the daemon's folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Returns all requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.1.lock().unwrap().clone()
    }
}

/// Returns the binary as a command, in a known environment.
pub(crate) fn outboxd(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
    command.args(arguments).env_clear().env("TZ", "Europe/Berlin").stdin(Stdio::null());
    command
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Asserts that the command succeeded and had no remarks; returns what it printed.
    #[track_caller]
    pub(crate) fn succeeded(&self) -> &str {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        &self.out
    }

    /// Asserts the exit code, standard output and standard error.
    #[track_caller]
    pub(crate) fn is(&self, code: i32, out: &str, err: &str) {
        assert_eq!((self.out.as_str(), self.err.as_str()), (out, err));
        assert_eq!(self.code, code);
    }
}
