//! Pages that a script repeats: however many of them are open, rendering takes little of a core.
//!
//! A page that a person asks for is rendered anew. A page that repeats itself says so, and gets the last rendering until the
//! page has rested for [`REST`] times as long as that rendering took. Viewers of one page share its renderings, and one that
//! shows the last rendering already gets no body.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::READ_ONLY;
use crate::http::App;

/// Header with which the script of a page repeats it: the number of the rendering that it shows, or another word.
const REPEATS: &str = "outboxd-repeat";
/// Header of an answer with the number of its rendering.
const RENDERING: &str = "outboxd-rendering";
/// The rest after a rendering, as a multiple of its time: about 0.2 % of a core for each page that is open somewhere, because
/// a rendering uses more than one core.
const REST: u32 = 1000;
/// The longest rest.
const MOST_REST: Duration = Duration::from_secs(10);
/// Pages whose last rendering is kept.
const MOST_PAGES: usize = 32;
/// Maximum size of a page that is kept, in bytes.
const MOST_BYTES: usize = 1 << 20;

/// The last rendering of each page that repeats itself.
#[derive(Debug, Default)]
pub(in crate::http) struct Renderings(Mutex<BTreeMap<String, Arc<Slot>>>);

/// One page.
#[derive(Debug)]
struct Slot {
    /// One rendering at a time.
    turn: Semaphore,
    last: Mutex<Option<Rendering>>,
}

#[derive(Debug, Clone)]
struct Rendering {
    /// On the monotonic clock.
    until: Duration,
    headers: HeaderMap,
    body: Bytes,
}

impl Renderings {
    /// Returns the place of a page; forgets the renderings whose rest is over if there are too many.
    fn slot(&self, page: &str, now: Duration) -> Arc<Slot> {
        let mut slots = self.0.lock().expect("nothing panics while holding it");
        if !slots.contains_key(page) && slots.len() >= MOST_PAGES {
            slots.retain(|_, slot| slot.fresh(now).is_some());
        }
        if slots.len() >= MOST_PAGES {
            slots.pop_first();
        }
        let new = || Arc::new(Slot { turn: Semaphore::new(1), last: Mutex::new(None) });
        Arc::clone(slots.entry(page.to_owned()).or_insert_with(new))
    }
}

impl Slot {
    /// Returns the last rendering while it may be shown.
    fn fresh(&self, now: Duration) -> Option<Rendering> {
        let last = self.last.lock().expect("nothing panics while holding it");
        last.clone().filter(|last| now < last.until)
    }
}

impl IntoResponse for Rendering {
    fn into_response(self) -> Response {
        (self.headers, Body::from(self.body)).into_response()
    }
}

/// Answers a page that repeats itself with its last rendering while that rests.
pub(super) async fn shared(State(state): App, request: Request, next: Next) -> Response {
    let shown = request.headers().get(REPEATS).filter(|_| request.method() == Method::GET).cloned();
    let Some(shown) = shown else { return next.run(request).await };
    let now = || state.engine.clock().monotonic();
    let is_read_only = request.headers().contains_key(READ_ONLY);
    let page = format!("{is_read_only} {}", request.uri());
    let slot = state.renderings.slot(&page, now());
    let _turn = slot.turn.acquire().await.expect("it is never closed");
    let begun = now();
    if let Some(last) = slot.fresh(begun) {
        let is_shown = last.headers.get(RENDERING) == Some(&shown);
        return if is_shown { StatusCode::NO_CONTENT.into_response() } else { last.into_response() };
    }
    let (mut parts, body) = next.run(request).await.into_parts();
    if parts.status != StatusCode::OK {
        return Response::from_parts(parts, body);
    }
    let Ok(body) = axum::body::to_bytes(body, MOST_BYTES).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // A time that no other rendering of this page began at.
    parts.headers.insert(RENDERING, u64::try_from(begun.as_nanos()).unwrap_or(u64::MAX).into());
    let rest = (now().saturating_sub(begun) * REST).min(MOST_REST);
    let rendering = Rendering { until: now() + rest, headers: parts.headers, body };
    *slot.last.lock().expect("nothing panics while holding it") = Some(rendering.clone());
    rendering.into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_renderings_are_kept_and_none_for_longer_than_its_rest() {
        let renderings = Renderings::default();
        let second = Duration::from_secs;
        for number in 0..100 {
            let slot = renderings.slot(&format!("/{number:03}"), second(number));
            let until = second(number + 2);
            let (headers, body) = (HeaderMap::new(), Bytes::new());
            *slot.last.lock().unwrap() = Some(Rendering { until, headers, body });
            assert!(renderings.0.lock().unwrap().len() <= MOST_PAGES);
        }
        let last = renderings.slot("/099", second(100));
        assert!(last.fresh(second(100)).is_some() && last.fresh(second(101)).is_none());
    }
}
