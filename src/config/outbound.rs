//! `[outbound.webhook.NAME]` and `[outbound.command.NAME]`: who receives events, and which.
//!
//! A name is what the queue remembers a receiver by. These tables have no built-in values and no environment variables.
//! As with the API key, no problem quotes a secret (P8).

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice};

use super::keys::OUTBOUND as TABLE;
use super::layers::{Outbound, kind_of, written};
use super::problem::Problem;
use super::read::{Reader, duration_of, is_loopback};
use super::secret::OTHERS_MAY_READ;
use crate::domain::event::EventFilter;
use crate::domain::field_error::nearest;

const KINDS: [&str; 2] = ["webhook", "command"];
/// Maximum number of receivers: each is a reader of events.
const MOST: usize = 32;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600);

/// A receiver of events.
#[derive(Debug, Clone)]
pub struct HookSettings {
    /// Its name.
    pub name: String,
    /// Which events it receives.
    pub events: EventFilter,
    /// Whether the text and the `meta` of messages go with them.
    pub with_texts: bool,
    /// How it receives them.
    pub target: HookTarget,
}

impl HookSettings {
    /// Returns whether `other` is the same receiver in every respect, its secrets included.
    pub fn is_same(&self, other: &Self) -> bool {
        let target = match (&self.target, &other.target) {
            (
                HookTarget::Webhook { url, secrets },
                HookTarget::Webhook { url: other_url, secrets: other_secrets },
            ) => {
                let exposed = |secrets: &'_ [SecretSlice<u8>]| -> Vec<Vec<u8>> {
                    secrets.iter().map(|secret| secret.expose_secret().to_vec()).collect()
                };
                url == other_url && exposed(secrets) == exposed(other_secrets)
            }
            (
                HookTarget::Command { run, timeout },
                HookTarget::Command { run: other_run, timeout: other_timeout },
            ) => (run, timeout) == (other_run, other_timeout),
            (HookTarget::Webhook { .. }, HookTarget::Command { .. })
            | (HookTarget::Command { .. }, HookTarget::Webhook { .. }) => false,
        };
        target
            && (&self.name, &self.events, self.with_texts) == (&other.name, &other.events, other.with_texts)
    }
}

/// How a receiver receives events.
#[derive(Debug, Clone)]
pub enum HookTarget {
    /// As signed webhooks.
    Webhook {
        /// Where they are posted.
        url: String,
        /// Each of them signs; at least one.
        secrets: Vec<SecretSlice<u8>>,
    },
    /// On the standard input of a program.
    Command {
        /// The program and its arguments.
        run: Vec<String>,
        /// How long one run may take.
        timeout: Duration,
    },
}

/// Reads all receivers, sorted by name.
pub(super) fn read(reader: &mut Reader<'_>) -> Vec<HookSettings> {
    let layers = reader.layers;
    let Some(Outbound { table, place }) = &layers.outbound else { return Vec::new() };
    let mut hooks: Vec<HookSettings> = Vec::new();
    for (kind, tables) in table {
        let shown = format!("{TABLE}.{}", written(kind));
        if !KINDS.contains(&kind.as_str()) {
            let hint = match nearest(kind, &KINDS) {
                Some(near) => format!("did you mean `{TABLE}.{near}`?"),
                None => format!("known here: {}", KINDS.join(", ")),
            };
            reader.problems.push(Problem::unknown_key(&shown, place, &hint));
            continue;
        }
        let Some(tables) = tables.as_table() else {
            let what = format!("expected tables with a name, got {}", kind_of(tables));
            reader.add_at(&shown, place, &what, &format!("write [{TABLE}.{kind}.NAME]"));
            continue;
        };
        for (name, value) in tables {
            let mut table = Table { reader, place, shown: format!("{shown}.{}", written(name)), value };
            if hooks.iter().any(|hook| hook.name == *name) {
                table.add("", "is the name of a command as well", "give each receiver a name of its own");
            }
            hooks.extend(table.hook(kind, name));
        }
    }
    if hooks.len() > MOST {
        let what = format!("names {} receivers", hooks.len());
        reader.add_at(TABLE, place, &what, &format!("at most {MOST} are possible; let one pass events on"));
    }
    hooks.sort_by(|one, other| one.name.cmp(&other.name));
    hooks
}

