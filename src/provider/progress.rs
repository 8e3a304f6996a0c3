//! How much of a call's body was handed to the connection: what was not handed over as a whole reached nobody (P2).
//!
//! Kept by the caller as well, which may have to give a call up. Looking ends the handing over: a connection works on in
//! the background when its caller has left, and would otherwise send what was just taken for not sent.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::TryStreamExt;
use futures_util::stream::Stream;

/// How much of a body was handed to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// Nothing, so nothing of it left.
    Nothing,
    /// A part, so the rest certainly did not leave.
    Part,
    /// All of it, so that it may have left; or nobody watched.
    All,
}

/// Shared by whoever makes a call and whoever waits for it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Bytes of the body, once the call has begun.
    length: Option<u64>,
    handed: u64,
    stopped: bool,
}

impl Progress {
    /// From now on nothing more is handed over; answers how much was.
    pub fn stop(&self) -> Handed {
        let mut state = self.state();
        state.stopped = true;
        match (state.length, state.handed) {
            (Some(_), 0) => Handed::Nothing,
            (Some(length), handed) if handed < length => Handed::Part,
            _ => Handed::All,
        }
    }

    /// `body`, which has `length` bytes, watched. It ends with an error once it is stopped.
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
        assert_eq!(Progress::default().stop(), Handed::All, "nobody watched");
    }
}
