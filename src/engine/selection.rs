//! Which message of an account goes next: reads the candidates from the store and lets `policy::select` pick one.
//!
//! The engine's step uses it, and so do `explain`, lists and `top` (P6).

use std::sync::Arc;

use jiff::Timestamp;

use super::Shared;
use super::api_guard::Busy;
use super::ledger::KeptLedger;
use crate::domain::caps::Ledger;
use crate::domain::message::{AccountId, MessageId, Seq};
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::domain::waiting::Waiting;
use crate::policy::decide::{Live, Until, Verdict};
use crate::policy::fair_share::Share;
use crate::policy::hours::{Hours, account_seed, hours_at};
use crate::policy::select::{Entry, Selection, SelectionInput, select};
use crate::store::{Asker, Candidate, Candidates, StoreError};

/// A selection, and everything it was made from.
pub(super) struct Selected {
    pub(super) now: Timestamp,
    pub(super) policy: Arc<Policy>,
    /// The candidates; the account has its current pace.
    pub(super) candidates: Candidates,
    pub(super) selection: Selection,
    /// The candidates' messages, in the form that a verdict needs.
    messages: Vec<Waiting>,
    hours: Hours,
    live: Live,
    /// The message for which the typing indicator is shown, and until when.
    typing: Option<(MessageId, Timestamp)>,
    ledger: Option<Arc<Ledger>>,
}

impl Selected {
    /// Returns everything that a verdict on a message of the account depends on, except the message.
    pub(super) fn selection_input(&self) -> SelectionInput<'_> {
        SelectionInput {
            now: self.now,
            daemon: &self.candidates.daemon,
            account: &self.candidates.account,
            live: self.live,
            policy: &self.policy,
            hours: self.hours,
            ledger: self.ledger.as_deref(),
        }
    }

    /// Returns the candidate at this place, and the form of it that a verdict needs.
    pub(super) fn candidate(&self, place: usize) -> (&Candidate, &Waiting) {
        (&self.candidates.messages[place], &self.messages[place])
    }

    /// Returns the place of this message, if it is a candidate.
    pub(super) fn place(&self, seq: Seq) -> Option<usize> {
        self.candidates.messages.iter().position(|candidate| candidate.seq == seq)
    }

    /// Returns until when the typing indicator is shown for this message, if it is shown.
    pub(super) fn typing_until(&self, id: MessageId) -> Option<Timestamp> {
        self.typing.filter(|(typed, _)| *typed == id).map(|(_, until)| until)
    }

    /// Returns whether a send of `candidate` is a turn of its campaign; an account that never had a campaign counts
    /// no turns.
    pub(super) fn takes_turns(&self, candidate: &Candidate) -> bool {
        self.candidates.takes_turns || self.candidates.virtual_time > 0 || candidate.lane.campaign.is_some()
    }

    fn select(&mut self) {
        let entry = |(candidate, message)| {
            let Candidate { lane, finish, seq, id, .. }: &Candidate = candidate;
            let share = Share { virtual_time: self.candidates.virtual_time, finish: *finish };
            Entry { message, lane, share, seq: seq.0, typing_until: self.typing_until(*id) }
        };
        let entries: Vec<Entry<'_>> =
            self.candidates.messages.iter().zip(&self.messages).map(entry).collect();
        self.selection = select(&self.selection_input(), &entries);
        self.wait_for_returns();
    }

    /// Which message goes is known once due retries are back in their lanes, which the next step does.
    fn wait_for_returns(&mut self) {
        let sends = |place: &usize| self.selection.verdicts[*place] == Verdict::Send;
        if let Some(place) = self.selection.next.filter(sends).filter(|_| self.candidates.returns_retries) {
            self.selection.next = None;
            self.selection.verdicts[place] =
                Verdict::Wait { reason: Reason::Turn, until: Until::NotBefore(self.now) };
        }
    }

    /// Returns whether the selection depends on what the account has sent. The engine asks only if a cap decides; people
    /// see the time at which all gates are open, which a cap may delay whatever the message waits for now.
    fn asks_for_ledger(&self, asker: Asker) -> bool {
        let by_cap = |verdict: &Verdict| match verdict {
            Verdict::Wait { reason: Reason::Cap, .. } => true,
            Verdict::Wait { until, .. } => asker != Asker::Engine && *until != Until::Person,
            Verdict::Send | Verdict::Stop { .. } => false,
        };
        self.selection.verdicts.iter().any(by_cap)
            || self.policy.rhythm.spread && self.selection.verdicts.contains(&Verdict::Send)
    }
}

/// Reads the candidates of `account` and selects one; `kept` is the ledger that a running account keeps. Returns
/// `None` while no message of the account can become due without an event.
pub(super) async fn selected(
    shared: &Shared,
    account: &AccountId,
    now: Timestamp,
    asker: Asker,
    kept: Option<&mut KeptLedger>,
) -> Result<Option<Selected>, StoreError> {
    let found = shared.store.candidates(asker, account, now).await?;
    let Some(mut candidates) = found else { return Ok(None) };
    let policy = shared.policy(account);
    let monotonic = shared.clock.monotonic();
    candidates.account.next_call_at = shared.pace.next_call_at(&candidates.account, &policy, now, monotonic);
    let typing = shared.live.claim_of(account);
    let typing = typing.map(|claim| (claim.message_id, claim.typing_until(now, monotonic)));
    let hours = hours_at(policy.calendar.as_ref(), &policy.zone, account_seed(account.as_str()), now);
    let mut selected = Selected {
        now,
        messages: candidates.messages.iter().map(waiting).collect(),
        selection: Selection { next: None, verdicts: Vec::new(), wake_at: None },
        live: live(shared, account, asker),
        typing,
        ledger: None,
        hours,
        policy,
        candidates,
    };
    selected.select();
    if selected.asks_for_ledger(asker) {
        let mut none = KeptLedger::default();
        let kept = kept.unwrap_or(&mut none);
        selected.ledger = Some(kept.read(shared, account, &selected.policy, now).await?);
        selected.select();
    }
    Ok(Some(selected))
}

/// Returns what is known only while running, except the typing indicator.
pub(super) fn live(shared: &Shared, account: &AccountId, asker: Asker) -> Live {
    let Busy { trial_until, busy_until, silent_until } = shared.api.busy(account);
    let health = shared.api.health();
    // People see that a trial comes first, although the account does not wait for a permit yet, because of its gap.
    let trial_until = trial_until.or(health.trial_at.filter(|_| asker != Asker::Engine));
    Live {
        storage_failing_until: shared.storage_trouble().map(|trouble| trouble.next_try_at),
        api_unreachable_until: health.unreachable_until.or(silent_until),
        api_trial_until: trial_until,
        api_busy_until: busy_until,
        typing_until: None,
    }
}

fn waiting(candidate: &Candidate) -> Waiting {
    let lane = &candidate.lane;
    Waiting {
        kind: lane.kind,
        due_at: candidate.due_at,
        retry_at: candidate.retry_at,
        deferred: candidate.deferred,
        stop: candidate.stop,
        step: candidate.step,
        held: candidate.held,
        ignores_hours: lane.urgent && lane.ignore_hours,
        started_at: candidate.started_at,
        expires_at: candidate.expires_at,
        blocked_by: None,
        between: Vec::new(),
        queue_position: 0,
    }
}
