//! Housekeeping: removes what is kept long enough (`[retention]`) at the start and every hour, while sending goes on, and
//! hashes suppressions that other programs inserted (`[suppression]`).
//!
//! It works in small transactions and rests between two of them, so that the writer is never held up and the disk is
//! mostly left to the sender.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::config::RetentionSettings;
use crate::engine::EngineHandle;
use crate::store::{Store, StoreError};

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(3600);

/// Rest between two pages: about 2,000 messages or 10,000 events a second at most.
const BETWEEN_PAGES: Duration = Duration::from_millis(100);

/// Webhooks, and messages of others, that are removed in one transaction.
const HEARD_AT_ONCE: u32 = 500;

/// What is removed page by page.
#[derive(Debug, Clone, Copy)]
enum What {
    Bodies,
    Commands,
    Files,
    Events,
}

/// What one round removed.
#[derive(Debug, Default)]
struct Round {
    bodies: u64,
    files: u64,
    events: u64,
}

/// Housekeeping of one daemon.
pub(super) struct Housekeeping {
    pub(super) store: Store,
    pub(super) engine: EngineHandle,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) retention: RetentionSettings,
    /// Whether suppressions are kept as hashes.
    pub(super) hashes_suppressions: bool,
}

impl Housekeeping {
    /// Runs until the engine stops.
    pub(super) async fn run(self) {
        tokio::select! {
            () = self.engine.stopping() => {}
            () = self.rounds() => {}
        }
    }

    async fn rounds(&self) {
        loop {
            match self.round().await {
                Ok(Round { bodies, files, events }) if bodies + files + events > 0 => {
                    tracing::info!(bodies, files, events, "removed what was kept long enough");
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "what was kept long enough could not be removed; tried again in an hour");
                }
            }
            self.clock.sleep(EVERY).await;
        }
    }

    async fn round(&self) -> Result<Round, StoreError> {
        let now = self.engine.settled_now().await;
        if self.hashes_suppressions {
            // Those that other programs inserted.
            self.store.hash_suppressions(true, now).await?;
        }
        let before = |kept: Option<Duration>| kept.and_then(|kept| now.checked_sub(kept).ok());
        let RetentionSettings { bodies, files, events } = self.retention;
        let mut round = Round::default();
        if let Some(before) = before(bodies) {
            round.bodies = self.pages(What::Bodies, before, now).await?;
            self.pages(What::Commands, before, now).await?;
        }
        if let Some(before) = before(files) {
            round.files = self.pages(What::Files, before, now).await?;
        }
        if let Some(before) = before(events) {
            round.events = self.pages(What::Events, before, now).await?;
            // Webhooks and messages of others are kept as long as events. They hold ids and times, never a text.
            while self.store.prune_heard(before, HEARD_AT_ONCE, now).await? > 0 {
                self.clock.sleep(BETWEEN_PAGES).await;
            }
        }
        self.give_back(now).await?;
        Ok(round)
    }

    /// Removes page after page. Returns how much was removed.
    async fn pages(&self, what: What, before: Timestamp, now: Timestamp) -> Result<u64, StoreError> {
        let (mut removed, mut next) = (0, Some(0));
        while let Some(after) = next {
            let done = match what {
                What::Bodies => self.store.prune_bodies(before, after, now).await,
                What::Commands => self.store.prune_commands(before, now).await,
                What::Files => self.store.prune_files(before, after, now).await,
                What::Events => self.store.prune_events(before, now).await,
            }?;
            removed += done.removed;
            next = done.next;
            if done.removed > 0 {
                self.clock.sleep(BETWEEN_PAGES).await;
            }
        }
        Ok(removed)
    }

    async fn give_back(&self, now: Timestamp) -> Result<(), StoreError> {
        while self.store.give_back_pages(now).await? {
            self.clock.sleep(BETWEEN_PAGES).await;
        }
        Ok(())
    }
}
