//! `cargo bench --bench forecast`: forecasts a million queued messages on a thousand accounts, read from the queue on
//! disk, and measures the error of a forecast. Prints lines of figures. Takes about a minute and a half.
//!
//! The reference is another run of the same rules with other dice and with calls that take from 0.3 to 3 s: the error
//! is that of not knowing the dice, not that of other rules.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use outboxd::clock::{Clock, SystemClock, dice};
use outboxd::domain::account::{Account, Daemon};
use outboxd::domain::caps::{Ledger, parse_caps};
use outboxd::domain::kind::Kind;
use outboxd::domain::lane::Lane;
use outboxd::domain::message::{AccountId, ChatId, Extras, NewMessage, Target};
use outboxd::domain::policy::{Caps, Gap, Policy};
use outboxd::domain::reason::Reason;
use outboxd::policy::fair_share::FairShare;
use outboxd::policy::forecast::{Expected, Queued, Start, forecast};
use outboxd::store::{EnqueueMode, Store, StoreOptions};

const ACCOUNTS: usize = 1000;
const MESSAGES: usize = 1000;

fn account(number: usize) -> AccountId {
    AccountId::new(format!("acc_{number:04}"))
}

fn message(number: usize, of: usize) -> NewMessage {
    NewMessage {
        account_id: account(number),
        target: Target::Chat(ChatId::new(format!("chat_{of}"))),
        extras: Extras::default(),
        text: "Hi, thank you for connecting!".to_owned(),
        typing: None,
        not_before: None,
        expires_at: None,
        campaign: of.is_multiple_of(2).then(|| "autumn".to_owned()),
        precedence: Default::default(),
        stop_on_reply: None,
        step: None,
        meta: None,
        needs: None,
        dedupe_key: None,
    }
}

fn policy() -> Policy {
    let seconds = Duration::from_secs;
    let list = parse_caps(None, "100/24h, 400/7d").expect("two caps");
    let gap = Gap { min: seconds(10), max: seconds(20) };
    Policy { gap, caps: Caps { list, profile: Vec::new(), jitter_percent: 0 }, ..Policy::unlimited() }
}

/// Forecasts when each message of this queue is sent.
fn run(
    id: &AccountId,
    lanes: &[Lane],
    queued: &[Queued],
    now: Timestamp,
    call: Duration,
    seed: u64,
) -> Vec<Expected> {
    let start = Start {
        now,
        until: now + SignedDuration::from_hours(24 * 60),
        daemon: &Daemon::default(),
        account: &Account::new(id.clone()),
        policy: &policy(),
        ledger: &Ledger::default(),
        profile_reads: &Ledger::default(),
        turns: &FairShare::default(),
        lanes,
        queued,
        started: &HashMap::new(),
        call,
    };
    forecast(&start, &mut dice(seed)).messages
}

async fn prepared(store: &Store, id: &AccountId, now: Timestamp) -> (Vec<Lane>, Vec<Queued>) {
    let (mut lanes, mut queued): (Vec<Lane>, Vec<Queued>) = (Vec::new(), Vec::new());
    for message in store.queued(id, 0, u32::MAX, now).await.expect("the queue is read") {
        let lane = lanes.iter().position(|lane| *lane == message.lane).unwrap_or_else(|| {
            lanes.push(message.lane.clone());
            lanes.len() - 1
        });
        queued.push(Queued {
            lane,
            due_at: message.due_at,
            ready_at: message.due_at,
            later_for: Reason::Scheduled,
            expires_at: message.expires_at,
            seq: message.seq,
            thread: message.seq.unsigned_abs(),
            step: None,
            follows: None,
            waits_for: None,
            is_named: false,
        });
    }
    (lanes, queued)
}

fn main() {
    // `cargo test` and `cargo nextest` run what they build with these.
    if std::env::args().any(|argument| ["--test", "--list"].contains(&argument.as_str())) {
        return;
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime").block_on(measure());
}

async fn measure() {
    let clock = SystemClock::new();
    let now = clock.now();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let options = StoreOptions { path: folder.path().join("queue.db"), readers: 2 };
    let store = Store::open(&options, now).await.expect("a new queue");
    let began = clock.monotonic();
    for number in 0..ACCOUNTS {
        let batch = (0..MESSAGES).map(|of| message(number, of)).collect();
        store.enqueue(batch, EnqueueMode::Each, now).await.expect("the batch is put in");
    }
    println!("queued {} messages in {:.1} s", ACCOUNTS * MESSAGES, (clock.monotonic() - began).as_secs_f64());

    let began = clock.monotonic();
    let (mut sent, mut last) = (0, now);
    for number in 0..ACCOUNTS {
        let id = account(number);
        let (lanes, queued) = prepared(&store, &id, now).await;
        for expected in run(&id, &lanes, &queued, now, Duration::from_secs(1), number as u64) {
            if let Expected::Sent(at) = expected {
                sent += 1;
                last = last.max(at);
            }
        }
    }
    let took = (clock.monotonic() - began).as_secs_f64();
    println!("forecast of {ACCOUNTS} accounts, {sent} sends until {last}: {took:.2} s (goal: under 10 s)");
    errors(now);
}

/// Prints how far the median of seven runs is from another run with other dice, in minutes.
fn errors(now: Timestamp) {
    let lanes = [Lane::of(Kind::Message)];
    let queued: Vec<Queued> = (0..MESSAGES)
        .map(|of| Queued {
            lane: 0,
            due_at: now,
            ready_at: now,
            later_for: Reason::Scheduled,
            expires_at: None,
            seq: i64::try_from(of).expect("fewer than 2^63"),
            thread: of as u64,
            step: None,
            follows: None,
            waits_for: None,
            is_named: false,
        })
        .collect();
    let mut errors = Vec::new();
    for number in 0..50_u64 {
        let id = account(usize::try_from(number).expect("it is not negative"));
        let at = |expected: Expected| match expected {
            Expected::Sent(at) => at,
            Expected::Expired | Expected::Waiting(_) => panic!("everything goes in 60 days"),
        };
        let runs: Vec<Vec<Expected>> = (0..7)
            .map(|seed| run(&id, &lanes, &queued, now, Duration::from_secs(1), number * 100 + seed))
            .collect();
        let call = Duration::from_millis(300 + 54 * number);
        let happened = run(&id, &lanes, &queued, now, call, number * 100 + 99);
        for of in 0..MESSAGES {
            let mut times: Vec<Timestamp> = runs.iter().map(|run| at(run[of])).collect();
            times.sort_unstable();
            errors.push(times[3].duration_since(at(happened[of])).abs().as_secs_f64() / 60.0);
        }
    }
    errors.sort_unstable_by(f64::total_cmp);
    let part = |share: f64| errors[((errors.len() - 1) as f64 * share) as usize];
    println!("error over about 17 days: p50 {:.1} min, p99 {:.1} min", part(0.5), part(0.99));
}
