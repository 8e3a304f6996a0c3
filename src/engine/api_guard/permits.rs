//! Permits for requests: which request goes next, within the rate of each account and the total rate.
//!
//! A request that finds no permit takes a place in a queue, ordered by the time of the request plus a handicap for
//! its kind, so that sends go before typing and reads and nothing starves. A place belongs to a task, which waits for
//! it, or to an account's step, which ends and is woken when its permit is ready. All requests for one message keep
//! the place of the first, and a message whose recipient sees the typing indicator goes first when its time comes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use tokio::sync::oneshot;

use super::breaker::Breaker;
use super::kind::{Kind, QUEUES, SEND, TYPED, TYPING, is_same};
use super::rates::Rates;
use crate::domain::message::AccountId;

/// How long a permit that is ready for an account is kept for it.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// How long after its end the typing of an account is remembered if the account does not request the send.
const TYPED_FOR: Duration = Duration::from_secs(5);
/// How many of the waiting typing requests are checked for one whose send finds room.
const TYPING_TRIED: usize = 8;
/// The pause before they are checked again if there is none.
const TYPING_AGAIN: Duration = Duration::from_millis(100);

/// The permits of typing and of its send.
const TWO: NonZeroU32 = NonZeroU32::new(2).expect("2 is not zero");

/// The effective time of the request, and a number that makes it unique.
type Key = (Duration, u64);

pub(super) struct Waiter {
    account: AccountId,
    kind: Kind,
    /// Whether it has the permit of its own account.
    paid: bool,
    /// The task that waits; `None` for a step.
    task: Option<oneshot::Sender<()>>,
}

/// The request of an account's step.
struct Turn {
    /// When the first request for its message was made.
    since: Duration,
    place: Place,
    /// Whether the step that runs, or ran last, made a request.
    asked: bool,
    /// When the typing that is shown ends.
    typed: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    None,
    Waiting(usize, Key),
    Ready(Kind, Duration),
}

pub(super) struct Permits {
    pub(super) rates: Rates,
    pub(super) queues: [BTreeMap<Key, Waiter>; QUEUES],
    /// Waiters whose account has no permit of its own before this time.
    pub(super) resting: BTreeMap<Key, (usize, Key, Waiter)>,
    turns: HashMap<AccountId, Turn>,
    ready: BTreeSet<(Duration, AccountId)>,
    /// When the typing that is shown ends, for each account.
    typed: BTreeSet<(Duration, AccountId)>,
    numbered: u64,
}

/// The result of a request.
pub(super) enum Asked {
    Ready(Kind),
    Waiting,
}

