//! The one validation of messages: turns a [`Draft`] into a [`NewMessage`], or returns everything that is wrong.
//!
//! The socket, the command line (through the socket) and rows that other programs INSERT all end here, so that a
//! producer gets the same answer on every path. The JSON and SQL layers refuse what only they can see (an unknown
//! field, a wrong type), with the same [`FieldError`].

use std::collections::HashSet;

use jiff::Timestamp;

use serde_json::Value;

use super::field_error::{FieldError, FieldErrorCode};
use super::ids::{self, IdOf, is_invisible};
use super::lane::Precedence;
use super::message::{AccountId, ChatId, Draft, Extras, Inbox, InboxId, NewMessage, Target, UserId};
use super::need::Need;
use super::placeholders::Placeholders;
use super::specifics::Specifics;
use super::step::Step;
use super::{meta, validate_step};

/// Configured limits of the validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidationLimits {
    /// Maximum length of a text, in characters.
    pub max_text_chars: usize,
    /// `Some`: only these accounts are accepted (`accounts.known_only`).
    pub known_accounts: Option<HashSet<AccountId>>,
    /// What counts as an unfilled placeholder.
    pub placeholders: Placeholders,
    /// Whether a public name or the address of a profile is accepted as a recipient (`people.resolve`).
    pub resolve_people: bool,
}

impl Draft {
    /// Validates the draft and reports every problem, not only the first.
    ///
    /// # Errors
    /// Returns at least one [`FieldError`], in the order of the fields.
    pub fn validate(self, rules: &ValidationLimits, now: Timestamp) -> Result<NewMessage, Vec<FieldError>> {
        let mut faults = Faults(Vec::new());
        let account_id = faults.account(self.account_id, rules);
        let specifics = faults.specifics(self.specifics, self.options);
        let starts = self.users_ids.is_some();
        let forwards = self.forward.is_some();
        let group = Group { asked: self.group, name: self.name.is_some(), takes_names: rules.resolve_people };
        let target = match self.forward {
            Some(forward) => faults.forward(forward, self.chat_id, starts),
            None => faults.target(self.chat_id, self.users_ids, self.inbox_id.clone(), group),
        };
        let extras = Extras {
            name: faults.only_when_starting("name", self.name, starts),
            quote_id: faults.quote_id(self.quote_id, starts, forwards),
            specifics,
            attachments: self.attachments,
        };
        if forwards && !extras.attachments.is_empty() {
            let fix = "leave them out, or send them with a message of their own";
            faults.excludes("attachments", "forward", fix);
        }
        let wordless = forwards || !extras.attachments.is_empty();
        faults.fits(&extras, target.as_ref(), self.inbox_id.is_some() && forwards);
        faults.not_misleading(&extras);
        let text = faults.text(self.text, wordless, rules);
        if self.allow_placeholders != Some(true) {
            faults.all_filled_in(text.as_deref(), &extras, &rules.placeholders);
        }
        let not_before = faults.time("not_before", self.not_before);
        let expires_at = faults.time("expires_at", self.expires_at);
        faults.order_of_times(not_before, expires_at, now);
        let campaign = self.campaign.map(|label| faults.kept(ids::campaign("campaign", &label)));
        let precedence =
            Precedence::checked(self.priority, self.urgent, self.ignore_hours, self.allow_repeat);
        let precedence = faults.kept(precedence).unwrap_or_default();
        let step = faults.step(self.step, self.wait, campaign.is_some(), target.as_ref(), &extras);
        let meta = faults.meta(self.meta);
        let is_to_one = target.as_ref().is_none_or(|to| matches!(to, Target::User { .. }));
        let needs = faults.kept(Need::checked(self.needs, is_to_one)).flatten();
        let dedupe_key = faults.key("dedupe_key", self.dedupe_key);
        match (account_id, target, text) {
            (Some(account_id), Some(target), Some(text)) if faults.0.is_empty() => Ok(NewMessage {
                account_id,
                target,
                extras,
                text,
                typing: self.typing,
                not_before,
                expires_at,
                campaign: campaign.flatten(),
                precedence,
                stop_on_reply: self.stop_on_reply,
                step,
                meta,
                needs,
                dedupe_key,
            }),
            _ => Err(faults.0),
        }
    }
}

