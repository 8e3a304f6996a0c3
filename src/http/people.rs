//! People endpoints: everything about one person.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::body::{Id, Options};
use super::error::{ApiError, Missing};
use super::{Answer, App, AppState, messages, stops, wire};
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::domain::ids;
use crate::domain::person::Distance;
use crate::domain::stop::StopScope;
use crate::store::{self, MessageFilter, StopFilter};
use crate::types::person::{EraseRequest, Erased, InboundMessage, Person, PersonOnAccount};

/// Maximum number of messages, and of stops, that are shown with a person.
const SHOWN: u32 = 50;

/// Longest note, in characters.
const LONGEST_NOTE: usize = 500;

pub(super) async fn show(State(state): App, Id(id): Id) -> Answer<Person> {
    let keys = keys(&state, &id).await?;
    let rejected = state.store.rejected_of(&keys).await?;
    let accounts = state.store.person_on_accounts(&keys, &rejected).await?;
    let scope = Some(StopScope::Person);
    let filter = StopFilter { scope, keys: keys.clone(), limit: SHOWN, ..StopFilter::default() };
    let stops = state.store.stops(&filter, state.engine.now()).await?;
    let stops: Vec<_> = stops.into_iter().map(stops::row).collect();
    let erased_at = state.store.erased_at(&keys).await?.map(Into::into);
    if accounts.is_empty() && stops.is_empty() && erased_at.is_none() {
        return Err(ApiError::not_found(Missing::Person, &id));
    }
    // The latest account to have heard of the person knows the names best.
    let named = accounts.iter().filter_map(|one| one.known.as_ref()).max_by_key(|known| known.at);
    let named = named.map(|known| known.person.clone());
    let public_identifier = named.as_ref().and_then(|person| person.public_identifier.clone());
    let of_url = public_identifier.as_ref().map(|name| format!("https://www.linkedin.com/in/{name}"));
    let filter =
        MessageFilter { person: Some(keys.clone()), rejected, limit: SHOWN, ..MessageFilter::default() };
    let page = messages::page(&state, &filter).await?;
    Ok(Json(Person {
        id: keys.first().cloned().unwrap_or(id),
        public_identifier,
        profile_url: named.as_ref().and_then(|person| person.profile_url.clone()).or(of_url),
        name: named.and_then(|person| person.name),
        erased_at,
        accounts: accounts.into_iter().map(on_account).collect(),
        stops,
        inbound: state.store.inbound_of_person(&keys).await?.into_iter().map(inbound).collect(),
        messages: page.data,
        next_cursor: page.next_cursor,
    }))
}

/// Erases a person, even if the client hangs up.
pub(super) async fn erase(State(state): App, Id(id): Id, Options(body): Options) -> Answer<Erased> {
    let EraseRequest { note } = wire::options(&body)?;
    if note.as_ref().is_some_and(|note| note.chars().count() > LONGEST_NOTE) {
        let problem = format!("is longer than {LONGEST_NOTE} characters");
        let refusal = FieldError::new(FieldErrorCode::TooLong, "note", problem, "shorten it");
        return Err(ApiError::one(StatusCode::UNPROCESSABLE_ENTITY, refusal));
    }
    let keys = keys(&state, &id).await?;
    // The user id comes first, if it is known.
    let name = keys.iter().find_map(|key| ids::name_of(key));
    let named_only =
        keys.first().is_some_and(|key| ids::name_of(key).is_some() || ids::possible_name(key).is_some());
    let name = name.filter(|_| named_only).map(str::to_owned);
    let work = Arc::clone(&state);
    let erased = state.spawn_detached(async move {
        let (now, _dating) = work.engine.settled().await;
        Ok(work.store.erase(keys, note, now).await?)
    });
    let erased = erased.await?;
    Ok(Json(Erased {
        messages: erased.messages,
        cancelled: erased.cancelled,
        files: erased.files,
        accounts: erased.people,
        inbound: erased.inbound,
        stops: erased.stops,
        unsettled: erased.unsettled.iter().map(ToString::to_string).collect(),
        unresolved: name.filter(|_| erased.people == 0),
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

fn inbound(one: store::InboundMessage) -> InboundMessage {
    let store::InboundMessage { account_id, chat_id, message_id, at, kind, text } = one;
    InboundMessage { account_id, chat_id, message_id, at: at.into(), kind, text }
}

/// Returns the keys of the person that `id` names: a user id, a public name, the address of a profile, or a URN.
pub(super) async fn keys(state: &AppState, id: &str) -> Result<Vec<String>, ApiError> {
    let key = ids::person_key("id", id).map_err(ApiError::bad_request)?;
    Ok(state.store.person_keys(&key).await?)
}
