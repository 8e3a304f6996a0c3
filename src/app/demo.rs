//! `outboxd demo`: runs the whole product against the sandbox at its real pace, in about a minute and a half.
//!
//! One process contains the sandbox and the daemon, with real HTTP between them and a real database in a temporary
//! folder. Messages arrive through the socket and by an INSERT on a connection that is not the daemon's. At the end
//! the sandbox's own ledger is compared with the promises, and a broken promise makes the demo fail.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::Application;
use super::ui::{Ui, UiOptions};
use crate::clock::{Clock, SystemClock, ambient_seed};
use crate::config::Settings;
use crate::domain::state::StateName;
use crate::sandbox::{Delivery, Sandbox, SandboxConfig};
use crate::store::ExternalInsert;

/// Options of the demo.
#[derive(Debug, Clone, Copy, Default)]
pub struct DemoOptions {
    /// Seed of the gaps; random if not given.
    pub seed: Option<u64>,
    /// Prints the result as JSON instead of text.
    pub json: bool,
    /// Shows the dashboard as well, until it is interrupted.
    pub ui: bool,
}

/// Timeout of the demo: five gaps of 20 s, doubled.
const PATIENCE: Duration = Duration::from_secs(200);

/// Messages through the socket: account, recipient, text. A recipient in capitals is a user, any other a chat.
const BY_SOCKET: [(&str, &str, &str); 8] = [
    (
        "acc_anna",
        "chat-with-bruno",
        "Hi Bruno, thanks for connecting! Are you still looking for a data engineer?",
    ),
    (
        "acc_anna",
        "USER_CARLA",
        "Hi Carla, I saw your talk in Porto. Would you have a quarter of an hour next week?",
    ),
    ("acc_anna", "chat-with-dimitri", "Good morning Dimitri, here is the link I promised."),
    (
        "acc_anna",
        "USER_ELIF",
        "Hi Elif, your profile fits a role that we are filling. May I send you the details?",
    ),
    ("acc_jonas", "USER_FRIDA", "Hi Frida, a short question about your post on queues."),
    ("acc_jonas", "chat-with-gustav", "Gustav, does Thursday at ten still suit you?"),
    ("acc_jonas", "USER_HANA", "Hi Hana, we met at the meetup. Shall we continue the conversation here?"),
    ("acc_mira", "USER_IVAN", "Hi Ivan, thank you for your application."),
];

/// Messages by an INSERT.
const BY_INSERT: [(&str, &str, &str); 5] = [
    ("acc_anna", "chat-with-bruno", "PS: the role is remote."),
    ("acc_anna", "USER_JUN", "Hi Jun, is your team hiring?"),
    ("acc_jonas", "chat-with-kofi", "Kofi, the documents are on their way."),
    ("acc_mira", "chat-with-lena", "Lena, see you tomorrow!"),
    ("acc_mira", "USER_MATEO", "Hi Mateo, congratulations on the new position."),
];

/// Runs the demo.
///
/// # Errors
/// Returns an error if the demo cannot run. A broken promise is not an error but a failing exit code.
pub async fn demo(options: DemoOptions) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let sandbox = Sandbox::start(SandboxConfig::default()).await.context("cannot start the sandbox")?;
    let seed = options.seed.unwrap_or_else(ambient_seed);
    let settings = settings(folder.path(), &sandbox, seed, &[])?;
    let application = Application::start(&settings, Vec::new()).await?;
    if !options.json {
        println!(
            "outboxd demo: 13 messages on 3 accounts, 10 to 20 s apart on each, to a sandbox on this machine (seed {seed})."
        );
        println!("8 go in through the socket, 5 by an INSERT of another connection.\n");
    }
    let dashboard = dashboard(options, &application).await?;
    by_socket(&application).await?;
    let inserts: Vec<ExternalInsert> = BY_INSERT.iter().map(foreign_insert).collect();
    crate::store::insert_from_outside(&settings.store.path, &inserts)
        .await
        .context("the INSERT was refused")?;
    let clock = SystemClock::new();
    let began = clock.monotonic();
    let mut screen = Screen::new(options.json);
    while application.store().totals().await?.counts.of(StateName::Sent) < total() {
        if clock.monotonic() - began > PATIENCE {
            break;
        }
        screen.show(&application, &sandbox).await?;
        clock.sleep(Duration::from_millis(250)).await;
    }
    screen.show(&application, &sandbox).await?;
    let counts = application.store().totals().await?.counts;
    until_seen(dashboard).await?;
    application.stop().await?;
    let report = Report::of(&sandbox.world().deliveries(), counts.of(StateName::Sent));
    sandbox.stop().await;
    if options.json {
        println!("{}", report.json(seed))
    } else {
        report.print()
    }
    Ok(if report.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn total() -> u64 {
    (BY_SOCKET.len() + BY_INSERT.len()) as u64
}

/// Opens the dashboard of a demo, if that is wanted.
pub(super) async fn dashboard(options: DemoOptions, application: &Application) -> anyhow::Result<Option<Ui>> {
    if !options.ui {
        return Ok(None);
    }
    let socket = application.socket.clone();
    let ui = Ui::start(&UiOptions { socket, port: 0, read_only: false, open: true }).await?;
    println!("The dashboard, at an address that works once: {}\n", ui.address());
    super::ui::open(&ui.address());
    Ok(Some(ui))
}

/// Keeps the dashboard of a demo open until it is interrupted.
pub(super) async fn until_seen(dashboard: Option<Ui>) -> anyhow::Result<()> {
    if let Some(ui) = dashboard {
        println!("\nAll is sent. The dashboard stays until Ctrl-C.");
        tokio::signal::ctrl_c().await.context("cannot wait for Ctrl-C")?;
        ui.stop();
    }
    Ok(())
}

/// Returns the settings of a demo with its files in `folder`, and `more` by variable.
pub(super) fn settings(
    folder: &std::path::Path,
    sandbox: &Sandbox,
    seed: u64,
    more: &[(&str, String)],
) -> anyhow::Result<Settings> {
    let path = |name: &str| folder.join(name).display().to_string();
    let environment = [
        ("OUTBOXD_STORE_PATH", path("demo.db")),
        ("OUTBOXD_API_SOCKET", path("demo.sock")),
        ("OUTBOXD_UNIPILE_BASE_URL", sandbox.url()),
        ("OUTBOXD_UNIPILE_API_KEY", SandboxConfig::default().api_key),
        ("OUTBOXD_ENGINE_SEED", seed.to_string()),
        ("OUTBOXD_DASHBOARD_BODIES", "true".to_owned()),
    ];
    let all = environment.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone()));
    Ok(Settings::load(None, all)?.settings)
}

