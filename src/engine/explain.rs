//! Why a message or an account waits, by the very function that sends (P6).

use jiff::Timestamp;

use super::EngineHandle;
use crate::domain::account::{Account, Daemon};
use crate::domain::message::AccountId;
use crate::domain::policy::Policy;
use crate::domain::reason::{Actor, Reason};
use crate::domain::state::StateName;
use crate::domain::waiting::Waiting;
use crate::policy::decide::{Facts, Gate, Live, Until, Verdict, decide, gates};
use crate::store::{AccountView, MessageView, StoreError};

/// Where a message or an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The one reason.
    pub reason: Reason,
    /// What it waits for; `None` once it is final or goes now.
    pub until: Option<Until>,
}

impl Standing {
    /// Who must act: nobody while a time will do.
    pub fn actor(&self) -> Actor {
        match self.until {
            Some(Until::At(_) | Until::NotBefore(_)) => Actor::Nobody,
            Some(Until::Person) | None => self.reason.actor(),
        }
    }
}

/// A standing with every gate that led to it.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// When it was asked.
    pub now: Timestamp,
    /// The outcome.
    pub standing: Standing,
    /// Each gate in order, for a queued message.
    pub gates: Vec<Gate>,
    /// How many messages of the account go first.
    pub ahead: u64,
    /// The message whose outcome it waits for, if order in its chat holds it.
    pub held_by: Option<crate::domain::message::MessageId>,
    /// The account's zone, to tell times in.
    pub zone: jiff::tz::TimeZone,
}

impl EngineHandle {
    /// Where `message` stands.
    pub fn standing(&self, message: &MessageView) -> Standing {
        let Some(waiting) = &message.waiting else { return of_state(message) };
        let now = self.now();
        let account = self.paced(&message.account, now);
        let live = self.live(&account.id, Some(message.id));
        let gap_min = self.policy(&account.id).gap.min;
        judge(&Facts { now, daemon: &message.daemon, account: &account, message: waiting, live, gap_min })
    }

    /// Where `message` stands, with every gate.
    pub fn explain(&self, message: &MessageView) -> Explanation {
        let now = self.now();
        let account = self.paced(&message.account, now);
        let live = self.live(&account.id, Some(message.id));
        let gap_min = self.policy(&account.id).gap.min;
        let gates = message.waiting.as_ref().map(|waiting| {
            gates(&Facts { now, daemon: &message.daemon, account: &account, message: waiting, live, gap_min })
                .to_vec()
        });
        let waiting = message.waiting.as_ref();
        Explanation {
            now,
            standing: self.standing(message),
            gates: gates.unwrap_or_default(),
            ahead: waiting.map_or(0, |waiting| waiting.ahead),
            held_by: waiting.and_then(|waiting| waiting.held_by).map(|held_by| held_by.id),
            zone: self.policy(&account.id).zone.clone(),
        }
    }

    /// Why `account` sends nothing now; `None` if nothing waits on it.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn account_standing(
        &self,
        view: &AccountView,
        daemon: &Daemon,
    ) -> Result<Option<Standing>, StoreError> {
        if view.counts.of(StateName::Queued) == 0 {
            return Ok(None);
        }
        let now = self.now();
        let account = self.paced(&view.account, now);
        let due_at = view.oldest_due_at.unwrap_or(now);
        let message = Waiting { due_at, retry_at: None, expires_at: None, held_by: None, ahead: 0 };
        let live = self.live(&account.id, None);
        let gap_min = self.policy(&account.id).gap.min;
        let standing = judge(&Facts { now, daemon, account: &account, message: &message, live, gap_min });
        if standing.reason != Reason::Now {
            return Ok(Some(standing));
        }
        // Nothing of the account's holds it: then it is a matter of its messages.
        let turn = self.shared.store.turn(&account.id, now).await?;
        // Something of the thread is not settled: reading back may do it, otherwise a person.
        let held = match view.next_read_at {
            Some(at) => Until::NotBefore(at),
            None => Until::Person,
        };
        let Some(turn) = turn else {
            return Ok(Some(Standing { reason: Reason::ChatOrder, until: Some(held) }));
        };
        Ok(Some(match (turn.first, turn.next_due_at) {
            (Some(_), _) => standing,
            (None, Some(at)) => Standing { reason: Reason::Retry, until: Some(Until::At(at)) },
            (None, None) => Standing { reason: Reason::ChatOrder, until: Some(held) },
        }))
    }

    /// The rules of `account`.
    pub fn policy(&self, account: &AccountId) -> &Policy {
        self.shared.policies.of(account)
    }

    /// The account with its pace as a step would see it, for a clock that was set back.
    fn paced(&self, account: &Account, now: Timestamp) -> Account {
        let latest = crate::policy::settle::after(now, self.policy(&account.id).gap.max);
        Account { next_call_at: account.next_call_at.map(|at| at.min(latest)), ..account.clone() }
    }

    fn live(&self, account: &AccountId, message: Option<crate::domain::message::MessageId>) -> Live {
        let claim = self.shared.live.claim_of(account);
        let claim = claim.filter(|claim| message.is_none_or(|id| claim.message_id == id));
        Live {
            api_unreachable_until: self.shared.live.api_health(self.now()).unreachable_until,
            api_busy_until: None,
            typing_until: claim.map(|claim| claim.typing_until(self.now(), self.shared.clock.monotonic())),
        }
    }
}

fn judge(facts: &Facts<'_>) -> Standing {
    match decide(facts) {
        Verdict::Send => Standing { reason: Reason::Now, until: Some(Until::At(facts.now)) },
        Verdict::Wait { reason, until } => Standing { reason, until: Some(until) },
        Verdict::Stop { reason } => Standing { reason, until: None },
    }
}

fn of_state(message: &MessageView) -> Standing {
    let until = match message.state {
        StateName::Review => Some(Until::Person),
        StateName::Uncertain => message.verify_at.map(Until::At),
        StateName::New
        | StateName::Queued
        | StateName::Sending
        | StateName::Sent
        | StateName::Failed
        | StateName::Cancelled
        | StateName::Expired
        | StateName::Rejected => None,
    };
    Standing { reason: message.reason, until }
}
