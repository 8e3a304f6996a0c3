//! Rows as spreadsheets, templates and people make them: every interface refuses them, in words that say what to do;
//! and only the daemon changes messages (P7).
#![allow(clippy::unwrap_used, reason = "a test may")]

use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, quiet, run};

/// Inserts one row by SQL; returns why the INSERT, or the daemon after it, refuses the row.
async fn refused_by_sql(env: &TestEnv, account: &str, user: &str, text: &str) -> Option<String> {
    let connection = rusqlite::Connection::open(env.database()).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let sql = "INSERT INTO messages (account_id, users_ids, text) VALUES (?1, ?2, ?3) RETURNING id";
    let inserted = connection.query_row(sql, [account, user, text], |row| row.get::<_, String>(0));
    let id = match inserted {
        Ok(id) => id,
        Err(error) => return Some(error.to_string()),
    };
    let mut found = (String::new(), None);
    let judged = eventually(async || {
        let sql = "SELECT state, error FROM messages WHERE id = ?1";
        found = connection.query_row(sql, [&id], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        found.0 != "new"
    });
    assert!(judged.await);
    if found.0 == "rejected" { found.1 } else { None }
}

/// Returns why each interface refuses a row; `None` if it accepts it.
async fn verdicts(
    env: &TestEnv,
    daemon: &Daemon,
    account: &str,
    user: &str,
    text: &str,
) -> [Option<String>; 4] {
    let body = json!({ "account_id": account, "users_ids": user, "text": text, "allow_repeat": true });
    let (status, answer) = daemon.post("/v1/messages", &body.to_string()).await;
    let socket = (status != 201).then(|| answer.to_string());
    let (_, batch) = daemon.post("/v1/messages", &format!("[{body}]")).await;
    let row = (batch["accepted"] != 1).then(|| batch.to_string());
    let arguments = [
        "enqueue",
        "--allow-repeat",
        &format!("--account={account}"),
        &format!("--user={user}"),
        &format!("--text={text}"),
    ];
    let (ok, said) = run(env.outboxd(&arguments), "");
    let line = (!ok).then_some(said);
    [socket, row, line, refused_by_sql(env, account, user, text).await]
}

/// D2, D3, D4
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_by_every_way_in() {
    let (env, daemon) = quiet().await;
    let rows = [
        ("acc_1", "NULL", "hello", "missing value"),
        ("acc_1", "undefined", "hello", "missing value"),
        ("acc_1", "#N/A", "hello", "missing value"),
        ("acc_1", "[object Object]", "hello", ""),
        ("acc_1", "{{ $json.id }}", "hello", "placeholder"),
        ("acc_1", "ACoA1,ACoA2", "hello", "one id"),
        ("acc_1", "https://www.linkedin.com/in/foo/", "hello", "Get a User Profile"),
        ("acc_1", "linkedin.com/in/foo?utm=x", "hello", "Get a User Profile"),
        ("acc_1", "foo-bar-123", "hello", "Get a User Profile"),
        ("acc_1", "123456.0", "hello", "format the column as text"),
        ("acc_1", "1.23457E+11", "hello", "format the column as text"),
        ("acc_1", "user_id", "hello", "header"),
        ("acc_1", "<NA>", "hello", "missing value"),
        ("acc_1", "#DIV/0!", "hello", "missing value"),
        ("acc_1", "{user_id}", "hello", "placeholder"),
        ("acc_1", "ACoAB\u{2026}9x", "hello", "whole id"),
        ("acc_1", "acoaab12", "hello", "capital and small letters"),
        ("acc_1", "ACoA\u{ad}1", "hello", "invisible"),
        ("acc_{id}", "ACoA1", "hello", "account_id"),
        ("acc_*", "ACoA1", "hello", "account_id"),
        ("acc_1", "ACoA1", "Hi $first_name, how are you?", "allow_placeholders"),
        ("acc_1", "ACoA1", "{Hi|Hello} Anna, how are you?", "allow_placeholders"),
        ("acc_1", "ACoA1", "Dear Mr. None, how are you?", "allow_placeholders"),
        ("acc_1", "ACoA1", "Hi Anna, I saw your work at nan.", "allow_placeholders"),
        ("acc_1", "ACoA1", "Hi J\u{fffd}rg", "U+FFFD in line 1"),
        ("acc_1", "ACoA1", "Hi {{first_name}}, how are you?", "allow_placeholders"),
        ("acc_1", "ACoA1", "Hi [First Name], how are you?", "allow_placeholders"),
        ("acc_1", "ACoA1", "Hi , how are you?", "allow_placeholders"),
        ("acc_1", "ACoA1", "Hi nan, how are you?", "allow_placeholders"),
        ("acc_1", "ACoA1", "undefined", "allow_placeholders"),
        ("acc_1", "ACoA1", "Hi\nJane\u{1b}[2J", "control character U+001B in line 2"),
        ("acc_1", "ACoA1", "Hi \u{202e}enaJ", "U+202E in line 1"),
    ];
    for (account, user, text, says) in rows {
        for (way, verdict) in verdicts(&env, &daemon, account, user, text).await.into_iter().enumerate() {
            let said = verdict.unwrap_or_else(|| panic!("way {way} took {user:?} {text:?}"));
            assert!(said.contains(says), "way {way}, {user:?} {text:?}: {said}");
        }
    }
    let queued = env.sql("SELECT id FROM messages WHERE state NOT IN ('rejected')");
    assert_eq!(queued, [""; 0], "nothing of it would be sent");
    for text in ["Hi {{first_name}}", "Hi ,"] {
        let body =
            json!({ "account_id": "acc_1", "users_ids": "ACoA1", "text": text, "allow_placeholders": true });
        daemon.enqueue(&body.to_string()).await;
    }
    let said = refused_by_sql(&env, "acc_1", "ACoA1", "Hi Jane, how are you?").await;
    assert_eq!(said, None);
    daemon.stop().await;
}

/// D1, D5: white space around an id or a text does not make another person, account or text.
#[tokio::test(flavor = "multi_thread")]
async fn white_space_makes_nobody_else() {
    let (env, daemon) = quiet().await;
    let first = json!({ "account_id": "acc_1", "users_ids": "ACoAX", "text": "Same text" });
    daemon.enqueue(&first.to_string()).await;
    for (account, user, text) in [
        ("acc_1", "ACoAX ", "Same text"),
        ("acc_1 ", "ACoAX", "Same text"),
        ("acc_1", " ACoAX", "Same text"),
        ("acc_1", "ACoAX\u{a0}", "Same text"),
        ("acc_1", "ACoAX", "Same text "),
        ("acc_1", "ACoAX", "\nSame text\n"),
        ("acc_1", "ACoAX", "Same text\u{200b}"),
        ("acc_1", "ACoAX", "\u{2060}Same text\u{feff}"),
    ] {
        let body = json!({ "account_id": account, "users_ids": user, "text": text });
        let (status, answer) = daemon.post("/v1/messages", &body.to_string()).await;
        assert_eq!((status, &answer["error"]["code"]), (409, &json!("repeated_text")), "{body}: {answer}");
        let said = refused_by_sql(&env, account, user, text).await;
        assert!(said.is_some(), "{body} by SQL");
    }
    assert!(
        daemon
            .post(
                "/v1/messages",
                &json!({ "account_id": "acc_1", "users_ids": "  ", "text": "x" }).to_string()
            )
            .await
            .0
            == 422
    );
    assert_eq!(env.sql("SELECT id FROM accounts"), ["acc_1"]);
    for arguments in
        [["pause", "acc_1 "], ["budget", " acc_1"], ["resume", "acc_1\u{a0}"], ["person", "ACoAX "]]
    {
        let (ok, said) = run(env.outboxd(&arguments), "");
        assert!(ok, "{arguments:?}: {said}");
    }
    let (_, listed) = daemon.get("/v1/messages?account_id=acc_1%20&state=queued").await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1), "{listed}");
    let (code, account) = daemon.get("/v1/accounts/acc_1%20").await;
    assert_eq!((code, &account["id"]), (200, &json!("acc_1")), "{account}");
    let (ok, said) = run(env.outboxd(&["person", " "]), "");
    assert!(!ok && said.contains("it is empty") && !said.contains("/v1/"), "{said}");
    daemon.stop().await;
}

