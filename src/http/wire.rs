//! JSON input: converts a producer's object to a draft.
//!
//! Unknown fields and wrong types are refused here, because only this layer can see them.

use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::attachments::{self, AttachmentRules, Uploads};
use super::error::ApiError;
use crate::domain::attachment::Blob;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::json::{self, JsonError};
use crate::domain::message::Draft;

/// The fields of a message, in the order of the documentation.
pub(super) const FIELDS: [&str; 27] = [
    "account_id",
    "chat_id",
    "users_ids",
    "inbox_id",
    "group",
    "name",
    "specifics",
    "options",
    "quote_id",
    "forward",
    "attachments",
    "text",
    "typing",
    "not_before",
    "expires_at",
    "campaign",
    "priority",
    "urgent",
    "ignore_hours",
    "allow_repeat",
    "allow_placeholders",
    "stop_on_reply",
    "step",
    "wait",
    "meta",
    "needs",
    "dedupe_key",
];

/// Reads one message and the bytes of its files; reports every field that is unknown or of the wrong type.
pub(super) fn draft(value: Value, rules: &AttachmentRules) -> Result<(Draft, Vec<Blob>), Vec<FieldError>> {
    draft_with(value, Uploads::default(), rules)
}

/// Reads one message like [`draft`], with files that were uploaded with it.
pub(super) fn draft_with(
    value: Value,
    uploads: Uploads,
    rules: &AttachmentRules,
) -> Result<(Draft, Vec<Blob>), Vec<FieldError>> {
    let Value::Object(mut object) = value else {
        let problem = format!("a message is a JSON object, not {}", kind(&value));
        return Err(vec![FieldError::new(FieldErrorCode::WrongType, "", problem, "see docs/http.md")]);
    };
    let mut faults = Vec::new();
    for name in object.keys().filter(|name| !FIELDS.contains(&name.as_str())) {
        faults.push(FieldError::unknown_field(name, FIELDS));
    }
    // Reading and decoding files takes time; other tasks continue meanwhile.
    let loaded = taken(&mut object, "attachments")
        .map(|files| tokio::task::block_in_place(|| attachments::load(files, uploads, rules)));
    let (attachments, blobs) = match loaded.transpose() {
        Ok(loaded) => loaded.unwrap_or_default(),
        Err(refusals) => {
            faults.extend(refusals);
            Default::default()
        }
    };
    let draft = Draft {
        attachments,
        account_id: string(&mut object, "account_id", &mut faults),
        chat_id: string(&mut object, "chat_id", &mut faults),
        users_ids: users_ids(&mut object, &mut faults),
        inbox_id: string(&mut object, "inbox_id", &mut faults),
        group: boolean(&mut object, "group", &mut faults),
        name: string(&mut object, "name", &mut faults),
        specifics: taken(&mut object, "specifics"),
        options: taken(&mut object, "options"),
        quote_id: string(&mut object, "quote_id", &mut faults),
        forward: taken(&mut object, "forward"),
        text: string(&mut object, "text", &mut faults),
        typing: boolean(&mut object, "typing", &mut faults),
        not_before: string(&mut object, "not_before", &mut faults),
        expires_at: string(&mut object, "expires_at", &mut faults),
        campaign: string(&mut object, "campaign", &mut faults),
        priority: whole(&mut object, "priority", &mut faults),
        urgent: boolean(&mut object, "urgent", &mut faults),
        ignore_hours: boolean(&mut object, "ignore_hours", &mut faults),
        allow_repeat: boolean(&mut object, "allow_repeat", &mut faults),
        allow_placeholders: boolean(&mut object, "allow_placeholders", &mut faults),
        stop_on_reply: boolean(&mut object, "stop_on_reply", &mut faults),
        step: whole(&mut object, "step", &mut faults),
        wait: string(&mut object, "wait", &mut faults),
        meta: taken(&mut object, "meta"),
        needs: string(&mut object, "needs", &mut faults),
        dedupe_key: string(&mut object, "dedupe_key", &mut faults),
    };
    if faults.is_empty() { Ok((draft, blobs)) } else { Err(faults) }
}

/// Removes a field; `null` counts as "not given", because JSON producers write it for a missing value.
fn taken(object: &mut Map<String, Value>, field: &str) -> Option<Value> {
    object.remove(field).filter(|value| !value.is_null())
}

fn string(object: &mut Map<String, Value>, field: &str, faults: &mut Vec<FieldError>) -> Option<String> {
    match taken(object, field)? {
        Value::String(text) => Some(text),
        other => {
            faults.push(wrong_type(field, "a string", &other));
            None
        }
    }
}

