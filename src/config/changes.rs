//! The differences between two configurations, key by key, and whether a running daemon can apply each.
//!
//! A reload uses this to log the changes and to report the keys that need a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use super::Loaded;
use super::keys::ACCOUNT;
use super::layers::{Layers, Leaf};
use super::outbound;
use super::secret::{KEY as API_KEY, SHOWN};
use super::webhooks::KEY as WEBHOOK_SECRET;

/// Keys that a running daemon can apply, by prefix of their path.
const LIVE: [&str; 13] = [
    "policy.",
    "account.",
    "log.level",
    "limits.text_chars",
    "limits.placeholders",
    "limits.repeats",
    "accounts.known_only",
    "people.resolve",
    "webhooks.secret",
    "webhooks.tolerance",
    "webhooks.events",
    "retention.",
    "outbound.",
];

/// A key whose value changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The full key, such as `policy.default.gap.min`.
    pub key: String,
    /// Old value; empty if the key was not set.
    pub from: String,
    /// New value; empty if the key is no longer set.
    pub to: String,
    /// Whether a running daemon applies it.
    pub is_live: bool,
}

/// The values of all keys as text, except the secrets.
pub(super) type Values = BTreeMap<String, String>;

pub(super) fn values(layers: &Layers) -> Values {
    let text = |leaf: &Leaf| leaf.value.to_string();
    let own = layers.leaves.iter().filter(|(path, _)| ![API_KEY, WEBHOOK_SECRET].contains(&path.as_str()));
    let own = own.map(|(path, leaf)| (path.clone(), text(leaf)));
    let accounts = layers.accounts.iter().flat_map(|(id, table)| {
        table
            .iter()
            .map(move |(path, leaf)| (format!("{ACCOUNT}.\"{}\".{path}", id.escape_debug()), text(leaf)))
    });
    let outbound = layers.outbound.iter().flat_map(outbound::leaves);
    own.chain(accounts).chain(outbound).collect()
}

fn is_live(key: &str) -> bool {
    LIVE.iter().any(|live| key.starts_with(live))
}

fn differ<'s>(
    old: impl Iterator<Item = &'s SecretString>,
    new: impl Iterator<Item = &'s SecretString>,
) -> bool {
    !old.map(ExposeSecret::expose_secret).eq(new.map(ExposeSecret::expose_secret))
}

impl Loaded {
    /// Returns the files that hold secrets, as configured.
    pub fn secret_files(&self) -> Vec<PathBuf> {
        let keys = ["unipile.api_key_file", "webhooks.secret_file"];
        let paths = keys.iter().filter_map(|key| self.values.get(*key));
        paths.filter(|path| !path.is_empty()).map(PathBuf::from).collect()
    }

    /// Returns the differences in `newer`, sorted by key; secrets come last. Never contains a secret.
    pub fn changes(&self, newer: &Self) -> Vec<Change> {
        let keys: BTreeSet<&String> = self.values.keys().chain(newer.values.keys()).collect();
        let of = |values: &Values, key: &String| values.get(key).cloned().unwrap_or_default();
        let changed = keys.into_iter().map(|key| Change {
            from: of(&self.values, key),
            to: of(&newer.values, key),
            is_live: is_live(key),
            key: key.clone(),
        });
        let mut changes: Vec<Change> = changed.filter(|change| change.from != change.to).collect();
        let (old, new) = (&self.settings, &newer.settings);
        let secrets = [
            (API_KEY, differ(old.unipile.api_key.iter(), new.unipile.api_key.iter())),
            (WEBHOOK_SECRET, differ(old.webhooks.secrets.iter(), new.webhooks.secrets.iter())),
        ];
        for (key, _) in secrets.into_iter().filter(|(_, differ)| *differ) {
            let [from, to] = [SHOWN, SHOWN].map(str::to_owned);
            changes.push(Change { key: key.to_owned(), from, to, is_live: is_live(key) });
        }
        changes
    }

    /// Copies the live keys from `newer`; the others keep the values with which the daemon started.
    pub fn adopt_live(&mut self, newer: &Self) {
        self.values.retain(|key, _| !is_live(key));
        let live = newer.values.iter().filter(|(key, _)| is_live(key));
        self.values.extend(live.map(|(key, value)| (key.clone(), value.clone())));
        self.settings.webhooks.secrets.clone_from(&newer.settings.webhooks.secrets);
        self.sources.clone_from(&newer.sources);
    }
}
