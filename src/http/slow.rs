//! Connections, of a socket or TCP, that are cut if their client stops reading, or does not send a request in time.
//!
//! An answer, or a stream of events, is made as the client reads it, so a client that stalls holds little memory; but it
//! must not hold its connection for ever: the files that a process may open are few. `drain.rs` does the same for bodies.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::rt::Timer;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts the time within which a client must go on reading.
pub type Patience = Arc<dyn Fn() -> Wait + Send + Sync>;

/// Returns a future that completes after `duration`. It is the time of the machine: a test that moves the daemon's clock by
/// days must not cut clients.
pub(super) fn pass(duration: Duration) -> Wait {
    let sleep = TokioTimer::new().sleep(duration);
    Box::pin(sleep)
}

/// How long a client may take to send the head of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From the start of the connection, or from the first byte of a later request.
    pub(super) head: Duration,
    /// Between two requests.
    pub(super) idle: Duration,
}

/// The times of every connection.
pub(super) const TIMES: Times = Times { head: Duration::from_secs(15), idle: Duration::from_mins(5) };

/// The requests of one connection, of which one at a time is answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    is_busy: AtomicBool,
    /// Wakes the connection's task when the request is answered. HTTP reads ahead before it drops the answer's body, and
    /// would not look again until the client sends something.
    answered: Mutex<Option<Waker>>,
}

impl Requests {
    /// Records that the head of a request was read; the request lasts until the result is dropped.
    pub(super) fn begin(&self) -> Busy {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.is_busy.store(true, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Returns what the connection is used for.
    pub(super) fn stage(&self) -> Stage {
        match self.0.begun.load(Ordering::Relaxed) {
            _ if self.is_busy() => Stage::Busy,
            0 => Stage::First,
            _ => Stage::Between,
        }
    }

    fn is_busy(&self) -> bool {
        self.0.is_busy.load(Ordering::Relaxed)
    }
}

/// What a connection is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The head of its first request is awaited.
    First,
    /// A request is answered.
    Busy,
    /// A request was answered, and the head of the next one is awaited.
    Between,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Requests);

impl Drop for Busy {
    fn drop(&mut self) {
        let counts = &self.0.0;
        counts.is_busy.store(false, Ordering::Relaxed);
        if let Some(waker) = counts.answered.lock().expect("nothing panics while holding it").take() {
            waker.wake();
        }
    }
}

/// A connection.
pub(super) struct Connection<S> {
    stream: S,
    patience: Patience,
    /// Runs while a write waits for the client.
    stalled: Option<Wait>,
    times: Times,
    requests: Requests,
    /// Number of requests that had begun when the present wait for a head began.
    after: usize,
    /// Whether a byte of the next head has come.
    has_begun: bool,
    /// Runs while the next head, or the rest of it, is awaited.
    awaited: Option<Wait>,
}

impl<S> Connection<S> {
    /// Wraps the stream of a client whose requests are counted in `requests`.
    pub(super) fn new(stream: S, patience: Patience, times: Times, requests: Requests) -> Self {
        Self { stream, patience, stalled: None, times, requests, after: 0, has_begun: false, awaited: None }
    }

    fn in_time<T>(&mut self, context: &mut Context<'_>, written: Poll<Result<T>>) -> Poll<Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let patience = &self.patience;
        let stalled = self.stalled.get_or_insert_with(|| patience());
        stalled
            .as_mut()
            .poll(context)
            .map(|()| Err(Error::new(ErrorKind::TimedOut, "the client reads nothing")))
    }

    /// Fails if the client does not send a head in time. A body, and a client that awaits its answer, have other limits.
    fn poll_awaited(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let begun = self.requests.0.begun.load(Ordering::Relaxed);
        if begun != self.after || self.requests.is_busy() {
            (self.after, self.has_begun, self.awaited) = (begun, false, None);
        }
        if self.requests.is_busy() {
            let waker = Some(context.waker().clone());
            *self.requests.0.answered.lock().expect("nothing panics while holding it") = waker;
            return Poll::Pending;
        }
        let is_idle = self.after > 0 && !self.has_begun;
        let within = if is_idle { self.times.idle } else { self.times.head };
        ready!(self.awaited.get_or_insert_with(|| pass(within)).as_mut().poll(context));
        Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "the client sends no request")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            return self.poll_awaited(context);
        }
        if buffer.filled().len() > before && !self.has_begun {
            self.has_begun = true;
            // The time of a new connection goes on: it began with the connection.
            if self.after > 0 {
                self.awaited = None;
            }
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.in_time(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