fn boolean(object: &mut Map<String, Value>, field: &str, faults: &mut Vec<FieldError>) -> Option<bool> {
    match taken(object, field)? {
        Value::Bool(value) => Some(value),
        other => {
            faults.push(wrong_type(field, "true or false", &other));
            None
        }
    }
}

fn whole(object: &mut Map<String, Value>, field: &str, faults: &mut Vec<FieldError>) -> Option<i64> {
    let value = taken(object, field)?;
    let number = value.as_i64();
    if number.is_none() {
        let mut fault = wrong_type(field, "a whole number", &value);
        if value.is_number() {
            fault.problem = format!("is {value}");
        }
        faults.push(fault);
    }
    number
}

fn users_ids(object: &mut Map<String, Value>, faults: &mut Vec<FieldError>) -> Option<Vec<String>> {
    let ids = match taken(object, "users_ids")? {
        Value::String(id) => return Some(vec![id]),
        Value::Array(ids) => ids,
        other => {
            faults.push(wrong_type("users_ids", "a string or an array of strings", &other));
            return None;
        }
    };
    let mut read = Vec::with_capacity(ids.len());
    for (index, id) in ids.into_iter().enumerate() {
        match id {
            Value::String(id) => read.push(id),
            other => faults.push(wrong_type(&format!("users_ids[{index}]"), "a string", &other)),
        }
    }
    Some(read)
}

pub(super) fn wrong_type(field: &str, wanted: &str, found: &Value) -> FieldError {
    let problem = format!("is {}", kind(found));
    FieldError::new(FieldErrorCode::WrongType, field, problem, format!("give {wanted}"))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Parses a body, or a part of one.
pub(super) fn json(bytes: &[u8]) -> Result<Value, ApiError> {
    json::parse(bytes).map_err(|error| match (&error, encoding(bytes)) {
        (JsonError::Malformed(_), Some((what, fix))) => {
            let problem = format!("the body is {what}, not JSON in UTF-8");
            ApiError::bad_request(FieldError::new(FieldErrorCode::MalformedJson, "", problem, fix))
        }
        (JsonError::Malformed(_), None) => ApiError::bad_request(unreadable(&error, None)),
        (JsonError::Twice { .. }, _) => {
            ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, unreadable(&error, None))
        }
    })
}

/// Returns what a body is that is encoded in another way than as UTF-8, and what to do. Only a body that cannot be parsed
/// is worth the question.
fn encoding(body: &[u8]) -> Option<(&'static str, &'static str)> {
    const UTF_8: &str = "send it as UTF-8";
    const PLAIN: &str = "send it uncompressed";
    let known: [(&[u8], &str, &str); 5] = [
        (b"\xff\xfe", "text in UTF-16", UTF_8),
        (b"\xfe\xff", "text in UTF-16", UTF_8),
        (b"\x1f\x8b", "compressed (gzip)", PLAIN),
        (b"\x28\xb5\x2f\xfd", "compressed (zstd)", PLAIN),
        (b"PK\x03\x04", "a ZIP archive", PLAIN),
    ];
    let found = known.into_iter().find(|(mark, ..)| body.starts_with(mark));
    // JSON begins with ASCII; in UTF-16 without a byte order mark, one byte of each pair is zero.
    let is_utf_16 = matches!(body, [one, other, ..] if (*one == 0) != (*other == 0));
    found.map(|(_, what, fix)| (what, fix)).or(is_utf_16.then_some(("text in UTF-16", UTF_8)))
}

/// Returns the error for refused JSON: its position, and what was expected there.
pub(super) fn unreadable(error: &JsonError, line_of_batch: Option<usize>) -> FieldError {
    let error = match error {
        JsonError::Malformed(error) => error,
        JsonError::Twice { key, line, column } => {
            let line = line_of_batch.unwrap_or(*line);
            let problem = format!("is given twice; the second one is at line {line}, column {column}");
            return FieldError::new(FieldErrorCode::DuplicateField, key.as_str(), problem, "give it once");
        }
    };
    let line = line_of_batch.unwrap_or(error.line());
    let what = error.to_string();
    // serde_json ends its message with " at line 1 column 7"; in a batch the line number differs.
    let what = what.split(" at line ").next().unwrap_or_default();
    let problem = format!("is not JSON at line {line}, column {}: {what}", error.column());
    let fix = match line_of_batch {
        Some(_) => "write one JSON object on the line, and nothing after it",
        None => "send one object, an array of objects, or one object a line as application/x-ndjson",
    };
    FieldError::new(FieldErrorCode::MalformedJson, "", format!("the body {problem}"), fix)
}

