//! What exists in the sandbox and what has happened, as tests see and change it: accounts, chats, faults, the ledger.
//!
//! Changed by `methods` on behalf of requests, and directly by tests; what people and owners do is in `acts`. One mutex
//! guards all of it; it is held for a few map operations and never across an `.await`. The effects of requests are in
//! `state`, what follows from them in `publish`. A change that a test
//! makes here happens on LinkedIn's side: the response cache of the service does not learn of it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::http::header;
use axum::http::request::Parts;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Notify;

use super::SandboxConfig;
use super::account::{Account, Credits, Inbox};
use super::attachment::Attachment;
use super::endpoint::Target;
use super::faults::{self, Fault, FaultKind};
use super::ledger::{Arrival, Call, Delivery};
use super::posts::{Answer, Post};
use super::publish;
use super::reply::{Problem, Reply};
use super::requests::Request;
use super::state::{Moment, State};
use super::webhook_faults::WebhookFault;
use crate::clock::Clock;

/// The whole state of the sandbox.
pub struct World {
    config: SandboxConfig,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Wakes `deliver` when something may be due earlier than before.
    changed: Notify,
}

impl World {
    /// Creates a world without a socket that runs on `clock`, for a simulation.
    pub fn new(config: SandboxConfig, clock: Arc<dyn Clock>) -> Self {
        Self { config, clock, state: Mutex::default(), changed: Notify::new() }
    }

