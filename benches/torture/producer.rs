//! The producer: queues half of the messages before the first kill and the rest while the daemon is killed, and
//! repeats what was not acknowledged under the same key.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::env::TestEnv;
use super::{ACCOUNTS, Plan};

/// Messages per request.
const BATCH: usize = 50;

/// The messages of a run, and which of them were acknowledged.
pub(crate) struct Producer {
    plan: Plan,
    acknowledged: BTreeSet<usize>,
}

impl Producer {
    /// Creates a producer that has enqueued nothing yet.
    pub(crate) fn new(plan: Plan) -> Self {
        Self { plan, acknowledged: BTreeSet::new() }
    }

    /// Returns the numbers of the acknowledged messages.
    pub(crate) fn acknowledged(&self) -> &BTreeSet<usize> {
        &self.acknowledged
    }

    /// Enqueues what is due in life number `life`; the daemon may be killed meanwhile.
    pub(crate) fn give(&mut self, env: &TestEnv, life: usize) {
        // All of them are due by two thirds of the lives.
        let share = (self.plan.messages / 2) * life * 3 / (self.plan.kills.max(1) * 2);
        let due = (self.plan.messages / 2 + share).min(self.plan.messages);
        self.give_until(env, due);
    }

    /// Enqueues all that was not acknowledged; returns whether everything is now.
    pub(crate) fn give_rest(&mut self, env: &TestEnv) -> bool {
        self.give_until(env, self.plan.messages);
        self.acknowledged.len() == self.plan.messages
    }

    fn give_until(&mut self, env: &TestEnv, due: usize) {
        let missing: Vec<usize> = (0..due).filter(|number| !self.acknowledged.contains(number)).collect();
        for batch in missing.chunks(BATCH) {
            // Every fourth batch comes as another program's INSERTs, in one transaction.
            let taken = if batch[0] / BATCH % 4 == 3 { insert(env, batch) } else { post(env, batch) };
            if !taken {
                return;
            }
            self.acknowledged.extend(batch);
        }
    }
}

/// Returns the text of message `number`; one in forty repeats the text of the message before it in its chat.
pub(crate) fn text(number: usize) -> String {
    let says = if number % 800 >= 780 { number - ACCOUNTS } else { number };
    format!("message {says}")
}

fn message(number: usize) -> Value {
    let account = number % ACCOUNTS;
    let (round, text) = (number / ACCOUNTS, text(number));
    let mut message = json!({
        "account_id": format!("acc_{account}"),
        "dedupe_key": format!("key {number}"),
        "typing": round.is_multiple_of(5),
        "allow_repeat": true,
    });
    let chat = format!("chat_{}", round / 4 % 20);
    let is_one_of_two = number % 800 >= 760;
    match round % 12 {
        _ if is_one_of_two => (message["chat_id"], message["text"]) = ("chat_of_twins".into(), text.into()),
        7 => (message["users_ids"], message["text"]) = (format!("U{}", round / 24).into(), text.into()),
        9 => {
            message["users_ids"] = json!([format!("A{number}"), format!("B{number}")]);
            (message["name"], message["text"]) = (format!("group {number}").into(), text.into());
        }
        11 => {
            message["forward"] = json!({"chat_id": "source", "message_id": format!("m{number}")});
            (message["chat_id"], message["text"]) = (chat.into(), text.into());
        }
        3 => {
            message["attachments"] =
                json!([{"filename": format!("{number}.pdf"), "content": "JVBERi0xLjc="}]);
            (message["chat_id"], message["text"]) = (chat.into(), text.into());
        }
        _ => (message["chat_id"], message["text"]) = (chat.into(), text.into()),
    }
    message
}

/// Decides each message in review as a person would who reads the ledger: what arrived is sent, what did not is
/// dropped.
pub(crate) fn decide(env: &TestEnv) {
    const WAITING: &str = "SELECT id, account_id, text, (SELECT count(*) FROM messages s WHERE s.account_id = m.account_id \
           AND s.text = m.text AND s.state = 'sent') FROM messages m WHERE state = 'review'";
    let sql = env.sql();
    let mut statement = sql.prepare(WAITING).expect("SQL");
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let waiting = statement.query_map([], row).expect("rows").collect::<Result<Vec<_>, _>>().expect("rows");
    let ledger = if waiting.is_empty() { Value::Null } else { env.sandbox_get("/sandbox/ledger") };
    for (id, account, text, sent) in waiting {
        let (id, account, text, sent): (String, String, String, i64) = (id, account, text, sent);
        let same = |one: &&Value| one["account_id"] == account.as_str() && one["text"] == text.as_str();
        let arrived = ledger.as_array().into_iter().flatten().filter(same).count();
        let decision =
            if i64::try_from(arrived).is_ok_and(|arrived| arrived > sent) { "sent" } else { "drop" };
        let body = json!({ "decision": decision }).to_string();
        let _asked_again_if_it_fails =
            ask(env, &format!("/v1/messages/{id}/review"), "application/json", &body);
    }
}

/// Posts `batch`; returns whether the daemon took all of it and lived to say so.
fn post(env: &TestEnv, batch: &[usize]) -> bool {
    let lines: Vec<String> = batch.iter().map(|number| message(*number).to_string()).collect();
    let Some(answer) = ask(env, "/v1/messages", "application/x-ndjson", &lines.join("\n")) else {
        return false;
    };
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    let Ok(verdicts) = serde_json::from_str::<Value>(body) else { return false };
    assert!(head.starts_with("HTTP/1.1 200"), "{head} {verdicts}");
    // A message that was taken before, but not acknowledged, counts as a duplicate.
    assert!(verdicts["refused"] == 0, "{verdicts}");
    true
}

/// Returns the daemon's answer to a POST, if it lives long enough.
fn ask(env: &TestEnv, path: &str, content_type: &str, body: &str) -> Option<String> {
    let length = body.len();
    request(
        env,
        &format!(
            "POST {path} HTTP/1.1\r\nhost: o\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
             content-length: {length}\r\n\r\n{body}"
        ),
    )
}

/// Returns the daemon's answer to a GET, if it lives long enough.
pub(crate) fn get(env: &TestEnv, path: &str) -> Option<Value> {
    let answer = request(env, &format!("GET {path} HTTP/1.1\r\nhost: o\r\nconnection: close\r\n\r\n"))?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200").then(|| serde_json::from_str(body).ok())?
}

fn request(env: &TestEnv, request: &str) -> Option<String> {
    let mut stream = UnixStream::connect(env.socket()).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Inserts `batch` with SQL; existing rows stay unchanged.
fn insert(env: &TestEnv, batch: &[usize]) -> bool {
    let mut connection = env.sql();
    let Ok(transaction) = connection.transaction() else { return false };
    for number in batch {
        let message = message(*number);
        let column = |name: &str| match &message[name] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        const SQL: &str = "INSERT INTO messages (account_id, dedupe_key, typing, allow_repeat, chat_id, users_ids, name, \"group\", \
             forward, attachments, text) VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING";
        let typing = message["typing"].as_bool();
        let group = message["name"].is_string().then_some(1);
        let values = rusqlite::params![
            column("account_id"),
            column("dedupe_key"),
            typing,
            column("chat_id"),
            column("users_ids"),
            column("name"),
            group,
            column("forward"),
            column("attachments"),
            column("text")
        ];
        if transaction.execute(SQL, values).is_err() {
            return false;
        }
    }
    transaction.commit().is_ok()
}
