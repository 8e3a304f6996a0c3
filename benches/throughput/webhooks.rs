//! 500 signed webhooks a second for a minute against the real listener, while fifty accounts send: how many are lost, how
//! soon each is answered, and whether the sends keep their pace. Half of the webhooks are messages of other people, and
//! half are receipts. `OUTBOXD_BENCH_WEBHOOKS_S=5` runs a short one.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::{Sandbox, SandboxConfig, World};
use rusqlite::Connection;
use sha2::Sha256;

use super::Figure;
use super::client::Client;
use super::process::{self, pause};
use super::scenes::TEXT;

const ACCOUNTS: usize = 50;
const MESSAGES: usize = 10_000;
const PER_SECOND: u32 = 500;
/// Connections that post at once. Each posts on a schedule of its own.
const SENDERS: u32 = 20;
const SECRET: &str = "whsec_bench";
/// Rounds, each with its own queue and sandbox.
const ROUNDS: usize = 3;

pub(crate) fn webhooks(folder: &Path, figures: &mut Vec<Figure>) {
    let seen: Vec<Seen> = (0..ROUNDS).map(|round| scene(folder, round)).collect();
    let each = |part: fn(&Seen) -> f64| seen.iter().map(part).collect::<Vec<f64>>();
    let worst = |part: fn(&Seen) -> f64| seen.iter().map(part).fold(0.0, f64::max);
    let lost = |seen: &Seen| f64::from(seen.lost);
    figures.push(Figure::median("webhooks_lost", each(lost), "webhooks", "none in any round", |_| {
        worst(lost) <= 0.0
    }));
    figures.push(Figure::median("webhook_answer_p99", each(|seen| seen.p99_ms), "ms", "under 50", |ms| {
        ms < 50.0
    }));
    figures.push(Figure::median(
        "webhooks_interpreted_after",
        each(|seen| seen.interpreted_after.as_secs_f64()),
        "s",
        "under 60",
        |seconds| seconds < 60.0,
    ));
    let sends = seen.iter().map(|seen| (seen.sends_during, seen.sends_before)).collect();
    figures.push(Figure::beside_floor("sends_during_webhooks", sends, "a second", "0.95 of without", 0.95));
}

