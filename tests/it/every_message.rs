//! Arbitrary good messages go in by each interface, and the request that reaches the sandbox matches the input
//! exactly, files byte for byte. A failure prints its seed; `OUTBOXD_TEST_SEED=… cargo test every_message` makes the
//! same messages again.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outboxd::sandbox::{Call, Delivery, SendMode};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::daemon::{TestEnv, eventually, run};

/// Messages, each of which goes in by three interfaces.
const MESSAGES: usize = 40;

#[derive(Debug, Clone)]
struct File {
    filename: String,
    content_type: &'static str,
    bytes: Vec<u8>,
    send_mode: Option<&'static str>,
    voice_note: bool,
    duration: Option<u16>,
}

/// A message: its JSON without the account and the files, and its files.
#[derive(Debug, Clone)]
struct Message {
    fields: Value,
    files: Vec<File>,
}

fn text() -> impl Strategy<Value = String> {
    // Ends in a character that is not blank, so that no text is empty by accident.
    ("[\\PC\n\t\"'\\\\]{0,120}", "[a-zäß🙂]").prop_map(|(text, end)| text.replace('\u{fffd}', "") + &end)
}

/// An opaque id: anything that a provider may use.
fn id() -> impl Strategy<Value = String> {
    // Placeholders for a missing value, addresses, and names such as `René` are refused (`domain/ids.rs`).
    let can_be_one = |id: &String| {
        !["://", "%%"].iter().any(|mark| id.contains(mark))
            && !["na", "n/a", "nan", "nat", "nil", "null", "none", "true", "false"]
                .contains(&id.to_lowercase().as_str())
            && !id.to_lowercase().contains("acoa")
            && !id.ends_with("...")
            && (id.is_ascii() || !id.chars().all(|c| c.is_alphabetic() || "-.".contains(c)))
    };
    "[A-Z][A-Za-z0-9:/=%+?#&é._~-]{0,30}".prop_filter("it can be an id", can_be_one)
}

fn file() -> impl Strategy<Value = File> {
    let piece = 192 << 10;
    let length =
        prop_oneof![1_usize..4000, Just(piece - 1), Just(piece), Just(piece + 1), Just(2 * piece + 1)];
    let bytes = (length, any::<u64>()).prop_map(|(length, seed)| {
        let next = |state: &u64| {
            Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407))
        };
        let states = std::iter::successors(Some(seed), next);
        states.take(length).map(|state| state.to_le_bytes()[7]).collect::<Vec<u8>>()
    });
    let kind = select(vec![
        ("application/pdf", "pdf"),
        ("application/x-made-up+thing", "dat"),
        ("image/png", "png"),
        ("video/mp4", "mp4"),
        ("audio/mpeg", "mp3"),
    ]);
    let name = "[A-Za-z0-9äö _()'&-]{1,20}";
    (kind, name, bytes, 0..3_u8, any::<bool>(), proptest::option::of(0..600_u16)).prop_map(
        |((content_type, extension), name, bytes, mode, voice, duration)| {
            let is_medium = !content_type.starts_with("application/");
            let voice_note = voice && content_type.starts_with("audio/");
            let send_mode = match mode {
                1 => Some("file").filter(|_| !voice_note),
                2 => Some("native").filter(|_| is_medium),
                _ => None,
            };
            File {
                filename: format!("n{name}.{extension}"),
                content_type,
                bytes,
                send_mode,
                voice_note,
                duration,
            }
        },
    )
}

fn specifics() -> impl Strategy<Value = Value> {
    let topic = select(vec!["SERVICE_REQUEST", "REQUEST_A_DEMO", "SUPPORT", "CAREERS", "OTHER"]);
    let visibility = select(vec!["PUBLIC", "PRIVATE", "PROJECT"]);
    prop_oneof![
        Just(json!({ "classic": { "inmail": true } })),
        Just(json!({ "classic": { "inmail": false } })),
        topic.prop_map(|topic| json!({ "classic": { "company_topic": topic } })),
        id().prop_map(|id| json!({ "classic": { "relation_request_id": id } })),
        (id(), id()).prop_map(
            |(id, token)| json!({ "classic": { "inmail": true, "applicant": { "id": id, "messaging_token": token } } })
        ),
        text().prop_map(|subject| json!({ "sales_navigator": { "subject": subject } })),
        (text(), text(), visibility, select(vec!["INMAIL", "EMAIL"])).prop_map(
            |(subject, signature, visibility, send_as)| json!({ "recruiter": {
                "subject": subject, "signature": signature, "visibility": visibility, "send_as": send_as } })
        ),
        (text(), 3..=28_u8).prop_map(|(text, days)| json!({ "recruiter": { "subject": text, "signature": text,
            "follow_up": { "subject": text, "text": text, "scheduled_for": { "days": days } } } })),
    ]
    .prop_map(|linkedin| json!({ "linkedin": linkedin }))
}

