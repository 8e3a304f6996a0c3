//! Clients that hold connections: they neither stop the sending nor keep others away (P9).
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use serde_json::json;

use crate::daemon::{Daemon, TestEnv};

/// Opens a connection and sends `text`.
fn open(env: &TestEnv, text: &str) -> UnixStream {
    let mut stream = UnixStream::connect(env.socket()).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
    stream
}

/// Returns the soft limit of the daemon's open files, and the hard one.
fn limits(daemon: &Daemon) -> [u64; 2] {
    let text = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().skip(3).map(|word| word.parse().unwrap_or(u64::MAX));
    [numbers.next().unwrap(), numbers.next().unwrap()]
}

/// Without bounds these connections take every file that the process may open, for as long as their clients like.
#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_half_a_request_stop_neither_the_sending_nor_the_others() {
    let env = TestEnv::new().await.hasty().limited("ulimit -n 256");
    let daemon = env.serve().await;
    assert_eq!(limits(&daemon), [256, 256]);
    let at = SystemClock::new().now() + jiff::SignedDuration::from_secs(6);
    let at = format!("{at:.3}");
    let message = |n: usize| json!({"account_id": "acc_1", "chat_id": format!("c{n}"), "text": format!("t{n}"), "not_before": at});
    let rows: Vec<String> = (0..5).map(|n| message(n).to_string()).collect();
    daemon.post_as("/v1/messages", "application/x-ndjson", rows.join("\n").into()).await;
    let held: Vec<UnixStream> = (0..300).map(|_| open(&env, "GET /v1/st")).collect();
    env.delivered(5).await;
    // The client of the test gives up after 20 s.
    let clock = SystemClock::new();
    assert_eq!(env.client().get("http://outboxd/healthz").send().await.unwrap().status(), 200);
    assert!(clock.monotonic() < Duration::from_secs(20));
    let files = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    assert!(files < 150, "{files} files are open");
    drop(held);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_raises_its_limit_of_open_files() {
    let env = TestEnv::new().await.limited("ulimit -S -n 256");
    let daemon = env.serve().await;
    let [soft, hard] = limits(&daemon);
    assert_eq!(soft, hard.min(65_536));
    daemon.stop().await;
}

/// A body that makes progress, a stream of events and a connection between two requests stay open meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_client_stalls_is_closed_and_others_stay() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let ask = "GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n";
    let post = "POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 90\r\n\r\n{";
    let silent = open(&env, "");
    let half = open(&env, "GET /v1/status HTTP/1.1\r\nhost:");
    let stalled = open(&env, post);
    let mut slow = open(&env, post);
    let mut kept = open(&env, ask);
    let mut events = open(&env, "GET /v1/events HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n");
    let rest = |mut stream: UnixStream| {
        tokio::task::spawn_blocking(move || {
            let (clock, mut text) = (SystemClock::new(), String::new());
            let _a_reset_is_an_end_as_well = stream.read_to_string(&mut text);
            (text, clock.monotonic().as_secs())
        })
    };
    let ends = [rest(silent), rest(half), rest(stalled)];
    let runtime = tokio::runtime::Handle::current();
    let steady = tokio::task::spawn_blocking(move || {
        for _ in 0..8 {
            runtime.block_on(SystemClock::new().sleep(Duration::from_secs(5)));
            slow.write_all(b" ").unwrap();
        }
        slow.write_all(&[b' '; 81]).unwrap();
        let mut status = [0; 12];
        slow.read_exact(&mut status).unwrap();
        String::from_utf8_lossy(&status).into_owned()
    });
    let [silent, half, stalled] = ends;
    for (end, what) in [(silent, "silent"), (half, "half a head")] {
        let (text, seconds) = end.await.unwrap();
        assert!(text.is_empty() && (10..30).contains(&seconds), "{what}: {text}, after {seconds} s");
    }
    let (text, seconds) = stalled.await.unwrap();
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("nothing of the body came for 30 s"), "{text}");
    assert!((25..45).contains(&seconds), "after {seconds} s");
    assert_eq!(steady.await.unwrap(), "HTTP/1.1 400", "the whole body was read, which is no JSON");
    let id = daemon.enqueue(&json!({"account_id": "acc_1", "chat_id": "c1", "text": "t"}).to_string()).await;
    let still_open = tokio::task::spawn_blocking(move || {
        kept.write_all(ask.as_bytes()).unwrap();
        let mut seen = String::new();
        while !seen.contains(&id) {
            let mut bytes = [0; 4096];
            let length = events.read(&mut bytes).unwrap();
            assert!(length > 0, "the stream ended: {seen}");
            seen.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        let mut bytes = [0; 12];
        kept.read_exact(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    assert_eq!(still_open.await.unwrap(), "HTTP/1.1 200");
    daemon.stop().await;
}
