//! When each chat was last read for answers and receipts: the engine polls those for which something is queued.
//!
//! Triggers keep the table (`messages_sent_chat` and two more): a row per chat that the account has written to, in the
//! index `chat_reads_due` while a message for it is queued. So finding what is due costs the same however long the
//! queue is.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::json;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::domain::message::{AccountId, ChatId, Seq};
use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// A chat that is due to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChatToPoll {
    /// The account that reads it.
    pub account_id: AccountId,
    pub chat_id: ChatId,
    /// Messages before this time need not be read: they are known, and so are their receipts.
    pub since: Timestamp,
    /// Whether it is to be read: a message for it is queued, and it was written to recently.
    pub is_wanted: bool,
}

/// What became of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChatRead {
    /// It was read.
    Read,
    /// It could not be read.
    Failed,
    /// It need not be read until something is queued for it, or it was last written to before this time.
    NotWanted(Timestamp),
}

/// Which of the person's other chats to read before a message.
#[derive(Debug, Clone)]
pub(crate) struct OtherChats {
    /// The message.
    pub seq: Seq,
    /// Only chats that were written to since this time.
    pub written_since: Timestamp,
    /// Only chats that were not read since this time, or since they were written to.
    pub read_before: Timestamp,
    /// Chats to leave out.
    pub except: Vec<ChatId>,
}

/// Selects a chat with the person of a message that an answer would stop, on an account that can read it.
pub(in crate::store) const OTHER_CHAT: &str = "SELECT c.account_id, c.chat_id FROM messages m \
       CROSS JOIN conversations c INDEXED BY conversations_person ON c.user_id = substr(m.thread, 6) \
       CROSS JOIN chat_reads r ON r.account_id = c.account_id AND r.chat_id = c.chat_id \
       CROSS JOIN accounts a ON a.id = c.account_id \
     WHERE m.seq = ?1 AND m.thread = 'user:' || c.user_id AND coalesce(m.stop_on_reply, m.campaign IS NOT NULL) \
       AND r.sent_at >= ?2 AND (r.read_at < ?3 OR r.read_at = r.sent_at) AND a.down_cause IS NULL \
       AND c.chat_id NOT IN (SELECT value FROM json_each(?4)) \
     ORDER BY r.sent_at DESC LIMIT 1";

/// Selects for each account that can read the chat that was not tried for the longest time, if that was before `?1`.
/// The accounts are found by a skip scan of the index.
pub(in crate::store) const DUE: &str = "WITH RECURSIVE account (id) AS ( \
       SELECT min(r.account_id) FROM chat_reads r INDEXED BY chat_reads_due WHERE r.waits = 1 \
       UNION ALL SELECT (SELECT min(r.account_id) FROM chat_reads r INDEXED BY chat_reads_due WHERE r.waits = 1 AND r.account_id > account.id) \
         FROM account WHERE account.id IS NOT NULL), \
     due (account_id, chat_id) AS ( \
       SELECT account.id, (SELECT r.chat_id FROM chat_reads r INDEXED BY chat_reads_due \
                            WHERE r.waits = 1 AND r.account_id = account.id AND r.tried_at <= ?1 ORDER BY r.tried_at LIMIT 1) \
         FROM account WHERE account.id IS NOT NULL \
          AND NOT EXISTS (SELECT 1 FROM accounts a WHERE a.id = account.id AND a.down_cause IS NOT NULL)) \
     SELECT r.account_id, r.chat_id, \
       min(r.read_at, coalesce((SELECT min(m.sent_at) FROM messages m INDEXED BY messages_by_chat \
          WHERE m.chat_id = r.chat_id AND m.account_id = r.account_id AND m.state = 'sent' AND m.read_at IS NULL AND m.sent_at >= ?2), \
         r.read_at)) AS since, \
       r.sent_at >= ?2 AND EXISTS (SELECT 1 FROM messages q INDEXED BY messages_thread \
          WHERE q.thread IN ('chat:' || r.chat_id, (SELECT 'user:' || c.user_id FROM conversations c \
                  WHERE c.account_id = r.account_id AND c.chat_id = r.chat_id)) \
            AND q.account_id = r.account_id AND q.state = 'queued') AS is_wanted \
       FROM due CROSS JOIN chat_reads r ON r.account_id = due.account_id AND r.chat_id = due.chat_id \
      WHERE due.chat_id IS NOT NULL AND EXISTS (SELECT 1 FROM daemon d WHERE d.key_refused_at IS NULL AND d.restored_at IS NULL)";

