//! Files: by base64, by path and from the command line, byte for byte to the sandbox; stored once; each bad file
//! refused by name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outboxd::sandbox::Delivery;
use rand::RngExt;
use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, run};

const SEED: u64 = 20_261_122;

fn bytes(length: usize) -> Vec<u8> {
    let mut dice = outboxd::clock::dice(SEED);
    (0..length).map(|_| dice.random()).collect()
}

fn message(attachments: &Value) -> String {
    json!({"account_id": "acc_1", "chat_id": "c", "attachments": attachments}).to_string()
}

/// Returns name, type and bytes of each file that arrived.
fn arrived(delivery: &Delivery) -> Vec<(String, String, Vec<u8>)> {
    let files = delivery.attachments.iter();
    files
        .map(|file| {
            let content = file.content().expect("bodies are kept").to_vec();
            (file.filename.clone(), file.content_type.clone(), content)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_length_arrive_byte_for_byte() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    // Lengths around the ends of base64 groups and of the pieces that store a file.
    let piece = 192 * 1024;
    for (index, length) in [1, 2, 3, 4, piece - 1, piece, piece + 1, 3 * piece + 2].into_iter().enumerate() {
        let content = bytes(length);
        let file = json!([{"filename": "a \"quoted\" näme.bin", "content": STANDARD.encode(&content)}]);
        daemon.enqueue(&message(&file)).await;
        let delivery = env.delivered(index + 1).await.remove(index);
        let expected = ("a \"quoted\" näme.bin".to_owned(), "application/octet-stream".to_owned(), content);
        assert!(arrived(&delivery) == [expected], "seed {SEED}: {length} bytes");
        assert_eq!(delivery.text, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_files_by_base64_and_path_keep_their_kinds_and_modes() {
    let env = TestEnv::new().await.hasty();
    let env = {
        let root = env.path("files");
        std::fs::create_dir(&root).expect("a folder");
        env.set("OUTBOXD_ATTACHMENTS_ROOTS", root.to_str().expect("text"))
    };
    let pdf = env.path("files/offer.pdf");
    std::fs::write(&pdf, b"%PDF-1.7 an offer").expect("a file");
    let daemon = env.serve().await;
    let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &bytes(100)].concat();
    let files = json!([
        {"filename": "picture", "content": STANDARD.encode(&png), "send_mode": "file"},
        {"path": pdf},
        {"filename": "hello.mp3", "content": STANDARD.encode(b"sound"), "voice_note": true, "duration": 2.5},
    ]);
    let id = daemon.enqueue(&message(&files)).await;
    // The file may be removed as soon as the message is accepted.
    std::fs::remove_file(&pdf).expect("it is there");
    let delivery = env.delivered(1).await.remove(0);
    let kinds: Vec<(String, String)> =
        arrived(&delivery).into_iter().map(|(name, kind, _)| (name, kind)).collect();
    let expected = [("picture", "image/png"), ("offer.pdf", "application/pdf"), ("hello.mp3", "audio/mpeg")];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind.to_owned())));
    assert_eq!(arrived(&delivery)[1].2, b"%PDF-1.7 an offer");
    let call = env.writes().pop().expect("a call");
    let sent = &call.body["attachments"];
    assert_eq!((&sent[0]["send_mode"], &sent[1]["send_mode"]), (&json!("file"), &Value::Null), "{sent}");
    assert_eq!((&sent[2]["voice_note"], &sent[2]["send_mode"]), (&json!(true), &json!("native")));
    assert_eq!(sent[2]["metadata"], json!({"duration": 2.5}));
    let (_, shown) = daemon.get(&format!("/v1/messages/{id}")).await;
    assert_eq!(shown["attachments"][0]["size"], png.len());
    assert_eq!(shown["attachments"][0]["content"], Value::Null, "lists and views carry no bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_file_of_many_messages_is_stored_once_by_every_door() {
    let env = TestEnv::new().await.hasty();
    let daemon = env.serve().await;
    let content = STANDARD.encode(bytes(300_000));
    let file = json!([{"filename": "deck.pdf", "content": content}]);
    let lines: Vec<String> = (0..20).map(|_| message(&file)).collect();
    let (status, answer) =
        daemon.post_as("/v1/messages", "application/x-ndjson", lines.join("\n").into_bytes()).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(20)), "{answer}");
    let path = env.path("deck.pdf");
    std::fs::write(&path, bytes(300_000)).expect("a file");
    let flags = ["enqueue", "--account", "acc_1", "--chat", "c", "--attach", "deck.pdf"];
    let (ok, said) = run(env.outboxd(&flags), "");
    assert!(ok, "{said}");
    env.sql(&format!(
        "INSERT INTO messages (account_id, chat_id, attachments) VALUES ('acc_2', 'c', '{file}') RETURNING id"
    ));
    let deliveries = env.delivered(22).await;
    let hashes: std::collections::BTreeSet<u64> =
        deliveries.iter().map(|one| one.attachments[0].fnv1a).collect();
    assert_eq!(hashes.len(), 1);
    assert_eq!(env.sql("SELECT count(*) || ' ' || sum(size) FROM blobs"), ["1 300000"]);
    let inline = env.sql("SELECT coalesce(max(octet_length(attachments)), 0) || '' FROM messages");
    assert!(inline[0].parse::<u32>().is_ok_and(|bytes| bytes < 500), "the row keeps no bytes: {inline:?}");
}

