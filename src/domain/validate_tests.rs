//! Tests of the validation: which drafts are accepted, and which field and code each refusal names.
//!
//! Each table lists one mistake per draft.

use super::*;
use crate::domain::attachment::Attachment;

fn rules() -> ValidationLimits {
    ValidationLimits {
        max_text_chars: 20,
        known_accounts: None,
        placeholders: Placeholders::default(),
        resolve_people: false,
    }
}

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn good() -> Draft {
    Draft {
        account_id: Some("acc_1".into()),
        chat_id: Some("chat+1/ä".into()),
        text: Some("hello".into()),
        ..Draft::default()
    }
}

#[test]
fn a_good_draft_becomes_a_message_with_its_times_in_milliseconds() {
    let draft = Draft { not_before: Some("2026-11-22T15:00:00.123456+02:00".into()), ..good() };
    let message = draft.validate(&rules(), now()).unwrap();
    assert_eq!(message.target, Target::Chat(ChatId::new("chat+1/ä")));
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
            other => panic!("one user id starts a chat with one: {other:?}"),
        }
    };
    assert_eq!(start(None), Inbox::OfPolicy);
    assert_eq!(start(Some("")), Inbox::Without);
    assert_eq!(start(Some("X_PRIMARY")), Inbox::Named(InboxId::new("X_PRIMARY")));
}

