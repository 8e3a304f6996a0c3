//! Files uploaded to the socket with their message: what arrives, and every way in which an upload can be wrong.
#![allow(clippy::unwrap_used, reason = "a test may")]

use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv};

const BOUNDARY: &str = "----7d1";
const GOOD: &str = r#"{"account_id":"acc_1","chat_id":"c","text":"look"}"#;

/// A part: its name, file name, content type and bytes.
type Part<'a> = (&'a str, Option<&'a str>, Option<&'a str>, &'a [u8]);

fn body(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = b"a preamble that nobody reads\r\n".to_vec();
    for (name, filename, content_type, bytes) in parts {
        let mut head = format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"");
        if let Some(filename) = filename {
            head += &format!("; filename=\"{filename}\"");
        }
        if let Some(content_type) = content_type {
            head += &format!("\r\nContent-Type: {content_type}");
        }
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    body
}

async fn upload(daemon: &Daemon, parts: &[Part<'_>]) -> (u16, Value) {
    let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
    daemon.post_as("/v1/messages", &content_type, body(parts)).await
}

fn message(text: &str) -> Part<'_> {
    ("message", None, Some("application/json"), text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn uploaded_files_arrive_byte_for_byte_with_what_is_said_about_them() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    // Line ends, the beginning of the boundary, and every byte value.
    let awkward: Vec<u8> = (0..=255).chain(*b"\r\n--\r\n----7d\r\n--").chain((0..=255).rev()).collect();
    let said = json!({
        "account_id": "acc_1", "chat_id": "c",
        "attachments": [{"filename": "hello.mp3", "voice_note": true, "duration": 2.5}, {"filename": "inline.txt", "content": "QUJD"}],
    })
    .to_string();
    let parts = [
        ("attachments", Some("größe 1.bin"), Some("application/octet-stream"), awkward.as_slice()),
        message(&said),
        ("attachments", Some("hello.mp3"), None, b"sound".as_slice()),
        ("attachments", Some("page"), Some("text/html; charset=utf-8"), b"<p>".as_slice()),
    ];
    let (status, answer) = upload(&daemon, &parts).await;
    assert_eq!(status, 201, "{answer}");
    let delivery = env.delivered(1).await.remove(0);
    let arrived: Vec<(&str, &str, &[u8])> = delivery
        .attachments
        .iter()
        .map(|file| (file.filename.as_str(), file.content_type.as_str(), file.content().unwrap()))
        .collect();
    let expected: [(&str, &str, &[u8]); 4] = [
        ("hello.mp3", "audio/mpeg", b"sound"),
        ("inline.txt", "text/plain", b"ABC"),
        ("größe 1.bin", "application/octet-stream", &awkward),
        ("page", "text/html; charset=utf-8", b"<p>"),
    ];
    assert_eq!(arrived, expected);
    assert_eq!((delivery.attachments[0].voice_note, &delivery.text), (Some(true), &String::new()));

    let (status, answer) = upload(&daemon, &[message(GOOD)]).await;
    assert_eq!(
        (status, &answer["state"]),
        (201, &json!("queued")),
        "without a file it is a message like any other"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_has_an_idempotency_key_as_any_message_has() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let keyed = r#"{"account_id":"acc_1","chat_id":"c","dedupe_key":"k"}"#;
    let file = |bytes: &'static [u8]| ("attachments", Some("a.pdf"), None, bytes);
    assert_eq!(upload(&daemon, &[message(keyed), file(b"one")]).await.0, 201);
    assert_eq!(upload(&daemon, &[message(keyed), file(b"one")]).await.0, 200);
    assert_eq!(
        upload(&daemon, &[message(keyed), file(b"two")]).await.0,
        409,
        "other bytes are another content"
    );
    assert_eq!(env.sql("SELECT count(*) || '' FROM blobs"), ["1"]);
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn each_way_in_which_an_upload_is_wrong_is_told_and_leaves_nothing_behind() {
    let env = TestEnv::new().await.set("OUTBOXD_LIMITS_ATTACHMENT_BYTES", "1000");
    let daemon = env.serve().await;
    let file = |name: &'static str| ("attachments", Some(name), None, b"x".as_slice());
    let large = vec![b'x'; 1001];
    let many: Vec<String> = (0..70).map(|n| format!("{n}.txt")).collect();
    let many: Vec<Part<'_>> = std::iter::once(message(GOOD))
        .chain(many.iter().map(|name| ("attachments", Some(name.as_str()), None, b"x".as_slice())))
        .collect();
    let unknown = r#"{"account_id":"acc_1","chat_id":"c","attachments":[{"filename":"b.pdf"}]}"#;
    let wrong_type = r#"{"account_id":"acc_1","chat_id":"c","attachments":"a.pdf"}"#;
    let cases: Vec<(Vec<Part<'_>>, u16, &str, &str)> = vec![
        (vec![], 422, "message", "is missing"),
        (vec![file("a.pdf")], 422, "message", "is missing"),
        (vec![message(GOOD), message(GOOD)], 422, "message", "given twice"),
        (vec![message("{\"account_id\"")], 400, "message", "not JSON at line 1"),
        (vec![message("[]")], 422, "message", "not a JSON object"),
        (vec![("message", None, None, b"\xff\xfe")], 400, "message", "not JSON"),
        (vec![message(r#"{"chat_id":"c","text":"x"}"#)], 422, "account_id", "is missing"),
        (vec![message(GOOD), ("file", Some("a"), None, b"x")], 422, "file", "not a known field"),
        (vec![message(GOOD), ("attachments", None, None, b"x")], 422, "attachments", "without a file name"),
        (vec![message(GOOD), file("")], 422, "attachments", "without a file name"),
        (vec![message(GOOD), file("a.pdf"), file("a.pdf")], 422, "attachments", "two files named a.pdf"),
        (vec![message(GOOD), file("a/..")], 422, "attachments[0].filename", "not a file name"),
        (vec![message(GOOD), ("attachments", Some("a"), None, b"")], 422, "attachments[0]", "empty file"),
        (
            vec![message(GOOD), ("attachments", Some("a"), None, &large)],
            422,
            "attachments[0]",
            "1000 are allowed",
        ),
        (
            vec![message(GOOD), ("attachments", Some("a"), Some("pdf"), b"x")],
            422,
            "attachments[0].content_type",
            "not a MIME",
        ),
        (vec![message(unknown), file("a.pdf")], 422, "attachments[0]", "neither"),
        (vec![message(wrong_type), file("a.pdf")], 422, "attachments", "not an array"),
        (many, 422, "", "more than 64 parts"),
    ];
    for (parts, expected, field, part) in &cases {
        let (status, answer) = upload(&daemon, parts).await;
        let error = &answer["error"];
        assert_eq!((status, error["field"].as_str()), (*expected, Some(*field)), "{part}: {answer}");
        assert!(error["problem"].as_str().unwrap().contains(part), "{part}: {answer}");
        assert!(!error["fix"].as_str().unwrap().is_empty());
    }
    let whole = body(&[message(GOOD), file("a.pdf")]);
    let raw = [
        ("multipart/form-data", whole.clone(), "Content-Type", "without a boundary"),
        ("multipart/form-data; boundary=other", whole.clone(), "", "not a whole multipart"),
        (
            "multipart/form-data; boundary=----7d1",
            whole[..whole.len() - 20].to_vec(),
            "",
            "not a whole multipart",
        ),
        ("multipart/form-data; boundary=----7d1", Vec::new(), "", "not a whole multipart"),
    ];
    for (content_type, bytes, field, part) in raw {
        let (status, answer) = daemon.post_as("/v1/messages", content_type, bytes).await;
        assert_eq!((status, answer["error"]["field"].as_str()), (400, Some(field)), "{part}: {answer}");
        assert!(answer["error"]["problem"].as_str().unwrap().contains(part), "{answer}");
    }
    let (status, answer) = daemon.post_as("/v1/messages", "multipart/mixed; boundary=x", whole).await;
    assert_eq!(status, 415, "{answer}");
    assert_eq!(
        env.sql("SELECT (SELECT count(*) FROM blobs) || ' ' || (SELECT count(*) FROM messages)"),
        ["0 0"]
    );
}
