//! The requests of the API, checked as strictly as its description allows.
//!
//! Called by `methods` before anything happens. The service is believed to drop unknown properties silently; the
//! sandbox refuses them, because a dropped `inmail: true` sends a plain message. Provider options, attachments and
//! the queries of reads have files of their own.

use serde_json::Value;

use super::attachment::{self, Attachment};
use super::cache::CacheControl;
use super::endpoint::Endpoint;
use super::reads::Read;
use super::specifics::{self, Specifics};
use super::strict::{Fields, Invalid};
use super::webhook_requests::WebhookRequest;

/// A request in a valid format.
#[derive(Debug)]
pub(super) enum Request {
    /// Start a Chat, with or without an inbox.
    StartChat(Box<StartChat>),
    /// Send a Message.
    SendMessage { content: Content, quote_id: Option<String> },
    /// Forward a Message into `chat_id`.
    ForwardMessage { chat_id: String, text: String },
    /// Set Composing Status.
    SetComposing,
    /// Any GET; `key` is its path and query, the key of the cached answer.
    Read { read: Read, key: String, control: CacheControl },
    /// Anything about webhook endpoints.
    Webhook(WebhookRequest),
}

/// What a new chat begins with.
#[derive(Debug)]
pub(super) struct StartChat {
    pub(super) recipients: Recipients,
    pub(super) name: Option<String>,
    pub(super) content: Content,
    /// Provider options in the form of the API's description, as received.
    pub(super) specifics: Option<Value>,
    /// Provider options in the form of the guide, as received; never both.
    pub(super) options: Option<Value>,
    /// Parsed form of whichever was received.
    pub(super) meaning: Specifics,
}

impl StartChat {
    /// Returns whether it uses up an InMail credit; a chat without a message does not.
    pub(super) fn takes_credit(&self) -> bool {
        self.meaning.takes_credit && !self.content.is_empty()
    }

    /// Returns the topic that an organization sees; other recipients see none. An organization's id is all digits.
    pub(super) fn company_topic(&self) -> Option<String> {
        let Recipients::One(id) = &self.recipients else { return None };
        if !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(self.meaning.company_topic.clone().unwrap_or_else(|| "SERVICE_REQUEST".to_owned()))
    }
}

/// The users that a new chat is with.
#[derive(Debug)]
pub(super) enum Recipients {
    One(String),
    Group(Vec<String>),
}

/// What a message consists of.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) text: String,
    pub(super) attachments: Vec<Attachment>,
}

impl Content {
    /// Returns whether there is nothing to deliver.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.attachments.is_empty()
    }
}

/// Parses `body`, as sent to `endpoint`, which must be an endpoint with a body.
pub(super) fn read(endpoint: Endpoint, body: &Value) -> Result<Request, Invalid> {
    match endpoint {
        Endpoint::StartChatFromInbox | Endpoint::StartChat => start_chat(body),
        Endpoint::SendMessage => send_message(body),
        Endpoint::ForwardMessage => forward_message(body),
        _ => Err(Invalid("no body is allowed here".to_owned())),
    }
}

fn start_chat(body: &Value) -> Result<Request, Invalid> {
    let known = ["text", "users_ids", "name", "attachments", "specifics", "options"];
    let fields = Fields::of(body, "", &known)?;
    let content = content(&fields)?;
    let recipients = recipients(&fields)?;
    let name = fields.optional_string("name")?.map(str::to_owned);
    if fields.get("specifics").is_some() && fields.get("options").is_some() {
        return Err(Invalid("specifics and options mean the same: send one of them".to_owned()));
    }
    let mut meaning = Specifics::default();
    for field in ["specifics", "options"] {
        if let Some(provider) = fields.optional_object(field, &["linkedin"])? {
            meaning = specifics::read(&provider)?;
        }
    }
    let received = |field| {
        let mut value = fields.get(field).cloned();
        value.iter_mut().for_each(attachment::shorten);
        value
    };
    let (specifics, options) = (received("specifics"), received("options"));
    Ok(Request::StartChat(Box::new(StartChat { recipients, name, content, specifics, options, meaning })))
}

fn send_message(body: &Value) -> Result<Request, Invalid> {
    let fields = Fields::of(body, "", &["text", "quote_id", "attachments"])?;
    let content = content(&fields)?;
    let quote_id = fields.optional_string("quote_id")?.map(str::to_owned);
    if content.is_empty() {
        return Err(Invalid("text must not be empty without attachments".to_owned()));
    }
    Ok(Request::SendMessage { content, quote_id })
}

fn forward_message(body: &Value) -> Result<Request, Invalid> {
    let fields = Fields::of(body, "", &["chat_id", "text"])?;
    let chat_id = fields.string("chat_id")?.to_owned();
    if chat_id.is_empty() {
        return Err(Invalid("chat_id must not be empty".to_owned()));
    }
    Ok(Request::ForwardMessage {
        chat_id,
        text: fields.optional_string("text")?.unwrap_or_default().to_owned(),
    })
}

/// Reads the recipients: a string or an array of one is a chat with one user, a longer array a group.
fn recipients(fields: &Fields<'_>) -> Result<Recipients, Invalid> {
    let expected = "a user id or an array of user ids, none of them empty";
    let value = fields.required("users_ids")?;
    let wrong = || fields.wrong("users_ids", expected, value);
    let user = |value: &Value| match value.as_str() {
        Some(id) if !id.is_empty() => Ok(id.to_owned()),
        _ => Err(wrong()),
    };
    match value {
        Value::Array(items) if items.is_empty() => Err(Invalid("users_ids must not be empty".to_owned())),
        Value::Array(items) if items.len() == 1 => user(&items[0]).map(Recipients::One),
        Value::Array(items) => items.iter().map(user).collect::<Result<_, _>>().map(Recipients::Group),
        single => user(single).map(Recipients::One),
    }
}

fn content(fields: &Fields<'_>) -> Result<Content, Invalid> {
    let text = fields.string("text")?.to_owned();
    Ok(Content { text, attachments: attachment::read_all(fields)? })
}
