//! What each answer means: a fixture for every row of the contract's table of error types, and the real client
//! against sockets that break in every way (P2). The question is always whether the call may have reached its
//! recipient.
#![allow(clippy::unwrap_used, reason = "a test may")]

pub(crate) mod client;
pub(crate) mod wire;

use std::time::Duration;

use outboxd::domain::outcome::{DownCause, Heard, Hold, Outcome, Phase};
use outboxd::provider::{Answer, Expected, classify};
use serde_json::{Value, json};

/// Returns an outcome as one word, with what it holds.
pub(crate) fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accepted { .. } => "accepted".into(),
        Outcome::Refused(_) => "refused".into(),
        Outcome::NotSent { hold: Hold::Message, .. } => "not sent: message".into(),
        Outcome::NotSent { hold: Hold::Account(None), .. } => "not sent: account".into(),
        Outcome::NotSent { hold: Hold::Account(Some(wait)), .. } => {
            format!("not sent: account {}s", wait.as_secs())
        }
        Outcome::NotSent { hold: Hold::Credits, .. } => "not sent: credits".into(),
        Outcome::NotSent { hold: Hold::Api, .. } => "not sent: api".into(),
        Outcome::Throttled(_) => "throttled".into(),
        Outcome::AccountDown { cause: DownCause::Disconnected, .. } => "down: disconnected".into(),
        Outcome::AccountDown { cause: DownCause::Restricted, .. } => "down: restricted".into(),
        Outcome::AccountDown { cause: DownCause::Key, .. } => "down: key".into(),
        Outcome::AccountDown { cause: DownCause::Throttled, .. } => "down: no answer means this".into(),
        Outcome::Uncertain { phase: Phase::Answered, .. } => "uncertain: answered".into(),
        Outcome::Uncertain { phase: Phase::Written, .. } => "uncertain: written".into(),
        Outcome::Uncertain { .. } => "uncertain: too early".into(),
    }
}

/// Type, every status that a source gives for it, outcome; in the order of the contract's section 11.
const TABLE: &[(&str, &[u16], &str)] = &[
    ("api/invalid_parameters", &[400], "refused"),
    ("provider/invalid_parameters", &[400], "refused"),
    ("api/invalid_auth_format", &[400], "down: disconnected"),
    ("provider/invalid_authorization", &[401], "down: disconnected"),
    ("provider/invalid_credentials", &[401], "down: disconnected"),
    ("provider/account_mismatch", &[401], "down: disconnected"),
    ("provider/invalid_checkpoint_code", &[401], "down: disconnected"),
    ("api/missing_authorization", &[401], "down: key"),
    ("api/expired_authorization", &[401], "down: key"),
    ("api/proxy_auth_error", &[401, 407], "not sent: message"),
    ("api/inactive_subscription", &[403], "down: key"),
    ("api/insufficient_permissions", &[403], "down: key"),
    ("provider/insufficient_permissions", &[403], "refused"),
    ("api/account_restricted", &[403], "down: restricted"),
    ("api/already_exists", &[403, 409], "refused"),
    ("provider/unknown_authentication_context", &[403], "down: disconnected"),
    ("provider/resource_not_found", &[404], "refused"),
    ("api/resource_not_found", &[404], "refused"),
    ("provider/method_not_allowed", &[405], "refused"),
    ("api/conflict", &[409], "uncertain: answered"),
    ("provider/conflict", &[409], "uncertain: answered"),
    ("provider/invalid_file", &[415, 422], "refused"),
    ("provider/unprocessable_entity", &[422], "refused"),
    ("api/too_many_requests", &[429], "not sent: account 7s"),
    ("provider/too_many_requests", &[429], "throttled"),
    ("api/internal_error", &[500], "uncertain: answered"),
    ("api/not_implemented", &[501], "refused"),
    ("api/proxy_error", &[502], "uncertain: answered"),
    ("provider/server_error", &[500, 502], "uncertain: answered"),
    ("api/proxy_timeout", &[504], "uncertain: answered"),
    ("provider/timeout", &[504], "uncertain: answered"),
];