impl Store {
    /// Returns the next chat to poll of each account that has one that was last tried before `tried_before`. A chat is
    /// wanted if it was written to since `recent`.
    pub(crate) async fn chats_to_poll(
        &self,
        tried_before: Timestamp,
        recent: Timestamp,
    ) -> Result<Vec<ChatToPoll>> {
        let query = sqlx::query(DUE).bind(time_text(tried_before)).bind(time_text(recent));
        let read = |row: &SqliteRow| {
            Ok(ChatToPoll {
                account_id: rows::account_id(row)?,
                chat_id: ChatId::new(row.try_get::<String, _>("chat_id")?),
                since: rows::required_time(row, "since")?,
                is_wanted: row.try_get("is_wanted")?,
            })
        };
        query.fetch_all(&self.inner.readers).await?.iter().map(read).collect()
    }

    /// Returns the next chat to read of the person whom a message is for.
    pub(crate) async fn other_chat(&self, asked: OtherChats) -> Result<Option<(AccountId, ChatId)>> {
        let OtherChats { seq, written_since, read_before, except } = asked;
        let except: Vec<&str> = except.iter().map(ChatId::as_str).collect();
        let query = sqlx::query(OTHER_CHAT).bind(seq.0).bind(time_text(written_since));
        let query = query.bind(time_text(read_before)).bind(json!(except).to_string());
        let Some(row) = query.fetch_optional(&self.inner.readers).await? else { return Ok(None) };
        Ok(Some((rows::account_id(&row)?, ChatId::new(row.try_get::<String, _>("chat_id")?))))
    }

    /// Records what became of a read of a chat at `now`. A chat that the account has not written to has no row.
    pub(crate) async fn note_chat_read(
        &self,
        account: AccountId,
        chat_id: ChatId,
        result: ChatRead,
        now: Timestamp,
    ) -> Result<()> {
        let sql = match result {
            ChatRead::Read => {
                "UPDATE chat_reads SET read_at = ?3, tried_at = ?3 WHERE account_id = ?1 AND chat_id = ?2"
            }
            ChatRead::Failed => "UPDATE chat_reads SET tried_at = ?3 WHERE account_id = ?1 AND chat_id = ?2",
            // Checked again: a message may have been queued for it in the meantime.
            ChatRead::NotWanted(_) => {
                "UPDATE chat_reads AS r SET tried_at = ?3, waits = r.sent_at >= ?4 AND EXISTS (SELECT 1 FROM messages q INDEXED BY messages_thread \
                   WHERE q.thread IN ('chat:' || r.chat_id, (SELECT 'user:' || c.user_id FROM conversations c \
                           WHERE c.account_id = r.account_id AND c.chat_id = r.chat_id)) \
                     AND q.account_id = r.account_id AND q.state = 'queued') \
                 WHERE account_id = ?1 AND chat_id = ?2"
            }
        };
        let recent = match result {
            ChatRead::NotWanted(recent) => time_text(recent),
            ChatRead::Read | ChatRead::Failed => String::new(),
        };
        let query = sqlx::query(sql).bind(account.as_str()).bind(chat_id.as_str());
        self.execute(now, query.bind(time_text(now)).bind(recent)).await?;
        Ok(())
    }

    /// Returns those of the sent messages with these ids that are not known to have been read, and whether each is
    /// known to have been delivered.
    pub(crate) async fn without_receipts(
        &self,
        account: &AccountId,
        ids: impl Iterator<Item = &str>,
    ) -> Result<HashMap<String, bool>> {
        const SQL: &str = "SELECT s.message_id, m.delivered_at IS NOT NULL FROM json_each(?2) j \
             CROSS JOIN sent_ids s ON s.account_id = ?1 AND s.message_id = j.value \
             CROSS JOIN messages m ON m.seq = s.seq WHERE m.state = 'sent' AND m.read_at IS NULL";
        let ids: Vec<&str> = ids.collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let query = sqlx::query_as(SQL).bind(account.as_str()).bind(json!(ids).to_string());
        let found: Vec<(String, bool)> = query.fetch_all(&self.inner.readers).await?;
        Ok(found.into_iter().collect())
    }
}