/// D2, D4: what a template left in the options of a product reaches the person too, or wastes a call.
#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_product_are_checked_like_the_message() {
    let (env, daemon) = quiet().await;
    let recruiter = |key: &str, value: &str| {
        let mut product = json!({"subject": "A role", "signature": "Anna",
            "follow_up": {"subject": "A role", "text": "Did you see it?", "scheduled_for": {"days": 7}}});
        *product.pointer_mut(key).unwrap() = json!(value);
        json!({ "linkedin": { "recruiter": product } })
    };
    let classic = |options: Value| json!({ "linkedin": { "classic": options } });
    for (specifics, field) in [
        (recruiter("/follow_up/text", "Hi {{first_name}}, did you see it?"), "recruiter.follow_up.text"),
        (recruiter("/follow_up/subject", "For [Company Name]"), "recruiter.follow_up.subject"),
        (recruiter("/signature", "{sender_name}"), "recruiter.signature"),
        (recruiter("/follow_up/text", "Did you\u{1b} see it?"), "recruiter.follow_up.text"),
        (classic(json!({"applicant": {"id": "NULL", "messaging_token": "t"}})), "applicant.id"),
        (
            classic(json!({"applicant": {"id": "a", "messaging_token": "{{token}}"}})),
            "applicant.messaging_token",
        ),
        (classic(json!({"relation_request_id": "nan"})), "relation_request_id"),
    ] {
        let body =
            json!({"account_id": "acc_1", "users_ids": "ACoA1", "text": "Hello Ada", "specifics": specifics});
        let (code, answer) = daemon.post("/v1/messages", &body.to_string()).await;
        assert!(code == 422 && answer["error"]["field"].as_str().unwrap().ends_with(field), "{answer}");
        let sql = format!(
            "INSERT INTO messages (account_id, users_ids, text, specifics) VALUES ('acc_1', 'ACoA1', 'Hello Ada', '{specifics}') RETURNING id"
        );
        let rejected = daemon.becomes(&env.sql(&sql).remove(0), "rejected").await;
        assert!(rejected["error"].as_str().unwrap().contains(field), "{rejected}");
    }
    daemon.stop().await;
}

