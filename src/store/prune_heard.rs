//! Removes what was heard long ago and what no rule needs any more.

use jiff::Timestamp;

use super::Store;
use super::rows::Result;
use crate::domain::time_text;

impl Store {
    /// Removes at most `limit` interpreted webhooks and at most `limit` messages of others that were heard before
    /// `before`; returns how many of both it removed. One transaction: call it again until it returns 0.
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
        self.inner
            .writer
            .exclusive(now, move |connection| {
                Box::pin(async move {
                    let mut removed = 0;
                    for sql in [WEBHOOKS, MESSAGES] {
                        let query = sqlx::query(sql).bind(time_text(before)).bind(limit);
                        removed += query.execute(&mut *connection).await?.rows_affected();
                    }
                    Ok(removed)
                })
            })
            .await
    }
}
