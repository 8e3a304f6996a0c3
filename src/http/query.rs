//! Query strings: the filter of a list of messages, page sizes, cursors.

use jiff::Timestamp;

use super::error::ApiError;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::ids;
use crate::domain::message::{AccountId, Seq};
use crate::domain::reason::Reason;
use crate::domain::state::StateName;
use crate::store::MessageFilter;

/// The field of an answer with the cursor of the next page.
pub(super) const NEXT: &str = "next_cursor";
/// Default and maximum number of messages per page.
const PAGE: [u32; 2] = [50, 500];

/// Parses the query parameters of a list.
pub(super) fn filter(parameters: Vec<(String, String)>) -> Result<MessageFilter, ApiError> {
    const KNOWN: [&str; 12] = [
        "account_id",
        "state",
        "campaign",
        "chat_id",
        "person",
        "dedupe_key",
        "id_end",
        "reason",
        "since",
        "until",
        "limit",
        "cursor",
    ];
    let mut filter = MessageFilter { limit: PAGE[0], ..MessageFilter::default() };
    for (name, value) in parameters {
        match name.as_str() {
            "account_id" => filter.account_id = Some(AccountId::new(value.trim())),
            "campaign" => filter.campaign = Some(value.trim().to_owned()),
            "chat_id" => filter.chat_id = Some(value.trim().to_owned()),
            "person" => {
                let key = ids::person_key("person", &value).map_err(ApiError::bad_request)?;
                filter.person = Some(vec![key]);
            }
            "dedupe_key" => filter.dedupe_key = Some(value),
            "id_end" => filter.id_end = Some(id_end(&value)?),
            "state" => filter.states.extend(states(&value)?),
            "reason" => filter.reason = Some(reason(&value)?),
            "since" => filter.since = Some(time("since", &value)?),
            "until" => filter.until = Some(time("until", &value)?),
            "limit" => filter.limit = limit(&value, PAGE, NEXT)?,
            "cursor" => filter.before = Some(cursor(&value)?),
            _unknown => return Err(ApiError::unknown_field(&name, KNOWN)),
        }
    }
    Ok(filter)
}

/// Parses the end of the id of a message.
fn id_end(text: &str) -> Result<String, ApiError> {
    let is_end = (8..=36).contains(&text.len()) && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
    let problem = "is not the end of the id of a message";
    let refusal = FieldError::new(
        FieldErrorCode::InvalidValue,
        "id_end",
        problem,
        "give its last 8 characters, or more",
    );
    is_end.then(|| text.to_ascii_lowercase()).ok_or_else(|| ApiError::bad_request(refusal))
}

pub(super) fn reason(code: &str) -> Result<Reason, ApiError> {
    Reason::parse(code).ok_or_else(|| {
        let all: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        let fix = match crate::domain::field_error::nearest(code, &all) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "docs/reasons.md lists the codes".to_owned(),
        };
        let problem = format!("is not a reason: {code}");
        ApiError::invalid("reason", problem, fix)
    })
}

fn time(name: &str, text: &str) -> Result<Timestamp, ApiError> {
    crate::domain::parse_time(text).ok_or_else(|| {
        let problem = format!("is not a time: {text}");
        let fix = "write RFC 3339 with a zone, such as 2026-11-22T09:21:00.000Z";
        ApiError::invalid(name, problem, fix)
    })
}

pub(super) fn states(words: &str) -> Result<Vec<StateName>, ApiError> {
    let state = |word: &str| {
        StateName::parse(word.trim()).ok_or_else(|| {
            let all = StateName::ALL.map(StateName::as_str);
            let fix = match crate::domain::field_error::nearest(word, &all) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("use one of: {}", all.join(", ")),
            };
            let problem = format!("is not a state: {word}");
            ApiError::invalid("state", problem, fix)
        })
    };
    words.split(',').map(state).collect()
}

/// Parses the number of entries per page, of which a page has `usual` if it is left out; `next` is the field of the answer
/// with which the next page is asked for.
pub(super) fn limit(text: &str, [usual, most]: [u32; 2], next: &str) -> Result<u32, ApiError> {
    text.parse().ok().filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
        let problem = format!("is not a number from 1 to {most}: {text}");
        let fix = format!("leave it out for {usual}, and follow {next} for more");
        ApiError::invalid("limit", problem, fix)
    })
}

/// Returns the error for a cursor that no page gave.
pub(super) fn bad_cursor() -> ApiError {
    let fix = "give `next_cursor` of the previous page, unchanged";
    ApiError::invalid("cursor", "is not a cursor", fix)
}

fn cursor(text: &str) -> Result<Seq, ApiError> {
    text.parse().map(Seq).map_err(|_| bad_cursor())
}
