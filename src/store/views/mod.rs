//! The views: what people and the engine read of the queue. A view may name the transitions, whose rows it reads; it
//! changes nothing.
//!
//! - For the engine: `candidates.rs` and `ledger.rs` before each call, `queue.rs` for a forecast.
//! - For people: `messages.rs` (`message_page.rs`), `accounts.rs`, `campaigns.rs`, `people.rs`, `stops.rs`, `totals.rs`.
//! - For programs: `events.rs`, `gauges.rs`.

pub(super) mod accounts;
pub(super) mod campaigns;
pub(super) mod candidates;
pub(super) mod events;
pub(super) mod gauges;
pub(super) mod ledger;
pub(super) mod message_page;
pub(super) mod messages;
pub(super) mod people;
pub(super) mod queue;
pub(super) mod stops;
pub(super) mod totals;
