//! Named sets of rules. A preset gives the keys that its table leaves out; an account's preset overrides the
//! default's.
//!
//! Presets fill the layers before anything is read, so that the effective configuration shows every value and its
//! source. `guide` repeats the built-in defaults, so that an account can have them when the default policy differs.

use config::ValueKind;

use super::keys::{POLICY, join};
use super::layers::{Layers, Leaf, Table};

/// The key that names a preset.
pub(super) const KEY: &str = "preset";
/// Prefix of the place of a value that a preset gave.
const PLACE: &str = "preset ";

/// The value of a key, as in the file.
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

/// Returns the valid names for `preset`.
pub(super) fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// Fills what each table leaves out from the preset that it names.
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

/// Fills one account's table from its preset again, after dropping the values of an earlier preset.
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
