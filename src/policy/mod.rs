//! Every rule about when a message may go, as pure functions of (now, what is stored, dice).
//!
//! The engine acts on the results and `explain` shows them; no other code decides. No clock, no async, no I/O: `now`
//! and the dice are arguments, so a test can print a whole schedule.

pub mod audit;
mod before;
pub mod decide;
pub mod evidence;
pub mod fair_share;
pub mod forecast;
mod forecast_ends;
mod forecast_reads;
mod forecast_types;
pub mod hours;
pub mod inboxes;
pub mod lanes;
pub mod likeness;
pub mod pace;
pub mod plan;
pub mod quota;
pub mod reconcile;
pub mod replies;
pub mod select;
pub mod settle;
pub mod steps;
pub mod warm_up;
