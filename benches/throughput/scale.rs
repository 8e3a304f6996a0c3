//! 100,000 accounts and a million messages: queries take the same time as with few, and long work blocks nothing
//! else. Each figure is the median of several rounds, printed with the fastest and the slowest.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use outboxd::domain::message::{AccountId, ChatId, Extras, NewMessage, Target};
use outboxd::store::{EnqueueMode, Store, StoreOptions};

use super::Figure;
use super::client::Client;
use super::process::{self, pause};
use super::scenes::{LATER, TEXT, message_json, resident_mib};

const ACCOUNTS: usize = 100_000;
const MESSAGES: usize = 900_000;
/// Messages of the one account that has many.
const OF_ONE: usize = 100_000;
/// Rounds of each figure.
const ROUNDS: usize = 7;
/// Rows that make about 32 MB.
const NDJSON_ROWS: usize = 90_000;
/// Requests of a round; the round is their mean.
const QUESTIONS: u32 = 20;

/// Runs all measurements.
pub(crate) fn scale(folder: &Path, figures: &mut Vec<Figure>) {
    fill(&folder.join("few.db"), 1, 10, 0, 3);
    fill(&folder.join("many.db"), ACCOUNTS, MESSAGES, OF_ONE, 3);
    let (_few, _, few) = process::daemon(folder, "few", "http://127.0.0.1:9", &[]);
    let (many, _, socket) = process::daemon(folder, "many", "http://127.0.0.1:9", &[]);
    // At its start the daemon looks at every account once, and the kernel reads the pages of a million rows back.
    pause(Duration::from_secs(60));
    let resident = resident_mib(many.pid());
    figure(figures, "scale_idle_rss", vec![resident], "MiB", None, ("under 120 MiB", 120.0));
    questions(figures, &few, &socket);
    filters(figures, &few, &socket);
    stalls(figures, &socket);
    // The kernel still writes the backups to the disk.
    pause(Duration::from_secs(60));
    health(figures, &socket);
    wakeups(figures, many.pid(), &socket);
    let after = resident_mib(many.pid());
    figure(figures, "scale_rss_after_all_of_it", vec![after], "MiB", None, ("under 160 MiB", 160.0));
}

/// Enqueues messages that are not due yet.
pub(crate) fn fill(path: &Path, accounts: usize, messages: usize, of_one: usize, campaigns: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let now: jiff::Timestamp = "2026-11-22T09:21:00Z".parse().expect("a time");
        let store =
            Store::open(&StoreOptions { path: path.to_owned(), readers: 1 }, now).await.expect("open");
        let numbers: Vec<(usize, String)> = (0..messages)
            .map(|number| (number, format!("acc_{:06}", number % accounts)))
            .chain((0..of_one).map(|number| (messages + number, "acc_many".to_owned())))
            .collect();
        for part in numbers.chunks(2000) {
            let message = |(number, account): &(usize, String)| NewMessage {
                account_id: AccountId::new(account.clone()),
                target: Target::Chat(ChatId::new(format!("chat_{number}"))),
                extras: Extras::default(),
                text: TEXT.to_owned(),
                typing: None,
                not_before: Some(LATER.parse().expect("a time")),
                expires_at: None,
                campaign: Some(format!("campaign_{}", number % campaigns)),
                precedence: Default::default(),
                stop_on_reply: None,
                step: None,
                meta: None,
                needs: None,
                dedupe_key: None,
            };
            let part = part.iter().map(message).collect();
            store.enqueue(part, EnqueueMode::Each, now).await.expect("enqueue");
        }
        store.close(now).await.expect("closed");
    });
}

