//! Errors of the HTTP API, in one form: problem, field and fix (P7).
//!
//! Every handler returns [`ApiError`]; errors of the store become 503.

use axum::Json;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::state::StateName;
use crate::store::StoreError;
use crate::types::{self, error::ErrorBody};

/// A refused request.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    refusals: Vec<FieldError>,
    existing_id: Option<String>,
    code: Option<&'static str>,
}

/// What an id does not name.
#[derive(Debug, Clone, Copy)]
pub(super) enum Missing {
    Message,
    Account,
    Campaign,
    Person,
    Hook,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, refusals: Vec<FieldError>) -> Self {
        Self { status, refusals, existing_id: None, code: None }
    }

    pub(super) fn one(status: StatusCode, refusal: FieldError) -> Self {
        Self::new(status, vec![refusal])
    }

    pub(super) fn bad_request(refusal: FieldError) -> Self {
        Self::one(StatusCode::BAD_REQUEST, refusal)
    }

    /// Returns the error for a value that the request must not have.
    pub(super) fn invalid(field: &str, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::bad_request(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix))
    }

    /// Returns the error for a parameter or a header of which only one could count.
    pub(super) fn given_twice(name: &str) -> Self {
        Self::bad_request(FieldError::new(
            FieldErrorCode::DuplicateField,
            name,
            "is given twice",
            "give it once",
        ))
    }

    pub(super) fn unknown_field<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        Self::bad_request(FieldError::unknown_field(name, known))
    }

    pub(super) fn not_found(what: Missing, id: &str) -> Self {
        let (what, fix) = match what {
            Missing::Message => ("message", "give the id that queueing returned; lists of messages show it"),
            Missing::Account => {
                ("account", "an account exists from its first message on, or if the configuration names it")
            }
            Missing::Campaign => ("campaign", "a campaign exists from its first message on; check the label"),
            Missing::Hook => ("receiver of events", "`outboxd hook list` shows those of the configuration"),
            Missing::Person => (
                "person",
                "give the user id, public name or address of a profile of a person who was written to, was stopped or wrote",
            ),
        };
        let problem = format!("names no {what}: {id}");
        Self::one(StatusCode::NOT_FOUND, FieldError::new(FieldErrorCode::NotFound, "id", problem, fix))
    }

    pub(super) fn conflict(existing_id: String, refusal: FieldError) -> Self {
        Self { existing_id: Some(existing_id), ..Self::one(StatusCode::CONFLICT, refusal) }
    }

    /// Returns the refusal of a command: a conflict with what the queue holds, or a field that is wrong.
    pub(super) fn of_command(errors: Vec<FieldError>, existing_id: Option<String>) -> Self {
        let is_conflict = errors.iter().any(|error| {
            matches!(
                error.code,
                FieldErrorCode::WrongState
                    | FieldErrorCode::RepeatedText
                    | FieldErrorCode::Suppressed
                    | FieldErrorCode::DedupeConflict
            )
        });
        let status = if is_conflict { StatusCode::CONFLICT } else { StatusCode::UNPROCESSABLE_ENTITY };
        Self { existing_id, ..Self::new(status, errors) }
    }

    /// Returns the error for a message in `state`; `but` is the clause that says what is not possible.
    pub(super) fn wrong_state(state: StateName, but: &str) -> Self {
        let problem = format!("is {} and {but}", state.as_str());
        let fix = match state {
            StateName::Sending => "its call is on its way; look again when it has an outcome",
            StateName::Uncertain => "its chat is being read back; look again when that is over",
            StateName::New | StateName::Queued | StateName::Review => {
                "it waits; explain says for what, and cancel takes it back"
            }
            StateName::Sent
            | StateName::Failed
            | StateName::Cancelled
            | StateName::Expired
            | StateName::Rejected => "nothing is left to do",
        };
        Self::one(StatusCode::CONFLICT, FieldError::new(FieldErrorCode::WrongState, "id", problem, fix))
    }

    /// Returns the error for a failure that no request should be able to cause.
    pub(super) fn internal() -> Self {
        let refusal =
            FieldError::new(FieldErrorCode::InvalidValue, "", "the daemon failed", "look into its log");
        Self { code: Some("internal"), ..Self::one(StatusCode::INTERNAL_SERVER_ERROR, refusal) }
    }

    /// Returns the error for a request that its sender may not make.
    pub(super) fn access(status: StatusCode, code: &'static str, problem: &str, fix: &str) -> Self {
        let refusal = FieldError::new(FieldErrorCode::InvalidValue, "", problem, fix);
        Self { code: Some(code), ..Self::one(status, refusal) }
    }

    /// Returns the error for a request that this daemon does not take from there.
    pub(super) fn forbidden(problem: String, fix: &str) -> Self {
        Self::access(StatusCode::FORBIDDEN, "forbidden", &problem, fix)
    }

    /// Returns the status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    fn unavailable(problem: &str, fix: &str) -> Self {
        Self::one(
            StatusCode::SERVICE_UNAVAILABLE,
            FieldError::new(FieldErrorCode::Unavailable, "", problem, fix),
        )
    }

    /// Returns the problems, for the verdict on a row of a batch whose earlier rows are stored.
    pub(super) fn into_refusals(self) -> Vec<FieldError> {
        self.refusals
    }

    /// Returns the problems as the API writes them.
    pub(super) fn body(self) -> ErrorBody {
        let mut errors: Vec<types::error::FieldError> = self.refusals.iter().map(Into::into).collect();
        if let (Some(code), Some(first)) = (self.code, errors.first_mut()) {
            first.code = code.to_owned();
        }
        let error = errors.first().expect("a refusal says why").clone();
        ErrorBody { error, errors, existing_id: self.existing_id }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body())).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::unavailable(
                "another program keeps the database locked, so this was not done",
                "end its transaction and try again",
            ),
            StoreError::Closed => Self::unavailable("the daemon is stopping", "try again when it runs"),
            other => {
                let why = other.chain();
                tracing::error!(error = why, "a request failed in the queue");
                let problem = format!("the queue failed, so this was not done: {why}");
                Self::unavailable(&problem, "see to its disk, and try again")
            }
        }
    }
}

pub(super) async fn no_such_path(uri: Uri) -> ApiError {
    let problem = format!("there is no path {}", uri.path());
    let refusal = FieldError::new(FieldErrorCode::NotFound, "", problem, "see docs/http.md");
    ApiError { code: Some("no_such_path"), ..ApiError::one(StatusCode::NOT_FOUND, refusal) }
}

pub(super) async fn no_such_method(uri: Uri) -> ApiError {
    let problem = format!("{} does not take this method", uri.path());
    let refusal = FieldError::new(FieldErrorCode::InvalidValue, "", problem, "see docs/http.md");
    ApiError { code: Some("method_not_allowed"), ..ApiError::one(StatusCode::METHOD_NOT_ALLOWED, refusal) }
}
