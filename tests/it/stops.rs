//! Stops of a person, a chat or a campaign, and the suppression list, by every door (P5).

use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, enqueue, eventually, quiet, run, texts};

async fn explain(daemon: &Daemon, id: &str) -> (String, Value) {
    let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
    (explained["reason"].as_str().unwrap_or_default().to_owned(), explained["waits_for"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppressed_person_gets_nothing_by_any_door() {
    let (env, daemon) = quiet().await;
    let theirs = enqueue(&daemon, json!({"users_ids": "U1", "text": "to U1"})).await;
    let group = enqueue(&daemon, json!({"users_ids": ["U2", "U1"], "name": "both", "text": "to both"})).await;
    let other_account =
        enqueue(&daemon, json!({"account_id": "acc_2", "users_ids": "U1", "text": "from acc_2"})).await;
    let another = enqueue(&daemon, json!({"users_ids": "U2", "text": "to U2"})).await;
    let (ok, said) = run(env.outboxd(&["suppress", "add", "U1", "--note", "asked us"]), "");
    assert!(ok && said.contains("person U1 is suppressed; queued messages cancelled: 3"), "{said}");
    for id in [&theirs, &group, &other_account] {
        let message = daemon.becomes(id, "cancelled").await;
        assert_eq!(message["reason"], "suppressed", "{message}");
    }

    let hello = json!({"account_id": "acc_1", "users_ids": "U1", "text": "again"}).to_string();
    let (code, refused) = daemon.post("/v1/messages", &hello).await;
    assert_eq!((code, &refused["error"]["code"]), (409, &json!("suppressed")), "{refused}");
    let (_, batch) = daemon.post("/v1/messages", &format!("[{hello}]")).await;
    assert_eq!(batch["results"][0]["error"]["code"], "suppressed", "{batch}");
    let both = json!({"account_id": "acc_3", "users_ids": ["U3", "U1"], "name": "n", "text": "x"});
    assert_eq!(daemon.post("/v1/messages", &both.to_string()).await.0, 409, "a group with the person");
    let insert =
        "INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_1', 'U1', 'by SQL') RETURNING id";
    let row = daemon.becomes(&env.sql(insert)[0], "rejected").await;
    assert_eq!(row["reason"], "suppressed", "{row}");
    std::fs::write(env.path("rows.ndjson"), format!("{hello}\n")).expect("written");
    let (ok, said) = run(env.outboxd(&["forecast", "--with", "rows.ndjson"]), "");
    assert!(!ok && said.contains("suppression list"), "{said}");

    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    assert_eq!(texts(&env.delivered(1).await), ["to U2"]);
    daemon.becomes(&another, "sent").await;
    let (ok, said) = run(env.outboxd(&["suppress", "check", "U1"]), "");
    assert!(ok && said.contains("suppressed on every account"), "{said}");
    let (_, said) = run(env.outboxd(&["suppress", "list"]), "");
    assert!(said.starts_with("person\tU1\tall\tsuppressed\tno end\t") && said.contains("asked us"), "{said}");
    let (ok, _) = run(env.outboxd(&["suppress", "remove", "U1"]), "");
    assert!(ok);
    assert_eq!(daemon.post("/v1/messages", &hello).await.0, 201);
    daemon.stop().await;
}

/// A wish in a chat of which outboxd does not know whose it is suppresses the person and the chat.
#[tokio::test(flavor = "multi_thread")]
async fn what_lifts_a_stop_names_the_stops_that_remain() {
    let env = crate::webhooks_heard::hearing().await;
    let daemon = env.serve().await;
    let wish = json!({"id": "m1", "chat_id": "c9", "sender_id": "U9", "is_sender": false, "text": "STOP"});
    env.sandbox.world().raise("acc_1", "message.new", wish);
    assert!(eventually(async || env.sql("SELECT key FROM stops ORDER BY key") == ["U9", "c9"]).await);
    let chat = "still stopped: chat c9 (suppressed, on every account); to lift it: outboxd suppress remove --chat c9\n";
    let person =
        "still stopped: person U9 (suppressed, on every account); to lift it: outboxd suppress remove U9\n";
    let (ok, said) = run(env.outboxd(&["go", "--person", "U9"]), "");
    assert!(ok, "{said}");
    assert_eq!(said, format!("person U9: stops lifted: 0; queued messages released: 0\n{person}{chat}"));
    let (_, said) = run(env.outboxd(&["stop", "--chat", "c9"]), "");
    let (ok, lifted) = run(env.outboxd(&["go", "--chat", "c9"]), "");
    assert!(ok && lifted.contains(chat) && lifted.contains(person), "{said} {lifted}");
    let (ok, said) = run(env.outboxd(&["suppress", "remove", "U9"]), "");
    assert!(ok, "{said}");
    assert_eq!(said, format!("person U9 is no longer on the list\n{chat}"));
    let (_, lifted) = daemon.post("/v1/go", r#"{"scope": "person", "key": "U9"}"#).await;
    assert_eq!((&lifted["stops"], &lifted["remaining"][0]["key"]), (&json!(0), &json!("c9")), "{lifted}");
    let (ok, said) = run(env.outboxd(&["suppress", "remove", "--chat", "c9"]), "");
    assert!(ok, "{said}");
    assert_eq!(said, "chat c9 may be written to again\n");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_with_a_suppressed_person_is_closed_from_the_moment_that_it_is_known() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let first = enqueue(&daemon, json!({"users_ids": "U1", "text": "first"})).await;
    let sent = daemon.becomes(&first, "sent").await;
    daemon.post("/v1/pause", "").await;
    let chat = &sent["chat_id"];
    let second = enqueue(&daemon, json!({"chat_id": chat, "text": "second"})).await;
    let (code, stopped) =
        daemon.post("/v1/stops", r#"{"scope": "person", "key": "U1", "reason": "suppressed"}"#).await;
    assert_eq!((code, &stopped["messages"]), (200, &json!(1)), "{stopped}");
    assert_eq!(daemon.becomes(&second, "cancelled").await["reason"], "suppressed");
    let third = json!({"account_id": "acc_1", "chat_id": chat, "text": "third"});
    let (code, refused) = daemon.post("/v1/messages", &third.to_string()).await;
    assert_eq!((code, &refused["error"]["code"]), (409, &json!("suppressed")), "{refused}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_for_a_chat_joins_its_user_when_the_answer_to_a_send_names_the_chat() {
    let env = TestEnv::new().await.hasty();
    env.sandbox.world().add_chat_with_user("acc_1", "U1", "c1");
    let daemon = env.serve().await;
    let later = "2999-01-01T00:00:00Z";
    let waiting = enqueue(&daemon, json!({"chat_id": "c1", "text": "later", "not_before": later})).await;
    let first = enqueue(&daemon, json!({"users_ids": "U1", "text": "first"})).await;
    daemon.becomes(&first, "sent").await;
    assert_eq!(env.sql("SELECT DISTINCT thread FROM messages"), ["user:U1"]);
    daemon.post("/v1/stops", r#"{"scope": "person", "key": "U1", "reason": "suppressed"}"#).await;
    assert_eq!(daemon.becomes(&waiting, "cancelled").await["reason"], "suppressed");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_person_waits_while_the_rest_of_the_campaign_goes_on() {
    let (env, daemon) = quiet().await;
    let mut ids = Vec::new();
    for n in 1..=3 {
        let message = json!({"users_ids": format!("U{n}"), "text": format!("to U{n}"), "campaign": "autumn"});
        ids.push(enqueue(&daemon, message).await);
    }
    let (ok, said) = run(env.outboxd(&["stop", "--person", "U1", "--note", "on the phone"]), "");
    assert!(ok && said.contains("queued messages that wait for it: 1"), "{said}");
    assert!(said.contains("person U1 is stopped until `outboxd go --person U1`"), "{said}");
    daemon.post("/v1/resume", "").await;
    assert_eq!(texts(&env.delivered(2).await), ["to U2", "to U3"]);
    assert_eq!(explain(&daemon, &ids[0]).await, ("stopped".to_owned(), json!("person")));
    // What is queued while the stop is in force waits as well.
    let later = enqueue(&daemon, json!({"users_ids": "U1", "text": "one more", "allow_repeat": true})).await;
    let last = enqueue(&daemon, json!({"users_ids": "U4", "text": "to U4"})).await;
    daemon.becomes(&last, "sent").await;
    assert_eq!(explain(&daemon, &later).await.0, "stopped");
    let (_, listed) = run(env.outboxd(&["stop", "--list"]), "");
    assert!(listed.starts_with("person\tU1\tall\tstopped\tno end\t") && listed.contains("on the phone"));
    let (ok, said) = run(env.outboxd(&["go", "--person", "U1"]), "");
    assert!(ok && said.contains("person U1 goes on"), "{said}");
    daemon.becomes(&ids[0], "sent").await;
    daemon.becomes(&later, "sent").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_campaign_holds_no_other_and_survives_a_restart() {
    let (env, daemon) = quiet().await;
    let mut of_autumn = Vec::new();
    for n in 1..=5 {
        let message = json!({"users_ids": format!("U{n}"), "text": "autumn", "campaign": "autumn"});
        of_autumn.push(enqueue(&daemon, message).await);
    }
    let winter = enqueue(&daemon, json!({"users_ids": "W1", "text": "winter", "campaign": "winter"})).await;
    let until = "2999-01-01T00:00:00.000Z";
    let body = json!({"scope": "campaign", "key": "autumn", "until": until});
    let (code, stopped) = daemon.post("/v1/stops", &body.to_string()).await;
    assert_eq!((code, &stopped["messages"]), (200, &json!(5)), "{stopped}");
    daemon.post("/v1/resume", "").await;
    daemon.becomes(&winter, "sent").await;
    daemon.kill();
    let daemon = env.serve().await;
    let late = enqueue(&daemon, json!({"users_ids": "U9", "text": "autumn", "campaign": "autumn"})).await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{late}/explain")).await;
    assert_eq!(
        (&explained["reason"], &explained["until"]),
        (&json!("stopped"), &json!(until)),
        "{explained}"
    );
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["winter"]);
    let (_, lifted) = daemon.post("/v1/go", r#"{"scope": "campaign", "key": "autumn"}"#).await;
    assert_eq!(lifted["stops"], 1, "{lifted}");
    for id in of_autumn.iter().chain([&late]) {
        daemon.becomes(id, "sent").await;
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_another_program_inserts_is_in_force_at_once() {
    let (env, daemon) = quiet().await;
    let never = enqueue(&daemon, json!({"users_ids": "U1", "text": "never"})).await;
    let waits = enqueue(&daemon, json!({"users_ids": "U2", "text": "waits", "campaign": "autumn"})).await;
    let goes = enqueue(&daemon, json!({"users_ids": "U3", "text": "goes"})).await;
    env.sql("INSERT INTO stops (scope, key, reason) VALUES ('person', 'U1', 'suppressed'), ('campaign', 'autumn', 'stopped') RETURNING key");
    daemon.post("/v1/resume", "").await;
    assert_eq!(daemon.becomes(&never, "cancelled").await["reason"], "suppressed");
    daemon.becomes(&goes, "sent").await;
    assert_eq!(explain(&daemon, &waits).await, ("stopped".to_owned(), json!("person")));
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["goes"]);
    let (_, stops) = daemon.get("/v1/stops").await;
    assert_eq!((&stops["data"][0]["actor"], &stops["data"][1]["scope"]), (&json!("sql"), &json!("campaign")));
    env.sql("DELETE FROM stops WHERE scope = 'campaign' RETURNING key");
    daemon.becomes(&waits, "sent").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_that_another_program_deletes_ends_at_once() {
    let (env, daemon) = quiet().await;
    let first = enqueue(&daemon, json!({"users_ids": "U1", "text": "first"})).await;
    assert_eq!(explain(&daemon, &first).await, ("daemon_paused".to_owned(), json!("person")));
    env.sql("DELETE FROM stops WHERE scope = 'all' RETURNING reason");
    daemon.becomes(&first, "sent").await;
    env.sql(
        "INSERT INTO stops (scope, key, reason) VALUES ('account', 'acc_1', 'account_paused') RETURNING key",
    );
    let second = enqueue(&daemon, json!({"users_ids": "U2", "text": "second"})).await;
    assert_eq!(explain(&daemon, &second).await, ("account_paused".to_owned(), json!("person")));
    env.sql("DELETE FROM stops WHERE scope = 'account' RETURNING key");
    daemon.becomes(&second, "sent").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_a_stop_that_programs_can_set_and_that_the_list_shows() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let first = enqueue(&daemon, json!({"users_ids": "U1", "text": "first"})).await;
    daemon.becomes(&first, "sent").await;
    env.sql("INSERT INTO stops (scope, key, reason, note) VALUES ('account', 'acc_1', 'account_paused', 'by a program') RETURNING key");
    let waits = enqueue(&daemon, json!({"users_ids": "U2", "text": "waits"})).await;
    let other = enqueue(&daemon, json!({"users_ids": "U3", "text": "goes", "account_id": "acc_2"})).await;
    daemon.becomes(&other, "sent").await;
    assert_eq!(explain(&daemon, &waits).await, ("account_paused".to_owned(), json!("person")));
    let (_, shown) = daemon.get("/v1/accounts/acc_1").await;
    assert_eq!(shown["paused"]["note"], "by a program", "{shown}");
    let (_, listed) = run(env.outboxd(&["stop", "--list"]), "");
    assert!(listed.starts_with("account\tacc_1\tall\taccount_paused\tno end\t"), "{listed}");
    let of_other = daemon.get("/v1/stops?account_id=acc_2").await.1;
    assert_eq!(of_other["data"], json!([]), "the other account is not paused");
    // Each scope has its reason, and everything has no key.
    for wrong in
        ["'account', 'acc_1', 'stopped'", "'person', 'U1', 'account_paused'", "'all', 'x', 'daemon_paused'"]
    {
        let sql = format!("INSERT INTO stops (scope, key, reason) VALUES ({wrong})");
        let connection = rusqlite::Connection::open(env.database()).expect("the queue");
        assert!(connection.execute(&sql, []).is_err(), "{wrong}");
    }
    let (code, refused) = daemon.post("/v1/stops", r#"{"scope": "account", "key": "acc_1"}"#).await;
    assert_eq!((code, &refused["error"]["field"]), (422, &json!("scope")), "{refused}");
    let (ok, said) = run(env.outboxd(&["resume", "acc_1"]), "");
    assert!(ok, "{said}");
    daemon.becomes(&waits, "sent").await;
    let kinds =
        env.sql("SELECT kind FROM events WHERE account_id = 'acc_1' AND kind LIKE 'account.%' ORDER BY seq");
    assert_eq!(kinds, ["account.paused", "account.resumed"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_or_an_account_that_no_message_has_is_named() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    enqueue(&daemon, json!({"users_ids": "U1", "text": "hello", "campaign": "autumn"})).await;
    let unknown =
        "error: there is no campaign: autum; a campaign exists from its first message on; check the label\n";
    for command in [
        &["campaign", "cancel", "autum"][..],
        &["cancel", "--campaign", "autum"],
        &["hold", "--campaign", "autum", "--dry-run"],
        &["move", "--campaign", "autum", "--to", "acc_2"],
    ] {
        let (ok, said) = run(env.outboxd(command), "");
        assert!(!ok && said.ends_with(unknown), "{command:?}: {said}");
    }
    let (ok, said) = run(env.outboxd(&["cancel", "--account", "acc_11"]), "");
    assert!(!ok && said.contains("error: there is no account: acc_11; "), "{said}");
    // A stop can be set before the first message.
    let warned =
        "no message has the campaign autum yet: the stop holds those that will have it; check the label\n";
    let (ok, said) = run(env.outboxd(&["campaign", "pause", "autum"]), "");
    assert!(ok && said.contains(warned), "{said}");
    let warned = "there is no account acc_11 yet: the stop holds for what it will send; check the id\n";
    std::fs::write(env.path("list.txt"), "U7\n").unwrap();
    for (command, told) in [
        (&["stop", "--person", "U8", "--account", "acc_11"][..], "person U8 on acc_11 is stopped"),
        (&["stop", "--chat", "c8", "--account", "acc_11"], "chat c8 on acc_11 is stopped"),
        (&["suppress", "add", "U9", "--account", "acc_11"], "person U9 is suppressed on acc_11; queued"),
        (&["suppress", "import", "list.txt", "--account", "acc_11"], "people suppressed: 1;"),
    ] {
        let (ok, said) = run(env.outboxd(command), "");
        assert!(ok && said.contains(warned) && said.contains(told), "{command:?}: {said}");
    }
    let (ok, said) = run(env.outboxd(&["suppress", "add", "U9", "--account", "acc_1"]), "");
    assert!(ok && said.contains("suppressed on acc_1;") && !said.contains("check the id"), "{said}");
    let (ok, said) =
        run(env.outboxd(&["review", "--reason", "stale", "drop", "--campaign", "autum", "--dry-run"]), "");
    assert!(!ok && said.ends_with(unknown), "{said}");
    let (ok, said) =
        run(env.outboxd(&["review", "--reason", "stale", "drop", "--campaign", "autumn", "--yes"]), "");
    assert!(ok && said.starts_with("0 messages of the campaign autumn that are in review"), "{said}");
    for known in [
        &["campaign", "pause", "autumn"][..],
        &["campaign", "cancel", "autumn"],
        &["hold", "--campaign", "autumn"],
    ] {
        let (ok, said) = run(env.outboxd(known), "");
        assert!(ok && !said.contains("check the label"), "{known:?}: {said}");
    }
    daemon.stop().await;
}

/// Checks that a forecast of a campaign counts no other messages, and refuses a label that no message has.
async fn only_one_label(env: &TestEnv, daemon: &Daemon, tomorrow: &str) {
    let (ok, said) = run(env.outboxd(&["forecast", "--campaign", "autum"]), "");
    assert!(!ok && said.contains("there is no campaign: autum"), "{said}");
    let other = json!({"users_ids": "U9", "text": "other", "campaign": "winter", "not_before": tomorrow});
    enqueue(daemon, other).await;
    let (ok, said) = run(env.outboxd(&["forecast", "--campaign", "winter"]), "");
    assert!(ok && said.contains("acc_1: 1 message, ") && said.contains("campaign winter: "), "{said}");
    let (ok, said) = run(env.outboxd(&["forecast", "--campaign", "autumn"]), "");
    assert!(ok && said.contains("acc_1: 2 of 7 messages, ") && !said.contains("winter"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forecast_counts_out_what_waits_for_a_person() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let tomorrow = SystemClock::new().now() + Duration::from_secs(24 * 3600);
    let mut first = Vec::new();
    for user in ["U1", "U2", "U3"] {
        let mut rows =
            [json!({"step": 1, "not_before": tomorrow.to_string()}), json!({"step": 2, "wait": "1 hour"})];
        for row in &mut rows {
            (row["account_id"], row["users_ids"], row["campaign"]) =
                (json!("acc_1"), json!(user), json!("autumn"));
            row["text"] = json!(format!("step {} to {user}", row["step"]));
        }
        let (_, stored) = daemon.post("/v1/messages", &json!(rows).to_string()).await;
        first.push(stored["results"].clone());
    }
    daemon.post("/v1/stops", r#"{"scope": "person", "key": "U2"}"#).await;
    let held = first[2][0]["id"].as_str().expect("an id");
    assert!(run(env.outboxd(&["hold", held]), "").0);
    // Queued under the stop, and not reached by it yet.
    let late =
        json!({"users_ids": "U2", "text": "late", "campaign": "autumn", "not_before": tomorrow.to_string()});
    enqueue(&daemon, late.clone()).await;
    let waiting = |forecast: &Value| {
        let row = |one: &Value| (one["reason"].clone(), one["needs_person"].clone(), one["messages"].clone());
        let rows = forecast["campaigns"][0]["waiting"].as_array().expect("rows");
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let expected = |stopped: u64| {
        [("stopped", stopped), ("held", 1), ("step_before", 1)]
            .map(|(reason, messages)| (json!(reason), json!(true), json!(messages)))
    };
    let (_, forecast) = daemon.get("/v1/forecast?campaign=autumn").await;
    assert_eq!(waiting(&forecast), expected(3), "{forecast}");
    assert_eq!(
        (&forecast["campaigns"][0]["sent"], &forecast["campaigns"][0]["done"]),
        (&json!(2), &json!(false))
    );
    let mut supposed = late;
    (supposed["text"], supposed["account_id"]) = (json!("later"), json!("acc_1"));
    let (_, forecast) = daemon.post("/v1/forecast?campaign=autumn", &supposed.to_string()).await;
    assert_eq!(waiting(&forecast), expected(4), "{forecast}");

    let (_, shown) = run(env.outboxd(&["campaign", "show", "autumn"]), "");
    assert!(shown.contains("2 of 7 messages done by "), "{shown}");
    let why = "3 wait for a person: A stop of the person, the chat or the campaign holds it (stopped)";
    let in_lines = |why: &str| why.replacen(": ", ":\n  ", 1);
    assert!(shown.contains(&in_lines(why)), "{shown}");
    assert!(shown.contains(&in_lines("1 waits for a person: It is held")), "{shown}");
    let (_, said) = run(env.outboxd(&["forecast", "--account", "acc_1"]), "");
    assert!(said.contains("acc_1: 2 of 7 messages, the last one goes at ") && said.contains(why), "{said}");
    only_one_label(&env, &daemon, &tomorrow.to_string()).await;
    let page = env.client().get("http://localhost/campaigns/autumn").send().await.expect("an answer");
    let page = page.text().await.expect("a page");
    assert!(
        page.contains("2 of 7 go within 30 days, the last by ") && page.contains("3 for a person: "),
        "{page}"
    );
    let behind = first[2][1]["id"].as_str().expect("an id");
    assert_eq!(explain(&daemon, behind).await, ("step_before".to_owned(), json!("person")));
    daemon.stop().await;
}

/// A stop without an end is lifted while another one, with an end, holds the same message: it goes when that one ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_has_an_end_although_one_of_its_messages_expires() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let tomorrow = SystemClock::new().now() + Duration::from_secs(24 * 3600);
    let mut rows = Vec::new();
    for n in 0..3 {
        rows.push(json!({"account_id": "acc_1", "users_ids": format!("U{n}"), "text": format!("text {n}"),
             "campaign": "autumn", "step": 1, "not_before": tomorrow.to_string()}));
    }
    rows[2]["expires_at"] = json!((tomorrow + Duration::from_millis(1)).to_string());
    rows[2]["priority"] = json!(-100);
    let (status, stored) = daemon.post("/v1/messages", &json!(rows).to_string()).await;
    assert_eq!(status, 200, "{stored}");
    let (_, campaign) = daemon.get("/v1/campaigns/autumn?done_by=true").await;
    assert!(campaign["done_by"].is_string(), "{campaign}");
    let (_, shown) = run(env.outboxd(&["campaign", "show", "autumn"]), "");
    assert!(shown.contains("2 of 3 messages done by "), "{shown}");
    assert!(shown.contains("1 is not sent:\n  It expires before its turn (expired)"), "{shown}");
    let (_, said) = run(env.outboxd(&["forecast", "--campaign", "autumn"]), "");
    assert!(said.contains("2 of 3 messages, the last one goes at "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_waits_no_longer_than_the_stop_that_is_left() {
    let (env, daemon) = quiet().await;
    let id = enqueue(&daemon, json!({"users_ids": "U1", "text": "hello", "campaign": "autumn"})).await;
    let late = enqueue(&daemon, json!({"users_ids": "U2", "text": "late", "campaign": "autumn"})).await;
    daemon.post("/v1/stops", r#"{"scope": "campaign", "key": "autumn"}"#).await;
    let until = SystemClock::new().now() + std::time::Duration::from_secs(5);
    let of_person = json!({"scope": "person", "key": "U1", "until": until.to_string()}).to_string();
    assert_eq!(daemon.post("/v1/stops", &of_person).await.0, 200);
    let tomorrow = SystemClock::new().now() + std::time::Duration::from_secs(86_400);
    let of_person = json!({"scope": "person", "key": "U2", "until": tomorrow.to_string()}).to_string();
    assert_eq!(daemon.post("/v1/stops", &of_person).await.0, 200);
    let (_, lifted) = daemon.post("/v1/go", r#"{"scope": "campaign", "key": "autumn"}"#).await;
    assert_eq!((&lifted["stops"], &lifted["messages"]), (&json!(1), &json!(0)), "{lifted}");
    daemon.post("/v1/resume", "").await;
    daemon.becomes(&id, "sent").await;
    assert!(SystemClock::new().now() >= until);
    assert_eq!(explain(&daemon, &late).await, ("stopped".to_owned(), json!("time")));
    // A queue in which a message waits longer than its stop is put right by the next start.
    env.sql("UPDATE messages SET retry_at = '9999-12-30T22:00:00.999Z', revision = revision + 1 WHERE state = 'queued' RETURNING id");
    daemon.kill();
    let daemon = env.serve().await;
    let retry_at = env.sql("SELECT retry_at FROM messages WHERE state = 'queued'");
    assert_eq!(retry_at, [outboxd::domain::time_text(tomorrow)]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_daemon_had_not_released_goes_on_after_the_start() {
    let (env, daemon) = quiet().await;
    let id = enqueue(&daemon, json!({"users_ids": "U1", "text": "hello"})).await;
    daemon.post("/v1/stops", r#"{"scope": "person", "key": "U1"}"#).await;
    daemon.post("/v1/resume", "").await;
    daemon.kill();
    // As if it had ended between the two transactions of `go`.
    env.sql("DELETE FROM stops RETURNING '' || id");
    let daemon = env.serve().await;
    daemon.becomes(&id, "sent").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_makes_no_sense_is_refused_with_every_fault() {
    let (env, daemon) = quiet().await;
    for (body, field) in [
        (json!({"scope": "persons", "key": "U1"}), "scope"),
        (json!({"scope": "person", "key": " "}), "key"),
        (json!({"scope": "person", "key": "NULL"}), "key"),
        (json!({"scope": "person", "key": "https://www.linkedin.com/company/acme/"}), "key"),
        (json!({"scope": "person", "key": "urn:li:member:12345"}), "key"),
        (json!({"scope": "campaign"}), "key"),
        (json!({"scope": "person", "key": "U1", "account_id": "1"}), "account_id"),
        (json!({"scope": "person", "key": "U1", "until": "2020-01-01T00:00:00Z"}), "until"),
        (json!({"scope": "person", "key": "U1", "until": "soon"}), "until"),
        (json!({"scope": "person", "key": "U1", "for": "-1h"}), "for"),
        (json!({"scope": "person", "key": "U1", "reason": "replied"}), "reason"),
        (json!({"scope": "person", "key": "U1", "reason": "suppressed", "for": "1d"}), "until"),
        (json!({"scope": "person", "key": "U1", "who": "me"}), "who"),
    ] {
        let (code, refused) = daemon.post("/v1/stops", &body.to_string()).await;
        assert_eq!((code, &refused["error"]["field"]), (422, &json!(field)), "{body}: {refused}");
    }
    let (code, rows) = daemon
        .post("/v1/stops", r#"[{"scope": "person", "key": "U1"}, {"scope": "person", "key": "a b"}, 7]"#)
        .await;
    assert_eq!((code, &rows["accepted"], &rows["refused"]), (200, &json!(1), &json!(2)), "{rows}");
    assert_eq!(env.sql("SELECT key FROM stops WHERE scope <> 'all'"), ["U1"]);
    assert_eq!(daemon.post("/v1/go", r#"{"scope": "person", "key": "U7"}"#).await.1["stops"], 0);
    let (ok, said) = run(env.outboxd(&["stop"]), "");
    assert!(!ok && said.contains("say what to stop"), "{said}");
    std::fs::write(env.path("people.csv"), "user_id,why\nU5,asked\nnull,x\nU6\n").expect("written");
    let (ok, said) = run(env.outboxd(&["suppress", "import", "people.csv"]), "");
    assert!(!ok && said.contains("error: line 3: \"null\" is not a user id"), "{said}");
    assert!(said.contains("people suppressed: 2; queued messages cancelled: 0; rows refused: 1"), "{said}");
    std::fs::write(env.path("crm.csv"), "first_name,last_name,linkedin_url\nJane,Doe,linkedin.com/in/jane\n")
        .expect("written");
    let (ok, said) = run(env.outboxd(&["suppress", "import", "crm.csv"]), "");
    assert!(ok && said.contains("people suppressed: 1"), "{said}");
    assert_eq!(env.sql("SELECT key FROM stops WHERE reason = 'suppressed'"), ["U5", "U6", "in/jane"]);
    let (ok, said) = run(env.outboxd(&["suppress", "import", "-"]), "first_name,last_name\nJane,Doe\n");
    assert!(!ok && said.contains("no column names the person; name it `user_id`"), "{said}");
    daemon.stop().await;
}

/// Stops of an older version that name a person by a word or an address hold the profile after the upgrade.
#[tokio::test(flavor = "multi_thread")]
async fn stops_of_an_older_version_hold_their_people_after_the_upgrade() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_PEOPLE_RESOLVE", "true");
    env.serve().await.stop().await;
    for sql in [
        "DELETE FROM _sqlx_migrations WHERE version = 11",
        "DROP TRIGGER stops_word_lifted",
        "DROP TRIGGER stops_single_key",
        "DROP TRIGGER stops_writer",
        "INSERT INTO stops (scope, key, reason, actor, note) VALUES ('person', 'kim-7c2', 'suppressed', 'operator', 'by phone'), \
           ('person', 'KIM-7c2', 'suppressed', 'operator', NULL), ('person', 'ACoAB12', 'suppressed', 'operator', NULL), \
           ('person', 'https://www.linkedin.com/in/Jane-Doe/?trk=x', 'suppressed', 'operator', NULL)",
    ] {
        env.sql(sql);
    }
    let daemon = env.serve().await;
    let stored =
        env.sql("SELECT key || ' ' || coalesce(note, '-') FROM stops WHERE key GLOB 'in/*' ORDER BY key");
    assert_eq!(stored, ["in/jane-doe -", "in/kim-7c2 by phone"]);
    for name in ["kim-7c2", "jane-doe"] {
        let body = json!({"account_id": "acc_1", "users_ids": format!("https://www.linkedin.com/in/{name}/"), "text": "x"});
        let (status, answer) = daemon.post("/v1/messages", &body.to_string()).await;
        assert_eq!(status, 409, "{name}: {answer}");
    }
    daemon.stop().await;
}

/// Accounts that one deletion, or the end of one stop, frees together do not all send at once.
#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_are_freed_together_do_not_all_send_at_once() {
    let env = TestEnv::new().await.hasty();
    let env = env.set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "2s").set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "3s");
    let daemon = env.serve().await;
    let (ok, said) = run(env.outboxd(&["stop", "--campaign", "autumn"]), "");
    assert!(ok, "{said}");
    let accounts: Vec<String> = (0..20).map(|n| format!("acc_{n}")).collect();
    for account in &accounts {
        env.sql(&format!(
            "INSERT INTO stops (scope, key, reason) VALUES ('account', '{account}', 'account_paused')"
        ));
        let first = json!({"account_id": account, "users_ids": "U1", "text": "paused"});
        enqueue(&daemon, first).await;
        let held = json!({"account_id": account, "users_ids": "U2", "text": "held", "campaign": "autumn"});
        enqueue(&daemon, held).await;
    }
    let apart = "SELECT CAST(count(*) AS TEXT) || ' ' || coalesce(CAST((julianday(max(t.started_at)) - julianday(min(t.started_at))) * 86400000 AS INTEGER), '') \
         FROM attempts t JOIN messages m USING (seq) WHERE m.text = ";
    for (text, free) in [("paused", "DELETE FROM stops WHERE scope = 'account'"), ("held", "")] {
        if free.is_empty() {
            // Each account is past its gap.
            let left = "SELECT count(*) || '' FROM accounts WHERE next_call_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now')";
            assert!(eventually(async || env.sql(left) == ["0"]).await);
            let (ok, said) = run(env.outboxd(&["go", "--campaign", "autumn"]), "");
            assert!(ok, "{said}");
        } else {
            env.sql(free);
        }
        let sql = format!("{apart} '{text}'");
        let mut found = String::new();
        let sent = eventually(async || {
            found = env.sql(&sql).remove(0);
            found.starts_with("20 ")
        });
        assert!(sent.await, "{text}: {found}");
        let span: u64 = found.trim_start_matches("20 ").parse().expect("a number");
        assert!(span > 500, "{text}: all within {span} ms");
    }
    daemon.stop().await;
}

/// No step looks at a held message, so the watcher must notice the suppression; also one from before the start.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_for_a_person_whom_another_program_suppresses_is_cancelled() {
    let (env, daemon) = quiet().await;
    let held = enqueue(&daemon, json!({"users_ids": "U1", "text": "held"})).await;
    let later = enqueue(&daemon, json!({"users_ids": "U2", "text": "held as well"})).await;
    let stays = enqueue(&daemon, json!({"users_ids": "U3", "text": "stays held"})).await;
    for id in [&held, &later, &stays] {
        let (ok, said) = run(env.outboxd(&["hold", id]), "");
        assert!(ok, "{said}");
    }
    env.sql("INSERT INTO stops (scope, key, reason) VALUES ('person', 'U1', 'suppressed') RETURNING key");
    assert_eq!(daemon.becomes(&held, "cancelled").await["reason"], "suppressed");
    daemon.stop().await;
    env.sql("INSERT INTO stops (scope, key, reason) VALUES ('person', 'U2', 'suppressed') RETURNING key");
    let daemon = env.serve().await;
    assert_eq!(daemon.becomes(&later, "cancelled").await["reason"], "suppressed");
    let (_, message) = daemon.get(&format!("/v1/messages/{stays}")).await;
    assert_eq!(message["state"], "queued");
    daemon.stop().await;
}

/// `suppress import` reads what `suppress export` writes: people and chats, on one account or on all, with their notes.
#[tokio::test(flavor = "multi_thread")]
async fn an_exported_list_can_be_imported() {
    let (env, daemon) = quiet().await;
    for line in [
        &["suppress", "add", "ACoA1", "--note", "asked by mail"][..],
        &["suppress", "add", "ACoA2", "--account", "acc_1"],
        &["suppress", "add", "chat_7", "--chat"],
    ] {
        let (ok, said) = run(env.outboxd(line), "");
        assert!(ok, "{said}");
    }
    let (ok, exported) = run(env.outboxd(&["suppress", "export"]), "");
    assert!(ok && exported.lines().count() == 3, "{exported}");
    let list = "SELECT scope || key || account_id || reason || coalesce(note, '') FROM stops ORDER BY 1";
    let before = env.sql(list);
    daemon.stop().await;
    let (other, other_daemon) = quiet().await;
    let (ok, said) = run(other.outboxd(&["suppress", "import", "-"]), &exported);
    assert!(ok && said.contains("people suppressed: 3;"), "{said}");
    assert_eq!(other.sql(list), before);
    other_daemon.stop().await;
}

/// A stop has the user who set it, by every door.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_says_who_set_it() {
    let (env, daemon) = quiet().await;
    let uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(env.socket()).expect("the socket"));
    let me = format!("uid {uid}");
    enqueue(&daemon, json!({"users_ids": "U9", "text": "x"})).await;
    daemon.post("/v1/accounts/acc_1/pause", "{}").await;
    daemon
        .post("/v1/stops", r#"[{"scope": "person", "key": "U1"}, {"scope": "campaign", "key": "autumn"}]"#)
        .await;
    let browser = crate::dashboard::Browser::of(&env);
    let form = ("application/x-www-form-urlencoded", b"a=b".to_vec());
    assert_eq!(browser.post("/people/U2/stop", form.0, form.1).await.0, 200);
    let (_, list) = daemon.get("/v1/stops").await;
    let stops = list["data"].as_array().expect("stops");
    assert_eq!(stops.len(), 5, "{list}");
    assert!(stops.iter().all(|stop| stop["actor"] == me.as_str()), "{list}");
    let events = "SELECT DISTINCT detail ->> '$.by' FROM events WHERE kind = 'stop.set'";
    assert_eq!(env.sql(events), [me.as_str()]);
    let (_, said) = run(env.outboxd(&["stop", "--list"]), "");
    assert_eq!(said.lines().filter(|line| line.ends_with(&format!("\t{me}"))).count(), 5, "{said}");
    daemon.stop().await;
}

/// The keys that the triggers refuse for `sql` are refused for every user: the triggers do not look at the keys of a user.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_stop_is_checked_whoever_sets_it() {
    let (env, daemon) = quiet().await;
    for (scope, key) in [
        ("person", "NULL"),
        ("chat", "n/a"),
        ("person", "#REF!"),
        ("person", "[object Object]"),
        ("person", "{{user_id}}"),
        ("chat", "<chat>"),
        ("person", "ACoA\u{200b}1"),
        ("campaign", "spring\u{feff}"),
        ("person", "U\u{7}1"),
        ("person", "ACoAAB\u{2026}"),
        ("person", "ACoAAB..."),
        ("person", "https://www.linkedin.com/in/ACoAAB.../"),
        ("person", "https://www.linkedin.com/in/jane-d.../"),
        ("person", "https://www.linkedin.com/in/jane%E2%80%A6"),
        ("person", "https://www.linkedin.com/in/50%25%25"),
        ("person", "Jane Doe"),
        ("person", "https://www.linkedin.com/in/jane/details"),
        ("person", "urn:li:member:1"),
        ("campaign", ".."),
        ("chat", ""),
    ] {
        let body = json!({ "scope": scope, "key": key }).to_string();
        let (code, refused) = daemon.post("/v1/stops", &body).await;
        // The address of a page below a profile names the profile.
        let expected = if key.ends_with("/details") { 200 } else { 422 };
        assert_eq!(code, expected, "{scope} {key:?}: {refused}");
    }
    // A trigger of the schema looks at the keys of `sql` and `operator`: what the door took passes it.
    for row in env.sql("SELECT scope || ' ' || key FROM stops WHERE scope IN ('person', 'chat', 'campaign')")
    {
        let (scope, key) = row.split_once(' ').expect("two words");
        env.sql(&format!(
            "INSERT INTO stops (scope, key, account_id, reason, actor) VALUES ('{scope}', '{key}', 'acc_7', 'stopped', 'operator') RETURNING key"
        ));
    }
    let (_, refused) = daemon.post("/v1/stops", r#"{"scope": "person"}"#).await;
    let told = (&refused["error"]["problem"], &refused["error"]["fix"]);
    let fix = "give the user id, the public name or the address of the profile";
    assert_eq!(told, (&json!("is missing or empty"), &json!(fix)), "{refused}");
    let (_, refused) = daemon.post("/v1/stops", r#"{"scope": "person", "key": "U1,U2"}"#).await;
    assert_eq!(refused["error"]["fix"], "give one id", "an array is no key: {refused}");
    let (_, refused) =
        daemon.post("/v1/messages", r#"{"account_id": "acc_1,acc_2", "users_ids": "U1", "text": "x"}"#).await;
    assert_eq!(refused["error"]["fix"], "give one id", "{refused}");
    daemon.stop().await;
}
