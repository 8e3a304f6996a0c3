//! Explains why a message or an account waits, with the very selection that sends (P6).
//!
//! The API and the command line show the result. `set_policy` and `set_policies` replace the policies of a running
//! engine.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::EngineHandle;
use super::selection::{Selected, live, selected};
use crate::domain::account::{Account, Daemon};
use crate::domain::caps::Ledger;
use crate::domain::kind::Kind;
use crate::domain::message::{AccountId, MessageId};
use crate::domain::policy::{Policies, Policy};
use crate::domain::reason::{Actor, Reason};
use crate::domain::state::StateName;
use crate::domain::waiting::Waiting;
use crate::policy::decide::{DecisionInput, Gate, Live, Until, Verdict, decide, gates};
use crate::policy::hours::{Hours, account_seed, hours_at};
use crate::store::{AccountView, Asker, MessageView, StoreError};

/// Why a message or an account waits, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitStatus {
    /// The one reason.
    pub reason: Reason,
    /// What it waits for; `None` if it does not wait.
    pub until: Option<Until>,
    /// The rule that applies, where the reason alone does not identify it.
    pub rule: Option<String>,
    /// Whether `until` is the time at which the message expires, before it can go.
    pub is_expiry: bool,
}

impl WaitStatus {
    fn new(reason: Reason, until: Option<Until>) -> Self {
        Self { reason, until, rule: None, is_expiry: false }
    }

    /// Returns who must act, if waiting alone does not help.
    pub fn actor(&self) -> Actor {
        match self.until {
            // Waiting alone brings no connection.
            Some(Until::At(_) | Until::NotBefore(_)) if self.reason == Reason::NotConnected => {
                self.reason.actor()
            }
            Some(Until::At(_) | Until::NotBefore(_)) => Actor::NoOne,
            // A message behind another one in its chat needs no action, unless the other one needs a person.
            Some(Until::Person) if self.reason.actor() == Actor::NoOne => Actor::Operator,
            Some(Until::Person) | None => self.reason.actor(),
        }
    }
}

/// A wait status with every gate that led to it.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The time of the explanation.
    pub now: Timestamp,
    /// The resulting wait status.
    pub wait_status: WaitStatus,
    /// Each gate in order, for a queued message; empty otherwise.
    pub gates: Vec<Gate>,
    /// How many messages of its lane go first; at least 1 if another message of the account does.
    pub queue_position: u64,
    /// The message whose outcome it waits for, if chat order blocks it.
    pub blocked_by: Option<MessageId>,
    /// The account's time zone, in which times are shown.
    pub zone: jiff::tz::TimeZone,
}

impl Explanation {
    /// Corrects the time of its turn by the earliest one at which the forecast expects the message: the messages that go
    /// first include some that will be found to wait or to be expired.
    pub fn with_earliest(mut self, earliest: Option<Timestamp>) -> Self {
        let Some(earliest) = earliest else { return self };
        let turns = self.gates.iter_mut().filter(|gate| gate.reason == Reason::Turn);
        let mut ends: Vec<&mut Option<Until>> = turns.map(|gate| &mut gate.closed).collect();
        if self.wait_status.reason == Reason::Turn {
            ends.push(&mut self.wait_status.until);
        }
        for end in ends {
            if let Some(Until::NotBefore(at)) = end {
                *at = earliest.min(*at);
            }
        }
        self
    }
}

impl EngineHandle {
    /// Returns the wait status of each message, in their order.
    pub async fn wait_statuses(&self, messages: &[MessageView]) -> Result<Vec<WaitStatus>, StoreError> {
        let mut views: HashMap<&AccountId, View> = HashMap::new();
        let mut wait_statuses = Vec::with_capacity(messages.len());
        for message in messages {
            if message.waiting.is_none() {
                wait_statuses.push(of_state(message, self.api_health().unreachable_until));
                continue;
            }
            let account = &message.account.id;
            if !views.contains_key(account) {
                views.insert(account, self.view(&message.account, &message.daemon).await?);
            }
            wait_statuses.push(views[account].judge(message).0);
        }
        Ok(wait_statuses)
    }

    /// Explains `message`, with every gate.
    pub async fn explain(&self, message: &MessageView) -> Result<Explanation, StoreError> {
        let view = self.view(&message.account, &message.daemon).await?;
        let waiting = message.waiting.as_ref();
        let (wait_status, gates) = match waiting {
            Some(_) => view.judge(message),
            None => (of_state(message, view.live.api_unreachable_until), Vec::new()),
        };
        Ok(Explanation {
            now: view.now,
            wait_status,
            gates,
            queue_position: waiting.map_or(0, |waiting| waiting.queue_position),
            blocked_by: waiting.and_then(|waiting| waiting.blocked_by).map(|blocked_by| blocked_by.id),
            zone: view.policy.zone.clone(),
        })
    }

