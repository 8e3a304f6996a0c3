//! The real binary on a temporary database and socket against a sandbox in this process: helpers for the black-box
//! tests.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::config::Settings;
use outboxd::sandbox::{Call, Delivery, Sandbox, SandboxConfig};
use serde_json::{Value, json};

/// The test environment: the folder of a daemon and the sandbox that it sends to; daemons start and end in it.
pub(crate) struct TestEnv {
    folder: tempfile::TempDir,
    pub(crate) sandbox: Sandbox,
    environment: Vec<(String, String)>,
    ignores_file_limits: bool,
    /// The shell's command that sets limits of the processes.
    limits: Option<&'static str>,
}

/// A running `outboxd serve`.
pub(crate) struct Daemon {
    child: Child,
    /// Writes the daemon's log, if the daemon cannot do so itself.
    writer: Option<Child>,
    client: reqwest::Client,
}

impl TestEnv {
    pub(crate) async fn new() -> Self {
        // The first test of the process installs it; for the others this fails.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sandbox = Sandbox::start(SandboxConfig::default()).await.expect("a sandbox");
        Self { folder, sandbox, environment: Vec::new(), ignores_file_limits: false, limits: None }
    }

    /// Configures sends without pauses, caps and typing, in the order of arrival.
    pub(crate) fn hasty(self) -> Self {
        self.set("OUTBOXD_POLICY_ALLOW_GAP_BELOW_10S", "true")
            .set("OUTBOXD_POLICY_ALLOW_HIGH_CAPS", "true")
            .set("OUTBOXD_POLICY_DEFAULT_CAPS_ALL", "")
            .set("OUTBOXD_POLICY_DEFAULT_CAPS_NEW_CHAT", "")
            .set("OUTBOXD_POLICY_DEFAULT_CAPS_INMAIL", "")
            .set("OUTBOXD_POLICY_DEFAULT_COOLDOWN_FAILURES", "0")
            .set("OUTBOXD_POLICY_DEFAULT_ORDER_FOLLOW_UPS_FIRST", "false")
            .set("OUTBOXD_POLICY_DEFAULT_ORDER_PER_RECIPIENT", "0s")
            .set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "0s")
            .set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "0s")
            .set("OUTBOXD_POLICY_DEFAULT_TYPING_ENABLED", "false")
            .set("OUTBOXD_UNIPILE_REQUESTS_PER_SECOND", "1000")
            .set("OUTBOXD_UNIPILE_BURST", "1000")
            .set("OUTBOXD_UNIPILE_ACCOUNT_REQUESTS_PER_SECOND", "1000")
    }

    /// Makes a limit on the size of files fail a write, as a full disk does, instead of ending the process.
    pub(crate) fn ignoring_file_limits(mut self) -> Self {
        self.ignores_file_limits = true;
        self
    }

    /// Sets limits of the processes with a command of the shell, such as `ulimit -n 256`.
    pub(crate) fn limited(mut self, command: &'static str) -> Self {
        self.limits = Some(command);
        self
    }

    /// Sets the times of the read-backs after a call with an unknown outcome; "" leaves it to review.
    pub(crate) fn reconciling(self, after: &str) -> Self {
        self.set("OUTBOXD_POLICY_DEFAULT_RECONCILE_AFTER", after)
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("queue.sock")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the binary as a command with this environment, in its folder.
    pub(crate) fn outboxd(&self, arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_outboxd");
        // A signal that is ignored stays ignored after `exec`.
        let first = if self.ignores_file_limits { Some("trap '' XFSZ") } else { self.limits };
        let mut command = match first {
            Some(first) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("{first}; exec \"$0\" \"$@\""), binary]);
                shell
            }
            None => Command::new(binary),
        };
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.variables());
        command
    }

    /// Returns the environment variables that configure the daemon.
    fn variables(&self) -> Vec<(String, String)> {
        let path = |path: PathBuf| path.to_str().expect("a plain path").to_owned();
        let fixed = [
            ("OUTBOXD_STORE_PATH", path(self.database())),
            ("OUTBOXD_API_SOCKET", path(self.socket())),
            ("OUTBOXD_UNIPILE_BASE_URL", self.sandbox.url()),
            ("OUTBOXD_UNIPILE_API_KEY", "sandbox-key".to_owned()),
            ("OUTBOXD_ENGINE_SEED", "20261122".to_owned()),
        ];
        let fixed = fixed.into_iter().map(|(name, value)| (name.to_owned(), value));
        fixed.chain(self.environment.iter().cloned()).collect()
    }

    /// Returns the settings of a daemon of this environment, to start it in this process.
    pub(crate) fn settings(&self) -> Settings {
        let mut variables = std::collections::BTreeMap::new();
        variables.extend(self.variables());
        Settings::load(None, variables.into_iter()).expect("they are right").settings
    }

    /// Returns a client of the daemon's socket.
    pub(crate) fn client(&self) -> reqwest::Client {
        // Without the machine's certificates, which take long to read and which a Unix socket does not need.
        let client = reqwest::Client::builder().unix_socket(self.socket()).tls_certs_only([]);
        client.timeout(Duration::from_secs(20)).build().expect("a client")
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) async fn serve(&self) -> Daemon {
        let log =
            std::fs::File::options().create(true).append(true).open(self.path("log")).expect("a log file");
        // A limit on the daemon's files applies to its log as well, unless another program writes that.
        let mut writer = self.ignores_file_limits.then(|| {
            Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(log.try_clone().expect("a file"))
                .spawn()
                .expect("cat")
        });
        let stderr = match &mut writer {
            Some(writer) => Stdio::from(writer.stdin.take().expect("its input")),
            None => Stdio::from(log),
        };
        let child = self.outboxd(&["serve"]).stderr(stderr).spawn().expect("the daemon starts");
        let mut daemon = Daemon { child, writer, client: self.client() };
        let up = eventually(async || {
            if let Some(status) = daemon.child.try_wait().expect("a process") {
                panic!("the daemon ended with {status}: {}", self.log());
            }
            daemon.client.get("http://outboxd/healthz").send().await.is_ok()
        });
        assert!(up.await, "the daemon does not answer: {}", self.log());
        daemon
    }

    /// Returns everything that the daemons of this environment logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until the sandbox has delivered `n` messages.
    pub(crate) async fn delivered(&self, n: usize) -> Vec<Delivery> {
        let world = self.sandbox.world();
        let enough = eventually(async || world.delivered_count() >= n).await;
        assert!(enough, "{} of {n} were delivered: {}", world.delivered_count(), self.log());
        world.deliveries()
    }

    /// Returns the calls so far that are not reads, oldest first.
    pub(crate) fn writes(&self) -> Vec<Call> {
        let calls = self.sandbox.world().calls().into_iter();
        calls.filter(|call| !call.endpoint.is_read()).collect()
    }

    /// Runs SQL as another program would, on a connection of its own; returns the first column of the result.
    pub(crate) fn sql(&self, sql: &str) -> Vec<String> {
        let connection = rusqlite::Connection::open(self.database()).expect("the database");
        connection.busy_timeout(Duration::from_secs(5)).expect("busy timeout");
        let mut statement = connection.prepare(sql).expect("SQL");
        let rows = statement.query_map([], |row| row.get(0)).expect("it runs");
        rows.collect::<Result<_, _>>().expect("text")
    }

    /// Runs a program in the environment's folder with `input` on its standard input; `None` if it is not installed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str], input: &str) -> Option<(bool, String)> {
        let there = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path());
        there.is_ok().then(|| run(command, input))
    }
}

