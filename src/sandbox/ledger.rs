//! What reached the sandbox, in order: every call, and every delivery to a recipient.
//!
//! Written by `world`, read by tests and by `GET /sandbox/ledger` and `/sandbox/calls`; the same types read those
//! answers back in another process. A call is in it even if it was refused or cut; a delivery is in it once the
//! recipient has it, whatever the caller was told. Nothing here is bounded: a test reads all of it, and
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
    /// Counts calls from 1; it goes on when the ledger is cleared.
    pub seq: u64,
    /// The account of the path; empty for [`Endpoint::Unknown`].
    pub account_id: String,
    /// What the request was for.
    pub endpoint: Endpoint,
    /// The inbox of the path, decoded.
    pub inbox_id: Option<String>,
    /// The chat of the path, decoded.
    pub chat_id: Option<String>,
    /// The message of the path, decoded.
    pub message_id: Option<String>,
    /// The `Cache-Control` of the request, as it stood on the wire.
    pub cache_control: Option<String>,
    /// Path and query as they stood on the wire.
    pub path: String,
    /// Wall clock when the last byte of the request was in.
    pub at: Timestamp,
    /// The same moment, since the sandbox started.
    #[serde(rename = "at_monotonic_ms", with = "milliseconds")]
    pub at_monotonic: Duration,
    /// The HTTP status of the answer; `None` while there is none, and for good if either side hung up before it.
    pub status: Option<u16>,
    /// The JSON body; text if it was not JSON, null if it was empty or bodies are not kept. Base64 of more than 64 KiB
    /// is replaced by its length: the delivery has the bytes.
    pub body: Value,
}

/// A message that a recipient has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Counts deliveries from 1; it goes on when the ledger is cleared.
    pub seq: u64,
    /// The account that sent.
    pub account_id: String,
    /// The inbox that the chat was started from, if this started it from one.
    pub inbox_id: Option<String>,
    /// The chat it arrived in, new or old.
    pub chat_id: String,
    /// The users of that chat; empty if no request ever named them.
    pub recipients: Vec<String>,
    /// The name of that chat: a group has one, a chat with one user only if it was given one.
    pub name: Option<String>,
    /// The message; empty if bodies are not kept.
    pub text: String,
    /// The id of the message.
    pub message_id: String,
    /// How it was sent.
    pub kind: DeliveryKind,
    /// Wall clock when the request was in, before any injected latency.
    pub at: Timestamp,
    /// The same moment, since the sandbox started.
    #[serde(rename = "at_monotonic_ms", with = "milliseconds")]
    pub at_monotonic: Duration,
    /// What was attached.
    pub attachments: Vec<Attachment>,
    /// The message that it answers, as sent.
    pub quote_id: Option<String>,
    /// What was forwarded, if this is a forward.
    pub source: Option<ForwardSource>,
    /// The provider options as received; not kept without bodies.
    pub specifics: Option<Value>,
    /// The provider options as received under the name that the guide gives them; not kept without bodies.
    pub options: Option<Value>,
    /// The topic that an organization sees, given or by default; `None` if the recipient is none.
    pub company_topic: Option<String>,
}

/// The message that a forward took along.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardSource {
    /// The chat that it is in.
    pub chat_id: String,
    /// Its id in that chat.
    pub message_id: String,
}

/// How a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryKind {
    /// By either of the endpoints that start a chat, even if the chat was there before.
    StartChat,
    /// Into an existing chat.
    Message,
    /// As a forward of another message.
    Forward,
}

/// When a request was complete, on both clocks.
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
    /// Enters `call` under the next number, which is answered.
    pub(super) fn enter_call(&mut self, mut call: Call) -> u64 {
        self.last_call += 1;
        call.seq = self.last_call;
        self.calls.push(call);
        self.last_call
    }

    /// Notes what call `seq` was answered with, if it is still in the ledger.
    pub(super) fn answered(&mut self, seq: u64, status: Option<u16>) {
        let Some(first) = self.calls.first().map(|call| call.seq) else { return };
        let index = seq.checked_sub(first).and_then(|index| usize::try_from(index).ok());
        if let Some(call) = index.and_then(|index| self.calls.get_mut(index)) {
            call.status = status;
        }
    }

    /// Enters `delivery` under the next number.
    pub(super) fn enter_delivery(&mut self, mut delivery: Delivery) {
        self.last_delivery += 1;
        delivery.seq = self.last_delivery;
        self.deliveries.push(delivery);
    }

    /// The calls with a number above `after`.
    pub(super) fn calls_after(&self, after: u64) -> &[Call] {
        &self.calls[self.calls.partition_point(|call| call.seq <= after)..]
    }

    /// The deliveries with a number above `after`.
    pub(super) fn deliveries_after(&self, after: u64) -> &[Delivery] {
        &self.deliveries[self.deliveries.partition_point(|delivery| delivery.seq <= after)..]
    }

    /// The delivery with the number `seq`, if it is still in the ledger.
    pub(super) fn delivery(&self, seq: u64) -> Option<&Delivery> {
        self.deliveries_after(seq.checked_sub(1)?).first().filter(|delivery| delivery.seq == seq)
    }

    /// Forgets both lists, not their numbering: a reader's `after_seq` stays good.
    pub(super) fn clear(&mut self) {
        self.calls = Vec::new();
        self.deliveries = Vec::new();
    }
}

/// A duration as whole milliseconds.
pub(super) mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
