//! Says why a file of the queue cannot be used: which file or folder, whose it is, and its mode.

use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use crate::store::sqlite;

/// Returns the rest of the sentence "cannot use `path`" for an error of the operating system.
pub(in crate::store) fn denial(path: &Path, error: &Error) -> String {
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "; it is on a file system that is mounted read-only: mount it for writing, or correct store.path"
                .to_owned()
        }
        ErrorKind::PermissionDenied => {
            let (what, found) = match std::fs::metadata(path) {
                Ok(found) => ("it".to_owned(), Some(found)),
                Err(_) => {
                    let folder = folder(path);
                    (format!("its folder {}", folder.display()), std::fs::metadata(folder).ok())
                }
            };
            let ours = std::fs::metadata("/proc/self").map(|process| process.uid());
            let ours = ours
                .map_or_else(|_| "this process".to_owned(), |user| format!("this process is user {user}"));
            match found {
                Some(found) => format!(
                    "; {what} belongs to user {} and group {} (mode {:04o}), and {ours}: run as the user of the daemon, or \
                     correct owner or mode",
                    found.uid(),
                    found.gid(),
                    found.mode() & 0o7777
                ),
                None => format!("; {ours}, and may not enter a folder above it"),
            }
        }
        _ => String::new(),
    }
}

/// Returns the first of the database, its write-ahead log, its shared memory and its folder that this process may not
/// write, with the error.
pub(super) fn unwritable(database: &Path) -> Option<(PathBuf, Error)> {
    let files =
        [database.to_owned(), sqlite::wal_path(database), sqlite::shm_path(database), folder(database)];
    files.into_iter().find_map(|path| {
        // Opening the database would do, but closing it again drops SQLite's locks.
        let access = rustix::fs::accessat(CWD, &path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS);
        let error = Error::from(access.err()?);
        (error.kind() != ErrorKind::NotFound).then_some((path, error))
    })
}

fn folder(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
