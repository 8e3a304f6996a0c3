//! Who may do what: the socket that only reads, and bearers of tokens on TCP.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::http::TcpDoor;
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, run};

const MESSAGE: &str = r#"{"account_id": "acc_1", "chat_id": "c1", "text": "hello"}"#;

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_read_only_socket_reads_and_refuses_the_rest() {
    let env = TestEnv::new().await;
    let path = env.path("reads.sock");
    let env = env
        .set("OUTBOXD_API_READ_ONLY_SOCKET", path.to_str().unwrap())
        .set("OUTBOXD_API_READ_ONLY_SOCKET_MODE", "0666");
    let daemon = env.serve().await;
    let client = reqwest::Client::builder().unix_socket(path.clone()).build().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    assert_eq!(answer(client.get("http://outboxd/v1/status")).await.0, 200);
    for (method, path) in [
        ("POST", "/v1/messages"),
        ("POST", "/v1/pause"),
        ("PATCH", "/v1/messages/1"),
        ("DELETE", "/v1/webhooks/endpoint"),
    ] {
        let request = client.request(method.parse().unwrap(), format!("http://outboxd{path}")).body(MESSAGE);
        let (status, refused) = answer(request).await;
        assert_eq!((status, &refused["error"]["code"]), (403, &json!("forbidden")), "{refused}");
        assert!(refused["error"]["problem"].as_str().unwrap().contains("only reads"), "{refused}");
    }
    assert_eq!(daemon.get("/v1/messages").await.1["data"], json!([]), "nothing was queued");
    // The command line works there, as far as it reads.
    let socket = path.to_str().unwrap();
    assert!(run(env.outboxd(&["status", "--socket", socket]), "").0);
    let (ok, said) = run(env.outboxd(&["pause", "--all", "--socket", socket]), "");
    assert!(!ok && said.contains("only reads"), "{said}");
    daemon.stop().await;
    assert!(!path.exists(), "it is removed like the other socket");
}

