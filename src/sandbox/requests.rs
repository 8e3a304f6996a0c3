//! The request bodies of the API, checked as strictly as its description allows.
//!
//! Called by `methods` before anything happens. What is returned holds only what a delivery needs; provider options
//! are checked for their shape and then dropped, since the request itself is in the ledger. The service is believed
//! to drop unknown properties silently; this refuses them, because a dropped `inmail: true` sends a plain message.

use serde_json::Value;

use super::endpoint::Endpoint;
use super::ledger::Attachment;
use super::strict::{Fields, Invalid};

/// A request that may be carried out.
#[derive(Debug)]
pub(super) enum Request {
    /// Start a Chat, with or without an inbox.
    StartChat { recipients: Recipients, content: Content },
    /// Send a Message.
    SendMessage { content: Content },
    /// Set Composing Status.
    SetComposing,
}

/// Whom a new chat is with.
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
    /// Whether there is nothing to deliver.
    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.attachments.is_empty()
    }
}

/// Reads `body`, as sent to `endpoint`, which is not [`Endpoint::SetComposing`]: that has no body.
pub(super) fn read(endpoint: Endpoint, body: &Value) -> Result<Request, Invalid> {
    match endpoint {
        Endpoint::StartChatFromInbox | Endpoint::StartChat => start_chat(body),
        Endpoint::SendMessage => send_message(body),
        Endpoint::SetComposing | Endpoint::Unknown => Err(Invalid("no body is allowed here".to_owned())),
    }
}

fn start_chat(body: &Value) -> Result<Request, Invalid> {
    let known = ["text", "users_ids", "name", "attachments", "specifics", "options"];
    let fields = Fields::of(body, "", &known)?;
    let content = content(&fields)?;
    let recipients = recipients(&fields)?;
    fields.optional_string("name")?;
    if fields.get("specifics").is_some() && fields.get("options").is_some() {
        return Err(Invalid("specifics and options mean the same: send one of them".to_owned()));
    }
    for field in ["specifics", "options"] {
        if let Some(provider) = fields.optional_object(field, &["linkedin"])? {
            linkedin(&provider)?;
        }
    }
    Ok(Request::StartChat { recipients, content })
}

fn send_message(body: &Value) -> Result<Request, Invalid> {
    let fields = Fields::of(body, "", &["text", "quote_id", "attachments"])?;
    let content = content(&fields)?;
    fields.optional_string("quote_id")?;
    if content.is_empty() {
        return Err(Invalid("text must not be empty without attachments".to_owned()));
    }
    Ok(Request::SendMessage { content })
}

/// A string or an array of one is a chat with one user, a longer array a group.
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
    Ok(Content { text, attachments: attachments(fields)? })
}

fn attachments(fields: &Fields<'_>) -> Result<Vec<Attachment>, Invalid> {
    let items = fields.optional_array("attachments")?.iter().enumerate();
    items.map(|(index, item)| attachment(item, &format!("{}[{index}]", fields.name("attachments")))).collect()
}

fn attachment(item: &Value, path: &str) -> Result<Attachment, Invalid> {
    let known = ["content", "content_type", "filename", "metadata", "send_mode", "voice_note"];
    let fields = Fields::of(item, path, &known)?;
    let bytes = decoded_length(fields.string("content")?)
        .ok_or_else(|| Invalid(format!("{} is not base64", fields.name("content"))))?;
    if let Some(metadata) = fields.optional_object("metadata", &["duration"])?
        && let Some(duration) = metadata.get("duration")
        && !duration.is_number()
    {
        return Err(metadata.wrong("duration", "a number", duration));
    }
    fields.optional_choice("send_mode", &["native", "file"])?;
    fields.optional_boolean("voice_note")?;
    Ok(Attachment {
        filename: fields.string("filename")?.to_owned(),
        content_type: fields.string("content_type")?.to_owned(),
        bytes,
    })
}

