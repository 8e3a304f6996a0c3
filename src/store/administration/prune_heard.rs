//! Removes what was heard long ago and what no rule needs any more; stops that ended are among it.

use jiff::Timestamp;

use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::Result;

impl Store {
    /// Removes at most `limit` each of interpreted webhooks, of messages of others that were heard before `before`, and of
    /// stops that ended before it; returns how many of all it removed. One transaction: call it again until it returns 0.
    ///
    /// A message of a chat in which a message of ours is still in the queue stays: a follow-up reads that chat again,
    /// and would take the old answer for a new one. Webhooks that wait to be interpreted stay.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing is removed then.
    pub async fn prune_heard(&self, before: Timestamp, limit: u32, now: Timestamp) -> Result<u64> {
        const WEBHOOKS: &str = "DELETE FROM webhooks WHERE seq IN (SELECT seq FROM webhooks INDEXED BY webhooks_received \
             WHERE result IS NOT NULL AND received_at < ?1 ORDER BY received_at LIMIT ?2 + 0)";
        const MESSAGES: &str = "DELETE FROM inbound_messages WHERE (account_id, chat_id, message_id) IN ( \
             SELECT i.account_id, i.chat_id, i.message_id FROM inbound_messages i INDEXED BY inbound_messages_heard \
              WHERE i.heard_at < ?1 AND NOT EXISTS ( \
                SELECT 1 FROM messages m WHERE m.chat_id = i.chat_id AND m.account_id = i.account_id) \
              ORDER BY i.heard_at LIMIT ?2 + 0)";
        // Without an event: they were not lifted.
        const ENDED: &str = "UPDATE stops SET lifted_at = 'ended' WHERE id IN (SELECT id FROM stops INDEXED BY stops_ending \
             WHERE until < ?1 ORDER BY until LIMIT ?2 + 0)";
        const STOPS: &str = "DELETE FROM stops WHERE lifted_at = 'ended'";
        self.exclusive(now, move |connection| {
            Box::pin(async move {
                let mut removed = 0;
                for sql in [WEBHOOKS, MESSAGES, ENDED] {
                    let query = sqlx::query(sql).bind(time_text(before)).bind(limit);
                    removed += query.execute(&mut *connection).await?.rows_affected();
                }
                sqlx::query(STOPS).execute(connection).await?;
                Ok(removed)
            })
        })
        .await
    }

    /// Removes the texts of at most `limit` messages of others that were heard before `before`; returns of how many.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing is removed then.
    pub async fn prune_heard_texts(&self, before: Timestamp, limit: u32, now: Timestamp) -> Result<u64> {
        const SQL: &str = "UPDATE inbound_messages SET text = NULL WHERE (account_id, chat_id, message_id) IN ( \
             SELECT i.account_id, i.chat_id, i.message_id FROM inbound_messages i INDEXED BY inbound_messages_text \
              WHERE i.heard_at < ?1 AND i.text IS NOT NULL ORDER BY i.heard_at LIMIT ?2 + 0)";
        self.execute(now, sqlx::query(SQL).bind(time_text(before)).bind(limit)).await
    }
}
