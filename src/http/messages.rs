//! Endpoints for queued messages: list, show, explain. `commands.rs` changes them.
//!
//! `messages_in.rs` accepts new ones.

use axum::Json;
use axum::extract::{Query, State};

use super::body::Id;
use super::error::{ApiError, Missing};
use super::{Answer, App, AppState, Parameters, query, render};
use crate::domain::message::MessageId;
use crate::domain::state::StateName;
use crate::engine::WaitStatus;
use crate::store::{MessageFilter, MessageView};
use crate::types::Page;
use crate::types::explanation::Explanation;
use crate::types::message::{ListedMessage, MessageDetail};

pub(super) async fn list(State(state): App, Query(parameters): Parameters) -> Answer<Page<ListedMessage>> {
    let mut filter = query::filter(parameters)?;
    if let Some(key) = filter.person.iter().flatten().next() {
        let keys = state.store.person_keys(key).await?;
        if filter.states.is_empty() || filter.states.contains(&StateName::Rejected) {
            filter.rejected = state.store.rejected_of(&keys).await?;
        }
        filter.person = Some(keys);
    }
    page(&state, &filter).await.map(Json)
}

/// Returns the page of messages that `filter` selects.
pub(super) async fn page(state: &AppState, filter: &MessageFilter) -> Result<Page<ListedMessage>, ApiError> {
    let page = state.store.messages(filter, state.engine.now()).await?;
    let wait_statuses = state.engine.wait_statuses(&page.messages).await?;
    let row = |(view, wait_status): (MessageView, WaitStatus)| ListedMessage {
        attempts: view.attempts.into(),
        message: render::message(view, wait_status),
    };
    let data = page.messages.into_iter().zip(wait_statuses).map(row).collect();
    Ok(Page { data, next_cursor: page.next.map(|seq| seq.0.to_string()) })
}

pub(super) async fn show(State(state): App, Id(id): Id) -> Answer<MessageDetail> {
    let message = find(&state, &id).await?;
    detail(&state, message).await.map(Json)
}

/// Renders a message with its text, its attempts and what was found out about them.
pub(super) async fn detail(state: &AppState, mut message: MessageView) -> Result<MessageDetail, ApiError> {
    let attempts = state.store.attempts(message.seq).await?;
    if usize::try_from(message.attempts).is_ok_and(|known| known != attempts.len()) {
        // It was sent between the two reads. Reading it again makes it at least as new as its attempts.
        message = find(state, &message.id.to_string()).await?;
    }
    let wait_status = state.engine.explain(&message).await?.wait_status;
    let evidence = state.store.evidence(message.seq).await?;
    Ok(MessageDetail {
        text: message.text.clone().filter(|_| message.pruned_at.is_none()),
        zone: Some(render::zone(&state.engine.policy(&message.account.id).zone).to_owned()),
        attempts: attempts.into_iter().map(|attempt| render::attempt(attempt, &evidence)).collect(),
        evidence: evidence.iter().map(render::evidence).collect(),
        message: render::message(message, wait_status),
        choices: None,
    })
}

pub(super) async fn explain(State(state): App, Id(id): Id) -> Answer<Explanation> {
    let message = find(&state, &id).await?;
    let explanation = state.engine.explain(&message).await?;
    let attempts = state.store.attempts(message.seq).await?;
    let evidence = state.store.evidence(message.seq).await?;
    let expected = state.engine.expected(&message).await?;
    let explanation = explanation.with_earliest(expected.map(|[earliest, _, _]| earliest));
    Ok(Json(render::explanation(&message, &explanation, (&attempts, &evidence), expected)))
}

pub(super) async fn find(state: &AppState, id: &str) -> Result<MessageView, ApiError> {
    let message = state.store.message(parse(id)?, state.engine.now()).await?;
    message.ok_or_else(|| ApiError::not_found(Missing::Message, id))
}

/// Parses a message id; an invalid id is reported as an unknown message.
pub(super) fn parse(id: &str) -> Result<MessageId, ApiError> {
    id.parse().map_err(|_| ApiError::not_found(Missing::Message, id))
}