/// Makes a token with the command line and adds its line to the file; returns the token.
fn token(env: &TestEnv, name: &str, roles: &[&str]) -> String {
    let mut arguments = vec!["token", name];
    arguments.extend(roles);
    let output = env.outboxd(&arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let file = env.path("tokens");
    let lines = std::fs::read_to_string(&file).unwrap_or_default();
    std::fs::write(&file, lines + &String::from_utf8(output.stdout).unwrap()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    said.trim().rsplit(' ').next().unwrap().to_owned()
}

/// An environment whose daemon listens on TCP.
async fn listening() -> TestEnv {
    let env = TestEnv::new().await;
    let file = env.path("tokens").to_str().unwrap().to_owned();
    env.set("OUTBOXD_API_LISTEN", "127.0.0.1:0").set("OUTBOXD_API_TOKENS_FILE", &file)
}

/// Returns the address that the daemon logged.
fn address(env: &TestEnv) -> String {
    let log = env.log();
    let line = log.lines().rev().find(|line| line.contains("the API listens on TCP")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    let text = line.to_string();
    let start = text.find("127.0.0.1:").unwrap();
    format!("http://{}", text[start..].split('"').next().unwrap())
}

async fn with(url: &str, token: &str, path: &str, body: &str) -> (u16, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{url}{path}");
    let request = if body.is_empty() { client.get(url) } else { client.post(url).body(body.to_owned()) };
    answer(if token.is_empty() { request } else { request.bearer_auth(token) }).await
}

async fn who_changed(daemon: &Daemon, env: &TestEnv, id: &str) -> String {
    assert_eq!(daemon.get(&format!("/v1/messages/{id}")).await.0, 200);
    env.sql(&format!("SELECT detail FROM events WHERE message_id = '{id}' AND detail LIKE '%\"by\"%'"))
        .join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_allows_what_its_role_does_and_is_the_actor() {
    let env = listening().await;
    let (board, app, admin) = (
        token(&env, "board", &["read"]),
        token(&env, "app", &["enqueue"]),
        token(&env, "admin", &["read", "operate"]),
    );
    let lines = std::fs::read_to_string(env.path("tokens")).unwrap();
    assert!([&board, &app, &admin].iter().all(|token| !lines.contains(*token)), "only hashes are stored");
    let daemon = env.serve().await;
    let url = address(&env);

    assert_eq!(with(&url, &board, "/v1/status", "").await.0, 200);
    let (status, refused) = with(&url, &board, "/v1/messages", MESSAGE).await;
    assert_eq!((status, &refused["error"]["code"]), (403, &json!("forbidden")), "{refused}");
    assert!(refused["error"]["fix"].as_str().unwrap().contains("role enqueue"), "{refused}");
    daemon.post("/v1/pause", "").await;
    let (status, queued) = with(&url, &app, "/v1/messages", MESSAGE).await;
    assert_eq!(status, 201, "{queued}");
    let id = queued["id"].as_str().unwrap();
    assert_eq!(with(&url, &app, &format!("/v1/messages/{id}"), "").await.0, 200);
    for path in ["/v1/messages", "/v1/status"] {
        assert_eq!(with(&url, &app, path, "").await.0, 403, "{path}");
    }
    assert_eq!(with(&url, &app, &format!("/v1/messages/{id}/cancel"), "{}").await.0, 403);
    assert_eq!(with(&url, &admin, &format!("/v1/messages/{id}/cancel"), "{}").await.0, 200);
    let changed = who_changed(&daemon, &env, id).await;
    assert!(changed.contains("token admin"), "{changed}");
    let stop = r#"{"scope": "person", "key": "U1"}"#;
    assert_eq!(with(&url, &admin, "/v1/stops", stop).await.0, 200);
    assert_eq!(with(&url, &admin, "/v1/accounts/acc_1/pause", "{}").await.0, 200);
    let actors = "SELECT scope || ' ' || actor FROM stops WHERE scope <> 'all' ORDER BY id";
    assert_eq!(env.sql(actors), ["person token admin", "account token admin"]);
    let by = "SELECT detail ->> '$.by' FROM events WHERE kind = 'stop.set'";
    assert_eq!(env.sql(by), ["token admin"]);

    for wrong in ["", "obx_wrong", &board[1..]] {
        let (status, refused) = with(&url, wrong, "/healthz", "").await;
        assert_eq!((status, &refused["error"]["code"]), (401, &json!("unauthorised")), "{refused}");
    }
    assert!(!env.log().contains(&board) && !env.log().contains("obx_"), "no token is logged");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_puts_the_tokens_of_the_file_in_force() {
    let env = listening().await;
    let old = token(&env, "old", &["read"]);
    let daemon = env.serve().await;
    let url = address(&env);
    assert_eq!(with(&url, &old, "/v1/status", "").await.0, 200);
    std::fs::remove_file(env.path("tokens")).unwrap();
    let new = token(&env, "new", &["read"]);
    daemon.signal("-HUP");
    assert!(eventually(async || with(&url, &new, "/v1/status", "").await.0 == 200).await, "{}", env.log());
    assert_eq!(with(&url, &old, "/v1/status", "").await.0, 401);
    assert!(eventually(async || env.log().contains("\"tokens\":\"-old +new\"")).await, "{}", env.log());
    assert!(!env.log().contains("nothing changed"), "{}", env.log());
    // A broken file changes nothing.
    std::fs::write(env.path("tokens"), "new reed 1\n").unwrap();
    daemon.signal("-HUP");
    assert!(eventually(async || env.log().contains("line 1 of")).await, "{}", env.log());
    assert_eq!(with(&url, &new, "/v1/status", "").await.0, 200);
    daemon.stop().await;
}

/// Opens a stream of events.
async fn stream(url: &str, token: &str) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("{url}/v1/events")).header("accept", "text/event-stream");
    let answer = request.bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_ends_when_its_token_is_removed_or_loses_the_role() {
    let env = listening().await;
    let [stays, removed, narrowed] =
        ["stays", "removed", "narrowed"].map(|name| token(&env, name, &["read"]));
    let daemon = env.serve().await;
    let url = address(&env);
    let mut kept = stream(&url, &stays).await;
    let ends = [stream(&url, &removed).await, stream(&url, &narrowed).await];
    let lines = std::fs::read_to_string(env.path("tokens")).unwrap();
    let changed = lines.replace("narrowed read", "narrowed enqueue").replace("removed read", "another read");
    let changed: String = changed
        .lines()
        .filter(|line| !line.starts_with("another"))
        .fold(String::new(), |all, line| all + line + "\n");
    std::fs::write(env.path("tokens"), changed).unwrap();
    daemon.signal("-HUP");
    for end in ends {
        tokio::select! {
            rest = end.text() => drop(rest),
            () = SystemClock::new().sleep(Duration::from_secs(20)) => panic!("it was not ended"),
        }
    }
    daemon.post("/v1/messages", MESSAGE).await;
    let event = kept.chunk().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&event).contains("message.queued"), "{event:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_of_its_answers_is_cut_on_tcp() {
    let door = TcpDoor::bind("127.0.0.1:0".parse().unwrap(), "api.listen", 1).await.unwrap();
    let (address, clock) = (door.address(), SystemClock::new());
    let router = axum::Router::new().route("/", axum::routing::get(async || "x".repeat(1 << 20)));
    let patience = Arc::new(move || clock.sleep(Duration::from_millis(100)));
    let serving = door.serve(router, patience, std::future::pending(), std::future::pending);
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // Without a reader the answers fill the buffers of the system, then the requests do; writing fails once the other
        // end is closed.
        while stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").is_ok() {}
    });
    tokio::select! {
        () = serving => unreachable!(),
        ended = client => ended.unwrap(),
        () = SystemClock::new().sleep(Duration::from_secs(20)) => panic!("it was not cut"),
    }
}

/// Without probes a client whose machine vanished in the middle of a body would hold its connection for ever.
#[tokio::test(flavor = "multi_thread")]
async fn the_system_probes_whether_a_quiet_client_on_tcp_is_still_there() {
    const KEEP_ALIVE: &str = "02";
    let env = listening().await;
    token(&env, "app", &["enqueue"]);
    let daemon = env.serve().await;
    let address = address(&env);
    let address: std::net::SocketAddr = address.trim_start_matches("http://").parse().unwrap();
    let _quiet = tokio::net::TcpStream::connect(address).await.unwrap();
    let local = format!(":{:04X}", address.port());
    let probed = async || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        rows.any(|row| row[1].ends_with(&local) && row[3] == "01" && row[5].starts_with(KEEP_ALIVE))
    };
    assert!(eventually(probed).await);
    daemon.stop().await;
}

