//! Reads events in their order, a bounded page at a time, and waits for more.
//!
//! Only one transaction writes at a time, and it numbers its events from the highest one: an event becomes visible
//! after all those before it, so a consumer that continues after the last number it saw misses none.

use std::sync::Arc;
use std::time::Duration;

use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::domain::event::{self, Event};
use crate::store::Store;
use crate::store::sqlite::rows::{self, Result};

/// Events of one page.
pub(crate) const EVENT_PAGE: u32 = 200;

/// Rest between two reads of a busy queue: a reader of events takes little time from the writers.
const BETWEEN_READS: Duration = Duration::from_millis(50);
/// Polling interval for commits of other programs.
const POLL: Duration = Duration::from_secs(1);

/// The events that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventRange {
    /// The oldest one; `None` if there is none.
    pub oldest: Option<i64>,
    /// The newest one; `None` if there is none.
    pub newest: Option<i64>,
}

/// The events after `?1`, at most `?2`; the text of their messages if `?3`.
pub(super) const AFTER: &str = "SELECT e.seq, e.at, e.kind, e.account_id, e.message_id, e.reason, e.detail, \
       m.campaign, m.step, m.chat_id, CASE WHEN ?3 THEN m.text END AS text, CASE WHEN ?3 THEN m.meta END AS meta \
     FROM events e LEFT JOIN messages m ON m.id = e.message_id WHERE e.seq > ?1 ORDER BY e.seq LIMIT ?2 + 0";

impl Store {
    /// Returns at most [`EVENT_PAGE`] events after the number `after`, oldest first; with the texts of their messages
    /// if `with_texts`.
    pub(crate) async fn events_after(&self, after: i64, with_texts: bool) -> Result<Vec<Event>> {
        let query = sqlx::query(AFTER).bind(after).bind(EVENT_PAGE).bind(with_texts);
        query.fetch_all(&self.inner.readers).await?.iter().map(read).collect()
    }

    /// Returns the range of the events that are kept.
    pub(crate) async fn event_range(&self) -> Result<EventRange> {
        const SQL: &str = "SELECT (SELECT min(seq) FROM events), (SELECT max(seq) FROM events)";
        let (oldest, newest) = sqlx::query_as(SQL).fetch_one(&self.inner.readers).await?;
        Ok(EventRange { oldest, newest })
    }

    /// Returns a reader of the events after the number `after`.
    pub(crate) fn event_tail(&self, after: i64, with_texts: bool) -> EventTail {
        EventTail {
            store: self.clone(),
            commits: self.inner.writer.commits(),
            after,
            with_texts,
            waits: false,
        }
    }
}

/// Reads events as they are written.
pub(crate) struct EventTail {
    store: Store,
    commits: watch::Receiver<()>,
    after: i64,
    with_texts: bool,
    /// Whether the last read reached the end.
    waits: bool,
}

impl EventTail {
    /// Returns the number of the last event that was returned.
    pub(crate) fn position(&self) -> i64 {
        self.after
    }

    /// Waits for events and returns a page of them, oldest first. Cancel-safe: what is not returned is read again.
    pub(crate) async fn next(&mut self, clock: &Arc<dyn Clock>) -> Result<Vec<Event>> {
        loop {
            if self.waits {
                tokio::select! {
                    // The writer lives as long as the store.
                    _committed = self.commits.changed() => clock.sleep(BETWEEN_READS).await,
                    // Another program may have committed.
                    () = clock.sleep(POLL) => {}
                }
            }
            self.commits.borrow_and_update();
            let page = self.store.events_after(self.after, self.with_texts).await?;
            self.waits = page.len() < EVENT_PAGE as usize;
            if let Some(last) = page.last() {
                self.after = last.seq;
                return Ok(page);
            }
        }
    }
}

fn read(row: &SqliteRow) -> Result<Event> {
    let text = |column| rows::shown_text(row, column);
    let kind = text("kind")?.unwrap_or_default();
    let detail = event::detail(&kind, text("detail")?.as_deref());
    let of_stop = || {
        let scope = detail.as_ref()?.get("scope")?;
        let key = detail.as_ref()?.get("key")?.as_str()?;
        (scope == "campaign").then(|| key.to_owned())
    };
    let campaign = text("campaign")?.or_else(of_stop);
    let meta = rows::shown_json(row, "meta")?;
    Ok(Event {
        seq: row.try_get("seq")?,
        at: rows::required_time(row, "at")?,
        account_id: text("account_id")?,
        message_id: text("message_id")?,
        campaign,
        step: row.try_get("step")?,
        chat_id: text("chat_id")?,
        reason: text("reason")?.filter(|reason| !reason.is_empty()),
        detail,
        content: text("text")?.map(|text| (text, meta)),
        kind,
    })
}