/// How many bytes `base64` (standard alphabet, padded) stands for; `None` if it is not base64.
fn decoded_length(base64: &str) -> Option<u64> {
    let data = base64.trim_end_matches('=');
    let padding = base64.len() - data.len();
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if padding > 2 || !base64.len().is_multiple_of(4) || !data.as_bytes().iter().all(alphabet) {
        return None;
    }
    u64::try_from(base64.len() / 4 * 3 - padding).ok()
}

fn linkedin(provider: &Fields<'_>) -> Result<(), Invalid> {
    let products = ["classic", "sales_navigator", "recruiter"];
    let Some(linkedin) = provider.optional_object("linkedin", &products)? else { return Ok(()) };
    let known = ["inmail", "company_topic", "relation_request_id", "applicant"];
    if let Some(classic) = linkedin.optional_object("classic", &known)? {
        classic.optional_boolean("inmail")?;
        let topics = ["SERVICE_REQUEST", "REQUEST_A_DEMO", "SUPPORT", "CAREERS", "OTHER"];
        classic.optional_choice("company_topic", &topics)?;
        classic.optional_string("relation_request_id")?;
        if let Some(applicant) = classic.optional_object("applicant", &["id", "messaging_token"])? {
            applicant.string("id")?;
            applicant.string("messaging_token")?;
        }
    }
    if let Some(sales_navigator) = linkedin.optional_object("sales_navigator", &["subject"])? {
        sales_navigator.string("subject")?;
    }
    let known = ["subject", "signature", "visibility", "intent", "send_as", "channel_type", "follow_up"];
    linkedin.optional_object("recruiter", &known)?.map_or(Ok(()), |fields| recruiter(&fields))
}

fn recruiter(fields: &Fields<'_>) -> Result<(), Invalid> {
    fields.string("subject")?;
    fields.string("signature")?;
    fields.optional_choice("visibility", &["PUBLIC", "PRIVATE", "PROJECT"])?;
    fields.optional_choice("intent", &["HIRE_FOR_CLIENT", "HIRE_FOR_OWN_COMPANY"])?;
    fields.optional_choice("send_as", &["INMAIL", "EMAIL"])?;
    let channels = [
        "CAREER_SITE",
        "MANUAL_IMPORT",
        "INTERNAL_CANDIDATES",
        "RECRUITER_SEARCH",
        "REFERRAL",
        "JOB_POSTING_RECOMMENDED_MATCHES",
        "AUTOMATED_SOURCING",
        "JOB_POSTING",
    ];
    fields.optional_choice("channel_type", &channels)?;
    let known = ["subject", "text", "attachments", "scheduled_for"];
    let Some(follow_up) = fields.optional_object("follow_up", &known)? else { return Ok(()) };
    follow_up.string("subject")?;
    follow_up.string("text")?;
    attachments(&follow_up)?;
    scheduled_for(follow_up.required("scheduled_for")?, &follow_up.name("scheduled_for"))
}

/// Either days or weeks from now, never both.
fn scheduled_for(value: &Value, path: &str) -> Result<(), Invalid> {
    let fields = Fields::of(value, path, &["days", "weeks", "timezone"])?;
    fields.optional_string("timezone")?;
    let days = fields.optional_integer("days", 3..=28)?;
    let weeks = fields.optional_integer("weeks", 1..=4)?;
    if days.is_some() == weeks.is_some() {
        return Err(Invalid(format!("{path} needs either days or weeks")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::decoded_length;

    #[test]
    fn base64_is_measured_or_refused() {
        let cases = [
            ("", Some(0)),
            ("Zg==", Some(1)),
            ("Zm8=", Some(2)),
            ("Zm9v", Some(3)),
            ("Zm9vYg==", Some(4)),
            ("Zm9", None),
            ("Z===", None),
            ("Zg=v", None),
            ("Zm-_", None),
            ("Zm9v\n", None),
        ];
        for (base64, length) in cases {
            assert_eq!(decoded_length(base64), length, "{base64:?}");
        }
    }
}