/// D10: rows that share a key by mistake would be taken for one message.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_means_a_missing_value_is_refused() {
    let (env, daemon) = quiet().await;
    for key in ["NULL", "nan", "undefined", "  ", "{{ $json.key }}"] {
        let body = json!({"account_id": "acc_1", "users_ids": "ACoA1", "text": "x", "dedupe_key": key});
        let (code, answer) = daemon.post("/v1/messages", &body.to_string()).await;
        assert_eq!((code, &answer["error"]["field"]), (422, &json!("dedupe_key")), "{answer}");
        let sql = format!(
            "INSERT INTO messages (account_id, users_ids, text, dedupe_key) VALUES ('acc_1', 'ACoA1', 'x', '{key}') RETURNING id"
        );
        let rejected = daemon.becomes(&env.sql(&sql).remove(0), "rejected").await;
        assert!(rejected["error"].as_str().unwrap().contains("dedupe_key"), "{rejected}");
    }
    daemon.stop().await;
}

/// D6, D7
#[tokio::test(flavor = "multi_thread")]
async fn files_of_other_programs_are_read_or_named_as_what_they_are() {
    let (env, daemon) = quiet().await;
    let row = json!({ "account_id": "acc_1", "chat_id": "c1", "text": "first" });
    std::fs::write(env.path("rows.jsonl"), format!("\u{feff}{row}\r\n")).unwrap();
    let (ok, said) = run(env.outboxd(&["enqueue", "rows.jsonl"]), "");
    assert!(ok && said.contains("1 accepted"), "{said}");
    std::fs::write(env.path("text.txt"), "\u{feff}Hello\r\n").unwrap();
    let (ok, said) =
        run(env.outboxd(&["enqueue", "--account", "acc_1", "--chat", "c2", "--text-file", "text.txt"]), "");
    assert!(ok, "{said}");
    assert_eq!(env.sql("SELECT text FROM messages WHERE chat_id = 'c2'"), ["Hello"]);

    let csv = "first_name,linkedin_url,company\nJane,https://linkedin.com/in/jane,ACME\n".repeat(50);
    std::fs::write(env.path("prospects.csv"), csv).unwrap();
    let (ok, said) = run(env.outboxd(&["enqueue", "prospects.csv"]), "");
    assert!(!ok && said.contains("CSV") && said.lines().count() == 1, "{said}");
    std::fs::write(env.path("array.json"), format!("[{row}]")).unwrap();
    let (ok, said) = run(env.outboxd(&["enqueue", "array.json"]), "");
    assert!(!ok && said.contains("JSON array") && said.lines().count() == 1, "{said}");
    std::fs::write(env.path("long.json"), format!("{row:#}")).unwrap();
    let (ok, said) = run(env.outboxd(&["enqueue", "long.json"]), "");
    assert!(!ok && said.contains("JSON over several lines") && said.lines().count() == 1, "{said}");
    std::fs::write(env.path("people.xlsx"), "PK\u{3}\u{4}\u{14}\0\n\0").unwrap();
    let (ok, said) = run(env.outboxd(&["enqueue", "people.xlsx"]), "");
    assert!(!ok && said.contains("Excel workbook") && said.lines().count() == 1, "{said}");
    let spread = format!("{{\"account_id\": \"acc_1\",\n{}", &row.to_string()[1..]).replacen(
        "\"account_id\":\"acc_1\",",
        "",
        1,
    );
    for (name, content, kind) in [
        ("names.csv", b"user_id\nACoA1\nACoA2\n".to_vec(), "other text"),
        ("rows.yaml", b"account_id: acc_1\ntext: hi\n".to_vec(), "other text"),
        ("utf16.jsonl", b"\xff\xfe{\0}\0\n\0".to_vec(), "UTF-16"),
        ("rows.gz", b"\x1f\x8b\x08\0\n\0".to_vec(), "compressed"),
        ("spread.json", spread.into_bytes(), "JSON over several lines"),
    ] {
        std::fs::write(env.path(name), content).unwrap();
        let (ok, said) = run(env.outboxd(&["enqueue", name]), "");
        assert!(!ok && said.contains(kind) && said.lines().count() == 1, "{name}: {said}");
    }
    let row = |chat: &str| json!({ "account_id": "acc_1", "chat_id": chat, "text": "joined" });
    std::fs::write(env.path("joined.jsonl"), format!("\u{feff}{}\r\n\u{feff}{}\r\n", row("j1"), row("j2")))
        .unwrap();
    let (ok, said) = run(env.outboxd(&["enqueue", "joined.jsonl"]), "");
    assert!(ok && said.contains("2 accepted"), "{said}");
    std::fs::write(env.path("comma.jsonl"), format!("{},\n{}\n", row("j3"), row("j4"))).unwrap();
    let (ok, said) = run(env.outboxd(&["enqueue", "comma.jsonl"]), "");
    assert!(!ok && said.contains("line 1") && said.contains("nothing after it"), "{said}");
    std::fs::write(env.path("latin1.txt"), b"Hi J\xf6rg").unwrap();
    let (ok, said) =
        run(env.outboxd(&["enqueue", "--account", "acc_1", "--chat", "c3", "--text-file", "latin1.txt"]), "");
    assert!(!ok && said.contains("save it as UTF-8"), "{said}");
    daemon.stop().await;
}

