//! What follows when something happens: webhook events, and what people do about a message.
//!
//! Called by `world` after a request, and by `acts` for what people and owners do. All of it runs under the lock of the
//! world, so that a read which follows an event shows what the event says.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::SandboxConfig;
use super::account::Account;
use super::agenda::{Action, Deed, MessageRef};
use super::chat::{Chat, Message};
use super::event::Event;
use super::state::{Moment, State};
use super::views;

/// Raises the events of the messages that a request has sent, and lets their recipients react.
pub(super) fn sent(state: &mut State, config: &SandboxConfig, moment: Moment) {
    for message in std::mem::take(&mut state.sent) {
        written(state, config, &message, moment);
        reactions(state, config, &message, moment);
    }
}

/// Raises `message.new`.
pub(super) fn written(state: &mut State, config: &SandboxConfig, message: &MessageRef, moment: Moment) {
    about_message(state, config, "message.new", message, moment);
}

/// Raises an event whose payload is the message.
pub(super) fn about_message(
    state: &mut State,
    config: &SandboxConfig,
    kind: &str,
    message: &MessageRef,
    moment: Moment,
) {
    if !state.webhooks.is_awaited(&message.account_id, kind) {
        return; // building the payload takes longer than everything else here
    }
    let Some(account) = state.accounts.get(&message.account_id) else { return };
    let Some(chat) = account.chats.get(&message.chat_id) else { return };
    let Some(found) = chat.message(&message.message_id) else { return };
    let mut payload = views::message(account, &message.chat_id, chat, found);
    if let Some(sender) = payload["sender_id"].as_str().and_then(|user| state.profiles.if_set(user)) {
        payload["sender"] = sender;
    }
    raise(state, config, kind, &message.account_id, payload, moment);
}

/// Raises an event, unless the service stays silent about this account: it reports nothing but `account.…` while the
/// account is disconnected or locked.
pub(super) fn raise(
    state: &mut State,
    config: &SandboxConfig,
    kind: &str,
    account_id: &str,
    payload: Value,
    moment: Moment,
) {
    let is_silent = |id: &str| state.accounts.get(id).is_some_and(Account::is_silent);
    if !kind.starts_with("account.") && is_silent(account_id) {
        return;
    }
    let event =
        Event { account_id: account_id.to_owned(), kind: kind.to_owned(), payload, created_at: moment.now };
    state.webhooks.raise(&event, config, moment.monotonic);
}

/// Plans what each recipient of `message` does about it, and does at once what takes no time.
pub(super) fn reactions(state: &mut State, config: &SandboxConfig, message: &MessageRef, moment: Moment) {
    let Some(chat) = chat_of(state, message) else { return };
    let mut users = chat.users.clone();
    if users.is_empty() {
        users.push("unknown".to_owned());
    }
    let is_pending = users
        .iter()
        .all(|user| state.people.behaviour(user).delivered_after.is_none_or(|after| !after.is_zero()));
    if let Some(message) = message_mut(state, message) {
        message.is_pending = is_pending;
    }
    for user in users {
        let behaviour = state.people.behaviour(&user).clone();
        let mut plan = |after, deed| {
            let action = Action { user_id: user.clone(), about: message.clone(), deed };
            state.agenda.add(moment.monotonic + after, action);
        };
        if let Some(after) = behaviour.reads_after {
            plan(after, Deed::Read);
        }
        if let Some(answer) = behaviour.answer {
            plan(answer.after, Deed::Answer { text: answer.text, is_automatic: answer.is_automatic });
        }
        match behaviour.delivered_after {
            Some(after) if after.is_zero() => receipt(state, config, "delivery", message, &user, moment),
            Some(after) => plan(after, Deed::Receive),
            None => {}
        }
    }
}

/// Does what is due.
pub(super) fn perform(state: &mut State, config: &SandboxConfig, action: &Action, moment: Moment) {
    let Action { user_id, about, deed } = action;
    match deed {
        Deed::Receive => receive(state, config, about, user_id, moment),
        Deed::Read => read(state, config, about, user_id, moment),
        Deed::Answer { text, is_automatic } => {
            if !is_automatic {
                read(state, config, about, user_id, moment);
            }
            let answer = write(state, config, about, user_id, text, moment.now);
            written(state, config, &answer, moment);
        }
    }
}

/// Adds a message of `user` to the chat of `place`.
pub(super) fn write(
    state: &mut State,
    config: &SandboxConfig,
    place: &MessageRef,
    user: &str,
    text: &str,
    now: Timestamp,
) -> MessageRef {
    let message = MessageRef { message_id: state.new_message_id(config), ..place.clone() };
    state.account(&place.account_id, now).use_chat(&place.chat_id, now).put(Message {
        id: message.message_id.clone(),
        text: text.to_owned(),
        sender_id: Some(user.to_owned()),
        timestamp: now,
        ..Message::default()
    });
    message
}

/// Lets `user` receive `message`, if it has not reached the chat's users yet.
fn receive(state: &mut State, config: &SandboxConfig, message: &MessageRef, user: &str, moment: Moment) {
    let Some(found) = message_mut(state, message).filter(|found| found.is_pending) else { return };
    found.is_pending = false;
    receipt(state, config, "delivery", message, user, moment);
}

/// Lets `user` read the messages of the account up to `last`.
pub(super) fn read(state: &mut State, config: &SandboxConfig, last: &MessageRef, user: &str, moment: Moment) {
    let Some(chat) = chat_of(state, last) else { return };
    let Some(place) = chat.messages.iter().position(|message| message.id == last.message_id) else { return };
    let is_unseen =
        |message: &&Message| message.is_sender && !message.seen_by.iter().any(|other| other == user);
    let unseen = chat.messages[..=place].iter().filter(is_unseen);
    let unseen: Vec<String> = unseen.map(|message| message.id.clone()).collect();
    for message_id in unseen {
        let message = MessageRef { message_id, ..last.clone() };
        receive(state, config, &message, user, moment);
        if let Some(found) = message_mut(state, &message) {
            found.seen_by.push(user.to_owned());
        }
        receipt(state, config, "read", &message, user, moment);
    }
}

/// Raises `message.receipt.read` or `.delivery` with every field; `webhook_faults` leaves only the usual ones.
fn receipt(
    state: &mut State,
    config: &SandboxConfig,
    what: &str,
    message: &MessageRef,
    user: &str,
    moment: Moment,
) {
    let kind = format!("message.receipt.{what}");
    if !state.webhooks.is_awaited(&message.account_id, &kind) {
        return;
    }
    let payload = json!({
        "message_id": message.message_id,
        "chat_id": message.chat_id,
        "user_id": user,
        "timestamp": format!("{:.3}", moment.now),
    });
    raise(state, config, &kind, &message.account_id, payload, moment);
}

fn chat_of<'a>(state: &'a State, message: &MessageRef) -> Option<&'a Chat> {
    state.accounts.get(&message.account_id)?.chats.get(&message.chat_id)
}

fn message_mut<'a>(state: &'a mut State, message: &MessageRef) -> Option<&'a mut Message> {
    state
        .accounts
        .get_mut(&message.account_id)?
        .chats
        .get_mut(&message.chat_id)?
        .message_mut(&message.message_id)
}
