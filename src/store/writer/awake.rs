//! Busy-polls for the result of SQLite's thread.
//!
//! Waking a thread of the runtime takes a good part of the time of the commit that it waits for. A program that
//! enqueues one message after the other waits for each of these commits in turn, so for that case the thread stays
//! awake (busy waiting, as a mutex does before it sleeps); docs/performance.md has the measurements. No caller waits
//! like that for a send, so sends do not busy-poll.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

/// Busy-polls for at most 600 µs: on a fast disk, a commit of one message takes 0.25 ms for its statement and as long for
/// its flush. On a slow disk, the time to wake a thread does not matter.
pub(super) const AWAKE: Duration = Duration::from_micros(600);

/// Returns whether SQLite's thread has a core of its own to run on in the meantime.
pub(super) fn is_possible() -> bool {
    std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1)
}

/// Polls `work` repeatedly while `stay_awake` returns true, yielding to the runtime's other tasks in between. After
/// that, polls only when woken.
pub(super) async fn awake<F: Future>(work: F, stay_awake: impl Fn() -> bool) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        if polled.is_pending() && stay_awake() {
            context.waker().wake_by_ref();
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::*;

    /// Counts how often it is polled.
    struct Calls(AtomicU32);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn it_asks_for_its_next_turn_itself_for_as_long_as_it_is_worth_it() {
        let (worth_it, committed) = (Cell::new(true), Cell::new(false));
        let commit = poll_fn(|_| if committed.get() { Poll::Ready("committed") } else { Poll::Pending });
        let mut waiting = pin!(awake(commit, || worth_it.get()));
        let calls = Arc::new(Calls(AtomicU32::new(0)));
        let waker = Waker::from(Arc::clone(&calls));
        let mut turn = || {
            let polled = waiting.as_mut().poll(&mut Context::from_waker(&waker));
            (polled, calls.0.load(Ordering::Relaxed))
        };
        assert_eq!(turn(), (Poll::Pending, 1));
        assert_eq!(turn(), (Poll::Pending, 2));
        worth_it.set(false);
        assert_eq!(turn(), (Poll::Pending, 2), "from now on SQLite's thread wakes it");
        committed.set(true);
        assert_eq!(turn(), (Poll::Ready("committed"), 2));
    }
}
