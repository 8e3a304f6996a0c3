//! Why a message waits or stopped: stable codes, each with a sentence and with who must act (P6).
//!
//! The codes are part of the contract: they stand in SQL (`messages.reason`), in JSON and in `docs/reasons.md`,
//! which a test compares with this list. A code is never reused for something else.

use super::outcome::DownCause;

/// Who has to do something before the message goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// Nobody: it goes on by itself.
    Nobody,
    /// Whoever runs the daemon.
    Operator,
    /// Whoever put the message in.
    Producer,
}

impl Actor {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Operator => "operator",
            Self::Producer => "producer",
        }
    }
}

macro_rules! reasons {
    ($($name:ident, $code:literal, $actor:ident, $sentence:literal;)+) => {
        /// A stable code of why a message waits or stopped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $sentence] $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The code as SQL and JSON have it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// One sentence that a support ticket can quote.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)+ }
            }

            /// Who must act.
            pub fn actor(self) -> Actor {
                match self { $(Self::$name => Actor::$actor,)+ }
            }
        }
    };
}

reasons! {
    Admission, "admission", Nobody, "The daemon has not looked at this row yet.";
    DaemonPaused, "daemon_paused", Operator, "All sending is paused.";
    KeyRefused, "key_refused", Operator, "Unipile refuses the API key or the subscription, so nothing can be sent.";
    Restored, "restored", Operator, "The queue is a copy or was restored from a backup, so nothing is sent until somebody lets it go.";
    Storage, "storage", Nobody, "The queue cannot be written or read, so nothing can be sent; it is tried again.";
    AccountPaused, "account_paused", Operator, "The account is paused.";
    AccountDisconnected, "account_disconnected", Operator, "The account is disconnected from its provider; its owner must sign in again.";
    AccountRestricted, "account_restricted", Operator, "The account is restricted and must not send.";
    AccountThrottled, "account_throttled", Operator, "The provider throttled the account twice within a short time; a person must decide when it goes on.";
    ApiRateLimited, "api_rate_limited", Nobody, "Unipile limits this account's calls and said how long to wait.";
    Cooldown, "cooldown", Nobody, "The provider throttled the account, which now rests.";
    Failures, "failures", Operator, "Several attempts of the account failed in a row, so it rests.";
    ApiUnreachable, "api_unreachable", Nobody, "The Unipile API cannot be reached; the next try is timed.";
    ApiBusy, "api_busy", Nobody, "The limit of requests a second to the API as a whole is used up for the moment.";
    Scheduled, "scheduled", Nobody, "The producer asked not to send it before this time.";
    Retry, "retry", Nobody, "The last attempt certainly reached nobody; the next one is timed.";
    InmailCredits, "inmail_credits", Nobody, "The InMail credits that are left are kept back, or could not be read; they are read again then.";
    ChatLookup, "chat_lookup", Nobody, "Whether a chat with this person exists could not be read; it is read again then.";
    ChatOrder, "chat_order", Nobody, "An earlier message to the same chat or recipient is not settled, and order in a chat is kept.";
    RecipientRest, "recipient_rest", Nobody, "The same person was written to a short time ago by a message that started a chat.";
    OutsideHours, "outside_hours", Nobody, "It is outside the account's hours.";
    Cap, "cap", Nobody, "A cap of the account is used up.";
    WarmUp, "warm_up", Nobody, "What the warm-up allows of a cap is used up for now.";
    HalfCaps, "half_caps", Nobody, "The provider throttled the account lately, and the half of a cap that it has until then is used up.";
    Turn, "turn", Nobody, "Earlier messages of the account go first.";
    InFlight, "in_flight", Nobody, "A call of the account is on its way; there is never a second one.";
    Gap, "gap", Nobody, "The account pauses between two sends.";
    Break, "break", Nobody, "The account takes a break after several sends.";
    Typing, "typing", Nobody, "The typing indicator is shown.";
    Now, "now", Nobody, "Nothing holds it; it is about to be sent.";
    Reconciling, "reconciling", Nobody, "Whether it reached the recipient is not known yet; the chat is read back to find out.";
    Stale, "stale", Operator, "It was due long before the daemon started; somebody must say whether it still matters.";
    OutcomeUnknown, "outcome_unknown", Operator, "The call may or may not have reached the recipient, and reading chats back is switched off; look into the chat before anything is sent again.";
    NotInChat, "not_in_chat", Operator, "It may have been sent and was not in the chat when it was last read back; look before anything is sent again.";
    PartlyInChat, "partly_in_chat", Operator, "Only a part of it is in the chat; look before anything is sent again.";
    CannotTell, "cannot_tell", Operator, "It may have been sent, and what the chat shows does not tell; look before anything is sent again.";
    ChatUnreadable, "chat_unreadable", Operator, "It may have been sent, and the chat could not be read back; look before anything is sent again.";
    Delivered, "delivered", Nobody, "It reached the provider.";
    Refused, "refused", Producer, "Unipile or the provider refused this message for good.";
    InboxUnusable, "inbox_unusable", Producer, "The inbox cannot start a chat.";
    RetriesSpent, "retries_spent", Producer, "Every retry was spent and none reached the provider.";
    Cancelled, "cancelled", Nobody, "It was cancelled.";
    Expired, "expired", Producer, "It was not sent before its expiry.";
    Invalid, "invalid", Producer, "The row says something that cannot be sent.";
}

impl Reason {
    /// Whether a message can be set aside for it until a time, without an attempt.
    pub fn defers(self) -> bool {
        matches!(self, Self::InmailCredits | Self::ChatLookup | Self::RecipientRest)
    }

    /// Why messages wait while an account, or the key, is down for `cause`.
    pub fn of_down(cause: DownCause) -> Self {
        match cause {
            DownCause::Disconnected => Self::AccountDisconnected,
            DownCause::Restricted => Self::AccountRestricted,
            DownCause::Throttled => Self::AccountThrottled,
            DownCause::Key => Self::KeyRefused,
        }
    }

    /// The reason of that code.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_sentences_end() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::parse(reason.as_str()), Some(*reason), "code used twice: {reason:?}");
            assert!(reason.sentence().ends_with('.'), "{reason:?}");
            assert_eq!(Reason::ALL.iter().position(|other| other == reason), Some(index));
        }
    }
}
