//! Removes what finished messages no longer need: texts, files, old events and commands that were carried out.
//!
//! Each method changes one page in one small transaction, so that sending goes on meanwhile; the caller sleeps
//! between two pages. What the promises need stays: ids, times, states, attempts with their fingerprints, and a hash of
//! the text by which a repeat is found.

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row, SqliteConnection};

use crate::domain::time_text;
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};
use crate::store::transitions::blobs::drop_files;
use crate::store::transitions::repeats::text_hash;

/// Messages of one page: about 10 ms of work for the writer.
const PAGE: usize = 200;

/// Rows of events of one page.
const EVENTS: u64 = 1000;

/// Pages that stay free for what comes next, 4 MB: a file that shrinks to its last page would grow again at once.
const SPARE_PAGES: i64 = 1000;

/// Pages given back in one transaction: about 3 ms of work for the writer.
const PAGES: i64 = 100;

/// Result of one page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PrunedPage {
    /// Rows of which something was removed.
    pub removed: u64,
    /// Where the next page begins; `None` after the last.
    pub next: Option<i64>,
}

/// The assignments that remove the words of a message. The rows of `j` are its number, the hash of its text and the
/// time of its last change, which must be the same still.
const WORDS: &str = "UPDATE messages SET revision = messages.revision + 1, text = '', text_hash = j.hash, name = NULL, \
       specifics = NULL, options = NULL, meta = NULL, pruned_at = ?2, \
       attachments = iif(messages.state = 'rejected', NULL, messages.attachments) \
     FROM (SELECT value ->> 0 AS seq, value ->> 1 AS hash, value ->> 2 AS at FROM jsonb_each(?1)) AS j \
     WHERE messages.seq = j.seq AND messages.updated_at = j.at AND messages.pruned_at IS NULL \
       AND messages.state IN ('sent', 'failed', 'cancelled', 'expired', 'rejected')";

impl Store {
    /// Removes the texts, names, specifics and meta of messages that finished before `before`, and what Unipile said
    /// about their attempts; one page of them, after the message `after`.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing of this page was removed then.
    pub async fn prune_bodies(&self, before: Timestamp, after: i64, now: Timestamp) -> Result<PrunedPage> {
        const OLD: &str = "SELECT m.seq, m.text, m.updated_at, m.created_at < ?1 AS old FROM messages m INDEXED BY messages_unpruned \
             WHERE m.pruned_at IS NULL AND m.state IN ('sent', 'failed', 'cancelled', 'expired', 'rejected') AND m.seq > ?2 \
             ORDER BY m.seq LIMIT 200";
        let before = time_text(before);
        let found = sqlx::query(OLD).bind(&before).bind(after).fetch_all(&self.inner.readers).await?;
        let mut last = None;
        let mut arrived_before = false;
        let mut page = Vec::new();
        for row in &found {
            let (seq, changed_at): (i64, String) = (row.try_get("seq")?, row.try_get("updated_at")?);
            last = Some(seq);
            arrived_before |= row.try_get::<bool, _>("old")?;
            if changed_at < before {
                let text = rows::shown_text(row, "text")?.unwrap_or_default();
                page.push(json!([seq, text_hash(&text), changed_at]));
            }
        }
        // Messages are in the order of arrival: behind a page of later ones, no earlier one comes.
        let next = last.filter(|_| found.len() == PAGE && arrived_before);
        if page.is_empty() {
            return Ok(PrunedPage { removed: 0, next });
        }
        let page = Value::Array(page).to_string();
        let at = time_text(now);
        let pruned = self.exclusive(now, move |connection| {
            Box::pin(async move {
                let removed = sqlx::query(WORDS).bind(&page).bind(at).execute(&mut *connection).await?;
                forget_answers(connection, &page).await?;
                Ok(removed.rows_affected())
            })
        });
        Ok(PrunedPage { removed: pruned.await?, next })
    }

