//! The transitions: each method of [`Store`](super::Store) here changes the queue in one transaction, or looks up what
//! such a change needs to know.
//!
//! - A message arrives: `enqueue.rs` (`batch.rs`, `insert.rs`, `blobs.rs`, `together.rs`, `rehearsal.rs`, `existing.rs`),
//!   `admission.rs` (`inserted.rs`, `external_insert.rs`). What may keep it out: `clear.rs`, `repeats.rs`, `suppressed.rs`,
//!   `hashed.rs`, `erased.rs`, `steps.rs`.
//! - It is sent: `attempts.rs` (`calls.rs`, `account_limits.rs`), `defer.rs`, `rests.rs`, `resolving.rs` (`names.rs`);
//!   `reconcile.rs` and `review.rs` settle what is unclear.
//! - A person or a program changes it: `commands.rs` and `message_commands.rs` (`change.rs`, `edit.rs`, `hold.rs`,
//!   `retry.rs`, `sequence.rs`, `withdraw.rs`, `waits.rs`), `pause.rs`, `stops.rs` (`stop_rows.rs`), `rules.rs`, `erase.rs`
//!   (`rejected.rs`).
//! - The provider reports something: `webhooks.rs`, `webhook_endpoints.rs`, `heard.rs` (`author.rs`), `chat_reads.rs`,
//!   `people.rs`, `account_snapshot.rs`. Receivers of events confirm them: `hooks.rs`.

pub(super) mod account_limits;
pub(super) mod account_snapshot;
pub(super) mod admission;
pub(super) mod attempts;
pub(super) mod author;
pub(super) mod batch;
pub(super) mod blobs;
pub(super) mod calls;
pub(super) mod change;
pub(super) mod chat_reads;
pub(super) mod clear;
pub(super) mod commands;
pub(super) mod defer;
pub(super) mod edit;
pub(super) mod enqueue;
pub(super) mod erase;
pub(super) mod erased;
pub(super) mod existing;
pub(super) mod external_insert;
pub(super) mod hashed;
pub(super) mod heard;
pub(super) mod hold;
pub(super) mod hooks;
pub(super) mod insert;
pub(super) mod inserted;
pub(super) mod message_commands;
pub(super) mod names;
pub(super) mod pause;
pub(super) mod people;
pub(super) mod reconcile;
pub(super) mod rehearsal;
pub(super) mod rejected;
pub(super) mod repeats;
pub(super) mod resolving;
pub(super) mod rests;
pub(super) mod retry;
pub(super) mod review;
pub(super) mod rules;
pub(super) mod sequence;
pub(super) mod steps;
pub(super) mod stop_rows;
pub(super) mod stops;
pub(super) mod suppressed;
pub(super) mod together;
pub(super) mod waits;
pub(super) mod webhook_endpoints;
pub(super) mod webhooks;
pub(super) mod withdraw;
