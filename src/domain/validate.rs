//! The one validation behind every door: a [`Draft`] becomes a [`NewMessage`], or says all that is wrong with it.
//!
//! The socket, the command line (through the socket) and rows that other programs INSERT all end here, so that
//! a producer gets the same answer whichever way it came. What only the JSON or SQL layer can see (an unknown
//! field, a wrong type) is refused there, with the same [`Refusal`].

use std::collections::HashSet;

use jiff::Timestamp;

use super::message::{AccountId, ChatId, Draft, Inbox, InboxId, NewMessage, Target, UserId};
use super::refusal::{Refusal, RefusalCode};

/// Longest id, label or key that is taken, in bytes. Unipile publishes none; the longest id seen is under 200.
pub const MAX_ID_BYTES: usize = 512;

/// The configured limits of the door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Longest text, in characters.
    pub max_text_chars: usize,
    /// `Some`: only these accounts are taken (`accounts.known_only`).
    pub known_accounts: Option<HashSet<AccountId>>,
}

impl Draft {
    /// Checks everything and reports everything, not only the first fault.
    ///
    /// # Errors
    /// At least one [`Refusal`], in the order of the fields.
    pub fn validate(self, rules: &Rules, now: Timestamp) -> Result<NewMessage, Vec<Refusal>> {
        let mut faults = Faults(Vec::new());
        let account_id = faults.account(self.account_id, rules);
        let target = faults.target(self.chat_id, self.users_ids, self.inbox_id);
        let text = faults.text(self.text, rules);
        let not_before = faults.time("not_before", self.not_before);
        let expires_at = faults.time("expires_at", self.expires_at);
        faults.order_of_times(not_before, expires_at, now);
        let campaign = faults.label("campaign", self.campaign);
        let dedupe_key = faults.label("dedupe_key", self.dedupe_key);
        match (account_id, target, text) {
            (Some(account_id), Some(target), Some(text)) if faults.0.is_empty() => Ok(NewMessage {
                account_id,
                target,
                text,
                typing: self.typing,
                not_before,
                expires_at,
                campaign,
                dedupe_key,
            }),
            _ => Err(faults.0),
        }
    }
}

/// What was found so far.
struct Faults(Vec<Refusal>);

impl Faults {
    fn add(&mut self, code: RefusalCode, field: &str, problem: impl Into<String>, fix: &str) {
        self.0.push(Refusal::new(code, field, problem, fix));
    }

    fn account(&mut self, id: Option<String>, rules: &Rules) -> Option<AccountId> {
        let fix = "name the Unipile account that sends, `acc_…`";
        let id = match id.filter(|id| !id.is_empty()) {
            Some(id) => self.id("account_id", id)?,
            None => {
                self.add(RefusalCode::MissingField, "account_id", "is missing", fix);
                return None;
            }
        };
        if !id.starts_with("acc_") {
            self.add(RefusalCode::InvalidValue, "account_id", "does not begin with `acc_`", fix);
            return None;
        }
        let id = AccountId::new(id);
        if rules.known_accounts.as_ref().is_some_and(|known| !known.contains(&id)) {
            let problem = format!("names {id}, which the configuration does not");
            let fix = "add an [account.\"acc_…\"] table, or set accounts.known_only = false";
            self.add(RefusalCode::UnknownAccount, "account_id", problem, fix);
            return None;
        }
        Some(id)
    }

    fn target(
        &mut self,
        chat_id: Option<String>,
        users_ids: Option<Vec<String>>,
        inbox_id: Option<String>,
    ) -> Option<Target> {
        match (chat_id, users_ids) {
            (Some(_), Some(_)) => {
                let fix = "give `chat_id` for a chat that exists, or `users_ids` to start one";
                self.add(RefusalCode::Contradiction, "chat_id", "stands beside `users_ids`", fix);
                None
            }
            (None, None) => {
                let fix = "give `chat_id` for a chat that exists, or `users_ids` to start one";
                self.add(RefusalCode::MissingField, "chat_id", "and `users_ids` are both missing", fix);
                None
            }
            (Some(chat_id), None) => {
                if inbox_id.is_some() {
                    let fix = "leave it out: an inbox is for starting a chat";
                    self.add(RefusalCode::Contradiction, "inbox_id", "stands beside `chat_id`", fix);
                }
                self.id("chat_id", chat_id).map(|id| Target::Chat(ChatId::new(id)))
            }
            (None, Some(users_ids)) => self.user(users_ids, inbox_id),
        }
    }

