//! What people and owners do in LinkedIn itself, and what happens to accounts: written, read, connected, disconnected.
//!
//! Called by tests and by the routes for people. Each act changes the world and raises its webhook events, in one step.
//! The response cache of the service does not learn of any of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::account::Account;
use super::agenda::MessageRef;
use super::chat::{ByHand, Message};
use super::event::{self, Event};
use super::people::Behaviour;
use super::profiles::Profile;
use super::publish;
use super::state::{Moment, State};
use super::world::World;

/// Where a message is that a person wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Chat that it is in.
    pub chat_id: String,
    /// Id in that chat.
    pub message_id: String,
}

impl World {
    /// Sets how `user` behaves towards every account, for messages that arrive from now on.
    pub fn set_person(&self, user: &str, behaviour: Behaviour) {
        self.state().people.by_user.insert(user.to_owned(), behaviour);
    }

    /// Sets how every user behaves who was not set with [`World::set_person`].
    pub fn set_people(&self, behaviour: Behaviour) {
        self.state().people.others = behaviour;
    }

    /// Returns how users behave that were set with [`World::set_person`], and how the others do.
    pub fn people(&self) -> (BTreeMap<String, Behaviour>, Behaviour) {
        let people = &self.state().people;
        (people.by_user.clone(), people.others.clone())
    }

    /// Lets `user` write to `account`, in their latest chat or in a new one.
    pub fn person_writes(&self, account: &str, user: &str, text: &str) -> Written {
        self.act(|state, moment| {
            let chat = state.account(account, moment.now).chat_with(user).cloned();
            let chat_id = chat.unwrap_or_else(|| state.new_chat_id(self.config()));
            let mailbox = state.account(account, moment.now);
            if !mailbox.chats.contains_key(&chat_id) {
                mailbox.add_direct_chat(user, &chat_id, moment.now);
            }
            let place = message_ref(account, &chat_id, "");
            let message = publish::write(state, self.config(), &place, user, text, moment.now);
            publish::written(state, self.config(), &message, moment);
            Written { chat_id, message_id: message.message_id }
        })
    }

    /// Lets `user` read all that `account` wrote into `chat_id`.
    pub fn person_reads(&self, account: &str, chat_id: &str, user: &str) {
        self.act(|state, moment| {
            let chat = state.account(account, moment.now).use_chat(chat_id, moment.now);
            let last = chat.messages.iter().rev().find(|message| message.is_sender);
            if let Some(id) = last.map(|message| message.id.clone()) {
                publish::read(state, self.config(), &message_ref(account, chat_id, &id), user, moment);
            }
        });
    }

    /// Adds a message to `chat_id`, creating the chat if necessary; replaces a message with the same id. It is not a
    /// delivery. With `is_sender` the account wrote it, otherwise the other user of the chat did.
    pub fn add_message(&self, account: &str, chat_id: &str, id: &str, text: &str, is_sender: bool) {
        let (id, text) = (id.to_owned(), text.to_owned());
        self.write_by_hand(account, chat_id, ByHand { id, text, is_sender, ..ByHand::default() });
    }

    /// Adds a message to `chat_id`, creating the chat if necessary. It is not a delivery. The other users of the chat
    /// react to a message of the account, unless it has a time of its own. A message with the same id is edited.
    pub fn write_by_hand(&self, account: &str, chat_id: &str, message: ByHand) {
        self.act(|state, moment| {
            let place = message_ref(account, chat_id, &message.id);
            let reacts = message.is_sender && message.at.is_none();
            let chat = state.account(account, moment.now).use_chat(chat_id, moment.now);
            let is_new = chat.message(&message.id).is_none();
            let message = message.message(moment.now);
            let is_edited = message.is_edited || !is_new;
            chat.put(Message { is_edited, ..message });
            if !is_new {
                return publish::about_message(state, self.config(), "message.update", &place, moment);
            }
            publish::written(state, self.config(), &place, moment);
            if reacts {
                publish::reactions(state, self.config(), &place, moment);
            }
        });
    }

    /// Marks the message `id` of `chat_id` as deleted, as its sender may; reads still show it.
    pub fn delete_message(&self, account: &str, chat_id: &str, id: &str) {
        self.act(|state, moment| {
            let chat = state.account(account, moment.now).use_chat(chat_id, moment.now);
            let Some(message) = chat.message_mut(id) else { return };
            message.is_deleted = true;
            let place = message_ref(account, chat_id, id);
            publish::about_message(state, self.config(), "message.delete", &place, moment);
        });
    }

    /// Sets what LinkedIn shows of `user`.
    pub fn set_profile(&self, user: &str, profile: Profile) {
        self.state().profiles.set(user, profile);
    }

