//! Other programs that INSERT: their rate while the daemon runs, and what they leave to the daemon.
//!
//! They are Python processes, because that is what producers are; the same program writes the bare table.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::Figure;
use super::client::Client;
use super::floor::Floor;
use super::process::{self, pause};
use super::scenes::{LATER, TEXT, delivered};

/// Inserts single rows without a pause, for a number of rows or of seconds. Prints rows, `database is locked` errors,
/// seconds.
const PRODUCER: &str = r#"
import sqlite3, sys, time
path, name, rows, seconds, not_before, text = sys.argv[1:7]
rows, seconds = int(rows), float(seconds)
db = sqlite3.connect(path, timeout=5)
db.execute("PRAGMA synchronous = FULL")
db.execute("PRAGMA wal_autocheckpoint = " + ("900" if name == "bare" else "0"))
began, done, locked = time.perf_counter(), 0, 0
while done < rows and time.perf_counter() - began < seconds:
    try:
        db.execute("INSERT INTO messages (account_id, chat_id, text, not_before) VALUES (?, ?, ?, ?)",
                   (f"acc_{name}_{done % 100}", f"chat_{name}_{began}_{done}", text, not_before))
        db.commit()
        done += 1
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise
        db.rollback()
        locked += 1
print(done, locked, time.perf_counter() - began)
"#;

/// What one producer did.
#[derive(Default, Clone, Copy)]
struct Done {
    rows: f64,
    locked: f64,
    seconds: f64,
}

struct Producer(Child);

impl Producer {
    fn start(database: &Path, name: &str, rows: u32, seconds: u64) -> Self {
        let child = Command::new("python3")
            .args(["-c", PRODUCER])
            .arg(database)
            .args([name, &rows.to_string(), &seconds.to_string(), LATER, TEXT])
            .stdout(Stdio::piped())
            .spawn();
        Self(child.expect("python3, whose sqlite3 plays the producer"))
    }

    fn done(mut self) -> Done {
        let mut text = String::new();
        self.0.stdout.take().expect("piped").read_to_string(&mut text).expect("what it did");
        assert!(self.0.wait().expect("it ended").success(), "a producer failed");
        let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        Done { rows: numbers[0], locked: numbers[1], seconds: numbers[2] }
    }
}

/// Measures single INSERTs of one producer, on the bare table and next to the daemon in turn.
pub(crate) fn insert(folder: &Path, figures: &mut Vec<Figure>) {
    const ROUNDS: usize = 7;
    const ROWS: u32 = 2000;
    drop(Floor::open(folder));
    let (_daemon, database, _) = process::daemon(folder, "insert", "http://127.0.0.1:9", &[]);
    let rate = |database: &Path, name| {
        let done = Producer::start(database, name, ROWS, 600).done();
        done.rows / done.seconds
    };
    let rounds = (0..ROUNDS).map(|_| {
        let bare = rate(&folder.join("floor.db"), "bare");
        let beside = rate(&database, "insert");
        // Rows still to be admitted must not disturb the next round's floor.
        pause(Duration::from_millis(500));
        (beside, bare)
    });
    let goal = "at least 0.5 of the floor";
    figures.push(Figure::beside_floor("insert_1_producer", rounds.collect(), "rows/s", goal, 0.5));
}

/// Measures how soon rows are admitted that other programs inserted while the daemon was off.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
pub(crate) fn backlog(folder: &Path, figures: &mut Vec<Figure>) {
    const ROWS: usize = 200_000;
    const ACCOUNTS: usize = 1000;
    let mut floor = Floor::open(folder);
    let mut round = |number: usize| {
        let batches = floor.batch(20);
        let name = format!("backlog{number}");
        let (daemon, database, _) = process::daemon(folder, &name, "http://127.0.0.1:9", &[]);
        drop(daemon);
        let mut producer = Connection::open(&database).expect("open");
        for first in (0..ROWS).step_by(2000) {
            let rows = producer.transaction().expect("begin");
            for row in first..first + 2000 {
                let values = params![format!("acc_{}", row % ACCOUNTS), format!("chat_{row}"), TEXT, LATER];
                rows.prepare_cached(
                    "INSERT INTO messages (account_id, chat_id, text, not_before) VALUES (?1, ?2, ?3, ?4)",
                )
                .and_then(|mut insert| insert.execute(values))
                .expect("insert");
            }
            rows.commit().expect("commit");
        }
        let began = Instant::now();
        let (_daemon, ..) = process::daemon(folder, &name, "http://127.0.0.1:9", &[]);
        let left = |producer: &Connection| -> bool {
            let sql = "SELECT EXISTS (SELECT 1 FROM messages WHERE state = 'new')";
            producer.query_row(sql, [], |row| row.get(0)).expect("a count")
        };
        while left(&producer) {
            assert!(began.elapsed() < Duration::from_secs(120), "not admitted within two minutes");
            pause(Duration::from_millis(20));
        }
        (ROWS as f64 / began.elapsed().as_secs_f64(), batches)
    };
    let rounds = (0..5).map(&mut round).collect();
    figures.push(Figure::beside_floor("backlog", rounds, "rows/s", "at least 0.4 of the floor", 0.4));
}

/// Gap of the account that sends during a round.
const GAP: &str = "400ms";
/// Length of each part of a round, in seconds.
const SECONDS: u64 = 10;
const ROUNDS: usize = 5;

