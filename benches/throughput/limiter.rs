//! More accounts than requests: 500 and 5,000 accounts that are all free, at ten requests a second. Measures what the
//! waiting costs, whether they are served in turn, and whether typing is followed by its message.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use outboxd::sandbox::{Endpoint, Sandbox, SandboxConfig};

use super::Figure;
use super::client::Client;
use super::process::{self, pause};
use super::scenes::{TEXT, cpu_ticks};

const RATE: (&str, &str) = ("OUTBOXD_UNIPILE_REQUESTS_PER_SECOND", "10");
const BURST: (&str, &str) = ("OUTBOXD_UNIPILE_BURST", "10");
/// Typing takes as long as by default: 2 to 12 s.
const LONGEST_TYPING: Duration = Duration::from_secs(12);
/// Time over which the CPU is measured.
const WINDOW: Duration = Duration::from_secs(60);

/// Rounds of each scenario.
const ROUNDS: usize = 5;

pub(crate) fn limiter(folder: &Path, figures: &mut Vec<Figure>) {
    for (accounts, cpu, spread) in [
        (500, "limiter_500_cpu", "limiter_500_sends_apart"),
        (5000, "limiter_5000_cpu", "limiter_5000_sends_apart"),
    ] {
        let seen = rounds(folder, accounts, "false");
        cpu_figure(figures, cpu, &seen);
        let apart: Vec<f64> = seen.iter().map(|seen| f64::from(seen.apart)).collect();
        let worst = apart.iter().copied().fold(0.0, f64::max);
        figures.push(Figure::median(spread, apart, "sends", "never over 1", |_| worst <= 1.0));
    }
    let seen = rounds(folder, 500, "true");
    cpu_figure(figures, "limiter_typing_cpu", &seen);
    let latest: Vec<f64> = seen.iter().map(|seen| seen.latest.as_secs_f64()).collect();
    let worst = latest.iter().copied().fold(0.0, f64::max);
    let most = (LONGEST_TYPING + Duration::from_secs(1)).as_secs_f64();
    figures.push(Figure::median("limiter_typing_to_send", latest, "s", "never over 13", |_| worst <= most));
    let unsent: Vec<f64> = seen.iter().map(|seen| f64::from(seen.unsent)).collect();
    let sum: f64 = unsent.iter().sum();
    figures
        .push(Figure::median("limiter_typing_unsent", unsent, "times", "none in any round", |_| sum == 0.0));
}

fn rounds(folder: &Path, accounts: usize, typing: &str) -> Vec<Seen> {
    (0..ROUNDS).map(|round| scene(folder, accounts, typing, round)).collect()
}

fn cpu_figure(figures: &mut Vec<Figure>, name: &'static str, seen: &[Seen]) {
    let cpu = seen.iter().map(|seen| seen.cpu).collect();
    figures.push(Figure::median(name, cpu, "% of a core", "under 10", |cpu| cpu < 10.0));
}

struct Seen {
    cpu: f64,
    /// Sends of the account with most minus those of the account with fewest.
    apart: u32,
    /// Longest time from typing to the send that followed it.
    latest: Duration,
    /// Typing calls that no send followed, although more than the longest typing and a second passed.
    unsent: u32,
}

fn scene(folder: &Path, accounts: usize, typing: &str, round: usize) -> Seen {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let sandbox = runtime.block_on(Sandbox::start(SandboxConfig::default())).expect("the sandbox");
    let extra = [RATE, BURST, ("OUTBOXD_POLICY_DEFAULT_TYPING_ENABLED", typing)];
    let name = format!("limiter_{accounts}_{typing}_{round}");
    let (daemon, _, socket) = process::daemon(folder, &name, &sandbox.url(), &extra);
    let mut client = Client::connect(&socket);
    client.post("/v1/pause", "application/json", "");
    let line = |number: usize| {
        let account = number % accounts;
        format!("{{\"account_id\":\"acc_{account}\",\"chat_id\":\"chat_{number}\",\"text\":\"{TEXT}\"}}\n")
    };
    for batch in 0..accounts * 4 / 1000 {
        let body: String = (batch * 1000..(batch + 1) * 1000).map(line).collect();
        assert_eq!(client.post("/v1/messages", "application/x-ndjson", &body).0, 200);
    }
    client.post("/v1/resume", "application/json", "");
    // From here on the accounts only wait for permits.
    pause(Duration::from_secs(10));
    let before = cpu_ticks(daemon.pid());
    pause(WINDOW);
    let ticks = cpu_ticks(daemon.pid()) - before;
    let seen = judge(&sandbox, accounts, ticks as f64 / WINDOW.as_secs_f64());
    drop(daemon);
    runtime.block_on(sandbox.stop());
    seen
}

/// Computes the figures of a round. The kernel counts in hundredths of a second, so ticks a second are per cent.
fn judge(sandbox: &Sandbox, accounts: usize, cpu: f64) -> Seen {
    let world = sandbox.world();
    let mut sends = BTreeMap::<String, Vec<Duration>>::new();
    for delivery in world.deliveries() {
        sends.entry(delivery.account_id).or_default().push(delivery.at_monotonic);
    }
    let counts = sends.values().map(|times| u32::try_from(times.len()).expect("a count"));
    let most = counts.clone().max().unwrap_or(0);
    let least = if sends.len() < accounts { 0 } else { counts.min().unwrap_or(0) };
    let (mut latest, mut unsent) = (Duration::ZERO, 0);
    let now = world.elapsed();
    for call in world.calls().into_iter().filter(|call| call.endpoint == Endpoint::SetComposing) {
        let times = sends.get(&call.account_id).map(Vec::as_slice).unwrap_or_default();
        match times.iter().find(|at| **at >= call.at_monotonic) {
            Some(at) => latest = latest.max(*at - call.at_monotonic),
            None if now - call.at_monotonic > LONGEST_TYPING + Duration::from_secs(1) => unsent += 1,
            None => {}
        }
    }
    Seen { cpu, apart: most - least, latest, unsent }
}
