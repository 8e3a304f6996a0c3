//! `GET /v1/events`: a page of events, or a stream of them as server-sent events.
//!
//! A stream is made as its client reads it, from the store, a page at a time: a client that stalls costs no memory and
//! holds nothing up, and `slow.rs` cuts it. A client that connects again with `Last-Event-ID` misses nothing.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{self, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use super::error::ApiError;
use super::{App, AppState, Parameters, query};
use crate::domain::event::EventFilter;
use crate::domain::field_error::{FieldError, FieldErrorCode};
use crate::store::{EVENT_PAGE, EventRange, EventTail};
use crate::types::event::{Event, EventPage};

/// Maximum number of streams at once.
pub(super) const STREAMS: usize = 32;

/// Time between two signs of life on a quiet stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Pages read for one answer: a filter that nothing passes must not read the whole queue.
const PAGES: usize = 20;

/// Default and maximum number of events per page.
const PAGE: [u32; 2] = [100, 500];

struct Asked {
    after: Option<i64>,
    filter: EventFilter,
    with_texts: bool,
    limit: u32,
}

pub(super) async fn events(
    State(state): App,
    headers: HeaderMap,
    Query(parameters): Parameters,
) -> Result<Response, ApiError> {
    let mut asked = asked(parameters)?;
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_stream = accepts.contains("text/event-stream");
    if is_stream && let Some(last) = headers.get("last-event-id").and_then(|id| id.to_str().ok()) {
        asked.after = Some(number("Last-Event-ID", last)?);
    }
    let range = state.store.event_range().await?;
    if let Some(after) = asked.after.filter(|after| *after > range.newest.unwrap_or(0)) {
        let newest = range.newest.unwrap_or(0);
        let problem = format!("is {after}, and the newest event is {newest}");
        let fix = "the queue is another one, or was restored from a backup: read again from the beginning";
        return Err(ApiError::invalid("after", problem, fix));
    }
    match is_stream {
        true => open(state, asked, range),
        false => page(&state, &asked, range).await.map(|page| Json(page).into_response()),
    }
}

fn asked(parameters: Vec<(String, String)>) -> Result<Asked, ApiError> {
    const KNOWN: [&str; 7] = ["after", "type", "account_id", "campaign", "message_id", "texts", "limit"];
    let mut asked = Asked { after: None, filter: EventFilter::default(), with_texts: false, limit: PAGE[0] };
    for (name, value) in parameters {
        match name.as_str() {
            "after" => asked.after = Some(number("after", &value)?),
            "type" => asked.filter.set_kinds("type", &value).map_err(ApiError::bad_request)?,
            "account_id" => asked.filter.account_id = Some(value),
            "campaign" => asked.filter.campaign = Some(value.trim().to_owned()),
            "message_id" => asked.filter.message_id = Some(value),
            "texts" => asked.with_texts = flag("texts", &value)?,
            "limit" => asked.limit = query::limit(&value, PAGE, "next_after")?,
            _unknown => return Err(ApiError::unknown_field(&name, KNOWN)),
        }
    }
    Ok(asked)
}

fn number(name: &str, text: &str) -> Result<i64, ApiError> {
    text.parse().ok().filter(|seq| *seq >= 0).ok_or_else(|| {
        let problem = format!("is not the number of an event: {text}");
        let fix = "give the `seq` of the last event that you have seen, or 0 for all";
        ApiError::invalid(name, problem, fix)
    })
}

fn flag(name: &str, text: &str) -> Result<bool, ApiError> {
    text.parse().map_err(|_| {
        let problem = format!("is neither true nor false: {text}");
        ApiError::invalid(name, problem, "write true or false")
    })
}

async fn page(state: &AppState, asked: &Asked, range: EventRange) -> Result<EventPage, ApiError> {
    let limit = usize::try_from(asked.limit).unwrap_or(usize::MAX);
    let (mut data, mut next_after) = (Vec::new(), asked.after.unwrap_or(0));
    for _ in 0..PAGES {
        let found = state.store.events_after(next_after, asked.with_texts).await?;
        let is_last = found.len() < EVENT_PAGE as usize;
        for event in found {
            if data.len() == limit {
                break;
            }
            next_after = event.seq;
            if asked.filter.wants(&event) {
                data.push(Event::from(event));
            }
        }
        if is_last || data.len() == limit {
            break;
        }
    }
    Ok(EventPage {
        data,
        next_after,
        oldest: range.oldest,
        newest: range.newest.map(|newest| newest.max(next_after)),
    })
}