#[tokio::test]
async fn an_address_without_usable_tokens_prevents_the_start() {
    let env = listening().await;
    let refused = |env: &TestEnv, told: &str| {
        for command in ["check", "serve"] {
            let output = env.outboxd(&[command]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.code() == Some(2), "{command}: {said}");
            assert!(said.contains("api.tokens_file") && said.contains(told), "{command}: {said}");
        }
    };
    refused(&env, "cannot be read");
    let file = env.path("tokens");
    token(&env, "board", &["read"]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    refused(&env, "chmod 0600");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let line = std::fs::read_to_string(&file).unwrap();
    for (text, told) in [
        ("# none\n".to_owned(), "holds no token"),
        (format!("{line}{line}"), "line 2 of"),
        (line.replace(" read ", " reed "), "unknown role \"reed\""),
    ] {
        std::fs::write(&file, text).unwrap();
        refused(&env, told);
    }
    let env = env.set("OUTBOXD_API_TOKENS_FILE", "");
    refused(&env, "without api.tokens_file");
}

/// A client that connects and sends nothing, or not enough, does not stop the daemon.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_does_not_delay_the_stop() {
    let env = listening().await;
    token(&env, "board", &["read"]);
    let daemon = env.serve().await;
    let address = address(&env);
    let _idle = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    daemon.stop().await;
    assert!(!env.log().contains("requests that did not end were cut off"), "{}", env.log());
}

#[tokio::test]
async fn a_wrong_token_command_says_so() {
    let env = TestEnv::new().await;
    for arguments in [&["token", "board"][..], &["token", "board", "reed"], &["token", "bo ard", "read"]] {
        let output = env.outboxd(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
