//! Finds messages that must not be stored, because their person or chat is suppressed (P5).

use std::collections::HashSet;

use serde_json::{Value, json};
use sqlx::SqliteConnection;

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
}

/// Whether anything is suppressed at all; nearly always it is not.
const ANY: &str =
    "SELECT EXISTS (SELECT 1 FROM stops INDEXED BY stops_suppressed WHERE reason = 'suppressed')";

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
    let any: bool = sqlx::query_scalar(ANY).fetch_one(&mut *connection).await?;
    if !any {
        return Ok(HashSet::new());
    }
    let document = Value::Array(rows.map(|recipients| recipients.0).collect()).to_string();
    let places: Vec<i64> = sqlx::query_scalar(SUPPRESSED).bind(document).fetch_all(connection).await?;
    Ok(places.into_iter().filter_map(|place| usize::try_from(place).ok()).collect())
}
