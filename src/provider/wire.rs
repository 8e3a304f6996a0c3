//! Unipile's JSON: the request bodies, and the meaning of each answer.
//!
//! Only [`classify`] decides whether a call can have reached a recipient. It checks the error's `type` first and the
//! HTTP status second; an unknown answer stops that message and is stored verbatim. `tests/it/classify.rs` has a
//! fixture for every known type.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Call, CallTarget, Dialect, Recipients};
use crate::domain::message::ChatId;
use crate::domain::outcome::{
    DownCause, ERROR_AS_SUCCESS, Hold, Outcome, Phase, ProviderError, TOO_LARGE, UNTYPED_ANSWER,
    UNTYPED_SUCCESS,
};

/// The success body that a call expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// `ChatStarted`, of both ways to start a chat.
    ChatStarted,
    /// `MessageSent`, of Send a Message.
    MessageSent,
    /// `MessageForwarded`, of Forward a Message.
    MessageForwarded,
}

impl Expected {
    fn object(self) -> &'static str {
        match self {
            Self::ChatStarted => "ChatStarted",
            Self::MessageSent => "MessageSent",
            Self::MessageForwarded => "MessageForwarded",
        }
    }
}

/// A gateway that refuses the size of a smaller request is broken: it would refuse any message.
const LARGE: u64 = 64 << 10;

/// A complete answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The expected success body.
    pub expected: Expected,
    /// Length of the request's body in bytes.
    pub sent: u64,
    /// HTTP status.
    pub status: u16,
    /// The wait that `retry-after` requests, or else `x-ratelimit-reset`.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: &'a [u8],
}

/// Returns the path below the base URL, the body of a call, and the success body to expect.
pub fn request(call: &Call, dialect: Dialect) -> (String, Value, Expected) {
    let account = segment(call.account_id.as_str());
    match &call.target {
        CallTarget::Chat { chat_id, quote_id } => {
            let path = format!("/v2/{account}/chats/{}/messages/send", segment(chat_id.as_str()));
            let mut body = json!({ "text": call.text });
            if let Some(quote_id) = quote_id {
                body["quote_id"] = json!(quote_id);
            }
            (path, body, Expected::MessageSent)
        }
        CallTarget::Start { recipients, inbox_id, specifics } => {
            let path = match inbox_id {
                Some(inbox_id) => format!("/v2/{account}/inboxes/{}/chats/send", segment(inbox_id.as_str())),
                None => format!("/v2/{account}/chats/send"),
            };
            let mut body = json!({ "text": call.text });
            start_into(&mut body, recipients, specifics.as_ref(), dialect);
            (path, body, Expected::ChatStarted)
        }
        CallTarget::Forward { source_chat_id, source_message_id, chat_id } => {
            let (chat, message) = (segment(source_chat_id.as_str()), segment(source_message_id));
            let mut body = json!({ "chat_id": chat_id.as_str() });
            if !call.text.is_empty() {
                body["text"] = json!(call.text);
            }
            (
                format!("/v2/{account}/chats/{chat}/messages/{message}/forward"),
                body,
                Expected::MessageForwarded,
            )
        }
    }
}

/// In the SDKs' form, a string starts a chat with one person and an array a group; the guide only uses arrays.
fn start_into(body: &mut Value, recipients: &Recipients, specifics: Option<&Value>, dialect: Dialect) {
    match recipients {
        Recipients::One(user_id) => {
            body["users_ids"] = match dialect {
                Dialect::Specifics => json!(user_id.as_str()),
                Dialect::Guide => json!([user_id.as_str()]),
            };
        }
        Recipients::Group { users_ids, name } => {
            body["users_ids"] = users_ids.iter().map(|id| json!(id.as_str())).collect();
            if let Some(name) = name {
                body["name"] = json!(name);
            }
        }
    }
    if let Some(specifics) = specifics {
        let field = match dialect {
            Dialect::Specifics => "specifics",
            Dialect::Guide => "options",
        };
        body[field] = specifics.clone();
    }
}

/// Encodes an opaque id as one path segment.
pub(super) fn segment(id: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
    utf8_percent_encode(id, SEGMENT).to_string()
}

