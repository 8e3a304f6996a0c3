//! The outcome of one call to the provider.
//!
//! `classify` in `provider/wire.rs` decides it, without I/O; `domain/state.rs` turns it into a state. The enum is
//! built around the question "can it have reached the recipient", not "did it fail".

use std::time::Duration;

use super::message::ChatId;

/// The outcome of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The message reached the provider.
    Accepted {
        /// The chat, if the answer names one (starting a chat does, sending into one does not).
        chat_id: Option<ChatId>,
        /// Ids of the resulting messages; several if the provider splits it, none if the answer has none.
        message_ids: Vec<String>,
    },
    /// Refused for good: this message cannot be sent unchanged.
    Refused(ProviderError),
    /// It certainly did not reach the recipient, and may be retried.
    NotSent {
        /// The error.
        problem: ProviderError,
        /// What must wait, and for how long.
        hold: Hold,
    },
    /// The provider itself throttled the account; this message may or may not have reached the recipient.
    Throttled(ProviderError),
    /// The account, or the key, cannot send at all; the message keeps its place in the queue.
    AccountDown {
        /// What cannot send, and so who must act.
        cause: DownCause,
        /// The error.
        problem: ProviderError,
    },
    /// It may or may not have reached the recipient.
    Uncertain {
        /// How far the call got.
        phase: Phase,
        /// The error.
        problem: ProviderError,
    },
}

impl Outcome {
    /// Returns what the outcome shows about the API as a whole.
    pub fn heard(&self) -> Heard {
        self.problem().map_or(Heard::Answer, ProviderError::heard)
    }

    /// Returns the word stored in `attempts.outcome`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Refused(_) => "refused",
            Self::NotSent { .. } => "not_sent",
            Self::Throttled(_) => "throttled",
            Self::AccountDown { .. } => "account_down",
            Self::Uncertain { .. } => "uncertain",
        }
    }

    /// Returns the error, if there is one.
    pub fn problem(&self) -> Option<&ProviderError> {
        match self {
            Self::Accepted { .. } => None,
            Self::Refused(problem)
            | Self::Throttled(problem)
            | Self::NotSent { problem, .. }
            | Self::AccountDown { problem, .. }
            | Self::Uncertain { problem, .. } => Some(problem),
        }
    }
}

/// What must wait after a call that certainly did not reach the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// This message, by its retry policy.
    Message,
    /// The account, because Unipile limits its calls; for the given time, if Unipile gave one.
    Account(Option<Duration>),
    /// The account's InMails, because its credits are spent.
    Credits,
    /// All calls, because the API could not be reached.
    Api,
}

words! {
    /// Why an account, or the whole key, cannot send.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum DownCause {
        /// The account's owner must sign in again.
        Disconnected = "disconnected",
        /// Unipile or LinkedIn restricted the account.
        Restricted = "restricted",
        /// The provider throttled the account again so soon that a person must decide.
        Throttled = "throttled",
        /// Unipile refuses the API key or the subscription; affects every account.
        Key = "key",
    }
}

words! {
    /// How far a call got, in ascending order.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Phase {
        /// The intent is durable; nothing else is known.
        Claimed = "claimed",
        /// A connection was being made; no byte of the request left.
        Connecting = "connecting",
        /// Bytes of the request may have left.
        Written = "written",
        /// A complete answer arrived.
        Answered = "answered",
    }
}

/// An error from the provider or from this side, kept verbatim and in full.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProviderError {
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// Unipile's `type`, such as `provider/unprocessable_entity`; our own begin with `outboxd/`.
    pub kind: String,
    /// Unipile's `title`.
    pub title: Option<String>,
    /// Unipile's `detail`, or a description of what happened locally.
    pub detail: Option<String>,
    /// Unipile's `req_id`, to quote to their support.
    pub req_id: Option<String>,
}

