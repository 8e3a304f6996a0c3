//! What requests do: whether one may be executed, and what it changes.
//!
//! Called by `world`, which holds the lock. A request is admitted when it arrives and executed when the message is
//! delivered, so that one that is cut before its delivery leaves no trace but its call. What may be used up in
//! between is checked both times.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::SandboxConfig;
use super::account::Account;
use super::agenda::{Agenda, MessageRef};
use super::attachment::{Attachment, LARGEST_MESSAGE_BYTES};
use super::cache::CacheControl;
use super::chat::{Chat, Message};
use super::endpoint::{Endpoint, Target};
use super::faults::Fault;
use super::ledger::{Arrival, Delivery, DeliveryKind, ForwardSource, Ledger};
use super::people::People;
use super::profiles::Profiles;
use super::reads::Read;
use super::reply::{Problem, Reply, Success};
use super::requests::{Recipients, Request, StartChat};
use super::views;
use super::webhooks::Webhooks;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) accounts: HashMap<String, Account>,
    pub(super) faults: Vec<Fault>,
    pub(super) ledger: Ledger,
    pub(super) webhooks: Webhooks,
    pub(super) people: People,
    pub(super) profiles: Profiles,
    pub(super) agenda: Agenda,
    /// Messages that the last request sent; `publish` takes them.
    pub(super) sent: Vec<MessageRef>,
    last_chat: u64,
    last_message: u64,
}

/// A moment, on both clocks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Timestamp,
    pub(super) monotonic: Duration,
}

impl State {
    /// Returns the account `id`, creating it if necessary.
    pub(super) fn account(&mut self, id: &str, now: Timestamp) -> &mut Account {
        self.accounts.entry(id.to_owned()).or_insert_with(|| Account::new(id, now))
    }

    /// Checks that what `target` and `request` name exists and may be used.
    pub(super) fn admit(
        &self,
        config: &SandboxConfig,
        target: &Target,
        request: &Request,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let id = &target.account_id;
        if let Request::Webhook(request) = request {
            return self.webhooks.admit(request, config);
        }
        if target.endpoint == Endpoint::ListAccounts {
            return Ok(());
        }
        if config.accounts.as_ref().is_some_and(|known| !known.contains(id)) {
            return Err(Problem::resource_not_found("api", &format!("Account {id} does not exist.")));
        }
        if target.endpoint == Endpoint::GetAccount {
            return Ok(());
        }
        let fresh;
        let account = match self.accounts.get(id) {
            Some(account) => account,
            None => {
                fresh = Account::new(id, now);
                &fresh
            }
        };
        account.check_standing()?;
        if let Some(inbox_id) = &target.inbox_id {
            match target.endpoint.is_read() {
                true => account.inbox(inbox_id).map(|_| ())?,
                false => account.may_start_chats(inbox_id)?,
            }
        }
        if let Some(chat_id) = &target.chat_id {
            chat_exists(config, account, chat_id)?;
        }
        match request {
            Request::StartChat(start) => may_start(account, start),
            Request::SendMessage { content, .. } => {
                account.may_write(target.chat())?;
                weigh(&content.attachments)
            }
            Request::ForwardMessage { chat_id, .. } => {
                message_exists(account, target, config.any_chat)?;
                chat_exists(config, account, chat_id)?;
                account.may_write(chat_id)
            }
            Request::Read { read: Read::User, .. } => self.profiles.find(account, target.user()).map(|_| ()),
            Request::Read { read: Read::Message, .. } => message_exists(account, target, false),
            Request::Read { read: Read::Messages(query), .. } if query.has_offset => Err(no_offset()),
            Request::Read { read: Read::Chats(query), .. } if query.has_offset => Err(no_offset()),
            Request::SetComposing | Request::Read { .. } | Request::Webhook(_) => Ok(()),
        }
    }