    fn user(&mut self, mut users_ids: Vec<String>, inbox_id: Option<String>) -> Option<Target> {
        if users_ids.len() > 1 {
            let problem =
                format!("holds {} ids, which would start ONE group chat with all of them", users_ids.len());
            let fix = "queue one message per person";
            self.add(RefusalCode::InvalidValue, "users_ids", problem, fix);
            return None;
        }
        let Some(user_id) = users_ids.pop() else {
            self.add(RefusalCode::MissingField, "users_ids", "is empty", "name the recipient's user id");
            return None;
        };
        let inbox = match inbox_id {
            None => Inbox::OfPolicy,
            Some(id) if id.is_empty() => Inbox::Without,
            Some(id) => Inbox::Named(InboxId::new(self.id("inbox_id", id)?)),
        };
        self.id("users_ids", user_id).map(|id| Target::User { user_id: UserId::new(id), inbox })
    }

    fn text(&mut self, text: Option<String>, rules: &Rules) -> Option<String> {
        let text = text.unwrap_or_default();
        if text.trim().is_empty() {
            self.add(RefusalCode::MissingField, "text", "is empty", "give the text to send");
            return None;
        }
        if text.contains('\0') {
            self.add(RefusalCode::InvalidValue, "text", "holds a NUL character", "remove it");
            return None;
        }
        let chars = text.chars().count();
        if chars > rules.max_text_chars {
            let problem = format!("holds {chars} characters, {} are allowed", rules.max_text_chars);
            self.add(RefusalCode::TooLong, "text", problem, "shorten it, or raise limits.text_chars");
            return None;
        }
        Some(text)
    }

    fn time(&mut self, field: &str, value: Option<String>) -> Option<Timestamp> {
        let value = value?;
        match value.parse::<Timestamp>() {
            Ok(at) if (0..=253_402_300_799_999).contains(&at.as_millisecond()) => {
                Some(super::whole_milliseconds(at))
            }
            Ok(_) => {
                self.add(
                    RefusalCode::InvalidValue,
                    field,
                    "is outside the years 1970 to 9999",
                    "give a nearer time",
                );
                None
            }
            Err(_) => {
                let problem = format!("is no time: {:?}", shortened(&value));
                let fix = "write RFC 3339 with a zone, such as 2026-11-22T09:21:00.000Z";
                self.add(RefusalCode::InvalidValue, field, problem, fix);
                None
            }
        }
    }

    fn order_of_times(
        &mut self,
        not_before: Option<Timestamp>,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) {
        let Some(expires_at) = expires_at else { return };
        if expires_at <= now {
            let problem = format!("has passed: {}", super::time_text(expires_at));
            self.add(RefusalCode::InvalidValue, "expires_at", problem, "give a time in the future");
        } else if not_before.is_some_and(|from| from >= expires_at) {
            let fix = "give an expiry after `not_before`, or leave one of them out";
            self.add(RefusalCode::Contradiction, "expires_at", "is not after `not_before`", fix);
        }
    }

    fn label(&mut self, field: &str, value: Option<String>) -> Option<String> {
        value.and_then(|value| self.id(field, value))
    }

    /// An id, label or key: not empty, not endless, no control characters.
    fn id(&mut self, field: &str, value: String) -> Option<String> {
        if value.is_empty() {
            self.add(RefusalCode::MissingField, field, "is empty", "give a value, or leave it out");
            return None;
        }
        if value.len() > MAX_ID_BYTES {
            let problem = format!("holds {} bytes, {MAX_ID_BYTES} are allowed", value.len());
            self.add(RefusalCode::TooLong, field, problem, "shorten it");
            return None;
        }
        if matches!(value.as_str(), "." | "..") {
            // It would be one step up in the path of the call, not an id.
            self.add(RefusalCode::InvalidValue, field, "is no id", "give the id as Unipile tells it");
            return None;
        }
        if value.chars().any(char::is_control) {
            let problem = "holds a control character (NUL, line end, tab)";
            self.add(RefusalCode::InvalidValue, field, problem, "remove it");
            return None;
        }
        Some(value)
    }
}

