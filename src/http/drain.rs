//! Drains request bodies that no handler read, for every path and answer.
//!
//! If a server answers and closes while the client still writes, many clients lose the answer to a broken pipe. So
//! each body is wrapped: if a handler drops it before its end (a path that takes no body, an unknown path, a
//! refusal), a separate task reads the rest, up to [`MOST`] bytes and [`LONGEST`].
//!
//! A body of which nothing comes for [`STALLED`] ends with an error, so that its client does not hold its connection for
//! ever.

use std::io::{Error, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt};

use super::slow::pass;
use super::{App, AppState};

/// Maximum number of bytes drained from one body.
const MOST: usize = 1 << 30;

/// Maximum time spent on draining one body.
const LONGEST: Duration = Duration::from_secs(10);

/// How long a body may make no progress.
pub(super) const STALLED: Duration = Duration::from_secs(30);

/// Wraps the body of every request that has one.
pub(super) async fn drain(State(state): App, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let wrap =
        |body: Body| Body::from_stream(Drained { body: Some(body.into_data_stream()), stalled: None, state });
    next.run(request.map(wrap)).await
}

/// A body that is read to its end even if it is dropped earlier.
struct Drained {
    body: Option<BodyDataStream>,
    /// Runs while the body makes no progress.
    stalled: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    state: Arc<AppState>,
}

impl Stream for Drained {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let mut polled = body.poll_next_unpin(context);
        if polled.is_ready() {
            self.stalled = None;
        } else if self.stalled.get_or_insert_with(|| pass(STALLED)).as_mut().poll(context).is_ready() {
            let error = Error::new(ErrorKind::TimedOut, "nothing of the body came in time");
            polled = Poll::Ready(Some(Err(axum::Error::new(error))));
        }
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        polled
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        let engine = self.state.engine.clone();
        self.state.tasks.spawn(async move {
            let read = async {
                let mut bytes = 0_usize;
                while let Some(Ok(data)) = body.next().await {
                    bytes = bytes.saturating_add(data.len());
                    if bytes > MOST {
                        return;
                    }
                }
            };
            tokio::select! {
                () = read => {}
                () = engine.clock().sleep(LONGEST) => {}
                () = engine.stopping() => {}
            }
        });
    }
}
