//! Which endpoint of the API a request addresses, derived from its path.
//!
//! Called by `methods` for every request. A new endpoint is added here, gets its check in `requests` or `reads` and
//! its effect in `state`. Paths are split before they are decoded, because an id is one segment even if it contains
//! `/`; a router that decodes first would split the id.

use axum::http::Method;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

/// An endpoint of the API that the sandbox imitates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `POST /v2/{account_id}/inboxes/{inbox_id}/chats/send`
    StartChatFromInbox,
    /// `POST /v2/{account_id}/chats/send`
    StartChat,
    /// `POST /v2/{account_id}/chats/{chat_id}/messages/send`
    SendMessage,
    /// `POST /v2/{account_id}/chats/{chat_id}/messages/{message_id}/forward`
    ForwardMessage,
    /// `POST /v2/{account_id}/chats/{chat_id}/composing?action=…`
    SetComposing,
    /// `GET /v2/{account_id}/inboxes`
    ListInboxes,
    /// `GET /v2/{account_id}/linkedin/inmail-credits`
    GetInmailCredits,
    /// `GET /v2/accounts/`, with or without the slash
    ListAccounts,
    /// `GET /v2/accounts/{account_id}`
    GetAccount,
    /// `GET /v2/{account_id}/users/{user_id}`
    GetUser,
    /// `GET /v2/{account_id}/users/{user_id}/chat`
    GetUserChat,
    /// `GET /v2/{account_id}/chats` and `GET /v2/{account_id}/inboxes/{inbox_id}/chats`
    ListChats,
    /// `GET /v2/{account_id}/chats/{chat_id}`
    GetChat,
    /// `GET /v2/{account_id}/chats/{chat_id}/messages`
    ListMessages,
    /// `GET /v2/{account_id}/chats/{chat_id}/messages/{message_id}`
    GetMessage,
    /// `POST /v2/webhooks/endpoints/`, with or without the last slash
    CreateWebhookEndpoint,
    /// `GET /v2/webhooks/endpoints/`, with or without the last slash
    ListWebhookEndpoints,
    /// `GET /v2/webhooks/endpoints/{id}`
    GetWebhookEndpoint,
    /// `PATCH /v2/webhooks/endpoints/{id}`
    UpdateWebhookEndpoint,
    /// `DELETE /v2/webhooks/endpoints/{id}`
    DeleteWebhookEndpoint,
    /// `GET /v2/webhooks/conversations/?endpoint_id=…`, with or without the last slash
    ListWebhookConversations,
    /// Anything else under `/v2`.
    Unknown,
}

impl Endpoint {
    /// Returns whether the endpoint only reads, and so has the method GET.
    pub fn is_read(self) -> bool {
        self.method() == Method::GET
    }

    /// Returns whether the endpoint manages webhooks: it belongs to no account.
    pub(super) fn is_about_webhooks(self) -> bool {
        [
            Self::CreateWebhookEndpoint,
            Self::ListWebhookEndpoints,
            Self::GetWebhookEndpoint,
            Self::UpdateWebhookEndpoint,
            Self::DeleteWebhookEndpoint,
            Self::ListWebhookConversations,
        ]
        .contains(&self)
    }

    /// Returns the only method that the endpoint accepts.
    pub(super) fn method(self) -> Method {
        match self {
            Self::StartChatFromInbox
            | Self::StartChat
            | Self::SendMessage
            | Self::ForwardMessage
            | Self::SetComposing
            | Self::CreateWebhookEndpoint
            | Self::Unknown => Method::POST,
            Self::ListInboxes
            | Self::GetInmailCredits
            | Self::ListAccounts
            | Self::GetAccount
            | Self::GetUser
            | Self::GetUserChat
            | Self::ListChats
            | Self::GetChat
            | Self::ListMessages
            | Self::GetMessage
            | Self::ListWebhookEndpoints
            | Self::GetWebhookEndpoint
            | Self::ListWebhookConversations => Method::GET,
            Self::UpdateWebhookEndpoint => Method::PATCH,
            Self::DeleteWebhookEndpoint => Method::DELETE,
        }
    }
}

/// What a request addresses: the endpoint and the decoded ids of its path.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) endpoint: Endpoint,
    /// Empty if the endpoint is unknown or is about all accounts.
    pub(super) account_id: String,
    pub(super) inbox_id: Option<String>,
    pub(super) chat_id: Option<String>,
    pub(super) message_id: Option<String>,
    pub(super) user_id: Option<String>,
    /// Id of a webhook endpoint.
    pub(super) webhook_id: Option<String>,
}

