//! `outboxd list`, `show` and `explain`: the request, and every character of the output.
#![allow(clippy::unwrap_used, reason = "a test may")]

use crate::cli_fake::{Answers, one};

/// One message of each kind that a list shows in its own way.
pub(crate) const PAGE: &str = r#"{"data": [
    {"id": "7", "account_id": "acc_1", "chat_id": "chat_9", "users_ids": null, "state": "queued", "reason": "gap", "until": "2026-11-22T09:21:00.000Z", "waits_for": "time", "attempts": 0},
    {"id": "6", "account_id": "acc_1", "chat_id": null, "users_ids": ["usr_7"], "state": "queued", "reason": "turn", "until": "2026-11-22T09:21:00.000Z", "waits_for": "not_before"},
    {"id": "5", "account_id": "acc_1", "chat_id": "chat_8", "users_ids": "usr_8", "state": "review", "reason": "outcome_unknown", "until": null, "waits_for": "person"},
    {"id": "4", "account_id": "acc_2", "chat_id": "chat_7", "state": "sent", "reason": "delivered", "sent_at": "2026-11-22T08:00:00.500Z", "updated_at": "2026-11-22T08:00:01.000Z"},
    {"id": "3", "account_id": "acc_2", "chat_id": "chat\t7\u001b[2J", "state": "failed", "reason": "refused", "updated_at": "2026-11-22T07:00:00.000Z"},
    {"id": "2", "account_id": null, "state": "rejected", "reason": "invalid", "updated_at": "2026-11-22T06:00:00.000Z", "later": {"field": 1}},
    {"id": "1", "account_id": "acc_2", "chat_id": "chat_7", "state": "sending", "reason": null, "until": null, "waits_for": null}
  ], "next_cursor": null}"#;

const EMPTY: &str = r#"{"data": [], "next_cursor": null}"#;