/// Status of an answer, its outcome if its type is not known, and its outcome if it is not Unipile's, such as a
/// gateway's page.
const UNTYPED: &[(u16, &str, &str)] = &[
    (300, "uncertain: answered", "uncertain: answered"),
    (302, "uncertain: answered", "uncertain: answered"),
    (307, "uncertain: answered", "not sent: api"),
    (308, "uncertain: answered", "not sent: api"),
    (400, "refused", "not sent: api"),
    (401, "down: disconnected", "not sent: api"),
    (402, "refused", "not sent: api"),
    (403, "refused", "not sent: api"),
    (404, "refused", "not sent: api"),
    (407, "refused", "not sent: api"),
    // It may mean that the server behind the gateway was slow, and not that nothing arrived; so may a 499.
    (408, "not sent: message", "uncertain: answered"),
    (410, "refused", "not sent: api"),
    (413, "refused", "not sent: api"),
    (414, "refused", "not sent: api"),
    (422, "refused", "not sent: api"),
    (425, "not sent: message", "not sent: api"),
    (429, "not sent: account 7s", "not sent: account 7s"),
    (431, "refused", "not sent: api"),
    (451, "refused", "not sent: api"),
    (499, "refused", "uncertain: answered"),
    (500, "uncertain: answered", "uncertain: answered"),
    (502, "uncertain: answered", "uncertain: answered"),
    (503, "uncertain: answered", "uncertain: answered"),
    (504, "uncertain: answered", "uncertain: answered"),
    (520, "uncertain: answered", "uncertain: answered"),
    (599, "uncertain: answered", "uncertain: answered"),
];

fn meaning(expected: Expected, status: u16, retry_after: Option<u64>, body: &[u8]) -> Outcome {
    classify(&Answer { expected, sent: 300, status, retry_after: retry_after.map(Duration::from_secs), body })
}

fn error(kind: &str, status: u16) -> Value {
    json!({
        "object": "Error", "type": kind, "status": status, "title": "A title", "detail": "A detail.", "req_id": "req-8gb",
    })
}

#[test]
fn every_type_of_the_contract_has_its_outcome_whatever_its_status() {
    assert_eq!(TABLE.len(), 31, "the contract's list");
    for (kind, statuses, expected) in TABLE {
        // Sources disagree about some statuses: the type alone decides, even with a status that no source gives.
        for status in statuses.iter().chain(&[418, 503]) {
            for endpoint in [Expected::ChatStarted, Expected::MessageSent] {
                let body = error(kind, *status).to_string();
                let outcome = meaning(endpoint, *status, Some(7), body.as_bytes());
                assert_eq!(word(&outcome), *expected, "{kind} with {status}");
                let problem = outcome.problem().unwrap();
                assert_eq!(
                    (problem.kind.as_str(), problem.status),
                    (*kind, Some(*status)),
                    "kept as it came"
                );
                assert_eq!(problem.title.as_deref(), Some("A title"));
                assert_eq!(problem.detail.as_deref(), Some("A detail."));
                assert_eq!(problem.req_id.as_deref(), Some("req-8gb"));
            }
        }
    }
}

#[test]
fn a_limit_without_a_word_about_time_says_none() {
    let body = error("api/too_many_requests", 429).to_string();
    let outcome = meaning(Expected::MessageSent, 429, None, body.as_bytes());
    assert_eq!(word(&outcome), "not sent: account");
    let outcome = meaning(Expected::MessageSent, 429, None, b"slow down");
    assert_eq!(word(&outcome), "not sent: account");
}

