//! `atomic=person`: a person gets all messages of a request or none, also if the queue refuses one of them.
#![allow(clippy::unwrap_used, reason = "a test may")]

use serde_json::{Value, json};

use crate::cli_import::ran;
use crate::daemon::{Daemon, TestEnv};
use crate::dashboard::Browser;
use crate::dashboard_import::{form, next, press};

const PEOPLE: &str = "user,first_name\nACoA1,Ada\nACoA2,Bob\n";
const FIRST: &str = "Hi {{ first_name }}, do you hire?\n";
const SECOND: &str = "{{ first_name }}, did you read this?\n";

async fn quiet() -> (TestEnv, Daemon) {
    // Fewer rows per commit than the tests send.
    let env = TestEnv::new().await.set("OUTBOXD_API_BATCH_ROWS", "2");
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    for (name, text) in [("half.csv", PEOPLE), ("first.txt", FIRST), ("second.txt", SECOND)] {
        std::fs::write(env.path(name), text).unwrap();
    }
    (env, daemon)
}

fn step(person: &str, number: u8, text: &str) -> Value {
    let wait = (number > 1).then_some("3 days");
    let mut step = json!({"account_id": "acc_1", "users_ids": person, "campaign": "autumn", "step": number, "text": text});
    if let Some(wait) = wait {
        step["wait"] = json!(wait);
    }
    step
}

fn queued(env: &TestEnv) -> Vec<String> {
    env.sql("SELECT users_ids ->> 0 || coalesce(' ' || campaign || ' ' || step, '') FROM messages WHERE dedupe_key IS NULL ORDER BY 1")
}