/// The target, with the fields that only this kind of target has.
fn target() -> impl Strategy<Value = Value> {
    // Letters of no width are refused (`domain/ids.rs`).
    let fillers = ['\u{115f}', '\u{1160}', '\u{3164}', '\u{ffa0}'];
    let name = "\\PC{0,40}[a-zäß🙂]".prop_map(move |name| name.replace(fillers, ""));
    let group =
        (proptest::collection::hash_set(id(), 2..5), proptest::option::of(name)).prop_map(|(ids, name)| {
            let ids: Vec<String> = ids.into_iter().collect();
            json!({ "users_ids": ids, "group": true, "name": name })
        });
    prop_oneof![
        id().prop_map(|chat| json!({ "chat_id": chat })),
        (id(), id()).prop_map(|(chat, quote)| json!({ "chat_id": chat, "quote_id": quote })),
        id().prop_map(|user| json!({ "users_ids": user })),
        id().prop_map(|user| json!({ "users_ids": [user], "inbox_id": "" })),
        (id(), specifics()).prop_map(|(user, specifics)| json!({ "users_ids": user, "specifics": specifics })),
        (id(), specifics()).prop_map(|(user, options)| json!({ "users_ids": [user], "options": options })),
        group,
        (id(), id(), id()).prop_map(
            |(chat, source, message)| json!({ "chat_id": chat, "forward": { "chat_id": source, "message_id": message } })
        ),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    (target(), text(), proptest::collection::vec(file(), 0..4), any::<bool>()).prop_map(
        |(mut fields, text, files, silent)| {
            let is_forward = fields.get("forward").is_some();
            let mut names = std::collections::HashSet::new();
            let files: Vec<File> =
                files.into_iter().filter(|file| !is_forward && names.insert(file.filename.clone())).collect();
            if !(silent && (is_forward || !files.is_empty())) {
                fields["text"] = json!(text);
            }
            // A random text may look like one with a value that was not filled in.
            fields["allow_placeholders"] = json!(true);
            Message { fields, files }
        },
    )
}

impl Message {
    /// Returns the message as its producer writes it.
    fn written(&self, account: &str) -> Value {
        let mut message = self.fields.clone();
        message["account_id"] = json!(account);
        if !self.files.is_empty() {
            message["attachments"] = self.files.iter().map(File::written).collect();
        }
        message.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        message
    }

    /// Returns the path and the body that the contract requires, without the files.
    fn expected(&self, account: &str) -> (String, Value) {
        let field = |name: &str| self.fields.get(name).filter(|value| !value.is_null());
        let word = |name: &str| field(name).and_then(Value::as_str);
        let mut body = json!({ "text": word("text").unwrap_or_default() });
        if let Some(forward) = field("forward") {
            let source = |name: &str| segment(forward[name].as_str().unwrap());
            if word("text").is_none() {
                body = json!({});
            }
            body["chat_id"] = json!(word("chat_id"));
            let (chat, message) = (source("chat_id"), source("message_id"));
            return (format!("/v2/{account}/chats/{chat}/messages/{message}/forward"), body);
        }
        if let Some(chat) = word("chat_id") {
            if let Some(quote) = word("quote_id") {
                body["quote_id"] = json!(quote);
            }
            return (format!("/v2/{account}/chats/{}/messages/send", segment(chat)), body);
        }
        let users = field("users_ids").unwrap();
        body["users_ids"] = match users.as_array() {
            Some(ids) if ids.len() == 1 => ids[0].clone(),
            _ => users.clone(),
        };
        if let Some(name) = field("name") {
            body["name"] = name.clone();
        }
        let specifics = field("specifics").or_else(|| field("options"));
        if let Some(specifics) = specifics {
            body["specifics"] = specifics.clone();
        }
        let product = |name: &str| specifics.is_some_and(|tree| tree["linkedin"].get(name).is_some());
        let inbox = match word("inbox_id") {
            Some(_) => return (format!("/v2/{account}/chats/send"), body),
            None if product("sales_navigator") => "SALES_NAVIGATOR_PRIMARY",
            None if product("recruiter") => "RECRUITER_PRIMARY",
            None => "CLASSIC_PRIMARY",
        };
        (format!("/v2/{account}/inboxes/{inbox}/chats/send"), body)
    }

    /// Inserts it with SQL; a column that holds JSON gets JSON.
    fn insert(&self, database: &rusqlite::Connection, account: &str) {
        let written = self.written(account);
        let columns: Vec<String> =
            written.as_object().unwrap().keys().map(|name| format!("\"{name}\"")).collect();
        let value = |(name, value): (&String, &Value)| match value {
            // A single id that begins like an array is written as an array of one.
            Value::String(id) if name == "users_ids" => json!([id]).to_string(),
            Value::String(text) => text.clone(),
            Value::Bool(yes) => i32::from(*yes).to_string(),
            other => other.to_string(),
        };
        let values: Vec<String> = written.as_object().unwrap().iter().map(value).collect();
        let places = vec!["?"; columns.len()].join(", ");
        let sql = format!("INSERT INTO messages ({}) VALUES ({places})", columns.join(", "));
        database
            .execute(&sql, rusqlite::params_from_iter(values))
            .unwrap_or_else(|error| panic!("{written}: {error}"));
    }

    fn judge(&self, account: &str, call: &Call, delivery: &Delivery) {
        let (path, expected) = self.expected(account);
        let mut body = call.body.clone();
        body.as_object_mut().unwrap().remove("attachments");
        assert_eq!((&call.path, &body), (&path, &expected), "{self:#?}");
        assert_eq!(delivery.attachments.len(), self.files.len(), "{self:#?}");
        for (file, arrived) in self.files.iter().zip(&delivery.attachments) {
            file.judge(arrived);
        }
    }
}

impl File {
    fn written(&self) -> Value {
        let mut file = json!({
            "filename": self.filename, "content_type": self.content_type, "content": STANDARD.encode(&self.bytes),
        });
        if let Some(mode) = self.send_mode {
            file["send_mode"] = json!(mode);
        }
        if self.voice_note {
            file["voice_note"] = json!(true);
        }
        if let Some(duration) = self.duration {
            file["duration"] = json!(duration);
        }
        file
    }

    fn judge(&self, arrived: &outboxd::sandbox::Attachment) {
        assert_eq!((&*arrived.filename, &*arrived.content_type), (&*self.filename, self.content_type));
        assert_eq!(arrived.content(), Some(self.bytes.as_slice()), "{}", self.filename);
        let mode = match (self.send_mode, self.voice_note) {
            (Some("file"), _) => Some(SendMode::File),
            (Some(_), _) | (None, true) => Some(SendMode::Native),
            (None, false) => None,
        };
        assert_eq!(
            (arrived.send_mode, arrived.voice_note),
            (mode, self.voice_note.then_some(true)),
            "{self:?}"
        );
        let duration = arrived.duration.as_ref().and_then(serde_json::Number::as_u64);
        assert_eq!(duration, self.duration.map(u64::from));
    }
}

/// Encodes one segment of a path (RFC 3986: everything but the unreserved characters is escaped).
fn segment(id: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    id.bytes()
        .map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn messages(seed: u64) -> Vec<Message> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..MESSAGES).map(|_| message().new_tree(&mut runner).unwrap().current()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_the_sandbox_is_what_was_put_in_by_whichever_door() {
    let seed = std::env::var("OUTBOXD_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(outboxd::clock::ambient_seed);
    println!("seed {seed}");
    let env = TestEnv::new().await.hasty().set("OUTBOXD_LIMITS_TEXT_CHARS", "100000");
    let daemon = env.serve().await;
    let messages = messages(seed);
    // One account for each message and interface, so that nothing waits for anything and each is found again.
    let account = |door: &str, index: usize| format!("acc_{door}{index}");
    for (index, message) in messages.iter().enumerate() {
        daemon.enqueue(&message.written(&account("socket", index)).to_string()).await;
    }
    let lines: Vec<String> = messages
        .iter()
        .enumerate()
        .map(|(index, one)| one.written(&account("line", index)).to_string())
        .collect();
    let (ok, said) = run(env.outboxd(&["enqueue", "-"]), &lines.join("\n"));
    assert!(ok, "seed {seed}: {said}");
    let database = rusqlite::Connection::open(env.database()).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    for (index, message) in messages.iter().enumerate() {
        message.insert(&database, &account("sql", index));
    }
    let all = 3 * MESSAGES;
    let done = eventually(async || env.sandbox.world().delivered_count() >= all);
    assert!(
        done.await,
        "seed {seed}: {:?}",
        env.sql("SELECT reason || ' ' || coalesce(error, '') FROM messages WHERE state <> 'sent'")
    );
    let deliveries = env.delivered(all).await;
    assert_eq!(deliveries.len(), all, "seed {seed}: each once");
    let delivery_of: HashMap<&str, &Delivery> =
        deliveries.iter().map(|one| (&*one.account_id, one)).collect();
    let writes = env.writes();
    let call_of: HashMap<&str, &Call> = writes.iter().map(|call| (&*call.account_id, call)).collect();
    assert_eq!((delivery_of.len(), call_of.len(), writes.len()), (all, all, all), "seed {seed}");
    for (index, message) in messages.iter().enumerate() {
        for door in ["socket", "line", "sql"] {
            let account = account(door, index);
            message.judge(&account, call_of[&*account], delivery_of[&*account]);
        }
    }
}
