//! Finds messages that must not be stored, because their person or chat is suppressed (P5).

use std::collections::HashSet;

use serde_json::{Value, json};
use sqlx::SqliteConnection;

use super::erased::{self, Salt, chat_key};
use super::rows::Result;
use crate::domain::message::{AccountId, NewMessage, Target, UserId};

/// Whom a message is for: the people, or the chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recipients(Value);

impl Recipients {
    pub(super) fn of(message: &NewMessage) -> Self {
        let account: &AccountId = &message.account_id;
        let (people, chat_id): (Vec<&str>, _) = match &message.target {
            Target::Chat(chat_id) | Target::Forward { chat_id, .. } => (Vec::new(), Some(chat_id.as_str())),
            Target::User { user_id, .. } => (vec![user_id.as_str()], None),
            Target::Group { users_ids, .. } => (users_ids.iter().map(UserId::as_str).collect(), None),
        };
        Self(json!([account.as_str(), people, chat_id]))
    }

    /// Returns the keys under which an erased person is known.
    fn keys(&self) -> Vec<String> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let mut keys: Vec<String> = self.0[1].as_array().into_iter().flatten().filter_map(text).collect();
        let chat = text(&self.0[0]).zip(text(&self.0[2]));
        keys.extend(chat.map(|(account, chat)| chat_key(&account, &chat)));
        keys
    }
}

/// Whether anything is suppressed at all, and the salt if any person was erased; nearly always there is neither.
const ANY: &str = "SELECT EXISTS (SELECT 1 FROM stops INDEXED BY stops_suppressed WHERE reason = 'suppressed'), \
       (SELECT erase_salt FROM daemon WHERE id = 1)";

/// A message into a chat is for the person on its other side as well, if that is known.
pub(super) const SUPPRESSED: &str = "SELECT j.key FROM jsonb_each(?1) AS j WHERE EXISTS ( \
       SELECT 1 FROM jsonb_each(j.value, '$[1]') AS p CROSS JOIN stops AS s \
          ON s.scope = 'person' AND s.key = p.value AND s.account_id IN ('', j.value ->> 0) AND s.reason = 'suppressed') \
     OR EXISTS (SELECT 1 FROM jsonb_each(j.value, '$[1]') AS p CROSS JOIN people AS k ON k.public_identifier = substr(p.value, 4) \
         CROSS JOIN stops AS s ON s.scope = 'person' AND s.key = k.user_id AND s.account_id IN ('', j.value ->> 0) AND s.reason = 'suppressed' \
         WHERE substr(p.value, 1, 3) = 'in/') \
     OR EXISTS (SELECT 1 FROM stops AS s \
         WHERE s.scope = 'chat' AND s.key = j.value ->> 2 AND s.account_id IN ('', j.value ->> 0) AND s.reason = 'suppressed') \
     OR EXISTS (SELECT 1 FROM conversations AS c CROSS JOIN stops AS s \
          ON s.scope = 'person' AND s.key = c.user_id AND s.account_id IN ('', j.value ->> 0) AND s.reason = 'suppressed' \
         WHERE c.account_id = j.value ->> 0 AND c.chat_id = j.value ->> 2)";

/// Returns the places of those of `rows` that are for a suppressed person or chat.
pub(super) async fn find(
    connection: &mut SqliteConnection,
    rows: impl Iterator<Item = Recipients>,
) -> Result<HashSet<usize>> {
    let (any, salt): (bool, Option<String>) = sqlx::query_as(ANY).fetch_one(&mut *connection).await?;
    if !any && salt.is_none() {
        return Ok(HashSet::new());
    }
    let rows: Vec<Recipients> = rows.collect();
    let mut found = match salt {
        Some(salt) => erased::find(connection, &Salt(salt), rows.iter().map(Recipients::keys)).await?,
        None => HashSet::new(),
    };
    let document = Value::Array(rows.into_iter().map(|recipients| recipients.0).collect()).to_string();
    let places: Vec<i64> = sqlx::query_scalar(SUPPRESSED).bind(document).fetch_all(connection).await?;
    found.extend(places.into_iter().filter_map(|place| usize::try_from(place).ok()));
    Ok(found)
}
