//! `POST /v1/messages`: every bad input with its status, code and field; batches; idempotency (P7).

use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv};

async fn quiet() -> (TestEnv, Daemon) {
    // Nothing is sent here: everything is paused.
    let env = TestEnv::new().await.set("OUTBOXD_API_BODY_BYTES", "20000").set("OUTBOXD_API_ATOMIC_ROWS", "5");
    let daemon = env.serve().await;
    daemon.post("/v1/pause", "").await;
    (env, daemon)
}

fn good() -> Value {
    json!({"account_id": "acc_1", "chat_id": "c", "text": "hello"})
}

fn with(field: &str, value: Value) -> String {
    let mut message = good();
    message[field] = value;
    message.to_string()
}

fn without(field: &str) -> String {
    let mut message = good();
    message.as_object_mut().expect("an object").remove(field);
    message.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_message_is_told_what_is_wrong_where_and_what_to_do() {
    let (_env, daemon) = quiet().await;
    let cases: Vec<(String, u16, &str, &str)> = vec![
        (without("account_id"), 422, "missing_field", "account_id"),
        (with("account_id", json!("me")), 422, "invalid_value", "account_id"),
        (with("account_id", json!(7)), 422, "wrong_type", "account_id"),
        (without("chat_id"), 422, "missing_field", "chat_id"),
        (with("users_ids", json!("u")), 422, "contradiction", "chat_id"),
        (with("users_ids", json!({"id": "u"})), 422, "wrong_type", "users_ids"),
        (with("chat_id", json!("")), 422, "missing_field", "chat_id"),
        (with("chat_id", json!("..")), 422, "invalid_value", "chat_id"),
        (without("text"), 422, "missing_field", "text"),
        (with("text", json!(" ")), 422, "missing_field", "text"),
        (with("text", json!("a\0b")), 422, "invalid_value", "text"),
        (with("text", json!("ä".repeat(8001))), 422, "too_long", "text"),
        (with("text", json!(["a"])), 422, "wrong_type", "text"),
        (with("typing", json!("yes")), 422, "wrong_type", "typing"),
        (with("not_before", json!("soon")), 422, "invalid_value", "not_before"),
        (with("not_before", json!(1_795_000_000)), 422, "wrong_type", "not_before"),
        (with("expires_at", json!("2020-01-01T00:00:00Z")), 422, "invalid_value", "expires_at"),
        (with("user_ids", json!(["u"])), 422, "unknown_field", "user_ids"),
        (with("inbox_id", json!("CLASSIC_PRIMARY")), 422, "contradiction", "inbox_id"),
        ("\"hello\"".to_owned(), 422, "wrong_type", ""),
        ("{\"account_id\": \"acc_1\",\n \"text\": }".to_owned(), 400, "malformed_json", ""),
        (String::new(), 400, "malformed_json", ""),
        (with("text", json!("a".repeat(30_000))), 413, "too_long", ""),
    ];
    for (body, status, code, field) in cases {
        let (found, answer) = daemon.post("/v1/messages", &body).await;
        let error = &answer["error"];
        let told = (found, error["code"].as_str().unwrap_or(""), error["field"].as_str().unwrap_or("?"));
        assert_eq!(told, (status, code, field), "{body:.80}: {answer}");
        let says = |part: &str| error[part].as_str().is_some_and(|text| !text.is_empty());
        assert!(says("problem") && says("fix"), "{answer}");
    }
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["queue"]["counts"], json!({}), "nothing half-done is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_points_at_its_place_and_at_what_was_meant() {
    let (_env, daemon) = quiet().await;
    let (_, answer) = daemon.post("/v1/messages", "{\"account_id\": \"acc_1\",\n \"text\": }").await;
    let problem = answer["error"]["problem"].as_str().unwrap_or_default().to_owned();
    assert!(problem.contains("line 2, column 10"), "{problem}");
    let (_, answer) = daemon.post("/v1/messages", &with("users_id", json!("u"))).await;
    assert_eq!(answer["error"]["fix"], "did you mean `users_ids`?");
    // All mistakes at once, not one per request.
    let (_, answer) = daemon.post("/v1/messages", r#"{"txt": 1, "typing": "no"}"#).await;
    let fields: Vec<&str> = answer["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .filter_map(|error| error["field"].as_str())
        .collect();
    assert_eq!(fields, ["txt", "typing"]);
    let (status, answer) = daemon.post("/v1/messages?atomc=true", "[]").await;
    assert_eq!((status, &answer["error"]["fix"]), (400, &json!("did you mean `atomic`?")));
    let (status, answer) = daemon.post_as("/v1/messages", "text/csv", b"a,b".to_vec()).await;
    assert_eq!((status, &answer["error"]["field"]), (415, &json!("Content-Type")));
    let (status, answer) = daemon.post_as("/v1/messages", "application/json", vec![0xff, 0xfe]).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("malformed_json")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_is_given_twice_or_is_not_utf_8_is_refused() {
    let (env, daemon) = quiet().await;
    for (path, code, field) in [
        ("/v1/messages?campaign=a&limit=1&campaign=b", "duplicate_field", "campaign"),
        ("/v1/messages?account_id=a&account%5Fid=b", "duplicate_field", "account_id"),
        ("/v1/messages?campaign=Gr%FC%DFe", "invalid_value", "campaign"),
        ("/v1/messages?%FF=1", "invalid_value", ""),
        ("/v1/events?after=1&after=0", "duplicate_field", "after"),
        ("/v1/forecast?campaign=a&campaign=a", "duplicate_field", "campaign"),
        ("/v1/stops?key=%C3", "invalid_value", "key"),
        ("/v1/campaigns/%FF", "invalid_value", "id"),
        ("/campaigns/%FF", "invalid_value", "id"),
    ] {
        let (status, answer) = daemon.get(path).await;
        let error = &answer["error"];
        assert_eq!(
            (status, &error["code"], &error["field"]),
            (400, &json!(code), &json!(field)),
            "{path}: {answer}"
        );
    }
    let (status, answer) = daemon.post("/v1/messages?atomic=true&atomic=false", "[]").await;
    assert_eq!((status, &answer["error"]["field"]), (400, &json!("atomic")), "{answer}");
    let request = env.client().post("http://outboxd/v1/messages").body(good().to_string());
    let request = request.header("Idempotency-Key", "a").header("Idempotency-Key", "b");
    assert_eq!(request.send().await.expect("an answer").status(), 400, "which key counts is not clear");
    for path in [
        "/v1/messages?state=queued&state=sent&campaign=Gr%C3%BC%C3%9Fe",
        "/v1/messages?&campaign=%EF%BF%BD",
        "/healthz?a=1&a=2",
    ] {
        assert_eq!(daemon.get(path).await.0, 200, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_takes_the_good_rows_and_says_what_each_bad_one_lacks() {
    let (_env, daemon) = quiet().await;
    let batch =
        json!([good(), {"account_id": "acc_1"}, 7, {"account_id": "acc_2", "users_ids": ["u"], "text": "t"}]);
    let (status, answer) = daemon.post("/v1/messages", &batch.to_string()).await;
    assert_eq!((status, &answer["accepted"], &answer["refused"]), (200, &json!(2), &json!(2)), "{answer}");
    let results = answer["results"].as_array().expect("results");
    assert_eq!(results.len(), 4);
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result["index"], index);
        assert_eq!(result["id"].is_string(), index == 0 || index == 3, "{result}");
    }
    assert_eq!(results[1]["errors"].as_array().map(Vec::len), Some(2), "{}", results[1]);
    assert_eq!(results[2]["error"]["code"], "wrong_type");

    let lines = format!("{}\n\n{{\"text\": \n{}\r\n", good(), good());
    let (status, answer) = daemon.post_as("/v1/messages", "application/x-ndjson", lines.into_bytes()).await;
    assert_eq!((status, &answer["accepted"], &answer["refused"]), (200, &json!(2), &json!(1)), "{answer}");
    assert_eq!(answer["results"][1]["line"], 3);
    assert_eq!(answer["results"][1]["error"]["code"], "malformed_json");
    let (_, listed) = daemon.get("/v1/messages").await;
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(4));
}

/// It is stored a part at a time: verdicts keep their lines and their order, and parts know of each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_of_lines_is_answered_as_a_short_one() {
    let env = TestEnv::new().await;
    let daemon = env.serve().await;
    assert_eq!(daemon.post("/v1/pause", "").await.0, 200);
    let row = |number: usize| {
        // The last row repeats the first, under its key.
        let number = number % 1500;
        let text = format!("message {number}, {}", "which says something ".repeat(10));
        let row = json!({"account_id": "acc_1", "chat_id": format!("c{number}"), "text": text, "dedupe_key": format!("k{number}")});
        format!("{row}\n")
    };
    let mut lines = String::from("\u{feff}\n");
    lines.extend((0..1200).map(row));
    lines.push_str("{\"text\": \n\n");
    lines.extend((1200..=1500).map(row));
    assert!(lines.len() > 256 << 10, "{} bytes are no long body", lines.len());
    let (status, answer) = daemon.post_as("/v1/messages", "application/x-ndjson", lines.into_bytes()).await;
    assert_eq!(
        (status, &answer["accepted"], &answer["refused"], &answer["duplicates"]),
        (200, &json!(1500), &json!(1), &json!(1)),
        "{:.300}",
        answer.to_string()
    );
    let results = &answer["results"];
    assert_eq!((&results[1200]["line"], &results[1201]["index"]), (&json!(1202), &json!(1201)));
    assert_eq!(results[1200]["error"]["code"], "malformed_json");
    assert_eq!((&results[1501]["id"], &results[1501]["duplicate"]), (&results[0]["id"], &json!(true)));
    let csv = "account_id,chat_id,text\n".repeat(20_000);
    let (status, refused) = daemon.post_as("/v1/messages", "application/x-ndjson", csv.into_bytes()).await;
    assert_eq!((status, &refused["error"]["code"]), (400, &json!("malformed_json")), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_atomic_batch_is_all_or_none() {
    let (_env, daemon) = quiet().await;
    let bad = json!([good(), {"account_id": "acc_1"}]).to_string();
    let (status, answer) = daemon.post("/v1/messages?atomic=true", &bad).await;
    assert_eq!((status, &answer["accepted"], &answer["refused"]), (422, &json!(0), &json!(2)), "{answer}");
    assert_eq!(answer["results"][0]["error"]["code"], "batch_refused");
    assert_eq!(answer["results"][1]["error"]["code"], "missing_field");

    let mut keyed = good();
    keyed["dedupe_key"] = json!("k");
    assert_eq!(daemon.post("/v1/messages", &keyed.to_string()).await.0, 201);
    keyed["text"] = json!("another");
    let conflicting = json!([good(), keyed]).to_string();
    let (status, answer) = daemon.post("/v1/messages?atomic=true", &conflicting).await;
    assert_eq!((status, &answer["accepted"]), (422, &json!(0)), "{answer}");
    assert_eq!(answer["results"][1]["error"]["code"], "dedupe_conflict");

    let six = Value::Array(vec![good(); 6]).to_string();
    assert_eq!(daemon.post("/v1/messages?atomic=true", &six).await.0, 413);
    let two = Value::Array(vec![good(); 2]).to_string();
    let (status, answer) = daemon.post("/v1/messages?atomic=true", &two).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(2)), "{answer}");
    let (_, status) = daemon.get("/v1/status").await;
    assert_eq!(status["queue"]["counts"], json!({"queued": 3}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_enqueueing_repeatable_and_another_content_a_conflict() {
    let (_env, daemon) = quiet().await;
    let key = ("idempotency-key", "campaign-7/row-12");
    let (status, first) = daemon.post_with("/v1/messages", key, &good().to_string()).await;
    assert_eq!(status, 201, "{first}");
    let (status, again) = daemon.post("/v1/messages", &with("dedupe_key", json!(key.1))).await;
    assert_eq!((status, &again["id"], &again["duplicate"]), (200, &first["id"], &json!(true)));
    let mut other = good();
    other["text"] = json!("something else");
    let (status, conflict) = daemon.post_with("/v1/messages", key, &other.to_string()).await;
    assert_eq!((status, &conflict["existing_id"]), (409, &first["id"]), "{conflict}");
    assert_eq!(conflict["error"]["code"], "dedupe_conflict");
    let (status, answer) = daemon.post_with("/v1/messages", key, &with("dedupe_key", json!("x"))).await;
    assert_eq!((status, &answer["error"]["code"]), (422, &json!("contradiction")));
    let (status, _) = daemon.post_with("/v1/messages", key, "[]").await;
    assert_eq!(status, 400, "a header cannot be the key of many");
    // In a batch: a stored message, and one that the batch itself repeats.
    let mut twin = good();
    twin["dedupe_key"] = json!("twin");
    let mut stored = good();
    stored["dedupe_key"] = json!(key.1);
    let (_, answer) = daemon.post("/v1/messages", &json!([stored, twin, twin]).to_string()).await;
    assert_eq!((&answer["accepted"], &answer["duplicates"]), (&json!(1), &json!(2)), "{answer}");
    assert_eq!(answer["results"][1]["id"], answer["results"][2]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_another_encoding_is_named_and_not_called_broken_json() {
    let (_env, daemon) = quiet().await;
    let good = good().to_string();
    for (path, encoding) in [("/v1/messages", "gzip"), ("/v1/messages", "br"), ("/v1/stops", "zstd")] {
        let (status, answer) = daemon.post_with(path, ("content-encoding", encoding), &good).await;
        let error = &answer["error"];
        assert_eq!((status, &error["field"]), (415, &json!("Content-Encoding")), "{answer}");
        assert_eq!(error["problem"], format!("is {encoding}"));
        assert_eq!(error["fix"], "send the body uncompressed");
    }
    let (status, answer) = daemon.post_with("/v1/messages", ("content-encoding", "utf-8"), &good).await;
    assert_eq!(status, 201, "{answer}");
    let utf_16 = |mark: &[u8], unit: fn(u16) -> [u8; 2]| {
        [mark, &good.encode_utf16().flat_map(unit).collect::<Vec<_>>()].concat()
    };
    for (body, what) in [
        (utf_16(b"\xff\xfe", u16::to_le_bytes), "the body is text in UTF-16, not JSON in UTF-8"),
        (utf_16(b"\xfe\xff", u16::to_be_bytes), "the body is text in UTF-16, not JSON in UTF-8"),
        (utf_16(b"", u16::to_le_bytes), "the body is text in UTF-16, not JSON in UTF-8"),
        (utf_16(b"", u16::to_be_bytes), "the body is text in UTF-16, not JSON in UTF-8"),
        (b"\x1f\x8b\x08\x00 rest".to_vec(), "the body is compressed (gzip), not JSON in UTF-8"),
        (b"\x28\xb5\x2f\xfd rest".to_vec(), "the body is compressed (zstd), not JSON in UTF-8"),
    ] {
        for path in ["/v1/messages", "/v1/stops", "/v1/pause"] {
            let (status, answer) = daemon.post_as(path, "application/json", body.clone()).await;
            assert_eq!((status, &answer["error"]["problem"]), (400, &json!(what)), "{path}: {answer}");
        }
        let (status, answer) = daemon.post_as("/v1/messages", "application/x-ndjson", body).await;
        let problem = answer["error"]["problem"].as_str().unwrap();
        let what = what.split([',', '(']).next().unwrap().trim();
        assert!(status == 400 && problem.starts_with(what), "{answer}");
    }
}
