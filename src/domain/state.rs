//! The lifecycle of a message: its states, and the transitions between them.
//!
//! [`MOVES`] is the one table: `migrations/` has its SQL form (the CHECK on `messages.state` and the trigger that
//! refuses any other transition), `docs/lifecycle.md` its diagram, and a test compares the three. The only transition
//! out of [`Sending`] consumes it, so that the code cannot settle an attempt twice either.

use jiff::Timestamp;

use super::message::ChatId;
use super::outcome::{Heard, Hold, Outcome, ProviderError};
use super::reason::Reason;

words! {
    /// The name of a state, as SQL, JSON and the command line write it.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
    pub enum StateName {
        /// Inserted by SQL, not yet admitted.
        New = "new",
        /// Waits to be sent.
        Queued = "queued",
        /// The intent to send is durable; the call may be in flight.
        Sending = "sending",
        /// It is not yet known whether it reached the recipient.
        Uncertain = "uncertain",
        /// A person must decide.
        Review = "review",
        /// Reached the provider.
        Sent = "sent",
        /// Was refused for good, or its retries are spent.
        Failed = "failed",
        /// Cancelled by a person or a program.
        Cancelled = "cancelled",
        /// Not sent before `expires_at`.
        Expired = "expired",
        /// Refused after an INSERT by a check that only the daemon can make.
        Rejected = "rejected",
    }
}

impl StateName {
    /// Returns whether the state is final: the daemon never changes it on its own. A person or a program may retry a
    /// message that was certainly not sent.
    pub fn is_final(self) -> bool {
        match self {
            Self::New | Self::Queued | Self::Sending | Self::Uncertain | Self::Review => false,
            Self::Sent | Self::Failed | Self::Cancelled | Self::Expired | Self::Rejected => true,
        }
    }

    /// Returns whether [`MOVES`] has a transition from this state to `to`.
    pub fn may_become(self, to: Self) -> bool {
        MOVES.iter().any(|(from, _, target)| *from == self && *target == to)
    }
}

/// Every transition: from, event, to.
pub const MOVES: &[(StateName, &str, StateName)] = &[
    (StateName::New, "admitted", StateName::Queued),
    (StateName::New, "refused by the daemon", StateName::Rejected),
    (StateName::New, "cancelled", StateName::Cancelled),
    (StateName::New, "due long before the start", StateName::Review),
    (StateName::Queued, "intent written", StateName::Sending),
    (StateName::Queued, "cancelled", StateName::Cancelled),
    (StateName::Queued, "expires_at passed", StateName::Expired),
    (StateName::Queued, "cannot be sent as it is", StateName::Failed),
    (StateName::Queued, "due long before the start", StateName::Review),
    (StateName::Sending, "accepted", StateName::Sent),
    (StateName::Sending, "certainly not sent", StateName::Queued),
    (StateName::Sending, "refused for good", StateName::Failed),
    (StateName::Sending, "outcome unknown", StateName::Uncertain),
    (StateName::Sending, "outcome unknown, nothing to read back", StateName::Review),
    (StateName::Uncertain, "found in the chat", StateName::Sent),
    (StateName::Uncertain, "certainly absent", StateName::Queued),
    (StateName::Uncertain, "cannot be settled", StateName::Review),
    (StateName::Review, "a person says it was sent", StateName::Sent),
    (StateName::Review, "a person says send it again", StateName::Queued),
    (StateName::Review, "a person drops it", StateName::Cancelled),
    (StateName::Failed, "retried", StateName::Queued),
    (StateName::Cancelled, "retried", StateName::Queued),
    (StateName::Expired, "retried", StateName::Queued),
    (StateName::Rejected, "retried", StateName::Queued),
];

/// A message whose intent is durable. [`Sending::settle`] is the only way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Number of retries that earlier attempts of this message spent.
    pub retries: u32,
}

/// The state in which a settled attempt leaves the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// Reached the provider.
    Sent {
        /// When Unipile's answer arrived.
        at: Timestamp,
        /// The chat, if the answer names one.
        chat_id: Option<ChatId>,
        /// The provider's ids; several if it split text and attachments.
        message_ids: Vec<String>,
    },
    /// Returns to its place in the queue.
    Queued {
        /// Why it was not sent.
        reason: Reason,
        /// Earliest time of the next attempt, if the message itself must wait (not its account).
        retry_at: Option<Timestamp>,
        /// Whether this spent one of its retries.
        spent_retry: bool,
        /// The error, verbatim.
        problem: ProviderError,
    },
    /// Refused for good.
    Failed {
        /// Stable code.
        reason: Reason,
        /// The error, verbatim.
        problem: ProviderError,
    },
    /// The chat is read back to find out.
    Uncertain {
        /// When the first read is due.
        reconcile_at: Timestamp,
        /// The error so far.
        problem: ProviderError,
    },
    /// A person must look.
    Review {
        /// Stable code.
        reason: Reason,
        /// The error so far.
        problem: ProviderError,
    },
}

