//! `cargo bench --bench throughput`: how much load the queue carries; each rate next to a floor that is measured in
//! turn with it.
//!
//! The floor is SQLite alone: the same table without triggers, the same pragmas, the same disk, written through
//! rusqlite with nothing around it. The daemon and, for draining, the sandbox are processes of their own; all of them
//! share the machine's cores. Prints a table, then one line of JSON. Takes about a quarter of an hour. Figures vary
//! with the disk and with the other load on the machine, so each is printed with its spread.

#[path = "throughput/campaigns.rs"]
mod campaigns;
#[path = "throughput/client.rs"]
mod client;
#[path = "throughput/dashboard.rs"]
mod dashboard;
#[path = "throughput/floor.rs"]
mod floor;
#[path = "throughput/limiter.rs"]
mod limiter;
#[path = "throughput/memory.rs"]
mod memory;
#[path = "throughput/outage.rs"]
mod outage;
#[path = "throughput/process.rs"]
mod process;
#[path = "throughput/producers.rs"]
mod producers;
#[path = "throughput/scale.rs"]
mod scale;
#[path = "throughput/scenes.rs"]
mod scenes;
#[path = "throughput/webhooks.rs"]
mod webhooks;

use std::fmt::Write as _;
use std::path::Path;

/// Measures in a folder and appends its figures.
type Scene = fn(&Path, &mut Vec<Figure>);

/// One measured figure.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// Median of the rounds.
    pub(crate) value: f64,
    /// Lowest and highest of the rounds.
    pub(crate) spread: Option<[f64; 2]>,
    pub(crate) unit: &'static str,
    /// Value to compare with, in the same unit.
    pub(crate) floor: Option<f64>,
    /// What the value must be, in words.
    pub(crate) goal: &'static str,
    /// Whether the goal is met.
    pub(crate) met: bool,
}

impl Figure {
    /// Formats a row of the table.
    fn row(&self) -> String {
        let Self { name, value, spread, unit, floor, goal, met } = self;
        let number = |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        let ratio =
            floor.filter(|floor| *floor > 0.0).map_or(String::new(), |floor| format!("{:.2}", value / floor));
        let floor = floor.map_or(String::new(), number);
        let met = if *met { "yes" } else { "NO" };
        let spread =
            spread.map_or(String::new(), |[least, most]| format!("{} to {}", number(least), number(most)));
        let median = number(*value);
        format!("| {name} | {median} {unit} | {spread} | {floor} | {ratio} | {goal} | {met} |")
    }

    /// Returns the median of several rounds.
    pub(crate) fn median(
        name: &'static str,
        mut rounds: Vec<f64>,
        unit: &'static str,
        goal: &'static str,
        meets: impl Fn(f64) -> bool,
    ) -> Self {
        rounds.sort_by(f64::total_cmp);
        let value = rounds[rounds.len() / 2];
        let spread = Some([rounds[0], rounds[rounds.len() - 1]]);
        Self { name, value, spread, unit, floor: None, goal, met: meets(value) }
    }

    /// Returns the round with the median ratio to the floor; each floor is measured in turn with its round.
    pub(crate) fn beside_floor(
        name: &'static str,
        mut rounds: Vec<(f64, f64)>,
        unit: &'static str,
        goal: &'static str,
        least_ratio: f64,
    ) -> Self {
        rounds.sort_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1)));
        let (value, floor) = rounds[rounds.len() / 2];
        let least = rounds.iter().map(|round| round.0).fold(f64::INFINITY, f64::min);
        let most = rounds.iter().map(|round| round.0).fold(0.0, f64::max);
        let met = value >= least_ratio * floor;
        Self { name, value, spread: Some([least, most]), unit, floor: Some(floor), goal, met }
    }
}

fn main() {
    // `cargo test --benches` and filters pass arguments; a bench run needs none of them.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk under test");
    let mut figures = Vec::new();
    // `cargo bench --bench throughput -- latency drain` runs only those two.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let scenes: [(&str, Scene); 15] = [
        ("enqueue", scenes::enqueue),
        ("insert", producers::insert),
        ("producers", producers::producers),
        ("backlog", producers::backlog),
        ("latency", scenes::latency),
        ("drain", scenes::drain),
        ("pick", scenes::pick),
        ("campaigns", campaigns::campaigns),
        ("idle", scenes::idle),
        ("memory", memory::memory),
        ("outage", outage::outage),
        ("limiter", limiter::limiter),
        ("scale", scale::scale),
        ("webhooks", webhooks::webhooks),
        ("dashboard", dashboard::dashboard),
    ];
    for (name, scene) in scenes {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            let before = figures.len();
            scene(folder.path(), &mut figures);
            // Printed at once, so that a run that is cut short still shows what it measured.
            for figure in &figures[before..] {
                println!("{}", figure.row());
            }
        }
    }
    report(&figures);
}

fn report(figures: &[Figure]) {
    println!(
        "\n| figure | median | spread | floor | ratio | goal | met |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    let mut json = String::new();
    for figure in figures {
        println!("{}", figure.row());
        let Figure { name, value, spread, unit, floor, met, .. } = figure;
        let comma = if json.is_empty() { "{" } else { "," };
        write!(json, "{comma}\"{name}\":{{\"value\":{value:.3},\"unit\":\"{unit}\",\"met\":{met}")
            .expect("a string");
        if let Some([least, most]) = spread {
            write!(json, ",\"least\":{least:.3},\"most\":{most:.3}").expect("a string");
        }
        if let Some(floor) = floor.filter(|floor| *floor > 0.0) {
            write!(json, ",\"floor\":{floor:.0},\"ratio\":{:.3}", value / floor).expect("a string");
        }
        json.push('}');
    }
    println!("\n{json}}}");
}
