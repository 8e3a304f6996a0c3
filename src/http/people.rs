//! People endpoints: everything about one person.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::body::Id;
use super::error::ApiError;
use super::{AppState, messages, stops};
use crate::domain::ids;
use crate::domain::person::Distance;
use crate::domain::stop::StopScope;
use crate::store::{self, MessageFilter, StopFilter};
use crate::types::person::{Person, PersonOnAccount};

/// Maximum number of messages, and of stops, that are shown with a person.
const SHOWN: u32 = 50;

pub(super) async fn show(State(state): State<Arc<AppState>>, Id(id): Id) -> Result<Json<Person>, ApiError> {
    let keys = keys(&state, &id).await?;
    let accounts = state.store.person_on_accounts(&keys).await?;
    let mut stops = Vec::new();
    for key in &keys {
        let (scope, key) = (Some(StopScope::Person), Some(key.clone()));
        let filter = StopFilter { scope, key, limit: SHOWN, ..StopFilter::default() };
        stops.extend(state.store.stops(&filter).await?.into_iter().map(stops::row));
    }
    if accounts.is_empty() && stops.is_empty() {
        return Err(ApiError::not_found("person", &id));
    }
    // The latest account to have heard of the person knows the names best.
    let named = accounts.iter().filter_map(|one| one.known.as_ref()).max_by_key(|known| known.at);
    let named = named.map(|known| known.person.clone());
    let public_identifier = named.as_ref().and_then(|person| person.public_identifier.clone());
    let of_url = public_identifier.as_ref().map(|name| format!("https://www.linkedin.com/in/{name}"));
    let filter = MessageFilter { person: Some(keys.clone()), limit: SHOWN, ..MessageFilter::default() };
    let page = messages::page(&state, &filter).await?;
    Ok(Json(Person {
        id: keys.first().cloned().unwrap_or(id),
        public_identifier,
        profile_url: named.as_ref().and_then(|person| person.profile_url.clone()).or(of_url),
        name: named.and_then(|person| person.name),
        accounts: accounts.into_iter().map(on_account).collect(),
        stops,
        messages: page.data,
        next_cursor: page.next_cursor,
    }))
}

fn on_account(one: store::PersonOnAccount) -> PersonOnAccount {
    let known = one.known;
    let person = known.as_ref().map(|known| &known.person);
    PersonOnAccount {
        account_id: one.account_id.as_str().to_owned(),
        distance: person.and_then(|person| person.distance).map(|at| Distance::as_str(at).to_owned()),
        can_send_inmail: person.and_then(|person| person.can_send_inmail),
        is_open_profile: person.and_then(|person| person.is_open_profile),
        read_at: known.as_ref().and_then(|known| known.read_at).map(Into::into),
        chats: one.chats,
        counts: one.counts.into_iter().map(|(state, n)| (state.to_owned(), n)).collect(),
        sent_at: one.sent_at.map(Into::into),
        replied_at: one.replied_at.map(Into::into),
    }
}

/// Returns the keys of the person that `id` names: a user id, a public name, the address of a profile, or a URN.
pub(super) async fn keys(state: &AppState, id: &str) -> Result<Vec<String>, ApiError> {
    let key = ids::person_key("id", id).map_err(ApiError::bad_request)?;
    Ok(state.store.person_keys(&key).await?)
}
