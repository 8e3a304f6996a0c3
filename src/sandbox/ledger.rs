//! What reached the sandbox, in order: every call, and every delivery to a recipient.
//!
//! Written by `world`, read by tests and by `GET /sandbox/ledger` and `/sandbox/calls`; the same types parse those
//! answers in another process. A call is recorded even if it was refused or cut; a delivery is recorded once the
//! recipient has it, whatever the caller was answered. The ledger is not bounded: a test reads all of it, and
//! `keep_bodies = false` keeps an entry to a few hundred bytes.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attachment::Attachment;
use super::endpoint::Endpoint;

/// A request that arrived completely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Number of the call, counted from 1; clearing the ledger does not reset it.
    pub seq: u64,
    /// Account of the path; empty for [`Endpoint::Unknown`].
    pub account_id: String,
    /// Endpoint that the request addressed.
    pub endpoint: Endpoint,
    /// Inbox of the path, decoded.
    pub inbox_id: Option<String>,
    /// Chat of the path, decoded.
    pub chat_id: Option<String>,
    /// Message of the path, decoded.
    pub message_id: Option<String>,
    /// The `Cache-Control` header of the request, exactly as sent.
    pub cache_control: Option<String>,
    /// Path and query, exactly as sent.
    pub path: String,
    /// Wall clock when the last byte of the request arrived.
    pub at: Timestamp,
    /// The same moment, as time since the sandbox started.
    #[serde(rename = "at_monotonic_ms", with = "milliseconds")]
    pub at_monotonic: Duration,
    /// HTTP status of the answer; `None` while there is none, and for good if either side hung up before it.
    pub status: Option<u16>,
    /// JSON body; text if it was not JSON, null if it was empty or bodies are not kept. Base64 of more than 64 KiB is
    /// replaced by its length: the delivery has the bytes.
    pub body: Value,
}

/// A message that reached its recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Number of the delivery, counted from 1; clearing the ledger does not reset it.
    pub seq: u64,
    /// Account that sent it.
    pub account_id: String,
    /// Inbox that the chat was started from, if this message started it from one.
    pub inbox_id: Option<String>,
    /// Chat that it arrived in, new or existing.
    pub chat_id: String,
    /// Users of that chat; empty if no request named them.
    pub recipients: Vec<String>,
    /// Name of that chat: a group has one, a chat with one user only if it was given one.
    pub name: Option<String>,
    /// Text of the message; empty if bodies are not kept.
    pub text: String,
    /// Id of the message.
    pub message_id: String,
    /// How it was sent.
    pub kind: DeliveryKind,
    /// Wall clock when the request arrived, before any injected latency.
    pub at: Timestamp,
    /// The same moment, as time since the sandbox started.
    #[serde(rename = "at_monotonic_ms", with = "milliseconds")]
    pub at_monotonic: Duration,
    /// Attached files.
    pub attachments: Vec<Attachment>,
    /// Id of the message that it replies to, as sent.
    pub quote_id: Option<String>,
    /// Original of the message, if this is a forward.
    pub source: Option<ForwardSource>,
    /// Provider options as received; not kept without bodies.
    pub specifics: Option<Value>,
    /// Provider options as received under the name that the guide gives them; not kept without bodies.
    pub options: Option<Value>,
    /// Topic that an organization sees, given or by default; `None` if the recipient is not an organization.
    pub company_topic: Option<String>,
}

/// The original of a forwarded message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardSource {
    /// Chat that it is in.
    pub chat_id: String,
    /// Id in that chat.
    pub message_id: String,
}

/// How a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// Through either of the endpoints that start a chat, even if the chat existed before.
    StartChat,
    /// Into an existing chat.
    Message,
    /// As a forward of another message.
    Forward,
}

/// When a request had arrived completely, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) at: Timestamp,
    pub(super) at_monotonic: Duration,
}

/// The two lists and their numbering.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    calls: Vec<Call>,
    deliveries: Vec<Delivery>,
    last_call: u64,
    last_delivery: u64,
}

impl Ledger {
    /// Records `call` under the next number and returns that number.
    pub(super) fn enter_call(&mut self, mut call: Call) -> u64 {
        self.last_call += 1;
        call.seq = self.last_call;
        self.calls.push(call);
        self.last_call
    }

    /// Records the answer to call `seq`, if the ledger still has that call.
    pub(super) fn answered(&mut self, seq: u64, status: Option<u16>) {
        let Some(first) = self.calls.first().map(|call| call.seq) else { return };
        let index = seq.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(call) = index.and_then(|index| self.calls.get_mut(index)) {
            call.status = status;
        }
    }

    /// Records `delivery` under the next number.
    pub(super) fn enter_delivery(&mut self, mut delivery: Delivery) {
        self.last_delivery += 1;
        delivery.seq = self.last_delivery;
        self.deliveries.push(delivery);
    }

    /// Returns the calls with a number above `after`.
    pub(super) fn calls_after(&self, after: u64) -> &[Call] {
        &self.calls[self.calls.partition_point(|call| call.seq <= after)..]
    }

    /// Returns the deliveries with a number above `after`.
    pub(super) fn deliveries_after(&self, after: u64) -> &[Delivery] {
        &self.deliveries[self.deliveries.partition_point(|delivery| delivery.seq <= after)..]
    }

    /// Returns the delivery `seq`, if the ledger still has it.
    pub(super) fn delivery(&self, seq: u64) -> Option<&Delivery> {
        self.deliveries_after(seq.checked_sub(1)?).first().filter(|delivery| delivery.seq == seq)
    }

    /// Empties both lists but keeps the numbering: a reader's `after_seq` stays valid.
    pub(super) fn clear(&mut self) {
        self.calls = Vec::new();
        self.deliveries = Vec::new();
    }
}

/// Serializes a duration as whole milliseconds.
pub(super) mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
