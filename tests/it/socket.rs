//! The socket itself: its name, and clients that send a body where none is read.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::daemon::{TestEnv, run};

/// systemd-tmpfiles removes a socket that the kernel does not list under its name.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_path_starts_and_the_kernel_knows_the_socket_by_it() {
    let env = TestEnv::new().await;
    let folder = env.path("").display().to_string();
    let name = "s".repeat(107 - folder.len());
    let path = format!("{folder}{name}");
    assert_eq!(path.len(), 107);
    let env = env.set("OUTBOXD_API_SOCKET", &path);
    let child =
        env.outboxd(&["serve"]).stderr(std::fs::File::create(env.path("log")).expect("a log")).spawn();
    let mut child = child.expect("it starts");
    let client =
        reqwest::Client::builder().unix_socket(Path::new(&path).to_owned()).build().expect("a client");
    let up = crate::daemon::eventually(async || {
        assert_eq!(child.try_wait().expect("a process"), None, "{}", env.log());
        client.get("http://outboxd/healthz").send().await.is_ok()
    });
    assert!(up.await, "{}", env.log());
    let listed = std::fs::read_to_string("/proc/net/unix").expect("the kernel's list");
    assert!(listed.lines().any(|line| line.ends_with(&format!(" {path}"))), "not listed under its name");
    let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let (ok, said) = run(env.outboxd(&["status"]), "");
    assert!(ok, "{said}");
    child.kill().expect("it runs");
    child.wait().expect("it ended");
}

/// Sends a request whose body comes a moment after its head; returns the status of the answer.
fn late_body(socket: &Path, request: &str, body: &[u8]) -> std::io::Result<u16> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let head = format!(
        "{request} HTTP/1.1\r\nhost: outboxd\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    for piece in body.chunks(64 << 10) {
        // Lets other threads run, the daemon among them.
        std::thread::yield_now();
        stream.write_all(piece)?;
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_that_sends_a_body_sees_its_answer() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let socket = env.socket();
    let asked = tokio::task::spawn_blocking(move || {
        let id = "01937b3e-8f00-7000-8000-000000000000";
        let long = vec![b' '; 3 << 20];
        let mut wrong = Vec::new();
        for (request, status) in [
            (format!("POST /v1/messages/{id}/cancel"), 404),
            ("POST /v1/nothing".to_owned(), 404),
            ("DELETE /v1/messages".to_owned(), 405),
            ("POST /v1/status".to_owned(), 405),
            ("GET /v1/status".to_owned(), 200),
            ("POST /v1/pause?account_id=acc_1".to_owned(), 400),
        ] {
            for (body, times) in [(&b"{}"[..], 50), (&long[..], 3)] {
                for _ in 0..times {
                    match late_body(&socket, &request, body) {
                        Ok(found) if found == status => {}
                        other => wrong.push(format!("{request}, {} bytes: {other:?}", body.len())),
                    }
                }
            }
        }
        wrong
    });
    let wrong = asked.await.expect("asked");
    assert!(wrong.is_empty(), "{} clients: {:?}", wrong.len(), &wrong[..wrong.len().min(9)]);
    assert_eq!(daemon.get("/v1/status").await.1["paused"], serde_json::Value::Null);
}