    /// Removes the files of messages that finished before `before`, if no other message carries them; those of one
    /// message, after the message `after`.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing was removed then.
    pub async fn prune_files(&self, before: Timestamp, after: i64, now: Timestamp) -> Result<PrunedPage> {
        const OLD: &str = "SELECT f.seq FROM carried_files f CROSS JOIN messages m ON m.seq = f.seq WHERE f.seq > ?2 \
             AND m.state IN ('sent', 'failed', 'cancelled', 'expired') AND m.updated_at < ?1 ORDER BY f.seq LIMIT 1";
        const STILL: &str = "SELECT EXISTS (SELECT 1 FROM messages m WHERE m.seq = ?2 \
             AND m.state IN ('sent', 'failed', 'cancelled', 'expired') AND m.updated_at < ?1)";
        let before = time_text(before);
        let query = sqlx::query_scalar(OLD).bind(&before).bind(after);
        let Some(seq) = query.fetch_optional(&self.inner.readers).await? else {
            return Ok(PrunedPage::default());
        };
        let pruned = self.exclusive(now, move |connection| {
            Box::pin(async move {
                let query = sqlx::query_scalar(STILL).bind(&before).bind(seq);
                match query.fetch_one(&mut *connection).await? {
                    true => drop_files(connection, seq).await,
                    false => Ok(0),
                }
            })
        });
        Ok(PrunedPage { removed: pruned.await?, next: Some(seq) })
    }

    /// Removes events from before `before`, oldest first, but never the newest one; at most 1,000. `next` is set while
    /// there may be more.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing was removed then.
    pub async fn prune_events(&self, before: Timestamp, now: Timestamp) -> Result<PrunedPage> {
        const ANY: &str = "SELECT EXISTS (SELECT 1 FROM (SELECT seq, at FROM events ORDER BY seq LIMIT 1) AS e \
             WHERE e.at < ?1 AND e.seq < (SELECT max(seq) FROM events))";
        const PRUNE: &str = "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT 1000) AND at < ?1 \
             AND seq < (SELECT max(seq) FROM events)";
        self.prune_oldest([ANY, PRUNE], before, now).await
    }

    /// Removes commands of other programs (`message_commands`) that were carried out before `before`, oldest first; at
    /// most 1,000. They hold the texts of edits.
    ///
    /// # Errors
    /// Returns an error if SQLite fails; nothing was removed then.
    pub(crate) async fn prune_commands(&self, before: Timestamp, now: Timestamp) -> Result<PrunedPage> {
        const ANY: &str = "SELECT EXISTS (SELECT 1 FROM (SELECT done_at FROM message_commands ORDER BY id LIMIT 1) AS c \
             WHERE c.done_at < ?1)";
        const PRUNE: &str = "DELETE FROM message_commands WHERE id IN (SELECT id FROM message_commands ORDER BY id LIMIT 1000) \
             AND done_at < ?1";
        self.prune_oldest([ANY, PRUNE], before, now).await
    }

    async fn prune_oldest(
        &self,
        [any, prune]: [&'static str; 2],
        before: Timestamp,
        now: Timestamp,
    ) -> Result<PrunedPage> {
        let before = time_text(before);
        let any: bool = sqlx::query_scalar(any).bind(&before).fetch_one(&self.inner.readers).await?;
        if !any {
            return Ok(PrunedPage::default());
        }
        let removed = self.execute(now, sqlx::query(prune).bind(before)).await?;
        Ok(PrunedPage { removed, next: (removed >= EVENTS).then_some(0) })
    }

    /// Gives free pages at the end of the file back to the file system, at most 100. Returns whether there may be more.
    pub async fn give_back_pages(&self, now: Timestamp) -> Result<bool> {
        let free = free_pages(&self.inner.readers).await?;
        if free <= SPARE_PAGES {
            return Ok(false);
        }
        let pages = PAGES.min(free - SPARE_PAGES);
        let left = self.exclusive(now, move |connection| {
            Box::pin(async move {
                // A pragma takes no bound parameter; this one ends after the last of its rows.
                let sql = AssertSqlSafe(format!("PRAGMA incremental_vacuum({pages})"));
                sqlx::query(sql).fetch_all(&mut *connection).await?;
                free_pages(&mut *connection).await
            })
        });
        let left = left.await?;
        Ok(left < free && left > SPARE_PAGES)
    }
}

async fn free_pages(connection: impl sqlx::SqliteExecutor<'_>) -> Result<i64> {
    Ok(sqlx::query_scalar("PRAGMA freelist_count").fetch_one(connection).await?)
}

/// Removes what Unipile said about the attempts of the messages in `page`, an array of arrays that begin with a number.
async fn forget_answers(connection: &mut SqliteConnection, page: &str) -> Result<()> {
    const ANSWERS: &str = "UPDATE attempts SET title = NULL, detail = NULL, req_id = NULL \
         WHERE seq IN (SELECT value ->> 0 FROM jsonb_each(?1)) AND coalesce(title, detail, req_id) IS NOT NULL";
    sqlx::query(ANSWERS).bind(page).execute(connection).await?;
    Ok(())
}