    /// Returns why `account` sends nothing now; `None` if it has no queued message.
    pub async fn account_wait_status(
        &self,
        account: &AccountView,
        daemon: &Daemon,
    ) -> Result<Option<WaitStatus>, StoreError> {
        if account.counts.of(StateName::Queued) == 0 {
            return Ok(None);
        }
        if let Some(wait_status) = self.shown_wait_status(account).await? {
            return Ok(Some(wait_status));
        }
        let view = self.view(&account.account, daemon).await?;
        // All messages are blocked by unsettled ones: a read of their chats may settle those, otherwise a person
        // does.
        let blocked = account.next_read_at.map_or(Until::Person, Until::NotBefore);
        let message = Waiting {
            kind: Kind::Message,
            ignores_hours: false,
            due_at: view.now,
            retry_at: None,
            deferred: None,
            stop: None,
            step: None,
            held: false,
            started_at: None,
            expires_at: None,
            blocked_by: None,
            between: Vec::new(),
            queue_position: 0,
        };
        Ok(Some(judge_blocked(&view.input(&message), blocked)))
    }

    /// Returns the wait status of the message that goes next on `account`, or of the one that waits for the shortest
    /// time; `None` while no message can become due without an event.
    pub async fn next_wait_status(&self, account: &AccountId) -> Result<Option<WaitStatus>, StoreError> {
        let Some(selected) = selected(&self.shared, account, self.now(), Asker::People, None).await? else {
            return Ok(None);
        };
        let Some((place, verdict)) = selected.selection.standing() else { return Ok(None) };
        let message = selected.candidate(place).1;
        Ok(Some(wait_status(&selected.selection_input().for_message(message, None), verdict)))
    }

    /// Returns the same for people: a message that expires before it can go counts only if no other one is queued.
    async fn shown_wait_status(&self, account: &AccountView) -> Result<Option<WaitStatus>, StoreError> {
        let Some(selected) =
            selected(&self.shared, &account.account.id, self.now(), Asker::PeopleOfAccount, None).await?
        else {
            return Ok(None);
        };
        let selection = &selected.selection;
        let goes = |place: usize| !expires_first(&selection.verdicts[place], selected.candidate(place).1);
        let going = selection.standing_among(goes).or_else(|| selection.standing());
        let Some((place, verdict)) = going else { return Ok(None) };
        let message = selected.candidate(place).1;
        let others_follow = account.counts.of(StateName::Queued) > selection.verdicts.len() as u64;
        if goes(place) || !others_follow {
            let input = selected.selection_input().for_message(message, None);
            return Ok(Some(wait_status(&input, verdict)));
        }
        // Those behind it in its lane wait for the same, and may not expire.
        let message = Waiting { expires_at: None, ..message.clone() };
        let input = selected.selection_input().for_message(&message, None);
        Ok(Some(wait_status(&input, &decide(&input))))
    }

    /// Puts another policy in force for `account`, from its next step on.
    pub fn set_policy(&self, account: AccountId, policy: Policy) {
        let mut policies = self.shared.policies.write().expect("nothing panics while holding it");
        policies.accounts.insert(account.clone(), Arc::new(policy));
        drop(policies);
        self.wake(account);
    }

    /// Puts other policies in force for every account, from its next step on.
    pub fn set_policies(&self, policies: Policies) {
        *self.shared.policies.write().expect("nothing panics while holding it") = policies;
    }

    /// Returns the policy of `account`.
    pub fn policy(&self, account: &AccountId) -> Arc<Policy> {
        self.shared.policy(account)
    }

    /// Returns the account with the pace that a step would see now.
    pub(super) fn paced(&self, account: &Account) -> Account {
        let (now, monotonic) = (self.now(), self.shared.clock.monotonic());
        let policy = self.policy(&account.id);
        let next_call_at = self.shared.pace.next_call_at(account, &policy, now, monotonic);
        Account { next_call_at, ..account.clone() }
    }

    /// Reads everything that verdicts on the messages of `account` depend on now.
    async fn view(&self, account: &Account, daemon: &Daemon) -> Result<View, StoreError> {
        let now = self.now();
        let policy = self.policy(&account.id);
        let selected = selected(&self.shared, &account.id, now, Asker::People, None).await?;
        let account = match &selected {
            Some(selected) => selected.candidates.account.clone(),
            None => self.paced(account),
        };
        // Messages that are not candidates may wait for a cap as well.
        let ledger = match policy.caps.list.is_empty() {
            true => None,
            false => Some(self.ledger(&account.id, &policy).await?),
        };
        let hours = hours_at(policy.calendar.as_ref(), &policy.zone, account_seed(account.id.as_str()), now);
        let daemon = daemon.clone();
        Ok(View {
            now,
            daemon,
            policy,
            hours,
            live: live(&self.shared, &account.id, Asker::People),
            account,
            ledger,
            selected,
        })
    }
}

