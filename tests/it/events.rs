//! Events out: pages, streams and `outboxd watch`, against the real process.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::domain::event::{Detail, KINDS};
use outboxd::http::Socket;
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually};

fn message(chat: &str) -> String {
    let (text, meta) = ("a private text", json!({ "crm": 7 }));
    json!({ "account_id": "acc_1", "chat_id": chat, "text": text, "meta": meta, "campaign": "spring", "step": 1 }).to_string()
}

/// A stream of server-sent events.
struct Streamed {
    response: reqwest::Response,
    text: String,
}

impl Streamed {
    async fn open(env: &TestEnv, path: &str, last: Option<i64>) -> Self {
        let request = env.client().get(format!("http://outboxd{path}")).header("accept", "text/event-stream");
        let request = last.into_iter().fold(request, |request, last| request.header("last-event-id", last));
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        Self { response, text: String::new() }
    }

    /// Returns the next event.
    async fn next(&mut self) -> Value {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some((_, data)) = event.split_once("data: ") {
                    return serde_json::from_str(data).unwrap();
                }
                continue;
            }
            let chunk = self.response.chunk().await.unwrap().expect("the stream goes on");
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// Returns the next event of this type.
    async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await;
            if event["type"] == kind {
                return event;
            }
        }
    }
}

