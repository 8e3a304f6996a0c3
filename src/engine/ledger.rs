//! What a running account has sent, kept between its steps: each step reads only what was added since the one before.
//!
//! The database remains the source of truth. The ledger keeps sends whose outcome is known, which never changes; from
//! the first open call on, everything is read again, so that a call that reached no recipient stops counting. A clock
//! that was set back, other caps, an error or an account that rests drop the ledger, and everything that its caps can
//! count is read again (P4).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{EngineHandle, Shared};
use crate::domain::caps::Ledger;
use crate::domain::message::AccountId;
use crate::domain::policy::Policy;
use crate::store::StoreError;

/// The most sends that an account keeps in memory, about 5 MB; with more it reads them at every step.
const MOST: usize = 200_000;
/// An upper bound for the length of a calendar day in any zone.
const LONGEST_DAY: Duration = Duration::from_secs(48 * 3600);

/// The ledger that one account keeps. An account that rests has none, which takes no memory.
#[derive(Default)]
pub(super) struct KeptLedger(Option<Box<Kept>>);

struct Kept {
    ledger: Arc<Ledger>,
    /// The ledger is complete from this time on.
    from: Timestamp,
    /// The ledger is settled up to this time; what began then or later is read again.
    settled_to: Timestamp,
    /// How often the wall clock had been set when the ledger was read: stored times move with it.
    clock_steps: u64,
}

impl KeptLedger {
    /// Drops the ledger.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }

    /// Returns what `account` has sent, as far back as the caps of `policy` count at `now`.
    ///
    /// # Errors
    /// When the queue cannot be read; the ledger is dropped then.
    pub(super) async fn read(
        &mut self,
        shared: &Shared,
        account: &AccountId,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Arc<Ledger>, StoreError> {
        let since = begin(policy, now);
        let clock_steps = shared.wall_clock.steps();
        let is_usable =
            |kept: &Kept| kept.from <= since && kept.settled_to <= now && kept.clock_steps == clock_steps;
        let Some(mut kept) = self.0.take().filter(|kept| is_usable(kept)) else {
            return self.read_anew(shared, account, since, now).await;
        };
        let new = shared.store.sent_since(account, kept.settled_to).await?;
        let ledger = Arc::make_mut(&mut kept.ledger);
        ledger.forget_from(kept.settled_to);
        for (at, kind) in &new.sends {
            ledger.push(*at, *kind);
        }
        ledger.forget_before(since);
        kept.from = kept.from.max(since);
        let last = new.sends.last().map(|(at, _)| *at);
        kept.settled_to = new.open_from.or(last).unwrap_or(kept.settled_to);
        let ledger = Arc::clone(&kept.ledger);
        self.keep(kept, now);
        Ok(ledger)
    }

    async fn read_anew(
        &mut self,
        shared: &Shared,
        account: &AccountId,
        since: Timestamp,
        now: Timestamp,
    ) -> Result<Arc<Ledger>, StoreError> {
        let clock_steps = shared.wall_clock.steps();
        let found = shared.store.sent_since(account, since).await?;
        let last = found.sends.last().map(|(at, _)| *at);
        let settled_to = found.open_from.or(last).unwrap_or(since);
        let ledger = Arc::new(Ledger::new(found.sends));
        let kept = Kept { ledger: Arc::clone(&ledger), from: since, settled_to, clock_steps };
        self.keep(Box::new(kept), now);
        Ok(ledger)
    }

    fn keep(&mut self, kept: Box<Kept>, now: Timestamp) {
        let is_kept = kept.settled_to <= now && kept.ledger.sends(None).len() <= MOST;
        self.0 = is_kept.then_some(kept);
    }
}

impl EngineHandle {
    /// Returns what `account` has sent, as far back as the caps of `policy` count now.
    pub(super) async fn ledger(&self, account: &AccountId, policy: &Policy) -> Result<Ledger, StoreError> {
        self.ledger_from(account, begin(policy, self.now())).await
    }

    /// Returns what `account` has sent from `since` on.
    pub(super) async fn ledger_from(
        &self,
        account: &AccountId,
        since: Timestamp,
    ) -> Result<Ledger, StoreError> {
        Ok(Ledger::new(self.shared.store.sent_since(account, since).await?.sends))
    }
}

/// Returns the time from which the caps of `policy` count at `now`.
pub(super) fn begin(policy: &Policy, now: Timestamp) -> Timestamp {
    let windows = policy.caps.list.iter().map(|cap| cap.window.rolling().unwrap_or(LONGEST_DAY));
    let spread = policy.rhythm.spread.then_some(LONGEST_DAY);
    let reach = windows.chain(spread).max().unwrap_or_default();
    now.checked_sub(reach).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::caps::parse_caps;

    #[test]
    fn only_what_the_windows_need_is_read() {
        let now = "2026-11-22T09:00:00Z".parse::<Timestamp>().unwrap();
        let hours = |caps: &str| {
            let mut policy = Policy::unlimited();
            policy.caps.list = parse_caps(None, caps).unwrap();
            now.duration_since(begin(&policy, now)).as_hours()
        };
        assert_eq!(hours(""), 0);
        assert_eq!(hours("10/hour"), 1);
        assert_eq!(hours("10/hour, 100/24h"), 24);
        assert_eq!(hours("100/day"), 48, "longer than any day");
        assert_eq!(hours("100/24h, 400/7d"), 7 * 24);
    }
}