/// The table of one receiver.
struct Table<'r, 'l> {
    reader: &'r mut Reader<'l>,
    place: &'l str,
    shown: String,
    value: &'l toml::Value,
}

impl<'l> Table<'_, 'l> {
    fn add(&mut self, key: &str, what: &str, fix: &str) {
        let key = if key.is_empty() { self.shown.clone() } else { format!("{}.{key}", self.shown) };
        self.reader.add_at(&key, self.place, what, fix);
    }

    fn hook(&mut self, kind: &str, name: &str) -> Option<HookSettings> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if name.is_empty() || name.len() > 64 || !name.chars().all(is_name) {
            self.add("", "is not a name", "use up to 64 letters, digits, - and _");
        }
        let known: &[&str] = match kind {
            "webhook" => &["url", "secret_file", "events", "texts"],
            _ => &["run", "events", "texts", "timeout"],
        };
        let Some(table) = self.value.as_table() else {
            let what = format!("expected a table, got {}", kind_of(self.value));
            self.add("", &what, &format!("write [{TABLE}.{kind}.{name}] and its keys below"));
            return None;
        };
        for key in table.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = match nearest(key, known) {
                Some(near) => format!("did you mean `{}.{near}`?", self.shown),
                None => format!("known here: {}", known.join(", ")),
            };
            let shown = format!("{}.{}", self.shown, written(key));
            self.reader.problems.push(Problem::unknown_key(&shown, self.place, &hint));
        }
        let mut events = EventFilter::default();
        if let Some(kinds) = self.text("events")
            && let Err(refused) = events.set_kinds("events", kinds)
        {
            self.add("events", &refused.problem, &refused.fix);
        }
        let with_texts = match table.get("texts") {
            None | Some(toml::Value::Boolean(false)) => false,
            Some(toml::Value::Boolean(true)) => true,
            Some(other) => {
                self.add(
                    "texts",
                    &format!("expected true or false, got {}", kind_of(other)),
                    "write true or false",
                );
                false
            }
        };
        let target = match kind {
            "webhook" => HookTarget::Webhook { url: self.url(), secrets: self.secrets() },
            _ => HookTarget::Command { run: self.run(), timeout: self.timeout() },
        };
        Some(HookSettings { name: name.to_owned(), events, with_texts, target })
    }

    fn text(&mut self, key: &str) -> Option<&'l str> {
        match self.value.get(key)? {
            toml::Value::String(text) => Some(text),
            other => {
                self.add(
                    key,
                    &format!("expected text in quotes, got {}", kind_of(other)),
                    "write it in quotes",
                );
                None
            }
        }
    }

    fn url(&mut self) -> String {
        let example = "write it as in \"https://hooks.example.com/outboxd\"";
        if self.value.get("url").is_none() {
            self.add("url", "is missing", example);
        }
        let Some(text) = self.text("url") else { return String::new() };
        let url =
            reqwest::Url::parse(text).ok().filter(|url| url.host_str().is_some_and(|host| !host.is_empty()));
        match url {
            // Not quoted: its path may be a secret.
            None => self.add("url", "is not a URL with a host", example),
            Some(url) if !matches!(url.scheme(), "https" | "http") => {
                self.add("url", "is neither https nor http", example);
            }
            Some(url) if !url.username().is_empty() || url.password().is_some() => {
                self.add("url", "holds a user or a password", "leave them out; the signature says who posts");
            }
            Some(_) => {}
        }
        text.to_owned()
    }

    fn secrets(&mut self) -> Vec<SecretSlice<u8>> {
        let fix =
            "name a file with a line that begins with whsec_, followed by 24 to 64 random bytes in base64";
        if self.value.get("secret_file").is_none() {
            self.add("secret_file", "is missing", fix);
        }
        let Some(path) = self.text("secret_file") else { return Vec::new() };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.add("secret_file", &format!("{path} cannot be read: {error}"), fix);
                return Vec::new();
            }
        };
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let secrets: Vec<_> = lines.iter().filter_map(|line| secret(line)).collect();
        if secrets.is_empty() || secrets.len() < lines.len() {
            self.add("secret_file", &format!("{path} holds what is not a secret"), fix);
        }
        secrets
    }

    fn run(&mut self) -> Vec<String> {
        let fix = "write the absolute path of a program and its arguments, as in [\"/usr/local/bin/notify\", \"--quiet\"]";
        let words = self.value.get("run").and_then(toml::Value::as_array);
        let words: Option<Vec<&str>> =
            words.and_then(|words| words.iter().map(toml::Value::as_str).collect());
        let Some((program, _)) = words.as_deref().and_then(|words| words.split_first()) else {
            self.add("run", "is not a list of texts", fix);
            return Vec::new();
        };
        if !program.starts_with('/') {
            self.add("run", &format!("{program:?} is not an absolute path"), fix);
        } else if !std::fs::metadata(program).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0) {
            self.add(
                "run",
                &format!("{program} is not a program"),
                "correct the path, or make it executable: chmod +x",
            );
        }
        words.into_iter().flatten().map(str::to_owned).collect()
    }

    fn timeout(&mut self) -> Duration {
        let Some(text) = self.text("timeout") else { return COMMAND_TIMEOUT };
        match duration_of(text).filter(|timeout| !timeout.is_zero() && *timeout <= LONGEST_TIMEOUT) {
            Some(timeout) => timeout,
            None => {
                let fix = "write a number with a unit, from 1ms to 10m, such as \"30s\"";
                self.add("timeout", &format!("{text:?} is not a time for one run"), fix);
                COMMAND_TIMEOUT
            }
        }
    }
}

