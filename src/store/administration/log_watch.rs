//! Reports that some program writes the write-ahead log (`inotify`).
//!
//! Each page of a commit is two writes, for which the kernel would make an event each, in the program that writes. So it
//! reports one write and then nothing until it is armed again.

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use inotify::{EventMask, EventStream, Inotify, WatchMask};

use crate::store::sqlite;

/// A watch on the log of one database.
pub(super) struct LogWatch {
    wal: PathBuf,
    events: Option<EventStream<Vec<u8>>>,
}

impl LogWatch {
    /// Begins to watch, armed.
    pub(super) fn new(database: &Path) -> Self {
        let wal = sqlite::wal_path(database);
        let events = Inotify::init().and_then(|inotify| inotify.into_event_stream(vec![0; 1024])).ok();
        let mut watch = Self { wal, events };
        watch.arm();
        watch
    }

    /// Returns whether the kernel can watch the file.
    pub(super) fn is_possible(&self) -> bool {
        self.events.is_some()
    }

    pub(super) fn path(&self) -> &Path {
        &self.wal
    }

    /// Reports the next write from now on. A program that queries afterwards sees what was committed before.
    pub(super) fn arm(&mut self) {
        const WRITTEN_OR_GONE: WatchMask = WatchMask::MODIFY
            .union(WatchMask::DELETE_SELF)
            .union(WatchMask::MOVE_SELF)
            .union(WatchMask::ONESHOT);
        let Some(events) = &self.events else { return };
        if events.watches().add(&self.wal, WRITTEN_OR_GONE).is_err() {
            self.events = None;
        }
    }

    /// Waits for a write, or for another file in the place of the log. Cancel-safe.
    pub(super) async fn written(&mut self) {
        while let Some(events) = &mut self.events {
            match events.next().await {
                // The end of the watch that reported before.
                Some(Ok(event)) if event.mask.contains(EventMask::IGNORED) => {}
                Some(Ok(_written_or_gone)) => return,
                Some(Err(_)) | None => self.events = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    fn append(file: &Path) {
        fs::File::options().append(true).open(file).unwrap().write_all(b"a page").unwrap();
    }

    /// Waits for a report; a kernel that makes none would let the test hang.
    async fn written(watch: &mut LogWatch) {
        tokio::time::timeout(Duration::from_secs(30), watch.written()).await.expect("a report");
    }

    #[tokio::test]
    async fn one_write_is_reported_until_the_watch_is_armed_again() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("queue.db");
        let log = sqlite::wal_path(&database);
        fs::write(&log, b"").unwrap();
        let mut watch = LogWatch::new(&database);
        assert!(watch.written().now_or_never().is_none(), "nothing was written");
        append(&log);
        append(&log);
        written(&mut watch).await;
        append(&log);
        assert!(watch.written().now_or_never().is_none(), "it is not armed");
        watch.arm();
        assert!(watch.written().now_or_never().is_none(), "what was written before is not reported");
        append(&log);
        written(&mut watch).await;
    }

    #[tokio::test]
    async fn another_file_in_the_place_of_the_log_is_reported_and_watched() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("queue.db");
        let (log, other) = (sqlite::wal_path(&database), folder.path().join("other"));
        fs::write(&log, b"").unwrap();
        fs::write(&other, b"").unwrap();
        let mut watch = LogWatch::new(&database);
        fs::rename(&log, folder.path().join("moved")).unwrap();
        fs::rename(&other, &log).unwrap();
        written(&mut watch).await;
        watch.arm();
        append(&log);
        written(&mut watch).await;
        assert!(watch.is_possible());
        fs::remove_file(&log).unwrap();
        watch.arm();
        assert!(!watch.is_possible(), "there is nothing to watch");
    }
}
