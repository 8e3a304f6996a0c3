//! Detects the file system of the queue.
//!
//! On some file systems locks do not hold, and two daemons could send the same message (P3).

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// File systems whose locks hold on one machine only, or not at all (SQLite's page on how a database is corrupted).
const SHARED: [&str; 12] =
    ["9p", "afs", "ceph", "cifs", "fuse", "glusterfs", "lustre", "nfs", "nfs4", "smb2", "smb3", "virtiofs"];

/// File systems on which the kernel turns `flock` into record locks, which SQLite uses (flock(2), nfs(5)).
const MIXES_LOCKS: [&str; 7] = ["9p", "afs", "cifs", "nfs", "nfs4", "smb2", "smb3"];

/// Returns warnings about the place of `database`: locks may not hold there, or the file has a second name.
pub(in crate::store) fn warnings(database: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    let queue = database.display();
    if let Some(kind) = kind_at(database).filter(|kind| is_shared(kind)) {
        warnings.push(format!(
            "the queue {queue} lies on a file system of type {kind}, where locks may not hold: two daemons could send the same \
             message; move it to a local disk"
        ));
    }
    let names = std::fs::metadata(database).map_or(1, |found| found.nlink());
    if names > 1 {
        warnings.push(format!(
            "the queue {queue} has {names} names (hard links): a program that writes through another one than this daemon \
             uses damages it; remove the others (`find -samefile {queue}` shows them)"
        ));
    }
    warnings
}

/// Returns whether `flock` on `database` is independent of SQLite's locks.
pub(in crate::store) fn keeps_locks_apart(database: &Path) -> bool {
    kind_at(database).is_none_or(|kind| !MIXES_LOCKS.contains(&kind.as_str()))
}

/// Returns how much of the disk that holds `path` this process may still fill, in bytes.
pub(in crate::store) fn free_bytes(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

fn kind_at(database: &Path) -> Option<String> {
    kind_of(&std::fs::read_to_string("/proc/self/mountinfo").ok()?, database)
}

fn is_shared(kind: &str) -> bool {
    SHARED
        .iter()
        .any(|shared| kind == *shared || kind.strip_prefix("fuse.").is_some_and(|_| *shared == "fuse"))
}

/// Returns the type of the mount that contains `path`, by the kernel's list of mounts (proc(5)): the deepest one, and
/// the last of those.
fn kind_of(mounts: &str, path: &Path) -> Option<String> {
    let mut found: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let (place, rest) = line.split_once(" - ")?;
        let point =
            place.split(' ').nth(4)?.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\");
        let depth = Path::new(&point).components().count();
        if path.starts_with(&point) && found.is_none_or(|(deepest, _)| deepest <= depth) {
            found = Some((depth, rest.split(' ').next()?));
        }
    }
    found.map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:27 / /mnt/team\\040share rw shared:2 - cifs //server/share rw
31 22 0:28 / /srv rw - nfs4 server:/srv rw
32 31 254:1 / /srv/local rw - xfs /dev/vdb rw
33 22 0:30 / /home rw - fuse.sshfs host:/home rw
34 33 0:31 / /home rw - tmpfs tmpfs rw
";

    #[test]
    fn the_deepest_mount_tells_the_type() {
        for (path, kind, shared) in [
            ("/var/lib/outboxd/q.db", "ext4", false),
            ("/mnt/team share/q.db", "cifs", true),
            ("/srv/q.db", "nfs4", true),
            ("/srv/local/q.db", "xfs", false),
            ("/srvother/q.db", "ext4", false),
            ("/home/q.db", "tmpfs", false),
        ] {
            let found = kind_of(MOUNTS, Path::new(path)).unwrap();
            assert_eq!((found.as_str(), is_shared(&found)), (kind, shared), "{path}");
        }
        assert!(is_shared("fuse.sshfs") && !is_shared("fuseblk"));
    }
}
