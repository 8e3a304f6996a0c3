//! Why a message or an account waits, by the very function that sends (P6).

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::EngineHandle;
use crate::domain::account::{Account, Daemon};
use crate::domain::caps::{Kind, Ledger};
use crate::domain::message::{AccountId, MessageId};
use crate::domain::policy::Policy;
use crate::domain::reason::{Actor, Reason};
use crate::domain::state::StateName;
use crate::domain::waiting::Waiting;
use crate::policy::decide::{Facts, Gate, Live, Until, Verdict, decide, gates};
use crate::policy::hours::{Hours, account_seed, hours_at};
use crate::policy::order::{Turns, place};
use crate::policy::pace::CUT;
use crate::policy::quota::{Budget, budgets};
use crate::policy::settle::after;
use crate::policy::warm_up::Lowering;
use crate::store::{AccountView, Candidate, MessageView, StoreError, Turn};

/// Where a message or an account stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The one reason.
    pub reason: Reason,
    /// What it waits for; `None` once it is final or goes now.
    pub until: Option<Until>,
    /// Which rule it is, where the reason alone does not say.
    pub rule: Option<String>,
}

impl Standing {
    fn new(reason: Reason, until: Option<Until>) -> Self {
        Self { reason, until, rule: None }
    }

    /// Who must act: nobody while a time will do.
    pub fn actor(&self) -> Actor {
        match self.until {
            Some(Until::At(_) | Until::NotBefore(_)) => Actor::Nobody,
            // Order in a chat needs nobody, unless the message before needs a person.
            Some(Until::Person) if self.reason.actor() == Actor::Nobody => Actor::Operator,
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
    pub held_by: Option<MessageId>,
    /// The account's zone, to tell times in.
    pub zone: jiff::tz::TimeZone,
}

/// What accounts have sent, for those whose rules have caps.
#[derive(Debug, Clone, Default)]
pub struct Ledgers(HashMap<AccountId, Ledger>);

impl EngineHandle {
    /// What these accounts have sent, as far as their caps ask for it.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn ledgers(&self, accounts: Vec<AccountId>) -> Result<Ledgers, StoreError> {
        let mut ledgers = HashMap::new();
        for account in accounts {
            if !ledgers.contains_key(&account) && !self.policy(&account).caps.list.is_empty() {
                let ledger = self.shared.store.ledger(&account, self.now()).await?;
                ledgers.insert(account, ledger);
            }
        }
        Ok(Ledgers(ledgers))
    }

    /// Where `message` stands; `ledgers` holds at least that of its account.
    pub fn standing(&self, message: &MessageView, ledgers: &Ledgers) -> Standing {
        let Some(waiting) = &message.waiting else { return of_state(message) };
        let seen = self.seen(&message.account, Some(message.id));
        judge(&seen.facts(&message.daemon, waiting, ledgers))
    }

    /// Where `message` stands, with every gate.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn explain(&self, message: &MessageView) -> Result<Explanation, StoreError> {
        let ledgers = self.ledgers(vec![message.account.id.clone()]).await?;
        let seen = self.seen(&message.account, Some(message.id));
        let waiting = message.waiting.as_ref();
        let gates = waiting.map(|waiting| gates(&seen.facts(&message.daemon, waiting, &ledgers)).to_vec());
        Ok(Explanation {
            now: seen.now,
            standing: self.standing(message, &ledgers),
            gates: gates.unwrap_or_default(),
            ahead: waiting.map_or(0, |waiting| waiting.ahead),
            held_by: waiting.and_then(|waiting| waiting.held_by).map(|held_by| held_by.id),
            zone: seen.policy.zone.clone(),
        })
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
        let seen = self.seen(&view.account, None);
        // What waits may be several things; a message in a chat meets the fewest caps.
        let turn = self.shared.store.turn(&view.account.id, seen.now).await?;
        let first = turn.as_ref().and_then(|turn| self.first_of(turn, &seen.policy));
        let message = Waiting {
            kind: first.map_or(Kind::Message, |first| first.lane.kind),
            ignores_hours: first.is_some_and(|first| first.lane.urgent && first.lane.ignore_hours),
            due_at: view.oldest_due_at.unwrap_or(seen.now),
            retry_at: None,
            set_aside: None,
            started_at: None,
            expires_at: None,
            held_by: None,
            ahead: 0,
        };
        let ledgers = self.ledgers(vec![view.account.id.clone()]).await?;
        let facts = seen.facts(daemon, &message, &ledgers);
        let (has_head, later) = turn.map_or((false, None), |turn| {
            (!turn.heads.is_empty(), turn.next_due_at.map(|at| (turn.next_set_aside, at)))
        });
        let is_unsettled = view.counts.of(StateName::Uncertain) + view.counts.of(StateName::Review) > 0;
        if !has_head && later.is_none() && !view.account.in_flight && is_unsettled {
            // All of it stands behind something that is not settled: reading back may do that, otherwise a person.
            let held = view.next_read_at.map_or(Until::Person, Until::NotBefore);
            return Ok(Some(judge_behind(&facts, held)));
        }
        let standing = judge(&facts);
        Ok(Some(match later {
            Some((set_aside, at)) if standing.reason == Reason::Now && !has_head => {
                Standing::new(set_aside.unwrap_or(Reason::Retry), Some(Until::At(at)))
            }
            Some(_) | None => standing,
        }))
    }