/// Measures queries with one account in the queue and with all of them.
fn questions(figures: &mut Vec<Figure>, few: &Path, many: &Path) {
    for (name, path) in [
        ("scale_accounts_page", "/v1/accounts"),
        ("scale_accounts_by_id", "/v1/accounts?sort=id"),
        ("scale_accounts_that_need_a_person", "/v1/accounts?attention=person"),
        ("scale_account", "/v1/accounts/acc_000000"),
        ("scale_budget", "/v1/accounts/acc_000000/budget"),
        ("scale_forecast_of_one", "/v1/forecast?account_id=acc_000000"),
        ("scale_status", "/v1/status"),
        ("scale_list_state_none", "/v1/messages?state=failed,review"),
        ("scale_list_campaign_none", "/v1/messages?campaign=none"),
        ("scale_list_campaign_state_none", "/v1/messages?campaign=campaign_1&state=sent"),
        ("scale_list_chat_none", "/v1/messages?chat_id=none"),
        ("scale_list_account_state_none", "/v1/messages?account_id=acc_many&state=sent"),
    ] {
        let (one, all) = (asked(few, path), asked(many, path));
        let floor = one[one.len() / 2];
        figure(figures, name, all, "ms", Some(floor), ("under 20 ms", 20.0));
    }
    let newest = |socket: &Path| {
        let (_, list) = Client::connect(socket).get("/v1/messages?limit=1&account_id=acc_000000");
        let id = list.split("\"id\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
        format!("/v1/messages/{id}/explain")
    };
    let (one, all) = (asked(few, &newest(few)), asked(many, &newest(many)));
    figure(figures, "scale_explain", all, "ms", Some(one[one.len() / 2]), ("under 20 ms", 20.0));
}

/// Measures every filter of the list of messages, alone and together, with many matches, few and none: `outboxd list`.
fn filters(figures: &mut Vec<Figure>, few: &Path, many: &Path) {
    for (name, query) in [
        ("scale_filter_all", "limit=500"),
        ("scale_filter_account", "account_id=acc_many&limit=500"),
        ("scale_filter_campaign", "campaign=campaign_1&limit=500"),
        ("scale_filter_campaign_account", "campaign=campaign_1&account_id=acc_many&limit=500"),
        ("scale_filter_campaign_account_none", "campaign=none&account_id=acc_many"),
        ("scale_filter_chat", "chat_id=chat_0"),
        ("scale_filter_person_none", "person=ACoA1"),
        ("scale_filter_person_campaign_none", "person=ACoA1&campaign=campaign_1"),
        ("scale_filter_key_none", "dedupe_key=none"),
        ("scale_filter_reason", "reason=scheduled&limit=500"),
        ("scale_filter_reason_none", "reason=replied"),
        ("scale_filter_reason_account_none", "reason=replied&account_id=acc_many"),
        ("scale_filter_since", "since=2026-01-01T00:00:00Z&limit=500"),
        ("scale_filter_since_none", "since=2027-01-01T00:00:00Z"),
        ("scale_filter_since_campaign_none", "since=2027-01-01T00:00:00Z&campaign=campaign_1"),
        ("scale_filter_until_none", "until=2026-01-01T00:00:00Z"),
        ("scale_filter_until_state_none", "until=2026-01-01T00:00:00Z&state=queued"),
        ("scale_filter_since_state_none", "since=2026-01-01T00:00:00Z&state=failed"),
        ("scale_filter_state", "state=queued&limit=500"),
    ] {
        let path = format!("/v1/messages?{query}");
        let (one, all) = (asked(few, &path), asked(many, &path));
        figure(figures, name, all, "ms", Some(one[one.len() / 2]), ("under 20 ms", 20.0));
    }
}

/// Returns the milliseconds of a query for each round, fastest first.
pub(crate) fn asked(socket: &Path, path: &str) -> Vec<f64> {
    let mut client = Client::connect(socket);
    let mut round = || {
        let seconds = timed(|| {
            for _ in 0..QUESTIONS {
                let (status, answer) = client.get(path);
                assert_eq!(status, 200, "{path}: {answer:.200}");
            }
        });
        seconds * 1000.0 / f64::from(QUESTIONS)
    };
    round();
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(f64::total_cmp);
    rounds
}

/// Measures the longest wait of a request that needs only the runtime, while long work is done.
fn stalls(figures: &mut Vec<Figure>, socket: &Path) {
    let backup = |number: usize| format!("{{\"name\":\"scale-{number}.db\"}}");
    for (name, method, path) in [
        ("scale_stall_forecast_of_many", "GET", "/v1/forecast?account_id=acc_many"),
        ("scale_stall_forecast_of_all", "GET", "/v1/forecast"),
        ("scale_stall_audit", "GET", "/v1/audit"),
        ("scale_stall_backup", "POST", "/v1/backup"),
    ] {
        let mut rounds: Vec<f64> = (0..5)
            .map(|number| {
                longest_wait(socket, || {
                    let mut client = Client::connect(socket);
                    let (status, answer) = match method {
                        "POST" => client.post(path, "application/json", &backup(number)),
                        _ => client.get(path),
                    };
                    assert_eq!(status, 200, "{path}: {answer:.200}");
                })
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        figure(figures, name, rounds, "ms", None, ("under 20 ms", 20.0));
    }
}

/// Measures how long `/healthz`, which writes a row, takes while long work is done.
fn health(figures: &mut Vec<Figure>, socket: &Path) {
    let forecast = || assert_eq!(Client::connect(socket).get("/v1/forecast").0, 200);
    let ndjson = || {
        let body: String = (0..NDJSON_ROWS).map(|number| message_json(number) + "\n").collect();
        let (status, answer) = Client::connect(socket).post("/v1/messages", "application/x-ndjson", &body);
        assert_eq!(status, 200, "{answer:.200}");
    };
    let accounts = || {
        let mut client = Client::connect(socket);
        let mut cursor = String::new();
        for _ in 0..200 {
            let (status, answer) = client.get(&format!("/v1/accounts?sort=id&limit=50{cursor}"));
            assert_eq!(status, 200, "{answer:.200}");
            let next = answer.split("\"next_cursor\":\"").nth(1).and_then(|rest| rest.split('"').next());
            cursor = format!("&cursor={}", next.expect("the next page"));
        }
    };
    let works: [(&str, &dyn Fn()); 3] = [
        ("scale_healthz_p99_forecast_of_all", &forecast),
        ("scale_healthz_p99_ndjson_32_mb", &ndjson),
        ("scale_healthz_p99_10000_accounts", &accounts),
    ];
    for (name, work) in works {
        let round = || {
            let mut answers = answers_during(socket, "/healthz", work);
            answers.sort_by(f64::total_cmp);
            answers[(answers.len() - 1) * 99 / 100]
        };
        let mut rounds: Vec<f64> = (0..5).map(|_| round()).collect();
        rounds.sort_by(f64::total_cmp);
        figure(figures, name, rounds, "ms", None, ("under 50 ms", 50.0));
    }
}

/// Returns the longest answer while `work` runs, in milliseconds.
fn longest_wait(socket: &Path, work: impl FnOnce()) -> f64 {
    answers_during(socket, "/v1/accounts/acc_1/zone", work).into_iter().fold(0.0, f64::max)
}

/// Returns the milliseconds of each answer while `work` runs.
fn answers_during(socket: &Path, path: &str, work: impl FnOnce()) -> Vec<f64> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let probe = scope.spawn(|| {
            let mut client = Client::connect(socket);
            let mut answers = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let mut status = 0;
                let seconds = timed(|| status = client.get(path).0);
                // `/healthz` answers 503 if nothing could be written for 0.8 s, which is then the time that it took.
                assert!(status == 200 || (status == 503 && path == "/healthz"), "{path}: {status}");
                answers.push(seconds * 1000.0);
                pause(Duration::from_millis(1));
            }
            answers
        });
        work();
        done.store(true, Ordering::Relaxed);
        probe.join().expect("the probe ends")
    })
}

