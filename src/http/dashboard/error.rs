//! A refusal as a page: what is wrong, and what to do.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::frame::{Frame, html};
use crate::http::error::ApiError;
use crate::store::StoreError;
use crate::types::error::{ErrorBody, FieldError};

/// Why a page cannot be shown, or an action was not done.
pub(super) struct PageError {
    status: StatusCode,
    body: Box<ErrorBody>,
}

#[derive(Template)]
#[template(path = "error.html")]
struct Page {
    frame: Frame,
    status: u16,
    body: Box<ErrorBody>,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let page = Page { frame: Frame::of_an_error(), status: self.status.as_u16(), body: self.body };
        (self.status, html(&page)).into_response()
    }
}

impl PageError {
    /// Returns the page for a command that was refused; there is at least one reason.
    pub(super) fn refused(errors: Vec<FieldError>) -> Self {
        match errors.first().cloned() {
            Some(error) => {
                let body = Box::new(ErrorBody { error, errors, existing_id: None });
                Self { status: StatusCode::CONFLICT, body }
            }
            None => ApiError::internal().into(),
        }
    }
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        Self { status: error.status(), body: Box::new(error.body()) }
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        ApiError::from(error).into()
    }
}
