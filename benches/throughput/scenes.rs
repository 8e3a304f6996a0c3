//! The basic scenarios: enqueue, INSERT to API call, drain, selection, idle.

use std::ops::RangeFrom;
use std::path::Path;
use std::time::{Duration, Instant};

use outboxd::domain::message::{AccountId, ChatId, NewMessage, Target};
use outboxd::sandbox::{Sandbox, SandboxConfig};
use outboxd::store::{Asker, EnqueueMode, Store, StoreOptions};
use rusqlite::{Connection, params};

use super::Figure;
use super::client::Client;
use super::floor::Floor;
use super::process::{self, pause};

/// A message of ordinary length.
pub(crate) const TEXT: &str = "Hi Carla, I saw your talk in Porto and liked how you explained the trade-offs. We are looking for \
     somebody who has run queues in production. Would you have a quarter of an hour next week?";

/// A `not_before` that keeps accepted messages from being sent.
pub(crate) const LATER: &str = "2099-01-01T00:00:00.000Z";

pub(crate) fn message_json(number: usize) -> String {
    let account = number % 100;
    format!(
        "{{\"account_id\":\"acc_{account}\",\"chat_id\":\"chat_{number}\",\"text\":\"{TEXT}\",\"not_before\":\"{LATER}\"}}"
    )
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

/// Rounds of enqueueing. The disk and the other load on the machine change from minute to minute, so each figure and
/// its floor are measured in turn, and the reported figure is the median round.
const ROUNDS: usize = 7;

/// Measures one producer, 64 producers, and NDJSON.
pub(crate) fn enqueue(folder: &Path, figures: &mut Vec<Figure>) {
    let mut floor = Floor::open(folder);
    let (_daemon, _, socket) = process::daemon(folder, "enqueue", "http://127.0.0.1:9", &[]);
    let mut client = Client::connect(&socket);
    // Each message is for a chat of its own, as in the floor.
    let mut numbers = 0..;
    one_at_a_time(&mut client, &mut numbers, 500);
    floor.single(500);
    let (mut one, mut many, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let single = floor.single(1000);
        one.push((one_at_a_time(&mut client, &mut numbers, 1000), single));
        many.push((sixty_four_at_once(&socket, &mut numbers), single));
        lines.push((ndjson(&mut client, &mut numbers, 20), floor.batch(20)));
    }
    let messages = "messages/s";
    figures.push(Figure::beside_floor("enqueue_1_producer", one, messages, "at least 0.5 of the floor", 0.5));
    figures.push(Figure::beside_floor(
        "enqueue_64_producers",
        many,
        messages,
        "at least 2 times the floor",
        2.0,
    ));
    figures.push(Figure::beside_floor(
        "enqueue_ndjson_1000",
        lines,
        "rows/s",
        "at least 0.4 of the floor",
        0.4,
    ));
}

/// Returns messages per second, one per request, each sent after the answer to the one before.
fn one_at_a_time(client: &mut Client, numbers: &mut RangeFrom<usize>, messages: usize) -> f64 {
    let bodies: Vec<String> = numbers.take(messages).map(message_json).collect();
    let seconds = timed(|| {
        for body in &bodies {
            assert_eq!(client.post("/v1/messages", "application/json", body).0, 201);
        }
    });
    messages as f64 / seconds
}

fn sixty_four_at_once(socket: &Path, numbers: &mut RangeFrom<usize>) -> f64 {
    let bodies: Vec<String> = numbers.take(64 * 100).map(message_json).collect();
    let seconds = timed(|| {
        std::thread::scope(|scope| {
            for part in bodies.chunks(100) {
                scope.spawn(move || {
                    let mut client = Client::connect(socket);
                    for body in part {
                        assert_eq!(client.post("/v1/messages", "application/json", body).0, 201);
                    }
                });
            }
        });
    });
    bodies.len() as f64 / seconds
}

/// Returns rows per second, a thousand per request.
fn ndjson(client: &mut Client, numbers: &mut RangeFrom<usize>, requests: u32) -> f64 {
    let batch = |_| numbers.take(1000).map(|number| message_json(number) + "\n").collect();
    let batches: Vec<String> = (0..requests).map(batch).collect();
    let seconds = timed(|| {
        for batch in &batches {
            let (status, answer) = client.post("/v1/messages", "application/x-ndjson", batch);
            assert!(status == 200 && answer.starts_with("{\"accepted\":1000,"), "{status} {answer:.200}");
        }
    });
    f64::from(requests) * 1000.0 / seconds
}

/// Rounds of figures that are not rates.
const LATENCY_ROUNDS: usize = 5;
const LATENCY_MESSAGES: u32 = 400;

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share) as usize]
}