/// Classifies an answer. Pure; an unknown answer is never classified as "not sent".
pub fn classify(answer: &Answer<'_>) -> Outcome {
    let body: Option<Value> = serde_json::from_slice(answer.body).ok();
    if (200..300).contains(&answer.status) {
        return success(answer, body.as_ref());
    }
    let problem = problem(answer, body.as_ref());
    let refused = |problem| Outcome::Refused(problem);
    let down = |cause| move |problem| Outcome::AccountDown { cause, problem };
    let not_sent = |hold| move |problem| Outcome::NotSent { problem, hold };
    let uncertain = |problem| Outcome::Uncertain { phase: Phase::Answered, problem };
    match problem.kind.as_str() {
        "api/too_many_requests" => not_sent(Hold::Account(answer.retry_after))(problem),
        "provider/too_many_requests" => Outcome::Throttled(problem),
        "provider/invalid_authorization"
        | "provider/invalid_credentials"
        | "provider/account_mismatch"
        | "provider/invalid_checkpoint_code"
        | "provider/unknown_authentication_context"
        | "api/invalid_auth_format" => down(DownCause::Disconnected)(problem),
        "api/account_restricted" => down(DownCause::Restricted)(problem),
        "api/missing_authorization"
        | "api/expired_authorization"
        | "api/inactive_subscription"
        | "api/insufficient_permissions" => down(DownCause::Key)(problem),
        "api/proxy_auth_error" => not_sent(Hold::Message)(problem),
        "api/invalid_parameters"
        | "provider/invalid_parameters"
        | "provider/insufficient_permissions"
        | "api/already_exists"
        | "provider/resource_not_found"
        | "api/resource_not_found"
        | "provider/method_not_allowed"
        | "provider/invalid_file"
        | "provider/unprocessable_entity"
        | "api/not_implemented" => refused(problem),
        "api/conflict"
        | "provider/conflict"
        | "api/internal_error"
        | "api/proxy_error"
        | "provider/server_error"
        | "api/proxy_timeout"
        | "provider/timeout" => uncertain(problem),
        UNTYPED_ANSWER => by_gateway(answer, problem),
        _unknown => match answer.status {
            // Unipile itself had no time for the request, which concerns every message.
            408 | 425 if problem.kind.starts_with("api/") => not_sent(Hold::Api)(problem),
            408 | 425 => not_sent(Hold::Message)(problem),
            429 => not_sent(Hold::Account(answer.retry_after))(problem),
            // No message causes a 401; stopping the account loses nothing (docs/decisions/0003).
            401 => down(DownCause::Disconnected)(problem),
            400..=499 => refused(problem),
            _ => uncertain(problem),
        },
    }
}

/// Classifies an answer that is not Unipile's own but a gateway's. A 4xx means that the gateway did not pass the
/// request on, which is a failure of the API and never of the message or its account.
fn by_gateway(answer: &Answer<'_>, problem: ProviderError) -> Outcome {
    match answer.status {
        // The request is too large for the gateway, and stays so.
        413 if answer.sent >= LARGE => {
            Outcome::Refused(ProviderError { kind: TOO_LARGE.to_owned(), ..problem })
        }
        429 => Outcome::NotSent { problem, hold: Hold::Account(answer.retry_after) },
        // A gateway also returns 408 if the server behind it was slow to answer, and 499 if the client gave up.
        408 | 499 => Outcome::Uncertain { phase: Phase::Answered, problem },
        // 307 and 308 redirect the request elsewhere, so it was not acted on here.
        307 | 308 | 400..=498 => Outcome::NotSent { problem, hold: Hold::Api },
        _ => Outcome::Uncertain { phase: Phase::Answered, problem },
    }
}

fn success(answer: &Answer<'_>, body: Option<&Value>) -> Outcome {
    let uncertain = |problem| Outcome::Uncertain {
        phase: Phase::Answered,
        problem: ProviderError { status: Some(answer.status), ..problem },
    };
    let unknown = |what: String| uncertain(ProviderError::local("unexpected_success", what));
    let Some(object) = body.and_then(|body| body.get("object")).and_then(Value::as_str) else {
        let what = format!("the answer is not Unipile's: {}", excerpt(answer.body));
        return uncertain(ProviderError {
            kind: UNTYPED_SUCCESS.to_owned(),
            ..ProviderError::local("", what)
        });
    };
    if object == "Error" {
        let what = format!("an error with a status of success: {}", excerpt(answer.body));
        let kind = ERROR_AS_SUCCESS.to_owned();
        return uncertain(ProviderError { kind, ..ProviderError::local("", what) });
    }
    if object != answer.expected.object() {
        let expected = answer.expected.object();
        return unknown(format!("expected the object {expected}: {}", excerpt(answer.body)));
    }
    let field = |name: &str| body.and_then(|body| body.get(name));
    let message_ids = match field("message_id") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(id)) => vec![id.clone()],
        Some(Value::Array(ids)) => ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect(),
        Some(_) => return unknown(format!("message_id is not an id: {}", excerpt(answer.body))),
    };
    let chat_id = field("chat_id").and_then(Value::as_str).map(ChatId::new);
    if answer.expected == Expected::ChatStarted && chat_id.is_none() {
        return unknown(format!("the chat was started and its id is missing: {}", excerpt(answer.body)));
    }
    Outcome::Accepted { chat_id, message_ids }
}

