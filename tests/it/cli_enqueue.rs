//! `outboxd enqueue`: the request for each flag, and the output for people and scripts for each answer.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::cli_fake::{Answers, Ran, one, outboxd};

const ROUTE: &str = "POST /v1/messages";
const CHAT: [&str; 5] = ["enqueue", "--account", "acc_1", "--chat", "chat_9"];

fn with<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    CHAT.iter().chain(arguments).copied().collect()
}

#[test]
fn each_flag_is_a_field_and_what_is_not_given_is_not_sent() {
    let user = ["enqueue", "--account", "acc_1", "--user", "usr_7", "--text", "Hi"];
    let user_with = |more: &[&'static str]| user.iter().chain(more).copied().collect::<Vec<_>>();
    let started = |more: Value| {
        let mut body = json!({"account_id": "acc_1", "users_ids": ["usr_7"], "text": "Hi"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (arguments, body) in [
        (with(&["--text", "Hi"]), json!({"account_id": "acc_1", "chat_id": "chat_9", "text": "Hi"})),
        (with(&["--text=- Hi"]), json!({"account_id": "acc_1", "chat_id": "chat_9", "text": "- Hi"})),
        (with(&["--text", ""]), json!({"account_id": "acc_1", "chat_id": "chat_9", "text": ""})),
        (user_with(&[]), started(json!({}))),
        (user_with(&["--inbox", ""]), started(json!({"inbox_id": ""}))),
        (user_with(&["--inbox", "SALES"]), started(json!({"inbox_id": "SALES"}))),
        (user_with(&["--typing"]), started(json!({"typing": true}))),
        (user_with(&["--typing", "--no-typing"]), started(json!({"typing": false}))),
        (
            user_with(&["--not-before", "2026-11-22T08:00:00Z", "--expires-at", "2026-11-23T09:00:00Z"]),
            started(
                json!({"not_before": "2026-11-22T08:00:00.000Z", "expires_at": "2026-11-23T09:00:00.000Z"}),
            ),
        ),
        (
            user_with(&["--campaign", "spring", "--dedupe-key", "k 1"]),
            started(json!({"campaign": "spring", "dedupe_key": "k 1"})),
        ),
    ] {
        let (asked, ran) = one(ROUTE, 201, r#"{"id": "0193", "state": "queued"}"#, &arguments);
        ran.is(0, "0193\n", "");
        assert_eq!(asked.len(), 1);
        assert_eq!((asked[0].what.as_str(), asked[0].content_type.as_str()), (ROUTE, "application/json"));
        assert_eq!(serde_json::from_str::<Value>(&asked[0].body).unwrap(), body, "{arguments:?}");
    }
}

#[test]
fn the_text_can_come_from_a_file_without_its_last_line_end() {
    for (file, text) in [("Hi\n", "Hi"), ("Hi\r\n", "Hi"), ("Hi\n\n", "Hi\n"), ("", ""), ("a\nb", "a\nb")] {
        let fake = Answers::default().on(ROUTE, 201, r#"{"id": "0193"}"#).start();
        fake.file("text", file);
        fake.run(&with(&["--text-file", "text"])).is(0, "0193\n", "");
        fake.run_with(file, &with(&["--text-file", "-"])).is(0, "0193\n", "");
        let sent = |asked: &crate::cli_fake::Asked| {
            serde_json::from_str::<Value>(&asked.body).unwrap()["text"].clone()
        };
        assert_eq!(fake.asked().iter().map(sent).collect::<Vec<_>>(), [text, text]);
    }
    let fake = Answers::default().start();
    let none = "error: none cannot be read: No such file or directory (os error 2)\n";
    fake.run(&with(&["--text-file", "none"])).is(2, "", none);
    fake.run(&["enqueue", "none"]).is(2, "", none);
    fake.run(&["enqueue", "."]).is(2, "", "error: . cannot be read: is a directory\n");
}

#[test]
fn one_message_is_answered_with_its_id() {
    let conflict = r#"{"error": {"code": "dedupe_conflict", "field": "dedupe_key", "problem": "belongs to another message", "fix": "use a new key"}, "existing_id": "0192"}"#;
    let again = "this message was queued before under the same --dedupe-key and is sent\n";
    let told = "error: `dedupe_key` belongs to another message; use a new key (that message is 0192)\n";
    let stored = r#"{"id": "0193", "state": "queued"}"#;
    for (status, body, code, out, err) in [
        (201, stored, 0, "0193\n", ""),
        (200, r#"{"id": "0193", "duplicate": true, "state": "sent"}"#, 0, "0193\n", again),
        (409, conflict, 4, "", told),
    ] {
        let (_, ran) = one(ROUTE, status, body, &with(&["--text", "Hi", "--dedupe-key", "k"]));
        ran.is(code, out, err);
    }
    let (_, ran) = one(ROUTE, 201, stored, &with(&["--text", "Hi", "--json"]));
    ran.is(0, &format!("{stored}\n"), "");
}

#[test]
fn what_is_missing_or_contradicts_is_a_wrong_command_line() {
    for (arguments, told) in [
        (vec!["enqueue"], "required"),
        (vec!["enqueue", "--account", "acc_1", "--text", "Hi"], "--chat"),
        (vec!["enqueue", "--chat", "c", "--text", "Hi"], "--account"),
        (with(&[]), "--text"),
        (with(&["--text", "--json"]), "a value is required"),
        (with(&["--user", "usr_7", "--text", "Hi"]), "cannot be used with"),
        (with(&["--text", "Hi", "--text-file", "-"]), "cannot be used with"),
        (
            vec!["enqueue", "--account", "acc_1", "--user", "A", "--user", "B", "--text", "Hi"],
            "queue one message per person, or add --group",
        ),
        (with(&["--text", "Hi", "--inbox", "X"]), "cannot be used with"),
        (with(&["--text", "Hi", "--atomic"]), "cannot be used with"),
        (vec!["enqueue", "--atomic"], "FILE"),
        (vec!["enqueue", "-", "--campaign", "x"], "cannot be used with"),
        (vec!["enqueue", "-", "--text", "x"], "cannot be used with"),
    ] {
        let ran = Answers::default().start().run(&arguments);
        assert!(ran.code == 2 && ran.err.contains(told), "{arguments:?}: {}", ran.err);
    }
}

const MIXED: &str = r#"{"accepted": 2, "duplicates": 1, "refused": 2, "results": [
    {"index": 0, "id": "1"}, {"index": 1, "id": "2", "duplicate": true},
    {"index": 2, "line": 4, "error": {"code": "missing_field", "field": "text", "problem": "is empty", "fix": "give it"},
     "errors": [{"code": "missing_field", "field": "text", "problem": "is empty", "fix": "give it"},
                {"code": "unknown_field", "field": "txt", "problem": "is not a known field", "fix": "did you mean `text`?"}]},
    {"index": 3, "line": 7, "error": {"code": "malformed_json", "field": "", "problem": "is not JSON", "fix": "mend it"}},
    {"index": 4, "id": "3"}]}"#;
const ROWS: &str = "error: line 4: `text` is empty; give it\n\
                    error: line 4: `txt` is not a known field; did you mean `text`?\n\
                    error: line 7: is not JSON; mend it\n";

#[test]
fn a_batch_is_one_request_and_each_refused_row_is_named() {
    let rows = "{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
    let fake = Answers::default().on(ROUTE, 200, MIXED).start();
    fake.file("rows", rows);
    let told = format!("{ROWS}the other rows are stored; fix these and send them again\n");
    fake.run(&["enqueue", "rows"]).is(4, "2 accepted, 1 duplicates, 2 refused\n", &told);
    fake.run_with(rows, &["enqueue", "-"]).is(4, "2 accepted, 1 duplicates, 2 refused\n", &told);
    fake.run(&["enqueue", "--json", "rows"]).is(4, &format!("{MIXED}\n"), &told);
    let asked = fake.asked();
    assert_eq!(asked.len(), 3);
    for asked in asked {
        assert_eq!((asked.what.as_str(), asked.content_type.as_str()), (ROUTE, "application/x-ndjson"));
        assert_eq!(asked.body, rows);
    }
    let bad = r#"{"accepted": 0, "duplicates": 0, "refused": 1, "results": [{"index": 0, "line": 1,
        "error": {"code": "missing_field", "field": "text", "problem": "is empty", "fix": "give it"}}]}"#;
    let told =
        "error: line 1: `text` is empty; give it\nnothing was stored; fix these rows and send them again\n";
    one(ROUTE, 200, bad, &["enqueue", "-"]).1.is(4, "0 accepted, 0 duplicates, 1 refused\n", told);
    let good = r#"{"accepted": 1, "duplicates": 0, "refused": 0, "results": [{"index": 0, "id": "1"}]}"#;
    let (_, ran) = one(ROUTE, 200, good, &["enqueue", "-"]);
    ran.is(0, "1 accepted, 0 duplicates, 0 refused\n", "");
}

#[test]
fn an_atomic_batch_names_only_the_rows_to_mend() {
    let refused = r#"{"accepted": 0, "duplicates": 0, "refused": 2, "results": [
        {"index": 0, "line": 1, "error": {"code": "batch_refused", "field": "", "problem": "another row is wrong", "fix": "mend it"}},
        {"index": 1, "line": 2, "error": {"code": "missing_field", "field": "text", "problem": "is empty", "fix": "give it"}}]}"#;
    let fake = Answers::default().on(ROUTE, 422, refused).start();
    let told = "error: line 2: `text` is empty; give it\n\
                nothing was stored; fix these rows and send the whole batch again\n";
    fake.run(&["enqueue", "--atomic", "-"]).is(4, "0 accepted, 0 duplicates, 2 refused\n", told);
    assert_eq!(fake.asked()[0].what, "POST /v1/messages?atomic=true");
    let large =
        r#"{"error": {"code": "too_long", "field": "", "problem": "is too large", "fix": "split it"}}"#;
    let (_, ran) = one(ROUTE, 413, large, &["enqueue", "--atomic", "-"]);
    ran.is(4, "", "error: is too large; split it\n");
}

