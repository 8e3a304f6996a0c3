//! What exists in the sandbox and what has happened: accounts, chats, faults and the ledger.
//!
//! Changed by `methods` on behalf of requests, and directly by tests. One mutex guards all of it; it is held for a
//! few map operations and never across an `.await`. A chat is checked when the request arrives and created when the
//! message is delivered, so that a request that was cut before its delivery leaves no trace but its call.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;

use super::SandboxConfig;
use super::endpoint::Target;
use super::faults::{self, Fault, FaultKind};
use super::ledger::{Arrival, Call, Delivery, DeliveryKind, Ledger};
use super::reply::{Problem, Success};
use super::requests::{Content, Recipients, Request};
use crate::clock::{Clock, SystemClock};

/// Everything the sandbox knows.
#[derive(Debug)]
pub struct World {
    config: SandboxConfig,
    clock: SystemClock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    accounts: HashMap<String, Account>,
    faults: Vec<Fault>,
    ledger: Ledger,
    last_chat: u64,
    last_message: u64,
}

#[derive(Debug, Default)]
struct Account {
    standing: Standing,
    /// The users of each chat, by chat id.
    chats: HashMap<String, Vec<String>>,
    /// The chat with each user, by user id.
    direct: HashMap<String, String>,
}

#[derive(Debug, Clone, Copy, Default)]
enum Standing {
    #[default]
    Running,
    Disconnected,
    Restricted,
}

impl World {
    pub(super) fn new(config: SandboxConfig) -> Self {
        Self { config, clock: SystemClock::new(), state: Mutex::default() }
    }

    /// All deliveries so far, oldest first.
    pub fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries_after(0)
    }

    /// The deliveries with a `seq` above `after`, oldest first.
    pub fn deliveries_after(&self, after: u64) -> Vec<Delivery> {
        self.state().ledger.deliveries_after(after).to_vec()
    }

    /// All calls so far, oldest first, including those that were refused or cut.
    pub fn calls(&self) -> Vec<Call> {
        self.calls_after(0)
    }

    /// The calls with a `seq` above `after`, oldest first.
    pub fn calls_after(&self, after: u64) -> Vec<Call> {
        self.state().ledger.calls_after(after).to_vec()
    }

    /// How many deliveries the ledger holds, without copying them.
    pub fn delivered_count(&self) -> usize {
        self.state().ledger.deliveries_after(0).len()
    }

    /// The sandbox's own monotonic clock, by which arrivals are told.
    pub fn elapsed(&self) -> std::time::Duration {
        self.clock.monotonic()
    }

    /// How many calls the ledger holds, without copying them.
    pub fn call_count(&self) -> usize {
        self.state().ledger.calls_after(0).len()
    }

    /// Empties the ledger. Accounts, chats, faults and the numbering stay.
    pub fn clear_ledger(&self) {
        self.state().ledger.clear();
    }

    /// Lays `fault` in the way of future requests, behind those that are there.
    pub fn add_fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// The faults that are not used up.
    pub fn faults(&self) -> Vec<Fault> {
        self.state().faults.clone()
    }

    /// Removes all faults. Accounts that are disconnected or restricted stay so.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Makes `chat_id` exist on `account`.
    pub fn add_chat(&self, account: &str, chat_id: &str) {
        let mut state = self.state();
        state.accounts.entry(account.to_owned()).or_default().chats.entry(chat_id.to_owned()).or_default();
    }

    /// From now on every call of `account` answers 401 `provider/invalid_authorization`.
    pub fn disconnect(&self, account: &str) {
        self.set_standing(account, Standing::Disconnected);
    }

    /// From now on every call of `account` answers 403 `api/account_restricted`.
    pub fn restrict(&self, account: &str) {
        self.set_standing(account, Standing::Restricted);
    }

    /// Ends a disconnection or a restriction of `account`.
    pub fn reconnect(&self, account: &str) {
        self.set_standing(account, Standing::Running);
    }

    pub(super) fn config(&self) -> &SandboxConfig {
        &self.config
    }

    pub(super) fn clock(&self) -> SystemClock {
        self.clock
    }

    /// Now, on both clocks.
    pub(super) fn arrival(&self) -> Arrival {
        Arrival { at: self.clock.now(), at_monotonic: self.clock.monotonic() }
    }

    /// Enters a request into the ledger and answers its number.
    pub(super) fn enter_call(&self, target: &Target, path: &str, arrival: Arrival, body: Value) -> u64 {
        let body = if self.config.keep_bodies { body } else { Value::Null };
        let call = Call {
            seq: 0, // the ledger numbers it
            account_id: target.account_id.clone(),
            endpoint: target.endpoint,
            inbox_id: target.inbox_id.clone(),
            chat_id: target.chat_id.clone(),
            path: path.to_owned(),
            at: arrival.at,
            at_monotonic: arrival.at_monotonic,
            status: None,
            body,
        };
        self.state().ledger.enter_call(call)
    }

    /// Notes what call `seq` was answered with.
    pub(super) fn answered(&self, seq: u64, status: Option<u16>) {
        self.state().ledger.answered(seq, status);
    }

    /// Whether what `target` names exists and may be used.
    pub(super) fn admit(&self, target: &Target) -> Result<(), Problem> {
        let account_id = &target.account_id;
        if self.config.accounts.as_ref().is_some_and(|known| !known.contains(account_id)) {
            return Err(Problem::resource_not_found("api", &format!("Account {account_id} does not exist.")));
        }
        let state = self.state();
        let account = state.accounts.get(account_id);
        match account.map_or(Standing::Running, |account| account.standing) {
            Standing::Running => {}
            Standing::Disconnected => return Err(Problem::disconnected()),
            Standing::Restricted => return Err(Problem::restricted()),
        }
        if let Some(inbox_id) = &target.inbox_id {
            may_start_chats(inbox_id)?;
        }
        let Some(chat_id) = &target.chat_id else { return Ok(()) };
        let known = account.is_some_and(|account| account.chats.contains_key(chat_id));
        if known || (self.config.any_chat && !chat_id.starts_with("missing")) {
            return Ok(());
        }
        Err(Problem::resource_not_found("provider", &format!("Chat {chat_id} does not exist.")))
    }

    /// The fault that this request meets, if any; it is used up by that.
    pub(super) fn take_fault(&self, target: &Target) -> Option<FaultKind> {
        faults::take(&mut self.state().faults, &target.account_id, target.endpoint)
    }

    /// Does what `request` asks for: this is the moment at which a recipient has the message.
    pub(super) fn carry_out(&self, target: &Target, arrival: Arrival, request: &Request) -> Success {
        let mut state = self.state();
        match request {
            Request::StartChat { recipients, content } => {
                let (chat_id, users) = state.start_chat(&target.account_id, recipients);
                let message_id = (!content.is_empty()).then(|| {
                    let delivery = self.delivery(target, arrival, content, DeliveryKind::StartChat);
                    state.deliver(Delivery { chat_id: chat_id.clone(), recipients: users, ..delivery })
                });
                Success::ChatStarted { chat_id, message_id }
            }
            Request::SendMessage { content } => {
                let (chat_id, users) = state.use_chat(target);
                let delivery = self.delivery(target, arrival, content, DeliveryKind::Message);
                let message_id = state.deliver(Delivery { chat_id, recipients: users, ..delivery });
                Success::MessageSent { message_id }
            }
            Request::SetComposing => {
                state.use_chat(target);
                Success::ComposingSet
            }
        }
    }

    /// A delivery that still lacks its chat and its ids.
    fn delivery(&self, target: &Target, arrival: Arrival, content: &Content, kind: DeliveryKind) -> Delivery {
        Delivery {
            seq: 0, // the ledger numbers it
            account_id: target.account_id.clone(),
            chat_id: String::new(),
            recipients: Vec::new(),
            text: if self.config.keep_bodies { content.text.clone() } else { String::new() },
            message_id: String::new(),
            kind,
            at: arrival.at,
            at_monotonic: arrival.at_monotonic,
            attachments: content.attachments.clone(),
        }
    }

    fn set_standing(&self, account: &str, standing: Standing) {
        self.state().accounts.entry(account.to_owned()).or_default().standing = standing;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the sandbox's lock")
    }
}

