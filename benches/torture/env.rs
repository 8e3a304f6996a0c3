//! The test environment: the daemon and the sandbox as processes, and the folder that they work in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

/// Shortest pause between two calls of an account; the check of P3 uses it.
pub(crate) const GAP_MIN: Duration = Duration::from_millis(300);
/// Longest pause between two calls of an account.
pub(crate) const GAP_MAX: Duration = Duration::from_millis(1100);
/// Time of the last read-back after a call.
pub(crate) const LAST_READ: Duration = Duration::from_secs(4);

/// Pauses far below what a real configuration may use, so that a run ends within minutes; on the last five accounts a
/// message that is absent goes to review, on the others it is sent once more.
const CONFIGURATION: &str = r#"
[policy]
allow_gap_below_10s = true
allow_high_caps = true
[policy.default]
gap.min = "300ms"
gap.max = "1100ms"
typing.base = "20ms"
typing.per_char_min = "1ms"
typing.per_char_max = "3ms"
typing.min = "20ms"
typing.max = "200ms"
retry.base = "1s"
retry.max = "3s"
caps.all = ""
caps.new_chat = ""
cooldown.failures = 0
order.per_recipient = "0s"
reconcile.after = "500ms, 1500ms, 4s"
reconcile.absent = "resend"
[unipile]
requests_per_second = 1000
burst = 1000
account_requests_per_second = 1000
request_timeout = "1s"
[log]
level = "warn"
"#;

/// Errors of a daemon's wall clock in seconds, at its start and while it runs.
const OFF_BY: [i64; 8] = [0, 0, 2, -2, 3600, -3600, 26 * 3600, -400 * 86_400];

/// libfaketime, if it is installed (Debian's package `faketime`).
fn libfaketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let mut found = folders.flatten().map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    found.find(|library| library.exists())
}

/// A running sandbox, and a folder for the queue.
pub(crate) struct TestEnv {
    folder: tempfile::TempDir,
    sandbox: Child,
    address: String,
    seed: u64,
    libfaketime: Option<PathBuf>,
    clocks_set: AtomicUsize,
}

/// A daemon that runs or has been killed.
pub(crate) struct Daemon {
    child: Arc<Mutex<Child>>,
    socket: PathBuf,
}

impl TestEnv {
    /// Starts the sandbox.
    pub(crate) fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut configuration = CONFIGURATION.to_owned();
        for account in 15..super::ACCOUNTS {
            configuration.push_str(&format!("[account.acc_{account}]\nreconcile.absent = \"review\"\n"));
        }
        std::fs::write(folder.path().join("outboxd.toml"), configuration).expect("a file");
        let mut sandbox = Command::new(env!("CARGO_BIN_EXE_outboxd"))
            .args(["sandbox", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the sandbox starts");
        let mut line = String::new();
        let out = sandbox.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("its first line");
        let url = line.split_whitespace().find_map(|word| word.strip_prefix("http://")).expect("an address");
        let address = url.trim_end_matches([';', '.']).to_owned();
        let env = Self {
            folder,
            sandbox,
            address,
            seed,
            libfaketime: libfaketime(),
            clocks_set: AtomicUsize::new(0),
        };
        env.set_clock(0);
        env
    }

    /// Sets the wall clock of the daemons, where that is possible, to the error of [`OFF_BY`] that `draw` selects.
    pub(crate) fn set_clock_to(&self, draw: usize) {
        self.set_clock(OFF_BY[draw % OFF_BY.len()]);
    }

    /// Sets the wall clock of the daemons off by `seconds`.
    pub(crate) fn set_clock(&self, seconds: i64) {
        let (new, path) = (self.folder.path().join("offset.new"), self.folder.path().join("offset"));
        self.clocks_set.fetch_add(1, Ordering::Relaxed);
        // Replaces the whole file: the daemon reads it all the time.
        std::fs::write(&new, format!("{seconds:+}")).expect("a file");
        std::fs::rename(new, path).expect("a file");
    }

    /// Returns how often the wall clock was set.
    pub(crate) fn clocks_set(&self) -> usize {
        self.clocks_set.load(Ordering::Relaxed)
    }

    /// Returns whether the daemons' wall clock can be wrong.
    pub(crate) fn has_wrong_clocks(&self) -> bool {
        self.libfaketime.is_some()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("queue.db")
    }

    /// Returns the socket of this environment's daemons.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("queue.sock")
    }