#[test]
fn a_list_for_a_program_is_a_row_of_tabs_a_message() {
    let (asked, ran) = one("GET /v1/messages", 200, PAGE, &["list"]);
    let rows = "\
7\tacc_1\tqueued\tchat_9\tgap\t2026-11-22T09:21:00.000Z
6\tacc_1\tqueued\tuser usr_7\tturn\tnot before 2026-11-22T09:21:00.000Z
5\tacc_1\treview\tuser usr_8\toutcome_unknown\ta person
4\tacc_2\tsent\tchat_7\tdelivered\t2026-11-22T08:00:00.500Z
3\tacc_2\tfailed\tchat 7 [2J\trefused\t2026-11-22T07:00:00.000Z
2\t-\trejected\t-\tinvalid\t2026-11-22T06:00:00.000Z
1\tacc_2\tsending\tchat_7\t-\t-
";
    ran.is(0, rows, "");
    assert_eq!((asked.len(), asked[0].what.as_str()), (1, "GET /v1/messages?limit=50"));
    let (_, ran) = one("GET /v1/messages", 200, PAGE, &["list", "--json"]);
    ran.is(0, &format!("{PAGE}\n"), "");
}

#[test]
fn an_empty_list_says_so_beside_the_output() {
    let hint = "no messages; `outboxd status` shows what there is, `outboxd enqueue` adds some\n";
    one("GET /v1/messages", 200, EMPTY, &["list"]).1.is(0, "", hint);
    one("GET /v1/messages", 200, EMPTY, &["list", "--json"]).1.is(0, &format!("{EMPTY}\n"), "");
}

#[test]
fn each_filter_is_a_parameter() {
    let filters =
        ["list", "--account", "acc_1", "--state", "queued,review", "--campaign", "a & b", "--chat", "c/1"];
    for (more, query) in [
        (
            &["--limit", "7"][..],
            "account_id=acc_1&state=queued%2Creview&campaign=a+%26+b&chat_id=c%2F1&limit=7",
        ),
        (&["--all"], "account_id=acc_1&state=queued%2Creview&campaign=a+%26+b&chat_id=c%2F1&limit=500"),
    ] {
        let arguments: Vec<&str> = filters.iter().chain(more).copied().collect();
        let (asked, _) = one("GET /v1/messages", 200, EMPTY, &arguments);
        assert_eq!(asked[0].what, format!("GET /v1/messages?{query}"));
    }
}

#[test]
fn pages_are_followed_as_far_as_was_asked() {
    let page = |ids: &[&str], cursor: &str| {
        let rows: Vec<String> =
            ids.iter().map(|id| format!(r#"{{"id": "{id}", "state": "sent"}}"#)).collect();
        format!(r#"{{"data": [{}], "next_cursor": {cursor}}}"#, rows.join(", "))
    };
    let (first, second) = (page(&["3", "2"], "\"c 2\""), page(&["1"], "null"));
    let row = |id: &str| format!("{id}\t-\tsent\t-\t-\t-\n");
    let all = format!("{}{}{}", row("3"), row("2"), row("1"));
    let pages = || {
        Answers::default().on("GET /v1/messages", 200, &first).on("GET /v1/messages", 200, &second).start()
    };
    for (arguments, asked, out, err) in [
        (&["list", "--all"][..], &["limit=500", "limit=500&cursor=c+2"][..], all.clone(), ""),
        (&["list", "--limit", "1000"], &["limit=500", "limit=500&cursor=c+2"], all.clone(), ""),
        (&["list", "--limit", "3"], &["limit=3", "limit=1&cursor=c+2"], all.clone(), ""),
        (
            &["list", "--limit", "2"],
            &["limit=2"],
            format!("{}{}", row("3"), row("2")),
            "these are the newest 2; `--all` shows every one\n",
        ),
        (
            &["list", "--all", "--json"],
            &["limit=500", "limit=500&cursor=c+2"],
            format!("{first}\n{second}\n"),
            "",
        ),
    ] {
        let fake = pages();
        fake.run(arguments).is(0, &out, err);
        let queries: Vec<String> =
            fake.asked().iter().map(|asked| asked.what.replace("GET /v1/messages?", "")).collect();
        assert_eq!(queries, asked, "{arguments:?}");
    }
}

#[test]
fn a_message_is_shown_with_its_text_and_its_attempts() {
    let message = r#"{"id": "0193", "account_id": "acc_1", "chat_id": "chat_9", "users_ids": ["usr_7"], "inbox_id": "SALES",
        "text": "Hello Ada,\nsee you\u001b[31m.", "typing": false, "not_before": "2026-11-22T08:00:00.000Z", "expires_at": null,
        "campaign": "spring", "dedupe_key": null, "state": "review", "reason": "outcome_unknown", "why": "It may have gone out.",
        "actor": "operator", "until": null, "waits_for": "person", "error": "504\nGateway Timeout", "sent_at": null,
        "provider_message_ids": [], "created_at": "2026-11-22T07:00:00.000Z", "updated_at": "2026-11-22T08:00:10.000Z",
        "attempts": [
            {"number": 1, "started_at": "2026-11-22T08:00:00.000Z", "ended_at": "2026-11-22T08:00:01.000Z", "phase": "sent", "outcome": "not_sent",
             "status": 429, "type": "api/too_many_requests", "title": "Too many", "detail": "Wait.", "req_id": "req_1", "gap_ms": 12000},
            {"number": 2, "started_at": "2026-11-22T08:00:10.000Z", "ended_at": null, "phase": "intent", "outcome": null,
             "status": null, "type": null, "title": null, "detail": null, "req_id": null, "gap_ms": 12000}]}"#;
    let (_, ran) = one("GET /v1/messages/0193", 200, message, &["show", "0193"]);
    insta::assert_snapshot!("show_a_message_in_review", ran.succeeded());
    one("GET /v1/messages/0193", 200, message, &["show", "0193", "--json"]).1.is(
        0,
        &format!("{message}\n"),
        "",
    );
    let sent = r#"{"id": "1", "account_id": "acc_1", "chat_id": "chat_9", "users_ids": null, "text": "Hi", "state": "sent",
        "reason": "delivered", "why": "Unipile accepted it.", "actor": "none", "sent_at": "2026-11-22T08:00:00.000Z",
        "provider_message_ids": ["m1", "m2"], "attempts": []}"#;
    let (_, ran) = one("GET /v1/messages/1", 200, sent, &["show", "1"]);
    insta::assert_snapshot!("show_a_sent_message", ran.succeeded());
}

#[test]
fn an_explanation_can_be_quoted_in_a_ticket() {
    let waiting = r#"{"id": "0193", "account_id": "acc_1", "state": "queued", "reason": "turn", "why": "Earlier messages of the account go first.",
        "actor": "none", "until": "2026-11-22T09:21:12.000Z", "until_local": "2026-11-22 04:21:12 America/New_York", "zone": "America/New_York", "waits_for": "not_before",
        "queue_position": 2, "blocked_by": null, "now": "2026-11-22T09:21:00.000Z",
        "sentence": "Two earlier messages of acc_1 go first, so it goes not before 10:21:12.",
        "gates": [{"gate": "daemon_paused", "open": true}, {"gate": "chat_order", "open": true},
            {"gate": "turn", "open": false, "until": "2026-11-22T09:21:12.000Z", "waits_for": "not_before", "why": "Earlier messages of the account go first."},
            {"gate": "gap", "open": false, "until": "2026-11-22T09:21:12.000Z", "waits_for": "time", "why": "The account pauses between two sends."}]}"#;
    let (asked, ran) = one("GET /v1/messages/0193/explain", 200, waiting, &["explain", "0193"]);
    insta::assert_snapshot!("explain_a_message_that_waits", ran.succeeded());
    assert_eq!(asked[0].what, "GET /v1/messages/0193/explain");
    let (_, ran) = one("GET /v1/messages/0193/explain", 200, waiting, &["explain", "0193", "--json"]);
    ran.is(0, &format!("{waiting}\n"), "");

    let person = r#"{"id": "1", "account_id": "acc_1", "state": "review", "reason": "outcome_unknown", "why": "It may have gone out.",
        "actor": "operator", "until": null, "waits_for": "person", "now": "2026-11-22T09:21:00.000Z", "sentence": "It may have gone out.", "gates": []}"#;
    let (_, ran) = one("GET /v1/messages/1/explain", 200, person, &["explain", "1"]);
    insta::assert_snapshot!("explain_a_message_in_review", ran.succeeded());
}