    /// Returns all deliveries so far, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries_after(0)
    }

    /// Returns the deliveries with a `seq` above `after`, oldest first.
    pub fn deliveries_after(&self, after: u64) -> Vec<Delivery> {
        self.state().ledger.deliveries_after(after).to_vec()
    }

    /// Returns all calls so far, oldest first, including those that were refused or cut.
    pub fn calls(&self) -> Vec<Call> {
        self.calls_after(0)
    }

    /// Returns the calls with a `seq` above `after`, oldest first.
    pub fn calls_after(&self, after: u64) -> Vec<Call> {
        self.state().ledger.calls_after(after).to_vec()
    }

    /// Returns how many deliveries the ledger holds, without copying them.
    pub fn delivered_count(&self) -> usize {
        self.state().ledger.deliveries_after(0).len()
    }

    /// Returns the time of the sandbox's own monotonic clock, which dates arrivals.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Returns how many calls the ledger holds, without copying them.
    pub fn call_count(&self) -> usize {
        self.state().ledger.calls_after(0).len()
    }

    /// Empties the ledger. Accounts, chats, faults and the numbering stay.
    pub fn clear_ledger(&self) {
        self.state().ledger.clear();
    }

    /// Adds `fault` for future requests, after the faults that are already there.
    pub fn add_fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Returns the faults that are not used up.
    pub fn faults(&self) -> Vec<Fault> {
        self.state().faults.clone()
    }

    /// Removes all faults. Accounts that are disconnected or restricted stay so.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Adds `fault` for future webhook events, in addition to the faults that are already there.
    pub fn add_webhook_fault(&self, fault: WebhookFault) {
        self.state().webhooks.faults.push(fault);
    }

    /// Returns the faults of webhooks that are not used up.
    pub fn webhook_faults(&self) -> Vec<WebhookFault> {
        self.state().webhooks.faults.clone()
    }

    /// Removes all faults of webhooks. Deliveries that wait already stay as they are.
    pub fn clear_webhook_faults(&self) {
        self.state().webhooks.faults.clear();
    }

    /// Returns when [`World::run_due`] or [`World::take_post`] has something to do, in the time of
    /// [`World::elapsed`]. For a simulation: a sandbox with a socket does both itself.
    pub fn next_due(&self) -> Option<Duration> {
        next_due(&self.state())
    }

    /// Lets people do what is due: receive, read and answer.
    pub fn run_due(&self) {
        // Not through `act`: it would wake its own caller, again and again.
        let moment = self.moment();
        let mut state = self.state();
        while let Some(action) = state.agenda.take(moment.monotonic) {
            publish::perform(&mut state, &self.config, &action, moment);
        }
    }

    /// Returns the next webhook to POST, if one is due. Its endpoint gets no other until [`World::posted`].
    pub fn take_post(&self) -> Option<Post> {
        let moment = self.moment();
        self.state().webhooks.take_post(moment.now, moment.monotonic)
    }

    /// Records what the receiver of `post` answered; `None` if it did not. A failed one is due again later.
    pub fn posted(&self, post: &Post, status: Option<u16>, body: Option<&str>) {
        self.act(|state, moment| {
            let answer = Answer { status, body };
            let pauses = &self.config.webhook_pauses;
            state.webhooks.posted(post, answer, pauses, (moment.now, moment.monotonic));
        });
    }

    /// Creates `chat_id` on `account`.
    pub fn add_chat(&self, account: &str, chat_id: &str) {
        self.on(account, |account, now| {
            account.use_chat(chat_id, now);
        });
    }

    /// Creates `chat_id` on `account` as the latest chat with `user`: starting a chat with that user appends to it.
    pub fn add_chat_with_user(&self, account: &str, user: &str, chat_id: &str) {
        self.on(account, |account, now| account.add_direct_chat(user, chat_id, now));
    }

    /// Creates `chat_id` on `account` as a group of the account and `users`.
    pub fn add_group(&self, account: &str, chat_id: &str, users: &[&str], name: Option<&str>) {
        self.on(account, |account, now| {
            let chat = account.use_chat(chat_id, now);
            chat.users = users.iter().map(|user| (*user).to_owned()).collect();
            chat.is_group = true;
            chat.name = Some(name.map_or_else(|| users.join(", "), str::to_owned));
        });
    }

    /// Makes `chat_id` read-only, creating it if necessary: a message into it answers 403
    /// `provider/insufficient_permissions`.
    pub fn set_readonly(&self, account: &str, chat_id: &str) {
        self.on(account, |account, now| account.use_chat(chat_id, now).readonly = true);
    }

    /// Undoes [`World::set_readonly`].
    pub fn set_writable(&self, account: &str, chat_id: &str) {
        self.on(account, |account, now| account.use_chat(chat_id, now).readonly = false);
    }

    /// Sets the InMail credits of `account` by product; `None` is a product without a subscription. Each InMail of
    /// LinkedIn Classic takes one of `classic`. An answer in the response cache stays unchanged.
    pub fn set_credits(
        &self,
        account: &str,
        classic: Option<u32>,
        sales_navigator: Option<u32>,
        recruiter: Option<u32>,
    ) {
        let credits = Credits { classic, sales_navigator, recruiter };
        self.on(account, |account, _| account.credits = credits);
    }

    /// Sets all inboxes of `account`, each with its id and whether it is disabled. Only an enabled `…_PRIMARY` inbox
    /// starts chats.
    pub fn set_inboxes(&self, account: &str, inboxes: impl IntoIterator<Item = (impl Into<String>, bool)>) {
        let inboxes = inboxes.into_iter().map(|(id, disabled)| Inbox { id: id.into(), disabled }).collect();
        self.on(account, |account, _| account.inboxes = inboxes);
    }

    pub(super) fn config(&self) -> &SandboxConfig {
        &self.config
    }

    pub(super) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// Returns the current moment, on both clocks.
    pub(super) fn arrival(&self) -> Arrival {
        Arrival { at: self.clock.now(), at_monotonic: self.clock.monotonic() }
    }

    /// Returns attachment `index` of delivery `seq`, if the ledger has it.
    pub(super) fn attachment(&self, seq: u64, index: usize) -> Option<Attachment> {
        self.state().ledger.delivery(seq)?.attachments.get(index).cloned()
    }

    /// Records a request in the ledger and returns its number.
    pub(super) fn enter_call(&self, target: &Target, parts: &Parts, arrival: Arrival, body: Value) -> u64 {
        let cache_control = parts.headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
        let call = Call {
            seq: 0, // the ledger numbers it
            account_id: target.account_id.clone(),
            endpoint: target.endpoint,
            inbox_id: target.inbox_id.clone(),
            chat_id: target.chat_id.clone(),
            message_id: target.message_id.clone(),
            cache_control: cache_control.map(str::to_owned),
            path: parts.uri.path_and_query().map_or("", |path| path.as_str()).to_owned(),
            at: arrival.at,
            at_monotonic: arrival.at_monotonic,
            status: None,
            body: if self.config.keep_bodies { body } else { Value::Null },
        };
        self.state().ledger.enter_call(call)
    }

    /// Records the answer to call `seq`.
    pub(super) fn answered(&self, seq: u64, status: Option<u16>) {
        self.state().ledger.answered(seq, status);
    }

    /// Checks that what a request names exists and may be used.
    pub(super) fn admit(&self, target: &Target, request: &Request) -> Result<(), Problem> {
        let now = self.clock.now();
        self.state().admit(&self.config, target, request, now)
    }

    /// Returns the fault that this request meets, if any, and uses it up.
    pub(super) fn take_fault(&self, target: &Target) -> Option<FaultKind> {
        faults::take(&mut self.state().faults, &target.account_id, target.endpoint)
    }

    /// Executes `request`: at this moment the recipient receives the message.
    ///
    /// # Errors
    ///
    /// Fails if something that it needs was used up since it was admitted.
    pub(super) fn carry_out(
        &self,
        target: &Target,
        arrival: Arrival,
        request: &Request,
    ) -> Result<Reply, Problem> {
        self.act(|state, moment| {
            let reply = state.carry_out(&self.config, target, arrival, request, moment);
            publish::sent(state, &self.config, moment);
            reply
        })
    }

    /// Runs `change` at this moment, and wakes `deliver` if something is due later.
    pub(super) fn act<T>(&self, change: impl FnOnce(&mut State, Moment) -> T) -> T {
        let moment = self.moment();
        let mut state = self.state();
        let result = change(&mut state, moment);
        if next_due(&state).is_some() {
            self.changed.notify_one();
        }
        result
    }

    fn moment(&self) -> Moment {
        Moment { now: self.clock.now(), monotonic: self.clock.monotonic() }
    }

    /// Completes when something may be due earlier than [`World::next_due`] said last.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Empties the response cache of the account, unless `target` is a read.
    pub(super) fn answered_by_the_service(&self, target: &Target) {
        if !target.endpoint.is_read()
            && let Some(account) = self.state().accounts.get_mut(&target.account_id)
        {
            account.cache.clear();
        }
    }

    /// Changes `account`, creating it if necessary.
    pub(super) fn on<T>(&self, account: &str, change: impl FnOnce(&mut Account, Timestamp) -> T) -> T {
        let now = self.clock.now();
        change(self.state().account(account, now), now)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the sandbox's lock")
    }
}

fn next_due(state: &State) -> Option<Duration> {
    let times = [state.agenda.next_due(), state.webhooks.next_due()];
    times.into_iter().flatten().min()
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World")
            .field("config", &self.config)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