    /// Executes `request`: at this moment the recipient receives the message.
    pub(super) fn carry_out(
        &mut self,
        config: &SandboxConfig,
        target: &Target,
        arrival: Arrival,
        request: &Request,
        moment: Moment,
    ) -> Result<Reply, Problem> {
        let now = moment.now;
        let success = match request {
            Request::StartChat(start) => self.start(config, target, arrival, start, now)?,
            Request::SendMessage { content, quote_id } => {
                let delivery = Delivery {
                    text: content.text.clone(),
                    attachments: content.attachments.clone(),
                    quote_id: quote_id.clone(),
                    ..draft(target, arrival, DeliveryKind::Message, target.chat())
                };
                Success::MessageSent { message_id: self.deliver(config, delivery, None, now) }
            }
            Request::ForwardMessage { chat_id, text } => {
                let source = ForwardSource {
                    chat_id: target.chat().to_owned(),
                    message_id: target.message_id.clone().expect("the endpoint has a message in its path"),
                };
                let delivery = Delivery {
                    text: text.clone(),
                    source: Some(source),
                    ..draft(target, arrival, DeliveryKind::Forward, chat_id)
                };
                let message_id = self.deliver(config, delivery, None, now);
                Success::MessageForwarded { message_id, chat_id: chat_id.clone() }
            }
            Request::SetComposing => {
                self.account(&target.account_id, now).use_chat(target.chat(), now);
                Success::ComposingSet
            }
            Request::Read { read, key, control } => {
                return Ok(self.read(config, target, read, key, *control, moment));
            }
            Request::Webhook(request) => {
                return self.webhooks.carry_out(request, &self.accounts, config);
            }
        };
        Ok(success.reply())
    }

    fn start(
        &mut self,
        config: &SandboxConfig,
        target: &Target,
        arrival: Arrival,
        start: &StartChat,
        now: Timestamp,
    ) -> Result<Success, Problem> {
        if start.takes_credit() {
            self.account(&target.account_id, now).take_credit()?;
        }
        let chat_id = self.start_chat(config, target, start, now);
        let message_id = (!start.content.is_empty()).then(|| {
            let delivery = Delivery {
                inbox_id: target.inbox_id.clone(),
                text: start.content.text.clone(),
                attachments: start.content.attachments.clone(),
                specifics: start.specifics.clone(),
                options: start.options.clone(),
                company_topic: start.company_topic(),
                ..draft(target, arrival, DeliveryKind::StartChat, &chat_id)
            };
            self.deliver(config, delivery, start.meaning.subject.clone(), now)
        });
        Ok(Success::ChatStarted { chat_id, message_id })
    }

    /// Returns the chat with these users: the latest existing one for a single user, otherwise a new one.
    fn start_chat(
        &mut self,
        config: &SandboxConfig,
        target: &Target,
        start: &StartChat,
        now: Timestamp,
    ) -> String {
        if let Recipients::One(user) = &start.recipients
            && let Some(chat_id) = self.account(&target.account_id, now).chat_with(user)
        {
            return chat_id.clone();
        }
        let new_id = self.new_chat_id(config);
        let account = self.account(&target.account_id, now);
        let chat = match &start.recipients {
            Recipients::One(user) => {
                account.add_direct_chat(user, &new_id, now);
                let chat = Chat::started(vec![user.clone()], target.inbox_id.as_ref(), now);
                Chat { name: start.name.clone(), ..chat }
            }
            Recipients::Group(users) => {
                let name = start.name.clone().unwrap_or_else(|| users.join(", "));
                let chat = Chat::started(users.clone(), target.inbox_id.as_ref(), now);
                Chat { name: Some(name), is_group: true, ..chat }
            }
        };
        account.chats.insert(new_id.clone(), chat);
        new_id
    }

    /// Returns an id that no chat has. Ids are awkward on purpose: a client that does not encode them fails at once.
    pub(super) fn new_chat_id(&mut self, config: &SandboxConfig) -> String {
        self.last_chat += 1;
        format!("2-chat/{}==", config.number(self.last_chat))
    }

    /// Returns an id that no message has.
    pub(super) fn new_message_id(&mut self, config: &SandboxConfig) -> String {
        self.last_message += 1;
        format!("2-msg:{}==", config.number(self.last_message))
    }

    /// Records `delivery` and its message under a new id, and returns that id.
    fn deliver(
        &mut self,
        config: &SandboxConfig,
        mut delivery: Delivery,
        subject: Option<String>,
        now: Timestamp,
    ) -> String {
        let keep_bodies = config.keep_bodies;
        let id = self.new_message_id(config);
        id.clone_into(&mut delivery.message_id);
        if !keep_bodies {
            delivery.text.clear();
            (delivery.specifics, delivery.options) = (None, None);
            delivery.attachments.iter_mut().for_each(Attachment::forget_content);
        }
        let chat = self.account(&delivery.account_id, now).use_chat(&delivery.chat_id, now);
        chat.users.clone_into(&mut delivery.recipients);
        chat.name.clone_into(&mut delivery.name);
        chat.messages.push(Message {
            id: id.clone(),
            text: delivery.text.clone(),
            is_sender: true,
            timestamp: now,
            attachments: delivery.attachments.clone(),
            quote_id: delivery.quote_id.clone(),
            source: delivery.source.clone(),
            subject: subject.filter(|_| keep_bodies),
            ..Message::default()
        });
        self.sent.push(MessageRef {
            account_id: delivery.account_id.clone(),
            chat_id: delivery.chat_id.clone(),
            message_id: id.clone(),
        });
        self.ledger.enter_delivery(delivery);
        id
    }

