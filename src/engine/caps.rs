//! The caps of an account: what is left of each, and the one to show where there is room for only one.
//!
//! The HTTP API calls this. It counts with the same functions that decide about sends.

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan};

use super::EngineHandle;
use super::ledger::begin;
use super::selection::selected;
use crate::domain::account::Account;
use crate::domain::caps::{LEDGER_REACH, Ledger, Window};
use crate::domain::kind::Kind;
use crate::domain::message::AccountId;
use crate::domain::policy::Policy;
use crate::domain::reason::Reason;
use crate::policy::decide::Verdict;
use crate::policy::hours::{Hours, account_seed, day_after, day_of, hours_at};
use crate::policy::quota::{Budget, budgets, profile_budgets, used_up};
use crate::policy::warm_up::Lowering;
use crate::store::{Asker, StoreError};

/// Number of days for which sends are counted to be shown.
const DAYS: i64 = 7;

impl EngineHandle {
    /// Returns every cap of `account` in its current state, and whether the account's hours are open.
    pub async fn budget(&self, account: &Account) -> Result<(Vec<Budget>, Hours), StoreError> {
        self.budget_with(account, &self.policy(&account.id)).await
    }

    /// Returns the same as `budget` if `policy` were in force.
    pub async fn budget_with(
        &self,
        account: &Account,
        policy: &Policy,
    ) -> Result<(Vec<Budget>, Hours), StoreError> {
        let now = self.now();
        let ledger = self.ledger(&account.id, policy).await?;
        let seed = account_seed(account.id.as_str());
        let lowering = Lowering::of(policy, account, now);
        let hours = hours_at(policy.calendar.as_ref(), &policy.zone, seed, now);
        Ok((budgets(policy, &lowering, &ledger, now), hours))
    }

    /// Returns the reads of profiles that the caps on them count.
    pub(super) async fn read_profiles(
        &self,
        account: &AccountId,
        now: Timestamp,
    ) -> Result<Ledger, StoreError> {
        let since = now.checked_sub(LEDGER_REACH).unwrap_or(Timestamp::MIN);
        let reads = self.shared.store.profile_reads(account, since).await?;
        Ok(Ledger::new(reads.at.into_iter().map(|at| (at, Kind::Message))))
    }

    /// Returns every cap of `account` on reads of profiles.
    pub async fn profile_budget(&self, account: &Account) -> Result<Vec<Budget>, StoreError> {
        let (now, policy) = (self.now(), self.policy(&account.id));
        let reads = self.read_profiles(&account.id, now).await?;
        let lowering = Lowering::of(&policy, account, now);
        Ok(profile_budgets(&policy, &lowering, &reads, now))
    }

    /// Returns the cap that binds `account`, and how many messages it sent on each of its last 7 days, today
    /// last.
    pub async fn sent(&self, account: &Account) -> Result<(Option<Budget>, Vec<(Date, u32)>), StoreError> {
        let (now, policy) = (self.now(), self.policy(&account.id));
        let today = policy.zone.to_datetime(now).date();
        let first = today.saturating_sub((DAYS - 1).days());
        let since = begin(&policy, now).min(day_of(&policy.zone, first));
        let ledger = self.ledger_from(&account.id, since).await?;
        let mut days = Vec::new();
        for date in (0..DAYS).map(|number| first.saturating_add(number.days())) {
            let from = |at| ledger.since(None, at);
            let sent = from(day_of(&policy.zone, date)) - from(day_after(&policy.zone, date));
            days.push((date, u32::try_from(sent).unwrap_or(u32::MAX)));
        }
        Ok((self.binding_cap(account, &policy, &ledger, now).await?, days))
    }

    /// Returns the number of today in the warm-up of `account`, from 0, and the percentage of its caps on each day.
    pub fn warm_up(&self, account: &Account) -> Option<(usize, Vec<u32>)> {
        let (now, policy) = (self.now(), self.policy(&account.id));
        let warm_up = policy.warm_up.as_ref()?;
        let lowering = Lowering::of(&policy, account, now);
        Some((lowering.warm_up_day(warm_up, now), warm_up.ramp.clone()))
    }

    /// Returns the cap that binds `account`: of those that are used up, the one that a message waits for longest. If
    /// none of them binds it, returns the cap of a day on all kinds, or else the first cap.
    async fn binding_cap(
        &self,
        account: &Account,
        policy: &Policy,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Result<Option<Budget>, StoreError> {
        if policy.caps.list.is_empty() {
            return Ok(None);
        }
        let lowering = Lowering::of(policy, account, now);
        let budgets = budgets(policy, &lowering, ledger, now);
        if budgets.iter().any(|budget| budget.left() == 0)
            && let Some(kind) = self.capped_kind(account).await?
            && let Some(binding) = used_up(policy, &lowering, ledger, kind, now)
        {
            return Ok(Some(binding));
        }
        let of_day = |budget: &&Budget| {
            budget.cap.kind.is_none() && matches!(budget.cap.window, Window::Hours24 | Window::Day)
        };
        Ok(budgets.iter().find(of_day).or_else(|| budgets.first()).copied())
    }

    /// Returns the kind of the message that a cap holds, or else of the one that waits for the shortest time: another gate
    /// may hold it as well.
    async fn capped_kind(&self, account: &Account) -> Result<Option<Kind>, StoreError> {
        let Some(selected) = selected(&self.shared, &account.id, self.now(), Asker::People, None).await?
        else {
            return Ok(None);
        };
        let capped = |verdict: &Verdict| {
            matches!(verdict, Verdict::Wait { reason: Reason::Cap | Reason::WarmUp | Reason::HalfCaps, .. })
        };
        let first = || selected.selection.standing().map(|(place, _)| place);
        let place = selected.selection.verdicts.iter().position(capped).or_else(first);
        Ok(place.map(|place| selected.candidate(place).1.kind))
    }
}
