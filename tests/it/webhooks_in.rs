//! The listener for Unipile's webhooks: what it stores, what it refuses and what it survives. The real process
//! throughout.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use outboxd::clock::{Clock, SystemClock};
use outboxd::inbound::{Arrived, Listener, WebhookParts, WebhookRules, Webhooks};
use outboxd::store::{Store, StoreOptions};
use rand::RngExt;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::task::JoinSet;

use crate::daemon::{Daemon, TestEnv, eventually, run};

const SECRET: &str = "whsec_of-the-endpoint";
const OTHER: &str = "whsec_of-another-endpoint";
const WARNING: &str =
    "Unipile's webhooks are refused: the signature is wrong; is webhooks.secret the endpoint's?";

/// A daemon with a listener, and the address of that.
struct Door {
    daemon: Daemon,
    address: SocketAddr,
    client: reqwest::Client,
}

async fn env() -> TestEnv {
    TestEnv::new()
        .await
        .hasty()
        .set("OUTBOXD_WEBHOOKS_LISTEN", "127.0.0.1:0")
        .set("OUTBOXD_WEBHOOKS_SECRET", SECRET)
}

async fn open(env: &TestEnv) -> Door {
    let daemon = env.serve().await;
    let address = daemon.get("/v1/status").await.1["webhooks"]["listen"].as_str().unwrap().parse().unwrap();
    Door { daemon, address, client: reqwest::Client::builder().no_proxy().build().unwrap() }
}

fn now() -> i64 {
    SystemClock::new().now().as_second()
}

/// Signs as Unipile does.
fn signed_at(secret: &str, time: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{time}.").as_bytes());
    mac.update(body);
    let tag: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={time},v0={tag}")
}

fn event(id: &str) -> String {
    json!({ "id": id, "type": "message.new", "account_id": "acc_1", "payload": { "text": "Grüße \u{1f44b}" } }).to_string()
}

