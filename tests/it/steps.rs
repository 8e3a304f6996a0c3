//! Steps of a campaign: each once for a person, after the one before, when its wait has ended, in the same chat.

use std::time::Duration;

use jiff::Timestamp;
use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::{Fault, FaultKind, Profile};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, run};

fn step(person: &str, number: u8, wait: &str) -> Value {
    let mut step = json!({
        "account_id": "acc_1", "users_ids": person, "campaign": "autumn", "step": number, "text": format!("{number} to {person}"),
    });
    if number > 1 {
        step["wait"] = json!(wait);
    }
    step
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

async fn batch(daemon: &Daemon, rows: &[Value]) -> Value {
    let (status, answer) =
        daemon.post_with("/v1/messages", ("content-type", "application/x-ndjson"), &lines(rows)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

async fn message(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/v1/messages/{id}")).await.1
}

/// Returns the texts in the order in which they were delivered.
fn delivered(env: &TestEnv) -> Vec<String> {
    env.sandbox.world().deliveries().into_iter().map(|one| one.text).collect()
}

fn ids(answer: &Value) -> Vec<String> {
    let rows = answer["results"].as_array().expect("results");
    rows.iter().map(|row| row["id"].as_str().unwrap_or_else(|| panic!("refused: {row}")).to_owned()).collect()
}

fn error(answer: &Value, row: usize) -> String {
    let error = &answer["results"][row]["error"];
    let part = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("{answer}"));
    format!("`{}` {}; {}", part("field"), part("problem"), part("fix"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_person_go_into_one_chat_each_after_its_wait() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    // Any order within one batch.
    let rows = [step("U1", 3, "1 second"), step("U1", 1, ""), step("U1", 2, "2 seconds")];
    let ids = ids(&batch(&daemon, &rows).await);
    let last = daemon.becomes(&ids[0], "sent").await;
    let (first, second) = (message(&daemon, &ids[1]).await, message(&daemon, &ids[2]).await);
    assert_eq!(delivered(&env), ["1 to U1", "2 to U1", "3 to U1"]);
    for message in [&second, &last] {
        assert_eq!(message["chat_id"], first["chat_id"]);
        assert_eq!(message["route"].as_str().map(|route| route.contains("the step before")), Some(true));
    }
    let at = |message: &Value| {
        message["sent_at"].as_str().expect("sent").parse::<jiff::Timestamp>().expect("a time")
    };
    assert!(at(&second).duration_since(at(&first)).as_millis() >= 2000, "{first} {second}");
    assert!(at(&last).duration_since(at(&second)).as_millis() >= 1000, "{second} {last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_exists_once_and_follows_the_one_before() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let both = [step("U1", 1, ""), step("U1", 2, "3 days")];
    let stored = ids(&batch(&daemon, &both).await);
    let again = batch(&daemon, &both).await;
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(2)));
    assert_eq!(ids(&again), stored);
    // Another seat, and other words.
    let mut other = both.clone();
    for row in &mut other {
        row["account_id"] = json!("acc_2");
        row["text"] = json!("other words");
    }
    assert_eq!(ids(&batch(&daemon, &other).await), stored);
    let orphan = batch(&daemon, &[step("U2", 2, "3 days"), step("U1", 4, "1 hour")]).await;
    assert_eq!(
        error(&orphan, 0),
        "`step` 2 of `autumn` for U2 has no step 1; queue step 1 first, or in the same request"
    );
    assert_eq!(
        error(&orphan, 1),
        "`step` 4 of `autumn` for U1 has no step 3; queue step 3 first, or in the same request"
    );
    let mut elsewhere = step("U1", 3, "1 hour");
    elsewhere["account_id"] = json!("acc_2");
    let elsewhere = batch(&daemon, &[elsewhere]).await;
    assert!(
        error(&elsewhere, 0).contains("follows step 2 on acc_1; queue it on the same account"),
        "{elsewhere}"
    );
    // What waits says for what, and until when at the earliest.
    let waits = message(&daemon, &stored[1]).await;
    assert_eq!(waits["reason"], "daemon_paused");
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    daemon.becomes(&stored[0], "sent").await;
    let mut waits = Value::Null;
    let scheduled = eventually(async || {
        waits = message(&daemon, &stored[1]).await;
        waits["reason"] == "step_wait"
    });
    assert!(scheduled.await, "{waits}");
    assert_eq!(waits["waits_for"], "time");
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_after_one_that_ended_are_cancelled() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let rows = [step("U1", 1, ""), step("U1", 2, "1 day"), step("U1", 3, "1 day")];
    let stored = ids(&batch(&daemon, &rows).await);
    assert_eq!(message(&daemon, &stored[1]).await["state"], "queued");
    assert_eq!(daemon.post(&format!("/v1/messages/{}/cancel", stored[0]), "").await.0, 200);
    for id in &stored[1..] {
        let message = message(&daemon, id).await;
        assert_eq!((&message["state"], &message["reason"]), (&json!("cancelled"), &json!("step_stopped")));
    }
    let late = batch(&daemon, &[step("U1", 4, "1 day")]).await;
    assert!(error(&late, 0).contains("which is `cancelled`"), "{late}");
    // The step is taken: a second import does not begin again for a person who was taken out.
    assert_eq!(batch(&daemon, &rows).await["duplicates"], 3);
}

/// The steps that wait for one another were due before the one that the stop delays.
#[tokio::test(flavor = "multi_thread")]
async fn all_steps_go_on_after_a_stop_that_ends_by_itself() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let rows = [step("U1", 1, ""), step("U1", 2, "3 seconds"), step("U1", 3, "1 second")];
    let stored = ids(&batch(&daemon, &rows).await);
    daemon.becomes(&stored[0], "sent").await;
    let stop = r#"{"scope": "person", "key": "U1", "for": "2s"}"#;
    let (code, stopped) = daemon.post("/v1/stops", stop).await;
    assert!(code < 300 && stopped["messages"] == 2, "{code} {stopped}");
    daemon.becomes(&stored[2], "sent").await;
    assert_eq!(delivered(&env), ["1 to U1", "2 to U1", "3 to U1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_steps_are_refused_with_the_way_out() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let with = |change: Value| {
        let mut row = step("U1", 2, "3 days");
        for (name, value) in change.as_object().expect("an object") {
            row[name] = value.clone();
        }
        row
    };
    let cases = [
        (with(json!({"step": 0})), "`step` is 0; give a whole number from 1 to 20"),
        (with(json!({"step": 21})), "`step` is 21; give a whole number from 1 to 20"),
        (with(json!({"campaign": null})), "`campaign` is missing; name the campaign of the step"),
        (
            with(json!({"wait": null})),
            "`wait` is missing: step 2 waits after step 1 was sent; say how long it waits, such as \"3 days\"",
        ),
        (
            with(json!({"wait": "soon"})),
            "`wait` is not a wait: \"soon\"; write a number and a unit, such as \"3 days\" or \"36 hours\"",
        ),
        (
            with(json!({"wait": "0 days"})),
            "`wait` is 0; let a person have at least a moment before the next step",
        ),
        (
            with(json!({"step": 1})),
            "`wait` is not for step 1, which follows nothing; leave it out, or use `not_before`",
        ),
        (
            with(json!({"step": null})),
            "`wait` is for a step of a campaign; say which `step` of its campaign it is, or leave it out",
        ),
        (
            with(json!({"meta": [1]})),
            "`meta` is not a JSON object; give an object, such as {\"company\": \"Acme\"}",
        ),
        (
            with(json!({"meta": {"a": "x".repeat(4096)}})),
            "`meta` takes 4104 bytes, 4096 are allowed; leave something out",
        ),
        (
            with(json!({"specifics": {"linkedin": {"classic": {"inmail": true}}}})),
            "`specifics` does not go with step 2; leave it out: this step goes into the chat that the step before opened",
        ),
    ];
    let rows: Vec<Value> = cases.iter().map(|(row, _)| row.clone()).collect();
    let answer = batch(&daemon, &rows).await;
    for (row, (_, expected)) in cases.iter().enumerate() {
        assert_eq!(error(&answer, row), *expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_can_be_inserted_by_sql_in_any_order() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let insert = |step: u8, wait: &str, users: &str| {
        format!(
            "INSERT INTO messages (account_id, users_ids, campaign, step, wait, meta, text) \
             VALUES ('acc_1', '{users}', 'autumn', {step}, {wait}, '{{\"company\": \"Acme\"}}', 'step {step}')"
        )
    };
    let mut program = rusqlite::Connection::open(env.database()).expect("the database");
    let transaction = program.transaction().expect("a transaction");
    for row in [
        insert(3, "'1 second'", "U1"),
        insert(2, "'1 second'", "[\"U1\"]"),
        insert(1, "NULL", "U1"),
        insert(1, "NULL", "U1"),
    ] {
        transaction.execute(&row, []).expect("a row");
    }
    transaction.commit().expect("it is stored");
    let all = eventually(async || env.sandbox.world().delivered_count() == 3).await;
    assert!(all, "{:?}", env.sql("SELECT state || ' ' || coalesce(error, '') FROM messages"));
    assert_eq!(delivered(&env), ["step 1", "step 2", "step 3"]);
    let rejected = env.sql("SELECT error FROM messages WHERE state = 'rejected'");
    assert!(
        rejected[0].starts_with("`step` is in the queue for this person already, as message "),
        "{rejected:?}"
    );
    assert_eq!(
        daemon.get("/v1/messages?state=rejected&limit=1").await.1["data"][0]["meta"],
        json!({"company": "Acme"})
    );
    for (values, expected) in [
        ("'autumn', 21, '1 day', NULL", "step is not a whole number from 1 to 20"),
        ("NULL, 2, '1 day', NULL", "step needs a campaign"),
        ("'autumn', 1, '1 day', NULL", "wait is for step 2 and later"),
        ("'autumn', 2, NULL, NULL", "wait is missing"),
        ("'autumn', 1, NULL, '[]'", "meta is not a JSON object"),
    ] {
        let row = format!(
            "INSERT INTO messages (account_id, users_ids, text, campaign, step, wait, meta) VALUES ('acc_1', 'U9', 'x', {values})"
        );
        let refused = program.execute(&row, []).expect_err("it is refused").to_string();
        assert!(refused.contains(expected), "{refused}");
    }
}

/// Returns the last cell of a row with tabs.
fn last_cell(row: Option<&str>) -> Option<String> {
    row.and_then(|row| row.rsplit('\t').next()).map(str::to_owned)
}

/// The second steps of `autumn` follow in three days; `spring` is done.
async fn ends_are_forecast(env: &TestEnv, daemon: &Daemon) {
    let listed = daemon.get("/v1/campaigns?done_by=true").await.1;
    let ends =
        |listed: &Value| ["0", "1"].map(|place| listed.pointer(&format!("/data/{place}/done_by")).cloned());
    let [Some(autumn), Some(Value::Null)] = ends(&listed) else { panic!("{listed}") };
    let autumn: Timestamp = autumn.as_str().and_then(|at| at.parse().ok()).expect("a time");
    let ahead = autumn.duration_since(SystemClock::new().now()).as_hours();
    assert!((70..=72).contains(&ahead), "the second steps follow in three days: {listed}");
    let one = daemon.get("/v1/campaigns/autumn?done_by=true").await.1;
    assert!(one["done_by"].is_string(), "{one}");
    assert_eq!(daemon.get("/v1/campaigns/autumn").await.1["done_by"], Value::Null, "it was not asked for");
    let (status, refused) = daemon.get("/v1/campaigns?done_by=soon").await;
    assert!(status == 400 && refused["error"]["field"] == "done_by", "{refused}");
    let (done, listed) = run(env.outboxd(&["campaign", "list"]), "");
    let mut rows = listed.lines();
    let ends = [last_cell(rows.next()), last_cell(rows.next())];
    assert!(done && ends[0].as_ref().is_some_and(|at| at.parse::<Timestamp>().is_ok()), "{listed}");
    assert_eq!(ends[1].as_deref(), Some("-"), "spring is done: {listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_says_what_became_of_its_steps() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let people = ["U1", "U2", "U3"];
    let rows: Vec<Value> =
        people.iter().flat_map(|person| [step(person, 1, ""), step(person, 2, "3 days")]).collect();
    let stored = ids(&batch(&daemon, &rows).await);
    let spring =
        daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c", "text": "x", "campaign": "spring"}"#).await;
    assert_eq!(daemon.post(&format!("/v1/messages/{}/cancel", stored[4]), "").await.0, 200);
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    for last in [&stored[2], &spring] {
        daemon.becomes(last, "sent").await;
    }

    let (status, autumn) = daemon.get("/v1/campaigns/autumn").await;
    assert_eq!(status, 200, "{autumn}");
    let counts = |of: &Value| {
        ["messages", "queued", "waiting", "sent", "stopped", "failed"].map(|name| of[name].as_u64())
    };
    assert_eq!(counts(&autumn), [Some(6), Some(0), Some(2), Some(2), Some(2), Some(0)], "{autumn}");
    assert_eq!(
        counts(&autumn["steps"][0]),
        [Some(3), Some(0), Some(0), Some(2), Some(1), Some(0)],
        "{autumn}"
    );
    assert_eq!(
        counts(&autumn["steps"][1]),
        [Some(3), Some(0), Some(2), Some(0), Some(1), Some(0)],
        "{autumn}"
    );
    let page = daemon.get("/v1/campaigns?limit=1").await.1;
    assert_eq!((&page["data"][0]["campaign"], &page["next_cursor"]), (&json!("autumn"), &json!("autumn")));
    let rest = daemon.get("/v1/campaigns?limit=1&cursor=autumn").await.1;
    assert_eq!((&rest["data"][0]["campaign"], &rest["next_cursor"]), (&json!("spring"), &Value::Null));
    assert_eq!(daemon.get("/v1/campaigns/winter").await.0, 404);

    let (done, shown) = run(env.outboxd(&["campaign", "show", "autumn"]), "");
    assert!(done && shown.contains("1\t3\t0\t0\t2\t0\t0\t1\t0\n2\t3\t0\t2\t"), "{shown}");
    assert!(shown.contains("done by ") && shown.contains(" if no one replies"), "{shown}");
    ends_are_forecast(&env, &daemon).await;
    assert!(run(env.outboxd(&["campaign", "pause", "autumn"]), "").0);
    let (done, listed) = run(env.outboxd(&["campaign", "list"]), "");
    assert!(done && listed.starts_with("autumn (paused)\t6\t"), "{listed}");
    assert_eq!(last_cell(listed.lines().next()).as_deref(), Some("-"), "it waits for a person: {listed}");
    assert!(run(env.outboxd(&["campaign", "resume", "autumn"]), "").0);
    assert_eq!(
        env.sql("SELECT step || ' ' || sent || ' ' || stopped FROM campaigns WHERE step IS NOT NULL"),
        ["1 2 1", "2 0 1"]
    );
}

/// Gives a command about one message; returns its verdict.
async fn command(daemon: &Daemon, id: &str, command: &str) -> Value {
    let body = json!({"command": command, "ids": [id]}).to_string();
    let (status, answer) = daemon.post("/v1/messages/bulk", &body).await;
    assert_eq!(status, 200, "{answer}");
    answer["results"][0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_retried_brings_back_the_steps_that_ended_with_it() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let rows = [step("U1", 1, ""), step("U1", 2, "1 second"), step("U1", 3, "1 second")];
    let stored = ids(&batch(&daemon, &rows).await);
    assert_eq!(daemon.post(&format!("/v1/messages/{}/cancel", stored[0]), "").await.0, 200);
    let refused = command(&daemon, &stored[1], "retry").await;
    assert_eq!(refused["error"]["code"], "out_of_step", "{refused}");
    assert_eq!(refused["error"]["problem"], "2 follows step 1, which is `cancelled`");
    let retried = command(&daemon, &stored[0], "retry").await;
    assert_eq!(retried["state"], "queued", "{retried}");
    for id in &stored[1..] {
        let message = message(&daemon, id).await;
        assert_eq!(message["state"], "queued", "{message}");
    }
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    daemon.becomes(&stored[2], "sent").await;
    assert_eq!(delivered(&env), ["1 to U1", "2 to U1", "3 to U1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_retry_brings_back_all_steps_of_a_cancelled_campaign() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    // Of the second person the last step arrives first.
    let mut rows = vec![step("U1", 1, ""), step("U1", 2, "1 second"), step("U1", 3, "1 second")];
    rows.extend([step("U2", 3, "1 second"), step("U2", 2, "1 second"), step("U2", 1, "")]);
    let stored = ids(&batch(&daemon, &rows).await);
    let (ok, said) = run(env.outboxd(&["campaign", "cancel", "autumn"]), "");
    assert!(ok, "{said}");
    let (ok, said) = run(env.outboxd(&["retry", "--campaign", "autumn"]), "");
    assert!(ok && said.contains("queued again: 6"), "{said}");
    // A list is newest first.
    assert!(run(env.outboxd(&["campaign", "cancel", "autumn"]), "").0);
    let newest_first: Vec<&str> = stored.iter().rev().map(String::as_str).collect();
    let (ok, said) = run(env.outboxd(&["retry", "-"]), &newest_first.join("\n"));
    assert!(ok, "{said}");
    assert_eq!(env.sql("SELECT state || ' ' || count(*) FROM messages GROUP BY state"), ["queued 6"]);
    daemon.stop().await;
}

/// The steps that move, or come back, with another step of their person are counted as changed, however many pages of
/// messages there are.
#[tokio::test(flavor = "multi_thread")]
async fn steps_that_change_with_another_are_counted_as_changed() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let person = |n: u32| {
        [
            step(&format!("ACoA{n}"), 1, ""),
            step(&format!("ACoA{n}"), 2, "1 hour"),
            step(&format!("ACoA{n}"), 3, "1 day"),
        ]
    };
    let rows: Vec<Value> = (0..200).flat_map(person).collect();
    let stored = ids(&batch(&daemon, &rows).await);
    for word in ["--dry-run", "--yes"] {
        let (ok, said) = run(
            env.outboxd(&["move", "--account", "acc_1", "--campaign", "autumn", "--to", "acc_2", word]),
            "",
        );
        let expected = if word == "--yes" { "moved: 600\n" } else { "600 messages would be moved\n" };
        assert!(ok && said.starts_with(expected) && said.contains("acc_2 has sent nothing yet"), "{said}");
    }
    let (ok, said) = run(env.outboxd(&["move", &stored[0], &stored[1], &stored[2], "--to", "acc_3"]), "");
    assert!(ok && said.matches(": moved\n").count() == 3, "{said}");
    // A step that is cancelled ends the later ones, and brings them back.
    let (ok, said) = run(env.outboxd(&["cancel", &stored[0]]), "");
    assert!(ok, "{said}");
    let (ok, said) = run(env.outboxd(&["retry", "--campaign", "autumn"]), "");
    assert!(ok && said == "queued again: 3\n", "{said}");
    daemon.stop().await;
}

/// All steps of a person stay on one account, also those that were cancelled or rejected.
#[tokio::test(flavor = "multi_thread")]
async fn cancelled_steps_move_together_and_a_step_on_another_account_is_not_queued_again() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let rows = [step("U1", 1, ""), step("U1", 2, "2 seconds")];
    let stored = ids(&batch(&daemon, &rows).await);
    let (ok, said) = run(env.outboxd(&["cancel", "--campaign", "autumn", "--yes"]), "");
    assert!(ok, "{said}");
    let path = format!("/v1/messages/{}", stored[0]);
    assert_eq!(daemon.patch(&path, r#"{"account_id": "acc_2"}"#).await.0, 200);
    for id in &stored {
        assert_eq!(message(&daemon, id).await["account_id"], "acc_2");
    }
    let (ok, said) = run(env.outboxd(&["retry", "--campaign", "autumn"]), "");
    assert!(ok && said == "queued again: 2\n", "{said}");
    let sql = "INSERT INTO messages (account_id, users_ids, text, campaign, step, wait) \
         VALUES ('acc_1', 'U1', 'Hi {{x}}', 'autumn', 3, '2 seconds') RETURNING id";
    let rejected = env.sql(sql).remove(0);
    daemon.becomes(&rejected, "rejected").await;
    let path = format!("/v1/messages/{rejected}");
    assert_eq!(daemon.patch(&path, r#"{"text": "third"}"#).await.0, 200);
    let (ok, said) = run(env.outboxd(&["retry", &rejected]), "");
    assert!(!ok && said.contains("is on acc_1, and other steps of this person are on acc_2"), "{said}");
    assert_eq!(daemon.patch(&path, r#"{"account_id": "acc_2"}"#).await.0, 200);
    let (ok, said) = run(env.outboxd(&["retry", &rejected]), "");
    assert!(ok, "{said}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_person_move_together_until_the_first_is_sent() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let rows = [step("U1", 1, ""), step("U1", 2, "2 seconds"), step("U1", 3, "1 second")];
    let stored = ids(&batch(&daemon, &rows).await);
    let path = |id: &str| format!("/v1/messages/{id}");
    let (status, answer) = daemon.patch(&path(&stored[1]), r#"{"account_id": "acc_2"}"#).await;
    assert_eq!(status, 200, "{answer}");
    for id in &stored {
        assert_eq!(message(&daemon, id).await["account_id"], "acc_2");
    }
    // The event names every step that moved.
    let event = env.sql(
        "SELECT message_id || ' ' || json_extract(detail, '$.new') FROM events WHERE kind = 'command.edit'",
    );
    let [first, moved, last] = std::array::from_fn(|step| stored[step].as_str());
    let expected = format!("{moved} {{\"account_id\":\"acc_2\",\"moved_with\":[\"{first}\",\"{last}\"]}}");
    assert_eq!(event, [expected]);
    let (status, answer) = daemon.patch(&path(&stored[1]), r#"{"campaign": "winter"}"#).await;
    assert_eq!((status, &answer["error"]["field"]), (422, &json!("campaign")), "{answer}");
    let (status, answer) = daemon.patch(&path(&stored[1]), r#"{"text": "other words"}"#).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    daemon.becomes(&stored[0], "sent").await;
    let (status, answer) = daemon.patch(&path(&stored[1]), r#"{"account_id": "acc_1"}"#).await;
    assert_eq!((status, &answer["error"]["field"]), (422, &json!("account_id")), "{answer}");
    daemon.becomes(&stored[2], "sent").await;
    let all = env.sandbox.world().deliveries();
    let sent: Vec<_> = all.iter().map(|one| (one.account_id.as_str(), one.text.as_str())).collect();
    assert_eq!(sent, [("acc_2", "1 to U1"), ("acc_2", "other words"), ("acc_2", "3 to U1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_known_by_name_has_each_step_once() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_PEOPLE_RESOLVE", "true");
    env.sandbox.world().set_profile("ACoA1", Profile::named("jane-doe", "Jane Doe"));
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let by_id = ids(&batch(&daemon, &[step("ACoA1", 1, ""), step("ACoA1", 2, "1 hour")]).await);
    let address = "https://www.linkedin.com/in/jane-doe/";
    let mut again = [step(address, 1, ""), step(address, 2, "1 hour")];
    again[0]["text"] = json!("the same person under another name");
    let by_name = ids(&batch(&daemon, &again).await);
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    daemon.becomes(&by_id[0], "sent").await;
    for id in &by_name {
        let cancelled = daemon.becomes(id, "cancelled").await;
        assert_eq!(cancelled["reason"], "step_stopped", "{cancelled}");
    }
    assert_eq!(message(&daemon, &by_id[1]).await["state"], "queued");
    assert_eq!(delivered(&env), ["1 to ACoA1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_brings_back_no_step_behind_one_that_a_person_cancelled() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let rows =
        [step("U1", 1, ""), step("U1", 2, "1 second"), step("U1", 3, "1 second"), step("U1", 4, "1 second")];
    let stored = ids(&batch(&daemon, &rows).await);
    for id in [&stored[2], &stored[0]] {
        assert_eq!(daemon.post(&format!("/v1/messages/{id}/cancel"), "").await.0, 200);
    }
    assert_eq!(command(&daemon, &stored[0], "retry").await["state"], "queued");
    for (id, state) in stored.iter().zip(["queued", "queued", "cancelled", "cancelled"]) {
        assert_eq!(message(&daemon, id).await["state"], state);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_step_holds_no_step_before_it_in_the_forecast() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let tomorrow = SystemClock::new().now() + Duration::from_secs(24 * 3600);
    let mut rows = [step("U1", 1, ""), step("U1", 2, "1 hour"), step("U1", 3, "1 hour")];
    rows[0]["not_before"] = json!(tomorrow.to_string());
    let stored = ids(&batch(&daemon, &rows).await);
    assert_eq!(command(&daemon, &stored[2], "hold").await["state"], "queued");
    let forecast = daemon.get("/v1/forecast?account_id=acc_1").await.1;
    let waiting = &forecast["total"]["waiting"];
    assert_eq!(
        (&forecast["total"]["sent"], &waiting[0]["reason"]),
        (&json!(2), &json!("held")),
        "{forecast}"
    );
    assert_eq!(waiting.as_array().map(Vec::len), Some(1), "{forecast}");
}

/// Step 1 is in review; every step behind it waits for the same person.
#[tokio::test(flavor = "multi_thread")]
async fn every_step_behind_one_in_review_waits_for_a_person() {
    let env = TestEnv::new().await.hasty().reconciling("");
    env.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }));
    let daemon = env.serve().await;
    let rows: Vec<Value> = (1..=5).map(|number| step("U1", number, "3 days")).collect();
    let ids = ids(&batch(&daemon, &rows).await);
    daemon.becomes(&ids[0], "review").await;
    for id in &ids[1..] {
        let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
        let shown = (&explained["reason"], &explained["waits_for"]);
        assert_eq!(shown, (&json!("step_before"), &json!("person")), "{explained}");
    }
    daemon.stop().await;
}

/// P6: the wait of a step behind a scheduled one counts from the time for which that one is scheduled.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_behind_a_scheduled_one_counts_its_wait_from_then() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let mut rows: Vec<Value> = (1..=3).map(|number| step("U1", number, "3 days")).collect();
    rows[0]["not_before"] = json!("2099-01-10T09:00:00Z");
    let ids = ids(&batch(&daemon, &rows).await);
    for (id, earliest) in [(&ids[1], "2099-01-13"), (&ids[2], "2099-01-16")] {
        let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
        assert_eq!(explained["reason"], "step_before", "{explained}");
        assert!(explained["until"].as_str().is_some_and(|until| until >= earliest), "{explained}");
    }
    daemon.stop().await;
}

/// P6: the time before which a step does not go counts the waits of all steps before it, as the forecast does.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_shown_no_earlier_than_the_waits_before_it_allow() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).unwrap();
    let tomorrow = SystemClock::new().now() + Duration::from_secs(24 * 3600);
    let mut rows = vec![step("U1", 1, "")];
    rows.extend((2..=6).map(|number| step("U1", number, if number % 2 == 0 { "2 days" } else { "3 hours" })));
    rows[0]["not_before"] = json!(tomorrow.to_string());
    // Later than the waits before it allow.
    rows[3]["not_before"] = json!((tomorrow + Duration::from_secs(9 * 86_400)).to_string());
    let ids = ids(&batch(&daemon, &rows).await);
    for id in &ids[1..] {
        let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
        let (shown, expected) = (time(&explained["until"]), time(&explained["expected_at"]));
        let later = expected.duration_since(shown).as_secs();
        assert!((0..300).contains(&later), "it goes {later} s after the time shown: {explained}");
    }
    assert_eq!(command(&daemon, &ids[2], "hold").await["state"], "queued");
    for (id, waits_for) in [(&ids[1], "not_before"), (&ids[3], "person"), (&ids[5], "person")] {
        let (_, explained) = daemon.get(&format!("/v1/messages/{id}/explain")).await;
        let shown = (&explained["reason"], &explained["waits_for"]);
        assert_eq!(shown, (&json!("step_before"), &json!(waits_for)), "{explained}");
    }
    daemon.stop().await;
}

/// What is due and waits for something else, and what waits for a connection, has no time at which it goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_shows_no_time_for_what_waits_for_a_connection() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let mut first = step("U1", 1, "");
    first["needs"] = json!("connection");
    let stored = ids(&batch(&daemon, &[first, step("U1", 2, "1 day")]).await);
    let shown = || run(env.outboxd(&["campaign", "show", "autumn"]), "").1;
    assert!(shown().contains("\ndue since "), "{}", shown());
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    let waits = eventually(async || message(&daemon, &stored[0]).await["reason"] == "not_connected");
    assert!(waits.await);
    assert!(shown().contains("\nnext due "), "{}", shown());
    assert!(shown().contains("2 of 2 messages have no time yet: see `outboxd forecast`"), "{}", shown());
}
