//! Why a message waits or stopped: stable codes, each with a sentence and with who must act (P6).
//!
//! The codes are part of the contract: they appear in SQL (`messages.reason`), in JSON and in `docs/reasons.md`,
//! which a test compares with this list. A code is never reused for another meaning.

use super::outcome::DownCause;

words! {
    /// Who must act before the message can continue.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Actor {
        /// No action is needed; a waiting message continues automatically.
        NoOne = "none",
        /// The operator of the daemon.
        Operator = "operator",
        /// The program or person that queued the message.
        Producer = "producer",
    }
}

macro_rules! reasons {
    ($($name:ident, $code:literal, $actor:ident, $sentence:literal;)+) => {
        /// A stable code for why a message waits or stopped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {
            $(#[doc = $sentence] $name,)+
        }

        impl Reason {
            /// All reasons.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Returns the code in SQL and JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// Returns one sentence that a support ticket can quote.
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)+ }
            }

            /// Returns who must act.
            pub fn actor(self) -> Actor {
                match self { $(Self::$name => Actor::$actor,)+ }
            }
        }
    };
}

reasons! {
    Admission, "admission", NoOne, "Not admitted yet: the daemon has not validated this row.";
    DaemonPaused, "daemon_paused", Operator, "All sending is paused.";
    KeyRefused, "key_refused", Operator, "Unipile refuses the API key or the subscription, so nothing can be sent.";
    Restored, "restored", Operator, "The queue is a copy or was restored from a backup. Nothing is sent until an operator releases it.";
    Storage, "storage", NoOne, "The queue cannot be written or read. Sending resumes when it can.";
    AccountPaused, "account_paused", Operator, "The account is paused.";
    AccountDisconnected, "account_disconnected", Operator, "The account is disconnected from its provider; its owner must sign in again.";
    AccountRestricted, "account_restricted", Operator, "The account is restricted and must not send.";
    AccountThrottled, "account_throttled", Operator, "The provider throttled the account twice within a short time; a person must decide when it goes on.";
    ApiRateLimited, "api_rate_limited", NoOne, "Unipile limits this account's calls and said how long to wait.";
    Cooldown, "cooldown", NoOne, "The provider throttled the account, which now rests.";
    Failures, "failures", Operator, "Several attempts of the account failed in a row, so it rests.";
    ApiUnreachable, "api_unreachable", NoOne, "The Unipile API cannot be reached. Retried at the time shown.";
    ApiTrial, "api_trial", NoOne, "The last sends failed at Unipile, which still answers reads. One message at a time is tried, the next at the time shown.";
    ApiBusy, "api_busy", NoOne, "The request rate to the API as a whole is used up for the moment.";
    Stopped, "stopped", Operator, "A stop of the person, the chat or the campaign holds it.";
    Held, "held", Operator, "It is held until it is released.";
    OwnerWrote, "owner_wrote", NoOne, "The owner of the account wrote to this person by hand, so messages of the queue wait.";
    OutOfOffice, "out_of_office", NoOne, "The person answered automatically that they are away.";
    StepBefore, "step_before", NoOne, "The step before it in its campaign is not sent yet.";
    StepWait, "step_wait", NoOne, "It waits its time after the step before it.";
    Scheduled, "scheduled", NoOne, "The producer asked not to send it before this time.";
    Retry, "retry", NoOne, "The last attempt did not reach the recipient. Retried at the time shown.";
    InmailCredits, "inmail_credits", NoOne, "Not enough InMail credits, or the balance could not be read. Checked again at the time shown.";
    ChatLookup, "chat_lookup", NoOne, "Whether a chat with this person exists could not be read. Read again at the time shown.";
    Resolving, "resolving", NoOne, "It is for a public name; the profile that shows the user id is read at the time shown.";
    NotConnected, "not_connected", Producer, "It needs a connection, and the person is not known to be one. The profile is read again at the time shown.";
    ReplyUnknown, "reply_unknown", NoOne, "Whether this person answered could not be read. Read again at the time shown.";
    ChatOrder, "chat_order", NoOne, "An earlier message to the same chat or recipient is not settled; order in a chat is kept.";
    RecipientRest, "recipient_rest", NoOne, "Another message started a chat with this person a short time ago.";
    OutsideHours, "outside_hours", NoOne, "It is outside the account's hours.";
    Cap, "cap", NoOne, "A cap of the account is used up.";
    WarmUp, "warm_up", NoOne, "The warm-up limit of a cap is used up for now.";
    HalfCaps, "half_caps", NoOne, "The provider throttled the account recently. Its caps are halved for some days, and this half is used up.";
    Turn, "turn", NoOne, "Earlier messages of the account go first.";
    InFlight, "in_flight", NoOne, "A call of the account is in flight; there is never a second one.";
    Gap, "gap", NoOne, "The account pauses between two sends.";
    Break, "break", NoOne, "The account takes a break after several sends.";
    Typing, "typing", NoOne, "The typing indicator is shown.";
    Now, "now", NoOne, "Every gate is open; it is about to be sent.";
    Reconciling, "reconciling", NoOne, "Its outcome is unknown; the chat is read back to find out.";
    Stale, "stale", Operator, "It was due long before the daemon started. Confirm that it should still go, or drop it.";
    OutcomeUnknown, "outcome_unknown", Operator, "The call may or may not have reached the recipient, and reading chats back is switched off; look into the chat before anything is sent again.";
    NotInChat, "not_in_chat", Operator, "It may have been sent and was not in the chat when it was last read back; look before anything is sent again.";
    PartlyInChat, "partly_in_chat", Operator, "Only a part of it is in the chat; look before anything is sent again.";
    CannotTell, "cannot_tell", Operator, "It may have been sent, and the chat does not show whether it was; look before anything is sent again.";
    ChatUnreadable, "chat_unreadable", Operator, "It may have been sent, and the chat could not be read back; look before anything is sent again.";
    Delivered, "delivered", NoOne, "It reached the provider.";
    Refused, "refused", Producer, "Unipile or the provider refused this message for good.";
    NoSuchPerson, "no_such_person", Producer, "LinkedIn has no person with this public name.";
    RepeatedText, "repeated_text", Producer, "The same text was queued for this person before.";
    InboxUnusable, "inbox_unusable", Producer, "The inbox cannot start a chat.";
    RetriesSpent, "retries_spent", Producer, "Every retry was spent and none reached the provider.";
    Replied, "replied", NoOne, "The person answered, so it was cancelled.";
    StepStopped, "step_stopped", NoOne, "A step before it was not sent, so it was cancelled.";
    Suppressed, "suppressed", NoOne, "The person is on the suppression list and must not be written to.";
    Cancelled, "cancelled", NoOne, "It was cancelled.";
    Expired, "expired", Producer, "It was not sent before its expiry.";
    Invalid, "invalid", Producer, "The row says something that cannot be sent.";
}

impl Reason {
    /// Returns whether it is a stop of the person, the chat or the campaign, which may have an end.
    pub fn is_stop(self) -> bool {
        matches!(self, Self::Stopped | Self::OwnerWrote | Self::OutOfOffice)
    }

    /// Returns whether a message can be deferred until a time for this reason, without an attempt.
    pub fn defers(self) -> bool {
        matches!(
            self,
            Self::InmailCredits
                | Self::ChatLookup
                | Self::RecipientRest
                | Self::Resolving
                | Self::NotConnected
                | Self::ReplyUnknown
                | Self::Stopped
                | Self::Held
                | Self::OwnerWrote
                | Self::OutOfOffice
        )
    }

    /// Returns why messages wait while an account, or the key, cannot send because of `cause`.
    pub fn of_down(cause: DownCause) -> Self {
        match cause {
            DownCause::Disconnected => Self::AccountDisconnected,
            DownCause::Restricted => Self::AccountRestricted,
            DownCause::Throttled => Self::AccountThrottled,
            DownCause::Key => Self::KeyRefused,
        }
    }

    /// Returns the reason with this code.
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