/// Returns whether `recipient` is a user to start a chat with: these names are in capitals.
fn is_user(recipient: &str) -> bool {
    recipient.starts_with("USER_")
}

fn foreign_insert((account, recipient, text): &(&str, &str, &str)) -> ExternalInsert {
    ExternalInsert {
        account_id: (*account).to_owned(),
        chat_id: (!is_user(recipient)).then(|| (*recipient).to_owned()),
        users_ids: is_user(recipient).then(|| (*recipient).to_owned()),
        text: (*text).to_owned(),
    }
}

/// Queues messages as a producer does: one per line, in one request.
async fn by_socket(application: &Application) -> anyhow::Result<()> {
    let mut body = String::new();
    for (account, recipient, text) in BY_SOCKET {
        let field = if is_user(recipient) { "users_ids" } else { "chat_id" };
        body.push_str(&json!({ "account_id": account, field: recipient, "text": text }).to_string());
        body.push('\n');
    }
    let client = reqwest::Client::builder().unix_socket(application.socket.clone()).build()?;
    let request =
        client.post("http://outboxd/v1/messages").header("content-type", "application/x-ndjson").body(body);
    let answer: Value = request.send().await?.json().await?;
    ensure!(answer["accepted"] == json!(BY_SOCKET.len()), "the socket refused a message: {answer}");
    Ok(())
}

/// Progress output: a live table on a terminal, a line per delivery elsewhere, nothing for a program.
struct Screen {
    mode: Mode,
    rows_drawn: usize,
    told: usize,
}

#[derive(PartialEq, Eq)]
enum Mode {
    Table,
    Lines,
    Silent,
}

impl Screen {
    fn new(json: bool) -> Self {
        let mode = match (json, std::io::stdout().is_terminal()) {
            (true, _) => Mode::Silent,
            (false, true) => Mode::Table,
            (false, false) => Mode::Lines,
        };
        Self { mode, rows_drawn: 0, told: 0 }
    }

    async fn show(&mut self, application: &Application, sandbox: &Sandbox) -> anyhow::Result<()> {
        match self.mode {
            Mode::Silent => {}
            Mode::Lines => self.lines(&sandbox.world().deliveries()),
            Mode::Table => self.table(application).await?,
        }
        Ok(())
    }

    fn lines(&mut self, deliveries: &[Delivery]) {
        for delivery in &deliveries[self.told..] {
            let before = deliveries.iter().filter(|other| other.account_id == delivery.account_id);
            let before = before.filter(|other| other.at_monotonic < delivery.at_monotonic);
            let gap = before.map(|other| other.at_monotonic).max().map(|at| delivery.at_monotonic - at);
            let gap =
                gap.map_or_else(|| "first".to_owned(), |gap| format!("after {:.1} s", gap.as_secs_f64()));
            let text: String = delivery.text.chars().take(48).collect();
            println!(
                "{:>6.1} s  {:<10} {gap:<13} {text}",
                delivery.at_monotonic.as_secs_f64(),
                delivery.account_id
            );
        }
        self.told = deliveries.len();
    }

