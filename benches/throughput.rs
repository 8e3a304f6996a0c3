//! `cargo bench --bench throughput`: what the queue can carry, each figure beside a floor measured in turn with it.
//!
//! The floor is SQLite itself: the same table without triggers, the same pragmas, the same disk, written through
//! rusqlite with nothing around it. The daemon and, for draining, the sandbox are processes of their own; everything
//! shares the machine's cores. Prints a table, then one line of JSON. About ten minutes.

#[path = "throughput/client.rs"]
mod client;
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
#[path = "throughput/scale.rs"]
mod scale;
#[path = "throughput/scenes.rs"]
mod scenes;

use std::fmt::Write as _;

/// One measured figure.
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) name: &'static str,
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: &'static str,
    /// The value it is held against, in the same unit.
    pub(crate) floor: Option<f64>,
    /// What it must be, in words.
    pub(crate) goal: &'static str,
    /// Whether it is.
    pub(crate) met: bool,
}

fn main() {
    // `cargo test --benches` and filters pass arguments; a bench run has none that matter here.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder on the disk under test");
    let mut figures = Vec::new();
    // `cargo bench --bench throughput -- latency drain` runs only those.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let runs = |scene: &str| wanted.is_empty() || wanted.iter().any(|name| name == scene);
    if runs("enqueue") {
        scenes::enqueue(folder.path(), &mut figures);
    }
    if runs("latency") {
        scenes::latency(folder.path(), &mut figures);
    }
    if runs("drain") {
        scenes::drain(folder.path(), &mut figures);
    }
    if runs("pick") {
        scenes::pick(folder.path(), &mut figures);
    }
    if runs("idle") {
        scenes::idle(folder.path(), &mut figures);
    }
    if runs("memory") {
        memory::memory(folder.path(), &mut figures);
    }
    if runs("outage") {
        outage::outage(folder.path(), &mut figures);
    }
    if runs("limiter") {
        limiter::limiter(folder.path(), &mut figures);
    }
    if runs("scale") {
        scale::scale(folder.path(), &mut figures);
    }
    report(&figures);
}

fn report(figures: &[Figure]) {
    println!("\n| figure | measured | floor | ratio | goal | met |\n| --- | --- | --- | --- | --- | --- |");
    let mut json = String::new();
    for Figure { name, value, unit, floor, goal, met } in figures {
        let number = |value: f64| if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") };
        let ratio = floor.map_or(String::new(), |floor| format!("{:.2}", value / floor));
        let floor_text = floor.map_or(String::new(), number);
        let met_text = if *met { "yes" } else { "NO" };
        println!("| {name} | {} {unit} | {floor_text} | {ratio} | {goal} | {met_text} |", number(*value));
        let comma = if json.is_empty() { "{" } else { "," };
        write!(json, "{comma}\"{name}\":{{\"value\":{value:.3},\"unit\":\"{unit}\",\"met\":{met}")
            .expect("a string");
        if let Some(floor) = floor {
            write!(json, ",\"floor\":{floor:.0},\"ratio\":{:.3}", value / floor).expect("a string");
        }
        json.push('}');
    }
    println!("\n{json}}}");
}
