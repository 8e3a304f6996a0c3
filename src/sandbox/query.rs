//! Query strings, read as strictly as bodies: an unknown or repeated parameter is refused by name.
//!
//! Used by `reads` and by `methods` for the endpoints that have no query at all.

use jiff::Timestamp;
use percent_encoding::percent_decode_str;

use super::strict::Invalid;

/// The decoded parameters of a request, all of them known.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `query`, which is still percent-encoded.
    pub(super) fn of(query: &str, known: &[&str]) -> Result<Self, Invalid> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
            let name = decoded(name);
            if !known.contains(&name.as_str()) {
                return Err(Invalid(format!("unknown query parameter {name}")));
            }
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(Invalid(format!("{name} is given twice")));
            }
            parameters.push((name, decoded(value)));
        }
        Ok(Self(parameters))
    }

    /// Returns the value of `name`, if it is present.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Returns the value of `name` as an owned string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// Reads an optional whole number of at least `least`.
    pub(super) fn number(&self, name: &str, least: usize) -> Result<Option<usize>, Invalid> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.parse() {
            Ok(number) if number >= least => Ok(Some(number)),
            _ => Err(Invalid(format!("{name} must be a whole number of at least {least}, not {value:?}"))),
        }
    }

    /// Reads an optional `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Invalid> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Invalid(format!("{name} must be true or false, not {other:?}"))),
        }
    }

    /// Reads an optional time, in the one format that the API is known to accept.
    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>, Invalid> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match value.parse::<Timestamp>() {
            Ok(time) if format!("{time:.3}") == value => Ok(Some(time)),
            _ => Err(Invalid(format!("{name} must be a time like 2026-01-31T23:59:59.999Z, not {value:?}"))),
        }
    }
}