/// Refuses a body that is not one JSON object per line, such as a CSV table or an array.
pub(super) fn are_lines(body: &[u8]) -> Result<(), ApiError> {
    let Some((what, fix)) = other_than_lines(body) else { return Ok(()) };
    let problem = format!("the body is {what}, and one JSON object a line is expected");
    Err(ApiError::bad_request(FieldError::new(FieldErrorCode::MalformedJson, "", problem, fix)))
}

/// Returns what a body is that is not one JSON object per line, and what to do.
fn other_than_lines(body: &[u8]) -> Option<(&'static str, &'static str)> {
    const AS_OBJECTS: &str = "write each row as a JSON object on a line of its own, such as {\"account_id\": …, \"users_ids\": …, \"text\": …}; `outboxd import` takes CSV";
    let mut lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let first = lines.next()?;
    let known: [(&[u8], &str, &str); 6] = [
        (b"\xff\xfe", "text in UTF-16", "save it as UTF-8"),
        (b"\xfe\xff", "text in UTF-16", "save it as UTF-8"),
        (b"\x1f\x8b", "compressed", "unpack it: `gunzip FILE`"),
        (b"PK\x03\x04", "an Excel workbook", "save the sheet as CSV, and queue it with `outboxd import`"),
        (b"[", "a JSON array", "write one object a line, or send the array as application/json"),
        (b"%PDF", "a PDF document", AS_OBJECTS),
    ];
    if let Some((_, what, fix)) = known.into_iter().find(|(mark, ..)| first.starts_with(mark)) {
        return Some((what, fix));
    }
    if let Some(found) = encoding(body) {
        return Some(found);
    }
    let is_cut_off = |line| matches!(json::parse(line), Err(JsonError::Malformed(error)) if error.is_eof());
    if first.starts_with(b"{") {
        let is_spread = first == b"{" || (is_cut_off(first) && json::parse(body).is_ok());
        let fix = "write each object on one line: `jq -c . FILE`";
        return is_spread.then_some(("JSON over several lines", fix));
    }
    if first.iter().any(|byte| matches!(byte, b',' | b';' | b'\t')) {
        return Some(("a CSV table", AS_OBJECTS));
    }
    let holds_none = json::parse(first).is_err() && !lines.any(|line| line.starts_with(b"{"));
    holds_none.then_some(("other text", AS_OBJECTS))
}

/// Parses a JSON object of options; an empty body has none.
pub(super) fn options<T: DeserializeOwned + Default + ToSchema>(body: &[u8]) -> Result<T, ApiError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    let value = json(body)?;
    if !value.is_object() {
        return Err(ApiError::bad_request(wrong_type("", "a JSON object, or no body", &value)));
    }
    fields(value).map_err(|wrong| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, wrong))
}

/// Parses an object. Refuses unknown fields, and types other than those of the schema.
pub(super) fn fields<T: DeserializeOwned + ToSchema>(value: Value) -> Result<T, Vec<FieldError>> {
    let Value::Object(mut object) = value else {
        return Err(vec![wrong_type("", "a JSON object", &value)]);
    };
    let schema = json!(T::schema());
    let known = &schema["properties"];
    let names = || known.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
    let fault = |(name, value): (&String, &Value)| match (&known[name]["type"], value) {
        (Value::Null, _) => Some(FieldError::unknown_field(name, names())),
        (_, Value::Null) => None,
        (types, Value::String(_)) if mentions(types, "string") => None,
        (types, Value::Bool(_)) if mentions(types, "boolean") => None,
        (types, Value::Number(number)) if mentions(types, "integer") && number.is_i64() => None,
        (types, Value::Array(items)) if mentions(types, "array") && items.iter().all(Value::is_string) => {
            None
        }
        (types, value) if mentions(types, "boolean") => Some(wrong_type(name, "true or false", value)),
        (types, value) if mentions(types, "integer") => Some(wrong_type(name, "a whole number", value)),
        (types, value) if mentions(types, "array") => Some(wrong_type(name, "an array of strings", value)),
        (_, value) => Some(wrong_type(name, "a string", value)),
    };
    let faults: Vec<FieldError> = object.iter().filter_map(fault).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    object.retain(|_, value| !value.is_null());
    serde_json::from_value(Value::Object(object)).map_err(|error| {
        vec![FieldError::new(FieldErrorCode::WrongType, "", error.to_string(), "see docs/http.md")]
    })
}

/// Returns whether the `type` of a schema is, or includes, `word`.
fn mentions(types: &Value, word: &str) -> bool {
    types == word || types.as_array().is_some_and(|types| types.iter().any(|one| one == word))
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;
    use crate::types::message::NewMessage;

    #[test]
    fn the_document_has_the_fields_of_a_message() {
        let schema = json!(NewMessage::schema());
        let mut documented: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let mut known = FIELDS.to_vec();
        documented.sort();
        known.sort_unstable();
        assert_eq!(documented, known);
    }
}