fn codes(answer: &Value) -> Vec<String> {
    let row = |row: &Value| match row["error"]["code"].as_str() {
        Some(code) => code.to_owned(),
        None if row["duplicate"] == true => "duplicate".to_owned(),
        None => "queued".to_owned(),
    };
    answer["results"].as_array().unwrap().iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_queues_no_half_of_a_person() {
    let (env, _daemon) = quiet().await;
    let line = [
        "import",
        "half.csv",
        "--campaign",
        "half",
        "--account",
        "acc_1",
        "--step",
        "first.txt",
        "--step",
        "3 days",
    ];
    let same = [&line[..], &["first.txt"]].concat();
    let told = "is the same as in another message of this request to this person";
    let dry = ran(&env, &[&same[..], &["--dry-run"]].concat());
    assert!(
        dry.code == 4 && dry.out == "0 people, 0 messages: nothing would be queued, 0 were queued before\n",
        "{dry:?}"
    );
    assert!(dry.err.contains(told) && !dry.err.contains("as message"), "{dry:?}");
    let done = ran(&env, &same);
    assert_eq!(
        (done.code, done.out.as_str()),
        (4, "0 people: 0 messages queued, 0 queued before; 2 rows refused\n"),
        "{done:?}"
    );
    assert!(done.err.contains(told) && !done.err.contains("as message"), "{done:?}");
    assert_eq!(queued(&env), Vec::<String>::new());

    // One person was sent the second text by another campaign; the other one gets both steps.
    std::fs::write(env.path("one.csv"), "user,first_name\nACoA1,Ada\n").unwrap();
    let old =
        ran(&env, &["import", "one.csv", "--campaign", "old", "--account", "acc_1", "--step", "second.txt"]);
    assert_eq!(old.code, 0, "{old:?}");
    let both = [&line[..], &["second.txt"]].concat();
    let dry = ran(&env, &[&both[..], &["--dry-run", "--json"]].concat());
    let shown: Value = serde_json::from_str(&dry.out).unwrap();
    assert_eq!((dry.code, &shown["people"], &shown["messages"]), (4, &json!(1), &json!(2)), "{shown}");
    assert_eq!(
        (&shown["forecast"]["with"]["messages"], shown["refused"].as_array().unwrap().len()),
        (&json!(2), 1)
    );
    let done = ran(&env, &both);
    assert_eq!(
        (done.code, done.out.as_str()),
        (4, "1 person: 2 messages queued, 0 queued before; 1 row refused\n"),
        "{done:?}"
    );
    assert_eq!(queued(&env), ["ACoA1 old 1", "ACoA2 half 1", "ACoA2 half 2"]);
    let again = ran(&env, &both);
    assert_eq!(again.out, "1 person: 0 messages queued, 2 queued before; 1 row refused\n", "{again:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_queue_refuses_refuses_the_other_rows_of_the_person() {
    for as_lines in [false, true] {
        refuses_the_other_rows(as_lines).await;
    }
}

async fn refuses_the_other_rows(as_lines: bool) {
    let (env, daemon) = quiet().await;
    let before = step("P0", 1, "before");
    let mut keyed = json!({"account_id": "acc_1", "users_ids": "P9", "text": "keyed", "dedupe_key": "k"});
    daemon.post("/v1/messages", &json!([before, keyed]).to_string()).await;
    daemon.post("/v1/stops", r#"{"scope": "person", "key": "P5", "reason": "suppressed"}"#).await;
    keyed["text"] = json!("other");
    keyed["users_ids"] = json!("P4");
    let mut moved = step("P6", 2, "b");
    moved["account_id"] = json!("acc_2");
    let to = |person: &str, text: &str| json!({"account_id": "acc_1", "users_ids": person, "text": text});
    let rows = vec![
        (step("P1", 1, "a"), "batch_refused"),
        (before.clone(), "duplicate"),
        (step("P2", 1, "a"), "queued"),
        (keyed, "dedupe_conflict"),
        (step("P3", 1, "a"), "batch_refused"),
        (step("P5", 1, "a"), "suppressed"),
        (step("P6", 1, "a"), "batch_refused"),
        (to("P4", "fine"), "batch_refused"),
        (step("P1", 2, "a"), "repeated_text"),
        (step("P0", 2, "before"), "repeated_text"),
        (step("P2", 2, "b"), "queued"),
        (moved, "out_of_step"),
        (step("P0", 3, "new"), "batch_refused"),
        (json!({"account_id": "acc_1", "users_ids": "P3", "text": ""}), "missing_field"),
        (step("P1", 3, "c"), "batch_refused"),
        (to("P7", "alone"), "queued"),
    ];
    let expected: Vec<&str> = rows.iter().map(|(_, code)| *code).collect();
    let array = Value::Array(rows.iter().map(|(row, _)| row.clone()).collect()).to_string();
    let lines: String = rows.iter().map(|(row, _)| format!("{row}\n")).collect();
    let (status, would) = daemon.post("/v1/forecast?atomic=person", &array).await;
    assert_eq!(
        (status, &would["with"]["messages"], &would["with"]["duplicates"]),
        (200, &json!(3), &json!(1)),
        "{would}"
    );
    let refused = would["with"]["refused"].as_array().unwrap();
    let refused: Vec<&str> = refused.iter().map(|row| row["error"]["code"].as_str().unwrap()).collect();
    let all = expected.iter().filter(|code| !["queued", "duplicate"].contains(code));
    assert_eq!(refused, all.copied().collect::<Vec<_>>());
    let route = "/v1/messages?atomic=person";
    let (status, answer) = match as_lines {
        false => daemon.post(route, &array).await,
        true => daemon.post_as(route, "application/x-ndjson", lines.into_bytes()).await,
    };
    assert_eq!(
        (status, codes(&answer)),
        (200, expected.iter().map(ToString::to_string).collect()),
        "{answer}"
    );
    assert_eq!(answer["results"][8]["existing_id"], Value::Null, "the first step has no message");
    assert!(answer["results"][9]["existing_id"].is_string(), "{answer}");
    assert_eq!(queued(&env), ["P0 autumn 1", "P2 autumn 1", "P2 autumn 2", "P7"]);
    let (status, answer) = daemon.post("/v1/forecast?atomic=true", "[]").await;
    assert_eq!((status, &answer["error"]["field"]), (400, &json!("atomic")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_queues_no_half_of_a_person() {
    let (env, _daemon) = quiet().await;
    let browser = Browser::of(&env);
    let mut asked = form(&[("do", "check"), ("accounts", "acc_1"), ("text", FIRST)]);
    asked.retain(|(name, _)| name != "text");
    for _ in 0..2 {
        asked.push(("text".to_owned(), FIRST.to_owned()));
    }
    let waits = asked.iter().position(|(name, _)| name == "wait").unwrap();
    let texts: Vec<_> = asked.extract_if(.., |(name, _)| name == "text").collect();
    let mut asked_in_order = asked.clone();
    asked_in_order.insert(waits + 1, texts[0].clone());
    asked_in_order.push(texts[1].clone());
    let (_, shown) = press(&browser, &asked_in_order, Some(PEOPLE.as_bytes())).await;
    assert!(shown.contains("0 people, 0 messages; 2 rows refused"), "{shown}");
    assert!(shown.contains("is the same as in another message of this request"), "{shown}");
    let mut confirm = asked_in_order;
    for (name, value) in next(&shown, &[("do", "queue")]) {
        if ["upload", "seen"].contains(&name.as_str()) {
            confirm.push((name, value));
        } else if name == "do" {
            confirm.iter_mut().find(|(known, _)| *known == name).unwrap().1 = value;
        }
    }
    let (_, done) = press(&browser, &confirm, None).await;
    assert!(done.contains("0 people: 0 messages queued, 0 queued before; 2 rows refused"), "{done}");
    assert_eq!(queued(&env), Vec::<String>::new());
}
