//! Whether the writer can write: the question behind `/healthz` and the watchdog (P9).

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::domain::time_text;
use crate::store::StoreError;
use crate::store::sqlite::rows::Result;
use crate::store::writer::{Exclusive, Verb, Writer};

/// A queue that has not answered within this time is unhealthy.
const HEALTHY_WITHIN: Duration = Duration::from_millis(800);

/// A message stored this recently proves as much as a row written now, without waiting for the commits in between.
const STORED_LATELY: Duration = Duration::from_millis(200);

impl Writer {
    /// Takes the lock, writes a row if `writes` is set, and releases the lock, within [`HEALTHY_WITHIN`]. If `writes` is
    /// set, returns at once if a message was stored within [`STORED_LATELY`].
    pub(in crate::store) async fn ping(&self, now: Timestamp, writes: bool) -> Result<()> {
        const WRITE: &str = "UPDATE daemon SET written_at = ?1 WHERE id = 1";
        let stored_at = *self.stored_at.lock().expect("nothing panics while holding it");
        if writes && stored_at.is_some_and(|at| self.clock.monotonic() < at + STORED_LATELY) {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        let lock = Arc::clone(&self.lock);
        let ping: Exclusive = Box::new(move |connection| {
            Box::pin(async move {
                // While the lock is held, pings accumulate whose callers have left.
                if reply.is_closed() {
                    return;
                }
                let answer = lock.transaction(connection, now, move |connection| {
                    Box::pin(async move {
                        if writes {
                            sqlx::query(WRITE).bind(time_text(now)).execute(connection).await?;
                        }
                        Ok(())
                    })
                });
                let _the_caller_may_have_left = reply.send(answer.await);
            })
        });
        let answered = async {
            self.send(Verb::Exclusive(ping)).await?;
            self.answered(answer).await
        };
        tokio::select! {
            answered = answered => answered,
            () = self.clock.sleep(HEALTHY_WITHIN) => Err(StoreError::Busy),
        }
    }
}