/// An account and its selection at one moment.
struct View {
    now: Timestamp,
    account: Account,
    daemon: Daemon,
    policy: Arc<Policy>,
    hours: Hours,
    live: Live,
    ledger: Option<Ledger>,
    /// `None` while no message of the account can become due without an event.
    selected: Option<Selected>,
}

impl View {
    fn input<'a>(&'a self, message: &'a Waiting) -> DecisionInput<'a> {
        let Self { now, account, daemon, policy, hours, live, ledger, .. } = self;
        let ledger = ledger.as_ref();
        DecisionInput { now: *now, daemon, account, message, live: *live, policy, hours: *hours, ledger }
    }

    /// Decides about a queued message and returns its gates: the selection's verdict if it is a candidate; otherwise
    /// the message that goes next is ahead of it.
    fn judge(&self, message: &MessageView) -> (WaitStatus, Vec<Gate>) {
        let Some(waiting) = &message.waiting else {
            return (of_state(message, self.live.api_unreachable_until), Vec::new());
        };
        let selected = self.selected.as_ref();
        let place = selected.and_then(|selected| selected.place(message.seq));
        let goes_next = place.is_some() && selected.and_then(|selected| selected.selection.next) == place;
        let another_goes = !goes_next
            && selected.is_some_and(|selected| {
                selected.selection.next.is_some() || selected.candidates.returns_retries
            });
        let queue_position = match (waiting.is_ready(self.now), another_goes) {
            (true, true) => waiting.queue_position.max(1),
            (true, false) if !goes_next => waiting.queue_position,
            (true, false) | (false, _) => 0,
        };
        // A candidate may wait for a read of its own.
        let Waiting { retry_at, deferred, .. } =
            *selected.zip(place).map_or(waiting, |(selected, place)| selected.candidate(place).1);
        let waiting = Waiting { queue_position, retry_at, deferred, ..waiting.clone() };
        let mut input = self.input(&waiting);
        if goes_next {
            input.live.typing_until = selected.and_then(|selected| selected.typing_until(message.id));
        }
        (wait_status(&input, &decide(&input)), gates(&input).to_vec())
    }
}

/// Returns whether the message waits only until it expires.
fn expires_first(verdict: &Verdict, message: &Waiting) -> bool {
    let Verdict::Wait { until: Until::At(at), .. } = verdict else { return false };
    message.expires_at == Some(*at)
}

/// Converts a verdict into a wait status.
fn wait_status(input: &DecisionInput<'_>, verdict: &Verdict) -> WaitStatus {
    match *verdict {
        Verdict::Send => WaitStatus::new(Reason::Now, Some(Until::At(input.now))),
        Verdict::Wait { reason, until } => {
            let rule = gates(input).into_iter().find(|gate| gate.closed.is_some()).and_then(|gate| gate.rule);
            let is_expiry = expires_first(verdict, input.message);
            WaitStatus { rule, is_expiry, ..WaitStatus::new(reason, Some(until)) }
        }
        Verdict::Stop { reason } => WaitStatus::new(reason, None),
    }
}

/// Returns what holds messages that are all blocked; the gates after chat order, such as the account's pace, do not
/// matter.
fn judge_blocked(input: &DecisionInput<'_>, blocked: Until) -> WaitStatus {
    let mut before = gates(input).into_iter().take_while(|gate| gate.reason != Reason::ChatOrder);
    match before.find(|gate| gate.closed.is_some()) {
        Some(gate) => {
            let until = gate.closed.map(|closed| both(closed, blocked));
            WaitStatus { rule: gate.rule, ..WaitStatus::new(gate.reason, until) }
        }
        None => WaitStatus::new(Reason::ChatOrder, Some(blocked)),
    }
}

/// Returns the end of two waits, of which both must end.
fn both(one: Until, other: Until) -> Until {
    match (one, other) {
        (Until::Person, _) | (_, Until::Person) => Until::Person,
        (Until::At(one) | Until::NotBefore(one), Until::At(other) | Until::NotBefore(other)) => {
            Until::NotBefore(one.max(other))
        }
    }
}

fn of_state(message: &MessageView, unreachable_until: Option<Timestamp>) -> WaitStatus {
    let until = match message.state {
        StateName::Review => Some(Until::Person),
        // Its chat is read then, which may settle it or not.
        StateName::Uncertain => {
            // No chat is read before the API answers again.
            let read_at = message.reconcile_at.map(|at| unreachable_until.map_or(at, |until| at.max(until)));
            read_at.map(Until::NotBefore)
        }
        StateName::New
        | StateName::Queued
        | StateName::Sending
        | StateName::Sent
        | StateName::Failed
        | StateName::Cancelled
        | StateName::Expired
        | StateName::Rejected => None,
    };
    WaitStatus::new(message.reason, until)
}
