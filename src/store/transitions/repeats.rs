//! Finds messages that would start a chat with the same person with the same text again.
//!
//! Only messages that start a chat are compared: "thanks" twice in one chat is intended. A message that was not sent
//! (failed, cancelled, expired, rejected) does not count as repeated. `limits.repeats` says whether the messages of other
//! accounts count.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{Row, SqliteConnection};

use crate::domain::message::{AccountId, MessageId, NewMessage, RepeatScope};
use crate::store::Store;
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
    account_id: AccountId,
    scope: RepeatScope,
    thread: String,
    text: String,
    /// The same message with the same key is a duplicate, not a repeat.
    dedupe_key: Option<String>,
    /// Stored messages that do not count, such as the message itself.
    but: Vec<i64>,
}

impl Sought {
    /// Returns the search for a message that must not repeat another; `None` if it may.
    pub(super) fn of(message: &NewMessage, scope: RepeatScope) -> Option<Self> {
        let asks = message.lane().kind.starts_chat() && !message.precedence.allow_repeat;
        asks.then(|| Self {
            account_id: message.account_id.clone(),
            scope,
            thread: message.target.thread(),
            text: compared(&message.text),
            dedupe_key: message.dedupe_key.clone(),
            but: Vec::new(),
        })
    }

    /// Returns the search for another message that says what a stored one says.
    pub(super) fn stored(account_id: AccountId, scope: RepeatScope, thread: String, text: &str) -> Self {
        Self { account_id, scope, thread, text: compared(text), dedupe_key: None, but: Vec::new() }
    }

    fn row(&self) -> Value {
        let Self { account_id, thread, text, dedupe_key, but, scope: _ } = self;
        json!([account_id.as_str(), thread, text, dedupe_key, text_hash(text), but])
    }

    /// Returns the document of a list that holds only this search.
    pub(super) fn alone(&self) -> String {
        json!([self.row()]).to_string()
    }

    /// Returns the account to whose messages it is compared; empty for those of all accounts.
    fn among(&self) -> &str {
        match self.scope {
            RepeatScope::Account => self.account_id.as_str(),
            RepeatScope::Person => "",
        }
    }
}

/// A message that says the same to the same person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// Its id.
    pub id: MessageId,
    /// Its account, if that is another one.
    pub of: Option<AccountId>,
}

impl Repeat {
    /// Returns the message `id` of `account` as a message of `own` repeats it.
    pub(super) fn new(id: MessageId, account: &AccountId, own: &AccountId) -> Self {
        Self { id, of: (account != own).then(|| account.clone()) }
    }
}

impl fmt::Display for Repeat {
    /// Writes what a refusal says of the text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "was queued for this person before, as message {}", self.id)?;
        self.of.as_ref().map_or(Ok(()), |account| write!(f, " of the account {}", account.as_str()))
    }
}

/// The message that is repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Repeated {
    /// A stored message.
    Stored(Repeat),
    /// Another message of the same search, by index.
    Beside(usize),
}

/// The statement that compares with the messages found through an index.
macro_rules! repeats_sql {
    ($index:literal, $found:literal) => {
        concat!(
            "SELECT j.key, r.id, r.account_id FROM jsonb_each(?1) AS j CROSS JOIN messages AS r INDEXED BY ",
            $index,
            " ON ",
            $found,
            " AND r.users_ids IS NOT NULL \
             WHERE iif(r.text_hash IS NULL, trim(replace(replace(r.text, char(13, 10), char(10)), char(13), char(10)), char(32, 9, 10, 13, 160, 8203, 8204, 8205, 8288, 65279)) = j.value ->> 2, r.text_hash = j.value ->> 4) AND (r.dedupe_key IS NULL OR r.dedupe_key IS NOT j.value ->> 3) \
               AND NOT EXISTS (SELECT 1 FROM json_each(j.value, '$[5]') AS b WHERE b.value = r.seq) AND r.state IN ('queued', 'sending', 'uncertain', 'review', 'sent')"
        )
    };
}

/// Compares with the messages of the account.
pub(in crate::store) const REPEATS: &str =
    repeats_sql!("messages_person", "r.account_id = j.value ->> 0 AND r.thread = j.value ->> 1");
/// Compares with the messages of every account.
pub(in crate::store) const REPEATS_OF_PERSON: &str =
    repeats_sql!("messages_by_thread", "r.thread = j.value ->> 1");

impl Store {
    /// Sets to which messages a new one is compared (`limits.repeats`).
    pub fn set_repeat_scope(&self, scope: RepeatScope) {
        self.inner.repeats_by_person.store(scope == RepeatScope::Person, Ordering::Relaxed);
    }

    /// Returns to which messages a new one is compared.
    pub(super) fn repeat_scope(&self) -> RepeatScope {
        match self.inner.repeats_by_person.load(Ordering::Relaxed) {
            true => RepeatScope::Person,
            false => RepeatScope::Account,
        }
    }
}

/// Returns a message, none of `but`, that starts a chat with the same person with the same text.
pub(super) async fn other(
    connection: &mut SqliteConnection,
    sought: Sought,
    but: Vec<i64>,
) -> Result<Option<Repeat>> {
    let sought = Sought { dedupe_key: None, but, ..sought };
    let found = find(connection, &[Some(sought)]).await?.remove(&0);
    Ok(found.and_then(|repeated| match repeated {
        Repeated::Stored(repeat) => Some(repeat),
        Repeated::Beside(_) => None,
    }))
}

/// Returns those of `rows` that repeat another message, by index. A row that needs no check is `None`.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    rows: &[Option<Sought>],
) -> Result<HashMap<usize, Repeated>> {
    let mut found = HashMap::new();
    let mut seen: HashMap<(&str, &str, &str), (usize, &Option<String>)> = HashMap::new();
    let mut documents: [Vec<Value>; 2] = Default::default();
    let mut places: [Vec<usize>; 2] = Default::default();
    for (place, sought) in rows.iter().enumerate() {
        let Some(sought) = sought else { continue };
        let Sought { scope, thread, text, dedupe_key, .. } = sought;
        match seen.get(&(sought.among(), thread.as_str(), text.as_str())) {
            Some((_, key)) if key.is_some() && *key == dedupe_key => {}
            Some((first, _)) => {
                found.insert(place, Repeated::Beside(*first));
                continue;
            }
            None => {
                seen.insert((sought.among(), thread, text), (place, dedupe_key));
            }
        }
        let of = usize::from(*scope == RepeatScope::Person);
        documents[of].push(sought.row());
        places[of].push(place);
    }
    for ((sql, document), places) in [REPEATS, REPEATS_OF_PERSON].into_iter().zip(documents).zip(places) {
        if document.is_empty() {
            continue;
        }
        let query = sqlx::query(sql).bind(Value::Array(document).to_string());
        for row in query.fetch_all(&mut *connection).await? {
            let key: i64 = row.try_get("key")?;
            let place = usize::try_from(key).ok().and_then(|key| places.get(key));
            let Some((place, sought)) = place.and_then(|place| Some((*place, rows[*place].as_ref()?))) else {
                continue;
            };
            let id = rows::message_id(&row, "id")?;
            let repeat = Repeat::new(id, &rows::account_id(&row)?, &sought.account_id);
            found.insert(place, Repeated::Stored(repeat));
        }
    }
    Ok(found)
}