#[test]
fn an_answer_of_an_unknown_type_or_of_none_is_judged_by_its_status_and_kept() {
    for (status, expected, of_gateway) in UNTYPED {
        let known = error("provider/something_new", *status).to_string();
        let outcome = meaning(Expected::MessageSent, *status, Some(7), known.as_bytes());
        assert_eq!(word(&outcome), *expected, "unknown type, {status}");
        assert_eq!(outcome.problem().unwrap().kind, "provider/something_new");
        let bodies: [&[u8]; 8] = [
            b"",
            b"<html><head><title>oops</title></head><body>nginx</body></html>",
            b"{\"message\":\"Unauthorized\"}",
            b"{\"type\":42}",
            b"{\"type\":\"about:blank\",\"title\":\"Forbidden\"}",
            b"[]",
            b"null",
            b"\xff\xfe",
        ];
        for body in bodies {
            let outcome = meaning(Expected::MessageSent, *status, Some(7), body);
            assert_eq!(word(&outcome), *of_gateway, "{status} with {:?}", String::from_utf8_lossy(body));
            let problem = outcome.problem().unwrap();
            assert_eq!((problem.kind.as_str(), problem.status), ("outboxd/untyped_answer", Some(*status)));
            let detail = problem.detail.as_deref().unwrap();
            let shown = String::from_utf8_lossy(body);
            assert!(detail.ends_with(if shown.is_empty() { "(empty)" } else { &shown }), "{detail}");
        }
    }
}

