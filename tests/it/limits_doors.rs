//! Budget, policy overrides, forecast and repeated texts, through the whole daemon and the real command line.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::domain::time_text;
use outboxd::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, run};

async fn patch(daemon: &Daemon, account: &str, body: &Value) -> (u16, Value) {
    daemon.patch(&format!("/v1/accounts/{account}/policy"), &body.to_string()).await
}

fn hello(user: &str, text: &str) -> String {
    json!({ "account_id": "acc_1", "users_ids": user, "text": text }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_rules_are_checked_kept_and_in_force_at_once() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/messages", &hello("U1", "one")).await.0, 201);
    env.delivered(1).await;

    let (status, unknown) = patch(&daemon, "acc_nobody", &json!({})).await;
    assert_eq!((status, &unknown["error"]["code"]), (404, &json!("not_found")), "{unknown}");
    for (body, field, problem) in [
        (json!({"caps.al": "5/24h"}), "caps.al", "is not a known key"),
        (json!({"caps.all": "0/24h"}), "caps.all", "would let nothing through"),
        (json!({"zone": "Mars/Base"}), "zone", "is not a known time zone"),
        (json!({"hours.monday": "09:00-18:00"}), "hours.monday", "needs a zone"),
        (json!({"gap.min": 5}), "gap.min", "expected text in quotes, got 5"),
    ] {
        let (status, refused) = patch(&daemon, "acc_1", &body).await;
        let error = &refused["error"];
        assert_eq!((status, error["field"].as_str()), (422, Some(field)), "{refused}");
        assert!(error["problem"].as_str().unwrap().contains(problem) && error["fix"] != "", "{refused}");
    }
    assert_eq!(daemon.get("/v1/accounts/acc_1/policy").await.1["policy"], json!({}), "the old rules stay");

    let (status, changed) = patch(&daemon, "acc_1", &json!({"caps.all": "2/24h"})).await;
    assert_eq!((status, &changed["policy"]), (200, &json!({"caps.all": "2/24h"})), "{changed}");
    for n in 2..=4 {
        assert_eq!(daemon.post("/v1/messages", &hello(&format!("U{n}"), "more")).await.0, 201);
    }
    env.delivered(2).await;
    let (_, budget) = daemon.get("/v1/accounts/acc_1/budget").await;
    let cap = &budget["caps"][0];
    assert_eq!(
        (&cap["cap"], &cap["limit"], &cap["used"], &cap["left"]),
        (&json!("all"), &json!(2), &json!(2), &json!(0))
    );
    let (status, above) = patch(&daemon, "acc_1", &json!({"caps.all": "1/24h"})).await;
    assert_eq!((status, above["error"]["field"].as_str()), (422, Some("caps.all")), "{above}");

    daemon.kill();
    let daemon = env.serve().await;
    let (_, listed) = daemon.get("/v1/messages?state=queued").await;
    for message in listed["data"].as_array().unwrap() {
        assert_eq!(
            (&message["reason"], &message["rule"]),
            (&json!("cap"), &json!("caps.all 2/24h, 2 of 2 used"))
        );
    }
    assert_eq!(
        env.sql("SELECT detail FROM events WHERE kind = 'account.policy'"),
        ["{\"caps.all\":\"2/24h\"}"]
    );
    let (ok, said) = run(env.outboxd(&["budget", "acc_1"]), "");
    assert!(ok && said.contains("all\t24h\t2\t2\t0\t"), "{said}");
    let (ok, said) = run(env.outboxd(&["policy", "acc_1", "caps.all="]), "");
    assert!(ok && said.contains("its rules are those of the configuration"), "{said}");
    env.delivered(4).await;
    daemon.stop().await;
}

/// Checks `explain`: a waiting message shows when it is expected to go, a sent one its history.
async fn explanations(daemon: &Daemon, now: jiff::Timestamp) {
    let (_, listed) = daemon.get("/v1/messages?state=queued").await;
    let id = listed["data"][0]["id"].as_str().unwrap();
    let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
    let expected: jiff::Timestamp = explained["expected_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(expected.duration_since(now).as_hours(), 47, "{explained}");
    let sentence = explained["sentence"].as_str().unwrap();
    assert!(sentence.contains("The rule: caps.new_chat 2/24h, 2 of 2 used."), "{sentence}");
    assert!(sentence.contains("If nothing else comes up, it is sent at about "), "{sentence}");
    let (_, sent) = daemon.get("/v1/messages?state=sent").await;
    let id = sent["data"][0]["id"].as_str().unwrap();
    let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
    let scenario: Vec<&str> =
        explained["story"].as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(
        scenario,
        ["it was put in", "call 1 began", "call 1 ended: accepted", "sent: It reached the provider."]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forecast_tells_when_the_queue_goes_out_also_with_what_is_only_supposed() {
    let env = TestEnv::new().await.set("OUTBOXD_POLICY_DEFAULT_CAPS_NEW_CHAT", "2/24h");
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "{\"until\": \"2999-01-01T00:00:00Z\"}").await.0, 200);
    for n in 1..=5 {
        let mut message: Value = serde_json::from_str(&hello(&format!("U{n}"), "hi")).unwrap();
        message["campaign"] = json!("autumn");
        assert_eq!(daemon.post("/v1/messages", &message.to_string()).await.0, 201);
    }
    let (_, paused) = daemon.get("/v1/forecast?account_id=acc_1&days=30").await;
    assert_eq!(
        (&paused["accounts"][0]["sent"], &paused["accounts"][0]["done"]),
        (&json!(0), &json!(false)),
        "{paused}"
    );
    assert_eq!(paused["messages"][0]["waits_for"], "daemon_paused");
    assert_eq!(paused["accounts"][0]["waiting"][0]["reason"], "daemon_paused", "{paused}");
    let (ok, said) = run(env.outboxd(&["forecast", "--account", "acc_1"]), "");
    assert!(ok && said.contains("5 messages, 0 of them within 30 days; 5 wait: "), "{said}");
    assert!(said.contains("(daemon_paused)"), "the pause is why: {said}");
    assert_eq!(daemon.post("/v1/pause", "{\"until\": null}").await.0, 200);
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    env.delivered(2).await;

    let (status, forecast) = daemon.get("/v1/forecast?account_id=acc_1&days=5").await;
    assert_eq!(status, 200, "{forecast}");
    let account = &forecast["accounts"][0];
    assert_eq!(
        (&account["messages"], &account["sent"], &account["done"]),
        (&json!(3), &json!(3), &json!(true))
    );
    assert_eq!(
        (&forecast["campaigns"][0]["campaign"], &forecast["messages"][2]["campaign"]),
        (&json!("autumn"), &json!("autumn"))
    );
    let at = |place: usize| {
        forecast["messages"][place]["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
    };
    let now: jiff::Timestamp = forecast["now"].as_str().unwrap().parse().unwrap();
    let hours = |place: usize| at(place).duration_since(now).as_hours();
    assert_eq!((hours(0), hours(2)), (23, 47), "two a day: {forecast}");
    let days = account["days"].as_array().unwrap();
    assert!(days.iter().any(|day| day["bound_by"] == "cap"), "{account}");

    std::fs::write(env.path("more.ndjson"), format!("{}\n{}\n", hello("V1", "hi"), hello("V2", "hi")))
        .unwrap();
    let (ok, said) =
        run(env.outboxd(&["forecast", "--account", "acc_1", "--days", "5", "--with", "more.ndjson"]), "");
    assert!(ok && said.contains("acc_1: 5 messages, the last one goes at"), "{said}");
    assert_eq!(env.sql("SELECT count(*) || '' FROM messages"), ["5"], "nothing was queued");
    std::fs::write(env.path("bad.ndjson"), "{\"account_id\": \"acc_1\"}\n").unwrap();
    let (ok, said) = run(env.outboxd(&["forecast", "--with", "bad.ndjson"]), "");
    assert!(!ok && said.contains("error: line 1: "), "{said}");
    explanations(&daemon, now).await;
    let (status, bad) = daemon.get("/v1/forecast?days=0").await;
    assert_eq!((status, &bad["error"]["field"]), (400, &json!("days")));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_text_to_the_same_person_is_refused_unless_it_is_allowed() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let (_, first) = daemon.post("/v1/messages", &hello("U1", "hi")).await;
    let (status, again) = daemon.post("/v1/messages", &hello("U1", "hi")).await;
    assert_eq!(
        (status, &again["error"]["code"], &again["existing_id"]),
        (409, &json!("repeated_text"), &first["id"]),
        "{again}"
    );
    for (body, status) in [
        (hello("U2", "hi"), 201),
        (hello("U1", "something else"), 201),
        (json!({"account_id": "acc_2", "users_ids": "U1", "text": "hi"}).to_string(), 201),
        (
            json!({"account_id": "acc_1", "users_ids": "U1", "text": "hi", "allow_repeat": true}).to_string(),
            201,
        ),
        (json!({"account_id": "acc_1", "users_ids": "U3", "text": "hi", "dedupe_key": "k"}).to_string(), 201),
        (json!({"account_id": "acc_1", "users_ids": "U3", "text": "hi", "dedupe_key": "k"}).to_string(), 200),
        (json!({"account_id": "acc_1", "users_ids": "U3", "text": "hi", "dedupe_key": "l"}).to_string(), 409),
    ] {
        let (got, said) = daemon.post("/v1/messages", &body).await;
        assert_eq!(got, status, "{body}: {said}");
    }
    let chat = json!({"account_id": "acc_1", "chat_id": "c", "text": "thanks"});
    let batch = json!([{"account_id": "acc_1", "users_ids": "U9", "text": "a"}, {"account_id": "acc_1", "users_ids": "U9", "text": "a"}, chat, chat]);
    let (_, verdicts) = daemon.post("/v1/messages", &batch.to_string()).await;
    assert_eq!((&verdicts["accepted"], &verdicts["refused"]), (&json!(3), &json!(1)), "{verdicts}");
    assert_eq!(verdicts["results"][1]["existing_id"], verdicts["results"][0]["id"]);

    let lines = |text: &str| json!({"account_id": "acc_1", "users_ids": "U11", "text": text}).to_string();
    daemon.enqueue(&lines("Hello,\nshall we talk?")).await;
    for again in ["Hello,\r\nshall we talk?\r\n", "Hello,\rshall we talk?"] {
        let (status, said) = daemon.post("/v1/messages", &lines(again)).await;
        assert_eq!(status, 409, "with other line ends: {said}");
    }

    let connection = rusqlite::Connection::open(env.database()).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    connection
        .execute_batch(
            "INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_1', 'U9', 'a'), ('acc_1', 'U10', 'b'), ('acc_1', 'U10', 'b'); \
             INSERT INTO messages (account_id, users_ids, text, allow_repeat) VALUES ('acc_1', 'U9', 'a', 1)",
        )
        .unwrap();
    let settled = crate::daemon::eventually(async || {
        env.sql("SELECT 'x' FROM messages WHERE state = 'new'").is_empty()
    });
    assert!(settled.await);
    let rejected = env.sql("SELECT error FROM messages WHERE state = 'rejected' ORDER BY seq");
    assert_eq!(rejected.len(), 2, "{rejected:?}");
    assert!(rejected[0].starts_with("`text` was queued for this person before, as message "), "{rejected:?}");
    assert!(
        rejected[1].contains("this person") && rejected[1].ends_with("set `allow_repeat` = 1"),
        "{rejected:?}"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn top_tells_in_a_row_what_an_account_does_and_what_went_wrong_last() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_CAPS_ALL", "3/24h");
    let refusal = FaultKind::Error {
        status: 422,
        error_type: "provider/unprocessable_entity".to_owned(),
        title: "Refused".to_owned(),
        detail: "The member is gone.".to_owned(),
        retry_after: None,
        delivered: false,
    };
    env.sandbox.fault(Fault::new(refusal));
    let daemon = env.serve().await;
    let failed = daemon.enqueue(&hello("U1", "one")).await;
    daemon.becomes(&failed, "failed").await;
    for number in 2..=6 {
        daemon.enqueue(&hello(&format!("U{number}"), "more")).await;
    }
    env.delivered(3).await;
    let mut said = String::new();
    let capped = eventually(async || {
        said = run(env.outboxd(&["top"]), "").1;
        said.contains("\tcap\t")
    });
    assert!(capped.await, "{said}");
    let row: Vec<&str> = said.lines().find(|line| line.starts_with("acc_1\t")).unwrap().split('\t').collect();
    assert_eq!((row[1], row[2], row[3]), ("active", "cap", "3/3 24h"), "{said}");
    assert!(row[5].parse::<u64>().is_ok_and(|waiting| waiting > 0), "{said}");
    assert!(row[8].contains("422"), "{said}");
    let (ok, said) = run(env.outboxd(&["top", "--json", "--limit", "1"]), "");
    let told: Value = serde_json::from_str(&said).unwrap();
    assert!(ok && told["data"][0]["last_error"].as_str().unwrap().contains("422"), "{told}");
    let (ok, said) = run(env.outboxd(&["top", "--every", "0"]), "");
    assert!(!ok && said.contains("--every"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forecast_with_a_file_counts_each_row_as_enqueue_would() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let row = |account: &str, user: &str, more: Value| {
        let mut row = json!({"account_id": account, "users_ids": user, "text": "hi"});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row.to_string()
    };
    let eight: Vec<String> = (0..8)
        .map(|n| row(&format!("acc_{}", n % 3), &format!("U{n}"), json!({"dedupe_key": format!("k{n}")})))
        .collect();
    std::fs::write(env.path("eight.ndjson"), eight.join("\n")).unwrap();
    // No account has a message yet.
    let (ok, said) = run(env.outboxd(&["forecast", "--with", "eight.ndjson", "--json"]), "");
    let told: Value = serde_json::from_str(&said).unwrap();
    assert!(ok, "{said}");
    assert_eq!((&told["total"]["messages"], &told["account_count"]), (&json!(8), &json!(3)), "{told}");

    // Two are queued already; one comes twice, one repeats the text of another, three are wrong.
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    for line in &eight[..2] {
        assert_eq!(daemon.post("/v1/messages", line).await.0, 201);
    }
    let bad = [
        row("acc_0", "U0", json!({"dedupe_key": "k0", "text": "another text"})), // conflict
        "{\"account_id\": \"acc_0\"".to_owned(),                                 // not JSON
        row("acc_0", "U20", json!({"user_id": "x"})),                            // unknown field
    ];
    let lines = [
        &eight[..],
        &[eight[7].clone(), row("acc_7", "U7", json!({})), row("acc_7", "U7", json!({}))],
        &[String::new()],
        &bad,
    ]
    .concat();
    std::fs::write(env.path("all.ndjson"), lines.join("\n")).unwrap();
    let output = env.outboxd(&["forecast", "--with", "all.ndjson"]).output().unwrap();
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(4), "as enqueue ends when rows were refused: {said}");
    for line in [11, 13, 14, 15] {
        assert!(said.contains(&format!("error: line {line}: ")), "no line {line} in {said}");
    }
    assert_eq!(said.matches("error: line ").count(), 4, "{said}");
    assert!(said.contains("supposed: 7 messages; 3 duplicates are counted once; 4 refused"), "{said}");
    assert!(out.contains("acc_7: 1 message, ") && out.contains("acc_0: 3 messages, "), "{out}");
    assert_eq!(env.sql("SELECT count(*) || '' FROM messages"), ["2"], "nothing was queued");
    // Enqueueing the same file gives the same counts.
    let output = env.outboxd(&["enqueue", "all.ndjson"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "7 accepted, 3 duplicates (3 queued), 4 refused\n");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_binding_cap_is_shown_and_times_are_of_the_zone_of_the_account() {
    let env = TestEnv::new()
        .await
        .hasty()
        .set("OUTBOXD_POLICY_DEFAULT_CAPS_ALL", "100/24h")
        .set("OUTBOXD_POLICY_DEFAULT_CAPS_NEW_CHAT", "2/24h")
        .set("OUTBOXD_CONFIG", "zones.toml");
    std::fs::write(env.path("zones.toml"), "[account.acc_1]\nzone = \"America/New_York\"\n").unwrap();
    let daemon = env.serve().await;
    for number in 1..=4 {
        daemon.enqueue(&hello(&format!("U{number}"), "hi")).await;
    }
    env.delivered(2).await;
    let mut row = Value::Null;
    let capped = eventually(async || {
        row = daemon.get("/v1/accounts").await.1["data"][0].clone();
        row["reason"] == "cap"
    });
    assert!(capped.await, "{row}");
    assert_eq!(
        (&row["cap"]["cap"], &row["cap"]["used"], &row["cap"]["limit"]),
        (&json!("new_chat"), &json!(2), &json!(2))
    );
    assert_eq!((&row["zone"], &row["attention"]), (&json!("America/New_York"), &json!("waiting")));
    let (_, said) = run(env.outboxd(&["top"]), "");
    assert!(said.contains("\t2/2 new_chat 24h\t"), "{said}");
    let (_, said) = run(env.outboxd(&["status", "acc_1"]), "");
    assert!(
        said.contains("2/2 new_chat 24h, room for one again at ") && said.contains(" America/New_York"),
        "{said}"
    );
    assert_eq!(daemon.get("/v1/accounts/acc_never_seen/zone").await.1["zone"], "UTC");
    let (ok, said) = run(env.outboxd(&["pause", "acc_1", "--until", "tomorrow 09:00"]), "");
    assert!(ok && said.ends_with(" 09:00:00 America/New_York\n"), "{said}");
    let stop = ["stop", "--person", "U9", "--account", "acc_1", "--until", "tomorrow 09:00"];
    let (ok, said) = run(env.outboxd(&stop), "");
    assert!(ok && said.contains(" 09:00:00 America/New_York\n"), "{said}");
    let (_, shown) = daemon.get("/v1/accounts?attention=person").await;
    assert_eq!(shown["data"], json!([]));
    for (query, field) in [
        ("sort=name", "sort"),
        ("attention=all", "attention"),
        ("cursor=x", "cursor"),
        ("limit=501", "limit"),
        ("page=2", "page"),
    ] {
        let (status, answer) = daemon.get(&format!("/v1/accounts?{query}")).await;
        assert_eq!((status, answer["error"]["field"].as_str()), (400, Some(field)), "{answer}");
    }
    daemon.stop().await;
}

/// T3: what an account shows in `status`, `top` and the dashboard is what `explain` says of its next message.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_shows_when_all_gates_are_open_as_its_next_message_does() {
    let env = TestEnv::new().await.hasty().reconciling("").set("OUTBOXD_POLICY_DEFAULT_CAPS_ALL", "100/24h");
    let env = env.set("OUTBOXD_POLICY_DEFAULT_CAPS_NEW_CHAT", "1/24h");
    let daemon = env.serve().await;
    let first = daemon.enqueue(&hello("U1", "hi")).await;
    daemon.becomes(&first, "sent").await;
    let later = SystemClock::new().now() + Duration::from_secs(1800);
    let mut scheduled: Value = serde_json::from_str(&hello("U2", "hi")).unwrap();
    scheduled["not_before"] = json!(later.to_string());
    let second = daemon.enqueue(&scheduled.to_string()).await;
    let explained = daemon.get(&format!("/v1/messages/{second}/explain")).await.1;
    let row = daemon.get("/v1/accounts/acc_1").await.1;
    for field in ["reason", "until", "waits_for"] {
        assert_eq!(row[field], explained[field], "{field}: {row} {explained}");
    }
    assert_eq!((&row["reason"], &row["until"]), (&json!("scheduled"), &row["cap"]["frees_at"]), "{row}");
    assert_eq!(row["cap"]["cap"], "new_chat", "{row}");
    // What a message in review blocks waits for a person, also if its account is paused until a time.
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }));
    for n in 1..=2 {
        let message = json!({"account_id": "acc_2", "chat_id": "c", "text": format!("to a chat {n}")});
        daemon.enqueue(&message.to_string()).await;
    }
    let blocked = async || daemon.get("/v1/accounts/acc_2").await.1["reason"] == "chat_order";
    assert!(eventually(blocked).await, "{}", daemon.get("/v1/accounts/acc_2").await.1);
    let pause = json!({"until": later.to_string()}).to_string();
    assert_eq!(daemon.post("/v1/accounts/acc_2/pause", &pause).await.0, 200);
    let row = daemon.get("/v1/accounts/acc_2").await.1;
    let shown = (&row["reason"], &row["waits_for"], &row["until"]);
    assert_eq!(shown, (&json!("account_paused"), &json!("person"), &Value::Null), "{row}");
}

/// P6: what comes after a message that a person holds goes when that one expires, as the forecast says.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_a_held_message_goes_when_that_one_expires() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let expires_at = time_text(SystemClock::new().now() + Duration::from_secs(1800));
    let message = |text: &str| json!({"account_id": "acc_1", "chat_id": "c", "text": text});
    let mut first = message("first");
    (first["expires_at"], first["not_before"]) = (json!(expires_at), json!("2020-01-01T00:00:00Z"));
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let first = daemon.enqueue(&first.to_string()).await;
    let (ok, said) = run(env.outboxd(&["hold", &first]), "");
    assert!(ok, "{said}");
    let second = daemon.enqueue(&message("second").to_string()).await;
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    let explained = daemon.get(&format!("/v1/messages/{second}/explain")).await.1;
    let listed = daemon.get("/v1/messages").await.1["data"][0].clone();
    for shown in [&explained, &listed] {
        let shown = (&shown["reason"], &shown["waits_for"], &shown["until"]);
        assert_eq!(shown, (&json!("chat_order"), &json!("not_before"), &json!(expires_at)));
    }
    let forecast = daemon.get("/v1/forecast?account_id=acc_1").await.1;
    let at = |id: &str| {
        let messages = forecast["messages"].as_array().unwrap();
        messages.iter().find(|one| one["id"] == id).unwrap()["at"].as_str()
    };
    assert_eq!(at(&first), None, "{forecast}");
    assert!(at(&second).is_some_and(|at| at >= expires_at.as_str()), "{forecast}");
}

/// P6: a message that waits for a person says that it expires if that person does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_waits_for_a_person_says_when_it_expires() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let mut message: Value = serde_json::from_str(&hello("U1", "hi")).unwrap();
    message["expires_at"] = json!("2099-01-10T09:00:00Z");
    let id = daemon.enqueue(&message.to_string()).await;
    let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
    assert_eq!(
        (&explained["waits_for"], &explained["until"]),
        (&json!("person"), &Value::Null),
        "{explained}"
    );
    let said = explained["sentence"].as_str().unwrap();
    assert!(said.contains(" It expires at 2099-01-10 09:00:00 UTC if it has not gone by then."), "{said}");
}

/// With `limits.repeats = "person"`, the messages of other accounts count as well, at every door.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_text_from_a_second_account_is_refused_if_the_configuration_says_so() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_LIMITS_REPEATS", "person");
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let of = |account: &str, user: &str, text: &str| json!({"account_id": account, "users_ids": user, "text": text});
    let first = daemon.enqueue(&hello("ACoAU1", "hi")).await;
    let told = format!("was queued for this person before, as message {first} of the account acc_1");

    let (status, again) = daemon.post("/v1/messages", &of("acc_2", "ACoAU1", "hi\n").to_string()).await;
    assert_eq!((status, &again["error"]["code"]), (409, &json!("repeated_text")), "{again}");
    assert_eq!((&again["error"]["problem"], &again["existing_id"]), (&json!(told), &json!(first)), "{again}");
    let rows =
        json!([of("acc_2", "ACoAU1", "hi"), of("acc_2", "U5", "a"), of("acc_3", "U5", "a")]).to_string();
    let (_, dry) = daemon.post("/v1/forecast?days=1", &rows).await;
    let (_, batch) = daemon.post("/v1/messages", &rows).await;
    assert_eq!((&batch["accepted"], &batch["refused"]), (&json!(1), &json!(2)), "{batch}");
    for verdicts in [&batch["results"], &json!([dry["with"]["refused"][0], {}, dry["with"]["refused"][1]])] {
        assert_eq!(verdicts[0]["error"]["problem"], told, "{verdicts}");
        let problem = verdicts[2]["error"]["problem"].as_str().unwrap_or_default();
        assert!(problem.ends_with(" of the account acc_2"), "{verdicts}");
    }

    let insert =
        "INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_2', 'ACoAU1', 'hi') RETURNING id";
    let rejected = daemon.becomes(&env.sql(insert)[0], "rejected").await;
    assert!(rejected["error"].as_str().is_some_and(|error| error.contains(&told)), "{rejected}");
    std::fs::write(env.path("people.csv"), "user\nACoAU1\nACoAU7\n").unwrap();
    std::fs::write(env.path("hi.txt"), "hi\n").unwrap();
    let import = ["import", "people.csv", "--campaign", "autumn", "--account", "acc_2", "--step", "hi.txt"];
    let (ok, said) = run(env.outboxd(&import), "");
    assert!(!ok && said.contains(&told) && said.contains("1 message queued"), "{said}");

    let meant = of("acc_3", "ACoAU1", "hi");
    let mut allowed = meant.clone();
    allowed["allow_repeat"] = json!(true);
    let third = daemon.enqueue(&allowed.to_string()).await;
    let other = daemon.enqueue(&of("acc_2", "ACoAU1", "something else").to_string()).await;
    let (status, refused) =
        daemon.patch(&format!("/v1/messages/{other}"), &json!({"text": "hi"}).to_string()).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("repeated_text")), "{refused}");
    let (ok, said) = run(env.outboxd(&["move", &first, "--to", "acc_2"]), "");
    assert!(!ok && said.contains(&format!("as message {third} of the account acc_3")), "{said}");
    daemon.stop().await;
}

/// Without its changed rules the account would send too fast or outside its hours (P4).
#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_changed_rules_no_longer_fit_is_not_resumed() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_ZONE", "Europe/Berlin");
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/messages", &hello("U1", "one")).await.0, 201);
    env.delivered(1).await;
    assert_eq!(patch(&daemon, "acc_1", &json!({"hours.monday": "09:00-18:00"})).await.0, 200);
    daemon.stop().await;
    let env = env.set("OUTBOXD_POLICY_DEFAULT_ZONE", "");
    let daemon = env.serve().await;
    assert!(!daemon.get("/v1/accounts/acc_1").await.1["paused"].is_null());
    let (status, refused) = daemon.post("/v1/accounts/acc_1/resume", "").await;
    let problem = refused["error"]["problem"].as_str().unwrap();
    assert!(status == 409 && problem.contains("do not fit the configuration: `hours.monday`"), "{refused}");
    let (ok, said) = run(env.outboxd(&["policy", "acc_1", "hours.monday="]), "");
    assert!(ok, "{said}");
    assert_eq!(daemon.post("/v1/accounts/acc_1/resume", "").await.0, 200);
    daemon.stop().await;
}
