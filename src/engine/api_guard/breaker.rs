//! The breaker: stops every call while the API as a whole fails, and decides who is to blame for a failed call.
//!
//! It counts failures over all accounts. It opens after three in a row without an answer from Unipile in between (at
//! once if no connection can be made), and closes on such an answer, usually that of the probe, which is a read. The
//! cost of an outage is bounded: at most [`MAX_RISKED`] sends start without an answer since; and if a read closes the
//! breaker although sends failed, one send at a time goes on trial until one is answered.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Dice;
use crate::domain::message::AccountId;
use crate::domain::outcome::Heard;
use crate::policy::pace;
use crate::policy::settle::Blame;

/// Sends that may start with no call of any kind answered since.
const MAX_RISKED: u32 = 5;
/// Failures in a row that open the breaker.
const OPENS_AFTER: u32 = 3;
/// This many failed sends, none of them answered in between, from at least [`FAILING_ACCOUNTS`] accounts are trouble
/// of the API, whatever its reads show.
const FAILING_SENDS: u32 = 3;
/// How many accounts the [`FAILING_SENDS`] must come from.
const FAILING_ACCOUNTS: usize = 2;
/// The pause after a failed trial send is this many times that of a probe, because a trial risks a message.
const TRIAL_PAUSE: u32 = 5;
/// If sends wait this long and nothing is answered, a read probes the API.
const SILENCE: Duration = Duration::from_secs(3);
/// A probe without an answer after this time has failed.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// State while the breaker is open.
#[derive(Debug, Clone, Copy)]
struct Open {
    probe_at: Duration,
}

/// Answers and failures so far; each call records them when it begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) answers: u64,
    failures: u64,
}

/// A call that ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) heard: Heard,
    pub(super) is_send: bool,
    /// Whether it read an account snapshot, which no message waits for.
    pub(super) is_snapshot: bool,
    pub(super) no_connection: bool,
    /// The counts when the call began.
    pub(super) began: Tally,
}

#[derive(Debug, Default)]
pub(super) struct Breaker {
    open: Option<Open>,
    /// When the running probe began.
    probing: Option<Duration>,
    tally: Tally,
    /// Failures in a row, without an answer in between.
    failures: u32,
    /// Openings and failed probes since sends were last answered; the pause grows with them.
    tries: u32,
    /// The failures when the last of `tries` was counted: calls that were in flight together are one try.
    tried: u64,
    /// Whether a send failed since one was answered.
    sends_failed: bool,
    /// Sends go one at a time, the next one not before `trial_at`.
    on_trial: bool,
    trial_at: Duration,
    /// Permits to send that are given out and not used yet.
    granted: u32,
    /// The permits of `granted`, plus the sends that started since the last answer.
    risked: u32,
    /// Sends in flight.
    sends_out: u32,
    /// Accounts whose sends failed since a send was answered; at most [`FAILING_ACCOUNTS`] of them are kept.
    failed_senders: Vec<AccountId>,
    /// Sends that failed since a send was answered.
    failed_sends: u32,
    /// Since when a send has waited for an answer to any call.
    silent_since: Option<Duration>,
    /// Failed sends of each account for which it is not known yet who is to blame.
    suspects: HashMap<AccountId, u32>,
    /// Failed sends of each account that turned out to be the account's own fault.
    own: HashMap<AccountId, u32>,
    /// Reads of account snapshots that failed since one was answered.
    snapshots_failed: u32,
    /// Whether another call was answered after [`OPENS_AFTER`] of them: they fail alone.
    snapshots_fail_alone: bool,
    /// An account that has work; the probe reads it.
    account: Option<AccountId>,
}