/// Measures how memory grows as every account is woken again and again; each then waits for the same time as before.
fn wakeups(figures: &mut Vec<Figure>, pid: u32, socket: &Path) {
    let mut client = Client::connect(socket);
    let mut wake = || {
        assert_eq!(client.post("/v1/resume", "application/json", "").0, 200);
        pause(Duration::from_secs(15));
        resident_mib(pid)
    };
    // The first rounds allocate the memory for accounts that work at the same time.
    let before = (0..2).map(|_| wake()).fold(0.0, f64::max);
    let mut grown: Vec<f64> = (0..5).map(|_| (wake() - before).max(0.0)).collect();
    grown.sort_by(f64::total_cmp);
    figure(figures, "scale_growth_by_500000_wakeups", grown, "MiB", None, ("under 10 MiB", 10.0));
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn timed(work: impl FnOnce()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

/// Prints and records the median round, with the first and the last one.
pub(crate) fn figure(
    figures: &mut Vec<Figure>,
    name: &'static str,
    rounds: Vec<f64>,
    unit: &'static str,
    floor: Option<f64>,
    (goal, most): (&'static str, f64),
) {
    let value = rounds[rounds.len() / 2];
    println!(
        "{name}: {value:.2} {unit} ({:.2} to {:.2} in {} rounds)",
        rounds[0],
        rounds[rounds.len() - 1],
        rounds.len()
    );
    figures.push(Figure { name, value, unit, floor, spread: None, goal, met: value < most });
}
