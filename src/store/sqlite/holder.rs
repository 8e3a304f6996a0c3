//! Finds the program that holds a lock of the queue, by the kernel's list of locks (proc(5), `/proc/locks`), for the
//! operator who has to end it. Returns no name if the operating system hides that list.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::place::FileId;

/// The byte of the shared-memory file that a writing program locks (SQLite's page on its WAL format).
const WRITE_LOCK: u64 = 120;
/// The bytes of which a reading program locks one.
const READ_LOCKS: [u64; 5] = [123, 124, 125, 126, 127];

/// Returns the program that holds the write lock, such as `process 4242 (python3)`.
pub(in crate::store) fn holder(database: &Path) -> Option<String> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let inode = shared_memory(database)?;
    let writes = |lock: &Held| lock.writes && lock.covers(WRITE_LOCK);
    held(&locks, "POSIX", inode).find(writes).map(|lock| named(lock.process))
}

/// Returns another program that has a read transaction open.
pub(in crate::store) fn reader(database: &Path) -> Option<String> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let inode = shared_memory(database)?;
    let own = std::process::id();
    let reads = |lock: &Held| lock.process != own && READ_LOCKS.iter().any(|byte| lock.covers(*byte));
    held(&locks, "POSIX", inode).find(reads).map(|lock| named(lock.process))
}

/// Returns the number of the process that holds `flock` on a file.
pub(super) fn file_holder(file: FileId) -> Option<String> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    held(&locks, "FLOCK", file.inode()).next().map(|lock| lock.process.to_string())
}

fn shared_memory(database: &Path) -> Option<u64> {
    let mut shared = database.as_os_str().to_owned();
    shared.push("-shm");
    Some(std::fs::metadata(shared).ok()?.ino())
}

fn named(process: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    match name.trim() {
        "" => format!("process {process}"),
        name => format!("process {process} ({name})"),
    }
}

/// One entry of the list of locks.
struct Held {
    process: u32,
    writes: bool,
    from: u64,
    to: u64,
}

impl Held {
    fn covers(&self, byte: u64) -> bool {
        (self.from..=self.to).contains(&byte)
    }
}

/// Returns the locks of `kind` on the file `inode`. Skips locks that belong to an open file rather than a process,
/// which have no process number, and locks that are only waited for (`->`), which have one field more.
fn held<'a>(locks: &'a str, kind: &'a str, inode: u64) -> impl Iterator<Item = Held> + 'a {
    locks.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, its_kind, _, access, process, file, from, to] = fields[..] else { return None };
        let is_it = its_kind == kind && file.rsplit(':').next()?.parse() == Ok(inode);
        let to = if to == "EOF" { u64::MAX } else { to.parse().ok()? };
        let lock =
            Held { process: process.parse().ok()?, writes: access == "WRITE", from: from.parse().ok()?, to };
        is_it.then_some(lock)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "\
1: FLOCK  ADVISORY  WRITE 19354 fe:00:77 0 EOF
2: POSIX  ADVISORY  READ 13740 fe:00:77 128 128
3: POSIX  ADVISORY  WRITE 25334 fe:00:99 120 120
3: -> POSIX  ADVISORY  WRITE 25335 fe:00:99 120 120
4: OFDLCK ADVISORY  WRITE -1 fe:00:55 120 120
5: POSIX  ADVISORY  WRITE 4 fe:00:44 124 124
6: POSIX  ADVISORY  READ 4711 fe:00:99 124 124
";

    #[test]
    fn only_who_has_the_lock_of_this_file_is_named() {
        let writer = |inode| {
            let writes = |lock: &Held| lock.writes && lock.covers(WRITE_LOCK);
            held(LOCKS, "POSIX", inode).find(writes).map(|lock| lock.process)
        };
        assert_eq!([99, 77, 55, 44, 9].map(writer), [Some(25334), None, None, None, None]);
        let reader = |inode| {
            let reads = |lock: &Held| READ_LOCKS.iter().any(|byte| lock.covers(*byte));
            held(LOCKS, "POSIX", inode).find(reads).map(|lock| lock.process)
        };
        assert_eq!([99, 44, 77].map(reader), [Some(4711), Some(4), None]);
        assert_eq!(held(LOCKS, "FLOCK", 77).map(|lock| lock.process).next(), Some(19354));
    }
}
