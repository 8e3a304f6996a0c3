//! An outage of the API as a whole: a hundred accounts, 502 to everything. Measures how many messages it risks, and
//! how soon all accounts continue. One minute represents ten, because messages are risked only at the start;
//! `OUTBOXD_BENCH_OUTAGE_S=600` runs the whole time.

use std::path::Path;
use std::time::{Duration, Instant};

use outboxd::sandbox::{Endpoint, Fault, Sandbox, SandboxConfig, World};
use rusqlite::Connection;

use super::Figure;
use super::client::Client;
use super::process::{self, pause};
use super::scenes::TEXT;

const ACCOUNTS: usize = 100;
/// Every endpoint that the daemon calls.
const ENDPOINTS: [Endpoint; 10] = [
    Endpoint::StartChatFromInbox,
    Endpoint::StartChat,
    Endpoint::SendMessage,
    Endpoint::ForwardMessage,
    Endpoint::SetComposing,
    Endpoint::ListInboxes,
    Endpoint::GetInmailCredits,
    Endpoint::GetAccount,
    Endpoint::GetUserChat,
    Endpoint::ListMessages,
];

/// Rounds, each with its own queue and sandbox.
const ROUNDS: usize = 5;

pub(crate) fn outage(folder: &Path, figures: &mut Vec<Figure>) {
    let seen: Vec<Seen> = (0..ROUNDS).map(|round| scene(folder, round)).collect();
    let each = |part: fn(&Seen) -> f64| seen.iter().map(part).collect::<Vec<f64>>();
    let worst = |part: fn(&Seen) -> f64| seen.iter().map(part).fold(0.0, f64::max);
    let risked = |seen: &Seen| f64::from(seen.risked);
    let resting = |seen: &Seen| f64::from(seen.resting);
    let on_again = |seen: &Seen| seen.on_again.as_secs_f64();
    for (name, part, unit, goal, most) in [
        ("outage_messages_risked", risked as fn(&Seen) -> f64, "messages", "never over 5", 5.0),
        ("outage_accounts_resting", resting, "accounts", "none in any round", 0.0),
        ("outage_all_go_on_after", on_again, "s", "never over 75", 75.0),
    ] {
        figures.push(Figure::median(name, each(part), unit, goal, |_| worst(part) <= most));
    }
}

/// Result of one outage.
struct Seen {
    /// Messages whose call was made and got no answer from Unipile.
    risked: u32,
    /// Accounts that were put on hold.
    resting: u32,
    /// Time from the end of the outage until each account has sent.
    on_again: Duration,
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn scene(folder: &Path, round: usize) -> Seen {
    let lasts = std::env::var("OUTBOXD_BENCH_OUTAGE_S").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let sandbox = runtime.block_on(Sandbox::start(SandboxConfig::default())).expect("the sandbox");
    let pace = [("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "2s"), ("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "4s")];
    let (_daemon, database, socket) =
        process::daemon(folder, &format!("outage{round}"), &sandbox.url(), &pace);
    let mut client = Client::connect(&socket);
    let line = |number: usize| {
        let account = number % ACCOUNTS;
        format!("{{\"account_id\":\"acc_{account}\",\"chat_id\":\"chat_{number}\",\"text\":\"{TEXT}\"}}\n")
    };
    for batch in 0..10 {
        let body: String = (batch * 1000..(batch + 1) * 1000).map(line).collect();
        assert_eq!(client.post("/v1/messages", "application/x-ndjson", &body).0, 200);
    }
    let world = sandbox.world();
    pause(Duration::from_secs(10));
    for endpoint in ENDPOINTS {
        let fault = Fault { times: None, ..Fault::gateway(502, false) };
        world.add_fault(fault.at(endpoint));
    }
    let reader = Connection::open(&database).expect("open");
    let count = |sql: &str| -> u32 { reader.query_row(sql, [], |row| row.get(0)).expect("a count") };
    pause(Duration::from_secs(lasts));
    let risked = count("SELECT count(DISTINCT seq) FROM attempts WHERE outcome = 'uncertain'");
    let resting = count("SELECT count(*) FROM events WHERE kind = 'account.hold'");
    let before = world.delivered_count();
    world.clear_faults();
    let began = Instant::now();
    while senders_after(world, before) < ACCOUNTS && began.elapsed() < Duration::from_secs(180) {
        pause(Duration::from_millis(100));
    }
    let on_again = began.elapsed();
    runtime.block_on(sandbox.stop());
    Seen { risked, resting, on_again }
}

/// Returns the number of accounts that have sent since the first `before` deliveries.
fn senders_after(world: &World, before: usize) -> usize {
    let after = u64::try_from(before).expect("a count");
    let deliveries = world.deliveries_after(after);
    deliveries.iter().map(|one| one.account_id.as_str()).collect::<std::collections::BTreeSet<_>>().len()
}
