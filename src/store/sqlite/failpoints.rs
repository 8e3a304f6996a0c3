//! Failpoints before and after each write, at which a test stops the run as a killed process would stop.
//!
//! `tests/it/crash_sweep.rs` stops at each of them in turn. Outside of tests they call nothing.

use std::sync::{Arc, OnceLock};

use futures_util::future::BoxFuture;

use crate::domain::message::{AccountId, Seq};

/// A point in a write.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failpoint {
    /// Requested; nothing is written yet.
    Asked,
    /// The transaction has ended, and the caller does not know yet.
    Written,
    /// The intent to send this message of this account is about to be requested.
    Begins(AccountId, Seq),
}

/// What a test does at a failpoint; a run whose failpoint never returns has stopped there.
#[doc(hidden)]
pub type AtFailpoint = Arc<dyn Fn(Failpoint) -> BoxFuture<'static, ()> + Send + Sync>;

#[derive(Default)]
pub(in crate::store) struct Failpoints(OnceLock<AtFailpoint>);

impl Failpoints {
    pub(in crate::store) fn set(&self, at_point: AtFailpoint) {
        let _only_the_first_counts = self.0.set(at_point);
    }

    pub(in crate::store) async fn pass(&self, point: Failpoint) {
        if let Some(at_point) = self.0.get() {
            at_point(point).await;
        }
    }
}
