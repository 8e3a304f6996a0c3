//! A request in flight: reports to the breaker how it ended.

use std::sync::Arc;

use super::breaker::{Ended, Tally};
use super::{ApiGuard, Kind, State};
use crate::domain::message::AccountId;
use crate::domain::observed::Unread;
use crate::domain::outcome::{CANNOT_CONNECT, Heard, NOT_WRITTEN, ProviderError};
use crate::policy::settle::Blame;

/// A request in flight.
pub(in crate::engine) struct OpenCall {
    guard: Arc<ApiGuard>,
    account: AccountId,
    kind: Kind,
    began: Tally,
    has_ended: bool,
}

impl OpenCall {
    pub(super) fn new(guard: Arc<ApiGuard>, account: AccountId, kind: Kind, began: Tally) -> Self {
        Self { guard, account, kind, began, has_ended: false }
    }

    /// Records how the call ended; returns who is to blame for a failure.
    pub(in crate::engine) fn ended(mut self, problem: Option<&ProviderError>) -> Blame {
        self.has_ended = true;
        let mut heard = problem.map_or(Heard::Answer, ProviderError::heard);
        let no_connection =
            problem.is_some_and(|problem| [CANNOT_CONNECT, NOT_WRITTEN].contains(&problem.kind.as_str()));
        let (is_send, is_snapshot) = (self.kind == Kind::Send, self.kind == Kind::Snapshot);
        let now = self.guard.clock.monotonic();
        let mut state = self.guard.state();
        if self.is_typing() && heard != Heard::Neither && !no_connection {
            state.typing.ended(heard == Heard::Answer, now);
            // A failure says nothing about sends, which do not depend on it.
            heard = if heard == Heard::Answer { heard } else { Heard::Neither };
        }
        let ended = Ended { heard, is_send, is_snapshot, no_connection, began: self.began };
        let State { breaker, dice, .. } = &mut *state;
        let was_open = breaker.is_open();
        let behind = is_send && problem.is_some_and(ProviderError::is_provider_trouble);
        let (blame, closed) = match behind && heard == Heard::Answer {
            true => breaker.provider_failed(&self.account, self.began, now, dice),
            false => breaker.ended(&self.account, ended, now, dice),
        };
        let opened = breaker.is_open() && !was_open;
        if closed {
            state.closed = true;
            self.guard.changed.notify_one();
        }
        // An answer may release sends that waited for one, and a failure may make a probe due.
        self.guard.grant(&mut state, now, None);
        drop(state);
        if let Some(problem) = problem.filter(|_| opened) {
            tracing::warn!(%problem, "the Unipile API fails: nothing is sent until it answers a read again");
        }
        blame
    }

    /// Records that the typing indicator was not shown in time; the message does not wait for it.
    pub(in crate::engine) fn typing_missed(mut self) {
        self.has_ended = true;
        let now = self.guard.clock.monotonic();
        self.guard.state().typing.ended(false, now);
    }

    fn is_typing(&self) -> bool {
        matches!(self.kind, Kind::Typing { .. })
    }

    /// Records how a read ended, like `ended`.
    pub(in crate::engine) fn ended_read<T>(self, read: &Result<T, Unread>) -> Blame {
        self.ended(read.as_ref().err().map(|unread| &*unread.problem))
    }
}

impl Drop for OpenCall {
    /// A call whose task was dropped or panicked says nothing about the API, but it no longer holds up other sends.
    fn drop(&mut self) {
        if self.kind == Kind::Send && !self.has_ended {
            let mut state = self.guard.state();
            state.breaker.send_lost();
            self.guard.grant(&mut state, self.guard.clock.monotonic(), None);
        }
    }
}
