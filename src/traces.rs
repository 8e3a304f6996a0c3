//! Traces: what happened to a message from its enqueueing to its end, as spans.
//!
//! The trace id is the message's id, and the id of its first span follows from it, so a process that continues with the message
//! after a restart continues its trace. `http`, `intake` and `engine` record spans; `app/traces.rs` exports them, if the
//! configuration asks for it. Recording never waits: while the exporter is behind, spans are dropped and counted. No span
//! holds a text, a person or a key (P8).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::domain::message::MessageId;
use crate::domain::state::StateName;

/// Spans that wait for the exporter, at most.
const WAITING: usize = 4096;

/// The span of the whole message; every other span of its trace is below it.
pub const MESSAGE: &str = "message";

/// Part of the way of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The message.
    pub message: MessageId,
    /// What happened: `enqueue`, `admit`, `wait`, `typing`, `attempt`, `reconcile`, or [`MESSAGE`].
    pub name: &'static str,
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub until: Timestamp,
    /// Names and values.
    pub attributes: Vec<(&'static str, String)>,
    /// Whether it failed.
    pub is_error: bool,
}

impl Span {
    /// Returns a span that did not fail.
    pub fn new(message: MessageId, name: &'static str, from: Timestamp, until: Timestamp) -> Self {
        Self { message, name, from, until: until.max(from), attributes: Vec::new(), is_error: false }
    }

    /// Adds an attribute.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }
}

/// Records spans, if an exporter takes them.
#[derive(Debug, Default)]
pub struct Traces {
    sender: OnceLock<mpsc::Sender<Span>>,
    dropped: AtomicU64,
}

impl Traces {
    /// Returns what is recorded from now on; `None` if another exporter has that already.
    pub fn open(&self) -> Option<mpsc::Receiver<Span>> {
        let (sender, receiver) = mpsc::channel(WAITING);
        self.sender.set(sender).ok().map(|()| receiver)
    }

    /// Returns whether spans are exported.
    pub fn are_on(&self) -> bool {
        self.sender.get().is_some()
    }

    /// Records the span that `span` returns, if spans are exported.
    pub fn record(&self, span: impl FnOnce() -> Span) {
        if let Some(sender) = self.sender.get()
            && sender.try_send(span()).is_err()
        {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records the span of a whole message, if `state` ends it.
    pub fn ended(&self, message: MessageId, state: StateName, now: Timestamp) {
        if matches!(state, StateName::Sent | StateName::Failed) {
            let whole =
                || Span::new(message, MESSAGE, made_at(message, now), now).with("state", state.as_str());
            self.record(|| Span { is_error: state == StateName::Failed, ..whole() });
        }
    }

    /// Returns how many spans were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Returns when a message was made, as its id says; `otherwise` if a producer chose an id without a time.
pub fn made_at(message: MessageId, otherwise: Timestamp) -> Timestamp {
    let made = message.0.get_timestamp().and_then(|time| {
        let (seconds, nanoseconds) = time.to_unix();
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
    });
    made.map_or(otherwise, |made| made.min(otherwise))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_dropped_while_the_exporter_is_behind_and_cost_nothing_without_one() {
        let traces = Traces::default();
        traces.record(|| unreachable!("no exporter takes it"));
        let mut exporter = traces.open().unwrap();
        assert!(traces.are_on() && traces.open().is_none());
        let now = Timestamp::UNIX_EPOCH;
        let id = MessageId(uuid::Uuid::nil());
        for _ in 0..WAITING + 3 {
            traces.record(|| Span::new(id, "wait", now, now).with("reason", "gap"));
        }
        assert_eq!(traces.dropped(), 3);
        assert_eq!(exporter.try_recv().unwrap().attributes, [("reason", "gap".to_owned())]);
    }

    #[test]
    fn an_id_of_version_7_says_when_the_message_was_made() {
        let now: Timestamp = "2026-11-27T10:00:00Z".parse().unwrap();
        let v7 = MessageId("01a21c14-f2fb-7464-8630-3ef717d29ba0".parse().unwrap());
        assert_eq!(made_at(v7, now).to_string(), "2026-11-27T08:17:44.699Z");
        let v4 = MessageId("8fd7c1b2-5b0a-4d57-9a49-0d8a3e0f7d11".parse().unwrap());
        assert_eq!(made_at(v4, now), now);
    }
}