impl Door {
    async fn send(
        &self,
        path: &str,
        signature: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> (u16, String) {
        let mut request = self.client.post(format!("http://{}{path}", self.address)).body(body);
        if let Some(signature) = signature {
            request = request.header("unipile-signature", signature);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// Sends a body as Unipile does, with the right time.
    async fn post(&self, secret: &str, body: &str) -> (u16, String) {
        let signature = signed_at(secret, now(), body.as_bytes());
        self.send("/webhooks/unipile", Some(&signature), body.to_owned()).await
    }

    async fn webhooks(&self) -> Value {
        self.daemon.get("/v1/status").await.1["webhooks"].clone()
    }

    /// Connects and writes `text`.
    fn connect(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }
}

fn stored(env: &TestEnv) -> Vec<String> {
    env.sql("SELECT event_id FROM webhooks ORDER BY seq")
}

/// Reads until the end; returns the status of the answer, 0 without one.
fn status_of(mut stream: TcpStream) -> u16 {
    let mut answer = Vec::new();
    let _reset_after_the_answer = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn a_signed_webhook_is_stored_once_as_it_came() {
    let env = env().await.set("OUTBOXD_WEBHOOKS_SECRET", &format!("{OTHER},{SECRET}"));
    let door = open(&env).await;
    let body = event("evt_1");
    for _ in 0..3 {
        assert_eq!(door.post(SECRET, &body).await, (200, "{}".to_owned()));
    }
    assert_eq!(door.post(OTHER, &event("evt_2")).await.0, 200, "either of two secrets");
    assert_eq!(stored(&env), ["evt_1", "evt_2"]);
    let row = "SELECT kind || ' ' || account_id || ' ' || coalesce(body, 'read') FROM webhooks WHERE event_id = 'evt_1'";
    // The words of others do not stay.
    assert!(eventually(async || env.sql(row) == ["message.new acc_1 read"]).await, "{:?}", env.sql(row));

    // Without an id, the same body is the same event; an account that cannot be one is left out.
    let nameless = r#"{"type":"account.locked","account_id":"NULL"}"#;
    for _ in 0..2 {
        assert_eq!(door.post(SECRET, nameless).await.0, 200);
    }
    let row = "SELECT kind || ' ' || coalesce(account_id, '-') FROM webhooks WHERE event_id LIKE 'sha256:%'";
    assert_eq!(env.sql(row), ["account.locked -"]);

    let shown = door.webhooks().await;
    assert_eq!((&shown["received"], &shown["duplicates"]), (&json!(6), &json!(3)), "{shown}");
    assert!(shown["last_at"].is_string() && shown["refused"]["signature"] == 0, "{shown}");
    assert!(!env.log().contains(SECRET) && !env.log().contains("Grüße"), "{}", env.log());
    door.daemon.stop().await;
}

#[tokio::test]
async fn what_is_not_signed_right_changes_nothing() {
    let env = env().await;
    let door = open(&env).await;
    let body = event("evt_1");
    let path = "/webhooks/unipile";
    let right = signed_at(SECRET, now(), body.as_bytes());
    let tag = right.split_once("v0=").unwrap().1.to_owned();
    for (signature, body, says) in [
        (None, body.clone(), "missing or malformed"),
        (Some(String::new()), body.clone(), "missing or malformed"),
        (Some(tag.clone()), body.clone(), "missing or malformed"),
        (Some(format!("t=soon,v0={tag}")), body.clone(), "missing or malformed"),
        (Some(format!("t={},v0=", now())), body.clone(), "missing or malformed"),
        (Some(format!("{right}0")), body.clone(), "missing or malformed"),
        (Some(signed_at(OTHER, now(), body.as_bytes())), body.clone(), "the signature is wrong"),
        (Some(right.clone()), event("evt_2"), "the signature is wrong"),
        (Some(right.replace("t=", "t=0")), body.clone(), "the signature is wrong"),
        (Some(right.clone()), "not JSON".to_owned(), "the signature is wrong"),
        (Some(signed_at(SECRET, now() - 310, body.as_bytes())), body.clone(), "stale"),
        (Some(signed_at(SECRET, now() + 310, body.as_bytes())), body.clone(), "stale"),
    ] {
        let (status, said) = door.send(path, signature.as_deref(), body).await;
        assert!(status == 401 && said.contains(says), "{signature:?}: {status} {said}");
    }
    // The signature is right, so the words are about the body.
    for body in ["", "not JSON", "[]", "7", "{}", r#"{"id":"evt_9"}"#, r#"{"type":7}"#, r#"["message.new"]"#]
    {
        let (status, said) = door.post(SECRET, body).await;
        assert!(status == 400 && said.contains("not a JSON object with a type"), "{body}: {status} {said}");
    }
    assert_eq!(stored(&env), [""; 0]);
    let shown = door.webhooks().await;
    let refused = &shown["refused"];
    assert_eq!(
        (&refused["unsigned"], &refused["signature"], &refused["stale"], &refused["body"]),
        (&json!(6), &json!(4), &json!(2), &json!(8)),
        "{shown}"
    );
    assert!(refused["last_signature_at"].is_string() && refused["last_stale_at"].is_string(), "{shown}");
    assert_eq!((&shown["received"], &shown["last_at"]), (&json!(0), &Value::Null));

    let two = door.client.post(format!("http://{}{path}", door.address)).body(body.clone());
    let two =
        two.header("unipile-signature", &right).header("unipile-signature", &right).send().await.unwrap();
    assert_eq!(two.status(), 401, "two headers are ambiguous");
    let within = signed_at(SECRET, now() - 290, body.as_bytes());
    assert_eq!(door.send(path, Some(&within), body.clone()).await.0, 200, "within the tolerance");
    assert_eq!(stored(&env), ["evt_1"]);
    door.daemon.stop().await;
}

/// A secret that has drifted looks like contacts who never answer, so `status` says it until a signature is right.
#[tokio::test]
async fn status_warns_of_a_wrong_secret_until_it_is_right() {
    let file = "OUTBOXD_WEBHOOKS_SECRET_FILE";
    let env = TestEnv::new().await.hasty().set("OUTBOXD_WEBHOOKS_LISTEN", "127.0.0.1:0");
    let path = env.path("secret");
    std::fs::write(&path, SECRET).unwrap();
    let env = env.set(file, path.to_str().unwrap());
    let door = open(&env).await;
    let shown = || run(env.outboxd(&["status"]), "").1;
    assert!(!shown().contains("webhooks are refused"), "{}", shown());
    assert_eq!(door.send("/webhooks/unipile", None, "a scanner").await.0, 401);
    assert!(!shown().contains("webhooks are refused"), "an unsigned request says nothing about the secret");
    assert_eq!(door.post(OTHER, &event("evt_1")).await.0, 401);
    assert!(shown().contains(&format!("notice: webhooks_refused: {WARNING}")), "{}", shown());

    // Both secrets while one replaces the other, without a restart.
    std::fs::write(&path, format!("{SECRET}\n{OTHER}\n")).unwrap();
    door.daemon.signal("-HUP");
    assert!(eventually(async || door.post(OTHER, &event("evt_1")).await.0 == 200).await, "{}", env.log());
    assert_eq!(door.post(SECRET, &event("evt_2")).await.0, 200);
    assert!(!shown().contains("webhooks are refused"), "{}", shown());
    assert!(!env.log().contains(OTHER) && !env.log().contains("in force after a restart"), "{}", env.log());
    door.daemon.stop().await;
}

/// A proxy that compresses requests would otherwise look like a wrong secret.
#[tokio::test]
async fn a_compressed_body_is_refused_as_such_and_status_says_so() {
    let env = env().await;
    let door = open(&env).await;
    let body = event("evt_1");
    for signature in [signed_at(SECRET, now(), body.as_bytes()), signed_at(OTHER, now(), body.as_bytes())] {
        let request = door.client.post(format!("http://{}/webhooks/unipile", door.address));
        let request = request.header("unipile-signature", signature).header("content-encoding", "gzip");
        let answer = request.body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 415);
        assert!(answer.text().await.unwrap().contains("send it uncompressed"));
    }
    assert_eq!(door.webhooks().await["refused"]["body"], 2);
    let shown = || run(env.outboxd(&["status"]), "").1;
    assert!(shown().contains("their bodies are compressed"), "{}", shown());
    assert!(stored(&env).is_empty());
    assert_eq!(door.post(SECRET, &body).await.0, 200);
    assert!(!shown().contains("their bodies are compressed"), "{}", shown());
    door.daemon.stop().await;
}

#[tokio::test]
async fn other_paths_methods_and_sizes_are_refused() {
    let env = env().await.set("OUTBOXD_WEBHOOKS_BODY_BYTES", "2000");
    let door = open(&env).await;
    for path in ["/", "/webhooks", "/webhooks/unipile/", "/webhooks/other", "/v1/status", "/healthz"] {
        let signature = signed_at(SECRET, now(), event("evt_1").as_bytes());
        assert_eq!(door.send(path, Some(&signature), event("evt_1")).await.0, 404, "{path}");
    }
    let url = format!("http://{}/webhooks/unipile", door.address);
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        let answer = door.client.request(method.parse().unwrap(), &url).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["allow"]),
            (405, &"POST".parse().unwrap()),
            "{method}"
        );
    }
    let of_length = |length: usize| {
        let empty = r#"{"type":"t","x":""}"#;
        empty.replace("\"\"", &format!("\"{}\"", "x".repeat(length - empty.len())))
    };
    assert_eq!(door.post(SECRET, &of_length(2000)).await.0, 200, "exactly the limit");
    for length in [2001, 7000, 9000, 3 << 20] {
        // The rest of a body far above the limit is not read, so the answer may be lost.
        let body = of_length(length);
        let signature = signed_at(SECRET, now(), body.as_bytes());
        let head = format!(
            "POST /webhooks/unipile HTTP/1.1\r\nhost: x\r\nunipile-signature: {signature}\r\ncontent-length: {length}\r\n\r\n"
        );
        let mut stream = door.connect(&head);
        let _may_be_refused_meanwhile = stream.write_all(body.as_bytes());
        let status = status_of(stream);
        assert!(status == 413 || (length > 8000 && status == 0), "{length}: {status}");
    }
    assert!(eventually(async || door.webhooks().await["refused"]["too_large"] == 4).await);
    let chunked = format!(
        "POST /webhooks/unipile HTTP/1.1\r\nhost: x\r\nunipile-signature: {}\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{{\"ty\r\nnonsense",
        signed_at(SECRET, now(), b"x")
    );
    assert_eq!(status_of(door.connect(&chunked)), 400, "a broken body");
    let large_head = format!("POST /webhooks/unipile HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    let refused = status_of(door.connect(&large_head));
    assert!(matches!(refused, 431 | 0), "{refused}");
    assert_eq!(stored(&env).len(), 1);
    door.daemon.stop().await;
}

/// Clients that hang in every phase hold their own places only, for a bounded time, and a stop does not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn hanging_clients_hold_nothing_up() {
    let env = env().await.set("OUTBOXD_WEBHOOKS_CONNECTIONS", "4");
    let door = open(&env).await;
    let body = event("evt_1");
    let signature = signed_at(SECRET, now(), body.as_bytes());
    let head = format!(
        "POST /webhooks/unipile HTTP/1.1\r\nhost: x\r\nunipile-signature: {signature}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let silent = door.connect("");
    let half_head = door.connect("POST /webhooks/unipile HTTP/1.1\r\nhost");
    let half_body = door.connect(&format!("{head}{}", &body[..10]));
    assert_eq!(door.post(SECRET, &event("evt_2")).await.0, 200, "one place is left");

    // All places are occupied: the oldest connection makes room, and one that has only just come does not.
    let clock = SystemClock::new();
    let fourth = door.connect("");
    assert_eq!(door.post(SECRET, &event("evt_3")).await.0, 200);
    assert!(clock.monotonic() < Duration::from_secs(3), "{:?}", clock.monotonic());
    let ends = tokio::task::spawn_blocking(move || {
        let first = status_of(silent);
        assert!(clock.monotonic() < Duration::from_secs(5), "the oldest ended first");
        let others = [half_head, half_body, fourth].map(status_of);
        (first, others, clock.monotonic())
    });
    let (first, others, waited) = ends.await.unwrap();
    assert_eq!((first, others), (0, [0, 408, 0]), "each is closed");
    assert!(waited > Duration::from_secs(8) && waited < Duration::from_secs(20), "{waited:?}");
    assert_eq!(door.webhooks().await["refused"]["incomplete"], 1);
    assert_eq!(stored(&env), ["evt_2", "evt_3"]);

    // Many more than there are places.
    let hanging: Vec<TcpStream> = (0..12).map(|_| door.connect(&head)).collect();
    assert_eq!(door.post(SECRET, &event("evt_4")).await.0, 200);
    assert!(door.webhooks().await["refused"]["incomplete"].as_u64().unwrap() >= 8);
    drop(hanging);
    assert!(eventually(async || door.webhooks().await["refused"]["incomplete"] == 13).await);

    // A body that breaks off, and one that is longer than announced.
    drop(door.connect(&format!("{head}{}", &body[..10])));
    assert!(eventually(async || door.webhooks().await["refused"]["incomplete"] == 14).await);
    let (_hangs, _hangs_too) = (door.connect(""), door.connect(&head));
    let clock = SystemClock::new();
    door.daemon.stop().await;
    assert!(clock.monotonic() < Duration::from_secs(4), "the stop took {:?}", clock.monotonic());
    assert_eq!(stored(&env), ["evt_2", "evt_3", "evt_4"]);
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let env = env().await;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        let door = open(&env).await;
        for number in 0..20 {
            let id = format!("evt_{round}_{number:02}");
            assert_eq!(door.post(SECRET, &event(&id)).await.0, 200);
            acknowledged.push(id);
        }
        door.daemon.kill();
        assert_eq!(stored(&env), acknowledged);
    }
}

/// People ask to be left alone, four at a time, while the daemon is killed again and again; Unipile sends again what was
/// not answered. Each wish is heard once, whether the kill came before, within or after the transaction that hears it.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_among_many_webhooks_hears_each_once() {
    const SEED: u64 = 20_261_127;
    let mut dice = outboxd::clock::dice(SEED);
    println!("seed {SEED}");
    let (env, clock) = (env().await, SystemClock::new());
    let (mut open_again, mut next) = (Vec::new(), 0);
    let mut heard_by_a_kill = 0;
    for _ in 0..12 {
        let door = Arc::new(open(&env).await);
        let waiting = Arc::new(Mutex::new((std::mem::take(&mut open_again), next)));
        let mut posters = JoinSet::new();
        for _ in 0..4 {
            posters.spawn(wish(Arc::clone(&door), Arc::clone(&waiting)));
        }
        clock.sleep(Duration::from_millis(dice.random_range(20..200))).await;
        heard_by_a_kill +=
            usize::from(!env.sql("SELECT '1' FROM webhooks WHERE body IS NOT NULL LIMIT 1").is_empty());
        door.daemon.signal("-9");
        while let Some(unanswered) = posters.join_next().await {
            open_again.extend(unanswered.unwrap());
        }
        Arc::into_inner(door).unwrap().daemon.kill();
        let (left, asked) = std::mem::take(&mut *waiting.lock().unwrap());
        open_again.extend(left);
        next = asked;
    }
    let door = open(&env).await;
    for user in open_again {
        assert_eq!(door.post(SECRET, &wish_of(user)).await.0, 200);
    }
    let waits = "SELECT count(*) || '' FROM webhooks WHERE body IS NOT NULL";
    assert!(eventually(async || env.sql(waits) == ["0"]).await, "{:?}", env.sql(waits));
    let times = "SELECT n || ' ' || count(*) FROM (SELECT count(*) AS n FROM events WHERE kind = 'stop.set' \
         AND reason = 'suppressed' GROUP BY detail ->> '$.key') GROUP BY n";
    let both = 2 * next;
    assert_eq!(
        env.sql(times),
        [format!("1 {both}")],
        "each wish is one event of the person and one of the chat"
    );
    let stops = "SELECT count(DISTINCT key) || ' ' || count(*) FROM stops WHERE reason = 'suppressed'";
    assert_eq!(env.sql(stops), [format!("{both} {both}")]);
    assert!(
        next > 100 && heard_by_a_kill > 3,
        "{next} webhooks, {heard_by_a_kill} kills with some that waited"
    );
    door.daemon.stop().await;
}

