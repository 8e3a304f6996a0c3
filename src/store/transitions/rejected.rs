//! Rows of other programs that were rejected, found by the person whom they name. Such a row has no thread: its `users_ids`
//! are as they were written, which may be any form of an id, a list, or something that cannot be read.

use serde_json::json;
use sqlx::Row;

use crate::domain::ids;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// The rejected rows of a person.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejected(pub(in crate::store) Vec<i64>);

/// Rejected rows that one statement reads.
const AT_ONCE: u32 = 5_000;
/// How many of the newest rejected rows a list looks at; an erasure looks at all.
const NEWEST: u64 = 100_000;

impl Store {
    /// Returns the newest rejected rows that name a person; `keys` is from [`Store::person_keys`]. Older ones than the
    /// newest 100,000 of the queue are left out.
    pub(crate) async fn rejected_of(&self, keys: &[String]) -> Result<Rejected> {
        self.find_rejected(keys, NEWEST).await
    }

    /// Returns every rejected row that names a person.
    pub(super) async fn all_rejected_of(&self, keys: &[String]) -> Result<Rejected> {
        self.find_rejected(keys, u64::MAX).await
    }

    async fn find_rejected(&self, keys: &[String], most: u64) -> Result<Rejected> {
        // A row is read if a key occurs in it, or characters that may stand for others, such as `%C3%A9` or `\u00e9`.
        const SQL: &str = "SELECT r.seq, r.users_ids, \
               EXISTS (SELECT 1 FROM conversations c WHERE c.account_id = r.account_id AND c.chat_id = r.chat_id \
                 AND c.user_id IN (SELECT value FROM json_each(?1))) AS is_in_chat, \
               r.thread IS NULL AND (EXISTS (SELECT 1 FROM json_each(?2) w WHERE instr(lower(r.users_ids), w.value) > 0) \
                 OR r.users_ids GLOB '*[%\\]*' OR r.users_ids GLOB '*[^ -~]*') AS may_name \
             FROM messages r INDEXED BY messages_by_state \
             WHERE r.state <> 'new' AND r.state || '' = 'rejected' AND r.seq < ?3 ORDER BY r.seq DESC LIMIT ?4 + 0";
        let words = keys.iter().map(|key| ids::name_of(key).unwrap_or(key).to_ascii_lowercase());
        let (keys_json, words) = (json!(keys).to_string(), json!(words.collect::<Vec<_>>()).to_string());
        let (mut found, mut before, mut seen) = (Vec::new(), i64::MAX, 0);
        while seen < most {
            let query = sqlx::query(SQL).bind(&keys_json).bind(&words).bind(before).bind(AT_ONCE);
            let page = query.fetch_all(&self.inner.readers).await?;
            for row in &page {
                let written: Option<&str> = row.try_get("users_ids")?;
                let names = |written: &&str| names_one_of(written, keys);
                let may_name: Option<bool> = row.try_get("may_name")?;
                if row.try_get("is_in_chat")?
                    || (may_name == Some(true) && written.as_ref().is_some_and(names))
                {
                    found.push(row.try_get("seq")?);
                }
            }
            let Some(last) = page.last().filter(|_| page.len() == AT_ONCE as usize) else { break };
            before = last.try_get("seq")?;
            seen += u64::from(AT_ONCE);
        }
        Ok(Rejected(found))
    }
}

/// Returns whether what a producer wrote into `users_ids` names one of `keys`: as a whole, in a list, or in a text that
/// holds several ids or cannot be read as a list.
fn names_one_of(written: &str, keys: &[String]) -> bool {
    let is_key = |key: &str| keys.iter().any(|known| known == key);
    let names = |value: &str| {
        let key = ids::person_key("users_ids", value);
        is_key(value.trim())
            || key.is_ok_and(|key| {
                is_key(&key) || ids::possible_name(&key).is_some_and(|name| is_key(&ids::named(&name)))
            })
    };
    if rows::parse_users_ids(written).into_iter().flatten().any(|value| names(&value)) {
        return true;
    }
    let divides = |c: char| c.is_whitespace() || ",;|\"'`()[]{}<>".contains(c);
    written.split(divides).filter(|part| !part.is_empty()).any(|part| {
        // In any address, such as one of the Sales Navigator.
        let mut segments = part.split(['/', ':', '?', '=', '&']);
        names(part) || segments.any(|segment| segment.starts_with("ACoA") && is_key(segment))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_a_person_in_every_form_that_a_producer_writes() {
        let keys: Vec<String> = ["ACoAERJ1", "in/jane-doe"].map(str::to_owned).into();
        for written in [
            "ACoAERJ1",
            " ACoAERJ1 ",
            "[\"ACoAERJ1\"]",
            "[\"ACoA9\", \"ACoAERJ1\"]",
            "[\"ACoAERJ1\"",
            "[{\"id\": \"ACoAERJ1\"}]",
            "ACoA9,ACoAERJ1",
            "urn:li:fsd_profile:ACoAERJ1",
            "urn:li:fs_salesProfile:(ACoAERJ1,NAME_SEARCH,x)",
            "https://www.linkedin.com/in/ACoAERJ1",
            "https://www.linkedin.com/sales/people/ACoAERJ1,NAME_SEARCH",
            "https://de.linkedin.com/in/Jane-Doe/?trk=x",
            "https://www.linkedin.com/in/j%61ne-doe",
            "jane-doe",
            "[\"in/jane-doe\"]",
        ] {
            assert!(names_one_of(written, &keys), "{written}");
        }
        for other in ["ACoAERJ12", "[\"ACoA9\"]", "jane-doe-2", "https://www.linkedin.com/in/jane-doe-2", ""]
        {
            assert!(!names_one_of(other, &keys), "{other}");
        }
    }
}
