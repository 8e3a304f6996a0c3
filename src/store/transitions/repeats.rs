//! Finds messages that would start a chat with the same person with the same text again.
//!
//! Only messages that start a chat are compared: "thanks" twice in one chat is intended. A message that was not sent
//! (failed, cancelled, expired, rejected) does not count as repeated.

use std::collections::HashMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};

use crate::domain::message::{MessageId, NewMessage, Seq};
use crate::store::sqlite::rows::{self, Result};

/// White space and characters of no width that are trimmed from a text before it is compared, here and in [`REPEATS`].
const WHITE_SPACE: [char; 10] =
    [' ', '\t', '\n', '\r', '\u{a0}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];

/// Returns a text as it is compared: with one form of line end, and without the white space around it.
fn compared(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n").trim_matches(WHITE_SPACE).to_owned()
}

/// Returns the hash that replaces a text when the text is removed.
pub(in crate::store) fn text_hash(text: &str) -> String {
    let hash = Sha256::digest(compared(text));
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A message to search for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sought {
    pub(super) account_id: String,
    pub(super) thread: String,
    pub(super) text: String,
    /// The same message with the same key is a duplicate, not a repeat.
    dedupe_key: Option<String>,
}

impl Sought {
    /// Returns the search for a message that must not repeat another; `None` if it may.
    pub(super) fn of(message: &NewMessage) -> Option<Self> {
        let asks = message.lane().kind.starts_chat() && !message.precedence.allow_repeat;
        asks.then(|| Self {
            account_id: message.account_id.to_string(),
            thread: message.target.thread(),
            text: compared(&message.text),
            dedupe_key: message.dedupe_key.clone(),
        })
    }
}

/// The message that is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeated {
    /// A stored message.
    Stored(MessageId),
    /// Another message of the same search, by index.
    Beside(usize),
}

pub(in crate::store) const REPEATS: &str = "SELECT j.key, r.id FROM jsonb_each(?1) AS j CROSS JOIN messages AS r INDEXED BY messages_person \
       ON r.account_id = j.value ->> 0 AND r.thread = j.value ->> 1 AND r.users_ids IS NOT NULL \
     WHERE iif(r.text_hash IS NULL, trim(replace(replace(r.text, char(13, 10), char(10)), char(13), char(10)), char(32, 9, 10, 13, 160, 8203, 8204, 8205, 8288, 65279)) = j.value ->> 2, r.text_hash = j.value ->> 4) AND (r.dedupe_key IS NULL OR r.dedupe_key IS NOT j.value ->> 3) \
       AND r.state IN ('queued', 'sending', 'uncertain', 'review', 'sent')";

/// Returns another message than `seq` that starts a chat with the same person with the same text.
pub(super) async fn other(
    connection: &mut SqliteConnection,
    sought: &Sought,
    seq: Seq,
) -> Result<Option<MessageId>> {
    const OTHER: &str = "SELECT r.id FROM messages AS r INDEXED BY messages_person \
         WHERE r.account_id = ?1 AND r.thread = ?2 AND r.users_ids IS NOT NULL AND r.seq <> ?4 \
           AND iif(r.text_hash IS NULL, trim(replace(replace(r.text, char(13, 10), char(10)), char(13), char(10)), char(32, 9, 10, 13, 160, 8203, 8204, 8205, 8288, 65279)) = ?3, r.text_hash = ?5) \
           AND r.state IN ('queued', 'sending', 'uncertain', 'review', 'sent') LIMIT 1";
    let query = sqlx::query(OTHER).bind(&sought.account_id).bind(&sought.thread).bind(&sought.text);
    let found = query.bind(seq.0).bind(text_hash(&sought.text)).fetch_optional(connection).await?;
    found.map(|row| rows::message_id(&row, "id")).transpose()
}

/// Returns those of `rows` that repeat another message, by index. A row that needs no check is `None`.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    rows: &[Option<Sought>],
) -> Result<HashMap<usize, Repeated>> {
    let mut found = HashMap::new();
    let mut seen: HashMap<(&str, &str, &str), (usize, &Option<String>)> = HashMap::new();
    let mut document = Vec::new();
    let mut places = Vec::new();
    for (place, sought) in rows.iter().enumerate() {
        let Some(Sought { account_id, thread, text, dedupe_key }) = sought else { continue };
        match seen.get(&(account_id.as_str(), thread.as_str(), text.as_str())) {
            Some((_, key)) if key.is_some() && *key == dedupe_key => {}
            Some((first, _)) => {
                found.insert(place, Repeated::Beside(*first));
                continue;
            }
            None => {
                seen.insert((account_id, thread, text), (place, dedupe_key));
            }
        }
        document.push(json!([account_id, thread, text, dedupe_key, text_hash(text)]));
        places.push(place);
    }
    if document.is_empty() {
        return Ok(found);
    }
    let query = sqlx::query(REPEATS).bind(Value::Array(document).to_string());
    for row in query.fetch_all(connection).await? {
        let key: i64 = row.try_get("key")?;
        if let Some(place) = usize::try_from(key).ok().and_then(|key| places.get(key)) {
            found.insert(*place, Repeated::Stored(rows::message_id(&row, "id")?));
        }
    }
    Ok(found)
}
