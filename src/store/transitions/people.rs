//! People: what profiles and webhooks say of them. A person is known for each account, because the distance is.

use std::collections::HashSet;

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{erased, names, stops};
use crate::domain::ids;
use crate::domain::message::{AccountId, ChatId, RepeatScope, UserId};
use crate::domain::person::{Distance, Person};
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result, corrupt};

/// A person as an account knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownPerson {
    pub account_id: AccountId,
    /// What is known.
    pub person: Person,
    /// When the profile was last read.
    pub read_at: Option<Timestamp>,
    /// When anything of this was last learned.
    pub at: Timestamp,
}

/// Builds the selection of the messages for a person, over all accounts: chats with them, and groups with them in it.
/// `keys` is the parameter that holds their keys as a JSON array.
pub(in crate::store) fn of_person(keys: &str) -> String {
    format!(
        "SELECT p.seq FROM messages p INDEXED BY messages_by_thread \
          WHERE p.thread IN (SELECT 'user:' || value FROM json_each({keys})) \
         UNION ALL SELECT g.seq FROM messages g INDEXED BY messages_by_thread \
          WHERE g.thread >= 'group:' AND g.thread < 'group;' \
            AND EXISTS (SELECT 1 FROM json_each(g.users_ids) u WHERE u.value IN (SELECT value FROM json_each({keys})))"
    )
}

impl Store {
    /// Returns everything that is known of a person, by account; `key` is a user id.
    pub(crate) async fn people(&self, user_id: &str) -> Result<Vec<KnownPerson>> {
        const SQL: &str = "SELECT account_id, user_id, public_identifier, profile_url, name, distance, can_send_inmail, is_open_profile, read_at, at \
             FROM people p INDEXED BY people_user WHERE p.user_id = ?1 ORDER BY account_id";
        let found = sqlx::query(SQL).bind(user_id).fetch_all(&self.inner.readers).await?;
        found.iter().map(read_person).collect()
    }

    /// Keeps what a profile says. Returns the accounts of messages that this concerns.
    pub(crate) async fn learn(
        &self,
        account: AccountId,
        person: Person,
        now: Timestamp,
    ) -> Result<HashSet<AccountId>> {
        let repeats = self.repeat_scope();
        self.exclusive(now, move |connection| {
            Box::pin(async move { learn(connection, &account, &person, Some(now), (repeats, now)).await })
        })
        .await
    }
}

