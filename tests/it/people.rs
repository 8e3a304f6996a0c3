//! People: what is known of them, and public names in place of user ids. The real process throughout.

use outboxd::sandbox::Profile;
use serde_json::{Value, json};

use crate::daemon::{TestEnv, enqueue, eventually, run};
use crate::webhooks_heard::hearing;

/// Waits until `sql` returns `rows`.
async fn holds(env: &TestEnv, sql: &str, rows: &[&str]) {
    let as_said = eventually(async || env.sql(sql) == rows).await;
    assert!(as_said, "{sql}: {:?}, expected {rows:?}", env.sql(sql));
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_name_people() {
    let env = hearing().await;
    let world = env.sandbox.world();
    world.set_profile("ACoA1", Profile::named("Jane-Doe", "Jane Doe"));
    world.set_profile("ACoA2", Profile::named("ren%C3%A9", "René"));
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    world.person_writes("acc_1", "ACoA1", "Hello");
    const KNOWN: &str = "SELECT user_id || ' ' || public_identifier || ' ' || name || ' ' || coalesce(distance, '-') \
         FROM people WHERE account_id = 'acc_1' ORDER BY user_id";
    holds(&env, KNOWN, &["ACoA1 jane-doe Jane Doe -"]).await;
    world.connect_with("acc_1", "ACoA1");
    world.connect_with("acc_1", "ACoA2");
    holds(&env, KNOWN, &["ACoA1 jane-doe Jane Doe FIRST_DEGREE", "ACoA2 rené René FIRST_DEGREE"]).await;
    // A message says nothing of the distance, which stays.
    world.person_writes("acc_1", "ACoA1", "Hello again");
    holds(&env, "SELECT count(*) || '' FROM inbound_messages", &["2"]).await;
    holds(&env, KNOWN, &["ACoA1 jane-doe Jane Doe FIRST_DEGREE", "ACoA2 rené René FIRST_DEGREE"]).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suppression_by_address_hits_the_person_as_soon_as_they_are_known() {
    let env = hearing().await;
    let world = env.sandbox.world();
    world.set_profile("ACoA1", Profile::named("jane-doe", "Jane Doe"));
    world.set_profile("ACoA2", Profile::named("foo", "Foo"));
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let mut to = Vec::new();
    for user in ["ACoA1", "ACoA2"] {
        for account in ["acc_1", "acc_2"] {
            let message = json!({"account_id": account, "users_ids": user, "text": "hi"});
            to.push(enqueue(&daemon, message).await);
        }
    }
    world.connect_with("acc_1", "ACoA1");
    holds(&env, "SELECT user_id FROM people", &["ACoA1"]).await;
    // Known already: mapped at once, by every name.
    let (ok, said) = run(env.outboxd(&["suppress", "add", "https://www.linkedin.com/in/Jane-Doe/?x=y"]), "");
    assert!(ok && said.contains("queued messages cancelled: 2"), "{said}");
    assert_eq!(env.sql("SELECT key FROM stops WHERE scope = 'person'"), ["ACoA1"]);
    for name in ["ACoA1", "jane-doe", "linkedin.com/in/jane-doe", "urn:li:fsd_profile:ACoA1"] {
        let (ok, said) = run(env.outboxd(&["suppress", "check", name]), "");
        assert!(ok && said.contains("suppressed on every account"), "{name}: {said}");
    }
    // Not known: kept under the name, until a webhook of any account names the person.
    let insert =
        "INSERT INTO stops (scope, key, reason) VALUES ('person', 'in/foo', 'suppressed') RETURNING key";
    env.sql(insert);
    assert_eq!(env.sql("SELECT state FROM messages WHERE users_ids LIKE '%ACoA2%'"), ["queued", "queued"]);
    world.connect_with("acc_2", "ACoA2");
    for id in &to {
        assert_eq!(daemon.becomes(id, "cancelled").await["reason"], "suppressed");
    }
    assert_eq!(env.sql("SELECT key FROM stops WHERE scope = 'person' ORDER BY key"), ["ACoA1", "ACoA2"]);
    let again = json!({"account_id": "acc_3", "users_ids": "ACoA2", "text": "hi"}).to_string();
    assert_eq!(daemon.post("/v1/messages", &again).await.0, 409);
    let (ok, said) = run(env.outboxd(&["suppress", "remove", "in/foo"]), "");
    assert!(ok, "{said}");
    assert_eq!(daemon.post("/v1/messages", &again).await.0, 201);
    daemon.stop().await;
}

/// Checks what is known of the person on both accounts.
fn is_known(person: &Value, chat: &Value) {
    assert_eq!(person["messages"].as_array().map(Vec::len), Some(4), "{person}");
    assert_eq!(person["stops"][0]["account_id"], "acc_3", "{person}");
    let accounts = &person["accounts"];
    assert_eq!(
        (&accounts[0]["account_id"], &accounts[0]["distance"]),
        (&json!("acc_1"), &json!("FIRST_DEGREE"))
    );
    assert_eq!(accounts[0]["counts"], json!({"queued": 1, "sent": 1}), "{person}");
    assert_eq!((&accounts[0]["chats"][0], accounts[0]["sent_at"].is_string()), (chat, true), "{person}");
    assert_eq!(accounts[1]["counts"], json!({"queued": 2}), "{person}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_about_one_person_is_shown_and_cancelled_over_all_accounts() {
    let env = hearing().await;
    let world = env.sandbox.world();
    world.set_profile("ACoA1", Profile::named("jane-doe", "Jane Doe"));
    let daemon = env.serve().await;
    let first = enqueue(&daemon, json!({"users_ids": "ACoA1", "text": "first"})).await;
    let chat = daemon.becomes(&first, "sent").await["chat_id"].clone();
    world.connect_with("acc_1", "ACoA1");
    holds(&env, "SELECT user_id FROM people", &["ACoA1"]).await;
    daemon.post("/v1/pause", "").await;
    let mut queued = vec![enqueue(&daemon, json!({"chat_id": chat, "text": "into the chat"})).await];
    for message in [
        json!({"account_id": "acc_2", "users_ids": "ACoA1", "text": "from acc_2"}),
        json!({"account_id": "acc_2", "users_ids": ["ACoA1", "ACoA2"], "name": "both", "text": "to both"}),
    ] {
        queued.push(enqueue(&daemon, message).await);
    }
    let other = enqueue(&daemon, json!({"users_ids": "ACoA2", "text": "to another"})).await;
    daemon.post("/v1/stops", r#"{"scope": "person", "key": "jane-doe", "account_id": "acc_3"}"#).await;

    let address = "https%3A%2F%2Fwww.linkedin.com%2Fin%2Fjane-doe%2F";
    for id in ["ACoA1", "jane-doe", address] {
        let (code, person) = daemon.get(&format!("/v1/people/{id}")).await;
        assert_eq!(
            (code, &person["id"], &person["name"]),
            (200, &json!("ACoA1"), &json!("Jane Doe")),
            "{id}: {person}"
        );
        is_known(&person, &chat);
    }
    let (code, unknown) = daemon.get("/v1/people/ACoA99").await;
    assert_eq!((code, &unknown["error"]["code"]), (404, &json!("not_found")), "{unknown}");
    let (code, refused) = daemon.get("/v1/people/a%20b").await;
    assert_eq!((code, &refused["error"]["field"]), (400, &json!("id")), "{refused}");
    let (ok, said) = run(env.outboxd(&["person", "jane-doe"]), "");
    assert!(ok && said.contains("Jane Doe") && said.contains("1 queued, 1 sent"), "{said}");
    assert!(said.contains("stopped on acc_3") && said.contains(&queued[2]), "{said}");
    let (ok, listed) =
        run(env.outboxd(&["list", "--person", "linkedin.com/in/jane-doe", "--state", "queued"]), "");
    assert!(ok && listed.lines().count() == 3 && !listed.contains(&other), "{listed}");
    let listed = run(env.outboxd(&["list", "--person", "ACoA1", "--account", "acc_2"]), "").1;
    assert_eq!(listed.lines().count(), 2, "{listed}");

    let (ok, said) = run(env.outboxd(&["cancel", "--person", "jane-doe", "--account", "acc_1"]), "");
    assert!(ok && said.contains("cancelled: 1"), "{said}");
    let (ok, said) = run(env.outboxd(&["cancel", "--person", "ACoA1"]), "");
    assert!(ok && said.contains("cancelled: 2"), "{said}");
    for id in &queued {
        assert_eq!(daemon.becomes(id, "cancelled").await["reason"], "cancelled");
    }
    let states = env.sql("SELECT state FROM messages ORDER BY seq");
    assert_eq!(states, ["sent", "cancelled", "cancelled", "cancelled", "queued"]);
    assert!(
        run(env.outboxd(&["cancel", "--person", "ACoA1", &other]), "")
            .1
            .contains("give ids or a filter, not both")
    );
    daemon.stop().await;
}
