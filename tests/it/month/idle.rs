//! Finds the moment at which nothing is at work in this process, so that time may move: all other threads sleep, as the kernel
//! says, and no program runs that the daemon started. A thread that was woken and waits for a processor is not asleep.

use std::path::Path;
use std::time::Duration;

use outboxd::clock::{Clock, SystemClock};

const BETWEEN_LOOKS: Duration = Duration::from_micros(100);
const LONGEST: Duration = Duration::from_secs(60);

/// Returns when all threads are asleep, at two looks in a row.
pub(super) fn wait() {
    let (clock, mut quiet) = (SystemClock::new(), 0);
    while quiet < 2 {
        pause(BETWEEN_LOOKS);
        quiet = if threads_sleep() && !children_at_work() { quiet + 1 } else { 0 };
        assert!(clock.monotonic() < LONGEST, "something is at work without an end");
    }
}

/// Blocks this thread for a moment of real time.
#[expect(clippy::disallowed_methods, reason = "real time, on a thread that runs no task")]
pub(super) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Returns the state of a thread or a process: `S` if it sleeps, `R` if it runs or could run.
fn state(folder: &Path) -> Option<char> {
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    // Its name, in parentheses, may hold anything.
    stat.rsplit_once(") ")?.1.chars().next()
}

fn threads_sleep() -> bool {
    let own = std::fs::read_link("/proc/thread-self").expect("Linux");
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let others = threads.filter(|thread| Some(&*thread.file_name()) != own.file_name());
    // One that is gone has no state.
    others.filter_map(|thread| state(&thread.path())).all(|state| state == 'S')
}

/// Returns whether a program runs that this process started, except one that hangs on purpose.
fn children_at_work() -> bool {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let children = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let names = children.flat_map(|pids| {
        let names = pids.split_whitespace().map(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")));
        names.collect::<Vec<_>>()
    });
    names.flatten().any(|name| name.trim() != "sleep")
}
