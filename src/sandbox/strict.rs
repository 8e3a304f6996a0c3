//! Reads JSON objects field by field and refuses what the contract does not know.
//!
//! Used by `requests` and `faults`. Serde's derive could refuse unknown fields too, but not say which field had the
//! wrong type; here every refusal names the field by its full path (`attachments[0].content`). `null` is refused like
//! any other wrong type: no request field of the contract is nullable.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

/// What is wrong with a request; names the field.
#[derive(Debug)]
pub(super) struct Invalid(pub(super) String);

/// A JSON object whose fields are all known, and its path in the body.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Checks that `value`, found at `path` (empty for the body itself), is an object with no field beyond `known`.
    pub(super) fn of(value: &'a Value, path: &str, known: &[&str]) -> Result<Self, Invalid> {
        let Value::Object(map) = value else {
            let what = if path.is_empty() { "the body" } else { path };
            return Err(Invalid(format!("{what} must be an object, not {}", kind_of(value))));
        };
        let fields = Self { path: path.to_owned(), map };
        match map.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(fields),
            Some(key) => {
                Err(Invalid(format!("unknown field {}; known here: {}", fields.name(key), known.join(", "))))
            }
        }
    }

    /// Returns the full path of `field`.
    pub(super) fn name(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// Returns the value of `field`, if it is present.
    pub(super) fn get(&self, field: &str) -> Option<&'a Value> {
        self.map.get(field)
    }

    /// Returns the value of `field`, which must be present.
    pub(super) fn required(&self, field: &str) -> Result<&'a Value, Invalid> {
        self.get(field).ok_or_else(|| Invalid(format!("{} is required", self.name(field))))
    }

    /// Reads a required string.
    pub(super) fn string(&self, field: &str) -> Result<&'a str, Invalid> {
        let value = self.required(field)?;
        value.as_str().ok_or_else(|| self.wrong(field, "a string", value))
    }

    /// Reads an optional string.
    pub(super) fn optional_string(&self, field: &str) -> Result<Option<&'a str>, Invalid> {
        self.get(field).map(|_| self.string(field)).transpose()
    }

    /// Reads a required boolean.
    pub(super) fn boolean(&self, field: &str) -> Result<bool, Invalid> {
        let value = self.required(field)?;
        value.as_bool().ok_or_else(|| self.wrong(field, "true or false", value))
    }

    /// Reads an optional boolean.
    pub(super) fn optional_boolean(&self, field: &str) -> Result<Option<bool>, Invalid> {
        self.get(field).map(|_| self.boolean(field)).transpose()
    }

    /// Reads a required whole number within `range`.
    pub(super) fn integer(&self, field: &str, range: RangeInclusive<u64>) -> Result<u64, Invalid> {
        let value = self.required(field)?;
        let number = value.as_u64().filter(|number| range.contains(number));
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        number.ok_or_else(|| self.wrong(field, &expected(), value))
    }

    /// Reads an optional whole number within `range`.
    pub(super) fn optional_integer(
        &self,
        field: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Invalid> {
        self.get(field).map(|_| self.integer(field, range)).transpose()
    }

    /// Checks an optional string against `choices`.
    pub(super) fn optional_choice(&self, field: &str, choices: &[&str]) -> Result<(), Invalid> {
        match self.optional_string(field)? {
            Some(choice) if !choices.contains(&choice) => Err(Invalid(format!(
                "{} must be one of {}, not {choice:?}",
                self.name(field),
                choices.join(", ")
            ))),
            _ => Ok(()),
        }
    }

    /// Reads an optional object.
    pub(super) fn optional_object(&self, field: &str, known: &[&str]) -> Result<Option<Fields<'a>>, Invalid> {
        self.get(field).map(|value| Fields::of(value, &self.name(field), known)).transpose()
    }

    /// Reads an optional array; absent means empty.
    pub(super) fn optional_array(&self, field: &str) -> Result<&'a [Value], Invalid> {
        match self.get(field) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(other) => Err(self.wrong(field, "an array", other)),
        }
    }

    /// Returns the refusal of `value` in `field`.
    pub(super) fn wrong(&self, field: &str, expected: &str, value: &Value) -> Invalid {
        let found = match value {
            Value::Number(number) => number.to_string(),
            _ => kind_of(value).to_owned(),
        };
        Invalid(format!("{} must be {expected}, not {found}", self.name(field)))
    }
}

/// Returns the name of the JSON type of `value`.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