#[test]
fn a_large_batch_is_streamed() {
    let good = r#"{"accepted": 1, "duplicates": 0, "refused": 0, "results": []}"#;
    let fake = Answers::default().on(ROUTE, 200, good).start();
    let row = format!("{{\"text\": {:?}}}\n", "x".repeat(1000));
    let command = fake.command(&["enqueue", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = command.unwrap();
    let mut input = child.stdin.take().unwrap();
    for _ in 0..5000 {
        input.write_all(row.as_bytes()).unwrap();
    }
    drop(input);
    Ran::of(child.wait_with_output().unwrap()).is(0, "1 accepted, 0 duplicates, 0 refused\n", "");
    assert_eq!(fake.asked()[0].body.len(), 5000 * row.len());
}

#[test]
fn a_daemon_that_stops_reading_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("outboxd.sock")).unwrap();
    std::fs::write(folder.path().join("rows"), "x".repeat(8 << 20)).unwrap();
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| assert!(listener.accept().unwrap().0.read(&mut [0; 4096]).unwrap() > 0));
        Ran::of(outboxd(&["enqueue", "rows"]).current_dir(folder.path()).output().unwrap())
    });
    let told = "error: the daemon on outboxd.sock broke the connection before it had answered: it stops, or the request \
                is over its `api.body_bytes`; what was asked may be done all the same, so look with `outboxd list`, or \
                send it again under the same `dedupe_key`\n";
    ran.is(1, "", told);
}

#[test]
fn times_of_a_message_are_of_the_zone_of_its_account() {
    let zone = r#"{"account_id": "acc_1", "zone": "America/New_York"}"#;
    let fake = Answers::default()
        .on("GET /v1/accounts/acc_1/zone", 200, zone)
        .on("POST /v1/messages", 201, r#"{"id": "1", "state": "queued"}"#)
        .start();
    let arguments = ["enqueue", "--account", "acc_1", "--chat", "c", "--text", "x"];
    let times = ["--not-before", "2027-01-08 09:00", "--expires-at", "2027-01-09"];
    fake.run(&[&arguments[..], &times[..]].concat()).is(0, "1\n", "");
    let body: Value = serde_json::from_str(&fake.asked().last().unwrap().body).unwrap();
    assert_eq!(body["not_before"], "2027-01-08T14:00:00.000Z");
    assert_eq!(body["expires_at"], "2027-01-09T05:00:00.000Z");
}
