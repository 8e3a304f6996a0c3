//! `[webhooks]`: where to listen, and the secrets of Unipile's endpoint, from `webhooks.secret` or from the file in
//! `webhooks.secret_file`.
//!
//! As with the API key, no problem quotes a secret (P8). A missing secret is not an error of loading, because commands
//! that only read do not need it.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use secrecy::SecretString;

use super::layers::{Layers, Leaf};
use super::problem::{ConfigError, Problem};
use super::read::Reader;
use super::secret::{self, OTHERS_MAY_READ};

/// `[webhooks]`.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// Where to listen; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// Secrets, each of which may sign. See [`Settings::require_webhook_secret`](super::Settings::require_webhook_secret).
    pub secrets: Vec<SecretString>,
    /// Largest difference between the time of a signature and the clock, in both directions.
    pub tolerance: Duration,
    /// Maximum size of a webhook, in bytes.
    pub body_bytes: usize,
    /// Maximum number of connections at once; at least 1.
    pub connections: usize,
    /// Types of the events that the endpoint is registered for; at least one.
    pub events: Vec<String>,
}

/// The configuration key for the secrets.
pub(super) const KEY: &str = "webhooks.secret";
const FILE: &str = "webhooks.secret_file";
const WAYS: &str = "leave webhooks.listen out, start the daemon and run `outboxd webhook register`, which keeps the secret; or \
                    set the environment variable OUTBOXD_WEBHOOKS_SECRET (or webhooks.secret) to the secret of the \
                    endpoint at Unipile, or name a file that holds it in webhooks.secret_file, or leave webhooks.listen \
                    out";
const NAME: secret::Name = secret::Name { short: "the secret", whole: "the secret of the endpoint" };

pub(super) fn read(reader: &mut Reader<'_>) -> WebhookSettings {
    WebhookSettings {
        listen: reader.listen("webhooks.listen", "127.0.0.1:8780"),
        secrets: secrets(reader),
        tolerance: reader.timeout("webhooks.tolerance"),
        body_bytes: reader.size("webhooks.body_bytes", 1024..=64 << 20),
        connections: reader.size("webhooks.connections", 1..=1024),
        events: events(reader),
    }
}

/// Reads the types of events, separated by commas.
fn events(reader: &mut Reader<'_>) -> Vec<String> {
    let leaf = reader.leaf("webhooks.events");
    let Some(text) = reader.text(leaf) else { return Vec::new() };
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    if names.is_empty() {
        reader.add(leaf, "names no event", "name what outboxd needs, such as \"message.new\"");
    }
    if let Some(wrong) = names.iter().find(|name| !is_name(name)) {
        let fix = "separate the names by commas, as in \"message.new, relation.new\"";
        reader.add(leaf, &format!("{wrong:?} is not the name of an event"), fix);
    }
    names.into_iter().map(str::to_owned).collect()
}

fn secrets(reader: &mut Reader<'_>) -> Vec<SecretString> {
    let (key, file) = (reader.leaf(KEY), reader.leaf(FILE));
    let (Some(given), Some(path)) = (reader.text(key), reader.text(file)) else { return Vec::new() };
    let given = given.trim();
    if !given.is_empty() {
        if !path.is_empty() {
            let from = file.place.as_deref().unwrap_or_default();
            reader.add(key, &format!("cannot be combined with {FILE} (in {from})"), "keep one of the two");
        }
        return all(reader, key, "a secret", given.split(','));
    }
    if path.is_empty() {
        return Vec::new();
    }
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => {
            reader.add(file, &format!("{path} is empty"), "put the secret of the endpoint there");
            Vec::new()
        }
        Ok(text) => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            all(reader, file, &format!("a secret in {path}"), lines)
        }
        Err(error) => {
            let fix = "name a file that holds the secret of the endpoint";
            reader.add(file, &format!("{path} cannot be read: {error}"), fix);
            Vec::new()
        }
    }
}

fn all<'t>(
    reader: &mut Reader<'_>,
    leaf: &Leaf,
    holder: &str,
    texts: impl Iterator<Item = &'t str>,
) -> Vec<SecretString> {
    texts.filter_map(|text| secret::checked(reader, leaf, holder, &NAME, text)).collect()
}

/// Returns an error if there is an address to listen on and no secret.
pub(super) fn require(settings: &WebhookSettings) -> Result<(), ConfigError> {
    if settings.listen.is_none() || !settings.secrets.is_empty() {
        return Ok(());
    }
    let what = "webhooks.listen is set without a secret, so no webhook could be verified";
    Err(ConfigError { problems: vec![Problem::value(KEY, "", what, WAYS)] })
}

/// Returns a warning if users who are not in its group may read the file with the secrets. A systemd credential is
/// readable for its group, which is empty.
pub(super) fn exposed_file(layers: &Layers) -> Option<String> {
    let config::ValueKind::String(path) = &layers.leaves.get(FILE)?.value else { return None };
    let mode = std::fs::metadata(path).ok()?.mode() & 0o777;
    (mode & 0o007 != 0).then(|| {
        format!("{FILE} names {path}, which {OTHERS_MAY_READ} (mode 0{mode:o}): chmod 0600, or 0640")
    })
}