impl Target {
    /// Parses `path`, which is still percent-encoded. Where several endpoints share a path, `method` selects one;
    /// whether that endpoint accepts the method is not checked here.
    pub(super) fn of(method: &Method, path: &str) -> Target {
        let path = match path {
            "/v2/accounts/" | "/v2/webhooks/endpoints/" | "/v2/webhooks/conversations/" => {
                path.trim_end_matches('/')
            }
            other => other,
        };
        let segments: Option<Vec<String>> = path.split('/').skip(1).map(decoded).collect();
        let segments = segments.unwrap_or_default();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let some = |id: &str| Some(id.to_owned());
        match segments.as_slice() {
            ["v2", "accounts"] => Self::at(Endpoint::ListAccounts, ""),
            ["v2", "accounts", account] => Self::at(Endpoint::GetAccount, account),
            ["v2", "webhooks", rest @ ..] => Self::of_webhooks(method, rest),
            ["v2", account, "inboxes"] => Self::at(Endpoint::ListInboxes, account),
            ["v2", account, "inboxes", inbox, "chats", "send"] => {
                Target { inbox_id: some(inbox), ..Self::at(Endpoint::StartChatFromInbox, account) }
            }
            ["v2", account, "inboxes", inbox, "chats"] => {
                Target { inbox_id: some(inbox), ..Self::at(Endpoint::ListChats, account) }
            }
            ["v2", account, "chats"] => Self::at(Endpoint::ListChats, account),
            ["v2", account, "linkedin", "inmail-credits"] => Self::at(Endpoint::GetInmailCredits, account),
            ["v2", account, "users", user] => {
                Target { user_id: some(user), ..Self::at(Endpoint::GetUser, account) }
            }
            ["v2", account, "users", user, "chat"] => {
                Target { user_id: some(user), ..Self::at(Endpoint::GetUserChat, account) }
            }
            ["v2", account, "chats", "send"] => Self::at(Endpoint::StartChat, account),
            ["v2", account, "chats", chat, rest @ ..] => {
                let (endpoint, message) = match rest {
                    [] => (Endpoint::GetChat, None),
                    ["composing"] => (Endpoint::SetComposing, None),
                    ["messages"] => (Endpoint::ListMessages, None),
                    ["messages", "send"] => (Endpoint::SendMessage, None),
                    ["messages", message] => (Endpoint::GetMessage, some(message)),
                    ["messages", message, "forward"] => (Endpoint::ForwardMessage, some(message)),
                    _ => return Self::at(Endpoint::Unknown, ""),
                };
                Target { chat_id: some(chat), message_id: message, ..Self::at(endpoint, account) }
            }
            _ => Self::at(Endpoint::Unknown, ""),
        }
    }

    /// Parses a path below `/v2/webhooks`.
    fn of_webhooks(method: &Method, rest: &[&str]) -> Target {
        match rest {
            ["conversations"] => Self::at(Endpoint::ListWebhookConversations, ""),
            ["endpoints"] if *method == Method::POST => Self::at(Endpoint::CreateWebhookEndpoint, ""),
            ["endpoints"] => Self::at(Endpoint::ListWebhookEndpoints, ""),
            ["endpoints", id] => {
                let endpoint = match *method {
                    Method::PATCH => Endpoint::UpdateWebhookEndpoint,
                    Method::DELETE => Endpoint::DeleteWebhookEndpoint,
                    _ => Endpoint::GetWebhookEndpoint,
                };
                Target { webhook_id: Some((*id).to_owned()), ..Self::at(endpoint, "") }
            }
            _ => Self::at(Endpoint::Unknown, ""),
        }
    }

    /// Returns the chat of an endpoint that has one in its path.
    pub(super) fn chat(&self) -> &str {
        self.chat_id.as_deref().expect("the endpoint has a chat in its path")
    }

    /// Returns the user of an endpoint that has one in its path.
    pub(super) fn user(&self) -> &str {
        self.user_id.as_deref().expect("the endpoint has a user in its path")
    }

    fn at(endpoint: Endpoint, account_id: &str) -> Self {
        let account_id = account_id.to_owned();
        Self {
            endpoint,
            account_id,
            inbox_id: None,
            chat_id: None,
            message_id: None,
            user_id: None,
            webhook_id: None,
        }
    }
}

/// Decodes one segment; `None` if it is empty or not UTF-8.
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
        let target = Target::of(&Method::POST, "/v2/acc_1/chats/c%2Fd/messages/m%2Fsend/forward");
        assert_eq!((target.endpoint, target.chat_id.as_deref()), (Endpoint::ForwardMessage, Some("c/d")));
        assert_eq!(target.message_id.as_deref(), Some("m/send"));
    }

    #[test]
    fn what_is_no_endpoint_is_unknown() {
        for path in [
            "/v2",
            "/v2/",
            "/v2/acc_1",
            "/v2/acc_1/chats//messages/send",
            "/v2/acc_1/chats/send/",
            "/v2/acc_1/chats/c/forward",
            "/v2/accounts/acc_1/",
            "/v2/a/%ff/send",
            "/v2/webhooks/endpoints/we_1/",
            "/v2/webhooks",
        ] {
            assert_eq!(Target::of(&Method::POST, path).endpoint, Endpoint::Unknown, "{path}");
        }
    }
}
