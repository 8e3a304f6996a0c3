//! What `explain` says against what the engine does, at every step (P6): what it calls `now` is what is sent next, what is
//! sent was `now`, and a time that was shown does not pass by more than a gap without a send.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use outboxd::domain::message::{AccountId, Arrival};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::engine::{EngineHandle, Until};
use outboxd::store::{MessageFilter, MessageView, Store};

use crate::engine_pace::time::seconds;
use crate::queue::account;

/// How long after a shown time an account may begin, beside its longest gap: the call before it, and a start of its own.
const LATE: Duration = seconds(100);

/// The checks of one process.
pub(crate) struct Truth {
    running: Mutex<Option<(Store, EngineHandle)>>,
    /// The earliest time that was shown for each account since anything last happened to it.
    shown: Mutex<HashMap<AccountId, (Timestamp, u64)>>,
    wrongs: Mutex<Vec<String>>,
}

impl Truth {
    pub(crate) fn new() -> Self {
        Self { running: Mutex::default(), shown: Mutex::default(), wrongs: Mutex::default() }
    }

    pub(crate) fn watch(&self, store: Store, handle: EngineHandle) {
        *self.running.lock().expect("nothing panics while holding it") = Some((store, handle));
    }

    /// The process has ended: lets go of what would keep its queue open.
    pub(crate) fn forget(&self) {
        *self.running.lock().expect("nothing panics while holding it") = None;
    }

    fn running(&self) -> Option<(Store, EngineHandle)> {
        self.running.lock().expect("nothing panics while holding it").clone()
    }

    /// Everything that was found wrong.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.wrongs.lock().expect("nothing panics while holding it"))
    }

    fn wrong(&self, what: String) {
        self.wrongs.lock().expect("nothing panics while holding it").push(what);
    }

    async fn queued(&self, account: Option<&AccountId>) -> Vec<MessageView> {
        let (store, handle) = self.running().expect("it runs");
        let filter = MessageFilter {
            account_id: account.cloned(),
            states: vec![StateName::Queued],
            limit: 1000,
            ..Default::default()
        };
        store.messages(&filter, handle.now()).await.expect("the queue answers").messages
    }

    /// The engine is about to write the intent to send this message.
    pub(crate) async fn begins(&self, arrival: Arrival) {
        let Some((_, handle)) = self.running() else { return };
        let queued = self.queued(None).await;
        let Some(own) = queued.iter().find(|view| view.arrival == arrival) else {
            return self.wrong(format!("{arrival:?} is about to be sent and is not queued"));
        };
        let account = own.account.id.clone();
        let queued: Vec<MessageView> = queued.into_iter().filter(|view| view.account.id == account).collect();
        let standings = handle.standings(&queued).await.expect("the queue answers");
        let told: Vec<_> =
            queued.iter().zip(&standings).map(|(view, standing)| (view.arrival, standing)).collect();
        let now: Vec<Arrival> = told
            .iter()
            .filter(|(_, standing)| standing.reason == Reason::Now)
            .map(|(arrival, _)| *arrival)
            .collect();
        if now != [arrival] {
            let at = handle.now();
            self.wrong(format!("{account} sends {arrival:?} at {at}, and `now` are {now:?}: {told:?}"));
        }
    }

    /// Nothing is at work: nothing may be `now`, and no shown time may have passed for long. `happened` changes with all that
    /// happens to any account.
    pub(crate) async fn at_rest(
        &self,
        happened: u64,
        accounts: u64,
        longest_gap: impl Fn(&AccountId) -> Duration,
    ) {
        let Some((_, handle)) = self.running() else { return };
        if handle.is_stopping() {
            return;
        }
        let now = handle.now();
        for id in (0..accounts).map(|n| account(&n.to_string())) {
            let standing = handle.next_standing(&id).await.expect("the queue answers");
            let until = match standing {
                Some(standing) if standing.reason == Reason::Now => {
                    self.wrong(format!("{id} rests at {now} although a message is `now`"));
                    None
                }
                Some(standing) => standing.until,
                None => None,
            };
            let mut shown = self.shown.lock().expect("nothing panics while holding it");
            let Some(Until::At(until)) = until else {
                shown.remove(&id);
                continue;
            };
            let (first, since) = *shown.entry(id.clone()).or_insert((until, happened));
            if since != happened {
                shown.insert(id, (until, happened));
            } else if first + longest_gap(&id) + LATE < now {
                shown.remove(&id);
                drop(shown);
                self.wrong(format!("{id} was to send at {first}, and nothing was sent by {now}"));
            }
        }
    }
}
