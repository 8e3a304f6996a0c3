//! Everything that is known of one person and queued or sent for them, over all accounts.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row};

use crate::domain::ids;
use crate::domain::message::AccountId;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};
use crate::store::transitions::people::{KnownPerson, of_person};
use crate::store::transitions::rejected::Rejected;

/// What one account has to do with a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PersonOnAccount {
    pub account_id: AccountId,
    /// What it knows of the person.
    pub known: Option<KnownPerson>,
    /// The chats with the person.
    pub chats: Vec<String>,
    /// Messages for the person, by state.
    pub counts: BTreeMap<&'static str, u64>,
    /// When a message was last sent.
    pub sent_at: Option<Timestamp>,
    /// When the person last answered.
    pub replied_at: Option<Timestamp>,
}

/// A message that was heard in a chat with a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InboundMessage {
    /// The account of the chat.
    pub account_id: String,
    pub chat_id: String,
    pub message_id: String,
    /// When it was written, by the provider's clock.
    pub at: Timestamp,
    /// What it means: `reply`, `out_of_office`, `opt_out` or `owner`.
    pub kind: String,
    /// Its text, if it was stored.
    pub text: Option<String>,
}

impl Store {
    /// Returns what was heard in the chats with a person, oldest first, at most 1,000; `keys` is from
    /// [`Store::person_keys`].
    pub(crate) async fn inbound_of_person(&self, keys: &[String]) -> Result<Vec<InboundMessage>> {
        const SQL: &str = "SELECT i.account_id, i.chat_id, i.message_id, i.at, i.kind, i.text FROM json_each(?1) k \
             CROSS JOIN conversations c ON c.user_id = k.value \
             CROSS JOIN inbound_messages i ON i.account_id = c.account_id AND i.chat_id = c.chat_id \
             ORDER BY i.at LIMIT 1000";
        let found = sqlx::query(SQL).bind(json!(keys).to_string()).fetch_all(&self.inner.readers).await?;
        let inbound = |row| {
            Ok(InboundMessage {
                account_id: SqliteRow::try_get(row, "account_id")?,
                chat_id: row.try_get("chat_id")?,
                message_id: row.try_get("message_id")?,
                at: rows::required_time(row, "at")?,
                kind: row.try_get("kind")?,
                text: row.try_get("text")?,
            })
        };
        found.iter().map(inbound).collect()
    }

    /// Returns every key under which messages and stops of a person may be stored: the user id first, if it is known,
    /// then the public names. `person` is a user id or a public name.
    pub(crate) async fn person_keys(&self, person: &str) -> Result<Vec<String>> {
        const KNOWN: &str =
            "SELECT EXISTS (SELECT 1 FROM people p INDEXED BY people_user WHERE p.user_id = ?1)";
        const NAMES: &str = "SELECT DISTINCT public_identifier FROM people p INDEXED BY people_user \
             WHERE p.user_id = ?1 AND public_identifier IS NOT NULL";
        let known: bool = sqlx::query_scalar(KNOWN).bind(person).fetch_one(&self.inner.readers).await?;
        // A public name of one word looks like an id.
        let name = ids::named(&ids::public_name(ids::name_of(person).unwrap_or(person)));
        let user_id = if known { person.to_owned() } else { self.user_id_of(&name).await? };
        let query = sqlx::query_scalar(NAMES).bind(&user_id);
        let names: Vec<String> = query.fetch_all(&self.inner.readers).await?;
        let mut keys = vec![if user_id == name { person.to_owned() } else { user_id }];
        for key in names.iter().map(|name| ids::named(name)).chain([person.to_owned(), name]) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// Returns what each account has to do with a person, in the order of their ids; `keys` is from
    /// [`Store::person_keys`], and `rejected` from [`Store::rejected_of`].
    pub(crate) async fn person_on_accounts(
        &self,
        keys: &[String],
        rejected: &Rejected,
    ) -> Result<Vec<PersonOnAccount>> {
        const CHATS: &str = "SELECT account_id, chat_id FROM conversations WHERE user_id = ?1 ORDER BY account_id, at, chat_id";
        const REPLIES: &str = "SELECT account_id, at FROM replies WHERE thread = 'user:' || ?1";
        let user_id = keys.first().map(String::as_str).unwrap_or_default();
        let mut all: BTreeMap<AccountId, PersonOnAccount> = BTreeMap::new();
        for known in self.people(user_id).await? {
            let account_id = known.account_id.clone();
            of(&mut all, account_id.as_str()).known = Some(known);
        }
        for row in sqlx::query(CHATS).bind(user_id).fetch_all(&self.inner.readers).await? {
            of(&mut all, row.try_get("account_id")?).chats.push(row.try_get("chat_id")?);
        }
        for row in sqlx::query(REPLIES).bind(user_id).fetch_all(&self.inner.readers).await? {
            of(&mut all, row.try_get("account_id")?).replied_at = rows::time(&row, "at")?;
        }
        // Built from a constant; the keys are bound.
        let sql = AssertSqlSafe(format!(
            "SELECT account_id, state, count(*) AS n, max(sent_at) AS sent_at FROM messages \
              WHERE seq IN ({} UNION SELECT value FROM json_each(?2)) GROUP BY account_id, state",
            of_person("?1")
        ));
        let query = sqlx::query(sql).bind(json!(keys).to_string()).bind(json!(rejected.0).to_string());
        for row in query.fetch_all(&self.inner.readers).await? {
            let one = of(&mut all, row.try_get("account_id")?);
            one.counts.insert(rows::state(&row)?.as_str(), rows::count(&row, "n")?.into());
            one.sent_at = one.sent_at.max(rows::time(&row, "sent_at")?);
        }
        Ok(all.into_values().collect())
    }
}

fn of<'a>(all: &'a mut BTreeMap<AccountId, PersonOnAccount>, account: &str) -> &'a mut PersonOnAccount {
    let account_id = AccountId::new(account);
    all.entry(account_id.clone()).or_insert_with(|| PersonOnAccount {
        account_id,
        known: None,
        chats: Vec::new(),
        counts: BTreeMap::new(),
        sent_at: None,
        replied_at: None,
    })
}