/// H2, H3: a failure without Unipile's type is trouble of the API; an error with it is an answer.
#[test]
fn an_answer_tells_whether_the_api_as_a_whole_fails() {
    let heard = |status, body: &str| meaning(Expected::MessageSent, status, None, body.as_bytes()).heard();
    let typed = |kind: &str, status| heard(status, &error(kind, status).to_string());
    for (kind, statuses, _) in TABLE {
        let fails = matches!(*kind, "api/internal_error" | "api/proxy_error" | "api/proxy_timeout");
        let expected = if fails { Heard::Trouble } else { Heard::Answer };
        assert_eq!(typed(kind, statuses[0]), expected, "{kind}");
    }
    assert_eq!(typed("api/something_new", 503), Heard::Trouble);
    for status in [408, 425] {
        assert_eq!(typed("api/request_timeout", status), Heard::Trouble, "{status}");
        assert_eq!(typed("provider/something_new", status), Heard::Answer, "{status}");
        let body = error("api/request_timeout", status).to_string();
        let outcome = meaning(Expected::MessageSent, status, None, body.as_bytes());
        assert_eq!(word(&outcome), "not sent: api", "{status}: no retry is spent");
    }
    assert_eq!(typed("api/something_new", 403), Heard::Answer);
    assert_eq!(typed("provider/something_new", 503), Heard::Answer, "LinkedIn's trouble, told by Unipile");
    assert_eq!(heard(200, r#"{"object":"MessageSent","message_id":"m"}"#), Heard::Answer);
    for status in [400, 401, 403, 404, 413, 414, 429, 431, 500, 502, 503, 504] {
        assert_eq!(heard(status, "<html>"), Heard::Trouble, "{status}");
    }
}

/// A gateway that finds the size of a short message too large is broken; only a large message fails by it.
#[test]
fn only_a_large_message_is_too_large_for_a_gateway() {
    for (sent, status, expected) in [
        (0, 413, "not sent: api"),
        ((64 << 10) - 1, 413, "not sent: api"),
        (64 << 10, 413, "refused"),
        (20 << 20, 413, "refused"),
        // These concern the address and the headers, which no message makes long.
        (20 << 20, 414, "not sent: api"),
        (20 << 20, 431, "not sent: api"),
    ] {
        let answer =
            Answer { expected: Expected::MessageSent, sent, status, retry_after: None, body: b"<html>" };
        let outcome = classify(&answer);
        assert_eq!(word(&outcome), expected, "{sent} bytes, {status}");
        let heard = if expected == "refused" { Heard::Neither } else { Heard::Trouble };
        assert_eq!(outcome.heard(), heard, "{sent} bytes, {status}");
    }
}

#[test]
fn a_long_body_is_kept_as_an_excerpt() {
    let body = "ä".repeat(5000);
    let outcome = meaning(Expected::MessageSent, 502, None, body.as_bytes());
    let detail = outcome.problem().unwrap().detail.clone().unwrap();
    assert!(detail.chars().count() < 600 && detail.ends_with('ä'), "{detail}");
}

#[test]
fn a_success_is_read_to_its_ids() {
    let cases = [
        (Expected::MessageSent, json!({"object": "MessageSent", "message_id": "m1"}), None, vec!["m1"]),
        (
            Expected::MessageSent,
            json!({"object": "MessageSent", "message_id": ["m1", "m2"]}),
            None,
            vec!["m1", "m2"],
        ),
        (Expected::MessageSent, json!({"object": "MessageSent", "message_id": null}), None, vec![]),
        (Expected::MessageSent, json!({"object": "MessageSent"}), None, vec![]),
        (
            Expected::ChatStarted,
            json!({"object": "ChatStarted", "chat_id": "2-a/b==", "message_id": "m1", "more": {"x": 1}}),
            Some("2-a/b=="),
            vec!["m1"],
        ),
        (
            Expected::ChatStarted,
            json!({"object": "ChatStarted", "chat_id": "c", "message_id": null}),
            Some("c"),
            vec![],
        ),
    ];
    for status in [200, 201, 202, 299] {
        for (expected, body, chat, ids) in &cases {
            match meaning(*expected, status, None, body.to_string().as_bytes()) {
                Outcome::Accepted { chat_id, message_ids } => {
                    assert_eq!(chat_id.as_ref().map(|id| id.as_str()), *chat, "{body}");
                    assert_eq!(message_ids, *ids, "{body}");
                }
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_success_that_is_not_the_expected_one_may_have_reached_somebody() {
    let cases = [
        (Expected::MessageSent, error("api/internal_error", 500).to_string()),
        (Expected::MessageSent, error("api/too_many_requests", 429).to_string()),
        (Expected::MessageSent, r#"{"object":"ChatStarted","chat_id":"c","message_id":"m"}"#.into()),
        (Expected::ChatStarted, r#"{"object":"MessageSent","message_id":"m"}"#.into()),
        (Expected::MessageSent, r#"{"object":"ComposingSet"}"#.into()),
        (Expected::MessageSent, r#"{"message_id":"m"}"#.into()),
        (Expected::MessageSent, r#"{"object":"MessageSent","message_id":42}"#.into()),
        (Expected::MessageSent, r#"{"object":"MessageSent","message_id":{"id":"m"}}"#.into()),
        (Expected::MessageSent, r#"{"object":"MessageSent","message_id":"#.into()),
        (Expected::ChatStarted, r#"{"object":"ChatStarted","message_id":"m"}"#.into()),
        (Expected::ChatStarted, r#"{"object":"ChatStarted","chat_id":null,"message_id":"m"}"#.into()),
        (Expected::ChatStarted, r#"{"object":"ChatStarted","chat_id":42,"message_id":"m"}"#.into()),
        (Expected::MessageSent, String::new()),
        (Expected::MessageSent, "<html>welcome to the hotel's wifi</html>".into()),
        (Expected::MessageSent, "[]".into()),
        (Expected::MessageSent, "\"MessageSent\"".into()),
    ];
    for (expected, body) in cases {
        for status in [200, 204] {
            let outcome = meaning(expected, status, None, body.as_bytes());
            assert_eq!(word(&outcome), "uncertain: answered", "{body}");
            let problem = outcome.problem().unwrap();
            let is_ours = body.contains("\"object\":") && body.ends_with('}');
            let (kind, heard) = match is_ours {
                true if body.contains("\"Error\"") => ("outboxd/error_as_success", Heard::Trouble),
                true => ("outboxd/unexpected_success", Heard::Neither),
                // A hotel's page, a proxy, half of a body: the API was not reached.
                false => ("outboxd/untyped_success", Heard::Trouble),
            };
            assert_eq!((problem.kind.as_str(), problem.status), (kind, Some(status)), "{body}");
            assert_eq!(problem.heard(), heard, "{body}");
        }
    }
}
