//! Compares `explain` with the engine at every step (P6): the message that it calls `now` is the next one sent, a
//! message that is sent was `now`, and a shown time does not pass by more than a gap without a send.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use outboxd::domain::message::{AccountId, Seq};
use outboxd::domain::reason::Reason;
use outboxd::domain::state::StateName;
use outboxd::domain::time_text;
use outboxd::engine::{EngineHandle, Until, WaitStatus};
use outboxd::store::{MessageFilter, MessageView, Store};

use crate::engine_pace::time::seconds;
use crate::queue::account;

/// How long after a shown time an account may begin, in addition to its longest gap: the call before it, and a start
/// of its own.
const LATE: Duration = seconds(100);

/// Time within which the engine notices that the wall clock was set.
const NOTICED: Duration = seconds(21);

/// The checks of one process.
pub(crate) struct Truth {
    running: Mutex<Option<(Store, EngineHandle)>>,
    /// The earliest time that was shown for each account since anything last happened to it.
    shown: Mutex<HashMap<AccountId, (Timestamp, u64)>>,
    looked: Mutex<Looked>,
    wrongs: Mutex<Vec<String>>,
}

impl Truth {
    pub(crate) fn new() -> Self {
        Self {
            running: Mutex::default(),
            shown: Mutex::default(),
            looked: Mutex::default(),
            wrongs: Mutex::default(),
        }
    }

    pub(crate) fn watch(&self, store: Store, handle: EngineHandle) {
        *self.running.lock().expect("nothing panics while holding it") = Some((store, handle));
    }

    /// Releases the store after the end of the process, which would keep its queue open.
    pub(crate) fn forget(&self) {
        *self.running.lock().expect("nothing panics while holding it") = None;
    }

    fn running(&self) -> Option<(Store, EngineHandle)> {
        self.running.lock().expect("nothing panics while holding it").clone()
    }

    /// Returns and clears everything that was found wrong.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.wrongs.lock().expect("nothing panics while holding it"))
    }

    fn wrong(&self, what: String) {
        self.wrongs.lock().expect("nothing panics while holding it").push(what);
    }

    async fn queued(&self, account: &AccountId) -> Vec<MessageView> {
        let (store, handle) = self.running().expect("it runs");
        let filter = MessageFilter {
            account_id: Some(account.clone()),
            states: vec![StateName::Queued],
            limit: 1000,
            ..Default::default()
        };
        store.messages(&filter, handle.now()).await.expect("the queue answers").messages
    }

    /// Returns whether something changes for this account, or for all, at this very time.
    async fn happens_now(&self, account: &AccountId) -> bool {
        let Some((store, handle)) = self.running() else { return false };
        let (path, account, now) = (store.path().to_owned(), account.to_string(), time_text(handle.now()));
        const SQL: &str = "SELECT count(*) FROM events WHERE at >= ?2 AND (account_id = ?1 OR account_id IS NULL) AND seq > \
             (SELECT max(seq) FROM events) - 50";
        let connection = rusqlite::Connection::open(path).expect("the queue");
        connection.query_row(SQL, [account, now], |row| row.get::<_, i64>(0)).expect("a count") > 0
    }

    /// Called when the engine is about to write the intent to send this message.
    pub(crate) async fn begins(&self, account: &AccountId, seq: Seq) {
        let Some((_, handle)) = self.running() else { return };
        let queued = self.queued(account).await;
        let wait_statuses = handle.wait_statuses(&queued).await.expect("the queue answers");
        let told: Vec<_> =
            queued.iter().zip(&wait_statuses).map(|(view, wait_status)| (view.seq, wait_status)).collect();
        let now: Vec<Seq> = told
            .iter()
            .filter(|(_, wait_status)| wait_status.reason == Reason::Now)
            .map(|(seq, _)| *seq)
            .collect();
        // If the API fails between the selection and the call, no call is made.
        let fails = told.iter().any(|(_, wait_status)| fails(wait_status));
        // What happens to the account at this very instant may change what goes next after the selection.
        if now != [seq] && !fails && !self.happens_now(account).await {
            let at = handle.now();
            self.wrong(format!("{account} sends {seq:?} at {at}, and `now` are {now:?}: {told:?}"));
        }
    }

    /// Returns how long no account has anything to do by what is shown; zero if that is not known.
    pub(crate) fn quiet_for(&self, now: Timestamp) -> Duration {
        let until = self.looked.lock().expect("whole").until;
        Duration::try_from(until.duration_since(now)).unwrap_or_default()
    }

    /// Called when nothing is at work: nothing may be `now`, and no shown time may have passed for long. `happened`
    /// changes with all that happens to any account, `set` is when the wall clock was last set, by the monotonic
    /// clock.
    pub(crate) async fn at_rest(
        &self,
        happened: u64,
        accounts: u64,
        (monotonic, set): (Duration, Duration),
        longest_gap: impl Fn(&AccountId) -> Duration,
    ) {
        let Some((_, handle)) = self.running() else { return };
        let now = handle.now();
        // The engine takes a while to notice a clock that was set.
        let is_set = monotonic < set + NOTICED;
        // While nothing happens, the shown times stay the same until the first of them.
        if handle.is_stopping() || is_set || self.looked.lock().expect("whole").is_fresh(happened, now) {
            return;
        }
        let mut next = Timestamp::MAX;
        for id in (0..accounts).map(|n| account(&n.to_string())) {
            let wait_status = handle.next_wait_status(&id).await.expect("the queue answers");
            let is_now = wait_status.as_ref().is_some_and(|wait_status| wait_status.reason == Reason::Now);
            if is_now {
                self.wrong(format!("{id} rests at {now} although a message is `now`"));
            }
            // While the API fails, every probe and every trial shows a new time.
            let wait_status = wait_status.filter(|wait_status| !is_now && !fails(wait_status));
            let mut shown = self.shown.lock().expect("nothing panics while holding it");
            let Some((reason, until)) = wait_status.and_then(|wait_status| acts_at(&wait_status)) else {
                shown.remove(&id);
                continue;
            };
            next = next.min(until);
            let (first, since) = *shown.entry(id.clone()).or_insert((until, happened));
            if since != happened {
                shown.insert(id, (until, happened));
            } else if first + longest_gap(&id) + LATE < now {
                shown.remove(&id);
                drop(shown);
                self.wrong(format!("{id} was to send at {first}, and nothing was sent by {now}: {reason:?}, now until {until}"));
            }
        }
        *self.looked.lock().expect("whole") = Looked { happened, until: next };
    }
}

/// Returns whether a message waits because the API fails.
fn fails(wait_status: &WaitStatus) -> bool {
    matches!(wait_status.reason, Reason::ApiUnreachable | Reason::ApiTrial)
}

/// Returns when the account does something, a send or a read, and why not before.
fn acts_at(wait_status: &WaitStatus) -> Option<(Reason, Timestamp)> {
    let WaitStatus { reason, until, .. } = *wait_status;
    match until? {
        Until::At(at) => Some((reason, at)),
        Until::NotBefore(at) if reason.defers() || reason == Reason::Storage => Some((reason, at)),
        Until::NotBefore(_) | Until::Person => None,
    }
}

/// The state at the last check.
#[derive(Default)]
struct Looked {
    happened: u64,
    /// The first of the times that were shown.
    until: Timestamp,
}

impl Looked {
    fn is_fresh(&self, happened: u64, now: Timestamp) -> bool {
        self.happened == happened && now < self.until
    }
}
