//! A suppression list of hashes refuses what a list of names refuses, at every door, and names no person.

use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, run, texts};

async fn hashing() -> TestEnv {
    TestEnv::new().await.hasty().set("OUTBOXD_SUPPRESSION_HASHED", "true")
}

fn to(account: &str, target: Value) -> String {
    let mut message = json!({"account_id": account, "text": "hello", "allow_repeat": true});
    let fields = target.as_object().expect("fields").clone();
    message.as_object_mut().expect("a message").extend(fields);
    message.to_string()
}

async fn status(daemon: &Daemon, account: &str, target: Value) -> u16 {
    daemon.post("/v1/messages", &to(account, target)).await.0
}

/// Returns the rows of the tables of the list and its events that name `word`.
fn named(env: &TestEnv, word: &str) -> Vec<String> {
    env.sql(&format!(
        "SELECT key FROM stops WHERE key LIKE '%{word}%' UNION ALL \
         SELECT detail FROM events WHERE detail LIKE '%{word}%' AND kind LIKE 'stop.%'"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hashed_list_is_refused_at_every_door_and_names_no_person() {
    let env = hashing().await;
    let daemon = env.serve().await;
    let first = daemon.enqueue(&to("acc_1", json!({"users_ids": "ACoAjane"}))).await;
    let chat = daemon.becomes(&first, "sent").await["chat_id"].clone();
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let waits = daemon.enqueue(&to("acc_1", json!({"users_ids": "ACoAjane"}))).await;
    let (ok, said) = run(env.outboxd(&["suppress", "add", "ACoAjane", "--note", "asked"]), "");
    assert!(ok && said.contains("queued messages cancelled: 1"), "{said}");
    assert_eq!(daemon.becomes(&waits, "cancelled").await["reason"], "suppressed");
    let (ok, again) = run(env.outboxd(&["suppress", "add", "ACoAjane"]), "");
    assert!(ok && again.contains("it was already"), "{again}");
    assert_eq!(named(&env, "jane"), [""; 0]);
    assert_eq!(env.sql("SELECT count(*) || '' FROM stops WHERE scope = 'person'"), ["1"]);
    daemon.kill();
    let daemon = env.serve().await;
    for target in [
        json!({"users_ids": "ACoAjane"}),
        json!({"chat_id": chat}),
        json!({"users_ids": ["ACoAjane", "ACoAother"], "group": true}),
    ] {
        assert_eq!(status(&daemon, "acc_1", target.clone()).await, 409, "{target}");
    }
    assert_eq!(status(&daemon, "acc_2", json!({"users_ids": "ACoAjane"})).await, 409);
    env.sql("INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_1', 'ACoAjane', 'by SQL') RETURNING id");
    let by_sql = async || env.sql("SELECT reason FROM messages WHERE text = 'by SQL' AND state = 'rejected'");
    assert!(eventually(async || by_sql().await == ["suppressed"]).await);
    let (ok, listed) = run(env.outboxd(&["suppress", "list"]), "");
    assert!(ok && listed.starts_with("person\tsha256:") && listed.contains("asked"), "{listed}");
    let (ok, checked) = run(env.outboxd(&["suppress", "check", "ACoAjane"]), "");
    assert!(ok && checked.contains("is suppressed on every account"), "{checked}");
    assert!(!run(env.outboxd(&["suppress", "check", "ACoAother"]), "").0);
    let (ok, removed) = run(env.outboxd(&["suppress", "remove", "ACoAjane"]), "");
    assert!(ok && removed.contains("may be written to again"), "{removed}");
    assert_eq!(status(&daemon, "acc_2", json!({"users_ids": "ACoAjane"})).await, 201);
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["hello"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_chats_and_single_accounts_are_hashed_and_so_is_what_was_there_before() {
    let mut env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let people = "ACoAearly,x\nin/eve\n";
    let (ok, said) = run(env.outboxd(&["suppress", "import", "-"]), people);
    assert!(ok && said.contains("people suppressed: 2"), "{said}");
    daemon.stop().await;
    env = env.set("OUTBOXD_SUPPRESSION_HASHED", "true").set("OUTBOXD_PEOPLE_RESOLVE", "true");
    let daemon = env.serve().await;
    let hashes = "SELECT count(*) || '' FROM stops WHERE key GLOB 'sha256:*'";
    assert_eq!(env.sql(hashes), ["2"], "what was there before");
    let own = ["suppress", "add", "ACoAown", "--account", "acc_1"];
    for arguments in [&own[..], &["suppress", "add", "2-chat", "--chat"], &["suppress", "add", "in/eve"]] {
        let (ok, said) = run(env.outboxd(arguments), "");
        assert!(ok, "{said}");
    }
    assert_eq!(env.sql(hashes), ["4"]);
    for (account, target, expected) in [
        ("acc_1", json!({"users_ids": "ACoAearly"}), 409),
        ("acc_1", json!({"users_ids": "ACoAown"}), 409),
        ("acc_2", json!({"users_ids": "ACoAown"}), 201),
        ("acc_2", json!({"chat_id": "2-chat"}), 409),
        ("acc_2", json!({"users_ids": "https://www.linkedin.com/in/eve/"}), 409),
    ] {
        assert_eq!(status(&daemon, account, target.clone()).await, expected, "{account} {target}");
    }
    // The name of the person is learned after the name was suppressed.
    env.sandbox.world().set_profile("ACoAeve", outboxd::sandbox::Profile::named("eve", "Eve"));
    env.sql(
        "INSERT INTO people (account_id, user_id, public_identifier, at) VALUES ('acc_9', 'ACoAeve', 'eve', '2026-12-01T00:00:00.000Z') RETURNING user_id",
    );
    assert_eq!(status(&daemon, "acc_1", json!({"users_ids": "ACoAeve"})).await, 409);
    // A row of another program is in force at once, and hashed when it is applied.
    env.sql(
        "INSERT INTO stops (scope, key, reason) VALUES ('person', 'ACoAsql', 'suppressed') RETURNING key",
    );
    assert_eq!(status(&daemon, "acc_1", json!({"users_ids": "ACoAsql"})).await, 409);
    daemon.stop().await;
    let daemon = env.serve().await;
    assert_eq!(named(&env, "ACoAsql"), [""; 0]);
    assert_eq!(status(&daemon, "acc_1", json!({"users_ids": "ACoAsql"})).await, 409);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_to_be_left_alone_is_kept_as_a_hash() {
    let env = hashing().await;
    let daemon = env.serve().await;
    let first = json!({"users_ids": "ACoAjane", "campaign": "autumn"});
    let first = daemon.becomes(&daemon.enqueue(&to("acc_1", first)).await, "sent").await;
    let chat = first["chat_id"].as_str().unwrap();
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let second = daemon.enqueue(&to("acc_1", json!({"chat_id": chat, "campaign": "autumn"}))).await;
    env.sandbox.world().add_message("acc_1", chat, "r1", "Please stop writing to me.", false);
    assert_eq!(daemon.post("/v1/resume", "").await.0, 200);
    assert_eq!(daemon.becomes(&second, "cancelled").await["reason"], "suppressed");
    assert_eq!(named(&env, "jane"), [""; 0]);
    assert_eq!(status(&daemon, "acc_2", json!({"users_ids": "ACoAjane"})).await, 409);
    daemon.stop().await;
}