/// How the producer marked several users as one group, and whether one user may be given by a public name.
#[derive(Clone, Copy)]
struct Group {
    asked: Option<bool>,
    name: bool,
    takes_names: bool,
}

/// Problems found so far.
pub(super) struct Faults(Vec<FieldError>);

impl Faults {
    fn excludes(&mut self, field: &str, other: &str, fix: &str) {
        self.add(FieldErrorCode::Contradiction, field, format!("cannot be combined with `{other}`"), fix);
    }

    /// Returns the value, or keeps the problem.
    fn kept<T>(&mut self, checked: Result<T, FieldError>) -> Option<T> {
        checked.map_err(|refusal| self.0.push(refusal)).ok()
    }

    pub(super) fn add(&mut self, code: FieldErrorCode, field: &str, problem: impl Into<String>, fix: &str) {
        self.0.push(FieldError::new(code, field, problem, fix));
    }

    fn account(&mut self, id: Option<String>, rules: &ValidationLimits) -> Option<AccountId> {
        let fix = "name the Unipile account that sends, `acc_…`";
        let id = match id.filter(|id| !id.trim().is_empty()) {
            Some(id) => ids::account("account_id", &id).map_err(|refusal| self.0.push(refusal)).ok()?,
            None => {
                self.add(FieldErrorCode::MissingField, "account_id", "is missing", fix);
                return None;
            }
        };
        let id = AccountId::new(id);
        if rules.known_accounts.as_ref().is_some_and(|known| !known.contains(&id)) {
            let problem = format!("names {id}, which the configuration does not");
            let fix = "add an [account.\"acc_…\"] table, or set accounts.known_only = false";
            self.add(FieldErrorCode::UnknownAccount, "account_id", problem, fix);
            return None;
        }
        Some(id)
    }

    fn target(
        &mut self,
        chat_id: Option<String>,
        users_ids: Option<Vec<String>>,
        inbox_id: Option<String>,
        group: Group,
    ) -> Option<Target> {
        match (chat_id, users_ids) {
            (Some(_), Some(_)) => {
                let fix = "give `chat_id` for a chat that exists, or `users_ids` to start one";
                self.excludes("chat_id", "users_ids", fix);
                None
            }
            (None, None) => {
                let fix = "give `chat_id` for a chat that exists, or `users_ids` to start one";
                self.add(FieldErrorCode::MissingField, "chat_id", "and `users_ids` are both missing", fix);
                None
            }
            (Some(chat_id), None) => {
                if inbox_id.is_some() {
                    let fix = "leave it out: an inbox is for starting a chat";
                    self.excludes("inbox_id", "chat_id", fix);
                }
                if group.asked == Some(true) {
                    let fix = "leave it out: a chat that exists is a group or is none";
                    self.excludes("group", "chat_id", fix);
                }
                self.id("chat_id", chat_id).map(|id| Target::Chat(ChatId::new(id)))
            }
            (None, Some(users_ids)) => self.users(users_ids, inbox_id, group),
        }
    }

