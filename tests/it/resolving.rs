//! Public names and addresses of profiles as recipients (`people.resolve`): by every door, each profile read once and
//! within its cap, and every rule for a person holds as soon as the name is resolved. The real process throughout.

use std::time::Duration;

use outboxd::sandbox::{Endpoint, Fault, Profile};
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, enqueue, eventually, run, texts};
use crate::metrics::Printed;
use crate::operations::tamper;

async fn resolving() -> TestEnv {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_PEOPLE_RESOLVE", "true");
    env.sandbox.world().set_profile("ACoA1", Profile::named("Jane-Doe", "Jane Doe"));
    env.sandbox.world().set_profile("ACoA2", Profile::named("foo", "Foo"));
    env
}

/// Returns the profiles that were read, in order.
fn profiles(env: &TestEnv) -> Vec<String> {
    let calls = env.sandbox.world().calls().into_iter();
    let reads = calls.filter(|call| call.endpoint == Endpoint::GetUser);
    reads.map(|call| call.path.rsplit('/').next().unwrap_or_default().to_owned()).collect()
}

async fn reason(daemon: &Daemon, id: &str, reason: &str) -> Value {
    let mut last = Value::Null;
    let path = format!("/v1/messages/{id}/explain");
    let waits = eventually(async || {
        last = daemon.get(&path).await.1;
        last["reason"] == reason
    });
    assert!(waits.await, "{last}");
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_resolved_once_for_every_door_and_form() {
    let env = resolving().await;
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let mut ids = Vec::new();
    for (n, name) in
        ["https://www.linkedin.com/in/jane-doe/", "jane-doe", "urn:li:fsd_profile:ACoA1"].iter().enumerate()
    {
        ids.push(enqueue(&daemon, json!({"users_ids": name, "text": format!("text {n}")})).await);
    }
    let insert = "INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_1', 'linkedin.com/in/Jane-Doe?x=1', 'by SQL'), \
         ('acc_1', 'urn:li:fsd_profile:ACoA1', 'by URN') RETURNING id";
    ids.extend(env.sql(insert));
    let (ok, said) =
        run(env.outboxd(&["enqueue", "--account", "acc_1", "--user", "in/foo", "--text", "to foo"]), "");
    assert!(ok, "{said}");
    let queued = "SELECT count(*) || '' FROM messages WHERE state = 'queued'";
    assert!(eventually(async || env.sql(queued) == ["6"]).await);
    let rows = env.sql("SELECT users_ids FROM messages ORDER BY seq");
    assert_eq!(rows[0], "[\"in/jane-doe\"]");
    assert_eq!(rows[3..5], ["[\"in/jane-doe\"]".to_owned(), "[\"ACoA1\"]".to_owned()]);
    daemon.post("/v1/resume", "").await;
    let delivered = env.delivered(6).await;
    for id in &ids {
        daemon.becomes(id, "sent").await;
    }
    let recipients: Vec<&str> = delivered.iter().map(|one| one.recipients[0].as_str()).collect();
    assert_eq!(recipients.iter().filter(|user| **user == "ACoA1").count(), 5, "{recipients:?}");
    assert_eq!(recipients.iter().filter(|user| **user == "ACoA2").count(), 1, "{recipients:?}");
    let mut read = profiles(&env);
    read.sort_unstable();
    assert_eq!(read, ["foo", "jane-doe"]);
    assert_eq!(env.sql("SELECT DISTINCT thread FROM messages ORDER BY 1"), ["user:ACoA1", "user:ACoA2"]);
    // Another account reads no profile for a name that is known.
    let other = json!({"account_id": "acc_2", "users_ids": "jane-doe", "text": "hello"});
    let other = enqueue(&daemon, other).await;
    daemon.becomes(&other, "sent").await;
    assert_eq!(profiles(&env).len(), 2);
    // The same message under the same key is a duplicate, before and after the name is resolved.
    let keyed =
        json!({"account_id": "acc_1", "users_ids": "in/foo", "text": "keyed", "dedupe_key": "k"}).to_string();
    let (code, first) = daemon.post("/v1/messages", &keyed).await;
    assert_eq!(code, 201, "{first}");
    daemon.becomes(first["id"].as_str().expect("an id"), "sent").await;
    let (code, again) = daemon.post("/v1/messages", &keyed).await;
    assert_eq!((code, &again["duplicate"]), (200, &json!(true)), "{again}");
    let known =
        env.sql("SELECT name || ' ' || distance FROM people WHERE account_id = 'acc_1' ORDER BY user_id");
    assert_eq!(known, ["Jane Doe SECOND_DEGREE", "Foo SECOND_DEGREE"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_to_a_suppressed_person_by_name() {
    let env = resolving().await;
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    // By the id, before the name is known: the profile shows whom the name means.
    daemon.post("/v1/stops", r#"{"scope": "person", "key": "ACoA1", "reason": "suppressed"}"#).await;
    let by_id = enqueue(&daemon, json!({"users_ids": "jane-doe", "text": "hi"})).await;
    // By another form of the same name: never accepted.
    daemon
        .post("/v1/stops", r#"{"scope": "person", "key": "linkedin.com/in/Foo", "reason": "suppressed"}"#)
        .await;
    let foo = json!({"account_id": "acc_1", "users_ids": "https://linkedin.com/in/foo", "text": "hi"});
    let (code, refused) = daemon.post("/v1/messages", &foo.to_string()).await;
    assert_eq!((code, &refused["error"]["code"]), (409, &json!("suppressed")), "{refused}");
    let insert =
        "INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_1', 'in/foo', 'hi') RETURNING id";
    assert_eq!(daemon.becomes(&env.sql(insert)[0], "rejected").await["reason"], "suppressed");
    daemon.post("/v1/resume", "").await;
    assert_eq!(daemon.becomes(&by_id, "cancelled").await["reason"], "suppressed");
    // By the id that a name is now known to mean.
    let again = json!({"account_id": "acc_1", "users_ids": "jane-doe", "text": "hi again"}).to_string();
    assert_eq!(daemon.post("/v1/messages", &again).await.0, 409);
    let insert =
        "INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_1', 'jane-doe', 'hi') RETURNING id";
    assert_eq!(daemon.becomes(&env.sql(insert)[0], "rejected").await["reason"], "suppressed");
    assert_eq!(env.sandbox.world().delivered_count(), 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn order_and_repeats_hold_for_the_person_behind_the_name() {
    let env = resolving().await;
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let by_id = enqueue(&daemon, json!({"users_ids": "ACoA1", "text": "one"})).await;
    let repeat = enqueue(&daemon, json!({"users_ids": "jane-doe", "text": " one "})).await;
    let two = enqueue(&daemon, json!({"users_ids": "jane-doe", "text": "two"})).await;
    let meant = enqueue(&daemon, json!({"users_ids": "jane-doe", "text": "one", "allow_repeat": true})).await;
    daemon.post("/v1/resume", "").await;
    let failed = daemon.becomes(&repeat, "failed").await;
    assert_eq!(failed["reason"], "repeated_text", "{failed}");
    assert!(failed["error"].as_str().is_some_and(|error| error.contains(&by_id)), "{failed}");
    daemon.becomes(&meant, "sent").await;
    daemon.becomes(&two, "sent").await;
    let delivered = env.sandbox.world().deliveries();
    let said: Vec<&str> = delivered.iter().map(|one| one.text.as_str()).collect();
    assert_eq!(said, ["one", "two", "one"]);
    assert!(delivered.iter().all(|one| one.chat_id == delivered[0].chat_id), "one chat");
    daemon.stop().await;
}

/// With `limits.repeats = "person"`; line ends and characters of no width make no other text.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_means_a_person_whom_another_account_writes_the_same_fails() {
    let env = resolving().await.set("OUTBOXD_LIMITS_REPEATS", "person");
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let of_second = json!({"account_id": "acc_2", "users_ids": "ACoA1", "text": "one\nmore"});
    let by_id = enqueue(&daemon, of_second).await;
    let by_name = enqueue(&daemon, json!({"users_ids": "jane-doe", "text": "one\r\nmore\u{200b}"})).await;
    daemon.post("/v1/resume", "").await;
    let failed = daemon.becomes(&by_name, "failed").await;
    assert_eq!(failed["reason"], "repeated_text", "{failed}");
    let told = format!("as message {by_id} of the account acc_2; ");
    assert!(failed["error"].as_str().is_some_and(|error| error.contains(&told)), "{failed}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_belongs_to_the_person_as_soon_as_the_name_is_known() {
    const THREADS: &str = "SELECT account_id || ' ' || thread || ' ' || users_ids FROM messages \
        WHERE not_before IS NOT NULL AND state = 'queued' ORDER BY seq";
    let env = resolving().await;
    let daemon = env.serve().await;
    // Of another account, and not due for long.
    let later = json!({"account_id": "acc_2", "users_ids": "in/jane-doe", "text": "later", "not_before": "2999-01-01T00:00:00Z"});
    enqueue(&daemon, later).await;
    assert_eq!(env.sql(THREADS), ["acc_2 user:in/jane-doe [\"in/jane-doe\"]"]);
    let first = enqueue(&daemon, json!({"users_ids": "in/jane-doe", "text": "hello"})).await;
    daemon.becomes(&first, "sent").await;
    assert_eq!(env.sql(THREADS), ["acc_2 user:ACoA1 [\"ACoA1\"]"]);
    // By SQL, once the name is known.
    env.sql(
        "INSERT INTO messages (account_id, users_ids, text, not_before) \
         VALUES ('acc_1', 'linkedin.com/in/Jane-Doe', 'by SQL', '2999-01-01T00:00:00.000Z')",
    );
    assert!(eventually(async || env.sql(THREADS).len() == 2).await);
    assert_eq!(env.sql(THREADS)[1], "acc_1 user:ACoA1 [\"ACoA1\"]");
    let insert = "INSERT INTO messages (account_id, users_ids, text) VALUES ('acc_1', 'jane-doe', ' hello') RETURNING id";
    assert_eq!(daemon.becomes(&env.sql(insert)[0], "rejected").await["reason"], "invalid", "said before");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_name_of_an_erased_person_is_cancelled_on_every_account() {
    let env = resolving().await;
    let daemon = env.serve().await;
    let (ok, said) = run(env.outboxd(&["erase", "ACoA1", "--yes"]), "");
    assert!(ok, "{said}");
    let later = json!({"account_id": "acc_2", "users_ids": "in/jane-doe", "text": "later", "not_before": "2999-01-01T00:00:00Z"});
    let later = enqueue(&daemon, later).await;
    let first = enqueue(&daemon, json!({"users_ids": "in/jane-doe", "text": "hello"})).await;
    for id in [&first, &later] {
        assert_eq!(daemon.becomes(id, "cancelled").await["reason"], "suppressed");
    }
    assert_eq!(env.sandbox.world().delivered_count(), 0);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_does_not_exist_fails_with_words_and_is_read_once() {
    let env = resolving().await;
    let daemon = env.serve().await;
    for name in ["not-a-name", "in/missing"] {
        let first = enqueue(&daemon, json!({"users_ids": name, "text": "first"})).await;
        let failed = daemon.becomes(&first, "failed").await;
        assert_eq!(failed["reason"], "no_such_person", "{failed}");
        assert!(
            failed["error"].as_str().is_some_and(|error| error.contains("check the address")),
            "{failed}"
        );
        let second = enqueue(&daemon, json!({"users_ids": name, "text": "second"})).await;
        daemon.becomes(&second, "failed").await;
    }
    assert_eq!(profiles(&env), ["not-a-name", "missing"]);
    let good = enqueue(&daemon, json!({"users_ids": "ACoA1", "text": "good"})).await;
    daemon.becomes(&good, "sent").await;
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["good"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_profiles_have_a_cap_that_a_restart_does_not_forget() {
    let env = resolving().await.set("OUTBOXD_POLICY_DEFAULT_CAPS_PROFILE", "2/24h");
    let world = env.sandbox.world();
    // A read that fails counts as well: it may have reached LinkedIn.
    world.add_fault(Fault::gateway(502, false).at(Endpoint::GetUser).times(1));
    let daemon = env.serve().await;
    let first = enqueue(&daemon, json!({"users_ids": "jane-doe", "text": "first"})).await;
    let waits = reason(&daemon, &first, "resolving").await;
    assert!(waits["until"].is_string(), "{waits}");
    let second = enqueue(&daemon, json!({"users_ids": "in/foo", "text": "second"})).await;
    daemon.becomes(&second, "sent").await;
    daemon.kill();
    let daemon = env.serve().await;
    world.set_profile("ACoA3", Profile::named("third-one", "Third"));
    let third = enqueue(&daemon, json!({"users_ids": "third-one", "text": "third"})).await;
    reason(&daemon, &third, "resolving").await;
    let row = daemon.get(&format!("/v1/messages/{third}")).await.1;
    assert_eq!(row["error"], "caps.profile 2/24h, 2 of 2 used", "{row}");
    let (_, budget) = daemon.get("/v1/accounts/acc_1/budget").await;
    let caps = budget["caps"].as_array().unwrap();
    let cap = caps.iter().find(|cap| cap["cap"] == "profile").unwrap();
    assert_eq!((&cap["limit"], &cap["used"], &cap["left"]), (&json!(2), &json!(2), &json!(0)), "{budget}");
    let (ok, said) = crate::daemon::run(env.outboxd(&["budget", "acc_1"]), "");
    assert!(ok && said.contains("profile\t24h\t2\t2\t0\t2"), "{said}");
    // Everything else goes on, and what is known needs no read.
    let known = enqueue(&daemon, json!({"users_ids": "in/foo", "text": "known"})).await;
    let by_id = enqueue(&daemon, json!({"users_ids": "ACoA9", "text": "by id"})).await;
    daemon.becomes(&known, "sent").await;
    daemon.becomes(&by_id, "sent").await;
    assert_eq!(profiles(&env).len(), 2);
    let (_, person) = daemon.get("/v1/people/third-one").await;
    assert_eq!(
        (&person["id"], &person["messages"][0]["id"]),
        (&json!("in/third-one"), &json!(third)),
        "{person}"
    );
    let everything = r#"{"command": "cancel", "person": "linkedin.com/in/third-one"}"#;
    let (_, cancelled) = daemon.post("/v1/messages/bulk", everything).await;
    assert_eq!(cancelled["changed"], 1, "{cancelled}");
    daemon.becomes(&third, "cancelled").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_refused_with_the_way_out_unless_names_are_resolved() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let by_name =
        json!({"account_id": "acc_1", "users_ids": "https://www.linkedin.com/in/foo", "text": "hi"});
    let (code, refused) = daemon.post("/v1/messages", &by_name.to_string()).await;
    assert_eq!((code, &refused["error"]["field"]), (422, &json!("users_ids")), "{refused}");
    assert!(refused.to_string().contains("people.resolve = true"), "{refused}");
    daemon.stop().await;

    let env = resolving().await;
    let daemon = env.serve().await;
    let group =
        json!({"account_id": "acc_1", "users_ids": ["ACoA1", "in/foo"], "name": "both", "text": "hi"});
    let (code, refused) = daemon.post("/v1/messages", &group.to_string()).await;
    assert!(code == 422 && refused.to_string().contains("user ids of the members"), "{refused}");
    for bad in [
        "https://www.linkedin.com/company/acme",
        "urn:li:member:1",
        "in/",
        "in/a/b",
        "https://example.com/in/x",
    ] {
        let message = json!({"account_id": "acc_1", "users_ids": bad, "text": "hi"});
        assert_eq!(daemon.post("/v1/messages", &message.to_string()).await.0, 422, "{bad}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_read_with_a_pause_between_two() {
    let env = resolving().await;
    let env = env.set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "1s").set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "2s");
    let daemon = env.serve().await;
    let mut ids = Vec::new();
    for name in ["not-one", "not-two", "not-three"] {
        ids.push(enqueue(&daemon, json!({"users_ids": name, "text": "hi"})).await);
    }
    for id in &ids {
        daemon.becomes(id, "failed").await;
    }
    let calls = env.sandbox.world().calls().into_iter().filter(|call| call.endpoint == Endpoint::GetUser);
    let at: Vec<Duration> = calls.map(|call| call.at_monotonic).collect();
    assert_eq!(at.len(), 3);
    assert!(at.windows(2).all(|two| two[1] - two[0] >= Duration::from_secs(1)), "{at:?}");
    daemon.stop().await;
}

/// A deferral that has no effect, here because of a trigger, makes the account decide the same thing again.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_decides_the_same_thing_without_an_end_rests_and_is_counted() {
    let env = resolving().await;
    let env = env.set("OUTBOXD_POLICY_DEFAULT_GAP_MIN", "3s").set("OUTBOXD_POLICY_DEFAULT_GAP_MAX", "3s");
    let daemon = env.serve().await;
    let first = enqueue(&daemon, json!({"users_ids": "in/Jane-Doe", "text": "hi"})).await;
    daemon.becomes(&first, "sent").await;
    tamper(
        &env,
        "CREATE TRIGGER no_deferral BEFORE UPDATE ON messages WHEN NEW.reason = 'resolving' BEGIN SELECT RAISE(IGNORE); END",
    );
    let second = enqueue(&daemon, json!({"users_ids": "in/foo", "text": "hi"})).await;
    let loops = async || Printed::of(&daemon).await.get("outboxd_promises_broken_total{promise=\"loop\"}");
    assert!(eventually(async || loops().await == 1.0).await, "{}", env.log());
    assert!(env.log().contains("a promise was broken"));
    tamper(&env, "DROP TRIGGER no_deferral");
    // Another message wakes the account.
    enqueue(&daemon, json!({"users_ids": "ACoA3", "text": "hi"})).await;
    daemon.becomes(&second, "sent").await;
    assert_eq!(loops().await, 1.0);
    daemon.stop().await;
}

/// A bare word may be a public name or the id of another provider, so a stop holds both.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_by_a_public_name_of_one_word_holds_the_person() {
    let env = resolving().await;
    env.sandbox.world().set_profile("ACoA3", Profile::named("Kim-7c2", "Kim"));
    env.sandbox.world().set_profile("ACoA4", Profile::named("anna-b1", "Anna"));
    let daemon = env.serve().await;
    let first = enqueue(&daemon, json!({"users_ids": "in/kim-7c2", "text": "hi", "campaign": "k"})).await;
    daemon.becomes(&first, "sent").await;
    let later = json!({"users_ids": "in/kim-7c2", "text": "later", "not_before": "2099-01-01T00:00:00Z"});
    let later = enqueue(&daemon, later).await;
    // The name is known.
    let (ok, said) = run(env.outboxd(&["stop", "--person", "Kim-7c2"]), "");
    assert!(
        ok && said.contains("queued messages that wait for it: 1") && !said.contains("not known"),
        "{said}"
    );
    let (ok, said) = run(env.outboxd(&["go", "--person", "kim-7c2"]), "");
    assert!(ok && said.contains("queued messages released: 1"), "{said}");
    let (ok, said) = run(env.outboxd(&["suppress", "add", "kim-7c2"]), "");
    assert!(ok && said.contains("queued messages cancelled: 1"), "{said}");
    assert_eq!(daemon.becomes(&later, "cancelled").await["reason"], "suppressed");
    let (ok, said) = run(env.outboxd(&["suppress", "check", "https://www.linkedin.com/in/kim-7c2"]), "");
    assert!(ok && said.contains("is suppressed on every account"), "{said}");

    // The name is not known yet: nothing goes to it, nor to an id of these letters, and the answer says what is left open.
    let (ok, said) = run(env.outboxd(&["suppress", "add", "anna-b1", "foo"]), "");
    assert!(ok && said.contains("the user id behind anna-b1 is not known yet"), "{said}");
    for (user, text) in
        [("https://www.linkedin.com/in/anna-b1", "one"), ("anna-b1", "two"), ("in/foo", "three")]
    {
        let message = json!({"account_id": "acc_1", "users_ids": user, "text": text}).to_string();
        let (code, refused) = daemon.post("/v1/messages", &message).await;
        assert_eq!((code, &refused["error"]["code"]), (409, &json!("suppressed")), "{user}: {refused}");
    }
    let (ok, said) = run(env.outboxd(&["suppress", "remove", "anna-b1"]), "");
    assert!(ok, "{said}");
    let (ok, said) = run(env.outboxd(&["suppress", "check", "in/anna-b1"]), "");
    assert!(!ok && said.contains("is not on the list"), "{said}");
    assert_eq!(texts(&env.sandbox.world().deliveries()), ["hi"]);
    daemon.stop().await;
}
