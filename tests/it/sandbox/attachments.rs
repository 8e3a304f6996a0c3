//! What the ledger keeps of attachments, and how large they may be.

use std::sync::Arc;

use outboxd::sandbox::*;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Bench, SEND, START};

/// Returns 20 MB, which is not divisible by three, in base64.
fn largest() -> String {
    let mut base64 = "AAAA".repeat((20 << 20) / 3);
    base64.push_str("AAA=");
    base64
}

fn file(content: &str) -> Value {
    json!({ "content": content, "content_type": "application/pdf", "filename": "a.pdf" })
}

#[tokio::test]
async fn an_attachment_is_kept_as_it_was_sent() {
    let bench = Bench::start().await;
    let voice = json!({
        "content": "Zm9vYmFy", "content_type": "audio/ogg; codecs=opus", "filename": "Grüße.ogg",
        "send_mode": "native", "voice_note": true, "metadata": { "duration": 2.5 },
    });
    let picture = json!({
        "content": "AAEC/w==", "content_type": "image/png", "filename": "a.png", "send_mode": "file",
        "metadata": {},
    });
    let body = json!({ "text": "", "attachments": [voice, picture, file("")] });
    assert_eq!(bench.post(SEND, body.clone()).await.0, 200);
    assert_eq!(bench.last_call().body, body);

    let delivery = bench.sandbox.world().deliveries().pop().unwrap();
    let [voice, picture, empty] = &delivery.attachments[..] else { panic!("three: {delivery:?}") };
    assert_eq!(
        (voice.filename.as_str(), voice.content_type.as_str()),
        ("Grüße.ogg", "audio/ogg; codecs=opus")
    );
    assert_eq!((voice.send_mode, voice.voice_note), (Some(SendMode::Native), Some(true)));
    assert_eq!(voice.duration.as_ref().and_then(|seconds| seconds.as_f64()), Some(2.5));
    assert_eq!((voice.bytes, voice.fnv1a), (6, 0x8594_4171_f739_67e8));
    assert_eq!(voice.content(), Some(b"foobar".as_slice()));
    assert_eq!((picture.send_mode, picture.voice_note), (Some(SendMode::File), None));
    assert_eq!((picture.bytes, &picture.duration), (4, &None));
    assert_eq!(picture.content(), Some([0, 1, 2, 0xff].as_slice()));
    assert_eq!((empty.send_mode, empty.bytes, empty.fnv1a), (None, 0, 0xcbf2_9ce4_8422_2325));

    let (_, answer) = bench.own(Method::GET, "/sandbox/ledger", "").await;
    assert_eq!(answer[0]["attachments"][0]["voice_note"], true);
    assert!(answer[0]["attachments"][0].get("content").is_none());
    let reconcile: Vec<Delivery> = serde_json::from_value(answer).unwrap();
    assert_eq!(reconcile[0].attachments, delivery.attachments, "the hash tells, the bytes are not repeated");
    assert_eq!(reconcile[0].attachments[0].content(), None);
}

#[tokio::test]
async fn the_bytes_can_be_fetched_over_http() {
    let bench = Bench::start().await;
    bench.send().await.unwrap();
    bench.post(SEND, json!({ "text": "", "attachments": [file("AAEC/w==")] })).await;
    let fetch = async |path: &str| {
        let url = format!("{}/sandbox/deliveries/{path}", bench.sandbox.url());
        bench.http.get(url).send().await.unwrap()
    };
    let response = fetch("2/attachments/0").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/pdf");
    assert_eq!(response.bytes().await.unwrap(), [0, 1, 2, 0xff].as_slice());
    for nowhere in
        ["2/attachments/1", "1/attachments/0", "0/attachments/0", "9/attachments/0", "x/attachments/0"]
    {
        assert_eq!(fetch(nowhere).await.status(), 404, "{nowhere}");
    }

    let lean = Bench::with(SandboxConfig { keep_bodies: false, ..SandboxConfig::default() }).await;
    let specifics = json!({ "linkedin": { "classic": { "inmail": true } } });
    let body =
        json!({ "text": "x", "users_ids": "ada", "attachments": [file("Zm9v")], "specifics": specifics });
    assert_eq!(lean.post(START, body).await.0, 200);
    let delivery = lean.sandbox.world().deliveries().pop().unwrap();
    let attachment = &delivery.attachments[0];
    assert_eq!((attachment.content(), attachment.bytes, attachment.fnv1a), (None, 3, 0xdcb2_7518_fed9_d577));
    assert_eq!(delivery.specifics, None);
    assert_eq!(lean.own(Method::GET, "/sandbox/deliveries/1/attachments/0", "").await.0, 404);
}

#[tokio::test]
async fn twenty_megabytes_are_taken_and_a_byte_more_is_not() {
    let bench = Bench::start().await;
    let (status, answer) =
        bench.post(SEND, json!({ "text": "", "attachments": [file(&largest()), file("AA==")] })).await;
    assert_eq!((status.as_u16(), &answer["type"]), (415, &json!("provider/invalid_file")));
    assert!(answer["detail"].as_str().unwrap().contains("20971521"), "{answer}");
    assert_eq!(bench.delivered(), 0);

    assert_eq!(bench.post(SEND, json!({ "text": "", "attachments": [file(&largest())] })).await.0, 200);
    let delivery = bench.sandbox.world().deliveries().pop().unwrap();
    assert_eq!(delivery.attachments[0].bytes, 20 << 20);
    let content: Arc<[u8]> = delivery.attachments[0].content().unwrap().into();
    assert!(content.iter().all(|byte| *byte == 0));
    let quoted = &bench.last_call().body["attachments"][0];
    assert_eq!(quoted["content"], "(27962028 characters of base64)", "the bytes are kept once");
    assert_eq!(quoted["filename"], "a.pdf");
}
