//! Socket activation: systemd listens, and the daemon takes the socket.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use crate::daemon::{TestEnv, eventually};

/// Listens at the path, and runs the daemon for it with the socket as descriptor 3, again for each line on its standard
/// input. This is what systemd does.
const SYSTEMD: &str = "
import os, socket, sys
path, program = sys.argv[1], sys.argv[2:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print('listening', flush=True)
while sys.stdin.readline():
    child = os.fork()
    if child == 0:
        os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
        os.execv(program[0], program)
    print(child, flush=True)
    print('ended', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
";

/// The stand-in for systemd, killed at the end of the test.
struct Systemd(Child);

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ended_already = self.0.kill();
        let _ended_already = self.0.wait();
    }
}

impl Systemd {
    fn listen(env: &TestEnv, path: &str) -> Self {
        let serve = env.outboxd(&["serve"]);
        let mut python = Command::new("python3");
        python.args(["-c", SYSTEMD, path]).arg(serve.get_program()).arg("serve").current_dir(env.path("."));
        python.env_clear().envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let log = std::fs::File::options().create(true).append(true).open(env.path("log")).unwrap();
        let child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut systemd = Self(child);
        assert_eq!(systemd.line(), "listening");
        systemd
    }

    /// Starts the daemon; returns its process id.
    fn start(&mut self) -> String {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let (mut line, mut byte) = (Vec::new(), [0]);
        let output = self.0.stdout.as_mut().unwrap();
        while output.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_wait_for_the_daemon_and_survive_its_restart() {
    let env = TestEnv::new().await;
    let path = env.socket();
    let mut systemd = Systemd::listen(&env, path.to_str().unwrap());
    // It connects before there is a daemon.
    let mut early = UnixStream::connect(&path).unwrap();
    early.write_all(b"GET /healthz HTTP/1.1\r\nhost: outboxd\r\nconnection: close\r\n\r\n").unwrap();
    for _ in 0..2 {
        let pid = systemd.start();
        let client = env.client();
        let up = eventually(async || client.get("http://outboxd/healthz").send().await.is_ok());
        assert!(up.await, "{}", env.log());
        let stopped = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().unwrap();
        assert!(stopped.success());
        assert_eq!(systemd.line(), "ended 0", "{}", env.log());
        assert!(path.exists(), "systemd keeps the socket");
    }
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(env.log().contains("systemd passed the socket"), "{}", env.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_no_setting_names_is_refused() {
    let env = TestEnv::new().await;
    let other = env.path("other.sock");
    let mut systemd = Systemd::listen(&env, other.to_str().unwrap());
    systemd.start();
    assert_eq!(systemd.line(), "ended 1");
    let log = env.log();
    assert!(
        log.contains(&format!("systemd listens on {}", other.display())) && log.contains("api.socket"),
        "{log}"
    );
}

#[test]
fn the_units_are_sound_and_confined() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not installed; the units are left out");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/systemd/check.sh");
    let output = Command::new(script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
