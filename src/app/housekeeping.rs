//! Housekeeping: removes what is kept long enough (`[retention]`) at the start and every hour, while sending goes on, and
//! hashes suppressions that other programs inserted (`[suppression]`).
//!
//! It works in small transactions and rests between two of them, so that the writer is never held up and the disk is
//! mostly left to the sender. What is removed is old by Unipile's clock as well: a wall clock that is years ahead
//! removes nothing too early, and until an answer of Unipile has carried a date, nothing is removed. A reload that changes the times starts a round at once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::RetentionSettings;
use crate::engine::EngineHandle;
use crate::store::{Store, StoreError};

/// Time between two rounds.
const EVERY: Duration = Duration::from_secs(3600);

/// The first and the longest pause before the date is asked for again that confirms the wall clock.
const CONFIRM_AGAIN: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];

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
    /// What is kept how long; a reload changes it.
    pub(super) retention: watch::Receiver<RetentionSettings>,
    /// Whether suppressions are kept as hashes.
    pub(super) hashes_suppressions: bool,
}

impl Housekeeping {
    /// Runs until the engine stops.
    pub(super) async fn run(mut self) {
        let engine = self.engine.clone();
        tokio::select! {
            () = engine.stopping() => {}
            () = self.rounds() => {}
        }
    }

    async fn rounds(&mut self) {
        loop {
            let now = self.confirmed_now().await;
            match self.round(now).await {
                Ok(Round { bodies, files, events }) if bodies + files + events > 0 => {
                    tracing::info!(bodies, files, events, "removed what was kept long enough");
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "what was kept long enough could not be removed; tried again in an hour");
                }
            }
            tokio::select! {
                () = self.clock.sleep(EVERY) => {}
                Ok(()) = self.retention.changed() => {}
            }
        }
    }

    /// Returns the time by which something is old, as soon as a date of Unipile confirms it.
    async fn confirmed_now(&self) -> Timestamp {
        let [mut pause, longest] = CONFIRM_AGAIN;
        loop {
            if let Some(now) = self.engine.confirmed_now().await {
                return now;
            }
            if pause >= longest {
                // Nothing was sent or read since the start; any answer carries a date.
                if let Err(error) = self.engine.endpoints().await {
                    tracing::debug!(%error, "no date of Unipile confirms the clock; nothing is removed yet");
                }
            }
            self.clock.sleep(pause).await;
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    async fn round(&self, now: Timestamp) -> Result<Round, StoreError> {
        if self.hashes_suppressions {
            // Those that other programs inserted.
            self.store.hash_suppressions(true, now).await?;
        }
        let before = |kept: Option<Duration>| kept.and_then(|kept| now.checked_sub(kept).ok());
        let RetentionSettings { bodies, files, events } = *self.retention.borrow();
        let mut round = Round::default();
        if let Some(before) = before(bodies) {
            round.bodies = self.pages(What::Bodies, before, now).await?;
            self.pages(What::Commands, before, now).await?;
            while self.store.prune_heard_texts(before, HEARD_AT_ONCE, now).await? > 0 {
                self.clock.sleep(BETWEEN_PAGES).await;
            }
        }
        if let Some(before) = before(files) {
            round.files = self.pages(What::Files, before, now).await?;
        }
        if let Some(before) = before(events) {
            round.events = self.pages(What::Events, before, now).await?;
            // Webhooks and messages of others are kept as long as events.
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
