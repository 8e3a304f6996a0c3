//! The administration of the queue: what concerns the file and the daemon as a whole.
//!
//! - A run of the daemon: `runs.rs` begins, recovers and ends it, `boot.rs` and `clock_step.rs` keep the times right.
//! - Upkeep: `backup.rs`, `prune.rs`, `prune_heard.rs`.
//! - Checks: `audit.rs` (`audit_hashed.rs`), `inspect.rs`, and `plans.rs` for a test.
//! - `watch.rs` (`log_watch.rs`) notices what other programs INSERT.

pub(super) mod audit;
pub(super) mod audit_hashed;
pub(super) mod backup;
pub(super) mod boot;
pub(super) mod clock_step;
pub(super) mod inspect;
mod log_watch;
#[doc(hidden)]
pub mod plans;
pub(super) mod prune;
pub(super) mod prune_heard;
pub(super) mod runs;
pub(super) mod watch;
