//! The preflight reads over real HTTP: the inbox, the credits, the chat that exists. The sandbox's ledger says what
//! reached whom, and its cache is a trap for a client that does not request fresh data.
#![allow(clippy::unwrap_used, reason = "a test may")]

use outboxd::sandbox::{DeliveryKind, Endpoint, Fault, FaultKind, Profile};
use serde_json::json;

use crate::daemon::{TestEnv, eventually};

const INMAIL: &str = r#""specifics":{"linkedin":{"classic":{"inmail":true}}}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_start_from_an_inbox_that_cannot_makes_no_call() {
    let env = TestEnv::new().await.hasty();
    env.sandbox.world().set_inboxes("acc_1", [("CLASSIC_PRIMARY", true), ("SALES_NAVIGATOR_PRIMARY", false)]);
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id":"acc_1","users_ids":"ada","text":"hi"}"#).await;
    let failed = daemon.becomes(&id, "failed").await;
    let said = "`inbox_id` CLASSIC_PRIMARY is disabled at present; use SALES_NAVIGATOR_PRIMARY";
    assert_eq!((&failed["reason"], &failed["error"]), (&json!("inbox_unusable"), &json!(said)));
    assert_eq!((&failed["attempts"], &failed["actor"]), (&json!([]), &json!("producer")));
    let other =
        r#"{"account_id":"acc_1","users_ids":"ada","inbox_id":"SALES_NAVIGATOR_PRIMARY","text":"hi"}"#;
    daemon.enqueue(other).await;
    assert_eq!(env.delivered(1).await[0].inbox_id.as_deref(), Some("SALES_NAVIGATOR_PRIMARY"));
    assert_eq!(env.writes().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reserve_of_inmails_is_not_touched_whatever_the_cache_says() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_INMAIL_RECHECK", "300ms");
    let world = env.sandbox.world().clone();
    let daemon = env.serve().await;
    world.set_credits("acc_1", Some(7), None, None);
    let rows: Vec<String> = (0..5)
        .map(|n| format!(r#"{{"account_id":"acc_1","users_ids":"u{n}","text":"inmail {n}",{INMAIL}}}"#))
        .chain([r#"{"account_id":"acc_1","chat_id":"c","text":"chat"}"#.to_owned()])
        .collect();
    let (status, answer) = daemon.post("/v1/messages", &format!("[{}]", rows.join(","))).await;
    assert_eq!(status, 200, "{answer}");
    let texts = |deliveries: &[outboxd::sandbox::Delivery]| {
        deliveries.iter().map(|one| one.text.clone()).collect::<Vec<_>>()
    };
    assert_eq!(texts(&env.delivered(3).await), ["inmail 0", "inmail 1", "chat"]);
    let third = answer["results"][2]["id"].as_str().unwrap();
    let (_, explained) = daemon.get(&format!("/v1/messages/{third}/explain")).await;
    assert_eq!(explained["reason"], "inmail_credits", "{explained}");
    assert!(explained["sentence"].as_str().unwrap().contains("5 classic credits are left"), "{explained}");
    // A recipient answered, and LinkedIn refunded a credit: the cache does not learn of this.
    world.set_credits("acc_1", Some(6), None, None);
    assert_eq!(texts(&env.delivered(4).await)[3], "inmail 2");
    world.set_credits("acc_1", Some(20), None, None);
    assert_eq!(texts(&env.delivered(6).await)[4..], ["inmail 3", "inmail 4"]);
    let credits = |call: &&outboxd::sandbox::Call| call.endpoint == Endpoint::GetInmailCredits;
    assert!(
        world.calls().iter().filter(credits).all(|call| call.cache_control.as_deref() == Some("no-cache"))
    );
}

/// After a purchase of credits an operator lifts the hold: the credits are read at once, and the reserve still
/// applies.
#[tokio::test(flavor = "multi_thread")]
async fn lifting_a_hold_reads_the_credits_at_once() {
    let env = TestEnv::new().await.hasty();
    let world = env.sandbox.world().clone();
    world.set_credits("acc_1", Some(5), None, None);
    let daemon = env.serve().await;
    let id = daemon
        .enqueue(&format!(r#"{{"account_id":"acc_1","users_ids":"u","text":"inmail",{INMAIL}}}"#))
        .await;
    let waits = async || daemon.get(&format!("/v1/messages/{id}")).await.1["reason"] == "inmail_credits";
    assert!(eventually(waits).await);
    let reads = || world.calls().iter().filter(|call| call.endpoint == Endpoint::GetInmailCredits).count();
    let before = reads();
    daemon.post("/v1/accounts/acc_1/resume", r#"{"lift_hold": true}"#).await;
    assert!(eventually(async || reads() > before).await);
    assert!(eventually(waits).await, "5 are the reserve");
    world.set_credits("acc_1", Some(6), None, None);
    daemon.post("/v1/accounts/acc_1/resume", r#"{"lift_hold": true}"#).await;
    daemon.becomes(&id, "sent").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_message_goes_into_the_chat_that_unipile_knows() {
    let env = TestEnv::new()
        .await
        .hasty()
        .set("OUTBOXD_POLICY_DEFAULT_ROUTE", "existing chat")
        .set("OUTBOXD_POLICY_DEFAULT_TYPING_ENABLED", "true")
        .set("OUTBOXD_POLICY_DEFAULT_TYPING_BASE", "1ms")
        .set("OUTBOXD_POLICY_DEFAULT_TYPING_PER_CHAR_MIN", "1ms")
        .set("OUTBOXD_POLICY_DEFAULT_TYPING_PER_CHAR_MAX", "1ms")
        .set("OUTBOXD_POLICY_DEFAULT_TYPING_MIN", "1ms");
    env.sandbox.world().add_chat_with_user("acc_1", "a/da", "2-old/1==");
    let daemon = env.serve().await;
    let id = daemon.enqueue(r#"{"account_id":"acc_1","users_ids":"a/da","text":"hello again"}"#).await;
    let sent = daemon.becomes(&id, "sent").await;
    let delivery = env.delivered(1).await.remove(0);
    assert_eq!((delivery.kind, delivery.chat_id.as_str()), (DeliveryKind::Message, "2-old/1=="));
    assert_eq!(sent["chat_id"], "2-old/1==");
    let why = "existing chat 2-old/1==: Unipile knows it as the chat with this person";
    assert_eq!(sent["route"], why);
    let endpoints: Vec<Endpoint> = env.writes().iter().map(|call| call.endpoint).collect();
    assert_eq!(endpoints, [Endpoint::SetComposing, Endpoint::SendMessage]);
    let (_, shown) = crate::daemon::run(env.outboxd(&["show", &id]), "");
    assert!(shown.contains(why), "{shown}");
    let id = daemon.enqueue(r#"{"account_id":"acc_1","users_ids":"bob","text":"hello"}"#).await;
    let sent = daemon.becomes(&id, "sent").await;
    assert_eq!(sent["route"], "new chat: Unipile knows no chat with this person");
    assert_eq!(env.delivered(2).await[1].kind, DeliveryKind::StartChat);
}

/// H6: the send that follows a limited typing indicator would come seconds after the limit.
#[tokio::test(flavor = "multi_thread")]
async fn a_limited_typing_indicator_rests_the_account_as_a_look_up_does() {
    for (fault, reason) in [(Fault::api_429(3600), "api_rate_limited"), (Fault::provider_429(), "cooldown")] {
        let env = env_that_types().await;
        env.sandbox.fault(fault.at(Endpoint::SetComposing));
        let daemon = env.serve().await;
        let id = daemon.enqueue(r#"{"account_id":"acc_1","chat_id":"c","text":"hi"}"#).await;
        let path = format!("/v1/messages/{id}/explain");
        let rests = async || daemon.get(&path).await.1["reason"] == reason;
        assert!(eventually(rests).await, "{}", daemon.get(&path).await.1);
        assert_eq!(env.sandbox.world().delivered_count(), 0, "{reason}");
    }
}

/// Creates an environment that shows the typing indicator for a moment.
async fn env_that_types() -> TestEnv {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_TYPING_ENABLED", "true");
    env.set("OUTBOXD_POLICY_DEFAULT_TYPING_MIN", "100ms").set("OUTBOXD_POLICY_DEFAULT_TYPING_MAX", "200ms")
}

/// A captive portal answers every request with its page and a success. Its answer to a typing indicator is not an
/// answer of Unipile's, so no account is blamed for the sends that fail.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_place_of_a_typing_indicator_says_that_the_api_fails() {
    let env = env_that_types().await.set("OUTBOXD_POLICY_DEFAULT_COOLDOWN_FAILURES", "3");
    let page = || FaultKind::Garbage { status: 200, delivered: false };
    for endpoint in [Endpoint::SetComposing, Endpoint::SendMessage, Endpoint::GetAccount] {
        env.sandbox.fault(Fault::new(page()).at(endpoint).always());
    }
    let daemon = env.serve().await;
    for n in 0..10 {
        daemon
            .enqueue(&json!({"account_id": "acc_1", "chat_id": format!("c{n}"), "text": "hi"}).to_string())
            .await;
    }
    let stopped = async || daemon.get("/v1/status").await.1["api"]["reachable"] == false;
    let is_blamed = async || !env.sql("SELECT id FROM accounts WHERE hold_reason = 'failures'").is_empty();
    let decided = async || stopped().await || is_blamed().await;
    assert!(eventually(decided).await, "{}", env.log());
    assert!(!is_blamed().await, "the account rests for a fault of the API");
    let sends = env.writes().into_iter().filter(|call| call.endpoint == Endpoint::SendMessage).count();
    assert!(sends <= 3, "{sends} messages were risked");
}

/// An answer in the error format of the API, to every request to `endpoint`.
pub(crate) fn refusal(endpoint: Endpoint, status: u16, error_type: &str, detail: &str) -> Fault {
    let kind = FaultKind::Error {
        status,
        error_type: error_type.into(),
        title: "Refused".into(),
        detail: detail.into(),
        retry_after: None,
        delivered: false,
    };
    Fault::new(kind).at(endpoint).always()
}

/// A key may lack the right to a read and send all the same: the refusal concerns what was to be read, and no other
/// message or account.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_the_key_may_not_make_stops_no_account() {
    const KIND: &str = "api/insufficient_permissions";
    let env = TestEnv::new().await.hasty().set("OUTBOXD_POLICY_DEFAULT_ROUTE", "existing chat");
    let env = env.set("OUTBOXD_PEOPLE_RESOLVE", "true");
    env.sandbox.world().set_profile("ACoA3", Profile::named("ada", "Ada"));
    for endpoint in [
        Endpoint::GetAccount,
        Endpoint::ListInboxes,
        Endpoint::GetInmailCredits,
        Endpoint::GetUserChat,
        Endpoint::GetUser,
        Endpoint::ListMessages,
    ] {
        env.sandbox.fault(refusal(endpoint, 403, KIND, "This key may not use this method."));
    }
    let daemon = env.serve().await;
    let message = |account: &str, more: &str| format!(r#"{{"account_id":"{account}","text":"hi",{more}}}"#);
    let inmail = daemon.enqueue(&message("acc_1", &format!(r#""users_ids":"ACoA1",{INMAIL}"#))).await;
    let named = daemon.enqueue(&message("acc_1", r#""users_ids":"https://www.linkedin.com/in/ada""#)).await;
    let start = daemon.enqueue(&message("acc_1", r#""users_ids":"ACoA2""#)).await;
    let first = daemon.enqueue(&message("acc_1", r#""chat_id":"c""#)).await;
    for (id, said) in [(&inmail, "the InMail credits"), (&named, "the profile of")] {
        let failed = daemon.becomes(id, "failed").await;
        let error = failed["error"].as_str().unwrap();
        assert!(error.starts_with(said) && error.contains(KIND), "{failed}");
        assert_eq!((&failed["reason"], &failed["attempts"]), (&json!("refused"), &json!([])));
    }
    let sent = daemon.becomes(&start, "sent").await;
    assert!(sent["route"].as_str().unwrap().starts_with("new chat: the look-up was refused: "), "{sent}");
    daemon.becomes(&first, "sent").await;
    let follow_up = r#"{"account_id":"acc_1","chat_id":"c","text":"again","campaign":"k"}"#;
    let failed = daemon.becomes(&daemon.enqueue(follow_up).await, "failed").await;
    assert!(failed["error"].as_str().unwrap().starts_with("the chat cannot be read for an answer: "));
    let other = daemon.enqueue(&message("acc_2", r#""chat_id":"d""#)).await;
    daemon.becomes(&other, "sent").await;
    // Only accounts with messages to send are read.
    daemon.enqueue(&message("acc_2", r#""chat_id":"f","not_before":"2099-01-01T00:00:00Z""#)).await;
    let account = async || {
        let calls = env.sandbox.world().calls();
        calls.iter().any(|call| call.endpoint == Endpoint::GetAccount)
    };
    assert!(eventually(account).await, "the account data is read as well");
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["key_refused"], serde_json::Value::Null, "{status}");

    // The same answer to a send is about the key.
    env.sandbox.fault(refusal(Endpoint::SendMessage, 403, KIND, "This key may not send."));
    daemon.enqueue(&message("acc_2", r#""chat_id":"e""#)).await;
    let is_refused = async || !daemon.get("/v1/status").await.1["key_refused"].is_null();
    assert!(eventually(is_refused).await);
}