    /// Returns what the daemons of this environment have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Starts a daemon without waiting for it.
    pub(crate) fn serve(&self) -> Daemon {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_outboxd"));
        command.arg("serve").current_dir(self.folder.path()).env_clear();
        if let Some(library) = &self.libfaketime {
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", self.folder.path().join("offset"))
                .env("FAKETIME_NO_CACHE", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
        }
        let child = command
            .env("OUTBOXD_CONFIG", self.folder.path().join("outboxd.toml"))
            .env("OUTBOXD_STORE_PATH", self.database())
            .env("OUTBOXD_API_SOCKET", self.socket())
            .env("OUTBOXD_UNIPILE_BASE_URL", format!("http://{}", self.address))
            .env("OUTBOXD_UNIPILE_API_KEY", "sandbox-key")
            .env("OUTBOXD_ENGINE_SEED", self.seed.max(1).to_string())
            // Clocks that are ahead would leave most of the queue to a person, and little would be sent.
            .env("OUTBOXD_ENGINE_STALE_AFTER", "0s")
            .stdout(Stdio::null())
            .stderr(log.expect("a log"))
            .spawn()
            .expect("the daemon starts");
        Daemon { child: Arc::new(Mutex::new(child)), socket: self.socket() }
    }

    /// Keeps the folder with the queue and the log, adds what the sandbox saw, and returns its path.
    pub(crate) fn keep(&mut self) -> PathBuf {
        for name in ["ledger", "calls"] {
            let seen = self.sandbox_get(&format!("/sandbox/{name}")).to_string();
            std::fs::write(self.folder.path().join(name).with_extension("json"), seen).expect("a file");
        }
        self.folder.disable_cleanup(true);
        self.folder.path().to_owned()
    }

    /// Opens a connection to the queue, as another program does.
    pub(crate) fn sql(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.database()).expect("the queue");
        connection.busy_timeout(Duration::from_secs(10)).expect("busy timeout");
        connection
    }

    /// Returns the number of messages that are neither in a final state nor in review.
    pub(crate) fn unfinished(&self) -> i64 {
        const SQL: &str =
            "SELECT count(*) FROM messages WHERE state IN ('new', 'queued', 'sending', 'uncertain')";
        self.sql().query_row(SQL, [], |row| row.get(0)).unwrap_or(i64::MAX)
    }

    /// Returns the sandbox's answer to a GET.
    pub(crate) fn sandbox_get(&self, path: &str) -> Value {
        let answer = self.sandbox(&format!("GET {path} HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n"));
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Posts `body` to the sandbox.
    pub(crate) fn sandbox_post(&self, path: &str, body: &Value) {
        let body = body.to_string();
        let length = body.len();
        self.sandbox(&format!(
            "POST {path} HTTP/1.1\r\nhost: s\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
    }

    fn sandbox(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("the sandbox listens");
        stream.write_all(request.as_bytes()).expect("write");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 2"), "{head} {body}");
        body.to_owned()
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        let _gone_already = self.sandbox.kill();
        let _gone_already = self.sandbox.wait();
    }
}

impl Daemon {
    /// Waits until it listens, for ten seconds at most.
    pub(crate) fn opened(&self) -> bool {
        for _ in 0..5000 {
            if UnixStream::connect(&self.socket).is_ok() {
                return true;
            }
            pause(Duration::from_millis(2));
        }
        false
    }

    /// Kills it with `kill -9` after `moment`, whatever else is going on then.
    pub(crate) fn kill_after(&self, moment: Duration) -> JoinHandle<()> {
        let child = Arc::clone(&self.child);
        std::thread::spawn(move || {
            pause(moment);
            end(&child);
        })
    }

    /// Kills it with `kill -9`, unless it is dead.
    pub(crate) fn kill(&self) {
        end(&self.child);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        end(&self.child);
    }
}

fn end(child: &Mutex<Child>) {
    let mut child = child.lock().expect("nobody panics while holding it");
    let _gone_already = child.kill();
    let _gone_already = child.wait();
}

#[expect(clippy::disallowed_methods, reason = "a benchmark has a thread to wait in")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
