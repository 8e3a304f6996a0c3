//! `outboxd cancel`, `pause` and `resume`: the requests, and the output, which depends on the state before.
#![allow(clippy::unwrap_used, reason = "a test may")]

use serde_json::{Value, json};

use crate::cli_fake::{Answers, one};

#[test]
fn cancelling_says_what_was_the_case_before() {
    let gone = r#"{"error": {"code": "not_found", "field": "id", "problem": "names no message", "fix": "see `outboxd list`"}}"#;
    let late = r#"{"error": {"code": "wrong_state", "field": "", "problem": "it is sent", "fix": "nothing can be done"}}"#;
    let cancelled = |was: &str, already: bool| json!({"id": "1", "state": "cancelled", "was": was, "already_cancelled": already});
    let review = "1 is cancelled; it was in review, so it may have reached the recipient\n";
    for (status, body, code, out, err) in [
        (200, cancelled("queued", false).to_string(), 0, "1 is cancelled (it was queued)\n", ""),
        (200, cancelled("cancelled", true).to_string(), 0, "1 was cancelled already\n", ""),
        (200, cancelled("review", false).to_string(), 0, review, ""),
        (404, gone.to_owned(), 5, "", "error: 1: there is no message; see `outboxd list`\n"),
        (409, late.to_owned(), 4, "", "error: 1: it is sent; nothing can be done\n"),
    ] {
        let (asked, ran) = one("POST /v1/messages/1/cancel", status, &body, &["cancel", "1"]);
        ran.is(code, out, err);
        assert_eq!(asked[0].what, "POST /v1/messages/1/cancel");
        let (_, ran) = one("POST /v1/messages/1/cancel", status, &body, &["cancel", "--json", "1"]);
        ran.is(code, &format!("{body}\n"), err);
    }
    let fake = Answers::default()
        .on("POST /v1/messages/1/cancel", 409, late)
        .on("POST /v1/messages/a%2Fb/cancel", 200, r#"{"id": "a/b", "was": "queued"}"#)
        .start();
    let told = "error: 1: it is sent; nothing can be done\n";
    fake.run(&["cancel", "1", "a/b"]).is(4, "a/b is cancelled (it was queued)\n", told);
}

#[test]
fn pausing_and_resuming_name_what_they_concern() {
    let pause = r#"{"paused": true, "already_paused": false, "until": null}"#;
    let again = r#"{"paused": true, "already_paused": true, "until": "2026-11-23T08:00:00.000Z"}"#;
    let resume = r#"{"resumed": true, "was_paused": true}"#;
    let mended = r#"{"resumed": true, "was_paused": false}"#;
    let nine = "2026-11-23 09:00:00 Europe/Berlin";
    for (arguments, route, answer, body, out) in [
        (
            &["pause", "acc_1"][..],
            "POST /v1/accounts/acc_1/pause",
            pause,
            json!({}),
            "acc_1 is paused until `outboxd resume acc_1`\n".to_owned(),
        ),
        (
            &["pause", "--all", "--note", "a client called"],
            "POST /v1/pause",
            pause,
            json!({"note": "a client called"}),
            "everything is paused until `outboxd resume --all`\n".to_owned(),
        ),
        (
            &["pause", "acc_1", "--until", "2026-11-23T08:00:00Z"],
            "POST /v1/accounts/acc_1/pause",
            again,
            json!({"until": "2026-11-23T08:00:00.000Z"}),
            format!("acc_1 is paused until {nine} (it was paused already)\n"),
        ),
        (
            &["resume", "acc_1"],
            "POST /v1/accounts/acc_1/resume",
            resume,
            json!({}),
            "acc_1 goes on\n".to_owned(),
        ),
        (
            &["resume", "--all", "--lift-hold"],
            "POST /v1/resume",
            mended,
            json!({"lift_hold": true}),
            "everything goes on (it was not paused; what was fixed is retried)\n".to_owned(),
        ),
    ] {
        let (asked, ran) = one(route, 200, answer, arguments);
        ran.is(0, &out, "");
        assert_eq!(asked[0].what, route);
        assert_eq!(serde_json::from_str::<Value>(&asked[0].body).unwrap(), body, "{arguments:?}");
        let with_json: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        one(route, 200, answer, &with_json).1.is(0, &format!("{answer}\n"), "");
    }
}

#[test]
fn a_length_of_time_is_counted_by_the_daemon() {
    let answer = r#"{"paused": true, "already_paused": false, "until": null}"#;
    let (asked, _) = one("POST /v1/pause", 200, answer, &["pause", "--all", "--for", "2h 30m"]);
    let body: Value = serde_json::from_str(&asked[0].body).unwrap();
    assert_eq!(body, json!({ "for": "PT2H30M" }));
}

#[test]
fn everything_is_never_meant_by_saying_nothing() {
    for verb in ["pause", "resume"] {
        let fake = Answers::default().start();
        let told = format!(
            "error: say what to {verb}: `outboxd {verb} acc_…` for one account, `outboxd {verb} --all` for everything\n"
        );
        fake.run(&[verb]).is(2, "", &told);
        assert_eq!(fake.run(&[verb, "acc_1", "--all"]).code, 2);
        assert_eq!(fake.run(&["pause", "acc_1", "--until", "09:00", "--for", "2h"]).code, 2);
        assert!(fake.asked().is_empty());
    }
}

/// A time without a zone is in the zone of the account, or in this machine's (Berlin) if it is for everything.
#[test]
fn a_time_without_a_zone_is_of_the_account_or_else_of_this_machine() {
    let zone = r#"{"account_id": "acc_1", "zone": "America/New_York", "now": "2026-11-22T09:00:00.000Z"}"#;
    let paused = |until: &str, zone: &str| {
        format!(r#"{{"paused": true, "already_paused": false, "until": "{until}"{zone}}}"#)
    };
    for (arguments, until, told) in [
        (
            &["pause", "acc_1", "--until", "2027-01-08 09:00"][..],
            "2027-01-08T14:00:00.000Z",
            "acc_1 is paused until 2027-01-08 09:00:00 America/New_York\n",
        ),
        (
            &["pause", "--all", "--until", "2027-01-08 09:00"],
            "2027-01-08T08:00:00.000Z",
            "everything is paused until 2027-01-08 09:00:00 Europe/Berlin\n",
        ),
    ] {
        let named = r#", "zone": "America/New_York""#;
        let fake = Answers::default()
            .on("GET /v1/accounts/acc_1/zone", 200, zone)
            .on("POST /v1/accounts/acc_1/pause", 200, &paused(until, named))
            .on("POST /v1/pause", 200, &paused(until, ""))
            .start();
        fake.run(arguments).is(0, told, "");
        let asked = fake.asked();
        let body: Value = serde_json::from_str(&asked.last().unwrap().body).unwrap();
        assert_eq!(body, json!({ "until": until }), "{arguments:?}");
        assert_eq!(asked.len(), if arguments[1] == "--all" { 1 } else { 2 }, "{asked:?}");
    }
    let fake = Answers::default().on("GET /v1/accounts/acc_1/zone", 200, zone).start();
    let skipped = "error: 2027-03-14 02:30:00 does not exist in America/New_York: the clocks are set forward over it; write another time\n";
    fake.run(&["pause", "acc_1", "--until", "2027-03-14 02:30"]).is(2, "", skipped);
    let ran = fake.run(&["pause", "acc_1", "--until", "2027-11-07 01:30"]);
    assert!(ran.err.contains("comes twice") && ran.err.contains("2027-11-07T01:30:00-04:00"), "{}", ran.err);
    assert!(fake.asked().iter().all(|asked| asked.what.starts_with("GET")), "nothing is paused");
}
