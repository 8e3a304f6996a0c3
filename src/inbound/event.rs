//! Reads the body of a webhook: tolerant, because Unipile's documents and its clients disagree about the fields.
//!
//! Unknown types and unknown fields are passed over. A payload without the ids that its type needs is an error, which
//! `interpret.rs` records.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::domain::heard::{Heard, HeardMessage, Meaning, News, Receipt};
use crate::domain::ids;
use crate::domain::message::{AccountId, ChatId, UserId};
use crate::domain::outcome::DownCause;
use crate::domain::person::{Distance, Person};
use crate::domain::policy::Policy;
use crate::policy::replies::meaning;
use crate::store::{NewWebhook, Webhook};

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// It names no account.
    NoAccount,
    /// Its payload lacks what its type needs.
    Incomplete,
}

impl Unread {
    /// Returns the word in SQL.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::NoAccount => "no_account",
            Self::Incomplete => "incomplete",
        }
    }
}

/// Returns whether events of this type are about accounts and their chats, so that outboxd may need them.
pub(super) fn concerns_accounts(kind: &str) -> bool {
    ["message.", "account.", "relation."].iter().any(|group| kind.starts_with(group))
}

/// Reads a stored webhook; `theirs` is Unipile's time when it was received, if that is known, and `policy_of` returns the
/// rules of an account.
pub(super) fn read(
    webhook: &Webhook,
    theirs: Option<Timestamp>,
    policy_of: impl FnOnce(&AccountId) -> Arc<Policy>,
) -> Result<Heard, Unread> {
    let Webhook { received_at, webhook: NewWebhook { kind, account_id, body, .. }, .. } = webhook;
    let account_id = account_id.clone().ok_or(Unread::NoAccount)?;
    let event: Value = serde_json::from_str(body).map_err(|_| Unread::Incomplete)?;
    let payload = event.get("payload").unwrap_or(&Value::Null);
    let clock = Clock { created_at: time(&event, "created_at"), received_at: *received_at, theirs };
    let news = match kind.as_str() {
        "message.new" => News::Message(message(payload, &clock, &policy_of(&account_id))?),
        "message.update" => {
            let message = message(payload, &clock, &policy_of(&account_id))?;
            News::Message(HeardMessage { is_edited: true, ..message })
        }
        "message.receipt.read" => News::Receipt(receipt(payload, &clock, true)?),
        "message.receipt.delivery" => News::Receipt(receipt(payload, &clock, false)?),
        "account.status.disconnected" if concerns_classic(payload) => {
            down(DownCause::Disconnected, "Unipile reports that the account is disconnected")
        }
        "account.locked" => down(DownCause::Disconnected, "Unipile reports that the account is locked"),
        "account.status.running" | "account.unlocked" | "account.reconnect" if concerns_classic(payload) => {
            News::Up
        }
        "relation.new" => News::Connected,
        _ => News::Other,
    };
    let person = match &news {
        News::Message(message) if message.is_sender != Some(true) => sender(inner(payload)),
        News::Connected => Some(relation(payload).ok_or(Unread::Incomplete)?),
        _ => None,
    };
    Ok(Heard { account_id, news, person })
}

fn down(cause: DownCause, problem: &str) -> News {
    News::Down { cause, problem: problem.to_owned() }
}

/// Returns whether the status of an account concerns what outboxd sends through: one of several products, such as
/// `recruiter`, need not stop the others.
fn concerns_classic(payload: &Value) -> bool {
    text(payload, &["product"]).is_none_or(|product| product.eq_ignore_ascii_case("classic"))
}

/// Converts the provider's times to our clock: how long ago something was is the same by both. An event may be delivered
/// hours late; only while the provider's clock is not known, it counts as delivered when it was created.
struct Clock {
    created_at: Option<Timestamp>,
    received_at: Timestamp,
    /// The provider's time at `received_at`, if it is known.
    theirs: Option<Timestamp>,
}

impl Clock {
    fn ours(&self, theirs: Option<Timestamp>) -> Timestamp {
        let (Some(theirs), Some(received_at)) = (theirs, self.theirs.or(self.created_at)) else {
            return self.received_at;
        };
        let ago = received_at.duration_since(theirs).max(SignedDuration::ZERO);
        crate::domain::whole_milliseconds(self.received_at.checked_sub(ago).unwrap_or(self.received_at))
    }
}

