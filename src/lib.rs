//! outboxd: a message queue daemon that sends through the Unipile API v2, one at a time, at a human pace, never
//! twice.
//!
//! # Overview
//!
//! A message arrives by HTTP on a Unix socket, from the command line, or as a plain SQL `INSERT` ([`http`],
//! [`intake`]). It is validated once ([`domain::validate`]) and made durable ([`store`]). Its account's loop
//! ([`engine`]) reads the stored state, decides whether the message may be sent ([`policy::decide`]), shows a typing
//! indicator, writes its intent to disk, makes the call ([`provider`]) and records the outcome.
//!
//! # Modules
//!
//! | module | contents | does not depend on |
//! | --- | --- | --- |
//! | [`domain`] | messages, accounts, states, reasons, outcomes: types and transitions | I/O, clocks, async |
//! | [`policy`] | pure rules: (now, stored state, dice) to a decision | I/O, clocks, async |
//! | [`clock`] | the only ambient time and randomness | everything else |
//! | [`store`] | the queue on disk: transitions, each one transaction; views; administration; the one writer | providers, HTTP |
//! | [`provider`] | the interface to Unipile, and the meaning of its answers | the store |
//! | [`sandbox`] | a Unipile and a LinkedIn to test against | the rest of this program |
//! | [`engine`] | one loop per account, one supervisor that sleeps for all | SQL, HTTP, JSON |
//! | [`types`] | the wire types of the API, with their OpenAPI schemas | everything except `domain` |
//! | [`http`] | the API on the socket | SQL, Unipile |
//! | [`import`] | a table of people and templates become messages | I/O, clocks, the daemon |
//! | [`inbound`] | what Unipile reports by webhook: receipts, answers, states of accounts | SQL, HTTP routes |
//! | [`intake`] | rows that other programs INSERT | SQL, Unipile |
//! | [`outbound`] | events to webhooks and commands | SQL, HTTP routes |
//! | [`cli`] | one file per group of commands; talks to the socket | the store |
//! | [`app`] | the composition root: serve, demo, tests | |
//! | [`config`], [`telemetry`] | settings in three layers; logs | |
//! | [`metrics`] | the table of metrics, and what counts them | everything else |
//! | [`traces`] | spans of what happens to a message, for an exporter | everything else except `domain` |
//! | [`tasks`] | essential tasks, whose end ends the process | everything else |
//!
//! `ARCHITECTURE.md` lists the promises P1 to P9 and which module may use which; a test enforces both.

#![forbid(unsafe_code)]

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod http;
pub mod import;
pub mod inbound;
pub mod intake;
pub mod metrics;
pub mod outbound;
pub mod policy;
pub mod provider;
pub mod sandbox;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod traces;
pub mod types;
