//! The dashboard with 200 accounts and 200,000 messages: the time and the size of `/`, and the processor's time that 50
//! open pages take.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::Figure;
use super::client::Client;
use super::process::{self, pause};
use super::scale::{asked, figure, fill};
use super::scenes::cpu_ticks;

const ACCOUNTS: usize = 200;
const MESSAGES: usize = 200_000;
/// Pages that are open at once, and how often each asks (`templates/dashboard.js`).
const PAGES: usize = 50;
const EVERY: Duration = Duration::from_secs(3);
/// How long the open pages are watched.
const WATCHED: u32 = 10;

pub(crate) fn dashboard(folder: &Path, figures: &mut Vec<Figure>) {
    let database = folder.join("dashboard.db");
    fill(&database, ACCOUNTS, MESSAGES, 0, 20);
    send(&database);
    let (daemon, _, socket) = process::daemon(
        folder,
        "dashboard",
        "http://127.0.0.1:9",
        &[("OUTBOXD_POLICY_DEFAULT_CAPS_ALL", "100/24h, 400/7d")],
    );
    pause(Duration::from_secs(5));
    figure(figures, "dashboard_overview", asked(&socket, "/"), "ms", None, ("under 20 ms", 20.0));
    let (_, page) = Client::connect(&socket).get("/");
    let kilobytes = page.len() as f64 / 1000.0;
    figure(figures, "dashboard_overview_size", vec![kilobytes], "kB", None, ("under 60 kB", 60.0));
    for (name, path) in [
        ("dashboard_account", "/accounts/acc_000000"),
        ("dashboard_messages", "/messages?state=queued"),
        ("dashboard_events", "/events"),
    ] {
        figure(figures, name, asked(&socket, path), "ms", None, ("under 100 ms", 100.0));
    }
    let seconds = f64::from(WATCHED) * EVERY.as_secs_f64();
    // The kernel counts in hundredths of a second (USER_HZ).
    let share = |before: u64| (cpu_ticks(daemon.pid()) - before) as f64 / 100.0 / seconds * 100.0;
    let before = cpu_ticks(daemon.pid());
    pause(EVERY * WATCHED);
    let without = share(before);
    let before = cpu_ticks(daemon.pid());
    let mut pages: Vec<(Client, String)> =
        (0..PAGES).map(|_| (Client::connect(&socket), "none".to_owned())).collect();
    for _ in 0..WATCHED {
        for (page, shown) in &mut pages {
            let status = page.repeat("/", shown);
            assert!(status == 200 || status == 204, "{status}");
            pause(EVERY / u32::try_from(PAGES).expect("a few"));
        }
    }
    let with = share(before);
    println!("the daemon alone takes {without:.2} % of a core, with {PAGES} open pages {with:.2} %");
    let pages = with - without;
    figure(figures, "dashboard_50_pages_cpu", vec![pages], "%", None, ("under 2 % of a core", 2.0));
}

/// Gives each account 70 sends in the last 7 days.
fn send(database: &Path) {
    const SQL: &str = "INSERT INTO attempts (seq, number, account_id, kind, run, gap_ms, started_at, monotonic_ms, fingerprint, \
         ended_at, phase, outcome) SELECT m.seq, 1, m.account_id, 'new_chat', 1, 10000, \
           strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || (m.seq / 200 * 2) || ' hours'), 0, 'x', \
           strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), 'answered', 'accepted' FROM messages m WHERE m.seq <= 14000";
    let connection = Connection::open(database).expect("the database");
    connection.execute_batch(SQL).expect("sends");
}
