//! The watchdog (P9): polls the writer, the supervisor and the intake every few seconds, and notifies systemd.
//!
//! If one of them does not answer within [`LIMIT`], the process ends, so that its supervisor can restart it. While
//! another program keeps the queue locked, the writer and the intake wait for the lock; a restart would not help
//! then.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sd_notify::NotifyState;

use super::serve::notify_systemd;
use crate::clock::{Clock, SystemClock};
use crate::engine::EngineHandle;
use crate::store::{Store, StoreError};
use crate::tasks::Pulse;

/// Maximum interval between two rounds of polling.
const EVERY: Duration = Duration::from_secs(15);
/// Interval between two checks whether another program keeps the queue locked.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// A part that has not answered for this long hangs. The unit's `WatchdogSec` is longer.
const LIMIT: Duration = Duration::from_secs(60);

/// A part of the daemon that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {0} has not answered for {limit} s", limit = LIMIT.as_secs())]
pub(super) struct Stalled(pub(super) &'static str);

/// Polls a part of the daemon; completes when it has answered.
pub(super) type Ask = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// Returns the parts to poll.
pub(super) fn parts(store: &Store, engine: &EngineHandle, intake: Arc<Pulse>) -> Vec<(&'static str, Ask)> {
    let writer = {
        let (store, engine) = (store.clone(), engine.clone());
        move || -> BoxFuture<'static, ()> {
            let (store, engine) = (store.clone(), engine.clone());
            Box::pin(async move { writer_answers(&store, &engine).await })
        }
    };
    let supervisor = {
        let engine = engine.clone();
        move || -> BoxFuture<'static, ()> {
            let engine = engine.clone();
            Box::pin(async move { engine.beat().await })
        }
    };
    let intake = {
        let store = store.clone();
        move || -> BoxFuture<'static, ()> {
            let (pulse, store) = (Arc::clone(&intake), store.clone());
            Box::pin(async move {
                // The intake may wait for the writer, which waits for the lock.
                tokio::select! {
                    () = pulse.beat() => {}
                    () = is_blocked(&store) => {}
                }
            })
        }
    };
    vec![("writer", Box::new(writer)), ("supervisor", Box::new(supervisor)), ("intake", Box::new(intake))]
}

/// Completes when the writer is known to wait for another program's lock.
async fn is_blocked(store: &Store) {
    while store.blocked_since().is_none() {
        SystemClock::new().sleep(BETWEEN_LOOKS).await;
    }
}

/// Completes when the writer has answered, even with an error, or is known to wait for another program's lock.
async fn writer_answers(store: &Store, engine: &EngineHandle) {
    while let Err(StoreError::Busy) = store.ping(engine.now()).await {
        if store.blocked_since().is_some() {
            return;
        }
    }
}

/// Polls all parts repeatedly; returns when one hangs. `systemd` is the interval within which systemd expects a sign
/// of life.
pub(super) async fn watch(
    parts: Vec<(&'static str, Ask)>,
    clock: Arc<dyn Clock>,
    systemd: Option<Duration>,
) -> Result<Infallible, Stalled> {
    let every = systemd.map_or(EVERY, |longest| EVERY.min(longest / 3));
    loop {
        for (name, ask) in &parts {
            tokio::select! {
                // A process that was stopped for a while finds both ready: the answer counts.
                biased;
                () = ask() => {}
                () = clock.sleep(LIMIT) => return Err(Stalled(name)),
            }
        }
        if systemd.is_some() {
            notify_systemd(&[NotifyState::Watchdog]);
        }
        clock.sleep(every).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Sleep;
    use jiff::Timestamp;

    /// A clock whose sleeps end at once.
    struct Hasty;

    impl Clock for Hasty {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
        fn sleep(&self, _: Duration) -> Sleep {
            Box::pin(tokio::task::yield_now())
        }
    }

    #[tokio::test]
    async fn a_part_that_does_not_answer_is_named() {
        let healthy: Ask = Box::new(|| Box::pin(std::future::ready(())));
        let stuck: Ask = Box::new(|| Box::pin(std::future::pending()));
        let parts = vec![("writer", healthy), ("intake", stuck)];
        let stalled = watch(parts, Arc::new(Hasty), None).await.unwrap_err();
        assert_eq!(stalled.to_string(), "the intake has not answered for 60 s");
    }

    #[tokio::test]
    async fn parts_that_answer_are_asked_again_and_again() {
        let (asked, asks) = tokio::sync::mpsc::unbounded_channel();
        let part: Ask = Box::new(move || {
            asked.send(()).unwrap();
            Box::pin(std::future::ready(()))
        });
        let watching = watch(vec![("writer", part)], Arc::new(Hasty), None);
        let mut asks = asks;
        tokio::select! {
            stalled = watching => panic!("{stalled:?}"),
            () = async { for _ in 0..100 { asks.recv().await.unwrap(); } } => {}
        }
    }
}
