//! Verdicts on the rows of a request, and the answer with all of them.
//!
//! `messages_in.rs` and `forecast.rs` use it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::message::MessageId;
use crate::domain::state::StateName;
use crate::store::{Clash, Enqueued, Repeat};
use crate::types::{self, message::Verdict};

/// The verdict on one row.
pub(super) enum RowVerdict {
    Accepted(MessageId),
    /// The state of the message that was queued before, and the fields in which it differs.
    Duplicate(MessageId, Option<StateName>, Vec<&'static str>),
    Refused(Vec<FieldError>, Option<MessageId>),
}

/// Returns the error for a key that belongs to message `id`, which is in `state`.
pub(super) fn dedupe_conflict(id: MessageId, state: Option<StateName>) -> FieldError {
    let state = state.map(|state| format!(" and is `{}`", state.as_str())).unwrap_or_default();
    let problem = format!("belongs to message {id}, which says something else{state}");
    FieldError::new(
        FieldErrorCode::DedupeConflict,
        "dedupe_key",
        problem,
        "use another key for another message",
    )
}

pub(super) fn repeated(repeat: &Repeat) -> FieldError {
    let fix = "write something else, or set `allow_repeat`";
    FieldError::new(FieldErrorCode::RepeatedText, "text", repeat.to_string(), fix)
}

/// Returns the error for a row that clashes with another row of the request, which has no message either.
pub(super) fn beside(clash: Clash) -> FieldError {
    let (code, field, problem, fix) = match clash {
        Clash::Text(account) => {
            let same = "is the same as in another message of this request to this person";
            let of = account.map(|account| format!(", of the account {account}")).unwrap_or_default();
            let fix = "write something else, or set `allow_repeat`";
            (FieldErrorCode::RepeatedText, "text", format!("{same}{of}"), fix)
        }
        Clash::Key => {
            let problem = "belongs to another message of this request, which says something else";
            let fix = "use another key for another message";
            (FieldErrorCode::DedupeConflict, "dedupe_key", problem.to_owned(), fix)
        }
    };
    FieldError::new(code, field, problem, fix)
}

pub(super) fn suppressed() -> FieldError {
    let problem = "is for a person on the suppression list";
    let fix = "leave it out; `outboxd suppress check` says since when, or that the person was erased";
    FieldError::new(FieldErrorCode::Suppressed, "", problem, fix)
}

/// Returns the error for a step that does not follow the one before: `why` says how.
pub(super) fn out_of_step(why: &str) -> FieldError {
    let (problem, fix) = why.split_once("; ").unwrap_or((why, ""));
    FieldError::new(FieldErrorCode::OutOfStep, "step", problem, fix)
}

/// Returns the messages whose keys were used again.
pub(super) fn taken(verdicts: &[Enqueued]) -> Vec<MessageId> {
    let taken = verdicts.iter().filter_map(|verdict| match verdict {
        Enqueued::Duplicate(id) | Enqueued::Conflict(id) => Some(*id),
        Enqueued::Accepted(_)
        | Enqueued::Repeat(_)
        | Enqueued::Suppressed
        | Enqueued::OutOfStep(_)
        | Enqueued::Beside(_)
        | Enqueued::Refused => None,
    });
    taken.collect()
}

/// Returns the fields in which a message that was queued before differs, as an answer shows them.
pub(super) fn differing(fields: &[&str]) -> Option<Vec<String>> {
    (!fields.is_empty()).then(|| fields.iter().map(ToString::to_string).collect())
}

/// Returns the verdict on a refused row.
pub(super) fn refused_row(
    index: usize,
    line: Option<usize>,
    refusals: &[FieldError],
    existing: Option<MessageId>,
) -> Verdict {
    let errors: Vec<_> = refusals.iter().map(types::error::FieldError::from).collect();
    Verdict {
        index,
        error: errors.first().cloned(),
        errors: Some(errors),
        line,
        existing_id: existing.map(|id| id.to_string()),
        ..Verdict::default()
    }
}

pub(super) fn batch_refused() -> RowVerdict {
    let fix = "fix the others and send the batch again";
    let problem = "another row of this all-or-none batch was refused";
    RowVerdict::Refused(vec![FieldError::new(FieldErrorCode::BatchRefused, "", problem, fix)], None)
}

/// Returns the verdict on a good row, if another row of the same person was refused.
pub(super) fn person_refused() -> RowVerdict {
    RowVerdict::Refused(vec![told_person_refused()], None)
}

pub(super) fn told_person_refused() -> FieldError {
    let fix = "fix that one and send all messages of the person again";
    let problem = "another message of this person was refused";
    FieldError::new(FieldErrorCode::BatchRefused, "", problem, fix)
}

pub(super) fn batch_answer(
    lines: &[Option<usize>],
    verdicts: &[Option<RowVerdict>],
    atomic: bool,
) -> Response {
    let (mut accepted, mut duplicates, mut refused) = (0, 0, 0);
    // Each row is written at once: as a tree, the answer to 90,000 rows takes over 100 MB.
    let mut results = String::new();
    for (index, (line, verdict)) in lines.iter().zip(verdicts).enumerate() {
        let row = match verdict {
            Some(RowVerdict::Accepted(id)) => {
                accepted += 1;
                Verdict { index, id: Some(id.to_string()), ..Verdict::default() }
            }
            Some(RowVerdict::Duplicate(id, state, differs)) => {
                duplicates += 1;
                let (id, state) = (Some(id.to_string()), state.map(|state| state.as_str().to_owned()));
                let differs = differing(differs);
                Verdict { index, id, duplicate: Some(true), state, differs, ..Verdict::default() }
            }
            Some(RowVerdict::Refused(refusals, existing)) => {
                refused += 1;
                refused_row(index, *line, refusals, *existing)
            }
            None => Verdict { index, ..Verdict::default() },
        };
        results.push_str(if index > 0 { "," } else { "" });
        results.push_str(&serde_json::to_string(&row).expect("a verdict is JSON"));
    }
    let status = if atomic && refused > 0 { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let body = format!(
        "{{\"accepted\":{accepted},\"duplicates\":{duplicates},\"refused\":{refused},\"results\":[{results}]}}"
    );
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
