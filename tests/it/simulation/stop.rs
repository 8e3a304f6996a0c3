//! Stops a run at its k-th call of the store or the provider, as `kill -9` would.

use std::sync::Mutex;

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Count {
    /// Failpoints that were passed since the count began.
    passed: u64,
    /// The failpoint that stops the run.
    at: Option<u64>,
    happened: bool,
}

/// Counts the failpoints of a run and stops it at one of them.
#[derive(Debug, Default)]
pub(crate) struct StopAt {
    count: Mutex<Count>,
    notify: Notify,
}

impl StopAt {
    /// Restarts the count; the run stops at failpoint number `at`, from 0, or nowhere.
    pub(crate) fn arm(&self, at: Option<u64>) {
        *self.count.lock().expect("nothing panics while holding it") = Count { at, ..Count::default() };
    }

    /// Returns how many failpoints were passed since.
    pub(crate) fn passed(&self) -> u64 {
        self.count.lock().expect("nothing panics while holding it").passed
    }

    /// A failpoint: returns, unless the run stops here.
    pub(crate) async fn point(&self) {
        let stops = {
            let mut count = self.count.lock().expect("nothing panics while holding it");
            count.happened |= count.at == Some(count.passed);
            count.passed += u64::from(!count.happened);
            count.happened
        };
        if stops {
            self.notify.notify_waiters();
            std::future::pending::<()>().await;
        }
    }

    /// Completes when the run has stopped.
    pub(crate) async fn happened(&self) {
        loop {
            let told = self.notify.notified();
            if self.count.lock().expect("nothing panics while holding it").happened {
                return;
            }
            told.await;
        }
    }
}
