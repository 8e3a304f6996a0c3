//! Events: one change each of a message, an account, a stop, a person, the daemon or an endpoint (docs/events.md).
//!
//! The store writes them as text; [`KINDS`] says what each kind holds, for every consumer alike.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::field_error::{FieldError, FieldErrorCode, nearest};

/// What the detail of a kind of event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    None,
    /// A text, shown as this field.
    Text(&'static str),
    /// A JSON object with these fields.
    Fields(&'static [&'static str]),
}

/// A kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// Its name, such as `message.sent`.
    pub name: &'static str,
    /// What happened.
    pub what: &'static str,
    /// What `detail` holds.
    pub detail: Detail,
}

const fn kind(name: &'static str, what: &'static str, detail: Detail) -> Kind {
    Kind { name, what, detail }
}

const ERROR: Detail = Detail::Text("error");
const COMMAND: Detail = Detail::Fields(&["by", "old", "new", "note"]);
const STOP: Detail = Detail::Fields(&["scope", "key", "until", "by", "note"]);
const ENDPOINT: Detail = Detail::Fields(&["endpoint", "event_seq", "problem"]);

/// Every kind of event.
pub const KINDS: &[Kind] = &[
    kind("message.new", "A program inserted a row; it is not checked yet.", ERROR),
    kind("message.queued", "The message is in the queue, for the first time or again.", ERROR),
    kind("message.rejected", "The row is refused.", ERROR),
    kind("message.deferred", "The message waits for another reason than before.", Detail::Text("until")),
    kind("message.moved", "Another account sends the message.", Detail::Text("from")),
    kind("message.sending", "The intent is on disk; the call begins.", ERROR),
    kind("message.sent", "The provider accepted the message.", ERROR),
    kind("message.uncertain", "The outcome of the call is not known yet.", ERROR),
    kind("message.review", "A person must decide.", ERROR),
    kind("message.failed", "The message cannot be sent.", ERROR),
    kind("message.cancelled", "The message was cancelled.", ERROR),
    kind("message.expired", "The message was not sent before its end.", ERROR),
    kind("message.delivered", "The message was delivered to the person.", Detail::Text("delivered_at")),
    kind("message.read", "The person read the message.", Detail::Text("read_at")),
    kind("message.replied", "The person answered the message.", Detail::Text("replied_at")),
    kind("route.chosen", "A first message goes to this chat.", Detail::Text("route")),
    kind("reply", "A person wrote; `text` names chat and message.", Detail::Text("text")),
    kind("command.cancel", "A message was cancelled on request.", COMMAND),
    kind("command.hold", "A message was held on request.", COMMAND),
    kind("command.release", "A held message was released.", COMMAND),
    kind("command.retry", "A message was queued again on request.", COMMAND),
    kind("command.edit", "A message was changed.", COMMAND),
    kind("account.paused", "The account was paused.", Detail::Text("note")),
    kind("account.resumed", "The account sends again.", Detail::Text("note")),
    kind("account.hold", "The account rests.", Detail::Text("until")),
    kind("account.down", "The account cannot send.", Detail::Text("problem")),
    kind("account.connected", "The account is connected again.", Detail::None),
    kind("account.status", "Unipile reports another status.", Detail::Text("change")),
    kind("account.policy", "Rules of the account were changed.", Detail::Fields(&[])),
    kind("account.inmails_held", "InMails of the account wait.", Detail::Text("problem")),
    kind("account.inmails_released", "InMails of the account go on.", Detail::Text("credit")),
    kind("stop.set", "Sending to a person, into a chat or of a campaign stops.", STOP),
    kind("stop.changed", "The end or the note of a stop changed.", STOP),
    kind("stop.lifted", "A stop was lifted.", Detail::Fields(&["scope", "key"])),
    kind("person.connected", "A person became a connection.", Detail::Text("person")),
    kind("person.erased", "A person was erased.", Detail::Text("removed")),
    kind("daemon.paused", "All sending was paused.", Detail::Text("note")),
    kind("daemon.resumed", "All sending goes on.", Detail::Text("note")),
    kind("daemon.key_refused", "Unipile refuses the API key.", Detail::Text("problem")),
    kind("daemon.clock_set", "The wall clock was set.", Detail::Text("step")),
    kind(
        "daemon.restored",
        "The queue is a copy or a restored backup; nothing is sent.",
        Detail::Text("why"),
    ),
    kind("daemon.accepted", "A restored queue was released.", Detail::Text("note")),
    kind("endpoint.failing", "Two deliveries in a row failed.", ENDPOINT),
    kind("endpoint.recovered", "A delivery succeeded after failures.", ENDPOINT),
    kind("endpoint.dead_letter", "An event was given up.", ENDPOINT),
    kind("endpoint.disabled", "Nothing more is delivered until `outboxd hook enable`.", ENDPOINT),
    kind("endpoint.enabled", "Delivery goes on, or begins again.", ENDPOINT),
];