fn shortened(value: &str) -> String {
    value.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules { max_text_chars: 20, known_accounts: None }
    }

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    fn good() -> Draft {
        Draft {
            account_id: Some("acc_1".into()),
            chat_id: Some("chat 1/ä".into()),
            text: Some("hello".into()),
            ..Draft::default()
        }
    }

    #[test]
    fn a_good_draft_becomes_a_message_with_its_times_in_milliseconds() {
        let draft = Draft { not_before: Some("2026-11-22T15:00:00.123456+02:00".into()), ..good() };
        let message = draft.validate(&rules(), now()).unwrap();
        assert_eq!(message.target, Target::Chat(ChatId::new("chat 1/ä")));
        assert_eq!(super::super::time_text(message.not_before.unwrap()), "2026-11-22T13:00:00.123Z");
    }

    #[test]
    fn an_empty_inbox_means_start_a_chat_without_one() {
        let start = |inbox_id: Option<&str>| {
            let draft = Draft {
                chat_id: None,
                users_ids: Some(vec!["u1".into()]),
                inbox_id: inbox_id.map(Into::into),
                ..good()
            };
            match draft.validate(&rules(), now()).unwrap().target {
                Target::User { inbox, .. } => inbox,
                Target::Chat(_) => panic!("users_ids start a chat"),
            }
        };
        assert_eq!(start(None), Inbox::OfPolicy);
        assert_eq!(start(Some("")), Inbox::Without);
        assert_eq!(start(Some("X_PRIMARY")), Inbox::Named(InboxId::new("X_PRIMARY")));
    }

    #[test]
    fn each_fault_names_its_field_and_a_way_out() {
        let s = |text: &str| Some(text.to_owned());
        let cases: Vec<(&str, Draft, &str, RefusalCode)> = vec![
            ("no account", Draft { account_id: None, ..good() }, "account_id", RefusalCode::MissingField),
            ("no acc_", Draft { account_id: s("bob"), ..good() }, "account_id", RefusalCode::InvalidValue),
            ("no recipient", Draft { chat_id: None, ..good() }, "chat_id", RefusalCode::MissingField),
            (
                "both",
                Draft { users_ids: Some(vec!["u".into()]), ..good() },
                "chat_id",
                RefusalCode::Contradiction,
            ),
            (
                "group by mistake",
                Draft { chat_id: None, users_ids: Some(vec!["a".into(), "b".into()]), ..good() },
                "users_ids",
                RefusalCode::InvalidValue,
            ),
            (
                "nobody",
                Draft { chat_id: None, users_ids: Some(vec![]), ..good() },
                "users_ids",
                RefusalCode::MissingField,
            ),
            ("inbox and chat", Draft { inbox_id: s("X"), ..good() }, "inbox_id", RefusalCode::Contradiction),
            ("no text", Draft { text: None, ..good() }, "text", RefusalCode::MissingField),
            ("blank text", Draft { text: s(" \n"), ..good() }, "text", RefusalCode::MissingField),
            ("long text", Draft { text: s(&"ä".repeat(21)), ..good() }, "text", RefusalCode::TooLong),
            ("NUL", Draft { text: s("a\0b"), ..good() }, "text", RefusalCode::InvalidValue),
            (
                "not a time",
                Draft { not_before: s("tomorrow"), ..good() },
                "not_before",
                RefusalCode::InvalidValue,
            ),
            (
                "no zone",
                Draft { not_before: s("2026-11-22T12:00:00"), ..good() },
                "not_before",
                RefusalCode::InvalidValue,
            ),
            (
                "past",
                Draft { expires_at: s("2026-11-22T11:59:59Z"), ..good() },
                "expires_at",
                RefusalCode::InvalidValue,
            ),
            (
                "never open",
                Draft {
                    not_before: s("2026-11-24T00:00:00Z"),
                    expires_at: s("2026-11-23T00:00:00Z"),
                    ..good()
                },
                "expires_at",
                RefusalCode::Contradiction,
            ),
            ("empty key", Draft { dedupe_key: s(""), ..good() }, "dedupe_key", RefusalCode::MissingField),
            (
                "long key",
                Draft { dedupe_key: s(&"k".repeat(513)), ..good() },
                "dedupe_key",
                RefusalCode::TooLong,
            ),
            ("NUL id", Draft { chat_id: s("a\0"), ..good() }, "chat_id", RefusalCode::InvalidValue),
        ];
        for (name, draft, field, code) in cases {
            let refusals = draft.validate(&rules(), now()).expect_err(name);
            assert_eq!(refusals.len(), 1, "{name}: {refusals:?}");
            assert_eq!((refusals[0].field.as_str(), refusals[0].code), (field, code), "{name}");
            assert!(!refusals[0].problem.is_empty() && !refusals[0].fix.is_empty(), "{name}");
        }
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let refusals = Draft::default().validate(&rules(), now()).unwrap_err();
        let fields: Vec<_> = refusals.iter().map(|refusal| refusal.field.as_str()).collect();
        assert_eq!(fields, ["account_id", "chat_id", "text"]);
    }

    #[test]
    fn an_undeclared_account_is_refused_when_only_known_ones_are_taken() {
        let rules = Rules { known_accounts: Some(HashSet::from([AccountId::new("acc_2")])), ..rules() };
        let refusals = good().validate(&rules, now()).unwrap_err();
        assert_eq!(refusals[0].code, RefusalCode::UnknownAccount);
    }
}
