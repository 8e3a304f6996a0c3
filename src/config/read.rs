//! Converts merged values to typed ones, and collects every problem on the way.
//!
//! A method that finds a problem returns a placeholder value, so that reading continues and all problems are reported
//! at once; `Settings::load` discards everything if there was one. A nil value has already been reported, and adds no
//! problem.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use config::ValueKind;
use jiff::fmt::friendly::SpanParser;
use jiff::tz::TimeZone;
use tracing_subscriber::EnvFilter;

use super::LogFormat;
use super::keys::{POLICY, join};
use super::layers::{Layers, Leaf};
use super::problem::Problem;
use crate::domain::field_error::nearest;

/// Longest accepted duration: a longer one is a mistake, and sums of times could overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// Length of Linux's `sun_path` without its terminating zero byte.
const LONGEST_SOCKET_PATH: usize = 107;
const DURATION_FIX: &str = "write a number with a unit, such as 10s, 500ms, 1m 30s (the largest unit is h)";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads values and collects problems.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Returns the value of `key`.
    pub(super) fn leaf(&self, key: &str) -> &'a Leaf {
        self.layers.leaves.get(key).expect("every key that is read stands in config/outboxd.toml")
    }

    /// Returns the account's own value of a key below `policy.default`, or else the default's.
    pub(super) fn of(&self, account: Option<&str>, path: &str) -> &'a Leaf {
        let own = account.and_then(|id| self.layers.accounts.get(id)).and_then(|table| table.get(path));
        own.unwrap_or_else(|| self.leaf(&join(POLICY, path)))
    }

    /// Adds a problem with `leaf`, once: accounts inherit the default's values, and so its problems.
    pub(super) fn add(&mut self, leaf: &Leaf, what: &str, fix: &str) {
        self.add_at(&leaf.key, leaf.place.as_deref().unwrap_or_default(), what, fix);
    }

    pub(super) fn add_at(&mut self, key: &str, place: &str, what: &str, fix: &str) {
        let problem = Problem::value(key, place, what, fix);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    pub(super) fn text(&self, leaf: &'a Leaf) -> Option<&'a str> {
        match &leaf.value {
            ValueKind::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn flag(&self, leaf: &Leaf) -> bool {
        matches!(leaf.value, ValueKind::Boolean(true))
    }

    /// Reads a whole number within `range`.
    pub(super) fn count(&mut self, leaf: &Leaf, range: RangeInclusive<u32>) -> u32 {
        let ValueKind::I64(number) = leaf.value else { return *range.start() };
        match u32::try_from(number) {
            Ok(count) if range.contains(&count) => count,
            _ => {
                let fix = format!("give a whole number from {} to {}", range.start(), range.end());
                self.add(leaf, &format!("{number} is out of range"), &fix);
                *range.start()
            }
        }
    }

    /// Reads a size in memory, like [`Reader::count`].
    pub(super) fn size(&mut self, key: &str, range: RangeInclusive<u32>) -> usize {
        usize::try_from(self.count(self.leaf(key), range)).unwrap_or(usize::MAX)
    }

    /// Reads a whole number from 1 to `most`.
    pub(super) fn rate(&mut self, key: &str, most: u32) -> NonZeroU32 {
        NonZeroU32::new(self.count(self.leaf(key), 1..=most)).unwrap_or(NonZeroU32::MIN)
    }

    pub(super) fn seed(&mut self, key: &str) -> Option<u64> {
        let leaf = self.leaf(key);
        let ValueKind::I64(number) = leaf.value else { return None };
        let seed = u64::try_from(number);
        if seed.is_err() {
            self.add(leaf, &format!("{number} is negative"), "give 0 or a positive whole number");
        }
        seed.ok().filter(|seed| *seed != 0)
    }

    /// Reads a duration, which may be zero; returns `None` if the text is not a duration.
    pub(super) fn duration(&mut self, leaf: &'a Leaf) -> Option<Duration> {
        let text = self.text(leaf)?;
        let Ok(signed) = SpanParser::new().parse_duration(text.trim()) else {
            self.add(leaf, &format!("{text:?} is not a duration"), DURATION_FIX);
            return None;
        };
        match Duration::try_from(signed) {
            Ok(duration) if duration <= LONGEST => Some(duration),
            Ok(_) => {
                self.add(leaf, &format!("{text} is longer than a year"), "give a shorter time");
                None
            }
            Err(_) => {
                self.add(leaf, &format!("{text} is negative"), "give a positive duration, such as 10s");
                None
            }
        }
    }

    /// Reads a duration greater than zero.
    pub(super) fn positive_duration(&mut self, leaf: &'a Leaf) -> Option<Duration> {
        let duration = self.duration(leaf)?;
        if duration.is_zero() {
            self.add(leaf, "is zero", "give a positive duration, such as 10s");
            return None;
        }
        Some(duration)
    }

    /// Reads a duration of an interval; `None` for "" and "off", which switch off what is repeated.
    pub(super) fn poll(&mut self, key: &str) -> Option<Duration> {
        let leaf = self.leaf(key);
        let is_off = self.text(leaf).is_some_and(|text| matches!(text.trim(), "" | "off"));
        if is_off { None } else { self.positive_duration(leaf) }
    }

    /// Reads ascending durations, separated by commas; empty text is an empty list.
    pub(super) fn durations(&mut self, leaf: &'a Leaf) -> Vec<Duration> {
        let Some(text) = self.text(leaf) else { return Vec::new() };
        let mut found = Vec::new();
        for part in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
            match duration_of(part).filter(|duration| !duration.is_zero() && *duration <= LONGEST) {
                None => {
                    self.add(
                        leaf,
                        &format!("{part:?} is not a duration"),
                        "write durations such as \"1m, 3m, 10m\"",
                    );
                    return Vec::new();
                }
                Some(duration) if found.last().is_some_and(|last| *last >= duration) => {
                    let fix = "let each time be longer than the one before: they all count from the call";
                    self.add(leaf, &format!("{part} does not come after the one before it"), fix);
                    return Vec::new();
                }
                Some(duration) => found.push(duration),
            }
        }
        found
    }

    /// Reads a duration greater than zero; returns zero after a problem.
    pub(super) fn timeout(&mut self, key: &str) -> Duration {
        self.positive_duration(self.leaf(key)).unwrap_or_default()
    }

    /// Adds a problem if the lower bound is above the upper one; names each by the last part of its key.
    pub(super) fn ordered(&mut self, low: (&Leaf, Option<Duration>), high: (&Leaf, Option<Duration>)) {
        let ((low, Some(least)), (high, Some(most))) = (low, high) else { return };
        if least <= most {
            return;
        }
        let name = |leaf: &Leaf| leaf.key.rsplit('.').next().unwrap_or_default().to_owned();
        let text = |leaf: &Leaf| leaf.value.to_string();
        let what = format!("{} {} is above {} {}", name(low), text(low), name(high), text(high));
        let nearer = if high.key.starts_with("account.") { high } else { low };
        let key = nearer.key.rsplit_once('.').map_or("", |(table, _)| table);
        let place = |leaf: &Leaf| leaf.place.clone().unwrap_or_else(|| "the built-in defaults".to_owned());
        let place = match (place(low), place(high)) {
            (one, other) if one == other => one,
            (one, other) => format!("{one} and {other}"),
        };
        let fix = format!("make {} at least as long as {}", name(high), name(low));
        self.add_at(key, &place, &what, &fix);
    }

    pub(super) fn path(&mut self, key: &str) -> PathBuf {
        let leaf = self.leaf(key);
        let path = self.text(leaf);
        if path.is_some_and(|path| path.is_empty() || path.contains('\0')) {
            self.add(leaf, "is not a path", "give the path of a file");
        } else if path.is_some_and(|path| path.ends_with('/')) {
            self.add(leaf, "is the path of a folder", "give the path of a file, without a slash at its end");
        }
        PathBuf::from(path.unwrap_or_default())
    }

    /// Reads a path; empty text is none.
    pub(super) fn optional_path(&self, key: &str) -> Option<PathBuf> {
        self.text(self.leaf(key)).filter(|path| !path.is_empty()).map(PathBuf::from)
    }

    /// Reads an address to listen on, such as `example`; empty text is none.
    pub(super) fn listen(&mut self, key: &str, example: &str) -> Option<SocketAddr> {
        let leaf = self.leaf(key);
        let text = self.text(leaf)?.trim();
        let address = text.parse();
        if address.is_err() && !text.is_empty() {
            let fix = format!("write an IP address and a port, such as \"{example}\"");
            self.add(leaf, &format!("{text:?} is not an address to listen on"), &fix);
        }
        address.ok()
    }

    /// Reads the path of the database; refuses `:memory:`, which is a special name for SQLite.
    pub(super) fn database(&mut self, key: &str) -> PathBuf {
        let path = self.path(key);
        if path.as_os_str() == ":memory:" {
            let fix = "give the path of a file: what is only in memory is lost at a stop";
            self.add(self.leaf(key), "is a database in memory", fix);
        }
        path
    }

    pub(super) fn socket(&mut self, key: &str) -> PathBuf {
        let path = self.path(key);
        let bytes = path.as_os_str().len();
        if bytes > LONGEST_SOCKET_PATH {
            let what = format!("the path has {bytes} bytes, a Unix socket allows {LONGEST_SOCKET_PATH}");
            self.add(self.leaf(key), &what, "give a shorter path");
        }
        path
    }

    /// Reads file permissions in octal.
    pub(super) fn mode(&mut self, key: &str) -> u32 {
        let leaf = self.leaf(key);
        let Some(text) = self.text(leaf) else { return 0 };
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
        match u32::from_str_radix(text, 8) {
            Ok(mode) if octal && mode <= 0o777 => mode,
            _ => {
                let fix = "write octal digits, such as \"0660\" for owner and group";
                self.add(leaf, &format!("{text:?} is not a file mode"), fix);
                0
            }
        }
    }

    /// Reads the URL of the API, without a trailing slash.
    pub(super) fn base_url(&mut self, key: &str) -> String {
        let leaf = self.leaf(key);
        let Some(text) = self.text(leaf) else { return String::new() };
        if let Err((what, fix)) = checked_url(text) {
            self.add(leaf, what, fix);
        }
        text.trim_end_matches('/').to_owned()
    }

    /// Reads a base URL; `""` is none.
    pub(super) fn optional_base_url(&mut self, key: &str) -> Option<String> {
        let is_empty = self.text(self.leaf(key)).is_none_or(str::is_empty);
        (!is_empty).then(|| self.base_url(key))
    }

    /// Reads an IANA zone.
    pub(super) fn zone(&mut self, leaf: &'a Leaf) -> Option<TimeZone> {
        let name = self.text(leaf)?;
        match TimeZone::get(name) {
            Ok(zone) if !zone.is_unknown() => Some(zone),
            _ => {
                let fix = match nearest_zone(name) {
                    Some(near) => format!("did you mean {near:?}?"),
                    None => "give an IANA name, such as \"Europe/Paris\" or \"UTC\"".to_owned(),
                };
                self.add(leaf, &format!("{name:?} is not a known time zone"), &fix);
                None
            }
        }
    }

    /// Reads a filter of log levels. `EnvFilter` takes a mistyped level for the name of a module and then logs
    /// nothing else, so a single word that is not a level is refused here.
    pub(super) fn log_level(&mut self, key: &str) -> String {
        let leaf = self.leaf(key);
        let Some(text) = self.text(leaf) else { return String::new() };
        let fix = "write a level (error, warn, info, debug, trace, off) or \"info,outboxd::engine=debug\"";
        let lone_words =
            text.split(',').map(str::trim).filter(|part| !part.contains('=') && !text.contains('['));
        for word in lone_words {
            if !LEVELS.contains(&word.to_lowercase().as_str()) {
                let near = nearest(word, &LEVELS).map(|near| format!("did you mean {near:?}?"));
                self.add(leaf, &format!("{word:?} is not a level"), near.as_deref().unwrap_or(fix));
                return text.to_owned();
            }
        }
        if let Err(error) = EnvFilter::builder().parse(text) {
            self.add(leaf, &format!("{text:?} is not a log filter: {error}"), fix);
        }
        text.to_owned()
    }

    /// Reads folders, separated by colons as in PATH.
    pub(super) fn folders(&mut self, key: &str) -> Vec<PathBuf> {
        let leaf = self.leaf(key);
        let Some(text) = self.text(leaf) else { return Vec::new() };
        let folders: Vec<PathBuf> =
            text.split(':').filter(|folder| !folder.is_empty()).map(PathBuf::from).collect();
        if folders.iter().any(|folder| !folder.is_absolute()) {
            self.add(leaf, &format!("{text:?} names a folder that is not absolute"), "begin each with /");
        }
        folders
    }

    /// Reads whether requests use the form of Unipile's guide.
    pub(super) fn guide_dialect(&mut self, key: &str) -> bool {
        let leaf = self.leaf(key);
        match self.text(leaf) {
            None | Some("specifics") => false,
            Some("guide") => true,
            Some(other) => {
                self.add(leaf, &format!("{other:?} is not a dialect"), "write specifics or guide");
                false
            }
        }
    }

    pub(super) fn log_format(&mut self, key: &str) -> LogFormat {
        let leaf = self.leaf(key);
        let Some(text) = self.text(leaf) else { return LogFormat::Auto };
        match LogFormat::ALL.into_iter().find(|format| format.as_str() == text) {
            Some(format) => format,
            None => {
                self.add(leaf, &format!("{text:?} is not a format"), "write auto, human, json or journald");
                LogFormat::Auto
            }
        }
    }
}

/// Parses a duration.
pub(super) fn duration_of(text: &str) -> Option<Duration> {
    SpanParser::new().parse_duration(text.trim()).ok().and_then(|signed| Duration::try_from(signed).ok())
}

/// Checks whether `text` is a valid URL for the API. The error does not quote it, because a URL may contain a
/// password.
fn checked_url(text: &str) -> Result<(), (&'static str, &'static str)> {
    let example = "write it as in \"https://api.unipile.com\"";
    let url = reqwest::Url::parse(text).map_err(|_| ("is not a URL", example))?;
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(("names no host", example))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(host) => {}
        "http" => {
            return Err((
                "http would send the API key unencrypted",
                "use https (http is for this machine only)",
            ));
        }
        _ => return Err(("is neither https nor http", example)),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(("holds a user or a password", "leave them out; the API wants only its key"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(("holds a query or a fragment", example));
    }
    if url.path().trim_end_matches('/').ends_with("/v2") {
        return Err(("ends in /v2", "leave out the /v2: outboxd adds it to every path"));
    }
    // The prefix of a gateway may end so as well.
    let is_unipile = host == "unipile.com" || host.ends_with(".unipile.com");
    if is_unipile && url.path().trim_end_matches('/').ends_with("/v1") {
        return Err(("is the address of version 1 of the API", "outboxd uses version 2: leave out the path"));
    }
    Ok(())
}

pub(super) fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns the zone that `name` most likely means: a city without its continent, or a typing error.
fn nearest_zone(name: &str) -> Option<String> {
    let names: Vec<String> = jiff::tz::db().available().map(|zone| zone.to_string()).collect();
    let city = |zone: &&String| zone.rsplit('/').next().is_some_and(|city| city.eq_ignore_ascii_case(name));
    let by_city = names.iter().find(city).cloned();
    by_city
        .or_else(|| nearest(name, &names.iter().map(String::as_str).collect::<Vec<_>>()).map(str::to_owned))
}
