//! Who wrote a message that was heard: outboxd, the owner of the account by hand, or another person (P5).

use sqlx::{Row, SqliteConnection};

use crate::domain::heard::HeardMessage;
use crate::domain::message::AccountId;
use crate::domain::time_text;
use crate::store::sqlite::rows::Result;

/// Who wrote a message.
pub(super) enum Author {
    /// outboxd.
    Us,
    /// The owner of the account, by hand.
    Owner,
    /// Another person.
    Other,
    /// This depends on a call whose outcome is not known.
    NotKnownYet,
}

/// Returns who wrote a message. Learns the owner's user id from the account's own messages.
pub(super) async fn author(
    connection: &mut SqliteConnection,
    account: &AccountId,
    message: &HeardMessage,
) -> Result<Author> {
    // A provider may show a message with files as several, of which the answer names one.
    const OURS: &str = "SELECT EXISTS (SELECT 1 FROM sent_ids WHERE account_id = ?1 AND message_id = ?2) \
         OR (?4 AND EXISTS (SELECT 1 FROM messages p INDEXED BY messages_by_chat WHERE p.chat_id = ?3 AND p.account_id = ?1 \
           AND p.state = 'sent' AND p.attachments IS NOT NULL AND abs(julianday(p.sent_at) - julianday(?5)) * 86400 < 120)) AS ours, \
         (SELECT user_id FROM accounts WHERE id = ?1) AS user_id, \
         EXISTS (SELECT 1 FROM messages m INDEXED BY messages_unsettled WHERE m.account_id = ?1 \
           AND m.state IN ('sending', 'uncertain', 'review') AND m.state <> 'review' \
           AND (m.chat_id = ?3 OR (m.users_ids IS NOT NULL AND NOT EXISTS (SELECT 1 FROM conversations c \
             WHERE c.account_id = ?1 AND c.chat_id = ?3 AND m.thread <> 'user:' || c.user_id)))) AS unsettled";
    const LEARN: &str = "UPDATE accounts SET user_id = ?2 WHERE id = ?1 AND user_id IS NOT ?2";
    let query = sqlx::query(OURS).bind(account.as_str()).bind(&message.message_id);
    let query = query.bind(message.chat_id.as_str()).bind(message.is_sender == Some(true));
    let row = query.bind(time_text(message.at)).fetch_one(&mut *connection).await?;
    let user_id: Option<String> = row.try_get("user_id")?;
    let ours: bool = row.try_get("ours")?;
    let by_owner = message.is_sender == Some(true)
        || (user_id.is_some() && message.sender_id.is_some() && user_id == message.sender_id);
    if (ours || message.is_sender == Some(true))
        && let Some(sender) = &message.sender_id
    {
        sqlx::query(LEARN).bind(account.as_str()).bind(sender).execute(connection).await?;
    }
    // Without `is_sender`, only the owner's id tells an own message from another person's.
    let may_be_own = message.is_sender.is_none() && (user_id.is_none() || message.sender_id.is_none());
    Ok(match (ours, by_owner) {
        (true, _) => Author::Us,
        (false, _) if (by_owner || may_be_own) && row.try_get("unsettled")? => Author::NotKnownYet,
        (false, true) => Author::Owner,
        (false, false) => Author::Other,
    })
}

/// Returns whether the id is that of the account or of its owner.
pub(super) async fn is_owner(
    connection: &mut SqliteConnection,
    account: &AccountId,
    user_id: &str,
) -> Result<bool> {
    const OWNER: &str = "SELECT EXISTS (SELECT 1 FROM accounts WHERE id = ?1 AND user_id = ?2)";
    let owner = sqlx::query_scalar(OWNER).bind(account.as_str()).bind(user_id);
    Ok(account.as_str() == user_id || owner.fetch_one(connection).await?)
}
