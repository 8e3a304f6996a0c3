//! The provider's clock, according to the `Date` of its answers.
//!
//! The provider dates messages, so its clock, not ours, decides whether a message was written before a call. A `Date`
//! has whole seconds and was written between the request and the answer, so the time is known as an interval of about
//! a second. It is extrapolated by a clock that cannot be set and that keeps running while the machine is suspended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AGE, DATE, HeaderMap};

use super::retry_after::date;
use crate::clock::Clock;
use crate::domain::observed::ProviderTime;

/// Maximum drift between two clocks: one part in this many (100 ppm).
const DRIFT: u32 = 10_000;

/// What is known about the provider's clock.
pub(super) struct TheirClock {
    clock: Arc<dyn Clock>,
    newest: Mutex<Option<Dated>>,
}

/// The date of one answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dated {
    date: jiff::Timestamp,
    /// When the request was made and when its answer arrived, by [`Clock::elapsed`].
    asked: Duration,
    answered: Duration,
}

impl TheirClock {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, newest: Mutex::default() }
    }

    /// Returns the date of an answer that just arrived for a request made at `asked`; `None` if it has no date, or if
    /// a cache may have stored the answer.
    pub(super) fn heard(&self, asked: Duration, headers: &HeaderMap) -> Option<Dated> {
        let is_old = headers.get(AGE).is_some_and(|age| age.as_bytes() != b"0");
        let date = headers.get(DATE)?.to_str().ok().and_then(|text| date(text.trim()))?;
        (!is_old).then_some(Dated { date, asked, answered: self.clock.elapsed() })
    }

    /// Adopts the date of an answer that is Unipile's own.
    pub(super) fn learn(&self, dated: Option<Dated>) {
        if dated.is_some() {
            *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = dated;
        }
    }

    /// Returns the provider's time now, if it is known.
    pub(super) fn now(&self) -> Option<ProviderTime> {
        let dated = (*self.newest.lock().unwrap_or_else(PoisonError::into_inner))?;
        let elapsed = self.clock.elapsed();
        let shortest = elapsed.checked_sub(dated.answered)?;
        let longest = elapsed.checked_sub(dated.asked)?;
        Some(ProviderTime {
            earliest: dated.date.checked_add(shortest - shortest / DRIFT).ok()?,
            latest: dated.date.checked_add(longest + longest / DRIFT + Duration::from_secs(1)).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::clock::Sleep;

    /// A machine whose wall clock is years off and whose monotonic clock does not advance.
    #[derive(Clone)]
    struct Clocks(Arc<Mutex<Duration>>);

    impl Clock for Clocks {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }
        fn elapsed(&self) -> Duration {
            *self.0.lock().unwrap()
        }
        fn sleep(&self, _: Duration) -> Sleep {
            Box::pin(std::future::pending())
        }
    }

    fn at(seconds: i64) -> Timestamp {
        "2026-11-22T12:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
    }

    /// Returns the provider's clock after an answer at 100 s, requested 2 s earlier and dated 12:00:00.
    fn told() -> (Clocks, TheirClock) {
        let ours = Clocks(Arc::new(Mutex::new(Duration::from_secs(100))));
        let theirs = TheirClock::new(Arc::new(ours.clone()));
        let headers = HeaderMap::from_iter([(DATE, "Sun, 22 Nov 2026 12:00:00 GMT".parse().unwrap())]);
        theirs.learn(theirs.heard(Duration::from_secs(98), &headers));
        (ours, theirs)
    }

    #[test]
    fn it_is_known_as_an_interval_and_goes_on_with_a_clock_that_nobody_sets() {
        let (ours, theirs) = told();
        let time = theirs.now().unwrap();
        // Written between the request and the answer, in that second.
        assert_eq!(time.earliest, at(0));
        assert!(time.latest >= at(3) && time.latest < at(4), "{time:?}");
        *ours.0.lock().unwrap() = Duration::from_secs(1100);
        let time = theirs.now().unwrap();
        let early = at(1000).duration_since(time.earliest);
        assert!(
            !early.is_negative() && early <= SignedDuration::from_millis(100),
            "less than drift: {early}"
        );
        assert!(time.latest > at(1003), "{time:?}");
    }

    #[test]
    fn an_answer_without_a_date_changes_nothing() {
        let (_, theirs) = told();
        theirs.learn(theirs.heard(Duration::from_secs(99), &HeaderMap::new()));
        assert_eq!(theirs.now().unwrap().earliest, at(0));
    }
}