/// Runs `command` with `input`; returns whether it succeeded, and its output.
pub(crate) fn run(mut command: Command, input: &str) -> (bool, String) {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    // A program that does not read its input may have closed it already.
    let _closed_early = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.success(), said)
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }

    pub(crate) fn signal(&self, signal: &str) {
        // The shell's own `kill`: a machine without procps has no program of that name.
        let sent =
            Command::new("sh").args(["-c", &format!("kill {signal} {}", self.pid())]).status().expect("sh");
        assert!(sent.success());
    }

    /// Stops it with SIGTERM and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        self.signal("-TERM");
        assert_eq!(self.ended().await, Some(0));
    }

    /// Waits for its end; returns its exit code.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let mut code = None;
        let ended = eventually(async || match child.try_wait().expect("a process") {
            Some(status) => {
                code = status.code();
                true
            }
            None => false,
        });
        assert!(ended.await, "the daemon does not end");
        code
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.client.get(format!("http://outboxd{path}"))).await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        let request = self.client.post(format!("http://outboxd{path}"));
        answer(request.header("content-type", "application/json").body(body.to_owned())).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &str) -> (u16, Value) {
        answer(self.client.patch(format!("http://outboxd{path}")).body(body.to_owned())).await
    }

    pub(crate) async fn post_as(&self, path: &str, content_type: &str, body: Vec<u8>) -> (u16, Value) {
        let request = self.client.post(format!("http://outboxd{path}"));
        answer(request.header("content-type", content_type).body(body)).await
    }

    pub(crate) async fn post_with(&self, path: &str, header: (&str, &str), body: &str) -> (u16, Value) {
        let request = self.client.post(format!("http://outboxd{path}")).header(header.0, header.1);
        answer(request.body(body.to_owned())).await
    }

    /// Enqueues one message through the socket; returns its id.
    pub(crate) async fn enqueue(&self, body: &str) -> String {
        let (status, answer) = self.post("/v1/messages", body).await;
        assert_eq!(status, 201, "{answer}");
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// Waits until the message is in `state`; returns it.
    pub(crate) async fn becomes(&self, id: &str, state: &str) -> Value {
        let mut last = Value::Null;
        let became = eventually(async || {
            last = self.get(&format!("/v1/messages/{id}")).await.1;
            last["state"] == state
        });
        assert!(became.await, "{id} does not become {state}: {last}");
        last
    }
}

