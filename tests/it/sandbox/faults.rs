//! Each kind of fault: what the caller sees of it, and whether the ledger says that the recipient has the message.
//!
//! Tests wait for a condition, never for a length of time; the few durations are those of the injected faults.

use std::future::Future;
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};
use outboxd::sandbox::*;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Bench, FOREVER, SEND, TYPING, read, until};

/// Polls `request`, which must not be answered, until `condition` holds; then hangs up.
async fn unanswered_until<T>(request: impl Future<Output = T>, what: &str, condition: impl Fn() -> bool) {
    tokio::select! {
        _ = request => panic!("answered before: {what}"),
        () = until(what, condition) => {}
    }
}

#[tokio::test]
async fn injected_errors_have_their_status_type_and_truth() {
    let bench = Bench::start().await;
    let cases = [
        (Fault::api_429(30), 429, Some("api/too_many_requests"), Some("30"), 0),
        (Fault::provider_429(), 429, Some("provider/too_many_requests"), None, 0),
        (Fault::internal_error(false), 500, Some("api/internal_error"), None, 0),
        (Fault::internal_error(true), 500, Some("api/internal_error"), None, 1),
        (Fault::disconnected(), 401, Some("provider/invalid_authorization"), None, 0),
        (Fault::restricted(), 403, Some("api/account_restricted"), None, 0),
        (Fault::gateway(502, false), 502, None, None, 0),
        (Fault::gateway(504, true), 504, None, None, 1),
        (Fault::new(FaultKind::Garbage { status: 200, delivered: true }), 200, None, None, 1),
    ];
    for (fault, status, error_type, retry_after, delivered) in cases {
        let before = bench.delivered();
        bench.sandbox.fault(fault.clone());
        let response = bench.send().await.unwrap();
        assert_eq!(response.status(), status, "{fault:?}");
        let header = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(header.as_deref(), retry_after, "{fault:?}");
        let text = response.text().await.unwrap();
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        assert_eq!(answer.as_ref().map(|answer| answer["type"].as_str().unwrap()), error_type, "{text}");
        assert_eq!(bench.delivered() - before, delivered, "{fault:?}");
        assert_eq!(bench.last_call().status, Some(status));
        assert_eq!(bench.send().await.unwrap().status(), 200, "{fault:?} is once");
    }
}

#[tokio::test]
async fn a_cut_gives_no_answer_whether_delivered_or_not() {
    let bench = Bench::start().await;
    for delivered in [false, true] {
        let before = bench.delivered();
        bench.sandbox.fault(Fault::new(FaultKind::Cut { delivered }));
        let error = bench.send().await.unwrap_err();
        assert!(error.is_request() && !error.is_connect() && !error.is_timeout(), "{error:?}");
        assert_eq!(bench.delivered() - before, usize::from(delivered));
        let calls = bench.sandbox.world().calls();
        assert_eq!(calls.last().unwrap().status, None);
        assert_eq!(bench.send().await.unwrap().status(), 200);
        assert_eq!(bench.sandbox.world().call_count(), calls.len() + 1, "the cut call was not repeated");
    }
}

#[tokio::test]
async fn half_an_answer_breaks_off_in_the_body() {
    let bench = Bench::start().await;
    for delivered in [false, true] {
        let before = bench.delivered();
        bench.sandbox.fault(Fault::new(FaultKind::HalfAnswer { delivered }));
        let mut response = bench.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let promised: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
        let mut received = 0;
        let end = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => received += chunk.len(),
                end => break end,
            }
        };
        assert!(end.is_err(), "a whole body came");
        assert_eq!(received, promised / 2);
        assert_eq!(bench.delivered() - before, usize::from(delivered));
        assert_eq!(bench.last_call().status, Some(200));
    }
}

#[tokio::test]
async fn latency_before_delivery_holds_the_delivery_back() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    bench.sandbox.fault(Fault::new(FaultKind::Latency { before_delivery: FOREVER }));
    unanswered_until(bench.send(), "the call arrives", || world.call_count() == 1).await;
    assert_eq!(bench.delivered(), 0);
    assert_eq!(bench.last_call().status, None);

    let latency = Duration::from_millis(60);
    bench.sandbox.fault(Fault::new(FaultKind::Latency { before_delivery: latency }));
    let clock = SystemClock::new();
    assert_eq!(bench.send().await.unwrap().status(), 200);
    assert!(clock.monotonic() >= latency);
    let (call, delivery) = (bench.last_call(), world.deliveries().pop().unwrap());
    assert_eq!(delivery.at_monotonic, call.at_monotonic, "seq counts, not the end of the latency");

    bench.sandbox.fault(Fault::new(FaultKind::Latency { before_delivery: latency }));
    unanswered_until(bench.send(), "the call arrives", || world.call_count() == 3).await;
    until("the caller hung up, the message goes out", || bench.delivered() == 2).await;
    assert_eq!(bench.last_call().status, None, "nobody was there to be answered");
}

#[tokio::test]
async fn latency_after_delivery_holds_only_the_answer_back() {
    let bench = Bench::start().await;
    bench.sandbox.fault(Fault::new(FaultKind::LatencyAfterDelivery(FOREVER)));
    unanswered_until(bench.send(), "the message goes out", || bench.delivered() == 1).await;
    assert_eq!(bench.last_call().status, None);
}

