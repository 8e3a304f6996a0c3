//! `cargo bench --bench torture -- --seed N`: the real process, killed with `kill -9` again and again while
//! everything around it breaks (P1, P2, P3).
//!
//! 2,000 messages of 20 accounts come in through the socket and through plain INSERTs, while the daemon is killed at
//! 200 moments that the seed decides, some of them before it has opened its socket. Unipile is the sandbox in a
//! process of its own: it delivers and cuts the connection, delivers after the client has given up, answers 5xx
//! before and after delivery, half answers and garbage, to reads as well. In the end its ledger is compared with the
//! queue's rows (`judge.rs`), and what the daemon said it would do with what it did (`witness.rs`); none of the
//! daemon's code is used. Prints a table and a line of JSON, and fails if anything was sent twice, was lost or stuck,
//! or came too fast. Takes about four minutes.
//!
//! `--kills N` and `--messages N` make it shorter or longer.

#[path = "torture/env.rs"]
mod env;
#[path = "torture/faults.rs"]
mod faults;
#[path = "torture/judge.rs"]
mod judge;
#[path = "torture/producer.rs"]
mod producer;
#[path = "torture/witness.rs"]
mod witness;

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outboxd::clock::{Clock, Dice, SystemClock};
use rand::RngExt;

/// Parameters of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Seed of everything that is drawn.
    pub(crate) seed: u64,
    pub(crate) kills: usize,
    pub(crate) messages: usize,
}

pub(crate) const ACCOUNTS: usize = 20;

fn main() -> ExitCode {
    // `cargo test --benches` lists benchmarks and expects an answer.
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let plan = match plan(std::env::args().skip(1)) {
        Ok(plan) => plan,
        Err(what) => {
            eprintln!("{what}; usage: cargo bench --bench torture -- [--seed N] [--kills N] [--messages N]");
            return ExitCode::from(2);
        }
    };
    let clock = SystemClock::new();
    let mut env = env::TestEnv::new(plan.seed);
    let mut dice = outboxd::clock::dice(plan.seed);
    faults::lay(&env, plan.messages, &mut dice);
    let mut producer = producer::Producer::new(plan);
    let done = AtomicBool::new(false);
    let (left_at_last_kill, seen) = std::thread::scope(|scope| {
        let witness = scope.spawn(|| witness::watch(&env, &done));
        let left = {
            // Ends the witness however the lives end.
            let _ends = Ends(&done);
            lives(&env, plan, &mut producer, &mut dice)
        };
        (left, witness.join().expect("the witness ends"))
    });
    let verdict = judge::judge(&env, plan, producer.acknowledged(), seen);
    let clocks = if env.has_wrong_clocks() {
        "wrong by up to 400 days"
    } else {
        "right: libfaketime is not installed"
    };
    println!("wall clocks: {clocks}");
    verdict.print(plan, left_at_last_kill, clock.monotonic());
    if verdict.is_good() {
        return ExitCode::SUCCESS;
    }
    for detail in verdict.details() {
        println!("{detail}");
    }
    println!("the queue, the log and what the sandbox saw are kept in {}", env.keep().display());
    ExitCode::FAILURE
}

/// Sets a flag when it goes out of scope.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Kills the daemon as often as planned, then lets it finish. Returns how many messages were unfinished at the last
/// kill.
fn lives(env: &env::TestEnv, plan: Plan, producer: &mut producer::Producer, dice: &mut Dice) -> i64 {
    let clock = SystemClock::new();
    let mut left_at_last_kill = 0;
    for kill in 0..plan.kills {
        env.set_clock_to(dice.random_range(0..64));
        let daemon = env.serve();
        if dice.random_range(0..8) == 0 {
            // Kills it during its start.
            env::pause(Duration::from_millis(dice.random_range(1..40)));
        } else {
            let moment = Duration::from_millis(dice.random_range(0..700));
            let up = daemon.opened();
            assert!(up, "seed {}: the daemon does not start: {}", plan.seed, env.log());
            let killer = daemon.kill_after(moment);
            producer.give(env, kill);
            if dice.random_range(0..4) == 0 {
                env.set_clock_to(dice.random_range(0..64));
            }
            killer.join().expect("the killer ends");
        }
        daemon.kill();
        left_at_last_kill = env.unfinished();
    }
    env.set_clock(0);
    let daemon = env.serve();
    let deadline = clock.monotonic() + Duration::from_secs(480);
    let mut waits = true;
    while waits && clock.monotonic() < deadline {
        waits = !producer.give_rest(env) || env.unfinished() > 0;
        // Lets messages that wait behind those in review in the same chat continue.
        producer::decide(env);
        env::pause(Duration::from_millis(200));
    }
    daemon.kill();
    left_at_last_kill
}

fn plan(arguments: impl Iterator<Item = String>) -> Result<Plan, String> {
    let mut plan = Plan { seed: 1, kills: 200, messages: 2000 };
    // `cargo bench` adds one of its own.
    let mut arguments = arguments.filter(|argument| argument != "--bench");
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
        let value = value.ok_or_else(|| format!("{name} needs a number"))?;
        let count = usize::try_from(value).map_err(|_| format!("{name} is too large"))?;
        match name.as_str() {
            "--seed" => plan.seed = value,
            "--kills" => plan.kills = count,
            "--messages" => plan.messages = count,
            other => return Err(format!("{other} is not known")),
        }
    }
    Ok(plan)
}
