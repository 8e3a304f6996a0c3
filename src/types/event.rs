//! Events, as the API, webhooks and commands write them (docs/events.md).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Time;
use crate::domain::event;

/// One change of a message, an account, a stop, a person, the daemon or an endpoint.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number; a later event has a higher one.
    pub seq: i64,
    pub at: Time,
    /// What happened: `message.sent`, `account.paused`, … (docs/events.md).
    #[serde(rename = "type")]
    pub kind: String,
    pub account_id: Option<String>,
    pub message_id: Option<String>,
    /// The campaign of the message or of the stop.
    pub campaign: Option<String>,
    pub step: Option<i64>,
    /// The chat of the message, once it is known.
    pub chat_id: Option<String>,
    /// Stable code (docs/reasons.md).
    pub reason: Option<String>,
    /// The fields that docs/events.md lists for the type.
    #[schema(value_type = Option<Object>)]
    pub detail: Option<Map<String, Value>>,
    /// The text of the message; absent unless it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub text: Option<String>,
    /// The producer's own object; absent unless texts were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<Object>)]
    pub meta: Option<Value>,
}

/// A page of events, oldest first.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    pub data: Vec<Event>,
    /// Give it as `after` for the next page; it grows even if no event of the page passed the filter.
    pub next_after: i64,
    /// The oldest event that is still kept; null if there is none.
    pub oldest: Option<i64>,
    /// The newest event; null if there is none.
    pub newest: Option<i64>,
}

impl From<event::Event> for Event {
    fn from(event: event::Event) -> Self {
        let (text, meta) = event.content.map_or((None, None), |(text, meta)| (Some(text), meta));
        Self {
            seq: event.seq,
            at: Time(event.at),
            kind: event.kind,
            account_id: event.account_id,
            message_id: event.message_id,
            campaign: event.campaign,
            step: event.step,
            chat_id: event.chat_id,
            reason: event.reason,
            detail: event.detail,
            text,
            meta,
        }
    }
}