/// Returns the newest events that pass the filter, newest first. It looks back over a bounded part of the queue, because
/// a filter may pass nothing.
pub(super) async fn latest(
    state: &AppState,
    parameters: Vec<(String, String)>,
    most: usize,
) -> Result<EventPage, ApiError> {
    let asked = asked(parameters)?;
    let range = state.store.event_range().await?;
    let newest = range.newest.unwrap_or(0);
    let (mut data, mut until) = (Vec::new(), newest);
    for _ in 0..PAGES {
        let after = (until - i64::from(EVENT_PAGE)).max(0);
        let found = state.store.events_after(after, false).await?;
        let wanted = found.into_iter().filter(|event| event.seq <= until && asked.filter.wants(event));
        data.extend(wanted.rev().map(Event::from));
        until = after;
        if data.len() >= most || until < range.oldest.unwrap_or(1) {
            break;
        }
    }
    data.truncate(most);
    Ok(EventPage { data, next_after: newest, oldest: range.oldest, newest: range.newest })
}

/// Opens a stream; without a number it begins with the next event.
fn open(state: Arc<AppState>, asked: Asked, range: EventRange) -> Result<Response, ApiError> {
    let Ok(permit) = Arc::clone(&state.event_streams).try_acquire_owned() else {
        let problem = format!("{STREAMS} streams of events are open, and no more are allowed");
        let fix = "close one, or read pages without Accept: text/event-stream";
        let refusal = FieldError::new(FieldErrorCode::Unavailable, "", problem, fix);
        return Err(ApiError::one(StatusCode::SERVICE_UNAVAILABLE, refusal));
    };
    let after = asked.after.unwrap_or(range.newest.unwrap_or(0));
    let oldest = range.oldest.unwrap_or(0);
    let lost = (after > 0 && after + 1 < oldest).then(|| {
        let lost = json!({ "after": after, "oldest": oldest });
        sse::Event::default().event("events.pruned").data(lost.to_string())
    });
    let tail = state.store.event_tail(after, asked.with_texts);
    let waiting = VecDeque::from_iter(lost);
    let stream = Streaming { state, tail, filter: asked.filter, waiting, _permit: permit };
    let headers = [(header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Sse::new(stream.into_stream())).into_response())
}

struct Streaming {
    state: Arc<AppState>,
    tail: EventTail,
    filter: EventFilter,
    /// Read and not yet written: at most a page.
    waiting: VecDeque<sse::Event>,
    /// Frees the place of the stream when it ends.
    _permit: OwnedSemaphorePermit,
}

impl Streaming {
    fn into_stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        stream::unfold(self, |mut streaming| async move {
            let event = streaming.next().await?;
            Some((Ok(event), streaming))
        })
    }

    /// Returns the next event or heartbeat; `None` when the daemon stops or the queue fails.
    async fn next(&mut self) -> Option<sse::Event> {
        let engine = self.state.engine.clone();
        let mut heartbeat = engine.clock().sleep(HEARTBEAT);
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            tokio::select! {
                found = self.tail.next(engine.clock()) => {
                    let found = found.inspect_err(|error| tracing::warn!(%error, "a stream of events ends")).ok()?;
                    let wanted = found.into_iter().filter(|event| self.filter.wants(event));
                    self.waiting.extend(wanted.map(|event| written(&Event::from(event))));
                }
                // Without data the client sees no event, but continues from here when it connects again.
                () = &mut heartbeat => {
                    let position = self.tail.position().to_string();
                    return Some(sse::Event::default().comment("heartbeat").id(position));
                }
                () = engine.stopping() => return None,
            }
        }
    }
}

fn written(event: &Event) -> sse::Event {
    let data = serde_json::to_string(event).unwrap_or_default();
    sse::Event::default().id(event.seq.to_string()).event(&event.kind).data(data)
}