    fn read(
        &mut self,
        config: &SandboxConfig,
        target: &Target,
        read: &Read,
        key: &str,
        control: CacheControl,
        moment: Moment,
    ) -> Reply {
        if let Read::Accounts(query) = read {
            // Only the configured accounts, if any are configured; all of those exist from the start.
            let listed = config.accounts.as_deref();
            for id in listed.unwrap_or_default() {
                self.account(id, moment.now);
            }
            let all = self.accounts.iter().filter(|(id, _)| listed.is_none_or(|listed| listed.contains(id)));
            return Reply::json(views::accounts(all, query).to_string());
        }
        let account = self.account(&target.account_id, moment.now);
        if let Read::Account = read {
            return Reply::json(views::account(&target.account_id, account).to_string());
        }
        if let Some((body, age)) = account.cache.get(key, control, moment.monotonic) {
            return Reply::json(body.to_owned()).with_cache(true, age);
        }
        let body = match read {
            Read::User => {
                let account = &self.accounts[&target.account_id];
                let user = self.profiles.find(account, target.user()).expect("checked at the admission");
                self.profiles.view(&target.account_id, account, &user).to_string()
            }
            _ => views::of_account(account, target, read, moment.now),
        };
        let account = self.account(&target.account_id, moment.now);
        account.cache.put(key, control, moment.monotonic, &body);
        Reply::json(body).with_cache(false, Duration::ZERO)
    }
}

fn no_offset() -> Problem {
    Problem::invalid_parameters("provider", "LinkedIn uses a cursor for pagination, not an offset.")
}

fn may_start(account: &Account, start: &StartChat) -> Result<(), Problem> {
    if let Recipients::One(user) = &start.recipients
        && let Some(chat_id) = account.chat_with(user)
    {
        account.may_write(chat_id)?;
    }
    weigh(&start.content.attachments)?;
    weigh(&start.meaning.follow_up)?;
    if start.takes_credit() { account.has_credit() } else { Ok(()) }
}

/// Checks that the attachments of one message do not exceed the limit together.
fn weigh(attachments: &[Attachment]) -> Result<(), Problem> {
    let bytes: u64 = attachments.iter().map(|attachment| attachment.bytes).sum();
    if bytes > LARGEST_MESSAGE_BYTES {
        let detail =
            format!("The attachments have {bytes} bytes together, more than {LARGEST_MESSAGE_BYTES}.");
        return Err(Problem::invalid_file(&detail));
    }
    Ok(())
}

fn chat_exists(config: &SandboxConfig, account: &Account, chat_id: &str) -> Result<(), Problem> {
    if account.chats.contains_key(chat_id) || (config.any_chat && !chat_id.starts_with("missing")) {
        return Ok(());
    }
    Err(Problem::resource_not_found("provider", &format!("Chat {chat_id} does not exist.")))
}

/// Checks that the message of the path is in the chat of the path; with `any`, it may also be unknown.
fn message_exists(account: &Account, target: &Target, any: bool) -> Result<(), Problem> {
    let id = target.message_id.as_deref().unwrap_or_default();
    let known = account.chats.get(target.chat()).is_some_and(|chat| chat.message(id).is_some());
    if known || (any && !id.starts_with("missing")) {
        return Ok(());
    }
    let detail = format!("Message {id} does not exist in chat {}.", target.chat());
    Err(Problem::resource_not_found("provider", &detail))
}

/// Returns a delivery into `chat_id` that still lacks its ids and its content.
fn draft(target: &Target, arrival: Arrival, kind: DeliveryKind, chat_id: &str) -> Delivery {
    Delivery {
        seq: 0, // the ledger numbers it
        account_id: target.account_id.clone(),
        inbox_id: None,
        chat_id: chat_id.to_owned(),
        recipients: Vec::new(),
        name: None,
        text: String::new(),
        message_id: String::new(),
        kind,
        at: arrival.at,
        at_monotonic: arrival.at_monotonic,
        attachments: Vec::new(),
        quote_id: None,
        source: None,
        specifics: None,
        options: None,
        company_topic: None,
    }
}