/// Measures one and four producers that never pause, while an account sends and a client uses the socket.
pub(crate) fn producers(folder: &Path, figures: &mut Vec<Figure>) {
    let names = [
        (
            1,
            [
                "producers_1_sends_kept",
                "producers_1_longest_silence",
                "producers_1_locks",
                "producers_1_socket",
            ],
        ),
        (
            4,
            [
                "producers_4_sends_kept",
                "producers_4_longest_silence",
                "producers_4_locks",
                "producers_4_socket",
            ],
        ),
    ];
    for (producers, [kept, silence, locks, socket]) in names {
        let rounds: Vec<Round> = (0..ROUNDS)
            .map(|round| Round::of(folder, &format!("producers{producers}_{round}"), producers))
            .collect();
        let each = |part: fn(&Round) -> f64| rounds.iter().map(part).collect::<Vec<f64>>();
        let sum = |part: fn(&Round) -> f64| each(part).iter().sum::<f64>();
        let share = each(|round| round.disturbed / round.undisturbed * 100.0);
        figures
            .push(Figure::median(kept, share, "%", "at least 80 % of the undisturbed", |kept| kept >= 80.0));
        let silences = each(|round| round.silence.as_secs_f64());
        let longest = silences.iter().copied().fold(0.0, f64::max);
        let told = Figure::median(silence, silences, "s", "never over 2 s", |_| longest <= 2.0);
        figures.push(told);
        let (seen, without) = (sum(|round| round.locked), sum(|round| round.locked_without));
        // Without a daemon, four producers cause each other about two such errors in 110,000 rows.
        let chance = sum(|round| round.rows) / 50_000.0;
        let met = seen <= without.max(chance);
        let goal = "no more than without a daemon";
        let unit = "in all rounds";
        figures.push(Figure {
            name: locks,
            value: seen,
            spread: None,
            unit,
            floor: Some(without),
            goal,
            met,
        });
        let answered = each(|round| round.socket.as_secs_f64());
        figures.push(Figure::median(socket, answered, "s", "under 2 s", |slowest| slowest < 2.0));
    }
}

/// Result of one round.
struct Round {
    undisturbed: f64,
    disturbed: f64,
    silence: Duration,
    rows: f64,
    locked: f64,
    locked_without: f64,
    /// Slowest answer of the socket.
    socket: Duration,
}

impl Round {
    fn of(folder: &Path, name: &str, producers: u32) -> Self {
        let (_sandbox, url) = process::sandbox();
        let gap = [("OUTBOXD_POLICY_DEFAULT_GAP_MIN", GAP), ("OUTBOXD_POLICY_DEFAULT_GAP_MAX", GAP)];
        let (daemon, database, socket) = process::daemon(folder, name, &url, &gap);
        let address = url.trim_start_matches("http://").to_owned();
        let line = |number: usize| {
            format!("{{\"account_id\":\"acc_sends\",\"chat_id\":\"chat_{number}\",\"text\":\"{TEXT}\"}}\n")
        };
        let mut client = Client::connect(&socket);
        let body: String = (0..500).map(line).collect();
        assert_eq!(client.post("/v1/messages", "application/x-ndjson", &body).0, 200);
        pause(Duration::from_secs(1));
        let (undisturbed, ..) = sends(&address, &mut client);
        let started: Vec<Producer> = start(&database, producers);
        let (disturbed, silence, socket) = sends(&address, &mut client);
        let done: Vec<Done> = started.into_iter().map(Producer::done).collect();
        drop(daemon);
        let alone: Vec<Done> = start(&database, producers).into_iter().map(Producer::done).collect();
        let sum = |done: &[Done], part: fn(&Done) -> f64| done.iter().map(part).sum::<f64>();
        let locked = sum(&done, |done| done.locked);
        let locked_without = sum(&alone, |done| done.locked);
        for file in ["db", "db-wal", "db-shm"] {
            let _it_may_be_gone = std::fs::remove_file(folder.join(format!("{name}.{file}")));
        }
        Self {
            undisturbed,
            disturbed,
            silence,
            rows: sum(&done, |done| done.rows),
            locked,
            locked_without,
            socket,
        }
    }
}

fn start(database: &Path, producers: u32) -> Vec<Producer> {
    (0..producers).map(|number| Producer::start(database, &number.to_string(), u32::MAX, SECONDS)).collect()
}

/// Returns the sends within [`SECONDS`], the longest time without one, and the slowest answer to an enqueue.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn sends(address: &str, client: &mut Client) -> (f64, Duration, Duration) {
    let began = Instant::now();
    let first = delivered(address);
    let (mut seen, mut seen_at) = (first, began);
    let (mut longest, mut slowest) = (Duration::ZERO, Duration::ZERO);
    let mut asked_at = began;
    while began.elapsed() < Duration::from_secs(SECONDS) {
        let now = delivered(address);
        if now != seen {
            longest = longest.max(seen_at.elapsed());
            (seen, seen_at) = (now, Instant::now());
        }
        if asked_at.elapsed() > Duration::from_millis(500) {
            asked_at = Instant::now();
            let message = format!(
                "{{\"account_id\":\"acc_socket\",\"chat_id\":\"c\",\"text\":\"{TEXT}\",\"not_before\":\"{LATER}\"}}"
            );
            assert_eq!(client.post("/v1/messages", "application/json", &message).0, 201);
            slowest = slowest.max(asked_at.elapsed());
        }
        pause(Duration::from_millis(20));
    }
    longest = longest.max(seen_at.elapsed());
    ((seen - first) as f64, longest, slowest)
}