    fn users(&mut self, users_ids: Vec<String>, inbox_id: Option<String>, group: Group) -> Option<Target> {
        let inbox = match inbox_id {
            None => Inbox::OfPolicy,
            Some(id) if id.is_empty() => Inbox::Without,
            Some(id) => Inbox::Named(InboxId::new(self.id("inbox_id", id)?)),
        };
        let many = users_ids.len();
        let is_group = group.asked.unwrap_or(group.name);
        if many > 1 && !is_group {
            let problem = format!("holds {many} ids, which would start ONE group chat with all of them");
            let fix = "queue one message per person, or say group: true if one chat is meant";
            self.add(FieldErrorCode::InvalidValue, "users_ids", problem, fix);
            return None;
        }
        if many == 1 && is_group {
            let field = if group.asked.is_some() { "group" } else { "name" };
            let fix = "name at least two users, or leave it out";
            self.add(FieldErrorCode::Contradiction, field, "makes a group of one", fix);
            return None;
        }
        let mut ids = Vec::with_capacity(many);
        for id in users_ids {
            let id = ids::recipient("users_ids", &id, group.takes_names, is_group);
            ids.push(UserId::new(self.kept(id)?));
        }
        if (1..many).any(|index| ids[..index].contains(&ids[index])) {
            let fix = "name each member once";
            self.add(FieldErrorCode::InvalidValue, "users_ids", "names a person twice", fix);
            return None;
        }
        match (ids.len(), is_group) {
            (0, _) => {
                let fix = "name the recipient's user id";
                self.add(FieldErrorCode::MissingField, "users_ids", "is empty", fix);
                None
            }
            (_, true) => Some(Target::Group { users_ids: ids, inbox }),
            (_, false) => ids.pop().map(|user_id| Target::User { user_id, inbox }),
        }
    }

    fn specifics(&mut self, specifics: Option<Value>, options: Option<Value>) -> Option<Specifics> {
        let (field, tree) = match (specifics, options) {
            (Some(_), Some(_)) => {
                let fix = "they are two names of one object; give one";
                self.excludes("options", "specifics", fix);
                return None;
            }
            (Some(tree), None) => ("specifics", tree),
            (None, Some(tree)) => ("options", tree),
            (None, None) => return None,
        };
        Specifics::parse(field, tree).map_err(|faults| self.0.extend(faults)).ok()
    }

    fn forward(&mut self, forward: Value, chat_id: Option<String>, starts: bool) -> Option<Target> {
        if starts {
            let fix = "forward into a chat that exists, `chat_id`";
            self.excludes("users_ids", "forward", fix);
        }
        let Some(chat_id) = chat_id else {
            let fix = "name the chat that the message is forwarded into";
            self.add(FieldErrorCode::MissingField, "chat_id", "is missing", fix);
            return None;
        };
        let Value::Object(mut source) = forward else {
            let fix = "give {\"chat_id\": …, \"message_id\": …} of the message to forward";
            self.add(FieldErrorCode::WrongType, "forward", "is not a JSON object", fix);
            return None;
        };
        let mut part = |name: &str| match source.remove(name) {
            Some(Value::String(id)) => self.id(&format!("forward.{name}"), id),
            Some(_) => {
                self.add(
                    FieldErrorCode::WrongType,
                    &format!("forward.{name}"),
                    "is not a string",
                    "give the id",
                );
                None
            }
            None => {
                self.add(
                    FieldErrorCode::MissingField,
                    &format!("forward.{name}"),
                    "is missing",
                    "give the id",
                );
                None
            }
        };
        let (source_chat_id, source_message_id) = (part("chat_id"), part("message_id"));
        for name in source.keys() {
            let mut refusal = FieldError::unknown_field(name, ["chat_id", "message_id"]);
            refusal.field = format!("forward.{name}");
            self.0.push(refusal);
        }
        Some(Target::Forward {
            source_chat_id: ChatId::new(source_chat_id?),
            source_message_id: source_message_id?,
            chat_id: ChatId::new(self.id("chat_id", chat_id)?),
        })
    }

    fn only_when_starting(&mut self, field: &str, value: Option<String>, starts: bool) -> Option<String> {
        if value.is_some() && !starts {
            let fix = "leave it out: it is for starting a chat";
            self.excludes(field, "chat_id", fix);
            return None;
        }
        let value = value?;
        self.kept(ids::label(field, value.trim()).and_then(|()| ids::label(field, &value))).map(|()| value)
    }

    fn quote_id(&mut self, quote_id: Option<String>, starts: bool, forwards: bool) -> Option<String> {
        if quote_id.is_some() && (starts || forwards) {
            let fix = "leave it out: only a message into a chat that exists can reply to one";
            self.add(FieldErrorCode::Contradiction, "quote_id", "does not go with this form", fix);
            return None;
        }
        quote_id.and_then(|quote_id| self.id("quote_id", quote_id))
    }

