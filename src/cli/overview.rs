//! The daemon's part of `outboxd status`: its overall state, what prevents all sending, and the exit code for
//! scripts.
//!
//! `status.rs` adds the accounts.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;

use super::exit::Exit;
use super::{render, times};
use crate::types::account::Pause;
use crate::types::states;
use crate::types::status::{Recovered, Status};

impl Status {
    /// Returns the exit code for scripts: whether the daemon accepts messages, and whether it can send them.
    pub(super) fn exit(&self) -> Exit {
        match &self.ready {
            Some(ready) if !ready.take_in.ok => Exit::CannotTakeIn,
            Some(ready) if !ready.send.ok => Exit::CannotSend,
            _ => Exit::Done,
        }
    }

    fn lines_dropped(&self) -> Option<String> {
        let dropped = self.log_lines_dropped;
        let lines = if dropped == 1 { "line was" } else { "lines were" };
        let why = "what reads the log is too slow, or its disk is full";
        (dropped > 0).then(|| format!("{dropped} log {lines} dropped since the start: {why}"))
    }

    /// Returns everything that concerns the daemon as a whole.
    pub(super) fn text(&self) -> String {
        let since = times::length(self.now.duration_since(*self.started_at));
        let mut shown = format!("outboxd {} (pid {}), running for {since}", self.version, self.pid);
        shown = render::line(&shown) + "\n";
        shown += &render::pairs(&[
            ("queue", self.queue.path.clone()),
            ("messages", counts(&self.queue.counts)),
            ("last start", self.recovered.text()),
        ]);
        let mut troubles = self.troubles();
        troubles.extend(self.lines_dropped());
        for trouble in troubles.iter().chain(&self.warnings) {
            shown += &format!("warning: {}\n", render::line(trouble));
        }
        shown
    }

    /// Returns what prevents all sending.
    fn troubles(&self) -> Vec<String> {
        let paused = self
            .paused
            .as_ref()
            .map(|paused| format!("all sending is paused{}", paused.text(&TimeZone::system())));
        let refused = self.key_refused.as_ref().map(|refused| {
            let problem = match refused.problem.as_str() {
                "" => String::new(),
                problem => format!(": {problem}"),
            };
            format!("Unipile refuses the API key or the subscription{problem}")
        });
        let api = Some(&self.api).filter(|api| !api.reachable).map(|api| {
            let next = api.next_try_at.map(|at| format!(", next try {}", times::distance(*at, *self.now)));
            let failures = if api.failures == 1 { "failure" } else { "failures" };
            format!(
                "the Unipile API cannot be reached ({} {failures}{})",
                api.failures,
                next.unwrap_or_default()
            )
        });
        let blocked = self.queue.blocked_since.map(|at| {
            let long = times::length(self.now.duration_since(*at));
            let who = self.queue.blocked_by.as_deref().unwrap_or("another program");
            format!("{who} has kept the queue locked for {long}, so nothing is sent")
        });
        [paused, refused, api, blocked].into_iter().flatten().collect()
    }
}

impl Pause {
    /// Formats beginning, end and reason of the pause.
    pub(super) fn text(&self, zone: &TimeZone) -> String {
        let since = self.since.map(|at| format!(" since {}", times::full_in(Some(at), zone)));
        let until = match self.until {
            Some(at) => format!(" until {}", times::full_in(Some(at), zone)),
            None => " until it is resumed".to_owned(),
        };
        let note = self.note.as_ref().filter(|note| !note.is_empty()).map(|note| format!(": {note}"));
        format!("{}{until}{}", since.unwrap_or_default(), note.unwrap_or_default())
    }
}

impl Recovered {
    /// Formats what the daemon recovered at its start.
    fn text(&self) -> String {
        let before = if self.clean_stop { "after a clean stop" } else { "after a crash or a kill" };
        let stale = if self.stale > 0 { format!(", {} stale", self.stale) } else { String::new() };
        let (uncertain, replanned) = (self.uncertain, self.replanned);
        format!("{before}: 0 sending, {uncertain} uncertain, {replanned} re-planned, 0 flushed{stale}")
    }
}

/// Formats counts as `118 queued, 2040 sent`.
pub(super) fn counts(counts: &BTreeMap<String, u64>) -> String {
    let order = states();
    let known = order.iter().filter_map(|state| counts.get_key_value(*state));
    let others = counts.iter().filter(|(state, _)| !order.contains(&state.as_str()));
    let shown: Vec<String> = known
        .chain(others)
        .filter(|(_, number)| **number > 0)
        .map(|(state, number)| format!("{number} {state}"))
        .collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}