/// Decodes a secret of the Standard Webhooks scheme.
fn secret(text: &str) -> Option<SecretSlice<u8>> {
    let bytes = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
    (24..=64).contains(&bytes.len()).then(|| bytes.into())
}

/// Returns the tables as TOML, each key with its place.
pub(super) fn render(outbound: &Outbound, from: &str) -> String {
    let mut text = String::new();
    for (path, value) in leaves(outbound) {
        let (table, key) = path.rsplit_once('.').unwrap_or_default();
        let header = format!("\n[{table}]\n");
        if !text.contains(&header) {
            text += &header;
        }
        text += &format!("{key} = {value} # from {from}\n");
    }
    text
}

/// Returns each key with its value as TOML.
pub(super) fn leaves(outbound: &Outbound) -> impl Iterator<Item = (String, String)> {
    let kinds = outbound.table.iter().filter_map(|(kind, tables)| Some((kind, tables.as_table()?)));
    kinds.flat_map(|(kind, tables)| {
        let tables = tables.iter().filter_map(|(name, table)| Some((name, table.as_table()?)));
        tables.flat_map(move |(name, table)| {
            let path = format!("{TABLE}.{}.{}", written(kind), written(name));
            table.iter().map(move |(key, value)| (format!("{path}.{}", written(key)), value.to_string()))
        })
    })
}

/// Returns warnings about receivers that are allowed but risky.
pub(super) fn warnings(hooks: &[HookSettings], outbound: Option<&Outbound>) -> Vec<String> {
    let mut warnings = Vec::new();
    for hook in hooks {
        let HookTarget::Webhook { url, .. } = &hook.target else { continue };
        let table = format!("{TABLE}.webhook.{}", hook.name);
        let host = reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
        if url.starts_with("http:") && !host.is_some_and(|host| is_loopback(&host)) {
            warnings
                .push(format!("{table}.url sends events unencrypted: use https, or a network of your own"));
        }
        let file = outbound.and_then(|outbound| {
            outbound.table.get("webhook")?.get(&hook.name)?.get("secret_file")?.as_str()
        });
        let mode = file
            .and_then(|file| std::fs::metadata(Path::new(file)).ok())
            .map_or(0, |file| file.mode() & 0o777);
        if mode & 0o007 != 0 {
            warnings.push(format!(
                "{table}.secret_file names a file that {OTHERS_MAY_READ} (mode 0{mode:o}): chmod 0600, or 0640"
            ));
        }
    }
    warnings
}