impl ProviderError {
    /// Returns an error that happened on this side of the wire; prefixes `kind` with `outboxd/`.
    pub fn local(kind: &str, detail: impl Into<String>) -> Self {
        Self { kind: format!("outboxd/{kind}"), detail: Some(detail.into()), ..Self::default() }
    }
}

/// What the end of a call shows about the API as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Unipile itself answered.
    Answer,
    /// The API failed: no answer arrived, something other than Unipile answered, or Unipile reported its own failure.
    Trouble,
    /// The call shows neither.
    Neither,
}

/// An answer that is not Unipile's: a gateway's page, an empty body, a foreign JSON object.
pub const UNTYPED_ANSWER: &str = "outboxd/untyped_answer";
/// An answer that is not Unipile's, with a status of success.
pub const UNTYPED_SUCCESS: &str = "outboxd/untyped_success";
/// A gateway refused the size of a large request, which is the message's fault.
pub const TOO_LARGE: &str = "outboxd/too_large";
/// Unipile's error object, with a status of success.
pub const ERROR_AS_SUCCESS: &str = "outboxd/error_as_success";
/// No connection was made, so no byte of the request left.
pub const CANNOT_CONNECT: &str = "outboxd/cannot_connect";
/// A connection was made, or was being made, and no byte of the request's body left.
pub const NOT_WRITTEN: &str = "outboxd/not_written";

impl ProviderError {
    /// Returns what this error shows about the API as a whole.
    pub fn heard(&self) -> Heard {
        match self.kind.as_str() {
            UNTYPED_ANSWER
            | UNTYPED_SUCCESS
            | ERROR_AS_SUCCESS
            | CANNOT_CONNECT
            | NOT_WRITTEN
            | "outboxd/cut_off"
            | "outboxd/timeout"
            | "outboxd/no_answer"
            | "outboxd/broken_answer"
            | "api/internal_error"
            | "api/proxy_error"
            | "api/proxy_timeout" => Heard::Trouble,
            "api/not_implemented" => Heard::Answer,
            kind if kind.starts_with("outboxd/") => Heard::Neither,
            kind if kind.starts_with("api/") && matches!(self.status, Some(408 | 425 | 500..)) => {
                Heard::Trouble
            }
            _ => Heard::Answer,
        }
    }

    /// Returns whether Unipile or the provider refused the request for good: repeating it gives the same answer.
    pub fn is_final(&self) -> bool {
        let is_temporary = matches!(self.status, Some(401 | 407 | 408 | 425 | 429));
        let refused = self.status.is_some_and(|status| (400..500).contains(&status) || status == 501);
        self.heard() == Heard::Answer && refused && !is_temporary
    }

    /// Returns whether Unipile answered that the provider behind it failed: all of it, or one account's way to it.
    pub fn is_provider_trouble(&self) -> bool {
        match self.kind.as_str() {
            "provider/server_error" | "provider/timeout" => true,
            kind => kind.starts_with("provider/") && self.status.is_some_and(|status| status >= 500),
        }
    }

    /// Returns whether the answer may mean that Unipile does not have the account at all. It has one type for that, for
    /// inboxes and for whatever else it does not have.
    pub fn may_mean_the_account(&self) -> bool {
        matches!(self.kind.as_str(), "api/resource_not_found" | "api/gone")
    }

    /// Returns whether the provider itself, not Unipile, reported too many requests.
    pub fn is_throttling(&self) -> bool {
        self.kind == "provider/too_many_requests"
    }
}

impl std::fmt::Display for ProviderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.kind)?;
        if let Some(status) = self.status {
            write!(f, " ({status})")?;
        }
        match (&self.title, &self.detail) {
            (Some(title), Some(detail)) => write!(f, ": {title}: {detail}")?,
            (Some(one), None) | (None, Some(one)) => write!(f, ": {one}")?,
            (None, None) => {}
        }
        match &self.req_id {
            Some(req_id) => write!(f, " [{req_id}]"),
            None => Ok(()),
        }
    }
}
