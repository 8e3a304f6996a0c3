//! What every webhook has: an id, a type and an account. The rest of the body stays unread until it is interpreted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::domain::ids::{self, MAX_ID_BYTES};
use crate::domain::message::AccountId;
use crate::store::NewWebhook;

/// Reads a body; returns `None` if it is not a JSON object with a `type`.
pub(super) fn read(body: Vec<u8>) -> Option<NewWebhook> {
    let body = String::from_utf8(body).ok()?;
    // A map, because a struct would also be read from an array.
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&body).ok()?;
    let text = |name: &str| {
        let text: String = serde_json::from_str(fields.get(name)?.get()).ok()?;
        is_name(&text).then_some(text)
    };
    let kind = text("type")?;
    let event_id = text("id").unwrap_or_else(|| hash(body.as_bytes()));
    let account_id = text("account_id").and_then(|id| ids::account("account_id", &id).ok());
    Some(NewWebhook { event_id, kind, account_id: account_id.map(AccountId::new), body })
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_ID_BYTES && !text.chars().any(char::is_control)
}

/// Identifies a body without an id.
fn hash(body: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(body) {
        let _a_string_takes_it = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(body: &str) -> Option<NewWebhook> {
        read(body.as_bytes().to_vec())
    }

    #[test]
    fn id_type_and_account_are_read_and_the_body_is_kept() {
        let body =
            r#" {"id": "evt_1", "type": "message.new", "account_id": "acc_1", "payload": {"type": 3}} "#;
        let expected = NewWebhook {
            event_id: "evt_1".into(),
            kind: "message.new".into(),
            account_id: Some(AccountId::new("acc_1")),
            body: body.into(),
        };
        assert_eq!(read_text(body), Some(expected));
    }

    #[test]
    fn a_missing_or_odd_id_becomes_the_hash_of_the_body() {
        let long = format!(r#"{{"type":"t","id":"{}"}}"#, "x".repeat(600));
        for body in [
            r#"{"type":"t"}"#,
            r#"{"type":"t","id":null}"#,
            r#"{"type":"t","id":7}"#,
            r#"{"type":"t","id":" "}"#,
            &long,
        ] {
            let webhook = read_text(body).expect(body);
            assert!(webhook.event_id.starts_with("sha256:") && webhook.event_id.len() == 71, "{webhook:?}");
        }
        let hashed = read_text(r#"{"type":"t"}"#).unwrap().event_id;
        assert_ne!(hashed, read_text(r#"{"type": "t"}"#).unwrap().event_id);
    }

    #[test]
    fn only_a_plausible_account_is_kept() {
        for (account, expected) in [
            (r#""acc_1""#, Some("acc_1")),
            (r#""other""#, None),
            (r#""acc_""#, None),
            (r#""acc_1,acc_2""#, None),
            ("7", None),
            ("null", None),
        ] {
            let webhook = read_text(&format!(r#"{{"type":"t","account_id":{account}}}"#)).unwrap();
            assert_eq!(webhook.account_id.as_ref().map(AccountId::as_str), expected, "{account}");
        }
    }

    #[test]
    fn what_is_not_an_object_with_a_type_is_none() {
        for body in [
            "",
            "null",
            "7",
            r#""message.new""#,
            "[]",
            r#"["message.new", "evt_1", "acc_1"]"#,
            "{}",
            r#"{"id":"evt_1"}"#,
            r#"{"type":null}"#,
            r#"{"type":""}"#,
            r#"{"type":7}"#,
            r#"{"type":"a\u0000b"}"#,
            r#"{"type":"t"} x"#,
            r#"{"type":"t""#,
            "type=t",
        ] {
            assert_eq!(read_text(body), None, "{body}");
        }
        assert_eq!(read(b"{\"type\":\"\xff\"}".to_vec()), None);
        let deep = format!(r#"{{"type":"t","payload":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        let _kept_or_not = read_text(&deep);
    }
}