/// Measures the time from before the INSERT on another connection to the arrival of the call at the sandbox.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn latency(folder: &Path, figures: &mut Vec<Figure>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let sandbox = runtime.block_on(Sandbox::start(SandboxConfig::default())).expect("the sandbox");
    let (_daemon, database, _) = process::daemon(folder, "latency", &sandbox.url(), &[]);
    let producer = Connection::open(&database).expect("open");
    producer.busy_timeout(Duration::from_secs(5)).expect("busy timeout");
    producer.pragma_update(None, "wal_autocheckpoint", 0).expect("pragma");
    let world = sandbox.world();
    let mut floor = Floor::open(folder);
    let (mut middle, mut slowest, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    let mut number = 0_usize;
    // The first round opens connections and files, and is not counted.
    for round in 0..=LATENCY_ROUNDS {
        let mut latencies = Vec::new();
        for _ in 0..LATENCY_MESSAGES {
            let chat = format!("chat_{number}");
            let account = format!("acc_{}", number % 20);
            let inserted_at = world.elapsed();
            producer
                .prepare_cached("INSERT INTO messages (account_id, chat_id, text) VALUES (?1, ?2, ?3)")
                .and_then(|mut statement| statement.execute(params![account, chat, TEXT]))
                .expect("insert");
            let deadline = Instant::now() + Duration::from_secs(10);
            while world.delivered_count() <= number {
                assert!(Instant::now() < deadline, "message {number} was not sent within 10 s");
                pause(Duration::from_micros(500));
            }
            let deliveries = world.deliveries_after(number as u64);
            let delivery = deliveries.last().expect("the delivery that was counted");
            latencies.push((delivery.at_monotonic - inserted_at).as_secs_f64() * 1e3);
            number += 1;
            // Lets the daemon become idle: this measures an account at rest.
            pause(Duration::from_millis(10));
        }
        let inserts = floor.latencies(LATENCY_MESSAGES);
        if round > 0 {
            middle.push(percentile(latencies.clone(), 0.5));
            slowest.push(percentile(latencies, 0.99));
            raw.push(percentile(inserts, 0.99));
        }
    }
    figures.push(Figure::median("insert_to_call_p50", middle, "ms", "under 3 ms", |ms| ms < 3.0));
    let raw = Figure::median("raw_insert_p99", raw, "ms", "", |_| true);
    let goal = "at most 2 times the p99 of a raw durable INSERT";
    let figure = Figure::median("insert_to_call_p99", slowest, "ms", goal, |ms| ms <= 2.0 * raw.value);
    figures.push(Figure { floor: Some(raw.value), ..figure });
    figures.push(raw);
    runtime.block_on(sandbox.stop());
}

/// Measures 200 accounts without a gap: the daemon and the sandbox share the cores.
pub(crate) fn drain(folder: &Path, figures: &mut Vec<Figure>) {
    let rounds = (0..DRAIN_ROUNDS).map(|round| drained(folder, &format!("drain{round}"))).collect();
    figures.push(Figure::median("drain", rounds, "sends/s", "at least 1,000", |rate| rate >= 1000.0));
}

const DRAIN_ROUNDS: usize = 5;

/// Returns sends per second, on a queue of its own.
fn drained(folder: &Path, name: &str) -> f64 {
    const MESSAGES: usize = 10_000;
    let (_sandbox, url) = process::sandbox();
    let limits = [
        ("OUTBOXD_UNIPILE_REQUESTS_PER_SECOND", "100000"),
        ("OUTBOXD_UNIPILE_BURST", "100000"),
        ("OUTBOXD_UNIPILE_ACCOUNT_REQUESTS_PER_SECOND", "100000"),
    ];
    let (_daemon, _, socket) = process::daemon(folder, name, &url, &limits);
    let mut client = Client::connect(&socket);
    client.post("/v1/pause", "application/json", "");
    for batch in 0..MESSAGES / 1000 {
        let line = |number: usize| {
            let account = number % 200;
            let number = batch * 1000 + number;
            format!(
                "{{\"account_id\":\"acc_{account}\",\"chat_id\":\"chat_{number}\",\"text\":\"{TEXT}\"}}\n"
            )
        };
        let body: String = (0..1000).map(line).collect();
        assert_eq!(client.post("/v1/messages", "application/x-ndjson", &body).0, 200);
    }
    let address = url.trim_start_matches("http://").to_owned();
    let seconds = timed(|| {
        client.post("/v1/resume", "application/json", "");
        while delivered(&address) < MESSAGES {
            pause(Duration::from_millis(50));
        }
    });
    assert_eq!(delivered(&address), MESSAGES, "some went twice");
    MESSAGES as f64 / seconds
}

/// Returns how many messages the sandbox at `address` has delivered.
pub(crate) fn delivered(address: &str) -> usize {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("the sandbox listens");
    stream.write_all(b"GET /sandbox/count HTTP/1.1\r\nhost: s\r\nconnection: close\r\n\r\n").expect("write");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let after = answer.split("\"deliveries\":").nth(1).expect("a count");
    after.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a number")
}