fn kinds(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

async fn page(daemon: &Daemon, query: &str) -> Value {
    let (status, page) = daemon.get(&format!("/v1/events?{query}")).await;
    assert_eq!(status, 200, "{page}");
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_every_change_in_order_and_no_text_unless_it_is_asked_for() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let id = daemon.enqueue(&message("c1")).await;
    daemon.becomes(&id, "sent").await;
    let all = page(&daemon, &format!("message_id={id}")).await;
    assert_eq!(kinds(&all), ["message.queued", "message.sending", "message.sent"]);
    let sent = &all["data"][2];
    assert_eq!(
        (&sent["campaign"], &sent["step"], &sent["chat_id"]),
        (&json!("spring"), &json!(1), &json!("c1"))
    );
    assert!(!all.to_string().contains("private"), "{all}");
    let with = page(&daemon, "texts=true&type=message.sent").await;
    assert_eq!(
        (&with["data"][0]["text"], &with["data"][0]["meta"]["crm"]),
        (&json!("a private text"), &json!(7))
    );

    let seqs: Vec<i64> = page(&daemon, "").await["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["seq"].as_i64().unwrap())
        .collect();
    assert!(seqs.windows(2).all(|pair| pair[0] + 1 == pair[1]), "without holes: {seqs:?}");
    let next = page(&daemon, &format!("limit=1&after=0&message_id={id}")).await;
    let rest = page(&daemon, &format!("after={}&message_id={id}", next["next_after"])).await;
    assert_eq!(next["data"].as_array().unwrap().len() + rest["data"].as_array().unwrap().len(), 3);
    let none = page(&daemon, "campaign=autumn").await;
    assert_eq!((none["data"].as_array().unwrap().len(), &none["next_after"]), (0, &none["newest"]));
    for (query, field) in
        [("after=x", "after"), ("after=9999", "after"), ("type=message.snet", "type"), ("texts=1", "texts")]
    {
        let (status, refused) = daemon.get(&format!("/v1/events?{query}")).await;
        assert_eq!((status, &refused["error"]["field"]), (400, &json!(field)), "{query}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_an_event_from_every_door_and_names_its_campaign() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    let stop = json!({ "scope": "campaign", "key": "spring: sale", "note": "wait" }).to_string();
    for _ in 0..2 {
        daemon.post("/v1/stops", &stop).await;
    }
    daemon.post("/v1/go", r#"{"scope": "campaign", "key": "spring: sale"}"#).await;
    let found = page(&daemon, "type=stop.*").await;
    assert_eq!(kinds(&found), ["stop.set", "stop.changed", "stop.lifted"]);
    let of_campaign = page(&daemon, "campaign=spring:%20sale").await;
    assert_eq!(of_campaign["data"].as_array().unwrap().len(), 3, "{of_campaign}");
    assert_eq!(found["data"][1]["detail"]["note"], "wait");

    let after = found["newest"].as_i64().unwrap();
    let mut stream = Streamed::open(&env, &format!("/v1/events?after={after}"), None).await;
    env.sql("INSERT INTO stops (scope, key, reason) VALUES ('chat', 'c9', 'stopped') RETURNING key");
    assert_eq!(stream.next_of("stop.set").await["detail"]["by"], "sql");
    env.sql("DELETE FROM stops WHERE key = 'c9' RETURNING key");
    assert_eq!(stream.next_of("stop.lifted").await["detail"]["key"], "c9");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_continues_after_the_last_event_that_was_seen_also_after_a_kill() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let id = daemon.enqueue(&message("c1")).await;
    let mut stream = Streamed::open(&env, "/v1/events?after=0&type=message.*", None).await;
    let first = stream.next().await;
    assert_eq!((&first["type"], &first["message_id"]), (&json!("message.queued"), &json!(id)));
    let sent = stream.next_of("message.sent").await["seq"].as_i64().unwrap();
    daemon.kill();
    let daemon = env.serve().await;
    let mut again = Streamed::open(&env, "/v1/events?after=0&type=message.*", Some(sent)).await;
    let other = daemon.enqueue(&message("c2").replace("\"step\":1", "\"step\":null")).await;
    let next = again.next().await;
    assert_eq!((&next["type"], &next["message_id"]), (&json!("message.queued"), &json!(other)));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_stall_hold_nothing_up_and_their_number_is_bounded() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let rows: Vec<String> =
        (0..200).map(|n| message(&format!("c{n}")).replace("\"step\":1", "\"step\":null")).collect();
    daemon.post_as("/v1/messages", "application/x-ndjson", rows[..100].join("\n").into()).await;
    let mut stalled = Vec::new();
    let mut open = || {
        let mut stream = UnixStream::connect(env.socket()).unwrap();
        let request = "GET /v1/events?after=0 HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(String::from_utf8_lossy(&status), "HTTP/1.1 200");
        stalled.push(stream);
    };
    (0..32).for_each(|_| open());
    let request = env.client().get("http://outboxd/v1/events").header("accept", "text/event-stream");
    assert_eq!(request.send().await.unwrap().status(), 503, "the 33rd is refused");
    daemon.post_as("/v1/messages", "application/x-ndjson", rows[100..].join("\n").into()).await;
    env.delivered(200).await;
    drop(stalled);
    let accepted = eventually(async || {
        let request = env.client().get("http://outboxd/v1/events").header("accept", "text/event-stream");
        request.send().await.unwrap().status() == 200
    });
    assert!(accepted.await, "clients that left free their places");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let socket = Socket::bind(&path, 0o600).await.unwrap();
    let endless = || async {
        let lines = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'x'; 1 << 16]));
        axum::body::Body::from_stream(lines)
    };
    let router = axum::Router::new().route("/", axum::routing::get(endless));
    let clock = SystemClock::new();
    let patience = Arc::new(move || clock.sleep(Duration::from_millis(100)));
    let serving = socket.serve(router, 1, patience, std::future::pending(), std::future::pending);
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        // Writing fails once the other end is closed; until then it fills no buffer.
        while stream.write_all(b"\r\n").is_ok() {
            std::thread::yield_now();
        }
    });
    tokio::select! {
        _never = serving => unreachable!(),
        ended = client => ended.unwrap(),
        () = SystemClock::new().sleep(Duration::from_secs(30)) => panic!("it was not cut"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_connects_again_and_shows_each_event_once() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let first = daemon.enqueue(&message("c1")).await;
    daemon.becomes(&first, "sent").await;
    let mut watch = env.outboxd(&["watch", "--after", "0", "--type", "message.sent", "--json"]);
    let mut child = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let next = |lines: &mut dyn Iterator<Item = std::io::Result<String>>| -> Value {
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap()
    };
    assert_eq!(next(&mut lines)["message_id"], json!(first));
    daemon.kill();
    let daemon = env.serve().await;
    let second = daemon.enqueue(&message("c2").replace("\"step\":1", "\"step\":null")).await;
    daemon.becomes(&second, "sent").await;
    let shown = tokio::task::block_in_place(|| next(&mut lines));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(shown["message_id"], json!(second), "once, and not the first one again");
    let (ok, said) = crate::daemon::run(env.outboxd(&["watch", "--after", "99999"]), "");
    assert!(!ok && said.contains("the newest event is"), "{said}");
}

#[test]
fn the_document_lists_every_type_with_its_fields() {
    let document = include_str!("../../docs/events.md");
    let rows: Vec<&str> =
        document.lines().filter(|line| line.starts_with("| `") && line.contains('.')).collect();
    for kind in KINDS {
        let fields: &[&str] = match &kind.detail {
            Detail::None => &[],
            Detail::Text(field) => std::slice::from_ref(field),
            Detail::Fields(fields) => fields,
        };
        let fields: Vec<String> = fields.iter().map(|field| format!("`{field}`")).collect();
        let row =
            format!("| `{}` | {} | {} |", kind.name, kind.what, fields.join(", ")).replace("|  |", "| |");
        assert!(rows.contains(&row.as_str()), "docs/events.md has no row {row}");
    }
    let (_, types) = document.split_once("## Types").unwrap();
    let (types, _) = types.split_once("\n## ").unwrap();
    let listed = types.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(listed, KINDS.len(), "and no other");
}

/// Every kind that the code writes is in the table, so that consumers can name it.
#[test]
fn every_event_that_the_code_writes_is_in_the_table() {
    let sources = [
        include_str!("../../migrations/0001_queue.sql"),
        include_str!("../../src/store/transitions/defer.rs"),
        include_str!("../../src/store/transitions/heard.rs"),
        include_str!("../../src/store/transitions/stops.rs"),
        include_str!("../../src/store/transitions/rules.rs"),
        include_str!("../../src/store/transitions/rests.rs"),
        include_str!("../../src/store/transitions/attempts.rs"),
        include_str!("../../src/store/transitions/account_snapshot.rs"),
        include_str!("../../src/store/administration/clock_step.rs"),
        include_str!("../../src/store/sqlite/restore_guard.rs"),
        include_str!("../../src/store/transitions/erase.rs"),
    ];
    let families = ["message.", "account.", "stop.", "person.", "daemon.", "route.", "command.", "endpoint."];
    let mut found = 0;
    let code = |line: &'static str| line.split("--").next().unwrap_or_default().split(['\'', '"']);
    for word in sources.iter().flat_map(|source| source.lines()).flat_map(code) {
        let is_name =
            word.chars().all(|c| c.is_ascii_lowercase() || c == '.' || c == '_') && !word.ends_with('.');
        if is_name && families.iter().any(|family| word.starts_with(family)) && word != "message.new" {
            let known = KINDS.iter().any(|kind| kind.name == word);
            assert!(known, "{word} is not in domain/event.rs, KINDS");
            found += 1;
        }
    }
    assert!(found > 15, "{found} were found");
}
