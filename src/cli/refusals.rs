//! What a command for many messages says of those that were refused: a few by name, and how many for each reason.
//!
//! `change.rs` gives it each answer of a command, and ends with its exit code.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::client::problem;
use super::exit::Exit;
use super::render;
use crate::types::command::BulkAnswer;

/// How many refused messages are reported one by one.
const SHOWN: u64 = 20;

/// How many reasons are counted, the most frequent first.
const REASONS: usize = 10;

/// The messages that were refused: the first [`SHOWN`] are reported one by one, and then each reason once.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// How many there were.
    refused: u64,
    /// How many of them have a result.
    listed: u64,
    /// How many have each reason.
    reasons: BTreeMap<String, u64>,
    /// How the command ends.
    exit: Option<Exit>,
}

impl Refusals {
    /// Reports the refused messages of an answer.
    pub(super) fn report(&mut self, answer: &BulkAnswer) {
        self.refused += answer.refused;
        for result in &answer.results {
            let Some(error) = &result.error else { continue };
            let is_shown = self.listed < SHOWN;
            self.listed += 1;
            for error in result.errors.as_deref().unwrap_or(std::slice::from_ref(error)) {
                if is_shown {
                    render::note(&format!("error: {}: {}", render::line(&result.id), problem(error)));
                }
            }
            *self.reasons.entry(problem(error)).or_default() += 1;
            let exit = if error.code == "not_found" { Exit::NotFound } else { Exit::Refused };
            self.exit.get_or_insert(exit);
        }
        if answer.refused > 0 {
            self.exit.get_or_insert(Exit::Refused);
        }
    }

    /// Reports how many were refused in all, if not each was shown. Returns how the command ends.
    pub(super) fn end(self) -> Exit {
        if self.refused > SHOWN.min(self.listed) {
            render::note(&format!("refused in all: {}", self.refused));
            let mut reasons: Vec<(String, u64)> = self.reasons.into_iter().collect();
            reasons.sort_by_key(|(_, count)| Reverse(*count));
            for (reason, count) in reasons.iter().take(REASONS) {
                render::note(&format!("  {count}: {reason}"));
            }
            let named: u64 = reasons.iter().take(REASONS).map(|(_, count)| count).sum();
            if self.refused > named {
                render::note(&format!("  {}: other reasons, or not listed", self.refused - named));
            }
        }
        self.exit.unwrap_or(Exit::Done)
    }
}
