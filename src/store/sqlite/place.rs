//! Checks what is at `store.path` before SQLite opens it: nothing, a queue, or a file that must not be touched.
//!
//! `Store::open` calls this first. A file of another program is refused and left unchanged, byte for byte; so only
//! its header is read, without SQLite, which may write when it opens a file.

use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// Marks a database as a queue of outboxd: `outb` in the header's field for it (SQLite's file format, offset 68).
pub(super) const APPLICATION_ID: u32 = 0x6f75_7462;

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
const HEADER_BYTES: usize = 100;

/// The identity of a file: its device and its inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId(u64, u64);

impl FileId {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    pub(super) fn inode(self) -> u64 {
        self.1
    }
}

/// The two numbers of a database's header that distinguish a file from another version of it: each run draws the
/// first anew (`restore_guard`); the second counts schema changes and differs in SQLite's own copies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::store) struct Version {
    pub(super) user: i32,
    pub(super) schema: i32,
}

/// What a database file contains, according to its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Content {
    Empty,
    Queue(Version),
}

impl Content {
    /// Returns whether nothing was ever stored in it, as far as the header tells: the file was just made, or a process
    /// that made it was killed. SQLite may then still roll back what the header says.
    pub(in crate::store) fn is_bare(self) -> bool {
        matches!(self, Self::Empty | Self::Queue(Version { user: 0, schema: 0 }))
    }
}

/// Returns the real path of the database, with all links resolved. Creates no folder.
pub(in crate::store) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    match std::fs::canonicalize(path) {
        Ok(real) => Ok(real),
        Err(error) if error.kind() == ErrorKind::NotFound => missing(path),
        Err(source) => Err(StoreError::File { path: path.to_owned(), source }),
    }
}

/// Returns where a file that does not exist will be created.
fn missing(path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |source| StoreError::File { path: path.to_owned(), source };
    // A dangling link: SQLite would create its target.
    if let Ok(target) = std::fs::read_link(path) {
        let target = path.parent().unwrap_or(Path::new(".")).join(target);
        return Err(StoreError::DanglingLink { path: path.to_owned(), target });
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or_else(|| failed(ErrorKind::InvalidFilename.into()))?;
    match std::fs::canonicalize(folder) {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(StoreError::NoFolder { path: path.to_owned(), folder: folder.to_owned() })
        }
        Err(source) => Err(failed(source)),
    }
}

/// Returns what is at `path`; `None` if nothing is there.
pub(in crate::store) fn look(path: &Path) -> Result<Option<Content>, StoreError> {
    let failed = |source| StoreError::File { path: path.to_owned(), source };
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(failed(source)),
    };
    // Opening a pipe would block until its other end is opened.
    if !found.is_file() {
        return Err(StoreError::NotADatabase { path: path.to_owned() });
    }
    let file = File::open(path).map_err(failed)?;
    let content = content(&file, path)?;
    if let Content::Queue(_) = content {
        check_length(&file, path)?;
    }
    Ok(Some(content))
}

/// Refuses a database that is shorter than its header says. While there is a write-ahead log, its last pages may be in
/// there.
fn check_length(file: &File, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::File { path: path.to_owned(), source };
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if std::fs::metadata(log).is_ok_and(|log| log.len() > 0) {
        return Ok(());
    }
    let mut header = [0; HEADER_BYTES];
    file.read_exact_at(&mut header, 0).map_err(failed)?;
    let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let pages = u64::from(u32::from_be_bytes([header[28], header[29], header[30], header[31]]));
    // The count of pages is right only if the two counters of changes agree (SQLite's file format, 1.3.7).
    let expected = if header[24..28] == header[92..96] { page_bytes * pages } else { 0 };
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes < expected { Err(StoreError::CutOff { path: path.to_owned(), bytes, expected }) } else { Ok(()) }
}

/// Returns what an open file contains.
pub(in crate::store) fn content(file: &File, path: &Path) -> Result<Content, StoreError> {
    let failed = |source| StoreError::File { path: path.to_owned(), source };
    if file.metadata().map_err(failed)?.len() == 0 {
        return Ok(Content::Empty);
    }
    let mut header = [0; HEADER_BYTES];
    match file.read_exact_at(&mut header, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Err(StoreError::NotADatabase { path: path.to_owned() });
        }
        Err(source) => return Err(failed(source)),
    }
    if !header.starts_with(MAGIC) {
        return Err(StoreError::NotADatabase { path: path.to_owned() });
    }
    let field = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if field(68) != APPLICATION_ID {
        return Err(StoreError::NotOurs { path: path.to_owned() });
    }
    Ok(Content::Queue(Version { user: field(60).cast_signed(), schema: field(40).cast_signed() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_tells_a_queue_from_every_other_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        assert_eq!(look(&path).expect("nothing is there"), None);
        let mut header = vec![0_u8; 4096];
        header[..16].copy_from_slice(MAGIC);
        header[68..72].copy_from_slice(&APPLICATION_ID.to_be_bytes());
        header[60..64].copy_from_slice(&7_u32.to_be_bytes());
        header[40..44].copy_from_slice(&9_u32.to_be_bytes());
        let other = {
            let mut other = header.clone();
            other[68..72].fill(0);
            other
        };
        let told = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            look(&path)
        };
        assert_eq!(told(b"").expect("empty"), Some(Content::Empty));
        assert_eq!(told(&header).expect("ours"), Some(Content::Queue(Version { user: 7, schema: 9 })));
        // Two pages of 4,096 bytes, of which the second is lost, unless it is in the write-ahead log.
        header[16..18].copy_from_slice(&4096_u16.to_be_bytes());
        header[28..32].copy_from_slice(&2_u32.to_be_bytes());
        assert!(matches!(told(&header), Err(StoreError::CutOff { bytes: 4096, expected: 8192, .. })));
        let log = folder.path().join("x.db-wal");
        std::fs::write(&log, "frames").expect("written");
        assert!(told(&header).is_ok());
        std::fs::remove_file(&log).expect("removed");
        header.resize(8192, 0);
        assert!(told(&header).is_ok());
        assert!(matches!(told(&other), Err(StoreError::NotOurs { .. })));
        assert!(matches!(told(b"name,text\n"), Err(StoreError::NotADatabase { .. })));
        assert!(matches!(told(&[0; 4096]), Err(StoreError::NotADatabase { .. })));
        assert!(matches!(look(folder.path()), Err(StoreError::NotADatabase { .. })));
        let typo = folder.path().join("no").join("x.db");
        assert!(matches!(resolve(&typo), Err(StoreError::NoFolder { .. })));
        std::os::unix::fs::symlink("gone.db", folder.path().join("link.db")).expect("a link");
        assert!(matches!(resolve(&folder.path().join("link.db")), Err(StoreError::DanglingLink { .. })));
    }
}
