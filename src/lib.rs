//! outboxd: a message queue daemon that sends through the Unipile API v2, one at a time, at a human pace, never twice.
//!
//! # The tour
//!
//! A message comes in by HTTP on a Unix socket, by the command line, or as a plain SQL `INSERT` ([`api`]). It is
//! checked once ([`domain::validate`]) and made durable ([`store`]). Its account's loop ([`engine`]) reads what is
//! stored, asks the one judge whether it may go ([`policy::decide`]), shows a typing indicator, writes its intent to
//! disk, makes the call ([`provider`]) and records what became of it.
//!
//! # Where everything lives
//!
//! | module | what | knows nothing of |
//! | --- | --- | --- |
//! | [`domain`] | messages, accounts, states, reasons, outcomes: types and transitions | I/O, clocks, async |
//! | [`policy`] | pure rules: (now, what is stored, dice) to a verdict | I/O, clocks, async |
//! | [`clock`] | the only ambient time and randomness | everything else |
//! | [`store`] | the queue on disk; about 20 verbs, each one transaction | providers, HTTP |
//! | [`provider`] | the seam to Unipile, and what its answers mean | the store |
//! | [`sandbox`] | a Unipile and a LinkedIn to test against | the rest of this program |
//! | [`engine`] | one loop per account, one supervisor that sleeps for all | SQL, HTTP, JSON |
//! | [`api`] | the doors: routes, wire types, rows that other programs INSERT | SQL, Unipile |
//! | [`cli`] | one file per group of verbs; talks to the socket | the store |
//! | [`app`] | the composition root: serve, demo, tests | |
//! | [`config`], [`telemetry`] | settings in three layers; logs | |
//! | [`tasks`] | tasks whose end ends the process | everything else |
//!
//! `ARCHITECTURE.md` has the promises P1 to P8 and who may name whom; a test enforces both.

pub mod api;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod policy;
pub mod provider;
pub mod sandbox;
pub mod store;
pub mod tasks;
pub mod telemetry;
