//! The caps of an account: what each leaves, and the one that a table with room for one shows.

use super::EngineHandle;
use crate::domain::account::Account;
use crate::domain::caps::{Kind, Window};
use crate::domain::policy::Policy;
use crate::policy::hours::{Hours, account_seed, hours_at};
use crate::policy::quota::{Budget, budgets, used_up};
use crate::policy::warm_up::Lowering;
use crate::store::StoreError;

impl EngineHandle {
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
        let ledger = self.ledger_of(account, policy).await?;
        let seed = account_seed(account.id.as_str());
        let lowering = Lowering::new(policy, &account.history, account.last_call_at, seed, now);
        let hours = hours_at(policy.calendar.as_ref(), &policy.zone, seed, now);
        Ok((budgets(policy, &lowering, &ledger, now), hours))
    }

    /// The cap that binds `account`: of those that are used up, the one that the message whose turn it is waits for
    /// longest. While none of them binds it, that of a day on all kinds, or the first there is.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub async fn binding_cap(&self, account: &Account) -> Result<Option<Budget>, StoreError> {
        let policy = self.policy(&account.id);
        if policy.caps.list.is_empty() {
            return Ok(None);
        }
        let now = self.now();
        let ledger = self.ledger_of(account, &policy).await?;
        let seed = account_seed(account.id.as_str());
        let lowering = Lowering::new(&policy, &account.history, account.last_call_at, seed, now);
        let budgets = budgets(&policy, &lowering, &ledger, now);
        if budgets.iter().any(|budget| budget.left() == 0)
            && let Some(kind) = self.kind_in_turn(account, &policy).await?
            && let Some(binding) = used_up(&policy, &lowering, &ledger, kind, now)
        {
            return Ok(Some(binding));
        }
        let of_day = |budget: &&Budget| {
            budget.cap.kind.is_none() && matches!(budget.cap.window, Window::Hours24 | Window::Day)
        };
        Ok(budgets.iter().find(of_day).or_else(|| budgets.first()).copied())
    }

    /// What the message is that goes first, if one is due.
    async fn kind_in_turn(&self, account: &Account, policy: &Policy) -> Result<Option<Kind>, StoreError> {
        let turn = self.shared.store.turn(&account.id, self.now()).await?;
        Ok(turn.and_then(|turn| self.first_of(&turn, policy).map(|first| first.lane.kind)))
    }
}
