//! What the SQL interface refuses, in words that name the column and the fix (P7).

use std::collections::BTreeSet;

use super::insert;
use crate::queue::Queue;

const SCHEMA: &str = include_str!("../../../migrations/0001_queue.sql");

/// Columns that a producer may set.
const PRODUCERS: &[&str] = &[
    "id",
    "account_id",
    "chat_id",
    "users_ids",
    "inbox_id",
    "group",
    "name",
    "specifics",
    "options",
    "quote_id",
    "forward",
    "attachments",
    "text",
    "typing",
    "not_before",
    "expires_at",
    "campaign",
    "priority",
    "urgent",
    "ignore_hours",
    "allow_repeat",
    "allow_placeholders",
    "stop_on_reply",
    "step",
    "wait",
    "meta",
    "needs",
    "dedupe_key",
];

/// Columns that only the daemon sets, each with values that a producer might try.
const DAEMONS: &[(&str, &[&str])] = &[
    ("seq", &["7", "-1", "0", "9223372036854775807"]),
    ("state", &["'queued'", "'sent'", "'nonsense'"]),
    ("reason", &["'now'", "''"]),
    ("error", &["''", "'x'"]),
    ("due_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("retry_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("blocked_by", &["1"]),
    ("reconcile_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("reads", &["1"]),
    ("resends", &["1"]),
    ("settled_by", &["'person'"]),
    ("next_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("credit", &["'classic'"]),
    ("route", &["'new chat'"]),
    ("thread", &["'chat:c'"]),
    ("lane", &["'0 000 m -'"]),
    ("step_key", &["'user:u'"]),
    ("step_sent_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("wait_until", &["'2026-11-22T09:00:00.000Z'"]),
    ("wait_held_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("attempts", &["1", "-1"]),
    ("retries", &["1"]),
    ("sent_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("delivered_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("read_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("replied_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("provider_message_ids", &["'[]'"]),
    ("created_at", &["'2020-01-01T00:00:00.000Z'", "datetime('now')", "'2999-01-01T00:00:00.000Z'"]),
    ("updated_at", &["'2020-01-01T00:00:00.000Z'"]),
    ("run", &["0", "2"]),
    ("held_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("edits", &["1", "-1"]),
    ("text_hash", &["'00'"]),
    ("pruned_at", &["'2026-11-22T09:00:00.000Z'"]),
    ("revision", &["1", "-1"]),
];

fn refusal(queue: &Queue, columns: &str, values: &str) -> String {
    match insert(&queue.sql(), columns, values) {
        Ok(_) => panic!("({columns}) VALUES ({values}) was taken"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn every_column_is_either_the_producers_or_refused() {
    let queue = Queue::new().await;
    let all: BTreeSet<String> =
        queue.lines("SELECT name FROM pragma_table_xinfo('messages')").into_iter().collect();
    let told = PRODUCERS.iter().chain(DAEMONS.iter().map(|(column, _)| column));
    assert_eq!(all, told.map(|column| (*column).to_owned()).collect());
    for (column, values) in DAEMONS {
        for value in *values {
            let text = refusal(
                &queue,
                &format!("account_id, chat_id, text, {column}"),
                &format!("'acc_1', 'c', 'x', {value}"),
            );
            let expected = format!("outboxd: {column} belongs to the daemon; leave it out");
            let generated = format!("cannot INSERT into generated column \"{column}\"");
            assert!(
                text.starts_with(&expected) || text.starts_with(&generated),
                "{column} = {value}: {text}"
            );
        }
    }
    assert_eq!(queue.value("SELECT count(*) FROM messages"), "0");
    assert_eq!(
        queue.value("SELECT count(*) FROM events") + &queue.value("SELECT count(*) FROM counts"),
        "00"
    );
}

/// Columns and values in addition to a good `account_id`, `chat_id` and `text`, unless they are among them; and the
/// refusal.
const RULES: &[(&str, &str, &str)] = &[
    ("account_id", "''", "account_id is missing"),
    ("account_id", "NULL", "account_id is missing"),
    ("account_id", "'bob'", "account_id does not begin with acc_"),
    ("account_id", "'ACC_1'", "account_id does not begin with acc_"),
    ("chat_id", "NULL", "there is no recipient"),
    ("chat_id", "''", "chat_id is empty"),
    ("users_ids", "'u'", "chat_id and users_ids are both set"),
    ("chat_id, users_ids", "NULL, ''", "users_ids is empty"),
    ("chat_id, users_ids", "NULL, '  '", "users_ids is empty"),
    ("chat_id", "'c '", "account_id, chat_id or users_ids has white space around it"),
    ("account_id", "'acc_1' || char(160)", "account_id, chat_id or users_ids has white space around it"),
    (
        "chat_id, users_ids",
        "NULL, char(9) || 'u'",
        "account_id, chat_id or users_ids has white space around it",
    ),
    ("chat_id, users_ids", "NULL, '[\"u\"'", "users_ids begins like a JSON array but is none"),
    ("chat_id, users_ids", "NULL, '[u]'", "users_ids begins like a JSON array but is none"),
    ("specifics, options", "'{}', '{}'", "specifics and options are both set"),
    ("specifics", "'[1]'", "specifics is not a JSON object"),
    ("specifics", "'{'", "specifics is not a JSON object"),
    ("options", "'x'", "options is not a JSON object"),
    ("specifics", "'{}'", "specifics and options are for starting a chat"),
    ("forward", "'[]'", "forward is not a JSON object"),
    ("forward", "'{\"chat_id\": \"c\"}'", "forward is not a JSON object"),
    (
        "chat_id, users_ids, forward",
        "NULL, 'u', '{\"chat_id\": \"c\", \"message_id\": \"m\"}'",
        "forward needs the chat",
    ),
    ("chat_id, users_ids, quote_id", "NULL, 'u', 'm'", "quote_id is for replying"),
    ("attachments", "'{}'", "attachments is not a JSON array"),
    ("attachments", "'[]'", "attachments is not a JSON array"),
    ("attachments", "'['", "attachments is not a JSON array"),
    (
        "attachments, forward",
        "'[{}]', '{\"chat_id\": \"c\", \"message_id\": \"m\"}'",
        "attachments cannot go with a forward",
    ),
    ("name", "'G'", "name and \"group\" are for starting a chat"),
    ("\"group\"", "1", "name and \"group\" are for starting a chat"),
    ("chat_id, users_ids", "NULL, '[]'", "users_ids is not an array of strings"),
    ("chat_id, users_ids", "NULL, '[\"u\", \"v\"]'", "users_ids holds several ids"),
    ("chat_id, users_ids", "NULL, '[123]'", "users_ids is not an array of strings"),
    ("chat_id, users_ids", "NULL, '[null]'", "users_ids is not an array of strings"),
    ("chat_id, users_ids", "NULL, '[[\"u\"]]'", "users_ids is not an array of strings"),
    ("inbox_id", "'X_PRIMARY'", "inbox_id cannot be combined with chat_id"),
    ("inbox_id", "''", "inbox_id cannot be combined with chat_id"),
    ("text", "NULL", "text is empty"),
    ("text", "''", "text is empty"),
    ("text", "' ' || char(10) || char(9) || char(13)", "text is empty"),
    ("text", "'a' || char(0) || 'b'", "text holds a NUL character"),
    ("typing", "2", "typing is neither 0 nor 1"),
    ("typing", "-1", "typing is neither 0 nor 1"),
    ("priority", "101", "priority is not a whole number from -100 to 100"),
    ("priority", "-101", "priority is not a whole number from -100 to 100"),
    (
        "urgent",
        "2",
        "urgent, ignore_hours, allow_repeat, allow_placeholders or stop_on_reply is neither 0 nor 1",
    ),
    (
        "allow_placeholders",
        "2",
        "urgent, ignore_hours, allow_repeat, allow_placeholders or stop_on_reply is neither 0 nor 1",
    ),
    (
        "allow_repeat",
        "-1",
        "urgent, ignore_hours, allow_repeat, allow_placeholders or stop_on_reply is neither 0 nor 1",
    ),
    (
        "urgent, ignore_hours",
        "1, 7",
        "urgent, ignore_hours, allow_repeat, allow_placeholders or stop_on_reply is neither 0 nor 1",
    ),
    ("step, campaign", "0, 'a'", "step is not a whole number from 1 to 20"),
    ("step, campaign", "21, 'a'", "step is not a whole number from 1 to 20"),
    ("step", "1", "step needs a campaign"),
    ("wait", "'1 day'", "wait is for step 2 and later"),
    ("step, wait, campaign", "1, '1 day', 'a'", "wait is for step 2 and later"),
    ("step, campaign", "2, 'a'", "wait is missing"),
    ("meta", "'[]'", "meta is not a JSON object"),
    ("meta", "'{'", "meta is not a JSON object"),
    ("meta", "json_object('a', hex(zeroblob(2048)))", "meta is not a JSON object"),
    ("needs", "'invitation'", "needs is not 'connection'"),
    ("needs", "'connection'", "needs is for a first message to one person"),
    ("ignore_hours", "1", "ignore_hours is for urgent messages"),
    ("urgent, ignore_hours", "0, 1", "ignore_hours is for urgent messages"),
    ("not_before", "'tomorrow'", "not_before is not a time"),
    ("not_before", "''", "not_before is not a time"),
    ("not_before", "'2026-11-22 09:00:00'", "not_before is not a time"),
    ("not_before", "'2026-11-22T09:00:00Z'", "not_before is not a time"),
    ("not_before", "'2026-11-22T09:00:00.000+01:00'", "not_before is not a time"),
    ("not_before", "'2026-13-22T09:00:00.000Z'", "not_before is not a time"),
    ("not_before", "'2026-02-30T09:00:00.000Z'", "not_before is not a time"),
    ("not_before", "1795338000", "not_before is not a time"),
    ("expires_at", "'tomorrow'", "expires_at is not a time"),
    ("expires_at", "'2026-11-22T09:00:00.0Z'", "expires_at is not a time"),
    ("dedupe_key", "''", "dedupe_key is empty"),
    ("id", "'x'", "id is not a UUID in small letters"),
    ("id", "'--------------------------------0000'", "id is not a UUID in small letters"),
    ("id", "'0190B2C4-0000-7000-8000-00000000000A'", "id is not a UUID in small letters"),
    ("id", "'0190b2c4000070008000-0000000000000-a'", "id is not a UUID in small letters"),
    ("typing", "'yes'", "cannot store TEXT value in INTEGER column messages.typing"),
    ("text", "x'00ff'", "cannot store BLOB value in TEXT column messages.text"),
];

#[tokio::test]
async fn every_rule_refuses_at_once_and_names_its_column() {
    let queue = Queue::new().await;
    let mut met = String::new();
    for (columns, values, expected) in RULES {
        let mut row = vec![("account_id", "'acc_1'"), ("chat_id", "'c'"), ("text", "'hi'")];
        row.retain(|(column, _)| !columns.split(", ").any(|given| given == *column));
        let (mut names, mut cells): (Vec<_>, Vec<_>) = row.into_iter().unzip();
        names.push(columns);
        cells.push(values);
        let text = refusal(&queue, &names.join(", "), &cells.join(", "));
        assert!(text.trim_start_matches("outboxd: ").starts_with(expected), "{columns} = {values}: {text}");
        if let Some((problem, way_out)) = text.trim_start_matches("outboxd: ").split_once("; ") {
            assert!(!problem.is_empty() && !way_out.is_empty(), "{text}");
        }
        met.push_str(&text);
    }
    for label in ["' c '", "'c' || char(160)", "'c' || char(10)"] {
        let text =
            refusal(&queue, "account_id, chat_id, text, campaign", &format!("'acc_1', 'c', 'x', {label}"));
        assert_eq!(text, "outboxd: campaign has white space around it; remove it");
    }
    assert_eq!(queue.value("SELECT count(*) FROM messages"), "0");

    let (_, trigger) = SCHEMA.split_once("CREATE TRIGGER messages_insert ").unwrap();
    let (trigger, _) = trigger.split_once("\nEND;").unwrap();
    for rule in trigger.split("RAISE(ABORT, 'outboxd: ").skip(1) {
        let (text, _) = rule.split_once("')\n").unwrap_or_else(|| panic!("{rule}"));
        let text = text.replace("''", "'");
        // Other tests cover these: the ones above, and `insert_or_replace_never_removes_a_message`.
        let elsewhere = text.contains("belongs to the daemon") || text.contains("REPLACE");
        assert!(elsewhere || met.contains(&text), "no case meets this rule: {text}");
    }
}

#[tokio::test]
async fn what_only_the_daemon_can_judge_is_taken_for_now() {
    let queue = Queue::new().await;
    let odd = [
        ("chat_id, expires_at", "'c', '2001-01-01T00:00:00.000Z'"),
        ("chat_id, campaign", "'c', ''"),
        ("users_ids, inbox_id", "'u', 'NO SUCH'"),
    ];
    for (columns, values) in odd {
        let values = format!("'acc_1', 'x', {values}");
        insert(&queue.sql(), &format!("account_id, text, {columns}"), &values).unwrap();
    }
    assert_eq!(queue.store.inserted(9).await.unwrap().len(), odd.len());
    queue.check();
}

/// A stop that a program inserts, and what the refusal says.
const STOPS: &[(&str, &[&str])] = &[
    (
        "'all', '', 'daemon_paused', 'tomorrow 09:00'",
        &["until is not a time", "%fZ", "outboxd pause --until"],
    ),
    ("'account', 'acc_1', 'account_paused', '2026-12-01'", &["until is not a time", "outboxd pause --until"]),
    ("'person', 'U1', 'stopped', '2026-12-01T09:00:00Z'", &["until is not a time", "outboxd stop --until"]),
    ("'person', 'jane-doe', 'suppressed', NULL", &["looks like the public name", "in/jane-doe"]),
    (
        "'person', 'https://www.linkedin.com/in/Max-Meier/', 'suppressed', NULL",
        &["is an address", "in/jane-doe"],
    ),
    ("'person', 'de.LinkedIn.com/in/max', 'suppressed', NULL", &["is an address", "in/jane-doe"]),
    ("'person', 'urn:li:fsd_profile:ACoAx', 'suppressed', NULL", &["a URN", "ACoA..."]),
    ("'person', 'in/Jane-Doe', 'suppressed', NULL", &["in lower case"]),
    ("'person', 'in/jane/details', 'suppressed', NULL", &["the name alone"]),
    ("'person', 'in/ren%C3%A9', 'suppressed', NULL", &["is not the public name"]),
    ("'person', 'U1 ', 'suppressed', NULL", &["white space"]),
    ("'campaign', 'autumn' || char(160), 'stopped', NULL", &["white space"]),
];

#[tokio::test]
async fn a_stop_that_could_not_be_read_or_would_stop_nothing_is_refused_in_words() {
    let queue = Queue::new().await;
    let insert = |values: &str| {
        let sql = format!("INSERT INTO stops (scope, key, reason, until) VALUES ({values})");
        queue.sql().execute(&sql, [])
    };
    for (values, words) in STOPS {
        let text = insert(values).expect_err(values).to_string();
        assert!(text.starts_with("outboxd: "), "{values}: {text}");
        for word in *words {
            assert!(text.contains(word), "{values}: {text}");
        }
    }
    for key in ["in/jane-doe", "user-1", "usr_7", "ACoAA-b_c", "33612345678@s.whatsapp.net", "in/rené-7"] {
        insert(&format!("'person', '{key}', 'suppressed', NULL")).unwrap();
    }
    insert("'all', '', 'daemon_paused', '2999-12-01T09:00:00.000Z'").unwrap();
    for change in ["until = 'tomorrow 09:00'", "at = 'yesterday'"] {
        let changed = queue.sql().execute(&format!("UPDATE stops SET {change} WHERE scope = 'all'"), []);
        let text = changed.expect_err(change).to_string();
        assert!(text.contains("is not a time; "), "{change}: {text}");
    }
    assert_eq!(queue.value("SELECT until FROM stops WHERE scope = 'all'"), "2999-12-01T09:00:00.000Z");
    queue.check();
}

#[tokio::test]
async fn a_stop_that_would_stop_nothing_is_refused() {
    let queue = Queue::new().await;
    let stop = |scope: &str, key: &str, actor: &str| {
        let reason = if scope == "account" { "account_paused" } else { "stopped" };
        let sql = "INSERT OR IGNORE INTO stops (scope, key, reason, actor) VALUES (?1, ?2, ?3, ?4)";
        queue.sql().execute(sql, [scope, key, reason, actor]).map_err(|error| error.to_string())
    };
    for (scope, key, problem) in [
        ("person", "NULL", "means a missing value"),
        ("chat", "n/a", "means a missing value"),
        ("person", "#REF!", "means a missing value"),
        ("person", "[object Object]", "means a missing value"),
        ("person", "{{user_id}}", "a placeholder"),
        ("chat", "<chat>", "a placeholder"),
        ("person", "ACoA\u{200b}1", "an invisible character"),
        ("campaign", "spring\u{feff}", "an invisible character"),
        ("person", "U\u{7}1", "an invisible character"),
        ("person", "ACoAAB\u{2026}", "was shortened"),
        ("person", "Jane Doe", "white space"),
        ("account", "anna", "does not begin with acc_"),
        ("account", "acc_", "does not begin with acc_"),
        ("campaign", " autumn", "white space around"),
        ("campaign", "autumn\u{a0}", "white space around"),
        ("person", "https://www.linkedin.com/in/jane-doe", "is an address"),
        ("person", "urn:li:fsd_profile:ACoAx", "a URN"),
        ("person", "in/Jane-Doe", "in lower case"),
        ("person", "in/jane/details", "the name alone"),
    ] {
        for actor in ["sql", "operator"] {
            let refused = stop(scope, key, actor).expect_err(key);
            assert!(refused.starts_with("outboxd: ") && refused.contains(problem), "{key}: {refused}");
        }
    }
    let sql = "INSERT INTO stops (scope, key, reason, account_id) VALUES ('person', 'U1', 'stopped', 'anna')";
    let refused = queue.sql().execute(sql, []).expect_err("no account").to_string();
    assert!(refused.contains("account_id does not begin with acc_"), "{refused}");
    // A campaign may have any label.
    for (scope, key) in
        [("campaign", "none"), ("campaign", "[May] 50%"), ("person", "in/jane-doe"), ("chat", "2-a=")]
    {
        assert_eq!(stop(scope, key, "sql"), Ok(1), "{key}");
    }
}

#[tokio::test]
async fn what_a_stop_forbids_is_not_changed() {
    let queue = Queue::new().await;
    insert_stop(&queue, "('person', 'U1', 'suppressed')");
    insert_stop(&queue, "('person', 'in/jane-doe', 'stopped')");
    for change in ["key = 'U2'", "scope = 'chat'", "reason = 'stopped'", "account_id = 'acc_1'"] {
        let sql = format!("UPDATE stops SET {change} WHERE reason = 'suppressed'");
        let refused = queue.sql().execute(&sql, []).expect_err(change).to_string();
        assert!(refused.contains("what a stop forbids is not changed"), "{change}: {refused}");
    }
    assert_eq!(queue.sql().execute("UPDATE stops SET note = 'why'", []).expect("a note"), 2);
    // Its public name becomes the user id once that is known, by a trigger.
    let person = "INSERT INTO people (account_id, user_id, public_identifier, at) \
                  VALUES ('acc_1', 'U7', 'jane-doe', '2026-11-26T09:00:00.000Z')";
    queue.sql().execute(person, []).expect("a person");
    assert_eq!(queue.lines("SELECT key FROM stops ORDER BY id"), ["U1", "U7"]);
}

fn insert_stop(queue: &Queue, values: &str) {
    let sql = format!("INSERT INTO stops (scope, key, reason) VALUES {values}");
    queue.sql().execute(&sql, []).expect("a stop");
}
