//! How many files this process may open: a connection is one, as are the files of the queue and each call to the API.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The soft limit is raised to the hard one, but no further than this. It is more than the daemon uses, and a command that it
/// starts may close every file up to the limit.
const ENOUGH: u64 = 65_536;

/// From this limit on, clients may have as many connections as there are places for.
const FOR_ALL_PLACES: u64 = 4096;

/// The smallest number of connections of a listener.
const FEWEST: usize = 4;

/// Raises the soft limit of this process: systemd and many shells set it to 1,024.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let (soft, wanted) = (limit.current.unwrap_or(u64::MAX), possible());
    if soft >= wanted {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => tracing::debug!(before = soft, now = wanted, "the limit of open files was raised"),
        Err(error) => tracing::warn!(%error, soft, "the limit of open files cannot be raised"),
    }
}

/// Returns to how many open files a daemon of this user raises its limit.
pub(super) fn possible() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX).min(ENOUGH)
}

/// Returns how many of `most` connections a listener may have: under a low limit fewer, so that the files of the queue and the
/// calls to the API find theirs.
pub(super) fn places(most: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX).min(FOR_ALL_PLACES);
    // At most 1 in 4 for the three listeners of the API.
    let share = usize::try_from(limit).unwrap_or(usize::MAX).saturating_mul(most);
    (share / FOR_ALL_PLACES as usize).max(FEWEST)
}
