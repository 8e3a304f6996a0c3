//! Failpoints in each verb that writes at which a test stops the run, as a killed process would stop there.
//!
//! `tests/it/crash_sweep.rs` stops at each of them in turn. Without a test nothing is called.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use crate::domain::message::{AccountId, Seq};

/// Where in a verb that writes.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failpoint {
    /// Nothing of it is written.
    Asked,
    /// Its transaction is over, and whoever asked does not know yet.
    Written,
    /// The intent to send this message of this account is about to be asked for.
    Begins(AccountId, Seq),
}

/// What a test does there; a run whose point never returns has stopped there.
#[doc(hidden)]
pub type AtFailpoint = Arc<dyn Fn(Failpoint) -> BoxFuture<'static, ()> + Send + Sync>;

#[derive(Default)]
pub(super) struct Failpoints(OnceLock<AtFailpoint>);

impl Failpoints {
    pub(super) fn set(&self, at_point: AtFailpoint) {
        let _only_the_first_counts = self.0.set(at_point);
    }

    pub(super) async fn pass(&self, point: Failpoint) {
        if let Some(at_point) = self.0.get() {
            at_point(point).await;
        }
    }
}