    async fn table(&mut self, application: &Application) -> anyhow::Result<()> {
        let daemon = application.store().totals().await?.daemon;
        let engine = application.engine();
        let now = engine.now();
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
        table.set_header(["account", "sent", "waiting", "now", "next in"]);
        for view in application.store().accounts().await? {
            let wait_status = engine.account_wait_status(&view, &daemon).await?;
            let next = match wait_status.as_ref().and_then(|wait_status| wait_status.until) {
                Some(crate::engine::Until::At(at)) if at > now => {
                    format!("{:.0} s", at.duration_since(now).as_secs_f64().ceil())
                }
                _ => String::new(),
            };
            table.add_row([
                view.account.id.to_string(),
                view.counts.of(StateName::Sent).to_string(),
                view.counts.of(StateName::Queued).to_string(),
                wait_status.map_or("done", |wait_status| wait_status.reason.as_str()).to_owned(),
                next,
            ]);
        }
        let drawn = table.to_string();
        let mut out = std::io::stdout().lock();
        if self.rows_drawn > 0 {
            // Moves to the first line of the last table, and clears from there.
            write!(out, "\x1b[{}A\x1b[J", self.rows_drawn)?;
        }
        writeln!(out, "{drawn}")?;
        out.flush()?;
        self.rows_drawn = drawn.lines().count();
        Ok(())
    }
}

/// Result of checking the sandbox's ledger against the promises.
struct Report {
    accounts: BTreeMap<String, Vec<Duration>>,
    delivered: usize,
    broken: Vec<String>,
}

impl Report {
    fn of(deliveries: &[Delivery], sent: u64) -> Self {
        let mut arrivals: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
        let mut texts: BTreeMap<&str, usize> = BTreeMap::new();
        for delivery in deliveries {
            arrivals.entry(delivery.account_id.clone()).or_default().push(delivery.at_monotonic);
            *texts.entry(&delivery.text).or_default() += 1;
        }
        let mut broken = Vec::new();
        for (_, _, text) in BY_SOCKET.iter().chain(&BY_INSERT) {
            match texts.get(text).copied().unwrap_or(0) {
                1 => {}
                0 => broken.push(format!("P1: lost: {text}")),
                n => broken.push(format!("P2: sent {n} times: {text}")),
            }
        }
        if sent != total() {
            broken.push(format!("P1: {sent} of {} messages are `sent`", total()));
        }
        let mut accounts = BTreeMap::new();
        for (account, mut at) in arrivals {
            at.sort_unstable();
            let gaps: Vec<Duration> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
            for gap in gaps.iter().filter(|gap| **gap < Duration::from_secs(10)) {
                broken.push(format!("P3: {account} sent twice within {:.3} s", gap.as_secs_f64()));
            }
            accounts.insert(account, gaps);
        }
        Self { accounts, delivered: deliveries.len(), broken }
    }

    /// Returns the smallest, mean and largest gap in seconds.
    fn figures(gaps: &[Duration]) -> Option<[f64; 3]> {
        let min = gaps.iter().min()?.as_secs_f64();
        let max = gaps.iter().max()?.as_secs_f64();
        let sum: Duration = gaps.iter().sum();
        Some([min, sum.as_secs_f64() / gaps.len() as f64, max])
    }

    fn print(&self) {
        println!("\nDelivered by the sandbox's own ledger: {} of {}.\n", self.delivered, total());
        println!(
            "{:<12} {:>5} {:>14} {:>10} {:>13}",
            "account", "sent", "smallest gap", "mean", "largest gap"
        );
        for (account, gaps) in &self.accounts {
            let [min, mean, max] = Self::figures(gaps).map_or_else(
                || ["-".to_owned(), "-".to_owned(), "-".to_owned()],
                |figures| figures.map(|seconds| format!("{seconds:.1} s")),
            );
            println!("{account:<12} {:>5} {min:>14} {mean:>10} {max:>13}", gaps.len() + 1);
        }
        if self.broken.is_empty() {
            println!(
                "\nEvery promise held: nothing lost, nothing twice, never closer than 10 s on one account."
            );
        }
        for broken in &self.broken {
            println!("\nBROKEN {broken}");
        }
    }

    fn json(&self, seed: u64) -> Value {
        let account = |(account, gaps): (&String, &Vec<Duration>)| {
            let figures = Self::figures(gaps);
            let row = json!({
                "sent": gaps.len() + 1,
                "gap_min_s": figures.map(|figures| figures[0]),
                "gap_mean_s": figures.map(|figures| figures[1]),
                "gap_max_s": figures.map(|figures| figures[2]),
            });
            (account.clone(), row)
        };
        let accounts: serde_json::Map<String, Value> = self.accounts.iter().map(account).collect();
        json!({ "seed": seed, "messages": total(), "delivered": self.delivered, "accounts": accounts, "broken": self.broken })
    }
}