    /// Ends the relation of `user` and `account`; no event reports that.
    pub fn disconnect_from(&self, account: &str, user: &str) {
        self.state().profiles.disconnect(account, user);
    }

    /// Makes `user` a relation of `account`.
    pub fn connect_with(&self, account: &str, user: &str) {
        self.act(|state, moment| {
            state.profiles.connect(account, user);
            let payload =
                json!({ "id": user, "object": "UserRelation", "user": state.profiles.in_events(user) });
            state.account(account, moment.now);
            publish::raise(state, self.config(), "relation.new", account, payload, moment);
        });
    }

    /// Raises an event unchanged. An event of an unknown type goes to every endpoint of `account`.
    pub fn raise(&self, account: &str, event_type: &str, payload: Value) {
        self.act(|state, moment| {
            let (account_id, kind) = (account.to_owned(), event_type.to_owned());
            let event = Event { account_id, kind, payload, created_at: moment.now };
            state.webhooks.raise(&event, self.config(), moment.monotonic);
        });
    }

    /// Sets how `account` reads: its name, provider, status, and the status of each product. None of it is checked,
    /// so that a test can show a client undocumented values. With the status `disconnected` its methods answer 401.
    pub fn set_account(
        &self,
        account: &str,
        name: &str,
        provider: &str,
        status: &str,
        products: &[(&str, &str)],
    ) {
        self.change_status(account, |account| {
            name.clone_into(&mut account.name);
            provider.clone_into(&mut account.provider);
            status.clone_into(&mut account.status);
            let owned =
                products.iter().map(|(product, status)| ((*product).to_owned(), (*status).to_owned()));
            account.products = owned.collect();
        });
    }

    /// Makes the methods of `account` answer 401 `provider/invalid_authorization`; it and its products read
    /// `disconnected`.
    pub fn disconnect(&self, account: &str) {
        self.change_status(account, Account::disconnect);
    }

    /// Makes the methods of `account` answer 403 `api/account_restricted`, although it reads `running`.
    pub fn restrict(&self, account: &str) {
        self.change_status(account, Account::restrict);
    }

    /// Ends a disconnection or a restriction of `account`; it and its products read `running`.
    pub fn reconnect(&self, account: &str) {
        self.change_status(account, Account::reconnect);
    }

    /// Makes the methods of `account` answer 403 `api/inactive_subscription`; it reads `is_locked`.
    pub fn lock(&self, account: &str) {
        self.change_status(account, |account| account.is_locked = true);
    }

    /// Undoes [`World::lock`].
    pub fn unlock(&self, account: &str) {
        self.change_status(account, |account| account.is_locked = false);
    }

    /// Makes `change`, and raises the events of what is different afterwards.
    pub(super) fn change_status(&self, id: &str, change: impl FnOnce(&mut Account)) {
        self.act(|state, moment| {
            let account = state.account(id, moment.now);
            let before = Status::of(account);
            change(account);
            let after = Status::of(account);
            self.report(state, id, &before, &after, moment);
        });
    }

    fn report(&self, state: &mut State, id: &str, before: &Status, after: &Status, moment: Moment) {
        let mut raise = |kind: &str, mut payload: Value| {
            payload["timestamp"] = json!(format!("{:.3}", moment.now));
            publish::raise(state, self.config(), kind, id, payload, moment);
        };
        if before.is_locked != after.is_locked {
            raise(if after.is_locked { "account.locked" } else { "account.unlocked" }, json!({}));
        }
        let status_event = |status: &str| {
            let name = format!("account.status.{status}");
            event::NAMES.contains(&name.as_str()).then_some(name)
        };
        let details =
            |status: &str| if status == "errored" { json!({ "reason": "provider" }) } else { json!({}) };
        if before.status != after.status {
            if let Some(name) = status_event(&after.status) {
                raise(&name, details(&after.status));
            }
            return;
        }
        for (product, status) in &after.products {
            if before.products.get(product).is_some_and(|old| old != status)
                && let Some(name) = status_event(status)
            {
                let mut payload = details(status);
                payload["product"] = json!(product);
                raise(&name, payload);
            }
        }
    }
}

/// The part of an account that events report.
struct Status {
    status: String,
    products: BTreeMap<String, String>,
    is_locked: bool,
}

impl Status {
    fn of(account: &Account) -> Self {
        Self {
            status: account.status.clone(),
            products: account.products.clone(),
            is_locked: account.is_locked,
        }
    }
}

fn message_ref(account: &str, chat_id: &str, message_id: &str) -> MessageRef {
    MessageRef {
        account_id: account.to_owned(),
        chat_id: chat_id.to_owned(),
        message_id: message_id.to_owned(),
    }
}
