//! `outboxd erase`: a person is removed everywhere and never written to again, by any door (P5).

use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, run, texts};

/// A word of everything that is stored about the person.
const WORDS: [&str; 6] = ["Jane", "jane-doe", "secret text", "jane@example.com", "U1", "asked by"];

async fn enqueue(daemon: &Daemon, message: Value) -> String {
    daemon.enqueue(&message.to_string()).await
}

/// Returns every table that still holds one of the words, with the word.
fn left_over(env: &TestEnv) -> Vec<String> {
    let tables = env.sql("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'");
    let mut found = Vec::new();
    for table in tables {
        let columns = env.sql(&format!("SELECT name FROM pragma_table_xinfo('{table}')"));
        for column in columns {
            for word in WORDS {
                let sql = format!(
                    "SELECT '{table}.{column}: ' || \"{column}\" FROM \"{table}\" WHERE instr(CAST(\"{column}\" AS TEXT), '{word}') > 0"
                );
                found.extend(env.sql(&sql));
            }
        }
    }
    found
}

/// Exports U1 before the erasure: everything that is stored about them, over both accounts.
fn everything_is_exported(env: &TestEnv) {
    let (ok, json) = run(env.outboxd(&["export", "--person", "jane-doe", "--json"]), "");
    let person: Value = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{ok}: {json}"));
    let messages = person["messages"].as_array().expect("messages");
    let texts: Vec<&str> = messages.iter().filter_map(|one| one["text"].as_str()).collect();
    assert_eq!(texts, ["secret text 1", "secret text 2", "secret text 3"]);
    assert_eq!(messages[0]["attempts"].as_array().map(Vec::len), Some(1));
    assert!(messages[0]["sent_at"].is_string() && messages[0]["meta"]["mail"] == "jane@example.com");
    assert_eq!((&person["id"], &person["name"]), (&json!("U1"), &json!("Jane")));
    assert_eq!(
        (&person["inbound"][0]["message_id"], &person["inbound"][0]["kind"]),
        (&json!("m9"), &json!("reply"))
    );
    assert_eq!(person["stops"][0]["note"], "asked by Jane");
    let (ok, table) = run(env.outboxd(&["export", "--person", "U1"]), "");
    let mut reader = csv::Reader::from_reader(table.as_bytes());
    let header = reader.headers().expect("a header").clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let cell = |row: usize, name: &str| {
        rows[row][header.iter().position(|column| column == name).expect("a column")].to_owned()
    };
    assert!(ok && rows.len() == 3, "{table}");
    assert_eq!(
        [cell(0, "mail"), cell(0, "state"), cell(2, "text")],
        ["jane@example.com", "sent", "secret text 3"]
    );
    let (ok, none) = run(env.outboxd(&["export", "--person", "U9"]), "");
    assert!(!ok && none.contains("U9"), "{none}");
}