    /// Refuses characters that change what a text of the product's options is, as for the text of the message.
    fn not_misleading(&mut self, extras: &Extras) {
        for (field, text) in extras.specifics.iter().flat_map(Specifics::shown_texts) {
            if let Some(problem) = ids::misleading(text) {
                self.add(FieldErrorCode::InvalidValue, &field, problem, "remove it");
            }
        }
    }

    /// Checks combinations of target and extras.
    fn fits(&mut self, extras: &Extras, target: Option<&Target>, inbox_beside_forward: bool) {
        if inbox_beside_forward {
            let fix = "leave it out: an inbox is for starting a chat";
            self.excludes("inbox_id", "forward", fix);
        }
        if extras.specifics.is_some() && matches!(target, Some(Target::Chat(_) | Target::Forward { .. })) {
            let fix = "leave it out: InMail, subject and the like are for starting a chat";
            self.excludes("specifics", "chat_id", fix);
        }
    }

    fn text(&mut self, text: Option<String>, may_be_empty: bool, rules: &ValidationLimits) -> Option<String> {
        let mut text = text.unwrap_or_default();
        // Removes the byte order mark of a file that was read unchanged.
        if let Some(rest) = text.strip_prefix('\u{feff}') {
            text = rest.to_owned();
        }
        if text.is_empty() && may_be_empty {
            return Some(text);
        }
        if text.chars().all(|c| c.is_whitespace() || is_invisible(c)) {
            self.add(FieldErrorCode::MissingField, "text", "is empty", "give the text to send");
            return None;
        }
        if let Some(problem) = ids::misleading(&text) {
            self.add(FieldErrorCode::InvalidValue, "text", problem, "remove it");
            return None;
        }
        let chars = text.chars().count();
        if chars > rules.max_text_chars {
            let problem = format!("holds {chars} characters, {} are allowed", rules.max_text_chars);
            self.add(FieldErrorCode::TooLong, "text", problem, "shorten it, or raise limits.text_chars");
            return None;
        }
        Some(text)
    }

    fn step(
        &mut self,
        step: Option<i64>,
        wait: Option<String>,
        has_campaign: bool,
        target: Option<&Target>,
        extras: &Extras,
    ) -> Option<Step> {
        let checked = validate_step::checked(step, wait.as_deref(), has_campaign, target, extras);
        checked.map_err(|refusals| self.0.extend(refusals)).ok().flatten()
    }

    fn meta(&mut self, meta: Option<Value>) -> Option<Value> {
        meta::checked(meta?).map_err(|refusal| self.0.push(refusal)).ok()
    }

    fn all_filled_in(&mut self, text: Option<&str>, extras: &Extras, placeholders: &Placeholders) {
        self.filled_in("text", text, placeholders);
        for (field, text) in extras.specifics.iter().flat_map(Specifics::shown_texts) {
            self.filled_in(&field, Some(text), placeholders);
        }
        self.filled_in("name", extras.name.as_deref(), placeholders);
        for (place, file) in extras.attachments.iter().enumerate() {
            let field = format!("attachments[{place}].filename");
            self.filled_in(&field, Some(&file.filename), placeholders);
        }
    }

    /// Refuses unfilled template placeholders.
    fn filled_in(&mut self, field: &str, text: Option<&str>, placeholders: &Placeholders) {
        if let Some(found) = text.and_then(|text| placeholders.find(text)) {
            let problem = format!("holds {found:?}, which looks like a value that was not filled in");
            let fix = "fill it in, or set `allow_placeholders` if it is meant";
            self.add(FieldErrorCode::InvalidValue, field, problem, fix);
        }
    }

    fn key(&mut self, field: &str, value: Option<String>) -> Option<String> {
        let value = value?;
        self.kept(ids::key(field, &value)).map(|()| value)
    }

    fn id(&mut self, field: &str, value: String) -> Option<String> {
        self.kept(ids::id(field, &value, IdOf::Other))
    }
}

#[cfg(test)]
#[path = "validate_tests.rs"]
mod tests;
