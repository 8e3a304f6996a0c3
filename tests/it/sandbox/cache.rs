//! The response cache of the service, which answers with data of up to an hour ago unless a request opts out, and
//! faults of reads.

use outboxd::sandbox::*;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Bench, SEND, read};

const CREDITS: &str = "/v2/acc_1/linkedin/inmail-credits";

/// Returns the classic credits that a read shows, and whether they came from the cache.
async fn credits(bench: &Bench, path: &str, control: Option<&str>) -> (u64, String) {
    let mut request = bench.request(Method::GET, path);
    if let Some(control) = control {
        request = request.header("cache-control", control);
    }
    let response = request.send().await.expect("an answer");
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    let age: u64 = header("age").parse().expect("seconds");
    assert!(age < 60, "{age} s");
    let cache = header("x-cache");
    (read(response).await.1["credits"]["classic"].as_u64().expect("a number"), cache)
}

#[tokio::test]
async fn a_read_is_stale_unless_it_asks_for_the_truth() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    let (hit, miss) = ("HIT".to_owned(), "MISS".to_owned());
    assert_eq!(credits(&bench, CREDITS, None).await, (10, miss.clone()));
    world.set_credits("acc_1", Some(4), None, None);
    assert_eq!(credits(&bench, CREDITS, None).await, (10, hit.clone()));
    assert_eq!(credits(&bench, CREDITS, Some("max-age=60")).await, (10, hit.clone()));
    assert_eq!(credits(&bench, &format!("{CREDITS}?service=classic"), None).await, (4, miss.clone()));
    assert_eq!(credits(&bench, CREDITS, Some("no-store")).await, (4, miss.clone()));
    assert_eq!(bench.last_call().cache_control.as_deref(), Some("no-store"));
    assert_eq!(credits(&bench, CREDITS, None).await, (10, hit.clone()), "no-store stored nothing");
    assert_eq!(credits(&bench, CREDITS, Some("no-cache")).await, (4, miss.clone()));
    assert_eq!(credits(&bench, CREDITS, None).await, (4, hit), "no-cache did");
    world.set_credits("acc_1", Some(3), None, None);
    assert_eq!(credits(&bench, CREDITS, Some("max-age=0")).await, (3, miss));

    let response = bench.request(Method::GET, "/v2/accounts/acc_1").send().await.unwrap();
    assert!(response.headers().get("x-cache").is_none(), "accounts are not cached");
    let (status, _) = bench.get("/v2/acc_1/chats/missing-1").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_post_of_the_account_empties_its_cache() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    let others = "/v2/acc_2/linkedin/inmail-credits";
    credits(&bench, CREDITS, None).await;
    credits(&bench, others, None).await;
    for account in ["acc_1", "acc_2"] {
        world.set_credits(account, Some(1), None, None);
    }
    bench.post(SEND, json!({ "text": "" })).await;
    assert_eq!(credits(&bench, CREDITS, None).await.0, 10, "a refused one does not");
    bench.sandbox.fault(Fault::new(FaultKind::Cut { delivered: true }));
    assert!(bench.send().await.is_err());
    assert_eq!(credits(&bench, CREDITS, None).await.0, 10, "nor does one that was never answered");
    bench.send().await.unwrap();
    assert_eq!(credits(&bench, CREDITS, None).await, (1, "MISS".to_owned()));
    assert_eq!(credits(&bench, others, None).await, (10, "HIT".to_owned()), "another account");
}

#[tokio::test]
async fn what_was_delivered_unanswered_is_found_only_by_a_fresh_read() {
    let bench = Bench::start().await;
    let messages = "/v2/acc_1/chats/chat-1/messages";
    assert_eq!(bench.get(messages).await.1["data"], json!([]));
    bench.sandbox.fault(Fault::internal_error(true));
    assert_eq!(bench.send().await.unwrap().status(), 500);
    assert_eq!(bench.get(messages).await.1["data"], json!([]), "stale");
    assert_eq!(bench.fresh(messages).await["data"][0]["text"], "hello");
}

#[tokio::test]
async fn a_fault_meets_a_read_only_if_it_names_it() {
    let bench = Bench::start().await;
    bench.sandbox.fault(Fault::provider_429());
    bench.sandbox.fault(Fault::api_429(7).at(Endpoint::GetInmailCredits));
    bench.sandbox.fault(Fault::gateway(502, false).at(Endpoint::ListAccounts));
    let (status, answer) = bench.get(CREDITS).await;
    assert_eq!((status.as_u16(), &answer["type"]), (429, &json!("api/too_many_requests")));
    assert_eq!(credits(&bench, CREDITS, None).await, (10, "MISS".to_owned()), "an error is not cached");
    assert_eq!(bench.get("/v2/accounts/").await.0, 502);
    assert_eq!(bench.send().await.unwrap().status(), 429, "the first was kept for a message");
    assert_eq!(bench.sandbox.world().faults(), []);

    bench.sandbox.fault(Fault::new(FaultKind::Cut { delivered: false }).at(Endpoint::ListInboxes));
    assert!(bench.request(Method::GET, "/v2/acc_1/inboxes").send().await.is_err());
    let fault =
        r#"{"endpoint":"list_messages","times":1,"kind":{"garbage":{"status":200,"delivered":false}}}"#;
    assert_eq!(bench.own(Method::POST, "/sandbox/faults", fault).await.0, 201);
    let (status, answer) = bench.get("/v2/acc_1/chats/chat-1/messages").await;
    assert_eq!((status.as_u16(), answer.is_string()), (200, true));
    assert_eq!(bench.last_call().body, Value::Null);
}
