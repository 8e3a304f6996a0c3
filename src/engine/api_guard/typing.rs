//! Whether the typing indicator is asked for. It is left out for all accounts for a while after several requests for it
//! failed in a row: what shows it may be broken while sends work.

use std::time::Duration;

/// Failed requests in a row after which the indicator is left out.
const LEFT_OUT_AFTER: u32 = 3;
/// For how long it is left out; then one more failure is enough.
const LEFT_OUT_FOR: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Default)]
pub(super) struct TypingRest {
    failures: u32,
    until: Duration,
}

impl TypingRest {
    /// Records whether the API answered a request for the indicator in time.
    pub(super) fn ended(&mut self, is_answered: bool, now: Duration) {
        self.failures = if is_answered { 0 } else { self.failures.saturating_add(1) };
        if self.failures == LEFT_OUT_AFTER {
            tracing::warn!("the typing indicator cannot be shown: it is left out for some minutes at a time");
        }
        if self.failures >= LEFT_OUT_AFTER {
            self.until = now + LEFT_OUT_FOR;
        }
    }

    pub(super) fn is_over(&self, now: Duration) -> bool {
        self.until <= now
    }
}
