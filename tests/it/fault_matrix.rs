//! Every fault at every phase of a call: how it is classified, and how the message ends (P1, P2).
//!
//! Each row is measured: with the real daemon, the real client, and for faults that the sandbox cannot make (a closed
//! port, a name that does not resolve, TLS that fails, a reset in the middle of a body) a listener that makes them.
//! The table is in `docs/guarantees.md`; this test compares it, and writes it with `OUTBOXD_WRITE_DOCS=1 cargo test
//! --test it fault_matrix`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outboxd::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv};

const BEGIN: &str = "<!-- the table of faults: written by the test fault_matrix -->\n";
const END: &str = "<!-- end of the table -->";

/// One row of the table.
struct Row {
    fault: &'static str,
    attempt: String,
    becomes: String,
    delivered: usize,
}

fn error(status: u16, kind: &str, delivered: bool) -> FaultKind {
    FaultKind::Error {
        status,
        error_type: kind.to_owned(),
        title: "t".to_owned(),
        detail: "d".to_owned(),
        retry_after: (status == 429 && kind.starts_with("api/")).then_some(3600),
        delivered,
    }
}

/// Returns the faults of the sandbox: a name for the table, and the fault.
fn of_the_sandbox() -> Vec<(&'static str, FaultKind)> {
    let late = Duration::from_secs(20);
    vec![
        ("no fault", FaultKind::SlowBody(Duration::ZERO)),
        ("connection cut before delivery", FaultKind::Cut { delivered: false }),
        ("connection cut after delivery", FaultKind::Cut { delivered: true }),
        ("half of an answer, not delivered", FaultKind::HalfAnswer { delivered: false }),
        ("half of an answer, delivered", FaultKind::HalfAnswer { delivered: true }),
        (
            "200 with something that is not an answer, not delivered",
            FaultKind::Garbage { status: 200, delivered: false },
        ),
        (
            "200 with something that is not an answer, delivered",
            FaultKind::Garbage { status: 200, delivered: true },
        ),
        ("500 `api/internal_error` before delivery", error(500, "api/internal_error", false)),
        ("500 `api/internal_error` after delivery", error(500, "api/internal_error", true)),
        ("502 from a gateway before delivery", FaultKind::Garbage { status: 502, delivered: false }),
        ("502 from a gateway after delivery", FaultKind::Garbage { status: 502, delivered: true }),
        ("504 `provider/timeout` before delivery", error(504, "provider/timeout", false)),
        ("504 `provider/timeout` after delivery", error(504, "provider/timeout", true)),
        ("no answer in time, delivered at once", FaultKind::LatencyAfterDelivery(late)),
        (
            "no answer in time, delivered later, before the last read",
            FaultKind::Latency { before_delivery: Duration::from_secs(5) },
        ),
        ("answer that trickles in longer than the timeout", FaultKind::SlowBody(late)),
        ("429 `provider/too_many_requests`, not delivered", error(429, "provider/too_many_requests", false)),
        (
            "429 `provider/too_many_requests`, delivered all the same",
            error(429, "provider/too_many_requests", true),
        ),
        ("429 `api/too_many_requests`", error(429, "api/too_many_requests", false)),
        ("422 `provider/unprocessable_entity`", error(422, "provider/unprocessable_entity", false)),
        ("401 `provider/invalid_authorization`", error(401, "provider/invalid_authorization", false)),
        ("403 `api/account_restricted`", error(403, "api/account_restricted", false)),
    ]
}

/// A server that handles each connection with `serve`.
struct Listener {
    url: String,
    seen: Arc<AtomicUsize>,
    _thread: std::thread::JoinHandle<()>,
}

fn listen(serve: impl Fn(TcpStream) + Send + 'static) -> Listener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let thread = std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, Ordering::SeqCst);
            serve(stream);
        }
    });
    Listener { url: format!("http://127.0.0.1:{port}"), seen, _thread: thread }
}