/// Keeps what is known of a person; what `person` does not say stays. A profile that was read leaves out nothing that it
/// could say. What is queued for the public name becomes the person's, on every account, and so do the stops of the name:
/// returns the accounts of the messages that this concerns.
pub(super) async fn learn(
    connection: &mut SqliteConnection,
    account: &AccountId,
    person: &Person,
    read_at: Option<Timestamp>,
    (repeats, now): (RepeatScope, Timestamp),
) -> Result<HashSet<AccountId>> {
    const LEARN: &str = "INSERT INTO people (account_id, user_id, public_identifier, profile_url, name, distance, can_send_inmail, \
           is_open_profile, read_at, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
         ON CONFLICT (account_id, user_id) DO UPDATE SET public_identifier = coalesce(?3, public_identifier), \
           profile_url = coalesce(?4, profile_url), name = coalesce(?5, name), distance = coalesce(?6, distance), \
           can_send_inmail = coalesce(?7, can_send_inmail), is_open_profile = coalesce(?8, is_open_profile), \
           read_at = coalesce(?9, read_at), at = ?10";
    const RELEASE: &str = "UPDATE messages SET revision = messages.revision + 1, retry_at = NULL, reason = 'turn', error = NULL, updated_at = ?3 \
         WHERE account_id = ?1 AND thread = 'user:' || ?2 AND state = 'queued' AND reason = 'not_connected'";
    const NAMED: &str = "SELECT EXISTS (SELECT 1 FROM stops WHERE scope = 'person' AND key = ?1)";
    const STOPS: &str = "SELECT id FROM stops WHERE scope = 'person' AND key = ?1";
    let names = person.public_identifier.iter().map(|name| ids::named(name));
    let keys = std::iter::once(person.user_id.as_str().to_owned()).chain(names).collect();
    if erased::is_erased(connection, keys).await? {
        return Ok(HashSet::new());
    }
    let mut was_stopped = false;
    if let Some(name) = &person.public_identifier {
        was_stopped = sqlx::query_scalar(NAMED).bind(ids::named(name)).fetch_one(&mut *connection).await?;
    }
    let query = sqlx::query(LEARN).bind(account.as_str()).bind(person.user_id.as_str());
    let query = query.bind(&person.public_identifier).bind(&person.profile_url).bind(&person.name);
    let query = query.bind(person.distance.map(Distance::as_str)).bind(person.can_send_inmail);
    let query = query.bind(person.is_open_profile).bind(read_at.map(time_text)).bind(time_text(now));
    query.execute(&mut *connection).await?;
    let mut accounts = HashSet::new();
    if let Some(name) = &person.public_identifier {
        let name = UserId::new(ids::named(name));
        accounts = names::replace(connection, &name, &person.user_id, repeats, now).await?;
    }
    if matches!(person.distance, Some(Distance::First | Distance::Own)) {
        let query = sqlx::query(RELEASE).bind(account.as_str()).bind(person.user_id.as_str());
        if query.bind(time_text(now)).execute(&mut *connection).await?.rows_affected() > 0 {
            accounts.insert(account.clone());
        }
    }
    if was_stopped {
        let query = sqlx::query_scalar(STOPS).bind(person.user_id.as_str());
        let found: Vec<i64> = query.fetch_all(&mut *connection).await?;
        for id in found {
            accounts.extend(stops::apply_one(connection, id, now).await?);
        }
    }
    Ok(accounts)
}

/// Who is on the other side of a chat.
pub(super) struct OtherSide {
    /// The user ids of the person: under which the chat is known, and which the message names. They differ if the provider
    /// has several ids for one person.
    pub(super) people: Vec<String>,
    /// Whether it is known whose chat it is. Otherwise it may be a group, and messages into it are for the chat alone.
    pub(super) is_known: bool,
}

/// Returns who is on the other side of a chat: `sender`, who wrote into it, and what was learned of the chat before.
pub(super) async fn in_chat(
    connection: &mut SqliteConnection,
    account: &AccountId,
    chat_id: &ChatId,
    sender: Option<&str>,
) -> Result<OtherSide> {
    const KNOWN: &str = "SELECT user_id FROM conversations WHERE account_id = ?1 AND chat_id = ?2";
    let query = sqlx::query_scalar(KNOWN).bind(account.as_str()).bind(chat_id.as_str());
    let known: Option<String> = query.fetch_optional(&mut *connection).await?;
    let is_known = known.is_some();
    let by_name = match sender.and_then(ids::name_of) {
        Some(name) => names::user_id(connection, name).await?,
        None => None,
    };
    let sender = by_name.or_else(|| sender.map(str::to_owned));
    let mut people: Vec<String> = known.into_iter().chain(sender).collect();
    people.dedup();
    Ok(OtherSide { people, is_known })
}

fn read_person(row: &SqliteRow) -> Result<KnownPerson> {
    let distance: Option<&str> = row.try_get("distance")?;
    let distance =
        distance.map(|word| Distance::parse(word).ok_or_else(|| corrupt("distance", word))).transpose()?;
    Ok(KnownPerson {
        account_id: rows::account_id(row)?,
        person: Person {
            user_id: UserId::new(row.try_get::<String, _>("user_id")?),
            public_identifier: row.try_get("public_identifier")?,
            profile_url: row.try_get("profile_url")?,
            name: row.try_get("name")?,
            distance,
            can_send_inmail: row.try_get("can_send_inmail")?,
            is_open_profile: row.try_get("is_open_profile")?,
        },
        read_at: rows::time(row, "read_at")?,
        at: rows::required_time(row, "at")?,
    })
}
