//! The wire types of the API: what a request and an answer hold. `http/` fills and writes them, `cli/` reads them, and
//! `GET /openapi.json` describes them.
//!
//! Answers write every field, with null for a missing value; the few fields that may be absent are not nullable. The
//! command line ignores unknown fields, and does without those that a command does not need. The comment of a field is
//! its description in the document.
#![allow(missing_docs, reason = "a field says what it is by its name, the same one as in docs/http.md")]

pub mod account;
pub mod campaign;
pub mod command;
pub mod error;
pub mod event;
pub mod explanation;
pub mod forecast;
pub mod hook;
pub mod message;
pub mod notice;
pub mod operations;
pub mod person;
pub mod policy;
pub mod review;
pub mod status;
pub mod stop;
pub(crate) mod times;
pub mod webhook;

use std::fmt::Display;
use std::ops::Deref;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::domain::state::StateName;
use crate::domain::time_text;

/// A time: RFC 3339, UTC, with milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&time_text(self.0))
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl ToSchema for Time {}

impl From<Timestamp> for Time {
    fn from(at: Timestamp) -> Self {
        Self(at)
    }
}

impl From<Time> for Timestamp {
    fn from(Time(at): Time) -> Self {
        at
    }
}

impl Deref for Time {
    type Target = Timestamp;

    fn deref(&self) -> &Timestamp {
        &self.0
    }
}

/// A page of a list.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Give it as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// Why something waits or stopped, and until when.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct WaitStatus {
    /// Stable code (docs/reasons.md); null for an account of which nothing waits.
    pub reason: Option<String>,
    /// The rule that applies, such as a cap, if the reason does not identify it.
    pub rule: Option<String>,
    pub why: Option<String>,
    /// Who must act: `none`, `operator` or `producer`.
    pub actor: Option<String>,
    /// When it goes on, is looked at again or expires.
    pub until: Option<Time>,
    /// `time` (it goes at `until`), `not_before` (not earlier), `expiry` (it expires at `until`, before it can go) or
    /// `person`.
    pub waits_for: Option<String>,
}

/// Returns a number with its noun: `1 person`, `2 people`.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(n: N, one: &str, many: &str) -> String {
    let noun = if n == N::from(1) { one } else { many };
    format!("{n} {noun}")
}

/// Returns every state of a message, in the order of its life.
pub fn states() -> [&'static str; 10] {
    StateName::ALL.map(StateName::as_str)
}

/// Returns the schema of a message's state.
fn state() -> Schema {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(states())).into()
}
