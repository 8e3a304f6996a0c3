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

    /// Returns everything that concerns the daemon as a whole.
    pub(super) fn text(&self) -> String {
        let since = times::length(self.now.duration_since(*self.started_at));
        let mut shown: String =
            self.notices.iter().map(|notice| format!("notice: {}", notice.text())).collect();
        let daemon = format!("outboxd {} (pid {}), running for {since}", self.version, self.pid);
        shown += &(render::line(&daemon) + "\n");
        shown += &render::pairs(&[
            ("queue", self.queue.path.clone()),
            ("messages", counts(&self.queue.counts)),
            ("last start", self.recovered.text()),
        ]);
        for warning in &self.warnings {
            shown += &format!("warning: {}\n", render::line(warning));
        }
        shown
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
        let stale = if self.stale > 0 { format!(", {} stale", self.stale) } else { String::new() };
        let (uncertain, replanned) = (self.uncertain, self.replanned);
        format!("{}: {uncertain} uncertain, {replanned} re-planned{stale}", self.before())
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
