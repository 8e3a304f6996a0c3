//! `/search?q=…`: the page of the thing with exactly this name: a message by id or key, an account, a chat, a campaign or
//! a person.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::command::{path, query};
use super::error::PageError;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::http::body::Id;
use crate::http::error::ApiError;
use crate::http::{App, AppState, accounts, campaigns, messages, people};

pub(super) async fn search(
    State(state): App,
    Query(asked): Query<BTreeMap<String, String>>,
) -> Result<Response, PageError> {
    let sought = asked.get("q").map(|sought| sought.trim()).unwrap_or_default();
    if sought.is_empty() {
        return Ok(Redirect::to("/messages").into_response());
    }
    let found = find(&state, sought).await?.ok_or_else(|| {
        let fix = "give a whole id, key, label or user id; lists show them";
        let problem = format!("nothing is called {sought:?}");
        ApiError::one(StatusCode::NOT_FOUND, FieldError::new(FieldErrorCode::NotFound, "", problem, fix))
    })?;
    Ok(Redirect::to(&found).into_response())
}

async fn find(state: &Arc<AppState>, sought: &str) -> Result<Option<String>, PageError> {
    let of_it = || (State(Arc::clone(state)), Id(sought.to_owned()));
    let (at, id) = of_it();
    if exists(messages::show(at, id).await)? {
        return Ok(Some(path("/messages", &[sought])));
    }
    let (at, id) = of_it();
    if exists(accounts::show(at, id).await)? {
        return Ok(Some(path("/accounts", &[sought])));
    }
    for name in ["dedupe_key", "chat_id"] {
        let asked = vec![(name.to_owned(), sought.to_owned()), ("limit".to_owned(), "1".to_owned())];
        let page = messages::list(State(Arc::clone(state)), Query(asked)).await?.0;
        if !page.data.is_empty() {
            return Ok(Some(query("/messages", &[(name, sought)])));
        }
    }
    if exists(campaigns::named(state, sought).await)? {
        return Ok(Some(path("/campaigns", &[sought])));
    }
    let (at, id) = of_it();
    Ok(exists(people::show(at, id).await)?.then(|| path("/people", &[sought])))
}

/// Returns whether something has this name; a name that cannot be one has nothing.
fn exists<T>(answer: Result<T, ApiError>) -> Result<bool, PageError> {
    match answer {
        Ok(_) => Ok(true),
        Err(error) if error.status().is_client_error() => Ok(false),
        Err(error) => Err(error.into()),
    }
}