/// Posts a message with a bad file, which must be refused with this field and a problem that contains `part`.
async fn refused(daemon: &Daemon, file: &Value, field: &str, part: &str) {
    let (status, answer) = daemon.post("/v1/messages", &message(&json!([file]))).await;
    let error = &answer["error"];
    assert_eq!((status, error["field"].as_str()), (422, Some(field)), "{file:.200}: {answer}");
    assert!(error["problem"].as_str().is_some_and(|problem| problem.contains(part)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn every_bad_file_is_told_and_leaves_no_blob_behind() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_LIMITS_ATTACHMENT_BYTES", "1000");
    for folder in ["files", "secret"] {
        std::fs::create_dir(env.path(folder)).expect("a folder");
    }
    std::fs::write(env.path("secret/key"), "secret").expect("a file");
    std::fs::write(env.path("files/empty.txt"), "").expect("a file");
    std::fs::write(env.path("files/large.txt"), vec![b'x'; 1001]).expect("a file");
    std::os::unix::fs::symlink(env.path("secret/key"), env.path("files/link")).expect("a link");
    let root = env.path("files").to_str().expect("text").to_owned();
    let env = env.set("OUTBOXD_ATTACHMENTS_ROOTS", &root);
    let daemon = env.serve().await;
    let at = |name: &str| json!({"path": env.path(name)});
    let content = |fields: Value| {
        let mut file = json!({"filename": "a.pdf", "content": "QUJD"});
        file.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
        file
    };
    let cases = [
        (at("files/missing.txt"), "attachments[0].path", "cannot be read"),
        (at("files"), "attachments[0].path", "is not a file"),
        (at("secret/key"), "attachments[0].path", "outside the allowed folders"),
        (at("files/link"), "attachments[0].path", "outside the allowed folders"),
        (at("files/../secret/key"), "attachments[0].path", "outside the allowed folders"),
        (json!({"path": "files/a.txt"}), "attachments[0].path", "not absolute"),
        (at("files/empty.txt"), "attachments[0]", "empty file"),
        (at("files/large.txt"), "attachments[0].path", "1001 bytes, 1000 are allowed"),
        (content(json!({"content": "QUJ"})), "attachments[0].content", "not base64"),
        (content(json!({"content": "not base64!"})), "attachments[0].content", "not base64"),
        (content(json!({"content": STANDARD.encode([0; 1001])})), "attachments[0]", "1000 are allowed"),
        (content(json!({"path": "/x"})), "attachments[0].path", "cannot be combined"),
        (json!({"filename": "a.pdf"}), "attachments[0]", "neither"),
        (json!({"content": "QUJD"}), "attachments[0].filename", "is missing"),
        (content(json!({"filename": "a/.."})), "attachments[0].filename", "not a file name"),
        (content(json!({"content_type": "pdf"})), "attachments[0].content_type", "not a MIME type"),
        (content(json!({"send_mode": "inline"})), "attachments[0].send_mode", "inline"),
        (content(json!({"send_mode": "native"})), "attachments[0].send_mode", "document"),
        (content(json!({"voice_note": true})), "attachments[0].voice_note", "application/pdf"),
        (content(json!({"voice_note": 1})), "attachments[0].voice_note", "not a boolean"),
        (content(json!({"duration": "1s"})), "attachments[0].duration", "not a number"),
        (content(json!({"file_name": "a"})), "attachments[0].file_name", "not a known field"),
        (json!("a.pdf"), "attachments[0]", "not a JSON object"),
    ];
    for (file, field, part) in &cases {
        refused(&daemon, file, field, part).await;
    }
    // Too large only together.
    let half = content(json!({"content": STANDARD.encode([0; 600])}));
    let (status, answer) = daemon.post("/v1/messages", &message(&json!([half, half]))).await;
    assert_eq!((status, answer["error"]["field"].as_str()), (422, Some("attachments[1]")), "{answer}");
    // Good files with a message that is refused: nothing is stored either.
    let long = json!({"account_id": "acc_1", "attachments": [content(json!({}))]}).to_string();
    assert_eq!(daemon.post("/v1/messages", &long).await.0, 422);
    assert_eq!(env.sql("SELECT count(*) || '' FROM blobs"), ["0"]);
    let id = env.sql(&format!(
        "INSERT INTO messages (account_id, chat_id, attachments) VALUES ('acc_1', 'c', '[{}]') RETURNING id",
        cases[3].0
    ));
    let rejected = daemon.becomes(&id[0], "rejected").await;
    assert!(
        rejected["error"].as_str().is_some_and(|error| error.contains("outside the allowed folders")),
        "{rejected}"
    );
    assert_eq!(env.writes().len(), 0);
}

/// A message with a conflicting key stores no bytes; without configured roots no path is read at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_keeps_no_bytes_and_no_path_is_read_unless_configured() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    let keyed = |text: &str, files: Value| {
        json!({"account_id": "acc_1", "chat_id": "c", "text": text, "dedupe_key": "k", "attachments": files})
            .to_string()
    };
    let file = json!([{"filename": "a.txt", "content": "QUJD"}]);
    daemon.enqueue(&keyed("one", file.clone())).await;
    assert_eq!(daemon.post("/v1/messages", &keyed("one", file)).await.0, 200, "the same again");
    let other = json!([{"filename": "a.txt", "content": "REVG"}]);
    assert_eq!(
        daemon.post("/v1/messages", &keyed("one", other)).await.0,
        409,
        "another file is another content"
    );
    assert_eq!(env.sql("SELECT count(*) || '' FROM blobs"), ["1"]);
    refused(&daemon, &json!({"path": "/etc/hostname"}), "attachments[0].path", "none may be read").await;
}
