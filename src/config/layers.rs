//! The layers of the configuration: built-in < file < environment, each value with the place that set it.
//!
//! This module refuses unknown keys and values of the wrong type; `config/read.rs` checks what a value means. The
//! `config` crate merges the layers and tracks the places. A value of the wrong type is reported and becomes nil, so
//! that nothing is derived from the default that it would have replaced.

use std::collections::BTreeMap;
use std::path::Path;

use config::{Config, Map, Source, Value, ValueKind};

use super::keys::{ACCOUNT, BUILT_IN, Key, Keys, Kind, OUTBOUND, POLICY, join};
use super::problem::Problem;
use crate::domain::ids::{MAX_ID_BYTES, is_invisible};

/// A value and the place that set it.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    /// The full key under which it was set; for an inherited value, the key of the default.
    pub(super) key: String,
    /// The file or the environment variable; `None` is the built-in default.
    pub(super) place: Option<String>,
    /// A value of the key's type, or nil if a problem has been reported.
    pub(super) value: ValueKind,
}

/// An account's table, keyed by the path below `policy.default`.
pub(super) type Table = BTreeMap<String, Leaf>;

/// All values, merged.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    /// The value of every key.
    pub(super) leaves: BTreeMap<String, Leaf>,
    /// The table of each account id.
    pub(super) accounts: BTreeMap<String, Table>,
    /// The receivers of events, as the file has them (`outbound.rs`).
    pub(super) outbound: Option<Outbound>,
}

/// `[outbound]`, which only the file can have.
#[derive(Debug, Clone)]
pub(super) struct Outbound {
    pub(super) table: toml::Table,
    /// The file.
    pub(super) place: String,
}

/// Reads and merges the layers; `variables` are those with our prefix. Returns `None` if the file could not be read:
/// nothing should be derived from the other layers alone.
pub(super) fn read(
    keys: &Keys,
    file: Option<&Path>,
    variables: &[(String, String)],
    problems: &mut Vec<Problem>,
) -> Option<Layers> {
    let built_in =
        BUILT_IN.parse::<toml::Table>().expect("the built-in configuration is TOML, and a test loads it");
    let mut builder = Config::builder().add_source(Checker { keys, place: None, problems }.layer(&built_in));
    let (mut readable, mut outbound) = (true, None);
    if let Some(path) = file {
        let place = path.display().to_string();
        match parse(path, &place) {
            Ok(mut table) => {
                outbound = match table.remove(OUTBOUND) {
                    Some(toml::Value::Table(table)) => Some(Outbound { table, place: place.clone() }),
                    Some(other) => {
                        let what = format!("expected a table, got {}", kind_of(&other));
                        let fix = "write [outbound.webhook.NAME] or [outbound.command.NAME]";
                        problems.push(Problem::value(OUTBOUND, &place, &what, fix));
                        None
                    }
                    None => None,
                };
                let mut checker = Checker { keys, place: Some(place), problems };
                builder = builder.add_source(checker.layer(&table));
            }
            Err(problem) => {
                problems.push(problem);
                readable = false;
            }
        }
    }
    builder = builder.add_source(environment(keys, variables, problems));
    if !readable {
        return None;
    }
    match builder.build().and_then(|config| config.collect()) {
        Ok(merged) => Some(Layers { outbound, ..Layers::of(keys, &Value::new(None, merged)) }),
        Err(error) => {
            problems.push(Problem::file("the configuration", &format!(" cannot be merged: {error}")));
            None
        }
    }
}

/// Parses the file as TOML. The error names line and column but does not quote the line, which might contain the API
/// key.
fn parse(path: &Path, place: &str) -> Result<toml::Table, Problem> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problem::file(place, &format!(" cannot be read: {error}")))?;
    text.parse::<toml::Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Problem::file(place, &format!(", line {line}, column {column}: not TOML: {}", error.message()))
    })
}

/// One layer, in the form that the `config` crate expects.
#[derive(Debug, Clone)]
struct Layer(Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// Converts TOML into a layer, and refuses what the built-in file does not have.
struct Checker<'a> {
    keys: &'a Keys,
    place: Option<String>,
    problems: &'a mut Vec<Problem>,
}

