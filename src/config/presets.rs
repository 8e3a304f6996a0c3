//! Named sets of rules: a preset gives the keys that its table leaves out, and an account's comes before the default's.
//!
//! They fill the layers before anything is read, so that the effective configuration shows what is in force, and where
//! from. `guide` says what the built-in defaults say, so that an account can have them beside another default.

use config::ValueKind;

use super::keys::{POLICY, join};
use super::layers::{Layers, Leaf};
use super::policies::Table;

/// The key that names one.
pub(super) const KEY: &str = "preset";
/// How a value that a preset gave says where it is from.
const PLACE: &str = "preset ";

/// The value of a key, as the file would write it.
#[derive(Debug, Clone, Copy)]
enum Given {
    Text(&'static str),
    Flag(bool),
}

/// Every preset with its keys below `policy.default`.
const PRESETS: [(&str, &[(&str, Given)]); 2] = [
    (
        "guide",
        &[
            ("gap.shape", Given::Text("uniform")),
            ("gap.min", Given::Text("10s")),
            ("gap.max", Given::Text("20s")),
            ("gap.spread", Given::Flag(false)),
            ("breaks.after", Given::Text("")),
        ],
    ),
    (
        "calm",
        &[
            ("gap.shape", Given::Text("log-normal")),
            ("gap.min", Given::Text("90s")),
            ("gap.max", Given::Text("15m")),
            ("gap.spread", Given::Flag(true)),
            ("breaks.after", Given::Text("15-30")),
        ],
    ),
];

/// The names that `preset` may have.
pub(super) fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// Lets the preset that each table names fill what the table leaves out.
pub(super) fn expand(layers: &mut Layers) {
    let default = join(POLICY, KEY);
    for (path, given) in values(layers.leaves.get(&default)) {
        let key = join(POLICY, path);
        if let Some(leaf) = layers.leaves.get_mut(&key)
            && leaf.place.is_none()
            && leaf.value != given.value
        {
            *leaf = Leaf { key, ..given };
        }
    }
    for table in layers.accounts.values_mut() {
        expand_account(table);
    }
}

/// The same for one account's table, anew.
pub(super) fn expand_account(table: &mut Table) {
    table.retain(|_, leaf| !leaf.place.as_ref().is_some_and(|place| place.starts_with(PLACE)));
    for (path, given) in values(table.get(KEY)) {
        table.entry(path.to_owned()).or_insert(given);
    }
}

fn values(preset: Option<&Leaf>) -> Vec<(&'static str, Leaf)> {
    let Some(Leaf { key: named_by, value: ValueKind::String(name), .. }) = preset else { return Vec::new() };
    let Some((name, given)) = PRESETS.iter().find(|(known, _)| known == name) else { return Vec::new() };
    let table = named_by.strip_suffix(KEY).unwrap_or_default();
    let leaf = |(path, value): &(&'static str, Given)| {
        let value = match value {
            Given::Text(text) => ValueKind::String((*text).to_owned()),
            Given::Flag(flag) => ValueKind::Boolean(*flag),
        };
        (*path, Leaf { key: format!("{table}{path}"), place: Some(format!("{PLACE}{name}")), value })
    };
    given.iter().map(leaf).collect()
}
