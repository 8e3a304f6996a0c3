//! People: what profiles and webhooks say of them, and the user id behind a public name.
//!
//! A person is known for each account, because the distance is. The user id behind a public name is the same for every
//! account, so what one account has learned serves all of them.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{erased, stops};
use crate::domain::ids;
use crate::domain::message::{AccountId, ChatId, NewMessage, Target, UserId};
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

/// Finds the user ids of public names (`?1`, a JSON array); of several people who had a name, the one heard of last.
const IDS_OF: &str = "SELECT j.value AS name, (SELECT p.user_id FROM people p INDEXED BY people_name \
       WHERE p.public_identifier = j.value ORDER BY p.at DESC LIMIT 1) AS user_id FROM json_each(?1) AS j";

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

    /// Returns the user id behind `person`, which may be a public name; unchanged if it is not known.
    pub(crate) async fn user_id_of(&self, person: &str) -> Result<String> {
        let Some(name) = ids::name_of(person) else { return Ok(person.to_owned()) };
        let names = json!([name]).to_string();
        let row = sqlx::query(IDS_OF).bind(names).fetch_optional(&self.inner.readers).await?;
        let known = row.map(|row| row.try_get::<Option<String>, _>("user_id")).transpose()?.flatten();
        Ok(known.unwrap_or_else(|| person.to_owned()))
    }

    /// Addresses messages for public names to the user ids behind them, as far as those are known.
    pub(crate) async fn address(&self, messages: &mut [NewMessage]) -> Result<()> {
        let names: HashSet<&str> = messages.iter().filter_map(|message| name(&message.target)).collect();
        if names.is_empty() {
            return Ok(());
        }
        let names = json!(names).to_string();
        let rows = sqlx::query(IDS_OF).bind(names).fetch_all(&self.inner.readers).await?;
        let mut known = HashMap::new();
        for row in rows {
            if let Some(user_id) = row.try_get::<Option<String>, _>("user_id")? {
                known.insert(row.try_get::<String, _>("name")?, UserId::new(user_id));
            }
        }
        for message in messages {
            let found = name(&message.target).and_then(|name| known.get(name)).cloned();
            if let (Target::User { user_id, .. }, Some(found)) = (&mut message.target, found) {
                *user_id = found;
            }
        }
        Ok(())
    }

    /// Keeps what a profile says. Returns the accounts of messages that this concerns.
    pub(crate) async fn learn(
        &self,
        account: AccountId,
        person: Person,
        now: Timestamp,
    ) -> Result<HashSet<AccountId>> {
        self.inner
            .writer
            .exclusive(now, move |connection| {
                Box::pin(async move { learn(connection, &account, &person, Some(now), now).await })
            })
            .await
    }
}

/// Returns the public name for which a message is.
fn name(target: &Target) -> Option<&str> {
    match target {
        Target::User { user_id, .. } => ids::name_of(user_id.as_str()),
        Target::Chat(_) | Target::Group { .. } | Target::Forward { .. } => None,
    }
}

/// Keeps what is known of a person; what `person` does not say stays. A profile that was read leaves out nothing that it
/// could say. Stops of the public name become stops of the person: returns the accounts of the messages that these
/// concern.
pub(super) async fn learn(
    connection: &mut SqliteConnection,
    account: &AccountId,
    person: &Person,
    read_at: Option<Timestamp>,
    now: Timestamp,
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

/// Returns the user id of the person on the other side of a chat, if it is known: `sender`, who wrote into it, or what
/// was learned of the chat before.
pub(super) async fn in_chat(
    connection: &mut SqliteConnection,
    account: &AccountId,
    chat_id: &ChatId,
    sender: Option<&str>,
) -> Result<Option<String>> {
    const KNOWN: &str = "SELECT user_id FROM conversations WHERE account_id = ?1 AND chat_id = ?2";
    let query = sqlx::query_scalar(KNOWN).bind(account.as_str()).bind(chat_id.as_str());
    let known: Option<String> = query.fetch_optional(&mut *connection).await?;
    let Some(name) = sender.and_then(ids::name_of) else { return Ok(sender.map(str::to_owned).or(known)) };
    let row = sqlx::query(IDS_OF).bind(json!([name]).to_string()).fetch_optional(connection).await?;
    let by_name = row.map(|row| row.try_get::<Option<String>, _>("user_id")).transpose()?.flatten();
    Ok(by_name.or(known).or(sender.map(str::to_owned)))
}

fn read_person(row: &SqliteRow) -> Result<KnownPerson> {
    let distance: Option<&str> = row.try_get("distance")?;
    let distance =
        distance.map(|word| Distance::parse(word).ok_or_else(|| corrupt("distance", word))).transpose()?;
    Ok(KnownPerson {
        account_id: AccountId::new(row.try_get::<String, _>("account_id")?),
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