/// An event, as the store reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// Its kind.
    pub kind: String,
    /// The account that it concerns.
    pub account_id: Option<String>,
    /// The message that it concerns.
    pub message_id: Option<String>,
    /// The campaign: of the message, or of the stop.
    pub campaign: Option<String>,
    /// The message's step.
    pub step: Option<i64>,
    /// The message's chat, once it is known.
    pub chat_id: Option<String>,
    /// The reason's code.
    pub reason: Option<String>,
    /// What else there is to say.
    pub detail: Option<Map<String, Value>>,
    /// The message's text and the producer's own object, if they were asked for.
    pub content: Option<(String, Option<Value>)>,
}

/// Returns the detail of an event of `kind` as an object.
pub fn detail(kind: &str, text: Option<&str>) -> Option<Map<String, Value>> {
    let text = text.filter(|text| !text.is_empty())?;
    let known = KINDS.iter().find(|known| known.name == kind).map(|known| known.detail);
    let field = match known {
        Some(Detail::Text(field)) => field,
        Some(Detail::Fields(_)) => match serde_json::from_str(text) {
            Ok(Value::Object(object)) => return Some(object),
            _ => "text",
        },
        Some(Detail::None) | None => "text",
    };
    Some(Map::from_iter([(field.to_owned(), json!(text))]))
}

/// Which events a consumer wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Kinds: names, or beginnings that end in a dot; none: all.
    kinds: Vec<String>,
    /// Of this account.
    pub account_id: Option<String>,
    /// Of this campaign.
    pub campaign: Option<String>,
    /// Of this message.
    pub message_id: Option<String>,
}

impl EventFilter {
    /// Takes kinds, separated by commas: `message.sent`, or `message.*` for all that begin so, or `*`.
    ///
    /// # Errors
    /// Returns the refusal of a kind that does not exist, under the name `field`.
    pub fn set_kinds(&mut self, field: &str, words: &str) -> Result<(), FieldError> {
        self.kinds.clear();
        for word in words.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if word == "*" {
                self.kinds.clear();
                return Ok(());
            }
            let wanted = word.strip_suffix('*').unwrap_or(word);
            let is_family = word.ends_with(".*") && KINDS.iter().any(|kind| kind.name.starts_with(wanted));
            if !is_family && !KINDS.iter().any(|kind| kind.name == word) {
                let all: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
                let fix = match nearest(word, &all) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "docs/events.md lists them; `message.*` means all that begin so".to_owned(),
                };
                let problem = format!("is not a type of event: {word}");
                return Err(FieldError::new(FieldErrorCode::InvalidValue, field, problem, fix));
            }
            self.kinds.push(wanted.to_owned());
        }
        if self.kinds.is_empty() {
            let fix = "name one, such as message.sent, or * for all";
            return Err(FieldError::new(FieldErrorCode::InvalidValue, field, "names no type of event", fix));
        }
        Ok(())
    }

    /// Returns whether the consumer wants `event`.
    pub fn wants(&self, event: &Event) -> bool {
        let is = |wanted: &Option<String>, found: &Option<String>| wanted.is_none() || wanted == found;
        let is_kind = |kind: &String| match kind.ends_with('.') {
            true => event.kind.starts_with(kind.as_str()),
            false => event.kind == *kind,
        };
        (self.kinds.is_empty() || self.kinds.iter().any(is_kind))
            && is(&self.account_id, &event.account_id)
            && is(&self.campaign, &event.campaign)
            && is(&self.message_id, &event.message_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_kinds_families_and_everything() {
        let event = |kind: &str| Event {
            seq: 1,
            at: Timestamp::UNIX_EPOCH,
            kind: kind.to_owned(),
            account_id: None,
            message_id: None,
            campaign: None,
            step: None,
            chat_id: None,
            reason: None,
            detail: None,
            content: None,
        };
        for (words, kind, wanted) in [
            ("message.sent", "message.sent", true),
            ("message.sent", "message.sending", false),
            ("message.*, stop.set", "message.sending", true),
            ("message.*, stop.set", "stop.lifted", false),
            ("stop.set, *", "account.paused", true),
        ] {
            let mut filter = EventFilter::default();
            filter.set_kinds("type", words).unwrap();
            assert_eq!(filter.wants(&event(kind)), wanted, "{words} and {kind}");
        }
        let refused = EventFilter::default().set_kinds("type", "message.snet").unwrap_err();
        assert_eq!(refused.fix, "did you mean `message.sent`?");
        for words in ["", " , ", "messages.*", "mess*"] {
            assert!(EventFilter::default().set_kinds("type", words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn a_detail_is_an_object() {
        let shown = |kind, text| detail(kind, Some(text)).map(Value::Object).unwrap();
        assert_eq!(shown("account.hold", "2026"), json!({ "until": "2026" }));
        assert_eq!(shown("stop.set", r#"{"key": "k"}"#), json!({ "key": "k" }));
        assert_eq!(shown("something.newer", "x"), json!({ "text": "x" }));
        assert_eq!(detail("message.sent", None), None);
    }
}