impl Checker<'_> {
    fn layer(&mut self, table: &toml::Table) -> Layer {
        Layer(self.table(table, "", ""))
    }

    /// Returns the values of `table`: `path` is its path among the keys, `shown` its path in the file.
    fn table(&mut self, table: &toml::Table, path: &str, shown: &str) -> Map<String, Value> {
        let mut values = Map::new();
        for (name, value) in table {
            let word = written(name);
            let (path_below, shown_below) = (join(path, &word), join(shown, &word));
            if let Some(key) = self.keys.get(&path_below) {
                let value = self.leaf(key, value, &shown_below);
                values.insert(name.clone(), Value::new(self.place.as_ref(), value));
            } else if path_below == ACCOUNT || self.keys.is_table(&path_below) {
                let Some(below) = value.as_table() else {
                    let fix = format!("write its keys under [{shown_below}]");
                    self.add(&shown_below, &format!("expected a table, got {}", kind_of(value)), &fix);
                    continue;
                };
                let below = match path_below == ACCOUNT {
                    true => self.accounts(below),
                    false => self.table(below, &path_below, &shown_below),
                };
                values.insert(name.clone(), Value::new(self.place.as_ref(), below));
            } else {
                let hint = self.keys.hint(name, path, shown);
                let place = self.place.as_deref().unwrap_or_default();
                self.problems.push(Problem::unknown_key(&shown_below, place, &hint));
            }
        }
        values
    }

    fn leaf(&mut self, key: &Key, value: &toml::Value, shown: &str) -> ValueKind {
        match (key.kind, value) {
            (Kind::Text, toml::Value::String(text)) => text.clone().into(),
            (Kind::Whole, toml::Value::Integer(number)) => (*number).into(),
            (Kind::Flag, toml::Value::Boolean(flag)) => (*flag).into(),
            _ => {
                let what = format!("expected {}, got {}", key.kind.expected(), kind_of(value));
                self.add(shown, &what, &format!("write it as in: {}", key.example()));
                ValueKind::Nil
            }
        }
    }

    fn accounts(&mut self, tables: &toml::Table) -> Map<String, Value> {
        let mut accounts = Map::new();
        for (id, value) in tables {
            let shown = format!("{ACCOUNT}.\"{}\"", id.escape_debug());
            let fix = "use the Unipile account id, as in [account.\"acc_…\"]";
            if id.strip_prefix("acc_").is_none_or(str::is_empty) {
                self.add(&shown, "the account id does not begin with `acc_`", fix);
            } else if id.trim() != id {
                self.add(&shown, "the account id has white space around it", "remove it");
            } else if id.len() > MAX_ID_BYTES || id.chars().any(|c| c.is_control() || is_invisible(c)) {
                let what = "the account id is too long or holds a control or an invisible character";
                self.add(&shown, what, fix);
            }
            match value.as_table() {
                Some(table) => {
                    let below = self.table(table, POLICY, &shown);
                    accounts.insert(id.clone(), Value::new(self.place.as_ref(), below));
                }
                None => self.add(&shown, &format!("expected a table, got {}", kind_of(value)), fix),
            }
        }
        accounts
    }

    fn add(&mut self, key: &str, what: &str, fix: &str) {
        let place = self.place.as_deref().unwrap_or_default();
        self.problems.push(Problem::value(key, place, what, fix));
    }
}

/// Builds the layer of the environment. Values are text; each is converted to the type of its key.
fn environment(keys: &Keys, variables: &[(String, String)], problems: &mut Vec<Problem>) -> Layer {
    let mut root = Value::new(None, Map::<String, Value>::new());
    for (variable, text) in variables {
        let Some(key) = keys.iter().find(|key| key.variable == *variable) else {
            problems.push(Problem::unknown_variable(variable, &keys.variable_hint(variable)));
            continue;
        };
        let value: Option<ValueKind> = match key.kind {
            Kind::Text => Some(text.clone().into()),
            Kind::Whole => text.trim().parse::<i64>().ok().map(Into::into),
            Kind::Flag => text.trim().parse::<bool>().ok().map(Into::into),
        };
        if value.is_none() {
            let what = format!("expected {}, got {text:?}", key.kind.expected());
            problems.push(Problem::value(
                &key.path,
                variable,
                &what,
                &format!("set {}", key.example_variable()),
            ));
        }
        insert(&mut root, &key.path, Value::new(Some(variable), value.unwrap_or(ValueKind::Nil)));
    }
    match root.kind {
        ValueKind::Table(table) => Layer(table),
        _ => Layer(Map::new()),
    }
}

/// Inserts `value` at `path`, and creates missing tables.
fn insert(table: &mut Value, path: &str, value: Value) {
    let ValueKind::Table(map) = &mut table.kind else { return };
    match path.split_once('.') {
        Some((name, rest)) => {
            insert(
                map.entry(name.to_owned()).or_insert_with(|| Value::new(None, Map::<String, Value>::new())),
                rest,
                value,
            );
        }
        None => {
            map.insert(path.to_owned(), value);
        }
    }
}

impl Layers {
    fn of(keys: &Keys, merged: &Value) -> Self {
        let leaf = |table, path: &str, key: String| {
            let value = find(table, path)?;
            Some(Leaf { key, place: value.origin().map(str::to_owned), value: value.kind.clone() })
        };
        let leaves = keys
            .iter()
            .filter_map(|key| Some((key.path.clone(), leaf(merged, &key.path, key.path.clone())?)))
            .collect();
        let mut accounts = BTreeMap::new();
        if let Some(ValueKind::Table(tables)) = find(merged, ACCOUNT).map(|value| &value.kind) {
            for (id, table) in tables {
                let own = keys.iter().filter_map(|key| {
                    let path = key.below_policy()?;
                    let shown = format!("{ACCOUNT}.\"{}\".{path}", id.escape_debug());
                    Some((path.to_owned(), leaf(table, path, shown)?))
                });
                accounts.insert(id.clone(), own.collect());
            }
        }
        Self { leaves, accounts, outbound: None }
    }
}

fn find<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| match &value.kind {
        ValueKind::Table(table) => table.get(name),
        _ => None,
    })
}

/// Returns a name as TOML writes it: quoted unless it is bare.
pub(super) fn written(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { format!("\"{}\"", name.escape_debug()) }
}

pub(super) fn kind_of(value: &toml::Value) -> &'static str {
    match value {
        toml::Value::String(_) => "text",
        toml::Value::Integer(_) => "a whole number",
        toml::Value::Float(_) => "a number with a fraction",
        toml::Value::Boolean(_) => "true or false",
        toml::Value::Datetime(_) => "a time",
        toml::Value::Array(_) => "a list",
        toml::Value::Table(_) => "a table",
    }
}
