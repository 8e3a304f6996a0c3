//! Which program keeps the queue locked, by the kernel's list of locks: for the operator who has to end its transaction.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The byte of the shared-memory file that whoever writes into a write-ahead log locks (SQLite's page on its WAL format).
const WRITE_LOCK: u64 = 120;

/// `process 4242 (python3)`, if somebody holds the write lock and the kernel tells who.
pub(super) fn holder(database: &Path) -> Option<String> {
    let mut shared = database.as_os_str().to_owned();
    shared.push("-shm");
    let inode = std::fs::metadata(shared).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let process = process_of(&locks, inode)?;
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    match name.trim() {
        "" => Some(format!("process {process}")),
        name => Some(format!("process {process} ({name})")),
    }
}

/// The process that has the write lock on the file `inode` (proc(5), `/proc/locks`).
fn process_of(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, "WRITE", process, file, from, to] = fields[..] else { return None };
        let is_it = file.rsplit(':').next()?.parse() == Ok(inode);
        let covers = from.parse::<u64>().ok()? <= WRITE_LOCK
            && (to == "EOF" || to.parse::<u64>().is_ok_and(|to| WRITE_LOCK <= to));
        // A lock that belongs to an open file and not to a process has no number of one.
        if is_it && covers { process.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::process_of;

    const LOCKS: &str = "\
1: FLOCK  ADVISORY  WRITE 19354 fe:00:77 0 EOF
2: POSIX  ADVISORY  READ 13740 fe:00:77 128 128
3: POSIX  ADVISORY  WRITE 25334 fe:00:99 120 120
3: -> POSIX  ADVISORY  WRITE 25335 fe:00:99 120 120
4: OFDLCK ADVISORY  WRITE -1 fe:00:55 120 120
5: POSIX  ADVISORY  WRITE 4 fe:00:44 124 124
";

    #[test]
    fn only_who_has_the_write_lock_of_this_file_is_named() {
        let named = [99, 77, 55, 44, 9].map(|inode| process_of(LOCKS, inode));
        assert_eq!(named, [Some(25334), Some(19354), None, None, None]);
    }
}
