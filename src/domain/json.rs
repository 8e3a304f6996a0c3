//! Parses JSON and refuses objects with duplicate keys.
//!
//! `serde_json` silently keeps the last of two values; a message could then go out with the wrong text or to the
//! wrong person.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why JSON was refused.
#[derive(Debug)]
pub enum JsonError {
    /// The input is not JSON.
    Malformed(serde_json::Error),
    /// An object has the same key twice.
    Twice {
        /// The path to the key, such as `specifics.linkedin`.
        key: String,
        /// Line of the second occurrence, from 1.
        line: usize,
        /// Column of the second occurrence, in bytes, from 1.
        column: usize,
    },
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Twice { key, line, column } => {
                write!(f, "`{key}` is given twice, at line {line}, column {column}")
            }
        }
    }
}

/// Parses one JSON document.
pub fn parse(bytes: &[u8]) -> Result<Value, JsonError> {
    let twice = RefCell::new(None);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict(&twice).deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| match twice.into_inner() {
        Some(key) => JsonError::Twice { key, line: error.line(), column: error.column() },
        None => JsonError::Malformed(error),
    })
}

/// Parses a value; records the path of a duplicate key.
struct Strict<'a>(&'a RefCell<Option<String>>);

impl Strict<'_> {
    /// Prefixes the recorded path with `part`.
    fn below(&self, part: &str) {
        if let Some(path) = self.0.borrow_mut().as_mut() {
            let dot = if path.starts_with('[') { "" } else { "." };
            *path = format!("{part}{dot}{path}");
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            match access.next_element_seed(Strict(self.0)) {
                Ok(Some(value)) => array.push(value),
                Ok(None) => return Ok(Value::Array(array)),
                Err(error) => {
                    self.below(&format!("[{}]", array.len()));
                    return Err(error);
                }
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if object.contains_key(&key) {
                self.0.replace(Some(key));
                return Err(A::Error::custom("a key is given twice"));
            }
            match access.next_value_seed(Strict(self.0)) {
                Ok(value) => object.insert(key, value),
                Err(error) => {
                    self.below(&key);
                    return Err(error);
                }
            };
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_given_twice_is_named_with_its_path() {
        for (text, path) in [
            (r#"{"text": "a", "text": "b"}"#, "text"),
            (r#"{"text": "a", "te\u0078t": "b"}"#, "text"),
            (r#"{"a": {"b": {"c": 1, "d": 2, "c": 1}}}"#, "a.b.c"),
            (r#"{"files": [{}, {"path": 1, "path": 1}]}"#, "files.[1].path"),
            (r#"[{"x": 1, "x": 2}]"#, "[0].x"),
        ] {
            let path = path.replace(".[", "[");
            match parse(text.as_bytes()) {
                Err(JsonError::Twice { key, line: 1, .. }) => assert_eq!(key, path, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn everything_else_is_read_as_serde_json_reads_it() {
        for text in [
            r#"{"a": {"x": 1}, "b": {"x": 1}}"#,
            r#"[1, -1, 1.5, 1e400, 18446744073709551615, null, true, "a\u00e9\ud83d\ude00", [], {}]"#,
            r#"{"a": 1} x"#,
            r#"{"a": "#,
            "",
            "\u{feff}{}",
            r#"{"a": "\ud800"}"#,
            &"[".repeat(200),
        ] {
            let expected = serde_json::from_str::<Value>(text);
            match (parse(text.as_bytes()), expected) {
                (Ok(value), Ok(expected)) => assert_eq!(value, expected, "{text}"),
                (Err(JsonError::Malformed(error)), Err(expected)) => {
                    assert_eq!(error.to_string(), expected.to_string(), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