fn s(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn assert_each_is_told(cases: Vec<(&str, Draft, &str, FieldErrorCode)>) {
    for (name, draft, field, code) in cases {
        let refusals = draft.validate(&rules(), now()).expect_err(name);
        assert_eq!(refusals.len(), 1, "{name}: {refusals:?}");
        assert_eq!((refusals[0].field.as_str(), refusals[0].code), (field, code), "{name}");
        assert!(!refusals[0].problem.is_empty() && !refusals[0].fix.is_empty(), "{name}");
    }
}

#[test]
fn each_fault_of_an_address_names_its_field_and_a_way_out() {
    assert_each_is_told(vec![
        ("no account", Draft { account_id: None, ..good() }, "account_id", FieldErrorCode::MissingField),
        ("no acc_", Draft { account_id: s("bob"), ..good() }, "account_id", FieldErrorCode::InvalidValue),
        ("no recipient", Draft { chat_id: None, ..good() }, "chat_id", FieldErrorCode::MissingField),
        (
            "both",
            Draft { users_ids: Some(vec!["u".into()]), ..good() },
            "chat_id",
            FieldErrorCode::Contradiction,
        ),
        (
            "group by mistake",
            Draft { chat_id: None, users_ids: Some(vec!["a".into(), "b".into()]), ..good() },
            "users_ids",
            FieldErrorCode::InvalidValue,
        ),
        (
            "no person",
            Draft { chat_id: None, users_ids: Some(vec![]), ..good() },
            "users_ids",
            FieldErrorCode::MissingField,
        ),
        ("inbox and chat", Draft { inbox_id: s("X"), ..good() }, "inbox_id", FieldErrorCode::Contradiction),
    ]);
}

#[test]
fn each_fault_of_a_content_names_its_field_and_a_way_out() {
    assert_each_is_told(vec![
        ("no text", Draft { text: None, ..good() }, "text", FieldErrorCode::MissingField),
        ("blank text", Draft { text: s(" \n"), ..good() }, "text", FieldErrorCode::MissingField),
        ("long text", Draft { text: s(&"ä".repeat(21)), ..good() }, "text", FieldErrorCode::TooLong),
        ("NUL", Draft { text: s("a\0b"), ..good() }, "text", FieldErrorCode::InvalidValue),
        (
            "not a time",
            Draft { not_before: s("tomorrow"), ..good() },
            "not_before",
            FieldErrorCode::InvalidValue,
        ),
        (
            "no zone",
            Draft { not_before: s("2026-11-22T12:00:00"), ..good() },
            "not_before",
            FieldErrorCode::InvalidValue,
        ),
        (
            "past",
            Draft { expires_at: s("2026-11-22T11:59:59Z"), ..good() },
            "expires_at",
            FieldErrorCode::InvalidValue,
        ),
        (
            "never open",
            Draft { not_before: s("2026-11-24T00:00:00Z"), expires_at: s("2026-11-23T00:00:00Z"), ..good() },
            "expires_at",
            FieldErrorCode::Contradiction,
        ),
        ("empty key", Draft { dedupe_key: s(""), ..good() }, "dedupe_key", FieldErrorCode::MissingField),
        (
            "long key",
            Draft { dedupe_key: s(&"k".repeat(513)), ..good() },
            "dedupe_key",
            FieldErrorCode::TooLong,
        ),
        ("NUL id", Draft { chat_id: s("a\0"), ..good() }, "chat_id", FieldErrorCode::InvalidValue),
    ]);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_fault_of_a_form_names_its_field_and_a_way_out() {
    let users = |ids: &[&str]| Some(ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
    let start = || Draft { chat_id: None, users_ids: users(&["a"]), ..good() };
    let inmail = serde_json::json!({"linkedin": {"classic": {"inmail": true}}});
    let source = serde_json::json!({"chat_id": "c", "message_id": "m"});
    assert_each_is_told(vec![
        ("group of one", Draft { group: Some(true), ..start() }, "group", FieldErrorCode::Contradiction),
        ("named group of one", Draft { name: s("G"), ..start() }, "name", FieldErrorCode::Contradiction),
        (
            "twice",
            Draft { users_ids: users(&["a", "a"]), group: Some(true), ..start() },
            "users_ids",
            FieldErrorCode::InvalidValue,
        ),
        (
            "not a group",
            Draft { users_ids: users(&["a", "b"]), group: Some(false), name: s("G"), ..start() },
            "users_ids",
            FieldErrorCode::InvalidValue,
        ),
        ("group in a chat", Draft { group: Some(true), ..good() }, "group", FieldErrorCode::Contradiction),
        ("name in a chat", Draft { name: s("G"), ..good() }, "name", FieldErrorCode::Contradiction),
        (
            "both words",
            Draft { specifics: Some(inmail.clone()), options: Some(inmail.clone()), ..start() },
            "options",
            FieldErrorCode::Contradiction,
        ),
        (
            "InMail in a chat",
            Draft { specifics: Some(inmail), ..good() },
            "specifics",
            FieldErrorCode::Contradiction,
        ),
        (
            "quote at the start",
            Draft { quote_id: s("q"), ..start() },
            "quote_id",
            FieldErrorCode::Contradiction,
        ),
        (
            "quote and forward",
            Draft { quote_id: s("q"), forward: Some(source.clone()), ..good() },
            "quote_id",
            FieldErrorCode::Contradiction,
        ),
        (
            "forward nowhere",
            Draft { chat_id: None, forward: Some(source.clone()), ..good() },
            "chat_id",
            FieldErrorCode::MissingField,
        ),
        (
            "forward to a user",
            Draft { forward: Some(source), users_ids: users(&["a"]), ..good() },
            "users_ids",
            FieldErrorCode::Contradiction,
        ),
        (
            "forward what",
            Draft { forward: Some(serde_json::json!({"chat_id": "c"})), ..good() },
            "forward.message_id",
            FieldErrorCode::MissingField,
        ),
        (
            "forward as text",
            Draft { forward: Some(serde_json::json!("m")), ..good() },
            "forward",
            FieldErrorCode::WrongType,
        ),
    ]);
}

#[test]
fn a_forward_needs_no_text_and_a_group_is_one_when_it_is_said() {
    let source = serde_json::json!({"chat_id": "c/1", "message_id": "m="});
    let forward = Draft { text: None, forward: Some(source), ..good() }.validate(&rules(), now()).unwrap();
    assert_eq!(forward.text, "");
    assert_eq!(forward.target.thread(), "chat:chat+1/ä");
    for draft in [Draft { group: Some(true), ..good() }, Draft { name: s("G"), ..good() }] {
        let draft = Draft { chat_id: None, users_ids: Some(vec!["b".into(), "a".into()]), ..draft };
        let group = draft.validate(&rules(), now()).unwrap();
        assert_eq!(group.target.thread(), "group:a,b");
        assert!(matches!(group.target, Target::Group { users_ids, .. } if users_ids.len() == 2));
    }
}

#[test]
fn every_fault_is_reported_at_once() {
    let refusals = Draft::default().validate(&rules(), now()).unwrap_err();
    let fields: Vec<_> = refusals.iter().map(|refusal| refusal.field.as_str()).collect();
    assert_eq!(fields, ["account_id", "chat_id", "text"]);
}

#[test]
fn a_campaign_that_is_refused_is_not_missing_for_its_step() {
    let draft = Draft { campaign: s(".."), step: Some(1), ..good() };
    assert_each_is_told(vec![("a folder", draft, "campaign", FieldErrorCode::InvalidValue)]);
}

#[test]
fn an_undeclared_account_is_refused_when_only_known_ones_are_taken() {
    let rules =
        ValidationLimits { known_accounts: Some(HashSet::from([AccountId::new("acc_2")])), ..rules() };
    let refusals = good().validate(&rules, now()).unwrap_err();
    assert_eq!(refusals[0].code, FieldErrorCode::UnknownAccount);
}

#[test]
fn a_file_name_that_was_not_filled_in_is_refused_unless_it_is_meant() {
    let with = |filename: &str, allow_placeholders| {
        let file = Attachment {
            filename: filename.to_owned(),
            content_type: "application/pdf".to_owned(),
            send_mode: None,
            voice_note: false,
            duration: None,
            size: 1,
            sha256: "0".repeat(64),
        };
        Draft { attachments: vec![file], allow_placeholders, ..good() }.validate(&rules(), now())
    };
    let refused = with("Offer for {{first_name}}.pdf", None).unwrap_err();
    assert_eq!(
        (&*refused[0].field, refused[0].code),
        ("attachments[0].filename", FieldErrorCode::InvalidValue)
    );
    assert!(with("Offer for {{first_name}}.pdf", Some(true)).is_ok());
    assert!(with("Offer [final] (2).pdf", None).is_ok());
}