/// Result of one round.
struct Seen {
    /// Webhooks that were not answered with 200, or are not on disk.
    lost: u32,
    /// From the time at which a webhook was to be posted until its answer, in milliseconds.
    p99_ms: f64,
    /// From the last answer until everything is interpreted.
    interpreted_after: Duration,
    /// Sends a second without webhooks, and with them.
    sends_before: f64,
    sends_during: f64,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn scene(folder: &Path, round: usize) -> Seen {
    let lasts =
        std::env::var("OUTBOXD_BENCH_WEBHOOKS_S").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let sandbox = runtime.block_on(Sandbox::start(SandboxConfig::default())).expect("the sandbox");
    let listen = free_address();
    let extra = [
        ("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "1s"),
        ("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "2s"),
        ("OUTBOXD_WEBHOOKS_LISTEN", &listen.to_string()),
        ("OUTBOXD_WEBHOOKS_SECRET", SECRET),
    ];
    let (_daemon, database, socket) =
        process::daemon(folder, &format!("webhooks{round}"), &sandbox.url(), &extra);
    enqueue(&mut Client::connect(&socket));
    let world = sandbox.world();
    pause(Duration::from_secs(5));
    let quiet = Duration::from_secs(lasts.min(20));
    let sends_before = sends_a_second(world, || pause(quiet));
    let mut answers = Vec::new();
    let sends_during = sends_a_second(world, || answers = post_all(listen, lasts));
    let began = Instant::now();
    let reader = Connection::open(&database).expect("open");
    let count = |sql: &str| -> u32 { reader.query_row(sql, [], |row| row.get(0)).expect("a count") };
    let posted = u32::try_from(answers.len()).expect("a count");
    let kept = count("SELECT count(*) FROM webhooks");
    let refused = u32::try_from(answers.iter().filter(|answer| answer.is_none()).count()).expect("a count");
    while count("SELECT count(*) FROM webhooks WHERE result IS NULL") > 0
        && began.elapsed() < Duration::from_secs(300)
    {
        pause(Duration::from_millis(100));
    }
    let interpreted_after = began.elapsed();
    runtime.block_on(sandbox.stop());
    let mut times: Vec<f64> = answers.into_iter().flatten().map(|time| time.as_secs_f64() * 1000.0).collect();
    times.sort_by(f64::total_cmp);
    let p99_ms = times.get(times.len() * 99 / 100).copied().unwrap_or(f64::INFINITY);
    Seen {
        lost: refused + posted.saturating_sub(kept + refused),
        p99_ms,
        interpreted_after,
        sends_before,
        sends_during,
    }
}

fn enqueue(client: &mut Client) {
    let line = |number: usize| {
        let account = number % ACCOUNTS;
        format!("{{\"account_id\":\"acc_{account}\",\"chat_id\":\"chat_{number}\",\"text\":\"{TEXT}\"}}\n")
    };
    for first in (0..MESSAGES).step_by(1000) {
        let body: String = (first..first + 1000).map(line).collect();
        assert_eq!(client.post("/v1/messages", "application/x-ndjson", &body).0, 200);
    }
}

/// Returns an address on which nothing listens.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn sends_a_second(world: &World, work: impl FnOnce()) -> f64 {
    let (before, began) = (world.delivered_count(), Instant::now());
    work();
    let sent = u32::try_from(world.delivered_count() - before).expect("a count");
    f64::from(sent) / began.elapsed().as_secs_f64()
}

/// Posts webhooks for `seconds`. Returns for each the time from its schedule to its answer; `None` without a 200.
fn post_all(listen: SocketAddr, seconds: u64) -> Vec<Option<Duration>> {
    let each = PER_SECOND * u32::try_from(seconds).expect("a short time") / SENDERS;
    let every = Duration::from_secs(1) * SENDERS / PER_SECOND;
    let sender = |sender: u32| std::thread::spawn(move || post_each(listen, sender, each, every));
    let senders: Vec<_> = (0..SENDERS).map(sender).collect();
    senders.into_iter().flat_map(|sender| sender.join().expect("it ends")).collect()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn post_each(listen: SocketAddr, sender: u32, each: u32, every: Duration) -> Vec<Option<Duration>> {
    let began = Instant::now() + every * sender / SENDERS;
    let answer = |number: u32| {
        let scheduled = began + every * number;
        pause(scheduled.saturating_duration_since(Instant::now()));
        let is_stored = post(listen, &body(sender, number)).is_ok_and(|status| status == 200);
        is_stored.then(|| scheduled.elapsed())
    };
    (0..each).map(answer).collect()
}

/// Returns a webhook: a message of another person, or a receipt.
fn body(sender: u32, number: u32) -> String {
    let account = (sender * 7 + number) % u32::try_from(ACCOUNTS).expect("a count");
    let (event, chat) = (format!("evt_{sender}_{number}"), format!("2-of_{sender}_{number}"));
    let now = SystemClock::new().now();
    let (kind, payload) = if number.is_multiple_of(2) {
        let more = "\"is_sender\":false,\"text\":\"Yes, call me tomorrow\"";
        (
            "message.new",
            format!("\"id\":\"m_{event}\",\"timestamp\":\"{now}\",\"sender_id\":\"U{sender}\",{more}"),
        )
    } else {
        ("message.receipt.read", format!("\"message_id\":\"m_{event}\",\"timestamp\":\"{now}\""))
    };
    format!(
        "{{\"id\":\"{event}\",\"type\":\"{kind}\",\"account_id\":\"acc_{account}\",\"created_at\":\"{now}\",\
         \"payload\":{{\"chat_id\":\"{chat}\",{payload}}}}}"
    )
}

/// Posts one webhook on a connection of its own, signed, and returns the status of the answer.
fn post(listen: SocketAddr, body: &str) -> std::io::Result<u16> {
    let time = SystemClock::new().now().as_second();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
    mac.update(format!("{time}.{body}").as_bytes());
    let mut tag = String::new();
    for byte in mac.finalize().into_bytes() {
        write!(tag, "{byte:02x}").expect("a string");
    }
    let mut stream = TcpStream::connect(listen)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!(
        "POST /webhooks/unipile HTTP/1.1\r\nhost: o\r\nunipile-signature: t={time},v0={tag}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    let status = std::str::from_utf8(&answer[9..]).ok().and_then(|text| text.parse().ok());
    status.ok_or_else(|| std::io::Error::other("no status"))
}