/// Asks every door for a message to U1, who was erased, and queues one to U4.
async fn no_door_is_open(env: &TestEnv, daemon: &Daemon, chat: &Value) {
    let to = |users: Value| json!({"account_id": "acc_3", "users_ids": users, "text": "again"});
    let group = json!({"account_id": "acc_3", "users_ids": ["U3", "U1"], "name": "n", "text": "x"});
    for refused in [to(json!("U1")), group, json!({"account_id": "acc_1", "chat_id": chat, "text": "x"})] {
        let (code, answer) = daemon.post("/v1/messages", &refused.to_string()).await;
        assert_eq!((code, &answer["error"]["code"]), (409, &json!("suppressed")), "{answer}");
    }
    let (_, batch) =
        daemon.post("/v1/messages", &json!([to(json!("U1")), to(json!("U4"))]).to_string()).await;
    assert_eq!((&batch["accepted"], &batch["refused"]), (&json!(1), &json!(1)), "{batch}");
    let insert =
        "INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_1', 'U1', 'by SQL') RETURNING id";
    assert_eq!(daemon.becomes(&env.sql(insert)[0], "rejected").await["reason"], "suppressed");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_an_erased_person_and_no_door_lets_a_message_through() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let first = json!({"account_id": "acc_1", "users_ids": "U1", "text": "secret text 1",
                       "meta": {"mail": "jane@example.com"}, "dedupe_key": "jane@example.com"});
    let sent = enqueue(&daemon, first.clone()).await;
    let chat = daemon.becomes(&sent, "sent").await["chat_id"].clone();
    daemon.post("/v1/pause", "").await;
    let queued =
        enqueue(&daemon, json!({"account_id": "acc_1", "chat_id": chat, "text": "secret text 2"})).await;
    let elsewhere =
        enqueue(&daemon, json!({"account_id": "acc_2", "users_ids": "U1", "text": "secret text 3"})).await;
    let another = enqueue(&daemon, json!({"account_id": "acc_1", "users_ids": "U2", "text": "to U2"})).await;
    env.sql("INSERT INTO people (account_id, user_id, public_identifier, name, at) VALUES ('acc_1', 'U1', 'jane-doe', 'Jane', '2026-01-01T00:00:00.000Z') RETURNING 1 || ''");
    env.sql(&format!("INSERT INTO inbound_messages VALUES ('acc_1', {chat}, 'm9', 'U1', '2026-01-01T00:00:00.000Z', '2026-01-01T00:00:00.000Z', 'webhook', 'reply', 'words') RETURNING 1 || ''").replace('"', "'"));
    daemon.post("/v1/stops", r#"{"scope": "person", "key": "U1", "note": "asked by Jane"}"#).await;
    assert!(!left_over(&env).is_empty());
    everything_is_exported(&env);

    let (ok, said) = run(env.outboxd(&["erase", "U1"]), "");
    assert!(!ok && said.contains("add --yes"), "{said}");
    let (ok, said) = run(
        env.outboxd(&["erase", "https://www.linkedin.com/in/jane-doe/", "--yes", "--note", "ticket 7"]),
        "",
    );
    assert!(ok && said.contains("erased: 3 messages (2 of them were queued and are cancelled)"), "{said}");
    assert!(said.contains("what 1 account knew, 1 record of a reply, 1 stop;"), "{said}");
    assert_eq!(left_over(&env), Vec::<String>::new());
    for id in [&queued, &elsewhere] {
        assert_eq!(daemon.becomes(id, "cancelled").await["reason"], "suppressed");
    }
    let events = env.sql("SELECT detail FROM events WHERE kind = 'person.erased'");
    assert_eq!(events, ["3 messages, 0 files, 1 records of replies: ticket 7"]);
    for name in ["U1", "jane-doe"] {
        let (ok, said) = run(env.outboxd(&["person", name]), "");
        assert!(ok && said.starts_with("erased at "), "{said}");
    }
    let (ok, said) = run(env.outboxd(&["erase", "ACoTypo", "--yes"]), "");
    assert!(ok && said.starts_with("nothing is known of ACoTypo, so there was nothing to remove"), "{said}");

    // By user, by name, by chat, in a group, by SQL, and again after a restart.
    let daemon = {
        daemon.stop().await;
        env.serve().await
    };
    no_door_is_open(&env, &daemon, &chat).await;
    let (ok, said) = run(env.outboxd(&["retry", &queued]), "");
    assert!(!ok && said.contains("text was removed"), "{said}");

    daemon.post("/v1/resume", "").await;
    daemon.becomes(&another, "sent").await;
    let delivered = env.delivered(3).await;
    let sent = texts(&delivered);
    assert_eq!(
        sent.iter().filter(|text| text.contains("secret") || text.contains("again")).count(),
        2,
        "{sent:?}"
    );
    let (ok, said) = run(env.outboxd(&["audit"]), "");
    assert!(ok, "{said}");
    daemon.stop().await;
}

/// The chat of a queued message turns out to be with an erased person: the intent is withdrawn.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_for_an_erased_person_is_withdrawn() {
    let env = TestEnv::new().await.hasty();
    env.sandbox.world().add_chat_with_user("acc_1", "U1", "c1");
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let queued = enqueue(&daemon, json!({"account_id": "acc_1", "chat_id": "c1", "text": "into c1"})).await;
    let (code, erased) = daemon.post("/v1/people/U1/erase", "{}").await;
    assert_eq!((code, &erased["messages"]), (200, &json!(0)), "{erased}");
    env.sql("INSERT INTO conversations VALUES ('acc_1', 'c1', 'U1', 'webhook', '2026-01-01T00:00:00.000Z') RETURNING 1 || ''");
    daemon.post("/v1/resume", "").await;
    assert_eq!(daemon.becomes(&queued, "cancelled").await["reason"], "suppressed");
    assert_eq!(env.writes().len(), 0);
    let (code, refused) = daemon.post("/v1/people/U1/erase", r#"{"nota": "x"}"#).await;
    assert_eq!(code, 422, "{refused}");
    daemon.stop().await;
}

/// A row that another program inserted and that was rejected keeps what was written: it is shown, exported and erased as well.
#[tokio::test(flavor = "multi_thread")]
async fn rejected_rows_are_shown_exported_and_erased() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let insert = |users: &str, text: &str| {
        let sql = format!(
            "INSERT INTO messages (account_id, users_ids, text, meta) VALUES ('acc_1', '{users}', 'Hi {{{{name}}}}: {text}', '{{\"mail\": \"j@example.com\"}}') RETURNING id"
        );
        env.sql(&sql)[0].clone()
    };
    env.sql("INSERT INTO people (account_id, user_id, public_identifier, name, at) VALUES ('acc_1', 'ACoAERJ1', 'jane-doe', 'Jane', '2026-01-01T00:00:00.000Z') RETURNING 1 || ''");
    env.sql("INSERT INTO conversations VALUES ('acc_1', 'chat_9', 'ACoAERJ1', 'webhook', '2026-01-01T00:00:00.000Z') RETURNING 1 || ''");
    let mut rows: Vec<String> = [
        "ACoAERJ1",
        "[\"ACoAERJ1\"]",
        "urn:li:fsd_profile:ACoAERJ1",
        "https://www.linkedin.com/in/jane-doe/",
        "jane-doe",
    ]
    .into_iter()
    .map(|users| insert(users, "secret"))
    .collect();
    rows.push(env.sql("INSERT INTO messages (account_id, chat_id, text) VALUES ('acc_1', 'chat_9', 'Hi {{name}}: secret') RETURNING id")[0].clone());
    let other = insert("ACoAERJ12", "kept");
    for id in rows.iter().chain([&other]) {
        daemon.becomes(id, "rejected").await;
    }
    let (ok, shown) = run(env.outboxd(&["person", "jane-doe"]), "");
    assert!(
        ok && shown.contains("6 rejected") && rows.iter().all(|id| shown.contains(id.as_str())),
        "{shown}"
    );
    assert!(!shown.contains(&other), "{shown}");
    let (_, answer) = daemon.get("/v1/people/ACoAERJ1").await;
    assert_eq!(answer["messages"].as_array().map(Vec::len), Some(6), "{answer}");
    let (_, queued) = daemon.get("/v1/messages?person=ACoAERJ1&state=queued").await;
    assert_eq!(queued["data"], json!([]));
    let (ok, exported) = run(env.outboxd(&["export", "--person", "ACoAERJ1", "--json"]), "");
    assert!(ok && exported.matches("secret").count() == 6, "{exported}");

    let (ok, said) = run(env.outboxd(&["erase", "ACoAERJ1", "--yes"]), "");
    assert!(ok && said.contains("erased: 6 messages"), "{said}");
    let left = "SELECT id FROM messages WHERE text <> '' OR meta IS NOT NULL OR error IS NOT NULL OR coalesce(users_ids, chat_id) <> 'erased'";
    assert_eq!(env.sql(left), [other]);
    assert_eq!(
        env.sql("SELECT detail FROM events WHERE instr(detail, 'ERJ1') > 0 OR instr(detail, 'jane') > 0"),
        Vec::<String>::new()
    );
    let (ok, said) = run(env.outboxd(&["audit"]), "");
    assert!(ok, "{said}");
    daemon.stop().await;
}
