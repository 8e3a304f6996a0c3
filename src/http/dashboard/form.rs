//! What a form of a page sends: fields, empty ones as if they were not given.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Form;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::Serialize;

use super::error::PageError;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::http::AppState;
use crate::http::body::Options;
use crate::http::error::ApiError;

/// The fields of a form.
pub(super) struct Fields(HashMap<String, String>);

impl Fields {
    /// Returns a field that was filled in.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)
    }

    /// Returns a field as it is, if the form has it.
    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns whether a person has read what it will do, and said yes.
    pub(super) fn is_confirmed(&self) -> bool {
        self.get("confirmed").as_deref() == Some("yes")
    }

    /// Returns the filled-in fields among `names`, to ask again.
    pub(super) fn those<'a>(&self, names: &[&'a str]) -> Vec<(&'a str, String)> {
        names.iter().filter_map(|name| Some((*name, self.get(name)?))).collect()
    }
}

impl FromRequest<Arc<AppState>> for Fields {
    type Rejection = PageError;

    async fn from_request(request: Request, state: &Arc<AppState>) -> Result<Self, PageError> {
        let form = Form::<HashMap<String, String>>::from_request(request, state).await;
        form.map(|Form(fields)| Self(fields)).map_err(|_| {
            let (problem, fix) = ("the form cannot be read", "go back and send it again");
            let refusal = FieldError::new(FieldErrorCode::InvalidValue, "", problem, fix);
            PageError::from(ApiError::bad_request(refusal))
        })
    }
}

/// Returns a request as the body that the handler of the API reads.
pub(super) fn body(request: &impl Serialize) -> Result<Options, PageError> {
    let bytes = serde_json::to_vec(request).map_err(|_| PageError::from(ApiError::internal()))?;
    Ok(Options(bytes.into()))
}

/// Returns the refusal of a verb that a page does not have.
pub(super) fn no_such_verb(verb: &str) -> PageError {
    let (problem, fix) = (format!("there is no action {verb:?}"), "go back and use a button of the page");
    let refusal = FieldError::new(FieldErrorCode::NotFound, "", problem, fix);
    PageError::from(ApiError::one(StatusCode::NOT_FOUND, refusal))
}
