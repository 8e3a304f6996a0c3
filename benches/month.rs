//! `cargo bench --bench month -- --seed N`: 30 days of the whole daemon in a few minutes, with everything on, on a clock that the
//! scene moves (tests/it/month). Prints the figures and a line of JSON, and fails if a promise was broken, an alert fired
//! that no injected fault explains or did not fire for one that must, memory or a file grew, or a receiver missed an event.
//!
//! `--days 2` runs the short form that the tests run.

#[path = "month/engine_pace.rs"]
mod engine_pace;
#[path = "../tests/it/month/mod.rs"]
mod month;
mod queue {
    /// Returns the time `seconds` after the start of the scene.
    pub(crate) fn at(seconds: i64) -> jiff::Timestamp {
        let start: jiff::Timestamp = "2026-11-22T09:00:00Z".parse().expect("a time");
        start + jiff::SignedDuration::from_secs(seconds)
    }
}

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use month::plan::Plan;
use outboxd::clock::{Clock, SystemClock};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    // `cargo test --benches` lists benchmarks and expects an answer.
    if arguments.iter().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    allocate_like_the_daemon();
    let of = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name)?;
        arguments.get(place + 1)?.parse::<u64>().ok()
    };
    let seed = of("--seed").unwrap_or(1);
    let plan = if of("--days") == Some(2) { Plan::short(seed) } else { Plan::month(seed) };
    let clock = SystemClock::new();
    let days = plan.days;
    let report = month::scene::run(plan);
    let [first, .., last] = report.figures[..] else { unreachable!("two days are measured") };
    print!("{report}");
    let json = serde_json::json!({
        "bench": "month", "seed": seed, "days": days, "real_s": clock.monotonic().as_secs(),
        "rss_bytes": [first.rss_bytes, last.rss_bytes], "database_bytes": [first.database_bytes, last.database_bytes],
        "wal_bytes": [first.wal_bytes, last.wal_bytes], "events": [first.events, last.events], "sent": last.sent,
        "events_delivered": report.delivered, "promises_broken": last.promises_broken, "alerts": report.fired.len(),
        "wrongs": report.wrongs,
    });
    println!("{json}");
    if report.wrongs.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Starts this program anew with the setting of glibc's allocator that `main.rs` makes for the daemon. Without it, memory that
/// was freed counts as growth.
fn allocate_like_the_daemon() {
    const SETTING: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072");
    if std::env::var_os(SETTING.0).is_none() {
        let program = std::env::current_exe().expect("its own path");
        let failed = Command::new(program).args(std::env::args_os().skip(1)).env(SETTING.0, SETTING.1).exec();
        panic!("it cannot start itself: {failed}");
    }
}
