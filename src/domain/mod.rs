//! The words of the house as types: what a message, an account, a state, a reason and an outcome are.
//!
//! Everybody may name this module and it names nobody: no I/O, no clock, no async, no wire format.
//! The edges (HTTP, SQL, command line, Unipile's JSON) own their wire types and turn them into these once.

pub mod account;
pub mod attachment;
pub mod calendar;
pub mod caps;
pub mod facts;
pub mod lane;
pub mod message;
pub mod outcome;
pub mod policy;
pub mod reason;
pub mod refusal;
pub mod rule_text;
pub mod seen;
pub mod specifics;
pub mod state;
pub mod validate;
pub mod waiting;

/// Writes a time as every table, answer and log shows it: UTC, RFC 3339, whole milliseconds, fixed width.
///
/// Fixed width makes text order the order of time.
pub fn time_text(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

/// `at` without its fraction of a millisecond, towards the past: the precision of every stored time.
pub fn whole_milliseconds(at: jiff::Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}