/// Measures the time to find an account's next message, with a thousand and with a million waiting.
pub(crate) fn pick(folder: &Path, figures: &mut Vec<Figure>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let [small, large] = runtime.block_on(async {
        let options = StoreOptions { path: folder.join("pick.db"), readers: 1 };
        let now: jiff::Timestamp = "2026-11-22T09:21:00Z".parse().expect("a time");
        let store = Store::open(&options, now).await.expect("open");
        fill(&store, 1000, now).await;
        let small = time_of_selection(&store, now).await;
        fill(&store, 999_000, now).await;
        // The kernel still writes a gigabyte back, which this must not measure.
        pause(Duration::from_secs(5));
        [small, time_of_selection(&store, now).await]
    });
    let goal = "within 2 times that with 1,000";
    figures.push(Figure {
        name: "pick_1000",
        value: small,
        spread: None,
        unit: "us",
        floor: None,
        goal: "",
        met: true,
    });
    let met = large <= 2.0 * small;
    figures.push(Figure {
        name: "pick_1000000",
        value: large,
        spread: None,
        unit: "us",
        floor: Some(small),
        goal,
        met,
    });
}

async fn fill(store: &Store, rows: usize, now: jiff::Timestamp) {
    let mut left = rows;
    while left > 0 {
        let batch = left.min(2000);
        let message = |number: usize| NewMessage {
            account_id: AccountId::new("acc_1"),
            target: Target::Chat(ChatId::new(format!("chat_{}", left - number))),
            extras: outboxd::domain::message::Extras::default(),
            text: TEXT.to_owned(),
            typing: None,
            not_before: None,
            expires_at: None,
            campaign: None,
            precedence: Default::default(),
            stop_on_reply: None,
            step: None,
            meta: None,
            needs: None,
            dedupe_key: None,
        };
        store.enqueue((0..batch).map(message).collect(), EnqueueMode::Each, now).await.expect("enqueue");
        left -= batch;
    }
}

/// Returns the median in microseconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) async fn time_of_selection(store: &Store, now: jiff::Timestamp) -> f64 {
    let account = AccountId::new("acc_1");
    let mut times = Vec::new();
    for _ in 0..2000 {
        let began = Instant::now();
        let found = store.candidates(Asker::Engine, &account, now).await.expect("read");
        times.push(began.elapsed().as_secs_f64() * 1e6);
        assert!(found.is_some_and(|found| !found.messages.is_empty()), "somebody waits");
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Measures 10,000 accounts and 100,000 messages that are not due yet.
pub(crate) fn idle(folder: &Path, figures: &mut Vec<Figure>) {
    let (daemon, database, socket) = process::daemon(folder, "idle", "http://127.0.0.1:9", &[]);
    let mut client = Client::connect(&socket);
    for batch in 0..100 {
        let line = |number: usize| {
            let number = batch * 1000 + number;
            let account = number % 10_000;
            format!(
                "{{\"account_id\":\"acc_{account}\",\"chat_id\":\"chat_{number}\",\"text\":\"{TEXT}\",\
                 \"not_before\":\"{LATER}\"}}\n"
            )
        };
        let body: String = (0..1000).map(line).collect();
        assert_eq!(client.post("/v1/messages", "application/x-ndjson", &body).0, 200);
    }
    drop(client);
    drop(daemon);
    // The state after a restart, once the daemon has looked at every account.
    let (daemon, ..) = process::daemon(folder, "idle", "http://127.0.0.1:9", &[]);
    assert!(database.exists());
    pause(Duration::from_secs(10));
    let before = cpu_ticks(daemon.pid());
    let window = 30;
    pause(Duration::from_secs(window));
    let ticks = cpu_ticks(daemon.pid()) - before;
    // The kernel counts in hundredths of a second (USER_HZ).
    let share = ticks as f64 / 100.0 / window as f64 * 100.0;
    let goal = "under 0.2 % of a core";
    figures.push(Figure {
        name: "idle_cpu",
        value: share,
        spread: None,
        unit: "%",
        floor: None,
        goal,
        met: share < 0.2,
    });
    let resident = resident_mib(daemon.pid());
    let met = resident < 60.0;
    figures.push(Figure {
        name: "idle_rss",
        value: resident,
        spread: None,
        unit: "MiB",
        floor: None,
        goal: "under 60 MB",
        met,
    });
}

pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after_name = stat.rsplit(") ").next().expect("a name");
    let fields: Vec<&str> = after_name.split(' ').collect();
    [11, 12].iter().map(|index| fields[*index].parse::<u64>().expect("ticks")).sum()
}

/// Returns the current resident memory.
pub(crate) fn resident_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    let kib: f64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    kib / 1024.0
}
