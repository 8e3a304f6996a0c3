//! The known keys, read from the built-in `config/outboxd.toml`: keys, types and defaults are defined only there.
//!
//! The type of a key is the type of its default. The name of its environment variable is derived from its path here
//! and never parsed back, so an underscore in a key's name is not ambiguous.

use toml::de::{DeTable, DeValue};

use crate::domain::field_error::nearest;

/// The defaults, as the repository ships them.
pub(super) const BUILT_IN: &str = include_str!("../../config/outboxd.toml");
/// The keys below this path may also appear in every `[account."acc_…"]` table.
pub(super) const POLICY: &str = "policy.default";
/// The table of tables that override the policy of single accounts.
pub(super) const ACCOUNT: &str = "account";
/// The table of the receivers of events.
pub(super) const OUTBOUND: &str = "outbound";

const PREFIX: &str = "OUTBOXD_";
/// Variables with our prefix that the command line reads.
const NOT_KEYS: [&str; 2] = ["OUTBOXD_CONFIG", "OUTBOXD_SOCKET"];

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Whole,
    Flag,
}

impl Kind {
    /// Returns the name of the type, for "expected …" in an error.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Text => "text in quotes",
            Self::Whole => "a whole number",
            Self::Flag => "true or false",
        }
    }
}

/// A key with a default.
#[derive(Debug)]
pub(super) struct Key {
    /// Full path, such as `policy.default.gap.min`.
    pub(super) path: String,
    pub(super) kind: Kind,
    /// The environment variable that sets it.
    pub(super) variable: String,
    /// The default, as the built-in file writes it.
    default: String,
}

impl Key {
    /// Returns the table under whose header the key is written, and its path below that.
    pub(super) fn section(&self) -> (&str, &str) {
        match self.below_policy() {
            Some(rest) => (POLICY, rest),
            None => self.path.split_once('.').unwrap_or(("", &self.path)),
        }
    }

    /// Returns the key with its default, as in a file.
    pub(super) fn example(&self) -> String {
        let name = self.path.rsplit('.').next().unwrap_or(&self.path);
        format!("{name} = {}", self.default)
    }

    /// Returns the variable with the key's default, as in a shell.
    pub(super) fn example_variable(&self) -> String {
        format!("{}={}", self.variable, self.default)
    }

    /// Returns the path below `[policy.default]` or an account's table, if the key is allowed there.
    pub(super) fn below_policy(&self) -> Option<&str> {
        self.path.strip_prefix(POLICY)?.strip_prefix('.')
    }
}

/// All keys, in the order of the built-in file.
#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// Reads the keys from the built-in file.
    pub(super) fn built_in() -> Self {
        let table =
            DeTable::parse(BUILT_IN).expect("the built-in configuration is TOML, and a test loads it");
        let mut found = Vec::new();
        collect(table.get_ref(), "", &mut found);
        found.sort_by_key(|(position, _)| *position);
        Self(found.into_iter().map(|(_, key)| key).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    pub(super) fn get(&self, path: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.path == path)
    }

    /// Returns whether `path` has keys below it.
    pub(super) fn is_table(&self, path: &str) -> bool {
        self.0.iter().any(|key| below(&key.path, path).is_some())
    }

    /// Returns the names directly below `path` ("" is the top level), each once.
    fn names(&self, path: &str) -> Vec<&str> {
        let mut names: Vec<&str> = match path {
            "" => vec![ACCOUNT, OUTBOUND],
            _ => Vec::new(),
        };
        for key in &self.0 {
            if let Some(name) = below(&key.path, path).and_then(|rest| rest.split('.').next())
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        names
    }

    /// Returns a suggestion for an unknown name in table `path`, which the file writes as `shown`.
    pub(super) fn hint(&self, name: &str, path: &str, shown: &str) -> String {
        let names = self.names(path);
        if let Some(near) = nearest(name, &names) {
            return format!("did you mean `{}`?", join(shown, near));
        }
        let elsewhere = |key: &&Key| key.path.rsplit('.').next() == Some(name);
        match self.0.iter().find(elsewhere) {
            Some(key) => format!("did you mean `{}`?", key.path),
            None => format!("known here: {}", names.join(", ")),
        }
    }

    /// Returns a suggestion for an unknown path below `policy.default`.
    pub(super) fn hint_below(&self, path: &str) -> String {
        let paths: Vec<&str> = self.0.iter().filter_map(Key::below_policy).collect();
        match nearest(path, &paths) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", paths.join(", ")),
        }
    }

    /// Returns whether the prefix marks `variable` as ours.
    pub(super) fn claims(variable: &str) -> bool {
        variable.starts_with(PREFIX) && !NOT_KEYS.contains(&variable)
    }

    /// Returns a suggestion for a variable that sets no key.
    pub(super) fn variable_hint(&self, variable: &str) -> String {
        let word = variable.strip_prefix(PREFIX).unwrap_or(variable);
        if word.starts_with("ACCOUNT_") {
            return "the rules of one account belong in the file: [account.\"acc_…\"]".to_owned();
        }
        let names: Vec<&str> = self.0.iter().filter_map(|key| key.variable.strip_prefix(PREFIX)).collect();
        match nearest(word, &names) {
            Some(near) => format!("did you mean {PREFIX}{near}?"),
            None => {
                "a key's variable is OUTBOXD_ and its path in capitals, such as OUTBOXD_STORE_PATH for store.path"
                    .to_owned()
            }
        }
    }
}

/// Joins `path` and `name` with a dot.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Returns the part of `path` below `table`, if `path` is below it.
fn below<'a>(path: &'a str, table: &str) -> Option<&'a str> {
    if table.is_empty() { Some(path) } else { path.strip_prefix(table)?.strip_prefix('.') }
}

fn collect(table: &DeTable<'_>, path: &str, found: &mut Vec<(usize, Key)>) {
    for (name, value) in table {
        let path = join(path, name.get_ref());
        let kind = match value.get_ref() {
            DeValue::Table(table) => {
                collect(table, &path, found);
                continue;
            }
            DeValue::Integer(_) => Kind::Whole,
            DeValue::Boolean(_) => Kind::Flag,
            _ => Kind::Text,
        };
        let variable = format!("{PREFIX}{}", path.replace('.', "_").to_uppercase());
        let default = BUILT_IN.get(value.span()).unwrap_or_default().to_owned();
        found.push((name.span().start, Key { path, kind, variable, default }));
    }
}
