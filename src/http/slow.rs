//! Connections, of a socket or TCP, that are cut if their client stops reading.
//!
//! An answer, or a stream of events, is made as the client reads it, so a client that stalls holds little memory; but it
//! must not hold its connection for ever.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts the time within which a client must go on reading.
pub type Patience = Arc<dyn Fn() -> Wait + Send + Sync>;

/// A listener whose connections are cut if a write makes no progress.
pub(super) struct Impatient {
    pub(super) listener: UnixListener,
    pub(super) patience: Patience,
}

impl Listener for Impatient {
    type Io = Connection<UnixStream>;
    type Addr = <UnixListener as Listener>::Addr;

    async fn accept(&mut self) -> (Connection<UnixStream>, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Connection::new(stream, Arc::clone(&self.patience)), address)
    }

    fn local_addr(&self) -> Result<Self::Addr> {
        Listener::local_addr(&self.listener)
    }
}

/// A connection.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    patience: Patience,
    /// Runs while a write waits for the client.
    stalled: Option<Wait>,
}

impl<S> Connection<S> {
    pub(super) fn new(stream: S, patience: Patience) -> Self {
        Self { stream, patience, stalled: None }
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
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