/// Starts a daemon that sends nothing, because everything is paused.
pub(crate) async fn quiet() -> (TestEnv, Daemon) {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    (env, daemon)
}

/// Queues a message, of account `acc_1` unless it names another one; returns its id.
pub(crate) async fn enqueue(daemon: &Daemon, mut message: Value) -> String {
    if message["account_id"].is_null() {
        message["account_id"] = json!("acc_1");
    }
    daemon.enqueue(&message.to_string()).await
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let text = answer.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
        if let Some(writer) = &mut self.writer {
            let _ended_with_the_daemon = writer.wait();
        }
    }
}

/// Polls `question` until it is true, for at most 60 s.
pub(crate) async fn eventually(mut question: impl AsyncFnMut() -> bool) -> bool {
    let clock = SystemClock::new();
    while clock.monotonic() < Duration::from_secs(60) {
        if question().await {
            return true;
        }
        clock.sleep(Duration::from_millis(10)).await;
    }
    false
}

/// Returns the pauses between the deliveries of an account, by arrival at the sandbox.
pub(crate) fn gaps(deliveries: &[Delivery], account: &str) -> Vec<Duration> {
    let mut at: Vec<Duration> =
        deliveries.iter().filter(|one| one.account_id == account).map(|one| one.at_monotonic).collect();
    at.sort_unstable();
    at.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Returns the texts that were delivered, sorted.
pub(crate) fn texts(deliveries: &[Delivery]) -> Vec<&str> {
    let mut texts: Vec<&str> = deliveries.iter().map(|one| one.text.as_str()).collect();
    texts.sort_unstable();
    texts
}