/// D8
#[tokio::test(flavor = "multi_thread")]
async fn file_names_lose_their_folders_and_hide_nothing() {
    let (env, daemon) = quiet().await;
    let with = |name: &str| {
        json!({ "account_id": "acc_1", "chat_id": "c1", "text": "x", "attachments": [{ "filename": name, "content": "aGVsbG8=" }] })
            .to_string()
    };
    let id = daemon.enqueue(&with("C:\\Users\\jane\\cv.pdf")).await;
    let shown = daemon.get(&format!("/v1/messages/{id}")).await.1;
    assert_eq!(shown["attachments"][0]["filename"], "cv.pdf", "{shown}");
    for name in ["..", ".", "cv\u{202e}fdp.exe", "cv\u{200b}.pdf", "/tmp/", "a\u{7}.pdf"] {
        let (status, answer) = daemon.post("/v1/messages", &with(name)).await;
        assert_eq!(status, 422, "{name:?}: {answer}");
    }
    drop(env);
    daemon.stop().await;
}

/// D10
#[tokio::test(flavor = "multi_thread")]
async fn another_program_changes_and_deletes_no_message() {
    let (env, daemon) = quiet().await;
    let id = daemon
        .enqueue(&json!({ "account_id": "acc_1", "users_ids": "ACoA1", "text": "Hello" }).to_string())
        .await;
    let before = daemon.get(&format!("/v1/messages/{id}")).await.1;
    let connection = rusqlite::Connection::open(env.database()).unwrap();
    for change in [
        "text = 'changed'",
        "text = ''",
        "users_ids = 'ACoA2'",
        "state = 'sent'",
        "state = 'sending', updated_at = '2027-01-01T00:00:00.000Z'",
        "state = 'cancelled'",
        "account_id = 'acc_2'",
        "priority = 5000",
        "due_at = '2020-01-01T00:00:00.000Z'",
        "dedupe_key = 'k'",
        "revision = 7",
    ] {
        let refused =
            connection.execute(&format!("UPDATE messages SET {change}"), []).unwrap_err().to_string();
        assert!(refused.contains("outboxd cancel"), "{change}: {refused}");
    }
    assert!(connection.execute("DELETE FROM messages", []).is_err());
    let upsert = "INSERT INTO messages (id, account_id, users_ids, text) VALUES (?1, 'acc_1', 'ACoA1', 'changed') \
         ON CONFLICT (id) DO UPDATE SET text = excluded.text";
    assert!(connection.execute(upsert, [&id]).is_err());
    let after = daemon.get(&format!("/v1/messages/{id}")).await.1;
    let told =
        |message: &Value| (message["text"].clone(), message["state"].clone(), message["users_ids"].clone());
    assert_eq!(told(&before), told(&after));
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    daemon.becomes(&id, "sent").await;
    daemon.stop().await;
}