    /// The message that goes first, as far as no cap of its kind holds it.
    fn first_of<'a>(&self, turn: &'a Turn, policy: &Policy) -> Option<&'a Candidate> {
        let turns = Turns { floor: turn.floor, reached: turn.reached.clone() };
        let heads = turn.heads.iter();
        heads.min_by_key(|head| place(&head.lane, &policy.order, &turns, head.due_at, head.arrival.0))
    }

    /// Every cap of `account` as it stands now, and whether its hours are open.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn budget(&self, account: &Account) -> Result<(Vec<Budget>, Hours), StoreError> {
        self.budget_with(account, &self.policy(&account.id)).await
    }

    /// The same if `policy` were in force.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn budget_with(
        &self,
        account: &Account,
        policy: &Policy,
    ) -> Result<(Vec<Budget>, Hours), StoreError> {
        let now = self.now();
        let ledger = self.shared.store.ledger(&account.id, now).await?;
        let seed = account_seed(account.id.as_str());
        let lowering = Lowering::new(policy, &account.history, account.last_call_at, seed, now);
        let hours = hours_at(policy.calendar.as_ref(), &policy.zone, seed, now);
        Ok((budgets(policy, &lowering, &ledger, now), hours))
    }

    /// Puts other rules in force for `account`, from its next step on.
    pub fn set_policy(&self, account: AccountId, policy: Policy) {
        let mut policies = self.shared.policies.write().expect("nothing panics while holding it");
        policies.accounts.insert(account.clone(), Arc::new(policy));
        drop(policies);
        self.wake(account);
    }

    /// The rules of `account`.
    pub fn policy(&self, account: &AccountId) -> Arc<Policy> {
        self.shared.policy(account)
    }

    /// The account with its pace as a step would see it, for a clock that was set back.
    pub(super) fn seen(&self, account: &Account, message: Option<MessageId>) -> Seen {
        let now = self.now();
        let policy = self.policy(&account.id);
        let latest = after(now, account.history.last_gap.unwrap_or(policy.gap.max) + CUT);
        let next_call_at = account.next_call_at.map(|at| at.min(latest));
        let hours = hours_at(policy.calendar.as_ref(), &policy.zone, account_seed(account.id.as_str()), now);
        let live = self.live(&account.id, message);
        Seen { now, account: Account { next_call_at, ..account.clone() }, policy, hours, live }
    }

    fn live(&self, account: &AccountId, message: Option<MessageId>) -> Live {
        let claim = self.shared.live.claim_of(account);
        let claim = claim.filter(|claim| message.is_none_or(|id| claim.message_id == id));
        Live {
            storage_failing_until: self.shared.storage_trouble().map(|trouble| trouble.next_try_at),
            api_unreachable_until: self.shared.live.api_health(self.now()).unreachable_until,
            api_busy_until: None,
            typing_until: claim.map(|claim| claim.typing_until(self.now(), self.shared.clock.monotonic())),
        }
    }
}

/// An account as a step would see it now.
pub(super) struct Seen {
    now: Timestamp,
    account: Account,
    policy: Arc<Policy>,
    hours: Hours,
    live: Live,
}

impl Seen {
    /// The account with its pace.
    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    fn facts<'a>(&'a self, daemon: &'a Daemon, message: &'a Waiting, ledgers: &'a Ledgers) -> Facts<'a> {
        let Self { now, account, policy, hours, live } = self;
        let ledger = ledgers.0.get(&account.id);
        Facts { now: *now, daemon, account, message, live: *live, policy, hours: *hours, ledger }
    }
}

fn judge(facts: &Facts<'_>) -> Standing {
    match decide(facts) {
        Verdict::Send => Standing::new(Reason::Now, Some(Until::At(facts.now))),
        Verdict::Wait { reason, until } => {
            let rule = gates(facts).into_iter().find(|gate| gate.closed.is_some()).and_then(|gate| gate.rule);
            Standing { rule, ..Standing::new(reason, Some(until)) }
        }
        Verdict::Stop { reason } => Standing::new(reason, None),
    }
}

/// What holds messages of which each stands behind another one in its thread: the account's pace comes after that.
fn judge_behind(facts: &Facts<'_>, held: Until) -> Standing {
    let mut before = gates(facts).into_iter().take_while(|gate| gate.reason != Reason::ChatOrder);
    match before.find(|gate| gate.closed.is_some()) {
        Some(gate) => Standing { reason: gate.reason, until: gate.closed, rule: gate.rule },
        None => Standing::new(Reason::ChatOrder, Some(held)),
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
    Standing::new(message.reason, until)
}