/// Returns Unipile's error, or what a gateway returned in its place.
fn problem(answer: &Answer<'_>, body: Option<&Value>) -> ProviderError {
    let text = |field: &str| body.and_then(|body| body.get(field)).and_then(Value::as_str).map(str::to_owned);
    let is_error = text("object").is_some_and(|object| object == "Error");
    // Gateways return problem documents as well, whose type is `about:blank` or an address.
    let is_ours = |kind: &String| is_error || kind.starts_with("api/") || kind.starts_with("provider/");
    let Some(kind) = text("type").filter(is_ours) else {
        let detail = format!("an answer without an error type: {}", excerpt(answer.body));
        let local = ProviderError { kind: UNTYPED_ANSWER.to_owned(), ..ProviderError::local("", detail) };
        return ProviderError { status: Some(answer.status), ..local };
    };
    ProviderError {
        status: Some(answer.status),
        kind,
        title: text("title"),
        detail: text("detail"),
        req_id: text("req_id"),
    }
}

/// Returns the start of a body, for a person.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let short: String = text.chars().take(500).collect();
    if short.trim().is_empty() { "(empty)".to_owned() } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::{AccountId, InboxId, UserId};

    fn call(target: CallTarget) -> Call {
        Call {
            account_id: AccountId::new("acc_1"),
            target,
            text: "Hi \"you\"\n".into(),
            attachments: Vec::new(),
            progress: crate::provider::Progress::default(),
        }
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_endpoint_has_its_path_and_exact_body_in_both_dialects() {
        let start = |recipients, inbox_id: Option<&str>, specifics| CallTarget::Start {
            recipients,
            inbox_id: inbox_id.map(InboxId::new),
            specifics,
        };
        let one = || Recipients::One(UserId::new("ACoA1"));
        let group =
            Recipients::Group { users_ids: vec![UserId::new("a"), UserId::new("b")], name: Some("G".into()) };
        let inmail = json!({"linkedin": {"classic": {"inmail": true}}});
        let chat_id = ChatId::new("2-a/b:c==%+é");
        let chat_path = "/v2/acc_1/chats/2-a%2Fb%3Ac%3D%3D%25%2B%C3%A9/messages/send";
        let inbox_path = "/v2/acc_1/inboxes/CLASSIC_PRIMARY/chats/send";
        let forward = CallTarget::Forward {
            source_chat_id: ChatId::new("s/1"),
            source_message_id: "m=".into(),
            chat_id: ChatId::new("d"),
        };
        let cases = [
            (
                CallTarget::Chat { chat_id: chat_id.clone(), quote_id: None },
                chat_path,
                [r#"{"text":"Hi \"you\"\n"}"#; 2],
            ),
            (
                CallTarget::Chat { chat_id, quote_id: Some("q".into()) },
                chat_path,
                [r#"{"quote_id":"q","text":"Hi \"you\"\n"}"#; 2],
            ),
            (
                start(one(), Some("CLASSIC_PRIMARY"), None),
                inbox_path,
                [
                    r#"{"text":"Hi \"you\"\n","users_ids":"ACoA1"}"#,
                    r#"{"text":"Hi \"you\"\n","users_ids":["ACoA1"]}"#,
                ],
            ),
            (
                start(one(), None, Some(inmail)),
                "/v2/acc_1/chats/send",
                [
                    r#"{"specifics":{"linkedin":{"classic":{"inmail":true}}},"text":"Hi \"you\"\n","users_ids":"ACoA1"}"#,
                    r#"{"options":{"linkedin":{"classic":{"inmail":true}}},"text":"Hi \"you\"\n","users_ids":["ACoA1"]}"#,
                ],
            ),
            (
                start(group, Some("CLASSIC_PRIMARY"), None),
                inbox_path,
                [r#"{"name":"G","text":"Hi \"you\"\n","users_ids":["a","b"]}"#; 2],
            ),
            (
                forward,
                "/v2/acc_1/chats/s%2F1/messages/m%3D/forward",
                [r#"{"chat_id":"d","text":"Hi \"you\"\n"}"#; 2],
            ),
        ];
        for (target, path, bodies) in cases {
            for (dialect, body) in [Dialect::Specifics, Dialect::Guide].into_iter().zip(bodies) {
                let (found_path, found_body, _) = request(&call(target.clone()), dialect);
                let found: Value = serde_json::from_str(body).unwrap();
                assert_eq!((found_path.as_str(), &found_body), (path, &found), "{dialect:?}");
            }
        }
    }
}