impl State {
    /// The chat with these users: the one that is there if it is with one user, otherwise a new one.
    fn start_chat(&mut self, account_id: &str, recipients: &Recipients) -> (String, Vec<String>) {
        let account = self.accounts.entry(account_id.to_owned()).or_default();
        let users = match recipients {
            Recipients::One(user) => {
                if let Some(chat_id) = account.direct.get(user) {
                    return (chat_id.clone(), vec![user.clone()]);
                }
                vec![user.clone()]
            }
            Recipients::Group(users) => users.clone(),
        };
        self.last_chat += 1;
        // Awkward on purpose: a client that does not encode ids is found out at once.
        let chat_id = format!("2-chat/{:06}==", self.last_chat);
        if let Recipients::One(user) = recipients {
            account.direct.insert(user.clone(), chat_id.clone());
        }
        account.chats.insert(chat_id.clone(), users.clone());
        (chat_id, users)
    }

    /// The chat that `target` names, made to exist, and its users.
    fn use_chat(&mut self, target: &Target) -> (String, Vec<String>) {
        let chat_id = target.chat_id.clone().expect("the endpoint has a chat in its path");
        let account = self.accounts.entry(target.account_id.clone()).or_default();
        let users = account.chats.entry(chat_id.clone()).or_default().clone();
        (chat_id, users)
    }

    /// Enters `delivery` under a new message id, which is answered.
    fn deliver(&mut self, mut delivery: Delivery) -> String {
        self.last_message += 1;
        delivery.message_id = format!("2-msg:{:06}==", self.last_message);
        let message_id = delivery.message_id.clone();
        self.ledger.enter_delivery(delivery);
        message_id
    }
}

/// Only the primary inbox of a product starts chats; the other known ones are views.
fn may_start_chats(inbox_id: &str) -> Result<(), Problem> {
    let products = ["CLASSIC_", "SALES_NAVIGATOR_", "RECRUITER_"];
    match products.iter().find_map(|product| inbox_id.strip_prefix(product)) {
        Some("PRIMARY") => Ok(()),
        Some(_) => {
            let detail = format!("Chats cannot be started from inbox {inbox_id}, only from a primary one.");
            Err(Problem::invalid_parameters("provider", &detail))
        }
        None => Err(Problem::resource_not_found("api", &format!("Inbox {inbox_id} does not exist."))),
    }
}
