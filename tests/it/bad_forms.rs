//! A message that cannot be sent is refused through each interface, with the field and the fix, and leaves nothing
//! behind (P7).
#![allow(clippy::unwrap_used, reason = "a test may")]

use serde_json::{Value, json};

use crate::daemon::{Daemon, TestEnv, run};

/// A bad message: its fields besides the account, the field that the refusal names, a part of the problem, and a part
/// of the fix.
struct Bad {
    fields: Value,
    field: &'static str,
    problem: &'static str,
    fix: &'static str,
}

fn start(specifics: Value) -> Value {
    json!({ "users_ids": "u", "text": "x", "specifics": { "linkedin": specifics } })
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn bad_ones() -> Vec<Bad> {
    let file = |file: Value| json!({ "chat_id": "c", "text": "x", "attachments": [file] });
    let bad = |fields, field, problem, fix| Bad { fields, field, problem, fix };
    let recruiter = json!({ "recruiter": { "subject": "s" } });
    let inmail = json!({ "linkedin": { "classic": { "inmail": true } } });
    vec![
        bad(json!({ "users_ids": "u", "group": true, "text": "x" }), "group", "one", "two users"),
        bad(json!({ "users_ids": ["u"], "name": "N", "text": "x" }), "name", "", ""),
        bad(json!({ "users_ids": ["u", "v"], "text": "x" }), "users_ids", "ONE group chat", "group"),
        bad(
            start(json!({ "classic": { "applicant": { "id": "a" } } })),
            "specifics.linkedin.classic.applicant.messaging_token",
            "is missing",
            "give it",
        ),
        bad(
            start(json!({ "classic": { "applicant": { "messaging_token": "t" } } })),
            "specifics.linkedin.classic.applicant.id",
            "is missing",
            "give it",
        ),
        bad(
            start(json!({ "classic": { "company_topic": "JOBS" } })),
            "specifics.linkedin.classic.company_topic",
            "JOBS",
            "CAREERS",
        ),
        bad(start(recruiter), "specifics.linkedin.recruiter.signature", "is missing", "give it"),
        bad(
            start(json!({ "sales_navigator": {} })),
            "specifics.linkedin.sales_navigator.subject",
            "is missing",
            "give",
        ),
        bad(json!({ "chat_id": "c", "text": "x", "specifics": inmail }), "specifics", "chat_id", "leave"),
        bad(json!({ "users_ids": "u", "text": "x", "quote_id": "q" }), "quote_id", "", "leave"),
        bad(
            file(json!({ "filename": "a.pdf", "content": "QUJ" })),
            "attachments[0].content",
            "not base64",
            "padding",
        ),
        bad(
            file(json!({ "filename": "a.pdf", "content": "" })),
            "attachments[0]",
            "empty file",
            "leave it out",
        ),
        bad(
            file(json!({ "filename": "a.pdf", "content": "QUJD", "content_type": "pdf" })),
            "attachments[0].content_type",
            "not a MIME type",
            "type/subtype",
        ),
        bad(
            file(json!({ "filename": "a.pdf", "content": "QUJD", "send_mode": "native" })),
            "attachments[0].send_mode",
            "application/pdf",
            "leave it out",
        ),
        bad(file(json!({ "path": "/etc/passwd/x" })), "attachments[0].path", "cannot be read", "can read"),
        bad(
            file(json!({ "path": "/etc/hostname" })),
            "attachments[0].path",
            "outside the allowed",
            "attachments.roots",
        ),
        bad(
            file(json!({ "filename": "a.pdf", "content": "QUJDREVGR0hJSktM" })),
            "attachments[0]",
            "12 bytes, 10 are allowed",
            "smaller",
        ),
    ]
}

impl Bad {
    fn message(&self) -> Value {
        let mut message = self.fields.clone();
        message["account_id"] = json!("acc_1");
        message
    }

    async fn by_socket(&self, daemon: &Daemon) {
        let message = self.message();
        let (status, answer) = daemon.post("/v1/messages", &message.to_string()).await;
        let error = &answer["error"];
        assert_eq!((status, error["field"].as_str()), (422, Some(self.field)), "{message}: {answer}");
        let said = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        assert!(
            said("problem").contains(self.problem) && said("fix").contains(self.fix),
            "{message}: {answer}"
        );
    }

    fn by_command_line(&self, env: &TestEnv) {
        let message = self.message().to_string();
        let (ok, said) = run(env.outboxd(&["enqueue", "-"]), &message);
        assert!(!ok && said.contains(self.field), "{message}: {said}");
        assert!(said.contains(self.problem) && said.contains(self.fix), "{message}: {said}");
    }

    /// Expects a refusal at the INSERT where SQL can see the problem, otherwise a row that states it.
    async fn by_sql(&self, env: &TestEnv, daemon: &Daemon) -> bool {
        let message = self.message();
        let fields = message.as_object().unwrap();
        let columns: Vec<String> = fields.keys().map(|name| format!("\"{name}\"")).collect();
        let places: Vec<String> = (1..=fields.len()).map(|place| format!("?{place}")).collect();
        let value = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Bool(yes) => i32::from(*yes).to_string(),
            other => other.to_string(),
        };
        let values: Vec<String> = fields.values().map(value).collect();
        let connection = rusqlite::Connection::open(env.database()).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        let sql = format!(
            "INSERT INTO messages ({}) VALUES ({}) RETURNING id",
            columns.join(", "),
            places.join(", ")
        );
        let inserted: Result<String, _> =
            connection.query_row(&sql, rusqlite::params_from_iter(values), |row| row.get(0));
        // SQL names its columns; the first part of a path is the column.
        let column = self.field.split(['.', '[']).next().unwrap_or_default();
        match inserted {
            Err(refused) => {
                let said = refused.to_string();
                assert!(said.starts_with("outboxd: ") && said.contains(column), "{message}: {said}");
                true
            }
            Ok(id) => {
                let rejected = daemon.becomes(&id, "rejected").await;
                let said = rejected["error"].as_str().unwrap();
                assert!(said.contains(self.field) && said.contains(self.problem), "{message}: {said}");
                false
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_refused_by_each_door_and_leaves_nothing_behind() {
    let env = TestEnv::new().await.hasty().set("OUTBOXD_LIMITS_ATTACHMENT_BYTES", "10");
    let root = env.path("").canonicalize().unwrap();
    let env = env.set("OUTBOXD_ATTACHMENTS_ROOTS", root.to_str().unwrap());
    let daemon = env.serve().await;
    let mut at_the_insert = 0;
    for bad in bad_ones() {
        bad.by_socket(&daemon).await;
        bad.by_command_line(&env);
        at_the_insert += usize::from(bad.by_sql(&env, &daemon).await);
    }
    assert!(at_the_insert >= 3, "{at_the_insert}");
    assert_eq!(env.sql("SELECT count(*) || '' FROM blobs"), ["0"]);
    assert_eq!(env.sql("SELECT count(*) || '' FROM messages WHERE state <> 'rejected'"), ["0"]);
    assert_eq!(env.writes().len(), 0);
}
