//! Tracks how much of a call's body was handed to the connection. A body that was not handed over completely cannot
//! have reached a recipient (P2).
//!
//! The caller keeps a copy, because it may have to abandon the call. Reading the progress ends the handover: a
//! connection continues in the background after its caller has left, and could otherwise send a body just classified
//! as not sent.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::TryStreamExt;
use futures_util::stream::Stream;

/// How much of a body was handed to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// Nothing, so no part of it was sent.
    Nothing,
    /// A part, so the rest was certainly not sent.
    Part,
    /// All of it, so that it may have been sent; or progress was not tracked.
    All,
}

/// Shared by the task that makes a call and the task that waits for it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Length of the body in bytes, once the call has begun.
    length: Option<u64>,
    handed: u64,
    stopped: bool,
}

impl Progress {
    /// Ends the handover. Returns how much was handed over.
    pub fn stop(&self) -> Handed {
        let mut state = self.state();
        state.stopped = true;
        match (state.length, state.handed) {
            (Some(_), 0) => Handed::Nothing,
            (Some(length), handed) if handed < length => Handed::Part,
            _ => Handed::All,
        }
    }

    /// Wraps `body`, which has `length` bytes, to track it. It ends with an error once it is stopped.
    pub(super) fn watch<B>(
        &self,
        length: u64,
        body: B,
    ) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + use<B>
    where
        B: Stream<Item = io::Result<Vec<u8>>> + Send,
    {
        self.state().length = Some(length);
        let progress = self.clone();
        body.and_then(move |chunk| std::future::ready(progress.hand(chunk)))
    }

    fn hand(&self, chunk: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        if state.stopped {
            return Err(io::Error::other("the call was given up"));
        }
        state.handed += chunk.len() as u64;
        Ok(chunk)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt, stream};

    use super::*;

    #[test]
    fn what_is_not_handed_over_when_one_looks_never_is() {
        for (taken, expected) in [(0, Handed::Nothing), (1, Handed::Part), (2, Handed::All)] {
            let progress = Progress::default();
            let body = stream::iter([Ok(vec![0; 3]), Ok(vec![0; 2])]);
            let mut body = Box::pin(progress.watch(5, body));
            for _ in 0..taken {
                body.next().now_or_never().unwrap().unwrap().unwrap();
            }
            assert_eq!(progress.stop(), expected);
            let more = body.next().now_or_never().unwrap();
            assert!(more.is_none_or(|more| more.is_err()), "{expected:?}");
        }
        assert_eq!(Progress::default().stop(), Handed::All, "no watcher");
    }
}
