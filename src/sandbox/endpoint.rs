//! Which endpoint of the API a request is for, read off its method and path.
//!
//! Called by `methods` for every request. An endpoint is added here, gets its body check in `requests` and its
//! effect in `world`. Paths are taken apart before they are decoded, because an id is one segment even if it
//! contains `/`; a router that decodes first would tear it.

use axum::http::Method;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

/// An endpoint of the API as far as the sandbox imitates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /v2/{account_id}/inboxes/{inbox_id}/chats/send`
    StartChatFromInbox,
    /// `POST /v2/{account_id}/chats/send`
    StartChat,
    /// `POST /v2/{account_id}/chats/{chat_id}/messages/send`
    SendMessage,
    /// `POST /v2/{account_id}/chats/{chat_id}/composing?action=…`
    SetComposing,
    /// Anything else under `/v2`.
    Unknown,
}

/// What a request aims at: the endpoint and the decoded ids of its path.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    /// Empty if the endpoint is unknown.
    pub(super) account_id: String,
    pub(super) inbox_id: Option<String>,
    pub(super) chat_id: Option<String>,
    /// Whether the method is the one that the endpoint has.
    pub(super) method_allowed: bool,
}

impl Target {
    /// Reads `path`, which is still percent-encoded.
    pub(super) fn of(method: &Method, path: &str) -> Target {
        let segments: Option<Vec<String>> = path.split('/').skip(1).map(decoded).collect();
        let segments = segments.unwrap_or_default();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (endpoint, account_id, inbox_id, chat_id) = match segments.as_slice() {
            ["v2", account, "inboxes", inbox, "chats", "send"] => {
                (Endpoint::StartChatFromInbox, *account, Some(*inbox), None)
            }
            ["v2", account, "chats", "send"] => (Endpoint::StartChat, *account, None, None),
            ["v2", account, "chats", chat, "messages", "send"] => {
                (Endpoint::SendMessage, *account, None, Some(*chat))
            }
            ["v2", account, "chats", chat, "composing"] => {
                (Endpoint::SetComposing, *account, None, Some(*chat))
            }
            _ => (Endpoint::Unknown, "", None, None),
        };
        Target {
            endpoint,
            account_id: account_id.to_owned(),
            inbox_id: inbox_id.map(str::to_owned),
            chat_id: chat_id.map(str::to_owned),
            method_allowed: method == Method::POST,
        }
    }
}

/// One decoded segment; an empty one or one that is not UTF-8 names nothing.
fn decoded(segment: &str) -> Option<String> {
    let text = percent_decode_str(segment).decode_utf8().ok()?;
    if text.is_empty() { None } else { Some(text.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_decoded_as_one_segment() {
        let target = Target::of(&Method::POST, "/v2/acc_1/chats/2-a%2Fb%3Ac%3D%3D/messages/send");
        assert_eq!(target.endpoint, Endpoint::SendMessage);
        assert_eq!(target.chat_id.as_deref(), Some("2-a/b:c=="));
    }

    #[test]
    fn what_is_no_endpoint_is_unknown() {
        for path in
            ["/v2", "/v2/", "/v2/acc_1/chats//messages/send", "/v2/acc_1/chats/send/", "/v2/a/%ff/send"]
        {
            assert_eq!(Target::of(&Method::POST, path).endpoint, Endpoint::Unknown, "{path}");
        }
    }
}
