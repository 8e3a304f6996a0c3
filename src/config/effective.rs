//! The effective configuration as TOML: each key once, followed by the place that set it.
//!
//! Loading this text again gives the same settings, except for secrets, which appear as `"<set>"` (P8). The
//! warnings about risky settings are here as well, because both tell an operator what the daemon is about to do.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use super::Settings;
use super::keys::{ACCOUNT, Keys, POLICY};
use super::layers::{Layers, Leaf};
use super::outbound;
use super::policies::SHORTEST_GAP;
use super::secret::{ApiKey, KEY as API_KEY, OTHERS_MAY_READ, SHOWN};
use super::webhooks::{self, KEY as WEBHOOK_SECRET};

/// Returns the effective configuration.
pub(super) fn render(keys: &Keys, layers: &Layers, key: &ApiKey) -> String {
    let mut text = String::from("# The configuration in force. A line without a comment is a default.\n");
    let mut section = "";
    for (known, leaf) in keys.iter().filter_map(|key| Some((key, layers.leaves.get(&key.path)?))) {
        let (header, name) = known.section();
        if header != section {
            text += &format!("\n[{header}]\n");
            section = header;
        }
        text += &match (known.path.as_str(), &key.credential) {
            (API_KEY, Some(path)) => {
                format!("{name} = \"\" # the key is in {}\n", one_line(&path.display().to_string()))
            }
            (API_KEY | WEBHOOK_SECRET, _) => line(name, leaf, true),
            _ => line(name, leaf, false),
        };
    }
    for (id, own) in &layers.accounts {
        text += &format!("\n[{ACCOUNT}.{}]\n", quoted(id));
        for name in keys.iter().filter_map(|key| key.below_policy()) {
            if let Some(leaf) = own.get(name) {
                text += &line(name, leaf, false);
            }
        }
    }
    if let Some(outbound) = &layers.outbound {
        text += &outbound::render(outbound, &one_line(&outbound.place));
    }
    text
}

fn line(name: &str, leaf: &Leaf, secret: bool) -> String {
    let value = match &leaf.value {
        config::ValueKind::String(text) if secret && !text.trim().is_empty() => quoted(SHOWN),
        config::ValueKind::String(text) => quoted(text),
        other => other.to_string(),
    };
    match &leaf.place {
        Some(place) => format!("{name} = {value} # from {}\n", one_line(place)),
        None => format!("{name} = {value}\n"),
    }
}

/// Replaces control characters in a path: a comment ends at the end of its line.
fn one_line(place: &str) -> String {
    place.replace(char::is_control, "?")
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// An account reads at most 90 chats within the interval (`engine/poll.rs`): with a shorter one, faster than the guide sends.
const SHORTEST_POLL: Duration = Duration::from_secs(90 * 10);

/// Returns warnings about settings that are allowed but risky.
pub(super) fn warnings(settings: &Settings, layers: &Layers, file: Option<&Path>) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(exposed(API_KEY, "api_key_file", layers, file));
    warnings.extend(exposed(WEBHOOK_SECRET, "secret_file", layers, file));
    warnings.extend(webhooks::exposed_file(layers));
    if settings.traces_endpoint.is_some() && !cfg!(feature = "otlp") {
        warnings.push(
            "traces.endpoint has no effect: this program was built without the feature otlp".to_owned(),
        );
    }
    warnings.extend(outbound::warnings(&settings.hooks, layers.outbound.as_ref()));
    let own = settings.policies.accounts.iter().map(|(id, policy)| (format!("{ACCOUNT}.\"{id}\""), policy));
    let mut short: Vec<String> = std::iter::once((POLICY.to_owned(), &settings.policies.default))
        .chain(own)
        .filter(|(_, policy)| policy.gap.min < SHORTEST_GAP)
        .map(|(table, _)| {
            format!("{table}.gap.min is below 10s: this risks the LinkedIn account; use it against the sandbox only")
        })
        .collect();
    short.sort();
    warnings.extend(short);
    let own = settings.policies.accounts.iter().map(|(id, policy)| (format!("{ACCOUNT}.\"{id}\""), policy));
    let mut high: Vec<String> = std::iter::once((POLICY.to_owned(), &settings.policies.default))
        .chain(own)
        .filter(|(_, policy)| super::limits::are_high(&policy.caps))
        .map(|(table, _)| {
            format!("{table}.caps allow more than is advised for a day: this risks the LinkedIn account")
        })
        .collect();
    high.sort();
    warnings.extend(high);
    warnings.extend(wide(settings));
    if !is_unipile(&settings.unipile.base_url) {
        let url = &settings.unipile.base_url;
        warnings.push(format!("unipile.base_url is not Unipile's: messages and the API key go to {url}"));
    }
    if settings.unipile.requests_per_second.get() > 1000 {
        let rate = settings.unipile.requests_per_second;
        warnings.push(format!(
            "unipile.requests_per_second is {rate}: expect Unipile to answer 429; 100 is the default"
        ));
    }
    let own = settings.unipile.account_requests_per_second;
    if own.get() > 10 {
        warnings.push(format!(
            "unipile.account_requests_per_second is {own}: expect Unipile to answer 429; 2 is the default"
        ));
    }
    warnings.extend(short_poll(settings));
    if settings.api.socket_mode & 0o002 != 0 {
        let mode = settings.api.socket_mode;
        warnings.push(format!("api.socket_mode 0{mode:o} lets every user of this machine send messages"));
    }
    warnings.extend(settings.api.exposed());
    if settings.accounts.known_only && settings.policies.accounts.is_empty() {
        let fix = "every message will be refused; add [account.\"acc_…\"] tables";
        warnings.push(format!("accounts.known_only is on and no account is named: {fix}"));
    }
    warnings
}

fn short_poll(settings: &Settings) -> Option<String> {
    settings.poll.filter(|poll| *poll < SHORTEST_POLL)?;
    let says = "inbound.poll is shorter than 15m: of an account with 90 chats or more, one is read more often than every 10s";
    Some(says.to_owned())
}

/// Returns warnings about patterns of messages of others that find what they must not.
fn wide(settings: &Settings) -> Vec<String> {
    let own = settings.policies.accounts.iter().map(|(id, policy)| (format!("{ACCOUNT}.\"{id}\""), policy));
    let all = std::iter::once((POLICY.to_owned(), &settings.policies.default)).chain(own);
    let mut wide: Vec<String> = all
        .flat_map(|(table, policy)| {
            let told = move |(key, text, follows)| {
                format!("{table}.reply.{key} is too wide: it finds {text:?}, so {follows}")
            };
            policy.reply_patterns.too_wide().into_iter().map(told)
        })
        .collect();
    wide.sort();
    wide
}

/// Returns a warning if the secret `key` is in a configuration file that others may read.
fn exposed(key: &str, instead: &str, layers: &Layers, file: Option<&Path>) -> Option<String> {
    let file = file?;
    let leaf = layers.leaves.get(key)?;
    let written = leaf.place.as_ref() == Some(&file.display().to_string());
    let set = matches!(&leaf.value, config::ValueKind::String(text) if !text.trim().is_empty());
    let mode = std::fs::metadata(file).ok()?.mode() & 0o777;
    (written && set && mode & 0o077 != 0).then(|| {
        let path = file.display();
        format!("{key} is in {path}, which {OTHERS_MAY_READ} (mode 0{mode:o}): chmod 0600, or use {instead}")
    })
}

fn is_unipile(base_url: &str) -> bool {
    let url = reqwest::Url::parse(base_url).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    host == "unipile.com" || host.ends_with(".unipile.com")
}