impl Permits {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            rates,
            queues: std::array::from_fn(|_| BTreeMap::new()),
            resting: BTreeMap::new(),
            turns: HashMap::new(),
            ready: BTreeSet::new(),
            typed: BTreeSet::new(),
            numbered: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.numbered += 1;
        self.numbered
    }

    /// Marks that a step of `account` begins; a step that then makes no request loses its place when it ends.
    pub(super) fn step_begins(&mut self, account: &AccountId) {
        if let Some(turn) = self.turns.get_mut(account) {
            turn.asked = false;
        }
    }

    /// Keeps the place of `account`: its step still waits.
    pub(super) fn stays(&mut self, account: &AccountId) {
        if let Some(turn) = self.turns.get_mut(account) {
            turn.asked = true;
        }
    }

    /// Marks that a step of `account` ended; returns whether it gave up a place.
    pub(super) fn step_ended(&mut self, account: &AccountId, breaker: &mut Breaker) -> bool {
        let Some(turn) = self.turns.get(account) else { return false };
        // Between the typing and its send, a step has nothing to request.
        let leaves = !turn.asked && (turn.typed.is_none() || !matches!(turn.place, Place::None));
        if leaves {
            self.leave(account, breaker);
        }
        leaves
    }

    /// Gives up the place of `account`, with every permit that it holds.
    fn leave(&mut self, account: &AccountId, breaker: &mut Breaker) {
        self.give_up_place(account, breaker);
        self.forget_typing(account);
        self.turns.remove(account);
    }

    fn give_up_place(&mut self, account: &AccountId, breaker: &mut Breaker) {
        let Some(turn) = self.turns.get_mut(account) else { return };
        match std::mem::replace(&mut turn.place, Place::None) {
            Place::None => {}
            Place::Waiting(queue, key) => self.remove(queue, key),
            Place::Ready(kind, until) => {
                self.ready.remove(&(until, account.clone()));
                self.rates.give_back();
                match kind {
                    Kind::Send => breaker.send_returned(),
                    Kind::Typing { .. } => self.forget_typing(account),
                    Kind::Look | Kind::Reconcile | Kind::Snapshot | Kind::Poll => {}
                }
            }
        }
    }

    fn forget_typing(&mut self, account: &AccountId) {
        let typed = self.turns.get_mut(account).and_then(|turn| turn.typed.take());
        if let Some(due) = typed {
            self.typed.remove(&(due, account.clone()));
        }
    }

    /// Removes a waiter, if it still waits.
    pub(super) fn remove(&mut self, queue: usize, key: Key) {
        if self.queues[queue].remove(&key).is_none() {
            self.resting.retain(|_, (_, own, _)| *own != key);
        }
    }

    /// Takes a place for `kind` for a step of `account`; the permit may be ready at once, or after
    /// [`Permits::grant`].
    pub(super) fn enter(&mut self, account: &AccountId, kind: Kind, now: Duration, breaker: &mut Breaker) {
        let turn = Turn { since: now, place: Place::None, asked: true, typed: None };
        let turn = self.turns.entry(account.clone()).or_insert(turn);
        turn.asked = true;
        // Typing that was not shown is not followed by its send.
        let is_shown = !matches!(turn.place, Place::Ready(Kind::Typing { .. }, _));
        let typed = turn.typed.filter(|_| kind == Kind::Send && is_shown);
        let queue = if typed.is_some() { TYPED } else { kind.queue() };
        match turn.place {
            Place::Waiting(old, _) if old == queue && queue != TYPING => return,
            // A ready permit serves only the kind that it was granted for: sends are counted, and typing has its own
            // permits.
            Place::Ready(ready, _) if is_same(ready, kind) => return,
            Place::None | Place::Waiting(..) | Place::Ready(..) => {}
        }
        let since = turn.since;
        self.give_up_place(account, breaker);
        if let Kind::Typing { .. } = kind {
            self.forget_typing(account);
        }
        let effective = typed.unwrap_or(since + kind.handicap());
        let key = (effective, self.number());
        if let Some(turn) = self.turns.get_mut(account) {
            turn.place = Place::Waiting(queue, key);
        }
        let waiter = Waiter { account: account.clone(), kind, paid: typed.is_some(), task: None };
        self.queues[queue].insert(key, waiter);
    }

    /// Takes the permit of a step that has entered, if it is ready.
    pub(super) fn take(&mut self, account: &AccountId) -> Asked {
        let Some(turn) = self.turns.get_mut(account) else { return Asked::Waiting };
        let Place::Ready(kind, until) = turn.place else { return Asked::Waiting };
        turn.place = Place::None;
        self.ready.remove(&(until, account.clone()));
        if kind == Kind::Send {
            self.forget_typing(account);
            self.turns.remove(account);
        }
        Asked::Ready(kind)
    }

    /// Returns when the typing that was granted to `account` ends.
    pub(super) fn typed_until(&self, account: &AccountId) -> Option<Duration> {
        self.turns.get(account)?.typed
    }

    /// Takes a place for `kind` for a task.
    pub(super) fn enter_task(
        &mut self,
        account: &AccountId,
        kind: Kind,
        now: Duration,
        task: oneshot::Sender<()>,
    ) -> (usize, Key) {
        let key = (now + kind.handicap(), self.number());
        let waiter = Waiter { account: account.clone(), kind, paid: false, task: Some(task) };
        self.queues[kind.queue()].insert(key, waiter);
        (kind.queue(), key)
    }

    /// Grants the available permits in order; returns the accounts to wake, and when there may be more to grant.
    pub(super) fn grant(
        &mut self,
        now: Duration,
        breaker: &mut Breaker,
    ) -> (Vec<AccountId>, Option<Duration>) {
        self.expire(now, breaker);
        let mut woken = Vec::new();
        let next = loop {
            self.end_rests(now);
            let rested = self.resting.keys().next().map(|(at, _)| *at);
            if breaker.is_open() {
                break None;
            }
            let (queue, key) = match self.first(now, breaker) {
                Ok(first) => first,
                Err(again) => break again.into_iter().chain(rested).min(),
            };
            let free_at = self.rates.free_at(now);
            if now < free_at {
                break Some(free_at);
            }
            if !self.pay(queue, key) {
                continue;
            }
            if let Err(free_at) = self.rates.take() {
                break Some(free_at);
            }
            woken.extend(self.deliver(queue, key, now, breaker));
        };
        let expires = self.ready.first().map(|(until, _)| *until);
        (woken, next.into_iter().chain(expires).min())
    }

    /// Returns the waiter that goes first, or else the time at which there may be one.
    fn first(&self, now: Duration, breaker: &mut Breaker) -> Result<(usize, Key), Option<Duration>> {
        let may_send = breaker.may_send(now);
        if !may_send && (!self.queues[TYPED].is_empty() || !self.queues[SEND].is_empty()) {
            breaker.send_waits(now);
        }
        if may_send && let Some(key) = self.queues[TYPED].keys().next() {
            return Ok((TYPED, *key));
        }
        let typing = self.queues[TYPING].iter().take(TYPING_TRIED);
        let typing = typing.filter(|(_, waiter)| self.has_room(waiter.kind, now)).map(|(key, _)| *key);
        let typing = typing.take(usize::from(may_send)).next();
        let fronts = (SEND..QUEUES).filter_map(|queue| match queue {
            SEND if !may_send => None,
            TYPING => typing.map(|key| (key, queue)),
            queue => self.queues[queue].keys().next().map(|key| (*key, queue)),
        });
        let waits_to_type = may_send && !self.queues[TYPING].is_empty();
        let again = waits_to_type.then(|| now + TYPING_AGAIN).or_else(|| breaker.next_trial(now));
        fronts.min().map(|(key, queue)| (queue, key)).ok_or(again)
    }

    /// Returns whether the send that follows this typing finds a permit within a second of its end. Half of each
    /// second's permits are for such sends, because the typing needs as many.
    fn has_room(&self, kind: Kind, now: Duration) -> bool {
        let Kind::Typing { free_at, lasts } = kind else { return true };
        let due = free_at.max(now + lasts);
        let (from, to, most) = if self.rates.per_second >= 4.0 {
            let second = Duration::from_secs(due.as_secs());
            (second, second + Duration::from_secs(1), (self.rates.per_second / 2.0) as usize)
        } else {
            let apart = Duration::from_secs_f64(2.0 / self.rates.per_second);
            (due.saturating_sub(apart), due + apart, 1)
        };
        let of = |at| (at, AccountId::new(""));
        self.typed.range(of(from)..of(to)).take(most).count() < most
    }

    /// Takes the permits of the waiter's own account; without one it rests.
    fn pay(&mut self, queue: usize, key: Key) -> bool {
        let Some(waiter) = self.queues[queue].get_mut(&key) else { return false };
        if waiter.paid {
            return true;
        }
        // Typing takes the permit of its send as well.
        let count = if queue == TYPING { TWO } else { NonZeroU32::MIN };
        if let Err(at) = self.rates.take_own(&waiter.account, count) {
            if let Some(waiter) = self.queues[queue].remove(&key) {
                self.resting.insert((at, key.1), (queue, key, waiter));
            }
            return false;
        }
        waiter.paid = true;
        true
    }

    fn end_rests(&mut self, now: Duration) {
        while let Some(entry) = self.resting.first_entry().filter(|entry| entry.key().0 <= now) {
            let (queue, key, waiter) = entry.remove();
            self.queues[queue].insert(key, waiter);
        }
    }

    /// Delivers its permit to the waiter; returns the account if it must be woken.
    fn deliver(&mut self, queue: usize, key: Key, now: Duration, breaker: &mut Breaker) -> Option<AccountId> {
        let Waiter { account, kind, task, .. } = self.queues[queue].remove(&key)?;
        breaker.works(&account);
        if let Some(task) = task {
            // A task that gives up waiting removes its place, so a failed send is ignored.
            let _given_up = task.send(());
            return None;
        }
        if kind == Kind::Send {
            breaker.send_granted();
        }
        let until = now + KEPT_FOR;
        let turn = self.turns.get_mut(&account)?;
        turn.place = Place::Ready(kind, until);
        if let Kind::Typing { free_at, lasts } = kind {
            let due = free_at.max(now + lasts);
            turn.typed = Some(due);
            self.typed.insert((due, account.clone()));
        }
        self.ready.insert((until, account.clone()));
        Some(account)
    }

    /// Takes back permits and typing that were not used in time.
    fn expire(&mut self, now: Duration, breaker: &mut Breaker) {
        while let Some((_, account)) = self.ready.first().filter(|(until, _)| *until <= now).cloned() {
            self.leave(&account, breaker);
        }
        while let Some((due, account)) =
            self.typed.first().filter(|(due, _)| *due + TYPED_FOR <= now).cloned()
        {
            self.typed.remove(&(due, account.clone()));
            if let Some(turn) = self.turns.get_mut(&account) {
                turn.typed = None;
                if matches!(turn.place, Place::None) {
                    self.turns.remove(&account);
                }
            }
        }
        self.rates.forget_idle(now);
    }

    /// Returns when the request that `account` waits for is likely to be made, by its place in the queue and the
    /// rate.
    pub(super) fn busy_until(
        &self,
        account: &AccountId,
        now: Duration,
        breaker: &Breaker,
    ) -> Option<Duration> {
        let Place::Waiting(queue, key) = self.turns.get(account)?.place else { return None };
        // A waiting typing request needs two permits.
        let cost = |queue: usize| if queue == TYPING { 2 } else { 1 };
        let ahead = |queue: usize| self.queues[queue].range(..key).count() * cost(queue);
        let behind_typing = || self.queues[TYPED].len() + (SEND..QUEUES).map(ahead).sum::<usize>();
        let requests = if queue == TYPED { ahead(TYPED) } else { behind_typing() };
        let wait =
            Duration::try_from_secs_f64(requests as f64 / self.rates.per_second).unwrap_or(Duration::MAX);
        let mut at = self.rates.free_at(now).saturating_add(wait);
        let waits_for_account = self.resting.iter().find(|(_, (_, own, _))| *own == key);
        if let Some(((rests_until, _), _)) = waits_for_account {
            at = at.max(*rests_until);
        }
        if queue <= SEND || queue == TYPING {
            at = at.max(breaker.silent_until(now).unwrap_or(at));
        }
        Some(at.max(now + Duration::from_millis(1)))
    }

    /// Returns whether `account` waits to send, or to type before a send.
    pub(super) fn waits_to_send(&self, account: &AccountId) -> bool {
        let place = self.turns.get(account).map(|turn| turn.place);
        matches!(place, Some(Place::Waiting(TYPED | SEND | TYPING, _)))
    }
}

#[cfg(test)]
#[path = "permits_tests.rs"]
mod tests;