fn message(payload: &Value, clock: &Clock, policy: &Policy) -> Result<HeardMessage, Unread> {
    let outer = payload;
    let payload = inner(payload);
    let chat_id =
        text(payload, &["chat_id"]).or_else(|| text(outer, &["chat_id"])).ok_or(Unread::Incomplete)?;
    let message_id = text(payload, &["id", "message_id"]).ok_or(Unread::Incomplete)?;
    let sender_id = text(payload, &["sender_id"]).map(ids::shown_user).or_else(|| {
        let sender = payload.get("sender")?;
        let name = || Some(ids::named(&ids::public_name(text(sender, &["public_identifier"])?)));
        text(sender, &["id"]).map(ids::shown_user).or_else(name)
    });
    let theirs = time(payload, "timestamp");
    let at = clock.ours(theirs);
    let is = |field: &str| flag(payload, field).unwrap_or(false);
    let said = text(payload, &["text"]).unwrap_or_default();
    let meaning = match is("is_event") || is("is_hidden") || is("is_deleted") {
        true => Meaning::Nothing,
        false => meaning(said, theirs.or(clock.created_at).unwrap_or(at), policy),
    };
    Ok(HeardMessage {
        chat_id: ChatId::new(chat_id),
        message_id: message_id.to_owned(),
        sender_id,
        is_sender: flag(payload, "is_sender"),
        at,
        meaning,
        is_edited: is("is_edited"),
        text: said.to_owned(),
    })
}

/// Returns the message of a payload, which some nest in it.
fn inner(payload: &Value) -> &Value {
    payload.get("message").filter(|inner| inner.is_object()).unwrap_or(payload)
}

/// Returns the sender of a message, if the payload names them.
fn sender(payload: &Value) -> Option<Person> {
    let sender = payload.get("sender")?;
    Some(person(text(sender, &["id"]).or_else(|| text(payload, &["sender_id"]))?, sender))
}

/// Returns the person who became a connection.
fn relation(payload: &Value) -> Option<Person> {
    let user = payload.get("user").filter(|user| user.is_object()).unwrap_or(payload);
    let ids = ["member_id", "user_id", "provider_id"];
    let id = text(user, &["id"]).filter(|_| payload.get("user").is_some());
    let id = id.or_else(|| text(user, &ids)).or_else(|| text(payload, &ids))?;
    Some(Person { distance: Some(Distance::First), ..person(id, user) })
}

fn person(id: &str, user: &Value) -> Person {
    let of = |fields: &[&str]| text(user, fields).map(str::to_owned);
    let names = [of(&["public_identifier"]), of(&["profile_url"]), of(&["display_name", "name"])];
    Person::new(UserId::new(ids::shown_user(id)), names)
}

fn receipt(payload: &Value, clock: &Clock, is_read: bool) -> Result<Receipt, Unread> {
    let inner = payload.get("message").filter(|inner| inner.is_object());
    let message_id =
        text(payload, &["message_id", "id"]).or_else(|| inner.and_then(|inner| text(inner, &["id"])));
    let chat_id = text(payload, &["chat_id"]).or_else(|| inner.and_then(|inner| text(inner, &["chat_id"])));
    if message_id.is_none() && chat_id.is_none() {
        return Err(Unread::Incomplete);
    }
    let user = payload.get("user").and_then(|user| text(user, &["id"]));
    let user_id = text(payload, &["user_id"]).or_else(|| inner.and_then(|inner| text(inner, &["user_id"])));
    let user_id = user_id.or(user).map(ids::shown_user);
    let at = clock.ours(time(payload, "timestamp"));
    let (message_id, chat_id) = (message_id.map(str::to_owned), chat_id.map(ChatId::new));
    Ok(Receipt { message_id, chat_id, user_id, at, is_read })
}

/// Returns the first of the fields that holds a text with something in it.
fn text<'a>(value: &'a Value, fields: &[&str]) -> Option<&'a str> {
    fields.iter().find_map(|field| value.get(field)?.as_str().filter(|text| !text.trim().is_empty()))
}

