//! `outboxd webhook`: the endpoint at Unipile is registered, tested, listed and removed, and its secret follows it. The
//! real process against the sandbox.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::net::TcpListener;

use outboxd::sandbox::SandboxConfig;
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, eventually, run};

/// An environment whose listener has an address, and that address; without a secret.
async fn listening() -> (TestEnv, String) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap();
    (TestEnv::new().await.hasty(), free.to_string())
}

fn url(address: &str) -> String {
    format!("http://{address}/webhooks/unipile")
}

async fn unipile(env: &TestEnv, method: &str, path: &str, body: Option<Value>) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .request(method.parse().unwrap(), format!("{}/v2/webhooks/{path}", env.sandbox.url()))
        .header("x-api-key", SandboxConfig::default().api_key);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap().json().await.unwrap()
}

fn secret(env: &TestEnv) -> Vec<String> {
    env.sql("SELECT secret FROM webhook_endpoints")
}

/// Registers through a daemon without a listener, and serves with one.
async fn registered(env: TestEnv, address: &str) -> (TestEnv, Daemon) {
    let daemon = env.serve().await;
    let (ok, said) = run(env.outboxd(&["webhook", "register", "--url", &url(address)]), "");
    assert!(ok && said.contains("set webhooks.listen and restart"), "{said}");
    daemon.stop().await;
    let env = env.set("OUTBOXD_WEBHOOKS_LISTEN", address);
    let daemon = env.serve().await;
    (env, daemon)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_endpoint_is_verified_with_its_secret() {
    let (env, address) = listening().await;
    let (env, daemon) = registered(env, &address).await;
    let event = json!({"users_ids": "U1", "text": "hello", "account_id": "acc_1"});
    let id = daemon.enqueue(&event.to_string()).await;
    daemon.becomes(&id, "sent").await;
    // Our own message comes back as a webhook, signed with the secret that the sandbox made.
    let received = async || daemon.get("/v1/status").await.1["webhooks"]["received"] != 0;
    assert!(eventually(received).await);

    let (ok, said) = run(env.outboxd(&["webhook", "test"]), "");
    assert!(ok && said.contains("arrived, was verified and is stored"), "{said}");
    let (ok, said) = run(env.outboxd(&["webhook", "test", "--local"]), "");
    assert!(ok && said.contains("arrived, was verified and is stored"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");

    let before = daemon.get("/v1/status").await.1["webhooks"]["received"].clone();
    let (_, tested) = daemon.post("/v1/webhooks/test", r#"{"unsigned": true}"#).await;
    assert_eq!((&tested["ok"], &tested["status"]), (&json!(true), &json!(401)), "{tested}");
    assert_eq!(daemon.get("/v1/status").await.1["webhooks"]["received"], before, "nothing is stored");
    let (_, said) = run(env.outboxd(&["doctor"]), "");
    assert!(
        said.contains(&format!("ok    webhook address  {} leads to the listener", url(&address))),
        "{said}"
    );

    let listed = || run(env.outboxd(&["webhook", "list"]), "");
    assert!(eventually(async || listed().1.contains("message.new\t200\tfirst")).await, "{}", listed().1);
    let (ok, shown) = listed();
    assert!(ok && shown.contains(&url(&address)) && shown.contains("relation.new"), "{shown}");
    let (_, list) = daemon.get("/v1/webhooks").await;
    assert_eq!(list["endpoints"][0]["registered"], true, "{list}");
    assert!(list["problem"].is_null() && list["received"][0]["count"].is_u64(), "{list}");
    let secret = secret(&env).pop().unwrap();
    let status = daemon.get("/v1/status").await.1.to_string();
    for shown in [env.log(), status, list.to_string(), shown, said] {
        assert!(!shown.contains(&secret), "{shown}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registering_again_changes_the_endpoint_and_removing_forgets_it() {
    let (env, address) = listening().await;
    let daemon = env.serve().await;
    // One that a person made, or whose creation was answered to a daemon that had died.
    let body = json!({"url": url(&address), "trigger_events": ["message.new"]});
    let made = unipile(&env, "POST", "endpoints/", Some(body)).await;
    let register = async |body: Value| daemon.post("/v1/webhooks/endpoint", &body.to_string()).await;
    let (status, first) = register(json!({"url": url(&address)})).await;
    assert_eq!((status, &first["created"]), (200, &json!(false)), "{first}");
    assert_eq!(first["endpoint"]["id"], made["id"], "{first}");
    assert_eq!(secret(&env), [made["secret"].as_str().unwrap()]);
    let (status, second) =
        register(json!({"url": "https://hooks.example.com/u", "account_ids": ["acc_1", "acc_2"]})).await;
    assert_eq!((status, &second["created"]), (200, &json!(false)), "{second}");
    let all = unipile(&env, "GET", "endpoints/", None).await;
    assert_eq!(all["data"].as_array().unwrap().len(), 1, "{all}");
    let one = &all["data"][0];
    assert_eq!(
        (&one["url"], &one["account_ids"]),
        (&json!("https://hooks.example.com/u"), &json!(["acc_1", "acc_2"]))
    );
    assert_eq!(one["trigger_events"].as_array().unwrap().len(), 10, "{one}");

    let (ok, said) = run(env.outboxd(&["webhook", "remove"]), "");
    assert!(ok && said.contains("is deleted at Unipile and forgotten"), "{said}");
    let all = unipile(&env, "GET", "endpoints/", None).await;
    assert_eq!((all["data"].as_array().unwrap().len(), secret(&env).len()), (0, 0), "{all}");
    assert!(!said.contains("does not start again"), "it does not listen: {said}");
    let (ok, _) = run(env.outboxd(&["webhook", "remove"]), "");
    assert!(!ok, "there is nothing left to remove");

    // One that was deleted at Unipile is made again.
    let (_, third) = register(json!({"url": url(&address)})).await;
    assert_eq!(third["created"], true, "{third}");
    let id = third["endpoint"]["id"].as_str().unwrap().to_owned();
    unipile(&env, "DELETE", &format!("endpoints/{id}"), None).await;
    let (_, fourth) = register(json!({"url": url(&address)})).await;
    assert!(fourth["created"] == true && fourth["endpoint"]["id"] != id.as_str(), "{fourth}");
    assert_eq!(env.sql("SELECT id FROM webhook_endpoints"), [fourth["endpoint"]["id"].as_str().unwrap()]);
    daemon.stop().await;
}

/// With the endpoint goes the only secret, and without one the daemon does not start: that must not come out at a
/// restart weeks later.
#[tokio::test(flavor = "multi_thread")]
async fn removing_the_endpoint_says_what_keeps_the_daemon_from_starting_again() {
    let (env, address) = listening().await;
    let (env, daemon) = registered(env, &address).await;
    let warned = async || {
        let (_, status) = daemon.get("/v1/status").await;
        status["warnings"].to_string().contains("webhooks.listen has no secret")
    };
    assert!(!warned().await);
    let (ok, said) = run(env.outboxd(&["webhook", "remove"]), "");
    assert!(ok && said.contains("does not start again"), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    assert!(warned().await);
    let (ok, said) = run(env.outboxd(&["webhook", "register", "--url", &url(&address)]), "");
    assert!(ok, "{said}");
    assert!(!warned().await, "it has a secret again");
    daemon.stop().await;
}

/// A secret that drifted is read again, and the webhooks that follow are taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_drifted_secret_is_read_again() {
    let (env, address) = listening().await;
    let (env, daemon) = registered(env, &address).await;
    daemon.kill();
    let right = secret(&env);
    env.sql("UPDATE webhook_endpoints SET secret = 'wes_of-yesterday' RETURNING id");
    let daemon = env.serve().await;
    let say = async |user: &str| {
        let message = json!({"users_ids": user, "text": "hello", "account_id": "acc_1"});
        let id = daemon.enqueue(&message.to_string()).await;
        daemon.becomes(&id, "sent").await;
    };
    say("U1").await;
    assert!(eventually(async || secret(&env) == right).await, "{:?}", env.log());
    say("U2").await;
    let webhooks = async || daemon.get("/v1/status").await.1["webhooks"].clone();
    assert!(eventually(async || webhooks().await["received"] != 0).await, "{}", env.log());
    assert_ne!(webhooks().await["refused"]["signature"], 0);
    assert!(env.log().contains("has a new secret") && !env.log().contains(&right[0]), "{}", env.log());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_registered_is_refused_with_the_reason() {
    let (env, address) = listening().await;
    let env = env.set("OUTBOXD_WEBHOOKS_EVENTS", "message.new, message.invented");
    let daemon = env.serve().await;
    let register = async |body: Value| {
        let (status, answer) = daemon.post("/v1/webhooks/endpoint", &body.to_string()).await;
        (status, answer["error"]["field"].clone(), answer["error"].to_string())
    };
    let long = format!("https://example.com/{}", "x".repeat(255));
    for (url, says) in [
        ("", "is missing"),
        ("hooks.example.com", "does not begin with https://"),
        ("ftp://example.com/x", "does not begin with https://"),
        ("https://", "not an address"),
        ("https://user:pass@example.com/x", "a user name or a password"),
        ("http://hooks.example.com/webhooks/unipile", "could read"),
        (&long, "Unipile takes 255"),
    ] {
        let (status, field, said) = register(json!({ "url": url })).await;
        assert!(status == 422 && field == "url" && said.contains(says), "{url}: {status} {said}");
    }
    let (status, field, said) = register(json!({"url": url(&address), "account_ids": ["42"]})).await;
    assert!(status == 422 && field == "account_ids", "{status} {said}");
    // The one unknown name, and the key that holds it.
    let (status, field, said) = register(json!({"url": url(&address)})).await;
    assert!(
        status == 422 && field == "webhooks.events" && said.contains("message.invented"),
        "{status} {said}"
    );
    assert_eq!(secret(&env), [""; 0]);

    let (status, said) = daemon.post("/v1/webhooks/test", "").await;
    assert!(status == 409 && said.to_string().contains("webhooks.listen"), "{said}");
    daemon.stop().await;
    let env = env.set("OUTBOXD_WEBHOOKS_LISTEN", &address).set("OUTBOXD_WEBHOOKS_SECRET", "whsec_1");
    let daemon = env.serve().await;
    let (status, said) = daemon.post("/v1/webhooks/test", "").await;
    assert!(status == 409 && said.to_string().contains("webhook register"), "{said}");
    let (status, said) = daemon.post("/v1/webhooks/test", r#"{"local": true}"#).await;
    assert!(status == 200 && said["ok"] == true, "{said}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_changes_the_events_of_the_endpoint() {
    let (env, address) = listening().await;
    let events = |events: &str| {
        std::fs::write(env.path("outboxd.toml"), format!("[webhooks]\nevents = \"{events}\"\n")).unwrap();
    };
    events("message.new, message.invented");
    let daemon = env.serve().await;
    let body = json!({"url": url(&address)}).to_string();
    let (status, refused) = daemon.post("/v1/webhooks/endpoint", &body).await;
    assert!(status == 422 && refused.to_string().contains("reload the configuration"), "{refused}");
    events("message.new");
    daemon.signal("-HUP");
    let registered = eventually(async || daemon.post("/v1/webhooks/endpoint", &body).await.0 == 200).await;
    assert!(registered && !env.log().contains("needs a restart"), "{}", env.log());
    assert_eq!(env.sql("SELECT events FROM webhook_endpoints"), ["[\"message.new\"]"]);
    daemon.stop().await;
}

/// What answers in place of the listener decides what to check.
#[tokio::test(flavor = "multi_thread")]
async fn a_test_says_what_to_check() {
    let (env, address) = listening().await;
    let (env, daemon) = registered(env, &address).await;
    let elsewhere = format!("{}/x", env.sandbox.url());
    for (url, answers) in [(elsewhere.as_str(), true), ("http://127.0.0.1:9/x", false)] {
        daemon.post("/v1/webhooks/endpoint", &json!({ "url": url }).to_string()).await;
        let (_, tested) = daemon.post("/v1/webhooks/test", "").await;
        assert_eq!((&tested["ok"], tested["status"].is_u64()), (&json!(false), answers), "{tested}");
        let verdict = tested["verdict"].as_str().unwrap();
        assert_eq!(verdict.contains("cannot be reached from here"), !answers, "{tested}");
        let (ok, _) = run(env.outboxd(&["webhook", "test"]), "");
        assert!(!ok, "the exit code says so as well");
    }
    daemon.stop().await;
}