/// Closes with unread bytes, so that the other side sees a reset.
fn reset(mut stream: TcpStream, after_bytes: usize) {
    let mut left = after_bytes;
    let mut buffer = [0; 1024];
    while left > 0 {
        match stream.read(&mut buffer[..left.min(1024)]) {
            Ok(0) | Err(_) => return,
            Ok(n) => left -= n,
        }
    }
    // Dropping a socket with unread bytes resets the connection.
    drop(stream);
}

/// Answers the first request of a connection and resets it in the middle of the second.
fn answer_then_reset(mut stream: TcpStream) {
    let body = r#"{"object":"MessageSent","message_id":"m1"}"#;
    let mut buffer = [0; 4096];
    let _first = stream.read(&mut buffer);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _written = stream.write_all(answer.as_bytes());
    let mut one = [0; 1];
    let _second_began = stream.read(&mut one);
}

/// Waits for the message to settle and returns its row. With `for_good` the API never answers again, so that an
/// uncertain message stays uncertain.
async fn row(
    daemon: &Daemon,
    env: &TestEnv,
    (fault, for_good): (&'static str, bool),
    id: &str,
    account: &str,
) -> Row {
    let message = settled(daemon, id, for_good).await;
    let first = &message["attempts"][0];
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let by = message["settled_by"].as_str().map(|by| format!(" by {by}")).unwrap_or_default();
    let delivered =
        env.sandbox.world().deliveries().iter().filter(|delivery| delivery.account_id == account).count();
    Row {
        fault,
        attempt: format!("{} | `{}`", text(&first["phase"]), text(&first["outcome"])),
        becomes: format!("`{}`{by} | `{}`", text(&message["state"]), text(&message["reason"])),
        delivered,
    }
}

/// Waits until the message does not change any more, or not for hours, and returns it.
async fn settled(daemon: &Daemon, id: &str, for_good: bool) -> Value {
    let mut last = Value::Null;
    let settled = crate::daemon::eventually(async || {
        last = daemon.get(&format!("/v1/messages/{id}")).await.1;
        let attempted = last["attempts"]
            .as_array()
            .is_some_and(|all| all.first().is_some_and(|one| one["outcome"].is_string()));
        let waits_for_the_api = for_good
            && last["state"] == "uncertain"
            && daemon.get("/v1/status").await.1["api"]["reachable"] == false;
        attempted && (waits_for_the_api || !matches!(last["state"].as_str(), Some("sending" | "uncertain")))
    });
    assert!(settled.await, "it does not settle: {last}");
    last
}

async fn sandbox_rows() -> Vec<Row> {
    let env =
        TestEnv::new().await.hasty().reconciling("1s, 3s, 8s").set("OUTBOXD_UNIPILE_REQUEST_TIMEOUT", "2s");
    let daemon = env.serve().await;
    let mut waiting = Vec::new();
    for (index, (fault, kind)) in of_the_sandbox().into_iter().enumerate() {
        let account = format!("acc_{index}");
        env.sandbox.fault(Fault::new(kind).on(&account));
        let body =
            json!({"account_id": account, "chat_id": "c", "text": format!("text {index}"), "typing": false});
        let id = daemon.enqueue(&body.to_string()).await;
        let ended =
            async || daemon.get(&format!("/v1/messages/{id}")).await.1["attempts"][0]["outcome"].is_string();
        assert!(crate::daemon::eventually(ended).await, "{fault}: the call does not end");
        // A successful call in between: each fault is one call's own, not the API's as a whole.
        let well =
            json!({"account_id": "acc_well", "chat_id": format!("c{index}"), "text": "x", "typing": false});
        let well = daemon.enqueue(&well.to_string()).await;
        daemon.becomes(&well, "sent").await;
        waiting.push((fault, id, account));
    }
    let mut rows = Vec::new();
    for (fault, id, account) in &waiting {
        rows.push(row(&daemon, &env, (fault, false), id, account).await);
    }
    rows
}

/// Measures a fault of the connection itself, with a daemon of its own whose API is `url`.
async fn of_the_connection(fault: &'static str, url: &str, big: bool) -> Row {
    let env = TestEnv::new().await.hasty().reconciling("100ms, 200ms");
    let env = env.set("OUTBOXD_UNIPILE_BASE_URL", url);
    let env = env.set("OUTBOXD_UNIPILE_REQUEST_TIMEOUT", "1s");
    let daemon = env.serve().await;
    let mut body = json!({"account_id": "acc_1", "chat_id": "c", "text": "x", "typing": false});
    if big {
        // Larger than every buffer between the two, so that the reset comes during the write.
        body["attachments"] = json!([{"filename": "a.bin", "content": "A".repeat(12 << 20)}]);
    }
    let id = daemon.enqueue(&body.to_string()).await;
    row(&daemon, &env, (fault, true), &id, "acc_1").await
}

async fn connection_rows() -> Vec<Row> {
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let refused = of_the_connection("connection refused", &format!("http://127.0.0.1:{closed}"), false).await;
    let name = of_the_connection("name that does not resolve", "https://api.unipile.invalid", false).await;
    let plain = listen(|mut stream| {
        let _no_tls = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let tls = of_the_connection("TLS handshake fails", &plain.url.replace("http:", "https:"), false).await;
    let at_once = listen(|stream| reset(stream, 1));
    let after_connect = of_the_connection("reset after the first byte", &at_once.url, false).await;
    let in_the_middle = listen(|stream| reset(stream, 1 << 20));
    let while_writing = of_the_connection("reset while 9 MB are written", &in_the_middle.url, true).await;
    assert!(at_once.seen.load(Ordering::SeqCst) > 0 && in_the_middle.seen.load(Ordering::SeqCst) > 0);
    vec![refused, name, tls, after_connect, while_writing]
}

/// Measures a kept-alive connection that is reset after bytes of the next call were written.
async fn pooled_row() -> Row {
    let server = listen(answer_then_reset);
    let env =
        TestEnv::new().await.hasty().reconciling("100ms, 200ms").set("OUTBOXD_UNIPILE_BASE_URL", &server.url);
    let daemon = env.serve().await;
    let message = |n: u32| {
        json!({"account_id": "acc_1", "chat_id": format!("c{n}"), "text": "x", "typing": false}).to_string()
    };
    let first = daemon.enqueue(&message(1)).await;
    daemon.becomes(&first, "sent").await;
    let second = daemon.enqueue(&message(2)).await;
    let fault = "reset on a kept connection after bytes were written";
    let row = row(&daemon, &env, (fault, true), &second, "acc_1").await;
    let attempts = daemon.get(&format!("/v1/messages/{second}")).await.1["attempts"].as_array().map(Vec::len);
    assert_eq!(attempts, Some(1), "no library repeated it");
    row
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_matrix_is_what_the_page_says() {
    let (connection, pooled, sandbox) = tokio::join!(connection_rows(), pooled_row(), sandbox_rows());
    let rows: Vec<Row> = connection.into_iter().chain([pooled]).chain(sandbox).collect();
    let mut table = String::from(
        "| fault | phase reached | taken for | becomes | reason | deliveries |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for Row { fault, attempt, becomes, delivered } in &rows {
        assert!(*delivered <= 1, "P2: {fault} was delivered {delivered} times");
        table.push_str(&format!("| {fault} | {attempt} | {becomes} | {delivered} |\n"));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guarantees.md");
    let page = std::fs::read_to_string(&path).expect("docs/guarantees.md");
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the table");
    let (written, after) = rest.split_once(END).expect("the table ends");
    if std::env::var_os("OUTBOXD_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("written");
    } else {
        assert_eq!(
            written, table,
            "docs/guarantees.md is not what was measured: OUTBOXD_WRITE_DOCS=1 writes it anew"
        );
    }
}
