//! Receivers of events: how a delivery ends, and what follows.

use std::fmt;
use std::time::Duration;

/// The delays before each retry, as the Standard Webhooks specification recommends: 5 s, 5 min, 30 min, 2 h, 5 h, 10 h,
/// 14 h, 20 h, 24 h (section "Retry schedule"). The last retry is 75 h 35 min after the first delivery.
pub const RETRIES: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// Longest wait that a receiver can ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// A delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// Why.
    pub problem: String,
    /// How long the receiver asks to wait.
    pub retry_after: Option<Duration>,
    /// The receiver wants no more events: it answered 410.
    pub is_gone: bool,
}

impl Undelivered {
    /// Returns a failure without a wish of the receiver.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), retry_after: None, is_gone: false }
    }
}

/// What follows from a failed delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    /// The same event is delivered again after this time; later events wait.
    Retry(Duration),
    /// The event is a dead letter; the next one is tried once.
    GiveUp,
    /// Nothing more is delivered until a person enables the receiver.
    Disable,
}

impl fmt::Display for AfterFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(delay) => write!(f, "it is tried again in {} s", delay.as_secs()),
            Self::GiveUp => write!(f, "it is a dead letter, and the next event is tried once"),
            Self::Disable => write!(f, "nothing more is sent until the receiver is enabled"),
        }
    }
}

/// Returns what follows from a failure: `failures` deliveries of the event failed before it, and `is_probe` says whether
/// the event before was given up. A receiver that accepts nothing is not tried for ever.
pub fn after(failed: &Undelivered, failures: u32, is_probe: bool) -> AfterFailure {
    let delay = usize::try_from(failures).ok().and_then(|failures| RETRIES.get(failures));
    match delay {
        _ if failed.is_gone || is_probe => AfterFailure::Disable,
        None => AfterFailure::GiveUp,
        Some(delay) => {
            let asked = failed.retry_after.unwrap_or_default().min(LONGEST_WAIT);
            AfterFailure::Retry(asked.max(*delay))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_retried_for_three_days_and_a_dead_receiver_not_for_ever() {
        let failed = Undelivered::new("answered 500");
        let delays: Vec<u64> = (0..9)
            .map(|failures| match after(&failed, failures, false) {
                AfterFailure::Retry(delay) => delay.as_secs(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(delays, [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]);
        assert_eq!(delays.iter().sum::<u64>(), 75 * 3600 + 35 * 60 + 5);
        assert_eq!(after(&failed, 1, false).to_string(), "it is tried again in 300 s");
        assert_eq!(after(&failed, 9, false), AfterFailure::GiveUp);
        assert_eq!(after(&failed, 0, true), AfterFailure::Disable, "the next event failed as well");
    }

    #[test]
    fn a_receiver_can_ask_for_a_longer_wait_and_for_no_more_events() {
        let asks = |seconds| Undelivered {
            retry_after: Some(Duration::from_secs(seconds)),
            ..Undelivered::new("answered 429")
        };
        for (asked, failures, waits) in [(1, 0, 5), (60, 0, 60), (60, 1, 300), (1_000_000, 0, 86_400)] {
            let expected = AfterFailure::Retry(Duration::from_secs(waits));
            assert_eq!(after(&asks(asked), failures, false), expected, "{asked} s");
        }
        let gone = Undelivered { is_gone: true, ..Undelivered::new("answered 410") };
        assert_eq!(after(&gone, 0, false), AfterFailure::Disable);
    }
}
