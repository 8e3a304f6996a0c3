//! Checks that each file of the queue is still the one that this daemon has open (P9).
//!
//! A file that was removed or replaced stays open here. Whatever the daemon wrote to it afterwards would be
//! acknowledged and lost; so `app` checks every few seconds and ends the daemon.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::place::{self, Content, FileId};
use crate::store::{StoreError, sqlite};

/// The names, and the file that each referred to when the queue was opened.
pub(in crate::store) struct Files {
    database: (PathBuf, FileId),
    /// The write-ahead log and the shared memory.
    beside: [(PathBuf, Option<FileId>); 2],
    /// Network file systems may give a file a new inode number while it is open; there, only a missing file is
    /// noticed.
    keeps_numbers: bool,
}

impl Files {
    /// `name` is the database path as configured, `path` its real path and `opened` the metadata of the open file.
    pub(in crate::store) fn new(name: &Path, path: &Path, opened: &Metadata, keeps_numbers: bool) -> Self {
        let beside = [sqlite::wal_path(path), sqlite::shm_path(path)];
        Self {
            database: (name.to_owned(), FileId::of(opened)),
            beside: beside.map(|path| {
                let id = std::fs::metadata(&path).ok().map(|found| FileId::of(&found));
                (path, id)
            }),
            keeps_numbers,
        }
    }

    /// Returns a description of a file that was removed or replaced, if there is one.
    pub(super) fn taken_away(&self) -> Option<String> {
        let (database, id) = &self.database;
        let beside = self.beside.iter().filter_map(|(path, id)| id.map(|id| (path, id)));
        let changed = std::iter::once((database, *id)).chain(beside).find_map(|(path, id)| {
            let what = match std::fs::metadata(path) {
                Ok(found) if FileId::of(&found) == id || !self.keeps_numbers => return None,
                Ok(_) => "was replaced by another file",
                Err(error) if is_gone(&error) => "was removed or renamed",
                // A failed stat says nothing about the file.
                Err(_) => return None,
            };
            Some(format!("{} {what} while this daemon had it open", path.display()))
        });
        changed.map(|changed| {
            format!(
                "{changed}; what is written into it now would be lost. Put the right files back, then start outboxd again \
                 (docs/operations.md)"
            )
        })
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

impl crate::store::Store {
    /// Returns why this daemon must stop: a file of the queue was removed or replaced, or another daemon holds its
    /// lock. Call it every few seconds; it also records the version of the file in the restore guard.
    pub(crate) fn taken_away(&self) -> Option<String> {
        // Uses the open descriptor: closing another one would drop SQLite's locks.
        if let Ok(Content::Queue(version)) = place::content(self.inner.lock.database(), &self.inner.path) {
            self.inner.mark.note_file(version);
        }
        let taken_away = self.inner.files.taken_away().or_else(|| match self.inner.lock.renew() {
            Err(error @ StoreError::Locked(_)) => Some(format!("the lock of the queue was lost: {error}")),
            Err(error) => {
                tracing::warn!(error = error.chain(), "the lock file was removed and cannot be made again");
                None
            }
            Ok(()) => None,
        });
        if taken_away.is_none() {
            self.inner.mark.renew();
        }
        taken_away
    }
}
