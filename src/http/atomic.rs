//! Which rows of a request are stored together or not at all: `?atomic=` of `POST /v1/messages` and `POST /v1/forecast`.

use std::collections::{HashMap, HashSet};

use axum::http::StatusCode;

use super::AppState;
use super::error::ApiError;
use super::input::InputRow;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::ids;
use crate::domain::message::NewMessage;
use crate::store::EnqueueMode;

/// Takes `atomic` out of the parameters of a query.
pub(super) fn atomic(parameters: &mut Vec<(String, String)>) -> Result<EnqueueMode, ApiError> {
    let mut mode = EnqueueMode::Each;
    for (_, value) in parameters.iter().filter(|(name, _)| name == "atomic") {
        mode = match value.as_str() {
            "true" => EnqueueMode::All,
            "person" => EnqueueMode::Person,
            "false" => EnqueueMode::Each,
            other => {
                let problem = format!("is {other:?}");
                return Err(ApiError::invalid("atomic", problem, "give true, person or false"));
            }
        };
    }
    parameters.retain(|(name, _)| name != "atomic");
    Ok(mode)
}

/// Returns which rows are refused because another row is, by place. Rows of a person go together under every name of
/// the person that the queue knows.
pub(super) async fn spoiled(
    state: &AppState,
    rows: &mut [InputRow],
    mode: EnqueueMode,
) -> Result<HashSet<usize>, ApiError> {
    let are_bad = rows.iter().any(|row| row.message.is_err());
    if mode == EnqueueMode::Each || (mode == EnqueueMode::All && !are_bad) {
        return Ok(HashSet::new());
    }
    if mode == EnqueueMode::All {
        return Ok((0..rows.len()).collect());
    }
    let mut messages: Vec<&mut NewMessage> =
        rows.iter_mut().filter_map(|row| row.message.as_mut().ok()).collect();
    state.store.address(&mut messages).await?;
    let bad = rows.iter().filter(|row| row.message.is_err()).filter_map(|row| row.person.as_deref());
    let names: HashSet<&str> = bad.collect();
    let ids = names.iter().filter_map(|name| ids::person_key("users_ids", name).ok());
    let mut people: HashSet<String> = ids.map(|id| format!("user:{id}")).collect();
    let named = |row: &&InputRow| row.person.as_deref().is_some_and(|name| names.contains(name));
    people.extend(rows.iter().filter(named).filter_map(one_person));
    let is_spoiled = |row: &InputRow| one_person(row).is_some_and(|person| people.contains(&person));
    Ok((0..rows.len()).filter(|place| is_spoiled(&rows[*place])).collect())
}

/// Splits rows into parts of at least `most`, each row with its place. All rows of a person are in one part, if they are
/// stored together.
///
/// # Errors
/// Returns an error if a person has more rows than one transaction takes.
pub(super) fn parts(
    state: &AppState,
    rows: Vec<InputRow>,
    mode: EnqueueMode,
) -> Result<Vec<Vec<(usize, InputRow)>>, ApiError> {
    let most = if mode == EnqueueMode::All { rows.len().max(1) } else { state.batch_rows };
    let mut people: HashMap<String, (usize, Option<usize>)> = HashMap::new();
    for person in rows.iter().filter(|_| mode == EnqueueMode::Person).filter_map(one_person) {
        people.entry(person).or_default().0 += 1;
    }
    let longest = people.values().map(|(count, _)| *count).max().unwrap_or_default();
    if mode == EnqueueMode::All && rows.len() > state.atomic_rows {
        let problem = format!("{} rows in an atomic batch, {} are allowed", rows.len(), state.atomic_rows);
        return Err(too_long(problem));
    }
    if longest > state.atomic_rows {
        let problem = format!("{longest} rows of one person, {} are allowed", state.atomic_rows);
        return Err(too_long(problem));
    }
    let mut parts: Vec<Vec<(usize, InputRow)>> = Vec::new();
    let mut filled = most;
    for (place, row) in rows.into_iter().enumerate() {
        let person = one_person(&row).and_then(|person| people.get_mut(&person));
        if let Some((_, Some(part))) = person {
            parts[*part].push((place, row));
            continue;
        }
        if filled >= most {
            parts.push(Vec::new());
            filled = 0;
        }
        filled += person.as_ref().map_or(1, |(count, _)| *count);
        let last = parts.len() - 1;
        if let Some((_, part)) = person {
            *part = Some(last);
        }
        parts[last].push((place, row));
    }
    Ok(parts)
}

/// Returns how to store `messages`: rows of different people need no transaction of their own.
pub(super) fn mode_of(messages: &[NewMessage], mode: EnqueueMode) -> EnqueueMode {
    let mut people = HashSet::new();
    let mut named = messages.iter().filter_map(|message| message.target.one_person());
    match mode {
        EnqueueMode::Person if named.all(|person| people.insert(person)) => EnqueueMode::Each,
        mode => mode,
    }
}

fn one_person(row: &InputRow) -> Option<String> {
    row.message.as_ref().ok()?.target.one_person()
}

fn too_long(problem: String) -> ApiError {
    let fix = "send smaller batches, or leave ?atomic out";
    let refusal = FieldError::new(FieldErrorCode::TooLong, "", problem, fix);
    ApiError::one(StatusCode::PAYLOAD_TOO_LARGE, refusal)
}
