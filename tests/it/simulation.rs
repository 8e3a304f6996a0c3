//! Weeks of a daemon's life in a second, from one seed: the engine on a clock of its own, the sandbox's world behind
//! a network that breaks, and a process that is killed, stopped and started again while clocks are set back and forth
//! (P1 to P6).
//!
//! `scenario.rs` draws what happens, `life.rs` runs one process until it ends, `carrier.rs` and `reads.rs` are the
//! network, `stop.rs` stops a run at one of its calls, `acts.rs` are producers and operators, `sequences.rs` campaigns
//! with steps, `people.rs` those who write by hand at the same time, `profiles.rs` public names and connections, `truth.rs` compares `explain` with the engine, `checkers.rs` are the checkers, one
//! for each promise. A seed that fails is printed with the command that replays it:
//!
//!     OUTBOXD_SIM_SEED=42 cargo test --test it simulation
//!     OUTBOXD_SIM_SEEDS=5000 cargo test --test it simulation
#![allow(clippy::unwrap_used, reason = "a test may")]

pub(crate) mod acts;
pub(crate) mod carrier;
pub(crate) mod checkers;
pub(crate) mod life;
mod people;
mod profiles;
mod reads;
mod scenario;
mod sequences;
pub(crate) mod stop;
mod truth;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use scenario::Told;

/// Seeds of an ordinary run.
const SEEDS: u64 = 200;

/// Seeds that failed once, run in addition.
const FAILED_ONCE: [u64; 15] =
    [277, 287, 307, 409, 987, 1059, 1125, 1205, 1261, 1327, 1364, 2779, 2916, 3109, 4029];

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is not a number: {value}")))
}

#[test]
fn every_seed_keeps_every_promise() {
    let first = number("OUTBOXD_SIM_SEED");
    let count = number("OUTBOXD_SIM_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(1);
    let mut seeds: Vec<u64> = (first..first + count).collect();
    if count >= SEEDS {
        seeds.extend(FAILED_ONCE.iter().filter(|seed| **seed >= first + count));
    }
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    let sum = Mutex::new(Told::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // A seed spends half of its time waiting for SQLite's threads.
    let threads = threads.min(8) * 2;
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)).copied() else { return };
                    if failed.lock().unwrap().len() >= 5 {
                        return;
                    }
                    match catch_unwind(AssertUnwindSafe(|| scenario::tell(seed))) {
                        Ok(told) if told.wrongs.is_empty() => sum.lock().unwrap().add(&told),
                        Ok(told) => failed.lock().unwrap().push((seed, told.wrongs.join("\n    "))),
                        Err(_) => failed.lock().unwrap().push((seed, "it panicked, see above".to_owned())),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let report = |(seed, wrongs): &(u64, String)| {
        format!("\n  seed {seed}: OUTBOXD_SIM_SEED={seed} cargo test --test it simulation\n    {wrongs}")
    };
    assert!(failed.is_empty(), "{}", failed.iter().map(report).collect::<String>());
    let sum = sum.into_inner().unwrap();
    println!("{count} seeds: {sum:?}");
    if count >= SEEDS {
        // An event that never happens proves nothing.
        assert!(sum.passed > Duration::from_secs(86_400 * 7) * u32::try_from(count).unwrap(), "{sum:?}");
        let rare = [
            sum.kills,
            sum.clean_stops,
            sum.clock_steps,
            sum.refused_instances,
            sum.by_evidence,
            sum.reviews,
            sum.by_hand,
        ];
        assert!(rare.iter().all(|happened| *happened >= count / 4), "{sum:?}");
        assert!(sum.profiles >= count / 4 && sum.waited >= count / 20, "{sum:?}");
        assert!(sum.steps >= count / 2 && sum.replied >= count / 40, "{sum:?}");
        assert!(sum.deliveries >= count * 10 && sum.resends > 0 && sum.cooldowns > 0, "{sum:?}");
    }
}