fn wish_of(user: u32) -> String {
    let payload = json!({ "id": format!("m{user}"), "chat_id": format!("c{user}"), "sender_id": format!("ACoAA{user}"),
        "is_sender": false, "text": "Please stop writing to me." });
    json!({ "id": format!("evt_{user}"), "type": "message.new", "account_id": "acc_1", "payload": payload })
        .to_string()
}

/// Sends wishes until the daemon is gone: first those that it did not answer before. Returns the one without an answer.
async fn wish(door: Arc<Door>, waiting: Arc<Mutex<(Vec<u32>, u32)>>) -> Option<u32> {
    loop {
        let user = {
            let (again, next) = &mut *waiting.lock().unwrap();
            again.pop().unwrap_or_else(|| {
                *next += 1;
                *next - 1
            })
        };
        let body = wish_of(user);
        let request = door.client.post(format!("http://{}/webhooks/unipile", door.address));
        let request =
            request.header("unipile-signature", signed_at(SECRET, now(), body.as_bytes())).body(body);
        match request.send().await {
            Ok(answer) => assert_eq!(answer.status(), 200),
            Err(_) => return Some(user),
        }
    }
}

/// While another program keeps the queue locked, Unipile is asked to send again; the repetition finds it stored once.
#[tokio::test]
async fn a_queue_that_cannot_be_written_is_answered_503() {
    let env = env().await;
    let door = open(&env).await;
    let locker = rusqlite::Connection::open(env.database()).unwrap();
    locker.execute_batch("BEGIN IMMEDIATE").unwrap();
    let clock = SystemClock::new();
    let (status, said) = door.post(SECRET, &event("evt_1")).await;
    assert_eq!(status, 503, "{said}");
    assert!(clock.monotonic() < Duration::from_secs(5), "before Unipile gives up: {:?}", clock.monotonic());
    locker.execute_batch("COMMIT").unwrap();
    assert!(eventually(async || door.post(SECRET, &event("evt_1")).await.0 == 200).await);
    assert_eq!(stored(&env), ["evt_1"]);
    assert!(door.webhooks().await["refused"]["not_stored"].as_u64().unwrap() >= 1);
    door.daemon.stop().await;
}

