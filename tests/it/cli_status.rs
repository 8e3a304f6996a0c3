//! `outboxd status`: the overview of all accounts, and the details of one.
#![allow(clippy::unwrap_used, reason = "a test may")]

use crate::cli_fake::{Answers, Fake, one};

pub(crate) const CALM: &str = r#"{"version": "0.1.0", "pid": 42, "started_at": "2026-11-22T07:00:00.000Z", "now": "2026-11-22T09:21:00.000Z",
    "paused": null, "key_refused": null, "api": {"reachable": true, "failures": 0, "next_try_at": null},
    "queue": {"path": "/var/lib/outboxd/outboxd.db", "blocked_since": null, "counts": {"sent": 2040, "queued": 118, "failed": 0, "review": 1}},
    "accounts": 2, "recovered": {"sending": 0, "uncertain": 0, "replanned": 118, "flushed": 0, "clean_stop": true}, "warnings": [], "next_step": null}"#;

const TROUBLED: &str = r#"{"version": "0.1.0", "pid": 42, "started_at": "2026-11-22T09:20:00.000Z", "now": "2026-11-22T09:21:00.000Z",
    "paused": {"since": "2026-11-22T09:00:00.000Z", "until": null, "note": "a client called"},
    "key_refused": {"since": "2026-11-22T09:00:00.000Z", "problem": "401 api/unauthorized"},
    "api": {"reachable": false, "failures": 3, "next_try_at": "2026-11-22T09:21:30.000Z"},
    "queue": {"path": "q.db", "blocked_since": "2026-11-22T09:18:00.000Z", "counts": {}},
    "accounts": 0, "recovered": {"sending": 0, "uncertain": 1, "replanned": 0, "flushed": 0, "clean_stop": false},
    "notices": [{"kind": "key_refused", "needs_person": true, "since": "2026-11-22T09:00:00.000Z", "account_id": null, "what": "Unipile refuses the API key", "to_do": "fix it"},
      {"kind": "review", "needs_person": true, "since": null, "account_id": null, "what": "2 messages wait for a person", "to_do": "outboxd review"}],
    "warnings": ["the clock was set back"], "next_step": "set a new API key"}"#;

const ACCOUNTS: &str = r#"{"data": [
    {"id": "acc_1", "standing": "active", "reason": "gap", "why": "The account pauses between two sends.", "actor": "none",
     "until": "2026-11-22T09:21:12.000Z", "waits_for": "time", "paused": null, "down": null, "hold": null,
     "last_sent_at": "2026-11-22T09:20:50.000Z", "oldest_due_at": "2026-11-22T08:00:00.000Z", "counts": {"queued": 118, "sent": 2040},
     "cap": {"cap": "new_chat", "window": "24h", "limit": 40, "used": 40, "frees_at": "2026-11-23T08:02:00.000Z"}},
    {"id": "acc_2", "standing": "down", "reason": "account_disconnected", "why": "It is disconnected.", "actor": "operator", "until": null, "waits_for": "person",
     "paused": null, "down": {"cause": "disconnected", "since": "2026-11-22T09:00:00.000Z", "problem": "sign in again"}, "hold": null,
     "last_sent_at": "2026-11-21T09:00:00.000Z", "oldest_due_at": "2026-11-22T10:21:00.000Z", "counts": {"queued": 1},
     "cap": {"cap": "all", "window": "24h", "limit": 100, "used": 12, "frees_at": "2026-11-22T09:21:00.000Z"}},
    {"id": "acc_3", "standing": "active", "reason": null, "counts": {}}]}"#;

fn fake(status: &str, accounts: &str) -> Fake {
    Answers::default().on("GET /v1/status", 200, status).on("GET /v1/accounts", 200, accounts).start()
}

#[test]
fn all_is_well() {
    let shown = "\
outboxd 0.1.0 (pid 42), running for 2 h 21 min
queue       /var/lib/outboxd/outboxd.db
messages    118 queued, 1 review, 2040 sent
last start  after a clean stop: 0 uncertain, 118 re-planned

account  state   why                   next      queued  oldest      last sent         sent
──────────────────────────────────────────────────────────────────────────────────────────────────────────
acc_1    active  gap                   10:21:12  118     1 h 21 min  10:20:50          40/40 new_chat 24h
acc_2    down    account_disconnected  a person  1       due in 1 h  2026-11-21 10:00  12/100 24h
acc_3    active  -                     -         0       -           -                 no cap
times are in Europe/Berlin
";
    fake(CALM, ACCOUNTS).run(&["status"]).is(0, shown, "");
    let ran = one("GET /v1/status", 200, CALM, &["status", "--json"]).1;
    ran.is(0, &format!("{CALM}\n"), "");
}