impl Breaker {
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Returns the failures in a row while the breaker is open, or those of sends while they are on trial (at least
    /// 1); otherwise 0.
    pub(super) fn failures(&self) -> u32 {
        match (self.open, self.on_trial) {
            (Some(_), _) => self.failures.max(1),
            (None, true) => self.failed_sends.max(1),
            (None, false) => 0,
        }
    }

    /// Returns whether sends go one at a time, until one is answered.
    pub(super) fn is_on_trial(&self) -> bool {
        self.open.is_none() && self.on_trial
    }

    /// Returns when the next send is tried; `None` if that has come, or sends are not on trial.
    pub(super) fn next_trial(&self, now: Duration) -> Option<Duration> {
        Some(self.trial_at).filter(|at| self.is_on_trial() && *at > now)
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }

    /// Returns when the next probe begins or the running one times out; `None` while the breaker is closed.
    pub(super) fn opens_until(&self) -> Option<Duration> {
        let open = self.open.as_ref()?;
        Some(self.probing.map_or(open.probe_at, |since| since + PROBE_TIMEOUT))
    }

    /// Returns when a probe is due, unless one is running.
    pub(super) fn probe_at(&self) -> Option<Duration> {
        if self.probing.is_some() {
            return None;
        }
        let silent = self.silent_since.map(|since| since + SILENCE);
        self.open.map_or(silent, |open| Some(open.probe_at))
    }

    /// Returns an account that has work.
    pub(super) fn account(&self) -> Option<&AccountId> {
        self.account.as_ref()
    }

    pub(super) fn probe_begins(&mut self, now: Duration) {
        self.probing = Some(now);
    }

    /// Records the result of the probe; returns whether the breaker closed.
    pub(super) fn probed(&mut self, heard: Heard, now: Duration, dice: &mut Dice) -> bool {
        self.probing = None;
        match heard {
            Heard::Answer => self.answered(false),
            Heard::Trouble | Heard::Neither => {
                self.tally.failures += 1;
                self.failures = self.failures.saturating_add(1);
                self.silent_since = self.silent_since.map(|_| now);
                if self.open.is_some() {
                    // The API is to blame, and no account.
                    self.suspects.clear();
                    self.open(now, dice);
                } else if self.failures >= OPENS_AFTER || self.risked >= MAX_RISKED {
                    self.open(now, dice);
                }
                false
            }
        }
    }

    /// Returns whether a send may start.
    pub(super) fn may_send(&self, now: Duration) -> bool {
        let has_room = match self.on_trial {
            true => self.granted + self.sends_out == 0 && self.trial_at <= now,
            false => self.risked < MAX_RISKED,
        };
        self.open.is_none() && has_room
    }

    /// Records that a send waits although a permit is available.
    pub(super) fn send_waits(&mut self, now: Duration) {
        if self.next_trial(now).is_none() {
            self.silent_since.get_or_insert(now);
        }
    }

    /// Returns the earliest time at which a send that waits for an answer or a trial may go; `None` if sends may go
    /// now.
    pub(super) fn silent_until(&self, now: Duration) -> Option<Duration> {
        let silent = || match self.probing {
            Some(since) => since + PROBE_TIMEOUT,
            None => self.silent_since.unwrap_or(now) + SILENCE,
        };
        (!self.may_send(now)).then(|| self.next_trial(now).unwrap_or_else(silent))
    }

    /// Returns whether sends wait because no call was answered for so long that a read probes the API.
    pub(super) fn is_silent(&self) -> bool {
        self.open.is_none() && !self.on_trial && self.risked >= MAX_RISKED && self.probing.is_some()
    }

    /// Returns whether a send is in flight, or has a permit.
    pub(super) fn sends(&self) -> bool {
        self.sends_out + self.granted > 0
    }

    pub(super) fn works(&mut self, account: &AccountId) {
        if self.account.as_ref() != Some(account) {
            self.account = Some(account.clone());
        }
    }

    pub(super) fn send_granted(&mut self) {
        self.granted += 1;
        self.risked += 1;
    }

    pub(super) fn send_begins(&mut self) {
        self.granted = self.granted.saturating_sub(1);
        self.sends_out += 1;
    }

    /// A send ended without a result.
    pub(super) fn send_lost(&mut self) {
        self.sends_out = self.sends_out.saturating_sub(1);
    }

    pub(super) fn send_returned(&mut self) {
        self.granted = self.granted.saturating_sub(1);
        self.risked = self.risked.saturating_sub(1);
    }

    /// Counts a call that ended; returns who is to blame for a failure, and whether the breaker closed.
    pub(super) fn ended(
        &mut self,
        account: &AccountId,
        ended: Ended,
        now: Duration,
        dice: &mut Dice,
    ) -> (Blame, bool) {
        let earlier = if ended.is_send { self.own.remove(account).unwrap_or(0) } else { 0 };
        self.sends_out = self.sends_out.saturating_sub(u32::from(ended.is_send));
        let counts = self.counts(ended);
        match ended.heard {
            Heard::Trouble if !counts => (Blame { is_own: false, earlier }, false),
            Heard::Neither => (Blame { is_own: false, earlier }, false),
            Heard::Answer => {
                let closed = self.answered(ended.is_send);
                (Blame { is_own: false, earlier }, closed)
            }
            Heard::Trouble => {
                let is_own = self.failed(account, ended, now, dice);
                (Blame { is_own, earlier }, false)
            }
        }
    }

    /// Returns whether a failure of the call counts: snapshot reads that fail while other calls are answered say
    /// nothing about the API as a whole.
    fn counts(&mut self, ended: Ended) -> bool {
        if !ended.is_snapshot {
            return true;
        }
        match ended.heard {
            Heard::Answer => (self.snapshots_failed, self.snapshots_fail_alone) = (0, false),
            Heard::Trouble => self.snapshots_failed = self.snapshots_failed.saturating_add(1),
            Heard::Neither => {}
        }
        ended.no_connection || !self.snapshots_fail_alone
    }

    /// Counts a send that Unipile answered with a failure of the provider's. It is the account's own as long as only
    /// this account's sends fail; those of several accounts put sends on trial. Returns the same as `ended`.
    pub(super) fn provider_failed(
        &mut self,
        account: &AccountId,
        began: Tally,
        now: Duration,
        dice: &mut Dice,
    ) -> (Blame, bool) {
        let earlier = self.own.remove(account).unwrap_or(0);
        self.sends_out = self.sends_out.saturating_sub(1);
        self.count_failed_send(account);
        self.tally.failures += 1;
        // The API answers, but no further send may start because of it.
        let risked = self.risked;
        let closed = self.answered(false);
        self.risked = risked;
        let fail = self.sends_fail();
        if fail {
            self.sends_failed = true;
            self.try_sends(began, now, dice);
        }
        (Blame { is_own: !fail, earlier }, closed)
    }

    fn answered(&mut self, is_send: bool) -> bool {
        self.snapshots_fail_alone = self.snapshots_failed >= OPENS_AFTER;
        self.tally.answers += 1;
        self.failures = 0;
        self.risked = self.granted;
        self.silent_since = None;
        // While the sends of several accounts fail, an answered read says nothing about sends.
        if is_send || !self.sends_fail() {
            for (account, failures) in self.suspects.drain() {
                *self.own.entry(account).or_default() += failures;
            }
        }
        let closed = self.open.take().is_some();
        if is_send {
            self.sends_failed = false;
            self.failed_senders.clear();
            self.failed_sends = 0;
            self.trial_at = Duration::ZERO;
        } else if closed {
            self.on_trial = self.sends_failed;
        }
        if !self.sends_failed {
            (self.on_trial, self.tries) = (false, 0);
        }
        closed
    }

    /// Counts a failed call; returns whether the account itself is to blame, because the API answered others properly
    /// meanwhile.
    fn failed(&mut self, account: &AccountId, ended: Ended, now: Duration, dice: &mut Dice) -> bool {
        let answers = self.tally.answers - ended.began.answers;
        let others = self.tally.failures - ended.began.failures;
        if ended.is_send && !ended.no_connection {
            self.count_failed_send(account);
        }
        let is_own = answers > 2 * others && !self.sends_fail();
        self.tally.failures += 1;
        self.failures = self.failures.saturating_add(1);
        if ended.is_send && ended.no_connection {
            self.risked = self.risked.saturating_sub(1);
        } else if ended.is_send {
            self.sends_failed = true;
            if !is_own {
                *self.suspects.entry(account.clone()).or_default() += 1;
            }
        }
        let opens = self.failures >= OPENS_AFTER
            || (ended.no_connection && answers == 0)
            || (self.on_trial && ended.is_send && !is_own && !self.sends_fail());
        if self.open.is_none() && opens {
            self.open(now, dice);
        } else if ended.is_send && self.sends_fail() {
            self.try_sends(ended.began, now, dice);
        }
        is_own && !ended.no_connection
    }

    fn count_failed_send(&mut self, account: &AccountId) {
        self.failed_sends = self.failed_sends.saturating_add(1);
        if self.failed_senders.len() < FAILING_ACCOUNTS && !self.failed_senders.contains(account) {
            self.failed_senders.push(account.clone());
        }
    }

    /// Puts sends on trial: reads are answered, so only sends wait.
    fn try_sends(&mut self, began: Tally, now: Duration, dice: &mut Dice) {
        self.on_trial = true;
        if began.failures >= self.tried {
            self.count_try();
            self.trial_at = now + pace::draw_api_pause(dice, self.tries) * TRIAL_PAUSE;
        }
    }

    /// Returns whether sends of several accounts fail.
    fn sends_fail(&self) -> bool {
        self.failed_sends >= FAILING_SENDS && self.failed_senders.len() >= FAILING_ACCOUNTS
    }

    fn count_try(&mut self) {
        self.tries = self.tries.saturating_add(1);
        self.tried = self.tally.failures;
    }

    fn open(&mut self, now: Duration, dice: &mut Dice) {
        self.count_try();
        self.open = Some(Open { probe_at: now + pace::draw_api_pause(dice, self.tries) });
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