#[tokio::test]
async fn an_address_in_use_is_a_clear_error_and_without_one_there_is_no_listener() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let env = env().await.set("OUTBOXD_WEBHOOKS_LISTEN", &address);
    let ran = env.outboxd(&["serve"]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    let error = format!("cannot listen on {address} for webhooks; stop the program that uses the address");
    assert!(said.contains(&error) && said.contains("Address already in use"), "{said}");
    assert!(!env.socket().exists(), "nothing was left behind");

    let env = env.set("OUTBOXD_WEBHOOKS_LISTEN", "");
    let daemon = env.serve().await;
    assert_eq!(daemon.get("/v1/status").await.1["webhooks"], Value::Null);
    daemon.stop().await;
}

/// The task that interprets webhooks is woken for each new one, even if it was busy, and finds it stored.
#[tokio::test]
async fn a_stored_webhook_is_reported_to_the_task_that_waits_for_it() {
    // The first test of the process installs it; for the others this fails.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let options = StoreOptions { path: folder.path().join("queue.db"), readers: 1 };
    let store = Store::open(&options, clock.now()).await.unwrap();
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (arrived, url) = (Arrived::default(), format!("http://{}/webhooks/unipile", listener.address()));
    let webhooks = Webhooks::new(WebhookParts {
        store: store.clone(),
        clock: Arc::clone(&clock),
        arrived: arrived.clone(),
        rules: WebhookRules { secrets: vec![SECRET.into()], tolerance: Duration::from_secs(300) },
        address: listener.address(),
        body_bytes: 1 << 20,
        connections: 1,
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = listener.serve(Arc::clone(&webhooks), async move {
        let _dropped_or_sent = stopped.await;
    });
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = async |id: &str| {
        let signature = signed_at(SECRET, now(), event(id).as_bytes());
        let request = client.post(&url).header("unipile-signature", signature).body(event(id));
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    let test = async {
        post("evt_1").await;
        arrived.wait().await;
        assert_eq!(store.waiting_webhooks(10, clock.now()).await.unwrap().0.len(), 1);
        post("evt_1").await;
        let again = tokio::time::timeout(Duration::from_millis(50), arrived.wait()).await;
        assert!(again.is_err(), "a repeated one changes nothing");
        post("evt_2").await;
        post("evt_3").await;
        arrived.wait().await;
        assert_eq!(store.waiting_webhooks(10, clock.now()).await.unwrap().0.len(), 3);
        stop.send(()).unwrap();
    };
    tokio::join!(serving, test);
    assert_eq!((webhooks.tally().received, webhooks.tally().duplicates), (4, 1));
    store.close(clock.now()).await.unwrap();
}