#[tokio::test]
async fn a_slow_body_comes_whole_but_late() {
    let bench = Bench::start().await;
    let duration = Duration::from_millis(80);
    bench.sandbox.fault(Fault::new(FaultKind::SlowBody(duration)));
    let clock = SystemClock::new();
    let (status, answer) = read(bench.send().await.unwrap()).await;
    assert!(clock.monotonic() >= duration);
    assert_eq!((status.as_u16(), &answer["object"]), (200, &json!("MessageSent")));
    assert_eq!(bench.delivered(), 1);

    bench.sandbox.fault(Fault::new(FaultKind::SlowBody(FOREVER)));
    let response = bench.send().await.unwrap();
    assert_eq!(response.status(), 200, "the headers are not held back");
    let body = response.text();
    unanswered_until(body, "delivered before the body", || bench.delivered() == 2).await;
}

#[tokio::test]
async fn a_fault_meets_whom_it_names_and_as_often_as_it_says() {
    let bench = Bench::start().await;
    let status = async |account: &str, chat: &str| {
        let path = format!("/v2/{account}/chats/{chat}/messages/send");
        bench.post(&path, json!({ "text": "x" })).await.0.as_u16()
    };
    bench.sandbox.fault(Fault::internal_error(false).on("acc_2").at(Endpoint::SendMessage).after(1).times(2));
    bench.sandbox.fault(Fault::provider_429().on("acc_3").always());
    assert_eq!(status("acc_1", "c").await, 200);
    assert_eq!(
        bench
            .request(Method::POST, "/v2/acc_2/chats/c/composing?action=typing")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(status("acc_2", "c").await, 200, "skipped");
    assert_eq!(status("acc_2", "missing").await, 404, "a refusal uses nothing up");
    assert_eq!(
        [status("acc_2", "c").await, status("acc_2", "c").await, status("acc_2", "c").await],
        [500, 500, 200]
    );
    for _ in 0..3 {
        assert_eq!(status("acc_3", "c").await, 429);
    }
    assert_eq!(bench.sandbox.world().faults().len(), 1, "only the lasting one is left");
    bench.sandbox.fault(Fault::restricted().on("acc_3"));
    assert_eq!(status("acc_3", "c").await, 429, "the first that matches is used");
    bench.sandbox.world().clear_faults();
    assert_eq!(status("acc_3", "c").await, 200);
}

#[tokio::test]
async fn an_account_stays_down_until_it_is_reconnected() {
    let bench = Bench::start().await;
    let world = bench.sandbox.world();
    world.disconnect("acc_1");
    for request in
        [bench.request(Method::POST, SEND).json(&json!({ "text": "x" })), bench.request(Method::POST, TYPING)]
    {
        let (status, answer) = read(request.send().await.unwrap()).await;
        assert_eq!((status.as_u16(), &answer["type"]), (401, &json!("provider/invalid_authorization")));
    }
    assert_eq!(bench.post("/v2/acc_2/chats/c/messages/send", json!({ "text": "x" })).await.0, 200);
    world.restrict("acc_1");
    let (status, answer) = read(bench.send().await.unwrap()).await;
    assert_eq!((status.as_u16(), &answer["type"]), (403, &json!("api/account_restricted")));
    world.reconnect("acc_1");
    assert_eq!(bench.send().await.unwrap().status(), 200);
    assert_eq!(bench.delivered(), 2);
}

#[tokio::test]
async fn faults_and_accounts_can_be_set_over_http() {
    let bench = Bench::start().await;
    let fault =
        r#"{"account":"acc_1","endpoint":"send_message","times":1,"kind":{"cut":{"delivered":true}}}"#;
    let (status, echo) = bench.own(Method::POST, "/sandbox/faults", fault).await;
    assert_eq!(status, 201, "{echo}");
    let expected = Fault::new(FaultKind::Cut { delivered: true }).on("acc_1").at(Endpoint::SendMessage);
    assert_eq!(bench.sandbox.world().faults(), [expected]);
    assert!(bench.send().await.is_err());
    assert_eq!(bench.delivered(), 1);

    bench
        .own(Method::POST, "/sandbox/faults", r#"{"kind":{"garbage":{"status":503,"delivered":false}}}"#)
        .await;
    for _ in 0..2 {
        assert_eq!(bench.send().await.unwrap().status(), 503, "without times it lasts");
    }
    assert_eq!(bench.own(Method::DELETE, "/sandbox/faults", "").await.0, 204);
    assert_eq!(bench.own(Method::GET, "/sandbox/faults", "").await.1, json!([]));

    for (verb, status) in [("disconnect", 401), ("restrict", 403), ("reconnect", 200)] {
        assert_eq!(bench.own(Method::POST, &format!("/sandbox/accounts/acc_1/{verb}"), "").await.0, 204);
        assert_eq!(bench.send().await.unwrap().status(), status);
    }
    assert_eq!(bench.own(Method::POST, "/sandbox/accounts/acc_1/explode", "").await.0, 404);
}

#[test]
fn every_fault_survives_json() {
    let second = Duration::from_secs(1);
    let faults = [
        Fault::api_429(5).on("acc_1").at(Endpoint::StartChat).after(2).times(3),
        Fault::internal_error(true).always(),
        Fault::gateway(502, false),
        Fault::new(FaultKind::Latency { before_delivery: second }),
        Fault::new(FaultKind::LatencyAfterDelivery(second)),
        Fault::new(FaultKind::SlowBody(second)),
        Fault::new(FaultKind::Cut { delivered: true }),
        Fault::new(FaultKind::HalfAnswer { delivered: false }),
    ];
    for fault in faults {
        let json = serde_json::to_string(&fault).unwrap();
        assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault, "{json}");
    }
}