impl Settled {
    /// Returns the state in which the message is left.
    pub fn name(&self) -> StateName {
        match self {
            Self::Sent { .. } => StateName::Sent,
            Self::Queued { .. } => StateName::Queued,
            Self::Failed { .. } => StateName::Failed,
            Self::Uncertain { .. } => StateName::Uncertain,
            Self::Review { .. } => StateName::Review,
        }
    }
}

/// When a message that was certainly not sent may be retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// When its account may send again; the message itself is not at fault.
    WithItsAccount,
    /// Not before this time, and one retry is spent.
    At(Timestamp),
    /// Not before this time, when the credits are read again; one retry is spent.
    WithCredits(Timestamp),
    /// Never: its retries are spent.
    Never,
}

impl Sending {
    /// Turns the outcome of the call into the resulting state; all outcomes become states here.
    ///
    /// Calls `again` only for a message that was certainly not sent. A message with an unknown outcome never returns
    /// to the queue automatically (P2): the chat is read back at `reconcile_at`, or a person looks if there is no
    /// such time.
    pub fn settle(
        self,
        outcome: Outcome,
        now: Timestamp,
        reconcile_at: Option<Timestamp>,
        again: impl FnOnce() -> Again,
    ) -> Settled {
        match outcome {
            Outcome::Accepted { chat_id, message_ids } => Settled::Sent { at: now, chat_id, message_ids },
            Outcome::Refused(problem) => Settled::Failed { reason: Reason::Refused, problem },
            Outcome::NotSent { problem, hold } => match again() {
                Again::WithItsAccount => {
                    let reason = match hold {
                        Hold::Account(_) => Reason::ApiRateLimited,
                        Hold::Api if problem.heard() == Heard::Trouble => Reason::ApiUnreachable,
                        Hold::Message | Hold::Credits | Hold::Api => Reason::Turn,
                    };
                    Settled::Queued { reason, retry_at: None, spent_retry: false, problem }
                }
                Again::At(at) => {
                    Settled::Queued { reason: Reason::Retry, retry_at: Some(at), spent_retry: true, problem }
                }
                Again::WithCredits(at) => Settled::Queued {
                    reason: Reason::InmailCredits,
                    retry_at: Some(at),
                    spent_retry: true,
                    problem,
                },
                Again::Never => Settled::Failed { reason: Reason::RetriesSpent, problem },
            },
            Outcome::AccountDown { cause, problem } => {
                let reason = Reason::of_down(cause);
                Settled::Queued { reason, retry_at: None, spent_retry: false, problem }
            }
            Outcome::Throttled(problem) | Outcome::Uncertain { problem, .. } => match reconcile_at {
                Some(reconcile_at) => Settled::Uncertain { reconcile_at, problem },
                None => Settled::Review { reason: Reason::OutcomeUnknown, problem },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_state_is_left_by_a_retry_alone_and_every_other_has_a_move_of_its_own() {
        for state in StateName::ALL {
            let leaves = MOVES.iter().any(|(from, event, _)| *from == state && *event != "retried");
            assert_eq!(leaves, !state.is_final(), "{state:?}");
        }
        assert!(!MOVES.iter().any(|(from, _, _)| *from == StateName::Sent));
    }

    #[test]
    fn every_state_can_be_reached_and_is_read_back_from_its_word() {
        for state in StateName::ALL {
            assert!(state == StateName::New || MOVES.iter().any(|(_, _, to)| *to == state), "{state:?}");
            assert_eq!(StateName::parse(state.as_str()), Some(state));
        }
    }

    #[test]
    fn an_unknown_outcome_never_returns_to_the_queue_by_itself() {
        let problem = ProviderError::local("timeout", "no answer");
        let now = Timestamp::UNIX_EPOCH;
        let unknown =
            Outcome::Uncertain { phase: super::super::outcome::Phase::Written, problem: problem.clone() };
        for outcome in [unknown, Outcome::Throttled(problem)] {
            for (reconcile_at, state) in [(Some(now), StateName::Uncertain), (None, StateName::Review)] {
                let sending = Sending { attempt: 1, retries: 0 };
                let settled =
                    sending.settle(outcome.clone(), now, reconcile_at, || panic!("a retry was considered"));
                assert_eq!(settled.name(), state);
            }
        }
    }

    #[test]
    fn what_settles_an_attempt_is_a_move_of_the_table() {
        let problem = ProviderError::local("x", "y");
        let now = Timestamp::UNIX_EPOCH;
        for settled in [
            Settled::Sent { at: now, chat_id: None, message_ids: vec![] },
            Settled::Queued {
                reason: Reason::Retry,
                retry_at: None,
                spent_retry: true,
                problem: problem.clone(),
            },
            Settled::Failed { reason: Reason::Refused, problem: problem.clone() },
            Settled::Uncertain { reconcile_at: now, problem: problem.clone() },
            Settled::Review { reason: Reason::OutcomeUnknown, problem },
        ] {
            assert!(StateName::Sending.may_become(settled.name()), "{settled:?}");
        }
    }
}