/// Reads a boolean that some send as a number or as a text.
fn flag(value: &Value, field: &str) -> Option<bool> {
    match value.get(field)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_i64().map(|number| number != 0),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// Reads a time in RFC 3339, or in seconds or milliseconds since 1970.
fn time(value: &Value, field: &str) -> Option<Timestamp> {
    /// Numbers above this are milliseconds: as seconds, the year 5138.
    const MILLISECONDS_FROM: i64 = 100_000_000_000;
    match value.get(field)? {
        Value::String(text) => crate::domain::parse_time(text),
        Value::Number(number) => match number.as_i64()? {
            seconds if seconds < MILLISECONDS_FROM => Timestamp::from_second(seconds).ok(),
            milliseconds => Timestamp::from_millisecond(milliseconds).ok(),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::inbound::envelope;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn heard(event: &Value) -> Result<News, Unread> {
        let webhook = envelope::read(event.to_string().into_bytes()).expect("an event");
        let webhook = Webhook { seq: 1, received_at: at("2026-12-01T12:00:00Z"), webhook };
        read(&webhook, None, |_| Arc::new(Policy::unlimited())).map(|heard| heard.news)
    }

    #[test]
    fn an_event_that_comes_late_is_dated_by_the_provider_s_clock() {
        let clock = |theirs: Option<&str>| Clock {
            created_at: Some(at("2026-12-01T08:00:10Z")),
            received_at: at("2026-12-01T12:00:00Z"),
            theirs: theirs.map(at),
        };
        let written = Some(at("2026-12-01T08:00:00Z"));
        assert_eq!(clock(None).ours(written), at("2026-12-01T11:59:50Z"));
        assert_eq!(clock(Some("2026-12-01T11:00:00Z")).ours(written), at("2026-12-01T09:00:00Z"));
        assert_eq!(clock(Some("2026-12-01T07:59:00Z")).ours(written), at("2026-12-01T12:00:00Z"));
        assert_eq!(clock(Some("2026-12-01T11:00:00Z")).ours(None), at("2026-12-01T12:00:00Z"));
    }

    fn message_of(payload: Value) -> HeardMessage {
        let event = json!({"type": "message.new", "account_id": "acc_1", "created_at": "2026-12-01T08:00:10Z",
            "payload": payload});
        match heard(&event) {
            Ok(News::Message(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_is_read_in_every_form_that_was_met() {
        let base = json!({"id": "m1", "chat_id": "c1", "sender_id": "U1", "timestamp": "2026-12-01T08:00:00Z", "text": "hi"});
        let with = |field: &str, value: Value| {
            let mut payload = base.clone();
            payload[field] = value;
            message_of(payload)
        };
        let message = message_of(base.clone());
        // Ten seconds ago by the provider's clock is ten seconds ago by ours.
        assert_eq!((message.at, message.is_sender), (at("2026-12-01T11:59:50Z"), None));
        assert_eq!(message.meaning, Meaning::Reply);
        for (value, is_sender) in
            [(json!(true), true), (json!(1), true), (json!(0), false), (json!("1"), true)]
        {
            assert_eq!(with("is_sender", value).is_sender, Some(is_sender));
        }
        assert_eq!(with("is_event", json!(1)).meaning, Meaning::Nothing);
        assert_eq!(with("text", json!("STOP")).meaning, Meaning::OptOut);
        assert_eq!(with("timestamp", json!(1_796_112_000)).at, at("2026-12-01T11:59:50Z"));
        assert_eq!(with("timestamp", json!("soon")).at, at("2026-12-01T12:00:00Z"));
        let nested =
            message_of(json!({"message": {"message_id": "m1", "sender": {"id": "U9"}}, "chat_id": "c1"}));
        assert_eq!((nested.message_id.as_str(), nested.sender_id.as_deref()), ("m1", Some("U9")));
    }

    #[test]
    fn a_receipt_has_the_id_of_a_message_or_of_a_chat() {
        let receipt = |payload: Value| {
            heard(&json!({"type": "message.receipt.read", "account_id": "acc_1", "payload": payload}))
        };
        let read = |message_id: Option<&str>, chat_id: Option<&str>, user_id: Option<&str>| {
            let [message_id, user_id] = [message_id, user_id].map(|id| id.map(str::to_owned));
            let (chat_id, at) = (chat_id.map(ChatId::new), at("2026-12-01T12:00:00Z"));
            Ok(News::Receipt(Receipt { message_id, chat_id, user_id, at, is_read: true }))
        };
        assert_eq!(receipt(json!({"message_id": "m1", "chat_id": "c1"})), read(Some("m1"), Some("c1"), None));
        assert_eq!(receipt(json!({"id": "m1"})), read(Some("m1"), None, None));
        let of_chat = read(None, Some("c1"), Some("U1"));
        assert_eq!(receipt(json!({"chat_id": "c1", "user_id": "U1"})), of_chat);
        assert_eq!(receipt(json!({"chat_id": "c1", "user": {"id": "U1"}})), of_chat);
        assert_eq!(receipt(json!({"user_id": "U1"})), Err(Unread::Incomplete));
    }

    #[test]
    fn what_is_unknown_is_passed_over() {
        let other = |kind: &str, payload: Value| {
            heard(
                &json!({"type": kind, "account_id": "acc_1", "payload": payload, "account_provider": "LINKEDIN"}),
            )
        };
        assert_eq!(other("follower.new", json!({})), Ok(News::Other));
        assert_eq!(other("account.status.disconnected", json!({"product": "recruiter"})), Ok(News::Other));
        assert!(matches!(other("account.status.disconnected", json!({})), Ok(News::Down { .. })));
        assert_eq!(other("account.status.running", json!(null)), Ok(News::Up));
        assert_eq!(heard(&json!({"type": "message.new", "payload": {}})), Err(Unread::NoAccount));
        assert_eq!(other("message.new", json!({"id": "m1"})), Err(Unread::Incomplete));
    }
}
