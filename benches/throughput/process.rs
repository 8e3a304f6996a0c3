//! The daemon and the sandbox as processes, killed when they go out of scope.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A child process.
pub(crate) struct Running {
    child: Child,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }
}

/// Starts a daemon on a database in `folder`, as fast as the configuration allows; returns its database and its
/// socket as well.
pub(crate) fn daemon(
    folder: &Path,
    name: &str,
    url: &str,
    extra: &[(&str, &str)],
) -> (Running, PathBuf, PathBuf) {
    let (database, socket) = (folder.join(format!("{name}.db")), folder.join(format!("{name}.sock")));
    let child = Command::new(env!("CARGO_BIN_EXE_outboxd"))
        .arg("serve")
        .env("OUTBOXD_STORE_PATH", &database)
        .env("OUTBOXD_API_SOCKET", &socket)
        .env("OUTBOXD_UNIPILE_BASE_URL", url)
        .env("OUTBOXD_UNIPILE_API_KEY", "sandbox-key")
        .env("OUTBOXD_UNIPILE_REQUESTS_PER_SECOND", "1000")
        .env("OUTBOXD_UNIPILE_BURST", "1000")
        .env("OUTBOXD_UNIPILE_ACCOUNT_REQUESTS_PER_SECOND", "1000")
        .env("OUTBOXD_POLICY_ALLOW_GAP_BELOW_10S", "true")
        .env("OUTBOXD_POLICY_ALLOW_HIGH_CAPS", "true")
        .env("OUTBOXD_POLICY_DEFAULT_CAPS_ALL", "")
        .env("OUTBOXD_POLICY_DEFAULT_CAPS_NEW_CHAT", "")
        .env("OUTBOXD_POLICY_DEFAULT_CAPS_INMAIL", "")
        .env("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "0s")
        .env("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "0s")
        .env("OUTBOXD_POLICY_DEFAULT_TYPING_ENABLED", "false")
        .env("OUTBOXD_LOG_LEVEL", "error")
        .envs(extra.iter().copied())
        .stdout(Stdio::null())
        .spawn()
        .expect("the daemon starts");
    let running = Running { child };
    for _ in 0..2000 {
        if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
            return (running, database, socket);
        }
        pause(Duration::from_millis(10));
    }
    panic!("the daemon did not open its socket within 20 s");
}

/// Starts a sandbox; returns its address as well.
pub(crate) fn sandbox() -> (Running, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_outboxd"))
        .args(["sandbox", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the sandbox starts");
    let out = child.stdout.take().expect("piped");
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).expect("its first line");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).expect("an address");
    (Running { child }, url.trim_end_matches([';', '.']).to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark has a thread to wait in")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
