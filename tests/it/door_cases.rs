//! Edge cases that every interface must treat alike: keys that are reused or given twice, times at the end of time,
//! accounts without messages, pauses and policy overrides that two people change (P5, P7).

use serde_json::{Value, json};

use crate::daemon::{TestEnv, quiet, run};

fn keyed(text: &str) -> String {
    json!({"account_id": "acc_1", "users_ids": "U1", "text": text, "dedupe_key": "k"}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_can_be_used_again_when_its_message_was_cancelled() {
    let (env, daemon) = quiet().await;
    let first = daemon.enqueue(&keyed("hello")).await;
    let (code, again) = daemon.post("/v1/messages", &keyed("hello")).await;
    assert_eq!(
        (code, &again["duplicate"], &again["state"]),
        (200, &json!(true), &json!("queued")),
        "{again}"
    );
    let (code, other) = daemon.post("/v1/messages", &keyed("another")).await;
    let problem = other["error"]["problem"].as_str().unwrap_or_default();
    assert!(code == 409 && problem.contains("is `queued`"), "{other}");
    let (_, batch) =
        daemon.post("/v1/messages", &format!("[{}, {}]", keyed("hello"), keyed("another"))).await;
    assert_eq!(batch["results"][0]["state"], "queued", "{batch}");
    assert!(
        batch["results"][1]["error"]["problem"].as_str().is_some_and(|said| said.contains("is `queued`")),
        "{batch}"
    );
    let arguments = ["enqueue", "--account", "acc_1", "--user", "U1", "--text", "hello", "--dedupe-key", "k"];
    let (ok, said) = run(env.outboxd(&arguments), "");
    assert!(ok && said.contains("queued before") && said.contains("is queued"), "{said}");
    let (ok, said) = run(env.outboxd(&["enqueue", "-"]), &keyed("hello"));
    assert!(ok && said.contains("0 accepted, 1 duplicates (1 queued), 0 refused"), "{said}");

    assert_eq!(daemon.post(&format!("/v1/messages/{first}/cancel"), "").await.0, 200);
    let second = daemon.enqueue(&keyed("hello")).await;
    assert_ne!(first, second);
    // By SQL as well, both with the clause that the documents show and without it.
    let insert = |tail: &str| {
        let sql = format!(
            "INSERT INTO messages (account_id, users_ids, text, dedupe_key) VALUES ('acc_1', 'U1', 'by SQL', 'k') {tail} RETURNING id"
        );
        env.sql(&sql)
    };
    assert!(insert("ON CONFLICT DO NOTHING").is_empty(), "the second one has the key");
    assert_eq!(daemon.post(&format!("/v1/messages/{second}/cancel"), "").await.0, 200);
    let third = insert("ON CONFLICT DO NOTHING").remove(0);
    daemon.becomes(&third, "queued").await;
    assert_eq!(daemon.post(&format!("/v1/messages/{third}/cancel"), "").await.0, 200);
    let fourth = insert("").remove(0);
    // All of them are found under the key, newest first; the newest holds it.
    let (_, listed) = daemon.get("/v1/messages?dedupe_key=k").await;
    let ids: Vec<&str> =
        listed["data"].as_array().expect("rows").iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, [&fourth, &third, &second, &first], "{listed}");
    // REPLACE deletes nothing: neither the message that holds the key, nor another one.
    let replace = "INSERT OR REPLACE INTO messages (account_id, users_ids, text, dedupe_key) VALUES ('acc_1', 'U1', 'x', 'k')";
    let connection = rusqlite::Connection::open(env.database()).expect("the queue");
    connection.busy_timeout(std::time::Duration::from_secs(5)).expect("busy timeout");
    let refused = connection.execute(replace, []).expect_err("it has the key").to_string();
    assert!(refused.contains("would delete a message"), "{refused}");
    assert_eq!(env.sql("SELECT count(*) || '' FROM messages"), ["4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_failed_or_rejected_message_can_be_used_again_and_that_of_a_sent_one_cannot() {
    use outboxd::sandbox::{Fault, FaultKind};
    let env = TestEnv::new().await.hasty();
    let refused = FaultKind::Error {
        status: 422,
        error_type: "provider/unprocessable_entity".into(),
        title: "Unprocessable".into(),
        detail: "no".into(),
        retry_after: None,
        delivered: false,
    };
    env.sandbox.fault(Fault::new(refused));
    let daemon = env.serve().await;
    let failed = daemon.enqueue(&keyed("hello")).await;
    daemon.becomes(&failed, "failed").await;
    let sent = daemon.enqueue(&keyed("hello")).await;
    daemon.becomes(&sent, "sent").await;
    let (code, again) = daemon.post("/v1/messages", &keyed("hello")).await;
    assert_eq!((code, &again["id"], &again["state"]), (200, &json!(sent), &json!("sent")), "{again}");
    // A row that only the daemon can refuse becomes a rejected row.
    let row = |text: &str| {
        let sql = format!(
            "INSERT INTO messages (account_id, chat_id, text, dedupe_key) VALUES ('acc_1', 'c', {text}, 'r') RETURNING id"
        );
        env.sql(&sql).remove(0)
    };
    daemon.becomes(&row("printf('%.9000c', 'x')"), "rejected").await;
    daemon.becomes(&row("'shorter'"), "sent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_a_json_object_has_twice_is_refused_and_named() {
    let (env, daemon) = quiet().await;
    let twice = r#"{"account_id": "acc_1", "chat_id": "c", "text": "one", "text": "two"}"#;
    let deep = r#"{"account_id": "acc_1", "users_ids": "U", "text": "x", "specifics": {"linkedin": {"classic": {"inmail": true, "inmail": false}}}}"#;
    for (body, field) in [(twice, "text"), (deep, "specifics.linkedin.classic.inmail")] {
        let (code, refused) = daemon.post("/v1/messages", body).await;
        let error = &refused["error"];
        assert_eq!(
            (code, &error["code"], &error["field"]),
            (422, &json!("duplicate_field"), &json!(field)),
            "{refused}"
        );
        assert!(error["problem"].as_str().is_some_and(|said| said.contains("twice")), "{refused}");
        let (ok, said) = run(env.outboxd(&["enqueue", "-"]), body);
        assert!(!ok && said.contains(field) && said.contains("twice"), "{said}");
    }
    let good = r#"{"account_id": "acc_1", "chat_id": "c", "text": "good"}"#;
    let lines = format!("{good}\n{twice}\n{good}");
    let (code, answer) = daemon.post_as("/v1/messages", "application/x-ndjson", lines.into_bytes()).await;
    assert_eq!((code, &answer["accepted"], &answer["refused"]), (200, &json!(2), &json!(1)), "{answer}");
    assert_eq!(
        (&answer["results"][1]["line"], &answer["results"][1]["error"]["field"]),
        (&json!(2), &json!("text"))
    );
    let (code, _) = daemon.post("/v1/messages", &format!("[{good}, {twice}]")).await;
    assert_eq!(code, 422);
    for (path, body, field) in [
        ("/v1/pause", r#"{"note": "a", "note": "b"}"#, "note"),
        ("/v1/backup", r#"{"name": "a.db", "name": "b.db"}"#, "name"),
        ("/v1/review", r#"{"decision": "drop", "decision": "resend", "reason": "stale"}"#, "decision"),
    ] {
        let (code, refused) = daemon.post(path, body).await;
        assert_eq!((code, &refused["error"]["field"]), (422, &json!(field)), "{path}: {refused}");
    }
    let (code, refused) =
        daemon.patch("/v1/accounts/acc_1/policy", r#"{"gap.min": "1s", "gap.min": "2s"}"#).await;
    assert_eq!((code, &refused["error"]["field"]), (422, &json!("gap.min")), "{refused}");
    let by_sql = "INSERT INTO messages (account_id, users_ids, text, specifics) VALUES ('acc_1', 'U', 'x', \
         '{\"linkedin\": {}, \"linkedin\": {\"classic\": {\"inmail\": true}}}') RETURNING id";
    let rejected = daemon.becomes(&env.sql(by_sql).remove(0), "rejected").await;
    assert!(
        rejected["error"].as_str().is_some_and(|said| said.contains("linkedin") && said.contains("twice")),
        "{rejected}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_moment_of_the_last_year_is_a_time_by_every_way_in() {
    let (env, daemon) = quiet().await;
    let last = json!("9999-12-30T22:00:00.999Z");
    for expires_at in ["9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59+00:00"] {
        let body = json!({"account_id": "acc_1", "chat_id": "c", "text": "x", "expires_at": expires_at});
        let id = daemon.enqueue(&body.to_string()).await;
        assert_eq!(daemon.get(&format!("/v1/messages/{id}")).await.1["expires_at"], last);
    }
    let insert = "INSERT INTO messages (account_id, chat_id, text, expires_at, dedupe_key) VALUES \
         ('acc_1', 'c', 'by SQL', '9999-12-31T23:59:59.999Z', 'k') RETURNING id";
    let id = env.sql(insert).remove(0);
    let shown = daemon.becomes(&id, "queued").await;
    assert_eq!(shown["expires_at"], last, "{shown}");
    let same = json!({"account_id": "acc_1", "chat_id": "c", "text": "by SQL", "expires_at": "9999-12-31T23:59:59.999Z", "dedupe_key": "k"});
    assert_eq!(daemon.post("/v1/messages", &same.to_string()).await.1["duplicate"], true);
    let (ok, said) = run(
        env.outboxd(&[
            "enqueue",
            "--account",
            "acc_1",
            "--chat",
            "c",
            "--text",
            "x",
            "--expires-at",
            "9999-12-31T23:59:59Z",
        ]),
        "",
    );
    assert!(ok, "{said}");
    let (code, paused) =
        daemon.post("/v1/accounts/acc_1/pause", r#"{"until": "9999-12-31T23:59:59.999Z"}"#).await;
    assert_eq!((code, &paused["until"]), (200, &last), "{paused}");
    for bad in ["9999-12-32T00:00:00Z", "10000-01-01T00:00:00Z", "9999-12-31", "9999-12-31T23:59:59"] {
        let body = json!({"account_id": "acc_1", "chat_id": "c", "text": "x", "expires_at": bad});
        assert_eq!(daemon.post("/v1/messages", &body.to_string()).await.0, 422, "{bad}");
    }
    daemon.post("/v1/accounts/acc_1/resume", "").await;
    daemon.post("/v1/resume", "").await;
    daemon.becomes(&id, "sent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_a_month_does_not_have_breaks_no_view() {
    let (env, daemon) = quiet().await;
    // `strftime` of SQLite 3.40, as in Debian 12, returns such times unchanged, so no trigger and no CHECK refuses them.
    // The library of the tests is newer.
    let older = rusqlite::Connection::open(env.database()).expect("the queue");
    older.busy_timeout(std::time::Duration::from_secs(5)).expect("busy timeout");
    older
        .execute_batch(
            "PRAGMA ignore_check_constraints = ON; DROP TRIGGER messages_insert; DROP TRIGGER stops_insert;",
        )
        .expect("as an older library");
    let row = |column: &str, at: &str| {
        let sql = format!(
            "INSERT INTO messages (account_id, users_ids, text, {column}) VALUES ('acc_1', 'U1', 'x', '{at}') RETURNING id"
        );
        older.query_row(&sql, [], |row| row.get::<_, String>(0)).expect("a row")
    };
    for (column, at, shown_as) in [
        ("not_before", "2099-02-30T00:00:00.000Z", "2099-03-02T00:00:00.000Z"),
        ("expires_at", "2099-04-31T10:00:00.000Z", "2099-05-01T10:00:00.000Z"),
        ("expires_at", "2099-02-28T24:00:00.000Z", "2099-03-01T00:00:00.000Z"),
    ] {
        let rejected = daemon.becomes(&row(column, at), "rejected").await;
        assert_eq!(rejected[column], json!(shown_as), "{rejected}");
        let said = rejected["error"].as_str().unwrap_or_default();
        assert!(said.contains(column) && said.contains(at) && said.contains("not a time"), "{said}");
    }
    daemon.enqueue(&json!({"account_id": "acc_1", "users_ids": "U3", "text": "x"}).to_string()).await;
    let stop = |scope: &str, key: &str, reason: &str| {
        let sql =
            "INSERT INTO stops (scope, key, reason, until) VALUES (?1, ?2, ?3, '2099-02-30T00:00:00.000Z')";
        older.execute(sql, [scope, key, reason]).expect("a stop");
    };
    stop("person", "U2", "stopped");
    stop("campaign", "c", "stopped");
    stop("account", "acc_1", "account_paused");
    daemon.post("/v1/resume", "").await;
    let held = json!({"account_id": "acc_2", "users_ids": "U2", "text": "x", "campaign": "c"});
    let held = daemon.enqueue(&held.to_string()).await;
    for path in [
        "/v1/messages",
        "/v1/stops",
        "/v1/status",
        "/v1/accounts",
        "/v1/notices",
        "/readyz",
        "/v1/campaigns/c",
    ] {
        let (code, answer) = daemon.get(path).await;
        assert_eq!(code, 200, "{path}: {answer}");
    }
    let (_, explained) = daemon.get(&format!("/v1/messages/{held}/explain")).await;
    assert!(explained.to_string().contains("2099-03-02T00:00:00.000Z"), "{explained}");
    let (_, account) = daemon.get("/v1/accounts/acc_1").await;
    assert!(account.to_string().contains("2099-03-02T00:00:00.000Z"), "{account}");
    let (ok, said) = run(env.outboxd(&["list"]), "");
    assert!(ok && said.contains("rejected"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_only_the_configuration_names_can_be_asked_about_and_paused() {
    let env = TestEnv::new().await.hasty();
    std::fs::write(
        env.path("outboxd.toml"),
        "[account.\"acc_new\"]\nzone = \"Europe/Berlin\"\ncaps.all = \"40/24h\"\n",
    )
    .expect("written");
    let daemon = env.serve().await;
    for arguments in [
        &["budget", "acc_new"][..],
        &["policy", "acc_new"],
        &["policy", "acc_new", "caps.all=30/24h"],
        &["status", "acc_new"],
        &["pause", "acc_new", "--note", "not yet"],
    ] {
        let (ok, said) = run(env.outboxd(arguments), "");
        assert!(ok, "{arguments:?}: {said}");
    }
    let (_, budget) = daemon.get("/v1/accounts/acc_new/budget").await;
    assert_eq!(
        (&budget["caps"][0]["limit"], &budget["zone"]),
        (&json!(30), &json!("Europe/Berlin")),
        "{budget}"
    );
    let (_, account) = daemon.get("/v1/accounts/acc_new").await;
    assert_eq!(
        (&account["standing"], &account["paused"]["note"]),
        (&json!("paused"), &json!("not yet")),
        "{account}"
    );
    // The account's first message meets the pause.
    let first = daemon.enqueue(r#"{"account_id": "acc_new", "chat_id": "c", "text": "x"}"#).await;
    assert_eq!(daemon.get(&format!("/v1/messages/{first}")).await.1["reason"], "account_paused");
    daemon.kill();
    let daemon = env.serve().await;
    assert_eq!(daemon.get("/v1/accounts").await.1["data"].as_array().map(Vec::len), Some(1));
    let (ok, said) = run(env.outboxd(&["resume", "acc_new"]), "");
    assert!(ok, "{said}");
    daemon.becomes(&first, "sent").await;
    // An account that no request has named is still unknown.
    for verb in ["pause", "resume"] {
        assert_eq!(daemon.post(&format!("/v1/accounts/acc_nobody/{verb}"), "").await.0, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pausing_again_keeps_the_note_and_the_beginning() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    daemon
        .enqueue(
            r#"{"account_id": "acc_1", "chat_id": "c", "text": "x", "not_before": "2099-01-01T00:00:00Z"}"#,
        )
        .await;
    for (path, shown) in [("/v1/pause", "/v1/status"), ("/v1/accounts/acc_1/pause", "/v1/accounts/acc_1")] {
        let paused = async || daemon.get(shown).await.1["paused"].clone();
        daemon.post(path, r#"{"note": "holiday"}"#).await;
        let first = paused().await;
        assert_eq!(first["note"], "holiday", "{first}");
        let (_, again) = daemon.post(path, r#"{"until": "2099-01-01T00:00:00Z"}"#).await;
        assert_eq!(again["already_paused"], true, "{again}");
        let second = paused().await;
        assert_eq!((&second["note"], &second["since"]), (&first["note"], &first["since"]), "{path}");
        assert_eq!(second["until"], "2099-01-01T00:00:00.000Z", "its end is the new one");
        daemon.post(path, r#"{"note": "longer"}"#).await;
        let third = paused().await;
        assert_eq!((&third["note"], &third["since"]), (&json!("longer"), &first["since"]), "{path}");
        daemon.post(path, r#"{"note": ""}"#).await;
        assert_eq!(paused().await["note"], Value::Null, "an empty note takes it away");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_rules_that_many_change_at_once_none_is_lost() {
    let (env, daemon) = quiet().await;
    daemon.enqueue(r#"{"account_id": "acc_1", "chat_id": "c", "text": "x"}"#).await;
    let daemon = std::sync::Arc::new(daemon);
    let rules = [
        ("caps.all", json!("50/24h")),
        ("caps.message", json!("40/24h")),
        ("caps.new_chat", json!("30/24h")),
        ("gap.max", json!("3s")),
        ("typing.enabled", json!(true)),
        ("zone", json!("Europe/Paris")),
        ("order.per_recipient", json!("5s")),
        ("order.follow_ups_first", json!(true)),
    ];
    let mut changing = tokio::task::JoinSet::new();
    for (key, value) in rules.clone() {
        let daemon = std::sync::Arc::clone(&daemon);
        changing.spawn(async move {
            let (code, answer) =
                daemon.patch("/v1/accounts/acc_1/policy", &json!({ key: value }).to_string()).await;
            assert_eq!(code, 200, "{answer}");
        });
    }
    changing.join_all().await;
    let expected: Value = rules
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect::<serde_json::Map<_, _>>()
        .into();
    assert_eq!(daemon.get("/v1/accounts/acc_1/policy").await.1["policy"], expected);
    // The overrides in force are the stored ones.
    let (_, budget) = daemon.get("/v1/accounts/acc_1/budget").await;
    let caps: Vec<&str> =
        budget["caps"].as_array().expect("caps").iter().filter_map(|cap| cap["cap"].as_str()).collect();
    assert_eq!(
        (caps, &budget["zone"]),
        (vec!["all", "message", "new_chat", "profile"], &json!("Europe/Paris")),
        "{budget}"
    );
    drop(env);
}