#[test]
fn notices_come_first_and_what_to_do_comes_last() {
    let shown = "\
notice: key_refused: Unipile refuses the API key, since 2026-11-22 10:00:00 Europe/Berlin
notice: review: 2 messages wait for a person
outboxd 0.1.0 (pid 42), running for 1 min
queue       q.db
messages    none
last start  after a crash or a kill: 1 uncertain, 0 re-planned
warning: the clock was set back

next: set a new API key
";
    fake(TROUBLED, r#"{"data": []}"#).run(&["status"]).is(0, shown, "");
}

#[test]
fn the_last_start_says_what_it_followed() {
    for (after, text) in [
        ("nothing", "the first of this queue: 1 uncertain"),
        ("copy", "of a copy or a restored backup: 1 uncertain"),
        ("clean_stop", "after a clean stop: 1 uncertain"),
        ("crash", "after a crash or a kill: 1 uncertain"),
    ] {
        let clean = format!(r#""clean_stop": {}, "after": "{after}""#, after != "crash");
        let status = TROUBLED.replace(r#""clean_stop": false"#, &clean);
        let shown = fake(&status, r#"{"data": []}"#).run(&["status"]).out;
        assert!(shown.contains(&format!("last start  {text}")), "{after}: {shown}");
    }
}

#[test]
fn the_accounts_alone_are_for_programs() {
    let rows = "\
acc_1\tactive\tgap\t2026-11-22T09:21:12.000Z\t118\t2026-11-22T08:00:00.000Z\t2026-11-22T09:20:50.000Z\t40/40 new_chat 24h
acc_2\tdown\taccount_disconnected\ta person\t1\t2026-11-22T10:21:00.000Z\t2026-11-21T09:00:00.000Z\t12/100 24h
acc_3\tactive\t-\t-\t0\t-\t-\tno cap
";
    one("GET /v1/accounts", 200, ACCOUNTS, &["status", "--accounts"]).1.is(0, rows, "");
    let ran = one("GET /v1/accounts", 200, ACCOUNTS, &["status", "--accounts", "--json"]).1;
    ran.is(0, &format!("{ACCOUNTS}\n"), "");
    let hint = "no accounts; one appears with its first message\n";
    one("GET /v1/accounts", 200, r#"{"data": []}"#, &["status", "--accounts"]).1.is(0, "", hint);
}

#[test]
fn one_account_with_all_that_is_known() {
    let down = r#"{"id": "acc_2", "standing": "down", "reason": "account_disconnected", "why": "It is disconnected.", "actor": "operator",
        "until": null, "waits_for": "person", "paused": {"since": "2026-11-22T09:00:00.000Z", "until": "2026-11-23T08:00:00.000Z", "note": null},
        "down": {"cause": "disconnected", "since": "2026-11-22T09:00:00.000Z", "problem": "sign in again"},
        "hold": {"reason": "cooldown", "until": "2026-11-23T09:00:00.000Z"}, "next_call_at": "2026-11-22T09:00:20.000Z",
        "last_call_at": "2026-11-22T09:00:00.000Z", "last_sent_at": null, "oldest_due_at": null, "counts": {"queued": 1, "uncertain": 1}}"#;
    let shown = "\
account    acc_2
state      down
why        It is disconnected. (account_disconnected)
who acts   operator
next       a person
paused     since 2026-11-22 10:00:00 Europe/Berlin until 2026-11-23 09:00:00 Europe/Berlin
down       disconnected since 2026-11-22 10:00:00 Europe/Berlin: sign in again
rests      cooldown until 2026-11-23 10:00:00 Europe/Berlin
messages   1 queued, 1 uncertain
last call  2026-11-22 10:00:00 Europe/Berlin
next call  not before 2026-11-22 10:00:20 Europe/Berlin

next: fix the account at Unipile, then run `outboxd resume acc_2`
";
    let (asked, ran) = one("GET /v1/accounts/acc_2", 200, down, &["status", "acc_2"]);
    ran.is(0, shown, "");
    assert_eq!((asked.len(), asked[0].what.as_str()), (1, "GET /v1/accounts/acc_2"));
    let ran = one("GET /v1/accounts/acc_2", 200, down, &["status", "acc_2", "--json"]).1;
    ran.is(0, &format!("{down}\n"), "");
    for (state, step) in [
        (r#""paused": {"note": "x"}"#, "`outboxd resume a` goes on"),
        (
            r#""hold": {"reason": "cooldown"}"#,
            "wait (cooldown); `outboxd resume a --lift-hold` ends the rest early, at the risk of the account",
        ),
    ] {
        let account = format!(r#"{{"id": "a", "standing": "paused", {state}}}"#);
        let (_, ran) = one("GET /v1/accounts/a", 200, &account, &["status", "a"]);
        assert!(ran.out.ends_with(&format!("\n\nnext: {step}\n")), "{}", ran.out);
    }
}

#[test]
fn every_account_is_asked_for_page_by_page() {
    let page = |ids: [&str; 2], next: &str| {
        let rows =
            ids.map(|id| format!(r#"{{"id": "{id}", "standing": "active", "counts": {{}}}}"#)).join(", ");
        format!(r#"{{"data": [{rows}], "next_cursor": {next}}}"#)
    };
    let all = Answers::default()
        .on("GET /v1/accounts", 200, &page(["acc_1", "acc_2"], r#""none:acc_2""#))
        .on("GET /v1/accounts", 200, &page(["acc_3", "acc_4"], "null"))
        .start();
    let ran = all.run(&["status", "--accounts"]);
    assert_eq!(
        ran.out.lines().map(|line| line.split('\t').next().unwrap()).collect::<Vec<_>>(),
        ["acc_1", "acc_2", "acc_3", "acc_4"]
    );
    let asked: Vec<String> = all.asked().into_iter().map(|asked| asked.what).collect();
    assert_eq!(
        asked,
        ["GET /v1/accounts?sort=id&limit=500", "GET /v1/accounts?sort=id&limit=500&cursor=none%3Aacc_2"]
    );
    // The overview requests one page and says that there is more.
    let first = page(["acc_1", "acc_2"], r#""none:acc_2""#);
    let once = fake(CALM, &first);
    let ran = once.run(&["status"]);
    assert!(
        ran.out.ends_with("the first 2 of 2; `outboxd status --accounts` shows every one\n"),
        "{}",
        ran.out
    );
    assert_eq!(once.asked().len(), 2);
}
