//! What an import would do: some messages as they would be sent, and every refused row. The daemon says the rest
//! (`POST /v1/forecast`).

use std::collections::HashSet;

use serde_json::Value;

use super::batch::{Batch, Differing, RefusedRows, States, learn};
use super::people::Plan;
use super::sheet::Row;
use crate::types::forecast::{Assumed, KeptAccount};

/// The horizon of the forecast, in days: enough for 20 steps of 14 days.
pub(crate) const DAYS: u32 = 366;
/// Size of the request for the forecast, in bytes, below the default of `api.body_bytes`.
const BYTES: usize = 24 << 20;
/// Messages that are shown, or one of each step if there are more steps.
const SHOWN: usize = 3;

/// A message as it would be sent.
#[derive(Debug, Clone)]
pub(crate) struct Example {
    /// The line of its row.
    pub(crate) line: u64,
    /// The message as the JSON of `POST /v1/messages`.
    pub(crate) message: Value,
}

/// What an import would do.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    /// People who would get a message that is not in the queue yet, and the number of these messages.
    pub(crate) people: usize,
    pub(crate) messages: usize,
    /// The states of the messages that were queued before.
    pub(crate) before: States,
    /// Those of them that say something else.
    pub(crate) differing: Vec<Differing>,
    pub(crate) refused: RefusedRows,
    /// The rows that repeat a person, and the line of the earlier row.
    pub(crate) repeats: Vec<(usize, u64)>,
    pub(crate) examples: Vec<Example>,
    /// The line at which the table was cut, if it is too long for one forecast.
    pub(crate) cut_at: Option<u64>,
}

impl Rehearsal {
    /// Judges the rows of a table for a forecast, as many as one request takes.
    pub(crate) fn judge(plan: &mut Plan, rows: &[Row]) -> Batch {
        Batch::up_to(plan, rows, 0, (usize::MAX, BYTES))
    }

    /// Tells `plan` which rows the daemon refused. Returns whether later rows of the same people count instead, so that the
    /// rows must be judged again.
    pub(crate) fn has_second_rows(plan: &mut Plan, rows: &[Row], batch: &Batch, assumed: &Assumed) -> bool {
        let refused = batch.answered(plan, &assumed.refused).refused;
        let has = !learn(plan, rows, &batch.repeats, refused.iter().map(|(row, why)| (row, why))).is_empty();
        if has {
            plan.start_again();
        }
        has
    }

    /// Returns what an import of these rows would do, with what the daemon said to their messages.
    pub(crate) fn new(plan: &Plan, rows: &[Row], batch: Batch, assumed: &Assumed) -> Self {
        let by_daemon = batch.answered(plan, &assumed.refused).refused;
        let refused: RefusedRows = batch.refused.iter().cloned().chain(by_daemon).collect();
        let known = batch.answered(plan, &assumed.existing);
        let old: HashSet<usize> = assumed.existing.iter().map(|verdict| verdict.index).collect();
        let lines = batch.lines().enumerate().map(|(index, (row, _, line))| (index, row, line));
        let new: Vec<(usize, usize, &str)> =
            lines.filter(|(index, row, _)| !refused.contains_key(row) && !old.contains(index)).collect();
        let mut people: Vec<usize> = new.iter().map(|(_, row, _)| *row).collect();
        people.dedup();
        Self {
            people: people.len(),
            messages: new.len(),
            before: known.before,
            differing: known.differing,
            examples: examples(&new, rows, &assumed.kept),
            cut_at: rows.get(batch.next).map(|row| row.line),
            repeats: batch.repeats.clone(),
            refused,
        }
    }
}

/// Returns the messages to show of those that are new (place, row, JSON): all of the first person, then the first of
/// others.
fn examples(new: &[(usize, usize, &str)], rows: &[Row], kept: &[KeptAccount]) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut last = None;
    for (index, row, line) in new {
        let is_first_person = found.first().is_none_or(|first| first.line == rows[*row].line);
        if is_first_person || (last != Some(*row) && found.len() < SHOWN) {
            let Ok(mut message) = serde_json::from_str::<Value>(line) else { continue };
            if let Some(kept) = kept.iter().find(|kept| kept.index == *index) {
                message["account_id"] = kept.account_id.as_str().into();
            }
            found.push(Example { line: rows[*row].line, message });
        } else if found.len() >= SHOWN {
            break;
        }
        last = Some(*row);
    }
    found
}

impl Example {
    /// Returns a field that is text; nothing if it is not there.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.message[field].as_str().unwrap_or_default()
    }

    /// Returns to whom it goes.
    pub(crate) fn recipient(&self) -> &str {
        if self.message["users_ids"].is_string() { self.text("users_ids") } else { self.text("chat_id") }
    }
}
