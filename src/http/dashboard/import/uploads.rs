//! The tables that people uploaded to `/import`, in memory until they are imported or forgotten.
//!
//! A form cannot carry a file from one answer to the next, so the daemon keeps the file and the form carries its id.
//! Kept is little, for a while: at most [`KEPT_BYTES`], the least recently used goes first, and none for longer than
//! [`KEPT_FOR`]. What a person typed is in the form itself, so a forgotten file costs one more upload.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Bytes;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Maximum size of a table, in bytes.
pub(super) const TABLE_BYTES: usize = 8 << 20;
/// Maximum size of all kept tables, in bytes.
const KEPT_BYTES: usize = 4 * TABLE_BYTES;
/// How long a table is kept after its last use.
pub(super) const KEPT_FOR: Duration = Duration::from_secs(3600);

/// An uploaded file.
#[derive(Debug)]
pub(super) struct Upload {
    /// The hash of its name and content.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) bytes: Bytes,
}

/// The kept files.
#[derive(Debug)]
pub(in crate::http) struct Uploads {
    kept: Mutex<Kept>,
    /// One table at a time is judged or imported, which bounds the memory for it.
    turn: Semaphore,
}

#[derive(Debug, Default)]
struct Kept {
    /// The most recently used last.
    files: VecDeque<(Timestamp, Arc<Upload>)>,
    /// Whether a task will forget them.
    has_timer: bool,
}

impl Uploads {
    /// Creates the store of uploads.
    pub(in crate::http) fn new() -> Self {
        Self { kept: Mutex::default(), turn: Semaphore::new(1) }
    }

    /// Waits until no other table is judged or imported.
    pub(super) async fn turn(&self) -> SemaphorePermit<'_> {
        self.turn.acquire().await.expect("it is never closed")
    }

    /// Keeps a file. The second value says that the caller must start a task that calls [`Self::forget`] in time.
    pub(super) fn keep(&self, name: String, bytes: Bytes, now: Timestamp) -> (Arc<Upload>, bool) {
        let hash = Sha256::new().chain_update(&name).chain_update([0]).chain_update(&bytes).finalize();
        let id = hash.iter().fold(String::new(), |mut id, byte| {
            let _to_a_string = write!(id, "{byte:02x}");
            id
        });
        let upload = Arc::new(Upload { id, name, bytes });
        let mut kept = self.lock();
        kept.files.retain(|(_, other)| other.id != upload.id);
        kept.files.push_back((now, Arc::clone(&upload)));
        while kept.files.iter().map(|(_, file)| file.bytes.len()).sum::<usize>() > KEPT_BYTES {
            kept.files.pop_front();
        }
        let wants_timer = !std::mem::replace(&mut kept.has_timer, true);
        (upload, wants_timer)
    }

    /// Returns the file with this id, if it is still kept.
    pub(super) fn find(&self, id: &str, now: Timestamp) -> Option<Arc<Upload>> {
        let mut kept = self.lock();
        let place = kept.files.iter().position(|(_, file)| file.id == id)?;
        let (_, file) = kept.files.remove(place)?;
        kept.files.push_back((now, Arc::clone(&file)));
        Some(file)
    }

    /// Drops the files that were not used for as long as they are kept; returns whether none is left.
    pub(super) fn forget(&self, now: Timestamp) -> bool {
        let mut kept = self.lock();
        kept.files.retain(|(used_at, _)| now.duration_since(*used_at).unsigned_abs() < KEPT_FOR);
        kept.has_timer = !kept.files.is_empty();
        !kept.has_timer
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics while holding it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(60 * minute).unwrap()
    }

    #[test]
    fn uploads_are_bounded_in_size_and_time() {
        let uploads = Uploads::new();
        let keep = |name: &str, minute| {
            uploads.keep(name.to_owned(), Bytes::from(vec![b'x'; TABLE_BYTES]), at(minute))
        };
        let ids: Vec<String> = (0..5).map(|number| keep(&number.to_string(), number).0.id.clone()).collect();
        assert!(uploads.find(&ids[0], at(5)).is_none(), "the least recently used one is dropped");
        assert!(uploads.find(&ids[1], at(40)).is_some());
        assert!(!uploads.forget(at(70)), "one was used since");
        assert!(uploads.find(&ids[4], at(70)).is_none());
        assert!(uploads.forget(at(100)));
        assert!(uploads.find(&ids[1], at(100)).is_none());
    }

    #[test]
    fn one_timer_runs_while_something_is_kept() {
        let uploads = Uploads::new();
        let keep = |name: &str, minute| uploads.keep(name.to_owned(), Bytes::from("x"), at(minute)).1;
        assert!(keep("a", 0));
        assert!(!keep("b", 1));
        assert!(uploads.forget(at(200)));
        assert!(keep("a", 201));
    }
}
